"""Trains the embedded models: ``python -m blockcert_producers.embedded.train gpt2|llama|all [--out DIR]``.

One model takes some six to nine minutes on one thread of a server processor. Seeds, data order and the number of
threads are fixed and only deterministic kernels are allowed, so that the same build of torch on the same sort
of processor writes the same bytes again. Another build or processor may round otherwise and so end in
slightly different weights.
"""

# torch and transformers describe their calls too loosely for strict checking.
# pyright: basic

from __future__ import annotations

import argparse
import json
import pathlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from blockcert_producers.embedded import NAMES, Name, card, heads
from blockcert_producers.embedded import tokenizer as tokenizer_module
from blockcert_producers.embedded.losses import held_out, stream, windows_loss

TRAINING_SEED, HELD_OUT_SEED, INITIAL_SEED = 1, 2, 3
CONTEXT = 128
ROTARY_BASE = 1000.0
BLOCKS, WIDTH, HEADS, KEY_HEADS = 4, 96, 4, 2


LOOKING_BACK = {"Loop": 0.35, "Echo": 0.25, "Key": 0.2, "Brackets": 0.2}
"""The kinds of the first stage: those that can only be foretold by looking back, so that heads which look
back form before the rest is learned."""


@dataclass(frozen=True)
class Recipe:
    """How to train: ``early`` steps on LOOKING_BACK in windows of 64 tokens, then ``steps`` on all kinds.

    Matrices within the blocks go by Muon, embeddings and vectors by AdamW; ``*_rate`` are the highest rates.
    """

    early: int = 1400
    steps: int = 1300
    batch: int = 16
    matrix_rate: float = 0.006
    other_rate: float = 3e-3
    warmup: int = 50
    cooling: float = 0.5
    decay: float = 0.05
    clip: float = 1.0
    early_tokens: int = 800_000
    tokens: int = 2_500_000
    held_out_tokens: int = 100_000


RECIPES: dict[Name, Recipe] = {"gpt2": Recipe(), "llama": Recipe(steps=3000)}
"""The Llama learns slower from its start and gets more steps."""


def build(name: Name, vocabulary: int) -> Any:
    """A fresh float32 model of that name, its weights drawn from INITIAL_SEED."""
    torch.manual_seed(INITIAL_SEED)
    if name == "gpt2":
        return GPT2LMHeadModel(
            GPT2Config(
                vocab_size=vocabulary,
                n_positions=CONTEXT,
                n_embd=WIDTH,
                n_layer=BLOCKS,
                n_head=HEADS,
                activation_function="gelu_new",
                resid_pdrop=0.0,
                embd_pdrop=0.0,
                attn_pdrop=0.0,
                initializer_range=0.05,
                bos_token_id=0,
                eos_token_id=0,
            )
        )
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=WIDTH,
            intermediate_size=256,
            num_hidden_layers=BLOCKS,
            num_attention_heads=HEADS,
            num_key_value_heads=KEY_HEADS,
            max_position_embeddings=CONTEXT,
            rope_parameters={"rope_type": "default", "rope_theta": ROTARY_BASE},
            hidden_act="silu",
            tie_word_embeddings=True,
            initializer_range=0.05,
            bos_token_id=0,
            eos_token_id=0,
        )
    )


def rate_at(recipe: Recipe, step: int) -> float:
    """The part of the highest learning rate to use at that step: up linearly, level, then down linearly."""
    total = recipe.early + recipe.steps
    return min((step + 1) / recipe.warmup, 1.0, (total - step) / (recipe.cooling * total))


def prepare(model: Any) -> None:
    """Changes fresh weights so that heads which look back form within a small budget ("mimetic" start).

    In every head queries start equal or close to keys, so that like attends to like, and outputs start as the
    transpose of values, so that what is attended to is copied. MLPs start quiet and embeddings loud, so that
    tokens stay readable in the later blocks. Learned positions start as sinusoids. Rotary attention can tell
    distances only by what all queries and all keys have in common, so there all embeddings get one random
    vector added. No head is given a role.
    """
    size = WIDTH // HEADS
    with torch.no_grad():
        if model.config.model_type == "gpt2":
            places = model.transformer.wpe.weight
            turns = torch.arange(CONTEXT)[:, None] * 1000.0 ** (-torch.arange(0, WIDTH, 2) / WIDTH)
            places.copy_(0.1 * torch.cat([turns.sin(), turns.cos()], 1))
            model.transformer.wte.weight.mul_(2)
            for block in model.transformer.h:
                keys = 0.08 * torch.randn(WIDTH, WIDTH)
                values = torch.linalg.qr(torch.randn(WIDTH, WIDTH))[0]
                block.attn.c_attn.weight.copy_(torch.cat([keys, keys, values], 1))
                block.attn.c_proj.weight.copy_(0.1 * values.T)
                block.mlp.c_proj.weight.mul_(0.3)
            return
        model.model.embed_tokens.weight.add_(0.05 * torch.randn(WIDTH)).mul_(2)
        for block in model.model.layers:
            keys = 0.08 * torch.randn(KEY_HEADS, size, WIDTH)
            values = torch.linalg.qr(torch.randn(WIDTH, WIDTH))[0][: KEY_HEADS * size].view(KEY_HEADS, size, WIDTH)
            shared = HEADS // KEY_HEADS
            block.self_attn.k_proj.weight.copy_(keys.flatten(0, 1))
            block.self_attn.v_proj.weight.copy_(values.flatten(0, 1))
            # Heads that share keys and values must not start alike, or they would stay alike for ever.
            queries = keys.repeat_interleave(shared, 0)
            queries += 0.04 * torch.randn(queries.shape)
            block.self_attn.q_proj.weight.copy_(queries.flatten(0, 1))
            block.self_attn.o_proj.weight.copy_(0.1 * values.repeat_interleave(shared, 0).flatten(0, 1).T)
            block.mlp.down_proj.weight.mul_(0.2)


def optimizers(model: Any, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices within the blocks, AdamW for everything else."""
    tables = {id(layer.weight) for layer in model.modules() if isinstance(layer, torch.nn.Embedding)}
    matrices = [weight for weight in model.parameters() if weight.ndim == 2 and id(weight) not in tables]
    embeddings = [weight for weight in model.parameters() if id(weight) in tables]
    vectors = [weight for weight in model.parameters() if weight.ndim == 1]
    return [
        torch.optim.Muon(matrices, lr=recipe.matrix_rate, weight_decay=recipe.decay, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(
            [
                {"params": embeddings, "weight_decay": recipe.decay},
                {"params": vectors, "weight_decay": 0.0},
            ],
            lr=recipe.other_rate,
            betas=(0.9, 0.98),
            fused=True,
        ),
    ]


def fit(model: Any, early: torch.Tensor, late: torch.Tensor, recipe: Recipe, progress: Callable[[str], None]) -> None:
    """Trains the model in place on windows at random places of the early ids, then of the late ids."""
    both = optimizers(model, recipe)
    groups = [group for optimizer in both for group in optimizer.param_groups]
    highest = [group["lr"] for group in groups]
    chooser = torch.Generator().manual_seed(TRAINING_SEED)
    short, long = early.unfold(0, CONTEXT // 2, 1), late.unfold(0, CONTEXT, 1)
    started, recent = time.monotonic(), 0.0
    model.train()
    for step in range(recipe.early + recipe.steps):
        for group, rate in zip(groups, highest, strict=True):
            group["lr"] = rate * rate_at(recipe, step)
        windows = short if step < recipe.early else long
        rows = windows[torch.randint(len(windows), (recipe.batch,), generator=chooser)]
        logits = model(rows).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        for optimizer in both:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        recent += float(loss.detach())
        if (step + 1) % 100 == 0:
            progress(f"step {step + 1}: loss {recent / 100:.4f}, {time.monotonic() - started:.0f} s")
            recent = 0.0
    model.eval()


def save_tokenizer(tokenizer: Tokenizer, folder: pathlib.Path) -> None:
    """Writes tokenizer.json and tokenizer_config.json."""
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=tokenizer_module.END,
        eos_token=tokenizer_module.END,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    ).save_pretrained(folder)


def _quiet(_line: str) -> None:
    """Progress for a caller who wants none."""


def train(
    name: Name, folder: pathlib.Path, recipe: Recipe | None = None, progress: Callable[[str], None] = _quiet
) -> dict[str, Any]:
    """Trains that model into the folder and returns what card.json says.

    Uses one thread and only deterministic kernels, and puts both settings back afterwards.
    """
    recipe = recipe or RECIPES[name]
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        tokenizer = tokenizer_module.build()
        model = build(name, tokenizer.get_vocab_size())
        prepare(model)
        early, _ = stream(tokenizer, TRAINING_SEED, recipe.early_tokens, LOOKING_BACK)
        late, _ = stream(tokenizer, TRAINING_SEED, recipe.tokens)
        started = time.monotonic()
        fit(model, early, late, recipe, progress)
        minutes = (time.monotonic() - started) / 60
        result = held_out(model, tokenizer, HELD_OUT_SEED, recipe.held_out_tokens)
        fresh, _ = stream(tokenizer, HELD_OUT_SEED, recipe.held_out_tokens)
        figures = card.figures(
            name=name,
            parameters=sum(weight.numel() for weight in model.parameters()),
            vocabulary=tokenizer.get_vocab_size(),
            context=CONTEXT,
            recipe=asdict(recipe),
            seeds={"training": TRAINING_SEED, "held_out": HELD_OUT_SEED, "initial": INITIAL_SEED},
            held_out=asdict(result),
            window_64_loss=windows_loss(model, fresh),
            scores=heads.measure(model, tokenizer),
        )
        folder.mkdir(parents=True, exist_ok=True)
        model.save_pretrained(folder)
        save_tokenizer(tokenizer, folder)
        (folder / "card.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(card.readme(figures), encoding="utf-8")
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
    progress(f"{name}: trained in {minutes:.1f} minutes")
    return figures


def main(arguments: list[str] | None = None) -> None:
    """The script: trains the models asked for and prints progress and the final figures."""
    parser = argparse.ArgumentParser(description="Train the embedded models.")
    parser.add_argument("which", choices=[*NAMES, "all"])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    parser.add_argument("--early", type=int, help="Steps of the first stage, instead of the recipe's.")
    parser.add_argument("--steps", type=int, help="Steps of the second stage, instead of the recipe's.")
    options = parser.parse_args(arguments)
    changes = {key: getattr(options, key) for key in ("early", "steps") if getattr(options, key) is not None}
    for name in NAMES:
        if options.which in (name, "all"):
            recipe = replace(RECIPES[name], **changes)
            figures = train(name, options.out / name, recipe, lambda line: print(line, flush=True))  # noqa: T201
            print(card.summary(figures), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
