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
differ in one stage (`hybrid_agree`), so the drift at the end is at most the sum of the distances of neighbours:
`drift_le_sum_of_hybrid_steps`.  The distances are measured, so the bound attributes the drift to the
stages; it needs nothing but the triangle inequality.  This is the `telescoping` composition of
BC-CLM-04, over the column `attribution.hybrid_step` of BC-EVD-01.
-/

namespace BlockCert

variable {State : Nat → Type v}

/-- The state after `n` stages of the hybrid that runs the first `k` stages by the reference and the others
by the surrogate, both from the tokens `x`.  `hybrid p x 0` is the surrogate throughout (the standard's
`H_{-1}`); `hybrid p x (i + 1)` runs the reference through stage `i` and the surrogate from stage `i + 1` on
(the standard's `H_i`). -/
def hybrid (p : Programs State) (x : State 0) (k : Nat) : (n : Nat) → State n
  | 0 => x
  | n + 1 =>
    if n < k then (p n).reference (hybrid p x k n) else (p n).surrogate (hybrid p x k n)

/-- The first hybrid is the surrogate. -/
theorem hybrid_first (p : Programs State) (x : State 0) (n : Nat) :
    hybrid p x 0 n = runSurrogate p x n := by
  induction n with
  | zero => rfl
  | succ n ih => rw [hybrid, if_neg (Nat.not_lt_zero n), ih, runSurrogate]

/-- The last hybrid is the reference. -/
theorem hybrid_last (p : Programs State) (x : State 0) (k n : Nat) (h : n ≤ k) :
    hybrid p x k n = runReference p x n := by
  induction n with
  | zero => rfl
  | succ n ih => rw [hybrid, if_pos (show n < k from h), ih (by omega), runReference]

/-- Two neighbouring hybrids agree up to the one stage in which they differ. -/
theorem hybrid_agree (p : Programs State) (x : State 0) (k : Nat) :
    hybrid p x (k + 1) k = hybrid p x k k := by
  rw [hybrid_last p x (k + 1) k (by omega), hybrid_last p x k k (Nat.le_refl k)]

section Steps
variable {α : Type v} {R : Type u} [CommRing R] [LE R]

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
/-- **Telescoping.**  The distance of the two programs after `n` stages is at most the sum over the stages
`i = 0 … n - 1` of the hybrid steps `D_i = dist (H_i) (H_{i-1})`. -/
theorem drift_le_sum_of_hybrid_steps (p : Programs State) (x : State 0) (n : Nat)
    (dist : State n → State n → R) (triangle : ∀ a b c, dist a c ≤ dist a b + dist b c)
    (self : ∀ a, dist a a ≤ 0) :
    dist (runReference p x n) (runSurrogate p x n) ≤
      sumOfSteps dist (fun k => hybrid p x k n) n := by
  have h := dist_ends_le_sumOfSteps dist triangle self (fun k => hybrid p x k n) n
  rwa [hybrid_last p x n n (Nat.le_refl n), hybrid_first] at h

omit [Std.LawfulOrderLT R] in
/-- Over listed prompts: a number that is at least every prompt's sum of hybrid steps is at least
every prompt's drift. -/
theorem drift_le_of_hybrid_steps_le (p : Programs State) (prompts : List (State 0)) (n : Nat)
    (dist : State n → State n → R) (triangle : ∀ a b c, dist a c ≤ dist a b + dist b c)
    (self : ∀ a, dist a a ≤ 0) (bound : R)
    (le : ∀ x ∈ prompts, sumOfSteps dist (fun k => hybrid p x k n) n ≤ bound) :
    ∀ x ∈ prompts, dist (runReference p x n) (runSurrogate p x n) ≤ bound := fun x hx =>
  Std.le_trans (drift_le_sum_of_hybrid_steps p x n dist triangle self) (le x hx)

end Steps

end BlockCert
