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

function checkKept(predicate, programs, report) {
  const { kept } = predicate.surrogate;
  const { length } = predicate.prompts.frame;
  for (const side of ['reference', 'surrogate']) {
    report.attempt('replay', () => {
      costs(programs[side], length).forEach((cost, i) => {
        for (const [name, value] of Object.entries(cost)) if (kept[side][i][name] !== value) refuse('replay.kept.mismatch', `${side} ${i} ${name}`);
      });
    });
  }
}

class Row {
  constructor(context, p) {
    this.context = context;
    this.p = p;
    this.tokens = Array.from(context.prompts[context.calibration + p]);
    this.attribution = p < context.predicate.evidence.attribution_rows;
  }

  measured(arithmetic, noise = null) {
    const { programs, same, predicate } = this.context;
    const paths = follow(programs, same, this.tokens, this.attribution, arithmetic, noise);
    const floor = arithmetic === float64 && noise === null ? followFloat32(programs, this.tokens, paths.X) : null;
    return { paths, ...measure(paths, predicate.thresholds, arithmetic, floor) };
  }

  // The names of columns with a cell outside its bracket, beside the first measurement.
  outside(cells) {
    const names = [];
    for (const [name, list] of cells) {
      const recorded = this.context.evidence.get(name).row(this.p);
      if (list.some((cell, k) => !cell.holds(recorded[k]))) names.push(name);
    }
    return names;
  }

  /** One of `confirmed`, `unresolved`, `crashed`, `refuted`. */
  verdict() {
    let first;
    try {
      first = this.measured(float64);
    } catch (error) {
      if (error instanceof RangeError) return 'crashed';
      throw error;
    }
    for (const list of first.cells.values()) if (!list.every((cell) => Number.isFinite(cell.v))) return 'crashed';
    if (!isResolved(first.paths, first, float64)) return 'unresolved';
    const noisy = this.measured(float64, new Noise()).cells;
    for (const [name, list] of noisy) {
      if (!list.every((cell, k) => first.cells.get(name)[k].holds(cell.v))) return 'unresolved';
    }
    const suspects = this.outside(first.cells);
    if (suspects.length === 0) return 'confirmed';
    if (suspects.includes('float32.relative_error')) return 'refuted';
    const again = this.measured(pairs).cells;
    for (const name of suspects) {
      const recorded = this.context.evidence.get(name).row(this.p);
      const bad = first.cells.get(name).some((cell, k) => !cell.holds(recorded[k]) && !again.get(name)[k].holds(recorded[k]));
      if (bad) return 'refuted';
    }
    return 'confirmed';
  }
}

/** Adds findings on the rows drawn, and returns how many rows an audit confirmed (BC-TRU-11). */
function replay(request, bundle, model, document, certificate, programs, recomputed, report) {
  const { predicate } = document;
  const length = predicate.prompts.frame.length;
  const files = (name) => (name.startsWith(REFERENCE) ? model.get(name) : bundle.files.has(name) && bundle.read(name));
  const compiled = {};
  for (const side of ['reference', 'surrogate']) {
    compiled[side] = report.attempt('replay', () => compile(programs[side], files, length));
  }
  if (report.failed()) return 0;
  checkKept(predicate, compiled, report);
  if (report.failed()) return 0;
  const N = predicate.evidence.rows;
  const wanted = request.replay === 'all' ? N : Math.min(request.replay, N);
  const seed = request.seed ?? crypto.randomBytes(32).toString('hex');
  const rows = drawRows(certificate, seed, N, wanted);
  const context = {
    predicate, programs: compiled, calibration: predicate.prompts.frame.calibration, ...recomputed,
  };
  const codes = { unresolved: 'replay.row.unresolved', crashed: 'replay.row.crashed', refuted: 'replay.cell.refuted' };
  let confirmed = 0;
  for (const p of rows) {
    const verdict = new Row(context, p).verdict();
    if (verdict === 'confirmed') confirmed += 1;
    else report.add('replay', codes[verdict], verdict === 'unresolved' ? 'inconclusive' : 'failed', `row ${p}`);
    if (report.failed()) return 0;
  }
  if (confirmed === wanted) report.add('replay', 'replay.rows', 'passed');
  return request.seed === null || wanted === N ? confirmed : 0;
}

module.exports = { replay };
