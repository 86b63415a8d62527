'use strict';
// The draws of spec/06-prompts.md, BC-PRM-06 to 11.

const { blake3, outputBlocks } = require('./blake3');

const TWO64 = 1n << 64n;

class Stream {
  constructor(label, parts) {
    this.block = outputBlocks(Buffer.concat([Buffer.from(label, 'ascii'), Buffer.of(0), ...parts]));
    this.next = 0;
  }

  word() {
    const block = Math.floor(this.next / 8);
    if (this.current !== block) {
      this.bytes = this.block(block);
      this.current = block;
    }
    const value = this.bytes.readBigUInt64LE(8 * (this.next % 8));
    this.next += 1;
    return value;
  }

  uniform(m) {
    const big = BigInt(m);
    const limit = (TWO64 / big) * big;
    for (;;) {
      const word = this.word();
      if (word < limit) return Number(word % big);
    }
  }

  /** Draws `k` of `0 … m-1` as places of a list, without making the list. */
  places(m, k) {
    const moved = new Map();
    const at = (i) => moved.get(i) ?? i;
    const drawn = [];
    for (let i = 0; i < k; i += 1) {
      const j = i + this.uniform(m - i);
      const [a, b] = [at(i), at(j)];
      moved.set(j, a);
      moved.set(i, b);
      drawn.push(b);
    }
    return drawn;
  }
}

function u64(value) {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

// The `place`-th (from 0) of the numbers that are not among `drawn`, which ascend.
function skipping(drawn, place) {
  let value = place;
  for (const one of drawn) {
    if (one > value) break;
    value += 1;
  }
  return value;
}

/** The windows that the frame draws: calibration, then certification. */
function drawWindows(frame, referenceDigest, surrogateDigest) {
  const corpus = blake3(Buffer.concat(frame.corpus.map((file) => Buffer.from(file.blake3, 'hex'))));
  const parts = [
    referenceDigest, corpus, Buffer.from(frame.tokenizer.blake3, 'hex'), u64(frame.seed), u64(frame.length), u64(frame.windows),
  ];
  const calibration = new Stream('blockcert:v1:calibration', parts).places(frame.windows, frame.calibration);
  const drawn = [...calibration].sort((a, b) => a - b);
  const places = new Stream('blockcert:v1:certification', [...parts, surrogateDigest])
    .places(frame.windows - frame.calibration, frame.certification);
  return { calibration, certification: places.map((place) => skipping(drawn, place)) };
}

/** The rows that a replay measures, in order. */
function drawRows(certificate, seed, rows, count) {
  return new Stream('blockcert:v1:replay', [Buffer.from(certificate, 'hex'), Buffer.from(seed, 'hex')]).places(rows, count);
}

/** Windows that nobody listed: BC-PRM-15. `listed` are all that were drawn. */
function drawFresh(certificate, seed, windows, listed, count) {
  const drawn = [...listed].sort((a, b) => a - b);
  const left = windows - drawn.length;
  const stream = new Stream('blockcert:v1:fresh', [Buffer.from(certificate, 'hex'), Buffer.from(seed, 'hex')]);
  return stream.places(left, Math.min(count, left)).map((place) => skipping(drawn, place));
}

module.exports = { drawWindows, drawRows, drawFresh, Stream };
