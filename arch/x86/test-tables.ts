// Page tables for tests: entries are put where a walk of an address will look for them.
import { type VirtAddr, virtAddr } from '../../emulator/address.ts';
import { hi32, lo32 } from '../../emulator/bits.ts';
import type { AccessKind } from '../../emulator/engine.ts';
import { Ram } from '../../emulator/ram.ts';
import { linuxPagingState, X86Paging, type X86PagingState } from './paging.ts';

/** P, RW and US: what upper entries have unless a test says otherwise, so that the leaf decides. */
export const OPEN_TABLE = 0x7n;

export class TestTables {
  readonly ram = new Ram(0, 1 << 16);
  readonly root = 0x1000;
  readonly topShift: number;
  private next = 0x2000;

  constructor(la57 = false) {
    this.topShift = la57 ? 48 : 39;
  }

  /** Physical address of the entry for `va` at the level of `shift`; makes the tables above it. */
  entryAddr(va: bigint, shift: number): number {
    let table = this.root;
    for (let at = this.topShift; ; at -= 9) {
      const entryAddr = table + 8 * Number((va >> BigInt(at)) & 0x1ffn);
      if (at === shift) return entryAddr;
      if (this.ram.read64(entryAddr) === 0n) {
        this.ram.write64(entryAddr, BigInt(this.next) | OPEN_TABLE);
        this.next += 0x1000;
      }
      table = Number(this.ram.read64(entryAddr) & 0xf_ffff_ffff_f000n);
    }
  }

  set(va: bigint, shift: number, entry: bigint): void {
    this.ram.write64(this.entryAddr(va, shift), entry);
  }

  get(va: bigint, shift: number): bigint {
    return this.ram.read64(this.entryAddr(va, shift));
  }

  /** A unit over these tables in Linux's kernel state, with changes. */
  unit(change: Partial<X86PagingState> = {}): X86Paging {
    const state = linuxPagingState(BigInt(this.root), this.topShift === 48);
    return new X86Paging(this.ram, { ...state, ...change });
  }
}

/** What one walk came to: `pa 0x…` or `#vector(code)`. */
export function outcome(
  paging: X86Paging,
  va: bigint,
  kind: AccessKind,
  sideEffects = false,
): string {
  const addr: VirtAddr = virtAddr(va);
  if (paging.walk(hi32(addr), lo32(addr), kind, sideEffects))
    return `pa 0x${paging.pa.toString(16)}`;
  return `#${paging.faultVector}(0x${paging.faultCode.toString(16)})`;
}
