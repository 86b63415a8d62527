/-
What a certificate states as proven: recomputed from the proven ends in its evidence.  Lean core only.
-/
module

public import BlockCert.Checker

@[expose] public section

/-!
# Enclosures

`endRefusals statement evidence` lists the codes with which the claims about proven rows are refused
(BC-CLM-18), after `refusals` found nothing.  The ends must be possible (BC-EVD-03, 04, 10), and every claim
what they give.  That an end holds is for a verifier to establish that encloses the row (BC-ENC-15).
-/

namespace BlockCert

def largestNat : List Nat → Nat
  | [] => 0
  | n :: l =>
    let m := largestNat l
    if m ≤ n then n else m

/-- What the ends give for stage `i` (`spec/08-claims.md`, "Enclosures"). -/
def enclosedStageOf (st : Statement) (ev : Evidence) (i : Nat) : EnclosedStage :=
  let same := nthBool ev.same i
  let R := lengthRat st.relative
  { error := boundAt same ev.ends.error i
    relativeError := boundAt same ev.ends.relativeError i
    relativeUpdateError :=
      if 1 ≤ i && i ≤ st.blocks then some (boundAt same ev.ends.relativeUpdateError (i - 1)) else none
    covered := mapRangeNat (fun r => sumNat (countColumn (i * R + r) ev.ends.covered)) R 0 }

def enclosedStagesFrom (st : Statement) (ev : Evidence) : Nat → Nat → List EnclosedStage
  | 0, _ => []
  | n + 1, i => enclosedStageOf st ev i :: enclosedStagesFrom st ev n (i + 1)

/-- What the ends of the first `rows` rows give. -/
def enclosuresOf (st : Statement) (ev : Evidence) (rows : Nat) : Enclosures :=
  let n := st.blocks
  let hidden := sameUpTo ev.same n
  let all := sameUpTo ev.same (n + 1)
  { rows := rows
    bits := largestNat (countColumn 0 ev.ends.bits)
    stages := enclosedStagesFrom st ev (n + 2) 0
    drift := boundAt hidden ev.ends.drift n
    relativeDrift := boundAt hidden ev.ends.relativeDrift n
    logitDifference := boundAt all ev.ends.logitDifference 0
    tokens := rows * st.length
    top1Agree := sumNat (countColumn 0 ev.ends.top1Agree)
    decided := sumNat (countColumn 0 ev.ends.decided)
    lossTokens := rows * (st.length - 1)
    lossWithin := mapRangeNat (fun q => sumNat (countColumn q ev.ends.lossWithin)) (lengthRat st.loss) 0
    klMax := boundAt all ev.ends.klMax 0
    scope := .listedPrompts
    basis := .enclosure }

/-! ## Equality of claims -/

def sameEnclosedStage (a b : EnclosedStage) : Bool :=
  decide (a.error = b.error) && decide (a.relativeError = b.relativeError) &&
    sameOptionalRat a.relativeUpdateError b.relativeUpdateError && sameNats a.covered b.covered

def sameEnclosedStages : List EnclosedStage → List EnclosedStage → Bool
  | [], [] => true
  | a :: s, b :: t => sameEnclosedStage a b && sameEnclosedStages s t
  | _, _ => false

def sameEnclosures (a b : Enclosures) : Bool :=
  (a.rows == b.rows) && (a.bits == b.bits) && sameEnclosedStages a.stages b.stages &&
    decide (a.drift = b.drift) && decide (a.relativeDrift = b.relativeDrift) &&
    decide (a.logitDifference = b.logitDifference) && (a.tokens == b.tokens) &&
    (a.top1Agree == b.top1Agree) && (a.decided == b.decided) && (a.lossTokens == b.lossTokens) &&
    sameNats a.lossWithin b.lossWithin && decide (a.klMax = b.klMax) && (a.scope == b.scope) &&
    (a.basis == b.basis)

/-! ## What must hold of the ends -/

/-- Every proven count within its range (BC-EVD-03, 10). -/
def endCountRefusals (st : Statement) (ev : Evidence) : List Code :=
  let T := st.length
  refuseUnless (countsAtMost T ev.ends.covered && countsAtMost T ev.ends.top1Agree &&
    countsAtMost T ev.ends.decided && countsAtMost (T - 1) ev.ends.lossWithin) .evidenceCount

/-- What is exactly so by definition of the ends at stage `i`. -/
def endStageDefined (st : Statement) (ev : Evidence) (i : Nat) : Bool :=
  let R := lengthRat st.relative
  let zero := fun rows => allAre 0 (column i rows)
  let block := decide (1 ≤ i) && decide (i ≤ st.blocks)
  (!nthBool ev.same i ||
    (zero ev.ends.error && zero ev.ends.relativeError &&
      (!block || allAre 0 (column (i - 1) ev.ends.relativeUpdateError)) &&
      countsAre st.length ev.ends.covered R (i * R))) &&
    (!sameUpTo ev.same i || (zero ev.ends.drift && zero ev.ends.relativeDrift))

def endStagesDefined (st : Statement) (ev : Evidence) : Nat → Nat → Bool
  | 0, _ => true
  | n + 1, i => endStageDefined st ev i && endStagesDefined st ev n (i + 1)

/-- Every end what it is by definition (BC-EVD-04, 10). -/
def endDefinitionRefusals (st : Statement) (ev : Evidence) : List Code :=
  let zero := fun rows => allAre 0 (column 0 rows)
  refuseUnless (endStagesDefined st ev (st.blocks + 2) 0 &&
    (!sameUpTo ev.same (st.blocks + 1) ||
      (zero ev.ends.logitDifference && zero ev.ends.klMax &&
        countsAre st.length ev.ends.top1Agree 1 0 &&
        countsAre (st.length - 1) ev.ends.lossWithin (lengthRat st.loss) 0))) .evidenceDefinition

/-! ## The verdict -/

def enclosedStagesStatable : List EnclosedStage → Bool
  | [] => true
  | s :: ss => statable s.error && statable s.relativeError &&
      statable (ratOf s.relativeUpdateError) && enclosedStagesStatable ss

def enclosuresStatable (e : Enclosures) : Bool :=
  enclosedStagesStatable e.stages && allStatable [e.drift, e.relativeDrift, e.logitDifference, e.klMax]

/-- The codes with which the claims about proven rows are refused, in order. -/
def endRefusals (st : Statement) (ev : Evidence) : List Code :=
  match st.enclosures with
  | none => []
  | some stated =>
    match joined (endCountRefusals st ev) (endDefinitionRefusals st ev) with
    | c :: cs => c :: cs
    | [] =>
      let found := enclosuresOf st ev stated.rows
      if !enclosuresStatable found then [.numberNotDecimal]
      else refuseUnless (sameEnclosures stated found) .recomputeClaim

end BlockCert
