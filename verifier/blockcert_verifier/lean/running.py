"""Running the Lean checker as a process of its own, within the caller's limits of time and memory."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import IO

from blockcert.errors import Refusal
from blockcert_verifier.lean.toolchain import Tool
from blockcert_verifier.limits import DEFAULT, Limits

__all__ = ["run_checker"]

_LOOK = 0.25
"""Seconds between two looks at the clock and at the memory of the processes."""
_TO_TIDY = 5.0
"""Seconds that a process which is told to end has for removing what it made."""


def run_checker(
    tool: Tool,
    pairs: Sequence[tuple[Path, Path]],
    limits: Limits = DEFAULT,
    tell: Callable[[float], None] = lambda _: None,
) -> list[str]:
    """What the checker prints for each pair of a statement and an export: a verdict and its codes.

    Args:
        tool: how it is run.
        pairs: files of a statement and of its export.
        limits: of ``seconds`` and ``memory``, the resident memory of all its processes, looked at four times a second.
        tell: called with the seconds since it was started, as often.

    Raises:
        Refusal: `lean.failed` where it does not answer for each; `limit.seconds`, `limit.memory`.
    """
    words = [str(path.resolve()) for pair in pairs for path in pair]
    _prepare(tool)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        _run(tool, words, out, err, limits, tell)
        printed, said = (_text(one) for one in (out, err))
    answers: dict[str, str] = {}
    for line in printed.splitlines():
        name, _, answer = line.rpartition(": ")
        answers[name] = answer
    found = [answers.get(str(statement.resolve())) for statement, _ in pairs]
    if None in found:
        shown = " ".join((said or printed).split())[-400:]
        raise Refusal("lean.failed", tool.name, f"the checker did not answer: {shown}")
    return [answer for answer in found if answer is not None]


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", errors="replace")


def _prepare(tool: Tool) -> None:
    """Make the tool's folder, whole or not at all."""
    if tool.copied is None or tool.folder.is_dir():
        return
    tool.folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix="part-", dir=tool.folder.parent))
    try:
        for name, file in tool.copied.items():
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, part / name)
        with contextlib.suppress(OSError):  # another run was quicker
            part.rename(tool.folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _run(
    tool: Tool, words: list[str], out: IO[bytes], err: IO[bytes], limits: Limits, tell: Callable[[float], None]
) -> None:
    """Run the command to its end, or to a limit's; nothing of it is left running."""
    begun, most = monotonic(), limits.most_memory()
    try:
        process = subprocess.Popen(
            [*tool.command, *words],
            cwd=tool.folder,
            env=tool.variables,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,  # its own processes are found, and ended, by it
        )
    except OSError as fault:
        raise Refusal("lean.failed", tool.name, f"it cannot be started: {fault.strerror}") from None
    try:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=_LOOK)
                return
            seconds = monotonic() - begun
            tell(seconds)
            if seconds >= limits.seconds:
                sentence = (
                    f"the Lean checker gave no verdict within {limits.seconds:g} seconds; allow it more with --limit"
                )
                raise Refusal("limit.seconds", tool.name, sentence)
            held = 0 if most is None else _resident(process.pid)
            if most is not None and held > most:
                sentence = f"the Lean checker held {held} bytes of memory, and the limit is {most}"
                raise Refusal("limit.memory", tool.name, sentence)
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the command with all its processes: first so that it can tidy up, then without asking."""
    if process.poll() is not None:
        return
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=_TO_TIDY)
    with contextlib.suppress(OSError):
        if sys.platform != "win32":
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _resident(session: int) -> int:
    """Bytes of resident memory of a session's processes; 0 where the system does not tell."""
    try:
        if Path("/proc/self/stat").exists():
            return sum(_pages(Path(folder), session) for folder in os.scandir("/proc")) * os.sysconf("SC_PAGE_SIZE")
        listed = subprocess.run(["ps", "-axo", "pgid=,rss="], check=True, capture_output=True, text=True).stdout
        rows = [line.split() for line in listed.splitlines()]
        return sum(int(size) << 10 for group, size in rows if int(group) == session)
    except (OSError, ValueError, subprocess.SubprocessError):
        return 0


def _pages(folder: Path, session: int) -> int:
    """Resident pages of the process with this folder of `/proc`, if it is of the session."""
    if not folder.name.isdigit():
        return 0
    try:
        # after the name in parentheses: state, parent, group, session; resident pages are the 24th field of all
        fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0  # it has just ended
    return int(fields[21]) if int(fields[3]) == session else 0
