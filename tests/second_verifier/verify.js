'use strict';
// The procedure of spec/10-verification.md.

const { Report } = require('./report');
const { Refusal, OutOfScope, ofTheCaller } = require('./refusal');
const { readPolicy } = require('./policy');
const { openBundle } = require('./container');
const { parseEnvelope } = require('./dsse');
const { readRevocations, checkRevocations, checkListsBeside } = require('./revocation');
const { checkSignatures, checkTimes } = require('./signatures');
const { readAppended } = require('./appended');
const { checkReviews } = require('./reviews');
const { readStatement } = require('./statement');
const { checkMembers, checkBundleFiles } = require('./integrity');
const { checkReferencePlace, checkReferenceFiles } = require('./model');
const { readList, compare } = require('./published');
const { readProgram, checkAgainstStatement, sameProgram } = require('./programs');
const { drawWindows } = require('./draw');
const { readPrompts } = require('./prompts');
const { readEvidence, columnsOf } = require('./evidence');
const { checkThresholds, checkTerms, checkClaims, reportConstants } = require('./claims');
const { checkLimits } = require('./limits');
const { replay } = require('./replay');
const { readCorpus, checkFrame } = require('./frame');
const { checkFresh } = require('./fresh');
const { parseTime } = require('./times');
const { OwnLimits, Exceeded } = require('./own_limits');
const { blake3 } = require('./blake3');

/** What the caller gave beside the bundle, read before anything in the bundle is judged (BC-RES-06). */
function readGiven(request, policy) {
  const revocations = ofTheCaller(() => readRevocations(request, policy));
  ofTheCaller(() => checkReferencePlace(request.reference));
  const published = request.published === null ? null : ofTheCaller(() => readList(request.published));
  return { revocations, published, corpus: ofTheCaller(() => readCorpus(request)) };
}

/** Steps 1 and 2: the envelope, and who signed it. */
function openCertificate(request, given, policy, now, limits, report) {
  limits.look('structure');
  const bundle = report.attempt('structure', () => limits.opening(() => openBundle(request.bundle, limits.members)));
  if (bundle) for (const problem of bundle.problems) report.add('structure', problem.code, 'failed', problem.message);
  if (report.failed()) return null;
  limits.sizes('structure', bundle);
  const envelope = report.attempt('structure', () => {
    const bytes = bundle.read('statement.dsse.json');
    limits.levels('structure', bytes);
    return parseEnvelope(bytes, 'statement');
  });
  if (report.failed()) return null;
  report.add('structure', 'structure.bundle', 'passed');
  const certificate = blake3(envelope.payload).toString('hex');
  const revoked = checkRevocations(given.revocations, policy, now, certificate, report);
  const appended = readAppended(bundle, policy, report);
  for (const key of checkListsBeside(appended.lists, policy, now, certificate, report)) revoked.add(key);
  const counted = checkSignatures(envelope, policy, now, revoked, report);
  checkReviews(appended.reviews, envelope.payload, policy, now, revoked, report);
  return { bundle, envelope, certificate, counted };
}

function readPrograms(bundle, document, limits, report) {
  const attempt = (action) => report.attempt('structure', action);
  const read = (side) => attempt(() => {
    const problems = [];
    const bytes = bundle.read(`programs/${side}.json`);
    limits.levels('structure', bytes);
    const program = readProgram(bytes, (code, message) => problems.push([code, message]));
    for (const [code, message] of problems) report.add('structure', code, 'failed', message);
    if (problems.length === 0) checkAgainstStatement(program, document, side === 'reference');
    return program;
  });
  const programs = { reference: read('reference'), surrogate: read('surrogate') };
  if (!report.failed()) report.add('structure', 'structure.programs', 'passed');
  return programs;
}

/** Step 8; returns what replay needs. */
function recompute(bundle, document, programs, limits, report) {
  const { predicate } = document;
  const attempt = (action) => report.attempt('recompute', action);
  const digest = (name) => Buffer.from(document.subject.find((subject) => subject.name === name).digest.blake3, 'hex');
  const windows = drawWindows(predicate.prompts.frame, digest('programs/reference.json'), digest('programs/surrogate.json'));
  limits.columns(predicate, columnsOf(predicate));
  const prompts = attempt(() => readPrompts(bundle, predicate, windows, report));
  const same = sameProgram(programs.reference, programs.surrogate);
  checkThresholds(predicate, report);
  const termsHold = attempt(() => (checkTerms(predicate), true)) === true;
  const evidence = attempt(() => readEvidence(bundle, predicate, same, report));
  if (evidence && termsHold) checkClaims(predicate, evidence, same, windows, report);
  if (!report.failed()) {
    report.add('recompute', 'recompute.claims', 'passed');
    reportConstants(predicate, report);
  }
  return { prompts, same, evidence, windows };
}

function run(request, given, policy, now, report) {
  const limits = new OwnLimits(request.limits ?? {});
  const opened = openCertificate(request, given, policy, now, limits, report);
  if (report.failed()) return;
  const { bundle, envelope, certificate, counted } = opened;
  limits.levels('structure', envelope.payload);
  const document = report.attempt('structure', () => readStatement(envelope.payload, report));
  if (report.failed() || document === null) return;
  report.add('structure', 'structure.statement', 'passed');
  checkTimes(document.predicate, counted, policy, now, report);
  if (report.failed()) return;
  checkMembers(bundle, document, report);
  if (report.failed()) return;
  limits.look('integrity');
  if (request.reference !== null) limits.sizes('integrity', bundle, document);
  checkBundleFiles(bundle, document, request.all_digests, report);
  if (report.failed()) return;
  const model = checkReferenceFiles(request.reference, document, request.all_digests, report);
  if (given.published !== null) compare(given.published, document, report);
  if (report.failed()) return;
  const programs = readPrograms(bundle, document, limits, report);
  if (report.failed()) return;
  limits.look('recompute');
  const recomputed = recompute(bundle, document, programs, limits, report);
  if (report.failed()) return;
  const all = checkFrame(given.corpus, document.predicate, model, recomputed.windows, recomputed.prompts, report);
  if (report.failed()) return;
  let audited = 0;
  limits.look('replay');
  if (request.replay !== 0 && model !== null) {
    audited = replay(request, bundle, model, document, certificate, programs, recomputed, report);
    if (report.failed()) return;
    if (request.prove > 0) throw new OutOfScope('this verifier encloses no rows');
  } else {
    report.add('replay', 'replay.not_run', 'skipped');
    if (request.prove > 0) report.add('replay', 'proof.not_run', 'skipped');
  }
  limits.look('fresh');
  checkFresh(request, bundle, model, document, certificate, programs, recomputed, all, report);
  if (report.failed()) return;
  checkLimits(document, policy, now, audited, report);
}

/** The answer to a request of the conformance protocol, less the name of the case. */
function verify(request) {
  const report = new Report();
  try {
    const now = parseTime(request.at);
    const policy = readPolicy(request.policy, request.follows, now);
    const given = readGiven(request, policy);
    try {
      run(request, given, policy, now, report);
    } catch (error) {
      if (!(error instanceof Exceeded)) throw error;
      report.add(error.step, error.code, 'inconclusive');
    }
    const asked = [];
    if (request.prove > 0) asked.push('replay');
    // Beside own texts and without a corpus the number is one of own windows.
    if (request.fresh > 0 && (request.corpus.length > 0 || request.own.length === 0)) asked.push('fresh');
    return {
      verdict: report.verdict(policy.require, asked),
      codes: report.codes('failed', 'inconclusive'),
      notes: report.codes('passed', 'skipped'),
    };
  } catch (error) {
    if (error instanceof OutOfScope) return { skipped: error.message };
    if (error instanceof Refusal) return { verdict: 'refused', codes: [error.code] };
    throw error;
  }
}

module.exports = { verify };
