/-
The hypotheses of the composition can be met: two small programs.  Lean core only.
-/
module

public import BlockCert.Telescoping

@[expose] public section

/-!
# Two programs

A token is `true` or `false`; the embedding makes a rational number of it, two blocks `x ↦ 2 x` follow, and
the head makes a pair of it.  The surrogate's embedding is off by `1/20` and its blocks by `1/10`.  The
hypotheses of the theorems of `Composition` and `Telescoping` hold for them, with three types of states, and
what follows cannot be improved: the two programs are exactly `1/2` apart after the last block.

An example is named after the theorem whose hypotheses it meets.
-/

namespace BlockCert.Examples

/-! ## States and distances -/

/-- A token, hidden states, logits. -/
def State : Nat → Type
  | 0 => Bool
  | 1 => Rat
  | 2 => Rat
  | 3 => Rat
  | _ + 4 => Rat × Rat

/-- The distance `|a - b|`. -/
def distance (a b : Rat) : Rat := if a ≤ b then b - a else a - b

theorem distance_self (a : Rat) : distance a a ≤ 0 := by unfold distance; grind

theorem distance_triangle (a b c : Rat) : distance a c ≤ distance a b + distance b c := by
  unfold distance; grind

/-- The larger of the distances of the two entries. -/
def logitDistance (a b : Rat × Rat) : Rat :=
  if distance a.1 b.1 ≤ distance a.2 b.2 then distance a.2 b.2 else distance a.1 b.1

theorem logitDistance_triangle (a b c : Rat × Rat) :
    logitDistance a c ≤ logitDistance a b + logitDistance b c := by
  have h1 := distance_triangle a.1 b.1 c.1
  have h2 := distance_triangle a.2 b.2 c.2
  unfold logitDistance
  grind

def tokenDistance (a b : Bool) : Rat := if a = b then 0 else 1

/-- The distance at every place. -/
def dist : (i : Nat) → State i → State i → Rat
  | 0 => tokenDistance
  | 1 => distance
  | 2 => distance
  | 3 => distance
  | _ + 4 => logitDistance

theorem dist_triangle (i : Nat) (a b c : State i) : dist i a c ≤ dist i a b + dist i b c :=
  match i, a, b, c with
  | 0, a, b, c => by
    change tokenDistance a c ≤ tokenDistance a b + tokenDistance b c
    cases a <;> cases b <;> cases c <;> decide +kernel
  | 1, a, b, c => distance_triangle a b c
  | 2, a, b, c => distance_triangle a b c
  | 3, a, b, c => distance_triangle a b c
  | _ + 4, a, b, c => logitDistance_triangle a b c

/-! ## Stages -/

def embedding : Stage Bool Rat :=
  { reference := fun t => if t then 1 else 4, surrogate := fun t => if t then 21 / 20 else 81 / 20 }

/-- Doubling, and doubling with an error of `1/10`. -/
def doubling : Stage Rat Rat := { reference := fun x => 2 * x, surrogate := fun x => 2 * x + 1 / 10 }

/-- The same in both programs. -/
def head : Stage Rat (Rat × Rat) := { reference := fun x => (x, -x), surrogate := fun x => (x, -x) }

/-- Embedding, two blocks, head; nothing happens after it. -/
def programs : Programs State
  | 0 => embedding
  | 1 => doubling
  | 2 => doubling
  | 3 => head
  | _ + 4 => { reference := fun x => x, surrogate := fun x => x }

theorem embedding_error (t : Bool) : distance (embedding.reference t) (embedding.surrogate t) ≤ 1 / 20 := by
  cases t <;> decide +kernel

theorem doubling_error (x : Rat) : distance (doubling.reference x) (doubling.surrogate x) ≤ 1 / 10 := by
  simp only [doubling, distance]
  grind

theorem doubling_lipschitz (x y : Rat) :
    distance (doubling.surrogate x) (doubling.surrogate y) ≤ 2 * distance x y := by
  simp only [doubling, distance]
  grind

theorem head_error (x : Rat) : logitDistance (head.reference x) (head.surrogate x) ≤ 0 := by
  simp only [head, logitDistance, distance]
  grind

theorem head_lipschitz (x y : Rat) :
    logitDistance (head.surrogate x) (head.surrogate y) ≤ 1 * distance x y := by
  simp only [head, logitDistance, distance]
  grind

/-! ## Composition -/

/-- Constants of `doubling`. -/
def step : Step Rat := { error := 1 / 10, lipschitz := 2 }

/-- Constants of `head`. -/
def headStep : Step Rat := { error := 0, lipschitz := 1 }

/-- Two blocks and a head from starts `1/20` apart. -/
def certificate : Certificate := { start := 1 / 20, steps := [step, step, headStep], bound := 1 / 2 }

theorem certificate_accepted : certificate.check = true := by decide +kernel

/-- The claimed bound cannot be lowered to `0.49`. -/
theorem lower_bound_rejected : { certificate with bound := 49 / 100 }.check = false := by
  decide +kernel

/-- The constants of blocks and head hold along every trajectory, in the states after the embedding. -/
theorem constants_hold (x : Rat) (e : Rat) :
    HoldsAlong (fun i => dist (i + 1)) (afterEmbedding programs) (stepAt certificate.steps) x e 3
  | 0, _ => ⟨by decide +kernel, doubling_error _, fun _ _ => doubling_lipschitz _ _⟩
  | 1, _ => ⟨by decide +kernel, doubling_error _, fun _ _ => doubling_lipschitz _ _⟩
  | 2, _ => ⟨by decide +kernel, head_error _, fun _ _ => head_lipschitz _ _⟩
  | _ + 3, h => absurd h (by omega)

/-- The theorem about accepted certificates, applied: from hidden states `1/20` apart to logits. -/
theorem check_sound_instance (x y : Rat) (start : distance x y ≤ 1 / 20) :
    logitDistance (runReference (afterEmbedding programs) x 3) (runSurrogate (afterEmbedding programs) y 3) ≤
      1 / 2 :=
  check_sound (fun a => a) OrdHom.id certificate certificate_accepted (fun i => dist (i + 1))
    (fun i => dist_triangle (i + 1)) (afterEmbedding programs) x y start (constants_hold x _)

/-- From a start that is off by less than the certificate says. -/
theorem check_sound_rounded_instance (x y : Rat) (start : distance x y ≤ 1 / 40) :
    logitDistance (runReference (afterEmbedding programs) x 3) (runSurrogate (afterEmbedding programs) y 3) ≤
      1 / 2 :=
  check_sound_rounded (fun a => a) OrdHom.id certificate certificate_accepted (fun i => dist (i + 1))
    (fun i => dist_triangle (i + 1)) (afterEmbedding programs) (stepAt certificate.steps) x y (1 / 40)
    (by decide +kernel) start (constants_hold x _) (by decide +kernel) fun
    | 0, _ => by unfold Step.AtMost; decide +kernel
    | 1, _ => by unfold Step.AtMost; decide +kernel
    | 2, _ => by unfold Step.AtMost; decide +kernel
    | _ + 3, h => absurd h (by simp [certificate])

/-- From tokens to logits: the embedding, both blocks and the head in one theorem. -/
theorem drift_le_from_tokens_instance (t : Bool) :
    logitDistance (runReference programs t 4) (runSurrogate programs t 4) ≤
      radius (stepAt certificate.steps) (1 / 20) 3 :=
  drift_le_from_tokens dist dist_triangle programs (stepAt certificate.steps) t (1 / 20) 3
    (embedding_error t) (constants_hold _ _)

/-- That bound is `1/2`, and it is reached: nothing smaller is true. -/
theorem bound_is_reached :
    radius (stepAt certificate.steps) (1 / 20) 3 = 1 / 2 ∧
      logitDistance (runReference programs true 4) (runSurrogate programs true 4) = 1 / 2 := by
  decide +kernel

theorem drift_le_radius_instance (x y : Rat) (start : distance x y ≤ 1 / 20) :
    distance (runReference (afterEmbedding programs) x 2) (runSurrogate (afterEmbedding programs) y 2) ≤
      radius (stepAt certificate.steps) (1 / 20) 2 :=
  drift_le_radius (fun i => dist (i + 1)) (fun i => dist_triangle (i + 1)) (afterEmbedding programs)
    (stepAt certificate.steps) x y (1 / 20) 2 start fun i h => constants_hold x _ i (by omega)

theorem drift_le_recurrence_instance (x y : Rat) (start : distance x y ≤ 1 / 20) :
    logitDistance (runReference (afterEmbedding programs) x 3) (runSurrogate (afterEmbedding programs) y 3) ≤
      recurrence certificate.steps (1 / 20) :=
  drift_le_recurrence (fun i => dist (i + 1)) (fun i => dist_triangle (i + 1)) (afterEmbedding programs)
    certificate.steps x y (1 / 20) start (constants_hold x _)

theorem drift_le_closed_instance (x : Rat) :
    logitDistance (runReference (afterEmbedding programs) x 3) (runSurrogate (afterEmbedding programs) x 3) ≤
      closed certificate.steps :=
  drift_le_closed (fun i => dist (i + 1)) (fun i => dist_triangle (i + 1)) distance_self
    (afterEmbedding programs) certificate.steps x (constants_hold x _)

/-- Constants that `step`'s are rounded up to. -/
def roundedStep : Step Rat := { error := 1 / 9, lipschitz := 3 }

theorem step_atMost : step.AtMost roundedStep := by unfold Step.AtMost; decide +kernel

theorem radius_mono_instance :
    radius (fun _ => step) (1 / 20) 2 ≤ radius (fun _ => roundedStep) (1 / 10) 2 :=
  radius_mono (fun _ => step) (fun _ => roundedStep) (1 / 20) (1 / 10) 2 (fun _ _ => step_atMost)
    (by decide +kernel) (by decide +kernel)

/-! ## Telescoping -/

theorem drift_le_sum_of_hybrid_steps_instance (t : Bool) :
    distance (runReference programs t 3) (runSurrogate programs t 3) ≤
      sumOfSteps distance (fun k => hybrid programs t k 3) 3 :=
  drift_le_sum_of_hybrid_steps programs t 3 distance distance_triangle distance_self

/-- Both tokens, and `1/2` for each. -/
theorem drift_le_of_hybrid_steps_le_instance :
    ∀ t ∈ [true, false], distance (runReference programs t 3) (runSurrogate programs t 3) ≤ 1 / 2 :=
  drift_le_of_hybrid_steps_le programs [true, false] 3 distance distance_triangle distance_self (1 / 2)
    (by decide +kernel)

end BlockCert.Examples
