"""Integrity: every file is the one that was signed, the reference model's too where it is at hand.

Rules BC-BND-01, BC-BND-02, BC-BND-12 (``spec/02-bundle.md``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from blockcert.digest import FileDigests
from blockcert.errors import Refusal
from blockcert.findings import Finding
from blockcert.statement import Statement, Subject
from blockcert.wellformed import REFERENCE_PREFIX
from blockcert_verifier.steps.outcome import failed, failures, from_refusal, passed, skipped
from blockcert_verifier.steps.structure import TOKENIZER

__all__ = ["Digest", "bundle_files", "listing", "reference_files"]

Digest = Callable[[Path], FileDigests]
"""Size and digests of a file; refuses ``file.missing`` and ``file.unreadable``."""


def listing(statement: Statement, present: Collection[str], envelope: str) -> list[Finding]:
    """Whether the bundle holds exactly the files that the statement lists: `present` but for the `envelope` itself."""
    listed = {s.name for s in statement.subject if not s.name.startswith(REFERENCE_PREFIX)}
    found = set(present) - {envelope}
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


def bundle_files(statement: Statement, path: Callable[[str], Path], digest: Digest) -> list[Finding]:
    """Whether every file inside the bundle has the size and the digests that the statement gives."""
    names = [s for s in statement.subject if not s.name.startswith(REFERENCE_PREFIX)]
    findings = _compare(statement, names, lambda subject: path(subject.name), digest)
    if failures(findings):
        return findings
    return [passed("integrity", "integrity.bundle", "bundle", f"all {len(names)} files are those that were signed")]


def reference_files(statement: Statement, folder: Path | None, digest: Digest) -> list[Finding]:
    """Whether every file of the reference model in `folder` is the one that was signed; skipped without a folder."""
    names = [s for s in statement.subject if s.name.startswith(REFERENCE_PREFIX)]
    if folder is None:
        sentence = f"no reference model was given, so its {len(names)} files were not compared"
        return [skipped("integrity", "integrity.reference", "reference", sentence)]
    findings = _compare(statement, names, lambda subject: folder / subject.name.removeprefix(REFERENCE_PREFIX), digest)
    findings += _tokenizer(statement, folder, digest)
    if failures(findings):
        return findings
    return [
        passed(
            "integrity",
            "integrity.reference",
            "reference",
            f"all {len(names)} files of the reference model are those that were signed",
        )
    ]


def _tokenizer(statement: Statement, folder: Path, digest: Digest) -> list[Finding]:
    """A finding where the model has the very tokenizer that the frame names and the statement leaves it out."""
    path = folder / TOKENIZER.removeprefix(REFERENCE_PREFIX)
    if any(subject.name == TOKENIZER for subject in statement.subject) or not path.is_file():
        return []
    try:
        found = digest(path).blake3
    except Refusal as refusal:
        return [from_refusal("integrity", refusal)]
    if found != statement.predicate.prompts.frame.tokenizer.blake3:
        return []
    sentence = f"the model has the tokenizer that the frame names, and no subject is named {TOKENIZER}"
    return [failed("integrity", "statement.subject_missing", "statement.dsse.json: $.subject", sentence)]


def _compare(
    statement: Statement, subjects: list[Subject], path: Callable[[Subject], Path], digest: Digest
) -> list[Finding]:
    sizes = {file.name: file.size for file in statement.predicate.files}
    findings: list[Finding] = []
    for subject in subjects:
        try:
            found = digest(path(subject))
        except Refusal as refusal:
            place = f"{subject.name} ({refusal.place})"
            findings.append(from_refusal("integrity", Refusal(refusal.code, place, refusal.sentence)))
            continue
        findings += _differences(subject, sizes[subject.name], found)
    return findings


def _differences(subject: Subject, size: int, found: FileDigests) -> list[Finding]:
    if found.size != size:
        sentence = f"the file has {found.size} bytes, and the one that was signed has {size}"
        return [failed("integrity", "integrity.size.mismatch", subject.name, sentence)]
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
