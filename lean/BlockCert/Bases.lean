/-
Scope and basis of composed claims.  Lean core only.
-/
module

public import BlockCert.Soundness

@[expose] public noncomputable section

/-!
# Scope and basis

No composed claim is better than its parts (BC-CLM-05, 14): the bases form a chain, and a composition has
the weakest of its parts' bases (`weaker_no_better`, `weakest_no_better`, `weakest_is_one`); the scopes do
not, and only what implies `listed-prompts` is composed to it (`accepted_composed_basis_and_scope`).
-/

namespace BlockCert

/-- The place of a basis in the list of `spec/08-claims.md`, from the strongest. -/
def Basis.rank : Basis → Nat
  | .proof => 0
  | .enclosure => 1
  | .measurement => 2
  | .estimate => 3

/-- One basis is at least as strong as another. -/
def Basis.AtLeast (a b : Basis) : Prop := a.rank ≤ b.rank

/-- A claim of one scope is also one of another: of all inputs, so of the listed prompts (BC-CLM-14). -/
def Scope.Implies : Scope → Scope → Prop
  | .allInputs, .listedPrompts => True
  | a, b => a = b

/-- The weaker of two bases is no better than either, and is one of them. -/
theorem weaker_no_better (a b : Basis) :
    a.AtLeast (weaker a b) ∧ b.AtLeast (weaker a b) ∧ (weaker a b = a ∨ weaker a b = b) := by
  cases a <;> cases b <;> simp [weaker, Basis.AtLeast, Basis.rank]

/-- **A composed claim has no better basis than any of its parts** (BC-CLM-14). -/
theorem weakest_no_better (b : Basis) (ls : List Lipschitz) :
    b.AtLeast (weakest b ls) ∧ ∀ l ∈ ls, l.basis.AtLeast (weakest b ls) := by
  induction ls generalizing b with
  | nil => exact ⟨Nat.le_refl _, fun _ h => nomatch h⟩
  | cons l ls ih =>
    have h := weaker_no_better b l.basis
    have hi := ih (weaker b l.basis)
    refine ⟨Nat.le_trans h.1 hi.1, fun k hk => ?_⟩
    rcases List.mem_cons.mp hk with rfl | hk
    · exact Nat.le_trans h.2.1 hi.1
    · exact hi.2 k hk

/-- It is the basis of one of them. -/
theorem weakest_is_one (b : Basis) (ls : List Lipschitz) :
    weakest b ls = b ∨ ∃ l ∈ ls, weakest b ls = l.basis := by
  induction ls generalizing b with
  | nil => exact .inl rfl
  | cons l ls ih =>
    have hw := (weaker_no_better b l.basis).2.2
    rcases ih (weaker b l.basis) with h | ⟨k, hk, h⟩
    · rcases hw with e | e
      · exact .inl (h.trans e)
      · exact .inr ⟨l, by simp, h.trans e⟩
    · exact .inr ⟨k, by simp [hk], h⟩

theorem composable_iff (s : Scope) : composable s = true ↔ s.Implies .listedPrompts := by
  cases s <;> simp [composable, Scope.Implies]

theorem implies_of_allComposable (ls : List Lipschitz) (h : allComposable ls = true) :
    ∀ l ∈ ls, l.scope.Implies .listedPrompts := by
  induction ls with
  | nil => exact fun _ h => nomatch h
  | cons l ls ih =>
    simp only [allComposable, Bool.and_eq_true] at h
    intro k hk
    rcases List.mem_cons.mp hk with rfl | hk
    · exact (composable_iff _).mp h.1
    · exact ih h.2 k hk

variable (st : Statement) (ev : Evidence)

/-- **An accepted composition has the weakest basis of its parts, and its scope is implied by the scope of
every constant in it** (BC-CLM-05, 14). -/
theorem accepted_composed_basis_and_scope (accepted : refusals st ev = []) (c : CompositionClaim)
    (hc : c ∈ st.composition) :
    Basis.measurement.AtLeast c.basis ∧ c.scope = .listedPrompts ∧
      (c.lipschitz = true → ∀ constants,
        constantsOf st.blocks (dropFirstConstant st.lipschitz) = some constants →
        ∀ l ∈ constants, l.basis.AtLeast c.basis ∧ l.scope.Implies c.scope) := by
  obtain ⟨lipschitz, telescoping, held, h1, h2, _, _, _, hcomposition, _⟩ :=
    accepted_claims st ev accepted
  rw [hcomposition, List.mem_append] at hc
  rcases hc with hc | hc
  · unfold lipschitzOf at h1
    split at h1
    · cases h1
      exact nomatch hc
    · rename_i constants hconstants
      simp only at h1
      split at h1
      · exact nomatch h1
      · rename_i hscope
        split at h1
        · exact nomatch h1
        · split at h1
          · exact nomatch h1
          · cases h1
            simp only [List.mem_singleton] at hc
            subst hc
            have hw := weakest_no_better .measurement constants
            refine ⟨hw.1, rfl, fun _ cs hcs l hl => ?_⟩
            rw [hconstants] at hcs
            cases hcs
            exact ⟨hw.2 l hl, implies_of_allComposable constants (by simpa using hscope) l hl⟩
  · unfold telescopingOf at h2
    split at h2
    · cases h2
      exact nomatch hc
    · simp only at h2
      split at h2
      · exact nomatch h2
      · cases h2
        simp only [List.mem_singleton] at hc
        subst hc
        exact ⟨Nat.le_refl _, rfl, fun h => nomatch h⟩

/-! ## Population -/

theorem populationClaims_of_hold (M n : Nat) (alpha : Rat) (parts : Nat) (claims : List PopulationClaim)
    (held : List (List Bool)) (rows : allSatisfied st ev claims = .ok held)
    (holds : populationClaimsHold M n alpha parts claims held = true) :
    ∀ c ∈ claims, ∃ satisfies, satisfied st ev c.predicate = .ok satisfies ∧
      c.successes = satisfies.countP (fun b => b) ∧
      c.atLeast = statedBound M n alpha.num.toNat (alpha.den * parts) c.successes := by
  induction claims generalizing held with
  | nil => exact fun _ h => nomatch h
  | cons a claims ih =>
    simp only [allSatisfied] at rows
    split at rows
    · exact nomatch rows
    · rename_i first hfirst
      split at rows
      · exact nomatch rows
      · rename_i rest hrest
        cases rows
        simp only [populationClaimsHold, populationClaimHolds, Bool.and_eq_true, beq_iff_eq,
          isStatedBound_iff] at holds
        intro c hc
        rcases List.mem_cons.mp hc with rfl | hc
        · exact ⟨first, hfirst, by rw [holds.1.1.1, countTrue_eq], holds.1.1.2.2.2.2⟩
        · exact ih rest hrest holds.2 c hc

/-- **Accepted population claims** (BC-CLM-07): `successes` is the number of rows that satisfy the
predicate, and `at_least` the bound of `population_bound` for it at the level `alpha / k`, `k` the number
of the certificate's population claims. -/
theorem accepted_population (accepted : refusals st ev = []) :
    st.population.windows = st.windows ∧ st.population.trials = st.rows ∧
    ∀ c ∈ st.population.claims, ∃ satisfies, satisfied st ev c.predicate = .ok satisfies ∧
      c.successes = satisfies.countP (fun b => b) ∧
      c.atLeast = statedBound st.windows st.rows st.population.alpha.num.toNat
        (st.population.alpha.den * lengthClaims st.population.claims) c.successes := by
  obtain ⟨_, _, held, _, _, h3, _, _, _, hp, _⟩ := accepted_claims st ev accepted
  simp only [populationHolds, Bool.and_eq_true, beq_iff_eq] at hp
  obtain ⟨⟨⟨⟨⟨h1, h2⟩, _⟩, _⟩, h4⟩, _⟩ := hp
  exact ⟨h1, h2, populationClaims_of_hold st ev _ _ _ _ _ held h3 h4⟩

end BlockCert
