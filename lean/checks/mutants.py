"""Mutants of the library's statements: each says a little too much, and its old proof must not prove it."""

import hashlib
import re

from runner import MESSAGE
from side_by_side import run_graph
from sources import CheckError

MUTANTS = [  # name, module, text that stands there once, text in its place
    ("a tube of radius 0", "Composition",
     "    ∀ y, dist i (runReference p x i) y ≤ radius c e i →", "    ∀ y, dist i (runReference p x i) y ≤ 0 →"),
    ("the composed bound without its start", "Composition",
     "    dist n (runReference p x n) (runSurrogate p y n) ≤ radius c e n := by",
     "    dist n (runReference p x n) (runSurrogate p y n) ≤ radius c 0 n := by"),
    ("e for L * e", "Composition",
     "  | i + 1 => (c i).lipschitz * radius c e i + (c i).error", "  | i + 1 => radius c e i + (c i).error"),
    ("an embedding that may err by more", "Composition",
     "((p 0).surrogate tokens) ≤ e)\n    (holds", "((p 0).surrogate tokens) ≤ e + 1)\n    (holds"),
    ("monotone for a negative start too", "Composition",
     "    (he0 : 0 ≤ e) (he : e ≤ e') : radius", "    (he : e ≤ e') : radius"),
    ("one hybrid step fewer", "Telescoping",
     "      sumOfSteps dist (fun k => hybrid p x k n) n := by",
     "      sumOfSteps dist (fun k => hybrid p x k n) (n - 1) := by"),
    ("a hybrid whose stage k is the reference's too", "Telescoping", "    if n < k then", "    if n ≤ k then"),
    ("one sample too many in the inequality of the audit", "Sampling",
     "(small : den * binom (rows.length - q) m ≤ num * binom rows.length m)",
     "(small : den * binom (rows.length - q) m ≤ num * binom rows.length m + 1)"),
    ("q - 1 for q in the audit", "Sampling",
     "    (atLeast : q ≤ rows.countP isFalse) :\n    (missed isFalse m rows)",
     "    (atLeast : q ≤ rows.countP isFalse + 1) :\n    (missed isFalse m rows)"),
    ("stopping at less confidence", "Stopping",
     "(small : ∀ m, 1 ≤ m → m ≤ n → den * binom (rows.length - q m) m ≤ num * binom rows.length m) :",
     "(small : ∀ m, 1 ≤ m → m ≤ n → den * binom (rows.length - q m) m ≤ num * binom rows.length m + 1) :"),
    ("K + 1 for K", "Population",
     "        (windows.countP good < statedBound windows.length n num den (draw.countP good))) ≤\n"
     "      num * (samples n windows).length :=\n  population_rule",
     "        (windows.countP good < statedBound windows.length n num den (draw.countP good) + 1)) ≤\n"
     "      num * (samples n windows).length :=\n  population_rule"),
    ("a K that need not be least", "Counting",
     "       | k + 1 => !exceeds M n num den s k))", "       | _ + 1 => true))"),
    ("alpha for each of k claims", "Counting",
     "          statedBound windows.length n num (den * goods.length) (draw.countP good))) ≤\n"
     "      num * (samples n windows).length := by\n  cases",
     "          statedBound windows.length n num den (draw.countP good))) ≤\n"
     "      num * (samples n windows).length := by\n  cases"),
    ("alpha / k for each of H files", "Strata",
     "        stratumFalse windows num (den * (goods.length * strata.length)) inside good draw) ≤",
     "        stratumFalse windows num (den * goods.length) inside good draw) ≤"),
    ("K + 1 for K in a file", "Strata",
     "    statedBound (windows.filter inside).length (draw.filter inside).length num den\n"
     "      ((draw.filter inside).countP good))",
     "    statedBound (windows.filter inside).length (draw.filter inside).length num den\n"
     "      ((draw.filter inside).countP good) + 1)"),
    ("successes in any file", "Strata",
     "    n = (heldIn h ev.strataOfRow satisfies).countP (fun b => b) ∧", "    n = satisfies.countP (fun b => b) ∧"),
    ("a bound of 0 for two programs", "Rounding",
     "(if same then 0 else leastUnit)", "(if same then 0 else 0)"),
    ("least among decimals of seven digits", "Rounding",
     "(six : m < 1000000)", "(six : m < 10000000)"),
    ("a bound of five digits", "Rounding", "  ∃ m j : Nat, m < 1000000 ∧ d =", "  ∃ m j : Nat, m < 100000 ∧ d ="),
    ("41 digits", "Numbers",
     "  wholePart d.whole = true ∧ d.whole.length ≤ 40 ∧", "  wholePart d.whole = true ∧ d.whole.length ≤ 41 ∧"),
    ("the smallest for the largest", "Aggregates",
     "largestFrom (if m ≤ q then q else m) l\n\n", "largestFrom (if m ≤ q then m else q) l\n\n"),
    ("counts that lose nothing", "Audit",
     "sumOf actual rows + rows.countP isFalse * T := by", "sumOf actual rows := by"),
    ("a basis better than a part's", "Bases",
     "    b.AtLeast (weakest b ls) ∧ ∀ l ∈ ls, l.basis.AtLeast (weakest b ls) := by",
     "    b.AtLeast (weakest b ls) ∧ ∀ l ∈ ls, (weakest b ls).AtLeast l.basis := by"),
    ("an end above what is stated", "ProvenEnds",
     "    nthRat row st.blocks ≤ e.drift := by", "    e.drift ≤ nthRat row st.blocks := by"),
]  # fmt: skip

NOT_A_MUTANT = re.compile(r"unexpected token|unknown namespace|unknown attribute|failed to synthesize")


def check_mutants(lean, modules, digests, cache, fresh, jobs, say, mutants=MUTANTS):
    """Every mutant must fail to check, and not because it says nothing; the names of the kept results."""
    refused = cache / "refused"
    refused.mkdir(exist_ok=True)
    texts, kept, survivors = {}, {}, {}
    for name, module, old, new in mutants:
        _, text, imports = modules[f"BlockCert.{module}"]
        if text.count(old) != 1:
            raise CheckError(f"mutant {name!r}: its place stands {text.count(old)} times in {module}")
        texts[name] = text.replace(old, new)
        key = hashlib.sha256("\0".join([texts[name], *(digests[x] for x in imports)]).encode()).hexdigest()[:32]
        kept[name] = refused / f"{key}.json"

    def check(name):
        if kept[name].is_file() and not fresh:
            lean.used.add_kept(kept[name])
            say(f"mutant {name!r}: refused (as before)")
            return
        file = f"Mutant{list(texts).index(name)}.lean"
        (lean.work / file).write_text(texts[name], encoding="utf-8")
        ran = lean(file)
        errors = [x for x in ran.lines if MESSAGE.match(x) and ": error" in x]
        if ran.status == 0 or not errors:
            survivors[name] = "it checks, or gives no error"
        elif any(NOT_A_MUTANT.search(x) for x in errors):
            survivors[name] = f"it is not a statement: {errors[0]}"
        else:
            ran.write_used(kept[name])
        say(f"mutant {name!r}: {survivors.get(name, 'refused')}")

    run_graph(dict.fromkeys(texts, ()), check, jobs, lean.stop)
    if survivors:
        raise CheckError("mutants:\n" + "\n".join(f"{name}: {survivors[name]}" for name in texts if name in survivors))
    say(f"mutants: {len(texts)} statements that say too much, none of them checks")
    return {path.name for path in kept.values()}
