"""This verifier behind the conformance protocol: a request on a line in, an answer on a line out."""

from __future__ import annotations

import contextlib
import shutil
import stat
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO, Literal

from msgspec import UNSET, UnsetType
from msgspec.structs import asdict

from blockcert.errors import Refusal
from blockcert.rotation import successor
from blockcert.times import parse_time
from blockcert.trust import TrustPolicy
from blockcert_verifier.conformance.index import OwnLimits
from blockcert_verifier.conformance.messages import Answer, Request, encode_line, parse_request
from blockcert_verifier.limits import DEFAULT, Limits
from blockcert_verifier.report import Report
from blockcert_verifier.verification import read_policy, read_signed, verify

__all__ = ["answer", "serve"]

_MISSING = ("install.", "device.")
"""Refusals that say what this machine lacks, and nothing of the case."""


def answer(request: Request) -> Answer:
    """What this verifier says of one case."""
    try:
        with _copied(request.revocation_state) as state:
            report = verify(
                request.bundle,
                _policy(request),
                reference=request.reference,
                published=request.published,
                corpus=request.corpus,
                tokenizer=request.tokenizer,
                fresh=request.fresh,
                own=request.own,
                prove=request.prove,
                replay=request.replay,
                seed=None if request.seed is None else bytes.fromhex(request.seed),
                at=parse_time(request.at, "at"),
                all_digests=request.all_digests,
                revocations=request.revocations,
                revocation_state=state,
                limits=_limits(request.limits),
            )
    except Refusal as refusal:
        if refusal.code.startswith(_MISSING):
            return Answer(request.case, skipped=refusal.sentence)
        return Answer(request.case, "refused", codes=(refusal.code,))
    if _undecided(report):
        return Answer(request.case, skipped="this machine has no precision beyond float64 to decide a cell with")
    decisive = {finding.code for finding in report.findings if finding.status in ("failed", "inconclusive")}
    others = {finding.code for finding in report.findings if finding.status in ("passed", "skipped")}
    return Answer(request.case, report.verdict, codes=tuple(sorted(decisive)), notes=tuple(sorted(others)))


def _limits(own: OwnLimits | UnsetType) -> Limits:
    return DEFAULT if own is UNSET else Limits(**{k: v for k, v in asdict(own).items() if v is not UNSET})


def _policy(request: Request) -> TrustPolicy:
    """The policy to verify with: the one that is given, or the signed one that follows the one that is held."""
    if request.follows is None:
        return read_policy(request.policy)
    held = read_policy(request.follows)
    return successor(held, read_signed(Path(request.policy)), parse_time(request.at, "at"), request.policy)


@contextlib.contextmanager
def _copied(state: str | None) -> Generator[Path | None]:
    """A copy of the state file, which a verification writes to: nothing in the corpus changes (BC-CNF-08)."""
    there = None if state is None else _kind(Path(state))
    if state is None or there == "refused":
        yield None if state is None else Path(state)  # what cannot be read is refused, and not written
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "state"
        if there == "file":
            shutil.copy(state, copy)
        yield copy


def _kind(path: Path) -> Literal["nothing", "file", "refused"]:
    """What is at a path; ``refused`` where it is no file, or cannot be looked at."""
    try:
        return "file" if stat.S_ISREG(path.stat().st_mode) else "refused"
    except FileNotFoundError:
        return "nothing"
    except (OSError, ValueError):  # a path with a NUL in it too
        return "refused"


def _undecided(report: Report) -> bool:
    """Whether a cell was left open here for want of a longer significand, and nothing else was refuted (BC-VER-10).

    Cells of a row that is not resolved are left open on every machine (BC-VER-08).
    """
    codes = {finding.code for finding in report.findings}
    if "replay.cell.inconclusive" not in codes or codes & {"replay.cell.refuted", "replay.row.unresolved"}:
        return False
    from blockcert_verifier.evaluate import extended_is_wider

    return not extended_is_wider()


def serve(lines: BinaryIO, out: BinaryIO) -> None:
    """Answer every request in `lines`, one after another, until there are no more.

    A fault of this verifier's own is an answer too, so that one case does not cost the others.

    Raises:
        Refusal: a line is no request.
    """
    for line in lines:
        request = parse_request(line)
        try:
            found = answer(request)
        except Exception as fault:  # whatever it is, it belongs to this case
            text = " ".join(str(fault).split())[:500]
            found = Answer(request.case, fault=f"{type(fault).__name__}: {text}")
        out.write(encode_line(found))
        out.flush()
