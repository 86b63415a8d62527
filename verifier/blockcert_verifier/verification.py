"""`verify`: a bundle, a policy and options in, a report out. The order of the steps is in `run`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Literal

from blockcert.digest import digest_files
from blockcert.errors import Refusal
from blockcert.trust import MOST_BYTES, TrustPolicy, parse_policy
from blockcert_verifier.assemble import assemble
from blockcert_verifier.choices import Measuring, beta
from blockcert_verifier.limits import DEFAULT, Limits
from blockcert_verifier.published import read_published
from blockcert_verifier.remembered import given_list, remember
from blockcert_verifier.report import Report
from blockcert_verifier.run import Progress, Run
from blockcert_verifier.steps.frame import Corpus

if TYPE_CHECKING:
    from blockcert_verifier.work import Estimate

__all__ = ["Progress", "read_policy", "read_signed", "verify"]


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
    prove: int = 0,
    prove_stages: int = 0,
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
    limits: Limits = DEFAULT,
    all_digests: bool = False,
    revocations: Path | str | None = None,
    revocation_state: Path | str | None = None,
    progress: Progress | None = None,
) -> Report:
    """The report on a bundle: a verdict, what was checked, what was not, and why.

    Nothing is printed and nothing is fetched. Whatever is wrong with the bundle is a finding in the report.

    Args:
        bundle: the bundle, a folder or the file into which it is packed.
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
        prove: how many rows to enclose in exact arithmetic, drawn by the seed, every other one of those that the
            certificate encloses; needs `reference` and the package `python-flint` (`blockcert[prove]`).
        prove_stages: at how many rows' float64 activations to enclose every stage alone, for models that are too large
            for `prove`: no trajectory, scope `stated-points`; needs `reference`.
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
        limits: most that the verification may take; exceeding one is a finding and leaves the verdict open.
        all_digests: compare SHA-256 digests too.
        revocations: a signed revocation list of the policy's revokers.
        revocation_state: a file of the caller's own that remembers the highest list seen, and whose it was; made where
            there is none. Without `revocations`, what it remembers leaves the verdict open.
        progress: called as the work advances, by one thread at a time but not always by the caller's.

    Raises:
        Refusal: a wrong path (`bundle.not_found`, `bundle.no_statement`, `reference.not_found`, `corpus.not_found`
            ...), a policy that is none, an own text that is empty or not UTF-8 (`prompts.empty`, `prompts.not_utf8`),
            a revocation state of other revokers (`revocation.other_state`),
            or a package that is missing (`install.corpus`). Nothing else that is wrong with a bundle is raised.
        ValueError: a seed that is not 32 bytes, a negative number of rows, a time without a zone.
    """
    now = datetime.now(UTC) if at is None else at
    fewest = min(fresh, prove, prove_stages, 0 if replay == "all" else replay)
    if now.tzinfo is None or (seed is not None and len(seed) != 32) or fewest < 0:
        raise ValueError("the time must be aware, the seed 32 bytes long, and the number of rows not negative")
    trust = policy if isinstance(policy, TrustPolicy) else read_policy(policy)
    if transformers:
        from blockcert_verifier.fidelity import require_transformers

        require_transformers()  # a missing package is said before any work
    if prove:
        from blockcert_verifier.enclose.install import require_flint

        require_flint()
    state_file = None if revocation_state is None else Path(revocation_state)
    run = Run(
        trust=trust,
        now=now,
        reference=_folder(reference),
        published={} if published is None else read_published(Path(published)),
        corpus=Corpus(tuple(map(_file, corpus)), None if tokenizer is None else _file(tokenizer)),
        own=tuple(_text(path) for path in own),
        fresh=fresh,
        transformers=transformers,
        prove=prove,
        prove_stages=prove_stages,
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
            memory=limits.most_memory(),
        ),
        limits=limits,
        digests=lambda sources, progress: digest_files(sources, all_digests, progress),
        progress=progress or (lambda _step, _done, _total: None),
        revocations=given_list(trust, None if revocations is None else Path(revocations), state_file),
        remember=None if state_file is None else partial(remember, state_file, trust),
    )
    seen = run.all(Path(bundle))
    digests = () if seen.certificate_id is None else ("blake3", "sha256") if all_digests else ("blake3",)
    return assemble(trust, now, seen, digests, time_given=at is not None)


def read_policy(policy: bytes | Path | str) -> TrustPolicy:
    """The trust policy in a document, or in the file at a path; refuses as `blockcert.trust.parse_policy`."""
    if isinstance(policy, bytes):
        return parse_policy(policy, "policy")
    path = Path(policy)
    data = read_signed(path)
    if data.startswith(b"blockcert-ed25519 "):
        sentence = f"this is a public key; make a policy that trusts it: blockcert trust new --producer {path.name}"
        raise Refusal("trust.key_given", str(path), sentence)
    if b"PRIVATE KEY-----" in data[:64]:
        sentence = "this is a private key; make a policy that trusts the public one, NAME.pub: blockcert trust new"
        raise Refusal("trust.key_given", str(path), sentence)
    try:
        return parse_policy(data, str(path))
    except Refusal as refusal:
        if (other := _not_a_policy(data)) is None:
            raise
        raise Refusal(refusal.code, refusal.place, f"{refusal.sentence} {other}") from None


def read_signed(path: Path) -> bytes:
    """The bytes of a policy, or of a signed one; refuses `trust.not_found` and `trust.unreadable`."""
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)  # what is longer is refused by its length
    except (FileNotFoundError, ValueError):  # a path with a NUL in it names nothing
        sentence = "there is no such file; make a policy with: blockcert trust new --producer KEY.pub --out trust.json"
        raise Refusal("trust.not_found", str(path), sentence) from None
    except OSError as fault:
        raise Refusal("trust.unreadable", str(path), f"the policy cannot be read: {fault.strerror}") from None


def _not_a_policy(data: bytes) -> str | None:
    """What an envelope is, that was given in the place of a policy; None for anything else."""
    from blockcert import dsse, revocation, rotation

    for payload_type, what in (
        (
            rotation.PAYLOAD_TYPE,
            "This is a signed policy: take it with blockcert trust accept, and give what that writes.",
        ),
        (revocation.PAYLOAD_TYPE, "This is a revocation list, which is given as --revocations."),
        (dsse.PAYLOAD_TYPE, "This is a certificate or a review, and no policy."),
    ):
        if payload_type.encode() in data:
            try:
                dsse.parse_envelope(data, "policy", payload_type)
            except Refusal:
                continue
            return what
    return None


def _folder(reference: Path | str | None) -> Path | None:
    if reference is None:
        return None
    folder = Path(reference)
    try:
        found, what = folder.is_dir(), "there is no such folder"
    except OSError as fault:  # a name that no file system has
        found, what = False, f"this path cannot be used: {fault.strerror}"
    if not found:
        raise Refusal("reference.not_found", str(folder), f"{what}; --reference names the folder of the original model")
    return folder


def _file(path: Path | str) -> Path:
    try:
        found = Path(path).is_file()
        what = "this is not a file" if Path(path).exists() else "there is no such file"
    except OSError as fault:
        found, what = False, f"this path cannot be used: {fault.strerror}"
    if not found:
        raise Refusal("corpus.not_found", str(path), f"{what}; the corpus and its tokenizer are given as files")
    return Path(path)


def _text(path: Path | str) -> Path:
    from blockcert_verifier.corpus import check_text

    check_text(_file(path))  # a caller's own mistake is said before any work
    return Path(path)
