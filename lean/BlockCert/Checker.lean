/-
The checker: claims recomputed from the evidence.  Lean core only.
-/
module

public import BlockCert.Rounding
public import BlockCert.Counting
public import BlockCert.Aggregates

@[expose] public section

/-!
# The checker

`refusals statement evidence` lists the codes with which a certificate is refused; it is accepted if there
is none.  Every claim must be what the evidence gives (BC-CLM-01), exactly (BC-CLM-02), and the evidence
must be possible (BC-EVD-03 to 05).

The order of the codes is that of `spec/10-verification.md`'s recompute step: thresholds, predicates and
constants, the evidence; only if these hold, the claims.
-/

namespace BlockCert

/-! ## Recomputed claims -/

/-- The claims' own ceiling: no decimal string states `10^40` or more. -/
def ceiling : Rat := mkRat 10000000000000000000000000000000000000000 1

/-- Whether a decimal string can state the value. -/
def statable (v : Rat) : Bool := decide (v < ceiling) && decide (-ceiling < v)

def allStatable : List Rat → Bool
  | [] => true
  | v :: l => statable v && allStatable l

/-- `0 … n - 1` mapped. -/
def mapRange (f : Nat → Rat) : Nat → Nat → List Rat
  | 0, _ => []
  | n + 1, i => f i :: mapRange f n (i + 1)

def mapRangeNat (f : Nat → Nat) : Nat → Nat → List Nat
  | 0, _ => []
  | n + 1, i => f i :: mapRangeNat f n (i + 1)

def lengthOf : List Rat → Nat := lengthRat

/-- Whether every stage from `0` to `i` is the same program. -/
def sameUpTo (same : List Bool) : Nat → Bool
  | 0 => nthBool same 0
  | i + 1 => nthBool same (i + 1) && sameUpTo same i

/-- The bound of the largest cell at a place. -/
def boundAt (same : Bool) (rows : List (List Rat)) (i : Nat) : Rat :=
  roundBound same (largest (column i rows))

/-- What the evidence gives for stage `i` (`spec/08-claims.md`, "Stages"). -/
def stageOf (st : Statement) (ev : Evidence) (i : Nat) : StageClaim :=
  let same := nthBool ev.same i
  let R := lengthRat st.relative
  let Q := lengthRat st.loss
  { sameProgram := same
    error := boundAt same ev.error i
    relativeError := boundAt same ev.relativeError i
    relativeUpdateError :=
      if 1 ≤ i && i ≤ st.blocks then some (boundAt same ev.relativeUpdateError (i - 1)) else none
    tokens := st.rows * st.length
    covered := mapRangeNat (fun r => sumNat (countColumn (i * R + r) ev.covered)) R 0
    lossTokens := if st.attribution = 0 then none else some (st.attribution * (st.length - 1))
    lossCovered :=
      if st.attribution = 0 then none
      else some (mapRangeNat (fun q => sumNat (countColumn (i * Q + q) ev.attributionLossWithin)) Q 0)
    scope := .listedPrompts
    basis := .measurement }

def stagesFrom (st : Statement) (ev : Evidence) : Nat → Nat → List StageClaim
  | 0, _ => []
  | n + 1, i => stageOf st ev i :: stagesFrom st ev n (i + 1)

/-- What the evidence gives for the stages `0 … n+1`. -/
def stagesOf (st : Statement) (ev : Evidence) : List StageClaim := stagesFrom st ev (st.blocks + 2) 0

/-! ### Scope and basis -/

/-- Whether a constant of this scope composes with listed prompts (BC-CLM-05, 14). -/
def composable : Scope → Bool
  | .allInputs => true
  | .listedPrompts => true
  | _ => false

/-- The weaker of two bases. -/
def weaker : Basis → Basis → Basis
  | .estimate, _ => .estimate
  | _, .estimate => .estimate
  | .measurement, _ => .measurement
  | _, .measurement => .measurement
  | .enclosure, _ => .enclosure
  | _, .enclosure => .enclosure
  | .proof, .proof => .proof

/-- The weakest of measurement and the constants' bases (BC-CLM-14). -/
def weakest (b : Basis) : List Lipschitz → Basis
  | [] => b
  | l :: ls => weakest (weaker b l.basis) ls

/-! ### Composition -/

/-- The constants of the first `n` stages listed, if all have one. -/
def constantsOf : Nat → List (Option Lipschitz) → Option (List Lipschitz)
  | 0, _ => some []
  | n + 1, some l :: ls =>
    match constantsOf n ls with
    | some r => some (l :: r)
    | none => none
  | _, _ => none

/-- The printed error of each block with its constant. -/
def stepsOf : List StageClaim → List Lipschitz → List (Step Rat)
  | s :: ss, l :: ls => { error := s.error, lipschitz := l.constant } :: stepsOf ss ls
  | _, _ => []

def dropFirstStage : List StageClaim → List StageClaim
  | [] => []
  | _ :: l => l

def firstError : List StageClaim → Rat
  | [] => 0
  | s :: _ => s.error

def dropFirstConstant : List (Option Lipschitz) → List (Option Lipschitz)
  | [] => []
  | _ :: l => l

def allComposable : List Lipschitz → Bool
  | [] => true
  | l :: ls => composable l.scope && allComposable ls

/-- The exact bound composed of the printed errors and constants (BC-CLM-04). -/
def lipschitzExact (stages : List StageClaim) (constants : List Lipschitz) : Rat :=
  recurrenceRat (stepsOf (dropFirstStage stages) constants) (firstError stages)

/-- `10^30`. -/
def largestRatio : Rat := mkRat 1000000000000000000000000000000 1

/-- The ratio of a bound to what was measured (BC-CLM-04). -/
def ratioOf (bound measured : Rat) : Option Rat :=
  if measured = 0 then none
  else if largestRatio < bound / measured then none else some (roundBound true (bound / measured))

/-- A bound at or above it says nothing (BC-CLM-06). -/
def vacuousFrom (st : Statement) (ev : Evidence) : Rat :=
  let median := lowerMedian (column 0 ev.finalNorm)
  let identity := largest (column st.blocks ev.identityDrift)
  if median ≤ identity then median else identity

/-- The claim for an exact bound. -/
def compositionOf (st : Statement) (ev : Evidence) (lipschitz : Bool) (bound measured : Rat)
    (rows : Nat) (basis : Basis) : CompositionClaim :=
  let same := sameUpTo ev.same st.blocks
  { lipschitz := lipschitz
    bound := roundBound same bound
    measured := roundBound same measured
    ratio := ratioOf bound measured
    rows := rows
    vacuous := decide (vacuousFrom st ev ≤ bound)
    scope := .listedPrompts
    basis := basis }

/-- The `lipschitz` composition, if every block has a constant. -/
def lipschitzOf (st : Statement) (ev : Evidence) (stages : List StageClaim) :
    Except Code (List CompositionClaim) :=
  match constantsOf st.blocks (dropFirstConstant st.lipschitz) with
  | none => .ok []
  | some constants =>
    let bound := lipschitzExact stages constants
    let measured := largest (column st.blocks ev.drift)
    if !allComposable constants then .error .claimsScope
    else if !statable (roundBound true bound) || !statable (roundBound true measured) then
      .error .numberNotDecimal
    else if bound < measured then .error .compositionBelowMeasured
    else .ok [compositionOf st ev true bound measured st.rows (weakest .measurement constants)]

/-- The `telescoping` composition, over the attribution rows, if there are any. -/
def telescopingOf (st : Statement) (ev : Evidence) : Except Code (List CompositionClaim) :=
  if st.attribution = 0 then .ok []
  else
    let bound := largest (rowSums ev.hybridStep)
    let measured := largest (takeRat st.attribution (column st.blocks ev.drift))
    if !statable (roundBound true bound) || !statable (roundBound true measured) then
      .error .numberNotDecimal
    else .ok [compositionOf st ev false bound measured st.attribution .measurement]

/-! ### End to end, control -/

/-- The mean of a column over the positions with a target. -/
def meanOf (st : Statement) (rows : List (List Rat)) : Rat :=
  roundMean (sumRat (column 0 rows) / mkRat (st.rows * (st.length - 1) : Nat) 1)

/-- What the evidence gives end to end. -/
def endToEndOf (st : Statement) (ev : Evidence) : EndToEnd :=
  let n := st.blocks
  let hidden := sameUpTo ev.same n
  let all := sameUpTo ev.same (n + 1)
  { drift := boundAt hidden ev.drift n
    relativeDrift := boundAt hidden ev.relativeDrift n
    logitDifference := boundAt all ev.logitDifference 0
    tokens := st.rows * st.length
    top1Agree := sumNat (countColumn 0 ev.top1Agree)
    decided := sumNat (countColumn 0 ev.decided)
    lossTokens := st.rows * (st.length - 1)
    lossReference := meanOf st ev.lossReference
    lossSurrogate := meanOf st ev.lossSurrogate
    lossDifference := meanOf st ev.lossDifference
    lossWithin := mapRangeNat (fun q => sumNat (countColumn q ev.lossWithin)) (lengthRat st.loss) 0
    klMean := meanOf st ev.klSum
    klMax := boundAt all ev.klMax 0
    scope := .listedPrompts
    basis := .measurement }

/-- Whether the control leaves a stage as it is. -/
def untouched (st : Statement) (i : Nat) : Bool := i == 0 || i == st.blocks + 1

def coveredFrom (st : Statement) (ev : Evidence) : Nat → Nat → List (List Nat)
  | 0, _ => []
  | n + 1, i =>
    let R := lengthRat st.relative
    mapRangeNat (fun r => sumNat (countColumn (i * R + r) ev.identityCovered)) R 0 ::
      coveredFrom st ev n (i + 1)

/-- What the evidence gives for the control. -/
def controlOf (st : Statement) (ev : Evidence) : Control :=
  let S := st.blocks + 2
  { error := mapRange (fun i => boundAt (untouched st i) ev.identityError i) S 0
    relativeError := mapRange (fun i => boundAt (untouched st i) ev.identityRelativeError i) S 0
    covered := coveredFrom st ev S 0
    drift := boundAt false ev.identityDrift st.blocks
    relativeDrift := boundAt false ev.identityRelativeDrift st.blocks
    logitDifference := boundAt false ev.identityLogitDifference 0
    top1Agree := sumNat (countColumn 0 ev.identityTop1Agree)
    decided := sumNat (countColumn 0 ev.identityDecided)
    floor := mapRange (fun i => boundAt true ev.floor i) S 0 }

/-! ### Population -/

/-- Whether the cells of the blocks at one threshold are all at least `needed`. -/
def blocksCovered (row : List Nat) (needed : Rat) (R r : Nat) : Nat → Bool
  | 0 => true
  | n + 1 => decide (needed ≤ (nthNat row ((n + 1) * R + r) : Rat)) && blocksCovered row needed R r n

/-- Where a number stands in a list. -/
def indexOf (q : Rat) : List Rat → Option Nat
  | [] => none
  | a :: l =>
    if a = q then some 0
    else
      match indexOf q l with
      | some i => some (i + 1)
      | none => none

def magnitude (q : Rat) : Rat := if 0 ≤ q then q else -q

def ratOf : Option Rat → Rat
  | some q => q
  | none => 0

/-- Rows whose one count is at least `needed`. -/
def countsFrom (needed : Rat) : List (List Nat) → List Bool
  | [] => []
  | r :: rs => decide (needed ≤ (nthNat r 0 : Rat)) :: countsFrom needed rs

/-- Rows whose one cell has at most a magnitude. -/
def cellsWithin (most : Rat) : List (List Rat) → List Bool
  | [] => []
  | r :: rs => decide (magnitude (nthRat r 0) ≤ most) :: cellsWithin most rs

def coveredRows (needed : Rat) (R r n : Nat) : List (List Nat) → List Bool
  | [] => []
  | row :: rs => blocksCovered row needed R r n :: coveredRows needed R r n rs

def isSome : Option Rat → Bool
  | some _ => true
  | none => false

/-- For each row whether its prompt satisfies the predicate (`spec/08-claims.md`, "Population"). -/
def satisfied (st : Statement) (ev : Evidence) (p : Predicate) : Except Code (List Bool) :=
  let needsShare := p.kind == .covered || p.kind == .top1
  let needsThreshold := !(p.kind == .top1)
  if (isSome p.share != needsShare) || (isSome p.threshold != needsThreshold) then
    .error .claimsPredicate
  else
    let needed := ratOf p.share * mkRat st.length 1
    let most := ratOf p.threshold * mkRat (st.length - 1 : Nat) 1
    match p.kind with
    | .covered =>
      match indexOf (ratOf p.threshold) st.relative with
      | none => .error .claimsThreshold
      | some r => .ok (coveredRows needed (lengthRat st.relative) r st.blocks ev.covered)
    | .top1 => .ok (countsFrom needed ev.top1Agree)
    | .kl => .ok (cellsWithin most ev.klSum)
    | .lossDifference => .ok (cellsWithin most ev.lossDifference)
    | .logitDifference => .ok (cellsWithin (ratOf p.threshold) ev.logitDifference)

/-- The same for each predicate. -/
def allSatisfied (st : Statement) (ev : Evidence) : List PopulationClaim → Except Code (List (List Bool))
  | [] => .ok []
  | c :: cs =>
    match satisfied st ev c.predicate with
    | .error e => .error e
    | .ok held =>
      match allSatisfied st ev cs with
      | .error e => .error e
      | .ok rest => .ok (held :: rest)

def lengthClaims : List PopulationClaim → Nat
  | [] => 0
  | _ :: l => lengthClaims l + 1

/-- Whether a population claim is what the evidence gives (BC-CLM-07); the level is `alpha / parts`. -/
def populationClaimHolds (M n : Nat) (alpha : Rat) (parts : Nat) (held : List Bool)
    (c : PopulationClaim) : Bool :=
  (c.successes == countTrue held) &&
    isStatedBound M n alpha.num.toNat (alpha.den * parts) c.successes c.atLeast &&
    decide (c.atLeastShare = roundShare (mkRat c.atLeast M))

def populationClaimsHold (M n : Nat) (alpha : Rat) (parts : Nat) :
    List PopulationClaim → List (List Bool) → Bool
  | [], [] => true
  | c :: cs, h :: hs => populationClaimHolds M n alpha parts h c && populationClaimsHold M n alpha parts cs hs
  | _, _ => false

/-- Of the rows of one stratum, those that hold. -/
def heldIn (h : Nat) : List Nat → List Bool → List Bool
  | r :: rs, b :: bs => if r == h then b :: heldIn h rs bs else heldIn h rs bs
  | _, _ => []

def countEqual (h : Nat) : List Nat → Nat
  | [] => 0
  | r :: rs => (if r == h then 1 else 0) + countEqual h rs

/-- Whether a stratum's counts and bounds are right (BC-CLM-17). -/
def stratumHolds (windows trials : Nat) (alpha : Rat) (parts h : Nat) (ofRow : List Nat) :
    List Nat → List Nat → List (List Bool) → Bool
  | [], [], [] => true
  | s :: ss, k :: ks, held :: hs =>
    (s == countTrue (heldIn h ofRow held)) &&
      isStatedBound windows trials alpha.num.toNat (alpha.den * parts) s k &&
      stratumHolds windows trials alpha parts h ofRow ss ks hs
  | _, _, _ => false

def strataHold (alpha : Rat) (parts : Nat) (ofRow : List Nat) (held : List (List Bool)) :
    Nat → List Nat → List Stratum → Bool
  | _, [], [] => true
  | h, w :: ws, s :: ss =>
    (s.windows == w) && (s.trials == countEqual h ofRow) &&
      stratumHolds s.windows s.trials alpha parts h ofRow s.successes s.atLeast held &&
      strataHold alpha parts ofRow held (h + 1) ws ss
  | _, _, _ => false

def lengthNats : List Nat → Nat
  | [] => 0
  | _ :: l => lengthNats l + 1

/-- Whether the population claims are what the evidence gives. -/
def populationHolds (st : Statement) (ev : Evidence) (held : List (List Bool)) : Bool :=
  let p := st.population
  let k := lengthClaims p.claims
  (p.windows == st.windows) && (p.trials == st.rows) && (p.scope == .population) &&
    (p.basis == .measurement) &&
    populationClaimsHold st.windows st.rows p.alpha k p.claims held &&
    (match p.strata, ev.strataWindows with
     | none, none => true
     | some strata, some ws =>
       strataHold p.alpha (k * lengthNats ws) ev.strataOfRow held 0 ws strata
     | _, _ => false)

/-! ## Equality of claims -/

def sameRats : List Rat → List Rat → Bool
  | [], [] => true
  | a :: s, b :: t => decide (a = b) && sameRats s t
  | _, _ => false

def sameNats : List Nat → List Nat → Bool
  | [], [] => true
  | a :: s, b :: t => (a == b) && sameNats s t
  | _, _ => false

def sameNatLists : List (List Nat) → List (List Nat) → Bool
  | [], [] => true
  | a :: s, b :: t => sameNats a b && sameNatLists s t
  | _, _ => false

def sameOptionalRat : Option Rat → Option Rat → Bool
  | none, none => true
  | some a, some b => decide (a = b)
  | _, _ => false

def sameOptionalNat : Option Nat → Option Nat → Bool
  | none, none => true
  | some a, some b => a == b
  | _, _ => false

def sameOptionalNats : Option (List Nat) → Option (List Nat) → Bool
  | none, none => true
  | some a, some b => sameNats a b
  | _, _ => false

def sameStage (a b : StageClaim) : Bool :=
  (a.sameProgram == b.sameProgram) && decide (a.error = b.error) &&
    decide (a.relativeError = b.relativeError) &&
    sameOptionalRat a.relativeUpdateError b.relativeUpdateError && (a.tokens == b.tokens) &&
    sameNats a.covered b.covered && sameOptionalNat a.lossTokens b.lossTokens &&
    sameOptionalNats a.lossCovered b.lossCovered && (a.scope == b.scope) && (a.basis == b.basis)

def sameStages : List StageClaim → List StageClaim → Bool
  | [], [] => true
  | a :: s, b :: t => sameStage a b && sameStages s t
  | _, _ => false

def sameComposition (a b : CompositionClaim) : Bool :=
  (a.lipschitz == b.lipschitz) && decide (a.bound = b.bound) && decide (a.measured = b.measured) &&
    sameOptionalRat a.ratio b.ratio && (a.rows == b.rows) && (a.vacuous == b.vacuous) &&
    (a.scope == b.scope) && (a.basis == b.basis)

def sameCompositions : List CompositionClaim → List CompositionClaim → Bool
  | [], [] => true
  | a :: s, b :: t => sameComposition a b && sameCompositions s t
  | _, _ => false

def sameEndToEnd (a b : EndToEnd) : Bool :=
  decide (a.drift = b.drift) && decide (a.relativeDrift = b.relativeDrift) &&
    decide (a.logitDifference = b.logitDifference) && (a.tokens == b.tokens) &&
    (a.top1Agree == b.top1Agree) && (a.decided == b.decided) && (a.lossTokens == b.lossTokens) &&
    decide (a.lossReference = b.lossReference) && decide (a.lossSurrogate = b.lossSurrogate) &&
    decide (a.lossDifference = b.lossDifference) && sameNats a.lossWithin b.lossWithin &&
    decide (a.klMean = b.klMean) && decide (a.klMax = b.klMax) && (a.scope == b.scope) &&
    (a.basis == b.basis)

def sameControl (a b : Control) : Bool :=
  sameRats a.error b.error && sameRats a.relativeError b.relativeError &&
    sameNatLists a.covered b.covered && decide (a.drift = b.drift) &&
    decide (a.relativeDrift = b.relativeDrift) && decide (a.logitDifference = b.logitDifference) &&
    (a.top1Agree == b.top1Agree) && (a.decided == b.decided) && sameRats a.floor b.floor

/-! ## What must hold before the claims are looked at -/

/-- Whether numbers are above 0 and each above the one before. -/
def increasing (before : Rat) : List Rat → Bool
  | [] => true
  | q :: l => decide (before < q) && increasing q l

def allIn (listed : List Rat) : List Rat → Bool
  | [] => true
  | q :: l =>
    match indexOf q listed with
    | some _ => allIn listed l
    | none => false

def specRelative : List Rat := [mkRat 1 100, mkRat 2 100, mkRat 5 100]
def specLoss : List Rat := [mkRat 1 1000, mkRat 1 100, mkRat 1 10]

def anyLogit : List PopulationClaim → Bool
  | [] => false
  | c :: cs => (c.predicate.kind == .logitDifference) || anyLogit cs

/-- A code if a condition fails. -/
def refuseUnless (holds : Bool) (code : Code) : List Code := if holds then [] else [code]

def joined : List Code → List Code → List Code
  | [], t => t
  | c :: s, t => c :: joined s t

/-- The thresholds (BC-STM-11). -/
def thresholdRefusals (st : Statement) : List Code :=
  joined (refuseUnless (increasing 0 st.relative) .thresholdsOrder)
    (joined (refuseUnless (increasing 0 st.loss) .thresholdsOrder)
      (refuseUnless (st.postHoc ==
        !(allIn specRelative st.relative && allIn specLoss st.loss && !anyLogit st.population.claims))
        .thresholdsPostHoc))

def samePredicate (a b : Predicate) : Bool :=
  (a.kind == b.kind) && sameOptionalRat a.share b.share && sameOptionalRat a.threshold b.threshold

def statedBefore (p : Predicate) : List PopulationClaim → Bool
  | [] => false
  | c :: cs => samePredicate p c.predicate || statedBefore p cs

def inLoss (st : Statement) : Option Rat → Bool
  | none => false
  | some q =>
    match indexOf q st.loss with
    | some _ => true
    | none => false

/-- The refusals of one predicate, given those before it (BC-CLM-08). -/
def predicateRefusals (st : Statement) (p : Predicate) (before : List PopulationClaim) : List Code :=
  joined (refuseUnless (!statedBefore p before) .populationDuplicate)
    (joined
      (refuseUnless (match p.share with
        | none => true
        | some q => decide (q = mkRat 95 100) || decide (q = 1)) .populationShare)
      (joined
        (refuseUnless (!(p.kind == .kl || p.kind == .lossDifference) || inLoss st p.threshold)
          .populationThreshold)
        (refuseUnless (match p.threshold with
          | none => true
          | some q => decide (0 ≤ q)) .populationThreshold)))

def predicatesRefusals (st : Statement) :
    List PopulationClaim → List PopulationClaim → List Code
  | [], _ => []
  | c :: cs, before =>
    joined (predicateRefusals st c.predicate before) (predicatesRefusals st cs (c :: before))

/-- The population's terms (BC-CLM-08). -/
def populationRefusals (st : Statement) : List Code :=
  joined (refuseUnless (decide (0 < st.population.alpha) && decide (st.population.alpha < 1)) .populationAlpha)
    (predicatesRefusals st st.population.claims [])

/-- Constants below 0 (BC-CLM-03). -/
def negativeConstants : List (Option Lipschitz) → List Code
  | [] => []
  | some l :: ls => joined (refuseUnless (decide (0 ≤ l.constant)) .lipschitzNegative) (negativeConstants ls)
  | none :: ls => negativeConstants ls

/-! ### The evidence (BC-EVD-03 to 05) -/

def rowAtMost (most : Nat) : List Nat → Bool
  | [] => true
  | n :: l => decide (n ≤ most) && rowAtMost most l

def countsAtMost (most : Nat) : List (List Nat) → Bool
  | [] => true
  | r :: rs => rowAtMost most r && countsAtMost most rs

/-- Every count within its range (BC-EVD-03). -/
def countRefusals (st : Statement) (ev : Evidence) : List Code :=
  let T := st.length
  refuseUnless (countsAtMost T ev.covered && countsAtMost T ev.identityCovered &&
    countsAtMost T ev.top1Agree && countsAtMost T ev.decided && countsAtMost T ev.identityTop1Agree &&
    countsAtMost T ev.identityDecided && countsAtMost (T - 1) ev.lossWithin &&
    countsAtMost (T - 1) ev.attributionLossWithin) .evidenceCount

def allAre (v : Rat) : List Rat → Bool
  | [] => true
  | q :: l => decide (q = v) && allAre v l

def allCountsAre (v : Nat) : List Nat → Bool
  | [] => true
  | q :: l => (q == v) && allCountsAre v l

/-- Whether the counts from `i` on, `width` of them, are all `v` in every row. -/
def countsAre (v : Nat) (rows : List (List Nat)) : Nat → Nat → Bool
  | 0, _ => true
  | width + 1, i => allCountsAre v (countColumn i rows) && countsAre v rows width (i + 1)

/-- What is exactly so by definition at stage `i`. -/
def stageDefined (st : Statement) (ev : Evidence) (i : Nat) : Bool :=
  let R := lengthRat st.relative
  let Q := lengthRat st.loss
  let zero := fun rows => allAre 0 (column i rows)
  let block := decide (1 ≤ i) && decide (i ≤ st.blocks)
  (!nthBool ev.same i ||
    (zero ev.error && zero ev.relativeError &&
      (!block || allAre 0 (column (i - 1) ev.relativeUpdateError)) &&
      countsAre st.length ev.covered R (i * R) &&
      countsAre (st.length - 1) ev.attributionLossWithin Q (i * Q) &&
      (decide (st.blocks < i) || zero ev.hybridStep))) &&
    (!sameUpTo ev.same i || (zero ev.drift && zero ev.relativeDrift)) &&
    (block || (zero ev.identityError && zero ev.identityRelativeError &&
      countsAre st.length ev.identityCovered R (i * R)))

def stagesDefined (st : Statement) (ev : Evidence) : Nat → Nat → Bool
  | 0, _ => true
  | n + 1, i => stageDefined st ev i && stagesDefined st ev n (i + 1)

/-- Every cell what it is by definition (BC-EVD-04, 05). -/
def definitionRefusals (st : Statement) (ev : Evidence) : List Code :=
  let zero := fun rows => allAre 0 (column 0 rows)
  refuseUnless (stagesDefined st ev (st.blocks + 2) 0 && zero ev.identityDrift &&
    zero ev.identityRelativeDrift &&
    (!sameUpTo ev.same (st.blocks + 1) ||
      (zero ev.logitDifference && zero ev.lossDifference && zero ev.klSum && zero ev.klMax &&
        countsAre st.length ev.top1Agree 1 0 &&
        countsAre (st.length - 1) ev.lossWithin (lengthRat st.loss) 0))) .evidenceDefinition

/-! ## The verdict -/

def stageBounds : List StageClaim → Bool
  | [] => true
  | s :: ss => statable s.error && statable s.relativeError &&
      statable (ratOf s.relativeUpdateError) && stageBounds ss

def endToEndStatable (e : EndToEnd) : Bool :=
  allStatable [e.drift, e.relativeDrift, e.logitDifference, e.lossReference, e.lossSurrogate,
    e.lossDifference, e.klMean, e.klMax]

def controlStatable (c : Control) : Bool :=
  allStatable c.error && allStatable c.relativeError && allStatable c.floor &&
    allStatable [c.drift, c.relativeDrift, c.logitDifference]

def joinedClaims : List CompositionClaim → List CompositionClaim → List CompositionClaim
  | [], t => t
  | c :: s, t => c :: joinedClaims s t

/-- The claims that are not what the evidence gives (BC-CLM-01). -/
def claimRefusals (st : Statement) (ev : Evidence) : List Code :=
  let stages := stagesOf st ev
  let endToEnd := endToEndOf st ev
  let control := controlOf st ev
  if !stageBounds stages then [.numberNotDecimal]
  else
    match lipschitzOf st ev stages with
    | .error e => [e]
    | .ok lipschitz =>
      match telescopingOf st ev with
      | .error e => [e]
      | .ok telescoping =>
        if !endToEndStatable endToEnd then [.numberNotDecimal]
        else
          match allSatisfied st ev st.population.claims with
          | .error e => [e]
          | .ok held =>
            if !controlStatable control then [.numberNotDecimal]
            else
              joined (refuseUnless (sameStages st.stages stages) .recomputeClaim)
              (joined (refuseUnless (sameEndToEnd st.endToEnd endToEnd) .recomputeClaim)
              (joined (refuseUnless (sameCompositions st.composition (joinedClaims lipschitz telescoping))
                .recomputeComposition)
              (joined (refuseUnless (populationHolds st ev held) .recomputePopulation)
              (refuseUnless (sameControl st.control control) .recomputeControl))))

/-- The codes with which a certificate is refused, in order; none where it is accepted. -/
def refusals (st : Statement) (ev : Evidence) : List Code :=
  match joined (thresholdRefusals st) (joined (populationRefusals st)
    (joined (negativeConstants st.lipschitz) (joined (countRefusals st ev) (definitionRefusals st ev))))
  with
  | c :: cs => c :: cs
  | [] => claimRefusals st ev

/-- Constants that stand on more than an estimate, which no verifier of this version confirms
(BC-CLM-03). -/
def unverified : List (Option Lipschitz) → List Code
  | [] => []
  | some l :: ls =>
    if l.basis == .estimate then unverified ls else .lipschitzUnverified :: unverified ls
  | none :: ls => unverified ls

end BlockCert
