"""The `blockcert` command: its sub-commands are imported only when they are invoked."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from contextlib import suppress
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command line of this process and leave with its exit code (`spec/09-result-codes.md`)."""
    # a tenth of a short command's time was garbage collection among modules, which are no garbage
    gc.set_threshold(50_000)
    try:
        _end_as_interrupted()
        code = _run()
    except KeyboardInterrupt:  # before anything was begun, or once more while it was ended
        code = 130
    _leave(code)


def _leave(code: int) -> NoReturn:
    """End this process as `sys.exit` does, without taking its modules apart first.

    That takes a tenth of a short command's time, or a second where torch is loaded, and gives back what the system
    takes back anyway. What was registered to happen at the end happens.
    """
    with suppress(Exception, KeyboardInterrupt):  # the verdict stands, whatever is left undone beside it
        atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    os._exit(code)


def _run() -> int:
    from blockcert.errors import Refusal
    from blockcert_producers.cli.run import run
    from blockcert_producers.cli.streams import settle

    settle()
    code = run(sys.argv[1:])
    with suppress(Refusal):  # said already, or less than what was
        sys.stdout.flush()
    return code


def _end_as_interrupted() -> None:
    """Whoever ends this process (a terminal that closes, a container that stops) ends it as Ctrl-C does: what was half
    written is cleared, and what was measured is reported. What is ignored already, as under `nohup`, stays so."""

    def interrupt(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # not every system has both
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, interrupt)
