"""What `--help` shows beside the options themselves: in which groups they stand, and examples that can be typed.

It stands here and not in the commands' modules so that `blockcert --help` imports none of them.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["COMMAND_GROUPS", "EXAMPLES", "OPTION_GROUPS", "write_commands", "write_examples", "write_options"]

COMMAND_GROUPS: dict[str, tuple[str, ...]] = {
    "Try it": ("demo",),
    "Check a certificate": ("verify", "show", "trust"),
    "Make one": ("extract", "compare", "keygen", "sign", "pack", "unpack"),
    "Say something about one": ("review", "revoke"),
    "The standard itself": ("schema", "conformance", "lean"),
}
"""The commands of `blockcert`, by what one wants."""

OPTION_GROUPS: dict[str, dict[str, tuple[str, ...]]] = {
    "verify": {
        "What you have beside the bundle": (
            "--reference",
            "--published",
            "--corpus",
            "--tokenizer",
            "--own",
            "--revocations",
            "--revocation-state",
        ),
        "What is measured again, with --reference": (
            "--replay",
            "--confidence",
            "--until",
            "--seed",
            "--fresh",
            "--transformers",
            "--prove",
            "--prove-stages",
        ),
        "How it is measured": ("--jobs", "--device", "--time-limit", "--resume"),
        "What is written": ("--json", "--html", "--quiet"),
    },
    "extract": {
        "What is made": ("--budget", "--budgets", "--aim", "--polish"),
        "What it is measured on": ("--shift", "--count", "--calibration", "--length", "--seed"),
        "What is measured beside, and where": ("--attribution", "--prove", "--limit", "--device"),
    },
    "compare": {
        "What it is measured on": ("--count", "--calibration", "--length", "--seed"),
        "What is measured beside, and where": ("--attribution", "--prove", "--limit", "--device"),
    },
}
"""Groups of a command's options; those in none of them stand first."""

EXAMPLES: dict[str, tuple[str, ...]] = {
    "": (
        "blockcert demo",
        "blockcert trust new --producer vendor.pub --out trust.json",
        "blockcert verify BUNDLE --trust trust.json --reference MODEL",
    ),
    "verify": (
        "blockcert verify BUNDLE --trust trust.json",
        "blockcert verify BUNDLE --trust trust.json --reference MODEL --replay all",
        "blockcert verify BUNDLE --trust trust.json --json - --limit memory=2GiB",
    ),
    "show": ("blockcert show BUNDLE", "blockcert show --diff BUNDLE OTHER", "blockcert show BUNDLE --mechanisms"),
    "extract": ("blockcert extract MODEL --prompts text.txt --budget near-lossless --out BUNDLE",),
    "compare": ("blockcert compare MODEL QUANTISED --prompts text.txt --out BUNDLE",),
    "keygen": ("blockcert keygen vendor",),
    "sign": ("blockcert sign BUNDLE --key vendor.key",),
    "pack": ("blockcert pack BUNDLE --out certificate.zip",),
    "unpack": ("blockcert unpack certificate.zip --out BUNDLE",),
    "trust new": (
        "blockcert trust new --producer vendor.pub --out trust.json",
        "blockcert trust new --producer a.pub b.pub --threshold 2 --out trust.json",
    ),
    "trust add-key": ("blockcert trust add-key trust.json other.pub --role auditor --out next.json",),
    "trust remove-key": ("blockcert trust remove-key trust.json lost-vendor --out next.json",),
    "trust set": ("blockcert trust set trust.json --greatest-age-days 365 --out next.json",),
    "trust rotate": ("blockcert trust rotate trust.json next.json --key o.key --out signed.json",),
    "trust accept": ("blockcert trust accept trust.json signed.json --out next.json",),
    "trust show": ("blockcert trust show trust.json",),
    "review": ("blockcert review BUNDLE --outcome approves --key auditor.key",),
    "revoke": (
        "blockcert revoke --certificate BUNDLE --key r.key --out list-1.json",
        "blockcert revoke --of-key lost.pub --after old.json --key r.key --out new.json",
    ),
    "schema check": ("blockcert schema check trust.json BUNDLE/statement.dsse.json",),
    "conformance build": ("blockcert conformance build --out corpus",),
    "conformance run": (
        "blockcert conformance run",
        "blockcert conformance run --implementation 'node verifier.js' --only 'json::*'",
    ),
    "conformance serve": ("blockcert conformance run --implementation 'blockcert conformance serve'",),
    "lean export": ("blockcert lean export BUNDLE --out lean-input",),
    "lean check": ("blockcert lean check BUNDLE --install",),
    "demo": ("blockcert demo --out demo",),
}
"""By the words of a command, without `blockcert`."""


def path_of(ctx: Any) -> str:
    """The words of a command, without `blockcert`."""
    return ctx.command_path.partition(" ")[2]


def write_commands(rows: dict[str, str], groups: dict[str, tuple[str, ...]], formatter: Any) -> None:
    """Every command with its line, in groups; those in none of them in one of their own."""
    width = max(map(len, rows))
    grouped = {name for names in groups.values() for name in names}
    others = tuple(name for name in rows if name not in grouped)
    for title, names in {**groups, "Commands": others}.items():
        if names:
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), rows[name]) for name in names])


def write_options(command: Any, ctx: Any, formatter: Any) -> None:
    """Arguments, then options, in groups."""
    arguments: list[tuple[str, str]] = []
    groups = OPTION_GROUPS.get(path_of(ctx), {})
    where = {option: title for title, options in groups.items() for option in options}
    shown: dict[str, list[tuple[str, str, str]]] = {title: [] for title in ("Options", *groups)}
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if record is None:
            continue
        if parameter.param_type_name == "argument":
            # that it is required, and of what type, shows from the usage and the words
            arguments.append((parameter.display_name_raw, record[1].removesuffix("[required]").rstrip()))
        else:
            name = next((name for name in parameter.opts if name in where), "")
            shown[where.get(name, "Options")].append((name, record[0], _plainly(record[1])))
    if arguments:
        with formatter.section("Arguments"):
            formatter.write_dl(arguments)
    # options of all groups are aligned with each other
    width = min(max((len(written) for records in shown.values() for _, written, _ in records), default=0), 30)
    for title, records in shown.items():
        if records:
            order = groups.get(title, ())
            records.sort(key=lambda record: order.index(record[0]) if record[0] in order else 0)
            with formatter.section(title):
                formatter.write_dl([(written.ljust(width), text) for _, written, text in records])


def _plainly(text: str) -> str:
    """The help of an option, with the range of a number in words."""
    text = re.sub(r"([0-9]+)<=x<=([0-9]+)(?=\]|;)", r"\1 to \2", text)
    return re.sub(r"x>=([0-9]+)(?=\]|;)", r"\1 or more", text)


def write_examples(ctx: Any, formatter: Any) -> None:
    """Lines that can be typed, one by one and never broken."""
    if lines := EXAMPLES.get(path_of(ctx)):
        with formatter.section("Examples" if len(lines) > 1 else "Example"):
            for line in lines:
                formatter.write(f"{'':>{formatter.current_indent}}{line}\n")
