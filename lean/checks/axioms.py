"""The scan of axioms: what each theorem of the compiled modules rests on, and planted controls that it must find."""

import re

from runner import messages
from sources import CHECKS, COMMANDS, CheckError, theorems

CONTROLS = {  # what the scan must say of the planted declarations
    ("theorem", "BlockCert.Controls.unproved"): "sorryAx",
    ("theorem", "BlockCert.Controls.built_on_unproved"): "sorryAx",
    ("axiom", "BlockCert.Controls.assumed"): "BlockCert.Controls.assumed",
    ("theorem", "BlockCert.Controls.built_on_assumed"): "BlockCert.Controls.assumed",
    ("theorem", "BlockCert.Controls.proved"): "",
}


def scan_axioms(lean, modules, cache, say):
    """How many theorems are stated and how many compiled, none of which rests on an axiom outside Lean's library."""
    for name in COMMANDS:
        if re.search(r"\b(theorem|lemma|example)\b", modules[name][1]):
            raise CheckError(f"{name} must not contain theorems: the scan cannot import all of it")
    modules = {name: modules[name] for name in modules if name not in COMMANDS}
    names = [*modules, "BlockCert.Controls"]
    found = _listed(_run_scan(lean, names), names)
    for key, expected in CONTROLS.items():
        said = found["BlockCert.Controls"].get(key)
        if said != expected:
            raise CheckError(f"control {key[1]}: the scan says {said!r}, not {expected!r}")
    say(f"axioms: {len(CONTROLS)} planted controls found out as expected")
    bad, compiled, stated = [], [], 0
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
        compiled += [f"{module}: {name}" for name in sorted(scanned)]
    if bad:
        raise CheckError("axioms:\n" + "\n".join(bad))
    (cache / "theorems.txt").write_text("\n".join(compiled) + "\n", encoding="utf-8")
    say(f"axioms: {len(compiled)} theorems in the compiled modules (those stated and those that Lean adds) rest on")
    say(f"  nothing but Lean's own library, as far as this build shows it; listed in {cache / 'theorems.txt'}")
    return {"stated": stated, "compiled": len(compiled)}


def _run_scan(lean, names):
    """The lines that `Scan.lean` prints about these modules; the controls are compiled for it."""
    (lean.work / "BlockCert/Controls.lean").write_bytes((CHECKS / "Controls.lean").read_bytes())
    ran = lean("-o", "BlockCert/Controls.olean", "BlockCert/Controls.lean")
    if ran.status != 0:
        raise CheckError("checks/Controls.lean:\n" + "\n".join(messages(ran.lines)))
    text = (CHECKS / "Scan.lean").read_text(encoding="utf-8")
    imports = "".join(f"import all {name}\n" for name in names)
    text = text.replace("public meta import Lean\n", "public meta import Lean\n" + imports, 1)
    (lean.work / "Scan.lean").write_text(text, encoding="utf-8")
    ran = lean("Scan.lean")
    if ran.status != 0 or messages(ran.lines) or "DONE" not in ran.lines:
        raise CheckError("the scan did not finish:\n" + "\n".join(messages(ran.lines) or ran.lines[-20:]))
    return ran.lines


def _listed(lines, names):
    """For each module, by kind and name, what a declaration rests on."""
    found, module = {name: {} for name in names}, None
    for line in lines:
        if line.startswith("MODULE "):
            module = line.removeprefix("MODULE ")
        elif line.startswith("AXIOMS "):
            _, kind, rest = line.split(" ", 2)
            name, suspects = rest.split(":", 1)
            found[module][kind, name] = suspects.strip()
    return found
