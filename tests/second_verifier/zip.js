'use strict';
// Packed bundles: spec/02-bundle.md, BC-BND-22 to 26. The one file that names, contents and checksums give is made again
// and compared byte for byte.

const { refuse } = require('./refusal');
const { checkName } = require('./names');

const MAX32 = 0xffffffff;
const MOST_ENTRIES = 10000;

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k += 1) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c;
});

function crc32(bytes) {
  let c = MAX32;
  for (let i = 0; i < bytes.length; i += 1) c = CRC_TABLE[(c ^ bytes[i]) & 255] ^ (c >>> 8);
  return (c ^ MAX32) >>> 0;
}

const u16 = (v) => { const b = Buffer.alloc(2); b.writeUInt16LE(v); return b; };
const u32 = (v) => { const b = Buffer.alloc(4); b.writeUInt32LE(v); return b; };
const u64 = (v) => { const b = Buffer.alloc(8); b.writeBigUInt64LE(BigInt(v)); return b; };
const capped = (v) => u32(Math.min(v, MAX32));

function zip64Field(values) {
  if (values.length === 0) return Buffer.alloc(0);
  return Buffer.concat([u16(1), u16(8 * values.length), ...values.map(u64)]);
}

function localHeader(file) {
  const zip64 = zip64Field(file.size >= MAX32 ? [file.size, file.size] : []);
  const start = file.offset + 30 + file.name.length + zip64.length + 4 + 2;
  const padding = Buffer.alloc((64 - (start % 64)) % 64);
  const alignment = Buffer.concat([u16(0xa11e), u16(2 + padding.length), u16(64), padding]);
  const extra = Buffer.concat([zip64, alignment]);
  return Buffer.concat([
    u32(0x04034b50), u16(zip64.length ? 45 : 20), u16(0x0800), u16(0), u16(0), u16(0x21), u32(file.crc),
    capped(file.size), capped(file.size), u16(file.name.length), u16(extra.length), file.name, extra,
  ]);
}

function directoryEntry(file) {
  const zip64 = zip64Field([
    ...(file.size >= MAX32 ? [file.size, file.size] : []),
    ...(file.offset >= MAX32 ? [file.offset] : []),
  ]);
  const needed = zip64.length ? 45 : 20;
  return Buffer.concat([
    u32(0x02014b50), u16((3 << 8) | needed), u16(needed), u16(0x0800), u16(0), u16(0), u16(0x21), u32(file.crc),
    capped(file.size), capped(file.size), u16(file.name.length), u16(zip64.length), u16(0), u16(0), u16(0),
    u32(0x81a40000), capped(file.offset), file.name, zip64,
  ]);
}

function endRecords(files, size, offset) {
  const parts = [];
  if (size >= MAX32 || offset >= MAX32) {
    parts.push(
      u32(0x06064b50), u64(44), u16((3 << 8) | 45), u16(45), u32(0), u32(0), u64(files.length), u64(files.length),
      u64(size), u64(offset), u32(0x07064b50), u32(0), u64(offset + size), u32(1),
    );
  }
  parts.push(
    u32(0x06054b50), u16(0), u16(0), u16(files.length), u16(files.length), capped(size), capped(offset), u16(0),
  );
  return Buffer.concat(parts);
}

function form(message) {
  refuse('bundle.zip.form', message);
}

// What the headers say of one file; whether each byte of a header is right is decided by making it again.
function readLocal(bytes, offset) {
  if (offset + 30 > bytes.length) form('a header is cut off');
  const nameLength = bytes.readUInt16LE(offset + 26);
  const extraLength = bytes.readUInt16LE(offset + 28);
  const start = offset + 30 + nameLength + extraLength;
  if (start > bytes.length) form('a header is cut off');
  let size = bytes.readUInt32LE(offset + 22);
  if (size === MAX32) {
    const field = offset + 30 + nameLength;
    if (extraLength < 20) form('no zip64 field');
    size = Number(bytes.readBigUInt64LE(field + 4));
  }
  if (start + size > bytes.length) form('a content is cut off');
  const name = bytes.subarray(offset + 30, offset + 30 + nameLength);
  return { name, crc: bytes.readUInt32LE(offset + 14), size, offset, start };
}

/** The files of a packed bundle, by name. */
function unpack(bytes) {
  const files = [];
  let at = 0;
  while (at + 4 <= bytes.length && bytes.readUInt32LE(at) === 0x04034b50) {
    if (files.length >= MOST_ENTRIES) refuse('bundle.too_many_files');
    const file = readLocal(bytes, at);
    const header = localHeader(file);
    if (!header.equals(bytes.subarray(at, file.start))) form('a local header is not the one that its file has');
    files.push(file);
    at = file.start + file.size;
  }
  const directory = Buffer.concat(files.map(directoryEntry));
  const tail = Buffer.concat([directory, endRecords(files, directory.length, at)]);
  if (!tail.equals(bytes.subarray(at))) form('the directory is not the one that the files have');
  for (let i = 1; i < files.length; i += 1) {
    const order = Buffer.compare(files[i - 1].name, files[i].name);
    if (order === 0) refuse('name.collision', files[i].name.toString());
    if (order > 0) form('the files are not in the order of their names');
  }
  const contents = new Map();
  for (const file of files) {
    let name;
    try {
      name = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(file.name);
    } catch {
      refuse('name.unsafe', 'a name that is not UTF-8');
    }
    checkName(name);
    const content = bytes.subarray(file.start, file.start + file.size);
    const verify = () => {
      if (crc32(content) !== file.crc) refuse('bundle.zip.crc32', name);
    };
    contents.set(name, { bytes: content, verify });
  }
  return contents;
}

module.exports = { unpack };
