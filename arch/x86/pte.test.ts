import { describe, expect, it } from 'vitest';
import type { Pfn, PhysAddr } from '../../emulator/address.ts';
import { READ, WRITE } from '../../emulator/engine.ts';
import type { Pgprot } from '../../mm/pte.ts';
import { x86PteFormat } from './pte.ts';
import { outcome, TestTables } from './test-tables.ts';

const format = x86PteFormat({ la57: false, pti: false });
const NX = 1n << 63n;
const pfn = (n: number) => n as Pfn;

describe('mk_pte', () => {
  it.each<[Pgprot, bigint]>([
    ['PAGE_KERNEL', NX | 0x163n],
    ['PAGE_KERNEL_RO', NX | 0x121n],
    ['PAGE_KERNEL_EXEC', 0x163n],
    ['PAGE_KERNEL_ROX', 0x121n],
  ])('of %s has the kernel’s bits', (prot, bits) => {
    expect(format.mkPte(pfn(0x1234), prot)).toBe(0x1234000n | bits);
    const entry = format.mkPte(pfn(2 ** 40 - 1), prot);
    expect(format.ptePfn(entry)).toBe(2 ** 40 - 1);
    expect(format.pteWrite(entry)).toBe(!prot.includes('RO'));
    expect(format.pteExec(entry)).toBe(/X/.test(prot));
    expect(format.ptePresent(entry)).toBe(true);
    expect(format.pteNone(entry)).toBe(false);
  });

  it('pte_pfn() undoes the inversion of an absent entry, but not of one that is 0', () => {
    expect(format.ptePfn(0x800ffffffedcb162n)).toBe(0x1234);
    expect(format.ptePfn(0x1234000n)).toBe(0xff_ffff_edcb);
    expect(format.ptePfn(0n)).toBe(0);
  });

  it('loses the global bit under PTI', () => {
    const pti = x86PteFormat({ la57: false, pti: true });
    expect(pti.mkPte(pfn(1), 'PAGE_KERNEL')).toBe(NX | 0x1063n);
  });
});

describe('predicates', () => {
  it('take an entry of accessed and dirty alone for none', () => {
    for (const entry of [0n, 0x20n, 0x40n, 0x60n]) expect(format.pteNone(entry)).toBe(true);
    for (const entry of [1n, 2n, 0x100n, NX, 0x1000n]) expect(format.pteNone(entry)).toBe(false);
  });

  it('take PROTNONE for present', () => {
    expect(format.ptePresent(0x100n)).toBe(true);
    expect(format.ptePresent(1n)).toBe(true);
    expect(format.ptePresent(0x9000n | 2n)).toBe(false);
  });

  it('tell tables, leaves and malformed entries apart', () => {
    const table = format.mkTable(0x1234000 as PhysAddr);
    expect(table).toBe(0x1234063n);
    expect(format.tableAddr(table | NX)).toBe(0x1234000);
    const kinds = (entry: bigint) => [
      format.tableNone(entry),
      format.tableLeaf(entry),
      format.tableBad(entry),
    ];
    expect(kinds(0n)).toEqual([true, false, false]);
    expect(kinds(table)).toEqual([false, false, false]);
    expect(kinds(table | 4n)).toEqual([false, false, false]); // a user table
    expect(kinds(table & ~0x20n)).toEqual([false, false, false]); // not accessed yet
    expect(kinds(table | 0x80n)).toEqual([false, true, false]);
    expect(kinds(table & ~1n)).toEqual([false, false, true]);
    expect(kinds(table & ~2n)).toEqual([false, false, true]);
    expect(kinds(table | NX)).toEqual([false, false, true]);
  });
});

describe('the levels', () => {
  it('are one more with LA57', () => {
    expect(format.shifts).toEqual([39, 30, 21, 12]);
    expect(x86PteFormat({ la57: true, pti: false }).shifts).toEqual([48, 39, 30, 21, 12]);
  });

  it.each([false, true])('make entries that the paging unit takes (la57 %s)', (la57) => {
    const one = x86PteFormat({ la57, pti: false });
    const tables = new TestTables(la57);
    const va = 0xffff_c900_0123_4000n;
    tables.set(va, 12, one.mkPte(pfn(9), 'PAGE_KERNEL_RO'));
    for (const shift of one.shifts.slice(0, -1)) {
      const table = Number(tables.get(va, shift) & ~0xfffn) as PhysAddr;
      tables.set(va, shift, one.mkTable(table));
    }
    expect(outcome(tables.unit(), va, READ)).toBe('pa 0x9000');
    expect(outcome(tables.unit(), va, WRITE)).toBe('#14(0x3)');
  });
});
