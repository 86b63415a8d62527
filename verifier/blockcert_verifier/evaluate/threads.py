"""Pieces of work side by side: some threads, each with a BLAS of one thread.

BLAS shares a matrix product among its threads, but everything between two products runs on one. Independent pieces,
each on a thread of its own, keep every core busy all the time. numpy lets go of the interpreter while it computes.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import numpy as np

__all__ = ["at_once", "cut", "threads"]

T = TypeVar("T")

_NAMES = ("scipy_openblas_{}_num_threads64_", "scipy_openblas_{}_num_threads", "openblas_{}_num_threads")
_lock = threading.Lock()


class _Blas(NamedTuple):
    get: Callable[[], int]
    set: Callable[[int], Any]


@cache
def _blas() -> _Blas | None:
    """How numpy's OpenBLAS is asked for its number of threads and told another; ``None`` where it is another BLAS."""
    try:
        # a symbol of a library that this one is linked with is found through it
        library = ctypes.CDLL(np._core._multiarray_umath.__file__)  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue, reportUnknownArgumentType, reportUnknownMemberType]
    except (AttributeError, OSError):
        return None
    for name in _NAMES:
        try:
            return _Blas(getattr(library, name.format("get")), getattr(library, name.format("set")))
        except AttributeError:
            continue
    return None


def threads() -> int:
    """How many pieces of work run side by side: the threads of numpy's BLAS; 1 where they cannot be told."""
    blas = _blas()
    return 1 if blas is None else max(1, blas.get())


def cut(count: int, most: int, multiple: int = 1) -> list[slice]:
    """``0 .. count`` in slices of nearly the same length, at most ``most``; a ``multiple`` of slices where there can
    be."""
    if count == 0:
        return []
    pieces = -(-count // max(1, most))
    pieces = max(1, min(count, -(-pieces // multiple) * multiple))
    ends = [count * i // pieces for i in range(pieces + 1)]
    return [slice(begin, end) for begin, end in pairwise(ends)]


def at_once(tasks: Sequence[Callable[[], T]]) -> list[T]:
    """What each of some tasks returns, in their order; several run at a time, the first ones first.

    While they run, BLAS has one thread for each. Called from within a task, or while another thread is here, it runs
    them one after another. What a task raises is raised: of several errors, the first in the order of the tasks.
    """
    count = min(threads(), len(tasks))
    blas = _blas()
    if count < 2 or blas is None or not _lock.acquire(blocking=False):
        return [task() for task in tasks]
    before = blas.get()
    try:
        blas.set(1)
        return _shared(tasks, count)
    finally:
        blas.set(before)
        _lock.release()


def _shared(tasks: Sequence[Callable[[], T]], count: int) -> list[T]:
    found: dict[int, T] = {}
    errors: dict[int, BaseException] = {}
    waiting = iter(range(len(tasks)))
    taking = threading.Lock()

    def work() -> None:
        while not errors:
            with taking:
                index = next(waiting, None)
            if index is None:
                return
            try:
                found[index] = tasks[index]()
            except BaseException as error:  # raised again by the caller's thread
                errors[index] = error

    others = [threading.Thread(target=work, daemon=True) for _ in range(count - 1)]
    for thread in others:
        thread.start()
    work()
    for thread in others:
        thread.join()
    if errors:
        raise errors[min(errors)]
    return [found[index] for index in range(len(tasks))]
