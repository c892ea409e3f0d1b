import { describe, expect, it } from 'vitest';
import { type VirtAddr, virtAddr } from '../../emulator/address.ts';
import { hi32, lo32 } from '../../emulator/bits.ts';
import { READ, WRITE } from '../../emulator/engine.ts';
import { Mmu } from '../../mm/mmu.ts';
import { AF, AP2, DBM, NG, PAGE, SH_INNER, TestTables } from './test-tables.ts';
import {
  changeRegisters,
  NEOVERSE_N1_L2TLB,
  type TlbiOperation,
  tlbi,
  tlbiOperand,
} from './tlb.ts';

const VA = virtAddr(0xffff_8000_8123_4000n);
const OTHER = virtAddr(0xffff_8000_8123_5000n);
const LEAF = PAGE | AF | SH_INNER;
const PA = 0x4567_8000n;
const ASID = 0x1234;

/** Two pages read once at ASID 0x1234, global or not; then both become invalid in the tables. */
function filled(bits: bigint) {
  const tables = new TestTables();
  tables.set(VA, PA | LEAF | bits);
  tables.set(OTHER, PA | LEAF | bits);
  // TCR_EL1.A1 is set: the ASID stands in TTBR1_EL1.
  const ttbr1 = BigInt(tables.root) | (BigInt(ASID) << 48n);
  const paging = tables.unit({ ttbr1 });
  const cpu = { paging, mmu: new Mmu({ paging, tlb: NEOVERSE_N1_L2TLB }) };
  const reads = (va: VirtAddr) => cpu.mmu.translate(hi32(va), lo32(va), READ);
  expect([reads(VA), reads(OTHER)]).toEqual([true, true]);
  tables.set(VA, 0n);
  tables.set(OTHER, 0n);
  expect([reads(VA), reads(OTHER)]).toEqual([true, true]);
  return { tables, cpu, stale: () => [reads(VA), reads(OTHER)] };
}

describe('TLBI (D8.16)', () => {
  it.each<[TlbiOperation, bigint, number, boolean[]]>([
    ['vmalle1', 0n, 0, [false, false]],
    ['vmalle1', NG, 0, [false, false]],
    ['vae1', NG, ASID, [false, true]],
    ['vae1', NG, ASID + 1, [true, true]],
    ['vae1', 0n, ASID + 1, [false, true]],
    ['vale1', NG, ASID, [false, true]],
    ['vaae1', NG, ASID + 1, [false, true]],
    ['vaale1', NG, 0, [false, true]],
    ['aside1', NG, ASID, [false, false]],
    ['aside1', NG, ASID + 1, [true, true]],
    ['aside1', 0n, ASID, [true, true]],
  ])('%s of an entry with nG bits %i, ASID %i', (operation, bits, asid, stale) => {
    const made = filled(bits);
    tlbi(made.cpu, operation, tlbiOperand(VA, asid));
    expect(made.stale()).toEqual(stale);
  });

  it('names an address without its tag, as entries are kept', () => {
    const made = filled(NG);
    tlbi(made.cpu, 'vae1', tlbiOperand(virtAddr(VA ^ (0x5an << 56n)), ASID));
    expect(made.stale()).toEqual([false, true]);
  });

  it('looks at eight bits of the ASID while TCR_EL1.AS is 0', () => {
    const made = filled(NG);
    const { paging } = made.cpu;
    changeRegisters(made.cpu, { tcr: paging.state.tcr & ~(1n << 36n) });
    expect(paging.space).toBe(0x34);
    made.tables.set(VA, PA | LEAF | NG);
    made.tables.set(OTHER, PA | LEAF | NG);
    expect(made.stale()).toEqual([true, true]);
    made.tables.set(VA, 0n);
    tlbi(made.cpu, 'aside1', BigInt(ASID) << 48n);
    expect(made.stale()).toEqual([false, true]);
  });
});

describe('registers that change', () => {
  it('take effect at once and flush nothing', () => {
    const made = filled(0n);
    changeRegisters(made.cpu, { el: 0 });
    expect(made.stale()).toEqual([false, false]);
    changeRegisters(made.cpu, { el: 1 });
    expect(made.stale()).toEqual([true, true]);
  });

  it('switch the TLB off with the MMU', () => {
    const made = filled(0n);
    const { sctlr } = made.cpu.paging.state;
    changeRegisters(made.cpu, { sctlr: sctlr & ~1n });
    expect(made.stale()).toEqual([false, false]);
    expect(made.cpu.mmu.translate(0, 0x1000, READ)).toBe(true);
    changeRegisters(made.cpu, { sctlr });
    expect(made.stale()).toEqual([true, true]);
  });
});

describe('an entry', () => {
  const unit = (desc: bigint, tcrBits = 0n) => {
    const tables = new TestTables();
    tables.set(VA, desc);
    const { tcr } = tables.unit().state;
    const paging = tables.unit({ tcr: tcr | tcrBits });
    return { tables, mmu: new Mmu({ paging, tlb: NEOVERSE_N1_L2TLB }) };
  };
  const access = (mmu: Mmu, kind: typeof READ | typeof WRITE) =>
    mmu.translate(hi32(VA), lo32(VA), kind);

  it('is not kept of a fault (D8.13.1)', () => {
    const { tables, mmu } = unit(0n);
    expect(access(mmu, READ)).toBe(false);
    tables.set(VA, PA | PAGE);
    expect(access(mmu, READ)).toBe(false);
    tables.set(VA, PA | LEAF);
    expect(access(mmu, READ)).toBe(true);
  });

  it('stays after it refused an access', () => {
    const { tables, mmu } = unit(PA | LEAF | AP2);
    expect(access(mmu, READ)).toBe(true);
    tables.set(VA, PA | LEAF);
    expect([access(mmu, WRITE), access(mmu, WRITE)]).toEqual([false, false]);
    expect(mmu.faultCode).toBe(0x9600_004f);
    expect(mmu.staleness(VA)).toBe('rights');
  });

  it('of a clean page sends the first write to the tables', () => {
    const { tables, mmu } = unit(PA | LEAF | AP2 | DBM, (1n << 39n) | (1n << 40n));
    expect(access(mmu, READ)).toBe(true);
    expect(access(mmu, WRITE)).toBe(true);
    expect(tables.get(VA)).toBe(PA | LEAF | DBM);
    expect(mmu.staleness(VA)).toBe(null);
  });
});
