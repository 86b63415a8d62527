"""Putting right what a change broke, as a producer who lies with the trusted key would."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace

from blockcert import strict_json
from blockcert.bundle import STATEMENT
from blockcert.claims import summarise
from blockcert.digest import blake3_bytes
from blockcert.draw import Draw, draw_windows
from blockcert.errors import Refusal
from blockcert.evidence import ENCLOSED, ENCLOSURE, columns
from blockcert.evidence_file import table_from_bytes
from blockcert.program import Program
from blockcert.same_program import same_stages
from blockcert.statement import Frame, Statement
from blockcert_producers.certify.measuring import write_evidence
from blockcert_producers.conformance.draft import EVIDENCE, PROMPTS, REFERENCE_PREFIX, Draft, program_name, write_json
from blockcert_producers.conformance.tensors import change_column, read_column
from blockcert_verifier.costs import program_costs
from blockcert_verifier.evaluate import Backend, WeightStore
from blockcert_verifier.measure import Measured, Pair, Settings, measure
from blockcert_verifier.steps import recompute

__all__ = [
    "around",
    "drawn",
    "enclose",
    "measured",
    "programs",
    "recount",
    "redraw",
    "remeasure",
    "renumber",
    "repoint",
    "restate",
    "statement",
]

SIDES = ("reference", "surrogate")


def statement(draft: Draft) -> Statement:
    """The draft's statement as a verifier reads it."""
    return strict_json.decode(write_json(draft.statement), Statement, STATEMENT)


def programs(draft: Draft) -> tuple[Program, Program]:
    """Both programs of the draft."""
    f, g = (strict_json.decode(draft.files[program_name(side)], Program, side) for side in SIDES)
    return f, g


def drawn(draft: Draft) -> Draw:
    """The windows that the draws give for the programs as they stand."""
    frame = strict_json.decode(write_json(draft.predicate["prompts"]["frame"]), Frame, "frame")
    return draw_windows(frame, *(blake3_bytes(draft.files[program_name(side)]) for side in SIDES))


def repoint(draft: Draft) -> None:
    """Size and digest of every weight file put right in both programs."""
    for side in SIDES:
        document = draft.program(side)
        for file in document["files"]:
            data = draft.content(file["name"])
            if data is not None:
                file.update(size=len(data), blake3=blake3_bytes(data))
        draft.set_program(side, document)


def redraw(draft: Draft) -> None:
    """The windows that the draws give now, with the tokens that the corpus has there."""
    found = drawn(draft)
    windows = [*found.calibration, *found.certification]
    frame = draft.predicate["prompts"]["frame"]
    unit = frame["length"] - (frame["tokenizer"]["bos"] is not None)
    rows: list[list[int]] = []
    for data, file in zip(draft.corpus.values(), frame["corpus"], strict=True):
        tokens = [int(word[1:]) for word in data.decode().split()]
        rows += [tokens[unit * i : unit * (i + 1)] for i in range(file["windows"])]

    def set_tokens(cells: Any) -> None:
        cells[:, cells.shape[1] - unit :] = np.array([rows[number] for number in windows])

    data = change_column(draft.files[PROMPTS], "window", lambda cells: cells.__setitem__(slice(None), windows))
    draft.files[PROMPTS] = change_column(data, "tokens", set_tokens)


def measured(draft: Draft) -> Measured:
    """Every cell of the programs as they stand on the prompts as they stand, resolved or not, and its bracket."""
    stated = statement(draft)
    thresholds = stated.predicate.thresholds
    settings = Settings(tuple(map(float, thresholds.relative)), tuple(map(float, thresholds.loss)))
    tokens = read_column(draft.files[PROMPTS], "tokens")[stated.predicate.prompts.frame.calibration :]
    with tempfile.TemporaryDirectory() as folder:
        f, g = programs(draft)
        pair = Pair(f, g, same_stages(f, g), WeightStore(_paths(draft, Path(folder))))
        count = stated.predicate.evidence.attribution_rows
        return measure(pair, tokens.astype(np.int64), settings, Backend("cpu"), attribution=count)


def remeasure(draft: Draft) -> None:
    """Evidence as :func:`measured` finds it."""
    values = {name: cells.value for name, cells in measured(draft).items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / EVIDENCE
        write_evidence(path, recompute.evidence_shape(statement(draft)), values)
        draft.files[EVIDENCE] = path.read_bytes()


def renumber(draft: Draft) -> None:
    """The numbers of the windows that the draws give now, their tokens left as they are, and the claims put right."""
    found = drawn(draft)
    windows = [*found.calibration, *found.certification]
    draft.files[PROMPTS] = change_column(
        draft.files[PROMPTS], "window", lambda cells: cells.__setitem__(slice(None), windows)
    )
    restate(draft)


def recount(draft: Draft) -> None:
    """What both programs cost, counted again."""
    length = draft.predicate["prompts"]["frame"]["length"]
    with tempfile.TemporaryDirectory() as folder:
        store = WeightStore(_paths(draft, Path(folder)))
        for side, program in zip(SIDES, programs(draft), strict=True):
            kept = json.loads(strict_json.encode(program_costs(program, store, length)))
            draft.predicate["surrogate"]["kept"][side] = kept


def restate(draft: Draft) -> None:
    """Every claim as the evidence gives it now."""
    draft.put_digests_right()
    stated = statement(draft)
    table = table_from_bytes(draft.files[EVIDENCE], recompute.evidence_shape(stated), EVIDENCE)
    claims = summarise(table, recompute.terms(stated, same_stages(*programs(draft))))
    draft.predicate["claims"] = json.loads(strict_json.encode(claims))


def enclose(rows: int) -> Callable[[Draft], None]:
    """Proven ends of the first rows, from what was measured.

    They hold, since no measurement is off by the millionth that is added, and every build of the corpus has the same.
    """

    def change(draft: Draft) -> None:
        shape = recompute.evidence_shape(statement(draft))
        table = table_from_bytes(draft.files[EVIDENCE], shape, EVIDENCE)
        cells: dict[str, Any] = {
            column.name: np.array(table.flat(column.name)).reshape(column.shape) for column in columns(shape)
        }
        for name in ENCLOSED:
            measured = cells[name][:rows]
            cells[ENCLOSURE + name] = measured if measured.dtype.kind == "i" else measured * (1 + 2.0**-20)
        cells["enclosure.bits"] = np.full(rows, 124)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / EVIDENCE
            write_evidence(path, replace(shape, enclosed_rows=rows), cells)
            draft.files[EVIDENCE] = path.read_bytes()
        stage: dict[str, Any] = {"error": "0", "relative_error": "0", "relative_update_error": None, "covered": []}
        draft.predicate["claims"]["enclosures"] = {
            "rows": rows,
            "stages": [{"index": i, **stage} for i in range(shape.stages)],
            **dict.fromkeys(("drift", "relative_drift", "logit_difference", "kl_max"), "0"),
            **dict.fromkeys(("bits", "tokens", "top1_agree", "decided", "loss_tokens"), 0),
            "loss_within": [],
            "scope": "listed-prompts",
            "basis": "enclosure",
        }
        restate(draft)

    return change


def around(draft: Draft) -> None:
    """Windows and claims put right as far as what stands here can be read: nothing else shall decide the case."""
    for mend in (redraw, restate):
        with contextlib.suppress(Refusal, ValueError, KeyError, IndexError, TypeError):
            mend(draft)


def _paths(draft: Draft, folder: Path) -> dict[str, Path]:
    """The weight files of the draft, written under `folder`."""
    content = {f"{REFERENCE_PREFIX}{name}": data for name, data in draft.model.items()} | draft.files
    paths: dict[str, Path] = {}
    for i, (name, data) in enumerate(sorted(content.items())):
        if name.endswith(".safetensors"):
            paths[name] = folder / f"{i}"
            paths[name].write_bytes(data)
    return paths
