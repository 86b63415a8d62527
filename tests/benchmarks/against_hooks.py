"""Against TransformerLens hooks: the loss with each block replaced and the stitched drift, in float32.

Both sides get the same checkpoints with random weights, the same prompts and as many threads; what both measure is
compared before anything is timed. TransformerLens lives in an environment of its own, which is named with
``BLOCKCERT_TRANSFORMER_LENS`` or on the command line: ``python -m tests.benchmarks.against_hooks ENVIRONMENT``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import IO, Any

import numpy as np

from blockcert.same_program import same_stages
from blockcert_producers import embedded
from blockcert_producers.lift import lift
from blockcert_verifier.evaluate import Backend, WeightStore
from blockcert_verifier.measure import Measured, Pair, Settings, measure
from tests.support.certificates import rounded_copy

__all__ = ["report"]

VARIABLE = "BLOCKCERT_TRANSFORMER_LENS"
HOW = (
    "python -m venv ENV && ENV/bin/pip install torch==2.13.0 && ENV/bin/pip install transformer_lens==4.3.0, "
    f"then {VARIABLE}=ENV"
)
THRESHOLDS = (1e-4, 1e-3, 1e-2)
LENGTH = 64
GPT2: dict[str, Any] = {"vocab_size": 50257, "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024}
LLAMA: dict[str, Any] = {
    "vocab_size": 32000,
    "hidden_size": 768,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_key_value_heads": 4,
    "max_position_embeddings": 1024,
}
SMALL_GPT2 = {**GPT2, "vocab_size": 512, "n_embd": 96, "n_layer": 4, "n_head": 4}
SMALL_LLAMA = {**LLAMA, "vocab_size": 512, "hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 4}


def _checkpoint(folder: Path, kind: str, options: dict[str, Any]) -> Path:
    import torch
    import transformers

    torch.manual_seed(0)
    made: Any = {
        "gpt2": lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config(**options)),
        "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**options)),
    }[kind]()
    made.save_pretrained(folder)
    # TransformerLens does not load a model without one; the prompts are token ids
    marks = dict.fromkeys(("bos_token", "eos_token", "pad_token"), "<s>")
    file = str(embedded.path("llama") / "tokenizer.json")
    transformers.PreTrainedTokenizerFast(tokenizer_file=file, **marks).save_pretrained(folder)
    return folder


class _Other:
    """TransformerLens' process."""

    def __init__(self, python: Path, asked: dict[str, Any], errors: IO[str]) -> None:
        self._errors = errors
        script = Path(__file__).with_name("against_hooks_side.py")
        threads = {name: str(asked["threads"]) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        self._process = subprocess.Popen(
            [str(python), "-P", str(script)],  # without -P it would import from this folder
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **threads},
        )
        self.version: str = self.ask(json.dumps(asked))["version"]

    def ask(self, line: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            self._errors.seek(0)
            raise SystemExit(f"TransformerLens' process ended:\n{self._errors.read()[-2000:]}")
        return json.loads(answer)

    def close(self) -> None:
        self._process.communicate(timeout=60)


def _disagreement(theirs: dict[str, Any], ours: Measured, blocks: int) -> str | None:
    """What both sides measured and do not agree on within float32 rounding, in words."""
    inner = range(1, blocks + 1)
    for name, column in (("drift", "drift"), ("error", "error")):
        mine, other = ours[column].value[:, 1:-1], np.array(theirs[name]).T
        if not np.allclose(mine, other, rtol=1e-2, atol=1e-6 * float(ours["final_norm"].value.max())):
            return f"{name}: {np.abs(mine - other).max():.3g} of {mine.max():.3g}"
    for name, column in (("loss", "loss_reference"), ("stitched loss", "loss_surrogate")):
        if not np.allclose(ours[column].value, theirs[name], rtol=1e-4):
            return f"{name}: {ours[column].value} and {theirs[name]}"
    mine = np.stack([ours["attribution.loss_within"].value[:, i] for i in inner], axis=1)  # rows x blocks x thresholds
    other = np.array(theirs["within"]).transpose(2, 0, 1)
    # a loss difference within rounding of a threshold falls on either side of it
    if np.abs(mine - other).max() > max(2, LENGTH // 16):
        return f"positions within a threshold: {np.abs(mine - other).max()} of {LENGTH - 1}"
    return None


def _compared(
    scratch: Path, python: Path, kind: str, options: dict[str, Any], prompts: int, rounds: int, threads: int
) -> list[str]:
    model = _checkpoint(scratch / kind, kind, options)
    copy = rounded_copy(model, scratch / f"{kind}-int8", "int8")
    reference, surrogate = lift(model), lift(copy, prefix="surrogate/")
    files = {f"reference/{path.name}": path for path in model.glob("*.safetensors")}
    files |= {f"surrogate/{path.name}": path for path in copy.glob("*.safetensors")}
    pair = Pair(reference, surrogate, same_stages(reference, surrogate), WeightStore(files))
    tokens = np.random.default_rng(0).integers(0, reference.vocabulary, (prompts, LENGTH))
    (scratch / "tokens.json").write_text(json.dumps(tokens.tolist()))
    settings, blocks = Settings((0.01,), THRESHOLDS), reference.blocks
    asked = {"reference": str(model), "surrogate": str(copy), "tokens": str(scratch / "tokens.json")}
    with (scratch / "errors.txt").open("w+", encoding="utf-8") as errors:
        other = _Other(python, {**asked, "thresholds": THRESHOLDS, "threads": threads}, errors)

    hooks, layer = "TransformerLens, run_with_hooks", "TransformerLens, start_at_layer"
    theirs = {hooks: "hooks", layer: "start_at_layer"}
    mine = {f"measure, float32, {name}": device for name, device in (("numpy", "cpu"), ("torch", "torch"))}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in (*theirs, *mine)}
    for turn in range(rounds + 1):
        answers = {name: other.ask(way) for name, way in theirs.items()}
        for name, answer in answers.items():
            taken[name].append((answer["seconds"], answer["processor"]))
        for name, device in mine.items():
            begin, processor = time.perf_counter(), time.process_time()
            found = measure(pair, tokens, settings, Backend(device, "float32"), attribution=prompts)
            taken[name].append((time.perf_counter() - begin, time.process_time() - processor))
            for answer in answers.values() if turn == 0 else ():
                wrong = _disagreement(answer, found, blocks)
                if wrong is not None:
                    raise SystemExit(f"{kind}: {name} and TransformerLens do not measure the same: {wrong}")
    other.close()
    # theirs: the reference, the surrogate, one for each block; ours: those, embedding and head replaced too, the
    # hybrids of every two neighbouring blocks, and the identity's
    counts = {name: 2 * blocks + 4 if name in mine else blocks + 2 for name in taken}
    seconds, processor = (
        {name: median(one[which] for one in values[1:]) for name, values in taken.items()} for which in (0, 1)
    )
    lines = [
        f"  {kind}, {blocks} blocks, {prompts} prompts of {LENGTH} tokens; {other.version}",
        f"    {'':33} seconds  trajectories  ms each;  speed of hooks per trajectory (by processor time), in all",
    ]
    for name, count in counts.items():
        each, cycles = (times[hooks] / counts[hooks] * count / times[name] for times in (seconds, processor))
        lines.append(
            f"    {name:33} {seconds[name]:7.3f} {count:13} {1000 * seconds[name] / count:8.1f}   "
            f"x {each:5.2f} ({cycles:5.2f}), x {seconds[hooks] / seconds[name]:5.2f}"
        )
    return lines


def report(
    environment: str | None = None,
    *,
    prompts: int = 4,
    rounds: int = 5,
    threads: int | None = None,
    small: bool = False,
) -> list[str]:
    """Lines: seconds per trajectory of both sides and the ratios (aim: per trajectory twice the hooks' speed)."""
    place = environment or os.environ.get(VARIABLE)
    if not place:
        return [f"Against TransformerLens hooks: skipped, no environment is named ({HOW})"]
    python = Path(place) / "bin" / "python"
    if not python.is_file():
        return [f"Against TransformerLens hooks: skipped, there is no {python} ({HOW})"]
    import torch

    threads = torch.get_num_threads()
    models = (("gpt2", SMALL_GPT2), ("llama", SMALL_LLAMA)) if small else (("gpt2", GPT2), ("llama", LLAMA))
    lines = [
        f"Against TransformerLens hooks, float32, {threads} threads, medians of {rounds} (aim: twice their speed per",
        "trajectory). Hooks run a whole model for each block that is replaced, start_at_layer from that block on;",
        "measure takes all trajectories through a stage together, each from where it departs, and fills every column.",
    ]
    with tempfile.TemporaryDirectory() as scratch:
        for kind, options in models:
            lines += _compared(Path(scratch), python, kind, options, prompts, rounds, threads)
    return lines


def main() -> None:
    """Print the report; ``--small`` takes small models, to see whether it works."""
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    print("\n".join(report(words[0] if words else None, small="--small" in sys.argv)))


if __name__ == "__main__":
    main()
