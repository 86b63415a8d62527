'use strict';
// Fresh prompts: spec/10-verification.md, BC-VER-20 to 23.

const crypto = require('node:crypto');
const { drawFresh } = require('./draw');
const { measureRow, compileBoth } = require('./replay');
const { satisfies } = require('./claims');
const { atLeast, lowerTail, choose } = require('./statistics');
const { Rational } = require('./rational');

const BETA = new Rational(1n, 100n);
const MOST = 4096;

// What a maximum of the certificate states, and the row's cell beside it.
function maxima(predicate, same) {
  const { claims } = predicate;
  const n = same.length - 2;
  const list = [];
  claims.stages.forEach((stage, i) => {
    if (same[i]) return;
    list.push({ stated: stage.error, column: 'error', at: i }, { stated: stage.relative_error, column: 'relative_error', at: i });
  });
  const end = claims.end_to_end;
  list.push({ stated: end.drift, column: 'drift', at: n }, { stated: end.relative_drift, column: 'relative_drift', at: n });
  list.push({ stated: end.logit_difference, column: 'logit_difference', at: 0 }, { stated: end.kl_max, column: 'kl_max', at: 0 });
  return list;
}

function above(row, { stated, column, at }) {
  if (row.verdict === 'crashed') return true;
  if (row.verdict !== 'confirmed') return false;
  const { low } = row.cells.get(column)[at];
  return Rational.parse(stated).lt(Rational.fromFloat(low));
}

function success(row, one, predicate) {
  if (row.verdict !== 'confirmed') return false;
  const R = predicate.thresholds.relative.length;
  return satisfies(one, predicate, (name, i = 0, r = 0) => row.cells.get(name)[name === 'covered' ? i * R + r : i].v);
}

/** Measures windows that nobody listed and adds what follows. `all` are the frame's windows, or null. */
function checkFresh(request, bundle, model, document, certificate, programs, recomputed, all, report) {
  const notRun = () => report.add('fresh', 'fresh.not_run', 'skipped');
  const { predicate } = document;
  const { frame } = predicate.prompts;
  const { windows, same } = recomputed;
  const listed = [...windows.calibration, ...windows.certification];
  const unused = frame.windows - listed.length;
  if (request.fresh === 0 || model === null || all === null || unused === 0) {
    notRun();
    return;
  }
  const seed = request.seed ?? crypto.randomBytes(32).toString('hex');
  const drawn = drawFresh(certificate, seed, frame.windows, listed, Math.min(request.fresh, MOST));
  const compiled = compileBoth(programs, bundle, model, frame.length, 'fresh', report);
  if (report.failed()) return;
  const rows = drawn.map((window) => measureRow(compiled, same, all[window], predicate.thresholds));
  const m = rows.length;
  const n = predicate.evidence.rows;
  const unresolved = rows.filter((row) => row.verdict === 'unresolved').length;
  if (unresolved === m) {
    report.add('fresh', 'fresh.unresolved', 'inconclusive');
    return;
  }
  const { claims } = predicate.claims.population;
  const k = claims.length;
  const tests = maxima(predicate, same);
  const chance = BETA.div(Rational.of(k + tests.length));
  for (const claim of claims) {
    const s = claim.successes;
    const f = rows.filter((row) => success(row, claim.predicate, predicate)).length;
    const most = unused - atLeast(unused, m, m - f - unresolved, BETA.div(Rational.of(k)));
    if (s + most < claim.at_least) report.add('fresh', 'fresh.claim.refuted', 'failed', JSON.stringify(claim.predicate));
    if (lowerTail(n + m, s + f, m, f).le(chance)) report.add('fresh', 'fresh.disagreement', 'inconclusive', JSON.stringify(claim.predicate));
  }
  for (const test of tests) {
    const j = rows.filter((row) => above(row, test)).length;
    const probability = new Rational(choose(BigInt(m), BigInt(j)), choose(BigInt(n + m), BigInt(j)));
    if (probability.le(chance)) report.add('fresh', 'fresh.disagreement', 'inconclusive', `${test.column} ${test.at}`);
  }
  if (report.status('fresh') === 'skipped') report.add('fresh', 'fresh.rows', 'passed');
}

module.exports = { checkFresh };
