"""Ed25519 keys: making, storing, reading and naming them.

Private keys are stored as encrypted PKCS8 PEM. A public key file is one line,
``blockcert-ed25519 <base64 of 32 bytes> <name>``. Signatures are RFC 8032's; the arithmetic is OpenSSL's,
by way of ``cryptography``, which is imported where it is used so that commands without keys do not pay for
it.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from blake3 import blake3

from blockcert.errors import Refusal

__all__ = [
    "NamedKey",
    "PrivateKey",
    "PublicKey",
    "Signs",
    "check_key_name",
    "fingerprint",
    "format_public",
    "generate",
    "keyid",
    "load_private",
    "load_public",
    "load_spki",
    "parse_private",
    "parse_public",
    "parse_spki",
    "public_from_hex",
    "save_private",
    "save_public",
]

FIELD = (1 << 255) - 19
_CURVE_D = -121665 * pow(121666, -1, FIELD) % FIELD
_ORDER_8_Y = 2707385501144840649318225287225658788936804267575313519463743609750303402022

SMALL_ORDER_Y = frozenset({0, 1, FIELD - 1, _ORDER_8_Y, FIELD - _ORDER_8_Y})
"""The ``y`` of the eight points whose order divides 8; with either sign of ``x`` they give every encoding."""

PUBLIC_TAG = "blockcert-ed25519"
_FINGERPRINT_LABEL = b"blockcert:v1:fingerprint\x00"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
_LARGEST_FILE = 1 << 16


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An Ed25519 public key: the 32 bytes of RFC 8032, checked to be a point that can be trusted.

    Raises:
        Refusal: ``key.public.length``, ``key.public.not_canonical``, ``key.public.small_order``,
            ``key.public.not_on_curve``.
    """

    raw: bytes

    def __post_init__(self) -> None:
        _check_point(self.raw)

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Whether ``signature`` is this key's Ed25519 signature of ``message``."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """An Ed25519 private key. Its representation shows the public side only."""

    public: PublicKey
    _seed: bytes = field(repr=False)

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of the Ed25519 signature of ``message``; deterministic."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(self._seed).sign(message)


class Signs(Protocol):
    """What can sign: a private key, or whoever holds one elsewhere."""

    @property
    def public(self) -> PublicKey:
        """The public key under which its signatures hold."""
        ...

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of the Ed25519 signature of ``message``."""
        ...


class NamedKey(NamedTuple):
    """A public key and the name it goes by in its file."""

    name: str
    key: PublicKey


def _check_point(raw: bytes) -> None:
    place = "public key"
    if len(raw) != 32:
        raise Refusal("key.public.length", place, f"An Ed25519 public key has 32 bytes; this one has {len(raw)}.")
    y = int.from_bytes(raw, "little") & ((1 << 255) - 1)
    if y % FIELD in SMALL_ORDER_Y:
        raise Refusal(
            "key.public.small_order",
            place,
            "This public key is one of the few points under which one signature can fit several messages.",
        )
    if y >= FIELD:
        raise Refusal(
            "key.public.not_canonical",
            place,
            "This public key is a second spelling of another one; only the canonical encoding is taken.",
        )
    # -x^2 + y^2 = 1 + d x^2 y^2 has a solution x exactly if this quotient is a square (Euler's criterion)
    quotient = (y * y - 1) * pow(_CURVE_D * y * y + 1, -1, FIELD) % FIELD
    if pow(quotient, (FIELD - 1) // 2, FIELD) != 1:
        raise Refusal("key.public.not_on_curve", place, "These 32 bytes are not a point of the Ed25519 curve.")


def keyid(key: PublicKey) -> str:
    """The key id: BLAKE3 of the 32 raw bytes, in hexadecimal. A hint, never a ground for trust."""
    return blake3(key.raw).hexdigest()


def fingerprint(key: PublicKey) -> str:
    """A name for reading out: eight groups of four base32 digits (160 bits), for instance over a telephone.

    BLAKE3 of ``blockcert:v1:fingerprint``, a zero byte and the 32 raw bytes, cut to 20 bytes, in the
    alphabet of RFC 4648, which has no digit that looks like a letter.
    """
    digest = blake3(_FINGERPRINT_LABEL + key.raw).digest(length=20)
    text = base64.b32encode(digest).decode("ascii")
    return "-".join(text[i : i + 4] for i in range(0, 32, 4))


def generate() -> PrivateKey:
    """A new private key from the operating system's randomness."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return _private(Ed25519PrivateKey.generate().private_bytes_raw())


def _private(seed: bytes) -> PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return PrivateKey(PublicKey(public), seed)


def check_key_name(name: str, place: str) -> None:
    """Refuse (``key.name``) a name not of 1 to 64 ``A-Z a-z 0-9 . _ @ + -``, first a letter or digit."""
    if not _NAME.fullmatch(name):
        raise Refusal(
            "key.name",
            place,
            "A key's name has 1 to 64 characters of A-Z a-z 0-9 . _ @ + - and begins with a letter or digit.",
        )


# --- public key files ---------------------------------------------------------------------------------------


def format_public(key: PublicKey, name: str) -> str:
    """The line of a public key file, its newline included."""
    check_key_name(name, "public key")
    return f"{PUBLIC_TAG} {base64.b64encode(key.raw).decode('ascii')} {name}\n"


def parse_public(data: bytes, place: str) -> NamedKey:
    """The key and name in a public key file.

    Raises:
        Refusal: ``key.private_given`` for a private key, ``key.algorithm`` for another algorithm,
        ``key.format``
            for anything else that is not one line of the format, and what :class:`PublicKey` refuses.
    """
    if b"PRIVATE KEY-----" in data:
        raise Refusal(
            "key.private_given", place, "This is a private key; give the public one, whose name ends in .pub."
        )
    try:
        fields = data.decode("ascii").rstrip("\r\n").split(" ")  # editors leave blank lines behind
    except UnicodeDecodeError:
        fields = []
    tag = fields[0] if fields else ""
    if tag != PUBLIC_TAG and (tag.startswith(("blockcert-", "ssh-", "ecdsa-")) or b"PUBLIC KEY-----" in data):
        sentence = f"This key is not in BlockCert's Ed25519 form, '{PUBLIC_TAG} BASE64 NAME'."
        if b"-----BEGIN PUBLIC KEY-----" in data:
            sentence += " Make one of it: blockcert keygen NAME --public-from FILE."
        raise Refusal("key.algorithm", place, sentence)
    if tag != PUBLIC_TAG or len(fields) != 3:
        raise Refusal(
            "key.format",
            place,
            f"A public key file is the one line '{PUBLIC_TAG} BASE64 NAME', and this is not.",
        )
    try:
        raw = base64.b64decode(fields[1], validate=True)
    except binascii.Error:
        raw = b""
    if base64.b64encode(raw).decode("ascii") != fields[1]:
        raise Refusal("key.format", place, "The key's second field is not standard base64.")
    check_key_name(fields[2], place)
    return NamedKey(fields[2], _public(raw, place))


def public_from_hex(text: str, place: str) -> PublicKey:
    """The public key written as 64 lower-case hexadecimal digits; refuses ``key.format`` and bad points."""
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise Refusal("key.format", place, "A public key is written as 64 lower-case hexadecimal digits.")
    return _public(bytes.fromhex(text), place)


def _public(raw: bytes, place: str) -> PublicKey:
    try:
        return PublicKey(raw)
    except Refusal as refusal:
        raise Refusal(refusal.code, place, refusal.sentence) from None


def load_public(path: str | Path) -> NamedKey:
    """The key and name in the public key file at ``path``; refuses as :func:`parse_public`."""
    return parse_public(_read(Path(path)), str(path))


def parse_spki(data: bytes, place: str) -> PublicKey:
    """The Ed25519 key in a SubjectPublicKeyInfo (RFC 8410), PEM or DER, as OpenSSL and hardware modules write it.

    Raises:
        Refusal: ``key.private_given`` for a private key, ``key.algorithm`` for a key of another algorithm,
            ``key.format`` for what is none, and what :class:`PublicKey` refuses.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

    if b"PRIVATE KEY-----" in data:
        sentence = "This is a private key; write the public one first: openssl pkey -in KEY -pubout"
        raise Refusal("key.private_given", place, sentence)
    try:
        key = load_pem_public_key(data) if b"-----BEGIN" in data else load_der_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        sentence = "This is not a public key in PEM or DER (SubjectPublicKeyInfo); openssl pkey -pubout writes one."
        raise Refusal("key.format", place, sentence) from None
    if not isinstance(key, Ed25519PublicKey):
        raise Refusal("key.algorithm", place, "This public key is not an Ed25519 key, and certificates take no other.")
    return _public(key.public_bytes_raw(), place)


def load_spki(path: str | Path) -> PublicKey:
    """The public key in the file at ``path``; refuses as :func:`parse_spki`."""
    return parse_spki(_read(Path(path)), str(path))


def save_public(path: str | Path, key: PublicKey, name: str) -> None:
    """Write a public key file; refuses (``key.exists``) to overwrite."""
    _create(Path(path), format_public(key, name).encode("ascii"), 0o644)


# --- private key files --------------------------------------------------------------------------------------


def save_private(path: str | Path, key: PrivateKey, passphrase: bytes) -> None:
    """Write ``key`` as encrypted PKCS8 PEM, readable by its owner only.

    Raises:
        Refusal: ``key.passphrase`` for an empty passphrase, ``key.exists`` where there is a file already.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if not passphrase:
        raise Refusal("key.passphrase", str(path), "A private key needs a passphrase that is not empty.")
    seed = key._seed  # pyright: ignore[reportPrivateUsage]
    pem = Ed25519PrivateKey.from_private_bytes(seed).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase),
    )
    _create(Path(path), pem, 0o600)


def load_private(path: str | Path, passphrase: bytes) -> PrivateKey:
    """The private key in the file at ``path``; refuses as :func:`parse_private`."""
    return parse_private(_read(Path(path)), passphrase, str(path))


def parse_private(pem: bytes, passphrase: bytes, place: str) -> PrivateKey:
    """The private key in an encrypted PKCS8 PEM file.

    Raises:
        Refusal: ``key.public_given`` for a public key, ``key.format`` for what is no such file,
            ``key.not_encrypted``, ``key.passphrase`` for a wrong or empty one, ``key.algorithm`` for a key
            that is not Ed25519.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if pem.startswith(b"blockcert-") or b"PUBLIC KEY-----" in pem:
        raise Refusal("key.public_given", place, "This is a public key; signing needs the private one.")
    if b"-----BEGIN PRIVATE KEY-----" in pem:
        raise Refusal(
            "key.not_encrypted",
            place,
            "This private key has no passphrase; encrypt it first, for instance with 'openssl pkcs8 -topk8'.",
        )
    if not _is_encrypted_pkcs8(pem):
        raise Refusal(
            "key.format",
            place,
            "This is not a private key in the form that BlockCert keeps (encrypted PKCS8 PEM).",
        )
    if not passphrase:
        raise Refusal("key.passphrase", place, "This private key needs its passphrase.")
    try:
        key = serialization.load_pem_private_key(pem, passphrase)
    except (ValueError, TypeError):  # a type, where another key stands before it that is not encrypted
        raise Refusal("key.passphrase", place, "The passphrase does not open this private key.") from None
    except UnsupportedAlgorithm:
        raise Refusal("key.algorithm", place, "This private key is of a kind that is not supported.") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise Refusal("key.algorithm", place, "This private key is not an Ed25519 key.")
    return _private(key.private_bytes_raw())


def _is_encrypted_pkcs8(pem: bytes) -> bool:
    match = re.search(
        rb"-----BEGIN ENCRYPTED PRIVATE KEY-----\s(.*)-----END ENCRYPTED PRIVATE KEY-----", pem, re.DOTALL
    )
    if match is None:
        return False
    try:
        der = base64.b64decode(b"".join(match[1].split()), validate=True)
    except binascii.Error:
        return False
    # a short or long DER sequence whose length is that of the whole: a cut file is not mistaken for a
    # passphrase
    if len(der) < 2 or der[0] != 0x30:
        return False
    if der[1] < 0x80:
        return len(der) == 2 + der[1]
    octets = der[1] & 0x7F
    return len(der) == 2 + octets + int.from_bytes(der[2 : 2 + octets], "big")


# --- files --------------------------------------------------------------------------------------------------


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)
    except (FileNotFoundError, ValueError):  # a path with a NUL in it names nothing
        raise Refusal("file.missing", str(path), "There is no such file.") from None
    except OSError as error:
        raise Refusal("file.unreadable", str(path), f"The file cannot be read: {error.strerror}.") from None
    if len(data) > _LARGEST_FILE:
        raise Refusal("key.format", str(path), "This file is too large to be a key.")
    return data


def _create(path: Path, data: bytes, mode: int) -> None:
    # O_EXCL: an existing key is never overwritten, and nothing planted at that name is followed
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags, mode)
    except FileExistsError:
        raise Refusal("key.exists", str(path), "There is a file already; a key is never overwritten.") from None
    except OSError as error:
        raise Refusal("file.unwritable", str(path), f"The file cannot be made: {error.strerror}.") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException as fault:
        path.unlink(missing_ok=True)
        if isinstance(fault, OSError):
            raise Refusal("file.unwritable", str(path), f"The file cannot be written: {fault.strerror}.") from None
        raise
