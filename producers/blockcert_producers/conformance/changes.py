"""The words in which cases are written: what to give, what to change, what to put right around it."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from blockcert.bundle import STATEMENT
from blockcert_producers.conformance.draft import EVIDENCE, PROMPTS, Change, Draft, program_name, write_json
from blockcert_producers.conformance.tensors import change_column

__all__ = [
    "DROP",
    "Value",
    "bundle",
    "cell",
    "corpus_given",
    "envelope",
    "envelope_text",
    "evidence",
    "header_text",
    "listed",
    "model",
    "model_given",
    "options",
    "payload_text",
    "policy",
    "policy_text",
    "program",
    "program_text",
    "prompts",
    "replay_required",
    "replayed",
    "state",
    "step",
]

DROP: Final = object()
"""In the place of a value: take the field away."""
SEED = "00" * 32
Text: TypeAlias = Callable[[bytes], bytes]
Value: TypeAlias = Callable[[Any], Any] | object
"""What a field or cell becomes: a value, or what makes it of the old one."""
_PART = re.compile(r"([^.\[\]]+)|\[(-?[0-9]+)\]")


def _put(root: Any, path: str, value: Value) -> None:
    """Set what stands at a path like `a.b[1].c`; a callable gets the old value and returns the new one."""
    keys: list[str | int] = [name or int(number) for name, number in _PART.findall(path)]
    parent = root
    for key in keys[:-1]:
        parent = parent[key]
    last = keys[-1]
    if value is DROP:
        del parent[last]
    else:
        parent[last] = value(parent[last]) if callable(value) else value


# --- what a verifier is given -------------------------------------------------------------------------------


def model_given(draft: Draft) -> None:
    """The verifier has the reference model; no row is replayed."""
    draft.given.add("reference")


def corpus_given(draft: Draft) -> None:
    """The verifier has the corpus, and the tokenizer beside the model."""
    draft.given |= {"reference", "corpus"}


def replayed(draft: Draft) -> None:
    """The verifier has the reference model and replays every row."""
    draft.given.add("reference")
    draft.options |= {"replay": "all", "seed": SEED}


def replay_required(draft: Draft) -> None:
    """The verifier replays every row, and its policy accepts nothing that is not confirmed."""
    replayed(draft)
    draft.policy["require"] = [*draft.policy["require"], "replay"]


def options(**values: Any) -> Change:
    """Options of the protocol: `at`, `replay`, `seed`, `fresh`, `all_digests`, `prove`, `limits`."""
    return lambda draft: draft.options.update(values)


# --- JSON documents -----------------------------------------------------------------------------------------


def state(path: str, value: Value) -> Change:
    """A field of the statement; the path begins below `predicate`, or with `$.` at the statement itself."""
    return lambda draft: _put(draft.statement, path[2:] if path.startswith("$.") else f"predicate.{path}", value)


def policy(path: str, value: Value) -> Change:
    """A field of the trust policy."""
    return lambda draft: _put(draft.policy, path, value)


def program(side: str, path: str, value: Value) -> Change:
    """A field of a side's program; the statement's digest of it is put right, the draw is not."""

    def change(draft: Draft) -> None:
        document = draft.program(side)
        _put(document, path, value)
        draft.set_program(side, document)

    return change


def step(side: str, stage: int, out: str, path: str, value: Value) -> Change:
    """A field of the step that defines `out` in a stage of a side's program."""

    def change(draft: Draft) -> None:
        document = draft.program(side)
        found = next(step for step in document["stages"][stage]["steps"] if step["out"] == out)
        _put(found, path, value)
        draft.set_program(side, document)

    return change


def payload_text(change: Text) -> Change:
    """The payload's bytes changed before they are signed."""

    def apply(draft: Draft) -> None:
        draft.put_digests_right()
        draft.payload = change(write_json(draft.statement))

    return apply


def envelope_text(change: Text) -> Change:
    """The envelope's bytes changed after signing."""

    def apply(draft: Draft) -> None:
        draft.sealed[STATEMENT] = change(draft.sealed[STATEMENT])

    return lambda draft: draft.later(apply)


def envelope(path: str, value: Value) -> Change:
    """A field of the envelope changed after signing."""

    def apply(draft: Draft) -> None:
        document = json.loads(draft.sealed[STATEMENT])
        _put(document, path, value)
        draft.sealed[STATEMENT] = write_json(document)

    return lambda draft: draft.later(apply)


def program_text(side: str, change: Text) -> Change:
    """The bytes of a side's program changed; the statement's digest of it is put right."""
    return bundle(program_name(side), change)


def policy_text(change: Text) -> Change:
    """The policy's bytes changed."""

    def apply(draft: Draft) -> None:
        draft.policy_bytes = change(write_json(draft.policy))

    return apply


# --- files ----------------------------------------------------------------------------------------------------


def bundle(name: str, change: Text, *, signed: bool = True) -> Change:
    """A file of the bundle changed, before it is signed or after."""

    def before(draft: Draft) -> None:
        draft.files[name] = change(draft.files[name])

    def after(draft: Draft) -> None:
        draft.sealed[name] = change(draft.sealed[name])

    return before if signed else lambda draft: draft.later(after)


def model(name: str, change: Text, *, signed: bool = True) -> Change:
    """A file of the reference model changed, before it is signed or after."""

    def apply(draft: Draft) -> None:
        draft.model = {**draft.model, name: change(draft.model[name])}

    return apply if signed else lambda draft: draft.later(apply)


def listed(name: str, data: bytes) -> Change:
    """One more file in the bundle, named by the statement as it must be."""

    def apply(draft: Draft) -> None:
        draft.files[name] = data
        draft.statement["subject"].append({"name": name, "digest": {}})
        draft.predicate["files"].append({"name": name, "size": 0})

    return apply


def header_text(name: str, change: Text) -> Change:
    """The header of a safetensors file of the bundle changed, its length put right."""

    def apply(data: bytes) -> bytes:
        (size,) = struct.unpack("<Q", data[:8])
        text = change(data[8 : 8 + size])
        return struct.pack("<Q", len(text)) + text + data[8 + size :]

    return bundle(name, apply)


# --- cells ----------------------------------------------------------------------------------------------------


def _cells(file: str, column: str, index: Any, value: Value) -> Change:
    def set_(cells: Any) -> None:
        cells[index] = value(cells[index]) if callable(value) else value

    return lambda draft: draft.files.update({file: change_column(draft.files[file], column, set_)})


def evidence(column: str, index: Any, value: Value) -> Change:
    """A cell of the evidence; no claim is put right."""
    return _cells(EVIDENCE, column, index, value)


def prompts(column: str, index: Any, value: Value) -> Change:
    """A cell of the listed prompts."""
    return _cells(PROMPTS, column, index, value)


def cell(file: str, tensor: str, index: Any, value: Value) -> Change:
    """An element of a tensor of the model (`model.safetensors`) or of a file of the bundle."""

    def set_(cells: Any) -> None:
        cells[index] = value(cells[index]) if callable(value) else value

    def apply(draft: Draft) -> None:
        where = draft.model if file in draft.model else draft.files
        where[file] = change_column(where[file], tensor, set_)

    return apply
