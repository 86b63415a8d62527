'use strict';
// A bundle, as a folder or as one packed file: spec/02-bundle.md.

const fs = require('node:fs');
const path = require('node:path');
const { Refusal, refuse } = require('./refusal');
const { checkName, checkCollisions, countFolders } = require('./names');
const { unpack } = require('./zip');

const MOST_ENTRIES = 10000;

function lstat(place) {
  try {
    return fs.lstatSync(place);
  } catch (error) {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return null;
    return refuse('bundle.unreadable', `${place}: ${error.code}`);
  }
}

/** What stands at the path that the caller gave, or at what a link there leads to; null where nothing does. */
function statusOf(place) {
  try {
    return fs.statSync(place);
  } catch (error) {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return null;
    const refusal = new Refusal('bundle.unreadable', `${place}: ${error.code}`);
    refusal.outside = true;
    throw refusal;
  }
}

function decodeName(bytes) {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return refuse('name.unsafe', 'a name that is not UTF-8');
  }
}

class Folder {
  constructor(root, most) {
    this.root = root;
    this.most = most;
    this.files = new Map();
    this.problems = [];
    this.entries = 0;
    this.walk('');
  }

  // Every entry is looked at, so that each one that is not allowed is a finding.
  walk(prefix) {
    let entries;
    try {
      entries = fs.readdirSync(path.join(this.root, prefix), { encoding: 'buffer' });
    } catch (error) {
      refuse('bundle.unreadable', `${prefix}: ${error.code}`);
    }
    for (const bytes of entries.sort(Buffer.compare)) {
      this.entries += 1;
      if (this.entries > this.most) refuse('bundle.too_many_files');
      this.attempt(() => this.entry(prefix, bytes));
    }
  }

  attempt(action) {
    try {
      action();
    } catch (error) {
      if (!(error instanceof Refusal) || error.code === 'bundle.too_many_files') throw error;
      this.problems.push(error);
    }
  }

  entry(prefix, bytes) {
    const name = prefix + decodeName(bytes);
    const stat = lstat(path.join(this.root, name));
    if (stat === null) refuse('bundle.changed', name);
    if (stat.isSymbolicLink()) refuse('bundle.symlink', name);
    if (stat.isDirectory()) {
      checkName(name);
      this.walk(`${name}/`);
      return;
    }
    if (!stat.isFile()) refuse('bundle.special_file', name);
    if (stat.nlink > 1) refuse('bundle.hard_link', name);
    checkName(name);
    this.files.set(name, stat.size);
  }

  size(name) {
    return this.files.get(name);
  }

  read(name) {
    if (!this.files.has(name)) refuse('bundle.file_missing', name);
    try {
      return fs.readFileSync(path.join(this.root, name));
    } catch (error) {
      return refuse('bundle.unreadable', `${name}: ${error.code}`);
    }
  }
}

class Packed {
  constructor(place, most) {
    let bytes;
    try {
      bytes = fs.readFileSync(place);
    } catch (error) {
      refuse('bundle.unreadable', error.code);
    }
    this.problems = [];
    this.contents = unpack(bytes);
    if (this.contents.size + countFolders(this.contents.keys()) > most) refuse('bundle.too_many_files');
    this.files = new Map([...this.contents].map(([name, content]) => [name, content.bytes.length]));
  }

  size(name) {
    return this.files.get(name);
  }

  read(name) {
    if (!this.contents.has(name)) refuse('bundle.file_missing', name);
    const { bytes, verify } = this.contents.get(name);
    verify();
    return bytes;
  }
}

/** What `place` holds, of at most `most` files and folders. A Refusal marked `outside` says that there is no bundle to judge at all. */
function openBundle(place, most = MOST_ENTRIES) {
  const target = statusOf(place);
  const none = (code) => {
    const refusal = new Refusal(code, place);
    refusal.outside = true;
    throw refusal;
  };
  if (target === null) none('bundle.not_found');
  let bundle;
  if (target.isDirectory()) {
    bundle = new Folder(place, most);
  } else if (target.isFile() && startsAsZip(place)) {
    bundle = new Packed(place, most);
  } else none('bundle.not_a_folder');
  try {
    checkCollisions(bundle.files.keys());
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    bundle.problems.push(error);
  }
  if (bundle.problems.length === 0 && !bundle.files.has('statement.dsse.json')) none('bundle.no_statement');
  return bundle;
}

function startsAsZip(place) {
  const handle = fs.openSync(place, 'r');
  try {
    const start = Buffer.alloc(4);
    fs.readSync(handle, start, 0, 4, 0);
    return start.equals(Buffer.from('PK\x03\x04')) || start.equals(Buffer.from('PK\x05\x06'));
  } finally {
    fs.closeSync(handle);
  }
}

module.exports = { openBundle, MOST_ENTRIES };
