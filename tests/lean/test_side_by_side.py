"""Work along a graph: every part once, after what it needs, never too many at a time; how many this machine bears."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    names = [f"n{i}" for i in range(draw(st.integers(0, 12)))]
    needs = {x: draw(st.lists(st.sampled_from(names[:i]), unique=True)) if i else [] for i, x in enumerate(names)}
    return {x: needs[x] for x in draw(st.permutations(names))}


@given(graphs(), st.integers(1, 4))
@settings(max_examples=60)
def test_everything_is_done_once_after_what_it_needs(checks: Any, needs: dict[str, list[str]], jobs: int) -> None:
    lock, done, running, most = threading.Lock(), list[str](), set[str](), 0

    def work(name: str) -> None:
        nonlocal most
        with lock:
            assert set(needs[name]) <= set(done)
            running.add(name)
            most = max(most, len(running))
        time.sleep(0)
        with lock:
            running.remove(name)
            done.append(name)

    checks["side_by_side"].run_graph(needs, work, jobs, lambda: pytest.fail("stopped"))
    assert sorted(done) == sorted(needs)
    assert most <= jobs


def test_the_longest_chain_comes_first(checks: Any) -> None:
    needs = {"alone": [], "leaf": ["b"], "b": ["a"], "a": [], "other": []}
    done: list[str] = []
    checks["side_by_side"].run_graph(needs, done.append, 1, lambda: None)
    assert done[:2] == ["a", "b"]


def test_the_first_error_stops_the_others_and_is_raised(checks: Any) -> None:
    stopped, done = threading.Event(), list[str]()

    def work(name: str) -> None:
        if name == "bad":
            raise ValueError("the first error")
        if name == "slow":
            assert stopped.wait(30)
            raise ValueError("because it was stopped")
        done.append(name)

    with pytest.raises(ValueError, match="the first error"):
        checks["side_by_side"].run_graph({"slow": [], "bad": [], "later": ["bad"]}, work, 2, stopped.set)
    assert done == []


def test_what_can_never_be_done_is_an_error(checks: Any) -> None:
    for needs in ({"a": ["b"], "b": ["a"]}, {"a": ["unknown"]}):
        with pytest.raises(ValueError, match="never done: a"):
            checks["side_by_side"].run_graph(needs, lambda _: None, 2, lambda: None)


MACHINES = {  # MemAvailable in KiB, memory.max, cpu.max, cores, and how many are checked side by side
    "two cores": ("8000000", None, None, 2, 2),
    "little memory": ("2000000", None, None, 8, 1),
    "less than one needs": ("100000", None, None, 8, 1),
    "memory for three": ("5600000", None, None, 8, 3),
    "a container's memory": ("64000000", "4000000000", None, 8, 2),
    "a container without a limit": ("64000000", "max", "max 100000", 8, 8),
    "a container's cores": ("64000000", "max", "300000 100000", 8, 3),
    "half a core": ("64000000", "max", "50000 100000", 8, 1),
}


@pytest.mark.parametrize("name", MACHINES)
def test_jobs_fit_the_machine(checks: Any, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    free, memory, cpu, cores, expected = MACHINES[name]
    group = tmp_path / "sys" / "fs" / "cgroup"
    group.mkdir(parents=True)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable:  {free} kB\n", encoding="utf-8")
    for file, text in (("memory.max", memory), ("cpu.max", cpu)):
        if text is not None:
            (group / file).write_text(text + "\n", encoding="utf-8")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert checks["side_by_side"].jobs_here(tmp_path) == expected
