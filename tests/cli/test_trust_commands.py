"""The life of trust at the prompt: a policy grows and rotates, a certificate is reviewed and revoked."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from blockcert.keys import load_private
from blockcert.revocation import parse_list, sign_list
from blockcert.times import parse_time
from blockcert.trust import Coverage, parse_policy
from blockcert_producers.cli.run import run
from tests.support.bundles import Made, make_bundle


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("made"))


@pytest.fixture
def desk(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a bundle, and keys of everybody's, in which the commands run."""
    monkeypatch.setenv("BLOCKCERT_PASSPHRASE", "correct horse")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made.bundle, "bundle")
    for name in ("vendor", "auditor", "revoker", "owner", "second"):
        assert run(["keygen", name]) == 0
    assert run(["sign", "bundle", "--key", "vendor.key"]) == 0
    return tmp_path


def new_policy(*more: str) -> None:
    words = ["--producer", "vendor.pub", "--auditor", "auditor.pub", "--revoker", "revoker.pub", "--owner", "owner.pub"]
    assert run(["trust", "new", *words, "--require", "recompute", "--out", "trust.json", *more]) == 0


def test_a_new_policy_says_that_it_sets_no_limits_and_how_to_set_some(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new_policy()
    *_, said, example = capsys.readouterr().out.splitlines()
    assert "sets no limits" in said
    assert run(shlex.split(example)[1:]) == 0  # the example runs as it is printed
    limits = parse_policy((desk / "limits.json").read_bytes(), "limits.json").limits
    assert (limits.top1_share, limits.coverage) == ("0.95", Coverage("0.05", "0.95"))


def hsm(desk: Path, key: str) -> None:
    """Writes ``hsm.py``, a command that signs with a key of its own."""
    (desk / "hsm.py").write_text(
        "import sys\nfrom pathlib import Path\nfrom blockcert import keys\n"
        f"key = keys.load_private(Path({key!r}), b'correct horse')\n"
        "sys.stdout.buffer.write(key.sign(sys.stdin.buffer.read()))\n"
    )


def verdict(*more: str, policy: str = "trust.json") -> int:
    return run(["verify", "bundle", "--trust", policy, "--quiet", *more])


def test_a_review_and_its_threshold(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new_policy("--approvals", "1")
    assert verdict() == 3
    assert "[review.threshold_not_met]" in capsys.readouterr().out
    (desk / "report.json").write_text("{}")
    words = ["review", "bundle", "--outcome", "approves", "--note", "all rows replayed", "--report", "report.json"]
    assert run([*words, "--key", "auditor.key"]) == 0
    assert "approves blake3:" in capsys.readouterr().out
    assert verdict() == 0
    assert run(["review", "bundle", "--outcome", "objects", "--note", "no", "--key", "auditor.key"]) == 0
    assert verdict() == 1


def test_a_revocation(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new_policy("--revocations", "the vendor's release page")
    assert verdict() == 3
    assert "the vendor's release page" in " ".join(capsys.readouterr().out.split())
    signed = ["--key", "revoker.key"]
    assert run(["revoke", "--out", "list-1", *signed]) == 0
    checked = ["--revocation-state", "seen", "--revocations"]
    assert verdict(*checked, "list-1") == 0
    words = ["revoke", "--certificate", "bundle", "--reason", "error", "--note", "row 3", "--after", "list-1"]
    assert run([*words, "--out", "list-2", *signed]) == 0
    assert "list number 2, 1 certificate, 0 keys;" in capsys.readouterr().out
    assert verdict(*checked, "list-2") == 1
    assert verdict(*checked, "list-1") == 3
    assert json.loads((desk / "seen").read_bytes())["number"] == 2
    assert run([*words, "--out", "list-2", *signed]) == 2
    assert "[output.exists]" in capsys.readouterr().err


def test_what_is_said_of_a_list_is_one_sentence(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(["revoke", "--out", "l", "--days", "3", "--key", "revoker.key"]) == 0
    first, second, third, *_ = capsys.readouterr().out.splitlines()
    assert (first, third) == ("Wrote l: list number 1, 0 certificates, 0 keys;", "  nothing")
    found = parse_list((desk / "l").read_bytes(), "l").list
    assert second == f"the next is promised by {found.next_update}. It revokes:"
    assert parse_time(found.next_update) - parse_time(found.issued_at) == timedelta(days=3)


def test_a_list_that_another_signed_is_carried_on_only_if_named(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # whoever can change the published list must not have the next one drop what it revoked
    assert run(["revoke", "--out", "theirs", "--key", "second.key"]) == 0
    words = ["revoke", "--after", "theirs", "--key", "revoker.key", "--out", "next"]
    assert run(words) == 2
    assert "[revocation.untrusted]" in capsys.readouterr().err
    assert not (desk / "next").exists()
    assert run([*words, "--after-key", "second.pub"]) == 0


def test_a_list_that_two_must_sign(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """BC-TRU-15: the second revoker signs what the first wrote, here by a signer of its own."""
    words = ["--producer", "vendor.pub", "--revoker", "revoker.pub", "second.pub", "--revoker-threshold", "2"]
    assert run(["trust", "new", *words, "--require", "recompute", "--out", "trust.json"]) == 0
    assert run(["revoke", "--out", "list-1", "--key", "revoker.key"]) == 0
    assert verdict("--revocations", "list-1") == 3
    hsm(desk, "second.key")
    signs = ["--signer", f"{sys.executable} hsm.py", "--public", "second.pub"]
    assert run(["revoke", "--add-signature", "list-1", *signs]) == 0
    assert verdict("--revocations", "list-1") == 0
    assert run(["revoke", "--certificate", "bundle", "--after", "list-1", "--out", "list-2", *signs]) == 0
    capsys.readouterr()
    assert run(["revoke", "--add-signature", "list-2", "--after", "list-1", "--key", "revoker.key"]) == 0
    out = capsys.readouterr().out
    assert "beyond the one before:\n  certificate blake3:" in out
    assert "beside 1 signature." in out
    assert verdict("--revocations", "list-2") == 1
    assert run(["revoke", "--add-signature", "list-2", "--key", "revoker.key"]) == 2
    assert "[signature.exists]" in capsys.readouterr().err


def test_a_list_that_drops_an_entry_is_not_signed(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    revoker = ["--key", "revoker.key"]
    assert run(["revoke", "--certificate", "bundle", "--out", "list-1", *revoker]) == 0
    assert run(["revoke", "--out", "forgot", *revoker]) == 0
    words = ["revoke", "--after", "list-1", "--after-key", "revoker.pub", "--key", "second.key", "--add-signature"]
    before = (desk / "forgot").read_bytes()
    assert run([*words, "forgot"]) == 2
    assert "[revocation.dropped]" in capsys.readouterr().err
    empty, first = (parse_list((desk / name).read_bytes(), name).list for name in ("forgot", "list-1"))
    (desk / "forgot").write_bytes(
        sign_list(replace(empty, number=2), load_private(desk / "revoker.key", b"correct horse"))
    )
    assert run([*words, "forgot"]) == 2
    assert f"revokes {first.certificates[0].certificate}, and this one does not" in capsys.readouterr().err
    (desk / "forgot").write_bytes(before)
    assert run(["revoke", "--after", "list-1", "--out", "list-2", *revoker]) == 0
    assert run([*words, "list-2"]) == 0


def test_a_key_is_revoked_at_once(desk: Path) -> None:
    new_policy()
    assert (
        run(["revoke", "--of-key", "vendor.pub", "--reason", "key-compromise", "--out", "l", "--key", "revoker.key"])
        == 0
    )
    assert verdict() == 0
    assert verdict("--revocations", "l") == 1


def test_a_policy_grows_is_signed_and_accepted(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new_policy()
    window = ["--not-before", "2026-01-01T00:00:00Z", "--not-after", "2999-01-01T00:00:00Z"]
    assert run(["trust", "add-key", "trust.json", "second.pub", "--role", "owner", *window, "--out", "next.json"]) == 0
    assert run(["trust", "rotate", "trust.json", "next.json", "--key", "second.key", "--out", "next.signed"]) == 0
    assert "still to be signed by 1 more of the old policy's owners" in capsys.readouterr().out
    assert run(["trust", "rotate", "trust.json", "next.json", "--key", "vendor.key", "--out", "next.signed"]) == 2
    assert "your key is an owner of neither policy" in capsys.readouterr().err
    assert run(["trust", "accept", "trust.json", "next.signed", "--out", "mine.json"]) == 2
    assert not (desk / "mine.json").exists()
    assert run(["trust", "rotate", "trust.json", "next.json", "--key", "owner.key", "--out", "next.signed"]) == 0
    assert run(["trust", "accept", "trust.json", "next.signed", "--out", "mine.json"]) == 0
    assert (desk / "mine.json").read_bytes() == (desk / "next.json").read_bytes()
    capsys.readouterr()
    assert run(["trust", "show", "mine.json"]) == 0
    out = capsys.readouterr().out
    assert "Policy number 2" in out
    assert "second: owner, 2026-01-01T00:00:00Z to 2999-01-01T00:00:00Z" in out
    assert max(map(len, out.splitlines())) <= 80
    assert verdict(policy="mine.json") == 0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["trust", "add-key", "trust.json", "vendor.pub", "--out", "n"], "trust.key"),
        (
            [
                "trust",
                "add-key",
                "trust.json",
                "vendor.pub",
                "--role",
                "owner",
                "--not-after",
                "2999-01-01T00:00:00Z",
                "--out",
                "n",
            ],
            "trust.window",
        ),
        (["trust", "add-key", "trust.json", "second.pub", "--not-after", "tomorrow", "--out", "n"], "time.grammar"),
        (["trust", "new", "--producer", "vendor.pub", "vendor.pub", "--out", "n"], "trust.key"),
        (["trust", "show", "vendor.key"], "trust.key_given"),
        (["revoke", "--certificate", "", "--out", "l", "--key", "revoker.key"], "certificate.id"),
        (["revoke", "--superseded-by", "bundle", "--out", "l", "--key", "revoker.key"], "usage.revoke"),
        (["revoke", "--note", "why", "--out", "l", "--key", "revoker.key"], "usage.revoke"),
        (
            ["revoke", "--superseded-by", "bundle", "--of-key", "vendor.pub", "--out", "l", "--key", "revoker.key"],
            "usage.revoke",
        ),
        (["trust", "add-key", "trust.json", "second.pub", "--out", "trust.json"], "output.exists"),
        (["trust", "accept", "trust.json", "nowhere", "--out", "n"], "file.missing"),
        (["trust", "accept", "trust.json", "bundle/statement.dsse.json", "--out", "n"], "envelope.payload_type"),
        (["trust", "rotate", "trust.json", "trust.json", "--key", "owner.key", "--out", "n"], "trust.rotation.number"),
        (["trust", "show", "nowhere"], "trust.not_found"),
        (["review", "nowhere", "--outcome", "objects", "--key", "auditor.key"], "bundle.not_found"),
        (["review", "bundle", "--outcome", "objects", "--key", "auditor.key", "--report", "nowhere"], "file.missing"),
        (["review", "bundle", "--outcome", "objects", "--key", "auditor.key", "--note", "a\x1b[2J"], "json.type"),
        (["revoke", "--certificate", "blake3:12", "--out", "l", "--key", "revoker.key"], "certificate.id"),
        (["revoke", "--after", "trust.json", "--out", "l", "--key", "revoker.key"], "json.type"),
        (["revoke", "--of-key", "revoker.key", "--out", "l", "--key", "revoker.key"], "key.private_given"),
        (["revoke", "--out", "l"], "usage.signer"),
        (["revoke", "--key", "revoker.key"], "usage.revoke"),
        (["revoke", "--add-signature", "l", "--out", "m", "--key", "revoker.key"], "usage.revoke"),
        (["revoke", "--add-signature", "l", "--certificate", "bundle", "--key", "revoker.key"], "usage.revoke"),
        (["revoke", "--out", "l", "--reason", "error", "--key", "revoker.key"], "usage.revoke"),
        (["revoke", "--add-signature", "l", "--reason", "error", "--key", "revoker.key"], "usage.revoke"),
        (["revoke", "--add-signature", "l", "--days", "3", "--key", "revoker.key"], "usage.revoke"),
        (["keygen", "new", "--public-from", "x.pem", "--passphrase-file", "trust.json"], "usage.keygen"),
        (["keygen", "new", "--folder", "trust.json"], "file.missing"),
        (["revoke", "--out", "l", "--after-key", "second.pub", "--key", "revoker.key"], "usage.revoke"),
        (["revoke", "--add-signature", "nowhere", "--key", "revoker.key"], "file.missing"),
        (["revoke", "--add-signature", "bundle", "--key", "revoker.key"], "file.unreadable"),
        (
            ["revoke", "--add-signature", "bundle/statement.dsse.json", "--key", "revoker.key"],
            "envelope.payload_type",
        ),
        (
            ["trust", "new", "--producer", "vendor.pub", "--revoker-threshold", "2", "--out", "n"],
            "trust.threshold",
        ),
        (["sign", "bundle"], "usage.signer"),
        (["sign", "trust.json", "--key", "vendor.key"], "bundle.not_a_folder"),
        (["sign", "bundle", "--signer", "true"], "usage.signer"),
        (["sign", "bundle", "--key", "vendor.key", "--public", "vendor.pub"], "usage.signer"),
        (["sign", "bundle", "--key", "vendor.key", "--signer", "true"], "usage.signer"),
        (["sign", "bundle", "--signer", "false", "--public", "second.pub"], "signer.failed"),
    ],
)
def test_what_is_refused(desk: Path, words: list[str], code: str, capsys: pytest.CaptureFixture[str]) -> None:
    new_policy()
    before = {path: path.read_bytes() for path in desk.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert run(words) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"[{code}]" in err
    assert {path: path.read_bytes() for path in desk.rglob("*") if path.is_file()} == before


TAUGHT: dict[str, tuple[list[str], str]] = {
    "a list for sign": (["sign", "list-1", "--key", "second.key"], "blockcert revoke --add-signature"),
    "a signed policy for verify": (["verify", "bundle", "--trust", "next.signed"], "blockcert trust accept"),
    "a list for a policy": (["trust", "show", "list-1"], "given as --revocations"),
    "a policy that nobody signed": (
        ["trust", "accept", "trust.json", "next.json", "--out", "n"],
        "blockcert trust rotate",
    ),
    "a certificate for a policy": (["trust", "show", "bundle/statement.dsse.json"], "no policy"),
    "a note that moves the cursor": (
        ["revoke", "--certificate", "bundle", "--note", "a\x1b[2J", "--out", "l", "--key", "revoker.key"],
        "moves a cursor",
    ),
    "a certificate that is nowhere": (
        ["revoke", "--certificate", "bundel", "--out", "l", "--key", "revoker.key"],
        "'bundel' is neither a bundle nor a certificate id",
    ),
    "a report into the bundle": (["verify", "bundle", "--trust", "trust.json", "--json", "bundle/r"], "outside it"),
    "a packed bundle into itself": (["pack", "bundle", "--out", "bundle/b.zip"], "outside it"),
    "an unpacked bundle into itself": (["unpack", "bundle", "--out", "bundle/b"], "outside it"),
    "Lean's files into the bundle": (["lean", "export", "bundle", "--out", "bundle/l"], "outside it"),
    "a policy into a bundle": (["trust", "new", "--producer", "vendor.pub", "--out", "bundle/p"], "outside it"),
    "a list into a bundle": (["revoke", "--out", "bundle/l", "--key", "revoker.key"], "outside it"),
    "a signed policy into a bundle": (
        ["trust", "rotate", "trust.json", "next.json", "--key", "owner.key", "--out", "bundle/s"],
        "outside it",
    ),
    "a key into a bundle": (["keygen", "new", "--folder", "bundle"], "outside it"),
    "a corpus into a bundle": (["conformance", "build", "--out", "bundle/c"], "outside it"),
    "the demonstration into a bundle": (["demo", "--out", "bundle/d"], "outside it"),
    "a demonstration nowhere": (["demo", "--out", "trust.json/d"], "cannot be written"),
    "a second environment that is not there": (["demo", "--verifier", "no/python", "--out", "d"], "VENV/bin/python"),
    "a demonstration on no device": (["demo", "--device", "abacus", "--out", "d"], "use --device cpu"),
    "a difference into a bundle": (["show", "--diff", "bundle", "bundle", "--json", "bundle/d"], "outside it"),
    "a folder that is no model": (
        ["verify", "bundle", "--trust", "trust.json", "--reference", "bundle"],
        "nothing here has the name of a file of the certified model",
    ),
    "a model that is nowhere": (["show", "--mechanisms", "bundle", "--reference", "modle"], "no such folder"),
    "a folder for a list of digests": (
        ["verify", "bundle", "--trust", "trust.json", "--published", "bundle"],
        "this is not a file; give a list as sha256sum",
    ),
}


@pytest.mark.parametrize("case", TAUGHT)
def test_a_refusal_says_what_to_do(case: str, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new_policy()
    assert run(["revoke", "--out", "list-1", "--key", "revoker.key"]) == 0
    assert run(["trust", "add-key", "trust.json", "second.pub", "--role", "owner", "--out", "next.json"]) == 0
    assert run(["trust", "rotate", "trust.json", "next.json", "--key", "owner.key", "--out", "next.signed"]) == 0
    before = {path: path.read_bytes() for path in desk.rglob("*") if path.is_file()}
    capsys.readouterr()
    words, said = TAUGHT[case]
    assert run(words) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err
    assert {path: path.read_bytes() for path in desk.rglob("*") if path.is_file()} == before


def test_an_external_signer_signs_a_bundle(desk: Path) -> None:
    hsm(desk, "second.key")
    assert run(["sign", "bundle", "--signer", f"{sys.executable} hsm.py", "--public", "second.pub"]) == 0
    words = ["trust", "new", "--producer", "second.pub", "--require", "recompute", "--out", "trust.json"]
    assert run(words) == 0
    assert verdict() == 0
