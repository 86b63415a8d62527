'use strict';
// Every claim, recomputed from the evidence: spec/08-claims.md.

const { Rational, ZERO, max, sum, bound, roundUp, share, mean } = require('./rational');
const { refuse } = require('./refusal');
const { atLeast } = require('./statistics');

const BASES = ['proof', 'enclosure', 'measurement', 'estimate'];
const SPEC_RELATIVE = ['0.01', '0.02', '0.05'];
const SPEC_LOSS = ['0.001', '0.01', '0.1'];
const MOST = new Rational(10n ** 40n);

function weakest(bases) {
  return BASES[Math.max(...bases.map((basis) => BASES.indexOf(basis)))];
}

function stated(text) {
  if (text === null) refuse('number.not_decimal');
  return text;
}

/** BC-STM-11. */
function checkThresholds(predicate, report) {
  const { relative, loss, post_hoc: marked } = predicate.thresholds;
  const failed = (code) => report.add('recompute', code, 'failed');
  for (const list of [relative, loss]) {
    let before = ZERO;
    for (const text of list) {
      const value = Rational.parse(text);
      if (!before.lt(value)) failed('thresholds.order');
      before = value;
    }
  }
  const known = relative.every((one) => SPEC_RELATIVE.includes(one)) && loss.every((one) => SPEC_LOSS.includes(one));
  const free = predicate.claims.population.claims.some((claim) => claim.predicate.kind === 'logit_difference');
  if (marked !== (!known || free)) failed('thresholds.post_hoc');
}

/** BC-CLM-03, 05, 08: what the terms of the claims must be. */
function checkTerms(predicate) {
  const { claims, thresholds } = predicate;
  for (const { lipschitz } of claims.stages) {
    if (lipschitz !== null && Rational.parse(lipschitz.constant).lt(ZERO)) refuse('lipschitz.negative');
  }
  const alpha = Rational.parse(claims.population.alpha);
  if (alpha.le(ZERO) || !alpha.lt(new Rational(1n))) refuse('population.alpha');
  const seen = new Set();
  for (const { predicate: one } of claims.population.claims) {
    const byShare = one.kind === 'covered' || one.kind === 'top1';
    if ((one.share !== null) !== byShare || (one.threshold !== null) !== (one.kind !== 'top1')) refuse('claims.predicate', one.kind);
    if (byShare && one.share !== '0.95' && one.share !== '1') refuse('population.share', one.share);
    if (one.kind === 'covered' && !thresholds.relative.includes(one.threshold)) refuse('claims.threshold', one.threshold);
    if ((one.kind === 'kl' || one.kind === 'loss_difference') && !thresholds.loss.includes(one.threshold)) refuse('population.threshold', one.threshold);
    if (one.kind === 'logit_difference' && Rational.parse(one.threshold).lt(ZERO)) refuse('population.threshold');
    const key = JSON.stringify([one.kind, one.share, one.threshold]);
    if (seen.has(key)) refuse('population.duplicate', key);
    seen.add(key);
  }
}

/** Whether a row satisfies the predicate of a population claim; `at` gives its cells. */
function satisfies(one, predicate, at) {
  const cell = (...place) => Rational.fromFloat(at(...place));
  const { length } = predicate.prompts.frame;
  const threshold = one.threshold === null ? null : Rational.parse(one.threshold);
  const positions = Rational.of(length - 1);
  switch (one.kind) {
    case 'covered': {
      const least = Rational.parse(one.share).mul(Rational.of(length));
      const r = predicate.thresholds.relative.indexOf(one.threshold);
      for (let i = 1; i <= predicate.reference.blocks; i += 1) if (cell('covered', i, r).lt(least)) return false;
      return true;
    }
    case 'top1':
      return Rational.parse(one.share).mul(Rational.of(length)).le(cell('top1_agree'));
    case 'kl':
      return cell('kl_sum').le(threshold.mul(positions));
    case 'loss_difference':
      return cell('loss_difference').abs().le(threshold.mul(positions));
    default:
      return cell('logit_difference').le(threshold);
  }
}

class Recomputation {
  constructor(predicate, evidence, same, windows) {
    this.predicate = predicate;
    this.evidence = evidence;
    this.same = same;
    this.windows = windows;
    this.N = predicate.evidence.rows;
    this.A = predicate.evidence.attribution_rows;
    this.n = predicate.reference.blocks;
    this.T = predicate.prompts.frame.length;
  }

  // Exact values of cells.
  cells(name, rows, ...indices) {
    const column = this.evidence.get(name);
    return Array.from({ length: rows }, (_, p) => Rational.fromFloat(column.at(p, ...indices)));
  }

  count(name, rows, ...indices) {
    const column = this.evidence.get(name);
    let total = 0;
    for (let p = 0; p < rows; p += 1) total += column.at(p, ...indices);
    return total;
  }

  greatest(name, ...indices) {
    const column = this.evidence.get(name);
    let most = 0;
    for (let p = 0; p < column.shape[0]; p += 1) most = Math.max(most, column.at(p, ...indices));
    return Rational.fromFloat(most);
  }

  bound(value, same) {
    return stated(bound(value, same));
  }

  upTo(i) {
    return this.same.slice(0, i + 1).every(Boolean);
  }

  stages() {
    const { thresholds, claims } = this.predicate;
    return this.same.map((same, i) => {
      const isBlock = i > 0 && i < this.n + 1;
      const loss = thresholds.loss.map((_, q) => this.A > 0 && this.count('attribution.loss_within', this.A, i, q));
      return {
        index: i,
        same_program: same,
        error: this.bound(this.greatest('error', i), same),
        relative_error: this.bound(this.greatest('relative_error', i), same),
        relative_update_error: isBlock ? this.bound(this.greatest('relative_update_error', i - 1), same) : null,
        tokens: this.N * this.T,
        covered: thresholds.relative.map((_, r) => this.count('covered', this.N, i, r)),
        loss_tokens: this.A > 0 ? this.A * (this.T - 1) : null,
        loss_covered: this.A > 0 ? loss : null,
        lipschitz: claims.stages[i].lipschitz,
        scope: 'listed-prompts',
        basis: 'measurement',
      };
    });
  }

  // One entry of the composition, from the exact bound and the exact measured value.
  composed(method, exact, measured, rows, basis) {
    if (MOST.le(exact)) refuse('number.not_decimal');
    const same = this.upTo(this.n);
    const finals = this.cells('final_norm', this.N).sort((a, b) => a.compare(b));
    const median = finals[Math.floor((this.N - 1) / 2)];
    const control = this.greatest('identity.drift', this.n);
    const least = median.lt(control) ? median : control;
    const ratio = measured.isZero() ? null : exact.div(measured);
    const shown = ratio === null || new Rational(10n ** 30n).lt(ratio) ? null : roundUp(ratio);
    return {
      method,
      bound: this.bound(exact, same),
      measured: this.bound(measured, same),
      ratio: shown,
      rows,
      vacuous: least.le(exact),
      scope: 'listed-prompts',
      basis,
    };
  }

  composition(stages) {
    const entries = [];
    const blocks = stages.slice(1, this.n + 1);
    if (blocks.every((stage) => stage.lipschitz !== null)) {
      const scopes = blocks.map((stage) => stage.lipschitz.scope);
      if (!scopes.every((scope) => scope === 'all-inputs' || scope === 'listed-prompts')) refuse('claims.scope');
      let e = Rational.parse(stages[0].error);
      for (const stage of blocks) {
        e = Rational.parse(stage.lipschitz.constant).mul(e).add(Rational.parse(stage.error));
        if (MOST.le(e)) refuse('number.not_decimal');
      }
      const measured = this.greatest('drift', this.n);
      if (e.lt(measured)) refuse('composition.below_measured');
      const basis = weakest(['measurement', ...blocks.map((stage) => stage.lipschitz.basis)]);
      entries.push(this.composed('lipschitz', e, measured, this.N, basis));
    }
    if (this.A > 0) {
      const steps = this.evidence.get('attribution.hybrid_step');
      const sums = Array.from({ length: this.A }, (_, p) => sum([...steps.row(p)].map((cell) => Rational.fromFloat(cell))));
      const measured = max(this.cells('drift', this.A, this.n));
      entries.push(this.composed('telescoping', max(sums), measured, this.A, 'measurement'));
    }
    return entries;
  }

  endToEnd() {
    const all = this.same.every(Boolean);
    const blocks = this.upTo(this.n);
    const positions = new Rational(BigInt(this.N * (this.T - 1)));
    const average = (name) => stated(mean(sum(this.cells(name, this.N)).div(positions)));
    return {
      drift: this.bound(this.greatest('drift', this.n), blocks),
      relative_drift: this.bound(this.greatest('relative_drift', this.n), blocks),
      logit_difference: this.bound(this.greatest('logit_difference'), all),
      tokens: this.N * this.T,
      top1_agree: this.count('top1_agree', this.N),
      decided: this.count('decided', this.N),
      loss_tokens: this.N * (this.T - 1),
      loss_reference: average('loss_reference'),
      loss_surrogate: average('loss_surrogate'),
      loss_difference: average('loss_difference'),
      loss_within: this.predicate.thresholds.loss.map((_, q) => this.count('loss_within', this.N, q)),
      kl_mean: average('kl_sum'),
      kl_max: this.bound(this.greatest('kl_max'), all),
      scope: 'listed-prompts',
      basis: 'measurement',
    };
  }

  /** BC-CLM-18, where the certificate has enclosures. */
  enclosures() {
    const { rows: E } = this.predicate.claims.enclosures;
    const all = this.same.every(Boolean);
    const blocks = this.upTo(this.n);
    const bounded = (name, same, ...indices) => this.bound(this.greatest(`enclosure.${name}`, ...indices), same);
    const counted = (name, ...indices) => this.count(`enclosure.${name}`, E, ...indices);
    return {
      rows: E,
      bits: Math.max(...this.evidence.get('enclosure.bits').cells),
      stages: this.same.map((same, i) => ({
        index: i,
        error: bounded('error', same, i),
        relative_error: bounded('relative_error', same, i),
        relative_update_error: i > 0 && i <= this.n ? bounded('relative_update_error', same, i - 1) : null,
        covered: this.predicate.thresholds.relative.map((_, r) => counted('covered', i, r)),
      })),
      drift: bounded('drift', blocks, this.n),
      relative_drift: bounded('relative_drift', blocks, this.n),
      logit_difference: bounded('logit_difference', all),
      tokens: E * this.T,
      top1_agree: counted('top1_agree'),
      decided: counted('decided'),
      loss_tokens: E * (this.T - 1),
      loss_within: this.predicate.thresholds.loss.map((_, q) => counted('loss_within', q)),
      kl_max: bounded('kl_max', all),
      scope: 'listed-prompts',
      basis: 'enclosure',
    };
  }

  satisfied(one, p) {
    return satisfies(one, this.predicate, (name, ...indices) => this.evidence.get(name).at(p, ...indices));
  }

  population() {
    const { frame } = this.predicate.prompts;
    const given = this.predicate.claims.population;
    const M = frame.windows - frame.calibration;
    const k = BigInt(given.claims.length);
    const alpha = Rational.parse(given.alpha);
    const good = given.claims.map(({ predicate }) => Array.from({ length: this.N }, (_, p) => this.satisfied(predicate, p)));
    const number = (flags) => flags.filter(Boolean).length;
    const claims = given.claims.map(({ predicate }, c) => {
      const successes = number(good[c]);
      const least = atLeast(M, this.N, successes, alpha.div(new Rational(k)));
      return { predicate, successes, at_least: least, at_least_share: share(new Rational(BigInt(least), BigInt(M))) };
    });
    return {
      windows: M,
      trials: this.N,
      alpha: given.alpha,
      claims,
      strata: this.strata(frame, good, alpha, k),
      scope: 'population',
      basis: 'measurement',
    };
  }

  strata(frame, good, alpha, k) {
    const H = frame.corpus.length;
    if (H < 2 || H > 64) return null;
    const starts = [];
    let start = 0;
    for (const file of frame.corpus) {
      starts.push(start);
      start += file.windows;
    }
    const fileOf = (window) => frame.corpus.findIndex((file, h) => starts[h] <= window && window < starts[h] + file.windows);
    const certification = this.windows.certification.map(fileOf);
    const calibration = this.windows.calibration.map(fileOf);
    return frame.corpus.map((file, h) => {
      const windows = file.windows - calibration.filter((one) => one === h).length;
      const trials = certification.filter((one) => one === h).length;
      const successes = good.map((flags) => flags.filter((flag, p) => flag && certification[p] === h).length);
      const level = good.length === 0 ? null : alpha.div(new Rational(k * BigInt(H)));
      const least = successes.map((s) => (windows === 0 || trials === 0 ? 0 : atLeast(windows, trials, s, level)));
      return { windows, trials, successes, at_least: least };
    });
  }

  control() {
    const ends = (i) => i === 0 || i === this.n + 1;
    const list = (name) => this.same.map((_, i) => this.bound(this.greatest(name, i), ends(i)));
    return {
      identity: {
        error: list('identity.error'),
        relative_error: list('identity.relative_error'),
        covered: this.same.map((_, i) => this.predicate.thresholds.relative.map((__, r) => this.count('identity.covered', this.N, i, r))),
        drift: this.bound(this.greatest('identity.drift', this.n), false),
        relative_drift: this.bound(this.greatest('identity.relative_drift', this.n), false),
        logit_difference: this.bound(this.greatest('identity.logit_difference'), false),
        top1_agree: this.count('identity.top1_agree', this.N),
        decided: this.count('identity.decided', this.N),
      },
      float32_floor: {
        relative_error: this.same.map((_, i) => stated(roundUp(this.greatest('float32.relative_error', i)))),
        basis: 'estimate',
      },
    };
  }
}

function equal(a, b) {
  if (a === null || b === null || typeof a !== 'object' || typeof b !== 'object') return a === b;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => key in b && equal(a[key], b[key]));
}

/** Compares every claim with what the evidence gives. */
function checkClaims(predicate, evidence, same, windows, report) {
  const recomputation = new Recomputation(predicate, evidence, same, windows);
  const { claims } = predicate;
  const compare = (code, given, make) => report.attempt('recompute', () => {
    if (!equal(given, make())) refuse(code);
  });
  let stages;
  compare('recompute.claim.mismatch', claims.stages, () => (stages = recomputation.stages()));
  compare('recompute.claim.mismatch', claims.end_to_end, () => recomputation.endToEnd());
  if (stages) compare('recompute.composition.mismatch', claims.composition, () => recomputation.composition(stages));
  compare('recompute.population.mismatch', claims.population, () => recomputation.population());
  compare('recompute.control.mismatch', claims.control, () => recomputation.control());
  if (claims.enclosures !== null) compare('recompute.claim.mismatch', claims.enclosures, () => recomputation.enclosures());
}

/** BC-VER-05: constants that no verifier confirms. */
function reportConstants(predicate, report) {
  for (const { lipschitz } of predicate.claims.stages) {
    if (lipschitz !== null && lipschitz.basis !== 'estimate') report.add('recompute', 'lipschitz.unverified', 'inconclusive');
  }
}

module.exports = { checkThresholds, checkTerms, checkClaims, reportConstants, satisfies, BASES };
