/-
From the texts of a statement and of an evidence export to a verdict.  Lean core only.
-/
module

public import BlockCert.Checker
public import BlockCert.Enclosures

@[expose] public section

/-!
# The judge

`judgeTexts statement export` is the list of codes with which a certificate is refused or left open, from the
text of its statement (the payload of `statement.dsse.json`) and of its evidence export.  The steps and
their order are those of `spec/10-verification.md`: the gate, the version (BC-STM-09), the schema, what the
fields must satisfy together (BC-STM-10 to 16, BC-PRM-12), then the evidence and the claims (`refusals`), then
the proven ends (`endRefusals`).
A step runs only if those before it found nothing.

Not judged here: signatures, files and their digests, programs, the draw of the prompts, names of files
(BC-BND-07), replay, and a buyer's policy.

`judgeTexts_eq_nil`: an empty list means that the texts were read as a statement and its evidence, and that
`refusals` and `endRefusals` are empty for them, so that the theorems of `Soundness` and `ProvenEnds` apply.
-/

namespace BlockCert

def lastOf (suffix : List Char) : List Char → Bool
  | [] => sameText suffix []
  | c :: s => sameText suffix (c :: s) || lastOf suffix s

def textsOf (name : String) : List Json → List (List Char)
  | [] => []
  | j :: l => (j.get name).text :: textsOf name l

def ownTexts : List Json → List (List Char)
  | [] => []
  | j :: l => j.text :: ownTexts l

def hasText (t : List Char) : List (List Char) → Bool
  | [] => false
  | s :: l => sameText s t || hasText t l

def anyRepeated : List (List Char) → Bool
  | [] => false
  | s :: l => hasText s l || anyRepeated l

def withoutText (t : List Char) : List (List Char) → List (List Char)
  | [] => []
  | s :: l => if sameText s t then l else s :: withoutText t l

/-- The same texts, each as often. -/
def sameTexts : List (List Char) → List (List Char) → Bool
  | [], [] => true
  | s :: l, m => hasText s m && sameTexts l (withoutText s m)
  | _, _ => false

def anyBetween (first last : List Char) : List (List Char) → Bool
  | [] => false
  | s :: l => (beginsWith first s && lastOf last s) || anyBetween first last l

def countJson : List Json → Nat
  | [] => 0
  | _ :: l => countJson l + 1

/-! ## The version -/

/-- What is known of the type and version before anything else is read (BC-STM-09). -/
def versionRefusals (j : Json) : List Code :=
  let predicateType := (j.get "predicateType").text
  let version := ((j.get "predicate").get "version").text
  if !sameText (j.get "_type").text "https://in-toto.io/Statement/v1".toList then [.statementType]
  else if !sameText predicateType "urn:blockcert:certificate:v1".toList then
    if newerFamily predicateType then [.statementVersionUnsupported] else [.statementPredicateType]
  else if newerMinor version then [.statementVersionUnsupported]
  else []
where
  /-- The predicate type of another major version. -/
  newerFamily (t : List Char) : Bool :=
    beginsWith "urn:blockcert:certificate:v".toList t && noColon (dropChars 27 t)
  noColon : List Char → Bool
    | [] => true
    | c :: s => !(c == ':') && noColon s
  dropChars : Nat → List Char → List Char
    | 0, s => s
    | _ + 1, [] => []
    | n + 1, _ :: s => dropChars n s
  /-- `1.` and a minor version of up to four digits above 0. -/
  newerMinor (v : List Char) : Bool :=
    match v with
    | '1' :: '.' :: minor =>
      atMostChars minor 4 &&
        (match digitsValue minor 0 with
         | some n => decide (0 < n)
         | none => false)
    | _ => false

/-! ## Extensions -/

def unknownExtensions : List (List Char) → List Code
  | [] => []
  | _ :: l => .statementExtensionUnknown :: unknownExtensions l

def allMembers (l : List (List Char × Json)) : List (List Char) → Bool
  | [] => true
  | k :: ks =>
    (match member k l with
     | some _ => true
     | none => false) && allMembers l ks

def criticalRefusals (p : Json) : List Code :=
  let critical := ownTexts (p.get "critical").entries
  let known := match p.get "extensions" with
    | .obj l => allMembers l critical
    | _ => allMembers [] critical
  joined (refuseUnless (!anyRepeated critical && known) .statementCritical)
    (unknownExtensions critical)

/-! ## Subjects -/

/-- A file of fixed name is listed, and the statement calls it so (BC-BND-13). -/
def fileRefusals (names : List (List Char)) (wanted : String) (stated : List Char) : List Code :=
  joined (refuseUnless (hasText wanted.toList names) .statementSubjectMissing)
    (refuseUnless (sameText stated wanted.toList) .statementFileName)

def noSlash : List Char → Bool
  | [] => true
  | c :: s => !(c == '/') && noSlash s

def afterChars : Nat → List Char → List Char
  | 0, s => s
  | _ + 1, [] => []
  | n + 1, _ :: s => afterChars n s

/-- A name in `appended/` itself, with something before that ending. -/
def appendedName (ending name : List Char) : Bool :=
  let inner := afterChars 9 name
  beginsWith "appended/".toList name && lastOf ending inner && !sameText inner ending && noSlash inner

/-- A name that is kept for the envelope, or for what other parties put beside the certificate: signed
statements, and reports (BC-BND-10, BC-TRU-20, 28). -/
def keptName (name : List Char) : Bool :=
  sameText name "statement.dsse.json".toList || appendedName ".dsse.json".toList name ||
    appendedName ".report.json".toList name

def keptRefusals : List (List Char) → List Code
  | [] => []
  | name :: l => joined (refuseUnless (!keptName name) .statementFileName) (keptRefusals l)

def subjectRefusals (j : Json) : List Code :=
  let p := j.get "predicate"
  let names := textsOf "name" (j.get "subject").entries
  let weights := ".safetensors".toList
  let copied := anyBetween "surrogate/".toList weights names
  let made := hasText "programs/surrogate.safetensors".toList names
  let compare := sameText ((p.get "producer").get "kind").text "compare".toList
  joined (refuseUnless (sameTexts (textsOf "name" (p.get "files").entries) names) .statementFiles)
  (joined (keptRefusals names)
  (joined (fileRefusals names "programs/reference.json" ((p.get "reference").get "program").text)
  (joined (fileRefusals names "programs/surrogate.json" ((p.get "surrogate").get "program").text)
  (joined (fileRefusals names "prompts.safetensors" ((p.get "prompts").get "file").text)
  (joined (fileRefusals names "evidence.safetensors" ((p.get "evidence").get "file").text)
  (joined (refuseUnless (hasText "reference/config.json".toList names) .statementSubjectMissing)
  (joined (refuseUnless (anyBetween "reference/".toList weights names) .statementSubjectMissing)
  (refuseUnless ((copied == compare) && !(copied && made)) .statementKind))))))))

/-! ## Times -/

/-- The digits of a time, as one number. -/
def timeNumber : List Char → Nat → Nat
  | [], n => n
  | c :: s, n =>
    match digit c with
    | some d => timeNumber s (10 * n + d)
    | none => timeNumber s n

def leap (y : Nat) : Bool := (y % 4 == 0 && !(y % 100 == 0)) || y % 400 == 0

def daysIn (y m : Nat) : Nat :=
  if m = 2 then (if leap y then 29 else 28)
  else if m = 4 || m = 6 || m = 9 || m = 11 then 30 else 31

/-- Whether a time exists and is not before 1970 (BC-NUM-09). -/
def exists_ (t : Nat) : Bool :=
  let second := t % 100
  let minute := t / 100 % 100
  let hour := t / 10000 % 100
  let day := t / 1000000 % 100
  let month := t / 100000000 % 100
  let year := t / 10000000000
  decide (1970 ≤ year) && decide (1 ≤ month) && decide (month ≤ 12) && decide (1 ≤ day) &&
    decide (day ≤ daysIn year month) && decide (hour < 24) && decide (minute < 60) &&
    decide (second < 60)

/-! ## Fields -/

def fidelityRefusals (fidelity : Json) (rows : Nat) : List Code :=
  match fidelity with
  | .obj _ =>
    let n := (fidelity.get "rows").nat
    joined (refuseUnless (decide (1 ≤ n) && decide (n ≤ rows)) .statementFidelity)
      (refuseUnless (!sameText (fidelity.get "against").text [] &&
        decide (0 ≤ (fidelity.get "max_logit_difference").rat)) .statementFidelity)
  | _ => []

def entriesAre (n : Nat) : List Json → Bool
  | l => countJson l == n

/-- A list, where there is one, has as many entries. -/
def hasEntries (j : Json) (n : Nat) : Bool :=
  match j with
  | .arr l => entriesAre n l
  | _ => true

def stageEntries (relative loss : Nat) : List Json → Nat → Bool
  | [], _ => true
  | s :: ss, i =>
    ((s.get "index").nat == i) && hasEntries (s.get "covered") relative &&
      hasEntries (s.get "loss_covered") loss && stageEntries relative loss ss (i + 1)

def strataEntries (k : Nat) : List Json → Bool
  | [] => true
  | s :: ss => hasEntries (s.get "successes") k && hasEntries (s.get "at_least") k && strataEntries k ss

def allEntries (n : Nat) : List Json → Bool
  | [] => true
  | s :: ss => hasEntries s n && allEntries n ss

/-- The lists of the enclosures, where there are some. -/
def enclosureEntries (stages relative loss : Nat) (enclosures : Json) : Bool :=
  match enclosures with
  | .obj _ =>
    hasEntries (enclosures.get "stages") stages &&
      stageEntries relative loss (enclosures.get "stages").entries 0 &&
      hasEntries (enclosures.get "loss_within") loss
  | _ => true

/-- A list with an entry for each stage, threshold, file or claim has that many (BC-STM-16). -/
def lengthsHold (p : Json) : Bool :=
  let claims := p.get "claims"
  let identity := (claims.get "control").get "identity"
  let stages := ((p.get "reference").get "blocks").nat + 2
  let relative := countJson ((p.get "thresholds").get "relative").entries
  let loss := countJson ((p.get "thresholds").get "loss").entries
  let kept := (p.get "surrogate").get "kept"
  let population := claims.get "population"
  let files := countJson (((p.get "prompts").get "frame").get "corpus").entries
  let strata := (population.get "strata").entries
  hasEntries (kept.get "reference") stages && hasEntries (kept.get "surrogate") stages &&
    hasEntries (claims.get "stages") stages &&
    stageEntries relative loss (claims.get "stages").entries 0 &&
    hasEntries ((claims.get "end_to_end").get "loss_within") loss &&
    hasEntries (identity.get "error") stages && hasEntries (identity.get "relative_error") stages &&
    hasEntries (identity.get "covered") stages && allEntries relative (identity.get "covered").entries &&
    hasEntries ((claims.get "control").get "float32_floor" |>.get "relative_error") stages &&
    (countJson strata == (if 2 ≤ files && files ≤ 64 then files else 0)) &&
    strataEntries (countJson (population.get "claims").entries) strata &&
    enclosureEntries stages relative loss (claims.get "enclosures")

def windowsFit (taken : Nat) : List Json → Bool
  | [] => true
  | f :: fs => decide ((f.get "windows").nat ≤ 4 * (f.get "size").nat / taken) && windowsFit taken fs

def windowsOf : List Json → Nat
  | [] => 0
  | f :: fs => (f.get "windows").nat + windowsOf fs

/-- The digest of the subject of that name, if there is one. -/
def digestOf (name : List Char) : List Json → Option (List Char)
  | [] => none
  | s :: ss =>
    match digestOf name ss with
    | some d => some d
    | none => if sameText (s.get "name").text name then some ((s.get "digest").get "blake3").text else none

/-- What can be seen of the frame without its corpus (BC-PRM-01, 12). -/
def corpusRefusals (j frame : Json) : List Code :=
  let corpus := (frame.get "corpus").entries
  let length := (frame.get "length").nat
  let tokenizer := frame.get "tokenizer"
  let taken := if (tokenizer.get "bos").isNull then length else length - 1
  joined (refuseUnless (!anyRepeated (textsOf "blake3" corpus)) .promptsDuplicate)
  (joined (refuseUnless (windowsFit taken corpus) .statementWindows)
  (joined (refuseUnless ((frame.get "windows").nat == windowsOf corpus) .statementWindows)
  (refuseUnless (match digestOf "reference/tokenizer.json".toList (j.get "subject").entries with
    | some d => sameText d (tokenizer.get "blake3").text
    | none => true) .statementTokenizer)))

/-- What the fields must satisfy together (BC-STM-11 to 16). -/
def fieldRefusals (j : Json) : List Code :=
  let p := j.get "predicate"
  let frame := (p.get "prompts").get "frame"
  let rows := ((p.get "evidence").get "rows").nat
  let attribution := ((p.get "evidence").get "attribution_rows").nat
  let enclosed := (((p.get "claims").get "enclosures").get "rows").nat
  let calibration := (frame.get "calibration").nat
  let certification := (frame.get "certification").nat
  let issued := timeNumber (p.get "issued_at").text 0
  let after := timeNumber (p.get "not_after").text 0
  joined (fidelityRefusals ((p.get "reference").get "fidelity") rows)
  (joined (refuseUnless (decide (issued < after)) .statementTimes)
  (joined (refuseUnless (rows == certification) .statementRows)
  (joined (refuseUnless (decide (attribution ≤ rows)) .statementRows)
  (joined (refuseUnless (decide (enclosed ≤ rows)) .statementRows)
  (joined (refuseUnless (decide (calibration + certification ≤ (frame.get "windows").nat)) .statementFrame)
  (joined (refuseUnless (lengthsHold p) .statementLengths) (corpusRefusals j frame)))))))

/-- What is wrong with a statement of the shape, before its evidence is read. -/
def structureRefusals (j : Json) : List Code :=
  let p := j.get "predicate"
  if !exists_ (timeNumber (p.get "issued_at").text 0) || !exists_ (timeNumber (p.get "not_after").text 0)
  then [.timeCalendar]
  else joined (criticalRefusals p) (joined (subjectRefusals j) (fieldRefusals j))

/-! ## The verdict -/

/-- The terms and claims of a statement's text, or the codes with which it is refused. -/
def readText (text : List Char) : Except (List Code) Statement :=
  match gate statementCaps text with
  | .error e => .error [e]
  | .ok j =>
    if !outlineShape.admits j then .error [.jsonType]
    else
      match versionRefusals j with
      | c :: cs => .error (c :: cs)
      | [] =>
        if !statementShape.admits j then .error [.jsonType]
        else
          match structureRefusals j with
          | c :: cs => .error (c :: cs)
          | [] => .ok (readStatement j)

/-- The evidence of an export that has passed the gate. -/
def readExport (st : Statement) : Except Code Json → Except (List Code) Evidence
  | .error e => .error [e]
  | .ok j =>
    match readEvidence j st.blocks st.rows st.attribution (lengthRat st.relative) (lengthRat st.loss)
      st.enclosed with
    | .error e => .error [e]
    | .ok ev => .ok ev

/-- The codes for a statement's text and an export that has been through the gate. -/
def judgeWith (statement : List Char) (evidence : Except Code Json) : List Code :=
  match readText statement with
  | .error codes => codes
  | .ok st =>
    match readExport st evidence with
    | .error codes => codes
    | .ok ev =>
      match refusals st ev with
      | c :: cs => c :: cs
      | [] =>
        match endRefusals st ev with
        | c :: cs => c :: cs
        | [] => unverified st.lipschitz

/-- The codes for the two texts. -/
def judgeTexts (statement evidence : List Char) : List Code :=
  judgeWith statement (gate exportCaps evidence)

/-- Codes that leave a verdict open and refuse nothing. -/
def Code.isOpen : Code → Bool
  | .statementVersionUnsupported => true
  | .statementExtensionUnknown => true
  | .lipschitzUnverified => true
  | _ => false

def allOpen : List Code → Bool
  | [] => true
  | c :: cs => c.isOpen && allOpen cs

/-- The verdict in words. -/
def verdictOf : List Code → String
  | [] => "ACCEPT"
  | c :: cs => if allOpen (c :: cs) then "INDETERMINATE" else "REJECT"

/-- **What is accepted was read and passes the check**: the texts are a statement and its evidence, and
`refusals` and `endRefusals` are empty for them. -/
theorem judgeTexts_eq_nil (statement evidence : List Char) (h : judgeTexts statement evidence = []) :
    ∃ st ev, readText statement = .ok st ∧ readExport st (gate exportCaps evidence) = .ok ev ∧
      refusals st ev = [] ∧ endRefusals st ev = [] := by
  unfold judgeTexts judgeWith at h
  split at h
  · rename_i codes hr
    subst h
    exact absurd hr (readText_error_ne_nil statement)
  · rename_i st hst
    split at h
    · rename_i codes hr
      subst h
      exact absurd hr (readExport_error_ne_nil st _)
    · rename_i ev hev
      split at h
      · exact nomatch h
      · rename_i hrefusals
        split at h
        · exact nomatch h
        · rename_i hends
          exact ⟨st, ev, hst, hev, hrefusals, hends⟩
where
  readText_error_ne_nil (text : List Char) : readText text ≠ .error [] := by
    unfold readText
    split
    · simp
    · split
      · simp
      · split
        · simp
        · split
          · simp
          · split <;> simp
  readExport_error_ne_nil (st : Statement) (e : Except Code Json) : readExport st e ≠ .error [] := by
    unfold readExport
    split
    · simp
    · split <;> simp

end BlockCert
