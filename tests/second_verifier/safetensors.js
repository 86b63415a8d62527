'use strict';
// Safetensors files: spec/02-bundle.md, BC-BND-14.

const { parseJson, CAPS } = require('./gate');
const { refuse } = require('./refusal');

const SIZES = {
  F64: 8, I64: 8, U64: 8, F32: 4, I32: 4, U32: 4, F16: 2, BF16: 2, I16: 2, U16: 2, F8_E4M3: 1, F8_E5M2: 1, I8: 1, U8: 1, BOOL: 1,
};

function isObject(value) {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

function isCount(value) {
  return Number.isInteger(value) && value >= 0;
}

function parseEntry(entry, name) {
  if (!isObject(entry)) refuse('json.type', name);
  const fields = Object.keys(entry).sort().join();
  if (fields !== 'data_offsets,dtype,shape') refuse('json.type', name);
  const { dtype, shape, data_offsets: range } = entry;
  if (typeof dtype !== 'string' || !Array.isArray(shape) || !Array.isArray(range)) refuse('json.type', name);
  if (!Object.hasOwn(SIZES, dtype)) refuse('tensor.dtype', name);
  if (shape.every(Number.isInteger) && shape.some((length) => length < 0)) refuse('tensor.size', name);
  if (!shape.every(isCount) || !range.every(isCount) || range.length !== 2) refuse('json.type', name);
  if (shape.length > 8) refuse('tensor.size', name);
  const product = shape.filter((length) => length > 0).reduce((a, b) => a * BigInt(b), BigInt(SIZES[dtype]));
  if (product >= 2n ** 53n) refuse('tensor.size', name);
  const bytes = shape.includes(0) ? 0 : Number(product);
  const [from, to] = range;
  if (from > to) refuse('tensor.layout', name);
  if (to - from !== bytes) refuse('tensor.size', name);
  return { name, dtype, shape, from, to };
}

/** The tensors of a file, by name: dtype, shape and the `bytes` of each. */
function readTensors(file) {
  if (file.length < 8) refuse('tensor.header');
  const length = file.readBigUInt64LE(0);
  if (length > BigInt(CAPS.header.bytes) || length + 8n > BigInt(file.length)) refuse('tensor.header');
  const start = 8 + Number(length);
  if (file[8] !== 0x7b) refuse('tensor.header');
  const header = parseJson(file.subarray(8, start), 'header');
  if (!isObject(header)) refuse('tensor.header');
  const metadata = header.__metadata__;
  if (metadata !== undefined && !(isObject(metadata) && Object.values(metadata).every((value) => typeof value === 'string'))) {
    refuse('json.type', '__metadata__');
  }
  const entries = Object.keys(header).filter((name) => name !== '__metadata__').map((name) => parseEntry(header[name], name));
  entries.sort((a, b) => a.from - b.from || a.to - b.to);
  let at = 0;
  for (const entry of entries) {
    if (entry.from !== at) refuse('tensor.layout', entry.name);
    at = entry.to;
  }
  if (at !== file.length - start) refuse('tensor.layout', 'the end of the file');
  return new Map(entries.map(({ name, dtype, shape, from, to }) => [name, { dtype, shape, bytes: file.subarray(start + from, start + to) }]));
}

const READERS = {
  F64: (b, i) => b.readDoubleLE(8 * i),
  F32: (b, i) => b.readFloatLE(4 * i),
  F16: (b, i) => half(b.readUInt16LE(2 * i)),
  BF16: (b, i) => bfloat(b.readUInt16LE(2 * i)),
  I64: (b, i) => safe(b.readBigInt64LE(8 * i)),
  I32: (b, i) => b.readInt32LE(4 * i),
  U32: (b, i) => b.readUInt32LE(4 * i),
  I16: (b, i) => b.readInt16LE(2 * i),
  U16: (b, i) => b.readUInt16LE(2 * i),
  I8: (b, i) => b.readInt8(i),
  U8: (b, i) => b.readUInt8(i),
};

// An integer of 64 bits that no Number holds lies outside every range of this standard: it is kept apart as infinite.
function safe(value) {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value < 0n ? -Infinity : Infinity;
}

function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25);
}

const word = Buffer.alloc(4);

function bfloat(bits) {
  word.writeUInt32LE(bits * 65536);
  return word.readFloatLE(0);
}

/** The entries of a tensor as Numbers, row-major. */
function values(tensor) {
  const count = tensor.shape.reduce((a, b) => a * b, 1);
  const read = READERS[tensor.dtype];
  return Float64Array.from({ length: count }, (_, i) => read(tensor.bytes, i));
}

module.exports = { readTensors, values, SIZES };
