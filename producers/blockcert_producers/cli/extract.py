"""`blockcert extract`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from blockcert_producers.cli import options

__all__ = ["extract"]


def extract(
    *,
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A folder in Hugging Face form.")],
    prompts: options.Prompts,
    out: options.Out,
    budget: Annotated[
        str,
        typer.Option("--budget", help="Relative error that 95 % of calibration tokens must meet in every block."),
    ] = "0.05",
    count: options.Count = 200,
    calibration: options.Calibration = 50,
    length: options.Length = 64,
    seed: options.Seed = 0,
    device: options.Device = "cpu",
    attribution: options.Attribution = 50,
) -> None:
    """Replace every block of MODEL by the cheapest program within the budget, measure it, and write a bundle.

    The bundle is not signed yet: blockcert sign BUNDLE --key FILE.
    """
    from blockcert_producers.cli.produced import job, now, report, working
    from blockcert_producers.produce import extract_bundle

    work = job(prompts, out, count, calibration, length, seed, device, attribution)
    with working() as progress:
        produced = extract_bundle(model, work, budget=budget, now=now(), progress=progress)
    report(produced)
