'use strict';
// The cells of one row and their brackets: spec/07-evidence.md and BC-VER-09.

const D = 1e-6;
const TAU = 1e-9;

class Tools {
  constructor(arithmetic) {
    this.A = arithmetic;
  }

  norm(row) {
    const { of, add, mul, sqrt, number } = this.A;
    let total = of(0);
    for (const x of row) total = add(total, mul(x, x));
    return number(sqrt(total));
  }

  norms(X) {
    return X.map((row) => this.norm(row));
  }

  distances(X, Y) {
    if (X === Y) return X.map(() => 0);
    return X.map((row, t) => this.norm(row.map((x, j) => this.A.sub(x, Y[t][j]))));
  }

  largest(row) {
    return Math.max(...row.map((x) => Math.abs(this.A.number(x))));
  }

  largestDifference(a, b) {
    return a === b ? 0 : Math.max(...a.map((x, v) => Math.abs(this.A.number(this.A.sub(x, b[v])))));
  }

  // log softmax of a row, in the arithmetic.
  logSoftmax(row) {
    const { number, sub, exp, add, log } = this.A;
    const most = row.reduce((a, b) => (number(sub(b, a)) > 0 ? b : a));
    const shifted = row.map((x) => sub(x, most));
    const total = log(shifted.map(exp).reduce(add));
    return shifted.map((x) => sub(x, total));
  }
}

// A cell has its value, whether a recorded value lies in its bracket, the lower end of the bracket, and whether a proven end
// lies in the bracket that goes on without an end on its side.
function close(v, slack) {
  const holds = (r) => Math.abs(r - v) <= D * Math.max(Math.abs(r), Math.abs(v)) + slack;
  return { v, low: v * (1 - D) - slack, holds, allows: (r) => r >= v || holds(r) };
}

function exactly(v) {
  const holds = (r) => r === v;
  return { v, low: v, holds, allows: holds };
}

function ratioAt(a, b, tau) {
  return a <= tau && b <= tau ? 0 : a / b;
}

/** The largest ratio over positions, with its bracket. */
function ratio(a, b, tau) {
  let v = 0;
  let low = 0;
  let high = 0;
  for (let t = 0; t < a.length; t += 1) {
    v = Math.max(v, ratioAt(a[t], b[t], tau[t]));
    low = Math.max(low, Math.max(0, a[t] - tau[t]) / (b[t] + tau[t]));
    high = Math.max(high, b[t] <= tau[t] ? Infinity : (a[t] + tau[t]) / (b[t] - tau[t]));
  }
  const allows = (r) => (1 - D) * low <= r;
  return { v, low: (1 - D) * low, holds: (r) => allows(r) && r <= (1 + D) * high, allows };
}

/** A count, from what holds at each position: `[is, certainly, possibly]`. */
function count(positions) {
  const number = (k) => positions.filter((one) => one[k]).length;
  const [v, certain, possible] = [number(0), number(1), number(2)];
  const allows = (r) => r <= Math.max(v, possible);
  const open = Math.max(v, possible) - Math.min(v, certain);
  return { v, open, holds: (r) => Math.min(v, certain) <= r && allows(r), allows };
}

function covered(a, b, tau, h) {
  return count(a.map((_, t) => [
    ratioAt(a[t], b[t], tau[t]) <= h,
    a[t] + tau[t] <= h * (1 - D) * (b[t] - tau[t]),
    a[t] - tau[t] <= h * (1 + D) * (b[t] + tau[t]),
  ]));
}

// The reference's logits beside others: what counts of agreement need.
function comparison(tools, P, Q) {
  const { number } = tools.A;
  return P.map((row, t) => {
    const p = row.map(number);
    const q = Q[t].map(number);
    const scale = Math.max(tools.largest(row), tools.largest(Q[t]));
    const difference = tools.largestDifference(row, Q[t]);
    const sorted = [...p].sort((a, b) => b - a);
    return { p, q, scale, c: TAU * scale, difference, margin: sorted.length > 1 ? sorted[0] - sorted[1] : Infinity };
  });
}

function top1(rows) {
  return count(rows.map(({ p, q, c }) => {
    const [mp, mq] = [Math.max(...p), Math.max(...q)];
    const nearP = p.map((x, v) => (x >= mp - 2 * c ? v : -1)).filter((v) => v >= 0);
    const nearQ = q.map((x, v) => (x >= mq - 2 * c ? v : -1)).filter((v) => v >= 0);
    return [
      p.indexOf(mp) === q.indexOf(mq),
      nearP.length === 1 && nearQ.length === 1 && nearP[0] === nearQ[0],
      nearP.some((v) => nearQ.includes(v)),
    ];
  }));
}

function decided(rows) {
  return count(rows.map(({ margin, difference, c }) => {
    const g = margin - 2 * difference;
    return [g > 0, g > 4 * c, g > -4 * c];
  }));
}

function within(differences, scales, h) {
  return count(differences.map((difference, t) => {
    const d = Math.abs(difference);
    const s = TAU + 2 * TAU * scales[t];
    return [d <= h, d * (1 + D) + s <= h, d * (1 - D) - s <= h];
  }));
}

/** Cells by column name, flat and row-major, of one row. */
function measure(paths, thresholds, arithmetic, floor) {
  const tools = new Tools(arithmetic);
  const { sub, mul, exp, number } = arithmetic;
  const { X, local, Y, same, tokens, identity } = paths;
  const head = same.length - 1;
  const n = head - 1;
  const T = tokens.length;
  const relative = thresholds.relative.map(Number);
  const losses = thresholds.loss.map(Number);
  const norms = X.map((one) => tools.norms(one));
  const scales = [];
  norms.forEach((list, i) => scales.push(list.map((x, t) => (i === 0 ? x : Math.max(x, scales[i - 1][t])))));
  const taus = scales.map((list) => list.map((x) => TAU * x));
  const tauOf = (i) => Math.max(...taus[i]);
  const cells = new Map();
  const put = (name, ...list) => cells.set(name, [...(cells.get(name) ?? []), ...list]);
  const zeros = Array.from({ length: T }, () => 0);
  const greatest = (list) => list.reduce((a, b) => (Number.isNaN(b) || b > a ? b : a), 0);

  let prefix = true;
  for (let i = 0; i <= head; i += 1) {
    prefix &&= same[i];
    const isBlock = i > 0 && i < head;
    const error = same[i] ? zeros : tools.distances(X[i], local[i]);
    const drift = prefix ? zeros : tools.distances(X[i], Y[i]);
    const update = isBlock ? tools.distances(X[i], X[i - 1]) : zeros;
    const fromStart = i === 0 ? zeros : tools.distances(X[i], i === head ? identity : X[0]);
    const tau = taus[i];
    put('error', same[i] ? exactly(0) : close(greatest(error), tauOf(i)));
    put('relative_error', same[i] ? exactly(0) : ratio(error, norms[i], tau));
    if (isBlock) put('relative_update_error', same[i] ? exactly(0) : ratio(error, update, tau));
    for (const h of relative) put('covered', same[i] ? exactly(T) : covered(error, norms[i], tau, h));
    put('drift', prefix ? exactly(0) : close(greatest(drift), tauOf(i)));
    put('relative_drift', prefix ? exactly(0) : ratio(drift, norms[i], tau));
    put('identity.error', isBlock ? close(greatest(update), tauOf(i)) : exactly(0));
    put('identity.relative_error', isBlock ? ratio(update, norms[i], tau) : exactly(0));
    for (const h of relative) put('identity.covered', isBlock ? covered(update, norms[i], tau, h) : exactly(T));
    put('identity.drift', i === 0 ? exactly(0) : close(greatest(fromStart), tauOf(i)));
    put('identity.relative_drift', i === 0 ? exactly(0) : ratio(fromStart, norms[i], tau));
    if (floor) {
      const v = greatest(tools.distances(X[i], floor[i]).map((a, t) => (a === 0 ? 0 : a / norms[i][t])));
      put('float32.relative_error', { v, holds: (r) => v / 16 - 1e-7 <= r && r <= 16 * v + 1e-7 });
    }
  }
  const sorted = [...norms[n]].sort((a, b) => a - b);
  put('final_norm', close(sorted[Math.floor((T - 1) / 2)], tauOf(n)));

  const stitched = comparison(tools, X[head], Y[head]);
  const replaced = comparison(tools, X[head], identity);
  const all = same.every(Boolean);
  const agreement = (prefixName, rows, exact) => {
    const c = greatest(rows.map((row) => row.c));
    put(`${prefixName}logit_difference`, exact ? exactly(0) : close(greatest(rows.map((row) => row.difference)), c));
    put(`${prefixName}top1_agree`, exact ? exactly(T) : top1(rows));
    put(`${prefixName}decided`, decided(rows));
  };
  agreement('', stitched, all);
  agreement('identity.', replaced, false);

  const logP = X[head].slice(0, T - 1).map((row) => tools.logSoftmax(row));
  const lossesOf = (logs) => logs.map((row, t) => mul(arithmetic.of(-1), row[tokens[t + 1]]));
  const lossF = lossesOf(logP);
  const sumUp = (list) => number(list.reduce(arithmetic.add, arithmetic.of(0)));
  const logQ = all ? logP : Y[head].slice(0, T - 1).map((row) => tools.logSoftmax(row));
  const lossG = lossesOf(logQ);
  const slack = TAU * T;
  put('loss_reference', close(sumUp(lossF), slack));
  put('loss_surrogate', close(sumUp(lossG), slack));
  const differences = lossG.map((l, t) => sub(l, lossF[t]));
  put('loss_difference', all ? exactly(0) : close(sumUp(differences), slack));
  const scaleOf = (rows) => rows.map((row) => row.scale);
  for (const h of losses) put('loss_within', all ? exactly(T - 1) : within(differences.map(number), scaleOf(stitched), h));
  const divergence = logP.map((row, t) => {
    const terms = row.map((p, v) => mul(exp(p), sub(p, logQ[t][v])));
    return Math.max(0, sumUp(terms));
  });
  put('kl_sum', all ? exactly(0) : close(divergence.reduce((a, b) => a + b, 0), slack));
  put('kl_max', all ? exactly(0) : close(greatest(divergence), slack));

  if (paths.single) {
    paths.single.forEach((logits, i) => {
      const scale = logits.map((row, t) => Math.max(stitched[t].scale, tools.largest(row)));
      const logs = same[i] ? logP : logits.slice(0, T - 1).map((row) => tools.logSoftmax(row));
      const delta = lossesOf(logs).map((l, t) => number(sub(l, lossF[t])));
      for (const h of losses) put('attribution.loss_within', same[i] ? exactly(T - 1) : within(delta, scale, h));
    });
    paths.hybrid.forEach((H, i) => {
      const before = i === 0 ? paths.hybridStart : paths.hybrid[i - 1];
      put('attribution.hybrid_step', same[i] ? exactly(0) : close(greatest(tools.distances(H, before)), tauOf(n)));
    });
  }
  return { cells, norms, scales, stitched };
}

/** BC-EVD-08, 1 to 3 and 5: whether float64 resolves the row. */
function isResolved(paths, measured, arithmetic) {
  const tools = new Tools(arithmetic);
  const { norms, scales, stitched } = measured;
  const head = paths.same.length - 1;
  const small = scales.every((list, i) => list.every((s, t) => s <= 1e4 * norms[i][t]));
  if (!small) return false;
  const most = Math.max(1, Math.floor(paths.X[head].length / 64));
  for (const list of measured.cells.values()) if (list.some((cell) => cell.open > most)) return false;
  const spread = paths.X[head].every((row, t) => {
    const numbers = row.map(arithmetic.number);
    const single = (paths.single ?? []).map((logits) => tools.largest(logits[t]));
    return Math.max(stitched[t].scale, ...single) <= 1e4 * (Math.max(...numbers) - Math.min(...numbers));
  });
  if (!spread) return false;
  return paths.watched.every(({ watch, stage, output }) => {
    const sizes = tools.norms(output);
    const tame = watch.magnitudes.every((list) => list.every((m, t) => m <= 1e6 * Math.max(scales[stage][t], sizes[t])));
    return tame && watch.scores.every((list) => list.every((score) => score <= 1e6));
  });
}

module.exports = { measure, isResolved };
