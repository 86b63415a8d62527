/-
The hypotheses can be met: a chain of two blocks on the rationals.  Lean core only.
-/
module

public import BlockCert.Composition

@[expose] public section

/-!
# An example

Two blocks `x ↦ 2 x`, whose surrogates add `1/10`, on the rationals with their usual distance.  The
hypotheses of `check_sound` hold and its conclusion is not trivial.
-/

namespace BlockCert.Examples

/-- The distance `|a - b|`. -/
def distance (a b : Rat) : Rat := if a ≤ b then b - a else a - b

theorem distance_self (a : Rat) : distance a a ≤ 0 := by unfold distance; grind

theorem distance_triangle (a b c : Rat) : distance a c ≤ distance a b + distance b c := by
  unfold distance; grind

/-- Doubling, and doubling with an error of `1/10`. -/
def doubling : Block Rat := { reference := fun x => 2 * x, surrogate := fun x => 2 * x + 1 / 10 }

/-- Constants of `doubling`. -/
def step : Step Rat := { error := 1 / 10, lipschitz := 2 }

/-- Two blocks from starts `1/20` apart. -/
def certificate : Certificate := { start := 1 / 20, steps := [step, step], bound := 1 / 2 }

theorem certificate_accepted : certificate.check = true := by decide +kernel

/-- The claimed bound cannot be lowered to `0.49`. -/
theorem lower_bound_rejected : { certificate with bound := 49 / 100 }.check = false := by
  decide +kernel

/-- The constants hold along every trajectory. -/
theorem constants_hold (x : Rat) :
    HoldsAlong distance [doubling, doubling] (certificate.steps.map (Step.cast fun a => a)) x
      (1 / 20) := by
  simp [HoldsAlong, certificate, step, Step.cast, doubling, distance]
  grind

/-- The theorem, applied. -/
theorem two_blocks (x y : Rat) (start : distance x y ≤ 1 / 20) :
    distance (runReference [doubling, doubling] x) (runSurrogate [doubling, doubling] y) ≤ 1 / 2 :=
  check_sound (fun a => a) OrdHom.id certificate certificate_accepted distance distance_triangle
    [doubling, doubling] x y start (constants_hold x)

end BlockCert.Examples
