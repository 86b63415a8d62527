'use strict';
// The files of the reference model: spec/02-bundle.md, BC-BND-10, 20, 21.

const fs = require('node:fs');
const path = require('node:path');
const { blake3 } = require('./blake3');
const { refuse, ofTheCaller } = require('./refusal');
const { REFERENCE, expectedFiles, checkDigests } = require('./integrity');
const { readPointer, compare } = require('./published');

function isFolder(place) {
  try {
    return fs.statSync(place).isDirectory();
  } catch {
    return false; // nothing there, or a path that cannot be followed
  }
}

function folders(place) {
  const found = fs.readdirSync(place).sort().map((name) => path.join(place, name));
  return found.filter(isFolder);
}

function exists(place) {
  return fs.lstatSync(place, { throwIfNoEntry: false }) !== undefined;
}

function isFile(place, size) {
  const stat = fs.statSync(place, { throwIfNoEntry: false });
  return stat !== undefined && stat.isFile() && (size === undefined || stat.size === size);
}

// The snapshots of a cache, or none where `root` is the model's own folder or no cache.
function snapshots(root, names) {
  if (names.some((name) => exists(path.join(root, name)))) return [];
  const kept = (home) => path.join(home, 'snapshots');
  const homes = isFolder(kept(root)) ? [root] : folders(root).filter((one) => path.basename(one).startsWith('models--'));
  return homes.filter((home) => isFolder(kept(home))).flatMap((home) => folders(kept(home)));
}

/** A function from a file of the model to the places where it may be. */
function locate(root, files) {
  const nameOf = (file) => file.name.slice(REFERENCE.length);
  const found = snapshots(root, files.map(nameOf));
  if (found.length === 0) return (file) => [path.join(root, nameOf(file))];
  return (file) => [
    ...found.map((one) => path.join(one, nameOf(file))),
    ...found.map((one) => path.join(one, '..', '..', 'blobs', file.digest.sha256)),
  ];
}

/** The one of several places that has the file, or that is closest to having it. */
function choose(places, file) {
  if (places.length === 1) return places[0];
  const right = (place) => isFile(place, file.size) && blake3(fs.readFileSync(place)).toString('hex') === file.digest.blake3;
  return places.find(right) ?? places.find((place) => isFile(place, file.size)) ?? places[0];
}

/** Refuses a place where no model can be. */
function checkReferencePlace(root) {
  if (root !== null && !isFolder(root)) refuse('reference.not_found', root);
}

/** The bytes of each file of the reference model, by subject name, or null where the model is not at hand. */
function checkReferenceFiles(root, document, all, report) {
  if (root === null) {
    report.add('integrity', 'integrity.reference', 'skipped');
    return null;
  }
  const files = expectedFiles(document).filter((one) => one.name.startsWith(REFERENCE));
  const placesOf = locate(root, files);
  if (!files.some((file) => placesOf(file).some(exists))) ofTheCaller(() => refuse('reference.not_found', root));
  const model = new Map();
  const pointers = new Map();
  for (const file of files) {
    report.attempt('integrity', () => {
      const place = choose(placesOf(file), file);
      const stat = fs.statSync(place, { throwIfNoEntry: false });
      if (stat === undefined) refuse('file.missing', file.name);
      if (!stat.isFile()) refuse('file.not_regular', file.name);
      const pointer = stat.size === file.size ? null : readPointer(place, stat.size);
      if (pointer !== null) {
        pointers.set(file.name.slice(REFERENCE.length), pointer);
        return;
      }
      if (stat.size !== file.size) refuse('integrity.size.mismatch', file.name);
      const bytes = fs.readFileSync(place);
      checkDigests(bytes, file, all);
      model.set(file.name, bytes);
    });
  }
  report.attempt('integrity', () => checkTokenizer(root, document));
  if (pointers.size > 0 && !report.failed()) compare(pointers, document, report);
  if (report.failed()) return null;
  report.add('integrity', 'integrity.reference', pointers.size > 0 ? 'skipped' : 'passed');
  return pointers.size > 0 ? null : model;
}

/** BC-BND-10: a statement that leaves out the tokenizer that its frame names. */
function checkTokenizer(root, document) {
  if (document.subject.some((subject) => subject.name === 'reference/tokenizer.json')) return;
  const place = path.join(root, 'tokenizer.json');
  if (!isFile(place)) return;
  if (blake3(fs.readFileSync(place)).toString('hex') === document.predicate.prompts.frame.tokenizer.blake3) {
    refuse('statement.subject_missing', 'reference/tokenizer.json');
  }
}

module.exports = { checkReferencePlace, checkReferenceFiles };
