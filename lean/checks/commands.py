"""Running the library's commands: `blockcert-check` on given files, `blockcert-compose` on the examples."""

import re
import shutil
import sys

from sources import SOURCES, CheckError, without_theorems


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
    lines = lean("--run", "Judge.lean", "--list", "names.txt").lines  # the exit status means nothing in this build
    answers = {}
    for line in lines:
        name, colon, answer = line.partition(": ")
        if colon and name in names:
            answers[name] = answer
    for name in words[::2]:
        if name not in answers:
            raise CheckError("the command did not answer:\n" + "\n".join(lines[-20:]))
        sys.stdout.write(f"{names[name]}: {answers[name]}\n")


def run_examples(lean, modules, say):
    """How many examples `blockcert-compose` was run on; what it prints must be what `expected.txt` says."""
    examples = SOURCES / "examples"
    expected = (examples / "expected.txt").read_text(encoding="utf-8").splitlines()
    files = sorted(path.name for path in examples.glob("*.json"))
    if sorted(line.split(":")[0] for line in expected) != files:
        raise CheckError("examples/expected.txt does not name exactly the examples that are there")
    for name in files:
        shutil.copy(examples / name, lean.work)
    (lean.work / "Run.lean").write_text(whole_program(modules, "BlockCert.Main"), encoding="utf-8")
    lines = lean("--run", "Run.lean", *files).lines  # the exit status means nothing in this build
    printed = [x for x in lines if x.split(":")[0] in files]
    if printed != sorted(expected):
        shown = "\n".join([f"- {x}" for x in sorted(expected)] + [f"+ {x}" for x in printed or lines[-20:]])
        raise CheckError(f"the verdicts on the examples differ from the expected ones:\n{shown}")
    verdicts = [x.split(": ")[1].split(" ")[0] for x in printed]
    counts = ", ".join(f"{verdicts.count(x)} {x}" for x in dict.fromkeys(verdicts))
    say(f"examples: {len(files)} verdicts as expected ({counts})")
    return len(files)


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
