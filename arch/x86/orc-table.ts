// ORC tables as objtool writes them (arch/x86/include/asm/orc_types.h): .orc_unwind_ip and .orc_unwind of an object, a
// module or a kernel. Left out: frames that hold registers of an exception, and stacks kept in registers other than rsp
// and rbp, for which there is no entry here.
import type { OrcEntry } from '../unwind.ts';

/** sizeof(struct orc_entry): offsets of sp and bp, 16 bits each, and which registers they count from, 4 bits each. */
export const ORC_ENTRY_SIZE = 6;
const REG_PREV_SP = 1;
const REG_BP = 4;
const REG_SP = 5;

export class OrcTable {
  private readonly ips: BigUint64Array;
  private readonly entries: DataView;
  /** First address behind the code that it tells of. */
  private readonly end: bigint;

  /**
   * @param ips where each entry begins to hold, in the order of the entries
   * @param entries `.orc_unwind`
   * @param end first address behind the code
   */
  constructor(ips: BigUint64Array, entries: Uint8Array, end: bigint) {
    const count = Math.min(ips.length, Math.floor(entries.length / ORC_ENTRY_SIZE));
    const view = new DataView(entries.buffer, entries.byteOffset, entries.length);
    this.end = end;
    if (isSorted(ips)) {
      this.ips = ips.subarray(0, count);
      this.entries = view;
      Object.freeze(this);
      return;
    }
    // Modules are sorted when they are loaded; of several at one address the last one counts, as there.
    const order = Array.from({ length: count }, (_, i) => i);
    order.sort((a, b) => (ips[a] < ips[b] ? -1 : ips[a] > ips[b] ? 1 : a - b));
    this.ips = BigUint64Array.from(order.map((i) => ips[i]));
    const sorted = new Uint8Array(count * ORC_ENTRY_SIZE);
    order.forEach((from, to) => {
      const at = from * ORC_ENTRY_SIZE;
      sorted.set(entries.subarray(at, at + ORC_ENTRY_SIZE), to * ORC_ENTRY_SIZE);
    });
    this.entries = new DataView(sorted.buffer);
    // It never changes: snapshots need not look into it.
    Object.freeze(this);
  }

  /** True if the table is about the code at an address. */
  covers(ip: bigint): boolean {
    return this.ips.length > 0 && ip >= this.ips[0] && ip < this.end;
  }

  /** The entry that holds at an address; null where it says nothing that can be followed. */
  find(ip: bigint): OrcEntry | null {
    let low = 0;
    let high = this.ips.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.ips[middle] <= ip) low = middle + 1;
      else high = middle;
    }
    if (low === 0) return null;
    const at = (low - 1) * ORC_ENTRY_SIZE;
    const registers = this.entries.getUint8(at + 4);
    const base = registers & 0xf;
    if (base !== REG_SP && base !== REG_BP) return null;
    const isSaved = registers >> 4 === REG_PREV_SP;
    return {
      base: base === REG_SP ? 'sp' : 'bp',
      offset: BigInt(this.entries.getInt16(at, true)),
      bpSlot: isSaved ? BigInt(-this.entries.getInt16(at + 2, true)) : null,
    };
  }
}

function isSorted(ips: BigUint64Array): boolean {
  for (let i = 1; i < ips.length; i++) if (ips[i] < ips[i - 1]) return false;
  return true;
}

/** `.orc_unwind_ip`: each word is a distance from itself. @param address where it lies */
export function orcAddresses(table: Uint8Array, address: bigint): BigUint64Array {
  const view = new DataView(table.buffer, table.byteOffset, table.length);
  const count = Math.floor(table.length / 4);
  const ips = new BigUint64Array(count);
  for (let i = 0; i < count; i++) {
    ips[i] = BigInt.asUintN(64, address + BigInt(i * 4) + BigInt(view.getInt32(i * 4, true)));
  }
  return ips;
}
