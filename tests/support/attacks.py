"""The lies that a verifier catches or not whatever it draws, each with the code that catches it.

Every one is signed with the trusted key, and every digest and claim is put right around it as far as that helps. What
depends on which rows or windows a verifier draws is measured in `tests/benchmarks/red_team`.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import perm
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from blockcert_producers.certify import CertifyOptions, default_predicates, default_thresholds
from blockcert_verifier import Report, verify
from tests.support.bundles import (
    ATTRIBUTION,
    CALIBRATION,
    CERTIFICATION,
    LENGTH,
    NOW,
    WINDOWS,
    Draws,
    Made,
    MakePair,
    change_statement,
    make_bundle,
    reseal,
    restate,
    rewrite_column,
)
from tests.support.corpora import save_windows
from tests.support.lies import (
    EVIDENCE,
    PROMPTS,
    easy_windows,
    lower_rows,
    other_evidence,
    redraw,
    replace_surrogate,
)
from tests.support.pairs import (
    Round,
    bfloat16,
    equal_logits,
    float16,
    int8,
    just_above,
    narrow_ramp,
    overflowing,
    rounded,
    rounded_reference,
    swapped_checkpoint,
    swapped_reference,
    swapped_surrogate,
    trigger,
)
from tests.support.tiny import VOCABULARY, tiny_pair

__all__ = ["ATTACKS", "UNRESOLVED", "Attack", "Told", "caught", "codes", "told"]

TRIGGER = VOCABULARY - 1
UNRESOLVED = "replay.row.unresolved"


class Told(Struct, frozen=True):
    """A lie as it stands on disk, and what a verifier of it has at hand (arguments of `verify`)."""

    made: Made
    options: dict[str, Any]


Tell: TypeAlias = Callable[[Path, int], Told]


class Attack(Struct, frozen=True):
    """One lie: how it is made, which code catches it (None: nothing does, by design), and how surely.

    `note` says who could catch what this verifier cannot, or where it is shown all the same.
    """

    lie: str
    tell: Tell
    code: str | None
    note: str = ""
    theory: Fraction = Fraction(1)


def told(attack: Attack, folder: Path, seed: int) -> Report:
    """The report on one telling of the lie."""
    one = attack.tell(folder, seed)
    options = {"reference": one.made.model, "replay": 1, "at": NOW, **one.options}
    return verify(one.made.bundle, one.made.policy, **options)


def codes(report: Report) -> set[str]:
    """Codes of the failed findings, or where there are none of rows that nothing confirms, and of fresh prompts that
    disagree: those of own texts as `own.differs`."""
    found = {finding.code for finding in report.findings if finding.status == "failed"}
    found = found or {finding.code for finding in report.findings if finding.code == UNRESOLVED}
    found |= {finding.code for finding in report.findings if finding.code == "fresh.disagreement"}
    own = [one for one in report.fresh if one.population == "own"]
    if any(part.differs for one in own for part in (*one.predicates, *one.maxima)):
        found.add("own.differs")
    return found


def caught(attack: Attack, report: Report) -> bool:
    """Whether the lie was caught by its code, or by any where none is stated."""
    return attack.code in codes(report) if attack.code else report.verdict == "rejected"


# --- evidence ---------------------------------------------------------------------------------------------------


def _lowered(folder: Path, seed: int) -> Told:
    made = make_bundle(folder, seed=seed)
    lower_rows(made, slice(None))
    return Told(made, {})


def _within_tolerance(folder: Path, seed: int) -> Told:
    made = make_bundle(folder, seed=seed)
    lower_rows(made, slice(None), factor=1 - 1e-7)
    return Told(made, {"replay": "all"})


def _infinite(folder: Path, seed: int) -> Told:
    made = make_bundle(folder, seed=seed)
    rewrite_column(made.bundle / EVIDENCE, "drift", lambda cells: cells.__setitem__((seed % CERTIFICATION, 1), np.inf))
    reseal(made)
    return Told(made, {})


def _others(folder: Path, seed: int) -> Told:
    made = make_bundle(folder, seed=seed)
    other_evidence(made, tiny_pair(folder / "other", seed + 1000, 2))
    return Told(made, {})


def _finer(rounding: Round) -> Tell:
    def tell(folder: Path, seed: int) -> Told:
        made = make_bundle(folder, seed=seed, pair=rounded(rounding))
        other_evidence(made, rounded(float16)(folder / "other", seed, 2))
        return Told(made, {})

    return tell


# --- programs and models ----------------------------------------------------------------------------------------


def _swapped_after(folder: Path, seed: int) -> Told:
    made = make_bundle(folder, seed=seed, pair=swapped_surrogate)
    other_evidence(made, tiny_pair(folder / "other", seed, 2))
    return Told(made, {})


def _swapped_reference_after(folder: Path, seed: int) -> Told:
    made = make_bundle(folder, seed=seed, pair=swapped_reference)
    other_evidence(made, tiny_pair(folder / "other", seed, 2))
    return Told(made, {})


def _swapped_reference_before(folder: Path, seed: int) -> Told:
    return Told(make_bundle(folder, seed=seed, pair=swapped_reference), {"replay": "all"})


def _beside_transformers(folder: Path, seed: int) -> Told:
    made = make_bundle(folder, seed=seed, pair=swapped_checkpoint)
    return Told(made, {"replay": 2, "transformers": True})


def _passed_off(rounding: Round) -> Tell:
    def tell(folder: Path, seed: int) -> Told:
        original = make_bundle(folder / "original", seed=seed)
        made = make_bundle(folder / "lie", seed=seed, pair=rounded_reference(rounding))
        return Told(made, {"reference": original.model})

    return tell


def _own_copy(folder: Path, seed: int) -> Told:
    return Told(make_bundle(folder, seed=seed, pair=rounded_reference(bfloat16)), {"replay": "all"})


def _overflowing(folder: Path, seed: int) -> Told:
    made = make_bundle(folder, seed=seed, pair=rounded(float16))
    replace_surrogate(made, overflowing(folder / "lie", seed, 2))
    redraw(made)
    other_evidence(made, rounded(float16)(folder / "other", seed, 2))
    return Told(made, {})


def _tied(pair: MakePair, column: str, index: Any, told: int) -> Tell:
    """A program made of ties, and a count that says of all positions what is true of none or a few."""

    def tell(folder: Path, seed: int) -> Told:
        made = make_bundle(folder, seed=seed)
        program = pair(folder / "lie", seed, 2)
        replace_surrogate(made, program)
        redraw(made)
        other_evidence(made, program)
        rewrite_column(made.bundle / EVIDENCE, column, lambda cells: cells.__setitem__(index, told))
        restate(made)
        return Told(made, {"replay": "all"})

    return tell


# --- prompts ----------------------------------------------------------------------------------------------------


def _fitted(*, relabelled: bool, corpus: bool) -> Tell:
    """The prompts of one surrogate, listed for another; relabelled with the window numbers that its draw gives."""

    def tell(folder: Path, seed: int) -> Told:
        made = make_bundle(folder, seed=seed, pair=rounded(int8))
        fitted = rounded(bfloat16)(folder / "lie", seed, 2)
        replace_surrogate(made, fitted)
        if relabelled:
            redraw(made, tokens=False)
        other_evidence(made, fitted)
        return Told(made, {"corpus": made.corpus} if corpus else {"replay": "all"})

    return tell


def _repeated(*, relabelled: bool, corpus: bool) -> Tell:
    """The first certification prompt in the place of the last one too; with the window number of either."""

    def tell(folder: Path, seed: int) -> Told:
        made = make_bundle(folder, seed=seed, pair=rounded(int8))
        path = made.bundle / PROMPTS
        first, last = CALIBRATION, CALIBRATION + CERTIFICATION - 1
        rewrite_column(path, "tokens", lambda cells: cells.__setitem__(last, cells[first]))
        if not relabelled:
            rewrite_column(path, "window", lambda cells: cells.__setitem__(last, cells[first]))
        reseal(made)
        other_evidence(made, rounded(int8)(folder / "other", seed, 2))
        return Told(made, {"corpus": made.corpus} if corpus else {"replay": "all"})

    return tell


def _trigger(*, own: bool) -> Tell:
    """A surrogate that turns one token round, certified on texts without it."""

    def tell(folder: Path, seed: int) -> Told:
        rng = np.random.default_rng(seed)
        population = rng.integers(0, TRIGGER, size=(WINDOWS, LENGTH), dtype="<i4")
        made = make_bundle(
            folder, seed=seed, pair=trigger(TRIGGER), population=population, draws=Draws(certification=30)
        )
        options: dict[str, Any] = {"replay": "all", "corpus": made.corpus, "fresh": WINDOWS}
        if own:
            texts = rng.integers(0, VOCABULARY, size=(WINDOWS, LENGTH))
            options["own"] = [save_windows(folder / "own.txt", texts.tolist())]
        return Told(made, options)

    return tell


def _easy(*, own: bool) -> Tell:
    """An honest certificate over texts picked to be easy for this surrogate."""

    def tell(folder: Path, seed: int) -> Told:
        pair = rounded(int8)
        population = easy_windows(pair, folder / "look", seed, 120)
        made = make_bundle(folder, seed=seed, pair=pair, population=population, draws=Draws(certification=100))
        options: dict[str, Any] = {"replay": "all", "corpus": made.corpus, "fresh": WINDOWS}
        if own:
            texts = np.random.default_rng(seed).integers(0, VOCABULARY, size=(400, LENGTH))
            options["own"] = [save_windows(folder / "own.txt", texts.tolist())]
            options["fresh"] = 400
        return Told(made, options)

    return tell


# --- what is claimed --------------------------------------------------------------------------------------------


def _thresholds(*, marked: bool) -> Tell:
    """A relative threshold just above the worst error, chosen with the evidence in view."""

    def tell(folder: Path, seed: int) -> Told:
        chosen = replace(default_thresholds(), relative=("0.01", "0.02", "0.0731"), post_hoc=True)
        options = CertifyOptions(attribution=ATTRIBUTION, thresholds=chosen)
        made = make_bundle(folder, seed=seed, pair=rounded(int8), options=options)
        if not marked:
            change_statement(made, lambda s: s["predicate"]["thresholds"].update(post_hoc=False))
        return Told(made, {"replay": "all"})

    return tell


def _left_out(folder: Path, seed: int) -> Told:
    kept = default_predicates(default_thresholds())[3:4]
    options = CertifyOptions(attribution=ATTRIBUTION, predicates=kept)
    made = make_bundle(folder, seed=seed, pair=rounded(int8), options=options)
    return Told(made, {"replay": "all", "corpus": made.corpus, "fresh": WINDOWS})


OWN_TEXTS = "--own shows it, on other texts"
_SAME_DRAW = Fraction(1, perm(WINDOWS - CALIBRATION, CERTIFICATION))
"""The chance that another surrogate draws the same prompts in the same order."""

ATTACKS: tuple[Attack, ...] = (
    Attack("evidence: every row's error halved", _lowered, "replay.cell.refuted"),
    Attack("evidence: every row's error lower by 1e-7 of it", _within_tolerance, None, "inside the tolerance"),
    Attack("evidence: an infinity", _infinite, "evidence.not_finite"),
    Attack("evidence of another model", _others, "replay.cell.refuted"),
    Attack("evidence of a float16 copy for an int8 copy", _finer(int8), "replay.cell.refuted"),
    Attack("evidence of a float16 copy for a bfloat16 copy", _finer(bfloat16), "replay.cell.refuted"),
    Attack("two blocks of the surrogate exchanged after measuring", _swapped_after, "replay.cell.refuted"),
    Attack("two blocks of the reference exchanged after measuring", _swapped_reference_after, "replay.cell.refuted"),
    Attack(
        "two blocks of the reference exchanged before measuring",
        _swapped_reference_before,
        None,
        "--transformers does, where it is installed",
    ),
    Attack("  the same, beside transformers", _beside_transformers, "fidelity.mismatch"),
    Attack("weights of the surrogate that overflow, finite evidence", _overflowing, "replay.cell.refuted"),
    Attack(
        "all logits of the surrogate equal, top-1 said to agree everywhere",
        _tied(equal_logits, "top1_agree", slice(None), LENGTH),
        UNRESOLVED,
    ),
    Attack(
        "all ratios just above a threshold, all tokens said to be covered",
        _tied(just_above, "covered", (slice(None), 1, 0), LENGTH),
        UNRESOLVED,
    ),
    Attack(
        "a ramp of frequencies between two float64 numbers",
        _tied(narrow_ramp, "error", (slice(None), 1), 0),
        UNRESOLVED,
    ),
    Attack("bfloat16 weights passed off as the original", _passed_off(bfloat16), "integrity.digest.mismatch"),
    Attack("int8 weights passed off as the original", _passed_off(int8), "integrity.digest.mismatch"),
    Attack(
        "  the same, to a reader who has no other copy",
        _own_copy,
        None,
        "the publisher's digest, compared by the reader, does",
    ),
    Attack(
        "a surrogate fitted to its prompts, window numbers kept",
        _fitted(relabelled=False, corpus=False),
        "recompute.draw.mismatch",
        theory=1 - _SAME_DRAW,
    ),
    Attack(
        "  the same, window numbers put right, with the corpus",
        _fitted(relabelled=True, corpus=True),
        "frame.mismatch",
        theory=1 - _SAME_DRAW,
    ),
    Attack(
        "  the same, without the corpus",
        _fitted(relabelled=True, corpus=False),
        None,
        "--corpus does; reported as frame unverified",
    ),
    Attack("a prompt listed twice", _repeated(relabelled=False, corpus=False), "recompute.draw.mismatch"),
    Attack(
        "  the same, window numbers put right, with the corpus",
        _repeated(relabelled=True, corpus=True),
        "frame.mismatch",
    ),
    Attack(
        "  the same, without the corpus",
        _repeated(relabelled=True, corpus=False),
        None,
        "--corpus does; reported as frame unverified",
    ),
    Attack("a threshold chosen afterwards, not marked", _thresholds(marked=False), "thresholds.post_hoc"),
    Attack("  the same, marked", _thresholds(marked=True), None, "shown as chosen after the fact"),
    Attack("predicates evaluated and left out", _left_out, None, "fresh prompts give the reader numbers of its own"),
    Attack("texts picked to be easy, all rows and all fresh windows", _easy(own=False), None, OWN_TEXTS),
    Attack("  the same, beside own texts", _easy(own=True), "own.differs", "shown, and decides nothing"),
    Attack("a trigger outside the population, all fresh windows", _trigger(own=False), None, OWN_TEXTS),
    Attack(
        "  the same, beside own texts that hold the trigger",
        _trigger(own=True),
        "own.differs",
        "shown, and decides nothing",
    ),
)
