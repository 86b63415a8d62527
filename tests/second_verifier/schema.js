'use strict';
// The part of JSON Schema 2020-12 that schemas/*.json use.

const fs = require('node:fs');
const path = require('node:path');
const { refuse } = require('./refusal');

const FOLDER = path.join(__dirname, '..', '..', 'schemas');
const loaded = new Map();

function schema(name) {
  if (!loaded.has(name)) loaded.set(name, JSON.parse(fs.readFileSync(path.join(FOLDER, `${name}.schema.json`), 'utf8')));
  return loaded.get(name);
}

const patterns = new Map();

function pattern(text) {
  if (!patterns.has(text)) patterns.set(text, new RegExp(text, 'u'));
  return patterns.get(text);
}

function typeOf(value) {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  if (typeof value === 'number') return 'integer';
  return typeof value;
}

function equal(a, b) {
  return JSON.stringify(a) === JSON.stringify(b);
}

class Failure {
  constructor(place, keyword, refs) {
    this.place = place;
    this.keyword = keyword;
    this.refs = refs;
  }
}

/** The first way in which `value` is not what `node` says, or null. */
function check(value, node, root, place, refs) {
  const fail = (keyword) => new Failure(place, keyword, refs);
  if (node.$ref !== undefined) {
    const name = node.$ref.slice('#/$defs/'.length);
    const failure = check(value, root.$defs[name], root, place, [...refs, name]);
    if (failure) return failure;
  }
  const type = typeOf(value);
  if (node.type !== undefined && node.type !== type) return fail('type');
  if (node.const !== undefined && !equal(node.const, value)) return fail('const');
  if (node.enum !== undefined && !node.enum.some((one) => equal(one, value))) return fail('enum');
  if (type === 'string') {
    const length = node.minLength !== undefined || node.maxLength !== undefined ? [...value].length : 0;
    if (node.minLength !== undefined && length < node.minLength) return fail('minLength');
    if (node.maxLength !== undefined && length > node.maxLength) return fail('maxLength');
    if (node.pattern !== undefined && !pattern(node.pattern).test(value)) return fail('pattern');
  }
  if (type === 'integer') {
    if (node.minimum !== undefined && value < node.minimum) return fail('minimum');
    if (node.maximum !== undefined && value > node.maximum) return fail('maximum');
  }
  if (node.not !== undefined && !check(value, node.not, root, place, refs)) return fail('not');
  for (const part of node.allOf ?? []) {
    const failure = check(value, part, root, place, refs);
    if (failure) return failure;
  }
  if (node.anyOf !== undefined) {
    const failures = node.anyOf.map((part) => check(value, part, root, place, refs));
    if (failures.every((failure) => failure !== null)) return closest(failures);
  }
  if (node.oneOf !== undefined) {
    const failures = node.oneOf.map((part) => check(value, part, root, place, refs));
    const held = failures.filter((failure) => failure === null).length;
    if (held > 1) return fail('oneOf');
    if (held === 0) return closest(failures);
  }
  if (type === 'array') {
    if (node.minItems !== undefined && value.length < node.minItems) return fail('minItems');
    if (node.maxItems !== undefined && value.length > node.maxItems) return fail('maxItems');
    if (node.uniqueItems && new Set(value.map((one) => JSON.stringify(one))).size < value.length) return fail('uniqueItems');
    if (node.contains !== undefined && value.every((one) => check(one, node.contains, root, place, refs))) return fail('contains');
    if (node.items !== undefined) {
      for (let i = 0; i < value.length; i += 1) {
        const failure = check(value[i], node.items, root, `${place}/${i}`, []);
        if (failure) return failure;
      }
    }
  }
  if (type === 'object') {
    for (const key of node.required ?? []) if (!(key in value)) return fail('required');
    for (const key of Object.keys(value)) {
      const part = node.properties !== undefined && Object.hasOwn(node.properties, key) ? node.properties[key] : undefined;
      if (part !== undefined) {
        const failure = check(value[key], part, root, `${place}/${key}`, []);
        if (failure) return failure;
      } else if (node.additionalProperties === false) return fail('additionalProperties');
    }
  }
  return null;
}

// Of alternatives, the one that came furthest: not refused for its type, its kind or its operation.
function closest(failures) {
  const score = (f) => f.place.length * 4 + (f.keyword === 'const' || f.keyword === 'type' ? 0 : 1);
  return failures.reduce((best, f) => (score(f) > score(best) ? f : best));
}

/** Refuses a `value` that is not what schemas/<name>.schema.json says, `codeOf` gives the code of a field that has its own. */
function validate(value, name, codeOf = () => undefined) {
  const root = schema(name);
  const failure = check(value, root, root, '', []);
  if (!failure) return;
  refuse(codeOf(failure) ?? 'json.type', `${failure.place}: ${failure.keyword}`);
}

module.exports = { validate };
