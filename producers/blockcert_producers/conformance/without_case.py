"""Registered codes that no case expects, each with what keeps it from occurring in one.

A request of the protocol cannot bring a verifier to give one of these codes. Most stand in no module of a verifier; of
those that do, :data:`GIVEN_IN` names every module, so that a code which is given in one place more is looked at again.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from blockcert_verifier.conformance.index import WithoutCase

__all__ = ["GIVEN_IN", "WITHOUT_CASE"]

Reason: TypeAlias = Literal["producer", "command", "guarded", "machine"]

GIVEN_IN: dict[str, tuple[str, ...]] = {}
"""The modules of `blockcert` and `blockcert_verifier` in which a code without a case stands, where there are any."""


def _of(reason: Reason, why: str, codes: str, given_in: str = "") -> tuple[WithoutCase, ...]:
    """An entry for each of the codes, which stand in these modules of a verifier; both are separated by blanks."""
    for code in codes.split():
        GIVEN_IN[code] = tuple(sorted(given_in.split()))
    return tuple(WithoutCase(code, reason, why) for code in codes.split())


_PRODUCERS = (
    *_of(
        "producer",
        "lifting a checkpoint",
        "lift.adapter lift.architecture lift.config lift.index lift.no_config lift.no_weights lift.not_finite "
        "lift.option lift.pickle lift.tensor",
    ),
    *_of(
        "producer",
        "extracting a surrogate",
        "extract.aim extract.budget extract.budgets extract.calibration extract.not_finite",
    ),
    *_of("producer", "comparing two checkpoints", "compare.changed compare.shape"),
    *_of("producer", "measuring for a certificate", "measure.not_finite measure.self_check measure.unresolved"),
    *_of("producer", "drawing prompts for a certificate", "prompts.too_few_windows"),
    *_of("producer", "signing with another program", "signer.failed"),
    *_of("producer", "signing an envelope", "envelope.full signature.exists signature.not_made", "blockcert.dsse"),
)

_COMMANDS = (
    *_of(
        "command",
        "an option's words, which a request does not have",
        "usage.budgets usage.keygen usage.only usage.review usage.revoke usage.signer usage.text usage.timeout "
        "usage.trust",
    ),
    *_of(
        "command",
        "an option's words, which a request does not have",
        "usage.fresh usage.prove usage.replay",
        "blockcert_verifier.cli",
    ),
    *_of("command", "an option's words, which a request does not have", "usage.limit", "blockcert_verifier.limits"),
    *_of("command", "an option's words, which a request does not have", "usage.show", "blockcert_verifier.show"),
    *_of(
        "command",
        "an option of `verify` that a request does not have",
        "usage.time_limit usage.until",
        "blockcert_verifier.choices blockcert_verifier.cli",
    ),
    *_of(
        "command",
        "an option of `verify` that a request does not have",
        "usage.confidence",
        "blockcert_verifier.choices",
    ),
    *_of(
        "command",
        "an option of `verify` that a request does not have",
        "usage.jobs",
        "blockcert_verifier.choices blockcert_verifier.cli blockcert_verifier.work.processes",
    ),
    *_of(
        "command",
        "`--device`, which a request does not have",
        "device.precision device.unavailable",
        "blockcert_verifier.evaluate.backend",
    ),
    *_of(
        "command",
        "`--transformers`, which a request does not have",
        "fidelity.larger fidelity.measured",
        "blockcert_verifier.steps.fidelity",
    ),
    *_of(
        "command",
        "`--transformers`, which a request does not have",
        "fidelity.mismatch fidelity.not_run",
        "blockcert_verifier.fidelity blockcert_verifier.steps.fidelity",
    ),
    *_of(
        "command",
        "`--transformers`, which a request does not have",
        "fidelity.not_finite install.produce",
        "blockcert_verifier.fidelity",
    ),
    *_of(
        "command",
        "`--resume`, which a request does not have",
        "resume.other resume.seed resume.unreadable resume.unwritable",
        "blockcert_verifier.steps.resume",
    ),
    *_of(
        "command",
        "the Lean checker beside a verifier",
        "lean.library lean.not_found",
        "blockcert_verifier.lean.toolchain",
    ),
    *_of(
        "command",
        "the Lean checker beside a verifier",
        "lean.failed",
        "blockcert_verifier.lean.running",
    ),
    *_of(
        "command",
        "the Lean checker beside a verifier",
        "lean.limit",
        "blockcert_verifier.lean.export",
    ),
    *_of(
        "command",
        "a passphrase",
        "passphrase.empty passphrase.file passphrase.mismatch passphrase.unavailable",
    ),
    *_of(
        "command",
        "a key's own file; in a policy or list, keys are 64 digits, and other spellings are refused as json.type",
        "key.algorithm key.exists key.format key.not_encrypted key.passphrase key.private_given key.public.length "
        "key.public_given",
        "blockcert.keys",
    ),
    *_of("command", "an output, and none is written over the protocol", "output.exists", "blockcert.bundle"),
    *_of("producer", "an output that another run is writing", "output.busy"),
    *_of("command", "a front of several bundles, which are verified one by one", "front.malformed"),
    *_of(
        "command",
        "an output, and none is written over the protocol",
        "output.unwritable",
        "blockcert.bundle blockcert_verifier.cli blockcert_verifier.output",
    ),
    *_of(
        "command",
        "a file that is made; a verifier under test writes only to a copy of a state",
        "file.unwritable",
        "blockcert.keys blockcert_verifier.remembered",
    ),
    *_of("command", "the demonstration, or a model's path", "demo.verdict path.not_found"),
    *_of("command", "a corpus' index", "conformance.index", "blockcert_verifier.conformance.index"),
    *_of("command", "a verifier's answer", "conformance.answer", "blockcert_verifier.conformance.messages"),
    *_of("command", "a score", "conformance.score", "blockcert_verifier.conformance.score"),
    *_of(
        "command",
        "the command of a verifier that is scored",
        "conformance.implementation",
        "blockcert_verifier.conformance.implementation",
    ),
    *_of(
        "command",
        "a file that is signed too, or anew, while a command works on it",
        "output.changed",
    ),
    *_of(
        "command",
        "a policy that goes on from another, taken by a command; over the protocol there is one signed policy",
        "trust.rotation.other",
        "blockcert.rotation",
    ),
    *_of("command", "a list that is signed beside the one before it", "revocation.dropped", "blockcert.revocation"),
    *_of("command", "a certificate id among a command's words", "certificate.id", "blockcert.review"),
    *_of("command", "which schema to check against", "schema.invalid schema.unknown", "blockcert.schema_check"),
)

_GUARDED = (
    *_of(
        "guarded",
        "the names of the statement's files are fixed, and all of them are in the bundle by then",
        "bundle.file_missing",
        "blockcert.bundle",
    ),
    *_of(
        "guarded", "the typed decoder refuses the spelling first, as json.type", "number.grammar", "blockcert.numbers"
    ),
    *_of("guarded", "the typed decoder refuses the spelling first, as json.type", "time.grammar", "blockcert.times"),
    *_of(
        "guarded",
        "a cell that is not finite is refused first, as evidence.not_finite",
        "number.not_finite",
        "blockcert.numbers",
    ),
    *_of("guarded", "a frame's counts are compared with its windows first", "draw.count", "blockcert.draw"),
    *_of(
        "guarded",
        "a path of a text is looked at first, and refused as corpus.not_found",
        "prompts.not_found",
        "blockcert_verifier.corpus",
    ),
    *_of(
        "guarded",
        "a tokenizer that cannot be used leaves the corpus unread (frame.unread) or fresh prompts unmeasured "
        "(fresh.not_run)",
        "prompts.no_tokenizer prompts.tokenizer",
        "blockcert_verifier.corpus",
    ),
    *_of(
        "guarded",
        "a frame's length is compared with both programs' contexts first, as program.context",
        "prompts.length",
        "blockcert_verifier.corpus blockcert_verifier.steps.frame",
    ),
    *_of(
        "guarded",
        "the counts of the statement are compared first",
        "statistics.counts",
        "blockcert.statistics.audit blockcert.statistics.binomial blockcert.statistics.disagreement "
        "blockcert.statistics.levels blockcert.statistics.population",
    ),
    *_of(
        "guarded", "a level is compared first, as population.alpha", "statistics.level", "blockcert.statistics.levels"
    ),
    *_of(
        "guarded",
        "no numbers that a statement may have are known to take so much work",
        "statistics.work",
        "blockcert.statistics.binomial blockcert.statistics.disagreement blockcert.statistics.hypergeometric "
        "blockcert.statistics.population blockcert_verifier.lean.verdict",
    ),
    *_of(
        "guarded",
        "the claims' own lists and scopes are checked first",
        "composition.parts composition.scope",
        "blockcert.composition",
    ),
    *_of("guarded", "both programs are well formed by then", "program.means", "blockcert_verifier.evaluate.stage"),
    *_of(
        "guarded",
        "the weight files of both programs are at hand by then",
        "tensor.file",
        "blockcert_verifier.evaluate.weights",
    ),
    *_of(
        "guarded",
        "a weight file is a regular file of the signed size and digest by then",
        "tensor.unreadable",
        "blockcert.safetensors_file",
    ),
)

_MACHINE = (
    *_of(
        "machine",
        "a package that is not there; such a case is skipped",
        "install.corpus",
        "blockcert_verifier.corpus blockcert_verifier.steps.frame blockcert_verifier.steps.fresh",
    ),
    *_of(
        "machine",
        "a package that is not there; such a case is skipped",
        "install.prove",
        "blockcert_verifier.enclose.install",
    ),
    *_of(
        "machine",
        "a file that changes while it is read",
        "bundle.changed",
        "blockcert.bundle blockcert.file_range blockcert.findings blockcert.safetensors_file "
        "blockcert_verifier.evaluate.stored blockcert_verifier.steps.fidelity blockcert_verifier.steps.outcome",
    ),
    *_of("machine", "how much is measured when the time is over", "replay.partial", "blockcert_verifier.steps.replay"),
    *_of("machine", "how much is measured when the time is over", "fresh.partial", "blockcert_verifier.remeasure"),
    *_of(
        "machine",
        "how much is proved when the time is over",
        "proof.partial",
        "blockcert_verifier.remeasure blockcert_verifier.steps.points blockcert_verifier.steps.proof",
    ),
    *_of("machine", "memory that is exhausted", "replay.row.crashed", "blockcert_verifier.steps.judge"),
    *_of("machine", "memory that is exhausted", "machine.memory"),
)

WITHOUT_CASE: tuple[WithoutCase, ...] = (*_PRODUCERS, *_COMMANDS, *_GUARDED, *_MACHINE)
