/-
The hypotheses of the theorems about counting can be met.  Lean core only.
-/
module

public import BlockCert.ExampleCertificate
public import BlockCert.Stopping
public import BlockCert.Strata

@[expose] public section

/-!
# Small numbers for the theorems about counts

An example is named after the theorem whose hypotheses it meets.
-/

namespace BlockCert.Examples

/-! ## An audit: 5 of 10 rows are false, 4 are sampled -/

/-- A row is whether it is false. -/
def rows : List Bool := [true, true, false, false, true, false, true, false, true, false]

theorem missed_le_instance :
    (missed id 4 rows).length ≤ binom 5 4 ∧ (samples 4 rows).length = binom 10 4 :=
  missed_le id 4 5 rows (by decide +kernel)

/-- At most one sample in twenty misses them all: `C(5, 4) / C(10, 4) = 1 / 42`. -/
theorem audit_confidence_instance :
    20 * (missed id 4 rows).length ≤ 1 * (samples 4 rows).length :=
  audit_confidence id 4 5 1 20 rows (by decide +kernel) (by decide +kernel)

/-- Every row is recorded as a success; the false ones are none. -/
theorem successes_lose_instance :
    rows.countP (fun _ => true) ≤ rows.countP (fun r => !r) + rows.countP id :=
  successes_lose id (fun _ => true) (fun r => !r) rows (by decide +kernel)

/-- Every row records 3 tokens; the false ones have none. -/
theorem counts_lose_instance :
    sumOf (fun _ => 3) rows ≤ sumOf (fun r => if r then 0 else 3) rows + rows.countP id * 3 :=
  counts_lose id (fun _ => 3) (fun r => if r then 0 else 3) 3 rows (by decide +kernel) (by decide +kernel)

theorem maximum_holds_instance : rows.length - (6 - 1) ≤ rows.countP (fun r => !r) :=
  maximum_holds id (fun r => !r) rows 6 (by decide +kernel) (by decide +kernel)

/-- Three of five rows are false. -/
def fiveRows : List Bool := [true, false, true, false, true]

theorem clean_first_confidence_instance :
    2 * (orders 2 fiveRows).countP (cleanFirst id 1) ≤ 1 * (orders 2 fiveRows).length :=
  clean_first_confidence id 1 2 3 1 2 fiveRows (by decide) (by decide +kernel) (by decide +kernel)

/-- What may be stated after 1 and after 2 of five rows at a confidence of one half. -/
def leastFalse : Nat → Nat
  | 0 => 6
  | 1 => 3
  | _ => 2

theorem stopping_confidence_instance :
    2 * (orders 2 fiveRows).countP (fun order => wrongSomewhere id leastFalse (fiveRows.countP id) order 2) ≤
      1 * (orders 2 fiveRows).length :=
  stopping_confidence id 2 1 2 leastFalse fiveRows fun m h1 h2 => by
    have h : m = 1 ∨ m = 2 := by omega
    rcases h with rfl | rfl <;> decide +kernel

/-- It would be wrong for 8 of the 20 orders. -/
theorem stopping_is_sometimes_wrong :
    (orders 2 fiveRows).countP (fun order => wrongSomewhere id leastFalse (fiveRows.countP id) order 2) = 8 ∧
      (orders 2 fiveRows).length = 20 := by
  decide +kernel

theorem clean_prefix_of_stopping_instance : ∀ r ∈ [false, false, true].take 1, id r = false :=
  clean_prefix_of_stopping id leastFalse 3 1 2
    (fun i h => match i with
      | 0 => absurd h (by decide)
      | i + 1 => Nat.le_add_left 1 i)
    [false, false, true] (by decide) (by decide)

/-! ## A population of 10 windows, of which 4 are drawn -/

theorem hypTail_small_of_lt_statedBound_instance : 20 * hypTail 5 (10 - 5) 4 4 ≤ 1 * binom 10 4 :=
  hypTail_small_of_lt_statedBound 10 4 1 20 4 5 (by decide +kernel)

theorem hypTail_large_at_statedBound_instance :
    1 * binom 10 4 < 20 * hypTail (statedBound 10 4 1 20 4) (10 - statedBound 10 4 1 20 4) 4 4 :=
  hypTail_large_at_statedBound 10 4 1 20 4 (by decide) (by decide) (by decide)

theorem statedBound_zero_instance : statedBound 10 4 1 20 0 = 0 :=
  statedBound_zero 10 4 1 20 (by decide) (by decide)

theorem hypTail_mono_instance : hypTail 5 (10 - 5) 4 4 ≤ hypTail 7 (10 - 7) 4 4 :=
  hypTail_mono 10 5 7 4 4 (by decide) (by decide)

/-- The values of `spec/08-claims.md`. -/
theorem stated_bounds : statedBound 10 4 1 20 4 = 6 ∧ statedBound 10 4 1 20 3 = 4 := by decide +kernel

/-- Three of ten windows are drawn, and at a level of one half a bound that is stated is sometimes false: the
theorems bound something that happens. -/
theorem bounds_are_sometimes_false :
    0 < (samples 3 rows).countP (stratumFalse rows 1 2 id fun _ => false) ∨
      0 < (samples 3 rows).countP (stratumFalse rows 1 2 (fun _ => true) id) := by
  decide +kernel

/-- The second file's entry: its one row satisfies the predicate, and the bound for it is at the level
`(1 / 2) / (1 * 2)`. -/
theorem accepted_strata_instance : ∃ strata s, statement.population.strata = some strata ∧
    strata[1]? = some s ∧ s.successes[0]? = some 1 ∧ s.atLeast[0]? = some (statedBound 3 1 1 (2 * 2) 1) := by
  obtain ⟨ws, h1, _, h2⟩ := accepted_strata statement evidence accepted _ rfl
  cases h1
  obtain ⟨_, _, _, h⟩ := h2 1 _ rfl
  obtain ⟨satisfies, n, hsat, hn, hs, hk⟩ := h 0 _ rfl
  have held : (match satisfied statement evidence
        { kind := .top1, share := some (mkRat 95 100), threshold := none } with
      | .ok l => decide (l = [true, true])
      | .error _ => false) = true := by decide +kernel
  rw [hsat] at held
  cases of_decide_eq_true held
  cases hn
  exact ⟨_, _, rfl, rfl, hs, hk.trans (by decide +kernel)⟩

/-! ## Rounding, aggregates, numbers -/

theorem roundBound_eq_zero_iff_instance : roundBound true 0 = 0 ↔ (0 : Rat) = 0 ∧ true = true :=
  roundBound_eq_zero_iff true 0 (by decide +kernel)

/-- The bound of two thirds is a decimal of six digits. -/
theorem roundBound_isBoundDecimal_instance : IsBoundDecimal (roundBound false (2 / 3)) :=
  roundBound_isBoundDecimal false (2 / 3) (by decide +kernel)

/-- It is the least: nothing is left of `0.666667` but itself. -/
theorem roundBound_isLeast_instance : roundBound false (2 / 3) = mkRat 666667 1000000 := by
  obtain ⟨_, h1, h2⟩ := roundBound_isLeast false (2 / 3) (by decide +kernel)
  have h3 := h2 (mkRat 666667 1000000) ⟨666667, 24, by decide, by decide +kernel⟩ (by decide +kernel)
  have h4 : ¬ roundBound false (2 / 3) < mkRat 666667 1000000 := by decide +kernel
  grind

/-- A third is at most `0.333334`. -/
theorem roundBound_least_instance :
    roundBound false (1 / 3) ≤ ((333334 : Nat) : Rat) * ((10 : Rat) ^ 24 * leastUnit) :=
  roundBound_least false (1 / 3) (by decide +kernel) 333334 24 (by decide) (by decide +kernel)

theorem roundNearest_le_instance : roundNearest meanUnit (1 / 3) ≤ 1 / 3 + mkRat 1 2 * meanUnit :=
  roundNearest_le meanUnit (1 / 3) (by decide +kernel)

theorem le_roundNearest_instance : 1 / 3 ≤ roundNearest meanUnit (1 / 3) + mkRat 1 2 * meanUnit :=
  le_roundNearest meanUnit (1 / 3) (by decide +kernel)

theorem le_largest_instance : (2 : Rat) ≤ largest [1, 2, 3] := le_largest _ _ (by simp)

theorem largest_mem_instance : largest [1, 2, 3] ∈ [1, 2, 3] := largest_mem _ (by simp)

theorem decode_inj_instance : ['0', '.', '5'] = ['0', '.', '5'] :=
  decode_inj _ _ (1 / 2) (by decide +kernel) (by decide +kernel)

end BlockCert.Examples
