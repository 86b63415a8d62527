"""What the benchmarks work on: the embedded Llama, its float16 copy, and a signed certificate of the pair."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from blockcert.keys import NamedKey, generate
from blockcert.trust import encode_policy, new_policy
from blockcert_producers import embedded
from blockcert_producers.embedded.text import generate as generate_text
from blockcert_producers.produce import Job, compare_bundle
from blockcert_producers.sign import sign_bundle
from safetensors.numpy import load_file, save_file

__all__ = ["Certificate", "certificate"]

Certificate = tuple[Path, Path, Path, Path]
"""Bundle, trust policy, reference model, float16 copy."""


def certificate(folder: Path, count: int = 100) -> Certificate:
    """A signed comparison of the embedded Llama with its float16 copy, on ``count`` prompts of 64 tokens."""
    model, copy, bundle, trust = (folder / name for name in ("model", "copy", "bundle", "trust.json"))
    shutil.copytree(embedded.path("llama"), model)
    shutil.copytree(model, copy)
    weights = load_file(model / "model.safetensors")
    save_file({name: tensor.astype(np.float16) for name, tensor in weights.items()}, copy / "model.safetensors")
    corpus = folder / "corpus.txt"
    corpus.write_text(generate_text(7, 300_000), encoding="utf-8")
    job = Job((corpus,), bundle, count=count, calibration=0)
    compare_bundle(model, copy, job, now=datetime.now(UTC).replace(microsecond=0))
    key = generate()
    sign_bundle(bundle, key)
    trust.write_bytes(encode_policy(new_policy([NamedKey("benchmark", key.public)], replay=True)))
    return bundle, trust, model, copy
