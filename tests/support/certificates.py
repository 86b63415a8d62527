"""Real certificates for tests and benchmarks: rounded copies of real models, compared, signed, trusted, verified."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from blockcert.keys import NamedKey, PrivateKey, generate
from blockcert.program import TensorRef
from blockcert.safetensors_file import read_header, write
from blockcert.trust import encode_policy, new_policy
from blockcert_producers import embedded
from blockcert_producers.embedded.text import generate as generate_text
from blockcert_producers.sign import sign_bundle
from blockcert_verifier.evaluate.weights import WeightStore

__all__ = ["NOW", "corpus_for", "models", "rounded_copy", "sign_and_trust"]

NOW = datetime(2026, 11, 22, 10, 0, 0, tzinfo=UTC)
SHARED = Path(__file__).resolve().parents[2].parent / "shared"


def models() -> dict[str, Path]:
    """The embedded models and, where they lie beside the project, the shared ones: name to folder."""
    found = {f"embedded {name}": embedded.path(name) for name in embedded.NAMES}
    others = {name: SHARED / "models" / name for name in ("stories260K", "slm4096_gpt2")}
    return found | {name: path for name, path in others.items() if path.is_dir()}


def corpus_for(model: Path, folder: Path, characters: int = 120_000) -> Path:
    """A text file in a style that the model speaks, enough for a few hundred windows."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "corpus.txt"
    if model.parent == SHARED / "models":
        text = (SHARED / "text" / "tinyshakespeare.txt").read_text(encoding="utf-8")[:characters]
    else:
        text = generate_text(77, characters)
    path.write_text(text, encoding="utf-8")
    return path


def _bfloat16(values: np.ndarray) -> bytes:
    """Round to nearest even, as the upper 16 bits of float32."""
    bits = values.astype(np.float32).view(np.uint32).astype(np.uint64)
    return (((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")).tobytes()


def _int8(values: np.ndarray) -> np.ndarray:
    """Each row rounded to 255 levels between minus and plus its largest magnitude; vectors stay."""
    if values.ndim < 2:
        return values
    scale = np.abs(values).max(axis=1, keepdims=True) / 127
    return (np.round(values / np.where(scale == 0, 1, scale)) * scale).astype(np.float32)


def rounded_copy(model: Path, out: Path, form: str) -> Path:
    """A copy of a checkpoint with rounded weights: ``bfloat16``, ``float16``, or ``int8`` per row, kept as float32."""
    shutil.copytree(model, out, ignore=shutil.ignore_patterns("*.safetensors"))
    out.chmod(0o755)
    for path in model.glob("*.safetensors"):
        store = WeightStore({"f": path})
        tensors: dict[str, tuple[str, tuple[int, ...], bytes]] = {}
        for name in read_header(path, path.name):
            values = store.floats(TensorRef("f", name))
            match form:
                case "bfloat16":
                    tensors[name] = ("BF16", values.shape, _bfloat16(values))
                case "float16":
                    tensors[name] = ("F16", values.shape, values.astype("<f2").tobytes())
                case _:
                    tensors[name] = ("F32", values.shape, _int8(values.astype("<f4")).tobytes())
        write(out / path.name, tensors)
    return out


def sign_and_trust(bundle: Path, trust: Path, keys: Sequence[PrivateKey] = ()) -> Path:
    """Sign a bundle with ``keys`` (a fresh one where none is given) and write the policy that trusts them."""
    used = list(keys) or [generate()]
    for key in used:
        sign_bundle(bundle, key)
    named = [NamedKey(f"key{i}", key.public) for i, key in enumerate(used)]
    trust.write_bytes(encode_policy(new_policy(named, replay=True)))
    return trust
