'use strict';
// Revocation lists: spec/11-trust.md, BC-TRU-14 to 18.

const fs = require('node:fs');
const { parseJson } = require('./gate');
const { validate } = require('./schema');
const { refuse } = require('./refusal');
const { parseEnvelope, signers, checkPublicKey } = require('./dsse');
const { parseTime } = require('./times');
const { validAt } = require('./policy');
const { blake3 } = require('./blake3');

function readFile(place) {
  try {
    return fs.readFileSync(place);
  } catch (error) {
    return refuse(error.code === 'ENOENT' ? 'file.missing' : 'file.unreadable', place);
  }
}

function parseList(payload) {
  const list = parseJson(payload, 'revocations');
  validate(list, 'revocation-list');
  list.from = parseTime(list.issued_at);
  list.to = parseTime(list.next_update);
  if (list.from >= list.to) refuse('revocation.window');
  const once = (values) => {
    if (new Set(values).size < values.length) refuse('revocation.repeated');
  };
  once(list.certificates.map((entry) => entry.certificate));
  once(list.keys.map((entry) => entry.public_key));
  for (const entry of [...list.certificates, ...list.keys]) parseTime(entry.revoked_at);
  list.keys.forEach((entry) => checkPublicKey(entry.public_key));
  return list;
}

function readState(place) {
  if (place === null || !fs.existsSync(place)) return null;
  const state = parseJson(readFile(place), 'policy');
  const known = state !== null && typeof state === 'object' && state.type === 'blockcert-revocation-state' && state.version === 1
    && Number.isInteger(state.number) && /^[0-9a-f]{64}$/.test(state.digest) && Object.keys(state).length === 4;
  if (!known) refuse('json.type', place);
  return state;
}

/** Reads the list that was given; adds what it finds, and returns the public keys that are revoked. */
function checkRevocations(request, policy, now, certificate, report) {
  const waiting = (code) => report.add('authenticity', code, 'inconclusive');
  if (request.revocations === null) {
    if (policy.revocation !== null) waiting('revocation.missing');
    return new Set();
  }
  const outside = (action) => {
    try {
      return action();
    } catch (error) {
      error.outside = true;
      throw error;
    }
  };
  const envelope = outside(() => parseEnvelope(readFile(request.revocations), 'revocations'));
  const list = outside(() => parseList(envelope.payload));
  const state = outside(() => readState(request.revocation_state));
  const revokers = policy.keys.filter((key) => key.roles.includes('revoker') && validAt(key, now) && validAt(key, list.from));
  const made = new Set(signers(envelope, revokers).filter((key) => key !== null));
  if (made.size < policy.thresholds.revoker) {
    waiting('revocation.untrusted');
    return new Set();
  }
  if (list.certificates.some((entry) => entry.certificate === certificate)) {
    report.add('authenticity', 'certificate.revoked', 'failed');
  }
  if (now < list.from) waiting('revocation.not_yet_valid');
  if (now > list.to) waiting('revocation.stale');
  const digest = blake3(envelope.payload).toString('hex');
  const back = state !== null && (list.number < state.number || (list.number === state.number && digest !== state.digest));
  if (back) waiting('revocation.rollback');
  if (!back && list.from <= now && now <= list.to) report.add('authenticity', 'revocation.list', 'passed');
  return new Set(list.keys.map((entry) => entry.public_key));
}

module.exports = { checkRevocations };
