"""False rows in the evidence: the verifier samples, so chance decides, and theory says exactly how."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from random import Random

from blockcert.bundle import STATEMENT
from blockcert.draw import replay_rows
from blockcert.dsse import certificate_digest, parse_envelope
from blockcert_verifier import verify
from tests.benchmarks.red_team.table import Rate
from tests.support.attacks import codes
from tests.support.bundles import NOW, Draws, Made, change_statement, make_bundle
from tests.support.lies import lower_rows

__all__ = ["ROWS", "caught_rate", "drawn_rates", "false_rows", "foreseen_rates", "replayed_rates"]

CODE = "replay.cell.refuted"
ROWS = 40
REPLAYED = ((1, 4), (1, 16), (4, 4), (4, 16), (10, 4))
"""False rows and replayed rows of which every trial is a whole verification."""
DRAWN = tuple((k, m) for k in (1, 2, 5, 10, 20) for m in (16, 50, 100))
LISTED = 200
"""Rows of the certificate of which only the draw is made."""


def caught_rate(rows: int, false: int, sampled: int) -> Fraction:
    """`1 - C(N - k, m) / C(N, m)`: the chance that `m` of `N` rows hold one of `k` false ones."""
    return 1 - Fraction(math.comb(rows - false, sampled), math.comb(rows, sampled))


def false_rows(made: Made, folder: Path, count: int) -> tuple[Made, list[int]]:
    """The bundle with `count` rows whose errors were halved, and which rows those are."""
    told = made.copy(folder)
    chosen = sorted(Random(count).sample(range(ROWS), count))
    lower_rows(told, chosen)
    return told, chosen


def replayed_rates(folder: Path, trials: int, cells: Sequence[tuple[int, int]] = REPLAYED) -> list[Rate]:
    """Whole verifications with fresh seeds, for each number of false and of replayed rows."""
    honest = make_bundle(folder / "honest", draws=Draws(60, 3, ROWS))
    found: list[Rate] = []
    lies = {k: false_rows(honest, folder / f"{k} false", k)[0] for k in {k for k, _ in cells}}
    for k, m in cells:
        reports = (_verify(lies[k], m) for _ in range(trials))
        caught = sum(CODE in codes(report) for report in reports)
        found.append(Rate(f"{k} of {ROWS} rows false, {m} replayed", CODE, trials, caught, caught_rate(ROWS, k, m)))
    every = _verify(lies[cells[-1][0]], "all")
    if every.audit is None or every.audit.confirmed != ROWS - cells[-1][0]:
        raise AssertionError("a replay of all rows confirms the true ones and no others")
    return found


def _verify(made: Made, rows: int | str, seed: bytes | None = None):
    return verify(made.bundle, made.policy, reference=made.model, at=NOW, replay=rows, seed=seed)  # type: ignore[arg-type]


def drawn_rates(trials: int) -> list[Rate]:
    """The draw alone, many times: a certificate of 200 rows, where measuring has shown that false rows are refuted."""
    found: list[Rate] = []
    for k, m in DRAWN:
        certificate = os.urandom(32)
        caught = sum(min(replay_rows(certificate, os.urandom(32), LISTED, m)) < k for _ in range(trials))
        lie = f"{k} of {LISTED} rows false, {m} replayed (the draw alone)"
        found.append(Rate(lie, CODE, trials, caught, caught_rate(LISTED, k, m)))
    return found


def foreseen_rates(folder: Path, trials: int, again: int) -> list[Rate]:
    """A producer that knows the seed alters its note until the draw misses its false rows; then a seed it did not know.

    `trials` bundles are made so, and one of them is verified `again` times with fresh seeds.
    """
    false, sampled = 4, 8
    honest = make_bundle(folder / "known", draws=Draws(60, 3, ROWS))
    caught = 0
    told, chosen = false_rows(honest, folder / "foreseen", false)
    for trial in range(trials):
        seed = trial.to_bytes(32, "little")
        for nonce in range(1 << 20):
            change_statement(told, lambda s, n=nonce: s["predicate"]["surrogate"].update(note=f"{n}"))
            if not {*chosen} & {*replay_rows(_certificate(told), seed, ROWS, sampled)}:
                break
        caught += CODE in codes(_verify(told, sampled, seed))
    lie = f"{false} of {ROWS} rows false, {sampled} replayed"
    fresh = sum(CODE in codes(_verify(told, sampled)) for _ in range(again))
    note = "a report on a given seed calls itself no audit"
    return [
        Rate(f"{lie}, seed known beforehand", None, trials, caught, Fraction(0), note),
        Rate("  the same bundle, a seed that nobody knew", CODE, again, fresh, caught_rate(ROWS, false, sampled)),
    ]


def _certificate(made: Made) -> bytes:
    return certificate_digest(parse_envelope((made.bundle / STATEMENT).read_bytes(), STATEMENT).payload)
