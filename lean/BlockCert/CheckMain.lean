/-
The command `blockcert-check`: judge statements with their evidence.  Lean core only.
-/
module

public import BlockCert.Judge

/-!
# The command

`blockcert-check STATEMENT EVIDENCE [STATEMENT EVIDENCE …]` reads pairs of files as
`blockcert lean export` writes them and prints one line for each pair:

    STATEMENT: ACCEPT
    STATEMENT: REJECT CODE …
    STATEMENT: INDETERMINATE CODE …
    STATEMENT: UNREADABLE

`blockcert-check --list FILE` takes the names from a file, one a line.

It exits with 0 if every pair is accepted, with 1 otherwise, and with 2 for wrong usage.
-/

namespace BlockCert

/-- What a file is. -/
inductive Content where
  | missing
  | notUtf8
  | text (chars : List Char)

def readContent (file : String) : IO Content := do
  match ← (IO.FS.readFile file).toBaseIO with
  | .ok text => return .text text.toList
  | .error _ =>
    match ← (IO.FS.readBinFile file).toBaseIO with
    | .ok _ => return .notUtf8
    | .error _ => return .missing

/-- An export through the gate; none where there is no such file. -/
def gateOf : Content → Option (Except Code Json)
  | .missing => none
  | .notUtf8 => some (.error .jsonEncoding)
  | .text chars => some (gate exportCaps chars)

def codeNames : List Code → String
  | [] => ""
  | c :: cs => " " ++ c.name ++ codeNames cs

def judgeContent : Content → Option (Except Code Json) → Option (List Code)
  | .missing, _ => none
  | _, none => none
  | .notUtf8, _ => some [.jsonEncoding]
  | .text chars, some evidence => some (judgeWith chars evidence)

/-- Judge pairs of files one by one; `last` is the export read before and its name, so that many
statements about one export read it once. -/
def judgePairs : List String → String → Option (Except Code Json) → IO Bool
  | statement :: evidence :: files, last, known => do
    let gated ← do
      if evidence == last then pure known
      else
        let content ← readContent evidence
        pure (gateOf content)
    let content ← readContent statement
    match judgeContent content gated with
    | none =>
      IO.println (statement ++ ": UNREADABLE")
      let _ ← judgePairs files evidence gated
      return false
    | some codes =>
      IO.println (statement ++ ": " ++ verdictOf codes ++ codeNames codes)
      let rest ← judgePairs files evidence gated
      return rest && (match codes with
        | [] => true
        | _ => false)
  | _, _, _ => return true

/-- The lines of a text that are not empty, in reverse, before those in `done`. -/
def linesOf : List Char → String → List String → List String
  | [], line, done => if line == "" then done else line :: done
  | c :: s, line, done =>
    if c = '\n' then linesOf s "" (if line == "" then done else line :: done)
    else linesOf s (line.push c) done

def reverseNames : List String → List String → List String
  | [], t => t
  | a :: s, t => reverseNames s (a :: t)

/-- The names of the files to judge. -/
def namesOf (words : List String) : IO (Option (List String)) := do
  match words with
  | "--list" :: file :: [] =>
    match ← readContent file with
    | .text chars => return some (reverseNames (linesOf chars "" []) [])
    | _ => return none
  | _ => return some words

def evenly : List String → Bool
  | [] => true
  | [_] => false
  | _ :: _ :: l => evenly l

end BlockCert

/-- The command. -/
public def main (words : List String) : IO UInt32 := do
  let usage := "usage: blockcert-check STATEMENT EVIDENCE [STATEMENT EVIDENCE …], or --list FILE"
  match ← BlockCert.namesOf words with
  | none => IO.println usage; return 2
  | some [] => IO.println usage; return 2
  | some names =>
    if !BlockCert.evenly names then
      IO.println usage
      return 2
    if ← BlockCert.judgePairs names "" none then return 0 else return 1
