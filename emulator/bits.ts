// Masks, wraps and sign extensions of machine words. Every 64-bit wrap of the project is made here.

/** The low 64 bits of `value`, as unsigned. */
export const u64 = (value: bigint): bigint => BigInt.asUintN(64, value);

/** The low 64 bits of `value`, as two's-complement signed. */
export const s64 = (value: bigint): bigint => BigInt.asIntN(64, value);

/** Bits `high` to `low` (inclusive, as the manuals write them) of a 64-bit word. */
export const field = (word: bigint, high: number, low: number): bigint =>
  (word >> BigInt(low)) & ((1n << BigInt(high - low + 1)) - 1n);

/** Bit `n` of a 64-bit word. */
export const bit = (word: bigint, n: number): boolean => ((word >> BigInt(n)) & 1n) === 1n;

// A typed array splits a word without making another bigint and joins one without making three, in a third of the time.
// The hosts are little-endian.
const whole = new BigUint64Array(1);
const halves = new Uint32Array(whole.buffer);

/** Upper 32 bits of a 64-bit word, as an unsigned number. */
export function hi32(word: bigint): number {
  whole[0] = word;
  return halves[1];
}

/** Lower 32 bits of a 64-bit word, as an unsigned number. */
export function lo32(word: bigint): number {
  whole[0] = word;
  return halves[0];
}

/** The 64-bit word whose halves are `hi` and `lo` (taken as unsigned 32-bit). */
export function join(hi: number, lo: number): bigint {
  halves[0] = lo;
  halves[1] = hi;
  return whole[0];
}

/** `0x` and lower-case hex digits, unpadded: how every address is printed. */
export const hex = (value: bigint | number): string =>
  `0x${(typeof value === 'number' ? value : u64(value)).toString(16)}`;

/** 16 hex digits without `0x`: the kernel's %016lx. */
export const hex16 = (value: bigint): string => u64(value).toString(16).padStart(16, '0');
