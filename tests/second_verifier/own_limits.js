'use strict';
// The caller's own limits: spec/10-verification.md, BC-VER-29. What exceeds one ends the verification, undecided.

const { levels, CAPS } = require('./gate');
const { MOST_ENTRIES } = require('./container');

/** A limit that is exceeded; `step` is the one in which it is. */
class Exceeded extends Error {
  constructor(step, code) {
    super(code);
    this.step = step;
    this.code = code;
  }
}

class OwnLimits {
  constructor({ bytes = Infinity, members = MOST_ENTRIES, depth = CAPS.document.levels, seconds = Infinity, memory = Infinity }) {
    Object.assign(this, { bytes, depth, memory });
    this.members = Math.min(members, MOST_ENTRIES);
    this.end = Date.now() + 1000 * seconds;
  }

  within(step, code, found, most) {
    if (found > most) throw new Exceeded(step, code);
  }

  look(step) {
    if (Date.now() >= this.end) throw new Exceeded(step, 'limit.seconds');
  }

  /** Runs `action`, which opens a bundle: too many members are the caller's where its limit is below the standard's. */
  opening(action) {
    try {
      return action();
    } catch (error) {
      if (error.code === 'bundle.too_many_files' && this.members < MOST_ENTRIES) throw new Exceeded('structure', 'limit.members');
      throw error;
    }
  }

  /** The files of the bundle and, where `document` is given, those of the reference model that it states. */
  sizes(step, bundle, document = null) {
    let total = 0;
    for (const name of bundle.files.keys()) total += bundle.size(name);
    for (const file of document?.predicate.files ?? []) if (file.name.startsWith('reference/')) total += file.size;
    this.within(step, 'limit.bytes', total, this.bytes);
  }

  levels(step, bytes) {
    if (this.depth < CAPS.document.levels) this.within(step, 'limit.depth', levels(bytes), this.depth);
  }

  /** What the columns of prompts and evidence take. */
  columns(predicate, columns) {
    const { calibration, certification, length } = predicate.prompts.frame;
    const cells = columns.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
    this.within('recompute', 'limit.memory', (calibration + certification) * (4 * length + 9) + 8 * cells, this.memory);
  }
}

module.exports = { OwnLimits, Exceeded };
