// Reads .xz files (The .xz File Format 1.2): blocks of LZMA2, with the branch filters of x86 and arm64 that kernels are
// packed with, checked by CRC-32 or CRC-64. Left out: SHA-256 checks, which are not made, and all other filters.
import { crc32, crc64 } from './crc.ts';
import { decodeLzma2, type OutputSize, XzError } from './lzma2.ts';

export { XzError };

const HEADER_SIZE = 12;
const FOOTER_SIZE = 12;
const MAGIC = [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00];
const FILTER_X86 = 4;
const FILTER_LZMA2 = 0x21;
/** Bytes of a check by its number. */
const CHECK_SIZES = [0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64];
const CHECK_CRC32 = 1;
const CHECK_CRC64 = 4;

/** @param most bytes that may come out @param expected bytes that probably will @throws XzError */
export function unxz(file: Uint8Array, most: number, expected = 0): Uint8Array {
  if (!MAGIC.every((byte, i) => file[i] === byte) || file.length < HEADER_SIZE + FOOTER_SIZE) {
    throw new XzError(0, 'no .xz header');
  }
  const check = file[7] & 0xf;
  const parts: Uint8Array[] = [];
  let total = 0;
  let at = HEADER_SIZE;
  while (file[at] !== 0) {
    const block = readBlock(file, at, check, { most: most - total, expected });
    parts.push(block.bytes);
    total += block.bytes.length;
    at = block.end;
    if (at >= file.length) throw new XzError(file.length, 'the file ends inside a block');
  }
  if (parts.length === 1) return parts[0];
  const whole = new Uint8Array(total);
  let to = 0;
  for (const part of parts) {
    whole.set(part, to);
    to += part.length;
  }
  return whole;
}

function readBlock(
  file: Uint8Array,
  start: number,
  check: number,
  size: OutputSize,
): { bytes: Uint8Array; end: number } {
  const headerSize = (file[start] + 1) * 4;
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (start + headerSize > file.length) throw new XzError(start, 'the file ends inside a block');
  if (
    view.getUint32(start + headerSize - 4, true) !==
    crc32(file.subarray(start, start + headerSize - 4))
  ) {
    throw new XzError(start, 'the header of a block is damaged');
  }
  const filters = readFilters(file, start);
  if (filters.at(-1) !== FILTER_LZMA2 || filters.length > 2) {
    throw new XzError(start, `filters ${filters.join(', ')} are not known here`);
  }
  const packed = decodeLzma2(file, start + headerSize, size);
  const [first] = filters;
  if (first === FILTER_X86) unfilterX86(packed.bytes);
  else if (first !== FILTER_LZMA2) {
    throw new XzError(start, `filter ${first} is not known here`);
  }
  const end = start + headerSize + ((packed.end - start - headerSize + 3) & ~3);
  const checkSize = CHECK_SIZES[check];
  if (end + checkSize > file.length) throw new XzError(end, 'the file ends inside a check');
  const agrees =
    (check !== CHECK_CRC32 || view.getUint32(end, true) === crc32(packed.bytes)) &&
    (check !== CHECK_CRC64 || view.getBigUint64(end, true) === crc64(packed.bytes));
  if (!agrees) throw new XzError(end, 'the check does not agree with the data');
  return { bytes: packed.bytes, end: end + checkSize };
}

/** Numbers of the filters, in the order in which the packer applied them. */
function readFilters(file: Uint8Array, start: number): number[] {
  const flags = file[start + 1];
  let at = start + 2;
  const number = () => {
    let value = 0;
    for (let shift = 1; ; shift *= 128) {
      const byte = file[at++];
      value += (byte & 0x7f) * shift;
      if (byte < 0x80) return value;
      if (shift > 2 ** 49) throw new XzError(at, 'a number is too large');
    }
  };
  if (flags & 0x40) number();
  if (flags & 0x80) number();
  return Array.from({ length: (flags & 3) + 1 }, () => {
    const id = number();
    const size = number();
    at += size;
    return id;
  });
}

/** Undoes the packer's x86 filter: targets of near calls and jumps were made absolute. */
function unfilterX86(bytes: Uint8Array): void {
  const isEdge = (byte: number) => byte === 0 || byte === 0xff;
  const MASK_ALLOWED = [true, true, true, false, true, false, false, false];
  const MASK_BIT = [0, 1, 2, 2, 3, 3, 3, 3];
  let mask = 0;
  let previous = -1;
  for (let i = 0; i + 4 < bytes.length; i++) {
    if ((bytes[i] & 0xfe) !== 0xe8) continue;
    const since = i - previous;
    previous = i;
    if (since > 3) mask = 0;
    else {
      mask = (mask << (since - 1)) & 7;
      if (mask !== 0 && (!MASK_ALLOWED[mask] || isEdge(bytes[i + 4 - MASK_BIT[mask]]))) {
        mask = (mask << 1) | 1;
        continue;
      }
    }
    if (!isEdge(bytes[i + 4])) {
      mask = (mask << 1) | 1;
      continue;
    }
    const view = new DataView(bytes.buffer, bytes.byteOffset + i + 1, 4);
    let source = view.getUint32(0, true);
    let target: number;
    for (;;) {
      target = (source - (i + 5)) >>> 0;
      if (mask === 0) break;
      const shift = MASK_BIT[mask] * 8;
      if (!isEdge((target >>> (24 - shift)) & 0xff)) break;
      source = (target ^ (2 ** (32 - shift) - 1)) >>> 0;
    }
    const extended = (target & 0x01ff_ffff) | -(target & 0x0100_0000);
    view.setUint32(0, extended >>> 0, true);
    i += 4;
    mask = 0;
  }
}
