"""Numbers and keys from public seeds: the same on every machine, and of no value to anybody."""

from __future__ import annotations

from typing import Any

import numpy as np
from blake3 import blake3

from blockcert.keys import PrivateKey, PublicKey

__all__ = ["grid", "throwaway_key", "words"]

_LABEL = "blockcert conformance corpus, for tests only: "


def _bytes(seed: str, count: int) -> bytes:
    return blake3((_LABEL + seed).encode()).digest(length=count)


def throwaway_key(name: str) -> PrivateKey:
    """A key whose private half everybody can compute: for the corpus only, never to be trusted."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    seed = _bytes(f"throwaway key {name}", 32)
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return PrivateKey(PublicKey(public), seed)


def grid(seed: str, *shape: int) -> np.ndarray[Any, Any]:
    """Multiples of 1/128 in [-1, 1), float32: every arithmetic step on them that a case needs is exact."""
    found = np.frombuffer(_bytes(seed, int(np.prod(shape))), dtype=np.int8).reshape(shape)
    return (found.astype(np.float64) / 128).astype(np.float32)


def words(seed: str, count: int, below: int) -> np.ndarray[Any, Any]:
    """``count`` numbers in ``0 .. below - 1``, int32."""
    found = np.frombuffer(_bytes(seed, 8 * count), dtype="<u8")
    return (found % np.uint64(below)).astype(np.int32)
