'use strict';
// Three arithmetics for one evaluator: float64, float32, and pairs of float64 (106 bits) for the higher precision of
// BC-VER-10. Pairs: T. J. Dekker, "A floating-point technique for extending the available precision", 1971.

const { Rational } = require('./rational');

/** The float64 next to a rational, within an ulp or two. */
function approximate(v) {
  if (v.n === 0n) return 0;
  const negative = v.n < 0n;
  const n = negative ? -v.n : v.n;
  const shift = v.d.toString(2).length - n.toString(2).length + 64;
  const q = shift >= 0 ? (n << BigInt(shift)) / v.d : n / (v.d << BigInt(-shift));
  const x = Number(q) * 2 ** -Math.trunc(shift / 2) * 2 ** -(shift - Math.trunc(shift / 2));
  return negative ? -x : x;
}

/** erf(x), from a series whose terms have one sign. */
function erf(x) {
  const a = Math.abs(x);
  if (a > 6) return Math.sign(x);
  let term = a;
  let total = 0;
  for (let n = 1; term > total * 1e-17; n += 1) {
    total += term;
    term *= (2 * a * a) / (2 * n + 1);
  }
  return Math.sign(x) * Math.min(1, (2 / Math.sqrt(Math.PI)) * Math.exp(-a * a) * total);
}

const float64 = {
  of: (x) => x,
  decimal: (text) => Number(text),
  rational: approximate,
  number: (a) => a,
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  sqrt: Math.sqrt,
  exp: Math.exp,
  log: Math.log,
  tanh: Math.tanh,
  erf,
  cosSin: (a) => [Math.cos(a), Math.sin(a)],
  pi: Math.PI,
};

const rounded = (f) => (...operands) => Math.fround(f(...operands));

const float32 = {
  of: Math.fround,
  decimal: rounded(Number),
  rational: rounded(approximate),
  number: (a) => a,
  add: rounded(float64.add),
  sub: rounded(float64.sub),
  mul: rounded(float64.mul),
  div: rounded(float64.div),
  sqrt: rounded(Math.sqrt),
  exp: rounded(Math.exp),
  log: rounded(Math.log),
  tanh: rounded(Math.tanh),
  erf: rounded(erf),
  cosSin: (a) => [Math.fround(Math.cos(a)), Math.fround(Math.sin(a))],
  pi: Math.fround(Math.PI),
};

function quick(a, b) {
  const s = a + b;
  return [s, b - (s - a)];
}

function twoSum(a, b) {
  const s = a + b;
  const c = s - a;
  return [s, (a - (s - c)) + (b - c)];
}

function split(a) {
  const c = 134217729 * a;
  const high = c - (c - a);
  return [high, a - high];
}

function twoProduct(a, b) {
  const p = a * b;
  const [ah, al] = split(a);
  const [bh, bl] = split(b);
  return [p, ((ah * bh - p) + ah * bl + al * bh) + al * bl];
}

const add = ([ah, al], [bh, bl]) => {
  const [s, e] = twoSum(ah, bh);
  const [t, f] = twoSum(al, bl);
  const [u, g] = quick(s, e + t);
  return quick(u, g + f);
};
const negative = ([h, l]) => [-h, -l];
const sub = (a, b) => add(a, negative(b));
const mul = ([ah, al], [bh, bl]) => {
  const [p, e] = twoProduct(ah, bh);
  return quick(p, e + (ah * bl + al * bh));
};
const scale = ([h, l], k) => [h * k, l * k];
const div = (a, b) => {
  const q = a[0] / b[0];
  const r = sub(a, mul(b, [q, 0]));
  const q2 = r[0] / b[0];
  const r2 = sub(r, mul(b, [q2, 0]));
  return add(quick(q, q2), [r2[0] / b[0], 0]);
};
const sqrt = (a) => {
  if (a[0] <= 0) return [0, 0];
  const x = Math.sqrt(a[0]);
  const rest = sub(a, twoProduct(x, x));
  return quick(x, rest[0] / (2 * x));
};

function fromRational(v) {
  const high = approximate(v);
  const low = approximate(v.sub(Rational.fromFloat(high)));
  return quick(high, low);
}

const LN2 = fromRational(Rational.parse('0.6931471805599453094172321214581765680755'));
const PI = fromRational(Rational.parse('3.141592653589793238462643383279502884197'));
const HALF_PI = scale(PI, 0.5);

const exp = (a) => {
  if (a[0] < -745) return [0, 0];
  const k = Math.round(a[0] / LN2[0]);
  const r = scale(sub(a, mul(LN2, [k, 0])), 1 / 256);
  let term = r;
  let total = r;
  for (let n = 2; n < 16; n += 1) {
    term = div(mul(term, r), [n, 0]);
    total = add(total, term);
  }
  // exp(r) - 1 is doubled eight times as (1 + y)^2 - 1 = 2 y + y^2, so that no digit of it is lost.
  for (let i = 0; i < 8; i += 1) total = add(scale(total, 2), mul(total, total));
  return scale(scale(add(total, [1, 0]), 2 ** Math.trunc(k / 2)), 2 ** (k - Math.trunc(k / 2)));
};
const log = (a) => {
  const x = [Math.log(a[0]), 0];
  return add(x, sub(mul(a, exp(negative(x))), [1, 0]));
};
const tanh = (a) => {
  if (a[0] === 0) return a;
  if (a[0] < 0) return negative(tanh(negative(a)));
  if (a[0] < 0.05) {
    const square = mul(a, a);
    let sinh = a;
    let term = a;
    for (let n = 1; n < 12; n += 1) {
      term = div(mul(term, square), [2 * n * (2 * n + 1), 0]);
      sinh = add(sinh, term);
    }
    return div(sinh, sqrt(add([1, 0], mul(sinh, sinh))));
  }
  const e = exp(scale(a, -2));
  return div(sub([1, 0], e), add([1, 0], e));
};
const TWO_OVER_ROOT_PI = div([2, 0], sqrt(PI));
const erfPair = (x) => {
  if (x[0] < 0) return negative(erfPair(negative(x)));
  if (x[0] > 9) return [1, 0];
  const twice = scale(mul(x, x), 2);
  let term = x;
  let total = [0, 0];
  for (let n = 1; term[0] > total[0] * 1e-34; n += 1) {
    total = add(total, term);
    term = div(mul(term, twice), [2 * n + 1, 0]);
  }
  return mul(mul(TWO_OVER_ROOT_PI, exp(negative(mul(x, x)))), total);
};
const cosSin = (a) => {
  const quarter = Math.round(a[0] / HALF_PI[0]);
  const r = sub(a, mul(HALF_PI, [quarter, 0]));
  const square = mul(r, r);
  const series = (first, from) => {
    let term = first;
    let total = first;
    for (let n = from; n < from + 28; n += 2) {
      term = negative(div(mul(term, square), [n * (n + 1), 0]));
      total = add(total, term);
    }
    return total;
  };
  const c = series([1, 0], 1);
  const s = series(r, 2);
  return [[c, s], [negative(s), c], [negative(c), negative(s)], [s, negative(c)]][((quarter % 4) + 4) % 4];
};

const pairs = {
  of: (x) => [x, 0],
  decimal: (text) => fromRational(Rational.parse(text)),
  rational: fromRational,
  number: ([h, l]) => h + l,
  add, sub, mul, div, sqrt, exp, log, tanh, erf: erfPair, cosSin, pi: PI,
};

module.exports = { float64, float32, pairs };
