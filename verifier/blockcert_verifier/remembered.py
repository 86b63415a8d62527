"""The caller's revocation list, and the file that remembers the highest one seen (`spec/11-trust.md`, BC-TRU-17)."""

from __future__ import annotations

import os
from pathlib import Path

from blockcert.bundle import flush
from blockcert.errors import Refusal
from blockcert.revocation import RevocationState, SignedList, encode_state, parse_list, parse_state
from blockcert_verifier.steps.revocation import Given

__all__ = ["given_list", "remember"]

MOST_BYTES = 16 << 20


def given_list(path: Path, state: Path | str | None) -> Given:
    """The list in a file, beside the highest one that the file `state` remembers, where there is one.

    Raises:
        Refusal: `file.missing`, `file.unreadable`, and what `blockcert.revocation` refuses.
    """
    seen = None if state is None else _seen(Path(state))
    return Given(parse_list(_read(path), str(path)), str(path), seen)


def _seen(state: Path) -> RevocationState | None:
    """What the file remembers; None where there is none, and where it cannot be read a refusal, never None."""
    try:
        data = _read(state)
    except Refusal as refusal:
        if refusal.code == "file.missing":
            return None
        raise
    return parse_state(data, str(state))


def remember(state: Path, found: SignedList) -> None:
    """Replaces the state by a list that counts, in one step, if it is of a higher number.

    The file is read again: another verification may have seen a higher list meanwhile.

    Raises:
        Refusal: `file.unreadable`, `file.unwritable`, and what `parse_state` refuses.
    """
    seen = _seen(state)
    if seen is not None and seen.number >= found.list.number:
        return
    state = Path(os.path.realpath(state))  # where it is a link, what it names is the memory
    temporary = state.with_name(f".{state.name}.partial-{os.urandom(4).hex()}")
    try:
        try:
            temporary.write_bytes(encode_state(found))
            flush(temporary)
            temporary.replace(state)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as fault:
        sentence = f"the highest revocation list cannot be remembered there: {fault.strerror}"
        raise Refusal("file.unwritable", str(state), sentence) from None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise Refusal("file.missing", str(path), "there is no such file") from None
    except OSError as fault:
        raise Refusal("file.unreadable", str(path), f"it cannot be read: {fault.strerror}") from None
