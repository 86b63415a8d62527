"""Named changes of a statement: of its text, which the JSON gate sees, and of its fields."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["FIELDS", "TEXTS", "at"]


def at(value: Any, path: tuple[Any, ...]) -> Any:
    """What stands in a JSON value at a path of keys and indices."""
    for step in path:
        value = value[step]
    return value


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
    "number as a key": lambda t: _extended(t, b"{1:1}"),
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
        at(statement, path[:-1])[path[-1]] = to

    return change


P = "predicate"


def _enclosed(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], None]:
    """A change of the enclosures, where there are some."""

    def apply(statement: dict[str, Any]) -> None:
        if statement[P]["claims"].get("enclosures") is not None:
            change(statement[P]["claims"]["enclosures"])

    return apply


FIELDS: dict[str, Callable[[dict[str, Any]], object]] = {
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
    "fidelity of no row": _set(P, "reference", "fidelity", to={"against": "x", "rows": 0, "max_logit_difference": "1"}),
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
    "no enclosures": lambda s: s[P]["claims"].pop("enclosures", None),
    "enclosures null": _set(P, "claims", "enclosures", to=None),
    "enclosures a list": _set(P, "claims", "enclosures", to=[]),
    "enclosures of nothing": _set(P, "claims", "enclosures", to={}),
    "a row more enclosed": _enclosed(lambda e: e.update(rows=e["rows"] + 1)),
    "no row enclosed": _enclosed(lambda e: e.update(rows=0)),
    "more rows enclosed than there are": _enclosed(lambda e: e.update(rows=1000)),
    "enclosures called a proof": _enclosed(lambda e: e.update(basis="proof")),
    "enclosures of all inputs": _enclosed(lambda e: e.update(scope="all-inputs")),
    "a stage less enclosed": _enclosed(lambda e: e["stages"].pop()),
    "enclosed stages reversed": _enclosed(lambda e: e["stages"].reverse()),
    "an enclosed count less": _enclosed(lambda e: e["stages"][1]["covered"].pop()),
    "an enclosed loss less": _enclosed(lambda e: e["loss_within"].pop()),
    "an enclosed mean": _enclosed(lambda e: e.update(kl_mean="0")),
    "more bits": _enclosed(lambda e: e.update(bits=e["bits"] + 1)),
    "compositions swapped": lambda s: s[P]["claims"]["composition"].reverse(),
    "no composition": _set(P, "claims", "composition", to=[]),
    "strata of one": _set(P, "claims", "population", "strata", to=[]),
}  # fmt: skip


def _with_predicate(kind: str, share: str | None, threshold: str | None) -> Callable[[dict[str, Any]], None]:
    def change(statement: dict[str, Any]) -> None:
        claims = statement[P]["claims"]["population"]
        predicate = {"kind": kind, "share": share, "threshold": threshold}
        claims["claims"].append({"predicate": predicate, "successes": 0, "at_least": 0, "at_least_share": "0"})
        strata: list[dict[str, Any]] = claims["strata"] or []
        for stratum in strata:
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
