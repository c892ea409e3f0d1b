import { describe, expect, it } from 'vitest';
import { virtAddr } from '../../emulator/address.ts';
import { Mmu } from '../../mm/mmu.ts';
import { performAccess, type X86Access } from './access.ts';
import { CR4_LA57, CR4_PAE, type X86PagingState } from './paging.ts';
import { TestTables } from './test-tables.ts';
import { GOLDEN_COVE_STLB } from './tlb.ts';

const VA = 0xffff_c900_0123_4000n;
const A = 0x20n;
const D = 0x40n;

function make(first: bigint, second: bigint, change: Partial<X86PagingState> = {}) {
  const tables = new TestTables(((change.cr4 ?? 0n) & CR4_LA57) !== 0n);
  tables.set(VA, 12, first);
  tables.set(VA + 0x1000n, 12, second);
  const paging = tables.unit(change);
  const mmu = new Mmu({ paging, tlb: GOLDEN_COVE_STLB });
  const perform = (kind: X86Access['kind'], va: bigint, size: number, stack = false) =>
    performAccess(mmu, paging, { kind, va: virtAddr(va), size, stack });
  return { tables, perform };
}

describe('an access over a page edge', () => {
  it('reaches two frames that need not be neighbours', () => {
    const { tables, perform } = make(0x9003n, 0x5003n);
    expect(perform('write', VA + 0xffdn, 8)).toEqual({ ok: true, pa: 0x9ffd, secondPa: 0x5000 });
    expect(tables.get(VA, 12)).toBe(0x9003n | A | D);
    expect(tables.get(VA + 0x1000n, 12)).toBe(0x5003n | A | D);
  });

  it('that only touches the edge stays on one page', () => {
    const { perform } = make(0x9003n, 0n);
    expect(perform('read', VA + 0xff8n, 8)).toMatchObject({ ok: true, secondPa: null });
    expect(perform('read', VA + 0xff9n, 8)).toMatchObject({ ok: false });
  });

  it('faults at the first byte of the second page, with that page in CR2', () => {
    const { perform } = make(0x9003n, 0x5001n);
    expect(perform('write', VA + 0xfffn, 2)).toEqual({
      ok: false,
      vector: 14,
      errorCode: 3,
      cr2: VA + 0x1000n,
    });
  });

  it('reports the lower page if both would fault, at the exact byte', () => {
    const { perform } = make(0n, 0n);
    expect(perform('fetch', VA + 0xfffn, 2)).toMatchObject({ errorCode: 0x10, cr2: VA + 0xfffn });
  });
});

describe('a read-modify-write', () => {
  it('reports a write even where the read alone would have faulted', () => {
    const { perform } = make(0n, 0n);
    expect(perform('rmw', VA, 8)).toMatchObject({ vector: 14, errorCode: 2 });
  });

  it('needs a writable page and makes it dirty', () => {
    const { tables, perform } = make(0x9001n, 0x5003n);
    expect(perform('rmw', VA, 8)).toMatchObject({ errorCode: 3 });
    expect(perform('rmw', VA + 0x1000n, 8)).toMatchObject({ ok: true });
    expect(tables.get(VA + 0x1000n, 12) & D).toBe(D);
  });
});

describe('an address that is not canonical', () => {
  const { tables, perform } = make(0x9003n, 0x5003n);
  it('raises #GP(0), through SS #SS(0), and leaves CR2 alone', () => {
    const va = 0x8000_0000_0000n;
    expect(perform('read', va, 8)).toEqual({ ok: false, vector: 13, errorCode: 0, cr2: null });
    expect(perform('write', va, 8, true)).toMatchObject({ vector: 12, errorCode: 0, cr2: null });
    expect(perform('fetch', va, 2, true)).toMatchObject({ vector: 13 });
  });

  it('is found at the last byte too, before any page is looked at', () => {
    const edge = 0x7fff_ffff_f000n;
    tables.set(edge, 12, 0x9003n);
    expect(perform('read', edge + 0xffcn, 4)).toMatchObject({ ok: true });
    expect(perform('write', edge + 0xffdn, 4)).toMatchObject({ vector: 13 });
    expect(tables.get(edge, 12) & D).toBe(0n);
  });

  it('depends on the number of levels', () => {
    const wide = make(0x9003n, 0x5003n, { cr4: CR4_PAE | CR4_LA57 });
    const va = 0x00ff_ffff_ffff_fff8n;
    expect(wide.perform('read', va, 8)).toMatchObject({ vector: 14, cr2: va });
    expect(wide.perform('read', va + 1n, 8)).toMatchObject({ vector: 13 });
    expect(perform('read', va, 8)).toMatchObject({ vector: 13 });
  });

  it('is not made by going round the top of the address space', () => {
    const top = 0xffff_ffff_ffff_f000n;
    tables.set(top, 12, 0x9003n);
    tables.set(0n, 12, 0x5003n);
    expect(perform('read', top + 0xffcn, 8)).toEqual({ ok: true, pa: 0x9ffc, secondPa: 0x5000 });
  });
});

it('has one byte at least and a page at most', () => {
  const { perform } = make(0x9003n, 0x5003n);
  expect(() => perform('read', VA, 0)).toThrow(RangeError);
  expect(() => perform('read', VA, 4097)).toThrow(RangeError);
  expect(perform('read', VA + 1n, 4096)).toMatchObject({ ok: true, secondPa: 0x5000 });
});
