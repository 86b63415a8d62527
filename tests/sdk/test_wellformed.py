"""Well-formed programs: each rule has its case, and what the support module writes breaks none.

Requirements: BC-PRG-02 to 04, BC-PRG-08 to 11.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from blockcert.program import Program
from blockcert.wellformed import problems
from tests.support.tiny import tiny_pair

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Program, Program]:
    reference, surrogate, _ = tiny_pair(tmp_path_factory.mktemp("tiny"))
    return reference, surrogate


def codes(program: Program, change: Change | None = None, *, reference: bool = False) -> list[str]:
    document = msgspec.json.decode(msgspec.json.encode(program))
    if change is not None:
        change(document)
    changed = msgspec.convert(document, Program)
    found = problems(changed, "programs/p.json", reference=reference)
    assert all(refusal.place.startswith("programs/p.json: $.") for refusal in found)
    return [refusal.code for refusal in found]


def step(document: dict[str, Any], stage: int, out: str) -> dict[str, Any]:
    return next(step for step in document["stages"][stage]["steps"] if step["out"] == out)


def test_programs_as_they_should_be(pair: tuple[Program, Program]) -> None:
    assert codes(pair[0], reference=True) == []
    assert codes(pair[1]) == []


def _swap_stages(d: dict[str, Any]) -> None:
    d["stages"][0], d["stages"][1] = d["stages"][1], d["stages"][0]


def _drop(d: dict[str, Any]) -> None:
    d["stages"][1]["steps"].pop(0)


def _add_tokens(d: dict[str, Any]) -> None:
    stage = d["stages"][0]
    stage["steps"].append({"op": "add", "out": "both", "left": stage["output"], "right": "tokens"})
    stage["output"] = "both"


YARN = {"kind": "yarn", "factor": "4", "ramp_from": "1", "ramp_to": "2", "attention_factor": "1.1"}
LONGROPE = {
    "kind": "longrope",
    "short": ["1", "1.5"],
    "long": ["1", "32"],
    "original_context": 8,
    "attention_factor": "1.1",
}
PROPORTIONAL = {"kind": "proportional", "factor": "1", "turned": 2}
CASES: dict[str, tuple[Change, str]] = {
    "stages out of order": (_swap_stages, "program.stage.order"),
    "no head": (lambda d: d["stages"].pop(), "program.stage.order"),
    "a value that nothing defines": (_drop, "program.value.undefined"),
    "a value defined twice": (lambda d: step(d, 1, "k").update(out="q"), "program.value.redefined"),
    "the input defined again": (lambda d: step(d, 1, "q").update(out="hidden"), "program.value.redefined"),
    "an output that nothing defines": (lambda d: d["stages"][1].update(output="nothing"), "program.value.undefined"),
    "a value that nothing reads": (lambda d: d["stages"][1].update(output="middle"), "program.value.unused"),
    "tokens read by a block": (lambda d: step(d, 1, "normed").update(input="tokens"), "program.value.undefined"),
    "tokens read as a value": (_add_tokens, "program.value.undefined"),
    "a file listed twice": (lambda d: d["files"].append(d["files"][0]), "program.file.duplicate"),
    "a file that no step reads": (
        lambda d: d["files"].append({**d["files"][0], "name": "reference/other.safetensors"}),
        "program.file.unused",
    ),
    "a file that is not listed": (
        lambda d: step(d, 1, "normed")["weight"].update(file="reference/other.safetensors"),
        "program.file.unlisted",
    ),
    "an empty slice": (lambda d: step(d, 1, "normed")["weight"].update(rows=[4, 4]), "program.tensor.range"),
    "rows that reach past their period": (
        lambda d: step(d, 1, "normed")["weight"].update(rows=[0, 4], period=3),
        "program.tensor.range",
    ),
    "a period without rows": (lambda d: step(d, 1, "normed")["weight"].update(period=4), "program.tensor.range"),
    "a pattern too few": (lambda d: step(d, 2, "heads")["patterns"].pop(), "program.attention.patterns"),
    "heads that cannot share": (lambda d: step(d, 2, "heads").update(key_value_heads=3), "program.attention.heads"),
    "means that no head reads": (
        lambda d: step(d, 2, "heads").update(means=step(d, 1, "heads")["means"]),
        "program.attention.means",
    ),
    "a mean head without means": (lambda d: step(d, 1, "heads").pop("means"), "program.attention.means"),
    "an odd number of rotated channels": (lambda d: step(d, 2, "q_rotated").update(size=3), "program.rotary.size"),
    "more rotated channels than there are": (
        lambda d: step(d, 2, "q_rotated").update(size=6),
        "program.rotary.size",
    ),
    "a base of 0": (lambda d: step(d, 2, "q_rotated").update(theta="0"), "program.number.range"),
    "a negative eps": (lambda d: step(d, 2, "normed").update(eps="-1"), "program.number.range"),
    "a scaling of 0": (
        lambda d: step(d, 2, "q_rotated").update(scaling={"kind": "linear", "factor": "0"}),
        "program.number.range",
    ),
    "a cap of 0": (lambda d: step(d, 2, "heads").update(cap="0"), "program.number.range"),
    "heads to norm that do not divide the width": (
        lambda d: step(d, 2, "normed").update(head_size=3),
        "program.width.mismatch",
    ),
    **{
        f"a yarn scaling with {name} {value}": (
            lambda d, name=name, value=value: step(d, 2, "q_rotated").update(scaling={**YARN, name: value}),
            "program.number.range",
        )
        for name, value in (("factor", "0"), ("attention_factor", "0"), ("ramp_from", "-1"), ("ramp_to", "1"))
    },
    **{
        f"a longrope scaling with {name} {value}": (
            lambda d, name=name, value=value: step(d, 2, "q_rotated").update(scaling={**LONGROPE, name: value}),
            code,
        )
        for name, value, code in (
            ("attention_factor", "0", "program.number.range"),
            ("short", ["1", "0"], "program.number.range"),
            ("long", ["-1", "1"], "program.number.range"),
            ("short", ["1"], "program.rotary.size"),
            ("long", ["1", "1", "1"], "program.rotary.size"),
        )
    },
    **{
        f"a proportional scaling with {name} {value}": (
            lambda d, name=name, value=value: step(d, 2, "q_rotated").update(scaling={**PROPORTIONAL, name: value}),
            code,
        )
        for name, value, code in (("factor", "0", "program.number.range"), ("turned", 3, "program.rotary.size"))
    },
    "a llama3 ramp of no width": (
        lambda d: step(d, 2, "q_rotated").update(
            scaling={
                "kind": "llama3",
                "factor": "8",
                "low_frequency_factor": "4",
                "high_frequency_factor": "4",
                "original_context": 8,
            }
        ),
        "program.number.range",
    ),
    "heads of another width": (lambda d: step(d, 1, "gate")["map"].update(shape=[12, 9]), "program.width.mismatch"),
    "values of two widths added": (lambda d: step(d, 2, "middle").update(right="heads"), "program.width.mismatch"),
    "a head that is no multiple": (lambda d: d.update(hidden_size=9), "program.width.mismatch"),
}


@pytest.mark.parametrize(("change", "code"), CASES.values(), ids=CASES)
def test_each_rule(pair: tuple[Program, Program], change: Change, code: str) -> None:
    assert code in codes(pair[1], change)


def test_scalings_for_as_many_channels_as_are_rotated(pair: tuple[Program, Program]) -> None:
    """BC-PRG-25, 26."""
    for scaling in (LONGROPE, PROPORTIONAL, {**PROPORTIONAL, "turned": 0}):
        assert codes(pair[1], lambda d, s=scaling: step(d, 2, "q_rotated").update(scaling=s)) == []


@pytest.mark.parametrize(
    "scaling",
    [
        {**LONGROPE, "original_context": 0},
        {**LONGROPE, "short": []},
        {**LONGROPE, "long": ["1"] * 4097},
        {**LONGROPE, "long": ["1", "1.0"]},
        {**PROPORTIONAL, "turned": -1},
    ],
    ids=["no context", "no divisors", "too many divisors", "a divisor in another spelling", "fewer than none"],
)
def test_what_the_schema_refuses_of_a_scaling(pair: tuple[Program, Program], scaling: dict[str, Any]) -> None:
    """BC-PRG-25, 26."""
    with pytest.raises(msgspec.ValidationError):
        codes(pair[1], lambda d: step(d, 2, "q_rotated").update(scaling=scaling))


def test_a_list_of_divisors_is_complained_of_once(pair: tuple[Program, Program]) -> None:
    scaling = {**LONGROPE, "long": ["0"] * 4096}
    found = codes(pair[1], lambda d: step(d, 2, "q_rotated").update(scaling=scaling))
    assert sorted(found) == ["program.number.range", "program.rotary.size"]


def test_what_a_refusal_names_can_be_printed(pair: tuple[Program, Program]) -> None:
    """Fuzzing found a file named with a character that is none: it stood in the sentence as it was."""
    text = msgspec.json.encode(pair[0]).replace(b"/model.safetensors", "/model\u05cc.safetensors".encode(), 1)
    found = list(problems(msgspec.json.decode(text, type=Program), "program", reference=True))
    assert "program.file.unlisted" in {one.code for one in found}
    assert all(str(one).isprintable() for one in found)


def test_a_reference_program_has_no_weights_of_its_own(pair: tuple[Program, Program]) -> None:
    assert codes(pair[1], reference=True) == ["program.file.foreign"]


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_lifted_checkpoints_are_well_formed(tmp_path: Path, name: str) -> None:
    from blockcert_producers.lift import lift
    from tests.support.checkpoints import make_checkpoint

    assert problems(lift(make_checkpoint(tmp_path, name)), "programs/reference.json", reference=True) == []
