"""Programs that are not well formed, seen from their document alone."""

from __future__ import annotations

from typing import Any

from blockcert_producers.conformance.changes import DROP, program, step
from blockcert_producers.conformance.draft import Draft
from blockcert_producers.conformance.entry import Entry, case, rejected
from blockcert_producers.conformance.repair import around

__all__ = ["CASES"]

Row = tuple[str, str, str, str, Any]


def swapped(document: list[Any]) -> list[Any]:
    return [document[1], document[0], *document[2:]]


def elsewhere(draft: Draft) -> None:
    document = draft.program("surrogate")
    document["files"].append({"name": "elsewhere.safetensors", "size": 1, "blake3": "00" * 32})
    document["stages"][1]["steps"][0]["weight"]["file"] = "elsewhere.safetensors"
    draft.set_program("surrogate", document)


def foreign(draft: Draft) -> None:
    document = draft.program("reference")
    document["files"].append(draft.program("surrogate")["files"][1])
    document["stages"][1]["steps"][0]["weight"]["file"] = "programs/surrogate.safetensors"
    draft.set_program("reference", document)


def sizes(draft: Draft) -> None:
    document = draft.program("surrogate")
    document["vocabulary"] = 12
    draft.set_program("surrogate", document)


def set_new(side: str, stage: int, out: str, path: tuple[str, ...], value: Any) -> Any:
    """A field that the step does not have yet."""

    def apply(draft: Draft) -> None:
        document = draft.program(side)
        found = next(s for s in document["stages"][stage]["steps"] if s["out"] == out)
        for name in path[:-1]:
            found = found[name]
        found[path[-1]] = value
        draft.set_program(side, document)

    return apply


def tokens_added(draft: Draft) -> None:
    document = draft.program("surrogate")
    stage = document["stages"][0]
    stage["steps"].append({"op": "add", "out": "both", "left": stage["output"], "right": "tokens"})
    stage["output"] = "both"
    draft.set_program("surrogate", document)


def period(draft: Draft) -> None:
    set_new("surrogate", 1, "attended", ("map", "weight", "rows"), [2, 6])(draft)
    set_new("surrogate", 1, "attended", ("map", "weight", "period"), 4)(draft)


ROWS: tuple[Row, ...] = (
    (
        "stages-out-of-order",
        "A block before the embedding",
        "BC-PRG-02",
        "program.stage.order",
        program("surrogate", "stages", swapped),
    ),
    (
        "two-heads",
        "A head in the place of a block",
        "BC-PRG-02",
        "program.stage.order program.width.mismatch",
        program("surrogate", "stages[2].kind", "head"),
    ),
    (
        "no-blocks",
        "An embedding and a head alone",
        "BC-PRG-02",
        "json.type",
        program("surrogate", "stages", lambda s: [s[0], s[-1]]),
    ),
    (
        "file-that-cannot-be-printed",
        "A step reads a file that is not listed, named with a character that is none (U+05CC)",
        "BC-PRG-04",
        "program.file.unlisted",
        program("surrogate", "stages[1].steps[0].weight.file", "programs/\u05cc.safetensors"),
    ),
    (
        "embed-in-a-block",
        "A block that looks up tokens",
        "BC-PRG-02",
        "program.value.undefined",
        program("surrogate", "stages[1].steps[0]", lambda s: {"op": "embed", "out": s["out"], "weight": s["weight"]}),
    ),
    (
        "undefined",
        "A step reads what nothing defines",
        "BC-PRG-03",
        "program.value.undefined program.value.unused",
        step("surrogate", 1, "middle", "right", "nowhere"),
    ),
    (
        "undefined-later",
        "A step reads what only a later step defines",
        "BC-PRG-03",
        "program.value.undefined",
        step("surrogate", 1, "q", "input", "mlp_in"),
    ),
    (
        "tokens-as-a-value",
        "A step of the embedding adds the token numbers themselves",
        "BC-PRG-03",
        "program.value.undefined",
        tokens_added,
    ),
    (
        "output-undefined",
        "A stage's result is not defined",
        "BC-PRG-03",
        "program.value.undefined",
        program("surrogate", "stages[1].output", "nowhere"),
    ),
    (
        "redefined",
        "A value is assigned twice",
        "BC-PRG-03",
        "program.value.redefined program.value.undefined",
        step("surrogate", 1, "k", "out", "q"),
    ),
    (
        "hidden-assigned",
        "A step assigns to hidden",
        "BC-PRG-03",
        "program.value.redefined program.value.undefined",
        step("surrogate", 1, "normed", "out", "hidden"),
    ),
    (
        "unused",
        "A value that nothing reads",
        "BC-PRG-03",
        "program.value.unused",
        step("surrogate", 1, "middle", "right", "hidden"),
    ),
    (
        "unused-file",
        "A file that no step reads",
        "BC-PRG-04",
        "program.file.unused",
        program("surrogate", "files", lambda f: [*f, {"name": "x.safetensors", "size": 0, "blake3": "00" * 32}]),
    ),
    (
        "file-twice",
        "A file under two spellings of its name",
        "BC-PRG-04",
        "program.file.duplicate program.file.unused",
        program("surrogate", "files", lambda f: [*f, {**f[1], "name": f[1]["name"].upper()}]),
    ),
    (
        "file-unlisted",
        "A step reads a file that is not listed",
        "BC-PRG-04",
        "program.file.unlisted",
        step("surrogate", 1, "normed", "weight.file", "elsewhere.safetensors"),
    ),
    (
        "file-not-a-subject",
        "A program lists a file that the statement does not",
        "BC-PRG-04",
        "program.file.unlisted",
        elsewhere,
    ),
    (
        "file-of-another-digest",
        "A program means another file of that name",
        "BC-PRG-04",
        "program.file.mismatch",
        program("surrogate", "files[1].blake3", "00" * 32),
    ),
    (
        "file-of-another-size",
        "A program means a file of another size",
        "BC-PRG-04",
        "program.file.mismatch",
        program("surrogate", "files[1].size", lambda n: n + 1),
    ),
    (
        "foreign-file",
        "The reference program reads a file of the producer's",
        "BC-PRG-04",
        "program.file.foreign",
        foreign,
    ),
    (
        "eps-negative",
        "An eps below 0",
        "BC-PRG-08",
        "program.number.range",
        step("surrogate", 1, "normed", "eps", "-1"),
    ),
    (
        "theta-zero",
        "A theta of 0",
        "BC-PRG-08",
        "program.number.range",
        step("surrogate", 1, "q_rotated", "theta", "0"),
    ),
    (
        "denominator-zero",
        "Scores over the root of 0",
        "BC-PRG-08",
        "program.number.range",
        step("surrogate", 1, "heads", "denominator_squared", "0"),
    ),
    (
        "rotary-odd",
        "An odd number of rotated channels",
        "BC-PRG-09",
        "program.rotary.size",
        step("surrogate", 1, "q_rotated", "size", 3),
    ),
    (
        "rotary-too-wide",
        "More rotated channels than a head has",
        "BC-PRG-09",
        "program.rotary.size",
        step("surrogate", 1, "q_rotated", "size", 6),
    ),
    (
        "heads-uneven",
        "Heads that cannot share key and value heads evenly",
        "BC-PRG-10",
        "program.attention.heads",
        step("surrogate", 1, "heads", "key_value_heads", 3),
    ),
    (
        "patterns-missing",
        "A pattern for three of four heads",
        "BC-PRG-11",
        "program.attention.patterns",
        step("surrogate", 1, "heads", "patterns", lambda p: p[:-1]),
    ),
    (
        "means-missing",
        "A head of means without means",
        "BC-PRG-11",
        "program.attention.means",
        step("surrogate", 1, "heads", "means", DROP),
    ),
    (
        "means-unread",
        "Means that no head reads",
        "BC-PRG-11",
        "program.attention.means",
        step("surrogate", 1, "heads", "patterns", lambda p: [p[0]] * 4),
    ),
    (
        "offset-negative",
        "An offset into the future",
        "BC-PRG-21",
        "json.type",
        step("surrogate", 1, "heads", "patterns", lambda p: [*p[:3], {"kind": "offset", "back": -1}]),
    ),
    ("bits", "Integers of 5 bits", "BC-PRG-14", "json.type", step("surrogate", 1, "q", "map.bits", 5)),
    ("unknown-op", "An operation that is none", "BC-PRG-01", "json.type", step("surrogate", 1, "gated", "op", "swish")),
    (
        "unknown-function",
        "A function that is none",
        "BC-PRG-01",
        "json.type",
        step("surrogate", 1, "gated", "function", "mish"),
    ),
    (
        "name-in-upper-case",
        "A value's name in upper case",
        "BC-PRG-01",
        "json.type",
        step("surrogate", 1, "normed", "out", "Normed"),
    ),
    (
        "sparse-of-another-width",
        "A sparse matrix that reads more channels than there are",
        "BC-PRG-12",
        "program.width.mismatch",
        step("surrogate", 1, "gate", "map.shape", [12, 9]),
    ),
    ("sizes-differ", "Two programs of another vocabulary", "BC-PRG-05", "program.statement.mismatch", sizes),
    (
        "one-block-more",
        "A surrogate with a block more",
        "BC-PRG-05",
        "program.statement.mismatch",
        program("surrogate", "stages", lambda s: [s[0], s[1], s[2], s[2], s[3]]),
    ),
    (
        "control-character",
        "A tensor's name that would move a terminal",
        "BC-STM-15",
        "json.type",
        step("surrogate", 1, "normed", "weight.tensor", "a\x1b[2J"),
    ),
)
LONGROPE = {
    "kind": "longrope",
    "short": ["1", "2"],
    "long": ["1", "32"],
    "original_context": 8,
    "attention_factor": "1.25",
}
PROPORTIONAL = {"kind": "proportional", "factor": "1", "turned": 1}
RANGE, SIZE, FORM = "program.number.range", "program.rotary.size", "json.type"
SCALINGS: tuple[tuple[str, str, str, str, dict[str, Any]], ...] = (
    ("linear-factor", "A linear scaling by 0", "BC-PRG-08", RANGE, {"kind": "linear", "factor": "0"}),
    ("longrope-divisor", "A frequency divided by 0", "BC-PRG-08", RANGE, {**LONGROPE, "short": ["1", "0"]}),
    (
        "longrope-unused-divisor",
        "A divisor below 0, of longer prompts",
        "BC-PRG-08",
        RANGE,
        {**LONGROPE, "long": ["-1", "1"]},
    ),
    (
        "longrope-amplitude",
        "LongRoPE with an attention factor of 0",
        "BC-PRG-08",
        RANGE,
        {**LONGROPE, "attention_factor": "0"},
    ),
    ("longrope-too-few", "One divisor for two frequencies", "BC-PRG-25", SIZE, {**LONGROPE, "short": ["1"]}),
    (
        "longrope-too-many",
        "Three divisors for two frequencies",
        "BC-PRG-25",
        SIZE,
        {**LONGROPE, "long": ["1", "1", "1"]},
    ),
    ("longrope-none", "No divisor at all", "BC-PRG-25", FORM, {**LONGROPE, "long": []}),
    ("longrope-thousands", "More divisors than a list may have", "BC-PRG-25", FORM, {**LONGROPE, "long": ["1"] * 4097}),
    ("longrope-no-context", "An original context of no token", "BC-PRG-25", FORM, {**LONGROPE, "original_context": 0}),
    (
        "proportional-factor",
        "Proportional positions by a factor of 0",
        "BC-PRG-08",
        RANGE,
        {**PROPORTIONAL, "factor": "0"},
    ),
    (
        "proportional-too-many",
        "More frequencies turned than there are",
        "BC-PRG-26",
        SIZE,
        {**PROPORTIONAL, "turned": 3},
    ),
    ("proportional-negative", "Fewer frequencies turned than none", "BC-PRG-26", FORM, {**PROPORTIONAL, "turned": -1}),
    (
        "llama3-order",
        "Frequency factors in the wrong order",
        "BC-PRG-09",
        RANGE,
        {
            "kind": "llama3",
            "factor": "4",
            "low_frequency_factor": "4",
            "high_frequency_factor": "4",
            "original_context": 16,
        },
    ),
    (
        "yarn-order",
        "A ramp that ends where it begins",
        "BC-PRG-23",
        RANGE,
        {"kind": "yarn", "factor": "4", "ramp_from": "2", "ramp_to": "2", "attention_factor": "1"},
    ),
)


FIELDS: tuple[tuple[str, str, str, str, Any], ...] = (
    (
        "empty-rows",
        "An empty range of rows",
        "BC-PRG-06",
        "program.tensor.range",
        set_new("surrogate", 1, "normed", ("weight", "rows"), [4, 4]),
    ),
    (
        "columns-backwards",
        "A range of columns that runs backwards",
        "BC-PRG-06",
        "program.tensor.range program.width.mismatch",
        set_new("surrogate", 1, "attended", ("map", "weight", "columns"), [4, 2]),
    ),
    (
        "period-without-rows",
        "A period without rows",
        "BC-PRG-06",
        "program.tensor.range",
        set_new("surrogate", 1, "attended", ("map", "weight", "period"), 4),
    ),
    ("rows-past-their-period", "Rows that reach past their period", "BC-PRG-06", "program.tensor.range", period),
    (
        "cap-zero",
        "Scores capped at 0",
        "BC-PRG-08 BC-PRG-24",
        "program.number.range",
        set_new("surrogate", 1, "heads", ("cap",), "0"),
    ),
    (
        "head-size",
        "A norm in heads that do not divide the width",
        "BC-PRG-22",
        "program.width.mismatch",
        set_new("surrogate", 1, "mlp_in", ("head_size",), 3),
    ),
)


def _entries() -> tuple[Entry, ...]:
    found = [
        case(f"program::{name}", tests, requirements, rejected(codes), change, around)
        for name, tests, requirements, codes, change in (*ROWS, *FIELDS)
    ]
    found += [
        case(
            f"program::scaling-{name}",
            tests,
            requirements,
            rejected(codes),
            set_new("surrogate", 1, "q_rotated", ("scaling",), value),
            around,
        )
        for name, tests, requirements, codes, value in SCALINGS
    ]
    return tuple(found)


CASES = _entries()
