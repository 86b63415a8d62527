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
* `accepted_telescoping_sound`: the same for the telescoping bound, if that prompt's hybrid steps hold.

What acceptance says of scope, basis and the population is in `Bases`, of corpus files in `Strata`, of proven
rows in `ProvenEnds`.
Not said here: that the cells and constants hold of the two transformers and of the weights in their files.
Replay measures that in floating point, within a tolerance; enclosures prove it; neither is in this library.
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

variable {State : Nat → Type v} {R : Type u} [CommRing R] [LE R]

/-- **The hypotheses on the blocks of one listed prompt.**  `row` holds its cells of the column `error`,
`steps` the printed errors and constants of the blocks, `tokens` is the prompt and `e` the printed error of
the embedding.  At every block `i + 1`, with the reference's state `X = runReference p tokens (i + 1)`
before it,

* the cell is at least the distance of the two outputs at `X` (what replay and enclosures establish,
  BC-EVD-01);
* the constant holds for every point within the radius composed so far of `X` (what a stated constant
  claims, BC-CLM-03). -/
def CellsHold (φ : Rat → R) (dist : (i : Nat) → State i → State i → R) (p : Programs State)
    (row : List Rat) (steps : List (Step Rat)) (tokens : State 0) (e : Rat) : Prop :=
  ∀ i, i < steps.length →
    dist (i + 2) ((p (i + 1)).reference (runReference p tokens (i + 1)))
        ((p (i + 1)).surrogate (runReference p tokens (i + 1))) ≤ φ (nthRat row (i + 1)) ∧
    ∀ y, dist (i + 1) (runReference p tokens (i + 1)) y ≤ φ (radius (stepAt steps) e i) →
      dist (i + 2) ((p (i + 1)).surrogate (runReference p tokens (i + 1))) ((p (i + 1)).surrogate y) ≤
        φ (stepAt steps i).lipschitz * dist (i + 1) (runReference p tokens (i + 1)) y

/-- The printed errors of the stages from `k` on are at least a row's cells, and the constants are not
negative. -/
def Cover (row : List Rat) (steps : List (Step Rat)) (k : Nat) : Prop :=
  ∀ i, i < steps.length →
    nthRat row (i + k) ≤ (stepAt steps i).error ∧ 0 ≤ (stepAt steps i).lipschitz

theorem cover_stepsOf (row : List Rat) (hr : row ∈ ev.error) (m k : Nat) (ls : List Lipschitz)
    (nonneg : ∀ l ∈ ls, 0 ≤ l.constant) : Cover row (stepsOf (stagesFrom st ev m k) ls) k := by
  induction m generalizing k ls with
  | zero => exact fun i hi => nomatch hi
  | succ m ih =>
    cases ls with
    | nil => exact fun i hi => nomatch hi
    | cons l ls =>
      intro i hi
      cases i with
      | zero =>
        rw [Nat.zero_add]
        exact ⟨le_boundAt _ _ _ _ hr, nonneg l (by simp)⟩
      | succ i =>
        have h := ih (k + 1) ls (fun j hj => nonneg j (by simp [hj])) i (Nat.lt_of_succ_lt_succ hi)
        rwa [show i + (k + 1) = i + 1 + k by omega] at h

theorem length_stepsOf (stages : List StageClaim) (ls : List Lipschitz) (h : ls.length ≤ stages.length) :
    (stepsOf stages ls).length = ls.length := by
  induction stages generalizing ls with
  | nil =>
    cases ls with
    | nil => rfl
    | cons l ls => exact absurd h (Nat.not_succ_le_zero _)
  | cons s stages ih =>
    cases ls with
    | nil => rfl
    | cons l ls => exact congrArg (· + 1) (ih ls (Nat.le_of_succ_le_succ h))

theorem length_stagesFrom (m k : Nat) : (stagesFrom st ev m k).length = m := by
  induction m generalizing k with
  | zero => rfl
  | succ m ih => exact congrArg (· + 1) (ih (k + 1))

theorem length_constantsOf (n : Nat) (ls : List (Option Lipschitz)) (cs : List Lipschitz)
    (h : constantsOf n ls = some cs) : cs.length = n := by
  induction n generalizing ls cs with
  | zero => cases ls <;> simp [constantsOf] at h <;> subst h <;> rfl
  | succ n ih =>
    match ls, h with
    | some l :: ls, h =>
      simp only [constantsOf] at h
      split at h
      · rename_i r hr
        cases h
        exact congrArg (· + 1) (ih ls r hr)
      · exact nomatch h

theorem holdsAlong_of_cellsHold (φ : Rat → R) (hφ : OrdHom φ) [Std.IsPartialOrder R]
    (dist : (i : Nat) → State i → State i → R) (p : Programs State) (row : List Rat)
    (steps : List (Step Rat)) (tokens : State 0) (e : Rat)
    (holds : CellsHold φ dist p row steps tokens e) (cover : Cover row steps 1) :
    HoldsAlong (fun i => dist (i + 1)) (afterEmbedding p) (fun i => (stepAt steps i).cast φ)
      ((p 0).reference tokens) (φ e) steps.length := by
  intro i hi
  obtain ⟨h1, h2⟩ := holds i hi
  obtain ⟨c1, c2⟩ := cover i hi
  have c2 := hφ.mono _ _ c2
  rw [hφ.zero] at c2
  rw [runReference_afterEmbedding, hφ.radius]
  exact ⟨c2, Std.le_trans h1 (hφ.mono _ _ c1), h2⟩

variable [LT R] [Std.IsPartialOrder R] [Std.LawfulOrderLT R] [OrderedRing R]

/-- **Soundness of the `lipschitz` composition** (BC-CLM-03, 04).  Let a certificate be accepted and state
a composition of constants.  Take a listed prompt, its row of the column `error`, and both programs: stage
0 is the embedding, stages `1 … n` are the blocks.  If the embeddings' outputs differ by at most the row's
first cell, and the cells and constants of the blocks hold along the reference's trajectory, then the two
programs differ after the last block by at most the claimed bound. -/
theorem accepted_lipschitz_sound (φ : Rat → R) (hφ : OrdHom φ) (accepted : refusals st ev = [])
    (c : CompositionClaim) (hc : c ∈ st.composition) (method : c.lipschitz = true)
    (dist : (i : Nat) → State i → State i → R)
    (triangle : ∀ i a b c, dist i a c ≤ dist i a b + dist i b c)
    (row : List Rat) (listed : row ∈ ev.error) (p : Programs State) (tokens : State 0)
    (embedding : dist 1 ((p 0).reference tokens) ((p 0).surrogate tokens) ≤ φ (nthRat row 0))
    (holds : ∀ constants, constantsOf st.blocks (dropFirstConstant st.lipschitz) = some constants →
      CellsHold φ dist p row (stepsOf (dropFirstStage st.stages) constants) tokens
        (firstError st.stages)) :
    dist (st.blocks + 1) (runReference p tokens (st.blocks + 1))
      (runSurrogate p tokens (st.blocks + 1)) ≤ φ c.bound := by
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
            have length := length_constantsOf _ _ _ hconstants
            have length : (stepsOf (stagesFrom st ev (st.blocks + 1) 1) constants).length = st.blocks := by
              rw [length_stepsOf _ _ (by rw [length_stagesFrom, length]; omega), length]
            have along := holdsAlong_of_cellsHold φ hφ dist p row _ tokens _
              (holds constants hconstants) cover
            have start : dist 1 ((p 0).reference tokens) ((p 0).surrogate tokens) ≤
                φ (firstError (stagesOf st ev)) :=
              Std.le_trans embedding (hφ.mono _ _ (le_boundAt _ _ _ _ listed))
            have drift := drift_le_from_tokens dist triangle p _ tokens _ _ start along
            rw [hφ.radius, radius_stepAt, ← recurrenceRat_eq] at drift
            change (stepsOf (dropFirstStage (stagesOf st ev)) constants).length = st.blocks at length
            rw [length] at drift
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
theorem sumOfSteps_le {α : Type v} (φ : Rat → R) (hφ : OrdHom φ) (dist : α → α → R) (h : Nat → α)
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
least the distance of the two neighbouring hybrids after the last block, the two programs differ there by
at most the claimed bound. -/
theorem accepted_telescoping_sound (φ : Rat → R) (hφ : OrdHom φ) (accepted : refusals st ev = [])
    (c : CompositionClaim) (hc : c ∈ st.composition) (method : c.lipschitz = false)
    (p : Programs State) (tokens : State 0)
    (dist : State (st.blocks + 1) → State (st.blocks + 1) → R)
    (triangle : ∀ a b c, dist a c ≤ dist a b + dist b c) (self : ∀ a, dist a a ≤ 0)
    (row : List Rat) (listed : row ∈ ev.hybridStep) (width : row.length = st.blocks + 1)
    (holds : ∀ i, i < st.blocks + 1 →
      dist (hybrid p tokens (i + 1) (st.blocks + 1)) (hybrid p tokens i (st.blocks + 1)) ≤
        φ (nthRat row i)) :
    dist (runReference p tokens (st.blocks + 1)) (runSurrogate p tokens (st.blocks + 1)) ≤
      φ c.bound := by
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
        have h3 := drift_le_sum_of_hybrid_steps p tokens _ dist triangle self
        have h4 := sumOfSteps_le φ hφ dist (fun k => hybrid p tokens k (st.blocks + 1)) row _ holds
        have h5 : sumTo row (st.blocks + 1) ≤ largest (rowSums ev.hybridStep) := by
          rw [← width, sumTo_length]
          exact le_largest _ _ (mem_rowSums _ _ listed)
        exact Std.le_trans h3 (Std.le_trans h4 (hφ.mono _ _ (Rat.le_trans h5 (le_roundBound _ _))))

end BlockCert
