"""A function in a process of its own: seconds, processor seconds and peak memory, imports left out of the times.

Two peaks: all resident memory, and what is the process' own. The difference is pages of mapped files (the weights),
which the system takes back when it wants them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Taken", "readable", "run"]

_STATUS = Path("/proc/self/status")


class Taken(NamedTuple):
    """What a call took: seconds, processor seconds, peaks in MiB; and what it returned."""

    seconds: float
    processor: float
    own: float
    resident: float
    returned: Any


def readable() -> bool:
    """Whether this system says how much memory a process holds."""
    return _STATUS.is_file()


def run(module: str, function: str, *arguments: Any) -> Taken:
    """Call ``module.function`` with JSON values in a fresh process; it returns a JSON value."""
    done = subprocess.run(
        [sys.executable, "-m", __name__, module, function, json.dumps(arguments)],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if sys.stderr.isatty() else None,
        text=True,
    )
    return Taken(**json.loads(done.stdout.splitlines()[-1]))


def _held(*names: str) -> float:
    lines = (line.split() for line in _STATUS.read_text().splitlines())
    return sum(int(words[1]) for words in lines if words[0].rstrip(":") in names) / 1024


def main() -> None:
    """The process: call, watch, say."""
    module, function, arguments = sys.argv[1:]
    where = import_module(module)
    call = getattr(where, function)
    getattr(where, "prepare", lambda: None)()  # imports that the call would make on its way
    own, over = 0.0, threading.Event()

    def watch() -> None:
        nonlocal own
        while not over.wait(0.01):
            own = max(own, _held("RssAnon", "RssShmem"))

    watcher = threading.Thread(target=watch)
    if readable():
        watcher.start()
    begin, processor = time.perf_counter(), time.process_time()
    returned = call(*json.loads(arguments))
    seconds, processor = time.perf_counter() - begin, time.process_time() - processor
    over.set()
    resident = _held("VmHWM") if readable() else 0.0
    print(json.dumps(Taken(seconds, processor, own, resident, returned)._asdict()))


if __name__ == "__main__":
    main()
