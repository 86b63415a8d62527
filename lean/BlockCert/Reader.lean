/-
Reading a composition certificate from text.  Lean core only.
-/
module

public import BlockCert.Composition
public import BlockCert.Numbers

@[expose] public section

/-!
# The reader

A composition certificate is the JSON text

    {"start": "0.05", "steps": [{"error": "0.1", "lipschitz": "2"}], "bound": "0.3"}

This reader takes the part of JSON that such a text needs and refuses everything else: objects,
arrays and strings only; strings of at most 82 printable ASCII characters, without escapes; every
member named exactly once, in any order, and no other member; nothing but white space after the end.
Every number is a decimal string of the standard (BC-NUM-01, `decode`).  The text is the command's own;
it is none of the documents of a bundle.
-/

namespace BlockCert

/-- What a text is made of. -/
inductive Token where
  | leftBrace | rightBrace | leftBracket | rightBracket | colon | comma
  | text (s : List Char)

/-- The length of the longest decimal string: a sign, 40 digits, the point and 40 digits. -/
def longest : Nat := 82

/-- Reverse `s` onto `t`. -/
def reverseOnto {α : Type} : List α → List α → List α
  | [], t => t
  | a :: s, t => reverseOnto s (a :: t)

/-- The token of a punctuation mark. -/
def mark (c : Char) : Option Token :=
  if c = '{' then some .leftBrace
  else if c = '}' then some .rightBrace
  else if c = '[' then some .leftBracket
  else if c = ']' then some .rightBracket
  else if c = ':' then some .colon
  else if c = ',' then some .comma
  else none

/-- White space of JSON. -/
def isBlank (c : Char) : Bool := c = ' ' || c = '\n' || c = '\r' || c = '\t'

/-- What the tokenizer is in the middle of: nothing, or a string of which the reversed beginning is
known and at most `room` characters may follow. -/
inductive Inside where
  | nothing
  | text (reversed : List Char) (room : Nat)

/-- The tokens of a text, after the tokens `done` (in reverse). -/
def tokens : List Char → Inside → List Token → Option (List Token)
  | [], .nothing, done => some (reverseOnto done [])
  | [], .text _ _, _ => none
  | c :: s, .text t room, done =>
    if c = '"' then tokens s .nothing (.text (reverseOnto t []) :: done)
    else if c = '\\' || c.toNat < 32 || 126 < c.toNat then none
    else
      match room with
      | 0 => none
      | room + 1 => tokens s (.text (c :: t) room) done
  | c :: s, .nothing, done =>
    if isBlank c then tokens s .nothing done
    else if c = '"' then tokens s (.text [] longest) done
    else
      match mark c with
      | some t => tokens s .nothing (t :: done)
      | none => none

/-- Equality of strings of characters. -/
def sameText : List Char → List Char → Bool
  | [], [] => true
  | a :: s, b :: t => a == b && sameText s t
  | _, _ => false

/-! The names of the members. -/

def nameError : List Char := ['e', 'r', 'r', 'o', 'r']
def nameLipschitz : List Char := ['l', 'i', 'p', 's', 'c', 'h', 'i', 't', 'z']
def nameStart : List Char := ['s', 't', 'a', 'r', 't']
def nameSteps : List Char := ['s', 't', 'e', 'p', 's']
def nameBound : List Char := ['b', 'o', 'u', 'n', 'd']

/-- A step: `{"error": …, "lipschitz": …}` in either order. -/
def readStep : List Token → Option (Step Rat × List Token)
  | .leftBrace :: .text k1 :: .colon :: .text v1 :: .comma :: .text k2 :: .colon :: .text v2 ::
      .rightBrace :: rest =>
    match decode v1, decode v2 with
    | some a, some b =>
      if sameText k1 nameError && sameText k2 nameLipschitz then
        some ({ error := a, lipschitz := b }, rest)
      else if sameText k1 nameLipschitz && sameText k2 nameError then
        some ({ error := b, lipschitz := a }, rest)
      else none
    | _, _ => none
  | _ => none

/-- What follows the steps `done` (in reverse), up to the closing bracket.  The first argument only
bounds the number of steps. -/
def readMore : List Token → List (Step Rat) → List Token → Option (List (Step Rat) × List Token)
  | _, done, .rightBracket :: rest => some (reverseOnto done [], rest)
  | _ :: fuel, done, .comma :: rest =>
    match readStep rest with
    | some (c, rest) => readMore fuel (c :: done) rest
    | none => none
  | _, _, _ => none

/-- The steps after the opening bracket. -/
def readSteps : List Token → Option (List (Step Rat) × List Token)
  | .rightBracket :: rest => some ([], rest)
  | ts => readMore ts [] (.comma :: ts)

/-- The members read so far. -/
structure Members where
  start : Option Rat
  steps : Option (List (Step Rat))
  bound : Option Rat

/-- One member of the certificate, which must not be there yet. -/
def readMember (m : Members) : List Token → Option (Members × List Token)
  | .text k :: .colon :: .leftBracket :: rest =>
    match sameText k nameSteps, m.steps, readSteps rest with
    | true, none, some (cs, rest) => some ({ m with steps := some cs }, rest)
    | _, _, _ => none
  | .text k :: .colon :: .text v :: rest =>
    match decode v with
    | some q =>
      match sameText k nameStart, m.start, sameText k nameBound, m.bound with
      | true, none, _, _ => some ({ m with start := some q }, rest)
      | false, _, true, none => some ({ m with bound := some q }, rest)
      | _, _, _, _ => none
    | none => none
  | _ => none

/-- The certificate from its tokens: exactly three members. -/
def readTokens : List Token → Option Certificate
  | .leftBrace :: ts =>
    match readMember { start := none, steps := none, bound := none } ts with
    | some (m, .comma :: ts) =>
      match readMember m ts with
      | some (m, .comma :: ts) =>
        match readMember m ts with
        | some ({ start := some start, steps := some steps, bound := some bound },
            [.rightBrace]) => some { start, steps, bound }
        | _ => none
      | _ => none
    | _ => none
  | _ => none

/-- The certificate that a text says. -/
def read (text : List Char) : Option Certificate :=
  match tokens text .nothing [] with
  | some ts => readTokens ts
  | none => none

/-- The verdict on a text. -/
inductive Verdict where
  /-- A certificate that passes the check. -/
  | accept
  /-- A certificate that does not pass the check. -/
  | reject
  /-- Not a certificate. -/
  | malformed
  deriving DecidableEq

/-- Read a text and check what it says. -/
def judge (text : List Char) : Verdict :=
  match read text with
  | some c => if c.check then .accept else .reject
  | none => .malformed

/-- An accepted text says a certificate that passes the check. -/
theorem judge_eq_accept_iff (text : List Char) :
    judge text = .accept ↔ ∃ c, read text = some c ∧ c.check = true := by
  unfold judge
  split
  · rename_i c h
    by_cases hc : c.check = true <;> simp [hc, h]
  · rename_i h
    simp [h]

end BlockCert
