import { describe, expect, it } from 'vitest';
import { virtAddr } from '../../emulator/address.ts';
import { hi32, lo32 } from '../../emulator/bits.ts';
import { FETCH, PERM_R, PERM_W, PERM_X, READ, WRITE } from '../../emulator/engine.ts';
import { GRANTED, NO_RIGHTS, REFUSED, REWALK, RIGHTS_DIRTY } from '../../mm/paging.ts';
import * as types from './access-type.ts';
import { EC_DABT_CUR } from './fault-code.ts';
import { type Arm64Paging, SCTLR_WXN, TCR_HA, TCR_HD } from './paging.ts';
import {
  A57,
  AF,
  AP_TABLE,
  AP1,
  AP2,
  BLOCK,
  DBM,
  N1,
  outcome,
  PAGE,
  PXN,
  PXN_TABLE,
  SH_INNER,
  TestTables,
  UXN,
  UXN_TABLE,
} from './test-tables.ts';

const VA = 0xffff_8000_8123_4000n;
const KINDS = [READ, WRITE, FETCH] as const;
const LEAF = PAGE | AF | SH_INNER;
const PA = 0x4567_8000n;
const IPS = (value: bigint) => value << 32n;

/** R, W and X as far as allowed, each with its ESR where refused. */
const matrix = (paging: Arm64Paging, va = VA) => KINDS.map((kind) => outcome(paging, va, kind));

function mapped(desc: bigint, va = VA, tableBits = 0n): TestTables {
  const tables = new TestTables();
  tables.set(va, desc, 3, tableBits);
  return tables;
}

const ok = `pa 0x${PA.toString(16)}`;

describe('faults of a kernel that reads, writes and executes (D24.2.40)', () => {
  it.each([
    [0, 0x96000004, 0x96000044, 0x86000004],
    [1, 0x96000005, 0x96000045, 0x86000005],
    [2, 0x96000006, 0x96000046, 0x86000006],
    [3, 0x96000007, 0x96000047, 0x86000007],
  ])('report a translation fault of level %i', (level, ...codes) => {
    const tables = new TestTables();
    tables.set(VA, 0n, level);
    const unit = tables.unit();
    expect(matrix(unit)).toEqual(codes.map((code) => `0x${code.toString(16)}`));
    expect(unit.faultVector).toBe(0x21);
    expect(unit.found).toBe(false);
  });

  it.each([
    ['L0', 0, BLOCK | AF],
    ['L3', 3, BLOCK | AF],
    ['L3, type 2', 3, 2n | AF],
  ])('take a block encoding at %s for invalid (AArch64.BlockDescSupported())', (_, level, desc) => {
    const tables = new TestTables();
    tables.set(VA, PA | desc, level);
    expect(outcome(tables.unit(), VA, READ)).toBe(`0x${(0x9600_0004 + level).toString(16)}`);
  });

  it('report an access flag fault before a permission fault, and an address size fault before both', () => {
    const read = (desc: bigint) => outcome(mapped(desc).unit(), VA, WRITE);
    expect(read(PA | AP2 | PAGE)).toBe('0x9600004b');
    expect(read(PA | AP2 | LEAF)).toBe('0x9600004f');
    // IPS 5 of a 48-bit CPU reaches all bits of a descriptor; with IPS 0 bit 32 is beyond.
    const tables = mapped(PA | AP2 | PAGE | (1n << 32n));
    const small = { tcr: tables.unit().state.tcr & ~IPS(7n) };
    expect(outcome(tables.unit(small), VA, WRITE)).toBe('0x96000043');
  });

  it('report an External abort for a table outside RAM, with its level', () => {
    const tables = new TestTables();
    tables.set(VA, 0x1_0000_0000n | PAGE, 1);
    expect(outcome(tables.unit(), VA, READ)).toBe('0x96000016');
  });

  it('are taken from EL0 with the other class', () => {
    const unit = new TestTables().unit({ el: 0 });
    expect(matrix(unit)).toEqual(['0x92000004', '0x92000044', '0x82000004']);
  });
});

describe('permissions (D8.4)', () => {
  const [r, w, x] = ['0x9600000f', '0x9600004f', '0x8600000f'];
  const [r0, w0, x0] = ['0x9200000f', '0x9200004f', '0x8200000f'];

  it.each<[string, bigint, string[], string[]]>([
    ['AP 00', 0n, [ok, ok, ok], [r0, w0, ok]],
    ['AP 01', AP1, [ok, ok, x], [ok, ok, ok]],
    ['AP 10', AP2, [ok, w, ok], [r0, w0, ok]],
    ['AP 11', AP1 | AP2, [ok, w, ok], [ok, w0, ok]],
    ['PXN', AP1 | AP2 | PXN, [ok, w, x], [ok, w0, ok]],
    ['UXN', AP1 | AP2 | UXN, [ok, w, ok], [ok, w0, x0]],
    ['DBM without TCR_EL1.HD', AP2 | DBM, [ok, w, ok], [r0, w0, ok]],
  ])('of %s', (_, bits, el1, el0) => {
    const tables = mapped(PA | LEAF | bits);
    expect(matrix(tables.unit())).toEqual(el1);
    expect(matrix(tables.unit({ el: 0 }))).toEqual(el0);
  });

  it.each<[string, bigint, string[], string[]]>([
    ['APTable 01', AP_TABLE(1), [ok, ok, ok], [r0, w0, ok]],
    ['APTable 10', AP_TABLE(2), [ok, w, ok], [ok, w0, ok]],
    ['APTable 11', AP_TABLE(3), [ok, w, ok], [r0, w0, ok]],
    ['PXNTable', AP_TABLE(2) | PXN_TABLE, [ok, w, x], [ok, w0, ok]],
    ['UXNTable', AP_TABLE(2) | UXN_TABLE, [ok, w, ok], [ok, w0, x0]],
  ])('are narrowed by %s, unless HPD ignores it', (_, tableBits, el1, el0) => {
    const tables = mapped(PA | LEAF | AP1, VA, tableBits);
    expect(matrix(tables.unit())).toEqual(el1);
    expect(matrix(tables.unit({ el: 0 }))).toEqual(el0);
    const tcr = tables.unit().state.tcr | (1n << 42n);
    expect(matrix(tables.unit({ tcr }))).toEqual([ok, ok, x]);
    expect(matrix(tables.unit({ tcr, features: A57 }))).toEqual(el1);
    const otherHalf = tables.unit().state.tcr | (1n << 41n);
    expect(matrix(tables.unit({ tcr: otherHalf }))).toEqual(el1);
  });

  it('do not execute what they may write, with SCTLR_EL1.WXN', () => {
    const sctlr = mapped(0n).unit().state.sctlr | SCTLR_WXN;
    expect(matrix(mapped(PA | LEAF).unit({ sctlr }))).toEqual([ok, ok, x]);
    expect(matrix(mapped(PA | LEAF | AP2).unit({ sctlr }))).toEqual([ok, w, ok]);
    expect(matrix(mapped(PA | LEAF | AP1).unit({ sctlr, el: 0 }))).toEqual([ok, ok, x0]);
  });

  it('hide user data from EL1 with PSTATE.PAN, but not its code', () => {
    const unit = mapped(PA | LEAF | AP1 | AP2).unit({ pan: true });
    expect(matrix(unit)).toEqual([r, w, ok]);
    expect(unit.perms).toBe(PERM_X);
    expect(matrix(mapped(PA | LEAF).unit({ pan: true }))).toEqual([ok, ok, ok]);
    expect(matrix(mapped(PA | LEAF | AP1).unit({ pan: true, features: A57 }))).toEqual([ok, ok, x]);
    expect(matrix(mapped(PA | LEAF | AP1).unit({ pan: true, el: 0 }))).toEqual([ok, ok, ok]);
  });

  it('answer with all that the entry allows at this privilege', () => {
    const perms = (bits: bigint, el: number) => {
      const unit = mapped(PA | LEAF | bits).unit({ el });
      outcome(unit, VA, FETCH);
      outcome(unit, VA, READ);
      return unit.perms;
    };
    expect(perms(0n, 1)).toBe(PERM_R | PERM_W | PERM_X);
    expect(perms(AP1 | UXN, 0)).toBe(PERM_R | PERM_W);
    expect(perms(AP1 | AP2 | PXN, 1)).toBe(PERM_R);
  });
});

describe('access flag and dirty state in hardware (D8.5)', () => {
  const flags = (tables: TestTables, bits: bigint) => {
    const { tcr } = tables.unit().state;
    return { tcr: tcr | bits };
  };

  it('sets AF on any access that succeeds', () => {
    for (const kind of KINDS) {
      const tables = mapped(PA | PAGE);
      const unit = tables.unit(flags(tables, TCR_HA));
      expect(outcome(unit, VA, kind)).toBe(ok);
      expect(tables.get(VA)).toBe(PA | PAGE);
      expect(outcome(unit, VA, kind, true)).toBe(ok);
      expect(tables.get(VA)).toBe(PA | PAGE | AF);
    }
  });

  it('sets nothing on a permission fault', () => {
    const tables = mapped(PA | PAGE | AP2);
    const unit = tables.unit(flags(tables, TCR_HA));
    expect(outcome(unit, VA, WRITE, true)).toBe('0x9600004f');
    expect(tables.get(VA)).toBe(PA | PAGE | AP2);
  });

  it('makes a page with DBM writable on the first write, and tells the TLB to ask', () => {
    const clean = PA | LEAF | AP2 | DBM;
    const tables = mapped(clean);
    const unit = tables.unit(flags(tables, TCR_HA | TCR_HD));
    expect(outcome(unit, VA, READ, true)).toBe(ok);
    expect(unit.perms).toBe(PERM_R | PERM_X);
    const { rights } = unit;
    expect(unit.grant(rights, hi32(VA), lo32(VA), READ)).toBe(GRANTED);
    expect(unit.grant(rights, hi32(VA), lo32(VA), WRITE)).toBe(REWALK);
    expect(tables.get(VA)).toBe(clean);
    expect(outcome(unit, VA, WRITE, true)).toBe(ok);
    expect(tables.get(VA)).toBe(clean & ~AP2);
    expect(unit.perms).toBe(PERM_R | PERM_W | PERM_X);
    expect(unit.grant(unit.rights, hi32(VA), lo32(VA), WRITE)).toBe(GRANTED);
  });

  it.each<[string, bigint, typeof N1]>([
    ['HD without HA', TCR_HD, N1],
    ['HA without HD', TCR_HA, N1],
    ['HA and HD on a CPU without them', TCR_HA | TCR_HD, A57],
    ['HD on a CPU with the access flag alone', TCR_HA | TCR_HD, { ...N1, hafdbs: 'AF' }],
  ])('has no dirty state with %s', (_, bits, features) => {
    const tables = mapped(PA | LEAF | AP2 | DBM);
    const unit = tables.unit({ ...flags(tables, bits), features });
    expect(outcome(unit, VA, WRITE, true)).toBe('0x9600004f');
  });

  it('makes no page dirty for AT, cache maintenance, or a write that APTable forbids', () => {
    const clean = PA | LEAF | AP2 | DBM;
    for (const access of [types.AT_S1E1W, types.DC_INVALIDATE]) {
      const tables = mapped(clean);
      const unit = tables.unit(flags(tables, TCR_HA | TCR_HD));
      expect(outcome(unit, VA, READ, true, access)).toBe(ok);
      expect(tables.get(VA)).toBe(clean);
    }
    const tables = mapped(clean, VA, AP_TABLE(2));
    const unit = tables.unit(flags(tables, TCR_HA | TCR_HD));
    expect(outcome(unit, VA, WRITE, true)).toBe('0x9600004f');
    expect(unit.rights & RIGHTS_DIRTY).toBe(0);
    expect(tables.get(VA)).toBe(clean);
  });

  it('counts a DBM page as writable for WXN and for EL0 code at EL1', () => {
    const tables = mapped(PA | LEAF | AP2 | DBM);
    const on = flags(tables, TCR_HA | TCR_HD);
    const sctlr = tables.unit().state.sctlr | SCTLR_WXN;
    expect(outcome(tables.unit({ ...on, sctlr }), VA, FETCH)).toBe('0x8600000f');
    const user = mapped(PA | LEAF | AP1 | AP2 | DBM);
    expect(outcome(user.unit(on), VA, FETCH)).toBe('0x8600000f');
  });
});

describe('what a TLB keeps', () => {
  it('is a negative entry only of a translation fault', () => {
    const tables = new TestTables();
    const unit = tables.unit();
    outcome(unit, VA, READ);
    const { rights } = unit;
    expect(rights).not.toBe(NO_RIGHTS);
    expect(unit.pageShift).toBe(12);
    expect(unit.grant(rights, hi32(VA), lo32(VA), WRITE)).toBe(REFUSED);
    expect([unit.faultVector, unit.faultCode]).toEqual([EC_DABT_CUR, 0x9600_0044]);
    tables.set(VA, PA | PAGE);
    outcome(unit, VA, READ);
    expect([unit.faultCode, unit.rights]).toEqual([0x9600_000b, NO_RIGHTS]);
  });

  it('is what the walk found even if the access was refused', () => {
    const unit = mapped(PA | LEAF | AP2).unit();
    expect(outcome(unit, VA, WRITE)).toBe('0x9600004f');
    expect([unit.found, unit.pa]).toEqual([true, Number(PA)]);
    expect(unit.grant(unit.rights, hi32(VA), lo32(VA), READ)).toBe(GRANTED);
    expect(unit.grant(unit.rights, hi32(VA), lo32(VA), WRITE)).toBe(REFUSED);
    expect(unit.faultCode).toBe(0x9600_004f);
  });
});

describe('a walk that is told', () => {
  it('names levels, attributes and the fault', () => {
    const tables = mapped(PA | LEAF | AP2 | UXN);
    const report = tables.unit().inspect(virtAddr(VA), WRITE);
    expect(report.levels.map(({ level, bits, verdict }) => [level, bits, verdict])).toEqual([
      ['L0', '', 'table'],
      ['L1', '', 'table'],
      ['L2', '', 'table'],
      ['L3', 'AttrIndx0 AP[2] SH3 AF UXN', '4K page'],
    ]);
    expect(report.levels[3].entryAddr).toBe(tables.descAddr(VA));
    expect(report.code).toBe(0x9600_004fn);
    expect(report.verdict).toBe(
      'ESR_EL1 0x9600004f: Data Abort from the current EL, write, level 3 permission fault',
    );
  });

  it.each<[string, bigint]>([
    ['invalid', 0n],
    ['access flag clear', PA | PAGE],
    ['address size', PA | LEAF | (1n << 47n)],
  ])('says why a descriptor stops it: %s', (verdict, desc) => {
    const tables = mapped(desc);
    const { tcr } = tables.unit().state;
    const unit = tables.unit({ tcr: (tcr & ~IPS(7n)) | IPS(4n) });
    expect(unit.inspect(virtAddr(VA), READ).levels[3].verdict).toBe(verdict);
  });

  it('has no levels if no table is read', () => {
    const report = mapped(0n)
      .unit()
      .inspect(virtAddr(1n << 50n), READ);
    expect(report.levels).toEqual([]);
    expect(report.ok).toBe(false);
  });
});
