"""Policies at the prompt: what is asked of a certificate is set, keys go, and what a rotation changes is said."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from blockcert.trust import Coverage, PopulationLimit, parse_policy
from blockcert_producers.cli.run import run
from tests.support.bundles import Made, make_bundle


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("made"))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with keys of everybody's and a policy, in which the commands run."""
    monkeypatch.setenv("BLOCKCERT_PASSPHRASE", "correct horse")
    monkeypatch.chdir(tmp_path)
    for name in ("vendor", "second", "owner", "revoker"):
        assert run(["keygen", name]) == 0
    words = ["--producer", "vendor.pub", "--owner", "owner.pub", "--revoker", "revoker.pub"]
    assert run(["trust", "new", *words, "--out", "trust.json"]) == 0
    return tmp_path


LIMITS = ["--coverage", "0.95@0.1", "--relative-drift", "0.5", "--top1-share", "0.9", "--kl-mean", "0.25"]
LIMITS += ["--loss-difference", "0.125", "--logit-difference", "3", "--least-basis", "measurement"]
LIMITS += ["--greatest-age-days", "1", "--least-audit-rows", "8"]
LIMITS += ["--population", "covered share=0.9 threshold=0.1 at-least=0.95 alpha=0.01"]
LIMITS += ["--population", "top1 share=0.5 at-least=1 alpha=0.05", "--require", "fresh", "--revocations", "the page"]
WORDS = [
    "in every stage 95 % of tokens at least are within the relative error 0.1",
    "relative drift end to end, and the head's relative error, at most 0.5",
    "top-1 agrees at 90 % of positions at least",
    "mean KL at most 0.25 nats",
    "mean loss differs by at most 0.125 nats",
    "logits differ by at most 3",
    "no claim stands on a weaker basis than measurement",
    "issued less than 1 day ago",
    "a replay confirms at least 8 rows",
    "95 % of all windows at least: 90 % of tokens within 0.1 in every block (alpha at most 0.01)",
    "100 % of all windows at least: top-1 agrees at 50 % of positions (alpha at most 0.05)",
    "requires fresh",
    "asks for a revocation list: the page",
]


def test_what_a_policy_asks_is_set_and_lifted(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["trust", "set", "trust.json", *LIMITS, "--out", "next.json"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert [words for words in WORDS if words not in said] == []
    found = parse_policy((desk / "next.json").read_bytes(), "next")
    assert found.number == 2
    assert "fresh" in found.require
    assert found.limits.coverage == Coverage("0.1", "0.95")
    assert found.limits.population == (
        PopulationLimit("covered", "0.9", "0.1", "0.95", "0.01"),
        PopulationLimit("top1", "0.5", None, "1", "0.05"),
    )
    assert (found.limits.greatest_age_days, found.limits.least_audit_rows) == (1, 8)
    assert run(["trust", "show", "next.json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert not any("Coverage(" in line or "PopulationLimit" in line for line in lines)
    assert [words for words in WORDS[:11] if words not in " ".join(" ".join(lines).split())] == []
    lifted = [
        word for name in LIMITS[: LIMITS.index("--population")] if name.startswith("--") for word in (name, "none")
    ]
    lifted += ["--population", "none", "--revocations", "none", "--without", "fresh"]
    assert run(["trust", "set", "next.json", *lifted, "--keep-number", "--out", "back.json"]) == 0
    back = parse_policy((desk / "back.json").read_bytes(), "back")
    before = parse_policy((desk / "trust.json").read_bytes(), "trust")
    assert (back.limits, back.require, back.revocation, back.number) == (before.limits, before.require, None, 2)
    assert "no longer a limit: mean KL at most 0.25 nats" in capsys.readouterr().out


def test_versions_that_are_accepted_are_set(
    desk: Path, made: Made, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """BC-TRU-11, accept: in place of what was accepted; what this program does not read is said."""
    both = ["--accept", "1.0", "--accept", "1.1", "--accept", "1.0"]
    assert run(["trust", "set", "trust.json", *both, "--out", "both.json"]) == 0
    out = capsys.readouterr().out
    assert "accepts: urn:blockcert:certificate:v1 of version 1.0, 1.1" in " ".join(out.split())
    assert "This BlockCert reads version 1.0 alone; of 1.1 it decides nothing." in out
    held = parse_policy((desk / "both.json").read_bytes(), "both")
    assert (held.accept.versions, held.accept.predicate_types) == (("1.0", "1.1"), ("urn:blockcert:certificate:v1",))
    words = ["--accept", "1.1", "--accept-type", "urn:another"]
    assert run(["trust", "set", "both.json", *words, "--keep-number", "--out", "other.json"]) == 0
    held = parse_policy((desk / "other.json").read_bytes(), "other")
    assert (held.accept.versions, held.accept.predicate_types) == (("1.1",), ("urn:another",))
    assert run(["trust", "set", "trust.json", "--accept", "1.0", "--out", "same.json"]) == 0
    assert "decides nothing" not in capsys.readouterr().out.partition("same.json")[2]
    # a certificate of a version that the policy does not list is refused for that
    shutil.copytree(made.bundle, desk / "bundle")
    assert run(["sign", "bundle", "--key", "vendor.key"]) == 0
    assert run(["trust", "new", "--producer", "vendor.pub", "--require", "recompute", "--out", "mine.json"]) == 0
    assert run(["verify", "bundle", "--trust", "mine.json"]) == 0
    assert run(["trust", "set", "mine.json", "--accept", "1.1", "--out", "newer.json"]) == 0
    capsys.readouterr()
    assert run(["verify", "bundle", "--trust", "newer.json"]) == 1


def test_a_key_goes_and_another_comes_in_one_rotation(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["trust", "add-key", "trust.json", "second.pub", "--out", "a.json"]) == 0
    assert run(["trust", "remove-key", "a.json", "vendor", "--keep-number", "--out", "b.json"]) == 0
    assert run(["trust", "rotate", "trust.json", "b.json", "--key", "owner.key", "--out", "signed"]) == 0
    capsys.readouterr()
    assert run(["trust", "accept", "trust.json", "signed", "--out", "mine.json"]) == 0
    out = capsys.readouterr().out
    assert "  trusts second: producer (" in out
    assert "  no longer trusts vendor: producer (" in out
    assert run(["trust", "show", "signed"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("A signed policy, with 1 signature: of its own owners by owner.\n")
    assert "blockcert trust accept POLICY SIGNED" in out
    assert "Policy number 2\n" in out
    assert "Accepts: urn:blockcert:certificate:v1\n  of version 1.0.\n" in out


def test_a_role_is_taken_away(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["trust", "add-key", "trust.json", "vendor.pub", "--role", "auditor", "--out", "a.json"]) == 0
    assert run(["trust", "remove-key", "a.json", "vendor.pub", "--role", "auditor", "--out", "b.json"]) == 0
    assert "does not trust vendor" in capsys.readouterr().out
    before, after = (parse_policy((desk / name).read_bytes(), name) for name in ("trust.json", "b.json"))
    assert (before.keys, after.number) == (after.keys, 3)


def test_what_changes_but_the_number(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["trust", "set", "trust.json", "--threshold", "1", "--out", "same.json"]) == 0
    assert "this one\n  nothing but the number\n" in capsys.readouterr().out
    assert run(["trust", "add-key", "trust.json", "second.pub", "--role", "revoker", "--out", "a.json"]) == 0
    assert run(["trust", "set", "a.json", "--revoker-threshold", "2", "--out", "b.json"]) == 0
    assert "2 revokers must sign a revocation list, in place of 1" in capsys.readouterr().out


REFUSED: dict[str, tuple[list[str], str]] = {
    "nothing to set": (["trust", "set", "trust.json"], "usage.trust"),
    "a coverage without its threshold": (["trust", "set", "trust.json", "--coverage", "0.95"], "usage.trust"),
    "a share above 1": (["trust", "set", "trust.json", "--coverage", "1.5@0.1"], "trust.limit"),
    "a word of a population limit": (["trust", "set", "trust.json", "--population", "kl at=1"], "usage.trust"),
    "half a population limit": (["trust", "set", "trust.json", "--population", "kl threshold=1"], "usage.trust"),
    "a kind of no population": (["trust", "set", "trust.json", "--population", "ppl threshold=1"], "usage.trust"),
    "a share that a kind has not": (
        ["trust", "set", "trust.json", "--population", "kl share=1 threshold=1 at-least=1 alpha=0.05"],
        "usage.trust",
    ),
    "a word twice": (
        ["trust", "set", "trust.json", "--population", "kl threshold=1 threshold=2 at-least=1 alpha=0.05"],
        "usage.trust",
    ),
    "no decimal": (["trust", "set", "trust.json", "--kl-mean", "1e-3"], "number.grammar"),
    "no decimal in a coverage": (["trust", "set", "trust.json", "--coverage", "95%@0.1"], "number.grammar"),
    "no basis": (["trust", "set", "trust.json", "--least-basis", "hope"], "usage.trust"),
    "no number": (["trust", "set", "trust.json", "--greatest-age-days", "soon"], "usage.trust"),
    "no days at all": (["trust", "set", "trust.json", "--greatest-age-days", "0"], "usage.trust"),
    "no step": (["trust", "set", "trust.json", "--require", "prove"], "trust.require"),
    "no version": (["trust", "set", "trust.json", "--accept", ""], "json.type"),
    "a step that the others stand on": (["trust", "set", "trust.json", "--without", "integrity"], "trust.require"),
    "a step that is not required": (["trust", "set", "trust.json", "--without", "fresh"], "trust.require"),
    "more producers than there are": (["trust", "set", "trust.json", "--threshold", "2"], "trust.threshold"),
    "a source that moves the cursor": (["trust", "set", "trust.json", "--revocations", "a\x1b[2J"], "json.type"),
    "the only producer": (["trust", "remove-key", "trust.json", "vendor"], "trust.threshold"),
    "a key that is not there": (["trust", "remove-key", "trust.json", "nobody"], "trust.key"),
    "a key that is not trusted": (["trust", "remove-key", "trust.json", "second.pub"], "trust.key"),
    "a role that it has not": (["trust", "remove-key", "trust.json", "vendor", "--role", "owner"], "trust.key"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(desk: Path, case: str, capsys: pytest.CaptureFixture[str]) -> None:
    words, code = REFUSED[case]
    capsys.readouterr()
    assert run([*words, "--out", "new.json"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"[{code}]" in err
    assert not (desk / "new.json").exists()


# --- keys -------------------------------------------------------------------------------------------------------


def test_a_public_key_file_of_a_key_that_lives_elsewhere(
    desk: Path, made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a vendor does whose module gives out a public key in PEM."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    shutil.copytree(made.bundle, "bundle")
    for words in (
        "genpkey -algorithm ed25519 -out module.pem",
        "pkey -in module.pem -pubout -out module.pub.pem",
        "pkey -in module.pem -pubout -outform DER -out module.der",
        "ecparam -name prime256v1 -genkey -noout -out p256.pem",
        "pkey -in p256.pem -pubout -out p256.pub.pem",
    ):
        subprocess.run([openssl, *words.split()], check=True, capture_output=True)
    assert run(["trust", "new", "--producer", "module.pub.pem", "--out", "n"]) == 2
    assert "blockcert keygen NAME --public-from FILE" in capsys.readouterr().err
    assert run(["keygen", "module", "--public-from", "module.pub.pem"]) == 0
    assert run(["keygen", "again", "--public-from", "module.der"]) == 0
    assert (desk / "again.pub").read_text().replace("again", "module") == (desk / "module.pub").read_text()
    assert not (desk / "module.key").exists()
    (desk / "sign.sh").write_text(
        f"cat > message && exec {openssl} pkeyutl -sign -rawin -inkey module.pem -in message\n"
    )
    assert run(["sign", "bundle", "--signer", "sh sign.sh", "--public", "module.pub"]) == 0
    words = ["--producer", "module.pub", "--require", "recompute", "--out", "theirs.json"]
    assert run(["trust", "new", *words]) == 0
    assert run(["verify", "bundle", "--trust", "theirs.json", "--quiet"]) == 0
    for given, code in (("module.pem", "key.private_given"), ("vendor.pub", "key.format"), ("nowhere", "file.missing")):
        capsys.readouterr()
        assert run(["keygen", "other", "--public-from", given]) == 2
        assert f"[{code}]" in capsys.readouterr().err
    assert run(["keygen", "other", "--public-from", "p256.pub.pem"]) == 2
    assert "[key.algorithm]" in capsys.readouterr().err
    assert not (desk / "other.pub").exists()


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
@pytest.mark.parametrize("mode", [0o640, 0o620, 0o604, 0o602])
def test_a_private_key_that_others_can_read_is_warned_of(
    mode: int, desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["revoke", "--key", "revoker.key", "--out"]
    assert run([*words, "one"]) == 0
    assert capsys.readouterr().err == ""
    (desk / "revoker.key").chmod(mode)
    assert run([*words, "two"]) == 0
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "revoker.key: others can read or change this private key; chmod 600 revoker.key" in err


@pytest.mark.parametrize("end", ["", "\n\n\n", "\r\n\r\n"])
def test_blank_lines_after_a_public_key_mean_nothing(desk: Path, end: str) -> None:
    line = (desk / "vendor.pub").read_text().rstrip("\n")
    (desk / "vendor.pub").write_bytes(f"{line}{end}".encode())
    assert run(["trust", "new", "--producer", "vendor.pub", "--out", "n"]) == 0


# --- revoke and review ------------------------------------------------------------------------------------------


def test_a_list_says_what_it_revokes_and_what_it_follows(
    desk: Path, made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(made.bundle, "bundle")
    signed = ["--key", "revoker.key", "--out"]
    assert run(["revoke", "--certificate", "bundle", "--reason", "error", *signed, "one"]) == 0
    out = capsys.readouterr().out
    assert "list number 1, 1 certificate, 0 keys;" in out
    assert "There is no list before this one" in out
    assert "It revokes:\n  certificate blake3:" in out
    assert run(["revoke", "--of-key", "vendor.pub", "--after", "one", *signed, "two"]) == 0
    out = capsys.readouterr().out
    assert "There is no list before" not in out
    assert "It revokes beyond the one before:\n  key " in out
    assert "certificate blake3:" not in out
    for instead in ("bundle", out_id(desk, capsys)):
        assert run(["revoke", "--certificate", "bundle", "--superseded-by", instead, *signed, "three"]) == 2
        assert "cannot replace itself" in capsys.readouterr().err
    assert not (desk / "three").exists()


def out_id(desk: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert run(["show", str(desk / "bundle")]) == 0
    return next(word for word in capsys.readouterr().out.split() if word.startswith("blake3:"))


def test_a_list_and_a_report_are_put_beside_a_certificate_and_shown(
    desk: Path, made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(made.bundle, "bundle")
    assert run(["sign", "bundle", "--key", "vendor.key"]) == 0
    words = ["--producer", "vendor.pub", "--auditor", "second.pub", "--revoker", "revoker.pub"]
    assert run(["trust", "new", *words, "--require", "recompute", "--out", "asks.json"]) == 0
    check = ["verify", "bundle", "--trust", "asks.json", "--quiet"]
    assert run([*check, "--json", "report.json"]) == 0
    review = ["review", "bundle", "--outcome", "approves", "--note", "seen", "--key", "second.key"]
    assert run([*review, "--append-report"]) == 2
    assert "[usage.review]" in capsys.readouterr().err
    assert run([*review, "--append-report", "--report", "asks.json"]) == 2
    assert "[json.type]" in capsys.readouterr().err
    assert not (desk / "bundle" / "appended").exists()
    assert run([*review, "--append-report", "--report", "report.json"]) == 0
    assert "The report that it names stands beside it: appended/" in capsys.readouterr().out
    (desk / "bundle" / "appended" / "z.report.json").write_text("{}")
    assert run(check) == 0
    other = ["--certificate", "blake3:" + "a" * 64, "--key", "revoker.key"]
    assert run(["revoke", *other, "--append-to", "bundle", "--out", "one"]) == 0
    assert run(check) == 0
    revoking = ["--certificate", "bundle", "--after", "one", "--key", "revoker.key", "--append-to", "bundle"]
    assert run(["revoke", *revoking, "--out", "two"]) == 0
    assert "Put it beside the certificate in bundle." in capsys.readouterr().out
    assert run(check) == 1
    assert "[certificate.revoked]" in capsys.readouterr().out
    (desk / "bundle" / "appended" / "junk.dsse.json").write_text("{")
    assert run(["show", "bundle"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    out = " ".join(" ".join(lines).split())
    assert "Beside it, said by others; whose word counts, a policy decides" in out
    assert "that approves: seen; signed as the key whose id begins with" in out
    assert "which does not name this certificate; signed as" in out
    assert "which revokes this certificate (withdrawn); signed as" in out
    assert "junk.dsse.json not to be read:" in out
    assert "the report that the review" in out
    assert "z.report.json a report that no review names: nobody vouches for it" in out


def test_a_list_that_cannot_stand_beside_a_bundle_is_not_signed(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["revoke", "--key", "revoker.key", "--append-to", "nowhere", "--out", "one"]) == 2
    assert "[bundle.not_found]" in capsys.readouterr().err
    assert not (desk / "one").exists()


def test_a_path_that_moves_the_cursor_is_printed_plainly(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["revoke", "--key", "revoker.key", "--out", "a\x1b[2Jb"]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_help_says_what_a_signer_gives_back() -> None:
    start = [sys.executable, "-m", "blockcert_producers.cli"]
    said = subprocess.run([*start, "sign", "--help"], capture_output=True, text=True, check=True).stdout
    assert "64 bytes" in said
    assert "base64" in said
