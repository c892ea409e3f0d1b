// What running code does to its own address translation, and the checks that the core leaves to us: real instructions on
// a vCPU over tables in RAM.
import { describe, expect, it } from 'vitest';
import type { Cpu, Stop } from '../../emulator/engine.ts';
import { unicornEngine } from '../../emulator/unicorn/engine.ts';
import { Mmu } from '../../mm/mmu.ts';
import { ARM64_CPUS, type Arm64Features } from './features.ts';
import { type Arm64Paging, type Arm64PagingState, TCR_HA, TCR_HD } from './paging.ts';
import { Arm64Processor } from './processor.ts';
import { arm64Description } from './registers.ts';
import { AF, AP1, AP2, DBM, NG, PAGE, PXN, SH_INNER, TestTables, UXN } from './test-tables.ts';
import { NEOVERSE_N1_L2TLB, tlbiOperand } from './tlb.ts';

const CODE = 0xffff_8000_1000_0000n;
const DATA = 0xffff_8000_2000_0000n;
const USER = 0x7000_0000n;
const BASE = 0x4000_0000;
const CODE_PA = BASE + 0x20_0000;
const PAGE_1 = CODE_PA + 0x1_0000;
const PAGE_2 = PAGE_1 + 0x1_0000;

const COMMON = PAGE | AF | SH_INNER;
const KERNEL = COMMON | PXN | UXN;
const DEVICE = KERNEL | (3n << 2n);
const EL1H = 5n;
const PAN = 1n << 22n;
const UAO = 1n << 23n;

// x0: address, x1: data.
const LDR = 0xf940_0001;
const STR = 0xf900_0001;
const LDTR = 0xf840_0801;
const STTR = 0xf800_0801;
const NOP = 0xd503_201f;
const UDF = 0;

/** Two vCPUs with MMUs of their own over the same tables; tests run the first. */
class TestCpu {
  readonly tables = new TestTables();
  readonly paging: Arm64Paging;
  readonly mmu: Mmu;
  readonly other: Mmu;
  readonly processor: Arm64Processor;
  readonly cpu: Cpu;

  constructor(code: readonly number[], change: Partial<Arm64PagingState> = {}, counting = true) {
    const { tables } = this;
    tables.set(CODE, BigInt(CODE_PA) | COMMON | AP2);
    tables.set(DATA, BigInt(PAGE_1) | KERNEL);
    tables.set(USER, BigInt(PAGE_1) | KERNEL | AP1 | NG);
    tables.ram.write64(PAGE_1, 0x1111n);
    tables.ram.write64(PAGE_2, 0x2222n);
    tables.ram.write(CODE_PA, new Uint8Array(Uint32Array.from([...code, UDF]).buffer));
    this.paging = tables.unit(change);
    this.mmu = new Mmu({
      paging: this.paging,
      tlb: NEOVERSE_N1_L2TLB,
      listener: {
        onEvict: (va) => this.cpu.flushTlbPage(va),
        onEvictAll: () => this.cpu.flushTlb(),
      },
    });
    this.other = new Mmu({ paging: tables.unit(change), tlb: NEOVERSE_N1_L2TLB });
    const all = () => [this.mmu, this.other];
    this.processor = new Arm64Processor({ ram: tables.ram, mmu: this.mmu, all });
    const { translator } = this.processor;
    const engine = unicornEngine();
    this.cpu = engine.createCpu(0, arm64Description, tables.ram, translator, { counting });
    this.processor.attach(this.cpu);
    this.set({ pstate: EL1H, pc: CODE, x0: DATA, x1: 0x5555n });
  }

  set(registers: Readonly<Record<string, bigint>>): this {
    for (const [name, value] of Object.entries(registers)) this.cpu.writeRegister(name, value);
    return this;
  }

  /** Runs `count` instructions; a fault as `esr at far`. */
  run(count: number): string {
    return this.told(this.cpu.run(count));
  }

  told(stop: Stop): string {
    const fault =
      stop.reason === 'fault'
        ? this.processor.taken(stop.va, stop.kind, stop.ip)
        : stop.reason === 'exception'
          ? this.processor.takenException(stop)
          : null;
    if (fault) return `0x${fault.code.toString(16)} at 0x${fault.va.toString(16)}`;
    return stop.reason === 'exception' ? stop.name : stop.reason;
  }

  get(name: string): bigint {
    return this.cpu.readRegister(name);
  }
}

describe('TLBI', () => {
  const TLBI = {
    vmalle1: 0xd508_871f,
    'vae1, x2': 0xd508_8722,
    'vaae1is, x2': 0xd508_8362,
    'vale1, x2': 0xd508_87a2,
    vmalle1os: 0xd508_811f,
  };

  const remapped = (word: number, counting = true) => {
    const cpu = new TestCpu([LDR, word, LDR], {}, counting).set({
      x2: tlbiOperand(DATA as never, 0),
    });
    expect(cpu.run(1)).toBe('limit');
    expect(cpu.get('x1')).toBe(0x1111n);
    cpu.tables.set(DATA, BigInt(PAGE_2) | KERNEL);
    return cpu;
  };

  it('is needed: a stale entry answers', () => {
    const cpu = remapped(NOP);
    cpu.run(2);
    expect(cpu.get('x1')).toBe(0x1111n);
  });

  it.each(Object.entries(TLBI))('%s drops the entry', (_, word) => {
    const cpu = remapped(word);
    expect(cpu.run(2)).toBe('limit');
    expect(cpu.get('x1')).toBe(0x2222n);
  });

  it('drops the entry in a run that counts nothing', () => {
    const cpu = remapped(TLBI.vmalle1, false);
    expect(cpu.run(Infinity)).toBe('UNDEFINED');
    expect(cpu.get('x1')).toBe(0x2222n);
  });

  it('reaches the other CPUs if it is of the shareable domains, else not', () => {
    for (const [word, gone] of [
      [TLBI.vmalle1, false],
      [TLBI.vmalle1os, true],
      [TLBI['vaae1is, x2'], true],
    ] as const) {
      const cpu = remapped(word);
      cpu.other.translate(Number(DATA >> 32n), Number(DATA & 0xffff_ffffn), 0);
      cpu.tables.set(DATA, 0n);
      cpu.run(1);
      expect(cpu.other.staleness(DATA as never)).toBe(gone ? null : 'gone');
    }
  });

  it('of another page, or another ASID, leaves it', () => {
    const page = remapped(TLBI['vae1, x2']).set({ x2: tlbiOperand((DATA + 0x1000n) as never, 0) });
    page.run(2);
    expect(page.get('x1')).toBe(0x1111n);
    const user = new TestCpu([LDR, TLBI['vae1, x2'], LDR]).set({
      x0: USER,
      x2: tlbiOperand(USER as never, 7),
    });
    user.run(1);
    user.tables.set(USER, BigInt(PAGE_2) | KERNEL | AP1 | NG);
    user.run(2);
    expect(user.get('x1')).toBe(0x1111n);
  });
});

describe('PSTATE.PAN', () => {
  const MSR_PAN_0 = 0xd500_409f;
  const MSR_PAN_1 = 0xd500_419f;

  it('is followed, set by an instruction or by the host', () => {
    const cpu = new TestCpu([LDR, MSR_PAN_1, LDR, MSR_PAN_0, LDR]).set({ x0: USER });
    expect(cpu.run(1)).toBe('limit');
    expect(cpu.run(2)).toBe('0x9600000f at 0x70000000');
    expect(cpu.set({ pc: CODE + 12n }).run(2)).toBe('limit');
    expect(cpu.set({ pc: CODE, pstate: EL1H | PAN }).run(1)).toBe('0x9600000f at 0x70000000');
  });

  it('does not hinder LDTR, whose rights are those of EL0, nor does LDTR open the page for others', () => {
    const cpu = new TestCpu([LDTR, LDR, LDTR]).set({ x0: USER, pstate: EL1H | PAN });
    expect(cpu.run(1)).toBe('limit');
    expect(cpu.get('x1')).toBe(0x1111n);
    expect(cpu.run(1)).toBe('0x9600000f at 0x70000000');
    expect(cpu.set({ pc: CODE + 8n }).run(1)).toBe('limit');
  });

  it('leaves LDTR and STTR off kernel pages, unless UAO is set', () => {
    const cpu = new TestCpu([LDR, LDTR, STTR]);
    expect(cpu.run(2)).toBe('0x9600000f at 0xffff800020000000');
    expect(cpu.set({ pc: CODE + 8n }).run(1)).toBe('0x9600004f at 0xffff800020000000');
    cpu.set({ pc: CODE + 4n, pstate: EL1H | UAO });
    expect(cpu.run(2)).toBe('limit');
    expect(cpu.get('x1')).toBe(0x1111n);
  });
});

describe('alignment', () => {
  const UNALIGNED = DATA + 4n;
  const LDAR = 0xc8df_fc01;
  const LDXR = 0xc85f_7c01;
  const LDADD = 0xf821_0002;
  const STP_Q = 0xad00_0801; // stp q1, q2, [x0]
  const LD1 = 0x4c40_7001; // ld1 {v1.16b}, [x0]
  const LD1_8H = 0x4c40_7401;
  const DC_ZVA = 0xd50b_7420;
  const ALIGNED_ONLY = { sctlr: 0x1007n };

  it.each([
    ['LDAR', LDAR, '0x96000021'],
    ['LDXR', LDXR, '0x96000021'],
    ['LDADD', LDADD, '0x96000021'],
    ['STLR', 0xc89f_fc01, '0x96000061'],
    ['LDAPR', 0xf8bf_c001, '0x96000021'],
  ])('of %s is always asked for', (_, word, esr) => {
    const cpu = new TestCpu([word]).set({ x0: UNALIGNED });
    expect(cpu.run(1)).toBe(`${esr} at 0xffff800020000004`);
    expect(cpu.get('x1')).toBe(0x5555n);
    expect(cpu.set({ x0: DATA }).run(1)).toBe('limit');
  });

  it.each([
    ['LDR', LDR, '0x96000021'],
    ['STR', STR, '0x96000061'],
    ['STP of vectors', STP_Q, '0x96000061'],
    ['LD1 of halfwords', LD1_8H, null],
    ['LD1 of bytes', LD1, null],
  ])('of %s is asked for by SCTLR_EL1.A and by Device memory', (_, word, esr) => {
    const told = esr === null ? 'limit' : `${esr} at 0xffff800020000004`;
    expect(new TestCpu([word]).set({ x0: UNALIGNED }).run(1)).toBe('limit');
    expect(new TestCpu([word], ALIGNED_ONLY).set({ x0: UNALIGNED }).run(1)).toBe(told);
    const cpu = new TestCpu([NOP, word, word]);
    cpu.tables.set(DATA, BigInt(PAGE_1) | DEVICE);
    cpu.set({ x0: UNALIGNED });
    expect(cpu.run(3)).toBe(told);
    if (esr === null) return;
    expect(cpu.get('pc')).toBe(CODE + 4n);
    expect(cpu.cpu.retired).toBe(1);
    expect(cpu.tables.ram.read64(PAGE_1)).toBe(0x1111n);
  });

  it('is asked for again and again once Device memory was seen, and not of Normal memory', () => {
    const cpu = new TestCpu([LDR, LDR, 0xf940_0041, LDR]); // ldr x1, [x2]
    cpu.tables.set(DATA, BigInt(PAGE_1) | DEVICE);
    cpu.set({ x2: USER + 4n });
    expect(cpu.run(3)).toBe('limit');
    expect(cpu.cpu.retired).toBe(3);
    expect(cpu.set({ x0: UNALIGNED }).run(1)).toBe('0x96000021 at 0xffff800020000004');
    expect(cpu.cpu.retired).toBe(3);
  });

  it('is asked for in a run that counts nothing', () => {
    const cpu = new TestCpu([LDR, NOP, STR], {}, false);
    cpu.tables.set(DATA, BigInt(PAGE_1) | DEVICE);
    cpu.set({ x0: UNALIGNED });
    expect(cpu.run(Infinity)).toBe('0x96000021 at 0xffff800020000004');
    cpu.set({ pc: CODE + 4n });
    expect(cpu.run(Infinity)).toBe('0x96000061 at 0xffff800020000004');
    expect(cpu.tables.ram.read64(PAGE_1)).toBe(0x1111n);
  });

  it('refuses DC ZVA on Device memory, and leaves the block as it is', () => {
    const cpu = new TestCpu([DC_ZVA, DC_ZVA]);
    expect(cpu.run(1)).toBe('limit');
    expect(cpu.tables.ram.read64(PAGE_1)).toBe(0n);
    const device = new TestCpu([DC_ZVA]);
    device.tables.set(DATA, BigInt(PAGE_1) | DEVICE);
    expect(device.run(1)).toBe('0x96000061 at 0xffff800020000000');
    expect(device.tables.ram.read64(PAGE_1)).toBe(0x1111n);
  });

  it.each([
    ['STR', STR, UNALIGNED, '0x96000061 at 0xffff800020000004'],
    ['DC ZVA', DC_ZVA, DATA, '0x96000061 at 0xffff800020000000'],
  ])('that refuses %s leaves access flag and dirty state alone', (_, word, x0, told) => {
    const { tcr } = new TestCpu([NOP]).paging.state;
    const cpu = new TestCpu([word, word], { tcr: tcr | TCR_HA | TCR_HD }).set({ x0 });
    const clean = (BigInt(PAGE_1) | DEVICE | AP2 | DBM) & ~AF;
    cpu.tables.set(DATA, clean);
    expect(cpu.run(1)).toBe(told);
    expect(cpu.tables.ram.read64(cpu.tables.descAddr(DATA))).toBe(clean);
    if (word !== STR) return;
    expect(cpu.set({ x0: DATA }).run(1)).toBe('limit');
    expect(cpu.tables.ram.read64(cpu.tables.descAddr(DATA))).toBe((clean | AF) & ~AP2);
  });

  it('takes back what a store left on a Normal page before a Device page', () => {
    const cpu = new TestCpu([STP_Q]);
    cpu.tables.set(DATA + 0x1000n, BigInt(PAGE_2) | DEVICE);
    cpu.tables.ram.write64(PAGE_1 + 0xff8, 0x7777n);
    cpu.set({ x0: DATA + 0xff8n, 'v1:lo': 1n, 'v1:hi': 2n });
    expect(cpu.run(1)).toBe('0x96000061 at 0xffff800020001000');
    expect(cpu.tables.ram.read64(PAGE_1 + 0xff8)).toBe(0x7777n);
  });

  it('of a branch target sees its address without the tag, whatever TBID says without FEAT_PAuth', () => {
    const tcr = new TestCpu([NOP]).paging.state.tcr | (3n << 37n) | (3n << 51n);
    const target = { x0: (DATA & ~(0xffn << 56n)) + 2n };
    const branch = (features: Arm64Features) =>
      new TestCpu([0xd61f_0000], { tcr, features }).set(target).run(2);
    expect(branch(ARM64_CPUS['neoverse-n1'])).toBe('0x8a000000 at 0xffff800020000002');
    expect(branch(ARM64_CPUS.max)).toBe('0x8a000000 at 0xff800020000002');
  });

  it('of a branch target comes before its translation', () => {
    const cpu = new TestCpu([0xd61f_0000]); // br x0
    expect(cpu.set({ x0: DATA + 2n }).run(2)).toBe('0x8a000000 at 0xffff800020000002');
    const unmapped = new TestCpu([0xd61f_0000]).set({ x0: DATA + 0x1001n });
    expect(unmapped.run(2)).toBe('0x8a000000 at 0xffff800020001001');
  });
});

describe('system instructions', () => {
  const AT_S1E1R = 0xd508_7800;
  const AT_S1E0W = 0xd508_7860;
  const MRS_PAR = 0xd538_7401; // mrs x1, par_el1

  it('AT tells of a translation in PAR_EL1', () => {
    const cpu = new TestCpu([AT_S1E1R, MRS_PAR, AT_S1E0W, MRS_PAR]).set({ x0: DATA + 0x123n });
    expect(cpu.run(2)).toBe('limit');
    expect(cpu.get('x1') & 0xffff_ffff_f001n).toBe(BigInt(PAGE_1));
    expect(cpu.run(2)).toBe('limit');
    // Permission fault of level 3.
    expect(cpu.get('x1') & 0x7fn).toBe((0xfn << 1n) | 1n);
  });

  it.each([
    ['DC CIVAC', 0xd50b_7e20, DATA, 'limit'],
    ['DC CVAC', 0xd50b_7a20, DATA + 0x1000n, '0x96000147 at 0xffff800020001000'],
    ['DC CVAU', 0xd50b_7b20, DATA + 0x1000n, '0x96000147 at 0xffff800020001000'],
    ['DC IVAC of what is read-only', 0xd508_7620, CODE, '0x9600014f at 0xffff800010000000'],
    ['IC IVAU', 0xd50b_7520, DATA + 0x1000n, '0x96000147 at 0xffff800020001000'],
  ])('%s translates', (_, word, x0, told) => {
    expect(new TestCpu([word]).set({ x0 }).run(1)).toBe(told);
  });

  it('MSR TTBR1_EL1 and TCR_EL1 reach the paging unit, and MRS reads them', () => {
    const MSR_TTBR0 = 0xd518_2002;
    const MRS_TTBR0 = 0xd538_2003;
    // Tables of the lower half are replaced by an empty one.
    const cpu = new TestCpu([MSR_TTBR0, MRS_TTBR0, LDR]).set({
      x0: USER,
      x2: BigInt(BASE + 0x30_0000) | (5n << 48n),
    });
    expect(cpu.run(2)).toBe('limit');
    expect(cpu.get('x3')).toBe(BigInt(BASE + 0x30_0000) | (5n << 48n));
    expect(cpu.run(1)).toBe('0x96000004 at 0x70000000');
  });

  it('MSR SCTLR_EL1 makes alignment matter', () => {
    const cpu = new TestCpu([LDR, 0xd518_1002, LDR]).set({ x0: DATA + 4n, x2: 0x1007n });
    expect(cpu.run(1)).toBe('limit');
    expect(cpu.run(2)).toBe('0x96000021 at 0xffff800020000004');
  });

  it.each([0xd508_871f, 0xd508_7800, 0xd518_1000, 0xd508_7620])(
    'are undefined at EL0: 0x%i',
    (word) => {
      const cpu = new TestCpu([word], { el: 0 });
      cpu.tables.set(CODE, BigInt(CODE_PA) | COMMON | AP1 | AP2);
      expect(cpu.set({ pstate: 0n }).run(1)).toBe('UNDEFINED');
    },
  );
});

it('an address tag that TBI ignores is part of FAR_EL1, and not of the translation', () => {
  const tag = 0xab00_0000_0000_0000n;
  const cpu = new TestCpu([LDR, LDR]).set({ x0: USER | tag });
  expect(cpu.run(1)).toBe('limit');
  cpu.set({ x0: (USER + 0x1000n) | tag });
  expect(cpu.run(1)).toBe('0x96000007 at 0xab00000070001000');
});
