"""What the benchmarks work on: the embedded Llama, its float16 copy, and a signed certificate of the pair."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from blockcert_producers import embedded
from blockcert_producers.produce import Job, compare_bundle
from tests.support.certificates import corpus_for, rounded_copy, sign_and_trust

__all__ = ["Materials", "checkpoint", "materials", "random_model"]


class Materials(NamedTuple):
    """Folders and files of one comparison."""

    bundle: Path
    trust: Path
    model: Path
    copy: Path


def materials(folder: Path, count: int = 100) -> Materials:
    """A signed comparison of the embedded Llama with its float16 copy, on ``count`` prompts of 64 tokens."""
    model = embedded.path("llama")
    copy = rounded_copy(model, folder / "copy", "float16")
    job = Job((corpus_for(model, folder),), folder / "bundle", count=count, calibration=0)
    compare_bundle(model, copy, job, now=datetime.now(UTC).replace(microsecond=0))
    return Materials(job.out, sign_and_trust(job.out, folder / "trust.json"), model, copy)


def random_model(folder: Path, *, blocks: int, width: int) -> Path:
    """A Llama with random weights as ``transformers`` draws them, in float32, with the embedded model's tokenizer."""
    import torch
    import transformers

    tokenizer = embedded.path("llama") / "tokenizer.json"
    vocabulary = json.loads((embedded.path("llama") / "config.json").read_text())["vocab_size"]
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=11 * width // 4,
        num_hidden_layers=blocks,
        num_attention_heads=width // 64,
        num_key_value_heads=width // 64,
        max_position_embeddings=256,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    shutil.copyfile(tokenizer, folder / "tokenizer.json")
    return folder


def checkpoint(folder: Path, family: str, options: dict[str, Any], dtype: str = "bfloat16") -> Path:
    """A GPT-2 or Llama with random weights in ``dtype``, in shards of 1 GB, with the embedded model's tokenizer."""
    import torch
    import transformers

    torch.manual_seed(0)
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        model: Any
        if family == "gpt2":
            model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**options))
        else:
            model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**options))
    finally:
        torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder, max_shard_size="1GB")
    shutil.copyfile(embedded.path("llama") / "tokenizer.json", folder / "tokenizer.json")
    return folder
