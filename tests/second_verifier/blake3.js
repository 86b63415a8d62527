'use strict';
// BLAKE3 hash and extendable output, from the public specification (O'Connor, Aumasson, Neves, Wilcox-O'Hearn, 2020).

const IV = Uint32Array.of(
  0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
);
const PERMUTATION = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
const CHUNK_START = 1;
const CHUNK_END = 2;
const PARENT = 4;
const ROOT = 8;
const CHUNK = 1024;
const BLOCK = 64;

const SCHEDULE = [Array.from({ length: 16 }, (_, i) => i)];
for (let round = 1; round < 7; round += 1) {
  SCHEDULE.push(PERMUTATION.map((i) => SCHEDULE[round - 1][i]));
}
const MIXES = [
  [0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15],
  [0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14],
];

const state = new Uint32Array(16);

function mix(a, b, c, d, x, y) {
  let va = state[a];
  let vb = state[b];
  let vc = state[c];
  let vd = state[d];
  va = (va + vb + x) | 0;
  vd ^= va;
  vd = (vd >>> 16) | (vd << 16);
  vc = (vc + vd) | 0;
  vb ^= vc;
  vb = (vb >>> 12) | (vb << 20);
  va = (va + vb + y) | 0;
  vd ^= va;
  vd = (vd >>> 8) | (vd << 24);
  vc = (vc + vd) | 0;
  vb ^= vc;
  vb = (vb >>> 7) | (vb << 25);
  state[a] = va;
  state[b] = vb;
  state[c] = vc;
  state[d] = vd;
}

/** The compression function: all 16 output words. */
function compress(chaining, words, counter, length, flags) {
  state.set(chaining, 0);
  state.set(IV.subarray(0, 4), 8);
  state[12] = counter % 4294967296;
  state[13] = Math.floor(counter / 4294967296);
  state[14] = length;
  state[15] = flags;
  for (let round = 0; round < 7; round += 1) {
    const order = SCHEDULE[round];
    for (let i = 0; i < 8; i += 1) {
      const [a, b, c, d] = MIXES[i];
      mix(a, b, c, d, words[order[2 * i]], words[order[2 * i + 1]]);
    }
  }
  const out = new Uint32Array(16);
  for (let i = 0; i < 8; i += 1) {
    out[i] = state[i] ^ state[i + 8];
    out[i + 8] = state[i + 8] ^ chaining[i];
  }
  return out;
}

function blockWords(bytes, from, to) {
  const block = new Uint8Array(BLOCK);
  block.set(bytes.subarray(from, to));
  const view = new DataView(block.buffer);
  return Uint32Array.from({ length: 16 }, (_, i) => view.getUint32(4 * i, true));
}

// A node is what the last compression takes, so that the root can still add its flag and its output counter.
function chunkNode(bytes, from, to, index) {
  let chaining = IV;
  const blocks = Math.max(1, Math.ceil((to - from) / BLOCK));
  for (let i = 0; i < blocks; i += 1) {
    const start = from + i * BLOCK;
    const end = Math.min(to, start + BLOCK);
    const words = blockWords(bytes, start, end);
    const flags = (i === 0 ? CHUNK_START : 0) | (i === blocks - 1 ? CHUNK_END : 0);
    if (i === blocks - 1) return { chaining, words, counter: index, length: end - start, flags };
    chaining = compress(chaining, words, index, BLOCK, flags).subarray(0, 8);
  }
  throw new Error('no block');
}

function chainingValue(node) {
  return compress(node.chaining, node.words, node.counter, node.length, node.flags).subarray(0, 8);
}

function treeNode(bytes, from, to, index) {
  const length = to - from;
  if (length <= CHUNK) return chunkNode(bytes, from, to, index);
  let left = CHUNK;
  while (2 * left < length) left *= 2;
  const words = new Uint32Array(16);
  words.set(chainingValue(treeNode(bytes, from, from + left, index)), 0);
  words.set(chainingValue(treeNode(bytes, from + left, to, index + left / CHUNK)), 8);
  return { chaining: IV, words, counter: 0, length: BLOCK, flags: PARENT };
}

/** A function that gives output block `i` (64 bytes) of the extended output of `bytes`. */
function outputBlocks(bytes) {
  const node = treeNode(bytes, 0, bytes.length, 0);
  return (i) => {
    const words = compress(node.chaining, node.words, i, node.length, node.flags | ROOT);
    const block = Buffer.alloc(BLOCK);
    words.forEach((word, k) => block.writeUInt32LE(word, 4 * k));
    return block;
  };
}

/** The 32-byte digest as a Buffer. */
function blake3(bytes) {
  return outputBlocks(bytes)(0).subarray(0, 32);
}

module.exports = { blake3, outputBlocks };
