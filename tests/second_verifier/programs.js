'use strict';
// Program documents: spec/05-programs.md, what BC-PRG-01 to 06, 08 to 11, 18, 20 to 26 decide without any weight file.

const { parseJson } = require('./gate');
const { validate } = require('./schema');
const { refuse } = require('./refusal');
const { casefold } = require('./names');
const { Rational, ZERO } = require('./rational');

const REFERENCE = 'reference/';

/** The fields of a step or a map that refer to tensors, with what they hold. */
const TENSORS = {
  embed: ['weight'],
  positions: ['weight'],
  add: [],
  multiply: [],
  rms_norm: ['weight'],
  layer_norm: ['weight', 'bias'],
  linear: ['bias'],
  rotary: [],
  activation: [],
  attention: ['means'],
  soft_cap: [],
  take: ['indices'],
  constant: ['value'],
};
const MAP_TENSORS = {
  dense: ['weight'],
  sparse: ['values', 'columns', 'row_starts', 'scale'],
  low_rank: ['left', 'right'],
  rows: ['indices', 'weight'],
  int: ['values', 'scale', 'zero_point'],
};
const INPUTS = {
  embed: [],
  positions: [],
  add: ['left', 'right'],
  multiply: ['left', 'right'],
  attention: ['query', 'key', 'value'],
  constant: [],
};
const DEFAULTS = {
  embed: { scale: null },
  rms_norm: { offset: '0', head_size: null },
  layer_norm: { bias: null },
  linear: { bias: null },
  rotary: { scaling: null },
  attention: { means: null, cap: null },
};
const MAP_DEFAULTS = { sparse: { scale: null }, int: { group: null, zero_point: null } };

function inputs(step) {
  return (INPUTS[step.op] ?? ['input']).map((field) => step[field]);
}

/** Every tensor reference of a step. */
function tensorRefs(step) {
  const refs = TENSORS[step.op].map((field) => step[field]);
  if (step.op === 'linear') refs.push(...MAP_TENSORS[step.map.kind].map((field) => step.map[field]));
  return refs.filter((ref) => ref !== null && ref !== undefined);
}

/** BC-PRG-18: absent fields get their defaults, in place. */
function fillDefaults(program) {
  for (const stage of program.stages) {
    for (const step of stage.steps) {
      for (const [field, value] of Object.entries(DEFAULTS[step.op] ?? {})) step[field] ??= value;
      if (step.op === 'linear') {
        for (const [field, value] of Object.entries(MAP_DEFAULTS[step.map.kind] ?? {})) step.map[field] ??= value;
      }
      if (step.op === 'attention') {
        for (const pattern of step.patterns) if (pattern.kind === 'window') pattern.sinks ??= 0;
      }
      for (const ref of tensorRefs(step)) {
        ref.rows ??= null;
        ref.columns ??= null;
        ref.period ??= null;
        ref.transpose ??= false;
      }
    }
  }
}

function checkStages(program, problem) {
  const { stages } = program;
  stages.forEach((stage, i) => {
    const kind = i === 0 ? 'embedding' : i === stages.length - 1 ? 'head' : 'block';
    if (stage.kind !== kind) problem('program.stage.order', `stage ${i}`);
    for (const step of stage.steps) {
      if (stage.kind !== 'embedding' && (step.op === 'embed' || step.op === 'positions')) problem('program.value.undefined', `${step.op} in stage ${i}`);
    }
  });
}

/** BC-PRG-03. */
function checkAssignments(stage, i, problem) {
  const defined = new Set(stage.kind === 'embedding' ? [] : ['hidden']);
  const read = new Set();
  for (const step of stage.steps) {
    for (const name of inputs(step)) {
      if (!defined.has(name)) problem('program.value.undefined', `stage ${i}: ${name}`);
      read.add(name);
    }
    if (defined.has(step.out) || step.out === 'tokens' || step.out === 'hidden') problem('program.value.redefined', `stage ${i}: ${step.out}`);
    defined.add(step.out);
  }
  if (!defined.has(stage.output)) {
    problem('program.value.undefined', `stage ${i}: ${stage.output}`);
    return;
  }
  read.add(stage.output);
  for (const step of stage.steps) if (!read.has(step.out)) problem('program.value.unused', `stage ${i}: ${step.out}`);
}

function checkFiles(program, problem) {
  const names = program.files.map((file) => file.name);
  if (new Set(names.map(casefold)).size < names.length) problem('program.file.duplicate');
  const read = new Set();
  for (const stage of program.stages) {
    for (const step of stage.steps) {
      for (const ref of tensorRefs(step)) {
        if (!names.includes(ref.file)) problem('program.file.unlisted', ref.file);
        read.add(ref.file);
        const { rows, columns, period } = ref;
        for (const range of [rows, columns]) if (range !== null && range[0] >= range[1]) problem('program.tensor.range');
        if (period !== null && (rows === null || rows[1] > period)) problem('program.tensor.range');
      }
    }
  }
  for (const name of names) if (!read.has(name)) problem('program.file.unused', name);
}

function decimal(text) {
  return Rational.parse(text);
}

function positive(text, problem) {
  if (decimal(text).le(ZERO)) problem('program.number.range', text);
}

function notNegative(text, problem) {
  if (decimal(text).lt(ZERO)) problem('program.number.range', text);
}

function checkScaling(scaling, frequencies, problem) {
  if (scaling.kind === 'longrope') {
    positive(scaling.attention_factor, problem);
    for (const list of [scaling.short, scaling.long]) {
      if (list.length !== frequencies) problem('program.rotary.size');
      list.forEach((text) => positive(text, problem));
    }
    return;
  }
  positive(scaling.factor, problem);
  if (scaling.kind === 'proportional' && scaling.turned > frequencies) problem('program.rotary.size');
  if (scaling.kind === 'llama3') {
    positive(scaling.low_frequency_factor, problem);
    if (!decimal(scaling.low_frequency_factor).lt(decimal(scaling.high_frequency_factor))) problem('program.number.range');
  }
  if (scaling.kind === 'yarn') {
    notNegative(scaling.ramp_from, problem);
    if (!decimal(scaling.ramp_from).lt(decimal(scaling.ramp_to))) problem('program.number.range');
    positive(scaling.attention_factor, problem);
  }
}

function checkStep(step, problem) {
  if (step.op === 'rms_norm' || step.op === 'layer_norm') notNegative(step.eps, problem);
  if (step.op === 'soft_cap') positive(step.cap, problem);
  if (step.op === 'rotary') {
    positive(step.theta, problem);
    if (step.size % 2 !== 0 || step.size > step.head_size) problem('program.rotary.size');
    if (step.scaling !== null) checkScaling(step.scaling, Math.floor(step.size / 2), problem);
  }
  if (step.op === 'attention') {
    positive(step.denominator_squared, problem);
    if (step.cap !== null) positive(step.cap, problem);
    if (step.heads % step.key_value_heads !== 0) problem('program.attention.heads');
    if (step.patterns.length !== step.heads) problem('program.attention.patterns');
    const means = step.patterns.some((pattern) => pattern.kind === 'mean');
    if (means !== (step.means !== null)) problem('program.attention.means');
  }
}

// The lengths of a tensor reference's axes as far as the document fixes them; undefined where only the file does.
function axes(ref) {
  const rows = ref.rows !== null && ref.period === null ? ref.rows[1] - ref.rows[0] : undefined;
  const columns = ref.columns !== null ? ref.columns[1] - ref.columns[0] : undefined;
  return ref.transpose ? [columns, rows] : [rows, columns];
}

function same(problem, ...lengths) {
  const known = lengths.filter((length) => length !== undefined);
  if (new Set(known).size > 1) problem('program.width.mismatch', known.join(' and '));
  return known[0];
}

function mapWidths(map) {
  if (map.kind === 'sparse') return map.shape;
  if (map.kind === 'low_rank') return [axes(map.left)[0], axes(map.right)[1]];
  if (map.kind === 'rows') return [map.size, axes(map.weight)[1]];
  return axes(map.kind === 'int' ? map.values : map.weight);
}

// BC-VER-04: the widths that are decided before any weight file is read, and no others.
function outputWidth(step, widths, program, problem) {
  const [first, second, third] = inputs(step).map((name) => widths.get(name));
  switch (step.op) {
    case 'embed':
      same(problem, axes(step.weight)[0], program.vocabulary);
      return axes(step.weight)[1];
    case 'add':
    case 'multiply':
      return same(problem, first, second);
    case 'linear': {
      const [out, into] = mapWidths(step.map);
      same(problem, first, into);
      return out;
    }
    case 'rms_norm':
    case 'rotary':
      if (first !== undefined && step.head_size !== null && first % step.head_size !== 0) problem('program.width.mismatch');
      return first;
    case 'attention':
      same(problem, first, step.heads * step.head_size);
      same(problem, second, step.key_value_heads * step.head_size);
      same(problem, third, step.key_value_heads * step.head_size);
      return step.heads * step.head_size;
    case 'positions':
    case 'take':
    case 'constant':
      return undefined;
    default:
      return first;
  }
}

function checkWidths(program, problem) {
  program.stages.forEach((stage, i) => {
    const widths = new Map([['hidden', program.hidden_size]]);
    for (const step of stage.steps) widths.set(step.out, outputWidth(step, widths, program, problem));
    same(problem, widths.get(stage.output), stage.kind === 'head' ? program.vocabulary : program.hidden_size);
  });
}

/** A program with its defaults filled in; each way in which it is not well formed goes to `problem` (code, message). */
function readProgram(bytes, problem = refuse) {
  const program = parseJson(bytes);
  validate(program, 'program');
  fillDefaults(program);
  checkStages(program, problem);
  program.stages.forEach((stage, i) => checkAssignments(stage, i, problem));
  checkFiles(program, problem);
  for (const stage of program.stages) stage.steps.forEach((step) => checkStep(step, problem));
  checkWidths(program, problem);
  return program;
}

/** BC-PRG-04, 05 and BC-STM-12 of one program. */
function checkAgainstStatement(program, document, isReference) {
  const sizes = new Map(document.predicate.files.map((file) => [file.name, file.size]));
  const digests = new Map(document.subject.map((subject) => [subject.name, subject.digest.blake3]));
  for (const file of program.files) {
    if (isReference && !file.name.startsWith(REFERENCE)) refuse('program.file.foreign', file.name);
    if (!sizes.has(file.name)) refuse('program.file.unlisted', file.name);
    if (sizes.get(file.name) !== file.size || digests.get(file.name) !== file.blake3) refuse('program.file.mismatch', file.name);
  }
  const { reference, prompts } = document.predicate;
  const shape = [program.stages.length - 2, program.hidden_size, program.vocabulary];
  const stated = [reference.blocks, reference.hidden_size, reference.vocabulary];
  const other = isReference && program.architecture !== reference.architecture;
  if (other || shape.some((value, i) => value !== stated[i])) refuse('program.statement.mismatch');
  if (prompts.frame.length > program.context) refuse('program.context');
}

// A stage with its tensor references by digest instead of by file name, as text that is equal where the stages are.
function canonical(stage, program) {
  const digests = new Map(program.files.map((file) => [file.name, file.blake3]));
  const sorted = (value, key) => {
    if (value === null || typeof value !== 'object') return value;
    if (Array.isArray(value)) return value.map((one) => sorted(one));
    const out = {};
    const isRef = 'file' in value && 'tensor' in value;
    for (const name of Object.keys(value).sort()) {
      out[name] = isRef && name === 'file' ? digests.get(value.file) : sorted(value[name], name);
    }
    return out;
  };
  return JSON.stringify([sorted(stage.steps), stage.output]);
}

/** BC-PRG-20, for every stage. */
function sameProgram(reference, surrogate) {
  return reference.stages.map((stage, i) => canonical(stage, reference) === canonical(surrogate.stages[i], surrogate));
}

module.exports = { readProgram, checkAgainstStatement, sameProgram, tensorRefs, inputs };
