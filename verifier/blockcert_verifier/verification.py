"""Verification: open > authenticate > digest > recompute > replay > fresh > apply policy > report.

The order is a rule, not a habit (`spec/10-verification.md`):

1. The container is opened and its envelope parsed; nothing else in it is looked at.
2. Signatures are checked over the payload's bytes. Where they fail, nothing of the payload is read.
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
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Literal, TypeAlias

from blockcert.bundle import STATEMENT, Bundle
from blockcert.digest import FileDigests, digest_file
from blockcert.dsse import LIMITS, certificate_digest, certificate_id, parse_envelope
from blockcert.errors import Refusal
from blockcert.evidence import columns
from blockcert.evidence_file import EvidenceTable, table_from_bytes
from blockcert.findings import Finding, StepName, step_status
from blockcert.keys import fingerprint
from blockcert.program import Program
from blockcert.same_program import same_stages
from blockcert.statement import Frame, Statement
from blockcert.strict_json import DEFAULT as PROGRAM_LIMITS
from blockcert.trust import Authority, TrustPolicy, parse_policy
from blockcert.wellformed import REFERENCE_PREFIX
from blockcert_verifier.assemble import Seen, assemble
from blockcert_verifier.choices import Measuring, beta
from blockcert_verifier.depth import depth
from blockcert_verifier.fresh_report import Fresh
from blockcert_verifier.locate import Located, locate
from blockcert_verifier.published import Published, read_published
from blockcert_verifier.report import Audit, DepthRow, FidelityCheck, FrameCheck, Report, Signer
from blockcert_verifier.steps import authenticity, integrity, prompts, recompute, structure
from blockcert_verifier.steps.frame import Corpus, frame
from blockcert_verifier.steps.fresh import FreshInputs, Wanted, fresh_step
from blockcert_verifier.steps.outcome import failures, from_refusal, inconclusive, passed, skipped
from blockcert_verifier.steps.plan import ReplayInputs
from blockcert_verifier.steps.policy import policy as apply_policy

if TYPE_CHECKING:
    from blockcert_verifier.corpus import Population
    from blockcert_verifier.work import Estimate

__all__ = ["Progress", "read_policy", "verify"]

Progress: TypeAlias = Callable[[StepName, int, int], None]
"""Called with a step, how much of it is done, and how much there is."""
MOST_COLUMN_BYTES = 1 << 30
"""Cap on the columns of prompts or of evidence, which are held in memory whole."""
MOST_HEADER_BYTES = 1 << 20
"""How much larger than its columns a file of prompts or evidence may be."""
_OWN_OPTIONS = ("usage.", "resume.", "device.", "install.")
"""Refusals of the caller's own options, which are no findings about the bundle."""
_WRONG_PATH = frozenset({"bundle.not_found", "bundle.not_a_folder", "bundle.no_statement", "bundle.unreadable"})


def verify(
    bundle: Path | str,
    policy: TrustPolicy | bytes | Path | str,
    *,
    reference: Path | str | None = None,
    published: Path | str | None = None,
    corpus: Sequence[Path | str] = (),
    tokenizer: Path | str | None = None,
    fresh: int = 0,
    own: Sequence[Path | str] = (),
    transformers: bool = False,
    replay: int | Literal["all"] = 16,
    confidence: str = "0.99",
    until: int | None = None,
    seed: bytes | None = None,
    jobs: int = 1,
    device: str = "cpu",
    time_limit: float | None = None,
    state: Path | str | None = None,
    catch_interrupt: bool = False,
    announce: Callable[[Estimate], None] | None = None,
    clock: Callable[[], float] = monotonic,
    at: datetime | None = None,
    all_digests: bool = False,
    progress: Progress | None = None,
) -> Report:
    """The report on a bundle: a verdict, what was checked, what was not, and why.

    Nothing is printed and nothing is fetched. Whatever is wrong with the bundle is a finding in the report.

    Args:
        bundle: the bundle's folder.
        policy: the trust policy, as a value, as JSON, or as the path of its file.
        reference: the folder of the reference model, or a Hugging Face cache that has it; without it nothing is
            measured again.
        published: a list of the reference model's SHA-256 digests (as `sha256sum` writes it, or a model hub's JSON
            list), which is compared with what was signed.
        corpus: the text files of the frame, in any order and under any name; with them the listed prompts are derived
            again. Needs the package `tokenizers` (`blockcert[corpus]`).
        tokenizer: the frame's `tokenizer.json`; the reference model's if None.
        fresh: how many windows of the frame that nobody listed to measure; needs `corpus` and `reference`. With `own`,
            also how many of their windows.
        own: text files of the caller's own, a population of their own, measured beside the certificate's.
        transformers: compare the reference program with the package `transformers` on some of the replayed rows.
        replay: how many rows to measure again, or `all`.
        confidence: of the audit bound, a decimal string between 0 and 1.
        until: replay as many rows as leave fewer than so many false ones possible, and end at the first refutation;
            takes the place of `replay`.
        seed: 32 bytes that choose the rows; fresh randomness if None. A known seed makes the run repeatable, and no
            audit, since a producer could have known it too.
        jobs: how many processes measure; each takes its share of the cores.
        device: where they measure: `cpu` (numpy), `torch`, `cuda` or `cuda:N`.
        time_limit: seconds after which measuring ends; what is done by then is reported, as partial.
        state: a file of the caller's own in which the replay keeps what is done, and from which it goes on.
        catch_interrupt: report what is done when a `KeyboardInterrupt` ends the measuring, in place of raising it.
        announce: called before rows are measured with what they are estimated to cost here.
        clock: seconds from some beginning, for `time_limit` and for what the report says of time.
        at: the time to verify at, aware; the clock is read once if None.
        all_digests: compare SHA-256 digests too.
        progress: called as the work advances.

    Raises:
        Refusal: a wrong path (`bundle.not_found`, `bundle.no_statement`, `reference.not_found`, `corpus.not_found`
            ...), a policy that is none, or a package that is missing (`install.corpus`). Nothing else that is wrong
            with a bundle is raised.
        ValueError: a seed that is not 32 bytes, a negative number of rows, a time without a zone.
    """
    now = datetime.now(UTC) if at is None else at
    if now.tzinfo is None or (seed is not None and len(seed) != 32) or (replay != "all" and replay < 0) or fresh < 0:
        raise ValueError("the time must be aware, the seed 32 bytes long, and the number of rows not negative")
    trust = policy if isinstance(policy, TrustPolicy) else read_policy(policy)
    if transformers:
        from blockcert_verifier.fidelity import require_transformers

        require_transformers()  # a missing package is said before any work
    run = _Run(
        trust=trust,
        now=now,
        reference=_folder(reference),
        published={} if published is None else read_published(Path(published)),
        corpus=Corpus(tuple(map(_file, corpus)), None if tokenizer is None else _file(tokenizer)),
        own=tuple(_file(path) for path in own),
        fresh=fresh,
        transformers=transformers,
        measuring=Measuring(
            rows=replay,
            beta=beta(confidence),
            until=until,
            seed=seed,
            jobs=jobs,
            device=device,
            time_limit=time_limit,
            state=None if state is None else Path(state),
            catch=catch_interrupt,
            announce=announce,
            clock=clock,
        ),
        digest=lambda path: digest_file(path, all_digests),
        progress=progress or (lambda _step, _done, _total: None),
    )
    seen = run.all(Path(bundle))
    digests = () if seen.certificate_id is None else ("blake3", "sha256") if all_digests else ("blake3",)
    return assemble(trust, now, seen, digests, time_given=at is not None)


def read_policy(policy: bytes | Path | str) -> TrustPolicy:
    """The trust policy in a document, or in the file at a path; refuses as `blockcert.trust.parse_policy`."""
    if isinstance(policy, bytes):
        return parse_policy(policy, "policy")
    path = Path(policy)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        sentence = "there is no such file; make a policy with: blockcert trust new --producer KEY.pub --out trust.json"
        raise Refusal("trust.not_found", str(path), sentence) from None
    except OSError as fault:
        raise Refusal("trust.unreadable", str(path), f"the policy cannot be read: {fault.strerror}") from None
    if data.startswith(b"blockcert-ed25519 "):
        sentence = f"this is a public key; make a policy that trusts it: blockcert trust new --producer {path.name}"
        raise Refusal("trust.key_given", str(path), sentence)
    return parse_policy(data, str(path))


def _folder(reference: Path | str | None) -> Path | None:
    if reference is None:
        return None
    folder = Path(reference)
    if not folder.is_dir():
        sentence = "there is no such folder; --reference names the folder of the original model"
        raise Refusal("reference.not_found", str(folder), sentence)
    return folder


def _file(path: Path | str) -> Path:
    if not Path(path).is_file():
        what = "this is not a file" if Path(path).exists() else "there is no such file"
        raise Refusal("corpus.not_found", str(path), f"{what}; the corpus and its tokenizer are given as files")
    return Path(path)


def _prompt_bytes(frame: Frame) -> int:
    """Bytes of the columns tokens I32, window I64 and split U8."""
    return (frame.calibration + frame.certification) * (4 * frame.length + 8 + 1)


def _columns(bundle: Bundle, name: str, size: int) -> bytes:
    """A file whose columns the statement says have `size` bytes; not read where it is larger than they explain."""
    return bundle.read(name, min(size, MOST_COLUMN_BYTES) + MOST_HEADER_BYTES)


def _weights(bundle: Bundle, located: Located, programs: tuple[Program, Program]) -> dict[str, Path]:
    """The path of every file that the programs name."""
    return {
        file.name: located.path(file.name) if file.name.startswith(REFERENCE_PREFIX) else bundle.path(file.name)
        for program in programs
        for file in program.files
    }


class _Stop(Exception):  # noqa: N818 - not an error: a step failed and the report says so
    """What follows cannot be checked."""


class _Run:
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
        measuring: Measuring,
        digest: Callable[[Path], FileDigests],
        progress: Progress,
    ) -> None:
        self._trust, self._now, self._reference, self._corpus = trust, now, reference, corpus
        self._measuring, self._digest, self._progress = measuring, digest, progress
        self._findings: list[Finding] = []
        self._signers: tuple[Signer, ...] = ()
        self._statement: Statement | None = None
        self._audit: Audit | None = None
        self._published, self._transformers = published, transformers
        self._fidelity: FidelityCheck | None = None
        self._wanted = Wanted(fresh, own, corpus.tokenizer)
        self._located: Located | None = None
        self._fresh: tuple[Fresh, ...] = ()
        self._frame: FrameCheck | None = None
        self._depth: tuple[DepthRow, ...] | None = None
        self._windows: Population | None = None
        self._id: str | None = None
        self._seed: bytes | None = None
        self._deadline: float | None = None
        self._seconds: dict[StepName, float] = {}
        self._timed: tuple[StepName | None, float] = (None, 0.0)

    def all(self, folder: Path) -> Seen:
        """Every step, in order, as far as they hold."""
        with contextlib.suppress(_Stop):
            self._steps(folder)
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
            depth=self._depth,
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

    def _ends(self) -> float | None:
        """The clock's time at which all measuring ends, counted from when it begins; None without a limit."""
        if self._deadline is None:
            self._deadline = self._measuring.deadline()
        return self._deadline

    def _random(self) -> bytes:
        """The run's one seed: the caller's, or fresh randomness."""
        if self._seed is None:
            self._seed = self._measuring.seed or os.urandom(32)
        return self._seed

    def _add(self, findings: list[Finding]) -> None:
        self._findings += findings
        if failures(findings):
            raise _Stop

    def _refused(self, step: StepName, refusal: Refusal) -> _Stop:
        self._findings.append(from_refusal(step, refusal))
        return _Stop()

    def _steps(self, folder: Path) -> None:
        self._begin("structure")
        try:
            bundle = Bundle(folder)
            envelope = parse_envelope(bundle.read(STATEMENT, LIMITS.bytes), STATEMENT)
        except Refusal as refusal:
            if refusal.code in _WRONG_PATH:
                raise
            raise self._refused("structure", refusal) from None
        self._findings.append(
            passed("structure", "structure.bundle", "bundle", f"a safe folder of {len(bundle.sizes)} files")
        )
        self._begin("authenticity")
        authority, findings = authenticity.signatures(self._trust, envelope, self._now)
        self._id = certificate_id(envelope.payload)
        self._signed(authority)
        self._add(findings)

        statement, findings = structure.statement(envelope.payload)
        self._add(findings)
        if statement is None:
            raise _Stop
        authority, findings = authenticity.times(self._trust, envelope, statement, self._now)
        self._signed(authority)
        self._add(findings)
        self._statement = statement

        self._add(integrity.listing(statement, bundle.sizes, STATEMENT))
        self._begin("integrity")
        self._progress("integrity", 0, 2)
        self._add(integrity.bundle_files(statement, bundle.path, self._digest))
        self._progress("integrity", 1, 2)
        self._reference_files(statement)
        self._progress("integrity", 2, 2)

        programs = self._programs(statement, bundle)
        self._begin("recompute")
        table, listed = self._recompute(statement, bundle, programs)
        certificate = certificate_digest(envelope.payload)
        self._begin("replay")
        self._replay_rows(statement, bundle, programs, table, listed, certificate)
        if self._transformers:
            self._measure_fidelity(statement, bundle, programs, listed)
        self._begin("fresh")
        self._fresh_rows(statement, bundle, programs, listed, certificate)
        self._begin("policy")
        self._add(apply_policy(self._trust, statement, self._audit, self._now))

    def _reference_files(self, statement: Statement) -> None:
        """The reference model's files, found and compared; afterwards only a model that is whole is at hand."""
        located = None
        if self._reference is not None:
            located = locate(statement, self._reference, lambda path: self._digest(path).blake3)
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
        self._signers = tuple(Signer(s.name, fingerprint(s.key), s.key.raw.hex()) for s in authority.signers)

    def _programs(self, statement: Statement, bundle: Bundle) -> tuple[Program, Program]:
        names = (statement.predicate.reference.program, statement.predicate.surrogate.program)
        try:
            first, second = ((name, bundle.read(name, PROGRAM_LIMITS.bytes)) for name in names)
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
            data = _columns(bundle, p.prompts.file, _prompt_bytes(p.prompts.frame))
            listed = prompts.read_prompts(data, p.prompts.frame, p.prompts.file)
            table = table_from_bytes(_columns(bundle, p.evidence.file, 8 * cells), shape, p.evidence.file)
            findings = prompts.prompts(statement, listed, programs[0].vocabulary)
            findings += recompute.recompute(statement, programs, table)
        except Refusal as refusal:
            raise self._refused("recompute", refusal) from None
        self._add(findings)
        stated, sizes = p.prompts.frame, (programs[0].vocabulary, programs[0].context)
        self._frame, self._windows, findings = frame(stated, p.prompts.file, listed, self._corpus, *sizes)
        self._add(findings)
        if step_status(self._findings, "recompute") == "passed":
            self._depth = depth(table, same_stages(*programs), p.prompts.frame.length)
        self._progress("recompute", 1, 1)
        return table, listed

    def _replay_rows(
        self,
        statement: Statement,
        bundle: Bundle,
        programs: tuple[Program, Program],
        table: EvidenceTable,
        listed: prompts.PromptTable,
        certificate: bytes,
    ) -> None:
        rows = table.shape.rows
        choice = self._measuring
        asked = rows if choice.rows == "all" else min(choice.rows, rows)
        if choice.until is not None:
            from blockcert.statistics import rows_needed

            asked = rows_needed(rows, choice.until, choice.beta)
        if self._located is None or asked == 0:
            why = self._missing() if self._located is None else "no rows were asked for"
            self._findings.append(
                skipped("replay", "replay.not_run", "evidence.safetensors", f"{why}; nothing was re-run")
            )
            return
        from blockcert_verifier.steps.replay import replay

        inputs = ReplayInputs(
            statement=statement,
            certificate=certificate,
            reference=programs[0],
            surrogate=programs[1],
            table=table,
            tokens=listed.certification(),
            weights=_weights(bundle, self._located, programs),
        )
        plan = choice.plan(asked, self._random(), self._trust.limits.least_audit_rows, self._ends())
        try:
            self._audit, findings = replay(inputs, plan, lambda done, total: self._progress("replay", done, total))
        except Refusal as refusal:
            if refusal.code.startswith(_OWN_OPTIONS):
                raise
            # what follows from an audit may be refused like the claims themselves
            raise self._refused("replay", refusal) from None
        self._add(findings)

    def _measure_fidelity(
        self, statement: Statement, bundle: Bundle, programs: tuple[Program, Program], listed: prompts.PromptTable
    ) -> None:
        """The reference program beside `transformers`, on the first of the replayed rows."""
        from blockcert_verifier.steps import fidelity

        if self._located is None or self._audit is None or not self._audit.drawn:
            why = self._missing() if self._located is None else "no rows were replayed"
            self._findings.append(fidelity.not_run(f"{why}; the program was not compared with transformers"))
            return
        tokens = listed.certification()
        sampled = [list(tokens[row]) for row in self._audit.drawn[: fidelity.MOST_ROWS]]
        weights = _weights(bundle, self._located, programs)
        self._fidelity, findings = fidelity.fidelity(statement, programs[0], weights, self._located, sampled)
        self._add(findings)

    def _missing(self) -> str:
        given = self._reference is not None
        return "the reference model's weights are not at hand" if given else "no reference model was given"

    def _fresh_rows(
        self,
        statement: Statement,
        bundle: Bundle,
        programs: tuple[Program, Program],
        listed: prompts.PromptTable,
        certificate: bytes,
    ) -> None:
        choice, seed, located, wanted = self._measuring, self._random(), self._located, self._wanted
        used = [int(number) for number in listed.window]
        sizes = (programs[0].vocabulary, programs[0].context)
        inputs = FreshInputs(statement, same_stages(*programs), certificate, seed, choice.seed is not None, choice.beta)
        if located is None or not (wanted.rows or wanted.own):
            self._fresh, findings = fresh_step(inputs, wanted, self._windows, used, sizes, None)
            self._add(findings)
            return
        from blockcert_verifier.steps.fresh_rows import measurer
        from blockcert_verifier.work import Stopped

        plan = choice.plan(wanted.rows, seed, None, self._ends())
        measure = measurer(
            programs,
            _weights(bundle, located, programs),
            statement.predicate.thresholds,
            plan,
            lambda done, total: self._progress("fresh", done, total),
        )
        try:
            self._fresh, findings = fresh_step(inputs, wanted, self._windows, used, sizes, measure)
        except Stopped:  # before a single row was done
            findings = list[Finding]()
        if measure.ending is not None:
            why = "the time limit was reached" if measure.ending == "time-limit" else "it was interrupted"
            sentence = f"{why} before all fresh prompts that were asked for were measured"
            findings.append(inconclusive("fresh", "fresh.partial", "fresh prompts", sentence))
        self._add(findings)
