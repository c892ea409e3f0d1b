import { describe, expect, it } from 'vitest';
import type { Pfn, PhysAddr } from '../../emulator/address.ts';
import { FETCH, READ, WRITE } from '../../emulator/engine.ts';
import type { Pgprot } from '../../mm/pte.ts';
import { arm64PteFormat } from './pte.ts';
import { outcome, TestTables } from './test-tables.ts';

const VA = 0xffff_8000_8123_4000n;
const config = { pageSize: 4096, pti: false, contpte: true };
const format = arm64PteFormat(config);
const pfn = (n: number) => n as Pfn;

describe('mk_pte', () => {
  it.each<[Pgprot, bigint]>([
    ['PAGE_KERNEL', 0x0068_0000_0000_0703n],
    ['PAGE_KERNEL_RO', 0x0060_0000_0000_0783n],
    ['PAGE_KERNEL_EXEC', 0x0048_0000_0000_0703n],
    ['PAGE_KERNEL_ROX', 0x0040_0000_0000_0783n],
  ])('of %s has the kernel’s bits', (prot, bits) => {
    expect(format.mkPte(pfn(0x1234), prot)).toBe(0x1234000n | bits);
    const entry = format.mkPte(pfn(2 ** 36 - 1), prot);
    expect(format.ptePfn(entry)).toBe(2 ** 36 - 1);
    expect(format.pteWrite(entry)).toBe(!prot.includes('RO'));
    expect(format.pteExec(entry)).toBe(/X/.test(prot));
    expect(format.ptePresent(entry)).toBe(true);
    expect(format.pteNone(entry)).toBe(false);
  });

  it('gains nG under PTI', () => {
    const pti = arm64PteFormat({ ...config, pti: true });
    expect(pti.mkPte(pfn(1), 'PAGE_KERNEL')).toBe(0x0068_0000_0000_1f03n);
  });

  it.each([4096, 16384, 65536])('maps as the protection says, with pages of %i bytes', (size) => {
    const made = arm64PteFormat({ ...config, pageSize: size });
    const pa = 0x1000_0000;
    const got = (prot: Pgprot) => {
      const tables = new TestTables(size);
      const at = (entry: bigint) => Number(made.tableAddr(entry));
      let table = tables.root;
      made.shifts.forEach((shift, level) => {
        const width = level === 0 ? made.topBits : made.pageShift - 3;
        const entryAddr = table + 8 * Number(BigInt.asUintN(width, VA >> BigInt(shift)));
        const last = level === made.shifts.length - 1;
        const next = (tables.root + (level + 1) * 0x1_0000) as PhysAddr;
        const entry = last ? made.mkPte(pfn(pa / 4096), prot) : made.mkTable(next);
        tables.ram.write64(entryAddr, entry);
        if (!last) table = at(entry);
      });
      return ([READ, WRITE, FETCH] as const).map((kind) =>
        /^pa/.test(outcome(tables.unit(), VA, kind)),
      );
    };
    expect(got('PAGE_KERNEL')).toEqual([true, true, false]);
    expect(got('PAGE_KERNEL_RO')).toEqual([true, false, false]);
    expect(got('PAGE_KERNEL_EXEC')).toEqual([true, true, true]);
    expect(got('PAGE_KERNEL_ROX')).toEqual([true, false, true]);
  });
});

describe('predicates', () => {
  it('take nothing but 0 for none', () => {
    expect(format.pteNone(0n)).toBe(true);
    for (let bit = 0n; bit < 64n; bit++) expect(format.pteNone(1n << bit)).toBe(false);
  });

  it('take PTE_PRESENT_INVALID for present', () => {
    expect([0n, 1n, 3n, 1n << 11n, 1n << 10n, 1n << 59n].map(format.ptePresent)).toEqual([
      false,
      true,
      true,
      true,
      false,
      false,
    ]);
  });

  it('tell tables, blocks and bad entries apart', () => {
    const table = format.mkTable(0x4567_8000 as PhysAddr);
    expect(table).toBe(0x1000_0000_4567_8403n);
    const kinds = (entry: bigint) => [
      format.tableNone(entry),
      format.tableLeaf(entry),
      format.tableBad(entry),
    ];
    expect(kinds(0n)).toEqual([true, false, false]);
    expect(kinds(table)).toEqual([false, false, false]);
    expect(kinds(0x4560_0701n)).toEqual([false, true, false]);
    expect(kinds(2n)).toEqual([false, false, true]);
    expect(format.tableAddr(table)).toBe(0x4567_8000);
  });
});

describe('the format', () => {
  it('has the levels of 48-bit addresses', () => {
    for (const pageSize of [4096, 16384, 65536]) {
      const { pageShift, shifts, topBits } = arm64PteFormat({ ...config, pageSize });
      expect(2 ** pageShift).toBe(pageSize);
      expect(shifts[0] + topBits).toBe(48);
      expect(shifts.at(-1)).toBe(pageShift);
      shifts.slice(1).forEach((shift, at) => {
        expect(shifts[at] - shift).toBe(pageShift - 3);
      });
    }
    expect(() => arm64PteFormat({ ...config, pageSize: 8192 })).toThrow(RangeError);
  });

  it('has ptep_try_set with CONFIG_ARM64_CONTPTE only', () => {
    expect(format.hasPtepTrySet).toBe(true);
    expect(arm64PteFormat({ ...config, contpte: false }).hasPtepTrySet).toBe(false);
  });
});
