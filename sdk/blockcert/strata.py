"""The strata of a population: its windows by the corpus file they come from (``spec/08-claims.md``, BC-CLM-17)."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from itertools import accumulate

from msgspec import Struct

from blockcert.draw import draw_windows
from blockcert.statement import MOST_STRATA, Frame

__all__ = ["Strata", "strata_of"]


class Strata(Struct, frozen=True):
    """The corpus files as strata, in the frame's order.

    ``windows[h]`` counts the windows of file ``h`` that were not used for calibration; ``of_row[p]`` is the file that
    the prompt of evidence row ``p`` comes from.
    """

    windows: tuple[int, ...]
    of_row: tuple[int, ...]


def strata_of(frame: Frame, reference_program: str, surrogate_program: str) -> Strata | None:
    """The strata of a frame whose ``windows`` are the sum of its files'; None unless it has 2 to 64 files.

    The programs are given as the BLAKE3 digests of their files, hexadecimal: the draws follow from them.

    Raises:
        Refusal: ``draw.count`` where the frame lists more prompts than it has windows.
    """
    if not 2 <= len(frame.corpus) <= MOST_STRATA:
        return None
    drawn = draw_windows(frame, reference_program, surrogate_program)
    ends = list(accumulate(file.windows for file in frame.corpus))
    used = Counter(bisect_right(ends, window) for window in drawn.calibration)
    return Strata(
        windows=tuple(file.windows - used[h] for h, file in enumerate(frame.corpus)),
        of_row=tuple(bisect_right(ends, window) for window in drawn.certification),
    )
