"""The caller's revocation list, and the file that remembers the highest one seen (`spec/11-trust.md`, BC-TRU-17)."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from errno import ETIMEDOUT
from pathlib import Path
from time import monotonic, sleep

from blockcert import dsse, rotation
from blockcert.bundle import flush
from blockcert.errors import Refusal
from blockcert.revocation import RevocationState, SignedList, encode_state, parse_list, parse_state
from blockcert.trust import TrustPolicy
from blockcert_verifier.steps.revocation import Given

__all__ = ["given_list", "remember"]

MOST_BYTES = 16 << 20
PATIENCE = 10.0
"""Seconds to wait for another verification that remembers a list in the same folder."""


def given_list(policy: TrustPolicy, path: Path | None, state: Path | None) -> Given | None:
    """The list in a file, beside the highest one that the file `state` remembers; None where neither was named.

    Raises:
        Refusal: `file.missing`, also where `state` is named alone and remembers nothing; `file.unreadable`,
            `revocation.other_state`, and what `blockcert.revocation` refuses.
    """
    seen = None if state is None else _seen(state, policy)
    if path is not None:
        return Given(_list(_read(path), str(path)), str(path), seen)
    if state is None:
        return None
    if seen is None:
        sentence = "no list is remembered there, and none was given; name the list as --revocations FILE too"
        raise Refusal("file.missing", str(state), sentence)
    return Given(None, str(state), seen)


def _list(data: bytes, place: str) -> SignedList:
    """The list in a file; where that is another document of trust, the refusal says which and what it is for."""
    try:
        return parse_list(data, place)
    except Refusal as refusal:
        for mark, what in _OTHERS:
            if mark in data:
                raise Refusal(refusal.code, refusal.place, f"{refusal.sentence} {what}") from None
        raise


_OTHERS = (
    (b'"blockcert-trust-policy"', "This is a trust policy, which is given as --trust."),
    (b'"blockcert-revocation-state"', "This is a revocation state, which is given as --revocation-state."),
    (rotation.PAYLOAD_TYPE.encode(), "This is a signed trust policy: take it with blockcert trust accept."),
    (dsse.PAYLOAD_TYPE.encode(), "This is a certificate or a review, and no revocation list."),
)
"""What a document has in it that was given in the place of a list."""


def _seen(state: Path, policy: TrustPolicy) -> RevocationState | None:
    """What the file remembers of the policy's revokers; None where there is none, and where it cannot be read, or is of
    others, a refusal, never None."""
    try:
        data = _read(state)
    except Refusal as refusal:
        if refusal.code == "file.missing":
            return None
        raise
    found = parse_state(data, str(state))
    if not any(key.public_key in found.revokers and "revoker" in key.roles for key in policy.keys):
        sentence = (
            "this remembers lists of revokers whom the policy does not name; name the state file of this policy, or a "
            "new one if all its revokers have changed"
        )
        raise Refusal("revocation.other_state", str(state), sentence)
    return found


def remember(state: Path, policy: TrustPolicy, found: SignedList, revokers: Sequence[str]) -> None:
    """Replaces the state by a list that counts, which these keys signed, in one step, if it is of a higher number.

    The file is read again: another verification may have seen a higher list meanwhile.

    Raises:
        Refusal: `file.unreadable`, `file.unwritable`, `revocation.other_state`, and what `parse_state` refuses.
    """
    state = Path(os.path.realpath(state))  # where it is a link, what it names is the memory
    temporary = state.with_name(f".{state.name}.partial-{os.urandom(4).hex()}")
    try:
        with _alone(state.parent):
            seen = _seen(state, policy)
            if seen is not None and seen.number >= found.list.number:
                return
            try:
                temporary.write_bytes(encode_state(found, revokers))
                flush(temporary)
                temporary.replace(state)
            finally:
                temporary.unlink(missing_ok=True)
    except OSError as fault:
        sentence = f"the highest revocation list cannot be remembered there: {fault.strerror}"
        raise Refusal("file.unwritable", str(state), sentence) from None


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    """A block in which no other verification writes a state file of this folder, where the system can say so.

    The lock is on the folder itself: nothing is left behind, and it ends with the process that holds it.

    Raises:
        TimeoutError: where another holds it for longer than it takes to write a file.
    """
    if sys.platform == "win32":  # it locks no folders
        yield
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        end = monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if monotonic() >= end:
                    raise TimeoutError(ETIMEDOUT, "another process holds a lock on the folder") from None
                sleep(0.02)
            except OSError:  # a file system without locks
                break
        yield
    finally:
        os.close(descriptor)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except (FileNotFoundError, ValueError):  # a path with a NUL in it names nothing
        raise Refusal("file.missing", str(path), "there is no such file") from None
    except OSError as fault:
        raise Refusal("file.unreadable", str(path), f"it cannot be read: {fault.strerror}") from None
