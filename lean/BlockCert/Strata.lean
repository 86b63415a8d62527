/-
The bounds of all corpus files together, as finite counting.  Lean core only.
-/
module

public import BlockCert.Bases

@[expose] public noncomputable section

/-!
# Bounds for corpus files

The population falls into files, and a draw of `n` windows from all of it takes some from each.  Given how
many, those of one file are a draw from its windows (`countP_filter`), so the bound stated for a file is
false for at most its share of the draws (`stratum_bound`), and all bounds of all files are true together
but for at most the fraction `alpha` (`strata_bound_all`, BC-CLM-17).  `accepted_strata` says that an
accepted certificate states these bounds.
-/

namespace BlockCert

variable {α : Type u}

/-! ## What a draw takes from one file -/

/-- For each choice of windows outside a file, of which there are `b`, how many of `n` remain for it. -/
def sizes : Nat → Nat → List Nat
  | n, 0 => [n]
  | 0, _ + 1 => [0]
  | n + 1, b + 1 => sizes n b ++ sizes (n + 1) b

/-- `Σ_{j ∈ l} f j`. -/
def sumOver (f : Nat → Nat) : List Nat → Nat
  | [] => 0
  | j :: l => f j + sumOver f l

theorem sumOver_append (f : Nat → Nat) (l m : List Nat) :
    sumOver f (l ++ m) = sumOver f l + sumOver f m := by
  induction l with
  | nil => simp [sumOver]
  | cons j l ih => simp only [List.cons_append, sumOver, ih]; omega

theorem sumOver_add (f g : Nat → Nat) (l : List Nat) :
    sumOver (fun j => f j + g j) l = sumOver f l + sumOver g l := by
  induction l with
  | nil => rfl
  | cons j l ih => simp only [sumOver, ih]; omega

theorem sizes_zero (b : Nat) : sizes 0 b = [0] := by cases b <;> rfl

/-- `f` of the number before, and 0 at 0. -/
def before (f : Nat → Nat) : Nat → Nat
  | 0 => 0
  | j + 1 => f j

theorem sumOver_before (f : Nat → Nat) (n b : Nat) :
    sumOver (before f) (sizes (n + 1) b) = sumOver f (sizes n b) := by
  induction b generalizing n with
  | zero => rfl
  | succ b ih =>
    rw [sizes, sumOver_append, ih]
    cases n with
    | zero => rw [sizes_zero, sizes_zero]; simp [sumOver, before]
    | succ n => rw [ih, sizes, sumOver_append]

theorem countP_samples_cons (Q : List α → Bool) (a : α) (rows : List α) (j : Nat) :
    (samples j (a :: rows)).countP Q =
      before (fun i => (samples i rows).countP fun d => Q (a :: d)) j + (samples j rows).countP Q := by
  cases j with
  | zero => simp [samples, before]
  | succ j => simp only [samples, List.countP_append, List.countP_map, Function.comp_def, before]

/-- **What a draw takes from one file is a draw from it**: the draws whose part in the file has a property
are counted by the draws from the file alone, once for each choice of the others. -/
theorem countP_filter (inside : α → Bool) (Q : List α → Bool) (rows : List α) (n : Nat) :
    (samples n rows).countP (fun d => Q (d.filter inside)) =
      sumOver (fun j => (samples j (rows.filter inside)).countP Q)
        (sizes n (rows.countP fun r => !inside r)) := by
  induction rows generalizing n Q with
  | nil => cases n <;> simp [samples, sizes, sumOver]
  | cons a rows ih =>
    cases ha : inside a
    · rw [List.filter_cons_of_neg (by simp [ha]), List.countP_cons_of_pos (by simp [ha])]
      cases n with
      | zero => simp [samples, sizes, sumOver]
      | succ n =>
        rw [sizes, sumOver_append, ← ih, ← ih]
        simp only [samples, List.countP_append, List.countP_map, Function.comp_def]
        simp [ha]
    · rw [List.filter_cons_of_pos ha, List.countP_cons_of_neg (by simp [ha])]
      cases n with
      | zero => simp [samples, sizes_zero, sumOver]
      | succ n =>
        have h : (fun j => (samples j (a :: rows.filter inside)).countP Q) = fun j =>
            before (fun i => (samples i (rows.filter inside)).countP fun d => Q (a :: d)) j +
              (samples j (rows.filter inside)).countP Q :=
          funext fun j => countP_samples_cons Q a _ j
        rw [h, sumOver_add, sumOver_before, ← ih, ← ih]
        simp only [samples, List.countP_append, List.countP_map, Function.comp_def]
        simp [ha]

theorem sumOver_le (A B : Nat) (f g : Nat → Nat) (l : List Nat) (h : ∀ j, A * f j ≤ B * g j) :
    A * sumOver f l ≤ B * sumOver g l := by
  induction l with
  | nil => exact Nat.le_refl _
  | cons j l ih =>
    simp only [sumOver, Nat.mul_add]
    exact Nat.add_le_add (h j) ih

/-- What holds for draws of every size from a file holds for its part of a draw from all files. -/
theorem filter_rule (inside : α → Bool) (Q : List α → Bool) (rows : List α) (n num den : Nat)
    (each : ∀ j, den * (samples j (rows.filter inside)).countP Q ≤
      num * (samples j (rows.filter inside)).length) :
    den * (samples n rows).countP (fun d => Q (d.filter inside)) ≤ num * (samples n rows).length := by
  have total : (samples n rows).length = (samples n rows).countP fun _ => true := by simp
  have all := countP_filter inside (fun _ => true) rows n
  rw [countP_filter, total, all]
  refine sumOver_le den num _ _ _ fun j => ?_
  simpa using each j

/-! ## The bounds -/

/-- The bound stated for a file and a predicate is false: fewer of its windows are good. -/
def stratumFalse (windows : List α) (num den : Nat) (inside good : α → Bool) (draw : List α) : Bool :=
  decide ((windows.filter inside).countP good <
    statedBound (windows.filter inside).length (draw.filter inside).length num den
      ((draw.filter inside).countP good))

/-- **The bound for one file** is false for at most the fraction `num / den` of all draws, whatever the
number of good windows in the file and however many of the drawn windows fall in it (BC-CLM-17). -/
theorem stratum_bound (inside good : α → Bool) (windows : List α) (n num den : Nat) :
    den * (samples n windows).countP (stratumFalse windows num den inside good) ≤
      num * (samples n windows).length := by
  refine filter_rule inside (fun d => decide ((windows.filter inside).countP good <
    statedBound (windows.filter inside).length d.length num den (d.countP good))) windows n num den ?_
  intro j
  refine Nat.le_trans (Nat.le_of_eq ?_) (population_bound good (windows.filter inside) j num den)
  congr 1
  apply List.countP_congr
  intro d hd
  rw [length_of_mem_samples j _ d hd]

/-- Of `k` events of at most `B / A` each, one happens for at most `k B / A`. -/
theorem union_bound {β : Type v} {γ : Type w} (bad : γ → β → Bool) (events : List γ) (l : List β)
    (A B : Nat) (each : ∀ g, A * l.countP (bad g) ≤ B) :
    A * l.countP (fun d => events.any fun g => bad g d) ≤ events.length * B := by
  induction events with
  | nil => simp
  | cons g events ih =>
    have h : l.countP (fun d => (g :: events).any fun g => bad g d) ≤
        l.countP (bad g) + l.countP fun d => events.any fun g => bad g d := by
      clear ih each
      induction l with
      | nil => simp
      | cons d l ih =>
        simp only [List.any_cons, List.countP_cons] at ih ⊢
        cases bad g d <;> cases (events.any fun g => bad g d) <;> simp <;> omega
    have h := Nat.mul_le_mul_left A h
    have hg := each g
    rw [Nat.mul_add] at h
    rw [List.length_cons, Nat.add_mul, Nat.one_mul]
    omega

/-- **All bounds of all corpus files together** (BC-CLM-17): with `alpha / (k H)` for each of `k` predicates
in each of `H` files, at most the fraction `alpha = num / den` of the draws makes any of them false. -/
theorem strata_bound_all (strata goods : List (α → Bool)) (windows : List α) (n num den : Nat) :
    den * (samples n windows).countP (fun draw => strata.any fun inside => goods.any fun good =>
        stratumFalse windows num (den * (goods.length * strata.length)) inside good draw) ≤
      num * (samples n windows).length := by
  generalize hparts : goods.length * strata.length = parts
  have inner := fun inside : α → Bool => union_bound
    (fun good => stratumFalse windows num (den * parts) inside good) goods (samples n windows)
    (den * parts) (num * (samples n windows).length)
    fun good => stratum_bound inside good windows n num (den * parts)
  have outer := union_bound
    (fun inside draw => goods.any fun good => stratumFalse windows num (den * parts) inside good draw)
    strata (samples n windows) (den * parts) _ inner
  rw [← Nat.mul_assoc, Nat.mul_comm strata.length, hparts] at outer
  by_cases hpos : parts = 0
  · have none : (samples n windows).countP (fun draw => strata.any fun inside => goods.any fun good =>
        stratumFalse windows num (den * parts) inside good draw) = 0 := by
      rw [List.countP_eq_zero]
      intro draw _
      rcases Nat.mul_eq_zero.mp (hparts.trans hpos) with h | h
      · simp [List.eq_nil_of_length_eq_zero h]
      · simp [List.eq_nil_of_length_eq_zero h]
    rw [none]
    exact Nat.zero_le _
  · refine Nat.le_of_mul_le_mul_left ?_ (Nat.pos_of_ne_zero hpos)
    calc _ = den * parts * _ := by rw [← Nat.mul_assoc, Nat.mul_comm parts den]
      _ ≤ _ := outer

/-! ## Accepted certificates -/

/-- One entry of `strata`, of file `h`, is what the evidence gives: `trials` is the number of rows that come
from the file; for each population claim in order, `successes` has the number of these rows that satisfy its
predicate, and `at_least` the bound of `stratum_bound` for that number; neither list has more entries. -/
def StratumStated (st : Statement) (ev : Evidence) (parts h : Nat) (s : Stratum) : Prop :=
  s.trials = countEqual h ev.strataOfRow ∧
  s.successes.length = st.population.claims.length ∧
  s.atLeast.length = st.population.claims.length ∧
  ∀ (j : Nat) (c : PopulationClaim), st.population.claims[j]? = some c → ∃ satisfies n,
    satisfied st ev c.predicate = .ok satisfies ∧
    n = (heldIn h ev.strataOfRow satisfies).countP (fun b => b) ∧
    s.successes[j]? = some n ∧
    s.atLeast[j]? = some (statedBound s.windows s.trials st.population.alpha.num.toNat
      (st.population.alpha.den * parts) n)

theorem counts_of_stratumHolds (windows trials : Nat) (alpha : Rat) (parts h : Nat) (ofRow : List Nat)
    (ss ks : List Nat) (held : List (List Bool))
    (holds : stratumHolds windows trials alpha parts h ofRow ss ks held = true) :
    ss.length = held.length ∧ ks.length = held.length ∧ ∀ (j : Nat) (g : List Bool), held[j]? = some g →
      ss[j]? = some ((heldIn h ofRow g).countP (fun b => b)) ∧
      ks[j]? = some (statedBound windows trials alpha.num.toNat (alpha.den * parts)
        ((heldIn h ofRow g).countP (fun b => b))) := by
  induction held generalizing ss ks with
  | nil =>
    cases ss with
    | nil =>
      cases ks with
      | nil => exact ⟨rfl, rfl, fun _ _ h => nomatch h⟩
      | cons k ks => simp [stratumHolds] at holds
    | cons s ss => simp [stratumHolds] at holds
  | cons a held ih =>
    cases ss with
    | nil => simp [stratumHolds] at holds
    | cons s ss =>
      cases ks with
      | nil => simp [stratumHolds] at holds
      | cons k ks =>
        simp only [stratumHolds, Bool.and_eq_true, beq_iff_eq, isStatedBound_iff, countTrue_eq] at holds
        obtain ⟨⟨hs, _, _, _, hk⟩, hrest⟩ := holds
        obtain ⟨h1, h2, h3⟩ := ih ss ks hrest
        refine ⟨congrArg (· + 1) h1, congrArg (· + 1) h2, fun j g hg => ?_⟩
        cases j with
        | zero =>
          cases hg
          rw [← hs]
          exact ⟨rfl, congrArg some hk⟩
        | succ j => exact h3 j g hg

theorem getElem_of_allSatisfied (st : Statement) (ev : Evidence) (claims : List PopulationClaim)
    (held : List (List Bool)) (rows : allSatisfied st ev claims = .ok held) :
    held.length = claims.length ∧ ∀ (j : Nat) (c : PopulationClaim), claims[j]? = some c →
      ∃ g, held[j]? = some g ∧ satisfied st ev c.predicate = .ok g := by
  induction claims generalizing held with
  | nil =>
    cases rows
    exact ⟨rfl, fun _ _ h => nomatch h⟩
  | cons a claims ih =>
    simp only [allSatisfied] at rows
    split at rows
    · exact nomatch rows
    · rename_i first hfirst
      split at rows
      · exact nomatch rows
      · rename_i rest hrest
        cases rows
        obtain ⟨h1, h2⟩ := ih rest hrest
        refine ⟨congrArg (· + 1) h1, fun j c hc => ?_⟩
        cases j with
        | zero =>
          cases hc
          exact ⟨first, rfl, hfirst⟩
        | succ j => exact h2 j c hc

theorem entries_of_strataHold (alpha : Rat) (parts : Nat) (ofRow : List Nat) (held : List (List Bool))
    (h : Nat) (ws : List Nat) (strata : List Stratum)
    (holds : strataHold alpha parts ofRow held h ws strata = true) :
    strata.map (·.windows) = ws ∧ ∀ i s, strata[i]? = some s → s.trials = countEqual (h + i) ofRow ∧
      stratumHolds s.windows s.trials alpha parts (h + i) ofRow s.successes s.atLeast held = true := by
  induction strata generalizing h ws with
  | nil =>
    cases ws with
    | nil => exact ⟨rfl, fun _ _ h => nomatch h⟩
    | cons w ws => exact nomatch holds
  | cons a strata ih =>
    match ws, holds with
    | w :: ws, holds =>
      simp only [strataHold, Bool.and_eq_true, beq_iff_eq] at holds
      obtain ⟨⟨⟨hw, ht⟩, hs⟩, hrest⟩ := holds
      have hi := ih (h + 1) ws hrest
      refine ⟨by rw [List.map_cons, hi.1, hw], fun i s his => ?_⟩
      cases i with
      | zero =>
        cases his
        exact ⟨ht, hs⟩
      | succ i =>
        have hit := hi.2 i s his
        rwa [show h + 1 + i = h + (i + 1) by omega] at hit

/-- **Accepted bounds for corpus files** (BC-CLM-17): the entries are the files of the frame, in order, and
each is what the evidence gives, every `at_least` being the bound of `strata_bound_all` at the level
`alpha / (k H)`. -/
theorem accepted_strata (st : Statement) (ev : Evidence) (accepted : refusals st ev = [])
    (strata : List Stratum) (stated : st.population.strata = some strata) :
    ∃ ws, ev.strataWindows = some ws ∧ strata.map (·.windows) = ws ∧
      ∀ i s, strata[i]? = some s → StratumStated st ev
        (lengthClaims st.population.claims * lengthNats ws) i s := by
  obtain ⟨_, _, held, _, _, rows, _, _, _, hp, _⟩ := accepted_claims st ev accepted
  simp only [populationHolds, Bool.and_eq_true, stated] at hp
  have hp := hp.2
  split at hp
  · rename_i h _
    exact nomatch h
  · rename_i strata' ws h hw
    cases h
    have h := entries_of_strataHold _ _ _ _ 0 ws strata hp
    refine ⟨ws, hw, h.1, fun i s his => ?_⟩
    obtain ⟨ht, hs⟩ := h.2 i s his
    rw [Nat.zero_add] at ht hs
    obtain ⟨h1, h2, h3⟩ := counts_of_stratumHolds _ _ _ _ _ _ _ _ _ hs
    obtain ⟨h4, h5⟩ := getElem_of_allSatisfied st ev _ held rows
    refine ⟨ht, h1.trans h4, h2.trans h4, fun j c hc => ?_⟩
    obtain ⟨g, hg, hsat⟩ := h5 j c hc
    exact ⟨g, _, hsat, rfl, h3 j g hg⟩
  · exact nomatch hp

end BlockCert
