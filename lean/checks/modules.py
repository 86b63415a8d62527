"""Checking the modules of the library along their imports; a result is kept under a digest of all it depends on."""

import hashlib
import shutil
import tempfile
import time
from pathlib import Path

from runner import messages
from side_by_side import run_graph
from sources import CheckError

USED = "used.json"
"""Beside a kept result: what it cost when it was found."""


def check_modules(lean, modules, home, cache, fresh, jobs, say):
    """Check every module, warnings counting as failures; the digest of each, under which its result is kept."""
    checked = cache / "checked"
    checked.mkdir(exist_ok=True)
    digests = {}
    for name, (_, text, imports) in modules.items():
        parts = [home.name, name, text, *(digests[x] for x in imports)]
        digests[name] = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
        file = lean.work / _file(name)
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def check(name):
        kept = checked / digests[name]
        if kept.is_dir() and not fresh:
            _take(lean, _file(name), kept)
            say(f"checked {name} (as before)")
        else:
            started = time.monotonic()
            _check(lean, _file(name), kept)
            say(f"checked {name} ({time.monotonic() - started:.0f} s)")

    run_graph({name: imports for name, (_, _, imports) in modules.items()}, check, jobs, lean.stop)
    return digests


def _file(name):
    return name.replace(".", "/") + ".lean"


def _take(lean, file, kept):
    for path in kept.iterdir():
        if path.name != USED:
            shutil.copy(path, (lean.work / file).parent)
    lean.used.add_kept(kept / USED)


def _check(lean, file, kept):
    stem = file.removesuffix(".lean")
    ran = lean("-o", f"{stem}.olean", file)
    found = messages(ran.lines)
    if ran.status != 0 or found:
        raise CheckError(f"{file}:\n" + "\n".join(found or ran.lines[-20:]))
    part = Path(tempfile.mkdtemp(prefix="part-", dir=kept.parent))
    for path in (lean.work / file).parent.glob(f"{Path(stem).name}.*"):
        if path.suffix != ".lean":
            shutil.copy(path, part)
    ran.write_used(part / USED)
    shutil.rmtree(kept, ignore_errors=True)
    try:
        part.rename(kept)
    except OSError:  # another run was quicker
        shutil.rmtree(part)
