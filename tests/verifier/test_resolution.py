"""Programs in which rounding or tolerances could hide something are not resolved, and nothing confirms them.

Requirements: BC-EVD-08, BC-PRG-17, BC-PRG-27.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

from blockcert.errors import Refusal
from blockcert.program import (
    Activation,
    Add,
    Constant,
    Dense,
    Embed,
    LayerNorm,
    Linear,
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    Multiply,
    Program,
    ProportionalScaling,
    RmsNorm,
    Rotary,
    Scaling,
    Stage,
    Step,
    Take,
    TensorRef,
    WindowPattern,
    YarnScaling,
)
from blockcert.same_program import same_stages
from blockcert_producers import embedded
from blockcert_producers.certify.measuring import evidence_columns
from blockcert_producers.lift import lift
from blockcert_producers.progress import silent
from blockcert_verifier import verify
from blockcert_verifier.evaluate import Backend, LoadedStage, WeightStore
from blockcert_verifier.evaluate import stage as stage_module
from blockcert_verifier.evaluate.operations import rotary_tables
from blockcert_verifier.measure import Cells, Pair, Settings, batch, measure, moved_rows
from blockcert_verifier.measure.engine import open_counts
from tests.support.bundles import NOW, make_bundle
from tests.support.certificates import SHARED
from tests.support.tiny import HEADS, REFERENCE, SURROGATE, VOCABULARY, D, block, program, reference_weights, save

SETTINGS = Settings((0.01, 0.05), (0.01,))
LENGTH = 8


def ref(name: str) -> TensorRef:
    return TensorRef(SURROGATE, name)


def spiked_block() -> Stage:
    """A block whose output is the reference's, plus junk that vanishes in float64 beside 1e30."""
    honest = block(0)
    steps = (
        *honest.steps,
        Linear(out="junk", input="hidden", map=Dense(ref("junk"))),
        Constant(out="up_there", value=ref("big")),
        Constant(out="down_here", value=ref("small")),
        Add(out="lifted", left="junk", right="up_there"),
        Add(out="lowered", left="lifted", right="down_here"),
        Add(out="all", left=honest.output, right="lowered"),
    )
    return Stage(kind="block", steps=steps, output="all")


def cancelling_block() -> Stage:
    """The same inside one product: two channels of 1e15 that cancel, and junk between them."""
    honest = block(0)
    steps = (
        *honest.steps,
        Linear(out="wide", input="hidden", map=Dense(ref("copies"))),
        Linear(out="noise", input="wide", map=Dense(ref("cancel"))),
        Add(out="all", left=honest.output, right="noise"),
    )
    return Stage(kind="block", steps=steps, output="all")


def shifted_head() -> Stage:
    """Random logits, all of them raised by 1e11: softmax does not see it, tolerances would."""
    steps = (
        RmsNorm(out="normed", input="hidden", weight=TensorRef(REFERENCE, "norm"), eps="0.00001"),
        Linear(out="logits", input="normed", map=Dense(ref("junk_head")), bias=ref("shift")),
    )
    return Stage(kind="head", steps=steps, output="logits")


def spiked_reference(honest: Program) -> Program:
    """An embedding 1e13 times too large, which block 1 undoes: every later tolerance would be huge."""
    scaled = Stage(
        kind="embedding",
        steps=(Embed(out="x", weight=TensorRef(REFERENCE, "embed"), scale="10000000000000"),),
        output="x",
    )
    undone = Stage(
        kind="block",
        steps=(RmsNorm(out="small", input="hidden", weight=TensorRef(REFERENCE, "norm"), eps="0"),),
        output="small",
    )
    return Program("1.0", "llama", D, VOCABULARY, 32, honest.files, (scaled, undone, *honest.stages[2:]))


def tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    copies, cancel = np.zeros((3, D)), np.zeros((D, 3))
    copies[0, 0] = copies[2, 0] = 1e15
    copies[1] = rng.standard_normal(D)
    cancel[:, 0], cancel[:, 1], cancel[:, 2] = 1e5, 1, -1e5
    return {
        "junk": rng.standard_normal((D, D)) * 1000,
        "big": np.full(D, 1e30),
        "small": np.full(D, -1e30),
        "copies": copies,
        "cancel": cancel,
        "junk_head": rng.standard_normal((VOCABULARY, D)),
        "shift": np.full(VOCABULARY, 1e11),
        "tiny": rng.standard_normal((D, D)) * 1e-30,
        "huge": np.eye(D) * 1e33,
        "ones": np.ones(D),
        "minus_ones": -np.ones(D),
        "smaller": np.eye(D) * 1e-150,
        "larger": np.eye(D) * 1e150,
        "small_steps": rng.standard_normal((D, D)) * 1e-3,
        "minus_twelve": np.full(D, -12.0),
        "nothing": np.zeros((VOCABULARY, D)),
        "one_below": np.where(np.arange(VOCABULARY) == 4, -1.0, 0.0),
        "just_above": np.full(D, 1.01 + 5e-9),
        "just_below": np.full(D, 1.01 - 5e-9),
        "above": np.full(D, 1.0101),
    }


def appended(*steps: Step) -> Stage:
    """The reference's block, and its output plus the last of these steps, which should be nothing and is not."""
    honest = block(0)
    add = Add(out="all", left=honest.output, right=steps[-1].out)
    return Stage(kind="block", steps=(*honest.steps, *steps, add), output="all")


HIDDEN: dict[str, Stage] = {
    "absorbed beside one, then amplified": appended(
        Linear("tiny", "hidden", Dense(ref("tiny"))),
        Constant("one", ref("ones")),
        Add("lifted", "tiny", "one"),
        Constant("minus", ref("minus_ones")),
        Add("left", "lifted", "minus"),
        Linear("back", "left", Dense(ref("huge"))),
    ),
    "underflowed, then amplified": appended(
        *(Linear(f"down_{i}", f"down_{i - 1}" if i else "hidden", Dense(ref("smaller"))) for i in range(3)),
        *(Linear(f"up_{i}", f"up_{i - 1}" if i else "down_2", Dense(ref("larger"))) for i in range(3)),
    ),
    "lost in a saturated function": appended(
        Linear("x", "hidden", Dense(ref("small_steps")), ref("minus_twelve")),
        Activation("saturated", "x", "gelu"),
        Linear("back", "saturated", Dense(ref("huge"))),
    ),
    "normalised out of a constant": appended(
        Linear("tiny", "hidden", Dense(ref("tiny"))),
        Constant("one", ref("ones")),
        Add("lifted", "tiny", "one"),
        LayerNorm("back", "lifted", ref("ones"), "0.000000000000000000000000000000000000001"),
    ),
}


@pytest.mark.parametrize("stage", HIDDEN.values(), ids=HIDDEN)
def test_noise_finds_what_float64_loses(stage: Stage, tmp_path: Path) -> None:
    honest, store = honest_program(tmp_path)
    surrogate = Program(**{**fields(honest), "stages": replaced(honest, 1, stage)})
    tokens = np.random.default_rng(2).integers(0, VOCABULARY, (3, LENGTH))

    def unresolved(pair: Pair) -> set[int]:
        plain = measure(pair, tokens, SETTINGS, Backend(), attribution=2)
        noisy = measure(pair, tokens, SETTINGS, Backend(noise=7), attribution=2)
        return {one.row for one in (*plain.unresolved, *moved_rows(plain, noisy))}

    assert unresolved(Pair(honest, surrogate, same_stages(honest, surrogate), store)) == {0, 1, 2}
    windowed = block(0, patterns=(WindowPattern(2),) * HEADS)
    other = Program(**{**fields(honest), "stages": replaced(honest, 1, windowed)})
    assert unresolved(Pair(honest, other, same_stages(honest, other), store)) == set()


NEXT_TO_NOTHING = "0.000000000000000000003441753769387629649"
BETWEEN = "1303.797293808806590618685789547638", "1303.797293808806590618690789547638"
"""Below 8192 / (2 pi) = 1303.79729380880659061869578…, and one number with it in float64."""
SPUN: dict[str, tuple[Scaling, set[int]]] = {
    "all frequencies": (LinearScaling(NEXT_TO_NOTHING), {0, 1, 2}),
    "one, in prompts so long": (LongRopeScaling(("1", "1"), ("1", NEXT_TO_NOTHING), LENGTH - 1, "1"), {0, 1, 2}),
    "one, in longer prompts alone": (LongRopeScaling(("1", "1"), ("1", NEXT_TO_NOTHING), LENGTH, "1"), set()),
    "one that turns": (ProportionalScaling(NEXT_TO_NOTHING, 1), {0, 1, 2}),
    "none that turns": (ProportionalScaling(NEXT_TO_NOTHING, 0), set()),
    "a wide ramp": (Llama3Scaling("2", "1", "4", 8192), set()),
    "a ramp that is one number": (Llama3Scaling("2", *BETWEEN, 8192), {0, 1, 2}),
    "a ramp of a millionth": (Llama3Scaling("2", "1", "1.000001", 8192), {0, 1, 2}),
    "frequencies next to nothing, slowed from beyond": (Llama3Scaling(NEXT_TO_NOTHING, "1", "4", 1), {0, 1, 2}),
}


@pytest.mark.parametrize("case", SPUN)
def test_angles_beyond_what_float64_knows_are_not_resolved(case: str, tmp_path: Path) -> None:
    honest, store = honest_program(tmp_path)
    scaling, unresolved = SPUN[case]
    steps = tuple(
        structs.replace(step, scaling=scaling) if isinstance(step, Rotary) else step for step in honest.stages[1].steps
    )
    spun = Program(**{**fields(honest), "stages": replaced(honest, 1, structs.replace(honest.stages[1], steps=steps))})
    tokens = np.random.default_rng(2).integers(0, VOCABULARY, (3, LENGTH))
    pair = Pair(honest, spun, same_stages(honest, spun), store)
    assert {one.row for one in measure(pair, tokens, SETTINGS, Backend()).unresolved} == unresolved


def test_an_end_of_a_ramp_that_float64_does_not_hold_counts() -> None:
    """BC-PRG-27: half way between two ends that are 1 in float64, the frequency is half slowed."""
    digits = "00000000000000000000000000001"
    scaling = YarnScaling("3", "0." + "9" * len(digits), "1." + digits, "1")
    step = Rotary(out="x", input="hidden", head_size=4, size=4, theta="100", scaling=scaling)
    cosines, sines = (np.asarray(table) for table in rotary_tables(Backend(), step, 5))
    turned = np.arange(5) * 0.1 * (0.5 + 0.5 / 3)
    np.testing.assert_allclose(cosines[:, 1], np.cos(turned), rtol=1e-14)
    np.testing.assert_allclose(sines[:, 1], np.sin(turned), rtol=1e-14)


def tied_head() -> Stage:
    """Equal logits but for one that is never the largest: any token is as near the maximum as any other."""
    steps = (Linear(out="logits", input="hidden", map=Dense(ref("nothing")), bias=ref("one_below")),)
    return Stage(kind="head", steps=steps, output="logits")


def stretched_block(by: str) -> Stage:
    """The reference's block, its result multiplied by a constant."""
    honest = block(0)
    more = (Constant("by", ref(by)), Multiply("all", honest.output, "by"))
    return Stage(kind="block", steps=(*honest.steps, *more), output="all")


TIED: dict[str, tuple[int, Stage, set[int]]] = {
    "logits": (3, tied_head(), {0, 1, 2}),
    "ratios just above a threshold": (1, stretched_block("just_above"), {0, 1, 2}),
    "ratios just below a threshold": (1, stretched_block("just_below"), {0, 1, 2}),
    "ratios above a threshold": (1, stretched_block("above"), set()),
}


@pytest.mark.parametrize("case", TIED)
def test_counts_that_rounding_decides_are_not_resolved(case: str, tmp_path: Path) -> None:
    """BC-EVD-08.5."""
    honest, store = honest_program(tmp_path)
    index, stage, unresolved = TIED[case]
    tied = Program(**{**fields(honest), "stages": replaced(honest, index, stage)})
    tokens = np.random.default_rng(2).integers(0, VOCABULARY, (3, LENGTH))
    pair = Pair(honest, tied, same_stages(honest, tied), store)
    assert {one.row for one in measure(pair, tokens, SETTINGS, Backend()).unresolved} == unresolved


@pytest.mark.parametrize(("length", "most"), [(2, 1), (127, 1), (128, 2), (640, 10)])
def test_a_few_positions_may_be_open(length: int, most: int) -> None:
    """BC-EVD-08.5: of `covered` (rows x stages x thresholds) the row and the stage are named."""
    width = np.array([[[0], [most]], [[0], [most + 1]]])
    cells = {"covered": Cells(width * 0, width * 0, width), "error": Cells(width * 1.0, width * 0.0, width * 9.0)}
    assert [(one.row, one.stage) for one in open_counts(cells, length)] == [(1, 1)]


ATTACKS: dict[str, Callable[[Program], tuple[Program, Program]]] = {
    "junk beside huge constants": lambda p: (p, Program(**{**fields(p), "stages": replaced(p, 1, spiked_block())})),
    "junk inside one product": lambda p: (p, Program(**{**fields(p), "stages": replaced(p, 1, cancelling_block())})),
    "logits raised by a constant": lambda p: (p, Program(**{**fields(p), "stages": replaced(p, 3, shifted_head())})),
    "a spike in the residual stream": lambda p: (spiked_reference(p), p),
}


def fields(of: Program) -> dict:
    return {name: getattr(of, name) for name in of.__struct_fields__}


def replaced(of: Program, index: int, stage: Stage) -> tuple[Stage, ...]:
    return (*of.stages[:index], stage, *of.stages[index + 1 :])


def honest_program(folder: Path) -> tuple[Program, WeightStore]:
    rng = np.random.default_rng(0)
    paths = {REFERENCE: folder / "model.safetensors", SURROGATE: folder / "surrogate.safetensors"}
    first = save(paths[REFERENCE], REFERENCE, reference_weights(rng, 2))
    second = save(paths[SURROGATE], SURROGATE, tensors())
    return program((first, second), [block(0), block(1)]), WeightStore(paths)


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_what_could_hide_behind_rounding_is_not_resolved(
    attack: Callable[[Program], tuple[Program, Program]], tmp_path: Path
) -> None:
    honest, store = honest_program(tmp_path)
    reference, surrogate = attack(honest)
    pair = Pair(reference, surrogate, same_stages(reference, surrogate), store)
    tokens = np.random.default_rng(2).integers(0, VOCABULARY, (3, LENGTH))
    assert {one.row for one in measure(pair, tokens, SETTINGS, Backend()).unresolved} == {0, 1, 2}
    with pytest.raises(Refusal) as refusal:
        evidence_columns(pair, tokens, SETTINGS, device="cpu", attribution=0, progress=silent)
    assert refusal.value.code == "measure.unresolved"


def resolved(reference: Program, surrogate: Program, store: WeightStore) -> set[bool]:
    """Whether the rows of some prompts are resolved, without noise and without attribution."""
    pair = Pair(reference, surrogate, same_stages(reference, surrogate), store)
    tokens = np.random.default_rng(2).integers(0, VOCABULARY, (3, LENGTH))
    rows = {one.row for one in measure(pair, tokens, SETTINGS, Backend()).unresolved}
    return {row not in rows for row in range(3)}


@pytest.mark.parametrize(("times", "expected"), [(3e3, True), (3e4, False)])
def test_a_norm_may_fall_to_a_ten_thousandth(times: float, expected: bool, tmp_path: Path) -> None:
    """BC-EVD-08: block 1 is what the reference's norms make of an embedding that is so many times larger."""
    honest, store = honest_program(tmp_path)
    weights = reference_weights(np.random.default_rng(0), 2)
    embed, norm = weights["embed"], weights["norm"]
    normed = embed / np.sqrt((embed**2).mean(axis=-1, keepdims=True)) * norm
    ratio = np.linalg.norm(embed, axis=-1) / np.linalg.norm(normed, axis=-1)
    assert 0.5 < ratio.min() / np.median(ratio) < ratio.max() / np.median(ratio) < 2
    scaled = Embed(out="x", weight=TensorRef(REFERENCE, "embed"), scale=f"{times / float(np.median(ratio)):.0f}")
    spiked = spiked_reference(honest)
    spiked = Program(**{**fields(spiked), "stages": replaced(spiked, 0, Stage("embedding", (scaled,), "x"))})
    assert resolved(spiked, spiked, store) == {expected}


@pytest.mark.parametrize(("times", "expected"), [(3e3, True), (3e4, False)])
def test_logits_may_be_ten_thousand_times_what_they_differ(times: float, expected: bool, tmp_path: Path) -> None:
    """BC-EVD-08."""
    honest, _ = honest_program(tmp_path)
    files = {REFERENCE: tmp_path / "model.safetensors", SURROGATE: tmp_path / "raised.safetensors"}
    spread = 4.0
    raised = save(files[SURROGATE], SURROGATE, {**tensors(), "shift": np.full(VOCABULARY, times * spread)})
    stages = replaced(honest, 3, shifted_head())
    surrogate = Program(**{**fields(honest), "files": (honest.files[0], raised), "stages": stages})
    assert resolved(honest, surrogate, WeightStore(files)) == {expected}


def test_an_honest_program_is_resolved(tmp_path: Path) -> None:
    honest, store = honest_program(tmp_path)
    tokens = np.random.default_rng(2).integers(0, VOCABULARY, (3, LENGTH))
    assert measure(Pair(honest, honest, (True,) * 4, store), tokens, SETTINGS, Backend()).unresolved == ()


@pytest.mark.parametrize(
    "name", ["embedded gpt2", "embedded llama", "shakespeare-llama", "shakespeare-gpt2", "stories260K"]
)
def test_trained_models_are_far_from_the_limits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, _, last = name.partition(" ")
    folder = embedded.path("gpt2" if last == "gpt2" else "llama") if kind == "embedded" else SHARED / "models" / name
    if not folder.is_dir():
        pytest.skip(f"{name} does not lie beside the project")
    monkeypatch.setattr(batch, "FALL", 1e2)
    monkeypatch.setattr(batch, "INSIDE", 1e4)
    lifted = lift(folder)
    store = WeightStore({file.name: folder / file.name.removeprefix("reference/") for file in lifted.files})
    tokens = np.random.default_rng(2).integers(0, lifted.vocabulary, (4, 64))
    same = (True,) * len(lifted.stages)
    assert measure(Pair(lifted, lifted, same, store), tokens, SETTINGS, Backend()).unresolved == ()


def test_rows_that_are_not_resolved_confirm_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_bundle(tmp_path)
    monkeypatch.setattr(batch, "FALL", 0.1)
    report = verify(made.bundle, made.policy, reference=made.model, replay="all", at=NOW)
    assert report.verdict == "indeterminate"
    assert {f.code for f in report.findings if f.step == "replay"} == {"replay.row.unresolved"}
    assert report.audit is not None
    assert report.audit.confirmed == 0


WIDTHS: dict[str, tuple[Stage, str]] = {
    "a bias of one element": (
        Stage("block", (Linear("a", "hidden", Dense(ref("junk")), ref("one")),), "a"),
        "a vector of 1 for 8 channels",
    ),
    "a gain of one element": (
        Stage("block", (RmsNorm("a", "hidden", ref("one"), "0"),), "a"),
        "a vector of 1 for 8 channels",
    ),
    "an output of another width": (
        Stage("block", (Linear("a", "hidden", Dense(ref("narrow"))),), "a"),
        "width 3, the program says 8",
    ),
    "a channel below none": (Stage("block", (Take("a", "hidden", ref("below")),), "a"), "channels outside the 8"),
}


@pytest.mark.parametrize(("stage", "sentence"), WIDTHS.values(), ids=WIDTHS)
def test_widths_are_what_the_program_says(stage: Stage, sentence: str, tmp_path: Path) -> None:
    found = {**tensors(), "one": np.ones(1), "narrow": np.ones((3, D)), "below": np.arange(-4, 4)}
    file = save(tmp_path / "s", SURROGATE, found)
    owner = program((file,), [])
    loaded = LoadedStage(stage, WeightStore({SURROGATE: tmp_path / "s"}), Backend(), LENGTH, owner)
    with pytest.raises(Refusal) as refusal:
        loaded(np.ones((1, LENGTH, D)))
    assert refusal.value.code == "program.shape"
    assert sentence in refusal.value.sentence


def test_a_matrix_out_of_proportion_is_refused_before_it_is_made(tmp_path: Path) -> None:
    from blockcert.program import Rows

    found = {"rows": np.arange(1, dtype=np.int32), "weight": np.ones((1, 512)), "turned": np.ones((512, 1))}
    save(tmp_path / "s", SURROGATE, {**found, "many": np.ones((1 << 14, 512), np.float16)})
    # what counts is what the map uses: a transposed or sliced tensor has more rows in the file than here
    many = structs.replace(ref("many"), rows=(0, 1))
    for weight in (ref("weight"), structs.replace(ref("turned"), transpose=True), many):
        step = Linear("a", "hidden", Rows(1 << 22, ref("rows"), weight))
        with pytest.raises(Refusal) as refusal:
            LoadedStage(Stage("block", (step,), "a"), WeightStore({SURROGATE: tmp_path / "s"}), Backend(), LENGTH)
        assert refusal.value.code == "program.memory"


@pytest.mark.parametrize(("heads", "length", "fits"), [(HEADS, LENGTH, True), (HEADS, LENGTH + 1, False)])
def test_scores_of_all_heads_are_held_to_the_largest_value(
    heads: int, length: int, fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, store = honest_program(tmp_path)
    monkeypatch.setattr(stage_module, "MOST_VALUES", heads * LENGTH * LENGTH)
    if fits:
        assert LoadedStage(block(0), store, Backend(), length).length == length
        return
    with pytest.raises(Refusal) as refusal:
        LoadedStage(block(0), store, Backend(), length)
    assert refusal.value.code == "program.memory"


@pytest.mark.parametrize(("most", "fits"), [(16 * LENGTH, True), (16 * LENGTH - 1, False)])
def test_what_a_sparse_map_gives_is_held_to_the_largest_value(
    most: int, fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from blockcert.program import Rows

    monkeypatch.setattr(stage_module, "MOST_VALUES", most)
    save(tmp_path / "s", SURROGATE, {"rows": np.arange(1, dtype=np.int32), "weight": np.ones((1, D))})
    wide = Stage("block", (Linear("a", "hidden", Rows(16, ref("rows"), ref("weight"))),), "a")
    store = WeightStore({SURROGATE: tmp_path / "s"})
    if fits:
        assert LoadedStage(wide, store, Backend(), LENGTH).footprint == most
        return
    with pytest.raises(Refusal) as refusal:
        LoadedStage(wide, store, Backend(), LENGTH)
    assert refusal.value.code == "program.memory"
