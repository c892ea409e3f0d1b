// The symbols that a running kernel prints: kallsyms, as scripts/kallsyms.c lays it out in read-only data. An image
// without a symbol table still has it, and nothing says where: it is found by its form, beginning with the table of
// tokens, in which the digits stand for themselves. Both orders are known, that of 6.3 and before and that of 6.4.
// Left out: CONFIG_KALLSYMS_BASE_RELATIVE=n, which no 64-bit kernel with SMP had.
import { ElfError } from '../../emulator/elf/bytes.ts';

/** Symbols by address; several may share one. */
export interface KernelSymbols {
  readonly addresses: BigUint64Array;
  readonly names: readonly string[];
  /** nm's letters: t and T are code; empty where the source does not say. */
  readonly types: string;
}

export interface Kallsyms extends KernelSymbols {
  /** kallsyms_relative_base: the lowest address in it. */
  readonly base: bigint;
}

const TOKENS = 256;
const DIGIT_0 = 0x30;
const DIGITS = Buffer.from('0\x001\x002\x003\x004\x005\x006\x007\x008\x009\x00', 'latin1');
/** A marker names where every 256th symbol begins. */
const MARKED = 256;
/** Symbols at most, and bytes that their names take before the tokens: far more than a kernel with everything. */
const MOST_SYMBOLS = 2 ** 21;
const MOST_BYTES = 2 ** 26;
/** Bytes of a table: none of the tokens is longer than a symbol. */
const MOST_TOKEN = 512;
const TYPES = /^[A-Za-z?]$/;

/**
 * @param image bytes of the image
 * @param relocated the pointer that a relocation puts at an offset of the image, where the image itself holds 0
 * @returns null where no table is found
 * @throws ElfError for tables that contradict themselves
 */
export function readKallsyms(
  image: Uint8Array,
  relocated: (offset: number) => bigint,
): Kallsyms | null {
  const bytes = Buffer.from(image.buffer, image.byteOffset, image.length);
  for (let at = bytes.indexOf(DIGITS); at >= 0; at = bytes.indexOf(DIGITS, at + 1)) {
    const tokens = tokensAround(bytes, at);
    const names = tokens && namesBefore(bytes, tokens);
    if (names) return symbolsOf(bytes, tokens, names, relocated);
  }
  return null;
}

interface TokenTable {
  readonly start: number;
  /** First byte behind kallsyms_token_index. */
  readonly end: number;
  readonly tokens: readonly string[];
}

/** The tokens around that of the digit 0, if kallsyms_token_index behind them agrees. */
function tokensAround(bytes: Buffer, digit0: number): TokenTable | null {
  let end = digit0;
  for (let i = DIGIT_0; i < TOKENS; i++) {
    const stop = bytes.indexOf(0, end);
    if (stop < 0 || stop - end > MOST_TOKEN) return null;
    end = stop + 1;
  }
  const index = align8(end);
  if (index + TOKENS * 2 > bytes.length) return null;
  const start = digit0 - bytes.readUInt16LE(index + DIGIT_0 * 2);
  const tokens: string[] = [];
  let at = start;
  if (start < 0 || start % 8 !== 0) return null;
  for (let i = 0; i < TOKENS; i++) {
    if (bytes.readUInt16LE(index + i * 2) !== at - start) return null;
    const stop = bytes.indexOf(0, at);
    tokens.push(bytes.toString('latin1', at, stop));
    at = stop + 1;
  }
  return at === end ? { start, end: index + TOKENS * 2, tokens } : null;
}

interface NameTable {
  /** Place of kallsyms_num_syms. */
  readonly at: number;
  readonly count: number;
}

/** The nearest place before the tokens that counts names, which lie behind it, with markers that agree. */
function namesBefore(bytes: Buffer, { start, tokens }: TokenTable): NameTable | null {
  const lowest = Math.max(0, start - MOST_BYTES);
  for (let at = align8(start) - 16; at >= lowest; at -= 8) {
    const count = bytes.readUInt32LE(at);
    if (count === 0 || count > MOST_SYMBOLS || bytes.readUInt32LE(at + 4) !== 0) continue;
    const first = nameAt(bytes, at + 8, start, tokens);
    if (first === null || !TYPES.test(first.name.slice(0, 1))) continue;
    if (areMarked(bytes, at + 8, count, start)) return { at, count };
  }
  return null;
}

function areMarked(bytes: Buffer, names: number, count: number, limit: number): boolean {
  const marks: number[] = [];
  let at = names;
  for (let i = 0; i < count; i++) {
    if (i % MARKED === 0) marks.push(at - names);
    const header = lengthAt(bytes, at, limit);
    if (header === null || header.length === 0) return false;
    at = header.at + header.length;
  }
  const markers = align8(at);
  if (markers + marks.length * 4 > limit) return false;
  return marks.every((mark, i) => bytes.readUInt32LE(markers + i * 4) === mark);
}

/** Bytes of a name: one, or since 6.2 seven bits and what the next byte says of longer ones. */
function lengthAt(bytes: Buffer, at: number, limit: number): { at: number; length: number } | null {
  if (at + 2 > limit) return null;
  const first = bytes[at];
  const isLong = first >= 0x80;
  const length = isLong ? (first & 0x7f) | (bytes[at + 1] << 7) : first;
  const from = at + (isLong ? 2 : 1);
  return from + length > limit ? null : { at: from, length };
}

function nameAt(bytes: Buffer, at: number, limit: number, tokens: readonly string[]) {
  const header = lengthAt(bytes, at, limit);
  if (header === null) return null;
  let name = '';
  for (let i = header.at; i < header.at + header.length; i++) name += tokens[bytes[i]];
  return { name, next: header.at + header.length };
}

function symbolsOf(
  bytes: Buffer,
  table: TokenTable,
  { at, count }: NameTable,
  relocated: (offset: number) => bigint,
): Kallsyms {
  const before = at - 8 - align8(count * 4);
  const behind = align8(table.end);
  const found =
    addressesAt(bytes, { offsets: behind, base: behind + align8(count * 4), count }, relocated) ??
    addressesAt(bytes, { offsets: before, base: at - 8, count }, relocated);
  if (found === null) {
    throw new ElfError(at, 'kallsyms is there, but no table of its addresses', 'give its vmlinux');
  }
  const names: string[] = [];
  let types = '';
  let from = at + 8;
  for (let i = 0; i < count; i++) {
    const { name, next } = nameAt(bytes, from, table.start, table.tokens)!;
    names.push(name.slice(1));
    types += name.slice(0, 1);
    from = next;
  }
  return { ...found, names, types };
}

/** Places of kallsyms_offsets and kallsyms_relative_base. */
interface AddressPlaces {
  readonly offsets: number;
  readonly base: number;
  readonly count: number;
}

/**
 * kallsyms_sym_address(): kallsyms_offsets and kallsyms_relative_base. With per-CPU variables linked at 0 (x86 before
 * 6.15) offsets that are not negative are addresses, and the others count down from one below the base.
 * @returns null where these are no addresses of a kernel in ascending order
 */
function addressesAt(
  bytes: Buffer,
  { offsets, base, count }: AddressPlaces,
  relocated: (offset: number) => bigint,
): Pick<Kallsyms, 'addresses' | 'base'> | null {
  if (offsets < 0 || base + 8 > bytes.length) return null;
  const relative = bytes.readBigUInt64LE(base) || relocated(base);
  if (relative < 0xffff_0000_0000_0000n || relative % 0x1000n !== 0n) return null;
  let negative = 0;
  for (let i = 0; i < count; i++) if (bytes.readInt32LE(offsets + i * 4) < 0) negative++;
  const isSplit = negative > count / 2;
  const addresses = new BigUint64Array(count);
  for (let i = 0; i < count; i++) {
    const offset = bytes.readInt32LE(offsets + i * 4);
    if (!isSplit) addresses[i] = relative + BigInt(offset >>> 0);
    else addresses[i] = offset >= 0 ? BigInt(offset) : relative - 1n - BigInt(offset);
    if (i > 0 && addresses[i] < addresses[i - 1]) return null;
  }
  return { addresses, base: relative };
}

const align8 = (at: number): number => (at + 7) & ~7;
