'use strict';
// Whose signatures count: spec/11-trust.md, BC-TRU-06 to 10, spec/09-result-codes.md, BC-RES-08.

const { signers } = require('./dsse');
const { validAt } = require('./policy');
const { blake3 } = require('./blake3');
const { parseTime } = require('./times');

function keyid(key) {
  return blake3(Buffer.from(key.public_key, 'hex')).toString('hex');
}

/** Adds findings on the envelope's signatures at the clock and returns the keys that count. */
function checkSignatures(envelope, policy, now, revoked, report) {
  const keys = policy.keys.filter((key) => key.roles.includes('producer'));
  const counted = new Set();
  const refused = [];
  const made = signers(envelope, keys);
  made.forEach((key, i) => {
    if (key === null) {
      const named = keys.some((one) => keyid(one) === envelope.signatures[i].keyid);
      const other = policy.keys.find((one) => !keys.includes(one) && signers(envelope, [one])[i] !== null);
      if (other === undefined) refused.push(named ? 'signature.invalid' : 'signature.unknown_key');
    } else if (revoked.has(key.public_key)) refused.push('signature.key_revoked');
    else if (!validAt(key, now)) refused.push('signature.key_not_valid_now');
    else if (counted.has(key)) refused.push('signature.repeated');
    else counted.add(key);
  });
  const enough = counted.size >= policy.thresholds.producer;
  for (const code of refused) report.add('authenticity', code, enough ? 'skipped' : 'failed');
  if (envelope.signatures.length === 0) report.add('authenticity', 'signature.none', 'failed');
  else if (!enough) report.add('authenticity', 'signature.threshold_not_met', 'failed');
  return counted;
}

/** The windows of the keys at the stated time, and the statement's own times. */
function checkTimes(predicate, counted, policy, now, report) {
  const issued = parseTime(predicate.issued_at);
  const outside = [...counted].filter((key) => !validAt(key, issued));
  const enough = counted.size - outside.length >= policy.thresholds.producer;
  for (const key of outside) report.add('authenticity', 'signature.key_not_valid_when_issued', enough ? 'skipped' : 'failed', key.name);
  if (!enough) report.add('authenticity', 'signature.threshold_not_met', 'failed');
  if (now < issued) report.add('authenticity', 'statement.not_yet_valid', 'failed');
  if (now > parseTime(predicate.not_after)) report.add('authenticity', 'statement.expired', 'failed');
  if (!report.failed()) {
    report.add('authenticity', 'authenticity.signatures', 'passed');
    report.add('authenticity', 'authenticity.times', 'passed');
  }
}

module.exports = { checkSignatures, checkTimes };
