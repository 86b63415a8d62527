"""`blockcert extract`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from blockcert.errors import Refusal
from blockcert_producers.cli import options

__all__ = ["extract"]


def extract(
    *,
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A folder in Hugging Face form.")],
    prompts: options.Prompts,
    out: options.Out,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            metavar="BUDGET",
            help="Relative error that 95 % of the tokens must meet in every block: a number, or lossless (0.01), "
            "near-lossless (0.02), approximate (0.05; used where nothing is said). Or a target of the whole stitched "
            "model: kl=0.001 (mean nats per token) or logits=0.5 (largest difference); that takes some times as long.",
        ),
    ] = None,
    budgets: Annotated[
        str | None,
        typer.Option(
            "--budgets",
            metavar="LIST",
            help="Several budgets, with commas between: one bundle for each in the folder --out, with front.json and "
            "front.svg.",
        ),
    ] = None,
    aim: Annotated[
        str, typer.Option("--aim", metavar="AIM", help="What is to be fewest: structure (multiply-adds) or bits.")
    ] = "structure",
    shift: Annotated[
        list[Path] | None,
        typer.Option("--shift", metavar="FILE…", help="Texts of another population, measured beside; not signed."),
    ] = None,
    polish: Annotated[
        int,
        typer.Option(
            "--polish",
            metavar="STEPS",
            min=0,
            max=1 << 20,
            help="Tune every chosen block by so many steps of Adam, kept only where held-out prompts gain; 300 is "
            "usual, and takes most of the time then.",
        ),
    ] = 0,
    count: options.Count = 200,
    calibration: options.Calibration = 200,
    length: options.Length = 64,
    seed: options.Seed = 0,
    device: options.Device = "cpu",
    attribution: options.Attribution = 50,
    prove: options.Prove = 0,
    limit: options.Limit = None,
) -> None:
    """Replace every block of MODEL by the cheapest program within the budget, measure it, and write a bundle.

    What is finished is kept beside --out until that stands: stopped, the same command goes on from there. The bundle
    is not signed yet: blockcert sign BUNDLE --key FILE.
    """
    from blockcert_producers.cli.produced import job, notice, now, report, report_front, working
    from blockcert_producers.produce import FrontProduced, extract_bundle, extract_front

    if budget is not None and budgets is not None:
        raise Refusal("usage.budgets", "--budgets", "give one --budget, or a list with --budgets, not both")
    work = job(prompts, out, count, calibration, length, seed, device, attribution, prove, limit)
    more = tuple(shift or ())
    asked: dict[str, Any] = {"aim": aim, "shift": more, "polish": polish, "now": now(), "notice": notice}
    try:
        with working() as progress:
            if budgets is not None:
                done = extract_front(model, work, budgets=budgets, **asked, progress=progress)
            else:
                one = "0.05" if budget is None else budget
                done = extract_bundle(model, work, budget=one, **asked, progress=progress)
    except KeyboardInterrupt as stop:
        if stop.args:
            notice(str(stop))
        raise
    if isinstance(done, FrontProduced):
        report_front(done)
    else:
        report(done)
