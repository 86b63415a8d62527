'use strict';
// What was kept: spec/08-claims.md, BC-CLM-10 to 13.

const { groupOf } = require('./weights');

function nonzero(tensor) {
  return tensor ? tensor.data.reduce((count, value) => count + (value !== 0 ? 1 : 0), 0) : 0;
}

function bits(tensor, width) {
  return tensor ? tensor.data.length * (width ?? tensor.bits) : 0;
}

function mapParameters(map) {
  if (map.kind === 'low_rank') return nonzero(map.left) + nonzero(map.right);
  if (map.kind === 'sparse') return nonzero(map.values);
  if (map.kind !== 'int') return nonzero(map.weight);
  let count = 0;
  for (let o = 0; o < map.out; o += 1) {
    for (let i = 0; i < map.into; i += 1) {
      const zero = map.zero === null ? 0 : map.zero.data[groupOf(map, o, i)];
      if (map.values.data[o * map.into + i] !== zero) count += 1;
    }
  }
  return count;
}

function mapBits(map) {
  if (map.kind === 'int') return bits(map.values, map.width) + bits(map.scale) + bits(map.zero);
  return ['weight', 'left', 'right', 'indices', 'values', 'columns', 'starts', 'scale'].reduce((total, name) => total + bits(map[name]), 0);
}

function attended(pattern, length) {
  let total = 0;
  for (let t = 0; t < length; t += 1) {
    for (let s = 0; s <= t; s += 1) {
      if (pattern.kind === 'dense' || t - s < pattern.width || s < pattern.sinks) total += 1;
    }
  }
  return total;
}

/** Parameters, bits and multiply-adds of each stage of a compiled program. */
function costs(stages, length) {
  return stages.map(({ steps }) => {
    const cost = { parameters: 0, bits: 0, multiply_adds: 0 };
    for (const { step, read } of steps) {
      for (const name of ['weight', 'bias', 'means', 'value']) {
        cost.parameters += nonzero(read[name]);
        cost.bits += bits(read[name]);
      }
      cost.bits += bits(read.indices);
      if (step.op === 'linear') {
        const parameters = mapParameters(read.map);
        cost.parameters += parameters;
        cost.bits += mapBits(read.map);
        cost.multiply_adds += length * parameters;
      }
      if (step.op === 'attention') {
        for (const pattern of step.patterns) {
          if (pattern.kind === 'dense' || pattern.kind === 'window') cost.multiply_adds += 2 * step.head_size * attended(pattern, length);
        }
      }
    }
    return cost;
  });
}

module.exports = { costs };
