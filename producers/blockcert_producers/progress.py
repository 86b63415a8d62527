"""Progress of long work: a callback type for libraries, a bar for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeAlias

__all__ = ["Progress", "progress_bar", "silent"]

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with what is being done, steps done, and steps in all."""


def silent(task: str, done: int, total: int) -> None:
    """Report nothing."""


@contextmanager
def progress_bar() -> Generator[Progress]:
    """A bar per task on standard error, with elapsed and remaining time; nothing where it is not a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Bars(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks: dict[str, int] = {}

        def report(task: str, done: int, total: int) -> None:
            if task not in tasks:
                tasks[task] = int(bars.add_task(task, total=total))
            bars.update(tasks[task], completed=done, total=total)  # type: ignore[arg-type]

        yield report
