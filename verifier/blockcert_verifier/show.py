"""The body of `blockcert show`: what one bundle says of itself, or two side by side. Nothing is checked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blockcert.errors import Refusal
from blockcert_verifier.output import emit, emit_untrusted, is_standard_output, write_file

if TYPE_CHECKING:
    from blockcert.dsse import Envelope
    from blockcert.file_range import Source
    from blockcert.statement import Statement

__all__ = ["show"]


def show(
    *,
    bundles: Annotated[list[Path], typer.Argument(metavar="BUNDLE", help="The bundle; two with --diff.")],
    diff: Annotated[bool, typer.Option("--diff", help="Show two bundles side by side, claim by claim.")] = False,
    mechanisms: Annotated[
        bool, typer.Option("--mechanisms", help="Say in words what each head, the neurons and each map became.")
    ] = False,
    reference: Annotated[
        Path | None,
        typer.Option(
            "--reference", metavar="MODEL", help="With --mechanisms: the folder that knows the original sizes."
        ),
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Print the statement itself, JSON, as it stands.")] = False,
    json: Annotated[
        Path | None,
        typer.Option(
            "--json", metavar="FILE", help="With --diff, --mechanisms: write it there ('-': standard output)."
        ),
    ] = None,
) -> None:
    """Print what a certificate says, signed or not. Nothing is checked."""
    from blockcert.bundle import check_outside

    if len(bundles) != 1 + diff or diff + raw + mechanisms > 1 or (json is not None and not (diff or mechanisms)):
        sentence = "give one bundle, or two with --diff; --mechanisms is for one; --json goes with either, --raw alone"
        raise Refusal("usage.show", "show", sentence)
    if json is not None and not is_standard_output(json):
        for bundle in bundles:
            check_outside(json, bundle)
    if reference is not None and not mechanisms:
        raise Refusal("usage.show", "show", "--reference goes with --mechanisms")
    if reference is not None and not reference.is_dir():
        sentence = "there is no such folder; --reference names the folder of the original model"
        raise Refusal("reference.not_found", str(reference), sentence)
    if diff:
        _difference(bundles[0], bundles[1], json)
        return
    if mechanisms:
        _mechanisms(bundles[0], reference, json)
        return
    envelope = _envelope(bundles[0])
    if raw:
        emit_untrusted(envelope.payload + b"\n")
        return
    from blockcert.bundle import Bundle
    from blockcert.dsse import certificate_id
    from blockcert_verifier.appended_text import appended_lines
    from blockcert_verifier.report import describe
    from blockcert_verifier.text import render_certificate

    certificate = describe(_statement(envelope), authenticated=False)
    bundle = Bundle(bundles[0])
    appended = appended_lines(bundle.sizes, bundle.read, envelope.payload)
    identity = certificate_id(envelope.payload)
    emit(render_certificate(certificate, identity, len(envelope.signatures), appended).encode())


def _difference(first: Path, second: Path, json: Path | None) -> None:
    from blockcert import strict_json
    from blockcert.dsse import certificate_id
    from blockcert_verifier.diff import compare
    from blockcert_verifier.diff_terms import Shown
    from blockcert_verifier.diff_text import render_difference

    shown: list[Shown] = []
    for path in (first, second):
        try:
            envelope = _envelope(path)
            statement = _statement(envelope)
        except Refusal as refusal:  # of two bundles, which one it was
            place = refusal.place if str(path) in refusal.place else f"{path}: {refusal.place}"
            raise Refusal(refusal.code, place, refusal.sentence) from None
        shown.append(Shown(str(path), certificate_id(envelope.payload), len(envelope.signatures), statement))
    difference = compare(*shown)
    if json is not None:
        write_file(json, strict_json.encode(difference, strict_json.REPORT) + b"\n")
    if not is_standard_output(json):
        emit(render_difference(difference).encode())


def _mechanisms(path: Path, model: Path | None, json: Path | None) -> None:
    from blockcert import strict_json
    from blockcert.bundle import STATEMENT, Bundle
    from blockcert.dsse import LIMITS, parse_envelope
    from blockcert.safetensors_file import read_header
    from blockcert.wellformed import REFERENCE_PREFIX
    from blockcert_verifier.head_names import read
    from blockcert_verifier.mechanisms import mechanisms
    from blockcert_verifier.mechanisms_text import render_mechanisms
    from blockcert_verifier.steps import structure

    bundle = Bundle(path)
    statement = _statement(parse_envelope(bundle.read(STATEMENT, LIMITS.bytes), STATEMENT))
    names = (statement.predicate.reference.program, statement.predicate.surrogate.program)
    first, second = ((name, bundle.read(name, strict_json.DEFAULT.bytes)) for name in names)
    found, findings = structure.programs(statement, first, second)
    if found is None:
        wrong = next(finding for finding in findings if finding.status != "passed")
        raise Refusal(wrong.code, wrong.place, wrong.message)
    files: dict[str, Source] = {}
    for name in (file.name for one in found for file in one.files):
        if not name.startswith(REFERENCE_PREFIX):
            files[name] = bundle.file(name)
        elif model is not None:
            files[name] = model / name.removeprefix(REFERENCE_PREFIX)
    names = read(statement.predicate.extensions)
    blocks = mechanisms(*found, {name: read_header(file, name) for name, file in files.items()})
    if json is not None:
        said = {"blocks": blocks, "producer_says": names}
        write_file(json, strict_json.encode(said, strict_json.REPORT) + b"\n")
    if not is_standard_output(json):
        emit(render_mechanisms(blocks, names).encode())


def _envelope(path: Path) -> Envelope:
    from blockcert.bundle import STATEMENT, Bundle
    from blockcert.dsse import LIMITS, parse_envelope

    return parse_envelope(Bundle(path).read(STATEMENT, LIMITS.bytes), STATEMENT)


def _statement(envelope: Envelope) -> Statement:
    from blockcert_verifier.steps import structure

    statement, findings = structure.statement(envelope.payload)
    if statement is None:
        first = findings[0]
        raise Refusal(first.code, first.place, first.message)
    return statement
