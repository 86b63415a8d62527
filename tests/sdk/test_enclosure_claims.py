"""Claims about proven rows, recomputed from the ends in the evidence, beside a plain second implementation."""

from __future__ import annotations

from decimal import ROUND_CEILING, Context, Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockcert.enclosures import enclosure_claims
from blockcert.errors import Refusal
from blockcert.evidence import ENCLOSED, ENCLOSURE, EvidenceShape, columns
from blockcert.evidence_file import EvidenceTable
from blockcert.statement import Claims

SHAPE = EvidenceShape(2, 5, 3, relative_thresholds=2, loss_thresholds=3, enclosed_rows=4)
SAME = (True, False, True, False)
LENGTH = 7
UNIT = "0.000000000000000000000000000001"
ends = st.floats(0, 1e30, allow_nan=False)


def table(draw: Any) -> EvidenceTable:
    """Evidence with these ends; the other columns do not matter here."""
    cells: dict[str, list[Any]] = {}
    for column in columns(SHAPE):
        count = 1
        for size in column.shape:
            count *= size
        if column.name.startswith(ENCLOSURE):
            one = st.integers(0, LENGTH) if column.dtype == "I64" else ends
            cells[column.name] = draw(st.lists(one, min_size=count, max_size=count))
        else:
            cells[column.name] = [0] * count
    return EvidenceTable(SHAPE, cells)


def bound(values: list[float], same: bool) -> str:
    """Six digits and thirty decimals, upward, by the decimal module."""
    value = Decimal(max(values))
    if not value:
        return "0" if same else UNIT
    rounded = Context(prec=6, rounding=ROUND_CEILING).plus(value)
    if rounded.as_tuple().exponent < -30:  # type: ignore[operator]
        rounded = value.quantize(Decimal(UNIT), rounding=ROUND_CEILING, context=Context(prec=400))
    text = format(rounded, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


@given(st.data())
def test_claims_are_maxima_and_sums_of_the_ends(data: st.DataObject) -> None:
    """BC-CLM-18."""
    made = table(data.draw)
    found = enclosure_claims(made, LENGTH, SAME)
    assert found is not None

    def cells(name: str, *index: int) -> list[float]:
        return list(made.at(f"enclosure.{name}", *index))

    assert (found.rows, found.tokens, found.loss_tokens) == (4, 4 * LENGTH, 4 * (LENGTH - 1))
    assert (found.scope, found.basis) == ("listed-prompts", "enclosure")
    assert found.bits == max(cells("bits"))
    for stage in found.stages:
        i = stage.index
        assert stage.error == bound(cells("error", i), SAME[i])
        assert stage.relative_error == bound(cells("relative_error", i), SAME[i])
        assert stage.covered == tuple(sum(cells("covered", i, r)) for r in range(2))
        update = bound(cells("relative_update_error", i - 1), SAME[i]) if i in (1, 2) else None
        assert stage.relative_update_error == update
    assert (found.drift, found.relative_drift) == tuple(bound(cells(n, 2), False) for n in ("drift", "relative_drift"))
    assert found.logit_difference == bound(cells("logit_difference"), False)
    assert found.kl_max == bound(cells("kl_max"), False)
    assert (found.top1_agree, found.decided) == tuple(sum(cells(name)) for name in ("top1_agree", "decided"))
    assert found.loss_within == tuple(sum(cells("loss_within", q)) for q in range(3))


def test_without_enclosed_rows_there_are_no_columns_and_no_claims() -> None:
    shape = msgspec.structs.replace(SHAPE, enclosed_rows=0)
    assert not [column for column in columns(shape) if column.name.startswith(ENCLOSURE)]
    assert enclosure_claims(EvidenceTable(shape, {}), LENGTH, SAME) is None
    assert "enclosures" not in msgspec.to_builtins(Claims((), (), None, None, None))  # type: ignore[arg-type]


def test_a_column_of_ends_has_the_dtype_and_the_axes_of_its_column() -> None:
    """BC-EVD-10."""
    named = {column.name: column for column in columns(SHAPE)}
    for name in ENCLOSED:
        assert named[ENCLOSURE + name].dtype == named[name].dtype
        assert named[ENCLOSURE + name].shape == (4, *named[name].shape[1:])
    assert [column.name for column in columns(SHAPE)][-12:] == [
        *(ENCLOSURE + name for name in ENCLOSED),
        "enclosure.bits",
    ]


def test_an_end_that_no_decimal_string_states_is_refused() -> None:
    cells = {column.name: [1e300] * 200 for column in columns(SHAPE)}
    with pytest.raises(Refusal) as refused:
        enclosure_claims(EvidenceTable(SHAPE, cells), LENGTH, SAME)
    assert refused.value.code == "number.not_decimal"
