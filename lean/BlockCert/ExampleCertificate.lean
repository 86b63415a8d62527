/-
A certificate that the checker accepts, and what follows for its programs.  Lean core only.
-/
module

public import BlockCert.Bases
public import BlockCert.Examples
public import BlockCert.ProvenEnds

@[expose] public section

/-!
# An accepted certificate

The statement and the evidence that a producer would write about the programs of `Examples`: two listed
prompts of two tokens each, from two corpus files of three windows.  `refusals` is empty for them
(`accepted`), every cell is true (`cells_hold`), and the theorems of `Soundness` and `Bases` apply: none of
them holds for want of a certificate.  The first prompt has proven ends, each a little above the true value,
as enclosures are; `endRefusals` is empty too (`ends_accepted`), and the theorems of `ProvenEnds` apply.

The distance of two prompts' states is taken on their last token.
-/

namespace BlockCert.Examples

/-! ## The evidence: rows for the prompts `true` and `false` -/

def evidence : Evidence where
  same := [false, false, false, true]
  strataWindows := some [3, 3]
  strataOfRow := [0, 1]
  error := [[1 / 20, 1 / 10, 1 / 10, 0], [1 / 20, 1 / 10, 1 / 10, 0]]
  relativeError := [[1 / 20, 1 / 20, 1 / 40, 0], [1 / 80, 1 / 80, 1 / 160, 0]]
  relativeUpdateError := [[1 / 10, 1 / 20], [1 / 40, 1 / 80]]
  covered := [[2, 2, 2, 2], [2, 2, 2, 2]]
  drift := [[1 / 20, 1 / 5, 1 / 2, 1 / 2], [1 / 20, 1 / 5, 1 / 2, 1 / 2]]
  relativeDrift := [[1 / 20, 1 / 10, 1 / 8, 1 / 8], [1 / 80, 1 / 40, 1 / 32, 1 / 32]]
  finalNorm := [[4], [16]]
  logitDifference := [[1 / 2], [1 / 2]]
  top1Agree := [[2], [2]]
  decided := [[2], [2]]
  lossReference := [[1 / 4], [1 / 8]]
  lossSurrogate := [[1 / 2], [1 / 4]]
  lossDifference := [[1 / 4], [1 / 8]]
  lossWithin := [[0], [0]]
  klSum := [[1 / 8], [1 / 16]]
  klMax := [[1 / 8], [1 / 16]]
  identityError := [[0, 1, 2, 0], [0, 4, 8, 0]]
  identityRelativeError := [[0, 1 / 2, 1 / 2, 0], [0, 1 / 2, 1 / 2, 0]]
  identityCovered := [[2, 0, 0, 2], [2, 0, 0, 2]]
  identityDrift := [[0, 1, 3, 3], [0, 4, 12, 12]]
  identityRelativeDrift := [[0, 1 / 2, 3 / 4, 3 / 4], [0, 1 / 2, 3 / 4, 3 / 4]]
  identityLogitDifference := [[3], [12]]
  identityTop1Agree := [[0], [0]]
  identityDecided := [[2], [2]]
  floor := [[0, 0, 0, 0], [0, 0, 0, 0]]
  attributionLossWithin := [[0, 0, 0, 1]]
  hybridStep := [[1 / 5, 1 / 5, 1 / 10]]
  ends :=
    { error := [[mkRat 51 1000, mkRat 101 1000, mkRat 101 1000, 0]]
      relativeError := [[mkRat 51 1000, mkRat 51 1000, mkRat 26 1000, 0]]
      relativeUpdateError := [[mkRat 101 1000, mkRat 51 1000]]
      covered := [[0, 0, 2, 2]]
      drift := [[mkRat 51 1000, mkRat 201 1000, mkRat 501 1000, mkRat 501 1000]]
      relativeDrift := [[mkRat 51 1000, mkRat 101 1000, mkRat 126 1000, mkRat 126 1000]]
      logitDifference := [[mkRat 501 1000]]
      top1Agree := [[2]]
      decided := [[2]]
      lossWithin := [[0]]
      klMax := [[mkRat 126 1000]]
      bits := [[64]] }

/-! ## The statement -/

/-- A constant of 2 for a block. -/
def two : Lipschitz := { constant := 2, scope := .allInputs, basis := .estimate }

def stageClaim (same : Bool) (error relative : Rat) (update : Option Rat) (lossCovered : Nat) :
    StageClaim where
  sameProgram := same
  error := error
  relativeError := relative
  relativeUpdateError := update
  tokens := 4
  covered := [4]
  lossTokens := some 1
  lossCovered := some [lossCovered]
  scope := .listedPrompts
  basis := .measurement

def lipschitzClaim : CompositionClaim where
  lipschitz := true
  bound := 1 / 2
  measured := 1 / 2
  ratio := some 1
  rows := 2
  vacuous := false
  scope := .listedPrompts
  basis := .estimate

def telescopingClaim : CompositionClaim where
  lipschitz := false
  bound := 1 / 2
  measured := 1 / 2
  ratio := some 1
  rows := 1
  vacuous := false
  scope := .listedPrompts
  basis := .measurement

def enclosedStage (error relative : Rat) (update : Option Rat) (covered : Nat) : EnclosedStage where
  error := error
  relativeError := relative
  relativeUpdateError := update
  covered := [covered]

/-- The claims about the first prompt, whose ends are proven. -/
def enclosures : Enclosures where
  rows := 1
  bits := 64
  stages :=
    [enclosedStage (mkRat 51 1000) (mkRat 51 1000) none 0,
     enclosedStage (mkRat 101 1000) (mkRat 51 1000) (some (mkRat 101 1000)) 0,
     enclosedStage (mkRat 101 1000) (mkRat 26 1000) (some (mkRat 51 1000)) 2, enclosedStage 0 0 none 2]
  drift := mkRat 501 1000
  relativeDrift := mkRat 126 1000
  logitDifference := mkRat 501 1000
  tokens := 2
  top1Agree := 2
  decided := 2
  lossTokens := 1
  lossWithin := [0]
  klMax := mkRat 126 1000
  scope := .listedPrompts
  basis := .enclosure

def statement : Statement where
  length := 2
  blocks := 2
  rows := 2
  attribution := 1
  windows := 6
  relative := [mkRat 5 100]
  loss := [mkRat 1 10]
  postHoc := false
  lipschitz := [none, some two, some two, none]
  stages :=
    [stageClaim false (1 / 20) (1 / 20) none 0, stageClaim false (1 / 10) (1 / 20) (some (1 / 10)) 0,
     stageClaim false (1 / 10) (1 / 40) (some (1 / 20)) 0, stageClaim true 0 0 none 1]
  composition := [lipschitzClaim, telescopingClaim]
  endToEnd :=
    { drift := 1 / 2, relativeDrift := 1 / 8, logitDifference := 1 / 2, tokens := 4, top1Agree := 4,
      decided := 4, lossTokens := 2, lossReference := 3 / 16, lossSurrogate := 3 / 8,
      lossDifference := 3 / 16, lossWithin := [0], klMean := 3 / 32, klMax := 1 / 8,
      scope := .listedPrompts, basis := .measurement }
  population :=
    { windows := 6, trials := 2, alpha := 1 / 2,
      claims := [{ predicate := { kind := .top1, share := some (mkRat 95 100), threshold := none },
                   successes := 2, atLeast := 5, atLeastShare := mkRat 833333 1000000 }],
      strata := some [{ windows := 3, trials := 1, successes := [1], atLeast := [1] },
                      { windows := 3, trials := 1, successes := [1], atLeast := [1] }],
      scope := .population, basis := .measurement }
  control :=
    { error := [0, 4, 8, 0], relativeError := [0, 1 / 2, 1 / 2, 0], covered := [[4], [0], [0], [4]],
      drift := 12, relativeDrift := 3 / 4, logitDifference := 12, top1Agree := 0, decided := 4,
      floor := [0, 0, 0, 0] }
  enclosures := some enclosures

/-! ## It is accepted -/

theorem accepted : refusals statement evidence = [] := by decide +kernel

/-- With a cell that is a little larger it is not. -/
theorem larger_cell_refused :
    refusals statement { evidence with klMax := [[1 / 8 + 1 / 1000000], [1 / 16]] } ≠ [] := by
  decide +kernel

theorem ends_accepted : endRefusals statement evidence = [] := by decide +kernel

/-- With a proven count that is one more they are not, nor with a stated end that is below the row's. -/
theorem other_ends_refused :
    endRefusals statement { evidence with ends := { evidence.ends with covered := [[0, 1, 2, 2]] } } ≠ [] ∧
      endRefusals { statement with enclosures := some { enclosures with drift := mkRat 500 1000 } }
        evidence ≠ [] := by
  decide +kernel

/-- The row of the prompt `t`. -/
def rowOf (_ : Bool) : List Rat := [1 / 20, 1 / 10, 1 / 10, 0]

theorem constants_stated :
    constantsOf statement.blocks (dropFirstConstant statement.lipschitz) = some [two, two] := rfl

/-- The cells of both prompts are true, and so are the constants. -/
theorem cells_hold (t : Bool) :
    CellsHold (fun a => a) dist programs (rowOf t)
      (stepsOf (dropFirstStage statement.stages) [two, two]) t (firstError statement.stages)
  | 0, _ => ⟨doubling_error _, fun _ _ => doubling_lipschitz _ _⟩
  | 1, _ => ⟨doubling_error _, fun _ _ => doubling_lipschitz _ _⟩
  | _ + 2, h => absurd h (by simp [statement, dropFirstStage, stepsOf])

/-- So both prompts drift by at most the claimed `1/2` up to the head. -/
theorem accepted_lipschitz_sound_instance (t : Bool) :
    distance (runReference programs t 3) (runSurrogate programs t 3) ≤ 1 / 2 :=
  accepted_lipschitz_sound statement evidence (fun a => a) OrdHom.id accepted lipschitzClaim
    (List.mem_cons_self ..) rfl dist dist_triangle (rowOf t) (List.mem_cons_self ..) programs t
    (embedding_error t) fun constants h => by
      rw [constants_stated] at h
      cases h
      exact cells_hold t

/-- The hybrids of the attributed prompt are as far apart as its cells say. -/
theorem accepted_telescoping_sound_instance :
    distance (runReference programs true 3) (runSurrogate programs true 3) ≤ 1 / 2 :=
  accepted_telescoping_sound statement evidence (fun a => a) OrdHom.id accepted telescopingClaim
    (List.mem_cons_of_mem _ (List.mem_cons_self ..)) rfl programs true distance distance_triangle
    distance_self [1 / 5, 1 / 5, 1 / 10] (List.mem_cons_self ..) rfl fun
    | 0, _ => by decide +kernel
    | 1, _ => by decide +kernel
    | 2, _ => by decide +kernel
    | _ + 3, h => absurd h (by simp [statement])

/-! ## The other theorems about accepted certificates -/

theorem accepted_claims_instance : statement.stages = stagesOf statement evidence := by
  obtain ⟨_, _, _, _, _, _, h, _⟩ := accepted_claims statement evidence accepted
  exact h

theorem accepted_stage_error_instance :
    ∃ s, statement.stages[2]? = some s ∧ (∀ row ∈ evidence.error, nthRat row 2 ≤ s.error) ∧
      ∀ row ∈ evidence.relativeError, nthRat row 2 ≤ s.relativeError :=
  accepted_stage_error statement evidence accepted 2 (by decide)

theorem accepted_drift_instance : nthRat [1 / 20, 1 / 5, 1 / 2, 1 / 2] 2 ≤ statement.endToEnd.drift :=
  accepted_drift statement evidence accepted _ (List.mem_cons_self ..)

theorem accepted_logit_difference_instance : nthRat [1 / 2] 0 ≤ statement.endToEnd.logitDifference :=
  accepted_logit_difference statement evidence accepted _ (List.mem_cons_self ..)

theorem accepted_kl_max_instance : nthRat [1 / 8] 0 ≤ statement.endToEnd.klMax :=
  accepted_kl_max statement evidence accepted _ (List.mem_cons_self ..)

theorem accepted_counts_instance : statement.endToEnd.top1Agree = [2, 2].sum :=
  (accepted_counts statement evidence accepted).1

theorem accepted_composed_basis_and_scope_instance :
    Basis.measurement.AtLeast lipschitzClaim.basis ∧ two.scope.Implies lipschitzClaim.scope :=
  have h := accepted_composed_basis_and_scope statement evidence accepted lipschitzClaim
    (List.mem_cons_self ..)
  ⟨h.1, (h.2.2 rfl _ constants_stated two (List.mem_cons_self ..)).2⟩

/-! ## Proven ends -/

theorem accepted_enclosures_instance : enclosures = enclosuresOf statement evidence 1 :=
  accepted_enclosures statement evidence enclosures rfl ends_accepted

/-- The end of the prompt's drift is true, so the stated bound is. -/
theorem accepted_enclosed_drift_instance :
    distance (runReference programs true 3) (runSurrogate programs true 3) ≤ enclosures.drift :=
  Rat.le_trans (b := nthRat [mkRat 51 1000, mkRat 201 1000, mkRat 501 1000, mkRat 501 1000] 2)
    (by decide +kernel)
    (accepted_enclosed_drift statement evidence enclosures rfl ends_accepted _ (List.mem_cons_self ..))

/-- The same for its logits. -/
theorem accepted_enclosed_logit_difference_instance :
    logitDistance (runReference programs true 4) (runSurrogate programs true 4) ≤ enclosures.logitDifference :=
  Rat.le_trans (b := nthRat [mkRat 501 1000] 0) (by decide +kernel)
    (accepted_enclosed_logit_difference statement evidence enclosures rfl ends_accepted _
      (List.mem_cons_self ..))

theorem accepted_enclosed_kl_max_instance : nthRat [mkRat 126 1000] 0 ≤ enclosures.klMax :=
  accepted_enclosed_kl_max statement evidence enclosures rfl ends_accepted _ (List.mem_cons_self ..)

/-- The end of the second block is true, so the stated error is. -/
theorem accepted_enclosed_stage_error_instance :
    ∃ s, enclosures.stages[2]? = some s ∧
      distance (doubling.reference (runReference programs true 2))
        (doubling.surrogate (runReference programs true 2)) ≤ s.error := by
  obtain ⟨s, h1, h2, _⟩ := accepted_enclosed_stage_error statement evidence enclosures rfl ends_accepted 2
    (by decide)
  exact ⟨s, h1, Rat.le_trans (by decide +kernel) (h2 _ (List.mem_cons_self ..))⟩

theorem accepted_enclosed_basis_and_scope_instance :
    enclosures.basis = .enclosure ∧ enclosures.scope = .listedPrompts :=
  accepted_enclosed_basis_and_scope statement evidence enclosures rfl ends_accepted

/-! ## The population -/

theorem accepted_population_instance :
    statement.population.windows = 6 ∧ statement.population.trials = 2 :=
  have h := accepted_population statement evidence accepted
  ⟨h.1, h.2.1⟩

end BlockCert.Examples
