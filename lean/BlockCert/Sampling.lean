/-
Audit sampling as finite counting.  Lean core only.
-/
module

@[expose] public noncomputable section

/-!
# Audit sampling

A verifier re-measures `m` of `N` rows, all choices being equally likely.  If `q` or more rows are
false, at most `C(N - q, m)` of the `C(N, m)` samples contain none of them (`missed_le`), so an audit
that finds nothing is that unlikely (`audit_confidence`); this is the confidence of BC-VER-13.
Probability is counting: there is no measure theory here.

Not said here: when a row is false.  A verifier finds that out by running both transformers on their weights in
floating point, within a tolerance; nor that its sample was one of equally likely ones.
-/

namespace BlockCert

/-- The binomial coefficient `C(n, k)`. -/
def binom : Nat → Nat → Nat
  | _, 0 => 1
  | 0, _ + 1 => 0
  | n + 1, k + 1 => binom n k + binom n (k + 1)

/-- All samples of `m` rows, as sublists: every choice of `m` positions once. -/
def samples {α : Type u} : Nat → List α → List (List α)
  | 0, _ => [[]]
  | _ + 1, [] => []
  | m + 1, a :: rows => (samples m rows).map (a :: ·) ++ samples (m + 1) rows

/-- There are `C(N, m)` samples. -/
theorem length_samples {α : Type u} (m : Nat) (rows : List α) :
    (samples m rows).length = binom rows.length m := by
  induction rows generalizing m with
  | nil => cases m <;> simp [samples, binom]
  | cons a rows ih => cases m <;> simp [samples, binom, ih]

theorem binom_mono {n n' : Nat} (h : n ≤ n') (k : Nat) : binom n k ≤ binom n' k := by
  induction n generalizing n' k with
  | zero => cases k <;> cases n' <;> simp [binom]
  | succ n ih =>
    cases n' with
    | zero => omega
    | succ n' =>
      cases k with
      | zero => simp [binom]
      | succ k =>
        simp only [binom]
        exact Nat.add_le_add (ih (by omega) _) (ih (by omega) _)

/-- The samples that contain no false row. -/
def missed {α : Type u} (isFalse : α → Bool) (m : Nat) (rows : List α) : List (List α) :=
  (samples m rows).filter fun s => s.all fun r => !isFalse r

/-- As many samples miss all false rows as there are samples of the true rows. -/
theorem length_missed {α : Type u} (isFalse : α → Bool) (m : Nat) (rows : List α) :
    (missed isFalse m rows).length = binom (rows.countP fun r => !isFalse r) m := by
  induction rows generalizing m with
  | nil => cases m <;> simp [missed, samples, binom]
  | cons a rows ih =>
    cases m with
    | zero => simp [missed, samples, binom]
    | succ m =>
      have h1 := ih m
      have h2 := ih (m + 1)
      simp only [missed] at h1 h2
      simp only [missed, samples, List.filter_append, List.length_append, List.filter_map,
        List.length_map, h2, List.countP_cons]
      cases hb : isFalse a
      · have : ((fun s : List α => s.all fun r => !isFalse r) ∘ fun x => a :: x) =
            fun s : List α => s.all fun r => !isFalse r := by
          funext s; simp [hb]
        simp [this, h1, binom]
      · have : ((fun s : List α => s.all fun r => !isFalse r) ∘ fun x => a :: x) =
            fun _ : List α => false := by
          funext s; simp [hb]
        simp [this]

theorem countP_not {α : Type u} (isFalse : α → Bool) (rows : List α) :
    (rows.countP fun r => !isFalse r) = rows.length - rows.countP isFalse := by
  have : rows.countP isFalse + (rows.countP fun r => !isFalse r) = rows.length := by
    induction rows with
    | nil => rfl
    | cons a rows ih => cases hb : isFalse a <;> simp [hb] <;> omega
  omega

/-- With at least `q` false rows among `N`, at most `C(N - q, m)` of the `C(N, m)` samples of `m` rows
contain no false row. -/
theorem missed_le {α : Type u} (isFalse : α → Bool) (m q : Nat) (rows : List α)
    (atLeast : q ≤ rows.countP isFalse) :
    (missed isFalse m rows).length ≤ binom (rows.length - q) m ∧
      (samples m rows).length = binom rows.length m := by
  refine ⟨?_, length_samples m rows⟩
  rw [length_missed, countP_not]
  exact binom_mono (by omega) m

/-- **Confidence of an audit.**  Let `β = num / den` and let `q` satisfy
`C(N - q, m) / C(N, m) ≤ β`.  Whenever `q` or more of the `N` rows are false, at most the fraction `β`
of the equally likely samples contains no false row (BC-VER-13). -/
theorem audit_confidence {α : Type u} (isFalse : α → Bool) (m q num den : Nat) (rows : List α)
    (small : den * binom (rows.length - q) m ≤ num * binom rows.length m)
    (atLeast : q ≤ rows.countP isFalse) :
    den * (missed isFalse m rows).length ≤ num * (samples m rows).length := by
  have h := missed_le isFalse m q rows atLeast
  rw [h.2]
  exact Nat.le_trans (Nat.mul_le_mul_left den h.1) small

end BlockCert
