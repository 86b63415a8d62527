'use strict';
// The frame's windows, derived again from the corpus: spec/06-prompts.md, BC-PRM-02, 13.

const fs = require('node:fs');
const { blake3 } = require('./blake3');
const { parseJson } = require('./gate');
const { Refusal, refuse } = require('./refusal');

// What of a tokenizer.json this verifier reads: whole words between blanks, each with its id. Any other is not readable
// here, which leaves the check inconclusive.
const PLAIN = { normalizer: null, post_processor: null, decoder: null, truncation: null, padding: null };

/** A function from text to token ids; refuses (`frame.unread`) a tokenizer that is not of the plain kind. */
function readTokenizer(bytes) {
  const unread = () => refuse('frame.unread', 'this tokenizer is of a kind that is not read here');
  let document;
  try {
    document = parseJson(bytes);
  } catch {
    unread();
  }
  const { model, pre_tokenizer: split, added_tokens: added, ...rest } = document ?? {};
  const plain = model?.type === 'WordLevel' && split?.type === 'WhitespaceSplit' && Array.isArray(added) && added.length === 0
    && Object.entries(PLAIN).every(([name, value]) => (rest[name] ?? null) === value);
  if (!plain) unread();
  return (text) => text.split(/\s+/u).filter((word) => word !== '').map((word) => {
    const id = model.vocab[word] ?? model.vocab[model.unk_token];
    if (id === undefined) unread();
    return id;
  });
}

/** `{texts, tokenizer}`: the bytes of the corpus and of the tokenizer that the caller gave; own texts are only looked at. */
function readCorpus(request) {
  const read = (place) => {
    try {
      return fs.readFileSync(place);
    } catch {
      return refuse('corpus.not_found', place);
    }
  };
  for (const place of request.own) {
    const bytes = read(place);
    if (bytes.length === 0) refuse('prompts.empty', place);
    decodeText(bytes);
  }
  return { texts: request.corpus.map(read), tokenizer: request.tokenizer === null ? null : read(request.tokenizer) };
}

function decodeText(bytes) {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return refuse('prompts.not_utf8', 'a corpus file is not UTF-8');
  }
}

/** Every window of the frame, in order; refuses (`frame.mismatch`) what is not as the statement says. */
function deriveWindows(predicate, texts, tokenizer) {
  const { frame } = predicate.prompts;
  const { bos } = frame.tokenizer;
  const unit = bos === null ? frame.length : frame.length - 1;
  const windows = [];
  frame.corpus.forEach((file, h) => {
    const tokens = tokenizer(decodeText(texts[h]));
    if (tokens.some((token) => token < 0 || token >= predicate.reference.vocabulary)) refuse('prompts.vocabulary', 'a token outside the vocabulary');
    const count = Math.floor(tokens.length / unit);
    if (count !== file.windows) refuse('frame.mismatch', `${file.name}: ${count} windows`);
    for (let w = 0; w < count; w += 1) {
      const window = tokens.slice(w * unit, (w + 1) * unit);
      windows.push(bos === null ? window : [bos, ...window]);
    }
  });
  return windows;
}

/** Adds what the corpus says of the listed prompts; returns all windows where they agree, else null. */
function checkFrame(corpus, predicate, model, windows, prompts, report) {
  if (corpus.texts.length === 0) {
    report.add('recompute', 'frame.unverified', 'skipped');
    return null;
  }
  const { frame } = predicate.prompts;
  const digest = (bytes) => blake3(bytes).toString('hex');
  const atHand = corpus.tokenizer ?? model?.get('reference/tokenizer.json');
  const tokenizer = atHand !== undefined && digest(atHand) === frame.tokenizer.blake3 ? atHand : undefined;
  const texts = frame.corpus.map((file) => corpus.texts.find((bytes) => bytes.length === file.size && digest(bytes) === file.blake3));
  if (tokenizer === undefined || texts.includes(undefined)) {
    report.add('recompute', 'frame.corpus_missing', 'inconclusive');
    return null;
  }
  try {
    const all = deriveWindows(predicate, texts, readTokenizer(tokenizer));
    const drawn = [...windows.calibration, ...windows.certification];
    drawn.forEach((window, i) => {
      if (all[window].some((token, t) => token !== prompts[i][t])) refuse('frame.mismatch', `row ${i}`);
    });
    report.add('recompute', 'frame.verified', 'passed');
    return all;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    report.add('recompute', error.code, error.code === 'frame.unread' ? 'inconclusive' : 'failed', error.message);
    return null;
  }
}

module.exports = { readCorpus, checkFrame };
