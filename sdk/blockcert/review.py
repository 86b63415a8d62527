"""Reviews: what another party states about a certificate, signed with its own key and stored beside the envelope.

The normative text is ``spec/11-trust.md``, "Reviews"; the JSON Schema is ``schemas/review.schema.json``. A review is an
in-toto Statement of its own about the certificate's payload: the first signature is never touched.
"""

from datetime import datetime
from typing import Annotated, Literal, TypeAlias

import msgspec
from blake3 import blake3
from msgspec import Meta, Struct, field

from blockcert import strict_json
from blockcert.appended import statement_name
from blockcert.dsse import Envelope, add_signature, encode_envelope
from blockcert.errors import Refusal
from blockcert.keys import Signs
from blockcert.names import shown
from blockcert.program import Hash
from blockcert.statement import STATEMENT_TYPE, Digests, Text, Time
from blockcert.times import format_time, parse_time

__all__ = [
    "MOST_BYTES",
    "PREDICATE_TYPE",
    "Outcome",
    "Review",
    "ReviewStatement",
    "digests",
    "new_review",
    "parse_review",
    "require_hash",
    "sign_review",
]

PREDICATE_TYPE = "urn:blockcert:review:v1"
MOST_BYTES = 1 << 16
"""Cap on a review's envelope."""
SUBJECT = "statement.dsse.json"
Outcome: TypeAlias = Literal["approves", "objects"]

_GATE = strict_json.Limits(bytes=MOST_BYTES, nesting=8, nodes=256, string=4096)


class _Record(Struct, frozen=True, forbid_unknown_fields=True):
    """Frozen and closed to unknown fields."""


class ReviewSubject(_Record, frozen=True):
    """The certificate: the digests of its payload, whose BLAKE3 is the certificate id."""

    name: Literal["statement.dsse.json"]
    digest: Digests


class Review(_Record, frozen=True):
    """What was found, when, in which words, and the report that it rests on, by digest (null: none)."""

    version: Literal["1.0"]
    outcome: Outcome
    made_at: Time
    note: Text
    report: Digests | None


class ReviewStatement(Struct, frozen=True):
    """The in-toto Statement; unknown outer fields are ignored, as in-toto's own rule has it."""

    type_: Literal["https://in-toto.io/Statement/v1"] = field(name="_type")
    subject: Annotated[tuple[ReviewSubject, ...], Meta(min_length=1, max_length=1)]
    predicate_type: Literal["urn:blockcert:review:v1"] = field(name="predicateType")
    predicate: Review


def new_review(
    payload: bytes, outcome: Outcome, *, made_at: datetime, note: str, report: bytes | None
) -> ReviewStatement:
    """A review of the certificate whose payload is ``payload``; ``report`` are the bytes of what it rests on."""
    return ReviewStatement(
        type_=STATEMENT_TYPE,
        subject=(ReviewSubject(SUBJECT, digests(payload)),),
        predicate_type=PREDICATE_TYPE,
        predicate=Review("1.0", outcome, format_time(made_at), note, None if report is None else digests(report)),
    )


def digests(data: bytes) -> Digests:
    """The digests of a certificate's payload, or of a report, as a review names them."""
    from hashlib import sha256

    return Digests(sha256=sha256(data).hexdigest(), blake3=blake3(data).hexdigest())


def sign_review(review: ReviewStatement, key: Signs) -> tuple[str, bytes]:
    """The name under which a review stands in a bundle, and its envelope with one signature.

    Raises:
        Refusal: as :func:`parse_review`, for words that no reader would take.
    """
    payload = msgspec.json.encode(review, order="sorted")
    parse_review(payload, "review")
    data = encode_envelope(add_signature(Envelope(payload), key, "review"))
    return statement_name(data), data


def parse_review(payload: bytes, place: str) -> ReviewStatement:
    """The review in a verified payload; refuses what the JSON gate and the types refuse, and ``time.*``."""
    found = strict_json.decode(payload, ReviewStatement, place, _GATE)
    parse_time(found.predicate.made_at, f"{place}: $.predicate.made_at")
    return found


def require_hash(text: str, place: str) -> Hash:
    """The digest part of a certificate id, with or without its ``blake3:``; refuses ``certificate.id``."""
    digest = text.removeprefix("blake3:")
    if len(digest) != 64 or any(c not in "0123456789abcdef" for c in digest):
        sentence = (
            f"{shown(text, 80)} is neither a bundle nor a certificate id, which is blake3: and 64 lower-case "
            "hexadecimal digits; blockcert show prints it."
        )
        raise Refusal("certificate.id", place, sentence)
    return digest
