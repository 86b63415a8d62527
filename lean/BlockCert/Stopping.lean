/-
Stopping an audit at any completed prefix, as finite counting.  Lean core only.
-/
module

public import BlockCert.Audit
public import BlockCert.Counting

@[expose] public noncomputable section

/-!
# Stopping an audit

An audit takes rows in a random order, all orders being equally likely, and may end after any completed row
(BC-VER-15).  The first `m` rows of such an order are an unbiased sample (`countP_cleanFirst`,
`clean_first_confidence`), and whoever states after `m` confirmed rows that fewer than `q m` are false is
wrong for at most the fraction `beta` of the orders, whatever decides when to stop (`stopping_confidence`):
it counts every order in which stopping anywhere would state something wrong.

Not said here: when a row is false (weights, transformer and floating point are the verifier's, not this
library's), nor that an order was one of equally likely ones.
-/

namespace BlockCert

variable {α : Type u}

/-! ## Orders -/

/-- Each way to take one row out, with what remains. -/
def picks : List α → List (α × List α)
  | [] => []
  | a :: rows => (a, rows) :: (picks rows).map fun x => (x.1, a :: x.2)

/-- All orders of `n` of the rows: one is taken, then one of what remains, and so on. -/
def orders : Nat → List α → List (List α)
  | 0, _ => [[]]
  | n + 1, rows => (picks rows).flatMap fun x => (orders n x.2).map (x.1 :: ·)

/-- `n (n - 1) … (n - m + 1)`. -/
def falling (n : Nat) : Nat → Nat
  | 0 => 1
  | m + 1 => falling n m * (n - m)

theorem falling_succ (n m : Nat) : falling n (m + 1) = n * falling (n - 1) m := by
  induction m with
  | zero => simp [falling]
  | succ m ih => rw [falling, ih, falling, Nat.mul_assoc, Nat.sub_sub, Nat.add_comm 1 m]

theorem falling_split (n m i : Nat) : falling n (m + i) = falling n m * falling (n - m) i := by
  induction i with
  | zero => simp [falling]
  | succ i ih => rw [← Nat.add_assoc, falling, ih, falling, Nat.mul_assoc, Nat.sub_sub]

/-- `m (m - 1) … 1`. -/
def factorial : Nat → Nat
  | 0 => 1
  | m + 1 => factorial m * (m + 1)

theorem falling_eq_binom (n m : Nat) : falling n m = factorial m * binom n m := by
  induction m with
  | zero => cases n <;> rfl
  | succ m ih =>
    rw [falling, ih, factorial, Nat.mul_assoc, Nat.mul_assoc, succ_mul_binom]

theorem length_of_mem_picks (rows : List α) (x : α × List α) (h : x ∈ picks rows) :
    x.2.length + 1 = rows.length := by
  induction rows generalizing x with
  | nil => exact nomatch h
  | cons a rows ih =>
    rcases List.mem_cons.mp h with rfl | h
    · rfl
    · obtain ⟨y, hy, rfl⟩ := List.mem_map.mp h
      exact congrArg (· + 1) (ih y hy)

theorem countP_of_mem_picks (p : α → Bool) (rows : List α) (x : α × List α) (h : x ∈ picks rows) :
    x.2.countP p + (if p x.1 then 1 else 0) = rows.countP p := by
  induction rows generalizing x with
  | nil => exact nomatch h
  | cons a rows ih =>
    rcases List.mem_cons.mp h with rfl | h
    · rw [List.countP_cons]
    · obtain ⟨y, hy, rfl⟩ := List.mem_map.mp h
      have := ih y hy
      simp only [List.countP_cons]
      omega

theorem countP_picks (p : α → Bool) (rows : List α) :
    (picks rows).countP (fun x => p x.1) = rows.countP p := by
  induction rows with
  | nil => rfl
  | cons a rows ih =>
    simp only [picks, List.countP_cons, List.countP_map, Function.comp_def, ih]

theorem sum_map_of_eq {β : Type v} (p : β → Bool) (f : β → Nat) (c : Nat) (l : List β)
    (h : ∀ x ∈ l, f x = if p x then c else 0) : (l.map f).sum = l.countP p * c := by
  induction l with
  | nil => simp
  | cons x l ih =>
    rw [List.map_cons, List.sum_cons, ih fun y hy => h y (List.mem_cons_of_mem x hy), h x (by simp),
      List.countP_cons]
    cases p x <;> simp [Nat.add_mul, Nat.add_comm]

/-- Whether the first `m` rows of an order hold no false one. -/
def cleanFirst (isFalse : α → Bool) (m : Nat) (order : List α) : Bool :=
  (order.take m).all fun r => !isFalse r

/-- There are `N (N - 1) … (N - n + 1)` orders of `n` rows. -/
theorem length_orders (n : Nat) (rows : List α) : (orders n rows).length = falling rows.length n := by
  induction n generalizing rows with
  | zero => rfl
  | succ n ih =>
    have each : ∀ x ∈ picks rows, ((orders n x.2).map (x.1 :: ·)).length =
        if (fun _ : α × List α => true) x then falling (rows.length - 1) n else 0 := by
      intro x hx
      have := length_of_mem_picks rows x hx
      rw [List.length_map, ih, show x.2.length = rows.length - 1 by omega]
      rfl
    have h := countP_picks (fun _ => true) rows
    simp only [List.countP_true] at h
    rw [orders, List.length_flatMap, sum_map_of_eq (fun _ => true) _ _ _ each, falling_succ]
    simp [h]

/-- **The first rows of a random order are a sample**: of `g` true rows among `N`, the orders of `m + i` rows
whose first `m` hold no false one are `g (g - 1) … (g - m + 1)` times the orders of `i` rows of the others. -/
theorem countP_cleanFirst (isFalse : α → Bool) (m i : Nat) (rows : List α) :
    (orders (m + i) rows).countP (cleanFirst isFalse m) =
      falling (rows.countP fun r => !isFalse r) m * falling (rows.length - m) i := by
  induction m generalizing rows with
  | zero =>
    have h : cleanFirst isFalse 0 = fun _ : List α => true := by
      funext order
      simp [cleanFirst]
    simp [h, length_orders, falling]
  | succ m ih =>
    have each : ∀ x ∈ picks rows, ((orders (m + i) x.2).map (x.1 :: ·)).countP
        (cleanFirst isFalse (m + 1)) = if (fun y : α × List α => !isFalse y.1) x then
          falling ((rows.countP fun r => !isFalse r) - 1) m * falling (rows.length - (m + 1)) i
        else 0 := by
      intro x hx
      have h1 := length_of_mem_picks rows x hx
      have h2 := countP_of_mem_picks (fun r => !isFalse r) rows x hx
      have h3 : cleanFirst isFalse (m + 1) ∘ (x.1 :: ·) = fun order =>
          !isFalse x.1 && cleanFirst isFalse m order := by
        funext order
        simp [cleanFirst]
      rw [List.countP_map, h3]
      cases hf : isFalse x.1
      · simp only [hf, Bool.not_false, if_true] at h2
        simp only [Bool.not_false, Bool.true_and]
        rw [ih, ← h2, Nat.add_sub_cancel, ← h1, show x.2.length + 1 - (m + 1) = x.2.length - m by omega]
        simp [hf]
      · simp [hf]
    rw [Nat.add_right_comm, orders, List.countP_flatMap]
    have h := sum_map_of_eq (fun y : α × List α => !isFalse y.1) _ _ _ each
    have picked : (picks rows).countP (fun y => !isFalse y.1) = rows.countP fun r => !isFalse r :=
      countP_picks (fun r => !isFalse r) rows
    rw [picked] at h
    rw [falling_succ, Nat.mul_assoc, ← h]
    rfl

/-! ## Confidence -/

/-- With `q` or more false rows, at most the fraction `β = num / den` of all orders has none among its first
`m`, where `C(N - q, m) / C(N, m) ≤ β` (BC-VER-13). -/
theorem clean_first_confidence (isFalse : α → Bool) (m n q num den : Nat) (rows : List α) (hmn : m ≤ n)
    (small : den * binom (rows.length - q) m ≤ num * binom rows.length m)
    (atLeast : q ≤ rows.countP isFalse) :
    den * (orders n rows).countP (cleanFirst isFalse m) ≤ num * (orders n rows).length := by
  obtain ⟨i, rfl⟩ := Nat.exists_eq_add_of_le hmn
  have h1 : binom (rows.countP fun r => !isFalse r) m ≤ binom (rows.length - q) m := by
    rw [countP_not]
    exact binom_mono (by omega) m
  have h2 := Nat.le_trans (Nat.mul_le_mul_left den h1) small
  rw [countP_cleanFirst, length_orders, falling_split, falling_eq_binom, falling_eq_binom rows.length m]
  have h3 := Nat.mul_le_mul_left (factorial m * falling (rows.length - m) i) h2
  generalize binom (rows.countP fun r => !isFalse r) m = a at h3 ⊢
  generalize binom rows.length m = b at h3 ⊢
  generalize falling (rows.length - m) i = c at h3 ⊢
  generalize factorial m = f at h3 ⊢
  calc den * (f * a * c) = f * c * (den * a) := by grind
    _ ≤ f * c * (num * b) := h3
    _ = num * (f * b * c) := by grind

/-- Stopping after some `m` of `n` rows would state something wrong: none of them is false, and `q m` or more
rows are. -/
def wrongSomewhere (isFalse : α → Bool) (q : Nat → Nat) (k : Nat) (order : List α) : Nat → Bool
  | 0 => false
  | m + 1 => (decide (q (m + 1) ≤ k) && cleanFirst isFalse (m + 1) order) ||
      wrongSomewhere isFalse q k order m

theorem clean_of_wrongSomewhere (isFalse : α → Bool) (q : Nat → Nat) (k : Nat) (order : List α) (n : Nat)
    (h : wrongSomewhere isFalse q k order n = true) :
    ∃ m, 1 ≤ m ∧ m ≤ n ∧ q m ≤ k ∧ cleanFirst isFalse m order = true := by
  induction n with
  | zero => exact nomatch h
  | succ n ih =>
    simp only [wrongSomewhere, Bool.or_eq_true, Bool.and_eq_true, decide_eq_true_eq] at h
    rcases h with h | h
    · exact ⟨n + 1, by omega, by omega, h.1, h.2⟩
    · obtain ⟨m, h1, h2, h3⟩ := ih h
      exact ⟨m, h1, by omega, h3⟩

theorem cleanFirst_of_le (isFalse : α → Bool) (order : List α) (m m' : Nat) (h : m ≤ m')
    (clean : cleanFirst isFalse m' order = true) : cleanFirst isFalse m order = true := by
  simp only [cleanFirst, List.all_eq_true] at clean ⊢
  intro r hr
  refine clean r ?_
  rw [show m = min m m' by omega, ← List.take_take] at hr
  exact List.mem_of_mem_take hr

/-- **Stopping at any completed prefix is valid** (BC-VER-13, 15).  Rows are taken in a random order of `n`,
and after `m ≥ 1` confirmed ones it is stated that fewer than `q m` are false, `q m` satisfying the inequality
of BC-VER-13.  For at most the fraction `β` of the orders is there any place at which that would be wrong: so
whoever stops, for whatever reason, states something wrong for at most that fraction. -/
theorem stopping_confidence (isFalse : α → Bool) (n num den : Nat) (q : Nat → Nat) (rows : List α)
    (small : ∀ m, 1 ≤ m → m ≤ n → den * binom (rows.length - q m) m ≤ num * binom rows.length m) :
    den * (orders n rows).countP
        (fun order => wrongSomewhere isFalse q (rows.countP isFalse) order n) ≤
      num * (orders n rows).length := by
  by_cases hne : ∃ m, 1 ≤ m ∧ m ≤ n ∧ q m ≤ rows.countP isFalse
  · obtain ⟨m, hm⟩ := hne
    obtain ⟨m0, ⟨h1, h2, h3⟩, least⟩ := exists_least
      (Q := fun m => 1 ≤ m ∧ m ≤ n ∧ q m ≤ rows.countP isFalse) m hm
    refine Nat.le_trans (Nat.mul_le_mul_left den ?_)
      (clean_first_confidence isFalse m0 n (q m0) num den rows h2 (small m0 h1 h2) h3)
    apply List.countP_mono_left
    intro order _ h
    obtain ⟨m, g1, g2, g3, g4⟩ := clean_of_wrongSomewhere _ _ _ _ _ h
    exact cleanFirst_of_le isFalse order m0 m (least m ⟨g1, g2, g3⟩) g4
  · have none : (orders n rows).countP
        (fun order => wrongSomewhere isFalse q (rows.countP isFalse) order n) = 0 := by
      rw [List.countP_eq_zero]
      intro order _ h
      obtain ⟨m, g1, g2, g3, _⟩ := clean_of_wrongSomewhere _ _ _ _ _ h
      exact hne ⟨m, g1, g2, g3⟩
    rw [none]
    exact Nat.zero_le _

end BlockCert
