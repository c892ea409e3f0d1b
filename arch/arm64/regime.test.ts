import { describe, expect, it } from 'vitest';
import { type PhysAddr, virtAddr } from '../../emulator/address.ts';
import { hi32 } from '../../emulator/bits.ts';
import { FETCH, PERM_R, PERM_W, PERM_X, READ, WRITE } from '../../emulator/engine.ts';
import { NO_RIGHTS } from '../../mm/paging.ts';
import * as types from './access-type.ts';

import { Arm64Paging, linuxPagingState } from './paging.ts';
import {
  AF,
  AP1,
  AP2,
  BLOCK,
  CONTIGUOUS,
  MAX,
  N1,
  NG,
  outcome,
  PAGE,
  SH_INNER,
  TestTables,
} from './test-tables.ts';

const VA = 0xffff_8000_8123_4000n;
const USER = 0x0000_7000_8123_4000n;
const KINDS = [READ, WRITE, FETCH] as const;
const LEAF = PAGE | AF | SH_INNER;
const PA = 0x4567_8000n;
const DS = 1n << 59n;
const IPS = (value: bigint) => value << 32n;

/** R, W and X as far as allowed, each with its ESR where refused. */
const matrix = (paging: Arm64Paging, va = VA) => KINDS.map((kind) => outcome(paging, va, kind));

function mapped(desc: bigint, va = VA, tableBits = 0n): TestTables {
  const tables = new TestTables();
  tables.set(va, desc, 3, tableBits);
  return tables;
}

const ok = `pa 0x${PA.toString(16)}`;

describe('the output address (D8.3)', () => {
  it.each<[number, number, number, string]>([
    [4096, 1, 30, '1G block'],
    [4096, 2, 21, '2M block'],
    [4096, 3, 12, '4K page'],
    [16384, 2, 25, '32M block'],
    [16384, 3, 14, '16K page'],
    [65536, 2, 29, '512M block'],
    [65536, 3, 16, '64K page'],
  ])(
    'with pages of %i bytes at level %i keeps %i bits of the address',
    (size, level, shift, name) => {
      const tables = new TestTables(size);
      const base = 2n ** BigInt(shift) * 3n;
      const va = VA | 0x123n;
      tables.set(va, base | (level === 3 ? PAGE : BLOCK) | AF, level);
      const unit = tables.unit();
      const offset = BigInt.asUintN(shift, va);
      expect(outcome(unit, va, READ)).toBe(`pa 0x${(base + offset).toString(16)}`);
      expect([unit.pageShift, unit.global]).toEqual([shift, true]);
      expect(unit.inspect(virtAddr(va), READ).levels.at(-1)!.verdict).toBe(name);
    },
  );

  it('of a contiguous entry is that of the entry itself', () => {
    expect(outcome(mapped(PA | LEAF | CONTIGUOUS).unit(), VA, READ)).toBe(ok);
  });

  it('ignores software bits, PBHA, NS, and bits 11:2 and 58:51 of table descriptors', () => {
    const tables = mapped(PA | LEAF | (0xffn << 55n) | (1n << 5n), VA, (0xffn << 51n) | 0xffcn);
    expect(matrix(tables.unit())).toEqual([ok, ok, ok]);
  });

  it('belongs to an ASID if nG is set', () => {
    const unit = mapped(PA | LEAF | NG).unit();
    outcome(unit, VA, READ);
    expect(unit.global).toBe(false);
  });
});

describe('FEAT_LPA: 52-bit addresses of the 64K granule', () => {
  const tables = new TestTables(65536);
  const desc = 0x4567_0000n | (0xan << 12n) | PAGE | AF;
  tables.set(VA, desc);
  const tcr = (ips: bigint) => (tables.unit().state.tcr & ~IPS(7n)) | IPS(ips);

  it('lie in bits 15:12', () => {
    const unit = tables.unit({ features: MAX, tcr: tcr(6n) });
    expect(outcome(unit, VA, READ)).toBe('pa 0xa000045674000');
  });

  it('are address size faults with a smaller TCR_EL1.IPS, and ignored by a CPU of 48 bits', () => {
    expect(outcome(tables.unit({ features: MAX, tcr: tcr(5n) }), VA, READ)).toBe('0x96000003');
    expect(outcome(tables.unit({ features: N1, tcr: tcr(6n) }), VA, READ)).toBe('pa 0x45674000');
  });

  it('allow a 4T block at level 1', () => {
    const blocks = new TestTables(65536);
    blocks.set(VA, BLOCK | AF | (1n << 12n), 1);
    const big = blocks.unit({ features: MAX, tcr: tcr(6n) });
    expect(outcome(big, VA, READ)).toBe(
      `pa 0x${(2n ** 48n + (VA & (2n ** 42n - 1n))).toString(16)}`,
    );
    expect(outcome(blocks.unit({ features: N1 }), VA, READ)).toBe('0x96000005');
  });

  it('are those of the block alone: lower bits of its descriptor do not count', () => {
    const blocks = new TestTables(65536);
    blocks.set(VA, BLOCK | AF | (1n << 33n), 1);
    const small = blocks.unit({ features: MAX, tcr: tcr(0n) });
    expect(outcome(small, VA, READ)).toBe(`pa 0x${(VA & (2n ** 42n - 1n)).toString(16)}`);
  });

  it('reach the table base through TTBR bits 5:2', () => {
    const state = tables.unit({ features: MAX, tcr: tcr(6n) }).state;
    const high = tables.unit({ ...state, ttbr1: state.ttbr1 | (1n << 2n) });
    // The table would lie at 2^48: no RAM there, but no address size fault either.
    expect(outcome(high, VA, READ)).toBe('0x96000015');
    const narrow = tables.unit({ ...state, tcr: tcr(5n), ttbr1: state.ttbr1 | (1n << 2n) });
    expect(outcome(narrow, VA, READ)).toBe('0x96000003');
  });
});

describe('FEAT_LPA2: TCR_EL1.DS with the 4K granule', () => {
  const tables = new TestTables();
  // Level -1 of a 52-bit address: 16 entries; all bits of VA above 47 are 1.
  const minusOne = tables.root + 0x8000;
  tables.ram.write64(minusOne + 8 * 15, BigInt(tables.root) | PAGE);
  const state = () => {
    const { tcr } = tables.unit().state;
    const t1sz = (tcr & ~(63n << 16n)) | (12n << 16n);
    return { features: MAX, tcr: (t1sz & ~IPS(7n)) | DS | IPS(6n), ttbr1: BigInt(minusOne) };
  };
  tables.set(VA, PA | PAGE | AF | (2n << 8n) | (1n << 49n));

  it('walks from level -1, with OA[51:50] in bits 9:8 and the shareability from TCR_EL1.SH1', () => {
    const unit = tables.unit(state());
    expect(outcome(unit, VA, READ)).toBe('pa 0xa000045678000');
    expect(unit.shareability).toBe(3);
    const levels = unit.inspect(virtAddr(VA), READ).levels.map((one) => one.level);
    expect(levels).toEqual(['L-1', 'L0', 'L1', 'L2', 'L3']);
  });

  it('has fault codes of level -1', () => {
    const other = VA & ~(1n << 51n);
    expect(outcome(tables.unit(state()), other, READ)).toBe('0x9600002b');
    tables.ram.write64(minusOne + 8 * 7, (1n << 48n) | PAGE);
    const { tcr, ...rest } = state();
    const small = { ...rest, tcr: (tcr & ~IPS(7n)) | IPS(5n) };
    expect(outcome(tables.unit(small), other, READ)).toBe('0x96000029');
    expect(outcome(tables.unit({ ...small, ttbr1: 0n }), other, READ)).toBe('0x96000013');
  });

  it('has 512G blocks at level 0, and is RES0 without the feature', () => {
    const big = new TestTables();
    big.set(VA, BLOCK | AF | (1n << 39n), 0);
    const tcr = big.unit().state.tcr | DS;
    const wanted = 2n ** 39n + (VA & (2n ** 39n - 1n));
    expect(outcome(big.unit({ tcr, features: MAX }), VA, READ)).toBe(`pa 0x${wanted.toString(16)}`);
    expect(outcome(big.unit({ tcr }), VA, READ)).toBe('0x96000004');
  });
});

describe('the address space (D8.2, D8.9)', () => {
  const tables = mapped(PA | LEAF);
  tables.set(USER, PA | LEAF | AP1 | AP2);
  const { tcr } = tables.unit().state;
  const TBI1 = 1n << 38n;
  const tagged = VA ^ (0x5an << 56n);

  it('ignores a tag with TBI, and otherwise takes it for an address out of range', () => {
    expect(outcome(tables.unit({ tcr: tcr | TBI1 }), tagged, READ)).toBe(ok);
    expect(outcome(tables.unit({ tcr: tcr | TBI1 }), tagged, FETCH)).toBe(ok);
    expect(outcome(tables.unit({ tcr: tcr & ~TBI1 }), tagged, READ)).toBe('0x96000004');
  });

  it('counts the tag of a fetch with TBID, on a CPU with pointer authentication', () => {
    const tbid = tcr | TBI1 | (1n << 52n);
    const unit = tables.unit({ tcr: tbid, features: MAX });
    expect(outcome(unit, tagged, READ)).toBe(ok);
    expect(outcome(unit, tagged, FETCH)).toBe('0x86000004');
    expect(outcome(tables.unit({ tcr: tbid }), tagged, FETCH)).toBe(ok);
    expect([unit.untag(hi32(tagged), READ), unit.untag(hi32(tagged), FETCH)]).toEqual([
      hi32(VA),
      hi32(tagged),
    ]);
  });

  it.each([
    [16n, 0xffff_0000_0000_0000n, 0xfffe_ffff_ffff_ffffn],
    [25n, 0xffff_ff80_0000_0000n, 0xffff_ff7f_ffff_ffffn],
    [39n, 0xffff_ffff_fe00_0000n, 0xffff_ffff_fdff_ffffn],
  ])('of T1SZ %i begins at %i', (t1sz, first, outside) => {
    const unit = tables.unit({ tcr: (tcr & ~(63n << 16n)) | (t1sz << 16n) });
    const level = (va: bigint) => {
      outcome(unit, va, READ);
      return unit.record.length;
    };
    expect(level(first)).toBeGreaterThan(0);
    expect(level(outside)).toBe(0);
    expect(unit.faultCode).toBe(0x9600_0004);
  });

  it('of a half is closed by EPD', () => {
    const epd1 = tables.unit({ tcr: tcr | (1n << 23n) });
    expect(outcome(epd1, VA, READ)).toBe('0x96000004');
    expect(outcome(epd1, USER, READ)).toBe(ok);
  });

  it('of a half is closed to EL0, and to what is made as EL0, by E0PD', () => {
    const unit = (change = {}) => tables.unit({ tcr: tcr | (1n << 55n), features: MAX, ...change });
    expect(outcome(unit({ el: 0 }), USER, READ)).toBe('0x92000004');
    expect(outcome(unit({ el: 0 }), USER, FETCH)).toBe('0x82000004');
    expect(outcome(unit(), USER, READ)).toBe(ok);
    const ldtr = types.UNPRIVILEGED_LOAD;
    expect(outcome(unit(), USER, READ, false, ldtr)).toBe('0x96000004');
    expect(outcome(unit({ uao: true }), USER, READ, false, ldtr)).toBe(ok);
    expect(outcome(unit({ el: 0, features: N1 }), USER, READ)).toBe(ok);
  });

  it('tags the TLB with the ASID of the TTBR that A1 names, in 8 or 16 bits', () => {
    const asid = (value: bigint, ttbr0: bigint, ttbr1: bigint) =>
      tables.unit({ tcr: value, ttbr0: ttbr0 << 48n, ttbr1: ttbr1 << 48n }).space;
    const [A1, AS] = [1n << 22n, 1n << 36n];
    const bare = tcr & ~(A1 | AS);
    expect(asid(bare | A1 | AS, 0x1234n, 0x5678n)).toBe(0x5678);
    expect(asid(bare | AS, 0x1234n, 0x5678n)).toBe(0x1234);
    expect(asid(bare, 0x1234n, 0x5678n)).toBe(0x34);
  });

  it('has a table base aligned to the size of the first table (AArch64.S1TTBaseAddress())', () => {
    // T1SZ 39: 25 bits, level 2, 16 entries, 128 bytes. CnP and the bits below do not count.
    const small = new TestTables();
    const va = 0xffff_ffff_fe00_0000n;
    small.ram.write64(small.root + 0x80, PA | BLOCK | AF);
    const t1sz39 = (tcr & ~(63n << 16n)) | (39n << 16n);
    const at = (low: bigint) =>
      outcome(small.unit({ tcr: t1sz39, ttbr1: BigInt(small.root) + low }), va, READ);
    const wanted = `pa 0x${(PA & ~0x1f_ffffn).toString(16)}`;
    expect([at(0x80n), at(0x81n), at(0xfen)]).toEqual([wanted, wanted, wanted]);
    expect(at(0x7en)).toBe('0x96000006');
  });
});

describe('with the MMU off (AArch64.S1DisabledOutput())', () => {
  const tables = mapped(0n);
  const off = (change = {}) => {
    const unit = tables.unit();
    return tables.unit({ sctlr: unit.state.sctlr & ~1n, ...change });
  };

  it('maps flat, up to the physical address size', () => {
    const unit = off();
    expect(unit.translating).toBe(false);
    expect(outcome(unit, 0x1234_5678n, WRITE)).toBe('pa 0x12345678');
    expect(unit.perms).toBe(PERM_R | PERM_W | PERM_X);
    expect(outcome(unit, 2n ** 48n, READ)).toBe('0x96000000');
    expect(outcome(off({ features: MAX }), 2n ** 48n, READ)).toBe('pa 0x1000000000000');
    expect(outcome(unit, VA, READ)).toBe('0x96000000');
  });

  it('drops the tag of an address with TBI0', () => {
    expect(outcome(off(), (0xa5n << 56n) | 0x1000n, READ)).toBe('pa 0x1000');
    const tcr = tables.unit().state.tcr & ~(1n << 37n);
    expect(outcome(off({ tcr }), (0xa5n << 56n) | 0x1000n, READ)).toBe('0x96000000');
  });

  it('leaves no rights for a TLB', () => {
    const unit = off();
    outcome(unit, 0x1000n, READ);
    expect(unit.rights).toBe(NO_RIGHTS);
  });
});

describe('the state of a Linux kernel', () => {
  it.each([
    [4096, 0x9600_0004],
    [16384, 0x9600_0004],
    [65536, 0x9600_0005],
  ])('with pages of %i bytes has an empty lower half', (pageSize, esr) => {
    const tables = new TestTables(pageSize);
    tables.set(VA, PA | LEAF);
    const config = { pageSize, hafdbs: false, pti: false };
    const state = linuxPagingState(tables.root as PhysAddr, config);
    const unit = new Arm64Paging(tables.ram, state);
    expect(outcome(unit, 0n, READ)).toBe(`0x${esr.toString(16)}`);
    expect(outcome(unit, 0xffff_ffff_f000n, READ)).toBe(`0x${esr.toString(16)}`);
    expect(outcome(unit, VA, READ)).toMatch(/^pa/);
  });

  it('is refused for an unknown page size or exception level', () => {
    const config = { pageSize: 8192, hafdbs: false, pti: false };
    expect(() => linuxPagingState(0 as PhysAddr, config)).toThrow(RangeError);
    expect(() => new TestTables().unit({ el: 2 })).toThrow(RangeError);
  });
});
