"""JSON that readers take differently, and JSON that is too much, in every document that passes the gate."""

from __future__ import annotations

import re
from collections.abc import Callable

from blockcert_producers.conformance.changes import (
    bundle,
    envelope_text,
    header_text,
    payload_text,
    policy_text,
    program_text,
)
from blockcert_producers.conformance.draft import EVIDENCE, PROMPTS, Change
from blockcert_producers.conformance.entry import Entry, accepted, case, refused, rejected

__all__ = ["CASES"]

Text = Callable[[bytes], bytes]


def replaced(old: bytes, new: bytes) -> Text:
    """The text with the first `old` made `new`, which must stand there."""

    def change(data: bytes) -> bytes:
        if old not in data:
            raise ValueError(f"{old!r} does not stand in the document")
        return data.replace(old, new, 1)

    return change


def with_extension(text: bytes) -> Change:
    """The payload with this text as the value of an extension, where any JSON may stand."""
    return payload_text(replaced(b'"extensions":{}', b'"extensions":{"x":' + text + b"}"))


def of_values(count: int) -> Change:
    """The payload with an extension that makes its values as many as this, as BC-NUM-11 counts them."""

    def change(data: bytes) -> bytes:
        text = replaced(b'"extensions":{}', b'"extensions":{"x":[0]}')(data)
        held = 1 + len(re.findall(rb"[,\[{]", re.sub(rb'"(?:[^"\\]|\\.)*"', b"", text)))
        return text.replace(b'"x":[0]', b'"x":[0' + b",0" * (count - held) + b"]", 1)

    return payload_text(change)


TRAPS: tuple[tuple[str, str, str, str, bytes], ...] = (
    ("fraction", "A number with a point, where a reader might round it", "BC-NUM-06 BC-NUM-07", "json.number", b"1.0"),
    ("exponent", "A number with an exponent", "BC-NUM-06 BC-NUM-07", "json.number", b"1e2"),
    ("huge-exponent", "A number that would fill memory", "BC-NUM-07", "json.number", b"1e999999999"),
    ("minus-zero", "The integer -0", "BC-NUM-06", "json.number", b"-0"),
    (
        "two-to-the-53",
        "The least integer that two floats round to",
        "BC-NUM-06 BC-NUM-07",
        "json.number",
        b"9007199254740992",
    ),
    ("nan", "NaN, which is no JSON", "BC-NUM-10", "json.number", b"NaN"),
    ("infinity", "-Infinity, which is no JSON", "BC-NUM-10", "json.number", b"-Infinity"),
    ("leading-zero", "An integer with a leading zero", "BC-NUM-06 BC-NUM-10", "json.syntax", b"01"),
    ("duplicate-key", "A key twice in one object", "BC-NUM-10", "json.duplicate_key", b'{"a":1,"a":2}'),
    (
        "duplicate-escaped",
        "A key twice, once with an escape",
        "BC-NUM-10",
        "json.duplicate_key",
        b'{"a":1,"\\u0061":2}',
    ),
    ("lone-surrogate", "Half of a surrogate pair", "BC-NUM-10", "json.encoding", b'"\\ud800"'),
    ("surrogates-exchanged", "A surrogate pair in the wrong order", "BC-NUM-10", "json.encoding", b'"\\udc00\\ud800"'),
    ("not-utf8", "A byte that is no UTF-8", "BC-NUM-10", "json.encoding", b'"\xff"'),
    ("overlong-utf8", "An overlong spelling of a slash", "BC-NUM-10", "json.encoding", b'"\xc0\xaf"'),
    ("single-quotes", "A string in single quotes", "BC-NUM-10", "json.syntax", b"'a'"),
    ("trailing-comma", "A comma before the bracket", "BC-NUM-10", "json.syntax", b"[1,]"),
    ("comment", "A comment", "BC-NUM-10", "json.syntax", b"1/* one */"),
    ("control-character", "A tab inside a string, not escaped", "BC-NUM-10", "json.syntax", b'"a\tb"'),
    ("nesting", "65 levels: the payload's own three and 62 more", "BC-NUM-11", "json.limit", b"[" * 62 + b"]" * 62),
    ("long-string", "A string of 65,537 bytes", "BC-NUM-11", "json.limit", b'"' + b"x" * 65537 + b'"'),
    ("many-values", "More than 262,144 values", "BC-NUM-11", "json.limit", b"[0" + b",0" * (1 << 18) + b"]"),
)

WHOLE: dict[str, tuple[str, Text, str]] = {
    "byte-order-mark": ("A byte-order mark before it", lambda data: b"\xef\xbb\xbf" + data, "json.encoding"),
    "two-values": ("A second value behind it", lambda data: data + b"{}", "json.syntax"),
    "cut-off": ("Its last byte is missing", lambda data: data[:-1], "json.syntax"),
    "empty": ("No byte at all", lambda _: b"", "json.syntax"),
    "array": ("An array in the place of the object", lambda data: b"[" + data + b"]", "json.type"),
}
DOCUMENTS: dict[str, tuple[str, Callable[[Text], Change], str]] = {
    "payload": ("the payload", payload_text, "BC-NUM-10"),
    "envelope": ("the envelope", envelope_text, "BC-NUM-10 BC-STM-01"),
    "program": ("a program", lambda change: program_text("surrogate", change), "BC-NUM-10 BC-PRG-01"),
    "policy": ("the trust policy", policy_text, "BC-NUM-10 BC-TRU-01"),
}


def _documents() -> tuple[Entry, ...]:
    found: list[Entry] = []
    for document, (what, apply, requirements) in DOCUMENTS.items():
        for name, (tests, change, code) in WHOLE.items():
            expected = refused(code) if document == "policy" else rejected(code)
            found.append(case(f"json::{document}-{name}", f"{tests}: {what}", requirements, expected, apply(change)))
    return tuple(found)


UNKNOWN: tuple[tuple[str, str, Change, str], ...] = (
    (
        "payload",
        "An unknown field of the predicate",
        payload_text(replaced(b'"predicate":{', b'"predicate":{"a":1,')),
        "BC-NUM-12 BC-STM-08",
    ),
    (
        "subject",
        "An unknown digest of a subject",
        payload_text(replaced(b'"digest":{', b'"digest":{"md5":"",')),
        "BC-STM-08",
    ),
    (
        "program",
        "An unknown field of a step",
        program_text("surrogate", replaced(b'"left":"hidden"', b'"left":"hidden","x":1')),
        "BC-NUM-12 BC-PRG-01",
    ),
    (
        "envelope",
        "An unknown field of the envelope",
        envelope_text(replaced(b'"payload":', b'"a":1,"payload":')),
        "BC-NUM-12 BC-STM-03",
    ),
    (
        "tensor",
        "An unknown field of a tensor's header",
        header_text(PROMPTS, replaced(b'"dtype":', b'"a":1,"dtype":')),
        "BC-BND-14",
    ),
)

CASES = (
    *(
        case(f"json::{name}", f"{tests}, in an extension", requirements, rejected(code), with_extension(text))
        for name, tests, requirements, code, text in TRAPS
    ),
    *_documents(),
    *(
        case(f"json::unknown-field-{name}", tests, requirements, rejected("json.type"), change)
        for name, tests, change, requirements in UNKNOWN
    ),
    case(
        "json::duplicate-then-cut",
        "A key twice, and the document ends too early: a reader may meet either fault first",
        "BC-NUM-10",
        rejected("json.syntax"),
        payload_text(lambda data: replaced(b'"extensions":{}', b'"extensions":{"a":1,"a":2}')(data)[:-1]),
    ),
    case(
        "json::header-duplicate-tensor",
        "A tensor twice in a safetensors header",
        "BC-NUM-10 BC-BND-14",
        rejected("json.duplicate_key"),
        header_text(PROMPTS, replaced(b'"window":', b'"split":')),
    ),
    case("json::as-many-values", "262,144 values", "BC-NUM-11", accepted(), of_values(1 << 18)),
    case("json::one-value-more", "262,145 values", "BC-NUM-11", rejected("json.limit"), of_values((1 << 18) + 1)),
    case(
        "json::header-nested",
        "A safetensors header of more than 3 levels",
        "BC-NUM-11",
        rejected("json.limit"),
        header_text(EVIDENCE, replaced(b'"shape":[', b'"shape":[[[')),
    ),
    case(
        "json::header-number",
        "A shape with a length of 6.0",
        "BC-NUM-07 BC-BND-14",
        rejected("json.number"),
        header_text(PROMPTS, replaced(b'"shape":[9]', b'"shape":[9.0]')),
    ),
    case(
        "json::policy-unknown-field",
        "An unknown field of the trust policy",
        "BC-NUM-12 BC-TRU-01",
        refused("json.type"),
        policy_text(replaced(b'"accept":', b'"a":1,"accept":')),
    ),
    case(
        "json::policy-missing-field",
        "A field of the trust policy is not written out",
        "BC-TRU-01",
        refused("json.type"),
        policy_text(replaced(b'"kl_mean":null,', b"")),
    ),
    case(
        "json::policy-duplicate-key",
        "A limit twice in the trust policy",
        "BC-NUM-10 BC-TRU-01",
        refused("json.duplicate_key"),
        policy_text(replaced(b'"kl_mean":null', b'"kl_mean":null,"kl_mean":"1"')),
    ),
    case(
        "json::program-not-utf8",
        "A tensor's name that is no UTF-8",
        "BC-NUM-10 BC-PRG-01",
        rejected("json.encoding"),
        bundle("programs/surrogate.json", replaced(b'"tensor":"means"', b'"tensor":"m\xff"')),
    ),
)
