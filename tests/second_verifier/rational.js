'use strict';
// Exact rational numbers, decimal strings and their roundings: spec/03-numbers.md, BC-NUM-01 to 05.

const { refuse } = require('./refusal');

/** A rational number `n / d`, `d > 0`, as two BigInts; not reduced. */
class Rational {
  constructor(n, d = 1n) {
    this.n = n;
    this.d = d;
  }

  static of(value) {
    return new Rational(BigInt(value));
  }

  /** The exact value of a finite float64. */
  static fromFloat(x) {
    let exponent = 0;
    let y = x;
    while (!Number.isInteger(y)) {
      y *= 2;
      exponent += 1;
    }
    return new Rational(BigInt(y), 1n << BigInt(exponent));
  }

  /** The exact value of a decimal string in the grammar of BC-NUM-01. */
  static parse(text) {
    if (!/^-?(0|[1-9][0-9]{0,39})(\.[0-9]{0,39}[1-9])?$/.test(text) || text === '-0') refuse('number.grammar', text);
    const [whole, fraction = ''] = text.split('.');
    return new Rational(BigInt(whole + fraction), 10n ** BigInt(fraction.length));
  }

  add(other) {
    if (this.d === other.d) return new Rational(this.n + other.n, this.d);
    return new Rational(this.n * other.d + other.n * this.d, this.d * other.d);
  }

  neg() {
    return new Rational(-this.n, this.d);
  }

  sub(other) {
    return this.add(other.neg());
  }

  mul(other) {
    return new Rational(this.n * other.n, this.d * other.d);
  }

  div(other) {
    const sign = other.n < 0n ? -1n : 1n;
    return new Rational(sign * this.n * other.d, sign * this.d * other.n);
  }

  abs() {
    return this.n < 0n ? this.neg() : this;
  }

  compare(other) {
    const left = this.n * other.d;
    const right = other.n * this.d;
    return left < right ? -1 : left > right ? 1 : 0;
  }

  lt(other) {
    return this.compare(other) < 0;
  }

  le(other) {
    return this.compare(other) <= 0;
  }

  isZero() {
    return this.n === 0n;
  }
}

const ZERO = new Rational(0n);

function max(values) {
  return values.reduce((a, b) => (a.lt(b) ? b : a));
}

function sum(values) {
  return values.reduce((a, b) => a.add(b), ZERO);
}

function floorDiv(n, d) {
  const q = n / d;
  return n % d !== 0n && n < 0n ? q - 1n : q;
}

function ceilDiv(n, d) {
  return -floorDiv(-n, d);
}

/** `units * 10^-places` in the grammar of BC-NUM-01; null where it has more than 40 digits before the point. */
function spell(units, places) {
  const sign = units < 0n ? '-' : '';
  const digits = (units < 0n ? -units : units).toString().padStart(places + 1, '0');
  const whole = places === 0 ? digits : digits.slice(0, -places);
  const fraction = places === 0 ? '' : digits.slice(-places).replace(/0+$/, '');
  if (whole.length > 40) return null;
  return sign + whole + (fraction === '' ? '' : `.${fraction}`);
}

/** floor(log10 v) of `v > 0`. */
function decade(v) {
  let e = v.n.toString().length - v.d.toString().length;
  const power = (k) => (k >= 0 ? new Rational(10n ** BigInt(k)) : new Rational(1n, 10n ** BigInt(-k)));
  while (v.lt(power(e))) e -= 1;
  while (power(e + 1).le(v)) e += 1;
  return e;
}

/** The bound of BC-NUM-03 for `v >= 0`; 0 gives `0` (the zero rule BC-NUM-04 is `bound`'s). */
function roundUp(v) {
  if (v.isZero()) return '0';
  const p = Math.min(30, 5 - decade(v));
  if (p >= 0) return spell(ceilDiv(v.n * 10n ** BigInt(p), v.d), p);
  const unit = 10n ** BigInt(-p);
  return spell(ceilDiv(v.n, v.d * unit) * unit, 0);
}

const ONE_UNIT = '0.000000000000000000000000000001';

/** A bound with the zero rule BC-NUM-04. */
function bound(v, sameProgram) {
  if (v.isZero()) return sameProgram ? '0' : ONE_UNIT;
  return roundUp(v);
}

function share(v) {
  return spell(floorDiv(v.n * 1000000n, v.d), 6);
}

/** To nearest, ties to even, at 9 decimals. */
function mean(v) {
  const n = 2n * v.n * 1000000000n + v.d;
  const d = 2n * v.d;
  let units = floorDiv(n, d);
  if (units * d === n && units % 2n !== 0n) units -= 1n;
  return spell(units, 9);
}

module.exports = { Rational, ZERO, max, sum, roundUp, bound, share, mean };
