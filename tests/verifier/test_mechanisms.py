"""`show --mechanisms`: each block in words, read off the programs, from whoever made the bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from blockcert.program import (
    Attention,
    Constant,
    DensePattern,
    Linear,
    MeanPattern,
    OffsetPattern,
    Pattern,
    Program,
    SinkPattern,
    Sparse,
    TensorRef,
    WindowPattern,
)
from blockcert.safetensors_file import TensorInfo
from blockcert_producers.cli.run import run
from blockcert_verifier.mechanisms import (
    BlockMechanism,
    Headers,
    HeadMechanism,
    MapMechanism,
    mechanisms,
    pattern_words,
)
from blockcert_verifier.mechanisms_text import render_mechanisms
from tests.support.bundles import Made, make_bundle, reseal
from tests.support.tiny import FF, tiny_pair

WORDS: list[tuple[Pattern, str]] = [
    (DensePattern(), "attends every token so far"),
    (WindowPattern(1), "attends its own token"),
    (WindowPattern(8, 1), "attends the last 8 tokens and the first"),
    (WindowPattern(8, 3), "attends the last 8 tokens and the first 3"),
    (OffsetPattern(0), "looks at its own token alone (offset 0)"),
    (OffsetPattern(1), "looks at the token before (offset 1)"),
    (OffsetPattern(7), "looks at the token 7 back (offset 7)"),
    (SinkPattern(), "looks at the first token alone (sink)"),
    (MeanPattern(), "gives one constant, whatever the tokens (mean)"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("made"))


def shown(made: Made, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run(["show", str(made.bundle), "--mechanisms", *words]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(("pattern", "words"), WORDS)
def test_a_pattern_in_words(pattern: Pattern, words: str) -> None:
    assert pattern_words(pattern) == words


def test_heads_neurons_and_maps_are_said_in_words(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(made, capsys)
    assert text.startswith("UNVERIFIED: ")
    assert max(map(len, text.splitlines())) <= 80
    for line in (
        "Block 1",
        "  head 0 attends every token so far",
        "  head 1 attends the last 4 tokens and the first",
        "  head 2 gives one constant, whatever the tokens (mean)",
        "  head 3 looks at the token before (offset 1)",
        "  q: int8, a scale per row",
        "  v: float32, rank 5",
        "Block 2: the reference's own program",
    ):
        assert line in text.splitlines(), text
    assert "gate: float16, " in text
    assert "of the weights kept" in text
    # the reference's files are not in the bundle
    assert "k, attended, mlp: in a file that is not at hand" in text


def test_with_the_model_the_reference_s_sizes_are_known(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(made, capsys, "--reference", str(made.model))
    assert f"  the MLP keeps all {FF} neurons" in text.splitlines()
    assert "k, attended, mlp: float32" in text


def test_the_same_as_json(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(shown(made, capsys, "--json", "-"))
    blocks = found["blocks"]
    assert found["producer_says"] is None
    assert [block["block"] for block in blocks] == [1, 2]
    assert [block["same_program"] for block in blocks] == [False, True]
    heads = blocks[0]["heads"]
    assert heads[3] == {
        "head": 3,
        "pattern": {"kind": "offset", "back": 1},
        "words": "looks at the token before (offset 1)",
        "as_in_reference": False,
    }
    assert heads[0]["as_in_reference"]
    assert {one["step"]: one["kind"] for one in blocks[0]["maps"]} == {
        "q": "int",
        "k": "dense",
        "v": "low_rank",
        "attended": "dense",
        "gate": "sparse",
        "up": "rows",
        "mlp": "dense",
    }
    shown(made, capsys, "--json", str(tmp_path / "found.json"))
    assert json.loads((tmp_path / "found.json").read_bytes())["blocks"] == blocks


def test_heads_that_do_the_same_are_named_together() -> None:
    def head(number: int, pattern: Pattern) -> HeadMechanism:
        return HeadMechanism(number, pattern, pattern_words(pattern))

    heads = tuple(head(h, SinkPattern() if h in (1, 4) else OffsetPattern(1)) for h in range(8))
    block = BlockMechanism(3, False, heads, 212, 384)
    same = [BlockMechanism(i, True) for i in (1, 2, 4)]
    first, _, rest = render_mechanisms([*same[:2], block, same[2]]).partition("\n\n")
    assert "Blocks are counted from 1, heads from 0." in " ".join(first.split())
    assert rest.splitlines() == [
        "Blocks 1 and 2: the reference's own program",
        "",
        "Block 3",
        "  heads 0, 2, 3 and 5 to 7 look at the token before (offset 1)",
        "  heads 1 and 4 look at the first token alone (sink)",
        "  the MLP keeps 212 of 384 neurons",
        "",
        "Block 4: the reference's own program",
    ]


def test_the_names_of_maps_are_explained_once(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(shown(made, capsys).split())
    assert (
        "The maps: q says what a head looks for; k says by what a token is found; v says what a token hands on; "
        in text
    )
    assert "attended adds up what the heads bring; gate and up drive the MLP's neurons; mlp adds up" in text
    roles = {one["step"]: one["role"] for one in json.loads(shown(made, capsys, "--json", "-"))["blocks"][0]["maps"]}
    assert roles["up"] == roles["gate"] == "drives the MLP's neurons"
    # maps of a block that is built otherwise are not explained
    assert "The maps" not in render_mechanisms(
        [BlockMechanism(1, False, maps=(MapMechanism("x", "int", *[None] * 4, ""),))]
    )


def test_attention_that_became_a_constant_is_said(tmp_path: Path) -> None:
    reference, _, _ = tiny_pair(tmp_path, 1, 2)

    def constant(tensor: str) -> Program:
        stage = reference.stages[1]
        at = next(i for i, step in enumerate(stage.steps) if isinstance(step, Attention))
        value = Constant(stage.steps[at].out, TensorRef("programs/surrogate.safetensors", tensor))
        # in this block only attention reads what comes before it
        changed = msgspec.structs.replace(stage, steps=(value, *stage.steps[at + 1 :]))
        return msgspec.structs.replace(reference, stages=(reference.stages[0], changed, *reference.stages[2:]))

    name = next(step.out for step in reference.stages[1].steps if isinstance(step, Attention))
    found = mechanisms(reference, constant("one"), {})
    assert (found[0].attends, found[0].constants, found[0].heads) == (False, (name,), ())
    lines = render_mechanisms(found).splitlines()
    assert "  no head is left: attention gives one constant, whatever the tokens" in lines
    assert f"  {name}: one constant at every position" in lines
    # a block that never attended has lost no head
    assert mechanisms(constant("one"), constant("another"), {})[0].attends


def test_a_pattern_that_was_the_reference_s_own_is_said(tmp_path: Path) -> None:
    reference, _, _ = tiny_pair(tmp_path, 1, 2)

    def windowed(widths: tuple[int, ...], eps: str = "0.5") -> Program:
        stage = reference.stages[1]
        patterns = tuple(WindowPattern(width) if width else DensePattern() for width in widths)
        steps = [msgspec.structs.replace(s, patterns=patterns) if isinstance(s, Attention) else s for s in stage.steps]
        first = msgspec.structs.replace(steps[0], eps=eps)
        changed = msgspec.structs.replace(stage, steps=(first, *steps[1:]))
        return msgspec.structs.replace(reference, stages=(reference.stages[0], changed, *reference.stages[2:]))

    found = mechanisms(windowed((5, 5, 0, 0)), windowed((5, 3, 0, 3), "0.25"), {})
    assert [head.as_in_reference for head in found[0].heads] == [True, False, True, False]
    lines = render_mechanisms(found[:1]).splitlines()
    for line in (
        "  head 0 attends the last 5 tokens, as in the reference",
        "  heads 1 and 3 attend the last 3 tokens",
        "  head 2 attends every token so far",
    ):
        assert line in lines


def test_a_sparse_map_of_integers_says_how_many_bits(tmp_path: Path) -> None:
    reference, _, _ = tiny_pair(tmp_path, 1, 2)
    file = "programs/surrogate.safetensors"
    stage = reference.stages[1]
    at = next(i for i, step in enumerate(stage.steps) if isinstance(step, Linear))
    names = [TensorRef(file, name) for name in ("values", "columns", "rows", "scale")]
    sparse = Sparse((4, 4), *names)
    step = msgspec.structs.replace(stage.steps[at], map=sparse)
    changed = msgspec.structs.replace(stage, steps=(*stage.steps[:at], step, *stage.steps[at + 1 :]))
    surrogate = msgspec.structs.replace(reference, stages=(reference.stages[0], changed, *reference.stages[2:]))
    headers = {file: {"values": TensorInfo("I8", (5,), 0, 5)}}

    def words(given: Headers) -> str:
        maps = mechanisms(reference, surrogate, given)[0].maps
        return next(one.words for one in maps if one.step == step.out)

    assert words(headers) == "int8, a scale per row, 31.2 % of the weights kept"
    assert words({}) == "integers, a scale per row"


def test_a_file_that_is_larger_than_its_bits_is_said() -> None:
    def text(form: str) -> str:
        return render_mechanisms([BlockMechanism(1, False, maps=(MapMechanism("q", "int", form, 4, 4, 16, form),))])

    note = "An int4 or int6 is counted as 4 or 6 bits; the file holds each in a byte."
    assert text("int4, a scale per row").splitlines()[-1] == note
    assert note not in text("int8, a scale per row")


def test_many_heads_fit_the_terminal() -> None:
    heads = tuple(HeadMechanism(h, OffsetPattern(h), pattern_words(OffsetPattern(h % 2))) for h in range(128))
    assert max(map(len, render_mechanisms([BlockMechanism(1, False, heads)]).splitlines())) <= 80


def change_program(made: Made, change: Any) -> None:
    path = made.bundle / "programs" / "surrogate.json"
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document))
    reseal(made)


def test_a_program_that_is_not_well_formed_is_refused(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = made.copy(tmp_path)
    change_program(copy, lambda document: document["stages"].pop(1))
    assert run(["show", str(copy.bundle), "--mechanisms"]) != 0
    assert "program." in capsys.readouterr().err


def test_a_tensor_that_is_not_there_is_no_reason_to_stop(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(document: dict[str, Any]) -> None:
        for step in document["stages"][1]["steps"]:
            if step["out"] == "v":
                step["map"]["left"]["tensor"] = "nothing"

    copy = made.copy(tmp_path)
    change_program(copy, change)
    assert "  v: in a file that is not at hand, low rank" in shown(copy, capsys).splitlines()


@pytest.mark.parametrize("extra", [["--raw"], ["--diff"]])
def test_one_view_at_a_time(made: Made, extra: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", str(made.bundle), "--mechanisms", *extra]) == 2
    assert "usage.show" in capsys.readouterr().err


def test_the_model_is_of_use_to_mechanisms_alone(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", str(made.bundle), "--reference", str(made.model)]) == 2
    assert "usage.show" in capsys.readouterr().err
