'use strict';
// The trust policy: spec/11-trust.md, BC-TRU-01 to 05, 12, 13.

const fs = require('node:fs');
const { parseJson } = require('./gate');
const { validate } = require('./schema');
const { refuse } = require('./refusal');
const { casefold } = require('./names');
const { checkPublicKey } = require('./dsse');
const { parseTime } = require('./times');

function schemaCode(failure) {
  if (failure.place === '/require' && ['uniqueItems', 'contains'].includes(failure.keyword)) return 'trust.require';
  if (/\/roles$/.test(failure.place) && failure.keyword === 'uniqueItems') return 'trust.key';
  if (/^\/keys\/\d+\/name$/.test(failure.place)) return 'key.name';
  if (/^\/limits\//.test(failure.place) && ['minimum', 'pattern'].includes(failure.keyword)) return 'trust.limit';
  return undefined;
}

function checkKeys(policy) {
  const names = new Set();
  const bytes = new Set();
  for (const key of policy.keys) {
    if (names.has(casefold(key.name)) || bytes.has(key.public_key)) refuse('trust.key', key.name);
    names.add(casefold(key.name));
    bytes.add(key.public_key);
    checkPublicKey(key.public_key);
    key.from = key.not_before === null ? -Infinity : parseTime(key.not_before);
    key.to = key.not_after === null ? Infinity : parseTime(key.not_after);
    if (key.from >= key.to) refuse('trust.window', key.name);
  }
}

function checkThresholds(policy) {
  const count = (role) => policy.keys.filter((key) => key.roles.includes(role)).length;
  const { thresholds } = policy;
  const enough = (role) => {
    if (count(role) < thresholds[role]) refuse('trust.threshold', role);
  };
  enough('producer');
  enough('auditor');
  if (policy.revocation !== null || count('revoker') > 0) enough('revoker');
  if (count('owner') > 0) enough('owner');
}

function checkLimits(policy) {
  const set = Object.entries(policy.limits).filter(([, value]) => value !== null).map(([name]) => name);
  if (set.length > 0 && !policy.require.includes('policy')) refuse('trust.limit_unused');
  if (set.includes('least_audit_rows') && !policy.require.includes('replay')) refuse('trust.limit_unused');
}

/** The policy at `place`, with its defaults; keys also have `from` and `to` in seconds. */
function readPolicy(place) {
  let bytes;
  try {
    bytes = fs.readFileSync(place);
  } catch (error) {
    refuse(error.code === 'ENOENT' ? 'trust.not_found' : 'trust.unreadable', place);
  }
  const policy = parseJson(bytes, 'policy');
  validate(policy, 'trust-policy', schemaCode);
  policy.number ??= 1;
  policy.revocation ??= null;
  policy.limits.population ??= null;
  policy.thresholds.auditor ??= 0;
  policy.thresholds.revoker ??= 1;
  policy.thresholds.owner ??= 1;
  checkKeys(policy);
  checkThresholds(policy);
  checkLimits(policy);
  return policy;
}

function validAt(key, seconds) {
  return key.from <= seconds && seconds <= key.to;
}

module.exports = { readPolicy, validAt };
