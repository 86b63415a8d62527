module

public import Lean
public meta import Lean

/-!
For every theorem, opaque constant and axiom of the modules under `BlockCert` in the environment,
print the suspect axioms that it rests on: `AXIOMS kind name: …`.

Suspect is every axiom that is not in Lean's own library, and of those in it the ones that weaken
trust.  In the WebAssembly build the theorems of Lean's library come without their proofs and so look
like axioms; they are not listed.
-/

meta def nameStr : Lean.Name → String
  | .anonymous => ""
  | .str .anonymous s => s
  | .str p s => nameStr p ++ "." ++ s
  | .num p n => nameStr p ++ "." ++ Nat.repr n

meta def inLean (env : Lean.Environment) (n : Lean.Name) : Bool :=
  match env.getModuleIdxFor? n with
  | none => false
  | some i =>
    let root := (env.header.moduleNames.getD i.toNat .anonymous).getRoot
    root == `Init || root == `Std || root == `Lean

meta def suspects (env : Lean.Environment) : List Lean.Name → String
  | [] => ""
  | n :: l =>
    (if n == `sorryAx || n == `Lean.ofReduceBool || n == `Lean.ofReduceNat
        || n == `Lean.trustCompiler || !inLean env n then " " ++ nameStr n else "") ++ suspects env l

meta def scanOne (env : Lean.Environment) (n : Lean.Name) (kind : String) : IO Unit := do
  let r := Lean.CollectAxioms.collect n env {}
  IO.println ("AXIOMS " ++ kind ++ " " ++ nameStr n ++ ":" ++ suspects env r.2.axioms.toList)

meta def scanNames (env : Lean.Environment) : List Lean.Name → IO Unit
  | [] => pure ()
  | n :: l => do
    match env.find? n with
    | some (.thmInfo _) => scanOne env n "theorem"
    | some (.axiomInfo _) => scanOne env n "axiom"
    | some (.opaqueInfo _) => scanOne env n "opaque"
    | some _ => pure ()
    | none => IO.println ("AXIOMS lost " ++ nameStr n ++ ": not found")
    scanNames env l

meta def scanModules (env : Lean.Environment) : List Lean.Name → List Lean.ModuleData → IO Unit
  | m :: ms, d :: ds => do
    if m.getRoot == `BlockCert then
      IO.println ("MODULE " ++ nameStr m)
      scanNames env d.constNames.toList
    scanModules env ms ds
  | _, _ => pure ()

syntax (name := scanCommand) "#scan" : command

@[command_elab scanCommand] public meta def elabScan : Lean.Elab.Command.CommandElab := fun _ _ ref => do
  let env := (← ref.get).env
  let _ ← (scanModules env env.header.moduleNames.toList env.header.moduleData.toList).toBaseIO
  let _ ← (IO.println "DONE").toBaseIO

#scan
