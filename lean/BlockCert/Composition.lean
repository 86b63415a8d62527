/-
Composition of per-block error bounds along a chain of blocks.  Lean core only.
-/
module

open Lean.Grind

@[expose] public section

/-!
# Composition by Lipschitz constants

A reference program and a surrogate are two chains of blocks.  The reference starts from `x`, the
surrogate from `y` (the outputs of their embeddings).  From a bound on `dist x y`, an error bound of
every block at the reference's own input, and a Lipschitz constant of every surrogate block near the
reference's trajectory, this file derives a bound on the distance of the two ends:

* `recurrence_eq_sum`: the recurrence `e ↦ L * e + error` is the sum of the errors, each times the
  product of the later Lipschitz constants;
* `drift_le_recurrence`: the distance of the ends is at most the recurrence, where each Lipschitz
  condition is asked only of points within the radius composed so far (the tube);
* `recurrence_mono`: rounding the constants up keeps the bound a bound;
* `check_sound`: what the executable check `Certificate.check` accepts is true under the hypotheses.

Distances live in any ordered commutative ring `R`, constants of a certificate in `Rat`.

The recurrence is the `lipschitz` composition of BC-CLM-04, over the constants of BC-CLM-03; that it
runs on the printed constants, rounded up by BC-NUM-03, is covered by `check_sound_rounded`.
-/

namespace BlockCert

/-- The two numbers stated of a block: the bound on its error at the reference's own input, and the
Lipschitz constant of the surrogate's block. -/
structure Step (R : Type u) where
  error : R
  lipschitz : R

section Algebra
variable {R : Type u} [CommRing R]

/-- The composed bound: start from `e`, and at every block `e ↦ lipschitz * e + error`. -/
def recurrence : List (Step R) → R → R
  | [], e => e
  | c :: cs, e => recurrence cs (c.lipschitz * e + c.error)

/-- The product of the Lipschitz constants. -/
def product : List (Step R) → R
  | [] => 1
  | c :: cs => c.lipschitz * product cs

/-- The sum of the errors, each times the product of the later Lipschitz constants. -/
def closed : List (Step R) → R
  | [] => 0
  | c :: cs => c.error * product cs + closed cs

/-- The recurrence is affine in its start. -/
theorem recurrence_eq_closed (cs : List (Step R)) (e : R) :
    recurrence cs e = e * product cs + closed cs := by
  induction cs generalizing e with
  | nil => simp only [recurrence, product, closed]; grind
  | cons c cs ih => simp only [recurrence, product, closed, ih]; grind

/-- From a common start the recurrence is the closed form. -/
theorem recurrence_zero (cs : List (Step R)) : recurrence cs 0 = closed cs := by
  rw [recurrence_eq_closed]; grind

/-- `closed` with explicit indices; blocks are counted from zero here. -/
theorem closed_eq_sum (cs : List (Step R)) :
    closed cs = ((List.range cs.length).map fun i =>
      (cs.map (·.error)).getD i 0 * product (cs.drop (i + 1))).sum := by
  induction cs with
  | nil => simp [closed]
  | cons c cs ih =>
    simp only [closed, List.length_cons, List.range_succ_eq_map, List.map_cons, List.map_map,
      List.sum_cons, ih]
    rfl

/-- The recurrence from `e = error 0` over blocks `1 … n` is
`Σ_{i = 0 … n} error i * Π_{j = i+1 … n} lipschitz j`. -/
theorem recurrence_eq_sum (cs : List (Step R)) (e : R) :
    recurrence cs e = ((List.range (cs.length + 1)).map fun i =>
      (e :: cs.map (·.error)).getD i 0 * product (cs.drop i)).sum := by
  rw [recurrence_eq_closed, closed_eq_sum, List.range_succ_eq_map, List.map_cons, List.sum_cons,
    List.map_map]
  rfl

end Algebra

/-- A block of both programs. -/
structure Block (α : Type v) where
  reference : α → α
  surrogate : α → α

variable {α : Type v}

/-- The reference's chain. -/
def runReference : List (Block α) → α → α
  | [], x => x
  | b :: bs, x => runReference bs (b.reference x)

/-- The surrogate's chain. -/
def runSurrogate : List (Block α) → α → α
  | [], y => y
  | b :: bs, y => runSurrogate bs (b.surrogate y)

section Order
variable {R : Type u} [CommRing R] [LE R]

/-- The constants hold along the reference's trajectory from `x`, the radius composed so far being
`e`: the lists have the same length, and at every block, with input `x` of the reference,

* the Lipschitz constant is nonnegative;
* the two outputs at `x` are within the error;
* for every `y` within the radius `e` of `x`, the surrogate's outputs at `x` and `y` are within the
  Lipschitz constant times the distance of `x` and `y` (BC-CLM-03). -/
def HoldsAlong (dist : α → α → R) : List (Block α) → List (Step R) → α → R → Prop
  | [], [], _, _ => True
  | b :: bs, c :: cs, x, e =>
    0 ≤ c.lipschitz ∧
    dist (b.reference x) (b.surrogate x) ≤ c.error ∧
    (∀ y, dist x y ≤ e → dist (b.surrogate x) (b.surrogate y) ≤ c.lipschitz * dist x y) ∧
    HoldsAlong dist bs cs (b.reference x) (c.lipschitz * e + c.error)
  | _, _, _, _ => False

/-- The first list's constants are nonnegative and at most those of the second. -/
def AtMost : List (Step R) → List (Step R) → Prop
  | [], [] => True
  | c :: cs, d :: ds =>
    0 ≤ c.error ∧ 0 ≤ c.lipschitz ∧ c.error ≤ d.error ∧ c.lipschitz ≤ d.lipschitz ∧ AtMost cs ds
  | _, _ => False

variable [LT R] [Std.IsPartialOrder R] [Std.LawfulOrderLT R] [OrderedRing R]

/-- **Composition.**  If the two programs start within `e` of each other and the constants hold along
the reference's trajectory, they end within the recurrence from `e`. -/
theorem drift_le_recurrence (dist : α → α → R) (triangle : ∀ a b c, dist a c ≤ dist a b + dist b c)
    (bs : List (Block α)) (cs : List (Step R)) (x y : α) (e : R)
    (start : dist x y ≤ e) (holds : HoldsAlong dist bs cs x e) :
    dist (runReference bs x) (runSurrogate bs y) ≤ recurrence cs e := by
  induction bs generalizing cs x y e with
  | nil =>
    cases cs with
    | nil => exact start
    | cons c cs => exact holds.elim
  | cons b bs ih =>
    cases cs with
    | nil => exact holds.elim
    | cons c cs =>
      obtain ⟨hL, herror, hlip, holds⟩ := holds
      refine ih cs (b.reference x) (b.surrogate y) _ ?_ holds
      have h1 := triangle (b.reference x) (b.surrogate x) (b.surrogate y)
      have h2 := Std.le_trans (hlip y start) (OrderedRing.mul_le_mul_of_nonneg_left start hL)
      have h3 := OrderedAdd.add_le_add herror h2
      rw [Semiring.add_comm c.error] at h3
      exact Std.le_trans h1 h3

/-- From a common start the bound is the closed form. -/
theorem drift_le_closed (dist : α → α → R) (triangle : ∀ a b c, dist a c ≤ dist a b + dist b c)
    (self : ∀ a, dist a a ≤ 0) (bs : List (Block α)) (cs : List (Step R)) (x : α)
    (holds : HoldsAlong dist bs cs x 0) :
    dist (runReference bs x) (runSurrogate bs x) ≤ closed cs := by
  have h := drift_le_recurrence dist triangle bs cs x x 0 (self x) holds
  rwa [recurrence_zero] at h

omit [Std.LawfulOrderLT R] in
theorem add_nonneg {a b : R} (ha : 0 ≤ a) (hb : 0 ≤ b) : 0 ≤ a + b := by
  have h := OrderedAdd.add_le_add ha hb
  rwa [Semiring.add_zero] at h

/-- **Monotonicity.**  Larger constants and a larger start give a larger bound, so rounding up is
safe. -/
theorem recurrence_mono (cs ds : List (Step R)) (e e' : R) (h : AtMost cs ds) (he0 : 0 ≤ e)
    (he : e ≤ e') : recurrence cs e ≤ recurrence ds e' := by
  induction cs generalizing ds e e' with
  | nil =>
    cases ds with
    | nil => exact he
    | cons d ds => exact h.elim
  | cons c cs ih =>
    cases ds with
    | nil => exact h.elim
    | cons d ds =>
      obtain ⟨herror, hL, h1, h2, h⟩ := h
      have he0' : 0 ≤ e' := Std.le_trans he0 he
      refine ih ds _ _ h (add_nonneg (OrderedRing.mul_nonneg hL he0) herror) ?_
      refine OrderedAdd.add_le_add ?_ h1
      exact Std.le_trans (OrderedRing.mul_le_mul_of_nonneg_left he hL)
        (OrderedRing.mul_le_mul_of_nonneg_right h2 he0')

end Order

section Checker

/-- A composition certificate: a bound on the distance at the start, the constants of blocks
`1 … n`, and the claimed bound on the distance at the end. -/
structure Certificate where
  start : Rat
  steps : List (Step Rat)
  bound : Rat

/-- All constants are nonnegative. -/
def nonnegative : List (Step Rat) → Bool
  | [] => true
  | c :: cs => decide (0 ≤ c.error) && decide (0 ≤ c.lipschitz) && nonnegative cs

/-- The recurrence on rationals, as the checker runs it. -/
def recurrenceRat : List (Step Rat) → Rat → Rat
  | [], e => e
  | c :: cs, e => recurrenceRat cs (c.lipschitz * e + c.error)

theorem recurrenceRat_eq (cs : List (Step Rat)) (e : Rat) :
    recurrenceRat cs e = recurrence cs e := by
  induction cs generalizing e with
  | nil => rfl
  | cons c cs ih => exact ih _

/-- The executable check: no negative number, and the composed bound is at most the claimed one.
(BC-CLM-01 and 04 ask more of a claim: to be the composed bound rounded up.) -/
def Certificate.check (c : Certificate) : Bool :=
  decide (0 ≤ c.start) && nonnegative c.steps && decide (recurrenceRat c.steps c.start ≤ c.bound)

/-- An order preserving map of rings from the rationals: the identity for the rationals themselves,
the cast for the real numbers. -/
structure OrdHom {R : Type u} [CommRing R] [LE R] (φ : Rat → R) : Prop where
  zero : φ 0 = 0
  add : ∀ a b, φ (a + b) = φ a + φ b
  mul : ∀ a b, φ (a * b) = φ a * φ b
  mono : ∀ a b, a ≤ b → φ a ≤ φ b

theorem OrdHom.id : OrdHom (fun a : Rat => a) :=
  ⟨rfl, fun _ _ => rfl, fun _ _ => rfl, fun _ _ h => h⟩

/-- A step's constants as elements of `R`. -/
def Step.cast {R : Type u} (φ : Rat → R) (c : Step Rat) : Step R :=
  { error := φ c.error, lipschitz := φ c.lipschitz }

variable {R : Type u} [CommRing R] [LE R]

theorem OrdHom.recurrence {φ : Rat → R} (hφ : OrdHom φ) (cs : List (Step Rat)) (e : Rat) :
    recurrence (cs.map (Step.cast φ)) (φ e) = φ (BlockCert.recurrence cs e) := by
  induction cs generalizing e with
  | nil => rfl
  | cons c cs ih =>
    simp only [List.map_cons, BlockCert.recurrence, Step.cast]
    rw [← hφ.mul, ← hφ.add]
    exact ih _

variable [LT R] [Std.IsPartialOrder R] [Std.LawfulOrderLT R] [OrderedRing R]

/-- **Soundness of the check.**  Let a certificate be accepted.  If the two programs start within its
`start`, and its constants hold along the reference's trajectory, then the programs end within its
`bound`. -/
theorem check_sound (φ : Rat → R) (hφ : OrdHom φ) (c : Certificate) (accepted : c.check = true)
    (dist : α → α → R) (triangle : ∀ a b c, dist a c ≤ dist a b + dist b c)
    (bs : List (Block α)) (x y : α) (start : dist x y ≤ φ c.start)
    (holds : HoldsAlong dist bs (c.steps.map (Step.cast φ)) x (φ c.start)) :
    dist (runReference bs x) (runSurrogate bs y) ≤ φ c.bound := by
  have h := drift_le_recurrence dist triangle bs _ x y _ start holds
  rw [hφ.recurrence] at h
  simp only [Certificate.check, Bool.and_eq_true, decide_eq_true_eq, recurrenceRat_eq] at accepted
  exact Std.le_trans h (hφ.mono _ _ accepted.2)

/-- Soundness for rounded constants: the true constants `cs` and the true start `e`, which hold along
the trajectory, may be anything up to the certificate's. -/
theorem check_sound_rounded (φ : Rat → R) (hφ : OrdHom φ) (c : Certificate)
    (accepted : c.check = true)
    (dist : α → α → R) (triangle : ∀ a b c, dist a c ≤ dist a b + dist b c)
    (bs : List (Block α)) (cs : List (Step R)) (x y : α) (e : R)
    (nonneg : 0 ≤ e) (start : dist x y ≤ e) (holds : HoldsAlong dist bs cs x e)
    (rounded_start : e ≤ φ c.start) (rounded : AtMost cs (c.steps.map (Step.cast φ))) :
    dist (runReference bs x) (runSurrogate bs y) ≤ φ c.bound := by
  have h1 := drift_le_recurrence dist triangle bs cs x y e start holds
  have h2 := recurrence_mono cs _ e _ rounded nonneg rounded_start
  rw [hφ.recurrence] at h2
  simp only [Certificate.check, Bool.and_eq_true, decide_eq_true_eq, recurrenceRat_eq] at accepted
  exact Std.le_trans h1 (Std.le_trans h2 (hφ.mono _ _ accepted.2))

end Checker

end BlockCert
