"""`blockcert compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from blockcert_producers.cli import options

__all__ = ["compare"]


def compare(
    *,
    reference: Annotated[Path, typer.Argument(metavar="REFERENCE", help="The original, in Hugging Face form.")],
    candidate: Annotated[Path, typer.Argument(metavar="CANDIDATE", help="Its copy: rounded, pruned, fine-tuned.")],
    prompts: options.Prompts,
    out: options.Out,
    count: options.Count = 200,
    calibration: options.Calibration = 0,
    length: options.Length = 64,
    seed: options.Seed = 0,
    device: options.Device = "cpu",
    attribution: options.Attribution = 50,
    prove: options.Prove = 0,
    limit: options.Limit = None,
) -> None:
    """Measure how far CANDIDATE drifts from REFERENCE, block by block, and write a bundle.

    The bundle is not signed yet: blockcert sign BUNDLE --key FILE.
    """
    from blockcert_producers.cli.produced import job, now, report, working
    from blockcert_producers.produce import compare_bundle

    work = job(prompts, out, count, calibration, length, seed, device, attribution, prove, limit)
    with working() as progress:
        produced = compare_bundle(reference, candidate, work, now=now(), progress=progress)
    report(produced)
