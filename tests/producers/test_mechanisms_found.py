"""The heads of the embedded models: what an independent measurement says they do, and what extraction makes of them.

Attention on planted patterns (``embedded.heads``, transformers) names the heads that look at the token before, that
copy what followed before (induction), and that look for the opener of a bracket. Extraction sees only cached values on
ordinary text.

At 64 tokens scores cost little beside the maps, and the clearest previous-token heads have more than a third of their
variance from other tokens. So on these models no head becomes an offset at any level of the path, and none is said to.
What extraction finds is that a previous-token head lives in a narrow window, and that heads that look far do not.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from blockcert.program import DensePattern, MeanPattern, OffsetPattern, WindowPattern
from blockcert_producers import embedded
from blockcert_producers.embedded.text import generate
from blockcert_producers.extract.patterns import HeadOptions, head_options
from blockcert_producers.extract.plan import Plan, make_plan
from blockcert_producers.extract.sensitivity import measure_sensitivity
from blockcert_producers.extract.study import Study
from blockcert_producers.lift import lift
from blockcert_verifier.evaluate import Backend, LoadedStage, WeightStore

tokenizers = pytest.importorskip("tokenizers")
transformers = pytest.importorskip("transformers")

LENGTH, PROMPTS = 64, 16
NARROW = 4


class Found(NamedTuple):
    """One model: what was measured of its heads, and by block what extraction tries and plans."""

    scores: list[Any]
    options: list[HeadOptions]
    plans: list[Plan]

    def left(self, layer: int, head: int, width: int) -> float:
        """Of what a head gives about its mean, the share that a window of ``width`` does not give."""
        options = self.options[layer]
        k = next(k for k, p in enumerate(options.patterns[head]) if isinstance(p, WindowPattern) and p.width == width)
        return options.errors[head, k] / options.errors[head, -1]


@pytest.fixture(scope="module", params=embedded.NAMES)
def found(request: pytest.FixtureRequest) -> Found:
    from blockcert_producers.embedded.heads import measure

    folder = embedded.path(request.param)
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    scores = measure(transformers.AutoModelForCausalLM.from_pretrained(folder).eval(), tokenizer)
    ids = tokenizer.encode(generate(7, 40_000), add_special_tokens=False).ids
    tokens = np.array(ids[: PROMPTS * LENGTH]).reshape(PROMPTS, LENGTH)
    program = lift(folder)
    store = WeightStore({file.name: folder / file.name.removeprefix("reference/") for file in program.files})
    backend = Backend()
    hidden = LoadedStage(program.stages[0], store, backend, LENGTH)(backend.integers(tokens))
    options: list[HeadOptions] = []
    plans: list[Plan] = []
    for stage in program.stages[1:-1]:
        study = Study(stage, hidden, store, backend)
        sensitivities, amplification = measure_sensitivity(study)
        assert study.anatomy.heads is not None
        options.append(head_options(study, study.anatomy.heads, amplification))
        plans.append(make_plan(study, sensitivities, amplification))
        hidden = study.values[stage.output]
    return Found(scores, options, plans)


def test_the_head_that_looks_at_the_token_before_is_found(found: Found) -> None:
    measured = max(found.scores, key=lambda score: score.previous)
    assert measured.previous > 0.7
    options = found.options[measured.layer]
    # of all single tokens the one before says most of what it gives
    assert options.patterns[measured.head][-2] == OffsetPattern(1)
    assert 1 / 3 < options.errors[measured.head, -2] / options.errors[measured.head, -1] < 1
    # and of all heads it is the one that a narrow window serves best
    least = min(found.scores, key=lambda score: found.left(score.layer, score.head, NARROW))
    assert (least.layer, least.head) == (measured.layer, measured.head)
    assert found.left(measured.layer, measured.head, NARROW) < 0.15


def test_heads_that_look_far_back_keep_wide_windows_along_the_whole_path(found: Found) -> None:
    far = [score for score in found.scores if score.induction > 0.85 or score.bracket_next > 0.4]
    assert {role: max(found.scores, key=lambda s, r=role: getattr(s, r)) in far for role in ROLES} == ROLES
    for score in far:
        assert found.left(score.layer, score.head, NARROW) > 0.3, score
        for patterns in found.plans[score.layer].patterns or ():
            pattern = patterns[score.head]
            assert isinstance(pattern, DensePattern) or (isinstance(pattern, WindowPattern) and pattern.width >= 16)


ROLES = {"induction": True, "bracket_next": True}


def test_no_head_becomes_an_offset_where_scores_cost_so_little(found: Found) -> None:
    every = {type(p) for plan in found.plans for patterns in plan.patterns or () for p in patterns}
    assert WindowPattern in every
    assert every <= {DensePattern, WindowPattern, MeanPattern}
