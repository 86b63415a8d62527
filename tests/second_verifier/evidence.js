'use strict';
// The evidence: spec/07-evidence.md, BC-EVD-01 to 05 and 10.

const { refuse } = require('./refusal');
const { SIZES } = require('./safetensors');
const { readColumns, checkSize } = require('./prompts');

const ENCLOSED = [
  'error', 'relative_error', 'relative_update_error', 'covered', 'drift', 'relative_drift', 'logit_difference', 'top1_agree',
  'decided', 'loss_within', 'kl_max',
];

// The columns of proven ends, each like the one that it is of, for the first `E` rows.
function provenEnds(table, E) {
  const ends = table.filter(([name]) => ENCLOSED.includes(name));
  return [...ends.map(([name, dtype, shape]) => [`enclosure.${name}`, dtype, [E, ...shape.slice(1)]]), ['enclosure.bits', 'I64', [E]]];
}

/** Name, dtype and shape of every column. */
function columnsOf(predicate) {
  const N = predicate.evidence.rows;
  const A = predicate.evidence.attribution_rows;
  const n = predicate.reference.blocks;
  const S = n + 2;
  const R = predicate.thresholds.relative.length;
  const Q = predicate.thresholds.loss.length;
  const table = [
    ['error', 'F64', [N, S]], ['relative_error', 'F64', [N, S]], ['relative_update_error', 'F64', [N, n]],
    ['covered', 'I64', [N, S, R]], ['drift', 'F64', [N, S]], ['relative_drift', 'F64', [N, S]], ['final_norm', 'F64', [N]],
    ['logit_difference', 'F64', [N]], ['top1_agree', 'I64', [N]], ['decided', 'I64', [N]], ['loss_reference', 'F64', [N]],
    ['loss_surrogate', 'F64', [N]], ['loss_difference', 'F64', [N]], ['loss_within', 'I64', [N, Q]], ['kl_sum', 'F64', [N]],
    ['kl_max', 'F64', [N]], ['identity.error', 'F64', [N, S]], ['identity.relative_error', 'F64', [N, S]],
    ['identity.covered', 'I64', [N, S, R]], ['identity.drift', 'F64', [N, S]], ['identity.relative_drift', 'F64', [N, S]],
    ['identity.logit_difference', 'F64', [N]], ['identity.top1_agree', 'I64', [N]], ['identity.decided', 'I64', [N]],
    ['float32.relative_error', 'F64', [N, S]],
  ];
  if (A > 0) table.push(['attribution.loss_within', 'I64', [A, S, Q]], ['attribution.hybrid_step', 'F64', [A, n + 1]]);
  if (predicate.claims.enclosures !== null) table.push(...provenEnds(table, predicate.claims.enclosures.rows));
  return table.map(([name, dtype, shape]) => ({ name, dtype, shape }));
}

function product(shape) {
  return shape.reduce((a, b) => a * b, 1);
}

class Column {
  constructor({ name, dtype, shape }, cells) {
    this.name = name;
    this.dtype = dtype;
    this.shape = shape;
    this.cells = cells;
  }

  /** The cell at the indices. */
  at(...indices) {
    return this.cells[indices.reduce((offset, index, axis) => offset * this.shape[axis] + index, 0)];
  }

  row(p) {
    const width = product(this.shape.slice(1));
    return this.cells.subarray(p * width, (p + 1) * width);
  }

  /** The cells of one row at `i` on the second axis. */
  part(p, i) {
    const width = product(this.shape.slice(2));
    const row = this.row(p);
    return row.subarray(i * width, (i + 1) * width);
  }
}

function checkCells(column, length) {
  const { name, cells } = column;
  for (const cell of cells) {
    if (column.dtype === 'F64' && !Number.isFinite(cell)) refuse('evidence.not_finite', name);
    if (cell < 0 && name !== 'loss_difference') refuse('evidence.negative', name);
  }
  if (column.dtype !== 'I64' || name === 'enclosure.bits') return;
  const most = /loss_within$/.test(name) ? length - 1 : length;
  if (cells.some((cell) => cell > most)) refuse('evidence.count', name);
}

/** BC-EVD-04: cells whose value is fixed by which stages are the same program, in the columns that begin with `prefix`. */
function checkSame(evidence, prefix, rows, length, same, need) {
  const blocks = same.length - 2;
  const all = same.every(Boolean);
  // Not every column has its proven ends.
  const fixed = (p, name, value, i = null) => {
    const column = evidence.get(prefix + name);
    if (column !== undefined) need(prefix + name, i === null ? column.row(p) : column.part(p, i), value);
  };
  for (let p = 0; p < rows; p += 1) {
    let begins = true;
    same.forEach((one, i) => {
      begins &&= one;
      if (one) {
        fixed(p, 'error', 0, i);
        fixed(p, 'relative_error', 0, i);
        fixed(p, 'covered', length, i);
        if (i > 0 && i <= blocks) fixed(p, 'relative_update_error', 0, i - 1);
      }
      if (begins) {
        fixed(p, 'drift', 0, i);
        fixed(p, 'relative_drift', 0, i);
      }
    });
    if (!all) continue;
    for (const name of ['logit_difference', 'loss_difference', 'kl_sum', 'kl_max']) fixed(p, name, 0);
    fixed(p, 'top1_agree', length);
    fixed(p, 'loss_within', length - 1);
  }
}

/** BC-EVD-04, 05: cells whose value is fixed by which stages are the same program. */
function checkDefinitions(evidence, predicate, same) {
  const { length } = predicate.prompts.frame;
  const stages = same.length;
  const need = (name, cells, value) => {
    if (cells.some((cell) => cell !== value)) refuse('evidence.definition', name);
  };
  const column = (name) => evidence.get(name);
  const { rows, attribution_rows: A } = predicate.evidence;
  checkSame(evidence, '', rows, length, same, need);
  checkSame(evidence, 'enclosure.', predicate.claims.enclosures?.rows ?? 0, length, same, need);
  for (let p = 0; p < rows; p += 1) {
    for (let i = 0; i < stages; i += 1) {
      const at = (name, value) => need(name, column(name).part(p, i), value);
      if (same[i] && p < A) {
        at('attribution.loss_within', length - 1);
        if (i < stages - 1) at('attribution.hybrid_step', 0);
      }
      if (i === 0 || i === stages - 1) {
        at('identity.error', 0);
        at('identity.relative_error', 0);
        at('identity.covered', length);
      }
      if (i === 0) {
        at('identity.drift', 0);
        at('identity.relative_drift', 0);
      }
    }
  }
}

/** The columns by name, or undefined where they cannot be read. */
function readEvidence(bundle, predicate, same, report) {
  const table = columnsOf(predicate);
  const bytes = table.reduce((total, { dtype, shape }) => total + SIZES[dtype] * product(shape), 0);
  checkSize(bundle.size('evidence.safetensors'), bytes);
  const cells = readColumns(bundle.read('evidence.safetensors'), table, 'evidence.columns');
  const evidence = new Map(table.map((one) => [one.name, new Column(one, cells.get(one.name))]));
  const { length } = predicate.prompts.frame;
  let whole = true;
  for (const column of evidence.values()) {
    const ok = report.attempt('recompute', () => (checkCells(column, length), true));
    whole &&= ok === true;
  }
  if (whole) report.attempt('recompute', () => checkDefinitions(evidence, predicate, same));
  return whole ? evidence : undefined;
}

module.exports = { readEvidence, columnsOf };
