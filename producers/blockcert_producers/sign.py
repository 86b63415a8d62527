"""Signing a bundle: one more signature in its envelope, after a look at whether the bundle is whole."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from blockcert.bundle import STATEMENT, Bundle, replace_statement
from blockcert.digest import digest_files
from blockcert.dsse import LIMITS, Envelope, add_signature, certificate_id, encode_envelope, parse_envelope
from blockcert.errors import Refusal
from blockcert.keys import Signs
from blockcert_verifier.steps import integrity, structure
from blockcert_verifier.steps.outcome import failures

__all__ = ["sign_bundle", "sign_bundles"]


def sign_bundle(path: Path, key: Signs) -> str:
    """The certificate id of the bundle at `path`, whose envelope now carries `key`'s signature too.

    The files are compared with the statement first: nobody should put their name to a bundle that every verifier
    will reject.

    Raises:
        Refusal: what a bundle is refused for, `bundle.changed` where another signed it meanwhile,
            `signature.exists` where this key has signed already.
    """
    bundle, envelope = _signed(path, key)
    replace_statement(bundle, encode_envelope(envelope))
    return certificate_id(envelope.payload)


def sign_bundles(paths: Sequence[Path], key: Signs) -> tuple[str, ...]:
    """The certificate ids of several bundles, which now carry `key`'s signature too: all, or where one is refused none.

    Raises:
        Refusal: as `sign_bundle`; the place names the bundle.
    """
    signed: list[tuple[Bundle, Envelope]] = []
    for path in paths:
        try:
            signed.append(_signed(path, key))
        except Refusal as refusal:
            place = refusal.place if str(path) in refusal.place else f"{path}: {refusal.place}"
            raise Refusal(refusal.code, place, refusal.sentence) from None
    written: list[Bundle] = []
    try:
        for bundle, envelope in signed:
            replace_statement(bundle, encode_envelope(envelope))
            written.append(bundle)
    except BaseException:  # a full disk, or Ctrl-C, in the middle
        for bundle, envelope in signed[: len(written)]:
            _take_back(bundle.location, envelope)
        raise
    return tuple(certificate_id(envelope.payload) for _, envelope in signed)


def _take_back(path: Path, envelope: Envelope) -> None:
    """The bundle without the last signature of ``envelope``, if that is still what stands there."""
    with suppress(Refusal):
        bundle = Bundle(path)
        if bundle.read(STATEMENT, LIMITS.bytes) == encode_envelope(envelope):
            before = msgspec.structs.replace(envelope, signatures=envelope.signatures[:-1])
            replace_statement(bundle, encode_envelope(before))


def _signed(path: Path, key: Signs) -> tuple[Bundle, Envelope]:
    bundle = Bundle(path)
    envelope = parse_envelope(bundle.read(STATEMENT, LIMITS.bytes), STATEMENT)
    statement, findings = structure.statement(envelope.payload)
    if statement is not None:
        findings += integrity.listing(statement, bundle.sizes, STATEMENT)
        if not failures(findings):
            findings += integrity.bundle_files(statement, bundle.file, digest_files)
    wrong = next((f for f in findings if f.status in ("failed", "inconclusive")), None)
    if wrong is not None:
        raise Refusal(wrong.code, wrong.place, f"{wrong.message}; it was not signed")
    return bundle, add_signature(envelope, key, STATEMENT)
