'use strict';
// Revocation lists: spec/11-trust.md, BC-TRU-14 to 18, 27.

const fs = require('node:fs');
const { parseJson } = require('./gate');
const { validate } = require('./schema');
const { refuse } = require('./refusal');
const { parseEnvelope, signers, checkPublicKey } = require('./dsse');
const { parseTime } = require('./times');
const { validAt } = require('./policy');
const { uncounted } = require('./appended');
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

function isNothing(place) {
  try {
    fs.statSync(place);
    return false;
  } catch (error) {
    return error.code === 'ENOENT';
  }
}

/** BC-TRU-17: what is remembered at `place`, or null where nothing is yet, which `given`, a list, allows. */
function readState(place, given, policy) {
  if (place === null || (given && isNothing(place))) return null;
  const state = parseJson(readFile(place), 'state');
  validate(state, 'revocation-state');
  const known = (bytes) => policy.keys.some((key) => key.public_key === bytes && key.roles.includes('revoker'));
  if (!state.revokers.some(known)) refuse('revocation.other_state', place);
  return state;
}

/** The list that the caller gave, and what is remembered; each null where it is not there. */
function readRevocations(request, policy) {
  const given = request.revocations !== null;
  const envelope = given ? parseEnvelope(readFile(request.revocations), 'revocations') : null;
  const list = given ? parseList(envelope.payload) : null;
  return { envelope, list, state: readState(request.revocation_state, given, policy) };
}

/** Whether enough revokers signed, each valid at all these times. */
function enough(envelope, policy, ...times) {
  const revokers = policy.keys.filter((key) => key.roles.includes('revoker') && times.every((time) => validAt(key, time)));
  const made = new Set(signers(envelope, revokers).filter((key) => key !== null));
  return made.size >= policy.thresholds.revoker;
}

/** BC-TRU-27: judges the lists beside the certificate, and returns the public keys that those which count revoke. */
function checkListsBeside(lists, policy, now, certificate, report) {
  const revoked = [];
  for (const { name, envelope } of lists) {
    try {
      if (!enough(envelope, policy, now)) refuse('review.unknown_signer', name);
      const list = parseList(envelope.payload);
      if (!enough(envelope, policy, now, list.from)) refuse('review.unknown_signer', name);
      report.add('authenticity', 'appended.list', 'passed', name);
      if (list.certificates.some((entry) => entry.certificate === certificate)) {
        report.add('authenticity', 'certificate.revoked', 'failed', name);
      }
      revoked.push(...list.keys.map((entry) => entry.public_key));
    } catch (error) {
      uncounted(report, error);
    }
  }
  return revoked;
}

/** Judges what `readRevocations` gave; adds what it finds, and returns the public keys that are revoked. */
function checkRevocations({ envelope, list, state }, policy, now, certificate, report) {
  const waiting = (code) => report.add('authenticity', code, 'inconclusive');
  if (list === null) {
    if (policy.revocation !== null || state !== null) waiting('revocation.missing');
    return new Set();
  }
  if (!enough(envelope, policy, now, list.from)) {
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

module.exports = { readRevocations, checkRevocations, checkListsBeside };
