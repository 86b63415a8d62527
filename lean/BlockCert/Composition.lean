/-
Composition of error bounds along the stages of two programs.  Lean core only.
-/
module

open Lean.Grind

@[expose] public section

/-!
# Composition by Lipschitz constants

A reference program and a surrogate are two chains of stages: embedding, blocks and head.  Between any two
stages stands a state, and every place of the chain has a type of states of its own and a distance on it:
tokens before the embedding, hidden states after it and after each block, logits after the head.  From a
bound on the distance of the two starts, an error bound of every stage at the reference's own input, and a
Lipschitz constant of every surrogate stage near the reference's trajectory, this file derives a bound on
the distance of the two programs after every stage:

* `recurrence_eq_sum`: the recurrence `e ↦ L * e + error` is the sum of the errors, each times the
  product of the later Lipschitz constants;
* `drift_le_radius`: the distance after `n` stages is at most the radius composed so far, where each
  Lipschitz condition is asked only of points within that radius (the tube); `drift_le_recurrence` says so
  of a list of constants, and `drift_le_from_tokens` of two programs that read the same tokens, the
  embedding having an error and no constant;
* `radius_mono`: rounding the constants up keeps the bound a bound;
* `check_sound`: what the executable check `Certificate.check` accepts is true under the hypotheses.

Distances live in any ordered commutative ring `R`, constants of a certificate in `Rat`.

The recurrence is the `lipschitz` composition of BC-CLM-04, over the constants of BC-CLM-03; that it
runs on the printed constants, rounded up by BC-NUM-03, is covered by `check_sound_rounded`.

Not said here: that the stages are those of a transformer with the weights of any model, nor that the error
and Lipschitz bounds hold of them; nor anything of what floating point computes of them.
-/

namespace BlockCert

/-- The two numbers stated of a stage: the bound on its error at the reference's own input, and the
Lipschitz constant of the surrogate's stage. -/
structure Step (R : Type u) where
  error : R
  lipschitz : R

section Algebra
variable {R : Type u} [CommRing R]

/-- The composed bound: start from `e`, and at every stage `e ↦ lipschitz * e + error`. -/
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

/-- `closed` with explicit indices; stages are counted from zero here. -/
theorem closed_eq_sum (cs : List (Step R)) :
    closed cs = ((List.range cs.length).map fun i =>
      (cs.map (·.error)).getD i 0 * product (cs.drop (i + 1))).sum := by
  induction cs with
  | nil => simp [closed]
  | cons c cs ih =>
    simp only [closed, List.length_cons, List.range_succ_eq_map, List.map_cons, List.map_map,
      List.sum_cons, ih]
    rfl

/-- The recurrence from `e = error 0` over stages `1 … n` is
`Σ_{i = 0 … n} error i * Π_{j = i+1 … n} lipschitz j`. -/
theorem recurrence_eq_sum (cs : List (Step R)) (e : R) :
    recurrence cs e = ((List.range (cs.length + 1)).map fun i =>
      (e :: cs.map (·.error)).getD i 0 * product (cs.drop i)).sum := by
  rw [recurrence_eq_closed, closed_eq_sum, List.range_succ_eq_map, List.map_cons, List.sum_cons,
    List.map_map]
  rfl

/-- The radius composed before stage `i`, from `e` on: `radius 0 = e`, and
`radius (i + 1) = lipschitz i * radius i + error i`. -/
def radius (c : Nat → Step R) (e : R) : Nat → R
  | 0 => e
  | i + 1 => (c i).lipschitz * radius c e i + (c i).error

/-- The constants of stage `i` of a list; zeros beyond its end. -/
def stepAt : List (Step R) → Nat → Step R
  | [], _ => { error := 0, lipschitz := 0 }
  | c :: _, 0 => c
  | _ :: cs, i + 1 => stepAt cs i

theorem radius_cons (c : Step R) (cs : List (Step R)) (e : R) (i : Nat) :
    radius (stepAt (c :: cs)) e (i + 1) = radius (stepAt cs) (c.lipschitz * e + c.error) i := by
  induction i with
  | zero => rfl
  | succ i ih => rw [radius, ih]; rfl

/-- The radius after all stages of a list is the recurrence. -/
theorem radius_stepAt (cs : List (Step R)) (e : R) :
    radius (stepAt cs) e cs.length = recurrence cs e := by
  induction cs generalizing e with
  | nil => rfl
  | cons c cs ih => rw [List.length_cons, radius_cons, ih]; rfl

end Algebra

/-! ## Programs -/

/-- A stage of both programs: what each makes of the state before it. -/
structure Stage (α : Type u) (β : Type v) where
  reference : α → β
  surrogate : α → β

/-- Both programs.  Stage `i` takes a state of the type `State i` to one of `State (i + 1)`: the embedding
is stage 0 and `State 0` holds the tokens.  A theorem about `n` stages speaks of the first `n`; what stands
after them is of no account. -/
abbrev Programs (State : Nat → Type v) := (i : Nat) → Stage (State i) (State (i + 1))

variable {State : Nat → Type v}

/-- The reference's state after `n` stages. -/
def runReference (p : Programs State) (x : State 0) : (n : Nat) → State n
  | 0 => x
  | n + 1 => (p n).reference (runReference p x n)

/-- The surrogate's state after `n` stages. -/
def runSurrogate (p : Programs State) (y : State 0) : (n : Nat) → State n
  | 0 => y
  | n + 1 => (p n).surrogate (runSurrogate p y n)

/-- The programs after the embedding: their state 0 is the state after stage 0. -/
def afterEmbedding (p : Programs State) : Programs (fun i => State (i + 1)) := fun i => p (i + 1)

theorem runReference_afterEmbedding (p : Programs State) (x : State 0) (n : Nat) :
    runReference (afterEmbedding p) ((p 0).reference x) n = runReference p x (n + 1) := by
  induction n with
  | zero => rfl
  | succ n ih => rw [runReference, ih]; rfl

theorem runSurrogate_afterEmbedding (p : Programs State) (y : State 0) (n : Nat) :
    runSurrogate (afterEmbedding p) ((p 0).surrogate y) n = runSurrogate p y (n + 1) := by
  induction n with
  | zero => rfl
  | succ n ih => rw [runSurrogate, ih]; rfl

section Order
variable {R : Type u} [CommRing R] [LE R]

/-- The constants hold along the reference's trajectory from `x` through `n` stages, the radius at the
start being `e`.  At every stage `i`, with the reference's state `X = runReference p x i` before it,

* the Lipschitz constant is nonnegative;
* the two outputs at `X` are within the error;
* for every `y` within the radius composed so far of `X`, the surrogate's outputs at `X` and `y` are
  within the Lipschitz constant times the distance of `X` and `y` (BC-CLM-03). -/
def HoldsAlong (dist : (i : Nat) → State i → State i → R) (p : Programs State) (c : Nat → Step R)
    (x : State 0) (e : R) (n : Nat) : Prop :=
  ∀ i, i < n →
    0 ≤ (c i).lipschitz ∧
    dist (i + 1) ((p i).reference (runReference p x i)) ((p i).surrogate (runReference p x i)) ≤
      (c i).error ∧
    ∀ y, dist i (runReference p x i) y ≤ radius c e i →
      dist (i + 1) ((p i).surrogate (runReference p x i)) ((p i).surrogate y) ≤
        (c i).lipschitz * dist i (runReference p x i) y

/-- The first step's constants are nonnegative and at most those of the second. -/
def Step.AtMost (c d : Step R) : Prop :=
  0 ≤ c.error ∧ 0 ≤ c.lipschitz ∧ c.error ≤ d.error ∧ c.lipschitz ≤ d.lipschitz

variable [LT R] [Std.IsPartialOrder R] [Std.LawfulOrderLT R] [OrderedRing R]

/-- **Composition.**  If the two programs start within `e` of each other and the constants hold along
the reference's trajectory through `n` stages, then they are within the composed radius after them. -/
theorem drift_le_radius (dist : (i : Nat) → State i → State i → R)
    (triangle : ∀ i a b c, dist i a c ≤ dist i a b + dist i b c)
    (p : Programs State) (c : Nat → Step R) (x y : State 0) (e : R) (n : Nat)
    (start : dist 0 x y ≤ e) (holds : HoldsAlong dist p c x e n) :
    dist n (runReference p x n) (runSurrogate p y n) ≤ radius c e n := by
  induction n with
  | zero => exact start
  | succ n ih =>
    have ih := ih fun i hi => holds i (by omega)
    obtain ⟨hL, herror, hlip⟩ := holds n (by omega)
    have h1 := triangle (n + 1) ((p n).reference (runReference p x n))
      ((p n).surrogate (runReference p x n)) ((p n).surrogate (runSurrogate p y n))
    have h2 := Std.le_trans (hlip _ ih) (OrderedRing.mul_le_mul_of_nonneg_left ih hL)
    have h3 := OrderedAdd.add_le_add herror h2
    rw [Semiring.add_comm (c n).error] at h3
    exact Std.le_trans h1 h3

/-- The same for a list of constants: the bound is the recurrence. -/
theorem drift_le_recurrence (dist : (i : Nat) → State i → State i → R)
    (triangle : ∀ i a b c, dist i a c ≤ dist i a b + dist i b c)
    (p : Programs State) (cs : List (Step R)) (x y : State 0) (e : R)
    (start : dist 0 x y ≤ e) (holds : HoldsAlong dist p (stepAt cs) x e cs.length) :
    dist cs.length (runReference p x cs.length) (runSurrogate p y cs.length) ≤ recurrence cs e := by
  have h := drift_le_radius dist triangle p _ x y e _ start holds
  rwa [radius_stepAt] at h

/-- From a common start the bound is the closed form. -/
theorem drift_le_closed (dist : (i : Nat) → State i → State i → R)
    (triangle : ∀ i a b c, dist i a c ≤ dist i a b + dist i b c) (self : ∀ a, dist 0 a a ≤ 0)
    (p : Programs State) (cs : List (Step R)) (x : State 0)
    (holds : HoldsAlong dist p (stepAt cs) x 0 cs.length) :
    dist cs.length (runReference p x cs.length) (runSurrogate p x cs.length) ≤ closed cs := by
  have h := drift_le_recurrence dist triangle p cs x x 0 (self x) holds
  rwa [recurrence_zero] at h

/-- **From tokens on.**  Both programs read the same tokens.  The embedding needs an error `e` and no
constant; `c` holds the constants of the stages after it: `n` blocks, or `n - 1` blocks and the head. -/
theorem drift_le_from_tokens (dist : (i : Nat) → State i → State i → R)
    (triangle : ∀ i a b c, dist i a c ≤ dist i a b + dist i b c)
    (p : Programs State) (c : Nat → Step R) (tokens : State 0) (e : R) (n : Nat)
    (embedding : dist 1 ((p 0).reference tokens) ((p 0).surrogate tokens) ≤ e)
    (holds : HoldsAlong (fun i => dist (i + 1)) (afterEmbedding p) c ((p 0).reference tokens) e n) :
    dist (n + 1) (runReference p tokens (n + 1)) (runSurrogate p tokens (n + 1)) ≤ radius c e n := by
  have h := drift_le_radius (fun i => dist (i + 1)) (fun i => triangle (i + 1)) (afterEmbedding p) c
    ((p 0).reference tokens) ((p 0).surrogate tokens) e n embedding holds
  rwa [runReference_afterEmbedding, runSurrogate_afterEmbedding] at h

omit [Std.LawfulOrderLT R] in
theorem add_nonneg {a b : R} (ha : 0 ≤ a) (hb : 0 ≤ b) : 0 ≤ a + b := by
  have h := OrderedAdd.add_le_add ha hb
  rwa [Semiring.add_zero] at h

theorem radius_nonneg (c d : Nat → Step R) (e : R) (n : Nat) (h : ∀ i, i < n → (c i).AtMost (d i))
    (he0 : 0 ≤ e) : 0 ≤ radius c e n := by
  induction n with
  | zero => exact he0
  | succ n ih =>
    obtain ⟨herror, hL, _⟩ := h n (by omega)
    exact add_nonneg (OrderedRing.mul_nonneg hL (ih fun i hi => h i (by omega))) herror

/-- **Monotonicity.**  Larger constants and a larger start give a larger bound, so rounding up is
safe. -/
theorem radius_mono (c d : Nat → Step R) (e e' : R) (n : Nat) (h : ∀ i, i < n → (c i).AtMost (d i))
    (he0 : 0 ≤ e) (he : e ≤ e') : radius c e n ≤ radius d e' n := by
  induction n with
  | zero => exact he
  | succ n ih =>
    have before := fun i (hi : i < n) => h i (by omega)
    obtain ⟨_, hL, h1, h2⟩ := h n (by omega)
    have h3 := ih before
    have h4 := Std.le_trans (radius_nonneg c d e n before he0) h3
    refine OrderedAdd.add_le_add ?_ h1
    exact Std.le_trans (OrderedRing.mul_le_mul_of_nonneg_left h3 hL)
      (OrderedRing.mul_le_mul_of_nonneg_right h2 h4)

end Order

section Checker

/-- A composition certificate: a bound on the distance at the start, the constants of stages
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

theorem OrdHom.radius {φ : Rat → R} (hφ : OrdHom φ) (c : Nat → Step Rat) (e : Rat) (n : Nat) :
    radius (fun i => (c i).cast φ) (φ e) n = φ (BlockCert.radius c e n) := by
  induction n with
  | zero => rfl
  | succ n ih => rw [BlockCert.radius, ih, BlockCert.radius, hφ.add, hφ.mul]; rfl

/-- What an accepted certificate bounds: the radius composed of its constants. -/
theorem radius_le_bound {φ : Rat → R} (hφ : OrdHom φ) (c : Certificate) (accepted : c.check = true) :
    radius (fun i => (stepAt c.steps i).cast φ) (φ c.start) c.steps.length ≤ φ c.bound := by
  simp only [Certificate.check, Bool.and_eq_true, decide_eq_true_eq, recurrenceRat_eq] at accepted
  rw [hφ.radius, radius_stepAt]
  exact hφ.mono _ _ accepted.2

variable [LT R] [Std.IsPartialOrder R] [Std.LawfulOrderLT R] [OrderedRing R]

/-- **Soundness of the check.**  Let a certificate be accepted.  If the two programs start within its
`start`, and its constants hold along the reference's trajectory, then after its stages the programs are
within its `bound`. -/
theorem check_sound (φ : Rat → R) (hφ : OrdHom φ) (c : Certificate) (accepted : c.check = true)
    (dist : (i : Nat) → State i → State i → R)
    (triangle : ∀ i a b c, dist i a c ≤ dist i a b + dist i b c)
    (p : Programs State) (x y : State 0) (start : dist 0 x y ≤ φ c.start)
    (holds : HoldsAlong dist p (fun i => (stepAt c.steps i).cast φ) x (φ c.start) c.steps.length) :
    dist c.steps.length (runReference p x c.steps.length) (runSurrogate p y c.steps.length) ≤
      φ c.bound :=
  Std.le_trans (drift_le_radius dist triangle p _ x y _ _ start holds) (radius_le_bound hφ c accepted)

/-- Soundness for rounded constants: the true constants `cs` and the true start `e`, which hold along
the trajectory, may be anything up to the certificate's. -/
theorem check_sound_rounded (φ : Rat → R) (hφ : OrdHom φ) (c : Certificate)
    (accepted : c.check = true) (dist : (i : Nat) → State i → State i → R)
    (triangle : ∀ i a b c, dist i a c ≤ dist i a b + dist i b c)
    (p : Programs State) (cs : Nat → Step R) (x y : State 0) (e : R)
    (nonneg : 0 ≤ e) (start : dist 0 x y ≤ e) (holds : HoldsAlong dist p cs x e c.steps.length)
    (rounded_start : e ≤ φ c.start)
    (rounded : ∀ i, i < c.steps.length → (cs i).AtMost ((stepAt c.steps i).cast φ)) :
    dist c.steps.length (runReference p x c.steps.length) (runSurrogate p y c.steps.length) ≤
      φ c.bound :=
  Std.le_trans (drift_le_radius dist triangle p cs x y e _ start holds)
    (Std.le_trans (radius_mono cs _ e _ _ rounded nonneg rounded_start)
      (radius_le_bound hφ c accepted))

end Checker

end BlockCert
