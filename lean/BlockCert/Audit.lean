/-
What an audit leaves of the claims, and stopping early.  Lean core only.
-/
module

public import BlockCert.Sampling

@[expose] public noncomputable section

/-!
# Consequences of an audit

After an audit fewer than `q` rows are false (`audit_confidence`).  What the recorded counts are then still
worth (`spec/10-verification.md`, "What a replay establishes"):

* `successes_lose`: of the recorded successes at most one is lost for each false row;
* `counts_lose`: of a recorded sum of counts, each at most `T`, at most `T` is lost for each false row;
* `maximum_holds`: all rows but the false ones satisfy a stated maximum;
* `clean_prefix_of_stopping`: whoever stops after `m` rows of the sampled order, for whatever reason, and
  states `q m`, is wrong only if the first `m0` rows hold no false one, where `m0` is the first length at
  which so little may be stated: one event, whatever the reason.  `stopping_confidence` (in `Stopping`)
  says for how many of the orders it happens.
-/

namespace BlockCert

variable {α : Type u}

/-- Successes that hold on every row but the false ones (BC-VER-13): at most one is lost for each. -/
theorem successes_lose (isFalse recorded actual : α → Bool) (rows : List α)
    (agree : ∀ r ∈ rows, isFalse r = false → recorded r = true → actual r = true) :
    rows.countP recorded ≤ rows.countP actual + rows.countP isFalse := by
  induction rows with
  | nil => simp
  | cons a rows ih =>
    have h := ih fun r hr => agree r (List.mem_cons_of_mem a hr)
    have ha := agree a (by simp)
    cases h1 : isFalse a <;> cases h2 : recorded a <;> cases h3 : actual a <;>
      simp [h1, h2, h3] at ha ⊢ <;> omega

/-- The sum of counts over rows. -/
def sumOf (count : α → Nat) : List α → Nat
  | [] => 0
  | a :: rows => count a + sumOf count rows

/-- Counts of at most `T` that hold on every row but the false ones: at most `T` is lost for each. -/
theorem counts_lose (isFalse : α → Bool) (recorded actual : α → Nat) (T : Nat) (rows : List α)
    (most : ∀ r ∈ rows, recorded r ≤ T)
    (agree : ∀ r ∈ rows, isFalse r = false → recorded r ≤ actual r) :
    sumOf recorded rows ≤ sumOf actual rows + rows.countP isFalse * T := by
  induction rows with
  | nil => simp [sumOf]
  | cons a rows ih =>
    have h := ih (fun r hr => most r (List.mem_cons_of_mem a hr))
      fun r hr => agree r (List.mem_cons_of_mem a hr)
    have hm := most a (by simp)
    have ha := agree a (by simp)
    simp only [sumOf, List.countP_cons]
    cases h1 : isFalse a
    · have := ha h1
      simp only [Bool.false_eq_true, if_false, Nat.add_zero]
      omega
    · simp only [if_true, Nat.add_mul, Nat.one_mul]
      omega

/-- At least `N - (q - 1)` of `N` rows satisfy a stated maximum, if it holds on every row but fewer than
`q` false ones. -/
theorem maximum_holds (isFalse within : α → Bool) (rows : List α) (q : Nat)
    (few : rows.countP isFalse < q) (holds : ∀ r ∈ rows, isFalse r = false → within r = true) :
    rows.length - (q - 1) ≤ rows.countP within := by
  have h : rows.length ≤ rows.countP within + rows.countP isFalse := by
    clear few
    induction rows with
    | nil => simp
    | cons a rows ih =>
      have h := ih fun r hr => holds r (List.mem_cons_of_mem a hr)
      have ha := holds a (by simp)
      cases h1 : isFalse a <;> cases h2 : within a <;> simp [h1, h2] at ha ⊢ <;> omega
  omega

/-- **Stopping early** (BC-VER-13).  Let `q m` be what is stated after `m` confirmed rows, let `k` rows be
false, and let `m0` be at most every length at which the statement `fewer than q m` would be wrong.  If
somebody stops after `m` rows of the sampled order, none of them false, and states something wrong, then
none of the first `m0` rows is false. -/
theorem clean_prefix_of_stopping (isFalse : α → Bool) (q : Nat → Nat) (k m0 m : Nat)
    (least : ∀ i, q i ≤ k → m0 ≤ i) (order : List α) (wrong : q m ≤ k)
    (clean : ∀ r ∈ order.take m, isFalse r = false) : ∀ r ∈ order.take m0, isFalse r = false := by
  intro r hr
  refine clean r ?_
  have h := least m wrong
  rw [show m0 = min m0 m by omega, ← List.take_take] at hr
  exact List.mem_of_mem_take hr

end BlockCert
