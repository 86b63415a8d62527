"""A command group that imports a command's module when that command is invoked, and not before."""

from __future__ import annotations

from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, cast, get_args, get_origin

import typer
from typer.core import TyperCommand, TyperGroup

from blockcert_producers.cli import help as help_text
from blockcert_producers.cli.table import Entry

__all__ = ["SpreadCommand", "group", "spread"]

SPREAD = (
    "--prompts",
    "--producer",
    "--auditor",
    "--revoker",
    "--owner",
    "--corpus",
    "--own",
    "--shift",
    "--certificate",
    "--of-key",
    "--append-to",
)


def spread(arguments: list[str], options: tuple[str, ...] = SPREAD) -> list[str]:
    """`arguments` with every `--prompts a b` written as `--prompts a --prompts b`.

    The values of such an option end at the next word that begins with a dash.
    """
    result: list[str] = []
    position = 0
    while position < len(arguments):
        word = arguments[position]
        position += 1
        result.append(word)
        if word == "--":
            return result + arguments[position:]
        if word not in options:
            continue
        first = True
        while position < len(arguments) and not arguments[position].startswith("-"):
            result += [arguments[position]] if first else [word, arguments[position]]
            first = False
            position += 1
    return result


def _plain(parameter: Any) -> Any:
    """`parameter`, which takes strings, paths and absent values as they are, without typer's coercion.

    Recent versions of typer coerce every value with pydantic, whose import takes longer than a whole verification.
    Anything else, and everything that is wrong or missing, goes the usual way.
    """
    annotation: Any = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
    many = get_origin(annotation) is list
    kind: Any = get_args(annotation)[0] if many else annotation
    usual = parameter.process_value

    def process(ctx: Any, value: Any) -> Any:
        if value is None and not parameter.required:
            absent: list[str] | None = [] if many else None
            return absent if parameter.callback is None else parameter.callback(ctx, parameter, absent)
        if kind not in (str, Path) or parameter.callback is not None or not value:
            return usual(ctx, value)
        if many and isinstance(value, list | tuple):
            return [kind(word) for word in cast(list[str], value)]
        return kind(value) if isinstance(value, str) and not many else usual(ctx, value)

    if annotation is not None:
        parameter.process_value = process
    return parameter


class SpreadCommand(TyperCommand):
    """A command whose options in `SPREAD` take several values after one mention."""

    def get_params(self, ctx: Any) -> list[Any]:
        return [_plain(parameter) for parameter in super().get_params(ctx)]

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        pieces = [self.options_metavar] if self.options_metavar else []
        for parameter in self.get_params(ctx):
            if parameter.param_type_name == "argument":
                name = parameter.display_name_raw.removesuffix("…") + ("..." if parameter.nargs != 1 else "")
                pieces.append(name if parameter.required else f"[{name}]")
        return pieces

    def format_options(self, ctx: Any, formatter: Any) -> None:
        help_text.write_options(self, ctx, formatter)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        help_text.write_examples(ctx, formatter)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        taken = next((option for option in SPREAD if option in args), None)
        for word, following in pairwise([*args, "--"]):
            if word in SPREAD and following.startswith("--"):
                raise typer.BadParameter(f"{word} is followed by nothing; name what it takes.")
        try:
            return super().parse_args(ctx, spread(args))
        except typer.BadParameter as fault:
            if taken is not None and getattr(getattr(fault, "param", None), "param_type_name", "") == "argument":
                fault.message = f"Put it before {taken}, which takes every word up to the next option."
            raise


def _leaf(name: str, entry: Entry) -> Any:
    function = getattr(import_module(entry.module), entry.function)
    app = _app()
    app.command(name, cls=SpreadCommand)(function)
    return typer.main.get_command(app)


def _app(**settings: Any) -> typer.Typer:
    return typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, **settings)


def group(table: dict[str, Entry], callback: Any, name: str, *, completion: bool = False) -> Any:
    """The command group of `table`; `callback` carries its help text and its own options."""

    class Group(TyperGroup):
        def get_params(self, ctx: Any) -> list[Any]:
            return [_plain(parameter) for parameter in super().get_params(ctx)]

        def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
            return list(table)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
            entry = table.get(cmd_name)
            if entry is None:
                return None
            if entry.table is None:
                return _leaf(cmd_name, entry)

            def nested() -> None: ...

            nested.__doc__ = entry.summary
            return group(entry.table, nested, cmd_name)

        def resolve_command(self, ctx: Any, args: list[str]) -> Any:
            # typer suggests near names out of `commands`, which stays empty here
            if args and args[0] not in table:
                from difflib import get_close_matches

                near = get_close_matches(args[0], list(table), n=1)
                hint = f" Did you mean {near[0]!r}?" if near else f" There are: {', '.join(table)}."
                ctx.fail(f"There is no command {args[0]!r}.{hint}")
            return super().resolve_command(ctx, args)

        def format_options(self, ctx: Any, formatter: Any) -> None:
            # what one came for is the commands, and they stand first
            groups = {} if help_text.path_of(ctx) else help_text.COMMAND_GROUPS
            help_text.write_commands({name: entry.summary for name, entry in table.items()}, groups, formatter)
            help_text.write_options(self, ctx, formatter)

        def format_epilog(self, ctx: Any, formatter: Any) -> None:
            help_text.write_examples(ctx, formatter)

    app = _app(cls=Group, no_args_is_help=True, name=name)
    app.callback()(callback)
    command = typer.main.get_command(app)
    command.name = name
    if completion:
        command.params += list(typer.main.get_install_completion_arguments())
    return command
