"""Integrity: every file is the one that was signed, the reference model's too where it is at hand.

Rules BC-BND-01, 02, 12, 20 and 21 (``spec/02-bundle.md``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

from blockcert.appended import is_appended
from blockcert.digest import FileDigests
from blockcert.errors import Refusal
from blockcert.file_range import Source
from blockcert.findings import Finding
from blockcert.statement import Statement, Subject
from blockcert.wellformed import REFERENCE_PREFIX
from blockcert_verifier.locate import Located, file_size
from blockcert_verifier.published import Published, pointer
from blockcert_verifier.steps.outcome import capped, failed, failures, from_refusal, passed, skipped
from blockcert_verifier.steps.structure import TOKENIZER

__all__ = ["Digest", "bundle_files", "listing", "published", "reference_files"]

Digest = Callable[[Sequence[Source]], Iterator[FileDigests | Refusal]]
"""Size and digests of each file, or why there are none; as ``digest_files``."""


def listing(statement: Statement, present: Collection[str], envelope: str) -> list[Finding]:
    """Whether the bundle holds exactly the files that the statement lists.

    `present` but for the `envelope` itself and for what other parties appended (BC-TRU-23), which answers for itself.
    """
    listed = {s.name for s in statement.subject if not s.name.startswith(REFERENCE_PREFIX)}
    found = {name for name in present if not is_appended(name)} - {envelope}
    return [
        *(
            failed(
                "structure",
                "bundle.file.missing",
                name,
                "the statement lists this file, but it is not in the bundle",
            )
            for name in sorted(listed - found)
        ),
        *(
            failed(
                "structure",
                "bundle.file.unlisted",
                name,
                "the statement does not list this file of the bundle",
            )
            for name in sorted(found - listed)
        ),
    ]


def bundle_files(statement: Statement, file: Callable[[str], Source], digest: Digest) -> list[Finding]:
    """Whether every file inside the bundle has the size and the digests that the statement gives."""
    names = [s for s in statement.subject if not s.name.startswith(REFERENCE_PREFIX)]
    findings = _compare(statement, names, lambda subject: file(subject.name), digest)
    if failures(findings):
        return findings
    return [passed("integrity", "integrity.bundle", "bundle", f"all {len(names)} files are those that were signed")]


def reference_files(statement: Statement, located: Located | None, digest: Digest) -> tuple[list[Finding], bool]:
    """Whether every file of the reference model is the one that was signed, and whether all of them are at hand.

    Skipped without a model. A Git LFS pointer in a file's place is compared with what was signed; the file itself is
    not at hand then.
    """
    subjects = [s for s in statement.subject if s.name.startswith(REFERENCE_PREFIX)]
    if located is None:
        sentence = f"no reference model was given, so its {len(subjects)} files were not compared"
        return [skipped("integrity", "integrity.reference", "reference", sentence)], False
    sizes = {file.name: file.size for file in statement.predicate.files}
    pointers: dict[str, Published] = {}
    for subject in subjects:
        path = located.path(subject.name)
        if file_size(path) not in (None, sizes[subject.name]) and (found := pointer(path)) is not None:
            pointers[subject.name] = found
    files = [subject for subject in subjects if subject.name not in pointers]
    findings = _compare(statement, files, lambda subject: located.source(subject.name), digest)
    findings += _tokenizer(statement, located.path(TOKENIZER), digest)
    if pointers and not failures(findings):
        findings += published(statement, pointers, "the reference model's Git LFS pointers")
    if failures(findings):
        return findings, False
    if pointers:
        sentence = f"{len(pointers)} of the reference model's files are Git LFS pointers: the files are not here"
        findings.append(skipped("integrity", "integrity.reference", "reference", sentence))
        return findings, False
    sentence = f"all {len(subjects)} files of the reference model are those that were signed"
    return [passed("integrity", "integrity.reference", "reference", sentence)], True


def published(statement: Statement, said: Mapping[str, Published], source: str) -> list[Finding]:
    """Whether what `source` says of the reference model's files, by subject name, is what was signed (BC-BND-21)."""
    sizes = {file.name: file.size for file in statement.predicate.files}
    findings: list[Finding] = []
    subjects = [s for s in statement.subject if s.name.startswith(REFERENCE_PREFIX)]
    compared = 0
    for subject in subjects:
        found = said.get(subject.name, Published(None, None))
        compared += found.sha256 is not None
        for what, theirs, signed in (
            ("SHA-256", found.sha256, subject.digest.sha256),
            ("size", found.size, sizes[subject.name]),
        ):
            if theirs is not None and theirs != signed:
                sentence = f"{source}: the {what} is {theirs}, and the one that was signed is {signed}"
                findings.append(failed("integrity", "integrity.published", subject.name, sentence))
    if findings:
        return capped(findings)
    if not compared:
        sentence = f"{source}: no SHA-256 of the reference model's {len(subjects)} files"
        return [skipped("integrity", "integrity.published", "reference", sentence)]
    sentence = (
        f"{source}: the SHA-256 that was signed, for {compared} of {len(subjects)} reference files; only names were "
        "compared, no weight was read"
    )
    return [passed("integrity", "integrity.published", "reference", sentence)]


def _tokenizer(statement: Statement, path: Path, digest: Digest) -> list[Finding]:
    """A finding where the model has the very tokenizer that the frame names and the statement leaves it out."""
    if any(subject.name == TOKENIZER for subject in statement.subject) or not path.is_file():
        return []
    found = next(digest([path]))
    if isinstance(found, Refusal):
        if found.code.startswith("limit."):
            raise found
        return [from_refusal("integrity", found)]
    if found.blake3 != statement.predicate.prompts.frame.tokenizer.blake3:
        return []
    sentence = f"the model has the tokenizer that the frame names, and no subject is named {TOKENIZER}"
    return [failed("integrity", "statement.subject_missing", "statement.dsse.json: $.subject", sentence)]


def _compare(
    statement: Statement, subjects: list[Subject], source: Callable[[Subject], Source], digest: Digest
) -> list[Finding]:
    sizes = {file.name: file.size for file in statement.predicate.files}
    found = {subject.name: file_size(source(subject)) for subject in subjects}
    # a file of another size is another file: it is not read to know that
    read = [subject for subject in subjects if found[subject.name] in (None, sizes[subject.name])]
    digests = dict(zip((subject.name for subject in read), digest([source(subject) for subject in read]), strict=True))
    findings: list[Finding] = []
    for subject in subjects:
        result = digests.get(subject.name)
        if result is None:
            findings.append(_size(subject, sizes[subject.name], found[subject.name] or 0))
        elif isinstance(result, Refusal):
            if result.code.startswith("limit."):
                raise result  # of the caller's own: it ends the verification
            place = f"{subject.name} ({result.place})"
            findings.append(from_refusal("integrity", Refusal(result.code, place, result.sentence)))
        else:
            findings += _differences(subject, sizes[subject.name], result)
    return findings


def _size(subject: Subject, signed: int, found: int) -> Finding:
    sentence = f"the file has {found} bytes, and the one that was signed has {signed}"
    return failed("integrity", "integrity.size.mismatch", subject.name, sentence)


def _differences(subject: Subject, size: int, found: FileDigests) -> list[Finding]:
    if found.size != size:
        return [_size(subject, size, found.size)]
    pairs = [("BLAKE3", found.blake3, subject.digest.blake3), ("SHA-256", found.sha256, subject.digest.sha256)]
    return [
        failed(
            "integrity",
            "integrity.digest.mismatch",
            subject.name,
            f"the file's {name} digest is {actual}, and the one that was signed is {signed}: its content was changed",
        )
        for name, actual, signed in pairs
        if actual is not None and actual != signed
    ]
