"""Random configs: an option that is honoured here and not by ``transformers``, or read there from another place, shows.

First the rotary options alone, of every family and in both spellings, against the frequencies that the family's own
module makes of the config; then whole checkpoints of random options, against the logits.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from huggingface_hub.errors import StrictDataclassClassValidationError
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from blockcert.digest import FileDigests
from blockcert.errors import Refusal
from blockcert.program import Attention, Program, Rotary, WindowPattern, amplitude
from blockcert_producers.lift import ARCHITECTURES, Checkpoint, lift, open_checkpoint
from blockcert_verifier.fidelity import float64_modules, transformers_logits
from tests.support.checkpoints import TINY, make_checkpoint
from tests.support.evaluator import evaluate
from tests.support.oracle import frequency_of, reference_files

ROTARY = sorted(set(ARCHITECTURES) - {"gpt2"})
LAYERS = ("sliding_attention", "full_attention")
CONTEXT = 64


def one_of(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


DIVISORS = one_of(0.5, 1, 1.0, 2.75, 40.0)
OPTIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "default": ({}, {}),
    "linear": ({"factor": one_of(1.0, 2, 3.5)}, {}),
    "dynamic": ({"factor": one_of(1.0, 2, 3.5)}, {}),
    "llama3": (
        {
            "factor": one_of(1.5, 8.0),
            "low_freq_factor": one_of(0.5, 1),
            "high_freq_factor": one_of(2.5, 4.0),
            "original_max_position_embeddings": one_of(16, 48),
        },
        {},
    ),
    "yarn": (
        {"factor": one_of(0.5, 2.5, 4, 40.0)},
        {
            "original_max_position_embeddings": one_of(16, 48, 4096),
            "beta_fast": one_of(None, 0, 2.0, 4, 32),
            "beta_slow": one_of(None, 0, 0.1, 0.8, 1),
            "mscale": one_of(None, 0, 0.7, 1.5),
            "mscale_all_dim": one_of(None, 0.5, 1),
            "attention_factor": one_of(None, 0.9, 1.3),
            "truncate": one_of(True, False),
        },
    ),
    "longrope": (
        {
            "short_factor": st.lists(DIVISORS),  # as many as there are frequencies
            "long_factor": st.lists(DIVISORS),
        },
        {
            "original_max_position_embeddings": one_of(1, 16, 48, 64, 4096),
            "factor": one_of(None, 0.5, 1, 4.0),
            "attention_factor": one_of(None, 0.9, 2),
        },
    ),
    "proportional": ({}, {"factor": one_of(0.5, 2), "partial_rotary_factor": one_of(0, 0.1, 0.3, 0.75, 1)}),
}
"""For each scaling the options that it must have, and those that it may."""
KINDS = ("default", "linear", "dynamic", "llama3", "yarn", "yarn", "longrope", "longrope", "proportional")
PHI3_KINDS = ("default", "longrope", "longrope")


@st.composite
def groups(
    draw: st.DrawFn, *, head: int = 16, absent: float | None = None, kinds: tuple[str, ...] = KINDS
) -> dict[str, Any]:
    """One group of rotary options: those of its scaling and, now and then, one that belongs to another.

    ``head`` is the channels of a head, ``absent`` the share of them that is rotated where none is said; None where a
    family says none.
    """
    kind = draw(st.sampled_from(kinds))
    needed, optional = OPTIONS[kind]
    share = None if absent is None else draw(one_of(None, 0.5, 1))
    if kind == "longrope":
        frequencies = int(head * (share or absent or 1)) // 2
        needed = {name: st.lists(DIVISORS, min_size=frequencies, max_size=frequencies) for name in needed}
    group = draw(st.fixed_dictionaries(needed, optional={"rope_theta": one_of(3.0, 50, 10000.0, 1e6), **optional}))
    group |= draw(one_of({"rope_type": kind}, {"rope_type": kind}, {"type": kind}, {"type": kind, "rope_type": kind}))
    if share is not None:
        group["partial_rotary_factor"] = share
    stray = draw(one_of(None, None, None, None, None, "truncate", "attention_factor", "factor", "beta_fast"))
    if stray is not None:
        group.setdefault(stray, draw(one_of(False, 2.0)))
    return group


OUTSIDE: dict[str, Any] = {
    "rope_theta": one_of(50.0, 10000.0),
    "partial_rotary_factor": one_of(0.5, 1.0),
    "original_max_position_embeddings": one_of(16, 48),
    "truncate": st.just(False),
    "attention_factor": st.just(1.3),
    "rope_local_base_freq": one_of(50.0, 10000.0),
    "rotary_pct": one_of(0.25, 0.5),
    "rotary_emb_base": one_of(50, 10000),
}
"""Options that may stand beside a group: some are read there, of some families, and some are not."""


@st.composite
def rotary_options(draw: st.DrawFn, family: str) -> dict[str, Any]:
    """All of a config that says something of rotary positions."""
    name = draw(one_of("rope_parameters", "rope_parameters", "rope_scaling"))
    own = {"gpt_neox": groups(head=32, absent=0.25), "phi3": groups(absent=1.0, kinds=PHI3_KINDS)}
    group = draw(own.get(family, groups()))
    found: dict[str, Any] = {name: group}
    if family == "phi3" and draw(one_of(True, True, False)):
        # where it stands in this family, and alone
        found["original_max_position_embeddings"] = draw(one_of(16, 48))
        group.pop("original_max_position_embeddings", None)
    if family == "gemma3_text" and name == "rope_parameters":
        found = {name: draw(st.fixed_dictionaries({}, optional=dict.fromkeys(LAYERS, groups())))}
        if draw(st.booleans()):
            found[name] |= draw(one_of({}, {}, {"truncate": False}, {"rope_theta": 50.0}))
    elif draw(one_of(False, False, True)):
        found = {"rope_parameters": group, "rope_scaling": copy.deepcopy(group)}
    if draw(st.booleans()):
        outside = draw(st.sampled_from(sorted(OUTSIDE)))
        found[outside] = draw(OUTSIDE[outside])
    return found


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Checkpoint]:
    """An opened checkpoint of each family, with enough rotary frequencies for a ramp over them."""
    found: dict[str, Checkpoint] = {}
    for family in ROTARY:
        size = {"gpt_neox": {"hidden_size": 96}, "phi3": {"hidden_size": 64}}.get(family, {"head_dim": 16})
        folder = make_checkpoint(tmp_path_factory.mktemp(family), family, max_position_embeddings=CONTEXT, **size)
        opened = open_checkpoint(folder, digest=lambda _: FileDigests(size=1, blake3="00" * 32, sha256=None))
        for name in ("rope_parameters", "rope_theta", "rope_local_base_freq"):
            opened.config.pop(name, None)
        found[family] = opened
    return found


Turned = list[tuple[list[float], float]]
"""For each layer the frequencies and the amplitude."""


def ours(program: Program, length: int) -> Turned:
    found: Turned = []
    for stage in program.stages[1:-1]:
        step, other = (step for step in stage.steps if isinstance(step, Rotary))
        assert (step.theta, step.scaling, step.size) == (other.theta, other.scaling, other.size)
        factor = float(amplitude(step.scaling) or 1)
        found.append(([frequency_of(j, step, length) for j in range(step.size // 2)], factor))
    return found


def theirs(config: Mapping[str, Any], length: int) -> Turned:
    """What the rotary module of the family makes of a config: its buffers, after a prompt of so many tokens."""
    family = config["model_type"]
    read = type(transformers.AutoConfig.for_model(family)).from_dict(copy.deepcopy(dict(config)))
    model: Any = transformers.AutoModelForCausalLM._model_mapping[type(read)]
    modules = vars(sys.modules[model.__module__])
    (rotary,) = (value for name, value in modules.items() if name.endswith("RotaryEmbedding"))
    layers = read.num_hidden_layers
    # only Gemma 3 has tables by the kind of layer
    kinds = [read.layer_types[i] if family == "gemma3_text" else None for i in range(layers)]
    with float64_modules():
        made = rotary(read)
        for kind in kinds:
            value, positions = torch.zeros(1, dtype=torch.float64), torch.arange(length)[None]
            made(value, positions, **({} if kind is None else {"layer_type": kind}))
    names = ["" if kind is None else f"{kind}_" for kind in kinds]
    buffers = [(getattr(made, f"{name}inv_freq"), getattr(made, f"{name}attention_scaling")) for name in names]
    assert all(frequencies.dtype == torch.float64 for frequencies, _ in buffers)
    return [(frequencies.tolist(), float(scaling)) for frequencies, scaling in buffers]


@pytest.mark.parametrize("family", ROTARY)
def test_rotary_options_turn_every_layer_as_transformers_turns_it(
    family: str, checkpoints: dict[str, Checkpoint]
) -> None:
    @settings(max_examples=60)
    @given(options=rotary_options(family), length=one_of(1, 16, 17, 49, CONTEXT))
    def check(options: dict[str, Any], length: int) -> None:
        config = {**checkpoints[family].config, **options}
        try:
            program = ARCHITECTURES[family](replace(checkpoints[family], config=copy.deepcopy(config)))
        except Refusal:
            assume(False)
            raise
        for (found, ours_by), (expected, factor) in zip(ours(program, length), theirs(config, length), strict=True):
            assert ours_by == pytest.approx(factor, rel=1e-13)
            assert found == pytest.approx(expected, rel=1e-11)

    check()


# --- whole checkpoints ------------------------------------------------------------------------------------------

ACTIVATIONS = one_of("gelu", "gelu_new", "gelu_pytorch_tanh", "silu", "relu")
EPSILONS = one_of(1e-12, 1e-6, 0.1)
FLAG = st.booleans()
WIDTHS = one_of(1, 2, 5, 100)


@st.composite
def shapes(draw: st.DrawFn, family: str) -> dict[str, Any]:
    """Options of a small checkpoint of the family."""
    layers = draw(st.integers(1, 3))
    any_family = {"vocab_size": one_of(11, 29), "tie_word_embeddings": FLAG}
    if family == "gpt2":
        heads = draw(one_of(1, 2, 3))
        own = {
            "n_inner": one_of(None, 1, 17),
            "activation_function": ACTIVATIONS,
            "scale_attn_weights": FLAG,
            "scale_attn_by_inverse_layer_idx": FLAG,
            "reorder_and_upcast_attn": FLAG,
            "layer_norm_epsilon": EPSILONS,
        }
        sizes = {"n_layer": layers, "n_head": heads, "n_embd": heads * draw(one_of(1, 5, 8))}
        return sizes | draw(st.fixed_dictionaries({**any_family, **own}))
    if family == "gpt_neox":
        heads, head = draw(one_of(1, 2, 3)), draw(one_of(8, 16))
        own = {
            "attention_bias": FLAG,
            "use_parallel_residual": FLAG,
            "hidden_act": ACTIVATIONS,
            "layer_norm_eps": EPSILONS,
            "rope_parameters": groups(head=head, absent=0.25),
        }
        sizes = {"num_hidden_layers": layers, "num_attention_heads": heads, "hidden_size": heads * head}
        return sizes | draw(st.fixed_dictionaries({**any_family, **own}))
    groups_of_heads = draw(one_of(1, 2))
    heads = groups_of_heads * draw(one_of(1, 3))
    sizes = {
        "num_hidden_layers": layers,
        "num_key_value_heads": groups_of_heads,
        "num_attention_heads": heads,
        "hidden_size": heads * draw(one_of(2, 5)),
        "head_dim": draw(one_of(2, 6, 16)),
    }
    turned = groups(head=sizes["head_dim"])
    own = {"rms_norm_eps": EPSILONS, "rope_parameters": turned, "intermediate_size": one_of(1, 20)}
    types = st.none() | st.lists(one_of(*LAYERS), min_size=layers, max_size=layers)
    match family:
        case "gemma2" | "gemma3_text":
            own |= {
                "hidden_activation": ACTIVATIONS,
                "query_pre_attn_scalar": one_of(1, 7, 256),
                "sliding_window": WIDTHS,
                "layer_types": types,
                "final_logit_softcapping": one_of(None, 5.0),
                "attention_bias": FLAG,
            }
            if family == "gemma2":
                own["attn_logit_softcapping"] = one_of(None, 4.0)
            else:
                own["rope_parameters"] = st.fixed_dictionaries(dict.fromkeys(LAYERS, turned))
        case "llama":
            own |= {"hidden_act": ACTIVATIONS, "attention_bias": FLAG, "mlp_bias": FLAG}
        case "phi3":
            del sizes["head_dim"]
            size, part = draw(one_of((2, 1), (5, 0.8), (16, 0.5), (16, 1.0)))
            sizes["hidden_size"] = heads * size
            turned = groups(head=int(size * part), kinds=PHI3_KINDS)
            turned = turned.map(lambda group: {**group, "partial_rotary_factor": part})
            # a token for padding that the small vocabulary has
            any_family |= {"pad_token_id": st.just(0), "original_max_position_embeddings": one_of(9, 10, 30)}
            own |= {"hidden_act": ACTIVATIONS, "sliding_window": st.none() | WIDTHS, "rope_parameters": turned}
        case "mistral":
            own |= {"hidden_act": ACTIVATIONS, "sliding_window": st.none() | WIDTHS}
        case _:
            own |= {
                "hidden_act": ACTIVATIONS,
                "use_sliding_window": FLAG,
                "sliding_window": WIDTHS,
                "max_window_layers": st.integers(0, 2),
                "layer_types": types,
            }
            if family == "qwen3":
                own["attention_bias"] = FLAG
    return sizes | draw(st.fixed_dictionaries({**any_family, **own}))


# the last two: divisors of another number of frequencies
UNMADE = (ValueError, ZeroDivisionError, KeyError, RuntimeError, StrictDataclassClassValidationError)


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_a_checkpoint_of_random_options_computes_the_same(family: str) -> None:
    @settings(max_examples=8)
    @given(options=shapes(family), dtype=one_of("float32", "bfloat16"), length=one_of(1, 9, 20))
    def check(options: dict[str, Any], dtype: str, length: int) -> None:
        with TemporaryDirectory() as name:
            folder = Path(name)
            try:
                make_checkpoint(folder, family, dtype=dtype, **copy.deepcopy(options))
            except UNMADE:
                assume(False)
            try:
                program = lift(folder)
            except (Refusal, ValueError, ZeroDivisionError, KeyError):
                assume(False)  # no checkpoint, or none that is lifted
                raise
            tokens = np.random.default_rng(3).integers(0, program.vocabulary, (2, length))
            found = evaluate(program, reference_files(folder), tokens)[-1]
            with float64_modules():
                expected = transformers_logits(folder, tokens, "float64")
        assert np.abs(found - expected).max() <= 1e-9 * max(1.0, np.abs(expected).max())

    check()


def test_the_families_of_these_tests_are_all(checkpoints: dict[str, Checkpoint]) -> None:
    assert set(TINY) == set(ROTARY) | {"gpt2"}
    attended = [step for stage in lift(checkpoints["gemma3_text"].folder).stages for step in stage.steps]
    kinds = {isinstance(step.patterns[0], WindowPattern) for step in attended if isinstance(step, Attention)}
    assert kinds == {True, False}  # both kinds of layers are compared
