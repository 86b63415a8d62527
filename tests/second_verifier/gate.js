'use strict';
// The JSON gate of spec/03-numbers.md: BC-NUM-06, 07, 10, 11.

const { refuse } = require('./refusal');

const MIB = 1024 * 1024;
const CAPS = {
  document: { bytes: 16 * MIB, levels: 64, values: 262144, string: 65536 },
  envelope: { bytes: 16 * MIB, levels: 4, values: 1024, string: 16 * MIB },
  policy: { bytes: MIB, levels: 8, values: 16384, string: 1024 },
  review: { bytes: 64 * 1024, levels: 8, values: 256, string: 4096 },
  revocations: { bytes: 8 * MIB, levels: 5, values: 262144, string: 4096 },
  state: { bytes: 32 * 1024, levels: 2, values: 512, string: 256 },
  header: { bytes: 16 * MIB, levels: 3, values: 1048576, string: 16 * MIB },
};

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** Refuses what exceeds a cap, by one pass over the bytes. */
function checkCaps(bytes, caps) {
  if (bytes.length > caps.bytes) refuse('json.limit', `more than ${caps.bytes} bytes`);
  let depth = 0;
  let values = 1;
  let start = -1;
  for (let i = 0; i < bytes.length; i += 1) {
    const c = bytes[i];
    if (start >= 0) {
      if (c === BACKSLASH) i += 1;
      else if (c === QUOTE) {
        if (i - start > caps.string) refuse('json.limit', 'a string is too long');
        start = -1;
      }
    } else if (c === QUOTE) start = i + 1;
    else if (c === 0x5b || c === 0x7b) {
      depth += 1;
      values += 1;
      if (depth > caps.levels) refuse('json.limit', `more than ${caps.levels} levels`);
    } else if (c === 0x5d || c === 0x7d) depth -= 1;
    else if (c === 0x2c) values += 1;
  }
  if (values > caps.values) refuse('json.limit', `more than ${caps.values} values`);
}

function decodeUtf8(bytes) {
  if (bytes.length >= 3 && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) {
    refuse('json.encoding', 'a byte-order mark');
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return refuse('json.encoding', 'not UTF-8');
  }
}

const ESCAPES = { '"': '"', '\\': '\\', '/': '/', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' };

class Parser {
  constructor(text) {
    this.text = text;
    this.at = 0;
  }

  fail(message) {
    refuse('json.syntax', `${message} at character ${this.at}`);
  }

  blank() {
    while (this.at < this.text.length && ' \t\n\r'.includes(this.text[this.at])) this.at += 1;
  }

  document() {
    this.blank();
    const value = this.value();
    this.blank();
    if (this.at < this.text.length) this.fail('something follows the value');
    // a document that is cut off is no JSON, whatever stands twice in it before
    if (this.twice !== undefined) refuse('json.duplicate_key', this.twice);
    return value;
  }

  value() {
    const c = this.text[this.at];
    if (c === '{') return this.object();
    if (c === '[') return this.array();
    if (c === '"') return this.string();
    for (const [word, value] of [['true', true], ['false', false], ['null', null]]) {
      if (this.text.startsWith(word, this.at)) {
        this.at += word.length;
        return value;
      }
    }
    return this.number();
  }

  number() {
    for (const word of ['NaN', 'Infinity', '-Infinity']) {
      if (this.text.startsWith(word, this.at)) refuse('json.number', word);
    }
    const pattern = /-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?/y;
    pattern.lastIndex = this.at;
    const match = pattern.exec(this.text);
    if (!match) this.fail('no value');
    this.at += match[0].length;
    if (match[2] !== undefined || match[3] !== undefined || match[0] === '-0') refuse('json.number', 'no integer');
    const value = Number(match[0]);
    if (match[1].length > 16 || !Number.isSafeInteger(value)) refuse('json.number', 'magnitude of 2^53 or more');
    return value;
  }

  string() {
    this.at += 1;
    let out = '';
    for (;;) {
      const pattern = /[^"\\\u0000-\u001f]*/y;
      pattern.lastIndex = this.at;
      const run = pattern.exec(this.text)[0];
      out += run;
      this.at += run.length;
      const c = this.text[this.at];
      if (c === '"') break;
      if (c !== '\\') this.fail('a string is not closed, or has a control character');
      const escape = this.text[this.at + 1];
      if (escape === 'u') {
        const digits = this.text.slice(this.at + 2, this.at + 6);
        if (!/^[0-9a-fA-F]{4}$/.test(digits)) this.fail('a bad escape');
        out += String.fromCharCode(parseInt(digits, 16));
        this.at += 6;
      } else if (Object.hasOwn(ESCAPES, escape ?? '')) {
        out += ESCAPES[escape];
        this.at += 2;
      } else this.fail('a bad escape');
    }
    this.at += 1;
    if (!out.isWellFormed()) refuse('json.encoding', 'an unpaired surrogate');
    return out;
  }

  array() {
    this.at += 1;
    const out = [];
    this.blank();
    if (this.text[this.at] === ']') {
      this.at += 1;
      return out;
    }
    for (;;) {
      this.blank();
      out.push(this.value());
      this.blank();
      const c = this.text[this.at];
      if (c !== ',' && c !== ']') this.fail('no comma or bracket');
      this.at += 1;
      if (c === ']') return out;
    }
  }

  object() {
    this.at += 1;
    const out = Object.create(null);
    this.blank();
    if (this.text[this.at] === '}') {
      this.at += 1;
      return out;
    }
    for (;;) {
      this.blank();
      if (this.text[this.at] !== '"') this.fail('no key');
      const key = this.string();
      if (key in out) this.twice ??= key;
      this.blank();
      if (this.text[this.at] !== ':') this.fail('no colon');
      this.at += 1;
      this.blank();
      out[key] = this.value();
      this.blank();
      const c = this.text[this.at];
      if (c !== ',' && c !== '}') this.fail('no comma or brace');
      this.at += 1;
      if (c === '}') return out;
    }
  }
}

/** The JSON value that `bytes` hold; objects have no prototype. Refuses what does not pass the gate. */
function parseJson(bytes, kind = 'document') {
  checkCaps(bytes, CAPS[kind]);
  return new Parser(decodeUtf8(bytes)).document();
}

/** The deepest nesting of a JSON text, strings left out. */
function levels(bytes) {
  let depth = 0;
  let most = 0;
  let inside = false;
  for (let i = 0; i < bytes.length; i += 1) {
    const c = bytes[i];
    if (inside) {
      if (c === BACKSLASH) i += 1;
      else if (c === QUOTE) inside = false;
    } else if (c === QUOTE) inside = true;
    else if (c === 0x5b || c === 0x7b) {
      depth += 1;
      most = Math.max(most, depth);
    } else if (c === 0x5d || c === 0x7d) depth -= 1;
  }
  return most;
}

module.exports = { parseJson, levels, CAPS };
