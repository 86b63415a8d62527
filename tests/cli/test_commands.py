"""The command line: what a person types, reads and gets back as an exit code."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from blockcert import keys
from blockcert.dsse import Envelope, encode_envelope, parse_envelope
from blockcert.errors import Refusal
from blockcert.trust import encode_policy
from blockcert_producers.cli.demo import demo
from blockcert_producers.cli.lazy import spread
from blockcert_producers.cli.run import run
from blockcert_producers.cli.table import COMMANDS, TRUST
from blockcert_verifier import Report, verification
from tests.support.bundles import NOW, Made, make_bundle

AT = ["--at", "2026-11-23T00:00:00Z"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    made = make_bundle(tmp_path_factory.mktemp("made"))
    (made.bundle.parent / "trust.json").write_bytes(encode_policy(made.policy))
    return made


@pytest.fixture
def trust(made: Made) -> str:
    return str(made.bundle.parent / "trust.json")


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLOCKCERT_PASSPHRASE", "correct horse")


def lines(capsys: pytest.CaptureFixture[str]) -> tuple[list[str], list[str]]:
    out, err = capsys.readouterr()
    return out.splitlines(), err.splitlines()


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    out, _ = lines(capsys)
    for name, entry in COMMANDS.items():
        assert any(line.split() == [name, *entry.summary.split()] for line in out)


@pytest.mark.parametrize("command", [[name] for name in COMMANDS] + [["trust", name] for name in TRUST])
def test_every_command_explains_itself(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command, "--help"]) == 0
    out, _ = lines(capsys)
    assert out[0].startswith(f"Usage: blockcert {' '.join(command)}")
    assert max(map(len, out)) <= 80


@pytest.mark.parametrize("command", ["extract", "compare", "verify"])
def test_every_device_is_listed(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    assert "cpu, torch (a CPU too), cuda or cuda:N" in " ".join(capsys.readouterr().out.split())


def test_a_mistyped_command_is_told_the_right_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verfy"]) == 2
    assert "Did you mean 'verify'?" in capsys.readouterr().err


def test_help_and_verify_import_nothing_heavy(made: Made, trust: str) -> None:
    code = (
        "import sys; from blockcert_producers.cli.run import run; "
        f"codes = [run(['--help']), run(['verify', {str(made.bundle)!r}, '--trust', {trust!r}, *{AT!r}])]; "
        "heavy = {'numpy', 'scipy', 'torch', 'transformers', 'jsonschema', 'rich', 'pydantic', 'importlib.metadata'}; "
        "print(codes, sorted(heavy & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[0, 3] []\n"


# --- verify and show --------------------------------------------------------------------------------------------


def test_verify_prints_the_verdict_and_leaves_with_its_code(
    made: Made, trust: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    words = ["verify", str(made.bundle), "--trust", trust, *AT]
    assert run(words) == 3
    hold = "signature and arithmetic hold; nothing was re-run: give --reference MODEL"
    assert " ".join(lines(capsys)[0][:2]) == f"INDETERMINATE: {hold}."
    assert run([*words, "--reference", str(made.model), "--replay", "all", "--json", str(report)]) == 0
    out, err = lines(capsys)
    assert out[0].startswith("ACCEPTED: signed by acme")
    assert err == []
    assert json.loads(report.read_bytes())["verdict"] == "accepted"


def test_a_changed_bundle_is_a_verdict_and_a_wrong_path_is_not(
    made: Made, trust: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = made.copy(tmp_path)
    path = copy.bundle / "evidence.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    assert run(["verify", str(copy.bundle), "--trust", trust, *AT]) == 1
    out, _ = lines(capsys)
    assert out[0].startswith("REJECTED: evidence.safetensors: ")
    assert run(["verify", str(tmp_path / "nowhere"), "--trust", trust, *AT]) == 2
    out, err = lines(capsys)
    assert (out, len(err)) == ([], 1)


def test_quiet_says_one_sentence_and_json_can_be_standard_output(
    made: Made, trust: str, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    words = ["verify", str(made.bundle), "--trust", trust, *AT]
    assert run([*words, "--quiet"]) == 3
    assert capsysbinary.readouterr().out.count(b"\n") == 1
    assert run([*words, "--json", "-"]) == 3
    assert json.loads(capsysbinary.readouterr().out)["verdict"] == "indeterminate"


@pytest.mark.parametrize("where", ["-", "/dev/stdout"])
@pytest.mark.parametrize("quiet", [[], ["-q"]], ids=["whole", "quiet"])
@pytest.mark.parametrize("kind", ["json", "html"])
def test_a_report_on_standard_output_stands_there_alone(
    made: Made, trust: str, capsysbinary: pytest.CaptureFixture[bytes], kind: str, quiet: list[str], where: str
) -> None:
    assert run(["verify", str(made.bundle), "--trust", trust, *AT, f"--{kind}", where, *quiet]) == 3
    out, err = capsysbinary.readouterr()
    if kind == "json":
        assert json.loads(out)["verdict"] == "indeterminate"
    else:
        assert out.startswith(b"<!doctype html>")
        assert out.rstrip().endswith(b"</html>")
    assert err.startswith(b"INDETERMINATE: ") if quiet else err == b""


def test_two_reports_do_not_share_standard_output(
    made: Made, trust: str, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    words = ["verify", str(made.bundle), "--trust", trust, *AT]
    assert run([*words, "--json", "-", "--html", "/dev/stdout"]) == 2
    assert capsysbinary.readouterr().out == b""


@pytest.mark.parametrize("words", [["show", "--diff", "{bundle}", "{bundle}"], ["show", "--mechanisms", "{bundle}"]])
def test_what_show_writes_as_json_stands_alone_too(
    made: Made, capsysbinary: pytest.CaptureFixture[bytes], words: list[str]
) -> None:
    assert run([*(word.format(bundle=made.bundle) for word in words), "--json", "-"]) == 0
    assert json.loads(capsysbinary.readouterr().out)


def test_a_score_on_standard_output_stands_there_alone(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert run(["conformance", "run", "--only", "number::nan", "--implementation", "true", "--json", "-"]) == 1
    assert json.loads(capsysbinary.readouterr().out)["implementation"] == "true"


def test_a_seed_can_be_any_word(made: Made, trust: str, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    words = ["verify", str(made.bundle), "--trust", trust, *AT, "--reference", str(made.model), "--replay", "2"]
    seeds: list[str] = []
    for seed in ("7", "7", "ab" * 32):
        assert run([*words, "--seed", seed, "--json", "-"]) == 0
        audit = json.loads(capsysbinary.readouterr().out)["audit"]
        assert audit["repeatable"]
        seeds.append(audit["seed"])
    assert seeds[0] == seeds[1] != seeds[2] == "ab" * 32


def test_a_reader_that_goes_away_does_not_change_the_verdict(made: Made, trust: str) -> None:
    words = [sys.executable, "-m", "blockcert_producers.cli", "verify", str(made.bundle), "--trust", trust, *AT]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(words, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (3, "")


def test_show_works_on_any_bundle_and_says_that_nothing_was_checked(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["show", str(made.bundle)]) == 0
    out, _ = lines(capsys)
    assert out[0].startswith("UNVERIFIED: ")
    assert max(map(len, out)) <= 80
    copy = made.copy(tmp_path)
    path = copy.bundle / "statement.dsse.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "signatures": []}))
    assert run(["show", str(copy.bundle)]) == 0
    assert "carries no signature" in " ".join(lines(capsys)[0][:2])


def test_show_raw_is_the_statement_as_it_stands(made: Made, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert run(["show", str(made.bundle), "--raw"]) == 0
    assert json.loads(capsysbinary.readouterr().out)["predicateType"] == "urn:blockcert:certificate:v1"


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        (["--at", "yesterday"], "2026-01-31T23:59:59Z"),
        (["--replay", "many"], "the word all"),
        (["--replay", "-1"], "the word all"),
        (["--reference", "nowhere"], "--reference names the folder of the original model"),
    ],
)
def test_each_wrong_option_gets_one_sentence(
    made: Made, trust: str, extra: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["verify", str(made.bundle), "--trust", trust, *extra]) == 2
    out, err = lines(capsys)
    assert (out, len(err)) == ([], 1)
    assert says in err[0]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (None, "trust.not_found"),
        (b"", "json.syntax"),
        (b"[]", "json.type"),
        (b'{"a": 1}', "json.type"),
        (b"blockcert-ed25519 AAAA vendor\n", "trust.key_given"),
    ],
)
def test_a_policy_that_is_none_is_wrong_usage(
    made: Made, tmp_path: Path, content: bytes | None, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "policy.json"
    if content is not None:
        path.write_bytes(content)
    assert run(["verify", str(made.bundle), "--trust", str(path), *AT]) == 2
    out, err = lines(capsys)
    assert (out, len(err)) == ([], 1)
    assert f"[{code}]" in err[0]


# --- faults of ours ---------------------------------------------------------------------------------------------


def _broken(*_: object, **__: object) -> Report:
    raise RuntimeError("a bug\nof ours")


def test_a_fault_of_ours_is_no_verdict(
    made: Made, trust: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(verification, "verify", _broken)
    monkeypatch.delenv("BLOCKCERT_DEBUG", raising=False)
    words = ["verify", str(made.bundle), "--trust", trust, *AT]
    assert run(words) == 70
    out, err = lines(capsys)
    assert (out, len(err)) == ([], 1)
    assert "no verdict: RuntimeError: a bug of ours" in err[0]
    monkeypatch.setenv("BLOCKCERT_DEBUG", "1")
    assert run(words) == 70
    assert "Traceback" in capsys.readouterr().err


class OutOfMemoryError(RuntimeError):
    """As torch calls what a GPU says."""


@pytest.mark.parametrize("fault", [MemoryError(), OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")])
def test_memory_that_is_used_up_is_no_fault_of_ours(
    fault: Exception, made: Made, trust: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> Report:
        raise fault

    monkeypatch.setattr(verification, "verify", full)
    assert run(["verify", str(made.bundle), "--trust", trust, *AT]) == 2
    out, err = lines(capsys)
    assert (out, len(err)) == ([], 1)
    assert "has no more memory for it; take fewer or shorter prompts" in err[0]
    assert err[0].endswith("[machine.memory]")


def test_an_interruption_is_one_line(
    made: Made, trust: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> Report:
        raise KeyboardInterrupt

    monkeypatch.setattr(verification, "verify", interrupt)
    assert run(["verify", str(made.bundle), "--trust", trust, *AT]) == 130
    assert lines(capsys) == ([], ["blockcert: interrupted"])


@pytest.mark.parametrize("module", ["torch", "transformers"])
def test_a_missing_extra_is_named(module: str) -> None:
    code = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from blockcert_producers.cli.run import run\n"
        "def missing():\n    import "
        f"{module}\n"
        "import blockcert_producers.cli.demo as demo; demo.demo = missing\n"
        "sys.exit(run(['demo']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'blockcert[produce]'" in done.stderr
    assert done.stderr.count("\n") == 1


# --- keys, signing, trust ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("secret")
def test_from_a_new_key_to_an_accepted_bundle(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = made.copy(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert run(["keygen", "vendor"]) == 0
    assert stat.S_IMODE((tmp_path / "vendor.key").stat().st_mode) == 0o600
    assert run(["sign", str(copy.bundle), "--key", "vendor.key"]) == 0
    assert run(["trust", "new", "--producer", "vendor.pub", "--out", "trust.json", "--require", "recompute"]) == 0
    capsys.readouterr()
    assert run(["verify", str(copy.bundle), "--trust", "trust.json", *AT]) == 0
    assert lines(capsys)[0][0].startswith("ACCEPTED: signed by vendor")
    assert run(["sign", str(copy.bundle), "--key", "vendor.key"]) == 2
    assert "[signature.exists]" in capsys.readouterr().err


@pytest.mark.usefixtures("secret")
def test_trust_in_several_keys_and_a_threshold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        assert run(["keygen", name]) == 0
    words = ["trust", "new", "--producer", "one.pub", "two.pub", "--threshold", "2", "--out", "trust.json"]
    assert run(words) == 0
    policy = json.loads((tmp_path / "trust.json").read_bytes())
    assert [key["name"] for key in policy["keys"]] == ["one", "two"]
    assert policy["thresholds"] == {"producer": 2, "auditor": 0, "revoker": 1, "owner": 1}
    assert "replay" in policy["require"]
    assert run(words) == 2  # never overwritten


@pytest.mark.usefixtures("secret")
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["sign", "BUNDLE", "--key", "vendor.pub"], "key.public_given"),
        (["sign", "BUNDLE", "--key", "nothing.key"], "file.missing"),
        (["sign", "BUNDLE", "--key", "trust.txt"], "key.format"),
        (["sign", "nowhere", "--key", "vendor.key"], "bundle.not_found"),
        (["trust", "new", "--producer", "vendor.key", "--out", "t.json"], "key.private_given"),
        (["trust", "new", "--producer", "trust.txt", "--out", "t.json"], "key.format"),
        (["keygen", "vendor"], "key.exists"),
        (["keygen", "a b"], "key.name"),
        (["keygen", "keys/vendor"], "key.name"),
        (["keygen", "new", "--folder", "nowhere"], "file.missing"),
        (["keygen", "new", "--passphrase-file", "nowhere"], "passphrase.file"),
    ],
)
def test_mistakes_with_keys_and_paths(
    made: Made,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    code: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["keygen", "vendor"]) == 0
    (tmp_path / "trust.txt").write_text("not a key\n")
    before = sorted(tmp_path.iterdir())
    capsys.readouterr()
    assert run([str(made.bundle) if word == "BUNDLE" else word for word in words]) == 2
    out, err = lines(capsys)
    assert (out, len(err)) == ([], 1)
    assert f"[{code}]" in err[0]
    assert sorted(tmp_path.iterdir()) == before


def test_a_key_whose_public_half_cannot_be_written_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, *_: object) -> None:
        raise Refusal("file.unwritable", str(path), "No space left on device.")

    monkeypatch.setenv("BLOCKCERT_PASSPHRASE", "correct horse")
    with monkeypatch.context() as patch:
        patch.setattr(keys, "save_public", full)
        assert run(["keygen", "vendor", "--folder", str(tmp_path)]) == 2
    assert not list(tmp_path.iterdir())
    # a link to nothing is something, and is seen before a passphrase is asked for
    monkeypatch.delenv("BLOCKCERT_PASSPHRASE")
    (tmp_path / "vendor.pub").symlink_to(tmp_path / "elsewhere")
    capsys.readouterr()
    assert run(["keygen", "vendor", "--folder", str(tmp_path)]) == 2
    assert "[key.exists]" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["vendor.pub"]


def test_a_wrong_passphrase_and_the_ways_to_give_one(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = made.copy(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BLOCKCERT_PASSPHRASE", raising=False)
    (tmp_path / "right").write_text("correct horse\n")
    (tmp_path / "wrong").write_text("battery staple\n")
    (tmp_path / "empty").write_text("\n")
    assert run(["keygen", "vendor", "--passphrase-file", "empty"]) == 2
    assert run(["keygen", "vendor", "--passphrase-file", "right"]) == 0
    assert run(["sign", str(copy.bundle), "--key", "vendor.key", "--passphrase-file", "wrong"]) == 2
    assert "[key.passphrase]" in capsys.readouterr().err
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    assert run(["sign", str(copy.bundle), "--key", "vendor.key"]) == 2
    assert "[passphrase.unavailable]" in capsys.readouterr().err
    monkeypatch.setenv("BLOCKCERT_PASSPHRASE", "correct horse")
    assert run(["sign", str(copy.bundle), "--key", "vendor.key"]) == 0


def test_a_passphrase_is_asked_for_twice_when_it_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BLOCKCERT_PASSPHRASE", raising=False)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    answers = iter(["first", "second", "same", "same"])
    monkeypatch.setattr("getpass.getpass", lambda *_, **__: next(answers))
    assert run(["keygen", "vendor"]) == 2
    assert "[passphrase.mismatch]" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert run(["keygen", "vendor"]) == 0


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


BROKEN: dict[str, Callable[[Path], object]] = {
    "a file more": lambda bundle: (bundle / "extra").write_text(""),
    "a file less": lambda bundle: (bundle / "prompts.safetensors").unlink(),
    "a changed byte": lambda bundle: flip(bundle / "evidence.safetensors"),
}


@pytest.mark.usefixtures("secret")
@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_bundle_is_not_signed(
    case: str, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = made.copy(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert run(["keygen", "vendor"]) == 0
    BROKEN[case](copy.bundle)
    statement = (copy.bundle / "statement.dsse.json").read_bytes()
    assert run(["sign", str(copy.bundle), "--key", "vendor.key"]) == 2
    assert "it was not signed" in capsys.readouterr().err
    assert (copy.bundle / "statement.dsse.json").read_bytes() == statement


@pytest.mark.usefixtures("secret")
def test_a_bundle_that_cannot_be_judged_is_not_signed(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody puts their name to what their own verifier does not read."""
    copy = made.copy(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert run(["keygen", "vendor"]) == 0
    path = copy.bundle / "statement.dsse.json"
    payload = parse_envelope(path.read_bytes(), "statement").payload.replace(b'"version":"1.0"', b'"version":"1.9"')
    path.write_bytes(encode_envelope(Envelope(payload)))
    before = path.read_bytes()
    assert run(["sign", str(copy.bundle), "--key", "vendor.key"]) == 2
    assert "[statement.version_unsupported]" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_an_option_that_swallows_the_next_one_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["extract", "model", "--prompts", "--out", "bundle"]) == 2
    assert "--prompts is followed by nothing; name what it takes." in capsys.readouterr().err
    assert run(["extract", "model", "--out", "bundle", "--prompts"]) == 2
    assert "--prompts" in capsys.readouterr().err


def test_a_model_swallowed_by_the_prompts_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["extract", "--prompts", "a.txt", "model", "--out", "bundle"]) == 2
    assert "Missing argument 'MODEL'. Put it before --prompts" in capsys.readouterr().err


# --- words ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["M", "--prompts", "a", "b", "--out", "c"], ["M", "--prompts", "a", "--prompts", "b", "--out", "c"]),
        (["--prompts", "a", "--prompts", "b", "c"], ["--prompts", "a", "--prompts", "b", "--prompts", "c"]),
        (["--out", "c", "d"], ["--out", "c", "d"]),
        (["--prompts", "--out", "c"], ["--prompts", "--out", "c"]),
        (["--", "--prompts", "a", "b"], ["--", "--prompts", "a", "b"]),
    ],
)
def test_one_mention_takes_several_files(typed: list[str], meant: list[str]) -> None:
    assert spread(typed) == meant


def test_the_version_is_the_distributions() -> None:
    from importlib.metadata import version

    from blockcert_verifier.version import VERSION

    assert version("blockcert") == VERSION
    assert NOW.tzinfo is not None


def test_the_demonstration_says_each_line_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In a pipe too: minutes pass between two of its lines."""
    seen: list[bool] = []

    def short(_: Path, *, say: Callable[[str], None], **__: object) -> None:
        said.clear()
        say("== a step")
        seen.append("flush" in said)

    said: list[str] = []

    class Stream(io.StringIO):
        def flush(self) -> None:
            said.append("flush")

    monkeypatch.setattr("blockcert_producers.demo.run_demo", short)
    monkeypatch.setattr(sys, "stdout", Stream())
    demo(tmp_path / "out")
    assert seen == [True]
