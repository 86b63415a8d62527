"""Statements that contradict themselves."""

from __future__ import annotations

from typing import Any

from blockcert_producers.conformance.changes import DROP, Value, listed, model_given, options, state
from blockcert_producers.conformance.draft import Change, Draft
from blockcert_producers.conformance.entry import Entry, case, rejected
from blockcert_producers.conformance.repair import renumber

__all__ = ["CASES"]

LENGTHS: dict[str, tuple[str, Value]] = {
    "claims.stages[1].covered": ("Counts of two thresholds where there are three", lambda c: c[:-1]),
    "claims.stages[1].loss_covered": ("Counts of four loss thresholds where there are three", lambda c: [*c, 0]),
    "claims.stages[1].index": ("A stage that says it is another", 2),
    "claims.end_to_end.loss_within": ("No counts end to end", lambda _: []),
    "claims.control.identity.error": ("A control of three stages where there are four", lambda c: c[:-1]),
    "claims.control.identity.covered": ("A control's counts of three stages", lambda c: c[:-1]),
    "claims.control.float32_floor.relative_error": ("A float32 floor of five stages", lambda c: [*c, "0"]),
    "surrogate.kept.surrogate": ("Costs of three stages where there are four", lambda c: c[:-1]),
    "claims.population.strata": ("No bounds of two corpus files", None),
    "claims.population.strata[1].successes": ("Counts of five predicates where there are six", lambda c: c[:-1]),
}


def fidelity(**changes: Any) -> Change:
    stated = {"against": "something", "rows": 1, "max_logit_difference": "0", "basis": "estimate", **changes}
    return state("reference.fidelity", stated)


def leave_out(*names: str) -> Change:
    """Subjects taken away, from the list of sizes too."""

    def apply(draft: Draft) -> None:
        draft.statement["subject"] = [s for s in draft.statement["subject"] if s["name"] not in names]
        draft.predicate["files"] = [f for f in draft.predicate["files"] if f["name"] not in names]

    return apply


def another_tokenizer(draft: Draft) -> None:
    draft.predicate["prompts"]["frame"]["tokenizer"]["blake3"] = "00" * 32


def renamed(draft: Draft) -> None:
    """The evidence under another name everywhere."""
    draft.files["cells.safetensors"] = draft.files.pop("evidence.safetensors")
    for entry in (*draft.statement["subject"], *draft.predicate["files"]):
        if entry["name"] == "evidence.safetensors":
            entry["name"] = "cells.safetensors"
    draft.predicate["evidence"]["file"] = "cells.safetensors"


def blocks(number: int) -> Change:
    """A number of blocks that is not the program's, with lists of stages to go with it."""

    def apply(draft: Draft) -> None:
        p = draft.predicate
        p["reference"]["blocks"] = number
        claims = p["claims"]
        claims["stages"] = [claims["stages"][0], *[claims["stages"][1]] * number, claims["stages"][-1]]
        claims["stages"] = [{**stage, "index": i} for i, stage in enumerate(claims["stages"])]
        for side in ("reference", "surrogate"):
            kept = p["surrogate"]["kept"][side]
            p["surrogate"]["kept"][side] = [kept[0], *[kept[1]] * number, kept[-1]]
        identity = claims["control"]["identity"]
        for name in ("error", "relative_error", "covered"):
            identity[name] = [identity[name][0], *[identity[name][1]] * number, identity[name][-1]]
        floor = claims["control"]["float32_floor"]
        floor["relative_error"] = [floor["relative_error"][0]] * (number + 2)

    return apply


def _lengths() -> tuple[Entry, ...]:
    return tuple(
        case(
            f"statement::length-{path.split('.', 1)[1].replace('[', '-').replace(']', '').replace('_', '-')}",
            tests,
            "BC-STM-16",
            rejected("statement.lengths"),
            state(path, value),
        )
        for path, (tests, value) in LENGTHS.items()
    )


CASES = (
    *_lengths(),
    case(
        "statement::rows-of-another-number",
        "Another number of rows than prompts",
        "BC-STM-12",
        rejected("statement.rows"),
        state("evidence.rows", 5),
    ),
    case(
        "statement::attribution-of-more-rows",
        "Attribution of more rows than there are",
        "BC-STM-12",
        rejected("statement.rows"),
        state("evidence.attribution_rows", 7),
    ),
    case(
        "statement::fidelity-on-no-row",
        "Fidelity over no prompt",
        "BC-STM-13",
        rejected("statement.fidelity"),
        fidelity(rows=0),
    ),
    case(
        "statement::fidelity-on-too-many-rows",
        "Fidelity over more prompts than are listed",
        "BC-STM-13",
        rejected("statement.fidelity"),
        fidelity(rows=7),
    ),
    case(
        "statement::fidelity-below-zero",
        "A difference below 0",
        "BC-STM-13",
        rejected("statement.fidelity"),
        fidelity(max_logit_difference="-1"),
    ),
    case(
        "statement::fidelity-to-nothing",
        "Fidelity to no software",
        "BC-STM-13",
        rejected("statement.fidelity"),
        fidelity(against=""),
    ),
    case(
        "statement::fidelity-a-proof",
        "Fidelity of another basis than estimate",
        "BC-STM-13",
        rejected("json.type"),
        fidelity(basis="proof"),
    ),
    case(
        "statement::kind",
        "An extract bundle that says it is a copy",
        "BC-BND-05",
        rejected("statement.kind"),
        state("producer.kind", "compare"),
    ),
    case(
        "statement::kind-of-a-copy",
        "A copy that says it is extracted",
        "BC-BND-05",
        rejected("statement.kind"),
        state("producer.kind", "extract"),
        base="copy",
    ),
    case(
        "statement::candidate-and-surrogate",
        "A copy with weights of a surrogate too",
        "BC-BND-05",
        rejected("statement.kind"),
        listed("programs/surrogate.safetensors", b"\x02\0\0\0\0\0\0\0{}"),
        base="copy",
    ),
    case(
        "statement::file-of-another-name",
        "The evidence under another name",
        "BC-BND-13",
        rejected("statement.file_name statement.subject_missing"),
        renamed,
    ),
    case(
        "statement::subject-beside-the-certificate",
        "A subject whose name is kept for reviews",
        "BC-BND-10 BC-TRU-20",
        rejected("statement.file_name"),
        listed("appended/a.dsse.json", b"{}"),
    ),
    case(
        "statement::subject-named-as-a-report-beside-it",
        "A subject whose name is kept for reports",
        "BC-BND-10 BC-TRU-28",
        rejected("statement.file_name"),
        listed("appended/a.report.json", b"{}"),
    ),
    case(
        "statement::no-config",
        "No config.json among the subjects",
        "BC-BND-10",
        rejected("statement.subject_missing"),
        leave_out("reference/config.json"),
    ),
    case(
        "statement::no-weights",
        "No weights of the reference among the subjects",
        "BC-BND-10",
        rejected("statement.subject_missing"),
        leave_out("reference/model.safetensors"),
    ),
    case(
        "statement::no-evidence",
        "No evidence among the subjects",
        "BC-BND-10",
        rejected("statement.subject_missing"),
        leave_out("evidence.safetensors"),
    ),
    case(
        "statement::tokenizer-left-out",
        "The tokenizer that the frame names is not a subject, and the model has it",
        "BC-BND-10",
        rejected("statement.subject_missing"),
        leave_out("reference/tokenizer.json"),
        model_given,
        options(replay=0),
    ),
    case(
        "statement::sizes-of-other-files",
        "Sizes of other files than the subjects",
        "BC-BND-11",
        rejected("statement.files"),
        state("files", lambda f: f[1:]),
    ),
    case(
        "statement::size-twice",
        "A size stated twice",
        "BC-BND-11",
        rejected("statement.files"),
        state("files", lambda f: [*f, f[0]]),
    ),
    case(
        "statement::more-prompts-than-windows",
        "More prompts than windows",
        "BC-PRM-01",
        rejected("statement.frame"),
        state("prompts.frame.calibration", 35),
    ),
    case(
        "statement::a-window-too-many",
        "A window that no corpus file has",
        "BC-PRM-12",
        rejected("statement.windows"),
        state("prompts.frame.windows", 41),
        renumber,
    ),
    case(
        "statement::more-windows-than-bytes",
        "More windows than so many bytes can hold",
        "BC-PRM-12",
        rejected("statement.windows"),
        state("prompts.frame.corpus[1].windows", 10**6),
        state("prompts.frame.windows", 10**6 + 24),
        renumber,
    ),
    case(
        "statement::a-text-twice",
        "One corpus file twice",
        "BC-PRM-01",
        rejected("prompts.duplicate"),
        lambda d: d.predicate["prompts"]["frame"]["corpus"][1].update(
            blake3=d.predicate["prompts"]["frame"]["corpus"][0]["blake3"]
        ),
        renumber,
    ),
    case(
        "statement::another-tokenizer",
        "Another tokenizer than the model's",
        "BC-PRM-01",
        rejected("statement.tokenizer"),
        another_tokenizer,
        renumber,
    ),
    case(
        "statement::other-blocks",
        "Another number of blocks than the program's",
        "BC-STM-12",
        rejected("program.statement.mismatch"),
        blocks(3),
    ),
    case(
        "statement::other-width",
        "Another hidden size than the program's",
        "BC-STM-12",
        rejected("program.statement.mismatch"),
        state("reference.hidden_size", 16),
    ),
    case(
        "statement::other-vocabulary",
        "Another vocabulary than the program's",
        "BC-STM-12",
        rejected("program.statement.mismatch"),
        state("reference.vocabulary", 12),
    ),
    case(
        "statement::other-architecture",
        "Another architecture than the program's",
        "BC-STM-12",
        rejected("program.statement.mismatch"),
        state("reference.architecture", "gpt2"),
    ),
    case(
        "statement::prompts-longer-than-context",
        "Prompts longer than the context",
        "BC-PRG-05",
        rejected("program.context"),
        state("prompts.frame.length", 33),
        state("prompts.frame.corpus", lambda c: [{**f, "windows": 5} for f in c]),
        state("prompts.frame.windows", 10),
    ),
    case("statement::one-block-less", "No block at all", "BC-PRG-02", rejected("json.type"), blocks(0)),
    case(
        "statement::length-of-one",
        "Windows of one token",
        "BC-PRM-01",
        rejected("json.type"),
        state("prompts.frame.length", 1),
    ),
    case(
        "statement::supersedes-with-prefix",
        "A superseded id that is not the digest part alone",
        "BC-STM-08 BC-STM-06",
        rejected("json.type"),
        state("supersedes", "blake3:" + "00" * 32),
    ),
    case(
        "statement::post-hoc-missing",
        "Thresholds are not said to be chosen beforehand or after",
        "BC-STM-11",
        rejected("json.type"),
        state("thresholds.post_hoc", DROP),
    ),
)
