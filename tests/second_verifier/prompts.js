'use strict';
// The listed prompts: spec/06-prompts.md, BC-PRM-03 to 05.

const { refuse } = require('./refusal');
const { readTensors, values } = require('./safetensors');

const MIB = 1024 * 1024;

/** BC-BND-19: refuses columns of more than 1 GiB, or a file of more than 1 MiB beside them. */
function checkSize(size, columns) {
  if (columns > 1024 * MIB || size > columns + MIB) refuse('bundle.file_too_large');
}

/** The tensors of `file`, which hold exactly the `columns` (name, dtype, shape). */
function readColumns(file, columns, code) {
  const tensors = readTensors(file);
  for (const { name, dtype, shape } of columns) {
    const tensor = tensors.get(name);
    if (tensor === undefined || tensor.dtype !== dtype || tensor.shape.join() !== shape.join()) refuse(code, name);
  }
  if (tensors.size !== columns.length) refuse(code, 'an unknown column');
  return new Map(columns.map(({ name }) => [name, values(tensors.get(name))]));
}

/** `{tokens, rows}`: the tokens of every listed prompt, calibration first. */
function readPrompts(bundle, predicate, windows, report) {
  const { frame } = predicate.prompts;
  const rows = frame.calibration + frame.certification;
  checkSize(bundle.size('prompts.safetensors'), rows * frame.length * 4 + rows * 9);
  const columns = readColumns(bundle.read('prompts.safetensors'), [
    { name: 'tokens', dtype: 'I32', shape: [rows, frame.length] },
    { name: 'window', dtype: 'I64', shape: [rows] },
    { name: 'split', dtype: 'U8', shape: [rows] },
  ], 'prompts.columns');
  const tokens = columns.get('tokens');
  const attempt = (action) => report.attempt('recompute', action);
  attempt(() => {
    if (tokens.some((token) => token < 0 || token >= predicate.reference.vocabulary)) refuse('prompts.token');
  });
  attempt(() => {
    const { bos } = frame.tokenizer;
    for (let i = 0; bos !== null && i < rows; i += 1) if (tokens[i * frame.length] !== bos) refuse('prompts.bos');
  });
  attempt(() => {
    const expected = [...windows.calibration, ...windows.certification];
    const window = columns.get('window');
    const split = columns.get('split');
    const right = expected.every((one, i) => window[i] === one && split[i] === (i < frame.calibration ? 0 : 1));
    if (!right) refuse('recompute.draw.mismatch');
    report.add('recompute', 'recompute.draw', 'passed');
  });
  return Array.from({ length: rows }, (_, i) => tokens.subarray(i * frame.length, (i + 1) * frame.length));
}

module.exports = { readPrompts, readColumns, checkSize };
