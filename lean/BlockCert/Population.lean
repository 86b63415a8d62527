/-
The bound on the number of good windows of a population, as finite counting.  Lean core only.
-/
module

public import BlockCert.Sampling

@[expose] public noncomputable section

/-!
# Population bounds

A population of `M` windows, some of them good; `n` of them are drawn, all choices being equally
likely, and `s` of the drawn ones are good.  The claim "at least `K` of the `M` windows are good", where
`K = statedBound M n num den s` is the least number with `P[Hyp(M, K, n) ≥ s] > num / den`, is false for
at most the fraction `num / den` of the draws, whatever the true number of good windows
(`population_bound`).

`length_exactly` and `length_atLeast` derive the hypergeometric numbers by counting samples.

`K` is `at_least` of BC-CLM-07, with `M` for `windows`, `n` for `trials` (there `N`), `s` for `successes`
and `num / den` for `alpha / k`.

Not said here: which windows are good.  That is what two transformers with their weights do on a window, and what
is recorded of it was measured in floating point.  Nor that a draw was one of equally likely ones.
-/

namespace BlockCert

variable {α : Type u}

/-- Every sample of `m` rows has `m` rows. -/
theorem length_of_mem_samples (m : Nat) (rows s : List α) (h : s ∈ samples m rows) :
    s.length = m := by
  induction rows generalizing m s with
  | nil =>
    cases m with
    | zero => simp [samples] at h; simp [h]
    | succ m => simp [samples] at h
  | cons a rows ih =>
    cases m with
    | zero => simp [samples] at h; simp [h]
    | succ m =>
      simp only [samples, List.mem_append, List.mem_map] at h
      rcases h with ⟨t, ht, rfl⟩ | h
      · simp [ih m t ht]
      · exact ih _ s h

/-- Of `g` good and `b` other rows, `C(g, i) C(b, j)` of the samples of `i + j` rows have exactly `i`
good ones. -/
theorem length_exactly (good : α → Bool) (rows : List α) (i j : Nat) :
    (samples (i + j) rows).countP (fun s => s.countP good == i) =
      binom (rows.countP good) i * binom (rows.countP fun r => !good r) j := by
  induction rows generalizing i j with
  | nil => cases i <;> cases j <;> simp [samples, binom]
  | cons a rows ih =>
    cases ha : good a
    · cases j with
      | zero =>
        cases i with
        | zero => simp [samples, binom]
        | succ i =>
          have h := ih (i + 1) 0
          have none : ∀ s ∈ samples i rows, ¬s.countP good = i + 1 := by
            intro s hs
            have h1 := length_of_mem_samples i rows s hs
            have h2 := List.countP_le_length (p := good) (l := s)
            omega
          simp only [Nat.add_zero] at h
          simp only [samples, List.countP_append, List.countP_map, Function.comp_def, h,
            List.countP_cons, ha]
          simpa [binom] using none
      | succ j =>
        have h1 := ih i j
        have h2 := ih i (j + 1)
        rw [← Nat.add_assoc] at h2 ⊢
        simp only [samples, List.countP_append, List.countP_map, Function.comp_def, h2]
        simp only [List.countP_cons, ha, Bool.not_false, if_true, binom, Nat.mul_add]
        simp [h1]
    · cases i with
      | zero =>
        cases j with
        | zero => simp [samples, binom]
        | succ j =>
          have h := ih 0 (j + 1)
          rw [← Nat.add_assoc] at h ⊢
          simp only [samples, List.countP_append, List.countP_map, Function.comp_def, h]
          simp [ha, binom]
      | succ i =>
        have h1 := ih i j
        have h2 := ih (i + 1) j
        rw [Nat.add_right_comm] at h2 ⊢
        simp only [samples, List.countP_append, List.countP_map, Function.comp_def, h2]
        simp only [List.countP_cons, ha]
        simp [h1, binom, Nat.add_mul]

/-- `Σ_{j < n, s ≤ j} f j`. -/
def sumFrom (s : Nat) (f : Nat → Nat) : Nat → Nat
  | 0 => 0
  | n + 1 => sumFrom s f n + if s ≤ n then f n else 0

/-- Counting by value: the elements whose value is at least `s`, all values being below `n`. -/
theorem countP_le_eq_sumFrom {β : Type v} (value : β → Nat) (s n : Nat) (l : List β)
    (below : ∀ x ∈ l, value x < n) :
    l.countP (fun x => decide (s ≤ value x)) =
      sumFrom s (fun j => l.countP fun x => value x == j) n := by
  have split : ∀ k, l.countP (fun x => decide (s ≤ value x ∧ value x < k)) =
      sumFrom s (fun j => l.countP fun x => value x == j) k := by
    intro k
    induction k with
    | zero => simp [sumFrom]
    | succ k ih =>
      rw [sumFrom, ← ih]
      clear ih below
      induction l with
      | nil => simp
      | cons x l ih =>
        by_cases h1 : s ≤ k <;> by_cases h2 : value x = k <;>
          by_cases h3 : s ≤ value x <;> by_cases h4 : value x < k <;>
          simp [h1, h2, h3, h4] at ih ⊢ <;> grind
  rw [← split n]
  apply List.countP_congr
  intro x hx
  simp [below x hx]

/-- The number of samples of `m` rows with at least `s` good ones, of `g` good and `b` other rows:
`Σ_{j = s … m} C(g, j) C(b, m - j)`. -/
def hypTail (g b m s : Nat) : Nat := sumFrom s (fun j => binom g j * binom b (m - j)) (m + 1)

theorem sumFrom_congr {s : Nat} {f f' : Nat → Nat} (n : Nat) (h : ∀ j, j < n → f j = f' j) :
    sumFrom s f n = sumFrom s f' n := by
  induction n with
  | zero => rfl
  | succ n ih => rw [sumFrom, sumFrom, ih fun j hj => h j (by omega), h n (by omega)]

/-- `hypTail` counts: `P[Hyp(M, K, m) ≥ s]` is `hypTail K (M - K) m s` over `C(M, m)`. -/
theorem length_atLeast (good : α → Bool) (rows : List α) (m s : Nat) :
    (samples m rows).countP (fun d => decide (s ≤ d.countP good)) =
      hypTail (rows.countP good) (rows.length - rows.countP good) m s := by
  rw [countP_le_eq_sumFrom (fun d : List α => d.countP good) s (m + 1)]
  · apply sumFrom_congr
    intro j hj
    have h := length_exactly good rows j (m - j)
    rw [show j + (m - j) = m by omega, countP_not] at h
    exact h
  · intro d hd
    have h1 := length_of_mem_samples m rows d hd
    have h2 := List.countP_le_length (p := good) (l := d)
    omega

/-- The first `k` from the second argument on that satisfies `p`, after at most that many steps. -/
def search (p : Nat → Bool) : Nat → Nat → Nat
  | 0, k => k
  | steps + 1, k => if p k then k else search p steps (k + 1)

theorem not_of_lt_search (p : Nat → Bool) (steps k j : Nat) (h1 : k ≤ j)
    (h2 : j < search p steps k) : p j = false := by
  induction steps generalizing k with
  | zero => simp only [search] at h2; omega
  | succ steps ih =>
    simp only [search] at h2
    split at h2
    · omega
    · rename_i hp
      by_cases hj : k = j
      · subst hj; simpa using hp
      · exact ih (k + 1) (by omega) h2

/-- The stated bound: the least `K ≤ M` with `P[Hyp(M, K, n) ≥ s] > num / den`. -/
def statedBound (M n num den s : Nat) : Nat :=
  search (fun K => decide (num * binom M n < den * hypTail K (M - K) n s)) M 0

/-- Below the stated bound, `s` or more successes are improbable. -/
theorem hypTail_small_of_lt_statedBound (M n num den s k : Nat)
    (h : k < statedBound M n num den s) :
    den * hypTail k (M - k) n s ≤ num * binom M n := by
  have h := not_of_lt_search _ M 0 k (Nat.zero_le _) h
  simpa using h

theorem binom_pos (n k : Nat) (h : k ≤ n) : 0 < binom n k := by
  induction n generalizing k with
  | zero => cases k <;> simp_all [binom]
  | succ n ih =>
    cases k with
    | zero => simp [binom]
    | succ k => exact Nat.add_pos_left (ih k (by omega)) _

/-- If every window is good, every draw has `n ≥ s` good ones. -/
theorem hypTail_all (M n s : Nat) (h : s ≤ n) : hypTail M 0 n s = binom M n := by
  have h1 := length_atLeast (fun _ => true) (List.replicate M ()) n s
  have h2 : (samples n (List.replicate M ())).countP
      (fun d => decide (s ≤ d.countP fun _ => true)) = binom M n := by
    rw [List.countP_eq_length.mpr, length_samples, List.length_replicate]
    intro d hd
    simp [length_of_mem_samples n _ d hd, h]
  rw [h2] at h1
  simpa using h1.symm

/-- Zero or more successes are certain. -/
theorem hypTail_none (M n : Nat) : hypTail 0 M n 0 = binom M n := by
  have h1 := length_atLeast (fun _ => false) (List.replicate M ()) n 0
  simpa [length_samples] using h1.symm

theorem search_satisfies (p : Nat → Bool) (steps k : Nat) (h : p (k + steps) = true) :
    p (search p steps k) = true := by
  induction steps generalizing k with
  | zero => exact h
  | succ steps ih =>
    simp only [search]
    split
    · assumption
    · exact ih (k + 1) (by rwa [Nat.add_right_comm])

/-- At the stated bound, `s` or more successes are probable enough: with
`hypTail_small_of_lt_statedBound`, it is the least such number. -/
theorem hypTail_large_at_statedBound (M n num den s : Nat) (hs : s ≤ n) (hn : n ≤ M)
    (hα : num < den) :
    num * binom M n <
      den * hypTail (statedBound M n num den s) (M - statedBound M n num den s) n s := by
  have h := search_satisfies
    (fun K => decide (num * binom M n < den * hypTail K (M - K) n s)) M 0
    (by simpa [hypTail_all M n s hs] using Nat.mul_lt_mul_of_pos_right hα (binom_pos M n hn))
  simpa using h

/-- Without a success nothing is claimed. -/
theorem statedBound_zero (M n num den : Nat) (hn : n ≤ M) (hα : num < den) :
    statedBound M n num den 0 = 0 := by
  have h := Nat.mul_lt_mul_of_pos_right hα (binom_pos M n hn)
  cases M with
  | zero => rfl
  | succ M => simp [statedBound, search, hypTail_none, h]

theorem exists_least {Q : Nat → Prop} (n : Nat) (h : Q n) : ∃ s, Q s ∧ ∀ t, Q t → s ≤ t := by
  induction n using Nat.strongRecOn with
  | ind n ih =>
    by_cases hlt : ∃ t, t < n ∧ Q t
    · obtain ⟨t, ht, hQ⟩ := hlt
      exact ih t ht hQ
    · exact ⟨n, h, fun t ht => Nat.le_of_not_lt fun hn => hlt ⟨t, hn, ht⟩⟩

/-- Any rule that states more than `k` only when that many successes are improbable at `k` is false
for at most the fraction `num / den` of the draws. -/
theorem population_rule (good : α → Bool) (windows : List α) (n num den : Nat) (K : Nat → Nat)
    (rule : ∀ s k, k < K s →
      den * hypTail k (windows.length - k) n s ≤ num * binom windows.length n) :
    den * (samples n windows).countP
        (fun draw => decide (windows.countP good < K (draw.countP good))) ≤
      num * (samples n windows).length := by
  rw [length_samples]
  by_cases hne : ∃ s, windows.countP good < K s
  · obtain ⟨s0, hs0⟩ := hne
    obtain ⟨s, hs, least⟩ := exists_least (Q := fun s =>
      den * hypTail (windows.countP good) (windows.length - windows.countP good) n s ≤
        num * binom windows.length n) s0 (rule s0 _ hs0)
    refine Nat.le_trans (Nat.mul_le_mul_left den ?_) hs
    rw [← length_atLeast]
    apply List.countP_mono_left
    intro draw _ h
    simp only [decide_eq_true_eq] at h ⊢
    exact least _ (rule _ _ h)
  · have : (samples n windows).countP
        (fun draw => decide (windows.countP good < K (draw.countP good))) = 0 := by
      rw [List.countP_eq_zero]
      intro draw _ h
      exact hne ⟨_, by simpa using h⟩
    simp [this]

/-- **Population bound.**  Whatever the number of good windows, at most the fraction `num / den` of
all equally likely draws of `n` windows makes the stated `K` exceed it (BC-CLM-07). -/
theorem population_bound (good : α → Bool) (windows : List α) (n num den : Nat) :
    den * (samples n windows).countP (fun draw => decide
        (windows.countP good < statedBound windows.length n num den (draw.countP good))) ≤
      num * (samples n windows).length :=
  population_rule good windows n num den _ fun s k h =>
    hypTail_small_of_lt_statedBound windows.length n num den s k h

end BlockCert
