"""Work done side by side, in an order that a graph leaves open, and how much at a time fits this machine."""

import os
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

MEMORY_OF_A_JOB = 1.7 * 2**30
"""Bytes; the largest module took 1.5 GiB when it was last checked (`CHECKED.json`)."""


def run_graph(needs, work, jobs, stop):
    """Call `work(name)` once for every name, after it has returned for all in `needs[name]`, `jobs` calls at a time.

    Of the names that are ready, those come first on which the longest chains of others wait. The first error calls
    `stop`, which ends what runs, and is raised when that has ended; so does an interrupt.
    """
    chain, waiting, done, running = _chains(needs), dict(needs), set(), {}
    with ThreadPoolExecutor(jobs) as pool:
        try:
            while waiting or running:
                ready = sorted((x for x in waiting if done.issuperset(waiting[x])), key=lambda x: -chain[x])
                for name in ready[: jobs - len(running)]:
                    del waiting[name]
                    running[pool.submit(work, name)] = name
                if not running:
                    raise ValueError(f"what these need is never done: {', '.join(sorted(waiting))}")
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    future.result()
                    done.add(running.pop(future))
        except BaseException:
            stop()
            raise


def _chains(needs):
    """For each name the length of the longest chain of names that wait for it, each for the one before."""
    wanted_by = {name: [x for x in needs if name in needs[x]] for name in needs}
    lengths = {}

    def length(name):
        if name not in lengths:
            lengths[name] = 0  # where names need each other, the caller is told so when none is ready
            lengths[name] = 1 + max(map(length, wanted_by[name]), default=0)
        return lengths[name]

    for name in needs:
        length(name)
    return lengths


def jobs_here(system=Path("/")):
    """How many processes of Lean fit this machine: one for each core and for each 1.7 GiB of memory, at least one."""
    return max(1, min(_cores(system), int(_memory(system) // MEMORY_OF_A_JOB)))


def _cores(system):
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _read(system / "sys/fs/cgroup/cpu.max").partition(" ")  # a container's share
    return min(cores, max(1, int(quota) // int(period))) if quota.isdigit() else cores


def _memory(system):
    """Bytes that are free, or in all where the system does not say how many are free."""
    lines = _read(system / "proc/meminfo").splitlines()
    free = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), "")
    try:
        memory = int(free) * 1024 if free else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        memory = MEMORY_OF_A_JOB
    limit = _read(system / "sys/fs/cgroup/memory.max").strip()
    return min(memory, int(limit)) if limit.isdigit() else memory


def _read(path):
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
