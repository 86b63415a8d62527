"""Text files and a tokenizer that give exactly the windows asked for: every token is one word."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

__all__ = ["save_tokenizer", "save_windows"]


def save_tokenizer(path: Path, vocabulary: int) -> None:
    """A tokenizer.json whose token `i` is the word `ti`."""
    document = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {"type": "WordLevel", "vocab": {f"t{i}": i for i in range(vocabulary)}, "unk_token": "t0"},
    }
    path.write_text(json.dumps(document))


def save_windows(path: Path, windows: Sequence[Sequence[int]], rest: int = 0) -> Path:
    """A text whose windows these are, in order, with `rest` further tokens that fill no window."""
    words = [f"t{token}" for window in windows for token in window] + ["t1"] * rest
    path.write_text(" ".join(words))
    return path
