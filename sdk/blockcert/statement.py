"""The certificate: an in-toto Statement v1 whose predicate states how far a surrogate drifts from its reference.

The normative text is ``spec/04-statement.md`` and ``spec/08-claims.md``; the JSON Schema is
``schemas/statement.schema.json``. Every number that is not a count is a decimal string.
"""

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta, Struct, field

from blockcert.printable import PRINTABLE
from blockcert.program import Decimal, FileName, Hash, Size

__all__ = [
    "MOST_STRATA",
    "PREDICATE_TYPE",
    "PREDICATE_VERSION",
    "STATEMENT_TYPE",
    "Basis",
    "Claims",
    "CompositionClaim",
    "Control",
    "CorpusFile",
    "Cost",
    "Digests",
    "EnclosedStage",
    "Enclosures",
    "EndToEnd",
    "EvidenceRef",
    "Fidelity",
    "FileSize",
    "Float32Floor",
    "Frame",
    "IdentityControl",
    "Kept",
    "Lipschitz",
    "Population",
    "PopulationClaim",
    "PopulationPredicate",
    "Predicate",
    "Producer",
    "Prompts",
    "Reference",
    "Scope",
    "StageClaim",
    "Statement",
    "Stratum",
    "Subject",
    "Surrogate",
    "Thresholds",
    "Tokenizer",
]

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:blockcert:certificate:v1"
PREDICATE_VERSION = "1.0"
MOST_STRATA = 64
"""Most corpus files that have bounds of their own: the level is divided over all of them."""

Scope: TypeAlias = Literal["all-inputs", "listed-prompts", "population", "stated-points"]
Basis: TypeAlias = Literal["proof", "enclosure", "measurement", "estimate"]
"""From strongest to weakest."""
Time: TypeAlias = Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z")]
Text: TypeAlias = Annotated[str, Meta(max_length=1024, pattern=PRINTABLE)]
Count: TypeAlias = Annotated[int, Meta(ge=0, lt=1 << 53)]
Blocks: TypeAlias = Annotated[int, Meta(ge=1, le=4094)]
StageIndex: TypeAlias = Annotated[int, Meta(ge=0, le=4096)]


class _Record(Struct, frozen=True, forbid_unknown_fields=True):
    """Frozen and closed to unknown fields."""


class Digests(_Record, frozen=True):
    """The two digests of one file, lower-case hexadecimal."""

    sha256: Hash
    blake3: Hash


class Subject(_Record, frozen=True):
    """One artifact, named as in the bundle; ``reference/...`` names stay outside it."""

    name: FileName
    digest: Digests


class FileSize(_Record, frozen=True):
    """The size in bytes of one subject."""

    name: FileName
    size: Size


class Producer(_Record, frozen=True):
    """Which kind of producer made the surrogate, and with which software."""

    kind: Literal["extract", "compare"]
    name: Text
    version: Text


class Fidelity(_Record, frozen=True):
    """Largest logit difference between the lifted program (float64) and ``against`` over ``rows`` prompts.

    An ``estimate`` for whoever does not measure it again: the offline verifier does not run ``against``.
    """

    against: Text
    rows: Count
    max_logit_difference: Decimal
    basis: Literal["estimate"] = "estimate"


class Reference(_Record, frozen=True):
    """The reference: its shape and its lifted program."""

    architecture: Text
    blocks: Blocks
    hidden_size: Count
    vocabulary: Count
    program: FileName
    fidelity: Fidelity | None


class Cost(_Record, frozen=True):
    """What one stage costs: nonzero weights, the bits that store them, multiply-adds on one prompt."""

    parameters: Count
    bits: Count
    multiply_adds: Count


class Kept(_Record, frozen=True):
    """The costs of every stage, reference beside surrogate (``spec/08-claims.md``, "What was kept")."""

    reference: tuple[Cost, ...]
    surrogate: tuple[Cost, ...]


class Surrogate(_Record, frozen=True):
    """The surrogate's program and what it kept; ``note`` is the producer's own words and claims nothing."""

    program: FileName
    kept: Kept
    note: Text = ""


class CorpusFile(_Record, frozen=True):
    """One corpus file by digest, and how many windows it gives; its name is for people."""

    name: Text
    size: Size
    blake3: Hash
    windows: Annotated[int, Meta(ge=0, lt=1 << 48)]


class Tokenizer(_Record, frozen=True):
    """The tokenizer that made the frame's token streams, by the digest of its ``tokenizer.json``."""

    blake3: Hash
    bos: Annotated[int, Meta(ge=0, le=1 << 22)] | None
    """The token that starts each window, or null."""


class Frame(_Record, frozen=True):
    """The finite population of windows and how those listed were drawn (``spec/06-prompts.md``)."""

    corpus: Annotated[tuple[CorpusFile, ...], Meta(min_length=1, max_length=4096)]
    tokenizer: Tokenizer
    length: Annotated[int, Meta(ge=2, le=1 << 20)]
    windows: Annotated[int, Meta(ge=1, lt=1 << 48)]
    seed: Annotated[int, Meta(ge=0, lt=1 << 53)]
    calibration: Annotated[int, Meta(ge=0, le=1 << 20)]
    certification: Annotated[int, Meta(ge=1, le=1 << 20)]


class Prompts(_Record, frozen=True):
    """The listed prompts and their frame."""

    file: FileName
    frame: Frame


class Thresholds(_Record, frozen=True):
    """Thresholds of the counted columns, strictly increasing; ``post_hoc`` where one is outside the spec's list."""

    relative: Annotated[tuple[Decimal, ...], Meta(min_length=1, max_length=16)]
    loss: Annotated[tuple[Decimal, ...], Meta(min_length=1, max_length=16)]
    post_hoc: bool


class EvidenceRef(_Record, frozen=True):
    """The evidence file: one row per certification prompt."""

    file: FileName
    rows: Annotated[int, Meta(ge=1, le=1 << 20)]
    attribution_rows: Annotated[int, Meta(ge=0, le=1 << 20)]


class Lipschitz(_Record, frozen=True):
    """A Lipschitz constant of the surrogate stage and the ground it stands on."""

    constant: Decimal
    scope: Scope
    basis: Basis


class StageClaim(_Record, frozen=True):
    """What is claimed of one stage. ``same_program`` says that both sides are one program here, by construction."""

    index: StageIndex
    same_program: bool
    error: Decimal
    relative_error: Decimal
    relative_update_error: Decimal | None
    tokens: Count
    covered: tuple[Count, ...]
    loss_tokens: Count | None
    loss_covered: tuple[Count, ...] | None
    lipschitz: Lipschitz | None
    scope: Scope
    basis: Basis


class CompositionClaim(_Record, frozen=True):
    """A bound on the drift after the last block, composed from stages, beside what was measured."""

    method: Literal["lipschitz", "telescoping"]
    bound: Decimal
    measured: Decimal
    ratio: Decimal | None
    rows: Count
    vacuous: bool
    scope: Scope
    basis: Basis


class EndToEnd(_Record, frozen=True):
    """Maxima, counts and means over all listed prompts, tokens to logits."""

    drift: Decimal
    relative_drift: Decimal
    logit_difference: Decimal
    tokens: Count
    top1_agree: Count
    decided: Count
    loss_tokens: Count
    loss_reference: Decimal
    loss_surrogate: Decimal
    loss_difference: Decimal
    loss_within: tuple[Count, ...]
    kl_mean: Decimal
    kl_max: Decimal
    scope: Scope
    basis: Basis


class PopulationPredicate(_Record, frozen=True):
    """A property of one prompt: ``covered`` (a share of its tokens within ``threshold`` in every block), ``top1``
    (a share of its positions agree), or ``kl``, ``loss_difference`` (means per position, in nats) or
    ``logit_difference`` at most ``threshold``."""

    kind: Literal["covered", "top1", "kl", "loss_difference", "logit_difference"]
    share: Decimal | None
    threshold: Decimal | None


class PopulationClaim(_Record, frozen=True):
    """At least ``at_least`` of the population's windows satisfy the predicate."""

    predicate: PopulationPredicate
    successes: Count
    at_least: Count
    at_least_share: Decimal


class Stratum(_Record, frozen=True):
    """The population's windows of one corpus file; counts and bounds in the order of the population claims."""

    windows: Count
    trials: Count
    successes: Annotated[tuple[Count, ...], Meta(max_length=32)]
    at_least: Annotated[tuple[Count, ...], Meta(max_length=32)]


class Population(_Record, frozen=True):
    """The population claims, jointly wrong with probability at most ``alpha`` over the draw.

    ``strata`` has bounds for each corpus file, jointly wrong with probability at most ``alpha`` too; it is null for a
    single file and for more than 64.
    """

    windows: Count
    trials: Count
    alpha: Decimal
    claims: Annotated[tuple[PopulationClaim, ...], Meta(max_length=32)]
    strata: Annotated[tuple[Stratum, ...], Meta(min_length=2, max_length=MOST_STRATA)] | None
    scope: Scope
    basis: Basis


class IdentityControl(_Record, frozen=True):
    """What the certificate would say had every block been replaced by the identity."""

    error: tuple[Decimal, ...]
    relative_error: tuple[Decimal, ...]
    covered: tuple[tuple[Count, ...], ...]
    drift: Decimal
    relative_drift: Decimal
    logit_difference: Decimal
    top1_agree: Count
    decided: Count


class Float32Floor(_Record, frozen=True):
    """Largest relative error of plain float32 evaluation, per reference stage: one build's rounding."""

    relative_error: tuple[Decimal, ...]
    basis: Literal["estimate"] = "estimate"


class Control(_Record, frozen=True):
    """What "small" means for this model."""

    identity: IdentityControl
    float32_floor: Float32Floor


class EnclosedStage(_Record, frozen=True):
    """What one stage is proven to be at most, and at how many tokens to be covered at least."""

    index: StageIndex
    error: Decimal
    relative_error: Decimal
    relative_update_error: Decimal | None
    covered: tuple[Count, ...]


class Enclosures(_Record, frozen=True):
    """What the producer proved of the first ``rows`` listed prompts, for the two exact programs: bounds from above, and
    counts from below. ``bits`` is the highest precision that it took."""

    rows: Annotated[int, Meta(ge=1, le=1 << 20)]
    bits: Count
    stages: Annotated[tuple[EnclosedStage, ...], Meta(min_length=3, max_length=4096)]
    drift: Decimal
    relative_drift: Decimal
    logit_difference: Decimal
    tokens: Count
    top1_agree: Count
    decided: Count
    loss_tokens: Count
    loss_within: tuple[Count, ...]
    kl_max: Decimal
    scope: Scope
    basis: Basis


class Claims(_Record, frozen=True, omit_defaults=True):
    """Every claim of a certificate; each is recomputed from the evidence, exactly. ``enclosures`` are optional."""

    stages: Annotated[tuple[StageClaim, ...], Meta(min_length=3, max_length=4096)]
    composition: Annotated[tuple[CompositionClaim, ...], Meta(max_length=8)]
    end_to_end: EndToEnd
    population: Population
    control: Control
    enclosures: Enclosures | None = None


class Predicate(_Record, frozen=True):
    """The certificate proper."""

    version: Annotated[str, Meta(pattern=r"^1\.(0|[1-9][0-9]{0,3})\Z")]
    issued_at: Time
    not_after: Time
    producer: Producer
    files: Annotated[tuple[FileSize, ...], Meta(max_length=4096)]
    reference: Reference
    surrogate: Surrogate
    prompts: Prompts
    thresholds: Thresholds
    evidence: EvidenceRef
    claims: Claims
    supersedes: Hash | None = None
    extensions: dict[str, Any] = field(default_factory=dict[str, Any])
    critical: tuple[str, ...] = ()


class Statement(Struct, frozen=True):
    """The in-toto Statement; unknown outer fields are ignored, as in-toto's own rule has it."""

    type_: Literal["https://in-toto.io/Statement/v1"] = field(name="_type")
    subject: Annotated[tuple[Subject, ...], Meta(min_length=1, max_length=4096)]
    predicate_type: Literal["urn:blockcert:certificate:v1"] = field(name="predicateType")
    predicate: Predicate
