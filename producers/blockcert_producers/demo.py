"""The demonstration: the whole way on the two embedded models, then one changed byte and the refusal.

What it leaves, for each model: ``model/``, ``corpus.txt``, ``bundle/``, ``trust.json`` and ``report.json``. The signing
key lives only while the demonstration runs.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote

from blockcert.bundle import check_in_no_bundle, writing
from blockcert.errors import Refusal
from blockcert.keys import NamedKey, generate
from blockcert.trust import encode_policy, new_policy
from blockcert_producers import embedded
from blockcert_producers.embedded.text import generate as generate_text
from blockcert_producers.produce import Job, extract_bundle
from blockcert_producers.progress import progress_bar
from blockcert_producers.sign import sign_bundle
from blockcert_verifier.evaluate import Backend

__all__ = ["GUARD", "run_demo"]

Say = Callable[[str], None]
BUDGET = "0.05"
CORPUS_SEED = 20261122
"""Neither the training nor the held-out seed of the embedded models: text they have not seen."""
CORPUS_CHARACTERS = 600_000
_MARK = ".blockcert-demo"

GUARD = """
import sys
def refuse(event, arguments):
    if event.startswith("socket."):
        raise OSError("the demonstration blocks the network: " + event)
    if event == "import" and arguments[0].partition(".")[0] in ("torch", "transformers"):
        raise ImportError("the demonstration verifies without " + arguments[0])
sys.addaudithook(refuse)
from blockcert_producers.cli import main
main()
"""
"""Runs the command line with every socket, torch and transformers refused by an audit hook that nothing can remove."""


def run_demo(out: Path, *, device: str, verifier: Path | None, say: Say) -> None:
    """Run the demonstration into ``out``; ``verifier`` is the Python of a second environment.

    Raises:
        Refusal: ``output.exists`` where ``out`` holds something else, ``output.unwritable``, ``device.unavailable`` or
            ``path.not_found`` where the device or the second environment is not there, ``demo.verdict`` where a step
            did not come out as it must.
    """
    Backend(device)
    if verifier is not None and shutil.which(verifier) is None:
        sentence = "there is no Python that can be run; name the one of the second environment, as in VENV/bin/python"
        raise Refusal("path.not_found", f"--verifier {verifier}", sentence)
    _prepare(out)
    for name in embedded.NAMES:
        # one report in full is enough to read; the others are in report.json
        _one_model(out / name, name, device, verifier, say, whole=name == embedded.NAMES[-1])
    _tamper(out / embedded.NAMES[-1], verifier, say)
    _farewell(out, say)


def _prepare(out: Path) -> None:
    """An empty folder for the demonstration; an earlier demonstration's is cleared, anything else is refused."""
    check_in_no_bundle(out)
    if out.exists() and not (out / _MARK).is_file():
        raise Refusal("output.exists", str(out), "something else is here already; name another folder with --out")
    with writing(out):
        if out.exists():
            shutil.rmtree(out)
        out.mkdir(parents=True)
        (out / _MARK).write_text("made by blockcert demo; the next demonstration clears this folder\n")


def _one_model(folder: Path, name: embedded.Name, device: str, verifier: Path | None, say: Say, *, whole: bool) -> None:
    say(f"\n== {name}: extract, measure, write, sign\n")
    model, bundle, corpus = folder / "model", folder / "bundle", folder / "corpus.txt"
    shutil.copytree(embedded.path(name), model)
    corpus.write_text(generate_text(CORPUS_SEED, CORPUS_CHARACTERS), encoding="utf-8")
    job = Job(prompts=(corpus,), out=bundle, device=device)
    now = datetime.now(UTC).replace(microsecond=0)
    with progress_bar() as progress:
        produced = extract_bundle(model, job, budget=BUDGET, now=now, progress=progress)

    from blockcert_producers.cli.produced import summary

    for line in summary(produced)[:-2]:
        say(line)
    key = generate()
    certificate = sign_bundle(bundle, key)
    say(f"\n  signed: {certificate}")
    (folder / "trust.json").write_bytes(encode_policy(new_policy([NamedKey("demo", key.public)], replay=True)))

    where = "a second environment: base install" if verifier is not None else "a fresh process of this environment"
    say(f"\n== {name}: verify in {where}, no torch, no network\n")
    shown = () if whole else ("--quiet",)
    code, text = _verify(folder, verifier, bundle, "--json", str(folder / "report.json"), *shown)
    say(text)
    say(f"\n  the whole report is in {folder / 'report.json'}")
    if code != 0:
        raise Refusal("demo.verdict", str(bundle), f"the bundle must be accepted, and verify left with code {code}")


def _verify(folder: Path, verifier: Path | None, bundle: Path, *more: str) -> tuple[int, str]:
    """Exit code and output of ``blockcert verify`` in its own process, guarded."""
    words = ["verify", str(bundle), "--trust", str(folder / "trust.json"), "--reference", str(folder / "model"), *more]
    python = str(verifier) if verifier is not None else sys.executable
    done = subprocess.run([python, "-c", GUARD, *words], capture_output=True, text=True, check=False)
    return done.returncode, (done.stdout + done.stderr).rstrip()


def _tamper(folder: Path, verifier: Path | None, say: Say) -> None:
    """Change one byte of a copy of the bundle and show that it is refused."""
    say("\n== change one byte of the evidence, and verify again\n")
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "bundle"
        shutil.copytree(folder / "bundle", copy)
        target = copy / "evidence.safetensors"
        data = bytearray(target.read_bytes())
        data[len(data) // 2] ^= 1
        target.write_bytes(data)
        code, text = _verify(folder, verifier, copy, "--quiet")
    say(text.replace(str(copy), "bundle (one byte changed)"))
    if code != 1:
        raise Refusal("demo.verdict", str(copy), f"a changed byte must be rejected, and verify left with code {code}")


def _command() -> str:
    """How to call ``blockcert`` from here: by name where it is on the path, else by where it is installed."""
    if shutil.which("blockcert"):
        return "blockcert"
    installed = Path(sys.executable).with_name("blockcert")
    here = Path.cwd()
    return str(installed.relative_to(here)) if installed.is_relative_to(here) else str(installed)


def _farewell(out: Path, say: Say) -> None:
    last, command = quote(str(out / embedded.NAMES[-1])), quote(_command())
    say(
        f"\nBoth bundles were accepted, and the changed one was refused. They are in {out}. Try next:\n\n"
        f"  {command} show {last}/bundle\n"
        f"  {command} verify {last}/bundle --trust {last}/trust.json --reference {last}/model --replay all\n"
        f"  {command} extract {last}/model --prompts {last}/corpus.txt --budget 0.02 --out {quote(str(out))}/tighter"
    )
