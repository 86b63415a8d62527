"""Fresh prompts: the verifier draws windows that nobody listed, measures both programs itself, and compares.

Normative text: ``spec/10-verification.md``, "Fresh prompts" (BC-VER-20 to 24); why what fails does and what does not is
in ``spec/rationale/0011-fresh-prompts.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Struct

from blockcert.digest import digest_file
from blockcert.draw import corpus_digest, fresh_windows, own_windows
from blockcert.errors import Refusal
from blockcert.findings import Finding
from blockcert.numbers import format_decimal
from blockcert.statement import Statement
from blockcert_verifier.counted import verb
from blockcert_verifier.fresh_report import Fresh, FreshMaximum, FreshPredicate
from blockcert_verifier.steps import recompute
from blockcert_verifier.steps.outcome import capped, failed, failures, from_refusal, inconclusive, passed, skipped

if TYPE_CHECKING:
    from blockcert_verifier.corpus import Population
    from blockcert_verifier.measure import Measured

__all__ = ["BETA", "MOST_ROWS", "FreshInputs", "Wanted", "fresh", "fresh_step", "own"]

Rows: TypeAlias = Callable[[Any], "Measured"]
"""Measures both programs on token ids, int64, rows x T."""

BETA = Fraction(1, 100)
"""One minus the joint confidence of what is stated of one population."""
MOST_ROWS = 4096
"""Most rows that one comparison draws: probabilities are worked out exactly."""
PLACE = "fresh prompts"


class FreshInputs(Struct, frozen=True):
    """What a comparison on fresh prompts needs.

    ``same`` says for each stage whether it is one program on both sides. ``certificate`` is the BLAKE3 of the payload
    and ``seed`` the verifier's; ``repeatable`` says that the seed was given.
    """

    statement: Statement
    same: tuple[bool, ...]
    certificate: bytes
    seed: bytes
    repeatable: bool
    beta: Fraction = BETA


class Wanted(Struct, frozen=True):
    """What was asked for: ``rows`` of the frame's unused windows, and texts of the verifier's own with a tokenizer."""

    rows: int = 0
    own: tuple[Path, ...] = ()
    tokenizer: Path | None = None


def fresh_step(
    inputs: FreshInputs,
    wanted: Wanted,
    windows: Population | None,
    used: Sequence[int],
    sizes: tuple[int, int],
    measure_rows: Rows | None,
    ended: Callable[[], bool] = lambda: False,
) -> tuple[tuple[Fresh, ...], list[Finding]]:
    """The whole step: the frame's fresh windows, then the verifier's own texts, each as far as it was asked for.

    ``windows`` are the frame's where the corpus gave them; ``sizes`` are vocabulary and context. ``measure_rows`` is
    None where the reference model is not at hand; it raises ``Stopped`` where measuring ended before a single row, and
    ``ended`` says whether it did before all of them. What was measured of the frame by then is kept.

    Raises:
        Refusal: ``install.corpus`` where own texts were given and the package that reads them is missing.
        Stopped: where none of the first windows was measured.
    """
    if not (wanted.rows or wanted.own):
        return (), [_not_run("no fresh prompts were asked for")]
    if measure_rows is None:
        return (), [_not_run("the reference model is not at hand, and both programs are measured on fresh prompts")]
    found: list[Fresh | None] = []
    if not wanted.rows:
        findings = [_not_run("no fresh prompts of the frame were asked for")]
    elif windows is None:
        findings = [_not_run("fresh windows are drawn from the frame's corpus, which was not given whole")]
    else:
        one, findings = fresh(inputs, windows, used, wanted.rows, measure_rows)
        found.append(one)
    if wanted.own and not failures(findings) and not ended():
        from blockcert_verifier.work import Stopped

        texts = _own_texts(inputs.statement, wanted, sizes)
        if isinstance(texts, Finding):
            findings.append(texts)
        else:
            try:
                one, more = own(inputs, texts, wanted.rows, measure_rows)
            except Stopped:
                if not found:
                    raise
                one, more = None, []
            found.append(one)
            findings += more
    return tuple(one for one in found if one is not None), findings


def _own_texts(statement: Statement, wanted: Wanted, sizes: tuple[int, int]) -> Population | Finding:
    from blockcert_verifier.corpus import read_population

    stated = statement.predicate.prompts.frame
    try:
        if wanted.tokenizer is None or digest_file(wanted.tokenizer).blake3 != stated.tokenizer.blake3:
            return _not_run("own texts are read with the frame's tokenizer.json, which was not given")
        return read_population(
            wanted.own,
            wanted.tokenizer,
            length=stated.length,
            bos=stated.tokenizer.bos,
            vocabulary=sizes[0],
            context=sizes[1],
            tokenizer_blake3=stated.tokenizer.blake3,
        )
    except Refusal as refusal:
        if refusal.code == "install.corpus":
            raise
        return _not_run(f"{refusal.place}: {refusal.sentence}")


def fresh(
    inputs: FreshInputs,
    windows: Population,
    used: Sequence[int],
    asked: int,
    measure_rows: Rows,
) -> tuple[Fresh | None, list[Finding]]:
    """The verifier's own counts on ``asked`` windows of the frame that are not ``used``, and what follows from them.

    ``windows`` are the frame's, derived again.
    """
    left = windows.windows - len(used)
    count = min(asked, left, MOST_ROWS)
    if count == 0:
        return None, [_not_run("every window of the frame was used by the producer: none is left to draw")]
    drawn = fresh_windows(inputs.certificate, inputs.seed, windows.windows, used, count)
    try:
        found = _compare(inputs, windows, drawn, "frame", left, asked, measure_rows)
    except Refusal as refusal:
        return None, [from_refusal("fresh", refusal)]
    return found, _findings(found)


def own(inputs: FreshInputs, windows: Population, asked: int, measure_rows: Rows) -> tuple[Fresh | None, list[Finding]]:
    """The same on the verifier's own texts: ``asked`` of their windows, or all where that is 0. It decides nothing."""
    count = min(asked or MOST_ROWS, windows.windows, MOST_ROWS)
    if count == 0:
        return None, [_not_run(f"the own texts have no window of {windows.length} tokens")]
    digest = corpus_digest([file.blake3 for file in windows.corpus])
    drawn = own_windows(inputs.certificate, inputs.seed, digest, windows.windows, count)
    try:
        found = _compare(inputs, windows, drawn, "own", windows.windows, asked or windows.windows, measure_rows)
    except Refusal as refusal:
        return None, [from_refusal("fresh", refusal)]
    return found, []


def _not_run(why: str) -> Finding:
    return skipped("fresh", "fresh.not_run", PLACE, why)


def _compare(
    inputs: FreshInputs,
    windows: Population,
    drawn: Sequence[int],
    population: str,
    size: int,
    asked: int,
    measure_rows: Rows,
) -> Fresh:
    from blockcert_verifier.steps import beside

    p = inputs.statement.predicate
    claims, terms = p.claims, recompute.terms(inputs.statement, inputs.same)
    rows = beside.gather(
        windows.tokens(drawn).astype("int64"), measure_rows, recompute.evidence_shape(inputs.statement)
    )
    return Fresh(
        population=population,  # pyright: ignore[reportArgumentType]
        windows=size,
        asked=asked,
        rows=rows.rows,
        unresolved=rows.unresolved,
        not_finite=rows.not_finite,
        seed=inputs.seed.hex(),
        repeatable=inputs.repeatable,
        confidence=format_decimal(1 - inputs.beta),
        tests=beside.tests(claims),
        predicates=beside.predicates(claims, terms, rows, size, inputs.beta, of_frame=population == "frame"),
        maxima=beside.maxima(claims, rows, claims.population.trials, inputs.beta),
        stated_kl_mean=claims.end_to_end.kl_mean,
        kl_mean=beside.mean(rows, "kl_sum", windows.length),
        stated_loss_difference=claims.end_to_end.loss_difference,
        loss_difference=beside.mean(rows, "loss_difference", windows.length),
    )


def _findings(found: Fresh) -> list[Finding]:
    findings = [failed("fresh", "fresh.claim.refuted", PLACE, _refuted(found, one)) for one in _impossible(found)]
    findings += [
        inconclusive("fresh", "fresh.disagreement", PLACE, _disagrees(found, one))
        for one in (*found.predicates, *found.maxima)
        if one.differs
    ]
    if found.unresolved == found.rows:
        sentence = f"none of the {found.rows} fresh rows could be resolved: they decide nothing"
        findings.append(inconclusive("fresh", "fresh.unresolved", PLACE, sentence))
    if findings:
        return capped(findings)
    less = f" ({found.asked} were asked for)" if found.rows < found.asked else ""
    open_ = f", {found.unresolved} of them not resolved" if found.unresolved else ""
    were, agree = verb(found.rows, "was", "were"), verb(found.rows, "agrees", "agree")
    sentence = f"{found.rows} of {found.windows} unused windows{less} {were} measured{open_}, and {agree} within chance"
    return [passed("fresh", "fresh.rows", PLACE, sentence)]


def _impossible(found: Fresh) -> list[FreshPredicate]:
    return [one for one in found.predicates if one.at_most_all is not None and one.at_most_all < one.stated_at_least]


def _refuted(found: Fresh, one: FreshPredicate) -> str:
    return (
        f"{one.claim}: at least {one.stated_at_least} windows are claimed, and at confidence {found.confidence} "
        f"at most {one.at_most_all} do, since {one.successes} of {found.rows} fresh prompts do"
    )


def _disagrees(found: Fresh, one: FreshPredicate | FreshMaximum) -> str:
    if isinstance(one, FreshPredicate):
        seen = (
            f"{one.claim}: {one.stated_successes} of {one.stated_trials} listed prompts do and {one.successes} of "
            f"{found.rows} fresh ones"
        )
    else:
        where = "" if one.stage is None else f" of stage {one.stage}"
        seen = (
            f"{one.name}{where}: {one.exceedances} of {found.rows} fresh prompts lie above the stated maximum "
            f"{one.stated}, the largest at {one.largest}"
        )
    return f"{seen}; by chance that has probability {one.probability} at most"
