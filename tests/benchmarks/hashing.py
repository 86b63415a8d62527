"""Hashing against a plain read of the same file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from blockcert.digest import digest_file
from tests.benchmarks.timing import side_by_side

__all__ = ["report"]

SIZE = 256 << 20


def _read(path: Path) -> None:
    buffer = bytearray(1 << 20)
    with path.open("rb", buffering=0) as handle:
        while handle.readinto(buffer):
            pass


def _resident() -> int:
    """Resident bytes of this process; 0 where the system does not say."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


def report() -> list[str]:
    """Lines: rates in GB/s and ratios to a plain read, file in the page cache; and how much of it is held at once."""
    held = 0
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "weights"
        with path.open("wb") as handle:
            for _ in range(SIZE >> 20):
                handle.write(os.urandom(1 << 20))
        times = side_by_side(
            {
                "plain read": lambda: _read(path),
                "BLAKE3": lambda: digest_file(path, sha256=False),
                "BLAKE3 and SHA-256 in one pass": lambda: digest_file(path, sha256=True),
            },
            rounds=5,
        )
        before = _resident()

        def look(_done: int) -> None:
            nonlocal held
            held = max(held, _resident() - before)

        digest_file(path, progress=look)
    base = times["plain read"]
    lines = [f"Hashing {SIZE >> 20} MiB, file in the page cache"]
    lines += [f"  {n:32} {SIZE / t / 1e9:6.2f} GB/s   {t / base:5.1f} x plain read" for n, t in times.items()]
    return [*lines, f"  held in memory at once           {held / (1 << 20):6.1f} MiB"]
