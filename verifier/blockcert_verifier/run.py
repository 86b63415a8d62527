"""Verification: open > authenticate > digest > recompute > replay > fresh > apply policy > report.

The order is a rule, not a habit (`spec/10-verification.md`):

1. The container is opened and its envelope parsed; nothing else in it is looked at.
2. Revocation lists and signatures are checked over the payload's bytes. Where they fail, nothing of the payload is
   read. What other parties put beside the certificate is read as far as trusted keys signed it.
3. The payload is parsed: version, critical extensions, names, then the times it states.
4. Every file is compared with its size and digest before any of it is parsed.
5. Programs, prompts and evidence are parsed; every claim is recomputed.
6. Rows are measured again, if the reference model is at hand.
7. Fresh prompts are drawn and measured, if the corpus is at hand and it was asked for.
8. The policy's limits are applied.

A step that fails ends the verification; what was not reached is reported as skipped. The clock and the seed are read
once, here, and can both be given.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from blockcert.authority import Authority
from blockcert.bundle import STATEMENT, Bundle
from blockcert.digest import FileDigests
from blockcert.dsse import LIMITS, certificate_digest, certificate_id, parse_envelope
from blockcert.errors import Refusal
from blockcert.evidence import columns
from blockcert.evidence_file import EvidenceTable, table_from_bytes
from blockcert.file_range import Source
from blockcert.findings import Finding, StepName, step_status
from blockcert.keys import fingerprint
from blockcert.program import Program
from blockcert.revocation import SignedList
from blockcert.same_program import same_stages
from blockcert.statement import Frame, Statement
from blockcert.strict_json import DEFAULT as PROGRAM_LIMITS
from blockcert.trust import TrustPolicy
from blockcert.wellformed import REFERENCE_PREFIX
from blockcert_verifier.assemble import Seen
from blockcert_verifier.choices import Measuring
from blockcert_verifier.depth import depth
from blockcert_verifier.fresh_report import Fresh
from blockcert_verifier.limits import Limits, Watch, as_own, check_bytes, check_document, check_memory
from blockcert_verifier.locate import Located, file_size, locate
from blockcert_verifier.point_report import Points
from blockcert_verifier.proof_report import Proof
from blockcert_verifier.published import Published
from blockcert_verifier.regimes import original_contexts
from blockcert_verifier.remeasure import Opened, Remeasuring
from blockcert_verifier.report import Audit, DepthRow, FidelityCheck, FrameCheck, Signer
from blockcert_verifier.steps import authenticity, integrity, prompts, recompute, structure
from blockcert_verifier.steps.appended import appended as read_appended
from blockcert_verifier.steps.frame import Corpus, frame
from blockcert_verifier.steps.fresh import Wanted
from blockcert_verifier.steps.outcome import failures, from_refusal, passed
from blockcert_verifier.steps.policy import policy as apply_policy
from blockcert_verifier.steps.reviews import reviews
from blockcert_verifier.steps.revocation import Given, Revocations, beside, certificate, revocations

if TYPE_CHECKING:
    from blockcert_verifier.corpus import Population

__all__ = ["Progress", "Run"]

Progress: TypeAlias = Callable[[StepName, int, int], None]
"""Called with a step, how much of it is done, and how much there is."""
MOST_COLUMN_BYTES = 1 << 30
"""Cap on the columns of prompts or of evidence, which are held in memory whole."""
MOST_HEADER_BYTES = 1 << 20
"""How much larger than its columns a file of prompts or evidence may be."""
_WRONG_PATH = frozenset({"bundle.not_found", "bundle.not_a_folder", "bundle.no_statement", "bundle.unreadable"})
_NO_WEIGHTS = "the reference model's weights are not at hand"


def _prompt_bytes(frame: Frame) -> int:
    """Bytes of the columns tokens I32, window I64 and split U8."""
    return (frame.calibration + frame.certification) * (4 * frame.length + 8 + 1)


def _columns(bundle: Bundle, name: str, size: int) -> bytes:
    """A file whose columns the statement says have `size` bytes; not read where it is larger than they explain.

    Raises:
        Refusal: ``bundle.file_too_large``, also where the columns are more than is held (BC-BND-19); what a file of a
            bundle is refused for when it is read.
    """
    if size > MOST_COLUMN_BYTES:
        sentence = f"its columns have {size} bytes by the statement's sizes; at most {MOST_COLUMN_BYTES} are accepted"
        raise Refusal("bundle.file_too_large", name, sentence)
    return bundle.read(name, size + MOST_HEADER_BYTES)


class _Stop(Exception):  # noqa: N818 - not an error: a step failed and the report says so
    """What follows cannot be checked."""


class Run:
    """One verification: what is given, and what has been seen so far."""

    def __init__(
        self,
        *,
        trust: TrustPolicy,
        now: datetime,
        reference: Path | None,
        published: dict[str, Published],
        corpus: Corpus,
        own: tuple[Path, ...],
        fresh: int,
        transformers: bool,
        prove: int,
        prove_stages: int,
        measuring: Measuring,
        limits: Limits,
        digests: Callable[[Sequence[Source], Callable[[int], None]], Iterator[FileDigests | Refusal]],
        progress: Progress,
        revocations: Given | None = None,
        remember: Callable[[SignedList, Sequence[str]], None] | None = None,
    ) -> None:
        self._trust, self._now, self._reference, self._corpus = trust, now, reference, corpus
        self._measuring, self._progress, self._limits = measuring, progress, limits
        self._watch = Watch(limits, measuring.clock)
        self._digests = digests
        self._given, self._remember = revocations, remember
        self._said = Revocations(None, "", {})
        self._findings: list[Finding] = []
        self._signers: tuple[Signer, ...] = ()
        self._statement: Statement | None = None
        self._audit: Audit | None = None
        self._published, self._transformers, self._prove = published, transformers, prove
        self._proof: Proof | None = None
        self._prove_stages = prove_stages
        self._points: Points | None = None
        self._fidelity: FidelityCheck | None = None
        self._wanted = Wanted(fresh, own, corpus.tokenizer)
        # own texts alone are not the step's to pass: they are another population
        drawn = bool(fresh) and (bool(corpus.files) or not own)
        self._asked: tuple[StepName, ...] = (
            *(("replay",) if prove or prove_stages else ()),
            *(("fresh",) if drawn else ()),
        )
        self._located: Located | None = None
        self._fresh: tuple[Fresh, ...] = ()
        self._frame: FrameCheck | None = None
        self._depth: tuple[DepthRow, ...] | None = None
        self._contexts: tuple[int, ...] = ()
        self._windows: Population | None = None
        self._id: str | None = None
        self._seconds: dict[StepName, float] = {}
        self._timed: tuple[StepName | None, float] = (None, 0.0)
        self._step: StepName = "structure"

    def all(self, path: Path) -> Seen:
        """Every step, in order, as far as they hold."""
        with contextlib.suppress(_Stop):
            try:
                self._steps(path)
            except Refusal as refusal:
                if not refusal.code.startswith("limit."):
                    raise
                self._findings.append(from_refusal(self._step, refusal))
        self._begin(None)
        cost = None if self._audit is None else self._audit.cost
        return Seen(
            findings=tuple(self._findings),
            certificate_id=self._id,
            signers=self._signers,
            statement=self._statement,
            audit=self._audit,
            frame=self._frame,
            fresh=self._fresh,
            fidelity=self._fidelity,
            proof=self._proof,
            points=self._points,
            depth=self._depth,
            contexts=self._contexts,
            asked=self._asked,
            listed=self._said.list is not None,
            seconds=self._seconds,
            row_seconds=None if cost is None or not cost.rows else float(cost.seconds) / cost.rows,
        )

    def _begin(self, step: StepName | None) -> None:
        """Count time for ``step`` from now on, and none where that is None."""
        now = self._measuring.clock()
        before, since = self._timed
        if before is not None:
            self._seconds[before] = self._seconds.get(before, 0.0) + now - since
        self._timed = (step, now)
        if step is not None:
            self._step = step
            self._watch.look()

    def _add(self, findings: list[Finding]) -> None:
        self._findings += findings
        if failures(findings):
            raise _Stop

    def _refused(self, step: StepName, refusal: Refusal) -> _Stop:
        self._findings.append(from_refusal(step, refusal))
        return _Stop()

    def _steps(self, path: Path) -> None:
        self._begin("structure")
        try:
            bundle = Bundle(path, self._limits.members)
            check_bytes(bundle.sizes, None, self._limits)
            data = bundle.read(STATEMENT, LIMITS.bytes)
            check_document(data, STATEMENT, self._limits)
            envelope = parse_envelope(data, STATEMENT)
        except Refusal as refusal:
            if refusal.code in _WRONG_PATH:
                raise
            raise self._refused("structure", as_own(refusal, self._limits)) from None
        kind = "packed file" if bundle.packed else "folder"
        self._findings.append(
            passed("structure", "structure.bundle", "bundle", f"a safe {kind} of {len(bundle.files)} files")
        )
        self._begin("authenticity")
        self._said, findings = revocations(self._trust, self._given, self._now, self._watch.look)
        if self._remember and self._given and self._given.signed and self._said.list is not None:
            self._remember(self._given.signed, self._said.signers)  # before what may take hours, or be interrupted
        current = not findings
        self._findings += findings
        appended, findings = read_appended(self._trust, bundle.sizes, bundle.read)
        self._findings += findings
        others, aside = beside(self._trust, appended.lists, self._now, self._watch.look)
        revoked = {raw: why for one in (*others, self._said) for raw, why in one.keys.items()}
        made: dict[bytes, bytes | None] = {}
        authority, findings = authenticity.signatures(self._trust, envelope, self._now, revoked, self._watch.look, made)
        self._id = certificate_id(envelope.payload)
        self._signed(authority)
        self._add([*findings, *aside])  # who signed is what a reader looks for first
        self._add(certificate(self._said, self._id, current=current))
        for said in others:
            self._add(certificate(said, self._id, current=False))
        self._add(reviews(self._trust, envelope.payload, appended.reviews, self._now, revoked, self._watch.look))

        try:
            check_document(envelope.payload, STATEMENT, self._limits)
        except Refusal as refusal:
            raise self._refused("structure", refusal) from None
        statement, findings = structure.statement(envelope.payload)
        self._add(findings)
        if statement is None:
            raise _Stop
        authority, findings = authenticity.times(
            self._trust, envelope, statement, self._now, revoked, self._watch.look, made
        )
        self._signed(authority)
        self._add(findings)
        self._statement = statement

        self._add(integrity.listing(statement, bundle.sizes, STATEMENT))
        self._begin("integrity")
        if self._reference is not None:
            check_bytes(bundle.sizes, statement, self._limits)
        self._add(integrity.bundle_files(statement, bundle.file, self._digest))
        self._reference_files(statement)

        programs = self._programs(statement, bundle)
        self._contexts = original_contexts(programs)
        self._begin("recompute")
        table, listed = self._recompute(statement, bundle, programs)
        self._measure(
            Opened(
                statement=statement,
                certificate=certificate_digest(envelope.payload),
                bundle=bundle,
                programs=programs,
                table=table,
                listed=listed,
                located=self._located,
                missing=_NO_WEIGHTS if self._reference is not None else "no reference model was given",
            )
        )
        self._begin("policy")
        self._add(apply_policy(self._trust, statement, self._audit, self._now))

    def _digest(self, sources: Sequence[Source]) -> Iterator[FileDigests | Refusal]:
        """The digests of files as they are made, within the time there is."""
        total = sum(file_size(source) or 0 for source in sources)

        def look(done: int) -> None:
            self._watch.look()
            self._progress("integrity", done, total)

        return self._digests(sources, look)

    def _blake3(self, path: Path) -> str | None:
        found = next(self._digest([path]))
        if not isinstance(found, Refusal):
            return found.blake3
        if found.code.startswith("limit."):
            raise found  # of the caller's own: it ends the verification
        return None

    def _measure(self, opened: Opened) -> None:
        """What is measured again, as far as it was asked for and can be."""
        measuring = Remeasuring(
            opened,
            self._measuring,
            self._trust.limits.least_audit_rows,
            self._progress,
            self._watch.end,
            self._watch.look,
        )
        self._begin("replay")
        self._audit, findings = measuring.replay()
        self._add(findings)
        if self._transformers:
            self._fidelity, findings = measuring.fidelity()
            self._add(findings)
        if self._prove:
            self._begin(None)  # its seconds stand in the proof, and not beside the replay's
            self._proof, findings = measuring.prove(self._prove)
            self._add(findings)
        if self._prove_stages:
            self._begin(None)
            self._points, findings = measuring.prove_stages(self._prove_stages)
            self._add(findings)
        self._begin("fresh")
        self._fresh, findings = measuring.fresh(self._wanted, self._windows)
        self._add(findings)

    def _reference_files(self, statement: Statement) -> None:
        """The reference model's files, found and compared; afterwards only a model that is whole is at hand."""
        located = None
        if self._reference is not None:
            located = locate(statement, self._reference, self._blake3).looked_at()
            if not any(os.path.lexists(path) for path in located.paths.values()):
                sentence = (
                    "nothing here has the name of a file of the certified model; --reference names the original model"
                )
                raise Refusal("reference.not_found", str(self._reference), sentence)
            beside = located.path(f"{REFERENCE_PREFIX}tokenizer.json")
            if self._corpus.tokenizer is None and beside.is_file():
                self._corpus = Corpus(self._corpus.files, beside)
                self._wanted = Wanted(self._wanted.rows, self._wanted.own, beside)
        findings, whole = integrity.reference_files(statement, located, self._digest)
        self._located = located if whole else None
        self._add(findings)
        if self._published:
            said = {f"{REFERENCE_PREFIX}{name}": one for name, one in self._published.items()}
            self._add(integrity.published(statement, said, "the published list"))

    def _signed(self, authority: Authority) -> None:
        # whoever else signed it does not answer for it: a key counts for its roles only (BC-TRU-13)
        producers = [s for s in authority.signers if "producer" in s.roles]
        self._signers = tuple(Signer(s.name, fingerprint(s.key), s.key.raw.hex()) for s in producers)

    def _programs(self, statement: Statement, bundle: Bundle) -> tuple[Program, Program]:
        names = (statement.predicate.reference.program, statement.predicate.surrogate.program)
        try:
            first, second = ((name, bundle.read(name, PROGRAM_LIMITS.bytes)) for name in names)
            for name, data in (first, second):
                check_document(data, name, self._limits)
        except Refusal as refusal:
            raise self._refused("integrity", refusal) from None
        programs, findings = structure.programs(statement, first, second)
        self._add(findings)
        if programs is None:
            raise _Stop
        return programs

    def _recompute(
        self, statement: Statement, bundle: Bundle, programs: tuple[Program, Program]
    ) -> tuple[EvidenceTable, prompts.PromptTable]:
        p = statement.predicate
        self._progress("recompute", 0, 1)
        try:
            shape = recompute.evidence_shape(statement)
            cells = sum(math.prod(column.shape) for column in columns(shape))
            check_memory(_prompt_bytes(p.prompts.frame) + 8 * cells, p.evidence.file, self._limits)
            data = _columns(bundle, p.prompts.file, _prompt_bytes(p.prompts.frame))
            listed = prompts.read_prompts(data, p.prompts.frame, p.prompts.file)
            table = table_from_bytes(
                _columns(bundle, p.evidence.file, 8 * cells), shape, p.evidence.file, self._watch.look
            )
            findings = prompts.prompts(statement, listed, programs[0].vocabulary)
            findings += recompute.recompute(statement, programs, table)
        except Refusal as refusal:
            raise self._refused("recompute", refusal) from None  # no time left among them: what was seen is kept
        self._add(findings)
        stated, sizes = p.prompts.frame, (programs[0].vocabulary, programs[0].context)
        self._frame, self._windows, findings = frame(
            stated, p.prompts.file, listed, self._corpus, *sizes, look=self._watch.look
        )
        self._add(findings)
        if step_status(self._findings, "recompute") == "passed":
            self._depth = depth(table, same_stages(*programs), p.prompts.frame.length)
        self._progress("recompute", 1, 1)
        return table, listed
