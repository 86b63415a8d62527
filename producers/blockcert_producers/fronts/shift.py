"""How far a certificate's claims travel: the same pair of programs on texts of another population.

The measuring and the counting are those of the verifier's own texts (``verify --own``); only the seed is the
producer's, so that a second run draws the same windows.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from blockcert.digest import blake3_bytes
from blockcert.errors import Refusal
from blockcert.program import Program
from blockcert.same_program import same_stages
from blockcert.statement import CorpusFile, Statement
from blockcert_producers.progress import Progress
from blockcert_verifier.corpus import Population
from blockcert_verifier.fresh_report import Fresh, FreshPredicate
from blockcert_verifier.layout import columns, short, wrap
from blockcert_verifier.steps.fresh import FreshInputs, own
from blockcert_verifier.steps.fresh_rows import measurer
from blockcert_verifier.steps.plan import Plan

__all__ = ["Shifted", "check_texts", "decode", "encode", "lines", "measure_shift"]

ABOUT = (
    "Measured by the producer on texts of another population than the certificate's: not signed, no part of the "
    "certificate, and no claim. A verifier sees for itself with verify --own."
)


class Shifted(Struct, frozen=True):
    """A second population beside a certificate's: its texts, and what the verifier's comparison says of them."""

    about: str
    corpus: tuple[CorpusFile, ...]
    measured: Fresh


def check_texts(texts: Population, certified: Population) -> None:
    """Refuse texts that can show no other population, before any work.

    Raises:
        Refusal: ``prompts.too_few_windows`` where they give no window, ``prompts.duplicate`` where one of them is a
            text of the population that is certified.
    """
    known = {file.blake3: file.name for file in certified.corpus}
    for file in texts.corpus:
        if file.blake3 in known:
            sentence = (
                f"this is the text {known[file.blake3]} of --prompts, the population that is certified; --shift takes "
                "texts of another one"
            )
            raise Refusal("prompts.duplicate", f"--shift: {file.name}", sentence)
    if not texts.windows:
        names = ", ".join(file.name for file in texts.corpus)
        sentence = (
            f"the text of --shift gives no window of {texts.length} tokens: give more text, or a smaller --length"
        )
        raise Refusal("prompts.too_few_windows", names, sentence)


def measure_shift(
    statement: Statement,
    programs: tuple[Program, Program],
    surrogate: str,
    weights: Mapping[str, Path],
    texts: Population,
    *,
    seed: int,
    count: int,
    device: str,
    progress: Progress,
) -> Shifted:
    """At most ``count`` windows of ``texts``, measured and set beside a certificate.

    ``surrogate`` is the BLAKE3 of the surrogate's program: the draw depends on it and on ``seed``, not on the time of
    issue.

    Raises:
        Refusal: where the rows cannot be measured.
    """
    key = bytes.fromhex(blake3_bytes(b"blockcert shift %d" % seed))
    inputs = FreshInputs(statement, same_stages(*programs), bytes.fromhex(surrogate), key, repeatable=True)
    plan = Plan(asked=count, seed=key, repeatable=True, clock=time.monotonic, device=device)

    def tick(done: int, total: int) -> None:
        progress("measuring other texts", done, total)

    predicate = statement.predicate
    measure_rows = measurer(programs, weights, predicate.thresholds, plan, predicate.prompts.frame.length, tick)
    found, findings = own(inputs, texts, count, measure_rows)
    if found is None:
        raise Refusal(findings[0].code, "--shift", findings[0].message)
    return Shifted(ABOUT, texts.corpus, found)


def encode(shifted: Shifted) -> bytes:
    """The file that stands beside a bundle: JSON, indented."""
    return msgspec.json.format(msgspec.json.encode(shifted), indent=2) + b"\n"


def decode(data: bytes) -> Shifted:
    """What ``encode`` wrote.

    Raises:
        ValueError: where it is nothing of the kind.
    """
    return msgspec.json.decode(data, type=Shifted)


def lines(shifted: Shifted) -> list[str]:
    """What a terminal shows of it: every predicate on both populations, the means, the maxima exceeded; 80 columns."""
    found = shifted.measured
    rows: list[tuple[str, ...]] = [("prompts of which", "certificate", "other texts", "chance")]
    rows += [
        (p.claim, f"{p.stated_successes}/{p.stated_trials}", f"{p.successes}/{found.rows}", _chance(p))
        for p in found.predicates
    ]
    means = (
        ("KL", found.stated_kl_mean, found.kl_mean),
        ("loss difference", found.stated_loss_difference, found.loss_difference),
    )
    rows += [
        (f"mean {name}, nats", short(stated, nearest=True), short(other, nearest=True), "")
        for name, stated, other in means
        if other is not None
    ]
    names = ", ".join(file.name for file in shifted.corpus)
    exceeded = [m for m in found.maxima if m.exceedances]
    worst = max(exceeded, key=lambda m: m.exceedances, default=None)
    said = f"{len(exceeded)} of {len(found.maxima)} stated maxima are exceeded"
    if worst is not None:
        said += f", by at most {worst.exceedances} of {found.rows} prompts each"
    end = "; * beyond chance. Measured by the producer, not signed, no part of the certificate."
    return [*wrap(f"Other texts: {found.rows} windows of {names}"), *columns(rows), *wrap(said + end, "  ", "  ")]


def _chance(predicate: FreshPredicate) -> str:
    """The probability that so few succeed by chance, with a sign where it is below the level of one test."""
    return short(predicate.probability) + ("*" if predicate.differs else " ")
