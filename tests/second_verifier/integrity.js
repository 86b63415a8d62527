'use strict';
// Whether files are those that were signed: spec/02-bundle.md, BC-BND-01, 02, 12.

const crypto = require('node:crypto');
const { blake3 } = require('./blake3');
const { refuse } = require('./refusal');
const { isAppendedName } = require('./appended');

const REFERENCE = 'reference/';

function expectedFiles(document) {
  const sizes = new Map(document.predicate.files.map((file) => [file.name, file.size]));
  return document.subject.map(({ name, digest }) => ({ name, size: sizes.get(name), digest }));
}

/** BC-BND-01, 02. */
function checkMembers(bundle, document, report) {
  const listed = new Set(document.subject.map((subject) => subject.name));
  for (const name of listed) {
    if (!name.startsWith(REFERENCE) && !bundle.files.has(name)) report.add('structure', 'bundle.file.missing', 'failed', name);
  }
  for (const name of bundle.files.keys()) {
    if (name === 'statement.dsse.json' || isAppendedName(name)) continue;
    if (!listed.has(name) || name.startsWith(REFERENCE)) report.add('structure', 'bundle.file.unlisted', 'failed', name);
  }
}

function sha256(bytes) {
  return crypto.createHash('sha256').update(bytes).digest('hex');
}

function checkDigests(bytes, file, all) {
  if (blake3(bytes).toString('hex') !== file.digest.blake3) refuse('integrity.digest.mismatch', file.name);
  if (all && sha256(bytes) !== file.digest.sha256) refuse('integrity.digest.mismatch', file.name);
}

/** Sizes and digests of the bundle's files. */
function checkBundleFiles(bundle, document, all, report) {
  for (const file of expectedFiles(document)) {
    if (file.name.startsWith(REFERENCE)) continue;
    report.attempt('integrity', () => {
      if (bundle.size(file.name) !== file.size) refuse('integrity.size.mismatch', file.name);
      checkDigests(bundle.read(file.name), file, all);
    });
  }
  if (!report.failed()) report.add('integrity', 'integrity.bundle', 'passed');
}

module.exports = { REFERENCE, expectedFiles, checkDigests, checkMembers, checkBundleFiles };
