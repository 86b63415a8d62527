/-
The command: read composition certificates, print the verdicts.  Lean core only.
-/
module

public import BlockCert.Reader

/-!
# The command

`blockcert-compose FILE…` prints one line for each file, with the composed bound as an exact fraction:

* `FILE: ACCEPT composed P/Q`: the certificate passes `Certificate.check`;
* `FILE: REJECT composed P/Q`: it does not: the composed bound exceeds the claimed one, or a number is
  negative;
* `FILE: MALFORMED`: not a certificate of this form;
* `FILE: UNREADABLE`: the file cannot be read as text.

It exits with 0 if every file is accepted, with 1 otherwise, and with 2 if no file is named.
-/

namespace BlockCert

/-- The composed bound as a fraction. -/
def composed (c : Certificate) : String :=
  let b := recurrenceRat c.steps c.start
  " composed " ++ toString b.num ++ "/" ++ toString b.den

/-- Judge the files one by one; whether all are accepted. -/
def judgeFiles : List String → IO Bool
  | [] => return true
  | file :: files => do
    let accepted ← do
      match ← (IO.FS.readFile file).toBaseIO with
      | .error _ => IO.println (file ++ ": UNREADABLE"); pure false
      | .ok text =>
        let chars := text.toList
        match judge chars, read chars with
        | .accept, some c => IO.println (file ++ ": ACCEPT" ++ composed c); pure true
        | .reject, some c => IO.println (file ++ ": REJECT" ++ composed c); pure false
        | _, _ => IO.println (file ++ ": MALFORMED"); pure false
    let rest ← judgeFiles files
    return accepted && rest

end BlockCert

/-- The command. -/
public def main (files : List String) : IO UInt32 := do
  match files with
  | [] => IO.println "usage: blockcert-compose FILE…"; return 2
  | _ => if ← BlockCert.judgeFiles files then return 0 else return 1
