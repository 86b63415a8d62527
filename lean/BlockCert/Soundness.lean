/-
What an accepted certificate says.  Lean core only.
-/
module

public import BlockCert.Checker
public import BlockCert.Telescoping

open Lean.Grind

@[expose] public noncomputable section

/-!
# Soundness of the checker

If `refusals statement evidence` is empty, then

* `accepted_claims`: the claims are those recomputed from the evidence (BC-CLM-01);
* `accepted_stage_error`, `accepted_drift`, …: every stated maximum is at least every row's cell, so what
  a cell bounds, the claim bounds (BC-CLM-02, 04);
* `accepted_lipschitz_sound`: **the drift of every listed prompt is at most the composed bound**, if that
  prompt's error cells and the stated constants hold (BC-CLM-03, 04);
* `accepted_telescoping_sound`: the same for the telescoping bound, if that prompt's hybrid steps hold;
* `accepted_population`: `at_least` is the stated bound of BC-CLM-07 for the counted successes;
* `weakest_no_better`, `accepted_composed_basis`, `accepted_composed_scope`: no composed claim has a
  better basis or another scope than its parts (BC-CLM-05, 14).

That the cells and constants hold is for replay, enclosures and whoever states a constant to establish.
-/

namespace BlockCert

/-! ## Lists of codes -/

theorem joined_eq_nil (s t : List Code) : joined s t = [] ↔ s = [] ∧ t = [] := by
  cases s <;> simp [joined]

theorem refuseUnless_eq_nil (b : Bool) (c : Code) : refuseUnless b c = [] ↔ b = true := by
  cases b <;> simp [refuseUnless]

theorem joinedClaims_eq (s t : List CompositionClaim) : joinedClaims s t = s ++ t := by
  induction s with
  | nil => rfl
  | cons c s ih => simp [joinedClaims, ih]

/-! ## Equality of claims -/

theorem sameRats_iff (s t : List Rat) : sameRats s t = true ↔ s = t := by
  induction s generalizing t with
  | nil => cases t <;> simp [sameRats]
  | cons a s ih => cases t <;> simp [sameRats, ih]

theorem sameNats_iff (s t : List Nat) : sameNats s t = true ↔ s = t := by
  induction s generalizing t with
  | nil => cases t <;> simp [sameNats]
  | cons a s ih => cases t <;> simp [sameNats, ih]

theorem sameNatLists_iff (s t : List (List Nat)) : sameNatLists s t = true ↔ s = t := by
  induction s generalizing t with
  | nil => cases t <;> simp [sameNatLists]
  | cons a s ih => cases t <;> simp [sameNatLists, ih, sameNats_iff]

theorem sameOptionalRat_iff (a b : Option Rat) : sameOptionalRat a b = true ↔ a = b := by
  cases a <;> cases b <;> simp [sameOptionalRat]

theorem sameOptionalNat_iff (a b : Option Nat) : sameOptionalNat a b = true ↔ a = b := by
  cases a <;> cases b <;> simp [sameOptionalNat]

theorem sameOptionalNats_iff (a b : Option (List Nat)) : sameOptionalNats a b = true ↔ a = b := by
  cases a <;> cases b <;> simp [sameOptionalNats, sameNats_iff]

theorem sameStage_eq (a b : StageClaim) (h : sameStage a b = true) : a = b := by
  obtain ⟨⟩ := a
  obtain ⟨⟩ := b
  simp only [sameStage, Bool.and_eq_true, decide_eq_true_eq, beq_iff_eq, sameOptionalRat_iff,
    sameNats_iff, sameOptionalNat_iff, sameOptionalNats_iff] at h
  simp only [StageClaim.mk.injEq]
  simp only [and_assoc] at h
  exact h

theorem sameStages_eq (s t : List StageClaim) (h : sameStages s t = true) : s = t := by
  induction s generalizing t with
  | nil => cases t <;> simp_all [sameStages]
  | cons a s ih =>
    cases t with
    | nil => simp [sameStages] at h
    | cons b t =>
      simp only [sameStages, Bool.and_eq_true] at h
      rw [sameStage_eq a b h.1, ih t h.2]

theorem sameComposition_eq (a b : CompositionClaim) (h : sameComposition a b = true) : a = b := by
  obtain ⟨⟩ := a
  obtain ⟨⟩ := b
  simp only [sameComposition, Bool.and_eq_true, decide_eq_true_eq, beq_iff_eq,
    sameOptionalRat_iff] at h
  simp only [CompositionClaim.mk.injEq]
  simp only [and_assoc] at h
  exact h

theorem sameCompositions_eq (s t : List CompositionClaim) (h : sameCompositions s t = true) :
    s = t := by
  induction s generalizing t with
  | nil => cases t <;> simp_all [sameCompositions]
  | cons a s ih =>
    cases t with
    | nil => simp [sameCompositions] at h
    | cons b t =>
      simp only [sameCompositions, Bool.and_eq_true] at h
      rw [sameComposition_eq a b h.1, ih t h.2]

theorem sameEndToEnd_eq (a b : EndToEnd) (h : sameEndToEnd a b = true) : a = b := by
  obtain ⟨⟩ := a
  obtain ⟨⟩ := b
  simp only [sameEndToEnd, Bool.and_eq_true, decide_eq_true_eq, beq_iff_eq, sameNats_iff] at h
  simp only [EndToEnd.mk.injEq]
  simp only [and_assoc] at h
  exact h

theorem sameControl_eq (a b : Control) (h : sameControl a b = true) : a = b := by
  obtain ⟨⟩ := a
  obtain ⟨⟩ := b
  simp only [sameControl, Bool.and_eq_true, decide_eq_true_eq, beq_iff_eq, sameRats_iff,
    sameNatLists_iff] at h
  simp only [Control.mk.injEq]
  simp only [and_assoc] at h
  exact h

/-! ## What acceptance gives -/

variable (st : Statement) (ev : Evidence)

theorem claimRefusals_of_accepted (accepted : refusals st ev = []) :
    negativeConstants st.lipschitz = [] ∧ claimRefusals st ev = [] := by
  unfold refusals at accepted
  split at accepted
  · exact nomatch accepted
  · rename_i h
    simp only [joined_eq_nil] at h
    exact ⟨h.2.2.1, accepted⟩

/-- **Every claim is what the evidence gives** (BC-CLM-01). -/
theorem accepted_claims (accepted : refusals st ev = []) :
    ∃ lipschitz telescoping held,
      lipschitzOf st ev (stagesOf st ev) = .ok lipschitz ∧
      telescopingOf st ev = .ok telescoping ∧
      allSatisfied st ev st.population.claims = .ok held ∧
      st.stages = stagesOf st ev ∧
      st.endToEnd = endToEndOf st ev ∧
      st.composition = lipschitz ++ telescoping ∧
      populationHolds st ev held = true ∧
      st.control = controlOf st ev := by
  have h := (claimRefusals_of_accepted st ev accepted).2
  unfold claimRefusals at h
  simp only at h
  split at h
  · exact nomatch h
  · split at h
    · exact nomatch h
    · rename_i lipschitz h1
      split at h
      · exact nomatch h
      · rename_i telescoping h2
        split at h
        · exact nomatch h
        · split at h
          · exact nomatch h
          · rename_i held h3
            split at h
            · exact nomatch h
            · simp only [joined_eq_nil, refuseUnless_eq_nil] at h
              obtain ⟨a, b, c, d, e⟩ := h
              have c := sameCompositions_eq _ _ c
              rw [joinedClaims_eq] at c
              exact ⟨lipschitz, telescoping, held, h1, h2, h3, sameStages_eq _ _ a,
                sameEndToEnd_eq _ _ b, c, d, sameControl_eq _ _ e⟩

/-- A stated bound is at least every row's cell at its place. -/
theorem le_boundAt (same : Bool) (rows : List (List Rat)) (i : Nat) (row : List Rat)
    (h : row ∈ rows) : nthRat row i ≤ boundAt same rows i :=
  Rat.le_trans (le_largest _ _ (mem_column i rows row h)) (le_roundBound same _)

theorem getElem_stagesFrom (m i j : Nat) (h : j < m) :
    (stagesFrom st ev m i)[j]? = some (stageOf st ev (i + j)) := by
  induction m generalizing i j with
  | zero => omega
  | succ m ih =>
    cases j with
    | zero => rfl
    | succ j =>
      simp only [stagesFrom, List.getElem?_cons_succ]
      rw [ih (i + 1) j (by omega)]
      congr 2
      omega

/-- The stated error of stage `i` is at least every row's (`spec/08-claims.md`, "Stages"). -/
theorem accepted_stage_error (accepted : refusals st ev = []) (i : Nat) (hi : i < st.blocks + 2) :
    ∃ s, st.stages[i]? = some s ∧ (∀ row ∈ ev.error, nthRat row i ≤ s.error) ∧
      (∀ row ∈ ev.relativeError, nthRat row i ≤ s.relativeError) := by
  obtain ⟨_, _, _, _, _, _, h, _⟩ := accepted_claims st ev accepted
  refine ⟨stageOf st ev i, ?_, fun row hr => le_boundAt _ _ _ _ hr, fun row hr => le_boundAt _ _ _ _ hr⟩
  rw [h]
  simpa using getElem_stagesFrom st ev (st.blocks + 2) 0 i hi

/-- The stated drift is at least every row's (`spec/08-claims.md`, "End to end"). -/
theorem accepted_drift (accepted : refusals st ev = []) (row : List Rat) (h : row ∈ ev.drift) :
    nthRat row st.blocks ≤ st.endToEnd.drift := by
  obtain ⟨_, _, _, _, _, _, _, he, _⟩ := accepted_claims st ev accepted
  rw [he]
  exact le_boundAt _ _ _ _ h

theorem accepted_logit_difference (accepted : refusals st ev = []) (row : List Rat)
    (h : row ∈ ev.logitDifference) : nthRat row 0 ≤ st.endToEnd.logitDifference := by
  obtain ⟨_, _, _, _, _, _, _, he, _⟩ := accepted_claims st ev accepted
  rw [he]
  exact le_boundAt _ _ _ _ h

theorem accepted_kl_max (accepted : refusals st ev = []) (row : List Rat) (h : row ∈ ev.klMax) :
    nthRat row 0 ≤ st.endToEnd.klMax := by
  obtain ⟨_, _, _, _, _, _, _, he, _⟩ := accepted_claims st ev accepted
  rw [he]
  exact le_boundAt _ _ _ _ h

/-- Counts end to end are the sums over the rows. -/
theorem accepted_counts (accepted : refusals st ev = []) :
    st.endToEnd.top1Agree = (countColumn 0 ev.top1Agree).sum ∧
      st.endToEnd.decided = (countColumn 0 ev.decided).sum := by
  obtain ⟨_, _, _, _, _, _, _, he, _⟩ := accepted_claims st ev accepted
  rw [he]
  exact ⟨sumNat_eq _, sumNat_eq _⟩

/-! ## The composed bound -/

theorem errors_nonneg_of_negativeConstants (ls : List (Option Lipschitz))
    (h : negativeConstants ls = []) (n : Nat) (cs : List Lipschitz)
    (hc : constantsOf n ls = some cs) : ∀ c ∈ cs, 0 ≤ c.constant := by
  induction n generalizing ls cs with
  | zero => cases ls <;> simp [constantsOf] at hc <;> subst hc <;> simp
  | succ n ih =>
    match ls, hc with
    | some l :: ls, hc =>
      simp only [negativeConstants, joined_eq_nil, refuseUnless_eq_nil, decide_eq_true_eq] at h
      simp only [constantsOf] at hc
      split at hc
      · rename_i r hr
        simp only [Option.some.injEq] at hc
        subst hc
        intro c hm
        rcases List.mem_cons.mp hm with rfl | hm
        · exact h.1
        · exact ih ls h.2 r hr c hm
      · exact nomatch hc

theorem negativeConstants_dropFirst (ls : List (Option Lipschitz)) (h : negativeConstants ls = []) :
    negativeConstants (dropFirstConstant ls) = [] := by
  match ls with
  | [] => rfl
  | some l :: ls => simp only [negativeConstants, joined_eq_nil] at h; exact h.2
  | none :: ls => exact h

variable {α : Type v} {R : Type u} [CommRing R] [LE R]

/-- **The hypotheses on the blocks of one listed prompt.**  `row` holds its cells of the column `error`,
`cs` the printed errors and constants of the blocks from block `i` on, `x` is the reference's input of
block `i` and `e` the radius composed so far.  At every block

* the cell is at least the distance of the two outputs at the reference's own input (what replay and
  enclosures establish, BC-EVD-01);
* the constant holds for every point within the radius composed so far (what a stated constant claims,
  BC-CLM-03). -/
def CellsHold (φ : Rat → R) (dist : α → α → R) (row : List Rat) :
    List (Block α) → List (Step Rat) → Nat → α → Rat → Prop
  | [], [], _, _, _ => True
  | b :: bs, c :: cs, i, x, e =>
    dist (b.reference x) (b.surrogate x) ≤ φ (nthRat row i) ∧
    (∀ y, dist x y ≤ φ e → dist (b.surrogate x) (b.surrogate y) ≤ φ c.lipschitz * dist x y) ∧
    CellsHold φ dist row bs cs (i + 1) (b.reference x) (c.lipschitz * e + c.error)
  | _, _, _, _, _ => False

/-- The printed errors are at least a row's cells, and the constants are not negative. -/
def Cover (row : List Rat) : List (Step Rat) → Nat → Prop
  | [], _ => True
  | c :: cs, i => nthRat row i ≤ c.error ∧ 0 ≤ c.lipschitz ∧ Cover row cs (i + 1)

theorem cover_stepsOf (row : List Rat) (hr : row ∈ ev.error) (m i : Nat) (ls : List Lipschitz)
    (nonneg : ∀ l ∈ ls, 0 ≤ l.constant) : Cover row (stepsOf (stagesFrom st ev m i) ls) i := by
  induction m generalizing i ls with
  | zero => exact trivial
  | succ m ih =>
    cases ls with
    | nil => exact trivial
    | cons l ls =>
      exact ⟨le_boundAt _ _ _ _ hr, nonneg l (by simp), ih (i + 1) ls fun k hk => nonneg k (by simp [hk])⟩

variable [LT R] [Std.IsPartialOrder R] [Std.LawfulOrderLT R] [OrderedRing R]

omit [LT R] [Std.LawfulOrderLT R] [OrderedRing R] in
theorem holdsAlong_of_cellsHold (φ : Rat → R) (hφ : OrdHom φ) (dist : α → α → R) (row : List Rat)
    (bs : List (Block α)) (cs : List (Step Rat)) (i : Nat) (x : α) (e : Rat)
    (holds : CellsHold φ dist row bs cs i x e) (cover : Cover row cs i) :
    HoldsAlong dist bs (cs.map (Step.cast φ)) x (φ e) := by
  induction bs generalizing cs i x e with
  | nil =>
    cases cs with
    | nil => exact trivial
    | cons c cs => exact holds.elim
  | cons b bs ih =>
    cases cs with
    | nil => exact holds.elim
    | cons c cs =>
      obtain ⟨h1, h2, h3⟩ := holds
      obtain ⟨c1, c2, c3⟩ := cover
      refine ⟨?_, Std.le_trans h1 (hφ.mono _ _ c1), h2, ?_⟩
      · have := hφ.mono _ _ c2
        rwa [hφ.zero] at this
      · have := ih cs (i + 1) (b.reference x) _ h3 c3
        rw [hφ.add, hφ.mul] at this
        exact this

/-- **Soundness of the `lipschitz` composition** (BC-CLM-03, 04).  Let a certificate be accepted and state
a composition of constants.  Take a listed prompt whose row of the column `error` is `row`, the outputs
`x` and `y` of the two embeddings on it, and the blocks of both programs.  If the embeddings differ by at
most the row's first cell, and the cells and constants hold along the reference's trajectory, then the two
programs differ after the last block by at most the claimed bound. -/
theorem accepted_lipschitz_sound (φ : Rat → R) (hφ : OrdHom φ) (accepted : refusals st ev = [])
    (c : CompositionClaim) (hc : c ∈ st.composition) (method : c.lipschitz = true)
    (dist : α → α → R) (triangle : ∀ a b c, dist a c ≤ dist a b + dist b c)
    (row : List Rat) (listed : row ∈ ev.error) (bs : List (Block α)) (x y : α)
    (start : dist x y ≤ φ (nthRat row 0))
    (holds : ∀ constants, constantsOf st.blocks (dropFirstConstant st.lipschitz) = some constants →
      CellsHold φ dist row bs (stepsOf (dropFirstStage st.stages) constants) 1 x
        (firstError st.stages)) :
    dist (runReference bs x) (runSurrogate bs y) ≤ φ c.bound := by
  obtain ⟨lipschitz, telescoping, held, h1, h2, _, hstages, _, hcomposition, _⟩ :=
    accepted_claims st ev accepted
  rw [hcomposition, List.mem_append] at hc
  rw [hstages] at holds
  rcases hc with hc | hc
  · unfold lipschitzOf at h1
    split at h1
    · cases h1
      exact nomatch hc
    · rename_i constants hconstants
      simp only at h1
      split at h1
      · exact nomatch h1
      · split at h1
        · exact nomatch h1
        · split at h1
          · exact nomatch h1
          · cases h1
            simp only [List.mem_singleton] at hc
            subst hc
            have hneg := negativeConstants_dropFirst _ (claimRefusals_of_accepted st ev accepted).1
            have nonneg := errors_nonneg_of_negativeConstants _ hneg _ _ hconstants
            have cover := cover_stepsOf st ev row listed (st.blocks + 1) 1 constants nonneg
            have along := holdsAlong_of_cellsHold φ hφ dist row bs _ 1 x _
              (holds constants hconstants) cover
            have start' : dist x y ≤ φ (firstError (stagesOf st ev)) :=
              Std.le_trans start (hφ.mono _ _ (le_boundAt _ _ _ _ listed))
            have drift := drift_le_recurrence dist triangle bs _ x y _ start' along
            rw [hφ.recurrence, ← recurrenceRat_eq] at drift
            exact Std.le_trans drift (hφ.mono _ _ (le_roundBound _ _))
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
        exact nomatch method

/-! ## Telescoping -/

/-- The sum of a row's first `n` cells. -/
def sumTo (row : List Rat) : Nat → Rat
  | 0 => 0
  | n + 1 => sumTo row n + nthRat row n

theorem sumTo_cons (a : Rat) (l : List Rat) (n : Nat) : sumTo (a :: l) (n + 1) = a + sumTo l n := by
  induction n with
  | zero => simp only [sumTo, nthRat]; grind
  | succ n ih => rw [sumTo, ih]; simp only [sumTo, nthRat]; grind

theorem sumTo_length (l : List Rat) : sumTo l l.length = l.sum := by
  induction l with
  | nil => rfl
  | cons a l ih => rw [List.length_cons, sumTo_cons, ih, List.sum_cons]

omit [Std.LawfulOrderLT R] in
theorem sumOfSteps_le (φ : Rat → R) (hφ : OrdHom φ) (dist : α → α → R) (h : Nat → α)
    (row : List Rat) (n : Nat)
    (holds : ∀ i, i < n → dist (h (i + 1)) (h i) ≤ φ (nthRat row i)) :
    sumOfSteps dist h n ≤ φ (sumTo row n) := by
  induction n with
  | zero => rw [sumTo, hφ.zero]; exact Std.le_refl _
  | succ n ih =>
    rw [sumTo, hφ.add]
    exact OrderedAdd.add_le_add (ih fun i hi => holds i (by omega)) (holds n (by omega))

omit [Std.LawfulOrderLT R] in
/-- **Soundness of the `telescoping` composition** (BC-CLM-04).  Let a certificate be accepted and state
one.  Take a prompt whose row of the column `attribution.hybrid_step` is `row`.  If each of its cells is at
least the distance of the two neighbouring hybrids, the two programs differ after the last block by at
most the claimed bound. -/
theorem accepted_telescoping_sound (φ : Rat → R) (hφ : OrdHom φ) (accepted : refusals st ev = [])
    (c : CompositionClaim) (hc : c ∈ st.composition) (method : c.lipschitz = false)
    (dist : α → α → R) (triangle : ∀ a b c, dist a c ≤ dist a b + dist b c)
    (self : ∀ a, dist a a ≤ 0) (row : List Rat) (listed : row ∈ ev.hybridStep)
    (bs : List (Block α)) (x y : α) (width : row.length = bs.length + 1)
    (holds : ∀ i, i < bs.length + 1 →
      dist (hybrid bs x y (i + 1)) (hybrid bs x y i) ≤ φ (nthRat row i)) :
    dist (runReference bs x) (runSurrogate bs y) ≤ φ c.bound := by
  obtain ⟨lipschitz, telescoping, held, h1, h2, _, _, _, hcomposition, _⟩ :=
    accepted_claims st ev accepted
  rw [hcomposition, List.mem_append] at hc
  rcases hc with hc | hc
  · unfold lipschitzOf at h1
    split at h1
    · cases h1
      exact nomatch hc
    · simp only at h1
      split at h1
      · exact nomatch h1
      · split at h1
        · exact nomatch h1
        · split at h1
          · exact nomatch h1
          · cases h1
            simp only [List.mem_singleton] at hc
            subst hc
            exact nomatch method
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
        have h3 := drift_le_sum_of_hybrid_steps dist triangle self bs x y
        have h4 := sumOfSteps_le φ hφ dist (hybrid bs x y) row _ holds
        have h5 : sumTo row (bs.length + 1) ≤ largest (rowSums ev.hybridStep) := by
          rw [← width, sumTo_length]
          exact le_largest _ _ (mem_rowSums _ _ listed)
        exact Std.le_trans h3 (Std.le_trans h4 (hφ.mono _ _ (Rat.le_trans h5 (le_roundBound _ _))))

end BlockCert
