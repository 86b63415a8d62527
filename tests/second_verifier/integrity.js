'use strict';
// Whether files are those that were signed: spec/02-bundle.md, BC-BND-01, 02, 10, 12, 20, 21.

const crypto = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');
const { blake3 } = require('./blake3');
const { Refusal, refuse } = require('./refusal');
const { isReviewName } = require('./reviews');

const REFERENCE = 'reference/';
const POINTER = 'version https://git-lfs.github.com/spec/v1\n';

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
    if (name === 'statement.dsse.json' || isReviewName(name)) continue;
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

// Every file below a folder, links followed, each folder once.
function filesBelow(root) {
  const found = [];
  const seen = new Set();
  const walk = (folder) => {
    const real = fs.realpathSync(folder);
    if (seen.has(real)) return;
    seen.add(real);
    for (const entry of fs.readdirSync(folder).sort()) {
      const place = path.join(folder, entry);
      const stat = fs.statSync(place, { throwIfNoEntry: false });
      if (stat?.isDirectory()) walk(place);
      else if (stat?.isFile()) found.push({ place, size: stat.size });
    }
  };
  walk(root);
  return found;
}

function readPointer(place, size) {
  if (size > 1024) return null;
  const text = fs.readFileSync(place, 'latin1');
  if (!text.startsWith(POINTER)) return null;
  const oid = /^oid sha256:([0-9a-f]{64})$/m.exec(text);
  const length = /^size ([0-9]+)$/m.exec(text);
  return oid && length ? { sha256: oid[1], size: Number(length[1]) } : null;
}

/** The bytes of each file of the reference model, by subject name, or null where the model is not at hand. */
function checkReferenceFiles(root, document, all, report) {
  if (root === null) {
    report.add('integrity', 'integrity.reference', 'skipped');
    return null;
  }
  const stat = fs.statSync(root, { throwIfNoEntry: false });
  if (!stat?.isDirectory()) {
    const refusal = new Refusal('reference.not_found', root);
    refusal.outside = true;
    throw refusal;
  }
  const below = filesBelow(root);
  const model = new Map();
  let pointers = false;
  for (const file of expectedFiles(document).filter((one) => one.name.startsWith(REFERENCE))) {
    report.attempt('integrity', () => {
      const own = path.join(root, file.name.slice(REFERENCE.length));
      const named = below.find((one) => one.place === own);
      const candidates = below.filter((one) => one.size === file.size).sort((a, b) => (b.place === own) - (a.place === own));
      for (const candidate of candidates) {
        const bytes = fs.readFileSync(candidate.place);
        if (blake3(bytes).toString('hex') !== file.digest.blake3) continue;
        checkDigests(bytes, file, all);
        model.set(file.name, bytes);
        return;
      }
      const pointer = named && readPointer(own, named.size);
      if (pointer) {
        if (pointer.size !== file.size) refuse('integrity.size.mismatch', file.name);
        if (pointer.sha256 !== file.digest.sha256) refuse('integrity.digest.mismatch', file.name);
        pointers = true;
        return;
      }
      if (!named) refuse('file.missing', file.name);
      refuse(named.size === file.size ? 'integrity.digest.mismatch' : 'integrity.size.mismatch', file.name);
    });
  }
  report.attempt('integrity', () => checkTokenizer(root, document));
  if (pointers) {
    report.add('integrity', 'integrity.reference', 'skipped');
    return null;
  }
  if (!report.failed()) report.add('integrity', 'integrity.reference', 'passed');
  return model;
}

/** BC-BND-10: a statement that leaves out the tokenizer that its frame names. */
function checkTokenizer(root, document) {
  if (document.subject.some((subject) => subject.name === 'reference/tokenizer.json')) return;
  const place = path.join(root, 'tokenizer.json');
  if (!fs.existsSync(place)) return;
  if (blake3(fs.readFileSync(place)).toString('hex') === document.predicate.prompts.frame.tokenizer.blake3) {
    refuse('statement.subject_missing', 'reference/tokenizer.json');
  }
}

module.exports = { checkMembers, checkBundleFiles, checkReferenceFiles };
