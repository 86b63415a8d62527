"""Evidence that cannot be: columns, cells and counts that contradict what they are defined to be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from blockcert_producers.conformance.changes import bundle, evidence, header_text, prompts
from blockcert_producers.conformance.draft import EVIDENCE, PROMPTS
from blockcert_producers.conformance.entry import accepted, case, rejected
from blockcert_producers.conformance.repair import restate
from blockcert_producers.conformance.tensors import raw, read_column, split, to_bytes

__all__ = ["CASES"]

COLUMNS, DEFINITION, COUNT = "evidence.columns", "evidence.definition", "evidence.count"


def header(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    """A file whose header's entries are changed."""

    def apply(data: bytes) -> bytes:
        found, cells = split(data)
        change(found)
        return raw(found, cells)

    return apply


def without(*names: str) -> Callable[[bytes], bytes]:
    """A file without some of its tensors."""

    def apply(data: bytes) -> bytes:
        found, _ = split(data)
        return to_bytes({n: read_column(data, n) for n in found if n not in (*names, "__metadata__")})

    return apply


def with_one_more(data: bytes) -> bytes:
    found, _ = split(data)
    tensors = {n: read_column(data, n) for n in found if n != "__metadata__"}
    return to_bytes(
        {**tensors, "extra": tensors["split"]} if "split" in tensors else {**tensors, "extra": tensors["error"]}
    )


def as_float32(data: bytes) -> bytes:
    found, _ = split(data)
    tensors = {n: read_column(data, n) for n in found if n != "__metadata__"}
    return to_bytes({**tensors, "drift": tensors["drift"].astype("<f4")})


# what is so by definition where stage 2 and the head are one program on both sides, at row 3
DEFINED: tuple[tuple[str, str, Any, Any, str], ...] = (
    ("error", "An error of a stage that is one program", (3, 2), 1e-30, "BC-EVD-04"),
    ("relative_error", "A relative error of a stage that is one program", (3, 2), 1e-30, "BC-EVD-04"),
    ("relative_update_error", "A relative update error of a stage that is one program", (3, 1), 1e-30, "BC-EVD-04"),
    ("covered", "A token less covered in a stage that is one program", (3, 2, 1), 7, "BC-EVD-04"),
    ("attribution.loss_within", "A position less within in a stage that is one program", (1, 2, 0), 6, "BC-EVD-04"),
    ("attribution.hybrid_step", "A step of a stage that is one program", (1, 2), 1e-30, "BC-EVD-04"),
    ("drift", "A drift before any stage differs", (3, 0), 1e-30, "BC-EVD-04"),
    ("relative_drift", "A relative drift before any stage differs", (3, 0), 1e-30, "BC-EVD-04"),
    ("identity.error", "An error of the control at the head", (3, 3), 1e-30, "BC-EVD-05"),
    ("identity.relative_error", "A relative error of the control at the embedding", (3, 0), 1e-30, "BC-EVD-05"),
    ("identity.covered", "A token less covered by the control at the head", (3, 3, 0), 7, "BC-EVD-05"),
    ("identity.drift", "A drift of the control at the embedding", (3, 0), 1e-30, "BC-EVD-05"),
    ("identity.relative_drift", "A relative drift of the control at the embedding", (3, 0), 1e-30, "BC-EVD-05"),
)
SAME: tuple[tuple[str, Any, Any], ...] = (
    ("logit_difference", (3,), 1e-30),
    ("loss_difference", (3,), -1e-30),
    ("kl_sum", (3,), 1e-30),
    ("kl_max", (3,), 1e-30),
    ("top1_agree", (3,), 7),
    ("loss_within", (3, 0), 6),
)
COUNTS: tuple[tuple[str, Any, int], ...] = (
    ("covered", (3, 1, 2), 9),
    ("identity.covered", (3, 1, 2), 9),
    ("top1_agree", (3,), 9),
    ("decided", (3,), 9),
    ("identity.top1_agree", (3,), 9),
    ("identity.decided", (3,), 9),
    ("loss_within", (3, 2), 8),
    ("attribution.loss_within", (1, 1, 2), 8),
)


def slug(column: str) -> str:
    return column.replace(".", "-").replace("_", "-")


CASES = (
    case(
        "evidence::column-missing",
        "A column is missing",
        "BC-EVD-01",
        rejected(COLUMNS),
        bundle(EVIDENCE, without("kl_max")),
    ),
    case("evidence::column-more", "A column more", "BC-EVD-01", rejected(COLUMNS), bundle(EVIDENCE, with_one_more)),
    case(
        "evidence::column-of-a-hostile-name",
        "A column whose name would colour a terminal, in the place of another",
        "BC-EVD-01",
        rejected(COLUMNS),
        header_text(EVIDENCE, lambda text: text.replace(b'"drift"', b'"\\u001b[31m"')),
    ),
    case(
        "evidence::prompts-column-of-a-hostile-name",
        "A column of the prompts whose name would turn the writing around, in the place of another",
        "BC-PRM-03",
        rejected("prompts.columns"),
        header_text(PROMPTS, lambda text: text.replace(b'"split"', b'"\\u202esplit"')),
    ),
    case(
        "evidence::column-of-float32",
        "A column in float32",
        "BC-EVD-01",
        rejected(COLUMNS),
        bundle(EVIDENCE, as_float32),
    ),
    case(
        "evidence::column-of-another-shape",
        "A column with its axes exchanged",
        "BC-EVD-01",
        rejected(COLUMNS),
        bundle(EVIDENCE, header(lambda h: h["drift"].update(shape=[4, 6]))),
    ),
    case(
        "evidence::attribution-without-rows",
        "Columns of attribution where no row has any",
        "BC-EVD-01",
        rejected(COLUMNS),
        bundle(
            EVIDENCE,
            lambda data: to_bytes(
                {
                    **{n: read_column(data, n) for n in split(data)[0]},
                    "attribution.hybrid_step": read_column(data, "error")[:2, :3],
                }
            ),
        ),
        base="no-attribution",
    ),
    case(
        "evidence::nan",
        "A cell that is NaN",
        "BC-EVD-02 BC-NUM-08",
        rejected("evidence.not_finite"),
        evidence("drift", (3, 1), float("nan")),
    ),
    case(
        "evidence::infinity",
        "A cell that is infinite",
        "BC-EVD-02 BC-NUM-08",
        rejected("evidence.not_finite"),
        evidence("loss_difference", (3,), float("-inf")),
    ),
    case(
        "evidence::negative-norm",
        "A norm below 0",
        "BC-EVD-02",
        rejected("evidence.negative"),
        evidence("error", (3, 1), -1e-300),
    ),
    case(
        "evidence::negative-count",
        "A count below 0",
        "BC-EVD-02",
        rejected("evidence.negative"),
        evidence("decided", (3,), -1),
    ),
    *(
        case(
            f"evidence::count-{slug(name)}",
            f"A count of {name} of more than there is",
            "BC-EVD-03",
            rejected(COUNT),
            evidence(name, index, value),
            restate,
        )
        for name, index, value in COUNTS
    ),
    *(
        case(
            f"evidence::defined-{slug(name)}",
            tests,
            requirements,
            rejected(DEFINITION),
            evidence(name, index, value),
            restate,
        )
        for name, tests, index, value, requirements in DEFINED
    ),
    *(
        case(
            f"evidence::same-{slug(name)}",
            f"A cell of {name} that differs between equal programs",
            "BC-EVD-04",
            rejected(DEFINITION),
            evidence(name, index, value),
            restate,
            base="same",
        )
        for name, index, value in SAME
    ),
    case(
        "evidence::cells-that-disagree",
        "A drift above its telescoping sum is left to replay",
        "BC-EVD-09",
        accepted("recompute.claims"),
        evidence("drift", (1, 2), 1e6),
        restate,
    ),
    case(
        "prompts::column-missing",
        "Prompts without their splits",
        "BC-PRM-03",
        rejected("prompts.columns"),
        bundle(PROMPTS, without("split")),
    ),
    case(
        "prompts::column-more",
        "Prompts with a column more",
        "BC-PRM-03",
        rejected("prompts.columns"),
        bundle(PROMPTS, with_one_more),
    ),
    case(
        "prompts::another-shape",
        "Prompts of another length",
        "BC-PRM-03",
        rejected("prompts.columns"),
        bundle(PROMPTS, header(lambda h: h["tokens"].update(shape=[8, 9]))),
    ),
    case(
        "prompts::token-outside",
        "A token outside the vocabulary",
        "BC-PRM-04",
        rejected("prompts.token"),
        prompts("tokens", (4, 1), 11),
    ),
    case(
        "prompts::token-negative",
        "A token below 0",
        "BC-PRM-04",
        rejected("prompts.token"),
        prompts("tokens", (0, 0), -1),
    ),
    case(
        "prompts::bos",
        "A row that does not begin with the frame's first token",
        "BC-PRM-04",
        rejected("prompts.bos"),
        prompts("tokens", (5, 0), 2),
        base="bos",
    ),
    case(
        "prompts::another-window",
        "A window that the draw does not give",
        "BC-PRM-05 BC-PRM-10",
        rejected("recompute.draw.mismatch"),
        prompts("window", (4,), lambda w: (w + 1) % 40),
    ),
    case(
        "prompts::calibration-window",
        "A calibration window that the draw does not give",
        "BC-PRM-05 BC-PRM-09",
        rejected("recompute.draw.mismatch"),
        prompts("window", (0,), lambda w: (w + 1) % 40),
    ),
    case(
        "prompts::split",
        "A calibration row that says it is a certification row",
        "BC-PRM-03 BC-PRM-05",
        rejected("recompute.draw.mismatch"),
        prompts("split", (0,), 1),
    ),
    case(
        "prompts::order",
        "Two windows in another order than drawn",
        "BC-PRM-03 BC-PRM-08 BC-PRM-10",
        rejected("recompute.draw.mismatch"),
        prompts("window", ([4, 5],), lambda w: w[::-1].copy()),
    ),
)
