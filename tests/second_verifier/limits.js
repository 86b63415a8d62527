'use strict';
// The limits of the trust policy: spec/11-trust.md, BC-TRU-11.

const { Rational } = require('./rational');
const { BASES } = require('./claims');
const { parseTime } = require('./times');

function atMost(text, limit) {
  return Rational.parse(text).le(Rational.parse(limit));
}

function shareAtLeast(count, of, share) {
  return Rational.parse(share).mul(Rational.of(of)).le(Rational.of(count));
}

function metPopulation(limit, population) {
  return population.claims.some(({ predicate, at_least: least }) => predicate.kind === limit.kind && predicate.share === limit.share
    && predicate.threshold === limit.threshold && shareAtLeast(least, population.windows, limit.at_least)
    && atMost(population.alpha, limit.alpha));
}

/** Adds a finding for each limit that the certificate does not keep; `audited` are rows confirmed by an audit. */
function checkLimits(document, policy, now, audited, report) {
  const { predicate } = document;
  const { claims } = predicate;
  const { limits, accept } = policy;
  const failed = (code) => report.add('policy', code, 'failed');
  if (!accept.predicate_types.includes(document.predicateType)) failed('policy.predicate_type');
  if (!accept.versions.includes(predicate.version)) failed('policy.version');
  if (limits.coverage !== null) {
    const r = predicate.thresholds.relative.indexOf(limits.coverage.threshold);
    const met = r >= 0 && claims.stages.every((stage) => shareAtLeast(stage.covered[r], stage.tokens, limits.coverage.share));
    if (!met) failed('policy.coverage');
  }
  const end = claims.end_to_end;
  const head = claims.stages.at(-1);
  if (limits.relative_drift !== null) {
    const met = atMost(end.relative_drift, limits.relative_drift) && atMost(head.relative_error, limits.relative_drift);
    if (!met) failed('policy.relative_drift');
  }
  if (limits.kl_mean !== null && !atMost(end.kl_mean, limits.kl_mean)) failed('policy.kl_mean');
  if (limits.logit_difference !== null && !atMost(end.logit_difference, limits.logit_difference)) failed('policy.logit_difference');
  if (limits.loss_difference !== null) {
    if (!Rational.parse(end.loss_difference).abs().le(Rational.parse(limits.loss_difference))) failed('policy.loss_difference');
  }
  if (limits.top1_share !== null && !shareAtLeast(end.top1_agree, end.tokens, limits.top1_share)) failed('policy.top1_share');
  for (const limit of limits.population ?? []) if (!metPopulation(limit, claims.population)) failed('policy.population');
  if (limits.least_basis !== null) {
    const parts = [...claims.stages, ...claims.composition, end, claims.population];
    if (claims.enclosures !== null) parts.push(claims.enclosures);
    const weaker = parts.some((part) => BASES.indexOf(part.basis) > BASES.indexOf(limits.least_basis));
    if (weaker) failed('policy.basis');
  }
  if (limits.greatest_age_days !== null && now - parseTime(predicate.issued_at) >= limits.greatest_age_days * 86400) failed('policy.age');
  if (limits.least_audit_rows !== null && audited < Math.min(limits.least_audit_rows, predicate.evidence.rows)) {
    report.add('policy', 'policy.audit_rows', 'inconclusive');
  }
  if (report.status('policy') === 'skipped') report.add('policy', 'policy.limits', 'passed');
}

module.exports = { checkLimits };
