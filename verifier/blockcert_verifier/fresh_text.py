"""What a report says of the verifier's own rows, as lines of at most 80 columns."""

from __future__ import annotations

from collections.abc import Sequence

from blockcert.numbers import parse_decimal
from blockcert_verifier.fresh_report import Fresh, FreshMaximum
from blockcert_verifier.layout import columns, percent, short, wrap

__all__ = ["fresh_lines"]

MOST_MAXIMA = 8
_NAMES = {
    "error": "error",
    "relative_error": "relative error",
    "drift": "drift",
    "relative_drift": "relative drift",
    "logit_difference": "logit difference",
    "kl_max": "KL, one position",
}


def fresh_lines(fresh: Sequence[Fresh]) -> list[list[str]]:
    """The paragraphs of each population that the verifier drew rows from."""
    return [_population(one) for one in fresh]


def _population(one: Fresh) -> list[str]:
    if one.population == "frame":
        first = f"Fresh prompts: {one.rows} of the {one.windows} windows that the producer did not use"
    else:
        first = f"Your own texts: {one.rows} of their {one.windows} windows, a population of its own"
    known = "the seed you gave: repeatable" if one.repeatable else "a seed that the producer could not know"
    what = f"measured by this verifier, drawn with {known}; jointly at {percent(parse_decimal(one.confidence))} %"
    lines = [*wrap(first), *wrap(f"{what} confidence [population, measurement]", "  ", "  ")]
    for count, why in ((one.unresolved, "could not be resolved"), (one.not_finite, "gave a value that is not finite")):
        if count:
            lines += wrap(f"{count} of them {why}, and count as no success.", "  ", "  ")
    if one.predicates:
        lines += _predicates(one)
    lines += _maxima(one)
    lines += _means(one)
    return [*lines, *_end(one)]


def _told(probability: str, differs: bool) -> str:
    """A probability, with a sign behind it where it is below the level of one test."""
    return short(probability) + ("*" if differs else " ")


def _predicates(one: Fresh) -> list[str]:
    """Counts first; then, where the windows are the certificate's, what is claimed of them and what still can be."""
    counts: list[tuple[str, ...]] = []
    bounds: list[tuple[str, ...]] = [("windows of which", "claimed", "at least", "at most")]
    for p in one.predicates:
        own = () if one.population == "frame" else (str(p.at_least),)
        seen = (f"{p.stated_successes}/{p.stated_trials}", f"{p.successes}/{one.rows}")
        counts.append((p.claim, *seen, _told(p.probability, p.differs), *own))
        bounds.append((p.claim, str(p.stated_at_least), str(p.at_least_all), str(p.at_most_all)))
    least = () if one.population == "frame" else ("at least",)
    lines = columns([("prompts of which", "listed", "own", "chance ", *least), *counts])
    return [*lines, *(columns(bounds) if one.population == "frame" else [])]


def _maxima(one: Fresh) -> list[str]:
    above = sorted((m for m in one.maxima if m.exceedances), key=lambda m: parse_decimal(m.probability))
    if not above:
        return wrap(f"No own row lies above any of the {len(one.maxima)} stated maxima.", "  ", "  ")
    rows = [
        (
            _name(m),
            short(m.stated),
            short(m.largest or "-"),
            f"{m.exceedances}/{one.rows}",
            _told(m.probability, m.differs),
        )
        for m in above[:MOST_MAXIMA]
    ]
    lines = columns([("maximum of", "stated", "own", "above", "chance "), *rows])
    rest = len(above) - len(rows)
    return [*lines, f"  and {rest} more; --json FILE has them all"] if rest else lines


def _name(maximum: FreshMaximum) -> str:
    where = "" if maximum.stage is None else f", stage {maximum.stage}"
    return f"{_NAMES[maximum.name]}{where}"


def _means(one: Fresh) -> list[str]:
    rows = [
        ("KL", one.stated_kl_mean, one.kl_mean),
        ("loss difference", one.stated_loss_difference, one.loss_difference),
    ]
    shown = [(name, short(stated, nearest=True), short(own, nearest=True)) for name, stated, own in rows if own]
    return columns([("mean per position", "listed", "own"), *shown]) if shown else []


def _end(one: Fresh) -> list[str]:
    differ = sum(m.differs for m in (*one.predicates, *one.maxima))
    level = percent(1 - parse_decimal(one.confidence))
    each = f"({one.tests} tests, each at its share of {level} %)"
    if differ:
        verb = "differs" if differ == 1 else "differ"
        said = f"* {differ} of these {verb} from the listed prompts beyond chance {each}."
    else:
        said = f"These prompts and the listed ones agree within chance {each}."
    less = " Other texts are another population: this decides nothing." if one.population == "own" else ""
    return wrap(said + less, "  ", "  ")
