import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type VirtAddr, virtAddr } from '../../emulator/address.ts';
import { hi32, lo32 } from '../../emulator/bits.ts';
import {
  type AccessKind,
  FETCH,
  PERM_R,
  PERM_W,
  PERM_X,
  READ,
  WRITE,
} from '../../emulator/engine.ts';
import { GRANTED, NO_RIGHTS, REFUSED, REWALK } from '../../mm/paging.ts';
import {
  CR0_WP,
  CR4_LA57,
  CR4_PAE,
  CR4_PCIDE,
  CR4_PGE,
  CR4_PKE,
  CR4_PKS,
  CR4_SMAP,
  CR4_SMEP,
  EFER_LMA,
  EFER_NXE,
  type X86PagingState,
} from './paging.ts';
import { OPEN_TABLE, outcome, TestTables } from './test-tables.ts';

const VA = 0xffff_c900_0123_4000n;
const KINDS = [READ, WRITE, FETCH] as const;
const P = 1n;
const RW = 2n;
const US = 4n;
const A = 0x20n;
const D = 0x40n;
const PS = 0x80n;
const G = 0x100n;
const XD = 1n << 63n;
const key = (n: number) => BigInt(n) << 59n;

/** R, W and X as far as allowed, each with the code of its refusal. */
const matrix = (tables: TestTables, change: Partial<X86PagingState>) =>
  KINDS.map((kind) => outcome(tables.unit(change), VA, kind));

function mapped(leaf: bigint, shift = 12, la57 = false): TestTables {
  const tables = new TestTables(la57);
  tables.set(VA, shift, leaf);
  return tables;
}

describe('implicit supervisor accesses (SDM Vol. 3A, 4.6)', () => {
  // A descriptor-table access at CPL 3 is a supervisor-mode access, and its error code has U/S = 0 (4.7).
  it('reach supervisor pages from CPL 3', () => {
    const tables = mapped(0x9000n | P | RW);
    expect(outcome(tables.unit({ cpl: 3, implicit: true }), VA, READ)).toBe('pa 0x9000');
    expect(outcome(tables.unit({ cpl: 3 }), VA, READ)).toBe('#14(0x5)');
  });

  it('report U/S = 0 at CPL 3', () => {
    const tables = new TestTables();
    expect(outcome(tables.unit({ cpl: 3, implicit: true }), VA, WRITE)).toBe('#14(0x2)');
    expect(outcome(tables.unit({ cpl: 3, implicit: false }), VA, WRITE)).toBe('#14(0x6)');
  });

  it('are refused by SMAP whatever EFLAGS.AC says', () => {
    const tables = mapped(0x9000n | P | RW | US);
    const cr4 = CR4_PAE | CR4_SMAP;
    expect(outcome(tables.unit({ cr4, ac: true }), VA, READ)).toBe('pa 0x9000');
    expect(outcome(tables.unit({ cr4, ac: true, implicit: true }), VA, READ)).toBe('#14(0x1)');
    expect(outcome(tables.unit({ cr4, ac: true, cpl: 3, implicit: true }), VA, READ)).toBe(
      '#14(0x1)',
    );
    expect(outcome(tables.unit({ cr4: CR4_PAE, implicit: true }), VA, READ)).toBe('pa 0x9000');
  });
});

describe('MAXPHYADDR (SDM Vol. 3A, 4.5.2)', () => {
  it.each([36, 39, 46, 48, 51])('makes bits 51:%i reserved at every level', (maxPhysAddr) => {
    for (const shift of [39, 30, 21, 12]) {
      for (const at of [maxPhysAddr, 51]) {
        const tables = mapped(0x9000n | P | RW);
        tables.set(VA, shift, tables.get(VA, shift) | (1n << BigInt(at)));
        expect(matrix(tables, { maxPhysAddr })).toEqual(['#14(0x9)', '#14(0xb)', '#14(0x19)']);
      }
    }
  });

  it('leaves the bits below it as address', () => {
    const pa = 2n ** 48n - 0x1000n;
    expect(outcome(mapped(pa | P).unit({ maxPhysAddr: 48 }), VA, READ)).toBe(
      `pa 0x${pa.toString(16)}`,
    );
    const top = 2n ** 52n - 0x1000n;
    expect(outcome(mapped(top | P).unit({ maxPhysAddr: 52 }), VA, READ)).toBe(
      `pa 0x${top.toString(16)}`,
    );
  });

  it('does not concern bits 62:52', () => {
    const ignored = 0x7ff0_0000_0000_0000n;
    expect(outcome(mapped(0x9000n | P | ignored).unit(), VA, READ)).toBe('pa 0x9000');
  });

  it('takes a table outside RAM as all ones', () => {
    const tables = mapped(0x9000n | P);
    tables.set(VA, 21, 0x7000_0000n | OPEN_TABLE);
    expect(outcome(tables.unit(), VA, WRITE)).toBe('#14(0xb)');
  });
});

describe('the modes', () => {
  it('are 4- and 5-level paging only', () => {
    const tables = new TestTables();
    expect(() => tables.unit({ cr0: 0x33n })).toThrow(RangeError);
    expect(() => tables.unit({ cr4: 0n })).toThrow(RangeError);
    expect(() => tables.unit({ efer: 0n })).toThrow(RangeError);
    expect(() => tables.unit({ maxPhysAddr: 53 })).toThrow(RangeError);
    expect(() => tables.unit({ cpl: 4 })).toThrow(RangeError);
  });

  it('read the first table through CR3, whose low bits are not an address (table 4-12)', () => {
    const tables = mapped(0x9000n | P);
    expect(outcome(tables.unit({ cr3: 0x1fffn }), VA, READ)).toBe('pa 0x9000');
  });
});

describe('PCIDs (SDM Vol. 3A, 4.10.1)', () => {
  it('tag translations with CR3[11:0] only while CR4.PCIDE is 1', () => {
    const tables = new TestTables();
    expect(tables.unit({ cr3: 0x1abcn }).space).toBe(0);
    expect(tables.unit({ cr3: 0x1abcn, cr4: CR4_PAE | CR4_PCIDE }).space).toBe(0xabc);
  });

  it('are not matched against global pages, which need CR4.PGE (4.10.2.4)', () => {
    const tables = mapped(0x9000n | P | G);
    for (const [cr4, global] of [
      [CR4_PAE | CR4_PGE, true],
      [CR4_PAE, false],
    ] as const) {
      const unit = tables.unit({ cr4 });
      outcome(unit, VA, READ);
      expect(unit.global).toBe(global);
    }
    // G of an entry that names a table is ignored (table 4-17).
    const upper = mapped(0x9000n | P);
    upper.set(VA, 21, upper.get(VA, 21) | G);
    const unit = upper.unit();
    outcome(unit, VA, READ);
    expect(unit.global).toBe(false);
  });
});

describe('a walk without side effects', () => {
  it('changes no entry, and does not offer to write a clean page', () => {
    const tables = mapped(0x9000n | P | RW);
    const unit = tables.unit();
    expect(outcome(unit, VA, WRITE)).toBe('pa 0x9000');
    expect(tables.get(VA, 12)).toBe(0x9000n | P | RW);
    expect(unit.perms).toBe(PERM_R | PERM_X);
    expect(outcome(unit, VA, WRITE, true)).toBe('pa 0x9000');
    expect(tables.get(VA, 12)).toBe(0x9000n | P | RW | A | D);
    expect(tables.get(VA, 39) & A).toBe(A);
    expect(unit.perms).toBe(PERM_R | PERM_W | PERM_X);
  });

  it('is what inspect makes, told level by level', () => {
    const tables = mapped(0x8000_0000_0020_0000n | P | RW | PS | G | D, 21);
    const unit = tables.unit();
    const report = unit.inspect(virtAddr(VA + 0x123n), READ);
    expect(report).toMatchObject({ ok: true, pa: 0x234123, code: null });
    expect(report.levels.map((one) => [one.level, one.bits, one.verdict])).toEqual([
      ['PML4', 'P RW US', 'table'],
      ['PDPT', 'P RW US', 'table'],
      ['PD', 'P RW D PS G XD', '2M page'],
    ]);
    expect(tables.get(VA, 21) & A).toBe(0n);
  });

  it('tells refusals with their code', () => {
    const tables = new TestTables();
    tables.set(VA, 21, 0n);
    const report = tables.unit().inspect(virtAddr(VA), WRITE);
    expect(report.verdict).toBe('#PF(0x2): supervisor write, not-present page');
    expect(report.levels.at(-1)?.verdict).toBe('not present');
    tables.set(VA, 21, 0x9000n | P | (1n << 50n));
    expect(tables.unit().inspect(virtAddr(VA), READ).levels.at(-1)?.verdict).toBe('reserved bits');
    tables.set(VA, 21, 0x4000_0000n | P);
    expect(tables.unit().inspect(virtAddr(VA), READ).levels.at(-1)?.verdict).toBe('outside RAM');
    const odd = tables.unit().inspect(virtAddr(0x8000_0000_0000n), READ);
    expect(odd).toMatchObject({ ok: false, levels: [], code: 0n });
    expect(odd.verdict).toContain('#GP(0)');
  });
});

// ---- Properties, against the manual's rules written down a second time, with bigints and in its own order ----

interface Verdict {
  pa?: bigint;
  vector?: number;
  code?: bigint;
}

/** SDM Vol. 3A, 4.5 to 4.7, one sentence a line. */
function manual(tables: TestTables, state: X86PagingState, va: bigint, kind: AccessKind): Verdict {
  const width = state.cr4 & CR4_LA57 ? 57n : 48n;
  if (BigInt.asUintN(64, BigInt.asIntN(Number(width), va)) !== va) return { vector: 13, code: 0n };
  const user = state.cpl === 3 && !state.implicit;
  const nxe = (state.efer & EFER_NXE) !== 0n;
  const smep = (state.cr4 & CR4_SMEP) !== 0n;
  const base =
    (kind === WRITE ? 2n : 0n) | (user ? 4n : 0n) | (kind === FETCH && (nxe || smep) ? 0x10n : 0n);
  let entry = state.cr3;
  const all: bigint[] = [];
  let shift = width === 57n ? 48n : 39n;
  for (; ; shift -= 9n) {
    const mask = ((1n << BigInt(state.maxPhysAddr)) - 1n) & ~0xfffn;
    const at = Number(entry & mask) + 8 * Number((va >> shift) & 0x1ffn);
    if (!tables.ram.contains(at, 8)) return { vector: 14, code: base | 9n };
    entry = tables.ram.read64(at);
    if (!(entry & P)) return { vector: 14, code: base };
    let reserved = ((1n << 52n) - 1n) & ~((1n << BigInt(state.maxPhysAddr)) - 1n);
    if (!nxe) reserved |= XD;
    if (shift >= 39n) reserved |= PS;
    if (shift === 30n && !state.page1g) reserved |= PS;
    if (shift === 30n && entry & PS) reserved |= 0x3fff_e000n;
    if (shift === 21n && entry & PS) reserved |= 0x1f_e000n;
    if (entry & reserved) return { vector: 14, code: base | 9n };
    all.push(entry);
    if (shift === 12n || entry & PS) break;
  }
  const writable = all.every((one) => one & RW);
  const userPage = all.every((one) => one & US);
  const noFetch = all.some((one) => one & XD);
  const wp = (state.cr0 & CR0_WP) !== 0n;
  const smap = (state.cr4 & CR4_SMAP) !== 0n;
  let allowed: boolean;
  if (user) {
    allowed = userPage && (kind === READ || (kind === WRITE ? writable : !noFetch));
  } else if (kind === FETCH) {
    allowed = !noFetch && !(userPage && smep);
  } else {
    allowed = !(userPage && smap && (state.implicit || !state.ac));
    if (kind === WRITE && wp) allowed &&= writable;
  }
  let keyDenies = false;
  if (kind !== FETCH && state.cr4 & (userPage ? CR4_PKE : CR4_PKS)) {
    const n = (entry >> 59n) & 15n;
    const bits = (userPage ? state.pkru : state.pkrs) >> (2n * n);
    keyDenies = (bits & 1n) === 1n || (kind === WRITE && (bits & 2n) === 2n && (user || wp));
  }
  if (!allowed || keyDenies) return { vector: 14, code: base | 1n | (keyDenies ? 0x20n : 0n) };
  const page = (1n << shift) - 1n;
  return { pa: (entry & 0xf_ffff_ffff_f000n & ~page) | (va & page) };
}

/** `usual` with the given weight, the others with 1 each. */
const often = (usual: bigint, weight: number, ...others: bigint[]) =>
  fc.oneof({ arbitrary: fc.constant(usual), weight }, ...others.map((one) => fc.constant(one)));

/** Entry bits, biased towards what gets through. */
const flags = fc
  .tuple(
    often(P, 30, 0n),
    often(RW, 4, 0n),
    often(US, 6, 0n),
    fc.constantFrom(0n, A),
    fc.constantFrom(0n, D),
    often(0n, 20, PS),
    fc.constantFrom(0n, G),
    often(0n, 10, XD),
    fc.integer({ min: 0, max: 15 }).map(key),
    often(0n, 60, 1n << 13n, 1n << 20n, 1n << 29n, 1n << 45n, 1n << 51n),
  )
  .map((bits) => bits.reduce((sum, bit) => sum | bit, 0n));

const state = fc
  .record({
    cr0: fc.constantFrom(0x8000_0033n, 0x8001_0033n),
    bits: fc.subarray([CR4_SMEP, CR4_SMAP, CR4_PKE, CR4_PKS, CR4_PGE]),
    efer: fc.constantFrom(EFER_LMA, EFER_LMA | EFER_NXE),
    pkru: fc.bigInt({ min: 0n, max: 0xffff_ffffn }),
    pkrs: fc.bigInt({ min: 0n, max: 0xffff_ffffn }),
    cpl: fc.constantFrom(0, 3),
    ac: fc.boolean(),
    implicit: fc.constantFrom(false, false, true),
    maxPhysAddr: fc.constantFrom(36, 46, 52),
    page1g: fc.boolean(),
  })
  .map(({ bits, ...rest }) => ({
    ...rest,
    cr4: bits.reduce((sum, bit) => sum | bit, CR4_PAE),
  }));

const scene = fc.record({
  la57: fc.boolean(),
  state,
  leafShift: fc.constantFrom(12, 12, 21, 30),
  leaf: flags,
  frame: fc.bigInt({ min: 0n, max: 0x3fn }),
  upper: fc.array(flags, { minLength: 5, maxLength: 5 }),
  kind: fc.constantFrom<AccessKind>(READ, WRITE, FETCH),
  offset: fc.bigInt({ min: 0n, max: 0xfffn }),
});

function build({ la57, leafShift, leaf, frame, upper }: Parameters<typeof describeScene>[0]) {
  const tables = new TestTables(la57);
  const large = leafShift > 12 ? PS : 0n;
  tables.set(VA, leafShift, ((frame << BigInt(leafShift)) & 0xf_ffff_ffff_f000n) | leaf | large);
  // From the bottom up: what stands above may lead elsewhere.
  for (let shift = leafShift + 9, i = 0; shift <= tables.topShift; shift += 9, i++) {
    const table = tables.get(VA, shift) & ~OPEN_TABLE;
    tables.set(VA, shift, table | (upper[i] & ~((1n << 13n) | (1n << 20n))));
  }
  return tables;
}
type Scene = typeof scene extends fc.Arbitrary<infer T> ? T : never;
const describeScene = (one: Scene) => one;

describe('any entries in any state', () => {
  it('come to what the manual says', () => {
    const seen = new Map<string, number>();
    fc.assert(
      fc.property(scene, (one) => {
        const tables = build(one);
        const unit = tables.unit({ ...one.state, cr4: one.state.cr4 | (one.la57 ? CR4_LA57 : 0n) });
        const va = VA + one.offset;
        const wanted = manual(tables, unit.state, va, one.kind);
        const text =
          wanted.pa === undefined
            ? `#${wanted.vector}(0x${wanted.code!.toString(16)})`
            : `pa 0x${wanted.pa.toString(16)}`;
        expect(outcome(unit, va, one.kind)).toBe(text);
        const what = wanted.pa === undefined ? text : 'pa';
        seen.set(what, (seen.get(what) ?? 0) + 1);
      }),
      { numRuns: 20_000, seed: 1 },
    );
    // The generator must not have passed the interesting cases by.
    expect(seen.get('pa')).toBeGreaterThan(1000);
    expect(seen.size).toBeGreaterThan(20);
  });

  it('offer exactly the accesses that would pass', () => {
    fc.assert(
      fc.property(scene, (one) => {
        const tables = build(one);
        const unit = tables.unit({ ...one.state, cr4: one.state.cr4 | (one.la57 ? CR4_LA57 : 0n) });
        if (outcome(unit, VA, one.kind, true).startsWith('#')) return;
        const { perms, rights } = unit;
        for (const kind of KINDS) {
          const passes = outcome(unit, VA, kind).startsWith('pa');
          const dirty = rights >= 0x8000_0000;
          expect((perms & (1 << kind)) !== 0).toBe(passes && (kind !== WRITE || dirty));
        }
      }),
      { numRuns: 5000, seed: 2 },
    );
  });

  it('gain at most A, and D in the leaf of a write, and nothing on a refusal', () => {
    fc.assert(
      fc.property(scene, (one) => {
        const tables = build(one);
        const unit = tables.unit({ ...one.state, cr4: one.state.cr4 | (one.la57 ? CR4_LA57 : 0n) });
        const words = () => new BigUint64Array(tables.ram.bytes.buffer, 0, 0x8000 / 8).slice();
        const before = words();
        const passed = outcome(unit, VA, one.kind, true).startsWith('pa');
        const after = words();
        const used = unit.record;
        for (let at = 0; at < before.length; at++) {
          if (before[at] === after[at]) continue;
          expect(passed).toBe(true);
          const step = [...Array(used.length).keys()].find((i) => used.entryAddr(i) === at * 8)!;
          const leaf = step === used.length - 1;
          expect(after[at]).toBe(before[at] | A | (leaf && one.kind === WRITE ? D : 0n));
        }
        if (!passed) return;
        for (let i = 0; i < used.length; i++) expect(after[used.entryAddr(i) / 8] & A).toBe(A);
        if (one.kind === WRITE) expect(after[used.entryAddr(used.length - 1) / 8] & D).toBe(D);
      }),
      { numRuns: 5000, seed: 3 },
    );
  });

  it('are judged by a TLB entry as by a walk, whatever the privilege has become (4.10.2.2)', () => {
    fc.assert(
      fc.property(scene, state, fc.constantFrom<AccessKind>(...KINDS), (one, later, kind) => {
        const tables = build(one);
        const cr4 = one.state.cr4 | (one.la57 ? CR4_LA57 : 0n);
        const unit = tables.unit({ ...one.state, cr4 });
        outcome(unit, VA, one.kind, true);
        const { found, rights } = unit;
        if (!found) return;
        // What may change without invalidating anything; EFER.NXE and MAXPHYADDR are not among it.
        const { cr0, pkru, pkrs, cpl, ac, implicit } = later;
        Object.assign(unit.state, { cr0, pkru, pkrs, cpl, ac, implicit });
        unit.configure();
        const grant = unit.grant(rights, hi32(VA), lo32(VA), kind);
        const granted = { perms: unit.perms, code: unit.faultCode };
        const walked = outcome(unit, VA, kind).startsWith('pa');
        expect(grant !== REFUSED).toBe(walked);
        if (grant === REFUSED) expect(granted.code).toBe(unit.faultCode);
        if (grant === GRANTED) expect(granted.perms).toBe(unit.perms);
        expect(grant === REWALK).toBe(walked && kind === WRITE && rights < 0x8000_0000);
      }),
      { numRuns: 10_000, seed: 4 },
    );
  });
});

describe('what a refusal leaves for a TLB', () => {
  it('is a negative entry only where nothing was present', () => {
    const absent = new TestTables();
    absent.set(VA, 12, 0n);
    const unit = absent.unit();
    outcome(unit, VA, READ);
    expect(unit.found).toBe(false);
    expect(unit.grant(unit.rights, hi32(VA), lo32(VA), WRITE)).toBe(REFUSED);
    expect(unit.faultCode).toBe(2);
    const reserved = mapped(0x9000n | P | (1n << 50n)).unit();
    outcome(reserved, VA, READ);
    expect(reserved.rights).toBe(NO_RIGHTS);
    outcome(unit, 0x8000_0000_0000n, READ);
    expect(unit.rights).toBe(NO_RIGHTS);
  });
});

describe('canonical addresses (SDM Vol. 1, 3.3.7.1)', () => {
  it.each([
    [false, 47n],
    [true, 56n],
  ])('repeat their top bit: la57 %s, bit %i', (la57, top) => {
    const unit = new TestTables(la57).unit();
    for (let at = 0n; at < 64n; at++) {
      const low = 1n << at;
      const high = BigInt.asUintN(64, ~low);
      expect(unit.canonical(hi32(low))).toBe(at < top);
      expect(unit.canonical(hi32(high as VirtAddr))).toBe(at < top);
    }
    const edge = (1n << top) - 1n;
    expect(unit.canonical(hi32(edge))).toBe(true);
    expect(unit.canonical(hi32(BigInt.asUintN(64, ~edge)))).toBe(true);
  });
});
