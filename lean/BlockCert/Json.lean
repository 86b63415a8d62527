/-
The JSON gate of the standard.  Lean core only.
-/
module

public import BlockCert.Reader

@[expose] public section

/-!
# The JSON gate

A document is refused before anything else reads it unless it is one JSON value with no duplicate key, no
unpaired surrogate and no number but integers below `2^53`, within the caps (BC-NUM-06, 07, 10, 11).  The
checks run in one fixed order, so a text with several faults has one code:

1. the text begins with no byte-order mark (`json.encoding`);
2. values, nesting and the length of strings are within the caps (`json.limit`);
3. every number is an integer of magnitude below `2^53`, not `-0` (`json.number`);
4. no string has an unpaired surrogate (`json.encoding`);
5. the text is JSON to its end (`json.syntax`);
6. no object has a key twice, compared after unescaping (`json.duplicate_key`).

What is not here: that the bytes are UTF-8 and at most 16 MiB is decided where the file is read.
-/

namespace BlockCert

/-- The result codes that this library gives (`spec/09-result-codes.md`). -/
inductive Code where
  | jsonEncoding | jsonLimit | jsonNumber | jsonSyntax | jsonDuplicateKey | jsonType
  | statementType | statementPredicateType | statementVersionUnsupported | statementCritical
  | statementExtensionUnknown | statementFiles | statementSubjectMissing | statementFileName
  | statementKind | statementFidelity | statementTimes | statementRows | statementFrame
  | statementLengths | statementWindows | statementTokenizer | promptsDuplicate | timeCalendar
  | evidenceColumns | evidenceNegative | evidenceCount | evidenceDefinition
  | thresholdsOrder | thresholdsPostHoc
  | populationAlpha | populationDuplicate | populationShare | populationThreshold
  | lipschitzNegative | lipschitzUnverified
  | claimsPredicate | claimsThreshold | claimsScope | compositionBelowMeasured | numberNotDecimal
  | recomputeClaim | recomputeComposition | recomputePopulation | recomputeControl
  deriving DecidableEq

/-- The code as the standard spells it. -/
def Code.name : Code → String
  | .jsonEncoding => "json.encoding"
  | .jsonLimit => "json.limit"
  | .jsonNumber => "json.number"
  | .jsonSyntax => "json.syntax"
  | .jsonDuplicateKey => "json.duplicate_key"
  | .jsonType => "json.type"
  | .statementType => "statement.type"
  | .statementPredicateType => "statement.predicate_type"
  | .statementVersionUnsupported => "statement.version_unsupported"
  | .statementCritical => "statement.critical"
  | .statementExtensionUnknown => "statement.extension_unknown"
  | .statementFiles => "statement.files"
  | .statementSubjectMissing => "statement.subject_missing"
  | .statementFileName => "statement.file_name"
  | .statementKind => "statement.kind"
  | .statementFidelity => "statement.fidelity"
  | .statementTimes => "statement.times"
  | .statementRows => "statement.rows"
  | .statementFrame => "statement.frame"
  | .statementLengths => "statement.lengths"
  | .statementWindows => "statement.windows"
  | .statementTokenizer => "statement.tokenizer"
  | .promptsDuplicate => "prompts.duplicate"
  | .timeCalendar => "time.calendar"
  | .evidenceColumns => "evidence.columns"
  | .evidenceNegative => "evidence.negative"
  | .evidenceCount => "evidence.count"
  | .evidenceDefinition => "evidence.definition"
  | .thresholdsOrder => "thresholds.order"
  | .thresholdsPostHoc => "thresholds.post_hoc"
  | .populationAlpha => "population.alpha"
  | .populationDuplicate => "population.duplicate"
  | .populationShare => "population.share"
  | .populationThreshold => "population.threshold"
  | .lipschitzNegative => "lipschitz.negative"
  | .lipschitzUnverified => "lipschitz.unverified"
  | .claimsPredicate => "claims.predicate"
  | .claimsThreshold => "claims.threshold"
  | .claimsScope => "claims.scope"
  | .compositionBelowMeasured => "composition.below_measured"
  | .numberNotDecimal => "number.not_decimal"
  | .recomputeClaim => "recompute.claim.mismatch"
  | .recomputeComposition => "recompute.composition.mismatch"
  | .recomputePopulation => "recompute.population.mismatch"
  | .recomputeControl => "recompute.control.mismatch"

/-- A JSON value; a number is an integer, as every number of a document is (BC-NUM-07). -/
inductive Json where
  | null
  | bool (b : Bool)
  | int (n : Int)
  | str (s : List Char)
  | arr (l : List Json)
  | obj (l : List (List Char × Json))

/-! ## What a text is made of -/

/-- The pieces of a text.  A string is kept as written, without its quotes, with its length in bytes,
and whether it has an escape and an end; an atom is what stands between marks and white space. -/
inductive Piece where
  | open_ (object : Bool) | close (object : Bool) | colon | comma
  | str (raw : List Char) (bytes : Nat) (escape closed : Bool)
  | atom (s : List Char)

/-! This build runs no generic code of another module, so each type has its own reversal. -/

/-- Reverse `s` onto `t`. -/
def reverseChars : List Char → List Char → List Char
  | [], t => t
  | a :: s, t => reverseChars s (a :: t)

/-- Reverse `s` onto `t`. -/
def reversePieces : List Piece → List Piece → List Piece
  | [], t => t
  | a :: s, t => reversePieces s (a :: t)

/-- Reverse `s` onto `t`. -/
def reverseValues : List Json → List Json → List Json
  | [], t => t
  | a :: s, t => reverseValues s (a :: t)

/-- Reverse `s` onto `t`. -/
def reverseMembers : List (List Char × Json) → List (List Char × Json) → List (List Char × Json)
  | [], t => t
  | a :: s, t => reverseMembers s (a :: t)

/-- What the text has been cut in the middle of. -/
inductive Amid where
  | nothing
  | atom (reversed : List Char)
  /-- In a string: what came before in reverse, its bytes, whether it has an escape, and whether the
  character before this one escapes it. -/
  | str (reversed : List Char) (bytes : Nat) (escape next : Bool)

/-- The number of bytes of a character in UTF-8. -/
def utf8Size (c : Char) : Nat :=
  if c.toNat < 128 then 1 else if c.toNat < 2048 then 2 else if c.toNat < 65536 then 3 else 4

/-- The piece of a punctuation mark. -/
def pieceOfMark (c : Char) : Option Piece :=
  if c = ',' then some .comma
  else if c = ':' then some .colon
  else if c = '{' then some (.open_ true)
  else if c = '}' then some (.close true)
  else if c = '[' then some (.open_ false)
  else if c = ']' then some (.close false)
  else none

/-- The atom that ends here, before the pieces `done`. -/
def endAtom : Amid → List Piece → List Piece
  | .atom t, done => .atom (reverseChars t []) :: done
  | _, done => done

/-- Cut a text into pieces. -/
def pieces : List Char → Amid → List Piece → List Piece
  | [], .str t bytes escape _, done =>
    reversePieces (.str (reverseChars t []) (bytes - 1) escape false :: done) []
  | [], amid, done => reversePieces (endAtom amid done) []
  | c :: s, .str t bytes escape next, done =>
    if next then pieces s (.str (c :: t) (bytes + utf8Size c) escape false) done
    else if c = '"' then pieces s .nothing (.str (reverseChars t []) bytes escape true :: done)
    else if c = '\\' then pieces s (.str (c :: t) (bytes + 1) true true) done
    else pieces s (.str (c :: t) (bytes + utf8Size c) escape false) done
  | c :: s, amid, done =>
    if c = '"' then pieces s (.str [] 0 false false) (endAtom amid done)
    else if isBlank c then pieces s .nothing (endAtom amid done)
    else
      match pieceOfMark c with
      | some p => pieces s .nothing (p :: endAtom amid done)
      | none =>
        match amid with
        | .atom t => pieces s (.atom (c :: t)) done
        | _ => pieces s (.atom [c]) done

/-! ## Caps -/

/-- The caps on one document (BC-NUM-11): values, levels, bytes of a string. -/
structure Caps where
  values : Nat
  levels : Nat
  string : Nat

/-- The caps on a statement. -/
def statementCaps : Caps := { values := 262144, levels := 64, string := 65536 }

/-- The caps on an evidence export, which is one file's columns as text. -/
def exportCaps : Caps := { values := 64000000, levels := 8, string := 65536 }

/-- Whether a text's pieces are within the caps: at most `room` more values and strings, nesting being
`level` (it may fall below 0 in a text that is no JSON). -/
def withinCaps (caps : Caps) : List Piece → Nat → Int → Bool
  | [], _, _ => true
  | .open_ _ :: ps, values, level =>
    decide (values < caps.values) && decide (level < caps.levels) &&
      withinCaps caps ps (values + 1) (level + 1)
  | .close _ :: ps, values, level => withinCaps caps ps values (level - 1)
  | .comma :: ps, values, level =>
    decide (values < caps.values) && withinCaps caps ps (values + 1) level
  | .str _ bytes _ _ :: ps, values, level =>
    decide (bytes ≤ caps.string) && withinCaps caps ps values level
  | _ :: ps, values, level => withinCaps caps ps values level

/-! ## Numbers -/

/-- The digit of a character, as a number. -/
def digit (c : Char) : Option Nat :=
  match charDigit c with
  | some d => some d.val
  | none => none

/-- Whether a text begins with another. -/
def beginsWith : List Char → List Char → Bool
  | [], _ => true
  | _ :: _, [] => false
  | a :: s, b :: t => a == b && beginsWith s t

/-- Whether `-0` stands here with no digit behind. -/
def minusZero : List Char → Bool
  | '-' :: '0' :: [] => true
  | '-' :: '0' :: c :: _ =>
    match digit c with
    | some _ => false
    | none => true
  | _ => false

/-- Whether a run of `count` digits worth `value` is no integer below `2^53`. -/
def tooLong (count value : Nat) : Bool := decide (16 < count) || decide (9007199254740992 ≤ value)

def nan : List Char := ['N', 'a', 'N']
def infinity : List Char := ['I', 'n', 'f', 'i', 'n', 'i', 't', 'y']

/-- Whether an atom holds a number that no document may hold (BC-NUM-07, 10): one with a point or an
exponent, `-0`, `NaN`, `Infinity`, or one of magnitude `2^53` or more.  The run of digits before has
`count` of them and is worth `value`. -/
def badNumber : List Char → Nat → Nat → Bool
  | [], count, value => tooLong count value
  | c :: s, count, value =>
    match digit c with
    | some d => if 16 < count then true else badNumber s (count + 1) (10 * value + d)
    | none =>
      if tooLong count value || (decide (0 < count) && (c = '.' || c = 'e' || c = 'E')) then true
      else if minusZero (c :: s) || beginsWith nan (c :: s) || beginsWith infinity (c :: s) then true
      else badNumber s 0 0

/-- Whether a piece is such an atom. -/
def anyBadNumber : List Piece → Bool
  | [] => false
  | .atom s :: ps => badNumber s 0 0 || anyBadNumber ps
  | _ :: ps => anyBadNumber ps

/-- The value of digits, most significant first. -/
def digitsValue : List Char → Nat → Option Nat
  | [], n => some n
  | c :: s, n =>
    match digit c with
    | some d => digitsValue s (10 * n + d)
    | none => none

/-- A whole number without leading zero. -/
def wholeNumber : List Char → Option Nat
  | [] => none
  | ['0'] => some 0
  | '0' :: _ => none
  | s => digitsValue s 0

def nameTrue : List Char := ['t', 'r', 'u', 'e']
def nameFalse : List Char := ['f', 'a', 'l', 's', 'e']
def nameNull : List Char := ['n', 'u', 'l', 'l']

/-- The value of an atom. -/
def atomValue (s : List Char) : Option Json :=
  if sameText s nameTrue then some (.bool true)
  else if sameText s nameFalse then some (.bool false)
  else if sameText s nameNull then some .null
  else
    match s with
    | '-' :: t =>
      match wholeNumber t with
      | some n => some (.int (-(n : Int)))
      | none => none
    | _ =>
      match wholeNumber s with
      | some n => some (.int n)
      | none => none

/-! ## Strings -/

/-- The value of a hexadecimal digit. -/
def hexDigit (c : Char) : Option Nat :=
  match digit c with
  | some d => some d
  | none =>
    let n := c.toNat
    if 97 ≤ n && n ≤ 102 then some (n - 87) else if 65 ≤ n && n ≤ 70 then some (n - 55) else none

/-- What is read of an escape. -/
inductive Escape where
  | none
  | begun
  | hex (digits value : Nat)

/-- The character of an escape of two characters. -/
def shortEscape (c : Char) : Option Char :=
  if c = '"' || c = '\\' || c = '/' then some c
  else if c = 'b' then some (Char.ofNat 8)
  else if c = 'f' then some (Char.ofNat 12)
  else if c = 'n' then some '\n'
  else if c = 'r' then some '\r'
  else if c = 't' then some '\t'
  else none

/-- A string as its text: `none` where it is not a string of JSON; else the text, and whether it has an
unpaired surrogate.  `high` is the high surrogate just before, if any, `done` the text so far in
reverse. -/
def unescape : List Char → Escape → Option Nat → Bool → List Char → Option (List Char × Bool)
  | [], .none, .none, lone, done => some (reverseChars done [], lone)
  | [], .none, some _, _, done => some (reverseChars done [], true)
  | [], _, _, _, _ => none
  | c :: s, .none, high, lone, done =>
    if c = '\\' then unescape s .begun high lone done
    else if c.toNat < 32 then none
    else
      match high with
      | some _ => unescape s .none none true (c :: done)
      | none => unescape s .none none lone (c :: done)
  | c :: s, .begun, high, lone, done =>
    if c = 'u' then unescape s (.hex 0 0) high lone done
    else
      match shortEscape c, high with
      | some e, some _ => unescape s .none none true (e :: done)
      | some e, none => unescape s .none none lone (e :: done)
      | none, _ => none
  | c :: s, .hex n v, high, lone, done =>
    match hexDigit c with
    | none => none
    | some d =>
      let v := 16 * v + d
      if n < 3 then unescape s (.hex (n + 1) v) high lone done
      else if 56320 ≤ v && v ≤ 57343 then
        match high with
        | some h =>
          unescape s .none none lone (Char.ofNat (65536 + (h - 55296) * 1024 + (v - 56320)) :: done)
        | none => unescape s .none none true done
      else
        let lone := match high with
          | some _ => true
          | none => lone
        if 55296 ≤ v && v ≤ 56319 then unescape s .none (some v) lone done
        else unescape s .none none lone (Char.ofNat v :: done)

/-- Whether a string of JSON has no control character. -/
def noControl : List Char → Bool
  | [] => true
  | c :: s => !decide (c.toNat < 32) && noControl s

/-- The text of a string, without unpaired surrogate. -/
def stringText (raw : List Char) (escape closed : Bool) : Option (List Char) :=
  if !closed then none
  else if escape then
    match unescape raw .none none false [] with
    | some (t, _) => some t
    | none => none
  else if noControl raw then some raw else none

/-- Whether a string of JSON has an unpaired surrogate. -/
def anyLone : List Piece → Bool
  | [] => false
  | .str raw _ true true :: ps =>
    match unescape raw .none none false [] with
    | some (_, true) => true
    | _ => anyLone ps
  | _ :: ps => anyLone ps

/-! ## Values -/

/-- The member of that name. -/
def member (name : List Char) : List (List Char × Json) → Option Json
  | [] => none
  | (k, v) :: l => if sameText k name then some v else member name l

/-- Whether a key stands twice. -/
def anyTwice : List (List Char × Json) → Bool
  | [] => false
  | (k, _) :: l =>
    match member k l with
    | some _ => true
    | none => anyTwice l

/-- An object or array that is not closed yet: what it holds so far, in reverse. -/
inductive Around where
  | arr (done : List Json)
  | obj (done : List (List Char × Json)) (key : List Char)

/-- What may follow. -/
inductive Next where
  | value | valueOrEnd | key | keyOrEnd | colon (key : List Char) | afterValue (v : Json)

/-- The value that the pieces say; the arrays and objects around, innermost first.  `twice` is whether a key
stands twice in an object that was read already, which is said of a text that is JSON to its end. -/
def readPieces (twice : Bool) : List Piece → Next → List Around → Except Code Json
  | [], .afterValue v, [] => if twice then .error .jsonDuplicateKey else .ok v
  | .comma :: ps, .afterValue v, .arr done :: a => readPieces twice ps .value (.arr (v :: done) :: a)
  | .comma :: ps, .afterValue v, .obj done k :: a =>
    readPieces twice ps .key (.obj ((k, v) :: done) [] :: a)
  | .close false :: ps, .afterValue v, .arr done :: a =>
    readPieces twice ps (.afterValue (.arr (reverseValues (v :: done) []))) a
  | .close true :: ps, .afterValue v, .obj done k :: a =>
    readPieces (twice || anyTwice ((k, v) :: done)) ps
      (.afterValue (.obj (reverseMembers ((k, v) :: done) []))) a
  | .close false :: ps, .valueOrEnd, .arr _ :: a => readPieces twice ps (.afterValue (.arr [])) a
  | .close true :: ps, .keyOrEnd, .obj _ _ :: a => readPieces twice ps (.afterValue (.obj [])) a
  | .colon :: ps, .colon k, .obj done _ :: a => readPieces twice ps .value (.obj done k :: a)
  | .str raw _ escape closed :: ps, next, a =>
    match next, stringText raw escape closed with
    | .key, some k => readPieces twice ps (.colon k) a
    | .keyOrEnd, some k => readPieces twice ps (.colon k) a
    | .value, some t => readPieces twice ps (.afterValue (.str t)) a
    | .valueOrEnd, some t => readPieces twice ps (.afterValue (.str t)) a
    | _, _ => .error .jsonSyntax
  | .atom s :: ps, next, a =>
    match next, atomValue s with
    | .value, some v => readPieces twice ps (.afterValue v) a
    | .valueOrEnd, some v => readPieces twice ps (.afterValue v) a
    | _, _ => .error .jsonSyntax
  | .open_ object :: ps, next, a =>
    match next, object with
    | .value, true => readPieces twice ps .keyOrEnd (.obj [] [] :: a)
    | .valueOrEnd, true => readPieces twice ps .keyOrEnd (.obj [] [] :: a)
    | .value, false => readPieces twice ps .valueOrEnd (.arr [] :: a)
    | .valueOrEnd, false => readPieces twice ps .valueOrEnd (.arr [] :: a)
    | _, _ => .error .jsonSyntax
  | _, _, _ => .error .jsonSyntax

/-- The value of a text that passes the gate, or the code with which it is refused. -/
def gate (caps : Caps) (text : List Char) : Except Code Json :=
  match text with
  | '\uFEFF' :: _ => .error .jsonEncoding
  | _ =>
    let ps := pieces text .nothing []
    if !withinCaps caps ps 1 0 then .error .jsonLimit
    else if anyBadNumber ps then .error .jsonNumber
    else if anyLone ps then .error .jsonEncoding
    else readPieces false ps .value []

end BlockCert
