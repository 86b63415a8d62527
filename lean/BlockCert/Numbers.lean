/-
The decimal strings of the standard and their exact values.  Lean core only.
-/
module

@[expose] public section

/-!
# Decimal strings

A number in a certificate is a string that matches `-?(0|[1-9][0-9]{0,39})(\.[0-9]{0,39}[1-9])?` as a
whole and is not `-0` (BC-NUM-01).  Its value is an exact rational number.

The grammar is stated by `Decimal`, `Decimal.WellFormed` and `Decimal.print`, the value by
`Decimal.value`.

* `decode_eq_some_iff`: the decoder accepts exactly the strings of the grammar and gives exactly their
  value;
* `decode_inj`: two accepted strings of the same value are equal, so each value has one spelling.
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

/-- A multiple of `m` and what is left are known by their sum. -/
theorem digits_apart {a b x y m : Nat} (hx : x < m) (hy : y < m) (h : a * m + x = b * m + y) :
    a = b ∧ x = y := by
  have h1 : (a * m + x) / m = (b * m + y) / m := by rw [h]
  rw [Nat.mul_comm a, Nat.mul_comm b, Nat.mul_add_div (by omega), Nat.mul_add_div (by omega),
    Nat.div_eq_of_lt hx, Nat.div_eq_of_lt hy] at h1
  have h1 : a = b := h1
  subst h1
  exact ⟨rfl, by omega⟩

/-- The parts of a decimal string. -/
structure Decimal where
  negative : Bool
  whole : List (Fin 10)
  fraction : List (Fin 10)

/-- No leading zero: the digits before the point are a single digit, or begin with another digit
than zero. -/
def wholePart : List (Fin 10) → Bool
  | [] => false
  | [_] => true
  | d :: _ => d.val != 0

/-- No trailing zero: the digits after the point, if there are any, end in another digit than zero. -/
def fractionPart : List (Fin 10) → Bool
  | [] => true
  | [d] => d.val != 0
  | _ :: d :: ds => fractionPart (d :: ds)

/-- What the grammar of BC-NUM-01 asks of the parts: no leading zero, no trailing zero, at most 40
digits on either side of the point, and not the parts of `-0`. -/
def Decimal.WellFormed (d : Decimal) : Prop :=
  wholePart d.whole = true ∧ d.whole.length ≤ 40 ∧
    fractionPart d.fraction = true ∧ d.fraction.length ≤ 40 ∧
    ¬(d.negative = true ∧ d.whole = [0] ∧ d.fraction = [])

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

/-- The parts of `-0`. -/
def Decimal.isMinusZero (d : Decimal) : Bool :=
  match d.negative, d.whole, d.fraction with
  | true, [w], [] => w.val == 0
  | _, _, _ => false

/-- The decision of `Decimal.WellFormed`. -/
def Decimal.isWellFormed (d : Decimal) : Bool :=
  wholePart d.whole && atMostDigits 40 d.whole && fractionPart d.fraction &&
    atMostDigits 40 d.fraction && !d.isMinusZero

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

theorem isMinusZero_iff (d : Decimal) :
    d.isMinusZero = true ↔ d.negative = true ∧ d.whole = [0] ∧ d.fraction = [] := by
  obtain ⟨negative, whole, fraction⟩ := d
  unfold Decimal.isMinusZero
  split
  · rename_i w h1 h2 h3
    rw [h1, h2, h3]
    constructor
    · intro h
      rw [show w = 0 from Fin.ext (eq_of_beq h)]
      exact ⟨rfl, rfl, rfl⟩
    · rintro ⟨_, h, _⟩
      cases h
      rfl
  · rename_i h
    simp only [Bool.false_eq_true, false_iff]
    rintro ⟨rfl, rfl, rfl⟩
    exact h 0 rfl rfl rfl

theorem isWellFormed_iff (d : Decimal) : d.isWellFormed = true ↔ d.WellFormed := by
  simp only [Decimal.isWellFormed, Decimal.WellFormed, Bool.and_eq_true, atMostDigits_iff,
    and_assoc, Bool.not_eq_true', ← isMinusZero_iff, Bool.not_eq_true]

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

/-- The parser accepts exactly the strings of the grammar (BC-NUM-01), and reads them in the only
way. -/
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

/-- **The decoder.**  It accepts a string exactly if the grammar does, and gives exactly its value
(BC-NUM-01). -/
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

/-! ## One spelling for each value -/

theorem positional_append (ds es : List (Fin 10)) :
    positional (ds ++ es) = positional ds * 10 ^ es.length + positional es := by
  rw [← horner_zero, horner_append, horner_eq, horner_zero]

/-- Of two strings of the same number of digits, the value tells them apart. -/
theorem positional_inj (ds es : List (Fin 10)) (length : ds.length = es.length)
    (value : positional ds = positional es) : ds = es := by
  induction ds generalizing es with
  | nil => exact (List.length_eq_zero_iff.mp length.symm).symm
  | cons d ds ih =>
    cases es with
    | nil => exact nomatch length
    | cons e es =>
      have length : ds.length = es.length := by simpa using length
      obtain ⟨h1, h2⟩ := digits_apart (positional_lt ds) (length ▸ positional_lt es)
        (by simpa only [positional, length] using value)
      rw [Fin.ext h1, ih es length h2]

/-- A fraction without trailing zero is not a multiple of ten. -/
theorem last_digit (ds : List (Fin 10)) (nonempty : ds ≠ []) (h : fractionPart ds = true) :
    positional ds % 10 ≠ 0 := by
  induction ds with
  | nil => exact absurd rfl nonempty
  | cons d ds ih =>
    cases ds with
    | nil =>
      have := d.isLt
      simp only [fractionPart, bne_iff_ne] at h
      simp only [positional, List.length_nil]
      omega
    | cons e es =>
      have := ih (by simp) h
      simp only [positional, List.length_cons, Nat.pow_succ, ← Nat.mul_assoc] at this ⊢
      omega

/-- More digits without leading zero are worth more. -/
theorem positional_lt_of_length_lt (ds es : List (Fin 10)) (hd : ds ≠ []) (he : wholePart es = true)
    (h : ds.length < es.length) : positional ds < positional es := by
  match es, he with
  | [_], _ =>
    exact absurd (List.length_eq_zero_iff.mp (Nat.lt_one_iff.mp h)) hd
  | e :: f :: es, he =>
    have h1 := positional_lt ds
    have h2 : 10 ^ ds.length ≤ 10 ^ (f :: es).length :=
      Nat.pow_le_pow_right (by omega) (Nat.le_of_lt_succ h)
    have h3 : e.val ≠ 0 := by simpa [wholePart] using he
    have h4 := Nat.mul_le_mul_right (10 ^ (f :: es).length) (Nat.one_le_iff_ne_zero.mpr h3)
    simp only [positional] at h4 ⊢
    omega

theorem ne_nil_of_wholePart {ds : List (Fin 10)} (h : wholePart ds = true) : ds ≠ [] := by
  rintro rfl
  exact nomatch h

/-- Digits without leading zero are known by their value. -/
theorem whole_inj (ds es : List (Fin 10)) (hd : wholePart ds = true) (he : wholePart es = true)
    (h : positional ds = positional es) : ds = es := by
  rcases Nat.lt_trichotomy ds.length es.length with hl | hl | hl
  · have := positional_lt_of_length_lt ds es (ne_nil_of_wholePart hd) he hl
    omega
  · exact positional_inj ds es hl h
  · have := positional_lt_of_length_lt es ds (ne_nil_of_wholePart he) hd hl
    omega

/-- The digits of a decimal as one whole number. -/
noncomputable def Decimal.units (d : Decimal) : Nat := positional (d.whole ++ d.fraction)

theorem value_eq (d : Decimal) :
    d.value = mkRat (if d.negative then -(d.units : Int) else d.units) (10 ^ d.fraction.length) := by
  unfold Decimal.value Decimal.units
  cases d.negative <;> simp [Rat.neg_mkRat]

/-- The value zero is written `0`, and a minus sign before it is refused. -/
theorem not_negative_of_zero (d : Decimal) (hd : d.WellFormed) (h : d.units = 0) :
    d.negative = false := by
  obtain ⟨hw, _, hf, _, hz⟩ := hd
  rw [Decimal.units, positional_append] at h
  have hfraction : d.fraction = [] := by
    cases hfr : d.fraction with
    | nil => rfl
    | cons e es =>
      have := last_digit _ (by simp) (hfr ▸ hf)
      rw [hfr] at h
      omega
  have hwhole : d.whole = [0] := by
    refine whole_inj _ _ hw rfl ?_
    rw [hfraction] at h
    simpa [positional] using h
  cases hn : d.negative with
  | false => rfl
  | true => exact absurd ⟨hn, hwhole, hfraction⟩ hz

/-- The same number of units, each brought to the other's number of decimals: then the numbers of
decimals are not in this order. -/
theorem decimals_le (d e : Decimal) (he : e.WellFormed)
    (h : d.units * 10 ^ e.fraction.length = e.units * 10 ^ d.fraction.length) :
    e.fraction.length ≤ d.fraction.length := by
  refine Nat.le_of_not_lt fun hlt => ?_
  obtain ⟨k, hk⟩ := Nat.exists_eq_add_of_lt hlt
  rw [hk, Nat.add_assoc, Nat.add_comm, Nat.pow_add, ← Nat.mul_assoc] at h
  have h := Nat.eq_of_mul_eq_mul_right (Nat.pow_pos (by omega)) h
  have hlast := last_digit e.fraction (by intro hf; simp [hf] at hk) he.2.2.1
  rw [Decimal.units, Decimal.units, positional_append e.whole, hk] at h
  simp only [Nat.pow_succ, ← Nat.mul_assoc] at h
  omega

/-- Well-formed parts are known by their value. -/
theorem value_inj (d e : Decimal) (hd : d.WellFormed) (he : e.WellFormed)
    (h : d.value = e.value) : d = e := by
  rw [value_eq, value_eq, Rat.mkRat_eq_iff (by simp) (by simp)] at h
  have hunits : d.units * 10 ^ e.fraction.length = e.units * 10 ^ d.fraction.length := by
    have := congrArg Int.natAbs h
    rw [Int.natAbs_mul, Int.natAbs_mul] at this
    cases hn : d.negative <;> cases hm : e.negative <;> simpa [hn, hm, Int.natAbs_pow] using this
  have hlength : d.fraction.length = e.fraction.length :=
    Nat.le_antisymm (decimals_le e d hd hunits.symm) (decimals_le d e he hunits)
  have hpos : 0 < 10 ^ e.fraction.length := Nat.pow_pos (by omega)
  rw [hlength] at hunits
  have hunits := Nat.eq_of_mul_eq_mul_right hpos hunits
  have hsign : d.negative = e.negative := by
    rw [hlength] at h
    have h := Int.eq_of_mul_eq_mul_right (Int.ofNat_ne_zero.mpr (Nat.ne_of_gt hpos)) h
    cases hn : d.negative <;> cases hm : e.negative <;> simp only [hn, hm] at h ⊢
    · have := not_negative_of_zero e he (by simp at h; omega)
      simp_all
    · have := not_negative_of_zero d hd (by simp at h; omega)
      simp_all
  rw [Decimal.units, Decimal.units, positional_append, positional_append, hlength] at hunits
  obtain ⟨h1, h2⟩ := digits_apart (hlength ▸ positional_lt d.fraction) (positional_lt e.fraction)
    hunits
  have hfraction := positional_inj _ _ hlength h2
  have hwhole := whole_inj _ _ hd.1 he.1 h1
  obtain ⟨negative, whole, fraction⟩ := d
  obtain ⟨negative', whole', fraction'⟩ := e
  simp_all

/-- **One spelling for each value** (BC-NUM-01): two accepted strings of the same value are equal. -/
theorem decode_inj (s t : List Char) (q : Rat) (hs : decode s = some q) (ht : decode t = some q) :
    s = t := by
  obtain ⟨d, hd, rfl, hq⟩ := (decode_eq_some_iff s q).mp hs
  obtain ⟨e, he, rfl, hr⟩ := (decode_eq_some_iff t q).mp ht
  rw [value_inj d e hd he (hq.trans hr.symm)]

end BlockCert
