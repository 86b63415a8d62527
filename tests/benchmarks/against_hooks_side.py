"""TransformerLens' side of the comparison; runs in its own environment, knows nothing of this project.

Reads one JSON line: the folders of a reference and a surrogate, a file of token ids, thresholds, threads. Then, for
each line ``hooks`` or ``start_at_layer``, measures that way and answers one JSON line with the seconds and the values.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"


def load(folder: str) -> Any:
    """A bridge over the checkpoint, its weights as they are: nothing folded, nothing centred."""
    import torch
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    bridge = TransformerBridge.boot_transformers(folder, hf_model=model, device="cpu", dtype=torch.float32)
    return bridge.eval()


def token_losses(logits: Any, tokens: Any) -> Any:
    """Losses in nats of each next token, B x T-1."""
    return -logits[:, :-1].log_softmax(-1).gather(-1, tokens[:, 1:, None])[..., 0]


def measure(reference: Any, surrogate: Any, tokens: Any, thresholds: list[float], way: str) -> dict[str, Any]:
    """Per block: the counts of positions whose loss moves little with that block replaced, and the stitched drift."""
    blocks = reference.cfg.n_layers
    pre, post = ([f"blocks.{i}.hook_resid_{end}" for i in range(blocks)] for end in ("pre", "post"))
    logits, x = reference.run_with_cache(tokens, names_filter=[*pre, *post])
    loss = token_losses(logits, tokens)
    stitched, y = surrogate.run_with_cache(tokens, names_filter=post)

    # one pass of the surrogate, each block given what the reference's block gets
    replaced: dict[str, Any] = {}

    def give(value: Any, hook: Any) -> Any:
        return x[hook.name.replace("hook_in", "hook_resid_pre")]

    def keep(value: Any, hook: Any) -> None:
        replaced[hook.name.replace("hook_out", "hook_resid_post")] = value

    surrogate.run_with_hooks(
        tokens, return_type=None, fwd_hooks=[*((name, give) for name in pre), *((name, keep) for name in post)]
    )
    within: list[Any] = []

    def replace(value: Any, hook: Any) -> Any:
        return replaced[hook.name.replace("hook_out", "hook_resid_post")]

    for i, name in enumerate(post):
        if way == "hooks" or i == blocks - 1:
            moved = reference.run_with_hooks(tokens, fwd_hooks=[(name, replace)])
        else:
            moved = reference(replaced[name], start_at_layer=i + 1)
        difference = (token_losses(moved, tokens) - loss).abs()
        within.append([(difference <= theta).sum(-1).tolist() for theta in thresholds])
    return {
        "loss": loss.sum(-1).tolist(),
        "stitched loss": token_losses(stitched, tokens).sum(-1).tolist(),
        "drift": [(x[name] - y[name]).norm(dim=-1).amax(-1).tolist() for name in post],
        "error": [(x[name] - replaced[name]).norm(dim=-1).amax(-1).tolist() for name in post],
        "within": within,
    }


def main() -> None:
    """Answer what is asked on the standard input."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print is no answer
    asked = json.loads(sys.stdin.readline())
    from importlib.metadata import version

    import torch
    import transformer_lens  # noqa: F401

    torch.set_num_threads(asked["threads"])
    torch.set_grad_enabled(False)
    reference, surrogate = load(asked["reference"]), load(asked["surrogate"])
    tokens = torch.tensor(json.loads(Path(asked["tokens"]).read_text()))
    print(json.dumps({"version": f"transformer_lens {version('transformer_lens')}"}), file=answers, flush=True)
    for line in sys.stdin:
        begin, processor = time.perf_counter(), time.process_time()
        found = measure(reference, surrogate, tokens, asked["thresholds"], line.strip())
        taken = {"seconds": time.perf_counter() - begin, "processor": time.process_time() - processor}
        print(json.dumps({**taken, **found}), file=answers, flush=True)


if __name__ == "__main__":
    main()
