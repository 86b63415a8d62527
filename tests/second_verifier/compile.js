'use strict';
// A program with its weights read and every shape fitted: spec/05-programs.md, BC-PRG-07, 16, 17, 19, 22.

const { Weights, readMap, unstored } = require('./weights');
const { inputs } = require('./programs');
const { refuse } = require('./refusal');

const MOST_ELEMENTS = 2 ** 28;
const MOST_UNSTORED = 2 ** 26;

function fit(condition) {
  if (!condition) refuse('program.shape');
}

// Reads the tensors of a step and returns its result's width.
function compileStep(step, widths, program, weights, length) {
  const [first, second, third] = inputs(step).map((name) => widths.get(name));
  const read = {};
  let width = first;
  switch (step.op) {
    case 'embed':
      read.weight = weights.reals(step.weight, 2);
      if (read.weight.shape[0] !== program.vocabulary) refuse('tensor.shape');
      width = read.weight.shape[1];
      break;
    case 'positions':
      read.weight = weights.reals(step.weight, 2);
      if (read.weight.shape[0] < length) refuse('program.context');
      width = read.weight.shape[1];
      break;
    case 'add':
    case 'multiply':
      fit(first === second);
      break;
    case 'rms_norm':
      read.weight = weights.reals(step.weight, 1);
      fit(step.head_size === null || first % step.head_size === 0);
      fit(read.weight.shape[0] === (step.head_size ?? first));
      break;
    case 'layer_norm':
      read.weight = weights.reals(step.weight, 1);
      read.bias = weights.optionalReals(step.bias, 1);
      fit(read.weight.shape[0] === first && (read.bias === null || read.bias.shape[0] === first));
      break;
    case 'linear':
      read.map = readMap(step.map, weights);
      read.bias = weights.optionalReals(step.bias, 1);
      fit(read.map.into === first && (read.bias === null || read.bias.shape[0] === read.map.out));
      width = read.map.out;
      if (width < 1 || read.map.into < 1 || read.map.left?.shape[1] === 0) refuse('tensor.shape');
      break;
    case 'rotary':
      fit(first % step.head_size === 0);
      break;
    case 'attention':
      fit(first === step.heads * step.head_size);
      fit(second === step.key_value_heads * step.head_size && third === second);
      read.means = weights.optionalReals(step.means, 2);
      fit(read.means === null || read.means.shape.join() === [step.heads, step.head_size].join());
      if (step.heads * length * length > MOST_ELEMENTS) refuse('program.memory');
      width = first;
      break;
    case 'take':
      read.indices = weights.integers(step.indices, 1);
      width = read.indices.shape[0];
      fit(width >= 1 && read.indices.data.every((index) => index >= 0 && index < first));
      break;
    case 'constant':
      read.value = weights.reals(step.value, 1);
      width = read.value.shape[0];
      break;
    default:
  }
  if (width * length > MOST_ELEMENTS) refuse('program.memory');
  widths.set(step.out, width);
  return { step, read };
}

/** The stages of a program, each a list of `{step, read}` and its output's name. `files` gives a file's bytes by name. */
function compile(program, files, length) {
  const weights = new Weights(files);
  return program.stages.map((stage) => {
    const widths = new Map([['hidden', program.hidden_size]]);
    const maps = stage.steps.filter((step) => step.op === 'linear').map((step) => step.map);
    if (maps.reduce((total, map) => total + unstored(map, weights), 0) > MOST_UNSTORED) refuse('program.memory');
    const steps = stage.steps.map((step) => compileStep(step, widths, program, weights, length));
    fit(widths.get(stage.output) === (stage.kind === 'head' ? program.vocabulary : program.hidden_size));
    return { steps, output: stage.output };
  });
}

module.exports = { compile };
