"""Lies told by whoever holds the trusted key: every digest, claim and signature is put right around them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from blockcert import strict_json
from blockcert.bundle import STATEMENT
from blockcert.digest import blake3_bytes
from blockcert.draw import Draw, draw_windows
from blockcert.dsse import parse_envelope
from blockcert.program import Program
from blockcert.same_program import same_stages
from blockcert.statement import Frame, Statement
from blockcert_producers.certify.measuring import write_evidence
from blockcert_verifier.corpus import Population, read_population
from blockcert_verifier.costs import program_costs
from blockcert_verifier.evaluate import WeightStore
from blockcert_verifier.measure import Measured, Pair, Settings, measure_resolved
from blockcert_verifier.steps import recompute
from blockcert_verifier.steps.prompts import read_prompts
from tests.support.bundles import LENGTH, Made, MakePair, change_statement, reseal, restate, rewrite_column
from tests.support.tiny import CONTEXT, SURROGATE, VOCABULARY

__all__ = [
    "EVIDENCE",
    "PROMPTS",
    "Measurement",
    "drawn",
    "easy_windows",
    "lower_rows",
    "measured",
    "other_evidence",
    "programs",
    "redraw",
    "replace_surrogate",
    "statement",
    "windows_of",
]

EVIDENCE, PROMPTS = "evidence.safetensors", "prompts.safetensors"
Built: TypeAlias = tuple[Program, Program, dict[str, Path]]
NAMES = ("programs/reference.json", "programs/surrogate.json")


class Measurement(NamedTuple):
    """Token ids, rows x T, and the cells measured on them."""

    tokens: np.ndarray[Any, Any]
    cells: Measured


def statement(made: Made) -> Statement:
    """The bundle's statement."""
    payload = parse_envelope((made.bundle / STATEMENT).read_bytes(), STATEMENT).payload
    return strict_json.decode(payload, Statement, STATEMENT)


def programs(made: Made) -> tuple[Program, Program]:
    """The bundle's two programs."""
    reference, surrogate = (strict_json.decode((made.bundle / name).read_bytes(), Program, name) for name in NAMES)
    return reference, surrogate


def windows_of(made: Made) -> Population:
    """The windows of the bundle's corpus."""
    tokenizer = made.model / "tokenizer.json"
    return read_population(made.corpus, tokenizer, length=LENGTH, bos=None, vocabulary=VOCABULARY, context=CONTEXT)


def drawn(made: Made, frame: Frame | None = None) -> Draw:
    """What the frame's key gives for the programs as they stand."""
    digests = [blake3_bytes((made.bundle / name).read_bytes()) for name in NAMES]
    return draw_windows(frame or statement(made).predicate.prompts.frame, *digests)


def replace_surrogate(made: Made, pair: Built) -> None:
    """Another surrogate of the same reference in the place of the bundle's, its costs counted; prompts are kept."""
    _, surrogate, paths = pair
    (made.bundle / NAMES[1]).write_bytes(strict_json.encode(surrogate))
    shutil.copyfile(paths[SURROGATE], made.bundle / SURROGATE)
    kept = json.loads(strict_json.encode(program_costs(surrogate, WeightStore(paths), LENGTH)))
    change_statement(made, lambda s: s["predicate"]["surrogate"]["kept"].update(surrogate=kept))
    reseal(made)


def easy_windows(pair: MakePair, folder: Path, seed: int, count: int) -> np.ndarray[Any, Any]:
    """`count` windows of random tokens in which the surrogate covers every token at 0.01 in every block."""
    found = measured(pair(folder, seed, 2), np.random.default_rng(seed).integers(0, VOCABULARY, (8 * count, LENGTH)))
    easy = found.tokens[(found.cells["covered"].value[:, 1:-1, 0] == LENGTH).all(axis=1)]
    if len(easy) < count:
        raise ValueError(f"only {len(easy)} windows are easy")
    return easy[:count].astype("<i4")


def redraw(made: Made, *, tokens: bool = True) -> None:
    """The windows that the draw gives for the programs as they stand, with their tokens unless told otherwise."""
    reseal(made)
    found = drawn(made)
    windows = [*found.calibration, *found.certification]
    path = made.bundle / PROMPTS
    rewrite_column(path, "window", lambda cells: cells.__setitem__(slice(None), windows))
    if tokens:
        rewrite_column(path, "tokens", lambda cells: cells.__setitem__(slice(None), windows_of(made).tokens(windows)))
    reseal(made)


def measured(
    pair: Built, tokens: np.ndarray[Any, Any], settings: Settings | None = None, attribution: int = 0
) -> Measurement:
    """What the verifier's engine measures of a pair of programs on `tokens`, at the default thresholds if None."""
    reference, surrogate, paths = pair
    both = Pair(reference, surrogate, same_stages(reference, surrogate), WeightStore(paths))
    chosen = settings or Settings((0.01, 0.02, 0.05), (0.001, 0.01, 0.1))
    found = measure_resolved(both, tokens, chosen, noise=0, attribution=attribution)
    return Measurement(tokens, found)


def other_evidence(made: Made, pair: Built) -> None:
    """Evidence of another pair of programs on the bundle's own prompts, and every claim put right for it."""
    stated = statement(made)
    frame, thresholds = stated.predicate.prompts.frame, stated.predicate.thresholds
    listed = read_prompts((made.bundle / PROMPTS).read_bytes(), frame, PROMPTS)
    tokens = np.array([list(row) for row in listed.certification()], dtype=np.int64)
    settings = Settings(tuple(map(float, thresholds.relative)), tuple(map(float, thresholds.loss)))
    found = measured(pair, tokens, settings, stated.predicate.evidence.attribution_rows)
    cells = {name: column.value for name, column in found.cells.items()}
    write_evidence(made.bundle / EVIDENCE, recompute.evidence_shape(stated), cells)
    restate(made)


def lower_rows(made: Made, rows: Any, stage: int = 1, factor: float = 0.5) -> None:
    """The errors of some rows at a stage made smaller by `factor`, and every claim put right."""

    def lower(cells: Any) -> None:
        cells[rows, stage] *= factor

    rewrite_column(made.bundle / EVIDENCE, "error", lower)
    restate(made)
