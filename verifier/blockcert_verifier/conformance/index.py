"""The index of a conformance corpus: what each case gives a verifier and what it must say.

Normative text: ``spec/14-conformance.md``; schema: ``schemas/conformance-index.schema.json``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

from blockcert import strict_json
from blockcert.errors import Refusal
from blockcert.program import Hash
from blockcert.statement import Time

__all__ = [
    "INDEX",
    "Case",
    "Expected",
    "Index",
    "Inputs",
    "Need",
    "Options",
    "Outcome",
    "OwnLimits",
    "WithoutCase",
    "read_index",
]

INDEX = "index.json"

CaseId: TypeAlias = Annotated[str, Meta(max_length=128, pattern=r"^[a-z][a-z0-9-]*::[a-z0-9][a-z0-9.-]*\Z")]
Code: TypeAlias = Annotated[str, Meta(max_length=128, pattern=r"^[a-z][a-z0-9_]*(\.[a-z0-9_]+)+\Z")]
Requirement: TypeAlias = Annotated[str, Meta(pattern=r"^BC-[A-Z]{3}-[0-9]{2}\Z")]
Sentence: TypeAlias = Annotated[str, Meta(min_length=1, max_length=512)]
Place: TypeAlias = Annotated[str, Meta(min_length=1, max_length=512)]
"""A path relative to the corpus' folder, with forward slashes."""
Rows: TypeAlias = Annotated[int, Meta(ge=0, le=1 << 20)] | Literal["all"]
Need: TypeAlias = Literal["replay", "precision", "corpus", "fresh", "published", "sha256", "prove", "limits"]
"""What a verifier must be able to do, beside the rest, to answer a case."""
Outcome: TypeAlias = Literal["accepted", "rejected", "indeterminate", "refused"]
"""A verdict, or `refused`: the policy or an option is none, and nothing was decided (exit code 2)."""


class _Record(Struct, frozen=True, forbid_unknown_fields=True):
    """Frozen and closed to unknown fields."""


class Inputs(_Record, frozen=True):
    """What a verifier has at hand; null and empty: it has not.

    Where `follows` is given, it is the policy that the verifier holds, and `policy` the signed one that follows it.
    """

    bundle: Place
    policy: Place
    reference: Place | None = None
    corpus: Annotated[tuple[Place, ...], Meta(max_length=16)] = ()
    own: Annotated[tuple[Place, ...], Meta(max_length=16)] = ()
    tokenizer: Place | None = None
    published: Place | None = None
    revocations: Place | None = None
    revocation_state: Place | None = None
    follows: Place | None = None


Most: TypeAlias = Annotated[int, Meta(ge=1, le=strict_json.LARGEST_INTEGER)]


class OwnLimits(_Record, frozen=True):
    """What of the caller's own limits (BC-VER-29) a case sets; what is absent, it leaves to the verifier."""

    bytes: Most | UnsetType = UNSET
    members: Most | UnsetType = UNSET
    depth: Most | UnsetType = UNSET
    seconds: Annotated[int, Meta(ge=0, le=strict_json.LARGEST_INTEGER)] | UnsetType = UNSET
    memory: Most | UnsetType = UNSET


class Options(_Record, frozen=True):
    """The options of `verify` that a case fixes; `seed` is 32 bytes in hexadecimal, null for fresh randomness.

    `limits` is absent where the case sets none.
    """

    at: Time
    replay: Rows = 0
    seed: Hash | None = None
    fresh: Annotated[int, Meta(ge=0, le=4096)] = 0
    all_digests: bool = False
    prove: Annotated[int, Meta(ge=0, le=4096)] = 0
    limits: OwnLimits | UnsetType = UNSET


class Expected(_Record, frozen=True):
    """The verdict, the codes of all failed and inconclusive findings, and some of those that passed or were skipped.

    Where the verdict is `refused`, `codes` is the refusal's one.
    """

    verdict: Outcome
    codes: Annotated[tuple[Code, ...], Meta(max_length=1024)] = ()
    notes: Annotated[tuple[Code, ...], Meta(max_length=1024)] = ()


class Case(_Record, frozen=True):
    """One case. `unbuilt` says why its files are not there, where the machine that built it could not make them."""

    id: CaseId
    tests: Sentence
    requirements: Annotated[tuple[Requirement, ...], Meta(min_length=1, max_length=32)]
    needs: Annotated[tuple[Need, ...], Meta(max_length=8)]
    inputs: Inputs
    options: Options
    expected: Expected
    unbuilt: Sentence | None = None

    @property
    def family(self) -> str:
        """The part of the id before the colons."""
        return self.id.partition("::")[0]


class WithoutCase(_Record, frozen=True):
    """A registered code that no case expects, and why none can.

    `producer`: only making, signing or lifting gives it. `command`: only a command's words or files of its own.
    `guarded`: an earlier check refuses whatever would give it. `machine`: it depends on the machine: permissions,
    memory, packages, time, a race.
    """

    code: Code
    reason: Literal["producer", "command", "guarded", "machine"]
    why: Sentence


class Index(_Record, frozen=True):
    """A whole corpus. Its keys are made from public seeds and must never be trusted."""

    type: Literal["blockcert-conformance-index"]
    version: Literal[1]
    standard: Literal["1.0"]
    cases: Annotated[tuple[Case, ...], Meta(min_length=1, max_length=10_000)]
    codes_without_case: Annotated[tuple[WithoutCase, ...], Meta(max_length=1024)]


def read_index(folder: Path) -> Index:
    """The index of the corpus in a folder.

    Raises:
        Refusal: ``conformance.index`` where there is none, and what the JSON gate refuses.
    """
    path = folder / INDEX
    try:
        data = path.read_bytes()
    except OSError as fault:
        sentence = f"there is no corpus here ({fault.strerror}); build one: blockcert conformance build --out {folder}"
        raise Refusal("conformance.index", str(path), sentence) from None
    return parse_index(data, str(path))


def parse_index(data: bytes, place: str) -> Index:
    """The index in a JSON document.

    Raises:
        Refusal: what the JSON gate refuses, ``conformance.index`` where an id stands twice or a path leaves the folder.
    """
    index = strict_json.decode(data, Index, place)
    seen: set[str] = set()
    for i, case in enumerate(index.cases):
        if case.id in seen:
            raise Refusal("conformance.index", f"{place}: $.cases[{i}].id", f"{case.id} stands twice")
        seen.add(case.id)
        for name in _paths(case.inputs):
            if name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/"):
                sentence = "a path of a case stays inside the corpus' folder"
                raise Refusal("conformance.index", f"{place}: $.cases[{i}].inputs", sentence)
    return index


def _paths(inputs: Inputs) -> tuple[str, ...]:
    optional = (inputs.reference, inputs.tokenizer, inputs.published, inputs.revocations, inputs.revocation_state)
    given = filter(None, (*optional, inputs.follows))
    return (inputs.bundle, inputs.policy, *given, *inputs.corpus, *inputs.own)
