"""Verifying without replay beside ``model-signing`` (OpenSSF), over the same 2 GiB of reference files.

It needs an environment of its own with ``model-signing==1.1.1`` and ``pyopenssl``; name its folder in
``BLOCKCERT_MODEL_SIGNING``. Both sides are whole processes with the files in the page cache.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from statistics import median
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from blockcert.trust import encode_policy
from tests.benchmarks.processes import interpreter
from tests.support.bundles import Made, change_statement, make_bundle, reseal

__all__ = ["VARIABLE", "report"]

VARIABLE = "BLOCKCERT_MODEL_SIGNING"
FILES, EACH = 4, 512 << 20
ROUNDS = 5


def _bundle(folder: Path) -> Made:
    """A signed bundle whose reference model has four large files more."""
    made = make_bundle(folder)
    names = [f"large-{i}.safetensors" for i in range(FILES)]
    for name in names:
        with (made.model / name).open("wb") as handle:
            for _ in range(EACH >> 20):
                handle.write(os.urandom(1 << 20))

    def add(statement: dict[str, Any]) -> None:
        for name in names:
            digest = {"blake3": "0" * 64, "sha256": "0" * 64}
            statement["subject"].append({"name": f"reference/{name}", "digest": digest})
            statement["predicate"]["files"].append({"name": f"reference/{name}", "size": EACH})

    change_statement(made, add)
    reseal(made)
    return made


_WATCHED = """
import atexit, runpy, sys
peak = lambda: [line for line in open('/proc/self/status') if line.startswith('VmHWM')][0].split()[1]
atexit.register(lambda: print('PEAK', peak(), file=sys.stderr))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""
"""Runs a script and says at its end how much memory was resident at most: a parent's own view includes itself."""


def _timed(python: str, words: list[str]) -> tuple[float, float]:
    """Seconds and peak resident MiB of a Python script that must succeed."""
    begin = time.perf_counter()
    done = subprocess.run([python, "-c", _WATCHED, *words], capture_output=True, check=False)
    seconds = time.perf_counter() - begin
    said = done.stderr.decode(errors="replace")
    if done.returncode:
        raise RuntimeError(f"{words[0]} ended with {done.returncode}: {said[-400:]}")
    return seconds, int(said.rpartition("PEAK ")[2]) / 1024


def _keys(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / "ec.key", folder / "ec.pub"
    plain = serialization.NoEncryption()
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, form))
    return private, public


def _verifying(folder: Path, theirs: Path) -> list[str]:
    made = _bundle(folder)
    trust = folder / "trust.json"
    trust.write_bytes(encode_policy(made.without_replay))
    python, where = interpreter()
    ours = [str(Path(python).with_name("blockcert")), "verify", str(made.bundle)]
    ours += ["--trust", str(trust), "--reference", str(made.model), "--replay", "0", "--at", "2026-11-23T00:00:00Z"]
    tool, (private, public) = str(theirs / "bin" / "model_signing"), _keys(folder)
    signature = str(folder / "model.sig")
    _timed(
        str(theirs / "bin" / "python"),
        [tool, "sign", "key", "--private_key", str(private), "--signature", signature, str(made.model)],
    )
    check = [tool, "verify", "key", "--public_key", str(public), "--signature", signature, str(made.model)]
    taken: dict[str, list[tuple[float, float]]] = {"model-signing verify": [], "blockcert verify, no replay": []}
    for _ in range(ROUNDS):
        for name, runs, words in zip(taken, (str(theirs / "bin" / "python"), python), (check, ours), strict=True):
            taken[name].append(_timed(runs, words))
    times = {name: median(one[0] for one in found) for name, found in taken.items()}
    what = f"Verifying {FILES} files of {EACH >> 20} MiB, whole processes, {where}, medians of {ROUNDS}"
    lines = [f"{what} (aim: 3 times faster)"]
    for name, found in taken.items():
        ratio = times["model-signing verify"] / times[name]
        peak = max(one[1] for one in found)
        lines.append(f"  {name:28} {times[name]:6.2f} s   {ratio:4.2f} x as fast   {peak:5.0f} MiB resident at most")
    return lines


def report(folder: Path) -> list[str]:
    """Lines: seconds, ratio and peak memory of both; or that it was skipped and how to run it."""
    where = os.environ.get(VARIABLE)
    if where is None or not (Path(where) / "bin" / "model_signing").exists():
        return [
            "Verifying beside model-signing: skipped",
            f"  make an environment with model-signing==1.1.1 and pyopenssl, and name it in {VARIABLE}",
        ]
    folder.mkdir(parents=True, exist_ok=True)
    return _verifying(folder, Path(where))
