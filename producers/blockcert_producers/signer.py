"""An external signer: a command that is given the bytes to sign and gives back the signature.

For keys that live in a hardware module or behind a service. The private key is never seen here; what comes back is
checked against the public key before it is written anywhere.
"""

from __future__ import annotations

import base64
import binascii
import shlex
import subprocess

from blockcert.errors import Refusal
from blockcert.keys import PublicKey

__all__ = ["CommandSigner"]


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
            done = subprocess.run(words, input=message, capture_output=True, timeout=self._seconds, check=False)
        except OSError as error:
            raise self._failed(f"it cannot be run: {error.strerror}") from None
        except subprocess.TimeoutExpired:
            raise self._failed(f"it gave no answer in {self._seconds:g} seconds") from None
        if done.returncode:
            said = " ".join(done.stderr.decode(errors="replace").split())[-200:]
            raise self._failed(f"it ended with exit code {done.returncode}" + (f": {said}" if said else ""))
        found = _signature(done.stdout)
        if found is None:
            raise self._failed("what it printed is not 64 bytes, raw, in base64 or in hexadecimal")
        return found

    def _failed(self, why: str) -> Refusal:
        return Refusal("signer.failed", f"--signer {self._command}", f"{why}; nothing was signed")


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
