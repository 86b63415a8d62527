"""Registered codes that no case expects, each with what keeps it from occurring in one."""

from __future__ import annotations

from typing import Literal, TypeAlias

from blockcert_verifier.conformance.index import WithoutCase

__all__ = ["WITHOUT_CASE"]

Reason: TypeAlias = Literal["producer", "command", "guarded", "machine"]


def _of(reason: Reason, why: str, *codes: str) -> tuple[WithoutCase, ...]:
    return tuple(WithoutCase(code, reason, why) for code in codes)


WITHOUT_CASE: tuple[WithoutCase, ...] = (
    *_of("command", "the Lean checker beside a verifier", "lean.failed", "lean.library", "lean.not_found"),
    *_of(
        "producer",
        "lifting a checkpoint",
        "lift.adapter",
        "lift.architecture",
        "lift.config",
        "lift.index",
        "lift.no_config",
        "lift.no_weights",
        "lift.not_finite",
        "lift.option",
        "lift.pickle",
        "lift.tensor",
    ),
    *_of(
        "producer",
        "extracting a surrogate",
        "extract.aim",
        "extract.budget",
        "extract.budgets",
        "extract.calibration",
        "extract.not_finite",
    ),
    *_of("producer", "comparing two checkpoints", "compare.changed", "compare.shape"),
    *_of("producer", "measuring for a certificate", "measure.not_finite", "measure.self_check", "measure.unresolved"),
    *_of(
        "producer",
        "making prompts from text files",
        "prompts.empty",
        "prompts.no_tokenizer",
        "prompts.not_found",
        "prompts.too_few_windows",
        "prompts.tokenizer",
        "prompts.length",
    ),
    *_of("producer", "signing an envelope", "envelope.full", "signature.exists"),
    *_of(
        "command",
        "an option's words",
        "usage.budgets",
        "usage.confidence",
        "usage.fresh",
        "usage.jobs",
        "usage.limit",
        "usage.only",
        "usage.prove",
        "usage.timeout",
        "usage.replay",
        "usage.review",
        "usage.revoke",
        "usage.show",
        "usage.signer",
        "usage.text",
        "usage.time_limit",
        "usage.trust",
        "usage.until",
    ),
    *_of(
        "command",
        "a passphrase",
        "passphrase.empty",
        "passphrase.file",
        "passphrase.mismatch",
        "passphrase.unavailable",
    ),
    *_of(
        "command",
        "a key file",
        "key.algorithm",
        "key.exists",
        "key.format",
        "key.not_encrypted",
        "key.passphrase",
        "key.private_given",
        "key.public.length",
        "key.public_given",
    ),
    *_of("command", "an output", "output.exists", "output.unwritable", "file.unwritable"),
    *_of("command", "the demonstration, or a model's path", "demo.verdict", "path.not_found"),
    *_of(
        "command", "a replay's own state file", "resume.other", "resume.seed", "resume.unreadable", "resume.unwritable"
    ),
    *_of(
        "command",
        "a corpus' index, a verifier's answer or a score",
        "conformance.answer",
        "conformance.score",
        "conformance.index",
        "conformance.implementation",
    ),
    *_of(
        "command",
        "a file that is signed too, or anew",
        "trust.rotation.other",
        "output.changed",
    ),
    *_of("command", "a list that is signed beside the one before it", "revocation.dropped"),
    *_of("command", "a certificate id among a command's words", "certificate.id"),
    *_of("producer", "signing with another program", "signature.not_made", "signer.failed"),
    *_of(
        "command",
        "a limit of the caller's own, which a request does not carry",
        "limit.bytes",
        "limit.depth",
        "limit.members",
        "limit.memory",
        "limit.seconds",
    ),
    *_of("command", "which schema to check against", "schema.invalid", "schema.unknown"),
    *_of(
        "guarded", "the statement's names are fixed, and all of them are in the bundle by then", "bundle.file_missing"
    ),
    *_of("guarded", "the typed decoder refuses the spelling first, as json.type", "number.grammar", "time.grammar"),
    *_of("guarded", "cells are finite by then", "number.not_finite"),
    *_of(
        "guarded", "the statement's own counts are checked first", "draw.count", "statistics.counts", "statistics.level"
    ),
    *_of("guarded", "the claims' own lists and scopes are checked first", "composition.parts", "composition.scope"),
    *_of("guarded", "no numbers are known that are too close to decide", "statistics.work"),
    *_of("guarded", "a program is well formed by then, and its files are at hand", "program.means", "tensor.file"),
    *_of("guarded", "a weight file is a regular file of the signed size by then", "tensor.unreadable"),
    *_of(
        "machine",
        "another package runs the checkpoint",
        "fidelity.larger",
        "fidelity.measured",
        "fidelity.mismatch",
        "fidelity.not_finite",
        "fidelity.not_run",
    ),
    *_of(
        "machine",
        "a package or device that is not there",
        "device.precision",
        "device.unavailable",
        "install.corpus",
        "install.prove",
        "install.produce",
    ),
    *_of("machine", "a file that its owner may not read", "bundle.unreadable", "file.unreadable"),
    *_of("machine", "a file that changes while it is read", "bundle.changed"),
    *_of("machine", "a time limit or an interruption", "replay.partial", "fresh.partial", "proof.partial"),
    *_of("machine", "memory that is exhausted", "replay.row.crashed"),
)
