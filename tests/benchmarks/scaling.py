"""What a certificate costs by prompts and by blocks: seconds and peak memory, and the line through them."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import numpy as np

from tests.benchmarks import fresh_process
from tests.benchmarks.fresh_process import Taken
from tests.benchmarks.materials import random_model
from tests.support.certificates import corpus_for, rounded_copy

__all__ = ["certify", "prepare", "report"]

WIDTH = 192
PROMPTS, AT_BLOCKS = (8, 16, 32, 64), 4
BLOCKS, AT_PROMPTS = (3, 6, 12, 24), 8


def prepare() -> None:
    """Import what a comparison imports on its way."""
    from importlib import import_module

    for name in ("torch", "transformers.models.llama.modeling_llama"):
        import_module(name)


def certify(model: str, copy: str, corpus: str, out: str, prompts: int, attribution: int) -> None:
    """Compare, check and write a bundle."""
    from blockcert_producers.produce import Job, compare_bundle

    job = Job((Path(corpus),), Path(out), count=prompts, calibration=0, attribution=attribution)
    compare_bundle(Path(model), Path(copy), job, now=datetime.now(UTC).replace(microsecond=0))


def _line(sizes: tuple[int, ...], values: list[float], unit: str) -> str:
    """The least-squares line through values at sizes, and how far it misses the furthest of them."""
    slope, constant = np.polyfit(sizes, values, 1)
    off = max(abs(constant + slope * size - value) for size, value in zip(sizes, values, strict=True))
    return f"{constant:.4g} + {slope:.4g} {unit}, off by {100 * off / max(values):.1f} % of the largest at most"


def _table(scratch: Path, what: str, sizes: tuple[int, ...], rounds: int) -> list[str]:
    taken: dict[int, list[Taken]] = {size: [] for size in sizes}
    for turn in range(rounds):
        for size in sizes:
            blocks, prompts = (AT_BLOCKS, size) if what == "prompts" else (size, AT_PROMPTS)
            model, copy = scratch / f"model-{blocks}", scratch / f"copy-{blocks}"
            if not copy.is_dir():
                random_model(model, blocks=blocks, width=WIDTH)
                rounded_copy(model, copy, "float16")
            out = scratch / f"bundle-{what}-{size}-{turn}"
            words = (str(model), str(copy), str(corpus_for(model, scratch)), str(out))
            taken[size].append(fresh_process.run(__name__, "certify", *words, prompts, 0))
    fixed = f"{AT_BLOCKS} blocks" if what == "prompts" else f"{AT_PROMPTS} prompts"
    lines = [f"  {what} at {fixed}:   seconds   of a processor   own memory at the peak   resident"]
    columns: dict[str, list[float]] = {name: [] for name in ("seconds", "processor", "own", "resident")}
    for size in sizes:
        for name, values in columns.items():
            values.append(median(getattr(one, name) for one in taken[size]))
        seconds, processor, own, resident = (values[-1] for values in columns.values())
        lines.append(f"  {size:7}            {seconds:9.2f} {processor:16.2f} {own:20.0f} MiB {resident:6.0f} MiB")
    lines.append(f"    seconds   = {_line(sizes, columns['seconds'], f'x {what}')}")
    lines.append(f"    processor = {_line(sizes, columns['processor'], f'x {what}')}")
    lines.append(f"    own MiB   = {_line(sizes, columns['own'], f'x {what}')}")
    return lines


def report(rounds: int = 3) -> list[str]:
    """Lines: the cost of whole certificates (aim: linear in prompts and in blocks, memory flat in blocks)."""
    if not fresh_process.readable():
        return ["Scaling: skipped, peak memory is read from /proc"]
    lines = [f"Scaling of compare, random Llama of width {WIDTH}, 64 tokens, no attribution, medians of {rounds}"]
    with tempfile.TemporaryDirectory() as scratch:
        lines += _table(Path(scratch), "prompts", PROMPTS, rounds)
        lines += _table(Path(scratch), "blocks", BLOCKS, rounds)
    return lines


if __name__ == "__main__":
    print("\n".join(report()))
