'use strict';
// The trajectories of one prompt through both programs: spec/07-evidence.md, Notation.

const { Evaluator } = require('./evaluator');
const { float32 } = require('./arithmetic');

class Watch {
  constructor() {
    this.magnitudes = [];
    this.scores = [];
  }

  magnitude(list) {
    this.magnitudes.push(list);
  }

  score(list) {
    this.scores.push(list);
  }
}

/**
 * Both programs on `tokens`. `programs` are the compiled stages of both sides, `same` which stages are one program.
 * Watched evaluations are `{watch, stage, output}`, for the rules on magnitudes and scores.
 */
function follow(programs, same, tokens, attribution, arithmetic, noise = null) {
  const F = new Evaluator(programs.reference, arithmetic, noise);
  const G = new Evaluator(programs.surrogate, arithmetic, noise);
  const head = same.length - 1;
  const n = head - 1;
  const watched = [];
  const evaluate = (side, stage, input) => {
    const watch = new Watch();
    const output = side.stage(stage, input, watch);
    watched.push({ watch, stage, output });
    return output;
  };
  const X = [];
  const local = [];
  const Y = [];
  let equal = true;
  for (let i = 0; i <= head; i += 1) {
    const before = i === 0 ? tokens : X[i - 1];
    X.push(evaluate(F, i, before));
    local.push(same[i] ? X[i] : evaluate(G, i, before));
    const stitched = i === 0 ? tokens : Y[i - 1];
    const wasEqual = equal;
    equal &&= same[i];
    if (equal) Y.push(X[i]);
    else if (wasEqual) Y.push(local[i]);
    else Y.push(evaluate(G, i, stitched));
  }
  const out = { X, local, Y, same, tokens, watched, identity: F.stage(head, X[0]) };
  if (attribution) {
    out.single = same.map((one, i) => {
      if (one) return X[head];
      let value = local[i];
      for (let j = i + 1; j <= head; j += 1) value = F.stage(j, value);
      return value;
    });
    out.hybrid = [];
    for (let i = 0; i <= n; i += 1) {
      let value = X[i];
      for (let j = i + 1; j <= n; j += 1) value = same.slice(i + 1, j + 1).every(Boolean) ? X[j] : G.stage(j, value);
      out.hybrid.push(value);
    }
    out.hybridStart = Y[n];
  }
  return out;
}

/** `h_i(X_{i-1})` for every stage: the reference in float32, from float64 inputs rounded. */
function followFloat32(programs, tokens, X) {
  const H = new Evaluator(programs.reference, float32);
  return X.map((_, i) => H.stage(i, i === 0 ? tokens : X[i - 1].map((row) => row.map(Math.fround))));
}

module.exports = { follow, followFloat32 };
