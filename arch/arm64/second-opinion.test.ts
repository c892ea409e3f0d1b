// A second opinion on our walk: random configurations, given to the library's own MMU (QEMU 5's AArch64 model), which
// walks the same tables in the same RAM, with real instructions. It is another implementation, not the truth. Where it is
// wrong by the Arm ARM (DDI 0487), or says less, the comparison makes up for it or does not ask, and each of these places
// has a name:
// - `walk-abort`: a table outside RAM reads as zero, a translation fault; here it is an External abort of the same level.
// - `par-sh`: PAR_EL1.SH is the descriptor's, for Device and Non-cacheable memory too (D24.2.139 says 0b10).
// - `no-address-size`: addresses beyond TCR_EL1.IPS pass (D8.1). Not asked.
// - `block-level`: a block descriptor is taken at every level (D8.3.1). Not asked.
// - `block-address`: bits below a block's size are ORed into its address (LeafBase() aligns it). Not asked.
// - `pa-44`: with the MMU off its CPU has 44 address bits, ours 48. Not asked above.
// - `alignment`: it checks exclusives and LSE atomics alone, not SCTLR_EL1.A, LDAR, STLR or Device memory. Not asked.
// - `pc-alignment`: the fetch comes before the check (D1.3.5). Not asked.
// - `atomic-read`: an atomic reads before it asks to write, and fails if the page is outside RAM. Not asked then.
// - `dc-nop`: DC by VA does nothing. Not asked, but for DC ZVA.
// It has no hardware access flag or dirty state (FEAT_HAFDBS), no E0PD, TTST, LVA, LPA2: TCR_EL1.HA and HD are 0 here. It has
// pointer authentication, and so TBIDn, which a Neoverse N1 has not: 0 here too.
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { hex } from '../../emulator/bits.ts';
import { Ram } from '../../emulator/ram.ts';
import { Binding } from '../../emulator/unicorn/binding.ts';
import { unicornEngine } from '../../emulator/unicorn/engine.ts';
import { OwnMmu } from '../../emulator/unicorn/test-own-mmu.ts';
import type { Arm64Instruction } from './access.ts';
import { FSC_ALIGNMENT, FSC_WALK_ABORT } from './fault-code.ts';
import {
  type Arm64Case,
  descriptorAddr,
  type GoldenAccess,
  RAM_BASE,
  RAM_SIZE,
} from './golden-case.ts';
import { type GoldenOutcome, goldenPar, patternByte } from './golden-outcome.ts';
import { createOracle } from './oracle.ts';
import { codeOf, harnessOffset, isPurpose, layHarness, lengthOf, SVC } from './oracle-harness.ts';
import { SCTLR_M, TCR_HA, TCR_HD } from './paging.ts';
import { arm64Description } from './registers.ts';
import { TCR_TBID } from './system.ts';
import { randomCase, type Wish } from './test-configurations.ts';

const RUNS = 3000;
const WISH: Wish = { cpus: ['neoverse-n1'], tcrClear: TCR_HA | TCR_HD | TCR_TBID };
const FRAME = 4096;

// Of the library's numbers for exceptions.
const CORE_SVC = 2;
// PSTATE: EL1h, PAN, UAO.
const EL1H = 5n;
const PAN = 1n << 22n;
const UAO = 1n << 23n;

const LOADS: readonly string[] = ['ldr', 'ldp', 'ldtr', 'ldar', 'ldxr'];
const STORES: readonly string[] = ['str', 'stp', 'sttr', 'stlr'];
const ATOMICS: readonly string[] = ['cas', 'casp', 'ldadd', 'swp'];
/** Those whose alignment the library checks. */
const ALIGNED: readonly string[] = [...ATOMICS, 'ldxr', 'ldxr_stxr', 'ldxp_stxp'];

/** What both say of an access. */
interface Outcome {
  readonly esr: number | null;
  readonly far: bigint | null;
  /** What a load loaded. */
  readonly value: string | null;
  /** What an AT left in PAR_EL1, without what does not bind. */
  readonly par: string | null;
}
const DONE: Outcome = { esr: null, far: null, value: null, par: null };

const ram = new Ram(RAM_BASE, RAM_SIZE);
layHarness(ram);
/** Where random cases are drawn. */
const drawing = new Ram(RAM_BASE, RAM_SIZE);
const engine = unicornEngine();
const own = new OwnMmu(new Binding(engine.library.path), arm64Description, ram);
afterAll(() => own.close());
const walker = createOracle();

const accessOf = (golden: Arm64Case): GoldenAccess =>
  (golden as unknown as { access: GoldenAccess }).access;

// ---- Ours ----

const statusOf = (esr: number): number => esr & 0x3f;
const isPcAlignment = (esr: number): boolean => esr >>> 26 === 0x22;

/** Our outcome as they would tell it, or null where they are not asked. */
function asTheyTell(golden: Arm64Case, got: GoldenOutcome, insn: Arm64Instruction): Outcome | null {
  if (insn.startsWith('dc_') && insn !== 'dc_zva') return null;
  const off = (BigInt(golden.sctlr) & SCTLR_M) === 0n;
  if (off && (BigInt(accessOf(golden).va) & 0xf000_0000_0000n) !== 0n) return null;
  if (hasOddBlock(golden)) return null;
  if (got.fault === null) {
    const par = got.par === undefined ? null : parText(got);
    return { ...DONE, value: got.value === undefined ? null : String(got.value), par };
  }
  let esr = Number(got.fault.esr);
  if (isPcAlignment(esr)) return null;
  const status = statusOf(esr);
  if (status < 4) return null;
  if (status === FSC_ALIGNMENT && !ALIGNED.includes(insn)) return null;
  if ((status & 0x3c) === FSC_WALK_ABORT) esr = (esr ^ 0x10) >>> 0;
  return { ...DONE, esr, far: BigInt(got.fault.far) };
}

/** `block-level` and `block-address`: a block where there is none, or with bits below its size. */
function hasOddBlock(golden: Arm64Case): boolean {
  const shift: Readonly<Record<string, number>> = { '4k': 12, '16k': 14, '64k': 16 };
  const lowest: Readonly<Record<string, number>> = { '4k': 1, '16k': 2, '64k': 2 };
  return golden.tables.some(({ granule = '4k', level = 0, desc }) => {
    if (level === 3 || (BigInt(desc) & 3n) !== 1n) return false;
    const size = shift[granule] + (3 - level) * (shift[granule] - 3);
    const below = BigInt(desc) & 0xffff_ffff_f000n & ((1n << BigInt(size)) - 1n);
    return level < lowest[granule] || below !== 0n;
  });
}

/** AT: the address, or the fault status; SH only where the descriptor's is the answer. */
function parText({ fst, pa, attr, sh }: Extract<GoldenOutcome, { fault: null }>): string {
  if (fst !== undefined) {
    const status = Number(fst);
    return `fault ${hex((status & 0x3c) === FSC_WALK_ABORT ? status ^ 0x10 : status)}`;
  }
  const type = Number(attr);
  return `${pa} ${attr} ${type < 0x10 || type === 0x44 ? '' : sh}`;
}

/** An AT that ends in an address size fault: `no-address-size`. */
const isAddressSize = (outcome: GoldenOutcome): boolean =>
  outcome.fault === null && outcome.fst !== undefined && Number(outcome.fst) < 4;

// ---- Theirs ----

function fill(pa: number): void {
  const from = pa - (pa % FRAME);
  const to = Math.min(from + 2 * FRAME, RAM_BASE + RAM_SIZE);
  for (let at = from; at < to; at++) ram.bytes[at - RAM_BASE] = Number(patternByte(at));
}

/** Every byte of a store is zero now, and none beside it. */
function checkStored(got: Extract<GoldenOutcome, { fault: null }>, insn: string, size: number) {
  const given = Number(got.pa);
  const start = insn === 'dc_zva' ? given - (given % size) : given;
  const inFirst = got.pa2 === undefined ? size : FRAME - (start % FRAME);
  const parts = [[start, Math.min(size, inFirst)] as const];
  if (got.pa2 !== undefined) parts.push([Number(got.pa2), size - inFirst]);
  for (const [at, length] of parts) {
    expect([...ram.read(at, length)]).toEqual(Array(length).fill(0));
  }
  const [last, length] = parts[parts.length - 1];
  const beside = [start - 1, last + length].filter(
    (at) => Math.floor(at / FRAME) === Math.floor((at < start ? start : last) / FRAME),
  );
  for (const at of beside) expect(BigInt(ram.bytes[at - RAM_BASE])).toBe(patternByte(at));
}

function setRegisters(golden: Arm64Case, va: string): void {
  const { registers } = own;
  for (const name of ['mair', 'ttbr0', 'ttbr1', 'tcr', 'sctlr'] as const) {
    registers.write(`${name}_el1`, BigInt(golden[name]));
  }
  const flags = (golden.pan === 1 ? PAN : 0n) | (golden.uao === 1 ? UAO : 0n);
  registers.write('pstate', (golden.el === 1 ? EL1H : 0n) | flags);
  registers.write('x0', BigInt(va));
  for (const name of ['x1', 'x2', 'x3', 'x4', 'x5']) registers.write(name, 0n);
}

/** What the library's MMU makes of a case, whose data lie where `we` says. */
function theirs(golden: Arm64Case, we: GoldenOutcome): Outcome {
  const { insn, size = 8, va } = accessOf(golden);
  const purpose = isPurpose(insn) ? insn : `${insn} ${size}`;
  if (!isPurpose(purpose)) throw new Error(`no instruction for ${purpose}`);
  const places = we.fault === null && we.par === undefined ? [we.pa, we.pa2] : [];
  for (const place of places) if (place !== undefined) fill(Number(place));
  const fetch = insn === 'br';
  if (fetch && we.fault === null) {
    ram.write(Number(we.pa), new Uint8Array(Uint32Array.of(SVC).buffer));
  }
  own.reset();
  setRegisters(golden, va);
  const start = BigInt(codeOf(purpose)) + harnessOffset(golden);
  const got = own.run(start, lengthOf(purpose) + (fetch ? 1 : 0));
  fc.pre(!(ATOMICS.includes(insn) && we.fault !== null && /UNMAPPED/.test(got.error ?? '')));
  expect(got.error).toBeNull();
  const { registers } = own;
  if (fetch && got.exception === CORE_SVC) return DONE;
  if (got.exception !== null) return { ...DONE, esr: got.code, far: got.va };
  if (insn.startsWith('s1e')) {
    return { ...DONE, par: parText({ fault: null, ...goldenPar(registers.read('par_el1')) }) };
  }
  if (we.fault === null && (STORES.includes(insn) || insn === 'dc_zva'))
    checkStored(we, insn, size);
  if (!LOADS.includes(insn)) return DONE;
  const each = insn === 'ldp' ? size / 2 : size;
  const loaded = (insn === 'ldp' ? ['x1', 'x2'] : ['x1']).map((name) =>
    hex(BigInt.asUintN(8 * each, registers.read(name))),
  );
  return { ...DONE, value: String(loaded) };
}

describe.skipIf(!engine.knowsInternals)("the library's own arm64 MMU", () => {
  const seen = new Map<string, number>();

  it('comes to the same as our walk', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 31 - 1 }), (seed) => {
        const golden = randomCase(seed, drawing, WISH);
        const got = walker.run(golden).answer!.expect as GoldenOutcome;
        const we = isAddressSize(got) ? null : asTheyTell(golden, got, accessOf(golden).insn);
        fc.pre(we !== null);
        for (const one of golden.tables) ram.write64(descriptorAddr(one), BigInt(one.desc));
        try {
          expect(theirs(golden, got)).toEqual(we);
        } finally {
          for (const one of golden.tables) ram.write64(descriptorAddr(one), 0n);
        }
        const key = we!.esr === null ? 'granted' : statusOf(we!.esr).toString(16);
        seen.set(key, (seen.get(key) ?? 0) + 1);
      }),
      { numRuns: RUNS },
    );
  });

  it('was asked about every kind of outcome', () => {
    // Translation, access flag and permission faults of the levels that have them, alignment.
    const keys = ['4', '5', '6', '7', '9', 'a', 'b', 'd', 'e', 'f', '21'];
    for (const key of keys) expect(seen.get(key) ?? 0, key).toBeGreaterThan(5);
    expect(seen.get('granted')).toBeGreaterThan(300);
  });
});
