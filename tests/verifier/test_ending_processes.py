"""Processes that measure end with the work and with the verifier, whatever they are doing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Barrier, Event, Thread

import pytest

from blockcert_verifier.work.children import Child, Worker, environment, shared_out

BUSY = (
    "import time\n"
    "from blockcert_verifier.work.children import serve_standard_streams\n"
    "def serve(source, sink):\n"
    "    open(PATH, 'w').write(str(__import__('os').getpid()))\n"
    "    while True:\n"
    "        sum(range(10**6))\n"
    "serve_standard_streams(serve)\n"
)


def waited(true: Callable[[], bool], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def runs(pid: int) -> bool:
    """Whether the process runs; one that has ended and that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_nothing_is_started_once_a_worker_is_retired() -> None:
    worker = Worker()
    worker.retire()
    with pytest.raises(ChildProcessError):
        worker.child(lambda: Child(("-c", "input()"), environment(1)))


def test_starting_and_retiring_exclude_each_other() -> None:
    """The process is being started while the work ends: whoever ends it waits, and ends what was started."""
    worker, begun, go = Worker(), Event(), Event()
    started: list[Child] = []

    def start() -> Child:
        begun.set()
        go.wait()
        started.append(Child(("-c", "import time; time.sleep(600)"), environment(1)))
        return started[0]

    one = Thread(target=lambda: worker.child(start))
    other = Thread(target=worker.retire)
    one.start()
    begun.wait()
    other.start()
    other.join(0.1)
    assert other.is_alive()
    go.set()
    one.join()
    other.join()
    assert started[0]._process.poll() is not None


def test_a_pool_that_is_closed_while_its_processes_start_leaves_none() -> None:
    started: list[Child] = []
    meeting = Barrier(3)

    def job(worker: Worker, _item: int) -> None:
        meeting.wait()

        def start() -> Child:
            started.append(Child(("-c", "import time; time.sleep(600)"), environment(1)))
            return started[-1]

        for _ in range(50):
            worker.child(start)
            worker.close()
            worker.child(start)

    def look(_done: float) -> None:
        meeting.wait()
        raise RuntimeError("that is all")

    with pytest.raises(RuntimeError, match="that is all"):
        list(shared_out([Worker(), Worker()], range(2), job, look))
    assert waited(lambda: all(child._process.poll() is not None for child in started))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked for in /proc")
def test_a_process_ends_when_the_verifier_is_killed(tmp_path: Path) -> None:
    """In the middle of a computation, in which it reads and writes nothing."""
    told = tmp_path / "pid"
    parent = (
        "import time\n"
        "from blockcert_verifier.work.children import Child, environment\n"
        f"child = Child(('-c', {BUSY.replace('PATH', repr(str(told)))!r}), environment(1))\n"
        "time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", parent])
    try:
        assert waited(lambda: told.exists() and bool(told.read_text()))
        pid = int(told.read_text())
        assert runs(pid)
        process.send_signal(signal.SIGKILL)
        process.wait()
        gone = waited(lambda: not runs(pid))
        if not gone:
            os.kill(pid, signal.SIGKILL)
        assert gone
    finally:
        process.kill()
        process.wait()
