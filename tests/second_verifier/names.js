'use strict';
// Names of files: spec/02-bundle.md, BC-BND-06 to 09.

const { refuse } = require('./refusal');

const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/u;
const DEVICE = /^(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3]) *(\.|$)/iu;

/** Refuses a name that breaks a rule. */
function checkName(name) {
  const unsafe = (why) => refuse('name.unsafe', `${JSON.stringify(name)}: ${why}`);
  if (!name.isWellFormed()) unsafe('no Unicode');
  const length = [...name].length;
  if (length < 1 || length > 512) unsafe('length');
  if (name !== name.normalize('NFC')) unsafe('not in NFC');
  for (const segment of name.split('/')) {
    if (segment === '' || segment === '.' || segment === '..') unsafe('segment');
    if (Buffer.byteLength(segment, 'utf8') > 255) unsafe('long segment');
    if (/[. ]$/.test(segment)) unsafe('ends in a dot or space');
    if (/[\\:<>"|?*]/.test(segment)) unsafe('character');
    if (UNPRINTABLE.test(segment)) unsafe('control or invisible character');
    if (DEVICE.test(segment)) unsafe('device name');
  }
}

// Full case folding, of which only equality matters here. Upper and then lower case, twice, gives the classes of
// CaseFolding.txt, but for the dotless i, which folds to itself.
function foldCharacter(c) {
  if (c === '\u0131') return c;
  let folded = c;
  for (let i = 0; i < 2; i += 1) folded = [...folded.toUpperCase()].map((x) => x.toLowerCase()).join('');
  return folded;
}

function casefold(text) {
  return [...text].map(foldCharacter).join('');
}

/** The form in which two names are equal after canonical caseless matching. */
function caseless(name) {
  return casefold(name.normalize('NFD')).normalize('NFD');
}

/** Refuses names of which two are equal, or meet in a folder, where case is ignored. */
function checkCollisions(names) {
  const files = new Map();
  const folders = new Map();
  for (const name of names) {
    const key = caseless(name);
    if (files.has(key)) refuse('name.collision', `${files.get(key)} and ${name}`);
    files.set(key, name);
    const segments = name.split('/');
    for (let i = 1; i < segments.length; i += 1) {
      const folder = segments.slice(0, i).join('/');
      const folderKey = caseless(folder);
      if (folders.has(folderKey) && folders.get(folderKey) !== folder) refuse('name.collision', `${folders.get(folderKey)} and ${folder}`);
      folders.set(folderKey, folder);
    }
  }
  for (const [key, folder] of folders) if (files.has(key)) refuse('name.collision', `${files.get(key)} and ${folder}`);
}

/** The number of folders that some names are in. */
function countFolders(names) {
  const folders = new Set();
  for (const name of names) {
    const segments = name.split('/');
    for (let i = 1; i < segments.length; i += 1) folders.add(segments.slice(0, i).join('/'));
  }
  return folders.size;
}

module.exports = { checkName, checkCollisions, countFolders, casefold };
