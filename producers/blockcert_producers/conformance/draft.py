"""A case while it is made: a bundle in memory, the model, the policy and the options, to be changed and then sealed."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

from blockcert.bundle import STATEMENT
from blockcert.digest import blake3_bytes
from blockcert.dsse import PAYLOAD_TYPE, pae
from blockcert.keys import PrivateKey, keyid
from blockcert_producers.conformance.seeds import throwaway_key

__all__ = ["EVIDENCE", "NOW", "PROMPTS", "REFERENCE_PREFIX", "TRUSTED", "Change", "Draft", "program_name", "write_json"]

NOW: Final = "2026-11-22T10:00:00Z"
EVIDENCE, PROMPTS, REFERENCE_PREFIX = "evidence.safetensors", "prompts.safetensors", "reference/"
TRUSTED = throwaway_key("producer")
"""The key that signs, and that the policy trusts, unless a case says otherwise."""


def program_name(side: str) -> str:
    """The name of a side's program in a bundle."""
    return f"programs/{side}.json"


def write_json(value: Any) -> bytes:
    """JSON as a writer emits it: sorted, compact, UTF-8."""
    return msgspec.json.encode(value, order="sorted")


class Draft:
    """One case under way.

    `files` are the bundle's but its statement, `model` the reference's; `corpus`, `own`, `published`, `revocations` and
    `revocation_state` are what a verifier is given beside them, and `given` names what of it the verifier gets.
    `packed` makes one file of the sealed ones; None where the bundle is a folder. `options` are those of the protocol.

    :meth:`seal` signs what stands here; what was put off with :meth:`later` then changes the bundle's final bytes, in
    `sealed`, and what was put off with :meth:`on_disk` the folder into which they were written.
    """

    def __init__(
        self, files: dict[str, bytes], model: dict[str, bytes], corpus: dict[str, bytes], statement: dict[str, Any]
    ) -> None:
        self.files, self.model, self.corpus, self.statement = files, model, corpus, statement
        self.own: dict[str, bytes] = {}
        self.published: bytes | None = None
        self.tokenizer: bytes | None = None
        self.revocations: bytes | None = None
        self.revocation_state: bytes | None = None
        self.named: dict[str, str] = {}
        """What the verifier is told that some inputs are called: names at which nothing is written."""
        self.follows: dict[str, Any] | None = None
        """The policy that the verifier holds, where the case's own is one that follows it."""
        self.packed: Callable[[dict[str, bytes]], bytes] | None = None
        self.signers: list[PrivateKey] = [TRUSTED]
        self.policy: dict[str, Any] = {}
        self.policy_bytes: bytes | None = None
        self.payload: bytes | None = None
        self.options: dict[str, Any] = {"at": NOW, "replay": 0}
        self.given: set[str] = set()
        self.missing: set[str] = set()
        """Inputs that are named and not there: `bundle`, `policy`, `reference`, `corpus`, `follows`."""
        self.sealed: dict[str, bytes] = {}
        self.signed = b""
        """The payload that was signed; known once the draft is sealed."""
        self._later: list[Change] = []
        self._disk: list[Callable[[Path], object]] = []
        self.keep_digests = False
        self.precision: bool | None = None
        """Whether a cell must be decided at higher precision; None where the expected codes say it."""

    def copy(self) -> Draft:
        """The same, to be changed apart."""
        other = copy.copy(self)
        for name in ("files", "model", "corpus", "own", "given", "missing", "_later", "_disk", "signers", "named"):
            setattr(other, name, copy.copy(getattr(self, name)))
        for name in ("statement", "policy", "options"):
            setattr(other, name, copy.deepcopy(getattr(self, name)))
        return other

    # --- parts ----------------------------------------------------------------------------------------------

    @property
    def predicate(self) -> dict[str, Any]:
        """The statement's predicate, to be changed in place."""
        return self.statement["predicate"]

    def program(self, side: str) -> dict[str, Any]:
        """A side's program as a JSON value; put it back with :meth:`set_program`."""
        return json.loads(self.files[program_name(side)])

    def set_program(self, side: str, document: dict[str, Any]) -> None:
        """Another program on this side, its digest in the statement put right when it is sealed."""
        self.files[program_name(side)] = write_json(document)

    def content(self, subject: str) -> bytes | None:
        """What a subject's name stands for."""
        if subject.startswith(REFERENCE_PREFIX):
            return self.model.get(subject.removeprefix(REFERENCE_PREFIX))
        return self.files.get(subject)

    def later(self, change: Change) -> None:
        """Put a change of the final bytes off until they are signed."""
        self._later.append(change)

    def on_disk(self, change: Callable[[Path], object]) -> None:
        """Put a change of the case's folder off until it is written."""
        self._disk.append(change)

    @property
    def needs_file_system(self) -> bool:
        """Whether the case is made of more than files and folders: links, pipes, names that some systems lack."""
        return bool(self._disk)

    # --- sealing --------------------------------------------------------------------------------------------

    def put_digests_right(self) -> None:
        """Size and digests of every subject that is here, as its bytes are now."""
        sizes = {file["name"]: file for file in self.predicate["files"]}
        for subject in self.statement["subject"]:
            data = self.content(subject["name"])
            if data is not None and subject["name"] in sizes:
                subject["digest"] = {"blake3": blake3_bytes(data), "sha256": sha256(data).hexdigest()}
                sizes[subject["name"]]["size"] = len(data)

    def signature(self, key: PrivateKey, payload: bytes, kind: str = PAYLOAD_TYPE) -> dict[str, str]:
        """A key's signature of a payload, as an envelope has it."""
        signature = key.sign(pae(kind, payload))
        return {"keyid": keyid(key.public), "sig": base64.b64encode(signature).decode()}

    def envelope(
        self, payload: bytes, signers: Sequence[PrivateKey] | None = None, kind: str = PAYLOAD_TYPE
    ) -> dict[str, Any]:
        """The envelope of a payload, signed by these, or by every signer of the certificate."""
        return {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": kind,
            "signatures": [
                self.signature(key, payload, kind) for key in (self.signers if signers is None else signers)
            ],
        }

    def seal(self) -> None:
        """Put digests right, sign, and apply what was put off."""
        if not self.keep_digests:
            self.put_digests_right()
        self.signed = self.payload if self.payload is not None else write_json(self.statement)
        self.sealed = {**self.files, STATEMENT: write_json(self.envelope(self.signed))}
        for change in self._later:
            change(self)

    def write(self, folder: Path) -> None:
        """Write the sealed case under `folder`, which is new."""
        folder.mkdir()
        if self.packed is not None:
            (folder / "bundle").write_bytes(self.packed(self.sealed))
        elif "bundle" not in self.missing:
            _write(folder / "bundle", self.sealed)
        if "policy" not in self.missing:
            data = self.policy_bytes if self.policy_bytes is not None else write_json(self.policy)
            (folder / "policy.json").write_bytes(data)
        if "reference" in self.given and "reference" not in self.missing:
            _write(folder / "reference", self.model)
        if "corpus" in self.given and "corpus" not in self.missing:
            _write(folder / "corpus", self.corpus)
        if self.own:
            _write(folder / "own", self.own)
        if self.published is not None:
            (folder / "published.txt").write_bytes(self.published)
        if self.tokenizer is not None:
            (folder / "tokenizer.json").write_bytes(self.tokenizer)
        if self.revocations is not None:
            (folder / "revocations.dsse.json").write_bytes(self.revocations)
        if self.revocation_state is not None:
            (folder / "revocation-state.json").write_bytes(self.revocation_state)
        if self.follows is not None and "follows" not in self.missing:
            (folder / "held-policy.json").write_bytes(write_json(self.follows))
        for change in self._disk:
            change(folder)


Change: TypeAlias = Callable[[Draft], object]


def _write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:  # on a file system that ignores case two names can be one
            file.write(data)
