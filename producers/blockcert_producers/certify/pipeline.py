"""The one way from two programs and listed prompts to a bundle without signatures."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from blockcert import strict_json
from blockcert.bundle import STATEMENT, BundleWriter
from blockcert.claims import ClaimTerms, summarise
from blockcert.digest import digest_file
from blockcert.dsse import PAYLOAD_TYPE, Envelope, encode_envelope
from blockcert.evidence import EvidenceShape
from blockcert.evidence_file import read_evidence
from blockcert.numbers import parse_decimal
from blockcert.program import Program
from blockcert.same_program import same_stages
from blockcert.statement import (
    PREDICATE_TYPE,
    PREDICATE_VERSION,
    STATEMENT_TYPE,
    Claims,
    Digests,
    EvidenceRef,
    Fidelity,
    FileSize,
    Frame,
    Kept,
    PopulationPredicate,
    Predicate,
    Producer,
    Prompts,
    Reference,
    Statement,
    Subject,
    Surrogate,
    Thresholds,
)
from blockcert.strata import strata_of
from blockcert.times import format_time
from blockcert_producers.certify.measuring import evidence_columns, self_check, write_evidence
from blockcert_producers.certify.terms import default_predicates, default_thresholds
from blockcert_producers.progress import Progress, silent
from blockcert_verifier.costs import program_costs
from blockcert_verifier.enclose import require_flint
from blockcert_verifier.evaluate import WeightStore
from blockcert_verifier.measure import Confirmation, Pair, Settings

if TYPE_CHECKING:
    from blockcert_producers.certify.enclosing import RowShelf

__all__ = ["EVIDENCE", "PROMPTS", "REFERENCE_PROGRAM", "SURROGATE_PROGRAM", "CertifyOptions", "Work", "certify"]

REFERENCE_PROGRAM = "programs/reference.json"
SURROGATE_PROGRAM = "programs/surrogate.json"
PROMPTS = "prompts.safetensors"
EVIDENCE = "evidence.safetensors"


class CertifyOptions(Struct, frozen=True):
    """How to measure and what to state.

    ``attribution`` of the first prompts carry attribution, ``prove`` of them proven ends, which ``shelf`` keeps and of
    which each may be estimated to take ``memory`` bytes, or any number.
    """

    attribution: int = 50
    device: str = "cpu"
    thresholds: Thresholds = default_thresholds()
    alpha: str = "0.05"
    predicates: tuple[PopulationPredicate, ...] | None = None
    valid_days: int = 365
    prove: int = 0
    shelf: RowShelf | None = None
    memory: int | None = None


class Work(Struct, frozen=True):
    """Everything that is fixed before measuring.

    ``files`` maps each weight file that the programs name, and every other reference file to be listed, to its path;
    ``tokens`` are the certification prompts, N x T, in the order drawn; ``extensions`` are the statement's. The writer
    already holds both programs, the surrogate's weights and the prompts.
    """

    kind: Literal["extract", "compare"]
    reference: Program
    surrogate: Program
    files: Mapping[str, Path]
    frame: Frame
    tokens: np.ndarray[Any, Any]
    fidelity: Fidelity | None
    note: str
    version: str
    extensions: dict[str, Any] = {}


def certify(
    writer: BundleWriter, work: Work, options: CertifyOptions, *, now: datetime, progress: Progress = silent
) -> tuple[Statement, Confirmation]:
    """Measure, check, state, and write ``evidence.safetensors`` and an envelope without signatures into ``writer``.

    Returns the statement, and how far inside the tolerances the producer's own replay stayed (as fractions of the
    narrowed tolerance). Committing the writer is the caller's.

    Raises:
        Refusal: ``measure.*``, ``tensor.*``, ``program.*``, ``claims.*``; where rows are to be proven
            ``install.prove``, and ``limit.memory``.
    """
    thresholds = options.thresholds
    rows, length = work.tokens.shape
    attribution = min(options.attribution, rows)
    store = WeightStore(work.files)
    pair = Pair(work.reference, work.surrogate, same_stages(work.reference, work.surrogate), store)
    settings = Settings(
        relative=tuple(float(t) for t in thresholds.relative), loss=tuple(float(t) for t in thresholds.loss)
    )
    shape = EvidenceShape(
        blocks=work.reference.blocks,
        rows=rows,
        attribution_rows=attribution,
        relative_thresholds=len(thresholds.relative),
        loss_thresholds=len(thresholds.loss),
    )
    run: dict[str, Any] = {"device": options.device, "attribution": attribution, "progress": progress}
    recorded = evidence_columns(pair, work.tokens, settings, **run)
    checked = self_check(pair, work.tokens, settings, recorded, **run)
    if options.prove:
        shape = replace(shape, enclosed_rows=min(options.prove, rows))
        recorded |= _proven(pair, work.tokens, shape, options, recorded, progress)
    write_evidence(writer.path(EVIDENCE), shape, recorded)

    predicates = options.predicates if options.predicates is not None else default_predicates(thresholds)
    terms = ClaimTerms(
        length=length,
        same=pair.same,
        thresholds=thresholds,
        windows=work.frame.windows - work.frame.calibration,
        alpha=options.alpha,
        predicates=predicates,
        lipschitz=(None,) * shape.stages,
        strata=strata_of(
            work.frame, *(digest_file(writer.path(name)).blake3 for name in (REFERENCE_PROGRAM, SURROGATE_PROGRAM))
        ),
    )
    # from the file as written, so that the claims are a function of the evidence that is published
    claims = summarise(read_evidence(writer.path(EVIDENCE), shape, EVIDENCE), terms)
    kept = Kept(
        reference=program_costs(work.reference, store, length),
        surrogate=program_costs(work.surrogate, store, length),
    )
    statement = _state(writer, work, options, shape, claims, kept, now)
    payload = strict_json.encode(statement)
    unsigned = Envelope(payload=payload, payload_type=PAYLOAD_TYPE, signatures=())
    writer.path(STATEMENT).write_bytes(encode_envelope(unsigned))
    return statement, checked


def _proven(
    pair: Pair,
    tokens: np.ndarray[Any, Any],
    shape: EvidenceShape,
    options: CertifyOptions,
    recorded: Mapping[str, np.ndarray[Any, Any]],
    progress: Progress,
) -> dict[str, np.ndarray[Any, Any]]:
    require_flint()
    from blockcert_producers.certify.enclosing import enclosure_columns
    from blockcert_verifier.enclose.trajectories import Thresholds as Exact

    stated = options.thresholds
    exact = Exact(tuple(map(parse_decimal, stated.relative)), tuple(map(parse_decimal, stated.loss)))
    more: dict[str, Any] = {"shelf": options.shelf, "progress": progress, "memory": options.memory}
    return enclosure_columns(pair, tokens, shape, exact, recorded, **more)


def _state(
    writer: BundleWriter,
    work: Work,
    options: CertifyOptions,
    shape: EvidenceShape,
    claims: Claims,
    kept: Kept,
    now: datetime,
) -> Statement:
    names = [name for name in writer.names if name != STATEMENT]
    paths = {name: writer.path(name) for name in names}
    paths |= {name: path for name, path in sorted(work.files.items()) if name.startswith("reference/")}
    digests = {name: digest_file(path, sha256=True) for name, path in paths.items()}
    return Statement(
        type_=STATEMENT_TYPE,
        subject=tuple(
            Subject(name, Digests(sha256=found.sha256 or "", blake3=found.blake3)) for name, found in digests.items()
        ),
        predicate_type=PREDICATE_TYPE,
        predicate=Predicate(
            version=PREDICATE_VERSION,
            issued_at=format_time(now),
            not_after=format_time(now + timedelta(days=options.valid_days)),
            producer=Producer(work.kind, "blockcert", work.version),
            files=tuple(FileSize(name, found.size) for name, found in digests.items()),
            reference=Reference(
                architecture=work.reference.architecture,
                blocks=work.reference.blocks,
                hidden_size=work.reference.hidden_size,
                vocabulary=work.reference.vocabulary,
                program=REFERENCE_PROGRAM,
                fidelity=work.fidelity,
            ),
            surrogate=Surrogate(program=SURROGATE_PROGRAM, kept=kept, note=work.note),
            prompts=Prompts(file=PROMPTS, frame=work.frame),
            thresholds=options.thresholds,
            evidence=EvidenceRef(file=EVIDENCE, rows=shape.rows, attribution_rows=shape.attribution_rows),
            claims=claims,
            extensions=work.extensions,
        ),
    )
