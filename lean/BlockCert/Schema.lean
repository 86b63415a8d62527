/-
The certificate and the evidence export: their types and how they are read.  Lean core only.
-/
module

public import BlockCert.Json

@[expose] public section

/-!
# Schema

The types of a certificate's claims, of the terms they depend on, and of its evidence, and how they are
read from JSON that has passed the gate.

`statementShape` says the same as `schemas/statement.schema.json`: every field of the predicate with its
type, every object closed but the outer Statement (BC-STM-08) and `extensions` (BC-STM-10), every number
that is no count a decimal string (BC-NUM-01).  What does not conform is refused as `json.type`.

A field with a default may be absent (BC-STM-14).
-/

namespace BlockCert

/-! ## Texts -/

/-- At most `n` characters. -/
def atMostChars : List Char → Nat → Bool
  | [], _ => true
  | _ :: _, 0 => false
  | _ :: s, n + 1 => atMostChars s n

/-- A character that a terminal would obey or that hides (BC-BND-07). -/
def invisible (c : Char) : Bool :=
  let n := c.toNat
  n ≤ 31 || (127 ≤ n && n ≤ 159) || n = 1564 || n = 8203 || n = 8206 || n = 8207 ||
    (8232 ≤ n && n ≤ 8238) || (8294 ≤ n && n ≤ 8297) || n = 65279

/-- No such character. -/
def printable : List Char → Bool
  | [] => true
  | c :: s => !invisible c && printable s

/-- A text of at most 1,024 characters. -/
def isText (s : List Char) : Bool := atMostChars s 1024 && printable s

/-- The name of a file, of 1 to 512 characters. -/
def isFileName (s : List Char) : Bool :=
  match s with
  | [] => false
  | _ => atMostChars s 512 && printable s

/-- Lower-case hexadecimal digits, exactly `n`. -/
def hexDigits : List Char → Nat → Bool
  | [], n => n == 0
  | _ :: _, 0 => false
  | c :: s, n + 1 =>
    let v := c.toNat
    ((48 ≤ v && v ≤ 57) || (97 ≤ v && v ≤ 102)) && hexDigits s n

/-- A digest of 256 bits. -/
def isHash (s : List Char) : Bool := hexDigits s 64

/-- A decimal string (BC-NUM-01). -/
def isDecimal (s : List Char) : Bool :=
  match decode s with
  | some _ => true
  | none => false

/-- A text that is like a pattern, in which `0` stands for any digit. -/
def like : List Char → List Char → Bool
  | [], [] => true
  | p :: ps, c :: s =>
    (if p = '0' then
      match charDigit c with
      | some _ => true
      | none => false
    else p == c) && like ps s
  | _, _ => false

/-- The spelling of a time (BC-NUM-09). -/
def isTime (s : List Char) : Bool := like "0000-00-00T00:00:00Z".toList s

/-- `1.` and a minor version of up to four digits without leading zero. -/
def isVersion (s : List Char) : Bool :=
  match s with
  | '1' :: '.' :: minor =>
    match wholeNumber minor with
    | some n => n < 10000
    | none => false
  | _ => false

/-- A text is one of those listed. -/
def oneOf : List String → List Char → Bool
  | [], _ => false
  | t :: ts, s => sameText t.toList s || oneOf ts s

/-! ## Shapes -/

mutual

/-- What a JSON value must be. -/
inductive Shape where
  | text (holds : List Char → Bool)
  | int (least most : Int)
  | bool
  | orNull (shape : Shape)
  | list (least most : Nat) (entry : Shape)
  /-- An object with these fields, closed or open to others. -/
  | record (closed : Bool) (fields : Fields)

/-- The fields of an object: each with its name, whether it must be there, and its shape. -/
inductive Fields where
  | none
  | field (name : String) (required : Bool) (shape : Shape) (rest : Fields)

end

/-- Whether a name is that of a field. -/
def Fields.has : Fields → List Char → Bool
  | .none, _ => false
  | .field name _ _ rest, s => sameText name.toList s || rest.has s

/-- Whether every member is a field. -/
def Fields.cover (f : Fields) : List (List Char × Json) → Bool
  | [] => true
  | (k, _) :: l => f.has k && f.cover l

/-- Whether all values are as told. -/
def allValues (holds : Json → Bool) : List Json → Bool
  | [] => true
  | v :: l => holds v && allValues holds l

/-- The number of values, at most `most + 1`. -/
def countTo : List Json → Nat → Nat
  | [], _ => 0
  | _ :: _, 0 => 1
  | _ :: l, most + 1 => countTo l most + 1

mutual

/-- Whether a value has a shape. -/
def Shape.admits : Shape → Json → Bool
  | .text holds, .str s => holds s
  | .int least most, .int n => decide (least ≤ n) && decide (n ≤ most)
  | .bool, .bool _ => true
  | .orNull _, .null => true
  | .orNull shape, v => shape.admits v
  | .list least most entry, .arr l =>
    decide (least ≤ countTo l most) && decide (countTo l most ≤ most) && allValues entry.admits l
  | .record closed fields, .obj l => (!closed || fields.cover l) && fields.allow l
  | _, _ => false

/-- Whether an object's members have the shapes of the fields. -/
def Fields.allow : Fields → List (List Char × Json) → Bool
  | .none, _ => true
  | .field name required shape rest, l =>
    (match member name.toList l with
    | some v => shape.admits v
    | none => !required) && rest.allow l

end

/-- A closed object. -/
def closedObject (l : List (String × Shape)) : Shape := .record true (fieldsOf l)
where
  fieldsOf : List (String × Shape) → Fields
    | [] => .none
    | (name, shape) :: l => .field name true shape (fieldsOf l)

def decimalShape : Shape := .text isDecimal
def optionalDecimal : Shape := .orNull decimalShape
def hashShape : Shape := .text isHash
def textShape : Shape := .text isText
def fileNameShape : Shape := .text isFileName
def timeShape : Shape := .text isTime
def countShape : Shape := .int 0 9007199254740991
def countsShape : Shape := .list 0 1000000 countShape
def decimalsShape : Shape := .list 0 1000000 decimalShape
def scopeShape : Shape := .text (oneOf ["all-inputs", "listed-prompts", "population", "stated-points"])
def basisShape : Shape := .text (oneOf ["proof", "enclosure", "measurement", "estimate"])
def estimateShape : Shape := .text (oneOf ["estimate"])
def rowsShape : Shape := .int 0 1048576
def windowsShape (least : Int) : Shape := .int least 281474976710655

def subjectShape : Shape :=
  closedObject [("name", fileNameShape),
    ("digest", closedObject [("sha256", hashShape), ("blake3", hashShape)])]

def fidelityShape : Shape :=
  .record true (.field "against" true textShape (.field "rows" true countShape
    (.field "max_logit_difference" true decimalShape (.field "basis" false estimateShape .none))))

def referenceShape : Shape :=
  closedObject [("architecture", textShape), ("blocks", .int 1 4094), ("hidden_size", countShape),
    ("vocabulary", countShape), ("program", fileNameShape), ("fidelity", .orNull fidelityShape)]

def costsShape : Shape :=
  .list 0 1000000 (closedObject [("parameters", countShape), ("bits", countShape),
    ("multiply_adds", countShape)])

def surrogateShape : Shape :=
  .record true (.field "program" true fileNameShape
    (.field "kept" true (closedObject [("reference", costsShape), ("surrogate", costsShape)])
      (.field "note" false textShape .none)))

def frameShape : Shape :=
  closedObject [
    ("corpus", .list 1 4096 (closedObject [("name", textShape), ("size", countShape),
      ("blake3", hashShape), ("windows", windowsShape 0)])),
    ("tokenizer", closedObject [("blake3", hashShape), ("bos", .orNull (.int 0 4194304))]),
    ("length", .int 2 1048576), ("windows", windowsShape 1), ("seed", countShape),
    ("calibration", rowsShape), ("certification", .int 1 1048576)]

def thresholdsShape : Shape :=
  closedObject [("relative", .list 1 16 decimalShape), ("loss", .list 1 16 decimalShape),
    ("post_hoc", .bool)]

def lipschitzShape : Shape :=
  closedObject [("constant", decimalShape), ("scope", scopeShape), ("basis", basisShape)]

def stageShape : Shape :=
  closedObject [("index", .int 0 4096), ("same_program", .bool), ("error", decimalShape),
    ("relative_error", decimalShape), ("relative_update_error", optionalDecimal),
    ("tokens", countShape), ("covered", countsShape), ("loss_tokens", .orNull countShape),
    ("loss_covered", .orNull countsShape), ("lipschitz", .orNull lipschitzShape),
    ("scope", scopeShape), ("basis", basisShape)]

def compositionShape : Shape :=
  closedObject [("method", .text (oneOf ["lipschitz", "telescoping"])), ("bound", decimalShape),
    ("measured", decimalShape), ("ratio", optionalDecimal), ("rows", countShape),
    ("vacuous", .bool), ("scope", scopeShape), ("basis", basisShape)]

def endToEndShape : Shape :=
  closedObject [("drift", decimalShape), ("relative_drift", decimalShape),
    ("logit_difference", decimalShape), ("tokens", countShape), ("top1_agree", countShape),
    ("decided", countShape), ("loss_tokens", countShape), ("loss_reference", decimalShape),
    ("loss_surrogate", decimalShape), ("loss_difference", decimalShape),
    ("loss_within", countsShape), ("kl_mean", decimalShape), ("kl_max", decimalShape),
    ("scope", scopeShape), ("basis", basisShape)]

def predicateShape : Shape :=
  closedObject [
    ("kind", .text (oneOf ["covered", "top1", "kl", "loss_difference", "logit_difference"])),
    ("share", optionalDecimal), ("threshold", optionalDecimal)]

def populationShape : Shape :=
  closedObject [("windows", countShape), ("trials", countShape), ("alpha", decimalShape),
    ("claims", .list 0 32 (closedObject [("predicate", predicateShape), ("successes", countShape),
      ("at_least", countShape), ("at_least_share", decimalShape)])),
    ("strata", .orNull (.list 2 64 (closedObject [("windows", countShape), ("trials", countShape),
      ("successes", .list 0 32 countShape), ("at_least", .list 0 32 countShape)]))),
    ("scope", scopeShape), ("basis", basisShape)]

def controlShape : Shape :=
  closedObject [
    ("identity", closedObject [("error", decimalsShape), ("relative_error", decimalsShape),
      ("covered", .list 0 1000000 countsShape), ("drift", decimalShape),
      ("relative_drift", decimalShape), ("logit_difference", decimalShape),
      ("top1_agree", countShape), ("decided", countShape)]),
    ("float32_floor", .record true (.field "relative_error" true decimalsShape
      (.field "basis" false estimateShape .none)))]

def enclosedStageShape : Shape :=
  closedObject [("index", .int 0 4096), ("error", decimalShape), ("relative_error", decimalShape),
    ("relative_update_error", optionalDecimal), ("covered", countsShape)]

def enclosuresShape : Shape :=
  closedObject [("rows", .int 1 1048576), ("bits", countShape), ("stages", .list 3 4096 enclosedStageShape),
    ("drift", decimalShape), ("relative_drift", decimalShape), ("logit_difference", decimalShape),
    ("tokens", countShape), ("top1_agree", countShape), ("decided", countShape),
    ("loss_tokens", countShape), ("loss_within", countsShape), ("kl_max", decimalShape),
    ("scope", scopeShape), ("basis", basisShape)]

def claimsShape : Shape :=
  .record true
    (.field "stages" true (.list 3 4096 stageShape)
    (.field "composition" true (.list 0 8 compositionShape)
    (.field "end_to_end" true endToEndShape
    (.field "population" true populationShape
    (.field "control" true controlShape
    (.field "enclosures" false (.orNull enclosuresShape) .none))))))

def certificateShape : Shape :=
  .record true
    (.field "version" true (.text isVersion)
    (.field "issued_at" true timeShape
    (.field "not_after" true timeShape
    (.field "producer" true (closedObject [("kind", .text (oneOf ["extract", "compare"])),
      ("name", textShape), ("version", textShape)])
    (.field "files" true (.list 0 4096 (closedObject [("name", fileNameShape), ("size", countShape)]))
    (.field "reference" true referenceShape
    (.field "surrogate" true surrogateShape
    (.field "prompts" true (closedObject [("file", fileNameShape), ("frame", frameShape)])
    (.field "thresholds" true thresholdsShape
    (.field "evidence" true (closedObject [("file", fileNameShape), ("rows", .int 1 1048576),
      ("attribution_rows", rowsShape)])
    (.field "claims" true claimsShape
    (.field "supersedes" false (.orNull hashShape)
    (.field "extensions" false (.record false .none)
    (.field "critical" false (.list 0 1000000 (.text fun _ => true)) .none))))))))))))))

/-- A statement (`schemas/statement.schema.json`): the outer one is open, what is inside is closed. -/
def statementShape : Shape :=
  .record false
    (.field "_type" true (.text (oneOf ["https://in-toto.io/Statement/v1"]))
    (.field "subject" true (.list 1 4096 subjectShape)
    (.field "predicateType" true (.text (oneOf ["urn:blockcert:certificate:v1"]))
    (.field "predicate" true certificateShape .none))))

/-- As much of any statement as tells whether its version is known (BC-STM-09); a predicate can be anything yet. -/
def outlineShape : Shape :=
  .record false
    (.field "_type" false (.text fun _ => true)
    (.field "predicateType" false (.text fun _ => true)
      .none))

/-! ## Reading -/

/-- The field of an object; null where there is none. -/
def Json.get (name : String) : Json → Json
  | .obj l =>
    match member name.toList l with
    | some v => v
    | none => .null
  | _ => .null

def Json.entries : Json → List Json
  | .arr l => l
  | _ => []

def Json.text : Json → List Char
  | .str s => s
  | _ => []

def Json.nat : Json → Nat
  | .int n => n.toNat
  | _ => 0

def Json.isTrue : Json → Bool
  | .bool b => b
  | _ => false

def Json.isNull : Json → Bool
  | .null => true
  | _ => false

/-- The value of a decimal string. -/
def Json.rat : Json → Rat
  | .str s =>
    match decode s with
    | some q => q
    | none => 0
  | _ => 0

def Json.optionalRat : Json → Option Rat
  | .str s => decode s
  | _ => none

def Json.optionalNat : Json → Option Nat
  | .int n => some n.toNat
  | _ => none

def natsOf : List Json → List Nat
  | [] => []
  | v :: l => v.nat :: natsOf l

def ratsOf : List Json → List Rat
  | [] => []
  | v :: l => v.rat :: ratsOf l

def Json.nats (j : Json) : List Nat := natsOf j.entries

def Json.rats (j : Json) : List Rat := ratsOf j.entries

def Json.optionalNats : Json → Option (List Nat)
  | .arr l => some (natsOf l)
  | _ => none

/-! ## Scope and basis -/

/-- What a claim is about (`spec/08-claims.md`, "Scope and basis"). -/
inductive Scope where
  | allInputs | listedPrompts | population | statedPoints
  deriving DecidableEq

/-- On which ground a claim stands, from the strongest. -/
inductive Basis where
  | proof | enclosure | measurement | estimate
  deriving DecidableEq

def Json.scope (j : Json) : Scope :=
  if sameText j.text "all-inputs".toList then .allInputs
  else if sameText j.text "listed-prompts".toList then .listedPrompts
  else if sameText j.text "population".toList then .population
  else .statedPoints

def Json.basis (j : Json) : Basis :=
  if sameText j.text "proof".toList then .proof
  else if sameText j.text "enclosure".toList then .enclosure
  else if sameText j.text "measurement".toList then .measurement
  else .estimate

/-! ## The claims -/

/-- A Lipschitz constant of a stage of the surrogate (BC-CLM-03). -/
structure Lipschitz where
  constant : Rat
  scope : Scope
  basis : Basis

/-- What is claimed of one stage. -/
structure StageClaim where
  sameProgram : Bool
  error : Rat
  relativeError : Rat
  relativeUpdateError : Option Rat
  tokens : Nat
  covered : List Nat
  lossTokens : Option Nat
  lossCovered : Option (List Nat)
  scope : Scope
  basis : Basis

/-- A bound on the drift after the last block, composed from stages. -/
structure CompositionClaim where
  lipschitz : Bool
  bound : Rat
  measured : Rat
  ratio : Option Rat
  rows : Nat
  vacuous : Bool
  scope : Scope
  basis : Basis

/-- Maxima, counts and means over all listed prompts, tokens to logits. -/
structure EndToEnd where
  drift : Rat
  relativeDrift : Rat
  logitDifference : Rat
  tokens : Nat
  top1Agree : Nat
  decided : Nat
  lossTokens : Nat
  lossReference : Rat
  lossSurrogate : Rat
  lossDifference : Rat
  lossWithin : List Nat
  klMean : Rat
  klMax : Rat
  scope : Scope
  basis : Basis

/-- The kinds of population predicates. -/
inductive Kind where
  | covered | top1 | kl | lossDifference | logitDifference
  deriving DecidableEq

/-- A property of one prompt. -/
structure Predicate where
  kind : Kind
  share : Option Rat
  threshold : Option Rat

/-- At least `atLeast` of the population's windows satisfy the predicate. -/
structure PopulationClaim where
  predicate : Predicate
  successes : Nat
  atLeast : Nat
  atLeastShare : Rat

/-- The population's windows of one corpus file. -/
structure Stratum where
  windows : Nat
  trials : Nat
  successes : List Nat
  atLeast : List Nat

/-- The population claims. -/
structure Population where
  windows : Nat
  trials : Nat
  alpha : Rat
  claims : List PopulationClaim
  strata : Option (List Stratum)
  scope : Scope
  basis : Basis

/-- The control: every block replaced by the identity, and plain float32 arithmetic. -/
structure Control where
  error : List Rat
  relativeError : List Rat
  covered : List (List Nat)
  drift : Rat
  relativeDrift : Rat
  logitDifference : Rat
  top1Agree : Nat
  decided : Nat
  floor : List Rat

/-- What one stage is proven to be at most, and at how many tokens to be covered at least. -/
structure EnclosedStage where
  error : Rat
  relativeError : Rat
  relativeUpdateError : Option Rat
  covered : List Nat

/-- What is proven of the first `rows` rows (BC-CLM-18). -/
structure Enclosures where
  rows : Nat
  bits : Nat
  stages : List EnclosedStage
  drift : Rat
  relativeDrift : Rat
  logitDifference : Rat
  tokens : Nat
  top1Agree : Nat
  decided : Nat
  lossTokens : Nat
  lossWithin : List Nat
  klMax : Rat
  scope : Scope
  basis : Basis

/-- The terms and the claims of a certificate: of its predicate, what the claims are made of.

`length` is `T`, `blocks` is `n`, `rows` is `N`, `attribution` is `A`, `windows` is `M = W - C`. -/
structure Statement where
  length : Nat
  blocks : Nat
  rows : Nat
  attribution : Nat
  windows : Nat
  relative : List Rat
  loss : List Rat
  postHoc : Bool
  lipschitz : List (Option Lipschitz)
  stages : List StageClaim
  composition : List CompositionClaim
  endToEnd : EndToEnd
  population : Population
  control : Control
  enclosures : Option Enclosures := none

def readLipschitz (j : Json) : Option Lipschitz :=
  match j with
  | .obj _ =>
    some { constant := (j.get "constant").rat, scope := (j.get "scope").scope,
           basis := (j.get "basis").basis }
  | _ => none

def readLipschitzs : List Json → List (Option Lipschitz)
  | [] => []
  | j :: l => readLipschitz (j.get "lipschitz") :: readLipschitzs l

def readStage (j : Json) : StageClaim :=
  { sameProgram := (j.get "same_program").isTrue
    error := (j.get "error").rat
    relativeError := (j.get "relative_error").rat
    relativeUpdateError := (j.get "relative_update_error").optionalRat
    tokens := (j.get "tokens").nat
    covered := (j.get "covered").nats
    lossTokens := (j.get "loss_tokens").optionalNat
    lossCovered := (j.get "loss_covered").optionalNats
    scope := (j.get "scope").scope
    basis := (j.get "basis").basis }

def readStages : List Json → List StageClaim
  | [] => []
  | j :: l => readStage j :: readStages l

def readComposition (j : Json) : CompositionClaim :=
  { lipschitz := sameText (j.get "method").text "lipschitz".toList
    bound := (j.get "bound").rat
    measured := (j.get "measured").rat
    ratio := (j.get "ratio").optionalRat
    rows := (j.get "rows").nat
    vacuous := (j.get "vacuous").isTrue
    scope := (j.get "scope").scope
    basis := (j.get "basis").basis }

def readCompositions : List Json → List CompositionClaim
  | [] => []
  | j :: l => readComposition j :: readCompositions l

def readEndToEnd (j : Json) : EndToEnd :=
  { drift := (j.get "drift").rat
    relativeDrift := (j.get "relative_drift").rat
    logitDifference := (j.get "logit_difference").rat
    tokens := (j.get "tokens").nat
    top1Agree := (j.get "top1_agree").nat
    decided := (j.get "decided").nat
    lossTokens := (j.get "loss_tokens").nat
    lossReference := (j.get "loss_reference").rat
    lossSurrogate := (j.get "loss_surrogate").rat
    lossDifference := (j.get "loss_difference").rat
    lossWithin := (j.get "loss_within").nats
    klMean := (j.get "kl_mean").rat
    klMax := (j.get "kl_max").rat
    scope := (j.get "scope").scope
    basis := (j.get "basis").basis }

def readKind (s : List Char) : Kind :=
  if sameText s "covered".toList then .covered
  else if sameText s "top1".toList then .top1
  else if sameText s "kl".toList then .kl
  else if sameText s "loss_difference".toList then .lossDifference
  else .logitDifference

def readPopulationClaim (j : Json) : PopulationClaim :=
  let p := j.get "predicate"
  { predicate := { kind := readKind (p.get "kind").text, share := (p.get "share").optionalRat,
                   threshold := (p.get "threshold").optionalRat }
    successes := (j.get "successes").nat
    atLeast := (j.get "at_least").nat
    atLeastShare := (j.get "at_least_share").rat }

def readPopulationClaims : List Json → List PopulationClaim
  | [] => []
  | j :: l => readPopulationClaim j :: readPopulationClaims l

def readStratum (j : Json) : Stratum :=
  { windows := (j.get "windows").nat
    trials := (j.get "trials").nat
    successes := (j.get "successes").nats
    atLeast := (j.get "at_least").nats }

def readStrata : List Json → List Stratum
  | [] => []
  | j :: l => readStratum j :: readStrata l

def readPopulation (j : Json) : Population :=
  { windows := (j.get "windows").nat
    trials := (j.get "trials").nat
    alpha := (j.get "alpha").rat
    claims := readPopulationClaims (j.get "claims").entries
    strata :=
      match j.get "strata" with
      | .arr l => some (readStrata l)
      | _ => none
    scope := (j.get "scope").scope
    basis := (j.get "basis").basis }

def natListsOf : List Json → List (List Nat)
  | [] => []
  | j :: l => j.nats :: natListsOf l

def readControl (j : Json) : Control :=
  let i := j.get "identity"
  { error := (i.get "error").rats
    relativeError := (i.get "relative_error").rats
    covered := natListsOf (i.get "covered").entries
    drift := (i.get "drift").rat
    relativeDrift := (i.get "relative_drift").rat
    logitDifference := (i.get "logit_difference").rat
    top1Agree := (i.get "top1_agree").nat
    decided := (i.get "decided").nat
    floor := ((j.get "float32_floor").get "relative_error").rats }

def readEnclosedStage (j : Json) : EnclosedStage :=
  { error := (j.get "error").rat
    relativeError := (j.get "relative_error").rat
    relativeUpdateError := (j.get "relative_update_error").optionalRat
    covered := (j.get "covered").nats }

def readEnclosedStages : List Json → List EnclosedStage
  | [] => []
  | j :: l => readEnclosedStage j :: readEnclosedStages l

def readEnclosures (j : Json) : Option Enclosures :=
  match j with
  | .obj _ =>
    some { rows := (j.get "rows").nat
           bits := (j.get "bits").nat
           stages := readEnclosedStages (j.get "stages").entries
           drift := (j.get "drift").rat
           relativeDrift := (j.get "relative_drift").rat
           logitDifference := (j.get "logit_difference").rat
           tokens := (j.get "tokens").nat
           top1Agree := (j.get "top1_agree").nat
           decided := (j.get "decided").nat
           lossTokens := (j.get "loss_tokens").nat
           lossWithin := (j.get "loss_within").nats
           klMax := (j.get "kl_max").rat
           scope := (j.get "scope").scope
           basis := (j.get "basis").basis }
  | _ => none

/-- The terms and claims of a statement of the shape. -/
def readStatement (j : Json) : Statement :=
  let p := j.get "predicate"
  let frame := (p.get "prompts").get "frame"
  let thresholds := p.get "thresholds"
  let claims := p.get "claims"
  { length := (frame.get "length").nat
    blocks := ((p.get "reference").get "blocks").nat
    rows := ((p.get "evidence").get "rows").nat
    attribution := ((p.get "evidence").get "attribution_rows").nat
    windows := (frame.get "windows").nat - (frame.get "calibration").nat
    relative := (thresholds.get "relative").rats
    loss := (thresholds.get "loss").rats
    postHoc := (thresholds.get "post_hoc").isTrue
    lipschitz := readLipschitzs (claims.get "stages").entries
    stages := readStages (claims.get "stages").entries
    composition := readCompositions (claims.get "composition").entries
    endToEnd := readEndToEnd (claims.get "end_to_end")
    population := readPopulation (claims.get "population")
    control := readControl (claims.get "control")
    enclosures := readEnclosures (claims.get "enclosures") }

/-- The number `E` of rows that have proven ends. -/
def Statement.enclosed (st : Statement) : Nat :=
  match st.enclosures with
  | some e => e.rows
  | none => 0

/-! ## The evidence -/

/-- The columns of proven ends (BC-EVD-10); without rows where no row has any. -/
structure Ends where
  error : List (List Rat) := []
  relativeError : List (List Rat) := []
  relativeUpdateError : List (List Rat) := []
  covered : List (List Nat) := []
  drift : List (List Rat) := []
  relativeDrift : List (List Rat) := []
  logitDifference : List (List Rat) := []
  top1Agree : List (List Nat) := []
  decided : List (List Nat) := []
  lossWithin : List (List Nat) := []
  klMax : List (List Rat) := []
  bits : List (List Nat) := []

/-- The rows of the evidence (BC-EVD-01), one list of cells for each row in each column, the column's
other axes in row-major order; and what an export takes from the other files of a bundle: for each
stage whether both programs are the same there (BC-PRG-20), and the corpus files as strata
(BC-CLM-17). -/
structure Evidence where
  same : List Bool
  strataWindows : Option (List Nat)
  strataOfRow : List Nat
  error : List (List Rat)
  relativeError : List (List Rat)
  relativeUpdateError : List (List Rat)
  covered : List (List Nat)
  drift : List (List Rat)
  relativeDrift : List (List Rat)
  finalNorm : List (List Rat)
  logitDifference : List (List Rat)
  top1Agree : List (List Nat)
  decided : List (List Nat)
  lossReference : List (List Rat)
  lossSurrogate : List (List Rat)
  lossDifference : List (List Rat)
  lossWithin : List (List Nat)
  klSum : List (List Rat)
  klMax : List (List Rat)
  identityError : List (List Rat)
  identityRelativeError : List (List Rat)
  identityCovered : List (List Nat)
  identityDrift : List (List Rat)
  identityRelativeDrift : List (List Rat)
  identityLogitDifference : List (List Rat)
  identityTop1Agree : List (List Nat)
  identityDecided : List (List Nat)
  floor : List (List Rat)
  attributionLossWithin : List (List Nat)
  hybridStep : List (List Rat)
  ends : Ends := {}

/-- The exact value of a cell: a decimal string in the grammar of BC-NUM-01 but of any length, since a
float64 has up to 1074 decimals. -/
def decodeCell (s : List Char) : Option Rat :=
  match parseParts s with
  | some d =>
    if wholePart d.whole && fractionPart d.fraction && !d.isMinusZero then some d.compute else none
  | none => none

/-- A cell means what its decimal string says. -/
theorem decodeCell_value (s : List Char) (q : Rat) (h : decodeCell s = some q) :
    ∃ d : Decimal, parseParts s = some d ∧ d.value = q := by
  unfold decodeCell at h
  split at h
  · rename_i d hd
    split at h
    · simp only [Option.some.injEq] at h
      exact ⟨d, hd, by rw [← compute_eq_value, h]⟩
    · exact nomatch h
  · exact nomatch h

/-- Exactly `width` cells. -/
def readCells : List Json → Nat → Option (List Rat)
  | [], 0 => some []
  | .str s :: l, width + 1 =>
    match decodeCell s, readCells l width with
    | some q, some qs => some (q :: qs)
    | _, _ => none
  | _, _ => none

/-- Exactly `rows` rows of `width` cells. -/
def readRows : List Json → Nat → Nat → Option (List (List Rat))
  | [], 0, _ => some []
  | .arr cells :: l, rows + 1, width =>
    match readCells cells width, readRows l rows width with
    | some r, some rs => some (r :: rs)
    | _, _ => none
  | _, _, _ => none

/-- Exactly `width` whole numbers. -/
def readCounts : List Json → Nat → Option (List Int)
  | [], 0 => some []
  | .int n :: l, width + 1 =>
    match readCounts l width with
    | some ns => some (n :: ns)
    | none => none
  | _, _ => none

/-- Exactly `rows` rows of `width` whole numbers. -/
def readCountRows : List Json → Nat → Nat → Option (List (List Int))
  | [], 0, _ => some []
  | .arr cells :: l, rows + 1, width =>
    match readCounts cells width, readCountRows l rows width with
    | some r, some rs => some (r :: rs)
    | _, _ => none
  | _, _, _ => none

/-- A column: its name, the number of its cells in a row, and whether they are counts. -/
structure ColumnShape where
  name : String
  rows : Nat
  width : Nat
  counts : Bool

/-- The columns of proven ends, before others. -/
def withEnds (n E R Q : Nat) (rest : List ColumnShape) : List ColumnShape :=
  let S := n + 2
  if E = 0 then rest
  else
    ⟨"enclosure.error", E, S, false⟩ :: ⟨"enclosure.relative_error", E, S, false⟩ ::
    ⟨"enclosure.relative_update_error", E, n, false⟩ :: ⟨"enclosure.covered", E, S * R, true⟩ ::
    ⟨"enclosure.drift", E, S, false⟩ :: ⟨"enclosure.relative_drift", E, S, false⟩ ::
    ⟨"enclosure.logit_difference", E, 1, false⟩ :: ⟨"enclosure.top1_agree", E, 1, true⟩ ::
    ⟨"enclosure.decided", E, 1, true⟩ :: ⟨"enclosure.loss_within", E, Q, true⟩ ::
    ⟨"enclosure.kl_max", E, 1, false⟩ :: ⟨"enclosure.bits", E, 1, true⟩ :: rest

/-- The columns of a certificate's evidence (BC-EVD-01). -/
def columnShapes (n N A R Q E : Nat) : List ColumnShape :=
  let S := n + 2
  let core : List ColumnShape := [
    ⟨"error", N, S, false⟩, ⟨"relative_error", N, S, false⟩,
    ⟨"relative_update_error", N, n, false⟩, ⟨"covered", N, S * R, true⟩,
    ⟨"drift", N, S, false⟩, ⟨"relative_drift", N, S, false⟩,
    ⟨"final_norm", N, 1, false⟩, ⟨"logit_difference", N, 1, false⟩,
    ⟨"top1_agree", N, 1, true⟩, ⟨"decided", N, 1, true⟩,
    ⟨"loss_reference", N, 1, false⟩, ⟨"loss_surrogate", N, 1, false⟩,
    ⟨"loss_difference", N, 1, false⟩, ⟨"loss_within", N, Q, true⟩,
    ⟨"kl_sum", N, 1, false⟩, ⟨"kl_max", N, 1, false⟩,
    ⟨"identity.error", N, S, false⟩, ⟨"identity.relative_error", N, S, false⟩,
    ⟨"identity.covered", N, S * R, true⟩, ⟨"identity.drift", N, S, false⟩,
    ⟨"identity.relative_drift", N, S, false⟩, ⟨"identity.logit_difference", N, 1, false⟩,
    ⟨"identity.top1_agree", N, 1, true⟩, ⟨"identity.decided", N, 1, true⟩,
    ⟨"float32.relative_error", N, S, false⟩]
  withEnds n E R Q
    (if A = 0 then core
     else ⟨"attribution.loss_within", A, S * Q, true⟩ :: ⟨"attribution.hybrid_step", A, n + 1, false⟩ :: core)

/-- The cells of a column, of either kind. -/
inductive Cells where
  | reals (rows : List (List Rat))
  | counts (rows : List (List Int))

/-- The columns of an object, by name. -/
def readColumns (j : Json) : List ColumnShape → Option (List (String × Cells))
  | [] => some []
  | c :: cs =>
    match j.get c.name, readColumns j cs with
    | .arr l, some rest =>
      if c.counts then
        match readCountRows l c.rows c.width with
        | some r => some ((c.name, .counts r) :: rest)
        | none => none
      else
        match readRows l c.rows c.width with
        | some r => some ((c.name, .reals r) :: rest)
        | none => none
    | _, _ => none

/-- Whether no cell is negative. -/
def noNegative : List Rat → Bool
  | [] => true
  | q :: qs => decide (0 ≤ q) && noNegative qs

def noNegativeRows : List (List Rat) → Bool
  | [] => true
  | r :: rs => noNegative r && noNegativeRows rs

def noNegativeInt : List Int → Bool
  | [] => true
  | q :: qs => decide (0 ≤ q) && noNegativeInt qs

def noNegativeIntRows : List (List Int) → Bool
  | [] => true
  | r :: rs => noNegativeInt r && noNegativeIntRows rs

/-- Whether no cell is negative but those of `loss_difference` (BC-EVD-02). -/
def noneNegative : List (String × Cells) → Bool
  | [] => true
  | (name, .reals rows) :: l =>
    (sameText name.toList "loss_difference".toList || noNegativeRows rows) && noneNegative l
  | (_, .counts rows) :: l => noNegativeIntRows rows && noneNegative l

/-- A column's cells; none where there is no such column. -/
def realsOf (name : String) : List (String × Cells) → List (List Rat)
  | [] => []
  | (k, .reals rows) :: l =>
    if sameText k.toList name.toList then rows else realsOf name l
  | _ :: l => realsOf name l

def natRow : List Int → List Nat
  | [] => []
  | n :: l => n.toNat :: natRow l

def natRows : List (List Int) → List (List Nat)
  | [] => []
  | r :: l => natRow r :: natRows l

def countsOf (name : String) : List (String × Cells) → List (List Nat)
  | [] => []
  | (k, .counts rows) :: l =>
    if sameText k.toList name.toList then natRows rows else countsOf name l
  | _ :: l => countsOf name l

def boolsOf : List Json → List Bool
  | [] => []
  | v :: l => v.isTrue :: boolsOf l

/-- An export, but for its columns. -/
def exportShape (n N : Nat) : Shape :=
  closedObject [("type", .text (oneOf ["urn:blockcert:evidence-export:v1"])),
    ("same_program", .list (n + 2) (n + 2) .bool),
    ("strata", .orNull (closedObject [("windows", .list 2 64 (windowsShape 0)),
      ("of_row", .list N N (.int 0 63))])),
    ("columns", .record false .none)]

/-- The number of members. -/
def countMembers : List (List Char × Json) → Nat
  | [] => 0
  | _ :: l => countMembers l + 1

def countShapes : List ColumnShape → Nat
  | [] => 0
  | _ :: l => countShapes l + 1

/-- The columns of proven ends among those read. -/
def endsOf (c : List (String × Cells)) : Ends :=
  { error := realsOf "enclosure.error" c
    relativeError := realsOf "enclosure.relative_error" c
    relativeUpdateError := realsOf "enclosure.relative_update_error" c
    covered := countsOf "enclosure.covered" c
    drift := realsOf "enclosure.drift" c
    relativeDrift := realsOf "enclosure.relative_drift" c
    logitDifference := realsOf "enclosure.logit_difference" c
    top1Agree := countsOf "enclosure.top1_agree" c
    decided := countsOf "enclosure.decided" c
    lossWithin := countsOf "enclosure.loss_within" c
    klMax := realsOf "enclosure.kl_max" c
    bits := countsOf "enclosure.bits" c }

/-- The evidence of an export that fits the sizes `n`, `N`, `A`, `R`, `Q`, `E`, or the code with which it is
refused: `json.type`, `evidence.columns` (BC-EVD-01), `evidence.negative` (BC-EVD-02). -/
def readEvidence (j : Json) (n N A R Q E : Nat) : Except Code Evidence :=
  if !(exportShape n N).admits j then .error .jsonType
  else
    let shapes := columnShapes n N A R Q E
    let columns := j.get "columns"
    let exact := match columns with
      | .obj l => countMembers l == countShapes shapes
      | _ => false
    if !exact then .error .evidenceColumns
    else
      match readColumns columns shapes with
      | none => .error .evidenceColumns
      | some c =>
        if !noneNegative c then .error .evidenceNegative
        else
          let strata := j.get "strata"
          .ok {
            same := boolsOf (j.get "same_program").entries
            strataWindows := (strata.get "windows").optionalNats
            strataOfRow := (strata.get "of_row").nats
            error := realsOf "error" c
            relativeError := realsOf "relative_error" c
            relativeUpdateError := realsOf "relative_update_error" c
            covered := countsOf "covered" c
            drift := realsOf "drift" c
            relativeDrift := realsOf "relative_drift" c
            finalNorm := realsOf "final_norm" c
            logitDifference := realsOf "logit_difference" c
            top1Agree := countsOf "top1_agree" c
            decided := countsOf "decided" c
            lossReference := realsOf "loss_reference" c
            lossSurrogate := realsOf "loss_surrogate" c
            lossDifference := realsOf "loss_difference" c
            lossWithin := countsOf "loss_within" c
            klSum := realsOf "kl_sum" c
            klMax := realsOf "kl_max" c
            identityError := realsOf "identity.error" c
            identityRelativeError := realsOf "identity.relative_error" c
            identityCovered := countsOf "identity.covered" c
            identityDrift := realsOf "identity.drift" c
            identityRelativeDrift := realsOf "identity.relative_drift" c
            identityLogitDifference := realsOf "identity.logit_difference" c
            identityTop1Agree := countsOf "identity.top1_agree" c
            identityDecided := countsOf "identity.decided" c
            floor := realsOf "float32.relative_error" c
            attributionLossWithin := countsOf "attribution.loss_within" c
            hybridStep := realsOf "attribution.hybrid_step" c
            ends := endsOf c }

end BlockCert
