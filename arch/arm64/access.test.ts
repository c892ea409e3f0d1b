import { describe, expect, it } from 'vitest';
import { Mmu } from '../../mm/mmu.ts';
import { type Arm64Instruction, performAccess } from './access.ts';
import { addressTranslate, parFault, parFst } from './address-translate.ts';
import { type Arm64PagingState, TCR_HA, TCR_HD } from './paging.ts';
import { A57, AF, AP1, AP2, DBM, N1, PAGE, SH_INNER, TestTables, UXN } from './test-tables.ts';
import { NEOVERSE_N1_L2TLB } from './tlb.ts';

const VA = 0x7000_8123_4000n;
const PA = 0x4567_8000n;
const LEAF = PAGE | AF | SH_INNER;
/** AttrIndx 3 of Linux's MAIR_EL1: Device-nGnRnE. */
const DEVICE = 3n << 2n;
const SCTLR_A = 2n;

function machine(desc: bigint, change: Partial<Arm64PagingState> = {}) {
  const tables = new TestTables();
  tables.set(VA, desc);
  const paging = tables.unit(change);
  const mmu = new Mmu({ paging, tlb: NEOVERSE_N1_L2TLB });
  const run = (insn: Arm64Instruction, va = VA, size = 8) => {
    const got = performAccess(mmu, paging, { insn, va, size });
    if (got.fault) return `0x${got.fault.esr.toString(16)} at 0x${got.fault.far.toString(16)}`;
    return [got.pa, got.pa2]
      .filter((pa) => pa !== undefined)
      .map((pa) => pa.toString(16))
      .join();
  };
  return { tables, paging, run };
}

const faultAt = (esr: number, va = VA) => `0x${esr.toString(16)} at 0x${va.toString(16)}`;
const SCTLR = machine(0n).paging.state.sctlr;

describe('alignment (AArch64.CheckAlignment(), S1HasAlignmentFault())', () => {
  it('of plain accesses is asked for by SCTLR_EL1.A only', () => {
    const { run } = machine(PA | LEAF);
    expect(run('ldr', VA + 1n)).toBe('45678001');
    const strict = machine(PA | LEAF, { sctlr: SCTLR | SCTLR_A });
    expect(strict.run('ldr', VA + 1n)).toBe(faultAt(0x9600_0021, VA + 1n));
    expect(strict.run('str', VA + 4n)).toBe(faultAt(0x9600_0061, VA + 4n));
    expect(strict.run('str', VA + 4n, 4)).toBe('45678004');
  });

  it.each<[Arm64Instruction, number, boolean]>([
    ['cas', 8, false],
    ['casp', 16, false],
    ['ldadd', 2, false],
    ['swp', 4, false],
    ['ldxr', 8, false],
    ['stxr', 8, true],
    ['ldxp_stxp', 16, false],
    ['ldar', 4, false],
    ['stlr', 4, true],
  ])('of %s is always asked for, before anything else', (insn, size, WnR) => {
    const { run } = machine(0n);
    const va = VA + BigInt(size / 2);
    expect(run(insn, va, size)).toBe(faultAt(WnR ? 0x9600_0061 : 0x9600_0021, va));
    expect(machine(PA | LEAF).run(insn, VA, size)).toBe('45678000');
  });

  it('of a pair is that of its elements', () => {
    const strict = machine(PA | LEAF, { sctlr: SCTLR | SCTLR_A });
    expect(strict.run('ldp', VA + 8n, 16)).toBe('45678008');
    expect(strict.run('stp', VA + 4n, 16)).toBe(faultAt(0x9600_0061, VA + 4n));
    expect(machine(PA | LEAF | DEVICE).run('ldp', VA + 4n, 8)).toBe('45678004');
  });

  it('counts in Device memory: after the access flag, before permissions', () => {
    expect(machine(PA | LEAF | DEVICE).run('ldr', VA + 4n)).toBe(faultAt(0x9600_0021, VA + 4n));
    expect(machine(PA | LEAF | AP2 | DEVICE).run('str', VA + 4n)).toBe(
      faultAt(0x9600_0061, VA + 4n),
    );
    expect(machine(PA | PAGE | DEVICE).run('ldr', VA + 4n)).toBe(faultAt(0x9600_000b, VA + 4n));
    expect(machine(PA | LEAF | DEVICE).run('ldr')).toBe('45678000');
  });

  it('counts for data with the MMU off', () => {
    const off = machine(0n, { sctlr: SCTLR & ~1n });
    expect(off.run('ldr', 0x1004n)).toBe(faultAt(0x9600_0021, 0x1004n));
    expect(off.run('dc_zva', 0x1000n, 64)).toBe(faultAt(0x9600_0061, 0x1000n));
    expect(off.run('br', 0x1004n)).toBe('1004');
  });

  it('of a fetch is a fault of its own, before the translation', () => {
    expect(machine(0n).run('br', VA + 2n)).toBe(faultAt(0x8a00_0000, VA + 2n));
    expect(machine(0n).run('br')).toBe(faultAt(0x8600_0007));
  });
});

describe('an access over a page edge', () => {
  const EDGE = VA + 0xffcn;
  const both = (first: bigint, second: bigint, change = {}) => {
    const made = machine(first, change);
    made.tables.set(VA + 0x1000n, second);
    return made;
  };
  const OTHER = 0x5000_0000n;

  it('reads both pages', () => {
    expect(both(PA | LEAF, OTHER | LEAF).run('ldr', EDGE)).toBe('45678ffc,50000000');
    expect(both(PA | LEAF, OTHER | LEAF).run('ldr', EDGE, 4)).toBe('45678ffc');
  });

  it('faults at its first byte, or at the first of the second page', () => {
    expect(both(0n, OTHER | LEAF).run('str', EDGE)).toBe(faultAt(0x9600_0047, EDGE));
    expect(both(PA | LEAF, OTHER | LEAF | AP2).run('str', EDGE)).toBe(
      faultAt(0x9600_004f, VA + 0x1000n),
    );
    expect(both(0n, 0n).run('ldr', EDGE)).toBe(faultAt(0x9600_0007, EDGE));
    expect(both(PA | LEAF, OTHER | LEAF | DEVICE).run('ldr', EDGE)).toBe(
      faultAt(0x9600_0021, VA + 0x1000n),
    );
  });

  it('keeps the access flag of the first page if the second faults', () => {
    const made = both(PA | PAGE, 0n);
    made.paging.state.tcr |= TCR_HA;
    made.paging.configure();
    expect(made.run('ldr', EDGE)).toBe(faultAt(0x9600_0007, VA + 0x1000n));
    expect(made.tables.get(VA)).toBe(PA | PAGE | AF);
  });
});

describe('instructions', () => {
  const RO = PA | LEAF | AP2;

  it('that modify memory report a write only for what a read would not fault on', () => {
    const atomics: Arm64Instruction[] = ['cas', 'ldadd', 'swp'];
    for (const insn of atomics) {
      expect(machine(0n).run(insn)).toBe(faultAt(0x9600_0007));
      expect(machine(PA | PAGE).run(insn)).toBe(faultAt(0x9600_000b));
      expect(machine(RO).run(insn)).toBe(faultAt(0x9600_004f));
      expect(machine(RO, { el: 0 }).run(insn)).toBe(faultAt(0x9200_000f));
    }
    expect(machine(RO).run('ldxr_stxr')).toBe(faultAt(0x9600_004f));
    expect(machine(0n).run('ldxr_stxr')).toBe(faultAt(0x9600_0007));
  });

  it('LDTR and STTR are checked as EL0 and reported from EL1, unless PSTATE.UAO', () => {
    expect(machine(PA | LEAF).run('ldtr')).toBe(faultAt(0x9600_000f));
    expect(machine(PA | LEAF).run('sttr')).toBe(faultAt(0x9600_004f));
    expect(machine(PA | LEAF | AP1, { pan: true }).run('sttr')).toBe('45678000');
    expect(machine(PA | LEAF, { uao: true }).run('sttr')).toBe('45678000');
    expect(machine(PA | LEAF, { uao: true, features: A57 }).run('ldtr')).toBe(faultAt(0x9600_000f));
    expect(machine(PA | LEAF | AP1, { uao: true, pan: true }).run('ldtr')).toBe(
      faultAt(0x9600_000f),
    );
    expect(machine(PA | LEAF, { uao: true, el: 0 }).run('ldtr')).toBe(faultAt(0x9200_000f));
  });

  it('DC ZVA is a store with the address as given in FAR, and needs Normal memory', () => {
    expect(machine(RO).run('dc_zva', VA + 0x3fn, 64)).toBe(faultAt(0x9600_004f, VA + 0x3fn));
    expect(machine(PA | LEAF | DEVICE).run('dc_zva', VA, 64)).toBe(faultAt(0x9600_0061));
    const made = machine(PA | LEAF | AP2 | DBM, {
      tcr: machine(0n).paging.state.tcr | TCR_HA | TCR_HD,
    });
    expect(made.run('dc_zva', VA, 64)).toBe('45678000');
    expect(made.tables.get(VA)).toBe(PA | LEAF | DBM);
  });

  it('DC by address reports CM and WnR, and asks for no permission at EL1 but with IVAC', () => {
    expect(machine(0n).run('dc_cvac')).toBe(faultAt(0x9600_0147));
    expect(machine(RO).run('dc_civac')).toBe('45678000');
    expect(machine(RO).run('dc_ivac')).toBe(faultAt(0x9600_014f));
    expect(machine(PA | LEAF | AP1, { pan: true }).run('dc_ivac')).toBe('45678000');
    expect(machine(PA | LEAF, { el: 0 }).run('dc_cvau')).toBe(faultAt(0x9200_014f));
    expect(machine(PA | LEAF | AP1 | AP2, { el: 0 }).run('dc_cvap')).toBe('45678000');
  });

  it('PRFM does nothing at all', () => {
    const made = machine(PA | PAGE, { tcr: machine(0n).paging.state.tcr | TCR_HA });
    expect([made.run('prfm_pld'), made.run('prfm_pst', 1n << 60n)]).toEqual(['', '']);
    expect(made.tables.get(VA)).toBe(PA | PAGE);
  });

  it('BR drops the tag before the fetch, data accesses keep it in FAR', () => {
    const tagged = VA | (0xa5n << 56n);
    expect(machine(0n).run('br', tagged)).toBe(faultAt(0x8600_0007));
    expect(machine(0n).run('ldr', tagged)).toBe(faultAt(0x9600_0007, tagged));
    const kernel = 0x12ff_8000_0000_0001n;
    const tcr = machine(0n).paging.state.tcr | (1n << 38n);
    expect(machine(0n, { tcr }).run('br', kernel)).toBe(
      faultAt(0x8a00_0000, 0xffff_8000_0000_0001n),
    );
  });
});

describe('AT and PAR_EL1 (D24.2.139)', () => {
  const par = (desc: bigint, op: Parameters<typeof addressTranslate>[1], change = {}) => {
    const { paging } = machine(desc, change);
    return addressTranslate(paging, op, VA + 0x123n);
  };
  const SUCCESS = (0xffn << 56n) | 0x4567_8000n | (1n << 11n) | (1n << 9n);

  it('hold address, attributes and shareability', () => {
    expect(par(PA | LEAF, 's1e1r')).toBe(SUCCESS | (3n << 7n));
    expect(par(PA | PAGE | AF, 's1e1r')).toBe(SUCCESS);
  });

  it('call Device and Non-cacheable memory Outer Shareable', () => {
    const shOf = (value: bigint) => [value >> 56n, (value >> 7n) & 3n];
    expect(shOf(par(PA | LEAF | DEVICE, 's1e1r'))).toEqual([0n, 2n]);
    expect(shOf(par(PA | LEAF | (2n << 2n), 's1e1r'))).toEqual([0x44n, 2n]);
    // SCTLR_EL1.C = 0 makes all Normal memory Non-cacheable.
    expect(shOf(par(PA | LEAF, 's1e1r', { sctlr: SCTLR & ~4n }))).toEqual([0x44n, 2n]);
    expect(par(0n, 's1e1r', { sctlr: SCTLR & ~1n })).toBe(
      0x7000_8123_4000n | (1n << 11n) | (1n << 9n) | (2n << 7n),
    );
  });

  it('hold the fault status, and take no exception', () => {
    const value = par(PA | LEAF | AP2, 's1e1w');
    expect([parFault(value), parFst(value), value]).toEqual([true, 0xf, 0x81fn]);
    expect(parFst(par(0n, 's1e1r'))).toBe(7);
  });

  it.each<[Parameters<typeof addressTranslate>[1], boolean, boolean]>([
    ['s1e1r', true, true],
    ['s1e1w', false, false],
    ['s1e0r', true, true],
    ['s1e0w', false, false],
    ['s1e1rp', false, true],
    ['s1e1wp', false, false],
  ])('of %s: user-readable page with PAN %s, without %s', (op, withPan, without) => {
    const desc = PA | LEAF | AP1 | AP2 | UXN;
    expect(parFault(par(desc, op, { pan: true }))).toBe(!withPan);
    expect(parFault(par(desc, op))).toBe(!without);
  });

  it('check as EL1 or EL0 whatever the exception level', () => {
    expect(parFault(par(PA | LEAF, 's1e1w', { el: 0 }))).toBe(false);
    expect(parFault(par(PA | LEAF, 's1e0r'))).toBe(true);
  });

  it('set the access flag but not the dirty state', () => {
    const tcr = machine(0n).paging.state.tcr | TCR_HA | TCR_HD;
    const { tables, paging } = machine(PA | PAGE | AP2 | DBM, { tcr, features: N1 });
    expect(parFault(addressTranslate(paging, 's1e1w', VA))).toBe(false);
    expect(tables.get(VA)).toBe(PA | PAGE | AF | AP2 | DBM);
  });
});
