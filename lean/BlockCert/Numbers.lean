/-
The decimal strings of the standard and their exact values.  Lean core only.
-/
module

@[expose] public section

/-!
# Decimal strings

A number in a certificate is a string that matches `-?(0|[1-9][0-9]*)(\.[0-9]+)?` as a whole, with at
most 40 digits before the point and at most 40 after it; a minus sign before a zero is refused.  Its
value is an exact rational number.

The grammar is stated by `Decimal`, `Decimal.WellFormed` and `Decimal.print`, the value by
`Decimal.value`.  `decode_eq_some_iff` says that the decoder accepts exactly the strings of the
grammar and gives exactly their value.
-/

namespace BlockCert

/-- The character of a digit. -/
def digitChar : Fin 10 → Char
  | 0 => '0' | 1 => '1' | 2 => '2' | 3 => '3' | 4 => '4'
  | 5 => '5' | 6 => '6' | 7 => '7' | 8 => '8' | 9 => '9'

/-- The digit of a character: of the ten ASCII digits, and of no other character. -/
def charDigit (c : Char) : Option (Fin 10) :=
  match c with
  | '0' => some 0 | '1' => some 1 | '2' => some 2 | '3' => some 3 | '4' => some 4
  | '5' => some 5 | '6' => some 6 | '7' => some 7 | '8' => some 8 | '9' => some 9
  | _ => none

theorem charDigit_digitChar (d : Fin 10) : charDigit (digitChar d) = some d := by
  revert d; decide

theorem digitChar_of_charDigit {c : Char} {d : Fin 10} (h : charDigit c = some d) :
    digitChar d = c := by
  unfold charDigit at h
  split at h <;> simp_all <;> subst h <;> rfl

/-- The positional value of a string of digits: the digit followed by `n` others counts `10 ^ n`. -/
noncomputable def positional : List (Fin 10) → Nat
  | [] => 0
  | d :: ds => d.val * 10 ^ ds.length + positional ds

/-- The same from left to right, as the decoder computes it. -/
def horner : List (Fin 10) → Nat → Nat
  | [], n => n
  | d :: ds, n => horner ds (10 * n + d.val)

theorem horner_eq (ds : List (Fin 10)) (n : Nat) :
    horner ds n = n * 10 ^ ds.length + positional ds := by
  induction ds generalizing n with
  | nil => simp [horner, positional]
  | cons d ds ih => simp only [horner, positional, ih, List.length_cons, Nat.pow_succ]; grind

/-- The decoder's value of a digit string is its positional value. -/
theorem horner_zero (ds : List (Fin 10)) : horner ds 0 = positional ds := by
  simp [horner_eq]

/-- Appending one digit multiplies by ten and adds the digit. -/
theorem positional_append_digit (ds : List (Fin 10)) (d : Fin 10) :
    positional (ds ++ [d]) = 10 * positional ds + d.val := by
  induction ds with
  | nil => simp [positional]
  | cons a ds ih => simp only [List.cons_append, positional, ih, List.length_append,
      List.length_cons, List.length_nil, Nat.pow_succ]; grind

/-- A string of `n` digits is worth less than `10 ^ n`. -/
theorem positional_lt (ds : List (Fin 10)) : positional ds < 10 ^ ds.length := by
  induction ds with
  | nil => simp [positional]
  | cons d ds ih =>
    simp only [positional, List.length_cons, Nat.pow_succ]
    have := Nat.mul_le_mul_right (10 ^ ds.length) (Nat.le_of_lt_succ d.isLt)
    omega

/-- The parts of a decimal string. -/
structure Decimal where
  negative : Bool
  whole : List (Fin 10)
  fraction : List (Fin 10)

/-- Every digit is zero. -/
def allZero : List (Fin 10) → Bool
  | [] => true
  | d :: ds => d.val == 0 && allZero ds

/-- No leading zero: the digits before the point are a single digit, or begin with another digit
than zero. -/
def wholePart : List (Fin 10) → Bool
  | [] => false
  | [_] => true
  | d :: _ => d.val != 0

/-- What the grammar asks of the parts: no leading zero, at most 40 digits on either side of the
point, and no minus sign before zero. -/
def Decimal.WellFormed (d : Decimal) : Prop :=
  wholePart d.whole = true ∧ d.whole.length ≤ 40 ∧ d.fraction.length ≤ 40 ∧
    ¬(d.negative = true ∧ allZero d.whole = true ∧ allZero d.fraction = true)

/-- The characters of a digit string. -/
def printDigits : List (Fin 10) → List Char
  | [] => []
  | d :: ds => digitChar d :: printDigits ds

/-- The point and the digits after it; nothing if there are none. -/
def printFraction : List (Fin 10) → List Char
  | [] => []
  | ds => '.' :: printDigits ds

/-- The string: a minus sign if negative, the digits before the point, the point and the digits after
it if there are any. -/
noncomputable def Decimal.print (d : Decimal) : List Char :=
  (if d.negative then ['-'] else []) ++ (printDigits d.whole ++ printFraction d.fraction)

/-- The value: the digits before and after the point as one whole number, over the power of ten of
the number of digits after it, with the sign. -/
noncomputable def Decimal.value (d : Decimal) : Rat :=
  let magnitude := mkRat (positional (d.whole ++ d.fraction)) (10 ^ d.fraction.length)
  if d.negative then -magnitude else magnitude

/-! ## The decoder -/

/-- The longest prefix of digits, and what follows it. -/
def splitDigits : List Char → List (Fin 10) × List Char
  | [] => ([], [])
  | c :: s =>
    match charDigit c with
    | some d => (d :: (splitDigits s).1, (splitDigits s).2)
    | none => ([], c :: s)

/-- The parts of a string without a sign; `none` if it is not digits, or digits, a point and
digits. -/
def parseUnsigned (negative : Bool) (s : List Char) : Option Decimal :=
  match splitDigits s with
  | (whole, []) => some { negative, whole, fraction := [] }
  | (whole, c :: rest) =>
    if c = '.' then
      match splitDigits rest with
      | (d :: ds, []) => some { negative, whole, fraction := d :: ds }
      | _ => none
    else none

/-- The parts of a string. -/
def parseParts : List Char → Option Decimal
  | [] => none
  | c :: s => if c = '-' then parseUnsigned true s else parseUnsigned false (c :: s)

/-- At most `n` digits. -/
def atMostDigits : Nat → List (Fin 10) → Bool
  | _, [] => true
  | 0, _ :: _ => false
  | n + 1, _ :: ds => atMostDigits n ds

/-- The decision of `Decimal.WellFormed`. -/
def Decimal.isWellFormed (d : Decimal) : Bool :=
  wholePart d.whole && atMostDigits 40 d.whole && atMostDigits 40 d.fraction &&
    !(d.negative && allZero d.whole && allZero d.fraction)

/-- The parts of a string that matches the grammar. -/
def parse (s : List Char) : Option Decimal :=
  match parseParts s with
  | some d => if d.isWellFormed then some d else none
  | none => none

/-- `10 ^ n` for `n` digits. -/
def scale : List (Fin 10) → Nat
  | [] => 1
  | _ :: ds => 10 * scale ds

/-- The value as the decoder computes it. -/
def Decimal.compute (d : Decimal) : Rat :=
  let n := horner d.fraction (horner d.whole 0)
  if d.negative then mkRat (-(n : Int)) (scale d.fraction) else mkRat n (scale d.fraction)

/-- The value of a decimal string. -/
def decode (s : List Char) : Option Rat :=
  match parse s with
  | some d => some d.compute
  | none => none

/-! ## The decoder accepts exactly the grammar -/

theorem atMostDigits_iff (n : Nat) (ds : List (Fin 10)) :
    atMostDigits n ds = true ↔ ds.length ≤ n := by
  induction ds generalizing n with
  | nil => simp [atMostDigits]
  | cons d ds ih => cases n <;> simp [atMostDigits, ih]

theorem isWellFormed_iff (d : Decimal) : d.isWellFormed = true ↔ d.WellFormed := by
  simp only [Decimal.isWellFormed, Decimal.WellFormed, Bool.and_eq_true, atMostDigits_iff,
    and_assoc]
  cases d.negative <;> cases allZero d.whole <;> cases allZero d.fraction <;> simp

theorem splitDigits_print (ds : List (Fin 10)) (rest : List Char)
    (stop : ∀ c s, rest = c :: s → charDigit c = none) :
    splitDigits (printDigits ds ++ rest) = (ds, rest) := by
  induction ds with
  | nil =>
    cases rest with
    | nil => rfl
    | cons c s => simp [printDigits, splitDigits, stop c s rfl]
  | cons d ds ih => simp [printDigits, splitDigits, charDigit_digitChar, ih]

theorem print_splitDigits (s : List Char) :
    printDigits (splitDigits s).1 ++ (splitDigits s).2 = s := by
  induction s with
  | nil => rfl
  | cons c s ih =>
    simp only [splitDigits]
    split
    · rename_i d h
      simp [printDigits, digitChar_of_charDigit h, ih]
    · simp [printDigits]

theorem print_of_parseUnsigned {negative : Bool} {s : List Char} {d : Decimal}
    (h : parseUnsigned negative s = some d) :
    d.negative = negative ∧ printDigits d.whole ++ printFraction d.fraction = s := by
  have hs := print_splitDigits s
  unfold parseUnsigned at h
  split at h
  · rename_i whole hw
    simp only [Option.some.injEq] at h
    subst h
    rw [hw] at hs
    exact ⟨rfl, hs⟩
  · rename_i whole c rest hw
    split at h
    · rename_i hc
      split at h
      · rename_i a ds hf
        simp only [Option.some.injEq] at h
        subst h
        have hr := print_splitDigits rest
        rw [hf, List.append_nil] at hr
        rw [hw] at hs
        exact ⟨rfl, by simp only [printFraction]; rw [hr, ← hc]; exact hs⟩
      · exact nomatch h
    · exact nomatch h

theorem parseUnsigned_print (negative : Bool) (whole fraction : List (Fin 10)) :
    parseUnsigned negative (printDigits whole ++ printFraction fraction) =
      some { negative, whole, fraction } := by
  cases fraction with
  | nil =>
    unfold parseUnsigned
    rw [printFraction, splitDigits_print whole [] (by simp)]
  | cons d ds =>
    have h := splitDigits_print (d :: ds) [] (by simp)
    rw [List.append_nil] at h
    unfold parseUnsigned
    rw [printFraction, splitDigits_print whole _ (by intro c s h; cases h; rfl)]
    · simp [h]
    · simp

theorem digitChar_ne_minus (d : Fin 10) : digitChar d ≠ '-' := by revert d; decide

/-- The parser accepts exactly the strings of the grammar, and reads them in the only way. -/
theorem parse_eq_some_iff (s : List Char) (d : Decimal) :
    parse s = some d ↔ d.WellFormed ∧ d.print = s := by
  constructor
  · intro h
    unfold parse at h
    split at h
    · rename_i d' hp
      split at h
      · rename_i hwf
        simp only [Option.some.injEq] at h
        subst h
        refine ⟨(isWellFormed_iff _).mp hwf, ?_⟩
        unfold parseParts at hp
        split at hp
        · exact nomatch hp
        · split at hp
          · rename_i hc
            obtain ⟨h1, h2⟩ := print_of_parseUnsigned hp
            simp [Decimal.print, h1, h2, hc]
          · obtain ⟨h1, h2⟩ := print_of_parseUnsigned hp
            simp [Decimal.print, h1, h2]
      · exact nomatch h
    · exact nomatch h
  · rintro ⟨hwf, rfl⟩
    obtain ⟨negative, whole, fraction⟩ := d
    have h := parseUnsigned_print negative whole fraction
    have hparts : parseParts (Decimal.print ⟨negative, whole, fraction⟩) =
        some ⟨negative, whole, fraction⟩ := by
      cases negative with
      | true => simpa [Decimal.print, parseParts] using h
      | false =>
        cases whole with
        | nil => exact absurd hwf.1 (by simp [wholePart])
        | cons w ws => simpa [Decimal.print, printDigits, parseParts, digitChar_ne_minus] using h
    simp [parse, hparts, (isWellFormed_iff _).mpr hwf]

theorem horner_append (ds es : List (Fin 10)) (n : Nat) :
    horner (ds ++ es) n = horner es (horner ds n) := by
  induction ds generalizing n with
  | nil => rfl
  | cons d ds ih => exact ih _

theorem scale_eq (ds : List (Fin 10)) : scale ds = 10 ^ ds.length := by
  induction ds with
  | nil => rfl
  | cons d ds ih => simp only [scale, ih, List.length_cons, Nat.pow_succ]; omega

/-- The decoder computes the value. -/
theorem compute_eq_value (d : Decimal) : d.compute = d.value := by
  have h : horner d.fraction (horner d.whole 0) = positional (d.whole ++ d.fraction) := by
    rw [← horner_append, horner_zero]
  simp only [Decimal.compute, Decimal.value, h, scale_eq]
  cases d.negative <;> simp [Rat.neg_mkRat]

/-- **The decoder.**  It accepts a string exactly if the grammar does, and gives exactly its value. -/
theorem decode_eq_some_iff (s : List Char) (q : Rat) :
    decode s = some q ↔ ∃ d : Decimal, d.WellFormed ∧ d.print = s ∧ d.value = q := by
  constructor
  · intro h
    unfold decode at h
    split at h
    · rename_i d hp
      simp only [Option.some.injEq] at h
      obtain ⟨h1, h2⟩ := (parse_eq_some_iff s d).mp hp
      exact ⟨d, h1, h2, by rw [← compute_eq_value, h]⟩
    · exact nomatch h
  · rintro ⟨d, h1, h2, h3⟩
    have hp := (parse_eq_some_iff s d).mpr ⟨h1, h2⟩
    simp [decode, hp, compute_eq_value, h3]

end BlockCert
