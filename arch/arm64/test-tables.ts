// Page tables for tests: descriptors are put where a walk of an address will look for them.
import { type PhysAddr, virtAddr } from '../../emulator/address.ts';
import { hi32, lo32 } from '../../emulator/bits.ts';
import type { AccessKind } from '../../emulator/engine.ts';
import { Ram } from '../../emulator/ram.ts';
import type { AccessType } from './access-type.ts';
import { ARM64_CPUS } from './features.ts';
import { Arm64Paging, type Arm64PagingState, linuxPagingState } from './paging.ts';

/** Type bits of a table or page, and of a block. */
export const TABLE = 3n;
export const PAGE = 3n;
export const BLOCK = 1n;
export const AP1 = 1n << 6n;
export const AP2 = 1n << 7n;
export const SH_INNER = 3n << 8n;
export const AF = 1n << 10n;
export const NG = 1n << 11n;
export const DBM = 1n << 51n;
export const CONTIGUOUS = 1n << 52n;
export const PXN = 1n << 53n;
export const UXN = 1n << 54n;
export const PXN_TABLE = 1n << 59n;
export const UXN_TABLE = 1n << 60n;
export const AP_TABLE = (value: number) => BigInt(value) << 61n;

const RAM_BASE = 0x4000_0000;
/** Every table has 64 KiB, so that it is aligned in any granule. */
const TABLE_SIZE = 0x1_0000;

export class TestTables {
  readonly ram = new Ram(RAM_BASE, 64 * TABLE_SIZE);
  readonly root = RAM_BASE;
  private readonly pageShift: number;
  private next = RAM_BASE + TABLE_SIZE;

  /** @param pageSize bytes; addresses have 48 bits */
  constructor(pageSize = 4096) {
    this.pageShift = Math.log2(pageSize);
  }

  /** Physical address of the descriptor for `va` at a level; makes the tables above it. */
  descAddr(va: bigint, level = 3, tableBits = 0n): number {
    const stride = this.pageShift - 3;
    let table = this.root;
    let width = 48 - this.pageShift - stride * Math.floor((47 - this.pageShift) / stride);
    for (let at = 3 - Math.floor((47 - this.pageShift) / stride); ; at++) {
      const shift = BigInt(this.pageShift + (3 - at) * stride);
      const descAddr = table + 8 * Number(BigInt.asUintN(width, va >> shift));
      if (at === level) return descAddr;
      if (this.ram.read64(descAddr) === 0n) {
        this.ram.write64(descAddr, BigInt(this.next) | TABLE | tableBits);
        this.next += TABLE_SIZE;
      }
      table = Number(this.ram.read64(descAddr) & 0xffff_ffff_f000n);
      width = stride;
    }
  }

  set(va: bigint, desc: bigint, level = 3, tableBits = 0n): void {
    this.ram.write64(this.descAddr(va, level, tableBits), desc);
  }

  get(va: bigint, level = 3): bigint {
    return this.ram.read64(this.descAddr(va, level));
  }

  /** A unit over these tables in Linux's kernel state on a Neoverse N1, both halves from the same root, with changes. */
  unit(change: Partial<Arm64PagingState> = {}): Arm64Paging {
    const config = { pageSize: 2 ** this.pageShift, hafdbs: false, pti: false };
    const root = this.root as PhysAddr;
    const state = { ...linuxPagingState(root, config, root), pan: false };
    return new Arm64Paging(this.ram, { ...state, ...change });
  }
}

export const { max: MAX, 'neoverse-n1': N1, 'cortex-a57': A57 } = ARM64_CPUS;

/** What one walk came to: `pa 0x…` or the ESR in hex. */
export function outcome(
  paging: Arm64Paging,
  va: bigint,
  kind: AccessKind,
  sideEffects = false,
  access: AccessType | null = null,
): string {
  const addr = virtAddr(va);
  paging.access = access;
  const ok = paging.walk(hi32(addr), lo32(addr), kind, sideEffects);
  paging.access = null;
  return ok ? `pa 0x${paging.pa.toString(16)}` : `0x${paging.faultCode.toString(16)}`;
}
