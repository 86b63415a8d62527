'use strict';
// Reviews: spec/11-trust.md, BC-TRU-19 to 24.

const crypto = require('node:crypto');
const { parseJson } = require('./gate');
const { validate } = require('./schema');
const { refuse } = require('./refusal');
const { signers } = require('./dsse');
const { uncounted } = require('./appended');
const { parseTime } = require('./times');
const { validAt } = require('./policy');
const { blake3 } = require('./blake3');

// The key, the outcome and the time of a review that counts; refuses any other.
function readReview(name, envelope, auditors, now, digests) {
  if (envelope.signatures.length !== 1) refuse('review.malformed', name);
  const [key] = signers(envelope, auditors);
  if (key === null) refuse('review.unknown_signer', name);
  const review = parseJson(envelope.payload, 'review');
  validate(review, 'review');
  const made = parseTime(review.predicate.made_at);
  if (!validAt(key, made) || made > now) refuse('review.unknown_signer', name);
  const { sha256, blake3: other } = review.subject[0].digest;
  if (sha256 !== digests.sha256 || other !== digests.blake3) refuse('review.other', name);
  return { key, outcome: review.predicate.outcome, made };
}

function checkReviews(reviews, payload, policy, now, revoked, report) {
  const digests = {
    sha256: crypto.createHash('sha256').update(payload).digest('hex'),
    blake3: blake3(payload).toString('hex'),
  };
  const auditors = policy.keys.filter((key) => key.roles.includes('auditor') && validAt(key, now) && !revoked.has(key.public_key));
  const latest = new Map();
  for (const { name, envelope } of reviews) {
    try {
      const review = readReview(name, envelope, auditors, now, digests);
      const before = latest.get(review.key);
      const replaces = before === undefined || review.made > before.made
        || (review.made === before.made && review.outcome === 'objects');
      if (replaces) latest.set(review.key, review);
    } catch (error) {
      uncounted(report, error);
    }
  }
  const outcomes = [...latest.values()].map((review) => review.outcome);
  if (outcomes.includes('objects')) report.add('authenticity', 'review.objection', 'failed');
  const approvals = outcomes.filter((outcome) => outcome === 'approves').length;
  if (approvals < policy.thresholds.auditor) report.add('authenticity', 'review.threshold_not_met', 'inconclusive');
  else if (approvals > 0) report.add('authenticity', 'review.approved', 'passed');
}

module.exports = { checkReviews };
