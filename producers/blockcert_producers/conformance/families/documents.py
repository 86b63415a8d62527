"""Envelopes and statements that are JSON, and not what the format says."""

from __future__ import annotations

from blockcert_producers.conformance.changes import DROP, envelope, payload_text, state
from blockcert_producers.conformance.entry import case, indeterminate, rejected
from blockcert_producers.conformance.families.json_traps import replaced

__all__ = ["CASES"]

CODE = "json.type"
BASE64 = "envelope.base64"


def stray_bits(text: str) -> str:
    """A second spelling of the same bytes: a bit set that a decoder passes over."""
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    bare = text.rstrip("=")
    if bare == text:
        raise ValueError("this text has no unused bits")
    return bare[:-1] + digits[digits.index(bare[-1]) | 1] + text[len(bare) :]


def mixed(text: str) -> str:
    """The text with a digit of each alphabet in front."""
    return "-_+/" + text[4:]


CASES = (
    case(
        "envelope::payload-type",
        "A payload of another type",
        "BC-STM-01",
        rejected("envelope.payload_type"),
        envelope("payloadType", "application/json"),
    ),
    case(
        "envelope::no-payload", "An envelope without a payload", "BC-STM-01", rejected(CODE), envelope("payload", DROP)
    ),
    case(
        "envelope::sig-a-number",
        "A signature that is no string",
        "BC-STM-01",
        rejected(CODE),
        envelope("signatures[0].sig", 5),
    ),
    case(
        "envelope::seventeen-signatures",
        "More than 16 signatures",
        "BC-STM-03",
        rejected(CODE),
        envelope("signatures", lambda s: s * 17),
    ),
    case(
        "envelope::stray-bits",
        "A signature in a second spelling: unused bits are not zero",
        "BC-STM-03",
        rejected(BASE64),
        envelope("signatures[0].sig", stray_bits),
    ),
    case(
        "envelope::no-padding",
        "A signature without its padding",
        "BC-STM-03",
        rejected(BASE64),
        envelope("signatures[0].sig", lambda s: s.rstrip("=")),
    ),
    case(
        "envelope::both-alphabets",
        "Base64 of both alphabets at once",
        "BC-STM-03",
        rejected(BASE64),
        envelope("signatures[0].sig", mixed),
    ),
    case(
        "envelope::line-break",
        "Base64 with a line break",
        "BC-STM-03",
        rejected(BASE64),
        envelope("payload", lambda s: s[:76] + "\n" + s[76:]),
    ),
    case(
        "envelope::not-base64",
        "A payload that is no base64",
        "BC-STM-03",
        rejected(BASE64),
        envelope("payload", lambda s: "!" + s[1:]),
    ),
    case(
        "envelope::deep",
        "An envelope of more than 4 levels",
        "BC-NUM-11",
        rejected("json.limit"),
        envelope("signatures[0].keyid", [[["deep"]]]),
    ),
    case(
        "statement::type",
        "A payload that is no in-toto Statement v1",
        "BC-STM-08",
        rejected("statement.type"),
        state("$._type", "https://in-toto.io/Statement/v0.1"),
    ),
    case(
        "statement::predicate-type",
        "A predicate that is no certificate",
        "BC-STM-08",
        rejected("statement.predicate_type"),
        state("$.predicateType", "https://slsa.dev/provenance/v1"),
    ),
    case(
        "statement::newer-major",
        "A certificate of a later major version",
        "BC-STM-09",
        indeterminate("statement.version_unsupported"),
        state("$.predicateType", "urn:blockcert:certificate:v2"),
    ),
    case(
        "statement::newer-major-of-another-shape",
        "A certificate of a later major version that writes its minor one in another way",
        "BC-STM-09",
        indeterminate("statement.version_unsupported"),
        state("$.predicateType", "urn:blockcert:certificate:v2.1"),
        payload_text(replaced(b'"version":"1.0"', b'"version":[1,0]')),
    ),
    case(
        "statement::predicate-type-of-more-parts",
        "A predicate type with a further part behind the version",
        "BC-STM-09",
        rejected("statement.predicate_type"),
        state("$.predicateType", "urn:blockcert:certificate:v2:draft"),
    ),
    case(
        "statement::newer-minor",
        "A certificate of a later minor version, whatever else it holds",
        "BC-STM-09",
        indeterminate("statement.version_unsupported"),
        state("version", "1.1"),
        state("claims", {"new": "kind"}),
    ),
    case(
        "statement::newest-minor",
        "The last minor version of four digits",
        "BC-STM-09",
        indeterminate("statement.version_unsupported"),
        state("version", "1.9999"),
    ),
    case(
        "statement::minor-of-five-digits",
        "A minor version of five digits is none",
        "BC-STM-09",
        rejected(CODE),
        state("version", "1.10000"),
    ),
    case(
        "statement::minor-of-zeros",
        "A minor version of more than one zero is not a newer one, and none",
        "BC-STM-09",
        rejected(CODE),
        state("version", "1.00"),
    ),
    case(
        "statement::minor-after-a-zero",
        "A newer minor version, whatever zero it begins with",
        "BC-STM-09",
        indeterminate("statement.version_unsupported"),
        state("version", "1.01"),
    ),
    case(
        "statement::version-a-number",
        "A version that is a number",
        "BC-STM-09",
        rejected(CODE),
        payload_text(replaced(b'"version":"1.0"', b'"version":1')),
    ),
    case(
        "statement::critical-unknown",
        "An extension that must be understood and is not",
        "BC-STM-10",
        indeterminate("statement.extension_unknown"),
        state("extensions", {"x": 1}),
        state("critical", ["x"]),
    ),
    case(
        "statement::critical-absent",
        "Critical names an extension that is not there",
        "BC-STM-10",
        rejected("statement.critical statement.extension_unknown"),
        state("critical", ["x"]),
    ),
    case(
        "statement::critical-twice",
        "Critical names an extension twice",
        "BC-STM-10",
        rejected("statement.critical statement.extension_unknown"),
        state("extensions", {"x": 1}),
        state("critical", ["x", "x"]),
    ),
    case(
        "statement::control-character",
        "A note that would move a terminal",
        "BC-STM-15",
        rejected(CODE),
        state("surrogate.note", "\x1b[2Jaccepted"),
    ),
    case(
        "statement::bidirectional-override",
        "A producer's name that would be read backwards",
        "BC-STM-15",
        rejected(CODE),
        state("producer.name", "acme\u202e"),
    ),
    case(
        "statement::field-missing",
        "A field without a default is absent",
        "BC-STM-14",
        rejected(CODE),
        state("thresholds", DROP),
    ),
)
