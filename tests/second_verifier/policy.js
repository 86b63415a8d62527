'use strict';
// The trust policy: spec/11-trust.md, BC-TRU-01 to 05, 12, 13, and the one that follows it, BC-TRU-25.

const fs = require('node:fs');
const { parseJson } = require('./gate');
const { validate } = require('./schema');
const { refuse } = require('./refusal');
const { casefold } = require('./names');
const { parseEnvelope, signers, checkPublicKey } = require('./dsse');
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

function readFile(place) {
  try {
    return fs.readFileSync(place);
  } catch (error) {
    return refuse(error.code === 'ENOENT' ? 'trust.not_found' : 'trust.unreadable', place);
  }
}

/** The policy in these bytes, with its defaults; keys also have `from` and `to` in seconds. */
function parsePolicy(bytes) {
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

/** How many owners of a policy, valid now, signed an envelope. */
function owners(policy, envelope, now) {
  const keys = policy.keys.filter((key) => key.roles.includes('owner') && validAt(key, now));
  return new Set(signers(envelope, keys).filter((key) => key !== null)).size;
}

/** BC-TRU-25: the policy in a signed one, which must follow the one that is held. */
function readSuccessor(place, held, now) {
  const envelope = parseEnvelope(readFile(place), 'policy');
  const policy = parsePolicy(envelope.payload);
  for (const one of [held, policy]) if (!one.keys.some((key) => key.roles.includes('owner'))) refuse('trust.rotation.no_owner');
  if (policy.number !== held.number + 1) refuse('trust.rotation.number');
  for (const one of [held, policy]) if (owners(one, envelope, now) < one.thresholds.owner) refuse('trust.rotation.threshold');
  return policy;
}

/** The policy to verify with (BC-CNF-04): the one at `place`, or the signed one there that follows the one at `follows`. */
function readPolicy(place, follows, now) {
  if (follows === null) return parsePolicy(readFile(place));
  return readSuccessor(place, parsePolicy(readFile(follows)), now);
}

module.exports = { readPolicy, validAt };
