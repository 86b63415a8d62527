'use strict';
// The statement: spec/04-statement.md, with the rules on subjects (02) and on the frame (06).

const { parseJson } = require('./gate');
const { validate } = require('./schema');
const { refuse } = require('./refusal');
const { checkName, checkCollisions } = require('./names');
const { isAppendedName } = require('./appended');
const { parseTime } = require('./times');
const { Rational } = require('./rational');

const TYPE = 'https://in-toto.io/Statement/v1';
const PREDICATE_TYPE = 'urn:blockcert:certificate:v1';
const KNOWN_EXTENSIONS = new Set();

function isObject(value) {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

/** BC-STM-08, 09: true where the version is one that this verifier does not know. */
function isNewer(document) {
  if (!isObject(document)) refuse('json.type');
  if (document._type !== TYPE) refuse('statement.type');
  const type = document.predicateType;
  if (type !== PREDICATE_TYPE) {
    if (typeof type === 'string' && /^urn:blockcert:certificate:v[^:]*$/.test(type)) return true;
    refuse('statement.predicate_type');
  }
  const version = isObject(document.predicate) ? document.predicate.version : undefined;
  return typeof version === 'string' && /^1\.[0-9]{1,4}$/.test(version) && Number(version.slice(2)) > 0;
}

const WEIGHTS = '.safetensors';

function checkSubjects(document, problem) {
  const { predicate } = document;
  const names = document.subject.map((subject) => subject.name);
  names.forEach(checkName);
  checkCollisions(names);
  const stated = predicate.files.map((file) => file.name);
  const same = stated.length === names.length && new Set(stated).size === stated.length && stated.every((name) => names.includes(name));
  if (!same) refuse('statement.files');
  for (const name of names) if (name === 'statement.dsse.json' || isAppendedName(name)) refuse('statement.file_name', name);
  const expected = [
    ['programs/reference.json', predicate.reference.program],
    ['programs/surrogate.json', predicate.surrogate.program],
    ['prompts.safetensors', predicate.prompts.file],
    ['evidence.safetensors', predicate.evidence.file],
  ];
  for (const [name, given] of expected) if (name !== given) problem('statement.file_name', given);
  const needed = [...expected.map(([name]) => name), 'reference/config.json'];
  for (const name of needed) if (!names.includes(name)) problem('statement.subject_missing', name);
  const weightsIn = (folder) => names.some((name) => name.startsWith(folder) && name.endsWith(WEIGHTS));
  if (!weightsIn('reference/')) refuse('statement.subject_missing', 'a weight file');
  const candidate = weightsIn('surrogate/');
  const own = names.includes('programs/surrogate.safetensors');
  if (predicate.producer.kind === 'compare' ? !candidate || own : candidate) refuse('statement.kind');
}

function checkFrame(document) {
  const { frame } = document.predicate.prompts;
  if (frame.calibration + frame.certification > frame.windows) refuse('statement.frame');
  const digests = frame.corpus.map((file) => file.blake3);
  if (new Set(digests).size < digests.length) refuse('prompts.duplicate');
  const tokenizer = document.subject.find((subject) => subject.name === 'reference/tokenizer.json');
  if (tokenizer !== undefined && tokenizer.digest.blake3 !== frame.tokenizer.blake3) refuse('statement.tokenizer');
  const unit = BigInt(frame.tokenizer.bos === null ? frame.length : frame.length - 1);
  let sum = 0n;
  for (const file of frame.corpus) {
    if (BigInt(file.windows) > (4n * BigInt(file.size)) / unit) refuse('statement.windows', file.name);
    sum += BigInt(file.windows);
  }
  if (sum !== BigInt(frame.windows)) refuse('statement.windows');
}

function checkRows(predicate) {
  const { evidence, prompts } = predicate;
  if (evidence.rows !== prompts.frame.certification || evidence.attribution_rows > evidence.rows) refuse('statement.rows');
  const { enclosures } = predicate.claims;
  if (enclosures !== null && enclosures.rows > evidence.rows) refuse('statement.rows');
  const { fidelity } = predicate.reference;
  if (fidelity !== null) {
    const negative = Rational.parse(fidelity.max_logit_difference).n < 0n;
    if (fidelity.against === '' || fidelity.rows < 1 || fidelity.rows > evidence.rows || negative) refuse('statement.fidelity');
  }
}

/** BC-STM-16. */
function checkLengths(predicate) {
  const { claims, thresholds } = predicate;
  const stages = predicate.reference.blocks + 2;
  const need = (list, length) => {
    if (list.length !== length) refuse('statement.lengths');
  };
  const relative = thresholds.relative.length;
  const loss = thresholds.loss.length;
  need(claims.stages, stages);
  claims.stages.forEach((stage, i) => {
    if (stage.index !== i) refuse('statement.lengths');
    need(stage.covered, relative);
    if (stage.loss_covered !== null) need(stage.loss_covered, loss);
  });
  need(claims.end_to_end.loss_within, loss);
  if (claims.enclosures !== null) {
    need(claims.enclosures.stages, stages);
    claims.enclosures.stages.forEach((stage, i) => {
      if (stage.index !== i) refuse('statement.lengths');
      need(stage.covered, relative);
    });
    need(claims.enclosures.loss_within, loss);
  }
  const { identity, float32_floor: floor } = claims.control;
  for (const list of [identity.error, identity.relative_error, identity.covered, floor.relative_error]) need(list, stages);
  identity.covered.forEach((counts) => need(counts, relative));
  const { strata } = claims.population;
  const files = predicate.prompts.frame.corpus.length;
  if ((strata !== null) !== (files >= 2 && files <= 64)) refuse('statement.lengths');
  if (strata !== null) {
    need(strata, files);
    for (const stratum of strata) {
      need(stratum.successes, claims.population.claims.length);
      need(stratum.at_least, claims.population.claims.length);
    }
  }
  need(predicate.surrogate.kept.reference, stages);
  need(predicate.surrogate.kept.surrogate, stages);
}

function fillDefaults(predicate) {
  predicate.surrogate.note ??= '';
  predicate.supersedes ??= null;
  predicate.claims.enclosures ??= null;
  predicate.extensions ??= Object.create(null);
  predicate.critical ??= [];
  predicate.claims.control.float32_floor.basis ??= 'estimate';
}

/** The statement that the payload holds, or null where its version is not known. */
function readStatement(payload, report) {
  const document = parseJson(payload);
  if (isNewer(document)) {
    report.add('structure', 'statement.version_unsupported', 'inconclusive');
    return null;
  }
  validate(document, 'statement');
  const { predicate } = document;
  fillDefaults(predicate);
  const attempt = (action) => report.attempt('structure', action);
  attempt(() => {
    if (parseTime(predicate.issued_at) >= parseTime(predicate.not_after)) refuse('statement.times');
  });
  attempt(() => {
    const keys = predicate.critical;
    if (keys.some((key) => !KNOWN_EXTENSIONS.has(key))) report.add('structure', 'statement.extension_unknown', 'inconclusive');
    if (new Set(keys).size < keys.length || keys.some((key) => !(key in predicate.extensions))) refuse('statement.critical');
  });
  attempt(() => checkSubjects(document, (code, message) => report.add('structure', code, 'failed', message)));
  attempt(() => checkFrame(document));
  attempt(() => checkRows(predicate));
  attempt(() => checkLengths(predicate));
  return document;
}

module.exports = { readStatement };
