'use strict';

/** An input that is refused: a stable code (spec/09) and one sentence. */
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

module.exports = { Refusal, OutOfScope, refuse };
