"""The external signer: what it is given, what it may give back, and what is never believed."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from blockcert.dsse import Envelope, add_signature, pae, parse_envelope
from blockcert.dsse import encode_envelope as encode
from blockcert.errors import Refusal
from blockcert.keys import generate
from blockcert_producers.signer import CommandSigner

KEY = generate()
SIGN = """
import sys, base64
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
found = Ed25519PrivateKey.from_private_bytes(bytes.fromhex({seed!r})).sign(sys.stdin.buffer.read())
{answer}
"""
ANSWERS = {
    "raw": "sys.stdout.buffer.write(found)",
    "base64": "print(base64.b64encode(found).decode())",
    "hexadecimal": "print(found.hex())",
}


def command(tmp_path: Path, code: str) -> str:
    script = tmp_path / "sign it.py"
    script.write_text(code)
    return shlex.join([sys.executable, str(script)])


@pytest.mark.parametrize("form", ANSWERS)
def test_each_form_of_a_signature_is_read(tmp_path: Path, form: str) -> None:
    seed = KEY._seed.hex()  # pyright: ignore[reportPrivateUsage]
    signer = CommandSigner(KEY.public, command(tmp_path, SIGN.format(seed=seed, answer=ANSWERS[form])))
    envelope = add_signature(Envelope(b'{"a":1}'), signer)
    assert parse_envelope(encode(envelope), "e") == add_signature(Envelope(b'{"a":1}'), KEY)
    assert KEY.public.verify(envelope.signatures[0].sig, pae(envelope.payload_type, envelope.payload))


BAD = {
    "ends with an error": ("import sys; sys.exit('the token is locked')", "the token is locked"),
    "prints nothing": ("pass", "not 64 bytes"),
    "prints something else": ("print('ok')", "not 64 bytes"),
    "prints 63 bytes": ("import sys; sys.stdout.buffer.write(b'a' * 63)", "not 64 bytes"),
    "prints without end": (
        "import sys\nsys.stdin.buffer.read()\nwhile True: sys.stdout.buffer.write(b'a' * 65536)",
        "more than 4096 bytes",
    ),
    "complains without end, and fails": (
        "import sys\nfor _ in range(400): sys.stderr.write('a' * 65536)\nsys.exit('the token is locked')",
        "the token is locked",
    ),
    "reads nothing": ("import sys; sys.exit('no token')", "no token"),
    "never answers": ("import time; time.sleep(60)", "no answer in"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_command_that_does_not_sign_is_told(tmp_path: Path, case: str) -> None:
    code, said = BAD[case]
    signer = CommandSigner(KEY.public, command(tmp_path, code), 5.0 if case != "never answers" else 0.5)
    with pytest.raises(Refusal) as refused:
        add_signature(Envelope(b"{}"), signer)
    assert refused.value.code == "signer.failed"
    assert said in refused.value.sentence


@pytest.mark.parametrize("words", ["", "/nowhere/at/all --sign", "'unclosed"])
def test_a_command_that_cannot_be_run_is_told(words: str) -> None:
    with pytest.raises(Refusal) as refused:
        CommandSigner(KEY.public, words).sign(b"m")
    assert refused.value.code == "signer.failed"


def test_a_signature_by_another_key_is_not_put_into_an_envelope(tmp_path: Path) -> None:
    seed = generate()._seed.hex()  # pyright: ignore[reportPrivateUsage]
    signer = CommandSigner(KEY.public, command(tmp_path, SIGN.format(seed=seed, answer=ANSWERS["raw"])))
    with pytest.raises(Refusal) as refused:
        add_signature(Envelope(b"{}"), signer)
    assert refused.value.code == "signature.not_made"
