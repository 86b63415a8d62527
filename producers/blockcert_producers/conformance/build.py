"""Building the corpus: every entry of every family to a folder of its own, and the index of them all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from blockcert.bundle import check_in_no_bundle
from blockcert.errors import Refusal
from blockcert_producers.conformance.base import base
from blockcert_producers.conformance.draft import Draft, write_json
from blockcert_producers.conformance.entry import Entry
from blockcert_producers.conformance.families import FAMILIES
from blockcert_producers.conformance.without_case import WITHOUT_CASE
from blockcert_verifier.conformance.index import INDEX, Case, Expected, Index, Inputs, Need, Options

__all__ = ["all_cases", "build", "draft_of"]

README = """Cases of the BlockCert conformance corpus: index.json says what each one is and what a verifier must say
of it (spec/14-conformance.md). They are made by a program from public seeds: every key in them can be computed by
everybody, none of them may be trusted, and many of the files are broken on purpose.
"""


def all_cases() -> tuple[Entry, ...]:
    """Every entry, family by family."""
    return tuple(entry for family in FAMILIES for entry in family)


def draft_of(entry: Entry) -> Draft:
    """The entry's case, sealed, in memory."""
    draft = base(entry.base)
    for change in entry.changes:
        change(draft)
    draft.seal()
    return draft


def build(
    out: Path, entries: Iterable[Entry] | None = None, progress: Callable[[int, int], None] = lambda _done, _all: None
) -> Index:
    """Build the corpus into `out`, which must not exist, and return its index. Two builds give the same bytes.

    Raises:
        Refusal: ``output.exists``, ``output.unwritable``.
    """
    check_in_no_bundle(out)
    if os.path.lexists(out):
        raise Refusal("output.exists", str(out), "there is something already; name a folder that does not exist yet")
    partial = out.parent / f".{out.name}.partial-{os.urandom(4).hex()}"
    chosen = tuple(all_cases() if entries is None else entries)
    try:
        partial.mkdir(parents=True)
        index = _build(partial, chosen, progress)
        partial.rename(out)
    except OSError as fault:
        raise Refusal("output.unwritable", str(out), f"the corpus cannot be written: {fault.strerror}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return index


def _build(folder: Path, entries: tuple[Entry, ...], progress: Callable[[int, int], None]) -> Index:
    cases: list[Case] = []
    for done, entry in enumerate(entries):
        progress(done, len(entries))
        cases.append(_case(folder, entry))
    index = Index("blockcert-conformance-index", 1, "1.0", tuple(cases), WITHOUT_CASE)
    (folder / INDEX).write_bytes(write_json(index))
    (folder / "README").write_text(README, encoding="utf-8")
    progress(len(entries), len(entries))
    return index


def _case(folder: Path, entry: Entry) -> Case:
    draft = draft_of(entry)
    family, _, name = entry.id.partition("::")
    inside = f"cases/{family}/{name}"
    unbuilt = None
    place = folder / inside
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        draft.write(place)
    except OSError as fault:
        # a link, a pipe or a name that this file system does not have; a full disk ends the build elsewhere
        if not draft.needs_file_system:
            raise
        shutil.rmtree(place, ignore_errors=True)
        unbuilt = f"the machine that built the corpus could not make its files: {fault.strerror}"
    return Case(
        id=entry.id,
        tests=entry.tests,
        requirements=entry.requirements,
        needs=_needs(draft, entry.expected),
        inputs=_inputs(draft, inside),
        options=msgspec.convert(draft.options, Options),
        expected=entry.expected,
        unbuilt=unbuilt,
    )


def _inputs(draft: Draft, inside: str) -> Inputs:
    many = ("corpus", "own")
    others = {what: f"{inside}/{name}" for what, name in draft.named.items()}
    return msgspec.structs.replace(
        _usual_inputs(draft, inside), **{what: (name,) if what in many else name for what, name in others.items()}
    )


def _usual_inputs(draft: Draft, inside: str) -> Inputs:
    return Inputs(
        bundle=f"{inside}/bundle",
        policy=f"{inside}/policy.json",
        reference=f"{inside}/reference" if "reference" in draft.given else None,
        corpus=tuple(f"{inside}/corpus/{name}" for name in draft.corpus) if "corpus" in draft.given else (),
        own=tuple(f"{inside}/own/{name}" for name in draft.own),
        tokenizer=f"{inside}/tokenizer.json" if draft.tokenizer is not None else None,
        published=f"{inside}/published.txt" if draft.published is not None else None,
        revocations=f"{inside}/revocations.dsse.json" if draft.revocations is not None else None,
        revocation_state=f"{inside}/revocation-state.json" if draft.revocation_state is not None else None,
        follows=f"{inside}/held-policy.json" if draft.follows is not None else None,
    )


def _needs(draft: Draft, expected: Expected) -> tuple[Need, ...]:
    asked: dict[Need, bool] = {
        "replay": "reference" in draft.given and draft.options["replay"] != 0,
        "precision": "replay.cell.refuted" in expected.codes if draft.precision is None else draft.precision,
        "corpus": "corpus" in draft.given or bool(draft.own),
        "fresh": bool(draft.options.get("fresh")),
        "published": draft.published is not None,
        "sha256": bool(draft.options.get("all_digests")),
        "prove": bool(draft.options.get("prove")),
        "limits": "limits" in draft.options,
    }
    return tuple(name for name, wanted in asked.items() if wanted)
