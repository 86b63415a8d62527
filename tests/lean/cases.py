"""Certificates near the edges of what is accepted, for the Lean checker and the Python verifier alike."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
from msgspec import Struct

from blockcert import strict_json
from blockcert.claims import ClaimTerms, summarise
from blockcert.evidence import EvidenceShape, columns
from blockcert.evidence_file import EvidenceTable, read_evidence
from blockcert.safetensors_file import write
from blockcert.statement import Lipschitz, PopulationPredicate, Thresholds
from blockcert.strata import Strata
from blockcert_verifier.lean.export import encode_export
from tests.lean.changes import FIELDS, TEXTS, at

__all__ = ["Base", "Case", "edge_cases", "encoded", "made_bases"]


class Base(Struct, frozen=True):
    """A statement as a JSON value, its evidence, the export of that, and the code with which Python refuses to read it.

    Without such a code it is accepted, but for constants that nobody confirmed.
    """

    name: str
    statement: dict[str, Any]
    same: tuple[bool, ...]
    table: EvidenceTable
    export: bytes
    refused: str | None = None


class Case(Struct, frozen=True):
    """The text of a statement, to be judged with a base's evidence."""

    name: str
    payload: bytes
    base: Base


def encoded(value: object) -> bytes:
    """A JSON value in the one way of writing."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


# --- bases ------------------------------------------------------------------------------------------------------


def _cells(shape: EvidenceShape, length: int, same: tuple[bool, ...], rng: random.Random) -> dict[str, Any]:
    """Evidence that is possible: dyadic and other float64 cells, and what is exactly so by definition."""
    stages, n = shape.stages, shape.blocks
    cells: dict[str, Any] = {}
    for c in columns(shape):
        if c.dtype == "I64":
            most = length - 1 if "loss_within" in c.name else length
            cells[c.name] = np.array([rng.randint(0, most) for _ in range(int(np.prod(c.shape)))], "<i8").reshape(
                c.shape
            )
        else:
            numbers = [
                rng.choice([rng.randint(0, 64) / 64, rng.random() * 10 ** rng.randint(-6, 3), 0.0, 1e-31, 2.0**-200])
                for _ in range(int(np.prod(c.shape)))
            ]
            cells[c.name] = np.array(numbers, "<f8").reshape(c.shape)
    cells["loss_difference"] = cells["loss_surrogate"] - cells["loss_reference"]
    for i in range(stages):
        if same[i]:
            cells["error"][:, i] = cells["relative_error"][:, i] = 0
            cells["covered"][:, i] = length
            if 1 <= i <= n:
                cells["relative_update_error"][:, i - 1] = 0
            if shape.attribution_rows:
                cells["attribution.loss_within"][:, i] = length - 1
                if i <= n:
                    cells["attribution.hybrid_step"][:, i] = 0
        if all(same[: i + 1]):
            cells["drift"][:, i] = cells["relative_drift"][:, i] = 0
        if shape.enclosed_rows:
            _define_ends(cells, shape, length, same, i)
        if not 1 <= i <= n:
            cells["identity.error"][:, i] = cells["identity.relative_error"][:, i] = 0
            cells["identity.covered"][:, i] = length
    cells["identity.drift"][:, 0] = cells["identity.relative_drift"][:, 0] = 0
    return cells


def _define_ends(cells: dict[str, Any], shape: EvidenceShape, length: int, same: tuple[bool, ...], i: int) -> None:
    """What is exactly so by definition of the proven ends of stage ``i``."""
    if same[i]:
        cells["enclosure.error"][:, i] = cells["enclosure.relative_error"][:, i] = 0
        cells["enclosure.covered"][:, i] = length
        if 1 <= i <= shape.blocks:
            cells["enclosure.relative_update_error"][:, i - 1] = 0
    if all(same[: i + 1]):
        cells["enclosure.drift"][:, i] = cells["enclosure.relative_drift"][:, i] = 0


PREDICATES = (
    PopulationPredicate("covered", "0.95", "0.05"),
    PopulationPredicate("covered", "1", "0.01"),
    PopulationPredicate("top1", "0.95", None),
    PopulationPredicate("kl", None, "0.01"),
    PopulationPredicate("loss_difference", None, "0.1"),
    PopulationPredicate("logit_difference", None, "0.5"),
)


def _synthetic(template: dict[str, Any], number: int, folder: Path) -> Base:
    rng = random.Random(number)
    statement = copy.deepcopy(template)
    p = statement["predicate"]
    blocks, rows, length = rng.randint(1, 3), rng.randint(2, 6), rng.choice([4, 8, 20])
    attribution = rng.choice([0, 1, rows])
    relative, loss = rng.choice(
        [(["0.01", "0.02", "0.05"], ["0.01", "0.1"]), (["0.01", "0.05"], ["0.001", "0.01", "0.1"])]
    )
    windows = rng.choice([2 * rows, rows, 60, 300])
    same = (*(rng.random() < 0.4 for _ in range(blocks + 1)), False)
    enclosed = (0, 1, rows, 2)[number % 4]
    shape = EvidenceShape(blocks, rows, attribution, len(relative), len(loss), enclosed)
    path = folder / f"evidence{number}.safetensors"
    cells = _cells(shape, length, same, rng)
    constants = number % 3 == 0
    if constants:  # a composed bound is at least the drift
        cells["drift"] *= 2.0**-90
        cells["error"][0, :-1] += np.where(same[:-1], 0, 0.125)
    write(path, {c.name: (c.dtype, cells[c.name].shape, cells[c.name].tobytes()) for c in columns(shape)})
    table = read_evidence(path, shape, path.name)
    predicates = tuple(q for q in rng.sample(PREDICATES, rng.randint(0, 4)) if q.threshold != "0.1" or "0.1" in loss)
    frame = p["prompts"]["frame"]
    frame.update(length=length, windows=windows + 3, calibration=3, certification=rows)
    frame["corpus"] = [dict(frame["corpus"][0], size=1 << 20, windows=windows + 3)]
    stated = [None] * (blocks + 2)
    if constants:
        basis = rng.choice(["estimate", "proof", "measurement"])
        scope = rng.choice(["all-inputs", "listed-prompts"])
        stated = [Lipschitz(f"{rng.randint(1, 9)}000000", scope, basis) for _ in stated]  # type: ignore[misc]
    alpha = rng.choice(["0.05", "0.5", "0.025", "0.3"])
    post_hoc = any(q.kind == "logit_difference" for q in predicates)
    terms = ClaimTerms(
        length,
        same,
        Thresholds(tuple(relative), tuple(loss), post_hoc),
        windows,
        alpha,
        predicates,
        tuple(stated),
        None,
    )
    p["reference"]["blocks"] = blocks
    p["evidence"].update(rows=rows, attribution_rows=attribution)
    p["thresholds"] = {"relative": relative, "loss": loss, "post_hoc": post_hoc}
    cost = {"parameters": 1, "bits": 8, "multiply_adds": 1}
    p["surrogate"]["kept"] = {side: [cost] * (blocks + 2) for side in ("reference", "surrogate")}
    p["claims"] = json.loads(strict_json.encode(summarise(table, terms)))
    return Base(f"synthetic{number}", statement, same, table, encode_export(table, same, None))


def made_bases(
    payload: bytes, same: tuple[bool, ...], table: EvidenceTable, strata: Strata | None, folder: Path
) -> list[Base]:
    """Accepted certificates: the one given, of a real bundle, and synthetic ones of many shapes."""
    statement = json.loads(payload)
    real = Base("bundle", statement, same, table, encode_export(table, same, strata))
    return [real, *(_synthetic(statement, number, folder) for number in range(1, 16))]


# --- edges ------------------------------------------------------------------------------------------------------


def _inside(value: Any) -> list[tuple[Any, Any]] | None:
    """The members of an object or array, each with its key or index; None for anything else."""
    if isinstance(value, dict):
        return sorted(cast("dict[str, Any]", value).items())
    return list(enumerate(cast("list[Any]", value))) if isinstance(value, list) else None


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inside = _inside(value)
    if inside is None:
        yield path
        return
    for key, member in inside:
        yield from _leaves(member, (*path, key))


def _unit(text: str, step: int) -> str:
    """A decimal string one unit of its last digit away."""
    whole, _, fraction = text.partition(".")
    units = int(whole + fraction) + step
    digits = str(abs(units)).rjust(len(fraction) + 1, "0")
    spelled = digits[: len(digits) - len(fraction)] + ("." + digits[len(digits) - len(fraction) :] if fraction else "")
    if fraction:
        spelled = spelled.rstrip("0").rstrip(".")
    return ("-" if units < 0 else "") + spelled


MALFORMED = (
    "0.10", "1.0", "+1", ".5", "1.", "1e3", "-0", "00", "-01", "", " 1", "1 ", "1\n", "0x1", "1,5", "NaN", "\u0661",
    "1" * 41, "0." + "1" * 41, "1" * 40, "0." + "1" * 40,
)  # fmt: skip


def _replacements(old: Any, rng: random.Random) -> list[Any]:
    if isinstance(old, bool):
        return [not old, int(old), "true"]
    if isinstance(old, int):
        return [old + 1, old - 1, str(old), None, 9007199254740991]
    if old is None:
        return ["0", 0, "1", False]
    text = str(old)
    if text.replace(".", "", 1).removeprefix("-").isdigit() and text.isascii():
        return [_unit(text, 1), _unit(text, -1), rng.choice(MALFORMED), rng.choice(MALFORMED), 1, None]
    words = ("listed-prompts", "all-inputs", "population", "stated-points", "proof", "measurement", "estimate")
    return [text + "x", rng.choice(words), "", rng.choice(words), 0]


def _walked(base: Base, rng: random.Random, most: int) -> Iterator[tuple[str, bytes]]:
    """One leaf of the statement changed a little."""
    paths = [path for path in _leaves(base.statement) if not _is_drawn(base, path)]
    for path in rng.sample(paths, min(most, len(paths))):
        new = rng.choice(_replacements(at(base.statement, path), rng))
        changed = copy.deepcopy(base.statement)
        at(changed, path[:-1])[path[-1]] = new
        yield f"{'.'.join(map(str, path))}={new!r}", encoded(changed)


def _is_drawn(base: Base, path: tuple[Any, ...]) -> bool:
    """Whether the strata of a base depend on it: the draw is made again by Python, and not by Lean."""
    if path[:2] == ("subject",) or path[-1] == "name":
        return True  # names of files are compared by Unicode's rules
    drawn = base.statement["predicate"]["claims"]["population"]["strata"] is not None
    return drawn and (path[:3] == ("predicate", "prompts", "frame") or path[0] == "subject")


def _structural(base: Base, rng: random.Random, most: int) -> Iterator[tuple[str, bytes]]:
    """A field removed, a field added, a list one shorter or longer."""
    inner = sorted({path[:cut] for path in _leaves(base.statement) for cut in range(1, len(path))}, key=str)
    inner = [path for path in inner if not _is_drawn(base, (*path, ""))]
    for path in rng.sample(inner, min(most, len(inner))):
        changed = copy.deepcopy(base.statement)
        value = at(changed, path)
        inside = _inside(value) or []
        shorter = rng.random() < 0.5 and inside
        if isinstance(value, dict):
            if shorter:
                del value[rng.choice(inside)[0]]
            else:
                value["unknown"] = 1
        elif shorter:
            del value[-1]
        else:
            value.append(copy.deepcopy(value[-1]) if inside else 0)
        yield f"{'.'.join(map(str, path))} changed", encoded(changed)


def edge_cases(bases: list[Base], seed: int = 0) -> list[Case]:
    """The cases: each base as it stands, every named change of two of them, and random small changes of each."""
    rng = random.Random(seed)
    cases = [Case("as it stands", encoded(base.statement), base) for base in bases]
    for base in bases[:2]:
        cases += [Case(name, change(encoded(base.statement)), base) for name, change in TEXTS.items()]
        for name, change in FIELDS.items():
            statement = copy.deepcopy(base.statement)
            change(statement)
            cases.append(Case(name, encoded(statement), base))
    for base in bases:
        cases += [Case(name, payload, base) for name, payload in _walked(base, rng, 38)]
        cases += [Case(name, payload, base) for name, payload in _structural(base, rng, 8)]
    return cases
