"""Structure: the statement and the programs are what the format says they are.

Two parts, because nothing is parsed before it is authentic: `statement` reads the payload after its signatures hold,
`programs` reads the program documents after their digests do. Rules BC-STM-08 to 14, BC-BND-10, 11, 13.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from itertools import chain

import msgspec
from msgspec import Struct, field

from blockcert import strict_json
from blockcert.appended import is_appended
from blockcert.errors import Refusal
from blockcert.findings import Finding
from blockcert.names import check_names, shown
from blockcert.numbers import parse_decimal
from blockcert.program import Program
from blockcert.statement import MOST_STRATA, PREDICATE_TYPE, PREDICATE_VERSION, STATEMENT_TYPE, Statement
from blockcert.times import parse_time
from blockcert.wellformed import REFERENCE_PREFIX, problems
from blockcert_verifier.steps.outcome import capped, failed, failures, from_refusal, inconclusive, passed

__all__ = ["KNOWN_EXTENSIONS", "NAMES", "TOKENIZER", "program", "programs", "statement"]

PLACE = "statement.dsse.json"
KNOWN_EXTENSIONS: frozenset[str] = frozenset()
"""The extensions that this verifier implements, and so may find named in `critical`."""

TOKENIZER = f"{REFERENCE_PREFIX}tokenizer.json"
MOST_TOKENS_PER_BYTE = 4
"""Tokens have a byte of text at least, but for what a normal form or a leading space adds before they are cut."""

NAMES = {
    "$.predicate.reference.program": "programs/reference.json",
    "$.predicate.surrogate.program": "programs/surrogate.json",
    "$.predicate.prompts.file": "prompts.safetensors",
    "$.predicate.evidence.file": "evidence.safetensors",
}
"""The file names of a version 1.0 predicate (BC-BND-13)."""


class _Version(Struct, frozen=True):
    version: str = ""


class _Outline(Struct, frozen=True):
    """As much of any statement as tells whether this verifier knows its version; a predicate can be anything yet."""

    type_: str = field(name="_type", default="")
    predicate_type: str = field(name="predicateType", default="")
    predicate: msgspec.Raw = msgspec.Raw(b"{}")

    @property
    def version(self) -> str:
        """What the predicate says, empty where it says none."""
        try:
            return msgspec.json.decode(self.predicate, type=_Version).version
        except msgspec.ValidationError:
            return ""


def statement(payload: bytes) -> tuple[Statement | None, list[Finding]]:
    """The statement in `payload` and what is wrong with it; None where it cannot be read or is of a newer version."""
    try:
        outline = strict_json.decode(payload, _Outline, PLACE)
        unknown = _unsupported(outline)
        if unknown is not None:
            return None, [unknown]
        found = strict_json.typed(payload, Statement, PLACE)
        findings = capped(chain(_critical(found), _subjects(found), _fields(found)))
    except Refusal as refusal:
        return None, [from_refusal("structure", refusal)]
    if findings:
        # an extension that must be understood leaves nothing to go on with; a contradiction neither
        return None, findings
    sentence = f"the statement is of version {found.predicate.version} and well formed"
    return found, [passed("structure", "structure.statement", PLACE, sentence)]


def _unsupported(outline: _Outline) -> Finding | None:
    if outline.type_ != STATEMENT_TYPE:
        sentence = f"the payload is not an in-toto Statement v1: its _type is {shown(outline.type_)}"
        return failed("structure", "statement.type", f"{PLACE}: $._type", sentence)
    name = PREDICATE_TYPE.rpartition(":")[0]
    family, _, major = outline.predicate_type.rpartition(":")
    if outline.predicate_type != PREDICATE_TYPE:
        sentence = f"the predicate is of type {shown(outline.predicate_type)}; this verifier reads {PREDICATE_TYPE}"
        place = f"{PLACE}: $.predicateType"
        if family == name and major.startswith("v"):
            return inconclusive("structure", "statement.version_unsupported", place, sentence)
        return failed("structure", "statement.predicate_type", place, sentence)
    version = outline.version
    major, _, minor = version.partition(".")
    known = int(PREDICATE_VERSION.partition(".")[2])
    if major == "1" and minor.isascii() and minor.isdigit() and len(minor) <= 4 and int(minor) > known:
        return inconclusive(
            "structure",
            "statement.version_unsupported",
            f"{PLACE}: $.predicate.version",
            f"the certificate is of version {version}, and this verifier reads {PREDICATE_VERSION}; use a newer one",
        )
    return None


def _critical(found: Statement) -> Iterator[Finding]:
    place = f"{PLACE}: $.predicate.critical"
    critical = found.predicate.critical
    if len(set(critical)) != len(critical) or not set(critical) <= found.predicate.extensions.keys():
        sentence = "critical must name keys of extensions, each once"
        yield failed("structure", "statement.critical", place, sentence)
    for name in critical:
        if name not in KNOWN_EXTENSIONS:
            sentence = f"the certificate depends on the extension {shown(name)}, which this verifier does not know"
            yield inconclusive("structure", "statement.extension_unknown", place, sentence)


def _subjects(found: Statement) -> list[Finding]:
    names = [subject.name for subject in found.subject]
    check_names(names, f"{PLACE}: $.subject")
    findings: list[Finding] = []
    sizes = [file.name for file in found.predicate.files]
    if sorted(sizes) != sorted(names):
        different = sorted(set(sizes) ^ set(names)) or sorted(name for name in sizes if sizes.count(name) > 1)
        sentence = f"files and subject must name the same files, each once; they differ in {different[0]}"
        findings.append(failed("structure", "statement.files", f"{PLACE}: $.predicate.files", sentence))
    for name in names:
        if name == PLACE or is_appended(name):
            sentence = f"a subject is named {shown(name)}, which is kept for what others say of it"
            findings.append(failed("structure", "statement.file_name", f"{PLACE}: $.subject", sentence))
    for path, wanted in NAMES.items():
        if wanted not in names:
            sentence = f"no subject is named {wanted}"
            findings.append(failed("structure", "statement.subject_missing", f"{PLACE}: $.subject", sentence))
        stated = _at(found, path)
        if stated != wanted:
            sentence = f"the file is called {shown(stated)}, and in version 1.0 must be {wanted}"
            findings.append(failed("structure", "statement.file_name", f"{PLACE}: {path}", sentence))
    if f"{REFERENCE_PREFIX}config.json" not in names:
        sentence = f"no subject is named {REFERENCE_PREFIX}config.json, which every reference model has"
        findings.append(failed("structure", "statement.subject_missing", f"{PLACE}: $.subject", sentence))
    if not any(name.startswith(REFERENCE_PREFIX) and name.endswith(".safetensors") for name in names):
        sentence = "no subject is a weight file of the reference model"
        findings.append(failed("structure", "statement.subject_missing", f"{PLACE}: $.subject", sentence))
    copied = any(name.startswith("surrogate/") and name.endswith(".safetensors") for name in names)
    made = "programs/surrogate.safetensors" in names
    if copied != (found.predicate.producer.kind == "compare") or (copied and made):
        sentence = "a compare bundle holds the candidate's weights under surrogate/, an extract bundle none there"
        findings.append(failed("structure", "statement.kind", f"{PLACE}: $.predicate.producer.kind", sentence))
    return findings


def _at(found: Statement, path: str) -> str:
    p = found.predicate
    return {
        "$.predicate.reference.program": p.reference.program,
        "$.predicate.surrogate.program": p.surrogate.program,
        "$.predicate.prompts.file": p.prompts.file,
        "$.predicate.evidence.file": p.evidence.file,
    }[path]


def _fields(found: Statement) -> list[Finding]:
    """What the fields must satisfy together (BC-STM-11, BC-STM-12 but for the program)."""
    p = found.predicate
    findings: list[Finding] = []

    def refuse(code: str, path: str, sentence: str) -> None:
        findings.append(failed("structure", code, f"{PLACE}: $.predicate.{path}", sentence))

    fidelity = p.reference.fidelity
    if fidelity is not None:
        if not 1 <= fidelity.rows <= p.evidence.rows:
            refuse("statement.fidelity", "reference.fidelity.rows", f"{fidelity.rows} of {p.evidence.rows} prompts")
        if not fidelity.against or parse_decimal(fidelity.max_logit_difference) < 0:
            refuse("statement.fidelity", "reference.fidelity", "it names no software, or a difference below 0")
    issued = parse_time(p.issued_at, f"{PLACE}: $.predicate.issued_at")
    if parse_time(p.not_after, f"{PLACE}: $.predicate.not_after") <= issued:
        refuse("statement.times", "not_after", f"it ends at {p.not_after}, not after {p.issued_at}, when it was issued")
    if p.evidence.rows != p.prompts.frame.certification:
        refuse("statement.rows", "evidence.rows", f"{p.evidence.rows} rows for {p.prompts.frame.certification} prompts")
    if p.evidence.attribution_rows > p.evidence.rows:
        refuse("statement.rows", "evidence.attribution_rows", f"more than the {p.evidence.rows} rows")
    if p.claims.enclosures is not None and p.claims.enclosures.rows > p.evidence.rows:
        refuse("statement.rows", "claims.enclosures.rows", f"more than the {p.evidence.rows} rows")
    frame = p.prompts.frame
    if frame.calibration + frame.certification > frame.windows:
        wanted = frame.calibration + frame.certification
        refuse("statement.frame", "prompts.frame", f"{wanted} windows are drawn from {frame.windows}")
    return [*findings, *_lengths(found), *_corpus(found)]


def _lengths(found: Statement) -> Iterator[Finding]:
    """A list with an entry for each stage, threshold, corpus file or predicate has that many (BC-STM-16)."""
    p = found.predicate
    claims, identity = p.claims, p.claims.control.identity
    stages, relative, loss = p.reference.blocks + 2, len(p.thresholds.relative), len(p.thresholds.loss)
    lists: list[tuple[str, Sized | None, int]] = [
        ("surrogate.kept.reference", p.surrogate.kept.reference, stages),
        ("surrogate.kept.surrogate", p.surrogate.kept.surrogate, stages),
        ("claims.stages", claims.stages, stages),
        ("claims.end_to_end.loss_within", claims.end_to_end.loss_within, loss),
        ("claims.control.identity.error", identity.error, stages),
        ("claims.control.identity.relative_error", identity.relative_error, stages),
        ("claims.control.identity.covered", identity.covered, stages),
        ("claims.control.float32_floor.relative_error", claims.control.float32_floor.relative_error, stages),
        *((f"claims.control.identity.covered[{i}]", counts, relative) for i, counts in enumerate(identity.covered)),
    ]
    files, strata, k = len(p.prompts.frame.corpus), claims.population.strata or (), len(claims.population.claims)
    lists.append(("claims.population.strata", strata, files if 2 <= files <= MOST_STRATA else 0))
    for h, stratum in enumerate(strata):
        at = f"claims.population.strata[{h}]"
        lists += [(f"{at}.successes", stratum.successes, k), (f"{at}.at_least", stratum.at_least, k)]
    indices = [(f"claims.stages[{i}]", i, stage.index) for i, stage in enumerate(claims.stages)]
    for i, stage in enumerate(claims.stages):
        at = f"claims.stages[{i}]"
        lists += [(f"{at}.covered", stage.covered, relative), (f"{at}.loss_covered", stage.loss_covered, loss)]
    if claims.enclosures is not None:
        at = "claims.enclosures"
        lists += [
            (f"{at}.stages", claims.enclosures.stages, stages),
            (f"{at}.loss_within", claims.enclosures.loss_within, loss),
        ]
        for i, proven in enumerate(claims.enclosures.stages):
            lists.append((f"{at}.stages[{i}].covered", proven.covered, relative))
            indices.append((f"{at}.stages[{i}]", i, proven.index))
    for at, i, index in indices:
        if index != i:
            place = f"{PLACE}: $.predicate.{at}.index"
            yield failed("structure", "statement.lengths", place, f"this is stage {i}, and it says {index}")
    for path, entries, wanted in lists:
        if entries is not None and len(entries) != wanted:
            sentence = f"there are {len(entries)} entries and must be {wanted}, one for each that it is about"
            yield failed("structure", "statement.lengths", f"{PLACE}: $.predicate.{path}", sentence)


def _corpus(found: Statement) -> list[Finding]:
    """What can be seen of the frame without its corpus (BC-PRM-01, BC-PRM-12)."""
    frame = found.predicate.prompts.frame
    place = f"{PLACE}: $.predicate.prompts.frame"
    findings: list[Finding] = []
    first: dict[str, int] = {}
    for i, file in enumerate(frame.corpus):
        if file.blake3 in first:
            sentence = f"this file has the digest of corpus[{first[file.blake3]}]: its windows would count twice"
            findings.append(failed("structure", "prompts.duplicate", f"{place}.corpus[{i}]", sentence))
        first.setdefault(file.blake3, i)
    taken = frame.length if frame.tokenizer.bos is None else frame.length - 1
    for i, file in enumerate(frame.corpus):
        most = MOST_TOKENS_PER_BYTE * file.size // taken
        if file.windows > most:
            sentence = (
                f"{file.windows} windows of {frame.length} tokens cannot come of {file.size} bytes: at most {most}"
            )
            findings.append(failed("structure", "statement.windows", f"{place}.corpus[{i}].windows", sentence))
    total = sum(file.windows for file in frame.corpus)
    if frame.windows != total:
        sentence = f"the frame has {frame.windows} windows, and its corpus files together {total}"
        findings.append(failed("structure", "statement.windows", f"{place}.windows", sentence))
    signed = {subject.name: subject.digest.blake3 for subject in found.subject}.get(TOKENIZER)
    if signed is not None and signed != frame.tokenizer.blake3:
        sentence = f"the frame's tokenizer is {frame.tokenizer.blake3}, and {TOKENIZER} is {signed}"
        findings.append(failed("structure", "statement.tokenizer", f"{place}.tokenizer.blake3", sentence))
    return findings


def program(data: bytes, place: str, *, reference: bool) -> tuple[Program | None, list[Finding]]:
    """The program document in `data`, where it is well formed, else what is wrong with it."""
    try:
        found = strict_json.decode(data, Program, place)
    except Refusal as refusal:
        return None, [from_refusal("structure", refusal)]
    wrong = problems(found, place, reference=reference)
    return (None if wrong else found), capped(from_refusal("structure", refusal) for refusal in wrong)


def programs(
    statement: Statement, reference: tuple[str, bytes], surrogate: tuple[str, bytes]
) -> tuple[tuple[Program, Program] | None, list[Finding]]:
    """Both programs, given as (file name, content), where each is well formed and both fit the statement."""
    f, first = program(reference[1], reference[0], reference=True)
    g, second = program(surrogate[1], surrogate[0], reference=False)
    findings = [*first, *second]
    if f is None or g is None:
        return None, findings
    findings += [*_weight_files(f, statement, reference[0]), *_weight_files(g, statement, surrogate[0])]
    findings = capped([*findings, *_shapes(f, g, statement, surrogate[0])])
    if failures(findings):
        return None, findings
    sentence = f"both programs are well formed: embedding, {f.blocks} blocks, head"
    return (f, g), [passed("structure", "structure.programs", "programs", sentence)]


def _weight_files(found: Program, statement: Statement, place: str) -> list[Finding]:
    sizes = {file.name: file.size for file in statement.predicate.files}
    digests = {subject.name: subject.digest.blake3 for subject in statement.subject}
    findings: list[Finding] = []
    for i, file in enumerate(found.files):
        at = f"{place}: $.files[{i}]"
        if file.name not in digests:
            sentence = f"the program reads {file.name}, which the statement does not list"
            findings.append(failed("structure", "program.file.unlisted", at, sentence))
        elif (file.size, file.blake3) != (sizes[file.name], digests[file.name]):
            sentence = (
                f"the program means a {file.name} of {file.size} bytes and digest {file.blake3}, the statement one of "
                f"{sizes[file.name]} bytes and digest {digests[file.name]}"
            )
            findings.append(failed("structure", "program.file.mismatch", at, sentence))
    return findings


def _shapes(f: Program, g: Program, statement: Statement, place: str) -> list[Finding]:
    stated = statement.predicate.reference
    pairs: Sequence[tuple[str, str, object, object]] = (
        (PLACE, "$.predicate.reference.blocks", stated.blocks, f.blocks),
        (PLACE, "$.predicate.reference.hidden_size", stated.hidden_size, f.hidden_size),
        (PLACE, "$.predicate.reference.vocabulary", stated.vocabulary, f.vocabulary),
        (PLACE, "$.predicate.reference.architecture", stated.architecture, f.architecture),
        (place, "$.stages", g.blocks, f.blocks),
        (place, "$.hidden_size", g.hidden_size, f.hidden_size),
        (place, "$.vocabulary", g.vocabulary, f.vocabulary),
    )
    findings = [
        failed(
            "structure",
            "program.statement.mismatch",
            f"{file}: {path}",
            f"{value} stands here, and the reference program has {wanted}",
        )
        for file, path, value, wanted in pairs
        if value != wanted
    ]
    length = statement.predicate.prompts.frame.length
    findings += [
        failed(
            "structure",
            "program.context",
            f"{PLACE}: $.predicate.prompts.frame.length",
            f"prompts of {length} tokens do not fit the {side} program's context of {found.context}",
        )
        for side, found in (("reference", f), ("surrogate", g))
        if length > found.context
    ]
    return findings
