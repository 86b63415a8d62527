'use strict';
// What stands beside a certificate: spec/11-trust.md, BC-TRU-20, 23, 27, 28.

const { Refusal, refuse } = require('./refusal');
const { parseEnvelope } = require('./dsse');

const STATEMENT = /^appended\/[^/]+\.dsse\.json$/u;
const REPORT = /^appended\/[^/]+\.report\.json$/u;
const MOST = 64;
const LARGEST_REVIEW = 65536;
const LARGEST_LIST = 1048576;

function isAppendedName(name) {
  return STATEMENT.test(name) || REPORT.test(name);
}

function byCodePoints(a, b) {
  return Buffer.compare(Buffer.from(a, 'utf8'), Buffer.from(b, 'utf8'));
}

function isSomebody(policy, role) {
  return policy.keys.some((key) => key.roles.includes(role));
}

/** Says that what stands under `name` counts for nothing. */
function uncounted(report, error) {
  if (!(error instanceof Refusal)) throw error;
  report.add('authenticity', error.code.startsWith('review.') ? error.code : 'review.malformed', 'skipped', error.message);
}

/** The envelopes of reviews and of lists beside the certificate, as far as the policy names whom they could be of. */
function readAppended(bundle, policy, report) {
  const found = { reviews: [], lists: [] };
  const names = [...bundle.files.keys()].filter((name) => STATEMENT.test(name)).sort(byCodePoints);
  if (names.length === 0) return found;
  if (!isSomebody(policy, 'auditor') && !isSomebody(policy, 'revoker')) {
    report.add('authenticity', 'appended.not_read', 'skipped');
    return found;
  }
  if (names.length > MOST) report.add('authenticity', 'review.malformed', 'inconclusive');
  for (const name of names.slice(0, MOST)) {
    try {
      if (bundle.size(name) > LARGEST_LIST) refuse('review.malformed', name);
      const envelope = parseEnvelope(bundle.read(name), 'statement', 'revocations');
      const review = envelope.type === 'statement';
      if (review && bundle.size(name) > LARGEST_REVIEW) refuse('review.malformed', name);
      (review ? found.reviews : found.lists).push({ name, envelope });
    } catch (error) {
      uncounted(report, error);
    }
  }
  return found;
}

module.exports = { readAppended, isAppendedName, uncounted };
