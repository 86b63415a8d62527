'use strict';
// What a stage computes, in any arithmetic: spec/05-programs.md; and the magnitudes, scores and noise of BC-EVD-08.

const crypto = require('node:crypto');
const { float64 } = require('./arithmetic');
const { Rational } = require('./rational');
const { matrix } = require('./weights');

/** BC-PRG-23, 27: the share of frequency `j` that YaRN slows, exactly. */
function slowed(j, scaling) {
  const [from, to] = [Rational.parse(scaling.ramp_from), Rational.parse(scaling.ramp_to)];
  const r = Rational.of(j).sub(from).div(to.sub(from));
  const [none, all] = [Rational.of(0), Rational.of(1)];
  return r.lt(none) ? none : all.lt(r) ? all : r;
}

/** Uniform numbers in [-1, 1) from the system's randomness. */
class Noise {
  constructor() {
    this.at = 0;
    this.bytes = Buffer.alloc(0);
  }

  next() {
    if (this.at + 4 > this.bytes.length) {
      this.bytes = crypto.randomBytes(1 << 16);
      this.at = 0;
    }
    const value = this.bytes.readInt32LE(this.at) / 2147483648;
    this.at += 4;
    return value;
  }
}

/** Evaluates the stages of one compiled program in one arithmetic. */
class Evaluator {
  constructor(stages, arithmetic, noise = null) {
    this.stages = stages;
    this.arithmetic = arithmetic;
    this.noise = noise;
    this.matrices = new Map();
  }

  matrixOf(map) {
    if (!this.matrices.has(map)) this.matrices.set(map, matrix(map, this.arithmetic));
    return this.matrices.get(map);
  }

  /**
   * The result of stage `i`: rows of numbers, one for each position. `input` is the result before, or the tokens.
   * `watch`, where given, gets the magnitude and the score of every step, a list over positions each.
   */
  stage(i, input, watch = null) {
    const { steps, output } = this.stages[i];
    const values = new Map([[i === 0 ? 'tokens' : 'hidden', input]]);
    for (const { step, read } of steps) {
      let result = this.step(step, read, values);
      if (watch) this.observe(step, read, values, result, watch);
      if (this.noise) result = this.disturb(step, read, values, result);
      values.set(step.out, result);
    }
    return values.get(output);
  }

  step(step, read, values) {
    const A = this.arithmetic;
    const { of, decimal, add, sub, mul, div } = A;
    const x = values.get(step.input);
    const length = (values.get('tokens') ?? values.get('hidden')).length;
    const total = (list) => list.reduce((a, b) => add(a, b), of(0));
    const dot = (a, b) => {
      let sum = of(0);
      for (let k = 0; k < a.length; k += 1) sum = add(sum, mul(a[k], b[k]));
      return sum;
    };
    const rowOf = (tensor, r) => Array.from(tensor.data.subarray(r * tensor.shape[1], (r + 1) * tensor.shape[1]), of);
    switch (step.op) {
      case 'embed':
        return values.get('tokens').map((token) => {
          const row = rowOf(read.weight, token);
          return step.scale === null ? row : row.map((one) => mul(one, decimal(step.scale)));
        });
      case 'positions':
        return Array.from({ length }, (_, t) => rowOf(read.weight, t));
      case 'add':
      case 'multiply': {
        const right = values.get(step.right);
        const f = step.op === 'add' ? add : mul;
        return values.get(step.left).map((row, t) => row.map((one, j) => f(one, right[t][j])));
      }
      case 'rms_norm': {
        const weight = Array.from(read.weight.data, of).map((one) => add(decimal(step.offset), one));
        const size = step.head_size ?? weight.length;
        const eps = decimal(step.eps);
        return x.map((row) => {
          const out = [];
          for (let from = 0; from < row.length; from += size) {
            const part = row.slice(from, from + size);
            const root = A.sqrt(add(div(dot(part, part), of(size)), eps));
            part.forEach((one, j) => out.push(mul(div(one, root), weight[j])));
          }
          return out;
        });
      }
      case 'layer_norm': {
        const weight = Array.from(read.weight.data, of);
        const bias = read.bias && Array.from(read.bias.data, of);
        return x.map((row) => {
          const m = div(total(row), of(row.length));
          const centred = row.map((one) => sub(one, m));
          const root = A.sqrt(add(div(dot(centred, centred), of(row.length)), decimal(step.eps)));
          return centred.map((one, j) => {
            const y = mul(div(one, root), weight[j]);
            return bias ? add(y, bias[j]) : y;
          });
        });
      }
      case 'linear': {
        const map = this.matrixOf(read.map);
        const bias = read.bias && Array.from(read.bias.data, of);
        const apply = (rows, row) => rows.map((w) => dot(w, row));
        return x.map((row) => {
          const y = read.map.kind === 'low_rank' ? apply(map.left, apply(map.right, row)) : apply(map, row);
          return bias ? y.map((one, o) => add(one, bias[o])) : y;
        });
      }
      case 'rotary':
        return this.rotary(step, x);
      case 'activation':
        return x.map((row) => row.map((one) => this.activate(step.function, one)));
      case 'attention':
        return this.attend(step, read, values.get(step.query), values.get(step.key), values.get(step.value));
      case 'soft_cap':
        return x.map((row) => row.map((one) => this.cap(one, step.cap)));
      case 'take':
        return x.map((row) => Array.from(read.indices.data, (index) => row[index]));
      default: {
        const row = Array.from(read.value.data, of);
        return Array.from({ length }, () => row);
      }
    }
  }

  cap(x, text) {
    const { decimal, mul, div, tanh } = this.arithmetic;
    const c = decimal(text);
    return mul(c, tanh(div(x, c)));
  }

  activate(name, x) {
    const { of, decimal, number, add, mul, div, sqrt, exp, tanh, erf, pi } = this.arithmetic;
    const one = of(1);
    const half = div(x, of(2));
    switch (name) {
      case 'relu':
        return number(x) > 0 ? x : of(0);
      case 'silu':
        return div(x, add(one, exp(mul(of(-1), x))));
      case 'gelu':
        return mul(half, add(one, erf(div(x, sqrt(of(2))))));
      default: {
        const cubic = add(x, mul(decimal('0.044715'), mul(x, mul(x, x))));
        return mul(half, add(one, tanh(mul(sqrt(div(of(2), pi)), cubic))));
      }
    }
  }

  /** BC-PRG-09, 23, 25, 26: the frequencies `w_j` in a prompt of `length` tokens. */
  frequencies(step, length) {
    const A = this.arithmetic;
    const { of, decimal, number, add, sub, mul, div } = A;
    // A step where this arithmetic holds both ends of the ramp as one number: such a row is not resolved.
    const ramp = (x, from, to) => {
      if (number(sub(to, from)) === 0) return number(sub(x, from)) > 0 ? of(1) : of(0);
      const r = div(sub(x, from), sub(to, from));
      return number(r) < 0 ? of(0) : number(r) > 1 ? of(1) : r;
    };
    const logTheta = A.log(decimal(step.theta));
    const { scaling } = step;
    return Array.from({ length: step.size / 2 }, (_, j) => {
      const w = A.exp(mul(logTheta, div(of(-2 * j), of(step.size))));
      if (scaling === null) return w;
      if (scaling.kind === 'longrope') {
        return div(w, decimal((length <= scaling.original_context ? scaling.short : scaling.long)[j]));
      }
      const slow = div(w, decimal(scaling.factor));
      if (scaling.kind === 'linear') return slow;
      if (scaling.kind === 'proportional') return j < scaling.turned ? slow : of(0);
      if (scaling.kind === 'llama3') {
        const low = decimal(scaling.low_frequency_factor);
        const high = decimal(scaling.high_frequency_factor);
        const turns = div(mul(of(scaling.original_context), w), mul(of(2), A.pi));
        const r = ramp(turns, low, high);
        return add(mul(sub(of(1), r), slow), mul(r, w));
      }
      const r = A.rational(slowed(j, scaling));
      return add(mul(sub(of(1), r), w), mul(r, slow));
    });
  }

  /** BC-EVD-08: the fastest frequency; with llama3's scaling on either side of its division, as its ramp enlarges it. */
  fastest(step, length) {
    const largest = (one) => Math.max(...this.frequencies(one, length).map((w) => Math.abs(this.arithmetic.number(w))));
    if (step.scaling?.kind !== 'llama3') return largest(step);
    const low = Rational.parse(step.scaling.low_frequency_factor);
    const high = Rational.parse(step.scaling.high_frequency_factor);
    const enlarged = float64.rational(high.div(high.sub(low)));
    return largest({ ...step, scaling: null }) * Math.max(1, 1 / Number(step.scaling.factor)) * enlarged;
  }

  rotary(step, x) {
    const { of, decimal, add, sub, mul, cosSin } = this.arithmetic;
    const frequencies = this.frequencies(step, x.length);
    const half = step.size / 2;
    const stretched = step.scaling?.kind === 'yarn' || step.scaling?.kind === 'longrope';
    const factor = stretched ? decimal(step.scaling.attention_factor) : null;
    const scaled = (y) => (factor === null ? y : mul(y, factor));
    return x.map((row, t) => {
      const out = row.slice();
      const turns = frequencies.map((w) => cosSin(mul(of(t), w)));
      for (let head = 0; head < row.length; head += step.head_size) {
        turns.forEach(([c, s], j) => {
          const [a, b] = [row[head + j], row[head + j + half]];
          out[head + j] = scaled(sub(mul(a, c), mul(b, s)));
          out[head + j + half] = scaled(add(mul(b, c), mul(a, s)));
        });
      }
      return out;
    });
  }

  attend(step, read, query, key, value) {
    const { of, decimal, number, add, sub, mul, div, sqrt, exp } = this.arithmetic;
    const m = step.head_size;
    const root = sqrt(decimal(step.denominator_squared));
    const group = step.heads / step.key_value_heads;
    return query.map((row, t) => {
      const out = [];
      for (let h = 0; h < step.heads; h += 1) {
        const pattern = step.patterns[h];
        const shared = Math.floor(h / group) * m;
        const v = (s) => value[s].slice(shared, shared + m);
        if (pattern.kind === 'mean') {
          out.push(...Array.from(read.means.data.subarray(h * m, (h + 1) * m), of));
        } else if (pattern.kind === 'sink' || pattern.kind === 'offset') {
          out.push(...v(pattern.kind === 'sink' ? 0 : Math.max(0, t - pattern.back)));
        } else {
          const places = [];
          for (let s = 0; s <= t; s += 1) {
            if (pattern.kind === 'dense' || t - s < pattern.width || s < pattern.sinks) places.push(s);
          }
          const scores = places.map((s) => {
            let score = of(0);
            for (let j = 0; j < m; j += 1) score = add(score, mul(row[h * m + j], key[s][shared + j]));
            score = div(score, root);
            return step.cap === null ? score : this.cap(score, step.cap);
          });
          const most = scores.reduce((a, b) => (number(sub(b, a)) > 0 ? b : a));
          const weights = scores.map((score) => exp(sub(score, most)));
          const total = weights.reduce(add);
          for (let j = 0; j < m; j += 1) {
            let sum = of(0);
            places.forEach((s, k) => { sum = add(sum, mul(weights[k], value[s][shared + j])); });
            out.push(div(sum, total));
          }
        }
      }
      return out;
    });
  }

  // The magnitude of a linear step at each position (BC-EVD-08).
  linearMagnitude(read, x) {
    const { number } = this.arithmetic;
    const norm = (row) => Math.hypot(...row.map(number));
    const map = this.matrixOf(read.map);
    if (map.norm === undefined) {
      map.norm = read.map.kind === 'low_rank'
        ? Math.max(...map.left.map(norm)) * Math.hypot(...map.right.map(norm))
        : Math.max(...map.map(norm));
    }
    const bias = read.bias ? Math.max(...read.bias.data.map(Math.abs)) : 0;
    return x.map((row) => map.norm * norm(row) + bias);
  }

  observe(step, read, values, result, watch) {
    const { number, decimal } = this.arithmetic;
    const largest = (row) => Math.max(...row.map((one) => Math.abs(number(one))));
    if (step.op === 'linear') watch.magnitude(this.linearMagnitude(read, values.get(step.input)));
    if (['embed', 'positions', 'constant', 'add', 'multiply'].includes(step.op)) watch.magnitude(result.map(largest));
    if (step.op === 'rotary') {
      const score = result.length * this.fastest(step, result.length);
      watch.score(result.map(() => score));
    }
    if (step.op === 'attention') {
      const norms = (row) => {
        const out = [];
        for (let from = 0; from < row.length; from += step.head_size) {
          out.push(Math.hypot(...row.slice(from, from + step.head_size).map(number)));
        }
        return Math.max(...out);
      };
      const keys = Math.max(...values.get(step.key).map(norms));
      const root = Math.sqrt(number(decimal(step.denominator_squared)));
      watch.score(values.get(step.query).map((row) => (norms(row) * keys) / root));
    }
  }

  // Noise on a step's result; only in float64.
  disturb(step, read, values, result) {
    const largest = (row) => Math.max(...row.map(Math.abs));
    const linear = step.op === 'linear' ? this.linearMagnitude(read, values.get(step.input)) : null;
    const size = (y, t, j) => {
      switch (step.op) {
        case 'linear':
          return linear[t];
        case 'add':
          return Math.max(Math.abs(values.get(step.left)[t][j]), Math.abs(values.get(step.right)[t][j]));
        case 'activation':
        case 'soft_cap':
          return Math.max(Math.abs(y), Math.abs(values.get(step.input)[t][j]));
        case 'rotary':
          return largest(result[t]);
        default:
          return Math.abs(y);
      }
    };
    return result.map((row, t) => row.map((y, j) => y + (1e-14 * size(y, t, j) + 1e-290) * this.noise.next()));
  }
}

module.exports = { Evaluator, Noise };
