"""What `--help` shows: every option once, in groups that exist, with examples that can be typed, in 80 columns."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

import pytest

from blockcert_producers.cli.help import COMMAND_GROUPS, EXAMPLES, OPTION_GROUPS
from blockcert_producers.cli.lazy import group
from blockcert_producers.cli.run import _root, run
from blockcert_producers.cli.table import COMMANDS, Entry


def paths(table: dict[str, Entry] = COMMANDS, before: str = "") -> Iterator[str]:
    """The words of every command and of every group of commands."""
    yield before.strip()
    for name, entry in table.items():
        yield from paths(entry.table or {}, f"{before} {name}")


PATHS = sorted(set(paths()))


def command(path: str) -> Any:
    found: Any = group(COMMANDS, _root, "blockcert", completion=True)
    for word in path.split():
        found = found.get_command(None, word)
    return found


def options(path: str) -> set[str]:
    return {name for parameter in command(path).params for name in parameter.opts if name.startswith("-")}


def shown(path: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    monkeypatch.setenv("COLUMNS", "80")
    assert run([*path.split(), "--help"]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("path", PATHS)
def test_help_fits_a_terminal_and_says_every_option_once(
    path: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = shown(path, monkeypatch, capsys)
    assert [line for line in lines if len(line) > 80] == []
    assert [line for line in lines if "<=" in line or ">=" in line or "list[" in line or "<str>" in line] == []
    first = next(i for i, line in enumerate(lines) if line.endswith(":") and not line.startswith(" "))
    begins = [line.split()[0].rstrip(",") for line in lines[first:] if line.startswith("  -")]
    assert len(begins) == len(set(begins))
    assert set(begins) - {"--help"} <= options(path)
    own = [parameter for parameter in command(path).params if parameter.opts[0].startswith("-")]
    assert len(begins) == len(own) + 1


def test_every_command_stands_in_one_group() -> None:
    grouped = [name for names in COMMAND_GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(COMMANDS)


@pytest.mark.parametrize("path", OPTION_GROUPS)
def test_options_that_are_grouped_exist(path: str) -> None:
    grouped = [name for names in OPTION_GROUPS[path].values() for name in names]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) <= options(path)


@pytest.mark.parametrize("path", EXAMPLES)
def test_examples_name_commands_and_options_that_exist(path: str) -> None:
    for line in EXAMPLES[path]:
        first, *words = shlex.split(line)
        assert first == "blockcert"
        said = next(p for p in sorted(PATHS, key=len, reverse=True) if words[: len(p.split())] == p.split())
        assert {word for word in words if word.startswith("--")} <= options(said)


@pytest.mark.parametrize("path", PATHS)
def test_every_command_but_groups_has_an_example(path: str) -> None:
    assert path in EXAMPLES or path in ("schema", "conformance", "lean", "trust")
