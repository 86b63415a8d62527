'use strict';

/** An input that is refused: a stable code (spec/09) and one sentence; `outside` where it is no finding of a bundle. */
class Refusal extends Error {
  constructor(code, message) {
    super(message ?? code);
    this.code = code;
  }
}

/** What this verifier does not do, so that the case is skipped (spec/14, BC-CNF-09). */
class OutOfScope extends Error {}

function refuse(code, message) {
  throw new Refusal(code, message);
}

/** Runs `action`, whose refusals are mistakes in what the caller gave: no verdict (BC-RES-06), and no findings. */
function ofTheCaller(action) {
  try {
    return action();
  } catch (error) {
    if (error instanceof Refusal) error.outside = true;
    throw error;
  }
}

module.exports = { Refusal, OutOfScope, refuse, ofTheCaller };
