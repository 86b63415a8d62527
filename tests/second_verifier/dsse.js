'use strict';
// DSSE envelopes and Ed25519: spec/04-statement.md BC-STM-01 to 07, spec/11-trust.md BC-TRU-03.

const crypto = require('node:crypto');
const { parseJson } = require('./gate');
const { validate } = require('./schema');
const { refuse } = require('./refusal');

const TYPES = {
  statement: 'application/vnd.in-toto+json',
  revocations: 'application/vnd.blockcert.revocations+json',
  policy: 'application/vnd.blockcert.trust-policy+json',
};

/** The bytes of base64 in its one spelling, of either alphabet. */
function decodeBase64(text) {
  const bad = () => refuse('envelope.base64', 'no base64 in its one spelling');
  if (text.length % 4 !== 0) bad();
  const standard = !/[^A-Za-z0-9+/=]/.test(text);
  if (!standard && /[^A-Za-z0-9_=-]/.test(text)) bad();
  const end = text.indexOf('=');
  if (end >= 0 && (end < text.length - 2 || /[^=]/.test(text.slice(end)))) bad();
  const bytes = Buffer.from(text, standard ? 'base64' : 'base64url');
  const again = bytes.toString('base64');
  if ((standard ? again : again.replaceAll('+', '-').replaceAll('/', '_')) !== text) bad();
  return bytes;
}

/** The payload's bytes and the signatures of an envelope whose payload is of one of the given types. */
function parseEnvelope(bytes, ...types) {
  const document = parseJson(bytes, 'envelope');
  // Base64 is checked by hand: the schema's patterns would go through megabytes step by step.
  const shape = structuredClone(document);
  const texts = [];
  const lift = (holder, key) => {
    if (holder !== null && typeof holder === 'object' && typeof holder[key] === 'string') {
      texts.push(holder[key]);
      if (key === 'sig' && holder[key].length > 8192) return;
      holder[key] = '';
    }
  };
  lift(shape, 'payload');
  if (shape !== null && typeof shape === 'object' && Array.isArray(shape.signatures)) shape.signatures.forEach((one) => lift(one, 'sig'));
  validate(shape, 'envelope', (failure) => (failure.place === '/payloadType' ? 'envelope.payload_type' : undefined));
  texts.forEach(decodeBase64);
  if (!types.some((type) => document.payloadType === TYPES[type])) refuse('envelope.payload_type', document.payloadType);
  const signatures = document.signatures.map((one) => ({ keyid: one.keyid ?? '', sig: decodeBase64(one.sig) }));
  const type = types.find((one) => document.payloadType === TYPES[one]);
  return { payload: decodeBase64(document.payload), payloadType: document.payloadType, type, signatures };
}

function preAuthentication(type, body) {
  return Buffer.concat([Buffer.from(`DSSEv1 ${Buffer.byteLength(type)} ${type} ${body.length} `), body]);
}

const P = 2n ** 255n - 19n;

function power(base, exponent) {
  let result = 1n;
  let b = ((base % P) + P) % P;
  for (let e = exponent; e > 0n; e >>= 1n) {
    if (e & 1n) result = (result * b) % P;
    b = (b * b) % P;
  }
  return result;
}

const D = (((-121665n * power(121666n, P - 2n)) % P) + P) % P;
const I = power(2n, (P - 1n) / 4n);

function addPoints([x1, y1], [x2, y2]) {
  const k = (D * x1 * x2 * y1 * y2) % P;
  const x = ((x1 * y2 + y1 * x2) * power(1n + k, P - 2n)) % P;
  const y = ((y1 * y2 + x1 * x2) * power(1n - k, P - 2n)) % P;
  return [((x % P) + P) % P, ((y % P) + P) % P];
}

/** Refuses 32 bytes (hexadecimal) that are no canonical point of the curve, or one of small order. */
function checkPublicKey(hex) {
  const bytes = Buffer.from(hex, 'hex');
  const sign = bytes[31] >> 7;
  bytes[31] &= 0x7f;
  const y = BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`);
  if (y >= P) refuse('key.public.not_canonical');
  const u = (((y * y - 1n) % P) + P) % P;
  const v = (D * y * y + 1n) % P;
  const quotient = (u * power(v, P - 2n)) % P;
  let x = power(quotient, (P + 3n) / 8n);
  if ((x * x) % P !== quotient) x = (x * I) % P;
  if ((x * x) % P !== quotient) refuse('key.public.not_on_curve');
  if (x === 0n && sign === 1) refuse('key.public.not_canonical');
  if (Number(x & 1n) !== sign) x = (P - x) % P;
  let point = [x, y];
  for (let i = 0; i < 3; i += 1) point = addPoints(point, point);
  if (point[0] === 0n && point[1] === 1n) refuse('key.public.small_order');
}

const SPKI = Buffer.from('302a300506032b6570032100', 'hex');

function verifySignature(publicKeyHex, message, signature) {
  if (signature.length !== 64) return false;
  const der = Buffer.concat([SPKI, Buffer.from(publicKeyHex, 'hex')]);
  const key = crypto.createPublicKey({ key: der, format: 'der', type: 'spki' });
  return crypto.verify(null, message, key, signature);
}

/** For each signature of an envelope, the key of the policy that made it, or null. */
function signers(envelope, keys) {
  const message = preAuthentication(envelope.payloadType, envelope.payload);
  return envelope.signatures.map(({ sig }) => keys.find((key) => verifySignature(key.public_key, message, sig)) ?? null);
}

module.exports = { parseEnvelope, signers, checkPublicKey };
