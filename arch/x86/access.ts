// Whole accesses of an instruction: what happens when one crosses a page, leaves the canonical range or reads and
// writes, and which vector, error code and CR2 the CPU delivers. Left out: alignment checks (#AC; CR0.AM is taken as
// 0), segment limits (64-bit mode has none), split locks, and instructions that touch more than two pages.
import type { PhysAddr, VirtAddr } from '../../emulator/address.ts';
import { hi32, lo32, u64 } from '../../emulator/bits.ts';
import { type AccessKind, FETCH, READ, WRITE } from '../../emulator/engine.ts';
import type { Mmu } from '../../mm/mmu.ts';
import { VECTOR_GP, VECTOR_PF, VECTOR_SS } from './fault-code.ts';
import type { X86Paging } from './paging.ts';

/** `rmw`: an instruction that reads and writes its operand, locked or not. */
export type X86AccessKind = 'read' | 'write' | 'rmw' | 'fetch';

export interface X86Access {
  readonly kind: X86AccessKind;
  /** Linear address of the first byte. */
  readonly va: VirtAddr;
  /** Bytes, 1 to 4096. */
  readonly size: number;
  /** The operand is addressed through SS: an RSP or RBP base, a push or a pop. */
  readonly stack?: boolean;
}

export type X86AccessResult =
  | {
      readonly ok: true;
      /** Of the first byte. */
      readonly pa: PhysAddr;
      /** Of the first byte on the second page, if the access has one. */
      readonly secondPa: PhysAddr | null;
    }
  | {
      readonly ok: false;
      /** 12 (#SS), 13 (#GP) or 14 (#PF). */
      readonly vector: number;
      readonly errorCode: number;
      /** What the CPU writes to CR2; null if it leaves CR2 alone. */
      readonly cr2: VirtAddr | null;
    };

/**
 * What a read-modify-write asks of the paging unit: its page must be writable from the start, and a refusal reports a
 * write, never the read that comes first. SDM Vol. 3A, 4.7 (W/R); measured on silicon.
 */
const KIND: Readonly<Record<X86AccessKind, AccessKind>> = {
  read: READ,
  write: WRITE,
  rmw: WRITE,
  fetch: FETCH,
};

/**
 * Makes one access through TLB and tables. Every byte of an operand must be canonical before any page is looked at (SDM
 * Vol. 1, 3.3.7.1); the bytes of an instruction are fetched one after the other. Of two pages the lower is translated first; if the second faults, the first may keep its accessed and
 * dirty flags, as SDM Vol. 3A, 4.8 permits, and CR2 is the first byte of the second page.
 * @param mmu of which `paging` is the paging unit
 */
export function performAccess(mmu: Mmu, paging: X86Paging, access: X86Access): X86AccessResult {
  const { va, size } = access;
  if (!(size >= 1 && size <= 4096)) throw new RangeError(`size of an access: ${size}`);
  const last = u64(va + BigInt(size - 1));
  const kind = KIND[access.kind];
  const beginsCanonical = paging.canonical(hi32(va));
  const endsCanonical = paging.canonical(hi32(last));
  if (!beginsCanonical || (!endsCanonical && kind !== FETCH)) {
    // SDM Vol. 3A, 6.15, interrupts 12 and 13: a non-canonical stack reference raises #SS(0), any other #GP(0).
    return notCanonical(access.stack && kind !== FETCH ? VECTOR_SS : VECTOR_GP);
  }
  const first = translateByte(mmu, va, kind);
  if (first === null) return pageFault(mmu, va);
  const secondPage = (last & ~0xfffn) as VirtAddr;
  if (secondPage === (va & ~0xfffn)) return { ok: true, pa: first, secondPa: null };
  if (!endsCanonical) return notCanonical(VECTOR_GP);
  const second = translateByte(mmu, secondPage, kind);
  if (second === null) return pageFault(mmu, secondPage);
  return { ok: true, pa: first, secondPa: second };
}

function translateByte(mmu: Mmu, va: VirtAddr, kind: AccessKind): PhysAddr | null {
  const lo = lo32(va);
  return mmu.translate(hi32(va), lo, kind) ? ((mmu.pa + (lo & 0xfff)) as PhysAddr) : null;
}

const notCanonical = (vector: number): X86AccessResult => ({
  ok: false,
  vector,
  errorCode: 0,
  cr2: null,
});

/** SDM Vol. 3A, 4.7: CR2 holds the linear address that could not be translated. */
const pageFault = (mmu: Mmu, cr2: VirtAddr): X86AccessResult => ({
  ok: false,
  vector: VECTOR_PF,
  errorCode: mmu.faultCode,
  cr2,
});
