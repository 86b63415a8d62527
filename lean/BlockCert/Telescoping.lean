/-
The telescoping bound over hybrids of two programs.  Lean core only.
-/
module

public import BlockCert.Composition

open Lean.Grind

@[expose] public noncomputable section

/-!
# Telescoping

A hybrid runs the reference up to some stage and the surrogate from there on.  Neighbouring hybrids
differ in one stage, so the drift at the end is at most the sum of the distances of neighbours:
`drift_le_sum_of_hybrid_steps`.  The distances are measured, so the bound attributes the drift to the
stages; it needs nothing but the triangle inequality.  This is the `telescoping` composition of
BC-CLM-04, over the column `attribution.hybrid_step` of BC-EVD-01.
-/

namespace BlockCert

variable {α : Type v} {R : Type u} [CommRing R] [LE R]

/-- The hybrids of blocks `1 … n`, where the reference enters block 1 with `x` and the surrogate with
`y`.  `hybrid 0` is the surrogate throughout (the standard's `H_{-1}`); `hybrid (i + 1)` runs the
reference through block `i` and the surrogate from block `i + 1` on (the standard's `H_i`). -/
def hybrid (bs : List (Block α)) (x y : α) : Nat → α
  | 0 => runSurrogate bs y
  | i + 1 => runSurrogate (bs.drop i) (runReference (bs.take i) x)

omit [CommRing R] [LE R] in
/-- The first hybrid is the surrogate. -/
theorem hybrid_first (bs : List (Block α)) (x y : α) : hybrid bs x y 0 = runSurrogate bs y := rfl

omit [CommRing R] [LE R] in
/-- The last hybrid is the reference. -/
theorem hybrid_last (bs : List (Block α)) (x y : α) :
    hybrid bs x y (bs.length + 1) = runReference bs x := by
  simp [hybrid, runSurrogate]

/-- `Σ_{i < n} dist (h (i + 1)) (h i)`. -/
def sumOfSteps (dist : α → α → R) (h : Nat → α) : Nat → R
  | 0 => 0
  | n + 1 => sumOfSteps dist h n + dist (h (n + 1)) (h n)

variable [LT R] [Std.IsPartialOrder R] [Std.LawfulOrderLT R] [OrderedRing R]

omit [Std.LawfulOrderLT R] in
/-- The distance of the ends of a finite path is at most the sum of its steps. -/
theorem dist_ends_le_sumOfSteps (dist : α → α → R)
    (triangle : ∀ a b c, dist a c ≤ dist a b + dist b c) (self : ∀ a, dist a a ≤ 0)
    (h : Nat → α) (n : Nat) : dist (h n) (h 0) ≤ sumOfSteps dist h n := by
  induction n with
  | zero => exact self _
  | succ n ih =>
    have h1 := triangle (h (n + 1)) (h n) (h 0)
    have h2 := OrderedAdd.add_le_add (Std.le_refl (dist (h (n + 1)) (h n))) ih
    rw [Semiring.add_comm _ (sumOfSteps dist h n)] at h2
    exact Std.le_trans h1 h2

omit [Std.LawfulOrderLT R] in
/-- **Telescoping.**  The drift after block `n` is at most the sum over the stages `i = 0 … n` of the
hybrid steps `D_i = dist (H_i) (H_{i-1})`. -/
theorem drift_le_sum_of_hybrid_steps (dist : α → α → R)
    (triangle : ∀ a b c, dist a c ≤ dist a b + dist b c) (self : ∀ a, dist a a ≤ 0)
    (bs : List (Block α)) (x y : α) :
    dist (runReference bs x) (runSurrogate bs y) ≤
      sumOfSteps dist (hybrid bs x y) (bs.length + 1) := by
  have h := dist_ends_le_sumOfSteps dist triangle self (hybrid bs x y) (bs.length + 1)
  rwa [hybrid_last, hybrid_first] at h

omit [Std.LawfulOrderLT R] in
/-- Over listed prompts: a number that is at least every prompt's sum of hybrid steps is at least
every prompt's drift. -/
theorem drift_le_of_hybrid_steps_le {P : Type w} (dist : α → α → R)
    (triangle : ∀ a b c, dist a c ≤ dist a b + dist b c) (self : ∀ a, dist a a ≤ 0)
    (bs : List (Block α)) (prompts : List P) (x y : P → α) (bound : R)
    (le : ∀ p ∈ prompts, sumOfSteps dist (hybrid bs (x p) (y p)) (bs.length + 1) ≤ bound) :
    ∀ p ∈ prompts, dist (runReference bs (x p)) (runSurrogate bs (y p)) ≤ bound := fun p hp =>
  Std.le_trans (drift_le_sum_of_hybrid_steps dist triangle self bs (x p) (y p)) (le p hp)

end BlockCert
