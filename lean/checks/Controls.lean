module

@[expose] public section

/-!
Planted controls for the scan of axioms: it must find these out.  They are not part of the library.
-/

namespace BlockCert.Controls

theorem unproved : (1 : Nat) = 2 := sorry

theorem built_on_unproved : (2 : Nat) = 1 := unproved.symm

axiom assumed : (1 : Nat) = 2

theorem built_on_assumed : (2 : Nat) = 1 := assumed.symm

theorem proved (n : Nat) : n + 0 = n := by omega

end BlockCert.Controls
