"""Certificates near the edges of what is accepted, for the Lean checker and the Python verifier alike."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from blockcert import strict_json
from blockcert.claims import ClaimTerms, summarise
from blockcert.evidence import EvidenceShape, columns
from blockcert.evidence_file import EvidenceTable, read_evidence
from blockcert.safetensors_file import write
from blockcert.statement import Lipschitz, PopulationPredicate, Statement, Thresholds
from blockcert.strata import Strata
from blockcert_verifier.lean.export import encode_export

__all__ = ["Base", "Case", "edge_cases", "made_bases"]


class Base(Struct, frozen=True):
    """An accepted certificate: its statement as a JSON value, its evidence, and the export of that."""

    name: str
    statement: dict[str, Any]
    same: tuple[bool, ...]
    table: EvidenceTable
    export: bytes


class Case(Struct, frozen=True):
    """The text of a statement, to be judged with a base's evidence."""

    name: str
    payload: bytes
    base: Base


def encoded(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


# --- bases ------------------------------------------------------------------------------------------------------


def _cells(shape: EvidenceShape, length: int, same: tuple[bool, ...], rng: random.Random) -> dict[str, Any]:
    """Evidence that is possible: dyadic and other float64 cells, and what is exactly so by definition."""
    stages, n = shape.stages, shape.blocks
    cells: dict[str, Any] = {}
    for c in columns(shape):
        if c.dtype == "I64":
            most = length - 1 if "loss_within" in c.name else length
            cells[c.name] = np.array([rng.randint(0, most) for _ in range(int(np.prod(c.shape)))], "<i8").reshape(c.shape)
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
        if not 1 <= i <= n:
            cells["identity.error"][:, i] = cells["identity.relative_error"][:, i] = 0
            cells["identity.covered"][:, i] = length
    cells["identity.drift"][:, 0] = cells["identity.relative_drift"][:, 0] = 0
    return cells


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
    relative, loss = rng.choice([(["0.01", "0.02", "0.05"], ["0.01", "0.1"]), (["0.01", "0.05"], ["0.001", "0.01", "0.1"])])
    windows = rng.choice([2 * rows, rows, 60, 300])
    same = tuple(rng.random() < 0.4 for _ in range(blocks + 1)) + (False,)
    shape = EvidenceShape(blocks, rows, attribution, len(relative), len(loss))
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
        length, same, Thresholds(tuple(relative), tuple(loss), post_hoc), windows, alpha, predicates, tuple(stated), None
    )
    p["reference"]["blocks"] = blocks
    p["evidence"].update(rows=rows, attribution_rows=attribution)
    p["thresholds"] = {"relative": relative, "loss": loss, "post_hoc": post_hoc}
    cost = {"parameters": 1, "bits": 8, "multiply_adds": 1}
    p["surrogate"]["kept"] = {side: [cost] * (blocks + 2) for side in ("reference", "surrogate")}
    p["claims"] = json.loads(strict_json.encode(summarise(table, terms)))
    return Base(f"synthetic{number}", statement, same, table, encode_export(table, same, None))


def made_bases(payload: bytes, same: tuple[bool, ...], table: EvidenceTable, strata: Strata | None, folder: Path) -> list[Base]:
    """Accepted certificates: the one given, of a real bundle, and synthetic ones of many shapes."""
    statement = json.loads(payload)
    real = Base("bundle", statement, same, table, encode_export(table, same, strata))
    return [real, *(_synthetic(statement, number, folder) for number in range(1, 16))]


# --- edges ------------------------------------------------------------------------------------------------------


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict):
        for key in sorted(value):
            yield from _leaves(value[key], (*path, key))
    elif isinstance(value, list):
        for i, entry in enumerate(value):
            yield from _leaves(entry, (*path, i))
    else:
        yield path


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


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
        new = rng.choice(_replacements(_at(base.statement, path), rng))
        changed = copy.deepcopy(base.statement)
        _at(changed, path[:-1])[path[-1]] = new
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
        value = _at(changed, path)
        if isinstance(value, dict):
            if rng.random() < 0.5 and value:
                del value[rng.choice(sorted(value))]
            else:
                value["unknown"] = 1
        elif rng.random() < 0.5 and value:
            value.pop()
        else:
            value.append(copy.deepcopy(value[-1]) if value else 0)
        yield f"{'.'.join(map(str, path))} changed", encoded(changed)


TEXTS: dict[str, Callable[[bytes], bytes]] = {
    "byte-order mark": lambda t: b"\xef\xbb\xbf" + t,
    "trailing brace": lambda t: t + b"}",
    "trailing value": lambda t: t + b" 1",
    "white space around": lambda t: b" \n\t" + t + b"\r\n ",
    "cut off": lambda t: t[:-1],
    "cut in a string": lambda t: t[: t.index(b"_type") + 3],
    "empty": lambda _: b"",
    "an array": lambda t: b"[" + t + b"]",
    "not UTF-8": lambda t: t.replace(b"0.1.0", b"0.\xff.0"),
    "overlong UTF-8": lambda t: t.replace(b"0.1.0", b"0.\xc0\xaf.0"),
    "duplicate key": lambda t: t.replace(b'"_type":', b'"_type":1,"_type":', 1),
    "duplicate key, escaped": lambda t: t.replace(b'"_type":', b'"\\u005ftype":1,"_type":', 1),
    "duplicate key inside": lambda t: t.replace(b'"alpha":', b'"alpha":"0.5","alpha":', 1),
    "duplicate in extensions": lambda t: _extended(t, b'{"a":{"b":1,"b":2}}'),
    "lone high surrogate": lambda t: _extended(t, b'{"a":"\\ud800"}'),
    "lone low surrogate": lambda t: _extended(t, b'{"a":"\\udc00 "}'),
    "swapped surrogates": lambda t: _extended(t, b'{"a":"\\udc00\\ud800"}'),
    "surrogate pair": lambda t: _extended(t, b'{"a":"\\ud83d\\ude00"}'),
    "escaped backslash before u": lambda t: _extended(t, b'{"a":"\\\\ud800"}'),
    "short escape": lambda t: _extended(t, b'{"a":"\\u12"}'),
    "unknown escape": lambda t: _extended(t, b'{"a":"\\x41"}'),
    "all escapes": lambda t: _extended(t, b'{"a":"\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9"}'),
    "control character": lambda t: _extended(t, b'{"a":"\x01"}'),
    "delete character": lambda t: _extended(t, b'{"a":"\x7f"}'),
    "fraction": lambda t: _extended(t, b'{"a":1.5}'),
    "whole fraction": lambda t: _extended(t, b'{"a":1.0}'),
    "exponent": lambda t: _extended(t, b'{"a":1e2}'),
    "huge exponent": lambda t: _extended(t, b'{"a":1E999999999}'),
    "minus zero": lambda t: _extended(t, b'{"a":-0}'),
    "minus": lambda t: _extended(t, b'{"a":-}'),
    "plus": lambda t: _extended(t, b'{"a":+1}'),
    "leading zero": lambda t: _extended(t, b'{"a":01}'),
    "minus leading zero": lambda t: _extended(t, b'{"a":-01}'),
    "NaN": lambda t: _extended(t, b'{"a":NaN}'),
    "minus Infinity": lambda t: _extended(t, b'{"a":-Infinity}'),
    "nan": lambda t: _extended(t, b'{"a":nan}'),
    "True": lambda t: _extended(t, b'{"a":True}'),
    "2^53": lambda t: _extended(t, b'{"a":9007199254740992}'),
    "2^53 - 1": lambda t: _extended(t, b'{"a":9007199254740991}'),
    "minus 2^53": lambda t: _extended(t, b'{"a":-9007199254740992}'),
    "seventeen digits": lambda t: _extended(t, b'{"a":00000000000000001}'),
    "Arabic digit": lambda t: _extended(t, '{"a":\u0661}'.encode()),
    "no-break space": lambda t: _extended(t, '{"a":\u00a01}'.encode()),
    "trailing comma": lambda t: _extended(t, b'{"a":1,}'),
    "trailing comma in an array": lambda t: _extended(t, b'{"a":[1,]}'),
    "leading comma": lambda t: _extended(t, b'{"a":[,1]}'),
    "missing colon": lambda t: _extended(t, b'{"a" 1}'),
    "number as a key": lambda t: _extended(t, b'{1:1}'),
    "single quotes": lambda t: _extended(t, b"{'a':1}"),
    "comment": lambda t: _extended(t, b'{"a":1/*x*/}'),
    "wrong bracket": lambda t: _extended(t, b'{"a":[1}'),
    "64 levels": lambda t: _extended(t, b'{"a":' + b"[" * 61 + b"]" * 61 + b"}"),
    "65 levels": lambda t: _extended(t, b'{"a":' + b"[" * 62 + b"]" * 62 + b"}"),
    "500 levels, open": lambda t: _extended(t, b'{"a":' + b"[" * 500),
    "long string": lambda t: _extended(t, b'{"a":"' + b"x" * 65536 + b'"}'),
    "too long string": lambda t: _extended(t, b'{"a":"' + b"x" * 65537 + b'"}'),
    "too long key": lambda t: _extended(t, b'{"' + b"x" * 65537 + b'":1}'),
    "extensions of any kind": lambda t: _extended(t, b'{"a":[null,true,false,-1,"",{}]}'),
    "extensions no object": lambda t: _extended(t, b"[]"),
    "null": lambda _: b"null",
    "a number": lambda _: b"1",
}


def _extended(text: bytes, extensions: bytes) -> bytes:
    before = b'"extensions":{}'
    assert text.count(before) == 1
    return text.replace(before, b'"extensions":' + extensions)


def _set(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(statement: dict[str, Any]) -> None:
        _at(statement, path[:-1])[path[-1]] = to

    return change


P = "predicate"
FIELDS: dict[str, Callable[[dict[str, Any]], None]] = {
    "nothing": lambda _: None,
    "other type": _set("_type", to="https://in-toto.io/Statement/v2"),
    "type missing": lambda s: s.pop("_type"),
    "type a number": _set("_type", to=1),
    "other predicate": _set("predicateType", to="urn:other"),
    "next major": _set("predicateType", to="urn:blockcert:certificate:v2"),
    "next major, colon": _set("predicateType", to="urn:blockcert:certificate:v2:x"),
    "next minor": _set(P, "version", to="1.1"),
    "next minor, nothing else": lambda s: s.update(predicate={"version": "1.9999"}),
    "five digits": _set(P, "version", to="1.10000"),
    "minor 01": _set(P, "version", to="1.01"),
    "minor 00": _set(P, "version", to="1.00"),
    "version 2": _set(P, "version", to="2.0"),
    "outer field": lambda s: s.update(other=[1, 2]),
    "critical unknown": lambda s: s[P].update(extensions={"a": 1}, critical=["a"]),
    "critical twice": lambda s: s[P].update(extensions={"a": 1}, critical=["a", "a"]),
    "critical absent": lambda s: s[P].update(critical=["a"]),
    "defaults absent": lambda s: [s[P].pop(k) for k in ("supersedes", "extensions", "critical")],
    "file twice": lambda s: s[P]["files"].append(s[P]["files"][0]),
    "file missing": lambda s: s[P]["files"].pop(),
    "program named otherwise": _set(P, "reference", "program", to="programs/other.json"),
    "evidence named otherwise": _set(P, "evidence", "file", to="other.safetensors"),
    "kind compare": _set(P, "producer", "kind", to="compare"),
    "times reversed": _set(P, "not_after", to="2020-01-01T00:00:00Z"),
    "times equal": lambda s: s[P].update(not_after=s[P]["issued_at"]),
    "30 February": _set(P, "not_after", to="2028-02-30T00:00:00Z"),
    "29 February": _set(P, "not_after", to="2028-02-29T00:00:00Z"),
    "29 February 2100": _set(P, "not_after", to="2100-02-29T00:00:00Z"),
    "second 60": _set(P, "not_after", to="2030-12-31T23:59:60Z"),
    "hour 24": _set(P, "not_after", to="2030-12-31T24:00:00Z"),
    "month 0": _set(P, "not_after", to="2030-00-31T00:00:00Z"),
    "year 1969": _set(P, "issued_at", to="1969-12-31T23:59:59Z"),
    "year 0000": _set(P, "issued_at", to="0000-12-31T23:59:59Z"),
    "time with a fraction": _set(P, "issued_at", to="2026-01-01T00:00:00.0Z"),
    "rows": _set(P, "prompts", "frame", "certification", to=1),
    "too many attribution rows": _set(P, "evidence", "attribution_rows", to=1000),
    "one digest twice": lambda s: [f.update(blake3="0" * 64) for f in s[P]["prompts"]["frame"]["corpus"]],
    "duplicate corpus": lambda s: s[P]["prompts"]["frame"]["corpus"].append(s[P]["prompts"]["frame"]["corpus"][0]),
    "no bytes": _set(P, "prompts", "frame", "corpus", 0, "size", to=1),
    "tokenizer": _set(P, "prompts", "frame", "tokenizer", "blake3", to="0" * 64),
    "fidelity": _set(P, "reference", "fidelity", to={"against": "x", "rows": 1, "max_logit_difference": "0.1"}),
    "fidelity of nothing": _set(P, "reference", "fidelity", to={"against": "", "rows": 1, "max_logit_difference": "0"}),
    "fidelity below 0": _set(P, "reference", "fidelity", to={"against": "x", "rows": 1, "max_logit_difference": "-1"}),
    "fidelity of no rows": _set(P, "reference", "fidelity", to={"against": "x", "rows": 0, "max_logit_difference": "1"}),
    "threshold 0": _set(P, "thresholds", "relative", 0, to="0"),
    "threshold below 0": _set(P, "thresholds", "loss", 0, to="-0.1"),
    "thresholds reversed": lambda s: s[P]["thresholds"]["relative"].reverse(),
    "thresholds equal": lambda s: s[P]["thresholds"]["relative"].__setitem__(0, s[P]["thresholds"]["relative"][1]),
    "other threshold": _set(P, "thresholds", "relative", 0, to="0.015"),
    "other threshold, said": lambda s: (
        s[P]["thresholds"]["relative"].__setitem__(0, "0.015"), s[P]["thresholds"].update(post_hoc=True)
    ),
    "alpha 0": _set(P, "claims", "population", "alpha", to="0"),
    "alpha 1": _set(P, "claims", "population", "alpha", to="1"),
    "alpha below 0": _set(P, "claims", "population", "alpha", to="-0.5"),
    "hidden character": _set(P, "surrogate", "note", to="a\u200bb"),
    "1024 characters": _set(P, "surrogate", "note", to="\u00e9" * 1024),
    "1025 characters": _set(P, "surrogate", "note", to="\u00e9" * 1025),
    "stages swapped": lambda s: s[P]["claims"]["stages"].reverse(),
    "no stages": _set(P, "claims", "stages", to=[]),
    "compositions swapped": lambda s: s[P]["claims"]["composition"].reverse(),
    "no composition": _set(P, "claims", "composition", to=[]),
    "strata of one": _set(P, "claims", "population", "strata", to=[]),
}  # fmt: skip


def _with_predicate(kind: str, share: str | None, threshold: str | None) -> Callable[[dict[str, Any]], None]:
    def change(statement: dict[str, Any]) -> None:
        claims = statement[P]["claims"]["population"]
        predicate = {"kind": kind, "share": share, "threshold": threshold}
        claims["claims"].append({"predicate": predicate, "successes": 0, "at_least": 0, "at_least_share": "0"})
        for stratum in claims["strata"] or []:
            stratum["successes"].append(0)
            stratum["at_least"].append(0)

    return change


for _kind in ("covered", "top1", "kl", "loss_difference", "logit_difference"):
    for _share in (None, "0.95", "1", "0.9"):
        for _threshold in (None, "0.01", "0.07", "-1"):
            FIELDS[f"predicate {_kind} {_share} {_threshold}"] = _with_predicate(_kind, _share, _threshold)


def _with_constants(constant: str, scope: str, basis: str, *, stages: str) -> Callable[[dict[str, Any]], None]:
    def change(statement: dict[str, Any]) -> None:
        listed = statement[P]["claims"]["stages"]
        chosen = {"all": listed, "blocks": listed[1:-1], "ends": [listed[0], listed[-1]], "one": listed[1:2]}[stages]
        for stage in chosen:
            stage["lipschitz"] = {"constant": constant, "scope": scope, "basis": basis}

    return change


for _constant in ("0", "-1", "1.5", "1" + "0" * 39):
    for _scope in ("all-inputs", "listed-prompts", "population", "stated-points"):
        for _stages in ("all", "blocks", "ends", "one"):
            FIELDS[f"constant {_constant} {_scope} {_stages}"] = _with_constants(
                _constant, _scope, "estimate" if _stages == "ends" else "enclosure", stages=_stages
            )


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
