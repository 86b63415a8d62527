"""Keys: RFC 8032's vectors, files that are safe to keep, and one sentence for each bad one.

Requirements: BC-TRU-02, 03.
"""

from __future__ import annotations

import base64
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st

from blockcert.errors import Refusal
from blockcert.keys import (
    FIELD,
    SMALL_ORDER_Y,
    PrivateKey,
    PublicKey,
    check_key_name,
    fingerprint,
    format_public,
    generate,
    keyid,
    load_private,
    load_public,
    parse_private,
    parse_public,
    public_from_hex,
    save_private,
    save_public,
)

# RFC 8032, section 7.1, tests 1 to 3: secret key, public key, message, signature.
RFC_8032 = {
    "test 1": (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b",
    ),
    "test 2": (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
        "387b2eaeb4302aeeb00d291612bb0c00",
    ),
    "test 3": (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
        "4a7c15e9716ed28dc027beceea1ec40a",
    ),
}


def encrypted(seed: bytes, passphrase: bytes) -> bytes:
    return ed25519.Ed25519PrivateKey.from_private_bytes(seed).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase),
    )


def key_of(seed: bytes) -> PrivateKey:
    return parse_private(encrypted(seed, b"x"), b"x", "test")


def assert_refused(code: str, call: object, *arguments: object) -> Refusal:
    with pytest.raises(Refusal) as refusal:
        call(*arguments)  # type: ignore[operator]
    assert refusal.value.code == code
    assert re.fullmatch(r"[A-Z].*\.", refusal.value.sentence)
    return refusal.value


# --- signatures -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", RFC_8032)
def test_rfc_8032(case: str) -> None:
    seed, public, message, signature = (bytes.fromhex(text) for text in RFC_8032[case])
    key = key_of(seed)
    assert key.public == PublicKey(public)
    assert key.sign(message) == signature
    assert key.public.verify(signature, message)
    assert not key.public.verify(signature, message + b"\x00")


@pytest.mark.parametrize("length", [0, 1, 63, 65, 128])
def test_a_signature_of_another_length_is_merely_wrong(length: int) -> None:
    key = generate()
    assert not key.public.verify(key.sign(b"m").ljust(128, b"\x00")[:length], b"m")


@given(st.integers(0, 511))
def test_one_changed_bit_of_a_signature_is_wrong(bit: int) -> None:
    key = key_of(bytes(32))
    signature = bytearray(key.sign(b"message"))
    signature[bit // 8] ^= 1 << bit % 8
    assert not key.public.verify(bytes(signature), b"message")


def test_a_signature_with_s_raised_by_the_group_order_is_wrong() -> None:
    order = (1 << 252) + 27742317777372353535851937790883648493
    key = key_of(bytes(32))
    signature = key.sign(b"message")
    raised = int.from_bytes(signature[32:], "little") + order
    assert not key.public.verify(signature[:32] + raised.to_bytes(32, "little"), b"message")


# --- points that are not taken ----------------------------------------------------------------------------

D = -121665 * pow(121666, -1, FIELD) % FIELD
Point = tuple[int, int]


def add(p: Point, q: Point) -> Point:
    """The sum on -x^2 + y^2 = 1 + d x^2 y^2, RFC 8032 section 5.1.4 in affine coordinates."""
    (x1, y1), (x2, y2) = p, q
    cross = D * x1 * x2 * y1 * y2
    x = (x1 * y2 + x2 * y1) * pow(1 + cross, -1, FIELD)
    y = (y1 * y2 + x1 * x2) * pow(1 - cross, -1, FIELD)
    return x % FIELD, y % FIELD


def square_root(value: int) -> int | None:
    root = pow(value, (FIELD + 3) // 8, FIELD)
    for candidate in (root, root * pow(2, (FIELD - 1) // 4, FIELD) % FIELD):
        if candidate * candidate % FIELD == value % FIELD:
            return candidate
    return None


def x_of(y: int) -> int | None:
    return square_root((y * y - 1) * pow(D * y * y + 1, -1, FIELD) % FIELD)


def times_eight(point: Point) -> Point:
    for _ in range(3):
        point = add(point, point)
    return point


def test_the_table_holds_the_ordinates_of_the_whole_torsion_subgroup() -> None:
    roots = {y: x_of(y) for y in SMALL_ORDER_Y}
    points = {(sign * x % FIELD, y) for y, x in roots.items() if x is not None for sign in (1, -1)}
    assert len(points) == 8  # the group of points has order 8 times a prime, so these are all there are
    assert {times_eight(point) for point in points} == {(0, 1)}


SMALL_ORDER_ENCODINGS = sorted(
    spelling | sign << 255
    for y in SMALL_ORDER_Y
    for spelling in (y, y + FIELD)
    for sign in (0, 1)
    if spelling < 1 << 255
)


def test_there_are_fourteen_encodings_of_small_order_points() -> None:
    assert len(SMALL_ORDER_ENCODINGS) == 14


@pytest.mark.parametrize("encoding", SMALL_ORDER_ENCODINGS)
def test_small_order_points_are_refused(encoding: int) -> None:
    assert_refused("key.public.small_order", PublicKey, encoding.to_bytes(32, "little"))


def test_openssl_would_have_taken_a_small_order_point() -> None:
    """The reason for the table: with the neutral point, one signature fits every message."""
    neutral = ed25519.Ed25519PublicKey.from_public_bytes((1).to_bytes(32, "little"))
    signature = (1).to_bytes(32, "little") + bytes(32)
    for message in (b"one message", b"another message"):
        assert neutral.verify(signature, message) is None  # it raises otherwise


@pytest.mark.parametrize("y", range(FIELD, 1 << 255))
def test_non_canonical_encodings_are_refused(y: int) -> None:
    for sign in (0, 1):
        with pytest.raises(Refusal) as refusal:
            PublicKey((y | sign << 255).to_bytes(32, "little"))
        assert refusal.value.code in {"key.public.not_canonical", "key.public.small_order"}
        assert (refusal.value.code == "key.public.small_order") == (y - FIELD in SMALL_ORDER_Y)


@given(st.integers(0, FIELD - 1))
def test_a_key_is_taken_exactly_if_its_ordinate_is_on_the_curve(y: int) -> None:
    raw = y.to_bytes(32, "little")
    if y in SMALL_ORDER_Y:
        assert_refused("key.public.small_order", PublicKey, raw)
    elif x_of(y) is None:
        assert_refused("key.public.not_on_curve", PublicKey, raw)
    else:
        assert PublicKey(raw).raw == raw


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_key_of_another_length_is_refused(length: int) -> None:
    assert_refused("key.public.length", PublicKey, bytes(length))


# --- names ------------------------------------------------------------------------------------------------


def test_keyid_and_fingerprint_of_rfc_8032_test_1() -> None:
    key = public_from_hex(RFC_8032["test 1"][1], "test")
    assert keyid(key) == "6c31041268f471609c79f5f2dbcc38e4a4ab2f4d416109a4e09fcf50fd0f0062"
    assert fingerprint(key) == "SIMK-HO5C-DAEA-TWUB-AALY-B3NX-BZWE-M6RJ"
    assert re.fullmatch(r"([A-Z2-7]{4}-){7}[A-Z2-7]{4}", fingerprint(key))


@pytest.mark.parametrize("name", ["", " ", "a b", ".a", "-a", "a\n", "ä", "a/b", "a" * 65])
def test_bad_key_names(name: str) -> None:
    assert_refused("key.name", check_key_name, name, "policy")


@pytest.mark.parametrize("name", ["a", "release-2026.11", "me@example.org", "A+b_c", "a" * 64])
def test_good_key_names(name: str) -> None:
    check_key_name(name, "policy")


# --- files ------------------------------------------------------------------------------------------------


def test_a_private_key_comes_back_and_is_its_owners_alone(tmp_path: Path) -> None:
    key = generate()
    save_private(tmp_path / "k", key, "pässphrase".encode())
    assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o600
    assert load_private(tmp_path / "k", "pässphrase".encode()) == key
    assert (tmp_path / "k").read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n")


def test_a_public_key_comes_back(tmp_path: Path) -> None:
    key = generate().public
    save_public(tmp_path / "k.pub", key, "vendor")
    assert load_public(tmp_path / "k.pub") == ("vendor", key)
    assert (tmp_path / "k.pub").read_text() == f"blockcert-ed25519 {base64.b64encode(key.raw).decode()} vendor\n"


def test_keys_are_never_overwritten_and_planted_links_never_followed(tmp_path: Path) -> None:
    key = generate()
    (tmp_path / "there").write_bytes(b"precious")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("there", "link"):
        assert_refused("key.exists", save_private, tmp_path / name, key, b"p")
        assert_refused("key.exists", save_public, tmp_path / name, key.public, "n")
    assert (tmp_path / "there").read_bytes() == b"precious"
    assert not (tmp_path / "elsewhere").exists()


def test_an_empty_passphrase_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    assert_refused("key.passphrase", save_private, tmp_path / "k", generate(), b"")
    assert not (tmp_path / "k").exists()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert_refused("file.unwritable", save_private, tmp_path / "none" / "k", generate(), b"p")
    assert_refused("file.missing", load_private, tmp_path / "k", b"p")
    assert_refused("file.missing", load_public, tmp_path / "k.pub")
    assert_refused("file.unreadable", load_public, tmp_path)
    assert_refused("file.missing", load_public, tmp_path / "a\0b")


def test_a_large_file_is_not_read_as_a_key(tmp_path: Path) -> None:
    (tmp_path / "k").write_bytes(bytes(1 << 17))
    assert_refused("key.format", load_public, tmp_path / "k")
    assert_refused("key.format", load_private, tmp_path / "k", b"p")


def pem(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey, passphrase: bytes | None) -> bytes:
    encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


ELLIPTIC = ec.generate_private_key(ec.SECP256R1())
EDWARDS = ed25519.Ed25519PrivateKey.generate()
PUBLIC_PEM = EDWARDS.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)
PUBLIC_LINE = format_public(PublicKey(EDWARDS.public_key().public_bytes_raw()), "vendor").encode()

PRIVATE_FILES = {
    "a public key file": (PUBLIC_LINE, b"p", "key.public_given"),
    "a public key in PEM": (PUBLIC_PEM, b"p", "key.public_given"),
    "a key without a passphrase": (pem(EDWARDS, None), b"p", "key.not_encrypted"),
    "a wrong passphrase": (pem(EDWARDS, b"p"), b"q", "key.passphrase"),
    "no passphrase": (pem(EDWARDS, b"p"), b"", "key.passphrase"),
    "another algorithm": (pem(ELLIPTIC, b"p"), b"p", "key.algorithm"),
    "another algorithm, wrong passphrase": (pem(ELLIPTIC, b"p"), b"q", "key.passphrase"),
    "an empty file": (b"", b"p", "key.format"),
    "text": (b"Dear diary", b"p", "key.format"),
    "a file cut short": (pem(EDWARDS, b"p")[:-80], b"p", "key.format"),
    "a line missing": (
        b"".join(pem(EDWARDS, b"p").splitlines(True)[:2] + pem(EDWARDS, b"p").splitlines(True)[3:]),
        b"p",
        "key.format",
    ),
    "not base64": (
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n!!\n-----END ENCRYPTED PRIVATE KEY-----\n",
        b"p",
        "key.format",
    ),
    "nothing inside": (
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n\n-----END ENCRYPTED PRIVATE KEY-----\n",
        b"p",
        "key.format",
    ),
    "another one before it, without a passphrase": (
        ELLIPTIC.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
        + pem(EDWARDS, b"p"),
        b"p",
        "key.passphrase",
    ),
    "OpenSSH's form": (b"-----BEGIN OPENSSH PRIVATE KEY-----\n", b"p", "key.format"),
}


@pytest.mark.parametrize("case", PRIVATE_FILES)
def test_bad_private_key_files(case: str) -> None:
    data, passphrase, code = PRIVATE_FILES[case]
    assert assert_refused(code, parse_private, data, passphrase, "my.key").place == "my.key"


RAW = EDWARDS.public_key().public_bytes_raw()
BASE64 = base64.b64encode(RAW).decode()

PUBLIC_FILES = {
    "a private key": (pem(EDWARDS, b"p"), "key.private_given"),
    "a public key in PEM": (PUBLIC_PEM, "key.algorithm"),
    "an OpenSSH key": (f"ssh-ed25519 {BASE64} me\n".encode(), "key.algorithm"),
    "a later algorithm": (f"blockcert-mldsa65 {BASE64} me\n".encode(), "key.algorithm"),
    "an empty file": (b"", "key.format"),
    "not ASCII": (PUBLIC_LINE.replace(b"vendor", "vendör".encode()), "key.format"),
    "no name": (f"blockcert-ed25519 {BASE64}\n".encode(), "key.format"),
    "two names": (f"blockcert-ed25519 {BASE64} a b\n".encode(), "key.format"),
    "two lines": (PUBLIC_LINE + PUBLIC_LINE, "key.format"),
    "two spaces": (PUBLIC_LINE.replace(b" ", b"  "), "key.format"),
    "no padding": (f"blockcert-ed25519 {BASE64[:-1]} a\n".encode(), "key.format"),
    "not base64": (f"blockcert-ed25519 {'*' * 44} a\n".encode(), "key.format"),
    "stray bits after the last byte": (f"blockcert-ed25519 {'A' * 42}B= a\n".encode(), "key.format"),
    "an unsafe name": (f"blockcert-ed25519 {BASE64} ../a\n".encode(), "key.name"),
    "a short key": (f"blockcert-ed25519 {base64.b64encode(RAW[:31]).decode()} a\n".encode(), "key.public.length"),
    "a small-order key": (f"blockcert-ed25519 {'A' * 43}= a\n".encode(), "key.public.small_order"),
}


@pytest.mark.parametrize("case", PUBLIC_FILES)
def test_bad_public_key_files(case: str) -> None:
    data, code = PUBLIC_FILES[case]
    assert assert_refused(code, parse_public, data, "my.pub").place == "my.pub"


@pytest.mark.parametrize("text", ["", "0" * 63, "0" * 65, "G" * 64, "AB" * 32, "ab" * 32 + "\n"])
def test_bad_hexadecimal_keys(text: str) -> None:
    assert_refused("key.format", public_from_hex, text, "trust.json: $.keys[0].public_key")


def test_the_representation_of_a_private_key_hides_it() -> None:
    key = key_of(bytes(range(32)))
    assert repr(bytes(range(32)))[2:-1] not in repr(key)
    assert bytes(range(32)).hex() not in repr(key)


def test_importing_keys_does_not_import_cryptography() -> None:
    program = "import sys, blockcert.keys; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, env=dict(os.environ)).returncode == 0
