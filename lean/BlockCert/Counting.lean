/-
The population bound as the checker decides it.  Lean core only.
-/
module

public import BlockCert.Population

@[expose] public section

/-!
# Deciding a population bound

`statedBound` is defined by a search from 0 on.  A checker need not search: the stated `K` is right iff
`s` or more successes are probable enough at `K` and not at `K - 1`, since the probability does not
decrease with `K` (`hypTail_mono`).

* `choose_eq_binom`: the product formula gives the binomial coefficient;
* `isStatedBound_iff`: the checker accepts exactly the stated bound of BC-CLM-07.
-/

namespace BlockCert

/-- `C(n, i + steps)`, if `acc` is `C(n, i)`. -/
def chooseFrom (n : Nat) : Nat → Nat → Nat → Nat
  | 0, _, acc => acc
  | steps + 1, i, acc => chooseFrom n steps (i + 1) (acc * (n - i) / (i + 1))

/-- The binomial coefficient as a product. -/
def choose (n k : Nat) : Nat := chooseFrom n k 0 1

/-- `Σ C(g, j) C(b, m - j)` over `s ≤ j < top`. -/
def tailSum (g b m s : Nat) : Nat → Nat
  | 0 => 0
  | j + 1 => if s ≤ j then tailSum g b m s j + choose g j * choose b (m - j) else 0

/-- Whether `P[Hyp(M, K, n) ≥ s] > num / den`. -/
def exceeds (M n num den s K : Nat) : Bool :=
  decide (num * choose M n < den * tailSum K (M - K) n s (n + 1))

/-- Whether `K` is the bound to be stated (BC-CLM-07). -/
def isStatedBound (M n num den s K : Nat) : Bool :=
  decide (s ≤ n) && decide (n ≤ M) && decide (num < den) &&
    (if s = 0 then K == 0
     else decide (K ≤ M) && exceeds M n num den s K &&
      (match K with
       | 0 => true
       | k + 1 => !exceeds M n num den s k))

theorem binom_eq_zero (n k : Nat) (h : n < k) : binom n k = 0 := by
  induction n generalizing k with
  | zero => cases k with
    | zero => omega
    | succ k => rfl
  | succ n ih =>
    cases k with
    | zero => omega
    | succ k => simp [binom, ih k (by omega), ih (k + 1) (by omega)]

theorem succ_mul_binom (n k : Nat) : (k + 1) * binom n (k + 1) = binom n k * (n - k) := by
  induction n generalizing k with
  | zero => simp [binom]
  | succ n ih =>
    cases k with
    | zero =>
      have := ih 0
      simp only [binom] at this ⊢
      simp at this ⊢
      omega
    | succ k =>
      have h0 := ih k
      have h1 := ih (k + 1)
      by_cases hk : k + 1 ≤ n
      · obtain ⟨d, rfl⟩ := Nat.exists_eq_add_of_le hk
        rw [show k + 1 + d - k = d + 1 by omega] at h0
        rw [show k + 1 + d - (k + 1) = d by omega] at h1
        rw [show k + 1 + d + 1 - (k + 1) = d + 1 by omega]
        simp only [binom] at h0 h1 ⊢
        grind
      · have z1 := binom_eq_zero n (k + 1) (by omega)
        have z2 := binom_eq_zero n (k + 2) (by omega)
        rw [show n + 1 - (k + 1) = n - k by omega]
        have z3 : n - k = 0 := by omega
        simp [binom, z1, z2, z3]

theorem chooseFrom_eq (n steps i : Nat) :
    chooseFrom n steps i (binom n i) = binom n (i + steps) := by
  induction steps generalizing i with
  | zero => rfl
  | succ steps ih =>
    rw [chooseFrom, ← succ_mul_binom, Nat.mul_comm, Nat.mul_div_cancel _ (Nat.succ_pos i), ih]
    congr 1
    omega

/-- The product is the binomial coefficient. -/
theorem choose_eq_binom (n k : Nat) : choose n k = binom n k := by
  have h := chooseFrom_eq n k 0
  have h0 : binom n 0 = 1 := by cases n <;> rfl
  rwa [h0, Nat.zero_add] at h

theorem sumFrom_eq_zero (s n : Nat) (f : Nat → Nat) (h : n ≤ s) : sumFrom s f n = 0 := by
  induction n with
  | zero => rfl
  | succ n ih =>
    rw [sumFrom, ih (by omega)]
    have : ¬s ≤ n := by omega
    simp [this]

theorem tailSum_eq (g b m s top : Nat) :
    tailSum g b m s top = sumFrom s (fun j => binom g j * binom b (m - j)) top := by
  induction top with
  | zero => rfl
  | succ j ih =>
    rw [tailSum, sumFrom, choose_eq_binom, choose_eq_binom, ih]
    by_cases h : s ≤ j
    · simp [h]
    · simp [h, sumFrom_eq_zero s j _ (by omega)]

theorem exceeds_iff (M n num den s K : Nat) :
    exceeds M n num den s K = true ↔ num * binom M n < den * hypTail K (M - K) n s := by
  simp [exceeds, tailSum_eq, choose_eq_binom, hypTail]

/-- One more good window makes `s` or more successes no less probable. -/
theorem hypTail_mono_succ (M k n s : Nat) (h : k < M) :
    hypTail k (M - k) n s ≤ hypTail (k + 1) (M - (k + 1)) n s := by
  obtain ⟨d, rfl⟩ := Nat.exists_eq_add_of_lt h
  let rows : List (Bool × Bool) :=
    List.replicate k (true, true) ++ ((false, true) :: List.replicate d (false, false))
  have h1 := length_atLeast (fun r : Bool × Bool => r.1) rows n s
  have h2 := length_atLeast (fun r : Bool × Bool => r.1 || r.2) rows n s
  have c1 : rows.countP (fun r => r.1) = k := by simp [rows, List.countP_append, List.countP_replicate]
  have c2 : rows.countP (fun r => r.1 || r.2) = k + 1 := by
    simp [rows, List.countP_append, List.countP_replicate]
  have l : rows.length = k + d + 1 := by simp [rows]; omega
  rw [c1, l] at h1
  rw [c2, l] at h2
  rw [← h1, ← h2]
  apply List.countP_mono_left
  intro draw _ hd
  simp only [decide_eq_true_eq] at hd ⊢
  refine Nat.le_trans hd (List.countP_mono_left ?_)
  intro r _ hr
  simp [hr]

/-- The probability of `s` or more successes does not decrease with the number of good windows. -/
theorem hypTail_mono (M j k n s : Nat) (hjk : j ≤ k) (hk : k ≤ M) :
    hypTail j (M - j) n s ≤ hypTail k (M - k) n s := by
  induction k with
  | zero => rw [show j = 0 by omega]; exact Nat.le_refl _
  | succ k ih =>
    by_cases h : j = k + 1
    · rw [h]; exact Nat.le_refl _
    · exact Nat.le_trans (ih (by omega) (by omega)) (hypTail_mono_succ M k n s (by omega))

theorem search_eq (p : Nat → Bool) (steps k K : Nat) (h1 : k ≤ K) (h2 : K ≤ k + steps)
    (found : p K = true) (below : ∀ j, k ≤ j → j < K → p j = false) : search p steps k = K := by
  induction steps generalizing k with
  | zero => simp only [search]; omega
  | succ steps ih =>
    simp only [search]
    by_cases hk : k = K
    · subst hk; simp [found]
    · rw [below k (Nat.le_refl k) (by omega)]
      exact ih (k + 1) (by omega) (by omega) fun j hj => below j (by omega)

/-- **The checker accepts exactly the stated bound** (BC-CLM-07): the least `K` with
`P[Hyp(M, K, n) ≥ s] > num / den`, which is 0 where `s = 0`. -/
theorem isStatedBound_iff (M n num den s K : Nat) :
    isStatedBound M n num den s K = true ↔
      s ≤ n ∧ n ≤ M ∧ num < den ∧ K = statedBound M n num den s := by
  unfold isStatedBound
  simp only [Bool.and_eq_true, decide_eq_true_eq, and_assoc]
  constructor
  · rintro ⟨hs, hn, hα, h⟩
    refine ⟨hs, hn, hα, ?_⟩
    by_cases hz : s = 0
    · subst hz
      simp at h
      rw [h, statedBound_zero M n num den hn hα]
    · simp only [hz, if_false, Bool.and_eq_true, decide_eq_true_eq] at h
      obtain ⟨⟨hK, hlarge⟩, hsmall⟩ := h
      symm
      refine search_eq _ M 0 K (Nat.zero_le _) (by omega) ?_ ?_
      · simpa [exceeds_iff] using hlarge
      · intro j _ hj
        cases K with
        | zero => omega
        | succ K =>
          have h1 : ¬exceeds M n num den s K = true := by simpa using hsmall
          rw [exceeds_iff] at h1
          have h2 := Nat.mul_le_mul_left den (hypTail_mono M j K n s (by omega) (by omega))
          simp only [decide_eq_false_iff_not]
          omega
  · rintro ⟨hs, hn, hα, rfl⟩
    refine ⟨hs, hn, hα, ?_⟩
    by_cases hz : s = 0
    · subst hz
      simp [statedBound_zero M n num den hn hα]
    · simp only [hz, if_false, Bool.and_eq_true, decide_eq_true_eq]
      refine ⟨⟨?_, ?_⟩, ?_⟩
      · exact search_le _ M 0 M (by omega)
      · rw [exceeds_iff]; exact hypTail_large_at_statedBound M n num den s hs hn hα
      · generalize hK : statedBound M n num den s = K
        cases K with
        | zero => rfl
        | succ K =>
          have h := hypTail_small_of_lt_statedBound M n num den s K (by omega)
          have h1 : ¬exceeds M n num den s K = true := by rw [exceeds_iff]; omega
          simpa using h1
where
  search_le (p : Nat → Bool) (steps k top : Nat) (h : k + steps ≤ top) : search p steps k ≤ top := by
    induction steps generalizing k with
    | zero => simpa [search] using h
    | succ steps ih =>
      simp only [search]
      split
      · omega
      · exact ih (k + 1) (by omega)

/-- **All population claims together** (BC-CLM-07, 08): if each of `k` predicates' bounds is false for at
most the fraction `num / (den * k)` of the draws, then at most the fraction `num / den` of the draws
makes any of them false. -/
theorem population_bound_all {α : Type u} (goods : List (α → Bool)) (windows : List α)
    (n num den : Nat) :
    den * (samples n windows).countP (fun draw => goods.any fun good => decide
        (windows.countP good <
          statedBound windows.length n num (den * goods.length) (draw.countP good))) ≤
      num * (samples n windows).length := by
  cases hgoods : goods with
  | nil => simp
  | cons g gs =>
    rw [← hgoods]
    have hpos : 0 < goods.length := by simp [hgoods]
    have each : ∀ good : α → Bool, den * goods.length * (samples n windows).countP (fun draw => decide
        (windows.countP good <
          statedBound windows.length n num (den * goods.length) (draw.countP good))) ≤
        num * (samples n windows).length := fun good => population_bound good windows n num _
    generalize hk : goods.length = k at each hpos
    have union : ∀ l : List (α → Bool), den * k * (samples n windows).countP (fun draw =>
        l.any fun good => decide (windows.countP good <
          statedBound windows.length n num (den * k) (draw.countP good))) ≤
        l.length * (num * (samples n windows).length) := by
      intro l
      induction l with
      | nil => simp
      | cons good l ih =>
        have h1 := each good
        have h2 : ∀ (A B : List α → Bool) (L : List (List α)),
            L.countP (fun d => A d || B d) ≤ L.countP A + L.countP B := by
          intro A B L
          induction L with
          | nil => simp
          | cons d L ih =>
            cases ha : A d <;> cases hb : B d <;> simp [ha, hb] <;> omega
        simp only [List.any_cons, List.length_cons]
        have h3 := Nat.mul_le_mul_left (den * k) (h2 (fun draw => decide (windows.countP good <
          statedBound windows.length n num (den * k) (draw.countP good))) (fun draw =>
          l.any fun good => decide (windows.countP good <
          statedBound windows.length n num (den * k) (draw.countP good))) (samples n windows))
        rw [Nat.mul_add] at h3
        rw [Nat.add_mul, Nat.one_mul]
        omega
    have h := union goods
    rw [hk] at h
    refine Nat.le_of_mul_le_mul_left ?_ hpos
    calc _ = den * k * _ := by rw [← Nat.mul_assoc, Nat.mul_comm k den]
      _ ≤ _ := h

end BlockCert
