"""What stands beside a certificate, for `show`: of which party, and what it says. Nothing is checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from blockcert import revocation
from blockcert.appended import MOST_BYTES, MOST_STATEMENTS, is_report, is_statement
from blockcert.dsse import Envelope, parse_envelope
from blockcert.errors import Refusal
from blockcert.review import digests, parse_review
from blockcert.revocation import read_list
from blockcert.statement import Digests
from blockcert_verifier.layout import field

__all__ = ["appended_lines"]

MOST_REPORT_BYTES = 64 << 20


def appended_lines(names: Mapping[str, int], read: Callable[[str, int], bytes], payload: bytes) -> list[str]:
    """The lines on what others put beside the certificate whose payload is `payload`; none where there is nothing.

    `names` are the bundle's files; `read` gives one of at most so many bytes.
    """
    statements, reports = sorted(filter(is_statement, names)), sorted(filter(is_report, names))
    if not statements and not reports:
        return []
    about = digests(payload)
    lines = ["Beside it, said by others; whose word counts, a policy decides (blockcert verify)"]
    named: dict[Digests, str] = {}
    for name in statements[:MOST_STATEMENTS]:
        try:
            envelope = _envelope(read(name, MOST_BYTES), name)
            said = _list(envelope, about) if _is_list(envelope) else _review(envelope, name, about, named)
            text = f"{said}; {_by(envelope)}"
        except Refusal as refusal:
            text = f"not to be read: {refusal.sentence.removesuffix('.')} [{refusal.code}]"
        lines += [f"  {name}", *field("", text)]
    if len(statements) > MOST_STATEMENTS:
        lines.append(f"  and {len(statements) - MOST_STATEMENTS} more, which nobody reads")
    for name in reports[:MOST_STATEMENTS]:
        lines += [f"  {name}", *field("", _report(name, read, named))]
    if len(reports) > MOST_STATEMENTS:
        lines.append(f"  and {len(reports) - MOST_STATEMENTS} more reports")
    return lines


def _envelope(data: bytes, name: str) -> Envelope:
    try:
        return parse_envelope(data, name)
    except Refusal as refusal:
        if refusal.code != "envelope.payload_type":
            raise
        return parse_envelope(data, name, revocation.PAYLOAD_TYPE)


def _is_list(envelope: Envelope) -> bool:
    return envelope.payload_type == revocation.PAYLOAD_TYPE


def _by(envelope: Envelope) -> str:
    if not envelope.signatures:
        return "nobody signed it"
    ids = ", ".join(one.keyid[:16] or "a key that is not named" for one in envelope.signatures)
    return f"signed as the key whose id begins with {ids}"


def _review(envelope: Envelope, name: str, about: Digests, named: dict[Digests, str]) -> str:
    found = parse_review(envelope.payload, name)
    review = found.predicate
    if review.report is not None:
        named[review.report] = name
    other = "" if found.subject[0].digest == about else " of another certificate"
    note = f": {review.note}" if review.note else ""
    return f"a review of {review.made_at} that {review.outcome}{other}{note}"


def _list(envelope: Envelope, about: Digests) -> str:
    found = read_list(envelope.payload, "list")
    entry = next((one for one in found.certificates if one.certificate == about.blake3), None)
    what = "does not name this certificate" if entry is None else f"revokes this certificate ({entry.reason})"
    return f"revocation list number {found.number} of {found.issued_at}, which {what}"


def _report(name: str, read: Callable[[str, int], bytes], named: Mapping[Digests, str]) -> str:
    try:
        vouching = named.get(digests(read(name, MOST_REPORT_BYTES)))
    except Refusal as refusal:
        return f"not to be read: {refusal.sentence.removesuffix('.')} [{refusal.code}]"
    if vouching is None:
        return "a report that no review names: nobody vouches for it"
    return f"the report that the review {vouching.rpartition('/')[2]} names"
