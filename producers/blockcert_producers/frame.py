"""What is drawn from a population, and the file of the prompts drawn (``spec/06-prompts.md``).

The two draws are apart: calibration windows before the surrogate exists, certification windows after, from a key
that contains the finished surrogate's digest.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct

from blockcert.draw import calibration_windows, draw_windows, frame_key
from blockcert.errors import Refusal
from blockcert.safetensors_file import write
from blockcert.statement import Frame
from blockcert_verifier.corpus import Population

__all__ = ["Sample", "write_prompts"]


class Sample(Struct, frozen=True):
    """What is drawn from a population: the counts, the seed, and the reference program's BLAKE3 in the key."""

    population: Population
    reference: str
    seed: int
    calibration: int
    certification: int

    def __post_init__(self) -> None:
        needed, found = self.calibration + self.certification, self.population.windows
        if needed > found:
            names = ", ".join(file.name for file in self.population.corpus)
            raise Refusal(
                "prompts.too_few_windows",
                names,
                f"the text gives {found} windows of {self.population.length} tokens, and {needed} are needed "
                f"({self.calibration} for calibration, {self.certification} for certification): give more text, "
                "or a smaller --count, --calibration or --length",
            )

    @property
    def frame(self) -> Frame:
        """The frame as the certificate states it."""
        return Frame(
            corpus=self.population.corpus,
            tokenizer=self.population.tokenizer,
            length=self.population.length,
            windows=self.population.windows,
            seed=self.seed,
            calibration=self.calibration,
            certification=self.certification,
        )

    def draw_calibration(self) -> list[int]:
        """The numbers of the calibration windows, in the order drawn; known before any surrogate is."""
        return calibration_windows(frame_key(self.frame, self.reference), self.calibration)

    def draw_certification(self, surrogate: str) -> list[int]:
        """The numbers of the certification windows, given the BLAKE3 of the finished surrogate's program."""
        return list(draw_windows(self.frame, self.reference, surrogate).certification)


def write_prompts(path: Path, population: Population, calibration: Sequence[int], certification: Sequence[int]) -> None:
    """Write ``prompts.safetensors``: token ids, window numbers and splits, calibration rows first."""
    numbers = [*calibration, *certification]
    tokens = population.tokens(numbers)
    split = bytes(len(calibration)) + b"\x01" * len(certification)
    write(
        path,
        {
            # the widest type first: then every tensor is aligned
            "window": ("I64", (len(numbers),), np.array(numbers, dtype="<i8").tobytes()),
            "tokens": ("I32", tokens.shape, tokens.astype("<i4").tobytes()),
            "split": ("U8", (len(numbers),), split),
        },
    )
