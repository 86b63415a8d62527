"""What a person sees on standard error while rows are measured: what it will cost, how far it is, how long is left."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from blockcert_verifier.counted import counted

if TYPE_CHECKING:
    from blockcert.findings import StepName
    from blockcert_verifier.verification import Progress
    from blockcert_verifier.work import Estimate

__all__ = ["announcement", "duration", "progress_line", "waiting_line"]

_WORTH_SAYING = 5.0
"""Seconds from which an estimate is printed where nobody watches."""
_BETWEEN = 0.1
"""Seconds between two looks of the line: a terminal is slower than what it reports."""


def duration(seconds: float) -> str:
    """A duration in words, to two digits at most: what is estimated is not given to the second."""
    if seconds < 90:
        return f"{seconds:.2g} s" if seconds < 10 else f"{round(seconds)} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.2g} h"


def _size(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB" if count >= 1 << 30 else f"{max(1, count >> 20)} MiB"


def announcement() -> Callable[[Estimate], None]:
    """A printer of estimates: always for a person who watches, else only of work that takes a while."""

    def announce(found: Estimate) -> None:
        if sys.stderr.isatty() or found.seconds >= _WORTH_SAYING:
            cost = f"about {duration(found.seconds)} and {_size(found.memory)} of memory (estimate)"
            text = f"{found.what} {counted(found.rows, 'row')}: {cost}"
            sys.stderr.write(f"blockcert: {text}\n")
            sys.stderr.flush()

    return announce


def progress_line() -> Progress | None:
    """A line that rewrites itself while the work goes on, if a person is there to see it."""
    if not sys.stderr.isatty():
        return None
    begun: dict[StepName, tuple[float, int]] = {}
    written = 0.0

    def tell(step: StepName, done: int, total: int) -> None:
        nonlocal written
        if done >= total:
            if begun.pop(step, None) is not None:
                sys.stderr.write("\r\x1b[K")
                sys.stderr.flush()
            return
        now = monotonic()
        if step in begun and now - written < _BETWEEN:
            return
        written = now
        start, first = begun.setdefault(step, (now, done))
        text = f"{step}: {100 * done // total} %"
        # the first instants say nothing about the rest
        if now - start > 1 and done > first:
            text += f", about {duration((now - start) * (total - done) / (done - first))} left"
        sys.stderr.write(f"\r{text}\x1b[K")
        sys.stderr.flush()

    return tell


@contextmanager
def waiting_line(what: str) -> Generator[Callable[[float], None]]:
    """What to call with the seconds for which a program of others has run, of whose end nothing is known.

    It says what is waited for, and to a person who watches for how long already; the line is gone afterwards.
    """
    if not sys.stderr.isatty():
        said = False

        def once(seconds: float) -> None:
            nonlocal said
            if seconds >= _WORTH_SAYING and not said:
                said = True
                sys.stderr.write(f"blockcert: {what}\n")
                sys.stderr.flush()

        yield once
        return

    def tell(seconds: float) -> None:
        sys.stderr.write(f"\r{what}: {duration(seconds)}\x1b[K")
        sys.stderr.flush()

    tell(0.0)
    try:
        yield tell
    finally:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
