"""A replay's state on disk, so that one that ended early goes on where it was: its own file.

Whoever can write this file can write the report; it is trusted like the verifier's own memory.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from blockcert.errors import Refusal
from blockcert_verifier.steps.compare import Outcome
from blockcert_verifier.version import VERSION

__all__ = ["State", "load", "save"]

FORMAT = "blockcert-replay-state-1"


class State(Struct, frozen=True):
    """The rows of one audit that are done: certificate id and seed (32 bytes each), whether the seed was given."""

    certificate: bytes
    seed: Annotated[bytes, Meta(min_length=32, max_length=32)]
    repeatable: bool
    outcomes: tuple[Outcome, ...] = ()
    format: str = FORMAT
    verifier: str = VERSION


_DECODER = msgspec.msgpack.Decoder(State)


def load(path: Path, certificate: bytes, seed: bytes | None) -> State | None:
    """The state in a file, or None where there is no such file yet.

    Raises:
        Refusal: ``resume.unreadable`` for what is no state of this version, ``resume.other`` where it is of another
            certificate, ``resume.seed`` where a seed is given that is not the state's.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as fault:
        raise Refusal("resume.unreadable", str(path), f"the state cannot be read: {fault.strerror}") from None
    try:
        state = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        state = None
    if state is None or (state.format, state.verifier) != (FORMAT, VERSION):
        sentence = "this is no state of a replay by this version; name another file, or remove it to begin anew"
        raise Refusal("resume.unreadable", str(path), sentence)
    if state.certificate != certificate:
        sentence = "this is the state of another certificate's replay; name another file"
        raise Refusal("resume.other", str(path), sentence)
    if seed is not None and seed != state.seed:
        sentence = f"the replay began with the seed {state.seed.hex()}; an audit has one seed: leave out --seed"
        raise Refusal("resume.seed", str(path), sentence)
    return state


def save(path: Path, state: State) -> None:
    """Write the state beside the file and put it in its place, so that an interruption leaves the one before.

    Raises:
        Refusal: ``resume.unwritable``.
    """
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        fresh.write_bytes(msgspec.msgpack.encode(state))
        fresh.replace(path)
    except OSError as fault:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise Refusal("resume.unwritable", str(path), f"the state cannot be written: {fault.strerror}") from None
