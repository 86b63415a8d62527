'use strict';
// What is published of the reference model's files: spec/02-bundle.md, BC-BND-21.

const fs = require('node:fs');
const { refuse } = require('./refusal');
const { REFERENCE, expectedFiles } = require('./integrity');

const MOST_POINTER = 1024;
const MOST_LIST = 16 * 1024 * 1024;
const POINTER = /^version https:\/\/git-lfs\.github\.com\/spec\/v1\n(ext-[^\n]*\n)*oid sha256:([0-9a-f]{64})\nsize ([0-9]{1,18})\n?$/;
const LINE = /^([0-9a-fA-F]{64}) [ *](.+)$/;

/** What the Git LFS pointer at `place` says, or null where it is none. */
function readPointer(place, size) {
  if (size > MOST_POINTER) return null;
  const match = POINTER.exec(fs.readFileSync(place, 'latin1'));
  return match && { sha256: match[2], size: Number(match[3]) };
}

function parseLines(text) {
  if (text.trim() === '') refuse('published.unreadable', 'no line');
  return text.split(/\r?\n/).filter((line) => line.trim() !== '').map((line) => {
    const match = LINE.exec(line);
    if (!match) refuse('published.unreadable', line.slice(0, 80));
    return [match[2], { sha256: match[1].toLowerCase(), size: null }];
  });
}

function parseHub(text) {
  let entries;
  try {
    entries = JSON.parse(text);
  } catch {
    refuse('published.unreadable');
  }
  return entries.map((entry) => {
    const typed = (holder, name, type) => {
      if (typeof (holder[name] ?? (type === 'number' ? 0 : '')) !== type) refuse('published.unreadable', name);
    };
    if (entry === null || typeof entry !== 'object' || typeof entry.path !== 'string') refuse('published.unreadable');
    if (typeof (entry.lfs ?? {}) !== 'object') refuse('published.unreadable', 'lfs');
    for (const holder of [entry, entry.lfs ?? {}]) {
      typed(holder, 'size', 'number');
      typed(holder, 'sha256', 'string');
    }
    typed(entry.lfs ?? {}, 'oid', 'string');
    const said = entry.lfs?.sha256 ?? entry.lfs?.oid ?? entry.sha256 ?? null;
    const digest = said === null ? null : said.replace(/^sha256:/, '').toLowerCase();
    return [entry.path, { sha256: digest !== null && /^[0-9a-f]{64}$/.test(digest) ? digest : null, size: entry.lfs?.size ?? entry.size ?? null }];
  });
}

/** What the published list at `place` says of each path. */
function readList(place) {
  let bytes;
  try {
    bytes = fs.readFileSync(place);
  } catch {
    refuse('published.unreadable', place);
  }
  if (bytes.length > MOST_LIST) refuse('published.unreadable', place);
  const text = bytes.toString('utf8');
  const entries = text.trimStart().startsWith('[') ? parseHub(text) : parseLines(text);
  const found = new Map();
  for (const [name, said] of entries) {
    const short = name.replace(/^\.\//, '');
    const before = found.get(short) ?? said;
    if (before.sha256 !== said.sha256 || before.size !== said.size) refuse('published.unreadable', short);
    found.set(short, said);
  }
  return found;
}

/** Compares what is said of files, by their names in the model's folder, with what was signed. */
function compare(said, document, report) {
  let compared = 0;
  let differs = false;
  for (const file of expectedFiles(document).filter((one) => one.name.startsWith(REFERENCE))) {
    const { sha256 = null, size = null } = said.get(file.name.slice(REFERENCE.length)) ?? {};
    if (sha256 !== null) compared += 1;
    if ((sha256 !== null && sha256 !== file.digest.sha256) || (size !== null && size !== file.size)) {
      differs = true;
      report.add('integrity', 'integrity.published', 'failed', file.name);
    }
  }
  if (!differs) report.add('integrity', 'integrity.published', compared > 0 ? 'passed' : 'skipped');
}

module.exports = { readPointer, readList, compare };
