/-
Maxima, sums, counts and medians over the rows of the evidence.  Lean core only.
-/
module

public import BlockCert.Schema

@[expose] public section

/-!
# Aggregates

What the claims are made of (`spec/08-claims.md`), each computed by recursion and proved to be what the
definition says:

* `largest_mem`, `le_largest`: the largest cell is one of the cells and at least every cell;
* `sumRat_eq`, `sumNat_eq`: sums are exact sums (BC-CLM-02, BC-NUM-02);
* `perm_sorted`, `pairwise_sorted`: the sorted cells, whose element `(N-1) // 2` is the lower median;
* `countTrue_eq`: successes are the number of rows that satisfy a predicate (BC-CLM-07).
-/

namespace BlockCert

/-! ## Cells -/

def nthRat : List Rat → Nat → Rat
  | [], _ => 0
  | q :: _, 0 => q
  | _ :: l, i + 1 => nthRat l i

def nthNat : List Nat → Nat → Nat
  | [], _ => 0
  | q :: _, 0 => q
  | _ :: l, i + 1 => nthNat l i

def nthBool : List Bool → Nat → Bool
  | [], _ => false
  | q :: _, 0 => q
  | _ :: l, i + 1 => nthBool l i

/-- The cells of all rows at one place. -/
def column (i : Nat) : List (List Rat) → List Rat
  | [] => []
  | r :: rs => nthRat r i :: column i rs

/-- The cells of all rows at one place. -/
def countColumn (i : Nat) : List (List Nat) → List Nat
  | [] => []
  | r :: rs => nthNat r i :: countColumn i rs

/-- The first `n`. -/
def takeRat : Nat → List Rat → List Rat
  | 0, _ => []
  | _ + 1, [] => []
  | n + 1, q :: l => q :: takeRat n l

theorem mem_column (i : Nat) (rows : List (List Rat)) (r : List Rat) (h : r ∈ rows) :
    nthRat r i ∈ column i rows := by
  induction rows with
  | nil => exact nomatch h
  | cons a rows ih =>
    rcases List.mem_cons.mp h with rfl | h
    · simp [column]
    · simp [column, ih h]

/-! ## The largest -/

/-- The larger of `m` and the largest of a list. -/
def largestFrom (m : Rat) : List Rat → Rat
  | [] => m
  | q :: l => largestFrom (if m ≤ q then q else m) l

/-- The largest; 0 of none. -/
def largest : List Rat → Rat
  | [] => 0
  | q :: l => largestFrom q l

theorem le_largestFrom (m : Rat) (l : List Rat) :
    m ≤ largestFrom m l ∧ ∀ q ∈ l, q ≤ largestFrom m l := by
  induction l generalizing m with
  | nil => exact ⟨Rat.le_refl, fun _ h => nomatch h⟩
  | cons a l ih =>
    simp only [largestFrom]
    have h := ih (if m ≤ a then a else m)
    refine ⟨?_, fun q hq => ?_⟩
    · split at h <;> grind
    · rcases List.mem_cons.mp hq with rfl | hq
      · split at h <;> grind
      · exact h.2 q hq

/-- The largest is at least every cell. -/
theorem le_largest (l : List Rat) (q : Rat) (h : q ∈ l) : q ≤ largest l := by
  cases l with
  | nil => exact nomatch h
  | cons a l =>
    rcases List.mem_cons.mp h with rfl | h
    · exact (le_largestFrom _ l).1
    · exact (le_largestFrom a l).2 q h

theorem largestFrom_mem (m : Rat) (l : List Rat) :
    largestFrom m l = m ∨ largestFrom m l ∈ l := by
  induction l generalizing m with
  | nil => exact .inl rfl
  | cons a l ih =>
    simp only [largestFrom]
    rcases ih (if m ≤ a then a else m) with h | h
    · rw [h]
      split
      · exact .inr (by simp)
      · exact .inl rfl
    · exact .inr (List.mem_cons_of_mem _ h)

/-- The largest is one of the cells. -/
theorem largest_mem (l : List Rat) (h : l ≠ []) : largest l ∈ l := by
  cases l with
  | nil => exact absurd rfl h
  | cons a l =>
    rcases largestFrom_mem a l with h | h
    · simp [largest, h]
    · exact List.mem_cons_of_mem _ h

/-! ## Sums -/

def sumRat : List Rat → Rat
  | [] => 0
  | q :: l => q + sumRat l

def sumNat : List Nat → Nat
  | [] => 0
  | n :: l => n + sumNat l

/-- The sum is the exact sum. -/
theorem sumRat_eq (l : List Rat) : sumRat l = l.sum := by
  induction l with
  | nil => rfl
  | cons q l ih => simp [sumRat, ih]

theorem sumNat_eq (l : List Nat) : sumNat l = l.sum := by
  induction l with
  | nil => rfl
  | cons q l ih => simp [sumNat, ih]

/-- The sum of each row. -/
def rowSums : List (List Rat) → List Rat
  | [] => []
  | r :: rs => sumRat r :: rowSums rs

theorem mem_rowSums (rows : List (List Rat)) (r : List Rat) (h : r ∈ rows) :
    r.sum ∈ rowSums rows := by
  induction rows with
  | nil => exact nomatch h
  | cons a rows ih =>
    rcases List.mem_cons.mp h with rfl | h
    · simp [rowSums, sumRat_eq]
    · simp [rowSums, ih h]

/-! ## The lower median -/

def insertRat (q : Rat) : List Rat → List Rat
  | [] => [q]
  | a :: l => if q ≤ a then q :: a :: l else a :: insertRat q l

def sorted : List Rat → List Rat
  | [] => []
  | q :: l => insertRat q (sorted l)

def lengthRat : List Rat → Nat
  | [] => 0
  | _ :: l => lengthRat l + 1

/-- Element `(N-1) // 2`, from 0, of the sorted cells. -/
def lowerMedian (l : List Rat) : Rat := nthRat (sorted l) ((lengthRat l - 1) / 2)

theorem perm_insertRat (q : Rat) (l : List Rat) : (insertRat q l).Perm (q :: l) := by
  induction l with
  | nil => exact .refl _
  | cons a l ih =>
    simp only [insertRat]
    split
    · exact .refl _
    · exact (List.Perm.cons a ih).trans (List.Perm.swap q a l)

/-- The sorted cells are the cells. -/
theorem perm_sorted (l : List Rat) : (sorted l).Perm l := by
  induction l with
  | nil => exact .refl _
  | cons q l ih => exact (perm_insertRat q (sorted l)).trans (.cons q ih)

theorem pairwise_insertRat (q : Rat) (l : List Rat) (h : l.Pairwise (· ≤ ·)) :
    (insertRat q l).Pairwise (· ≤ ·) := by
  induction l with
  | nil => simp [insertRat]
  | cons a l ih =>
    simp only [List.pairwise_cons] at h
    simp only [insertRat]
    split
    · rename_i hq
      simp only [List.pairwise_cons, List.mem_cons]
      refine ⟨?_, h.1, h.2⟩
      rintro b (rfl | hb)
      · exact hq
      · exact Rat.le_trans hq (h.1 b hb)
    · rename_i hq
      simp only [List.pairwise_cons]
      refine ⟨fun b hb => ?_, ih h.2⟩
      rcases List.mem_cons.mp ((perm_insertRat q l).mem_iff.mp hb) with rfl | hb
      · grind
      · exact h.1 b hb

/-- They are in order. -/
theorem pairwise_sorted (l : List Rat) : (sorted l).Pairwise (· ≤ ·) := by
  induction l with
  | nil => exact .nil
  | cons q l ih => exact pairwise_insertRat q _ ih

/-! ## Counts -/

def countTrue : List Bool → Nat
  | [] => 0
  | b :: l => (if b then 1 else 0) + countTrue l

/-- The number of rows that satisfy. -/
theorem countTrue_eq (l : List Bool) : countTrue l = l.countP (fun b => b) := by
  induction l with
  | nil => rfl
  | cons b l ih => cases b <;> simp [countTrue, ih] <;> omega

end BlockCert
