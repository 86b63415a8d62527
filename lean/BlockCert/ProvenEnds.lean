/-
What acceptance says of proven ends.  Lean core only.
-/
module

public import BlockCert.Enclosures
public import BlockCert.Soundness

@[expose] public section

/-!
# Proven ends

If `endRefusals statement evidence` is empty, the claims about proven rows are what the ends give, and each
stated bound is at least every row's end (BC-CLM-18).  So if the ends hold of the exact programs, as an
enclosure establishes (BC-ENC-15), the claims do.

Not said here: that an end holds.  Enclosing a transformer with its weights, and the floating point in which that
is done, are not in this library.
-/

namespace BlockCert

theorem sameEnclosedStage_eq (a b : EnclosedStage) (h : sameEnclosedStage a b = true) : a = b := by
  obtain ⟨⟩ := a
  obtain ⟨⟩ := b
  simp only [sameEnclosedStage, Bool.and_eq_true, decide_eq_true_eq, sameOptionalRat_iff,
    sameNats_iff] at h
  simp only [EnclosedStage.mk.injEq]
  simp only [and_assoc] at h
  exact h

theorem sameEnclosedStages_eq (s t : List EnclosedStage) (h : sameEnclosedStages s t = true) : s = t := by
  induction s generalizing t with
  | nil => cases t <;> simp_all [sameEnclosedStages]
  | cons a s ih =>
    cases t with
    | nil => simp [sameEnclosedStages] at h
    | cons b t =>
      simp only [sameEnclosedStages, Bool.and_eq_true] at h
      rw [sameEnclosedStage_eq a b h.1, ih t h.2]

theorem sameEnclosures_eq (a b : Enclosures) (h : sameEnclosures a b = true) : a = b := by
  obtain ⟨⟩ := a
  obtain ⟨⟩ := b
  simp only [sameEnclosures, Bool.and_eq_true, decide_eq_true_eq, beq_iff_eq, sameNats_iff] at h
  obtain ⟨⟨⟨⟨⟨⟨⟨⟨⟨⟨⟨⟨⟨h1, h2⟩, h3⟩, h4⟩, h5⟩, h6⟩, h7⟩, h8⟩, h9⟩, h10⟩, h11⟩, h12⟩, h13⟩, h14⟩ := h
  have h3 := sameEnclosedStages_eq _ _ h3
  subst h1 h2 h3 h4 h5 h6 h7 h8 h9 h10 h11 h12 h13 h14
  rfl

variable (st : Statement) (ev : Evidence)

/-- **Every claim about proven rows is what the ends give** (BC-CLM-18). -/
theorem accepted_enclosures (e : Enclosures) (given : st.enclosures = some e)
    (accepted : endRefusals st ev = []) : e = enclosuresOf st ev e.rows := by
  unfold endRefusals at accepted
  rw [given] at accepted
  simp only at accepted
  split at accepted
  · exact nomatch accepted
  · split at accepted
    · exact nomatch accepted
    · exact sameEnclosures_eq _ _ ((refuseUnless_eq_nil _ _).mp accepted)

/-- The stated drift is at least every proven row's end. -/
theorem accepted_enclosed_drift (e : Enclosures) (given : st.enclosures = some e)
    (accepted : endRefusals st ev = []) (row : List Rat) (h : row ∈ ev.ends.drift) :
    nthRat row st.blocks ≤ e.drift := by
  rw [accepted_enclosures st ev e given accepted]
  exact le_boundAt _ _ _ _ h

/-- The stated logit difference is at least every proven row's end. -/
theorem accepted_enclosed_logit_difference (e : Enclosures) (given : st.enclosures = some e)
    (accepted : endRefusals st ev = []) (row : List Rat) (h : row ∈ ev.ends.logitDifference) :
    nthRat row 0 ≤ e.logitDifference := by
  rw [accepted_enclosures st ev e given accepted]
  exact le_boundAt _ _ _ _ h

/-- The stated divergence is at least every proven row's end. -/
theorem accepted_enclosed_kl_max (e : Enclosures) (given : st.enclosures = some e)
    (accepted : endRefusals st ev = []) (row : List Rat) (h : row ∈ ev.ends.klMax) :
    nthRat row 0 ≤ e.klMax := by
  rw [accepted_enclosures st ev e given accepted]
  exact le_boundAt _ _ _ _ h

theorem getElem_enclosedStagesFrom (m i j : Nat) (h : j < m) :
    (enclosedStagesFrom st ev m i)[j]? = some (enclosedStageOf st ev (i + j)) := by
  induction m generalizing i j with
  | zero => omega
  | succ m ih =>
    cases j with
    | zero => rfl
    | succ j =>
      simp only [enclosedStagesFrom, List.getElem?_cons_succ]
      rw [ih (i + 1) j (by omega)]
      congr 2
      omega

/-- The stated errors of stage `i` are at least every proven row's ends. -/
theorem accepted_enclosed_stage_error (e : Enclosures) (given : st.enclosures = some e)
    (accepted : endRefusals st ev = []) (i : Nat) (hi : i < st.blocks + 2) :
    ∃ s, e.stages[i]? = some s ∧ (∀ row ∈ ev.ends.error, nthRat row i ≤ s.error) ∧
      (∀ row ∈ ev.ends.relativeError, nthRat row i ≤ s.relativeError) := by
  refine ⟨enclosedStageOf st ev i, ?_, fun row hr => le_boundAt _ _ _ _ hr,
    fun row hr => le_boundAt _ _ _ _ hr⟩
  rw [accepted_enclosures st ev e given accepted]
  simpa using getElem_enclosedStagesFrom st ev (st.blocks + 2) 0 i hi

/-- The stated basis is `enclosure`, the scope that of the listed prompts. -/
theorem accepted_enclosed_basis_and_scope (e : Enclosures) (given : st.enclosures = some e)
    (accepted : endRefusals st ev = []) : e.basis = .enclosure ∧ e.scope = .listedPrompts := by
  rw [accepted_enclosures st ev e given accepted]
  exact ⟨rfl, rfl⟩

end BlockCert
