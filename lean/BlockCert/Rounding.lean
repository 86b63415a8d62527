/-
The rounding of claims.  Lean core only.
-/
module

@[expose] public section

/-!
# Rounding

A value is rounded once, at the end: bounds up (BC-NUM-03, 04), shares down, means to the nearest, ties
to even.  Every rounded value is a whole number of units; the unit of a bound depends on its size.

* `le_roundUp`, `roundUp_lt`: a value rounded up is at least the value and less than a unit above it;
* `roundDown_le`, `lt_roundDown`: the same downward;
* `roundNearest_le`, `le_roundNearest`: to the nearest is at most half a unit away;
* `le_roundBound`: a bound is never below its value (BC-NUM-03, 04);
* `roundBound_isBoundDecimal`: it is a decimal of at most 6 significant digits and at most 30 decimals;
* `roundBound_least`: no other such decimal lies between it and its value;
* `roundBound_isLeast`: so the bound of a value above 0 is the least such decimal at or above it
  (BC-NUM-03);
* `roundBound_eq_zero_iff`: it is 0 only where the value is 0 and the sides are the same program
  (BC-NUM-04).
-/

namespace BlockCert

/-! ## To a given unit -/

/-- The greatest whole number of units that is at most `v`. -/
def roundDown (u v : Rat) : Rat := ((v / u).floor : Rat) * u

/-- The least whole number of units that is at least `v`. -/
def roundUp (u v : Rat) : Rat := -roundDown u (-v)

/-- The whole number of units nearest to `v`; of two equally near, the even one. -/
def roundNearest (u v : Rat) : Rat :=
  let n := (v / u).floor
  let rest := v / u - (n : Rat)
  if rest < mkRat 1 2 then (n : Rat) * u
  else if mkRat 1 2 < rest then (n + 1 : Rat) * u
  else if n % 2 = 0 then (n : Rat) * u else (n + 1 : Rat) * u

theorem roundDown_le (u v : Rat) (hu : 0 < u) : roundDown u v ≤ v := by
  have h := Rat.mul_le_mul_of_nonneg_right (Rat.floor_le (v / u)) (Rat.le_of_lt hu)
  rwa [Rat.div_mul_cancel (by grind)] at h

theorem lt_roundDown (u v : Rat) (hu : 0 < u) : v < roundDown u v + u := by
  have h := (Rat.mul_lt_mul_right hu).mpr (Rat.lt_floor_add_one (v / u))
  rw [Rat.div_mul_cancel (by grind), Rat.intCast_add] at h
  unfold roundDown
  grind

/-- No whole number of units lies between. -/
theorem le_roundDown (u v : Rat) (hu : 0 < u) (k : Int) (h : (k : Rat) * u ≤ v) :
    (k : Rat) * u ≤ roundDown u v := by
  refine Rat.mul_le_mul_of_nonneg_right ?_ (Rat.le_of_lt hu)
  rw [Rat.intCast_le_intCast, Rat.le_floor_iff]
  refine Rat.le_of_mul_le_mul_right ?_ hu
  rwa [Rat.div_mul_cancel (by grind)]

theorem le_roundUp (u v : Rat) (hu : 0 < u) : v ≤ roundUp u v := by
  have := roundDown_le u (-v) hu
  unfold roundUp
  grind

theorem roundUp_lt (u v : Rat) (hu : 0 < u) : roundUp u v < v + u := by
  have := lt_roundDown u (-v) hu
  unfold roundUp
  grind

/-- No whole number of units lies between. -/
theorem roundUp_le (u v : Rat) (hu : 0 < u) (k : Int) (h : v ≤ (k : Rat) * u) :
    roundUp u v ≤ (k : Rat) * u := by
  have := le_roundDown u (-v) hu (-k) (by rw [Rat.intCast_neg]; grind)
  rw [Rat.intCast_neg] at this
  unfold roundUp
  grind

theorem roundNearest_cases (u v : Rat) (hu : 0 < u) :
    (roundNearest u v = roundDown u v ∧ v ≤ roundDown u v + mkRat 1 2 * u) ∨
      (roundNearest u v = roundDown u v + u ∧ roundDown u v + mkRat 1 2 * u ≤ v) := by
  have hv : v / u * u = v := Rat.div_mul_cancel (by grind)
  have key : ∀ h : Rat, v / u - ((v / u).floor : Rat) ≤ h → v ≤ roundDown u v + h * u := by
    intro h hh
    have := Rat.mul_le_mul_of_nonneg_right hh (Rat.le_of_lt hu)
    unfold roundDown
    grind
  have key' : ∀ h : Rat, h ≤ v / u - ((v / u).floor : Rat) → roundDown u v + h * u ≤ v := by
    intro h hh
    have := Rat.mul_le_mul_of_nonneg_right hh (Rat.le_of_lt hu)
    unfold roundDown
    grind
  have up : (((v / u).floor : Rat) + 1) * u = roundDown u v + u := by unfold roundDown; grind
  unfold roundNearest
  simp only
  split
  · exact .inl ⟨rfl, key _ (by grind)⟩
  · split
    · exact .inr ⟨up, key' _ (by grind)⟩
    · split
      · exact .inl ⟨rfl, key _ (by grind)⟩
      · exact .inr ⟨up, key' _ (by grind)⟩

theorem twice_half (u : Rat) : mkRat 1 2 * u + mkRat 1 2 * u = u := by
  have h : mkRat 1 2 = (1 / 2 : Rat) := by decide +kernel
  rw [h]
  grind

theorem roundNearest_le (u v : Rat) (hu : 0 < u) : roundNearest u v ≤ v + mkRat 1 2 * u := by
  have h1 := roundDown_le u v hu
  have h2 := twice_half u
  rcases roundNearest_cases u v hu with h | h
  · rw [h.1]; generalize mkRat 1 2 * u = half at h2 ⊢; grind
  · have h3 := h.2
    rw [h.1]; generalize mkRat 1 2 * u = half at h2 h3 ⊢; grind

theorem le_roundNearest (u v : Rat) (hu : 0 < u) : v ≤ roundNearest u v + mkRat 1 2 * u := by
  have h1 := lt_roundDown u v hu
  have h2 := twice_half u
  rcases roundNearest_cases u v hu with h | h
  · rw [h.1]; exact h.2
  · rw [h.1]; generalize mkRat 1 2 * u = half at h2 ⊢; grind

/-! ## Bounds -/

/-- The smallest unit, `10^-30`. -/
def leastUnit : Rat := mkRat 1 1000000000000000000000000000000

theorem leastUnit_pos : 0 < leastUnit := by decide +kernel

/-- The first of `u`, `10 u`, `100 u`, … of which `v` is less than a million; at most `fuel` steps. -/
def unitFrom (v : Rat) : Nat → Rat → Rat
  | 0, u => u
  | fuel + 1, u => if v < 1000000 * u then u else unitFrom v fuel (10 * u)

/-- The unit in which `v` has at most 6 digits, at least `10^-30`: `10^-p` with
`p = min(30, 5 - floor(log10 v))` (BC-NUM-03). -/
def boundUnit (v : Rat) : Rat := unitFrom v ((v / leastUnit).floor.toNat + 1) leastUnit

/-- The bound of a value (BC-NUM-03), with the rule of zero (BC-NUM-04). -/
def roundBound (same : Bool) (v : Rat) : Rat :=
  if v = 0 then (if same then 0 else leastUnit) else roundUp (boundUnit v) v

theorem unitFrom_pos (v : Rat) (fuel : Nat) (u : Rat) (hu : 0 < u) : 0 < unitFrom v fuel u := by
  induction fuel generalizing u with
  | zero => exact hu
  | succ fuel ih =>
    simp only [unitFrom]
    split
    · exact hu
    · exact ih _ (by grind)

theorem boundUnit_pos (v : Rat) : 0 < boundUnit v := unitFrom_pos v _ _ leastUnit_pos

/-- A bound is never below its value (BC-NUM-03, 04). -/
theorem le_roundBound (same : Bool) (v : Rat) : v ≤ roundBound same v := by
  unfold roundBound
  split
  · rename_i h
    have := leastUnit_pos
    split <;> grind
  · exact le_roundUp _ _ (boundUnit_pos v)

/-- A bound of a positive value is less than one unit above it (BC-NUM-03). -/
theorem roundBound_lt (same : Bool) (v : Rat) (hv : v ≠ 0) :
    roundBound same v < v + boundUnit v := by
  simp only [roundBound, hv, if_false]
  exact roundUp_lt _ _ (boundUnit_pos v)

/-- A bound prints 0 only where its value is 0 and the two sides are the same program (BC-NUM-04). -/
theorem roundBound_eq_zero_iff (same : Bool) (v : Rat) (hv : 0 ≤ v) :
    roundBound same v = 0 ↔ v = 0 ∧ same = true := by
  have h1 := le_roundBound same v
  have h2 := leastUnit_pos
  constructor
  · intro h
    have hz : v = 0 := by grind
    refine ⟨hz, ?_⟩
    cases same with
    | true => rfl
    | false => simp only [roundBound, hz, if_true] at h; grind
  · rintro ⟨rfl, rfl⟩
    simp [roundBound]

/-- The unit is the first, or it is a power of ten of it in which the value has six digits. -/
theorem unitFrom_form (v : Rat) (fuel : Nat) (u : Rat) :
    ∃ k : Nat, unitFrom v fuel u = (10 : Rat) ^ k * u ∧
      (k = 0 ∨ 100000 * unitFrom v fuel u ≤ v) := by
  induction fuel generalizing u with
  | zero => exact ⟨0, by simp only [unitFrom, Rat.pow_zero]; grind, .inl rfl⟩
  | succ fuel ih =>
    simp only [unitFrom]
    split
    · exact ⟨0, by simp only [Rat.pow_zero]; grind, .inl rfl⟩
    · rename_i h
      obtain ⟨k, h1, h2⟩ := ih (10 * u)
      refine ⟨k + 1, by rw [h1, Rat.pow_succ]; grind, .inr ?_⟩
      rcases h2 with rfl | h2
      · rw [h1, Rat.pow_zero]; grind
      · exact h2

/-- In its unit a value has at most six digits: it is less than a million units. -/
theorem lt_unitFrom (v : Rat) (fuel : Nat) (u : Rat) (hu : 0 < u) (h : v ≤ (fuel : Rat) * u) :
    v < 1000000 * unitFrom v fuel u := by
  induction fuel generalizing u with
  | zero => simp only [unitFrom]; grind
  | succ fuel ih =>
    simp only [unitFrom]
    split
    · assumption
    · rename_i hlt
      refine ih (10 * u) (by grind) ?_
      cases fuel with
      | zero => grind
      | succ fuel =>
        have hf : (0 : Rat) ≤ (fuel : Rat) * u :=
          Rat.mul_nonneg (by exact_mod_cast Nat.zero_le fuel) (Rat.le_of_lt hu)
        grind

theorem lt_boundUnit (v : Rat) : v < 1000000 * boundUnit v := by
  refine lt_unitFrom v _ _ leastUnit_pos ?_
  have h1 := Rat.lt_floor_add_one (v / leastUnit)
  have h2 : ((v / leastUnit).floor : Rat) ≤ (((v / leastUnit).floor.toNat : Nat) : Int) := by
    rw [Rat.intCast_le_intCast]; omega
  rw [Rat.intCast_add] at h1
  have h3 : v / leastUnit ≤ (((v / leastUnit).floor.toNat + 1 : Nat) : Rat) := by
    have : (((v / leastUnit).floor.toNat + 1 : Nat) : Rat) =
        (((v / leastUnit).floor.toNat : Nat) : Int) + 1 := by
      rw [Rat.natCast_add, Rat.intCast_natCast]; rfl
    rw [this]
    exact Rat.le_of_lt (Std.lt_of_lt_of_le h1 (Rat.add_le_add_right.mpr h2))
  have h4 := Rat.mul_le_mul_of_nonneg_right h3 (Rat.le_of_lt leastUnit_pos)
  rwa [Rat.div_mul_cancel (by have := leastUnit_pos; grind)] at h4

theorem pow_le_pow_of_le {j k : Nat} (h : j ≤ k) : (10 : Rat) ^ j ≤ 10 ^ k := by
  obtain ⟨i, rfl⟩ := Nat.exists_eq_add_of_le h
  clear h
  induction i with
  | zero => exact Rat.le_refl
  | succ i ih =>
    have := Rat.pow_pos (a := 10) (n := j + i) (by decide)
    rw [← Nat.add_assoc, Rat.pow_succ]
    grind

/-- The decimals of at most 6 significant digits and at most 30 decimals that are not negative:
`m * 10^j * 10^-30` with `m < 10^6`. -/
def IsBoundDecimal (d : Rat) : Prop :=
  ∃ m j : Nat, m < 1000000 ∧ d = (m : Rat) * ((10 : Rat) ^ j * leastUnit)

/-- Any such decimal that is at least the value is at least its bound (BC-NUM-03). -/
theorem roundBound_least (same : Bool) (v : Rat) (hv : v ≠ 0) (m j : Nat) (six : m < 1000000)
    (h : v ≤ (m : Rat) * ((10 : Rat) ^ j * leastUnit)) :
    roundBound same v ≤ (m : Rat) * ((10 : Rat) ^ j * leastUnit) := by
  simp only [roundBound, hv, if_false]
  have hu := leastUnit_pos
  obtain ⟨k, h1, h2⟩ := unitFrom_form v ((v / leastUnit).floor.toNat + 1) leastUnit
  change boundUnit v = _ at h1
  change _ ∨ 100000 * boundUnit v ≤ v at h2
  by_cases hjk : k ≤ j
  · obtain ⟨i, rfl⟩ := Nat.exists_eq_add_of_le hjk
    have hp : ((m * 10 ^ i : Nat) : Int) * boundUnit v =
        (m : Rat) * ((10 : Rat) ^ (k + i) * leastUnit) := by
      rw [h1, Lean.Grind.Semiring.pow_add]
      simp only [Int.natCast_mul, Int.natCast_pow, Rat.intCast_mul, Rat.intCast_pow,
        Rat.intCast_natCast]
      grind
    rw [← hp] at h ⊢
    exact roundUp_le _ _ (boundUnit_pos v) _ h
  · exfalso
    have hk : k ≠ 0 := by omega
    have h2 : 100000 * boundUnit v ≤ v := h2.resolve_left hk
    have h3 : (10 : Rat) ^ j * 10 ≤ 10 ^ k := by
      rw [← Rat.pow_succ]; exact pow_le_pow_of_le (by omega)
    have h8 : (m : Rat) < 1000000 := by
      have cast : ((1000000 : Nat) : Rat) = 1000000 := by decide +kernel
      rw [← cast]
      exact Rat.natCast_lt_natCast.mpr six
    have h5 := Rat.mul_le_mul_of_nonneg_right h3 (Rat.le_of_lt hu)
    have h6 := Rat.mul_pos (Rat.pow_pos (a := 10) (n := j) (by decide)) hu
    have h7 := (Rat.mul_lt_mul_right h6).mpr h8
    rw [h1] at h2
    generalize (10 : Rat) ^ k * leastUnit = x at h2 h5
    generalize hy : (10 : Rat) ^ j * leastUnit = y at h h7 h6
    have h9 : (10 : Rat) ^ j * 10 * leastUnit = 10 * y := by rw [← hy]; grind
    rw [h9] at h5
    generalize (m : Rat) * y = z at h h7
    grind

/-- A value rounded up is a whole number of units, which is not negative if the value is not. -/
theorem roundUp_eq_units (u v : Rat) (hu : 0 < u) (hv : 0 ≤ v) :
    ∃ n : Nat, roundUp u v = (n : Rat) * u := by
  have units : roundUp u v = ((-((-v) / u).floor : Int) : Rat) * u := by
    unfold roundUp roundDown
    rw [Rat.intCast_neg]
    grind
  have h := Std.le_trans hv (le_roundUp u v hu)
  rw [units] at h ⊢
  generalize -((-v) / u).floor = k at h ⊢
  cases k with
  | ofNat n => exact ⟨n, by rw [Int.ofNat_eq_natCast, Rat.intCast_natCast]⟩
  | negSucc n =>
    have hk : ((Int.negSucc n : Int) : Rat) < 0 := by
      have : Int.negSucc n < 0 := by omega
      exact_mod_cast this
    have := (Rat.mul_lt_mul_right hu).mpr hk
    grind

/-- The bound of a value is itself a decimal of at most 6 significant digits and 30 decimals. -/
theorem roundBound_isBoundDecimal (same : Bool) (v : Rat) (hv : 0 ≤ v) :
    IsBoundDecimal (roundBound same v) := by
  by_cases hz : v = 0
  · subst hz
    cases same with
    | true => exact ⟨0, 0, by decide, by decide +kernel⟩
    | false => exact ⟨1, 0, by decide, by decide +kernel⟩
  · simp only [roundBound, hz, if_false]
    have hu := boundUnit_pos v
    obtain ⟨n, hn⟩ := roundUp_eq_units (boundUnit v) v hu hv
    obtain ⟨k, hk, _⟩ := unitFrom_form v ((v / leastUnit).floor.toNat + 1) leastUnit
    change boundUnit v = _ at hk
    have most : n ≤ 1000000 := by
      have h : (n : Rat) * boundUnit v ≤ (((1000000 : Nat) : Int) : Rat) * boundUnit v := by
        rw [← hn]
        refine roundUp_le _ _ hu _ ?_
        have cast : (((1000000 : Nat) : Int) : Rat) = 1000000 := by decide +kernel
        rw [cast]
        exact Rat.le_of_lt (lt_boundUnit v)
      rw [Rat.intCast_natCast] at h
      exact Rat.natCast_le_natCast.mp (Rat.le_of_mul_le_mul_right h hu)
    by_cases six : n < 1000000
    · exact ⟨n, k, six, by rw [hn, hk]⟩
    · refine ⟨100000, k + 1, by decide, ?_⟩
      have cast : ((1000000 : Nat) : Rat) = ((100000 : Nat) : Rat) * 10 := by decide +kernel
      rw [hn, show n = 1000000 by omega, hk, Rat.pow_succ, cast]
      grind

/-- **The bound of a value above 0 is the least decimal** at or above it with at most 6 significant digits
and at most 30 decimals (BC-NUM-03). -/
theorem roundBound_isLeast (same : Bool) (v : Rat) (hv : 0 < v) :
    IsBoundDecimal (roundBound same v) ∧ v ≤ roundBound same v ∧
      ∀ d, IsBoundDecimal d → v ≤ d → roundBound same v ≤ d := by
  refine ⟨roundBound_isBoundDecimal same v (Rat.le_of_lt hv), le_roundBound same v, ?_⟩
  rintro d ⟨m, j, six, rfl⟩ h
  exact roundBound_least same v (by grind) m j six h

/-! ## Shares and means -/

/-- One millionth. -/
def shareUnit : Rat := mkRat 1 1000000

/-- One billionth. -/
def meanUnit : Rat := mkRat 1 1000000000

/-- A share is rounded down to 6 decimals. -/
def roundShare (v : Rat) : Rat := roundDown shareUnit v

/-- A mean is rounded to the nearest of 9 decimals. -/
def roundMean (v : Rat) : Rat := roundNearest meanUnit v

theorem roundShare_le (v : Rat) : roundShare v ≤ v := roundDown_le _ _ (by decide +kernel)

theorem lt_roundShare (v : Rat) : v < roundShare v + mkRat 1 1000000 :=
  lt_roundDown shareUnit v (by decide +kernel)

end BlockCert
