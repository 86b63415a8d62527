"""The record of the last check, `lean/CHECKED.json`: who writes it and what it says in words.

`record.py CHECKED PARITY` writes it from what `check.sh --record` and the comparison with the Python verifier found,
and the paragraph of `lean/README.md` with it.
"""

import json
import sys
import textwrap
from pathlib import Path

from sources import SOURCES, sources_digest

RECORD = SOURCES / "CHECKED.json"
README = SOURCES / "README.md"
OPENING, CLOSING = "<!-- the last check, written by `make lean-record` -->\n", "<!-- end -->\n"


def sentence(record):
    """The last check in words."""
    build, theorems, parity = record["build"], record["theorems"], record["parity"]
    cpu, corpus = record["cpu_seconds"], parity["corpus"]
    kind = "the official toolchain" if build["official"] else "an unofficial debug build, and by no other"
    words = (
        f"Last checked on {record['checked']} by {build['name']} {build['version']} "
        f"(SHA-256 `{build['sha256'][:16]}…`), that is Lean {build['lean']}, {kind}: "
        f"{record['modules']} modules, {theorems['stated']} theorems stated ({theorems['compiled']} compiled), "
        f"none of which rests on an axiom outside Lean's own library; {record['mutants_refused']} mutants refused; "
        f"{parity['cases']} certificates judged as the Python verifier judges them, {corpus['cases']} of them the "
        f"conformance corpus's ({sum(corpus['left_out'].values())} of its cases cannot be read so far). "
        f"Checking took {cpu['library']} s of CPU for the library, {cpu['mutants']} s for the mutants and "
        f"{parity['cpu_seconds']} s for the certificates, and at most {record['peak_memory_gib']} GiB of memory "
        "for a process."
    )
    return textwrap.fill(words, 106, break_on_hyphens=False, break_long_words=False) + "\n"


def with_sentence(readme, record):
    """The README with the record's paragraph between its marks."""
    before, opening, rest = readme.partition(OPENING)
    _, closing, after = rest.partition(CLOSING)
    if not opening or not closing:
        raise SystemExit("lean/README.md has no place for the last check")
    return before + OPENING + sentence(record) + CLOSING + after


def main(checked, parity):
    for path in (checked, parity):
        if not path.is_file():
            raise SystemExit(f"lean: no record is written: {path} is not there; run `make lean-record`")
    record = json.loads(checked.read_bytes())
    record["parity"] = json.loads(parity.read_bytes())
    if record["sources_sha256"] != sources_digest():
        raise SystemExit("lean: no record is written: the sources changed meanwhile; run `make lean-record` again")
    RECORD.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    README.write_text(with_sentence(README.read_text(encoding="utf-8"), record), encoding="utf-8")
    sys.stdout.write("lean: wrote lean/CHECKED.json and its paragraph in lean/README.md; commit both\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
