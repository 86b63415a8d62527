"""An external signer: a command that is given the bytes to sign and gives back the signature.

For keys that live in a hardware module or behind a service. The private key is never seen here; what comes back is
checked against the public key before it is written anywhere.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import shlex
import subprocess
from threading import Thread
from typing import IO, NamedTuple, cast

from blockcert.errors import Refusal
from blockcert.keys import PublicKey

__all__ = ["CommandSigner"]

MOST_BYTES = 1 << 12
"""Most bytes that a command's answer may have."""
_LINGER = 2.0
"""Seconds in which what a command printed must be read when it has ended."""


class CommandSigner:
    """Signs by running ``command``.

    The bytes that are signed (DSSE's pre-authentication encoding) stand on its standard input; on its standard output
    it gives the 64 bytes of the Ed25519 signature, raw, in base64 or in hexadecimal. It is run without a shell.
    """

    def __init__(self, public: PublicKey, command: str, seconds: float = 300.0) -> None:
        self.public = public
        self._command, self._seconds = command, seconds

    def sign(self, message: bytes) -> bytes:
        """The signature of ``message``.

        Raises:
            Refusal: ``signer.failed`` where the command cannot be run, ends with an error, or gives no signature.
        """
        try:
            words = shlex.split(self._command)
        except ValueError as error:
            raise self._failed(f"its words cannot be told apart: {error}") from None
        if not words:
            raise self._failed("it is empty")
        try:
            done = _run(words, message, self._seconds)
        except OSError as error:
            raise self._failed(f"it cannot be run: {error.strerror}") from None
        except subprocess.TimeoutExpired:
            raise self._failed(f"it gave no answer in {self._seconds:g} seconds") from None
        if len(done.output) > MOST_BYTES:
            raise self._failed(f"it printed more than {MOST_BYTES} bytes, and a signature has 64")
        if done.code:
            said = " ".join(done.errors.decode(errors="replace").split())[-200:]
            raise self._failed(f"it ended with exit code {done.code}" + (f": {said}" if said else ""))
        found = _signature(done.output)
        if found is None:
            raise self._failed("what it printed is not 64 bytes, raw, in base64 or in hexadecimal")
        return found

    def _failed(self, why: str) -> Refusal:
        return Refusal("signer.failed", f"--signer {self._command}", f"{why}; nothing was signed")


class _Done(NamedTuple):
    """How a command ended, the first of what it printed, and the last of what it complained of."""

    code: int
    output: bytes
    errors: bytes


def _run(words: list[str], message: bytes, seconds: float) -> _Done:
    """Run a command on ``message``; one that prints more than is taken is ended.

    Raises:
        OSError: where it cannot be run.
        subprocess.TimeoutExpired: where it is not done in time.
    """
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    given, printed, complained = cast("tuple[IO[bytes], ...]", (process.stdin, process.stdout, process.stderr))
    output, errors = bytearray(), bytearray()

    def give() -> None:
        with contextlib.suppress(OSError):  # it may have read enough
            given.write(message)
        with contextlib.suppress(OSError):
            given.close()

    def take() -> None:
        while len(output) <= MOST_BYTES and (piece := os.read(printed.fileno(), MOST_BYTES)):
            output.extend(piece)
        if len(output) > MOST_BYTES:
            process.kill()

    def complain() -> None:
        while piece := os.read(complained.fileno(), MOST_BYTES):
            errors.extend(piece)
            del errors[:-MOST_BYTES]

    threads = [Thread(target=work, daemon=True) for work in (give, take, complain)]
    for thread in threads:
        thread.start()
    try:
        code = process.wait(seconds)
    finally:
        process.kill()
        process.wait()
        for thread in threads:  # a process of its own that it left behind may hold the pipes
            thread.join(_LINGER)
        for stream in (printed, complained):
            stream.close()
    return _Done(code, bytes(output), bytes(errors))


def _signature(output: bytes) -> bytes | None:
    if len(output) == 64:
        return output
    text = b"".join(output.split())
    for read in (lambda: bytes.fromhex(text.decode("ascii")), lambda: base64.b64decode(text, validate=True)):
        try:
            found = read()
        except (ValueError, binascii.Error):
            continue
        if len(found) == 64:
            return found
    return None
