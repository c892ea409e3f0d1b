// Exception tables as memory: 12-byte entries whose first two words are relative to their own address, sorted by
// instruction, searched by bisection (include/asm-generic/extable.h, lib/extable.c). What the last word means is the
// architecture's (`arch/*/extable.ts`).
import { type VirtAddr, virtAddr } from '../emulator/address.ts';
import { hex } from '../emulator/bits.ts';
import type { ExtableEntry } from './arch.ts';

/** sizeof(struct exception_table_entry), on both architectures. */
const EXTABLE_ENTRY_SIZE = 12;

/** An entry before it has an address. */
export interface ExtableSource {
  readonly insn: VirtAddr;
  /** Address to go on at; or, for a BPF entry, the word that takes the fixup's place. */
  readonly fixup: VirtAddr | { readonly word: number };
  /** The third word: 32 bits of data (x86), or 16 bits of type and 16 of data (arm64). */
  readonly tail: number;
}

/** How an architecture reads the third word. */
export type DecodeTail = (tail: number) => { readonly type: number; readonly data: number };

/**
 * Builds the table that will lie at `at` (4-byte aligned), sorted as sort_extable() does.
 * @throws RangeError if an instruction is named twice or lies more than 2 GiB away
 * @kernel sort_extable lib/extable.c read
 */
export function buildExtable(sources: readonly ExtableSource[], at: VirtAddr): Uint8Array {
  const sorted = [...sources].sort((a, b) => (a.insn < b.insn ? -1 : a.insn > b.insn ? 1 : 0));
  const bytes = new Uint8Array(sorted.length * EXTABLE_ENTRY_SIZE);
  const view = new DataView(bytes.buffer);
  sorted.forEach(({ insn, fixup, tail }, i) => {
    if (i > 0 && sorted[i - 1].insn === insn) {
      throw new RangeError(`two exception-table entries for ${hex(insn)}`);
    }
    const offset = i * EXTABLE_ENTRY_SIZE;
    const field = at + BigInt(offset);
    view.setInt32(offset, relative(insn, field), true);
    if (typeof fixup === 'bigint') view.setInt32(offset + 4, relative(fixup, field + 4n), true);
    else view.setUint32(offset + 4, fixup.word, true);
    view.setUint32(offset + 8, tail >>> 0, true);
  });
  return bytes;
}

/**
 * sort_extable() of a table as it came out of a compiler. Entries that move keep their targets, so both relative words
 * change.
 * @kernel sort_extable lib/extable.c read
 */
export function sortExtable(bytes: Uint8Array): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const count = Math.floor(bytes.length / EXTABLE_ENTRY_SIZE);
  const offsets = Array.from({ length: count }, (_, i) => i * EXTABLE_ENTRY_SIZE);
  offsets.sort((a, b) => a + view.getInt32(a, true) - (b + view.getInt32(b, true)));
  const sorted = new Uint8Array(count * EXTABLE_ENTRY_SIZE);
  const out = new DataView(sorted.buffer);
  offsets.forEach((from, i) => {
    const to = i * EXTABLE_ENTRY_SIZE;
    out.setInt32(to, view.getInt32(from, true) + from - to, true);
    out.setInt32(to + 4, view.getInt32(from + 4, true) + from - to, true);
    out.setUint32(to + 8, view.getUint32(from + 8, true), true);
  });
  return sorted;
}

function relative(target: bigint, field: bigint): number {
  const distance = target - field;
  if (distance !== BigInt.asIntN(32, distance)) {
    throw new RangeError(`${hex(target)} is more than 2 GiB from its entry at ${hex(field)}`);
  }
  return Number(distance);
}

/**
 * search_extable(): the entry of the instruction at `ip`, or null.
 * @param at address at which the bytes lie
 * @kernel search_extable lib/extable.c read
 */
export function searchExtable(
  bytes: Uint8Array,
  at: VirtAddr,
  ip: VirtAddr,
  decodeTail: DecodeTail,
): ExtableEntry | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  // Distances fit a number: the entries reach 2 GiB either way, and anything farther is not in the table.
  const wanted = Number(ip - at);
  let low = 0;
  let high = Math.floor(bytes.length / EXTABLE_ENTRY_SIZE) - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    const offset = middle * EXTABLE_ENTRY_SIZE;
    const insn = offset + view.getInt32(offset, true);
    if (insn === wanted) return readEntry(view, at, offset, decodeTail);
    if (insn < wanted) low = middle + 1;
    else high = middle - 1;
  }
  return null;
}

function readEntry(
  view: DataView,
  at: VirtAddr,
  offset: number,
  decodeTail: DecodeTail,
): ExtableEntry {
  const { type, data } = decodeTail(view.getUint32(offset + 8, true));
  return {
    insn: virtAddr(at + BigInt(offset + view.getInt32(offset, true))),
    fixup: virtAddr(at + BigInt(offset + 4 + view.getInt32(offset + 4, true))),
    type,
    data,
    fixupWord: view.getUint32(offset + 4, true),
  };
}
