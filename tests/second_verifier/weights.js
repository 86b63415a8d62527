'use strict';
// Tensors of programs: spec/05-programs.md, BC-PRG-06, 07, 12 to 14, 16, 17, 19.

const { readTensors, values } = require('./safetensors');
const { refuse } = require('./refusal');

const REAL = new Set(['F64', 'F32', 'F16', 'BF16']);
const INTEGER = new Set(['I64', 'I32', 'I16', 'I8', 'U8', 'U16', 'U32']);
const BITS = { F64: 64, I64: 64, F32: 32, I32: 32, U32: 32, F16: 16, BF16: 16, I16: 16, U16: 16, I8: 8, U8: 8 };

/** Reads tensors by reference: `{shape, data, bits}`, data exact and row-major. */
class Weights {
  constructor(files) {
    this.files = files;
    this.headers = new Map();
    this.cache = new Map();
  }

  tensors(name) {
    if (!this.headers.has(name)) {
      const bytes = this.files(name);
      if (!bytes) refuse('tensor.file', name);
      this.headers.set(name, readTensors(bytes));
    }
    return this.headers.get(name);
  }

  take(ref, kinds) {
    const key = JSON.stringify([ref.file, ref.tensor, ref.rows, ref.columns, ref.period, ref.transpose]);
    if (!this.cache.has(key)) this.cache.set(key, this.slice(ref));
    const taken = this.cache.get(key);
    if (!kinds.has(taken.dtype)) refuse('tensor.dtype', ref.tensor);
    return taken;
  }

  slice(ref) {
    const tensor = this.tensors(ref.file).get(ref.tensor);
    if (tensor === undefined) refuse('tensor.missing', ref.tensor);
    if (!REAL.has(tensor.dtype) && !INTEGER.has(tensor.dtype)) refuse('tensor.dtype', ref.tensor);
    const { shape } = tensor;
    if (shape.length < 1 || shape.length > 2) refuse('tensor.shape', ref.tensor);
    if (ref.columns !== null && shape.length === 1) refuse('tensor.slice', ref.tensor);
    const width = shape.length === 2 ? shape[1] : 1;
    if (ref.rows !== null && ref.period === null && ref.rows[1] > shape[0]) refuse('tensor.slice', ref.tensor);
    if (ref.columns !== null && ref.columns[1] > shape[1]) refuse('tensor.slice', ref.tensor);
    if (ref.period !== null && shape[0] % ref.period !== 0) refuse('tensor.slice', ref.tensor);
    const all = values(tensor);
    const rows = [];
    for (let r = 0; r < shape[0]; r += 1) {
      const place = ref.period === null ? r : r % ref.period;
      if (ref.rows === null || (ref.rows[0] <= place && place < ref.rows[1])) rows.push(r);
    }
    const [from, to] = ref.columns ?? [0, width];
    const out = new Float64Array(rows.length * (to - from));
    rows.forEach((r, i) => {
      for (let c = from; c < to; c += 1) out[i * (to - from) + c - from] = all[r * width + c];
    });
    let taken = { dtype: tensor.dtype, bits: BITS[tensor.dtype], shape: shape.length === 1 ? [rows.length] : [rows.length, to - from], data: out };
    if (ref.transpose && taken.shape.length === 2) taken = transposed(taken);
    return taken;
  }

  reals(ref, rank) {
    const taken = this.take(ref, REAL);
    if (taken.shape.length !== rank) refuse('tensor.shape', ref.tensor);
    if (!taken.data.every(Number.isFinite)) refuse('tensor.not_finite', ref.tensor);
    return taken;
  }

  integers(ref, rank) {
    const taken = this.take(ref, INTEGER);
    if (taken.shape.length !== rank) refuse('tensor.shape', ref.tensor);
    return taken;
  }

  optionalReals(ref, rank) {
    return ref === null ? null : this.reals(ref, rank);
  }
}

function transposed({ dtype, bits, shape: [rows, columns], data }) {
  const out = new Float64Array(data.length);
  for (let r = 0; r < rows; r += 1) for (let c = 0; c < columns; c += 1) out[c * rows + r] = data[r * columns + c];
  return { dtype, bits, shape: [columns, rows], data: out };
}

function need(condition, code, message) {
  if (!condition) refuse(code, message);
}

function shaped(tensor, ...shape) {
  need(tensor.shape.join() === shape.join(), 'tensor.shape', `${tensor.shape} is not ${shape}`);
}

function increasing(data, size, code) {
  for (let k = 0; k < data.length; k += 1) {
    need(data[k] >= 0 && data[k] < size && (k === 0 || data[k - 1] < data[k]), code);
  }
}

// BC-PRG-17: how many entries of a map stand for nothing that is stored.
function unstored(map, weights) {
  if (map.kind === 'rows') {
    const [stored, into] = weights.take(map.weight, REAL).shape;
    return Math.max(0, map.size - 256 * stored) * into;
  }
  if (map.kind !== 'sparse') return 0;
  const [out, into] = map.shape;
  const stored = Math.ceil(weights.take(map.values, map.scale === null ? REAL : INTEGER).data.length / into);
  return Math.max(0, out - 256 * stored) * into;
}

/** The parts of a linear map, checked: `out`, `into` and the tensors by name. */
function readMap(map, weights) {
  switch (map.kind) {
    case 'dense': {
      const weight = weights.reals(map.weight, 2);
      return { kind: map.kind, out: weight.shape[0], into: weight.shape[1], weight };
    }
    case 'low_rank': {
      const left = weights.reals(map.left, 2);
      const right = weights.reals(map.right, 2);
      need(left.shape[1] === right.shape[0], 'tensor.shape');
      return { kind: map.kind, out: left.shape[0], into: right.shape[1], left, right };
    }
    case 'rows': {
      const indices = weights.integers(map.indices, 1);
      const weight = weights.reals(map.weight, 2);
      shaped(indices, weight.shape[0]);
      increasing(indices.data, map.size, 'tensor.rows');
      return { kind: map.kind, out: map.size, into: weight.shape[1], indices, weight };
    }
    case 'sparse': {
      const [out, into] = map.shape;
      const columns = weights.integers(map.columns, 1);
      const starts = weights.integers(map.row_starts, 1);
      const scale = weights.optionalReals(map.scale, 1);
      const stored = scale === null ? weights.reals(map.values, 1) : weights.integers(map.values, 1);
      const count = stored.data.length;
      shaped(columns, count);
      shaped(starts, out + 1);
      if (scale !== null) {
        shaped(scale, out);
        need(stored.data.every((value) => Number.isFinite(value)), 'tensor.range');
      }
      need(starts.data[0] === 0 && starts.data[out] === count, 'tensor.sparse');
      for (let o = 0; o < out; o += 1) {
        need(starts.data[o] <= starts.data[o + 1], 'tensor.sparse');
      }
      for (let o = 0; o < out; o += 1) increasing(columns.data.subarray(starts.data[o], starts.data[o + 1]), into, 'tensor.sparse');
      return { kind: map.kind, out, into, columns, starts, scale, values: stored };
    }
    default: {
      const stored = weights.integers(map.values, 2);
      const [out, into] = stored.shape;
      const half = 2 ** (map.bits - 1);
      need(stored.data.every((value) => -half <= value && value < half), 'tensor.range');
      const shape = map.group === null ? [out] : [out, Math.ceil(into / map.group)];
      const scale = weights.reals(map.scale, shape.length);
      shaped(scale, ...shape);
      const zero = map.zero_point === null ? null : weights.integers(map.zero_point, shape.length);
      if (zero !== null) {
        shaped(zero, ...shape);
        need(zero.data.every((value) => Math.abs(value) < 2 ** 31), 'tensor.range');
      }
      return { kind: map.kind, out, into, values: stored, scale, zero, group: map.group, width: map.bits };
    }
  }
}

/** The group's place in `scale` and `zero` of entry `(o, i)`. */
function groupOf(map, o, i) {
  return map.group === null ? o : o * map.scale.shape[1] + Math.floor(i / map.group);
}

/** The matrix of a map, row by row, in an arithmetic; of `low_rank` the two factors are kept apart. */
function matrix(map, arithmetic) {
  const { of, mul, sub } = arithmetic;
  const rowsOf = ({ shape: [rows, columns], data }) => Array.from({ length: rows }, (_, r) => (
    Array.from(data.subarray(r * columns, (r + 1) * columns), of)));
  if (map.kind === 'dense') return rowsOf(map.weight);
  if (map.kind === 'low_rank') return { left: rowsOf(map.left), right: rowsOf(map.right) };
  const empty = () => Array.from({ length: map.into }, () => of(0));
  if (map.kind === 'rows') {
    const stored = rowsOf(map.weight);
    const zero = empty();
    const out = Array.from({ length: map.out }, () => zero);
    stored.forEach((row, k) => { out[map.indices.data[k]] = row; });
    return out;
  }
  if (map.kind === 'sparse') {
    return Array.from({ length: map.out }, (_, o) => {
      const row = empty();
      for (let k = map.starts.data[o]; k < map.starts.data[o + 1]; k += 1) {
        const value = of(map.values.data[k]);
        row[map.columns.data[k]] = map.scale === null ? value : mul(of(map.scale.data[o]), value);
      }
      return row;
    });
  }
  return Array.from({ length: map.out }, (_, o) => Array.from({ length: map.into }, (__, i) => {
    const g = groupOf(map, o, i);
    const value = of(map.values.data[o * map.into + i]);
    return mul(of(map.scale.data[g]), map.zero === null ? value : sub(value, of(map.zero.data[g])));
  }));
}

module.exports = { Weights, readMap, unstored, matrix, groupOf };
