'use strict';
// Replay: spec/10-verification.md, BC-VER-06 to 11.

const crypto = require('node:crypto');
const { compile } = require('./compile');
const { costs } = require('./costs');
const { follow, followFloat32 } = require('./trajectories');
const { measure, isResolved } = require('./measure');
const { float64, pairs } = require('./arithmetic');
const { Noise } = require('./evaluator');
const { drawRows } = require('./draw');
const { refuse } = require('./refusal');

const REFERENCE = 'reference/';

/** Both programs with their weights; what cannot be read is a finding of `step`. */
function compileBoth(programs, bundle, model, length, step, report) {
  const files = (name) => (name.startsWith(REFERENCE) ? model.get(name) : bundle.files.has(name) && bundle.read(name));
  const compiled = {};
  for (const side of ['reference', 'surrogate']) {
    compiled[side] = report.attempt(step, () => compile(programs[side], files, length));
  }
  return compiled;
}

function checkKept(predicate, programs, report) {
  const { kept } = predicate.surrogate;
  const { length } = predicate.prompts.frame;
  for (const side of ['reference', 'surrogate']) {
    report.attempt('replay', () => {
      costs(programs[side], length).forEach((cost, i) => {
        for (const [name, value] of Object.entries(cost)) {
          if (kept[side][i][name] !== value) refuse('replay.kept.mismatch', `${side} ${i} ${name}`);
        }
      });
    });
  }
}

function cellsOf(programs, same, tokens, thresholds, attribution, arithmetic, noise) {
  const paths = follow(programs, same, tokens, attribution, arithmetic, noise);
  const floor = arithmetic === float64 && noise === null ? followFloat32(programs, tokens, paths.X) : null;
  return { paths, ...measure(paths, thresholds, arithmetic, floor) };
}

/** A row measured: its cells, and `confirmed`, `unresolved` or `crashed` for what the measurement alone says. */
function measureRow(programs, same, tokens, thresholds, attribution = false) {
  const first = cellsOf(programs, same, tokens, thresholds, attribution, float64, null);
  const { cells } = first;
  for (const list of cells.values()) if (!list.every((cell) => Number.isFinite(cell.v))) return { cells, verdict: 'crashed' };
  if (!isResolved(first.paths, first, float64)) return { cells, verdict: 'unresolved' };
  const noisy = cellsOf(programs, same, tokens, thresholds, attribution, float64, new Noise()).cells;
  for (const [name, list] of noisy) {
    if (!list.every((cell, k) => cells.get(name)[k].holds(cell.v))) return { cells, verdict: 'unresolved' };
  }
  return { cells, verdict: 'confirmed' };
}

/** One of `confirmed`, `unresolved`, `crashed`, `refuted`, of certification row `p`. */
function judgeRow(context, p) {
  const { predicate, programs, same, evidence } = context;
  const { thresholds } = predicate;
  const tokens = Array.from(context.prompts[predicate.prompts.frame.calibration + p]);
  const attribution = p < predicate.evidence.attribution_rows;
  const { cells, verdict } = measureRow(programs, same, tokens, thresholds, attribution);
  if (verdict !== 'confirmed') return verdict;
  let precise;
  const again = () => (precise ??= cellsOf(programs, same, tokens, thresholds, attribution, pairs, null).cells);
  const enclosed = p < (predicate.claims.enclosures?.rows ?? 0);
  for (const [name, list] of cells) {
    // The float32 floor has no higher precision.
    const inside = (column, bracket) => evidence.get(column).row(p).every(
      (r, k) => list[k][bracket](r) || again().get(name)?.[k][bracket](r) === true,
    );
    if (!inside(name, 'holds')) return 'refuted';
    if (enclosed && evidence.has(`enclosure.${name}`) && !inside(`enclosure.${name}`, 'allows')) return 'refuted';
  }
  return 'confirmed';
}

/** Adds findings on the rows drawn, and returns how many rows an audit confirmed (BC-TRU-11). */
function replay(request, bundle, model, document, certificate, programs, recomputed, report) {
  const { predicate } = document;
  const compiled = compileBoth(programs, bundle, model, predicate.prompts.frame.length, 'replay', report);
  if (report.failed()) return 0;
  checkKept(predicate, compiled, report);
  if (report.failed()) return 0;
  const N = predicate.evidence.rows;
  const wanted = request.replay === 'all' ? N : Math.min(request.replay, N);
  const seed = request.seed ?? crypto.randomBytes(32).toString('hex');
  const context = { predicate, programs: compiled, ...recomputed };
  const codes = { unresolved: 'replay.row.unresolved', crashed: 'replay.row.crashed', refuted: 'replay.cell.refuted' };
  let confirmed = 0;
  for (const p of drawRows(certificate, seed, N, wanted)) {
    const verdict = judgeRow(context, p);
    if (verdict === 'confirmed') confirmed += 1;
    else report.add('replay', codes[verdict], verdict === 'unresolved' ? 'inconclusive' : 'failed', `row ${p}`);
    if (report.failed()) return 0;
  }
  if (confirmed === wanted) report.add('replay', 'replay.rows', 'passed');
  return request.seed === null || wanted === N ? confirmed : 0;
}

module.exports = { replay, measureRow, compileBoth };
