'use strict';
// The bound over a population: spec/08-claims.md, BC-CLM-07.

const { refuse } = require('./refusal');
const { Rational } = require('./rational');

const BITS = 448n;
const ONE = 1n << BITS;
const MARGIN = 1n << (BITS - 256n);
const EXACT_WORK = 4096;

// P[Hyp(M, K, N) >= s] in units of 2^-448, off by less than 2^-300: terms are taken relative to the largest, in fixed
// point, as far out as any is above 0. Each is off by at most one unit for every step from the largest.
function tail(M, K, N, s) {
  const low = Math.max(0, N - (M - K));
  const high = Math.min(N, K);
  if (s <= low) return ONE;
  if (s > high) return 0n;
  const [bM, bK, bN] = [BigInt(M), BigInt(K), BigInt(N)];
  let mode = Number(((bN + 1n) * (bK + 1n)) / (bM + 2n));
  mode = Math.min(high, Math.max(low, mode));
  let all = ONE;
  let above = mode >= s ? ONE : 0n;
  let term = ONE;
  for (let j = mode; j < high && term > 0n; j += 1) {
    const b = BigInt(j);
    term = (term * (bK - b) * (bN - b)) / ((b + 1n) * (bM - bK - bN + b + 1n));
    all += term;
    if (j + 1 >= s) above += term;
  }
  term = ONE;
  for (let j = mode; j > low && term > 0n; j -= 1) {
    const b = BigInt(j);
    term = (term * b * (bM - bK - bN + b)) / ((bK - b + 1n) * (bN - b + 1n));
    all += term;
    if (j - 1 >= s) above += term;
  }
  return (above << BITS) / all;
}

function choose(n, k) {
  let result = 1n;
  const least = k < n - k ? k : n - k;
  for (let i = 1n; i <= least; i += 1n) result = (result * (n - least + i)) / i;
  return result;
}

// Whether P[Hyp(M, K, N) >= s] > level, in integers.
function exceedsExactly(M, K, N, s, level) {
  if (Math.min(K, M - K, N, M - N) > EXACT_WORK) {
    const symmetric = 2n * level.n === level.d && (2 * K === M || 2 * N === M) && symmetricHalf(M, K, N, s);
    if (symmetric) return false;
    refuse('statistics.work');
  }
  const [bM, bK, bN] = [BigInt(M), BigInt(K), BigInt(N)];
  const low = Math.max(s, 0, N - (M - K));
  const high = Math.min(N, K);
  let term = choose(bK, BigInt(low)) * choose(bM - bK, bN - BigInt(low));
  let total = 0n;
  for (let j = BigInt(low); j <= BigInt(high); j += 1n) {
    total += term;
    term = (term * (bK - j) * (bN - j)) / ((j + 1n) * (bM - bK - bN + j + 1n));
  }
  return total * level.d > level.n * choose(bM, bN);
}

// With half of the windows good, or half of them drawn, the count is symmetric; an even number of values then has
// exactly half of the probability at and above the upper middle one.
function symmetricHalf(M, K, N, s) {
  const values = 2 * K === M ? N : K;
  return values % 2 === 1 && s === (values + 1) / 2;
}

function exceeds(M, K, N, s, level) {
  const p = tail(M, K, N, s);
  const q = (level.n << BITS) / level.d;
  if (p > q + MARGIN) return true;
  if (p + MARGIN < q) return false;
  return exceedsExactly(M, K, N, s, level);
}

/** The least `K` in `0 … M` with `P[Hyp(M, K, N) >= s] > level`, and 0 where `s` is 0. */
function atLeast(M, N, s, level) {
  if (s === 0) return 0;
  let low = 0;
  let high = M;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (exceeds(M, middle, N, s, level)) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** P[Hyp(M, K, N) <= f] as a rational. */
function lowerTail(M, K, N, f) {
  let total = 0n;
  for (let j = Math.max(0, N - (M - K)); j <= Math.min(f, K, N); j += 1) {
    total += choose(BigInt(K), BigInt(j)) * choose(BigInt(M - K), BigInt(N - j));
  }
  return new Rational(total, choose(BigInt(M), BigInt(N)));
}

module.exports = { atLeast, lowerTail, choose };
