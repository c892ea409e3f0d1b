import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type VirtAddr, virtAddr } from '../../emulator/address.ts';
import { hi32, lo32 } from '../../emulator/bits.ts';
import { type AccessKind, FETCH, READ, WRITE } from '../../emulator/engine.ts';
import { Ram } from '../../emulator/ram.ts';
import { GRANTED, REFUSED, REWALK } from '../../mm/paging.ts';
import * as types from './access-type.ts';
import { ARM64_CPUS } from './features.ts';
import { Arm64Paging, type Arm64PagingState } from './paging.ts';
import { type AccDesc, type Reference, s1Translate } from './test-pseudocode.ts';

// Whole random configurations: registers, features, tables, accesses. The paging unit is compared with the slow walker of
// test-pseudocode.ts, and with itself where two ways must lead to the same end.

const RAM_BASE = 0x4000_0000;
const TABLES = 8;
const TABLE_SIZE = 0x1_0000;

interface Case {
  readonly state: Arm64PagingState;
  readonly va: bigint;
  readonly descriptors: readonly bigint[];
  readonly access: number;
  readonly unaligned: boolean;
}

const accdesc = (part: Partial<AccDesc>): Omit<AccDesc, 'el' | 'aligned'> => ({
  acctype: 'GPR',
  read: false,
  write: false,
  atomicRW: false,
  pan: true,
  invalidate: false,
  ...part,
});

type ElRule = 'present' | 'unprivileged' | 0 | 1;

/** Every access type with the pseudocode's descriptor of it. */
const ACCESSES: readonly [types.AccessType, AccessKind, ElRule, Omit<AccDesc, 'el' | 'aligned'>][] =
  [
    [types.LOAD, READ, 'present', accdesc({ read: true })],
    [types.STORE, WRITE, 'present', accdesc({ write: true })],
    [types.IFETCH, FETCH, 'present', accdesc({ acctype: 'IFETCH', pan: false })],
    [types.ATOMIC, WRITE, 'present', accdesc({ read: true, write: true, atomicRW: true })],
    [types.UNPRIVILEGED_LOAD, READ, 'unprivileged', accdesc({ read: true })],
    [types.UNPRIVILEGED_STORE, WRITE, 'unprivileged', accdesc({ write: true })],
    [types.DC_ZERO, WRITE, 'present', accdesc({ acctype: 'DCZero', write: true })],
    [types.DC_CLEAN, READ, 'present', accdesc({ acctype: 'DC', pan: false, write: true })],
    [
      types.DC_INVALIDATE,
      READ,
      'present',
      accdesc({ acctype: 'DC', pan: false, write: true, invalidate: true }),
    ],
    [types.AT_S1E1R, READ, 1, accdesc({ acctype: 'AT', read: true, pan: false })],
    [types.AT_S1E1W, READ, 1, accdesc({ acctype: 'AT', write: true, pan: false })],
    [types.AT_S1E0R, READ, 0, accdesc({ acctype: 'AT', read: true, pan: false })],
    [types.AT_S1E0W, READ, 0, accdesc({ acctype: 'AT', write: true, pan: false })],
    [types.AT_S1E1RP, READ, 1, accdesc({ acctype: 'AT', read: true })],
    [types.AT_S1E1WP, READ, 1, accdesc({ acctype: 'AT', write: true })],
  ];

const word64 = fc.bigInt(0n, 2n ** 64n - 1n);
/** True once in `n`. */
const rarely = (n: number) => fc.integer({ min: 1, max: n }).map((roll) => roll === 1);
const bits = (at: number, on: boolean) => (on ? 1n << BigInt(at) : 0n);

/** Descriptors that lead on: mostly tables and pages that stay in range, with every other bit at random. */
const descriptor = fc
  .record({
    noise: word64,
    table: fc.integer({ min: 0, max: TABLES - 1 }),
    type: fc.integer({ min: 0, max: 39 }).map((roll) => [0n, 2n, 1n, 1n, 1n, 1n, 1n][roll] ?? 3n),
    wild: rarely(25),
    af: rarely(5),
    calm: fc.boolean(),
  })
  .map(({ noise, table, type, wild, af, calm }) => {
    const address = wild ? noise & 0x3_ffff_ffff_f000n : BigInt(RAM_BASE + table * TABLE_SIZE);
    const hierarchy = calm ? 0xf800_0000_0000_0000n : 0n;
    // Bits 15:12 and 9:8 are address bits in some formats: keep them clear where the address is to be tame.
    const attributes = noise & ~hierarchy & 0xfffc_0000_0000_0ffcn & (wild ? -1n : ~0x300n);
    return (attributes & ~(1n << 10n)) | address | type | bits(10, !af);
  });

const half = (features: Arm64PagingState['features']) =>
  fc.record({
    txsz: fc.oneof(
      { weight: 9, arbitrary: fc.integer({ min: 16, max: features.ttst ? 47 : 39 }) },
      { weight: 1, arbitrary: fc.integer({ min: 0, max: 63 }) },
    ),
    tg: fc.constantFrom('4K', '16K', '64K').filter((tg) => features.granules.includes(tg as never)),
    epd: rarely(20),
    tbi: fc.boolean(),
    tbid: fc.boolean(),
    hpd: fc.boolean(),
    e0pd: rarely(10),
    ttbr: fc.record({ noise: word64, wild: rarely(20), low: fc.integer({ min: 0, max: 63 }) }),
  });

const TG0 = { '4K': 0n, '64K': 1n, '16K': 2n } as Record<string, bigint>;
const TG1 = { '16K': 1n, '4K': 2n, '64K': 3n } as Record<string, bigint>;

const aState: fc.Arbitrary<Arm64PagingState> = fc
  .constantFrom(...Object.values(ARM64_CPUS))
  .chain((features) =>
    fc
      .record({
        lower: half(features),
        upper: half(features),
        m: rarely(20),
        c: fc.boolean(),
        wxn: fc.boolean(),
        ips: fc.constantFrom(0n, 1n, 2n, 3n, 4n, 5n, 5n, 5n, 6n, 7n),
        ha: fc.boolean(),
        hd: fc.boolean(),
        ds: fc.boolean(),
        a1as: fc.bigInt(0n, 3n),
        mair: fc.constantFrom(0xffee_0cbb_0444_00ffn, 0xff_ff_ff_ff_ff_ff_ff_ffn, 0n),
        sh: fc.bigInt(0n, 15n),
        el: fc.integer({ min: 0, max: 1 }),
        pan: fc.boolean(),
        uao: fc.boolean(),
      })
      .map((one) => {
        const { lower, upper } = one;
        const ttbr = ({ noise, wild, low }: typeof lower.ttbr) =>
          (noise & 0xffff_0000_0000_0000n) |
          (wild ? noise & 0xffff_ffff_ffffn : BigInt(RAM_BASE + low));
        return {
          sctlr: bits(0, !one.m) | bits(2, one.c) | bits(19, one.wxn),
          tcr:
            BigInt(lower.txsz) |
            (BigInt(upper.txsz) << 16n) |
            bits(7, lower.epd) |
            bits(23, upper.epd) |
            ((one.sh & 3n) << 12n) |
            ((one.sh >> 2n) << 28n) |
            (TG0[lower.tg] << 14n) |
            (TG1[upper.tg] << 30n) |
            ((one.a1as & 1n) << 22n) |
            ((one.a1as >> 1n) << 36n) |
            (one.ips << 32n) |
            bits(37, lower.tbi) |
            bits(38, upper.tbi) |
            bits(39, one.ha) |
            bits(40, one.hd) |
            bits(41, lower.hpd) |
            bits(42, upper.hpd) |
            bits(51, lower.tbid) |
            bits(52, upper.tbid) |
            bits(55, lower.e0pd) |
            bits(56, upper.e0pd) |
            bits(59, one.ds),
          mair: one.mair,
          ttbr0: ttbr(lower.ttbr),
          ttbr1: ttbr(upper.ttbr),
          el: one.el,
          pan: one.pan,
          uao: one.uao,
          features,
        };
      }),
  );

/** Addresses that mostly lie in the range of their half, with or without a tag. */
const aVa = (state: Arm64PagingState) =>
  fc
    .record({
      noise: word64,
      upper: fc.boolean(),
      near: fc.integer({ min: 0, max: 5 }),
      tag: fc.bigInt(0n, 255n),
      tagged: rarely(4),
    })
    .map(({ noise, upper, near, tag, tagged }) => {
      const txsz = Number((state.tcr >> (upper ? 16n : 0n)) & 63n);
      const offset = BigInt.asUintN(near === 0 ? 52 : 64 - txsz, noise);
      const va = BigInt.asUintN(64, upper ? ~offset : offset);
      return tagged ? (va & (2n ** 56n - 1n)) | (tag << 56n) : va;
    });

const aCase: fc.Arbitrary<Case> = aState.chain((state) =>
  fc.record({
    state: fc.constant(state),
    va: aVa(state),
    descriptors: fc.array(descriptor, { minLength: 6, maxLength: 6 }),
    access: fc.nat(ACCESSES.length - 1),
    unaligned: rarely(4),
  }),
);

const ram = new Ram(RAM_BASE, TABLES * TABLE_SIZE);

/** Where {@link place} has put descriptors. */
let placed: number[] = [];

/** Puts the descriptors of a case where its walk reads, one after the other, in otherwise empty tables. */
function place({ state, va, descriptors, access }: Case): void {
  for (const at of placed) ram.write64(at, 0n);
  placed = [];
  const paging = new Arm64Paging(ram, state);
  paging.access = ACCESSES[access][0];
  for (const one of descriptors) {
    paging.walk(hi32(va), lo32(va), ACCESSES[access][1], false);
    const { length } = paging.record;
    const at = length === 0 ? -1 : paging.record.entryAddr(length - 1);
    if (length === 0 || !ram.contains(at, 8) || ram.read64(at) !== 0n) return;
    ram.write64(at, one);
    placed.push(at);
  }
}

const STATUS = { AddressSize: 0, Translation: 4, AccessFlag: 8, Permission: 12 } as const;

/** DFSC of a reference fault. */
function fscOf({ status, level }: Extract<Reference, { level: number }>): number {
  if (status === 'Alignment') return 0x21;
  if (status === 'Abort') return level < 0 ? 0x13 : 0x14 + level;
  if (level < 0) return status === 'AddressSize' ? 0x29 : 0x2b;
  return STATUS[status] + level;
}

const elOf = (rule: ElRule, { el, uao, features }: Arm64PagingState): 0 | 1 => {
  if (rule === 'present') return el as 0 | 1;
  if (rule === 'unprivileged') return features.uao && uao ? (el as 0 | 1) : 0;
  return rule;
};

const snapshot = () => Buffer.from(ram.bytes);

describe('random configurations', () => {
  it('translate as the pseudocode does', () => {
    const seen = new Map<string, number>();
    fc.assert(
      fc.property(aCase, (one) => {
        place(one);
        const [type, kind, rule, part] = ACCESSES[one.access];
        const acc: AccDesc = { ...part, el: elOf(rule, one.state), aligned: !one.unaligned };
        const wanted = s1Translate(ram, one.state, one.va, acc);
        const paging = new Arm64Paging(ram, one.state);
        paging.access = type;
        paging.unaligned = one.unaligned && part.acctype === 'GPR';
        const ok = paging.walk(hi32(one.va), lo32(one.va), kind, true);
        const name = String(wanted.status);
        seen.set(name, (seen.get(name) ?? 0) + 1);
        if (wanted.status !== null) {
          expect(ok).toBe(false);
          expect(paging.faultStatus).toBe(fscOf(wanted));
          const fetch = part.acctype === 'IFETCH';
          expect(paging.faultVector).toBe((fetch ? 0x20 : 0x24) + one.state.el);
          const WnR = !fetch && (wanted.write || type.CM);
          expect((paging.faultCode >>> 6) & 1).toBe(WnR ? 1 : 0);
          return;
        }
        expect(ok).toBe(true);
        expect(BigInt(paging.pa)).toBe(wanted.pa);
        expect([paging.memAttr, paging.shareability]).toEqual([wanted.attr, wanted.sh]);
        if (wanted.descaddr >= 0n) {
          expect(ram.read64(Number(wanted.descaddr))).toBe(wanted.newDesc);
        }
      }),
      { numRuns: 8000 },
    );
    // The cases would prove little if most of them ended early.
    expect(seen.get('null')).toBeGreaterThan(600);
    for (const status of ['Translation', 'AddressSize', 'AccessFlag', 'Permission', 'Alignment']) {
      expect(seen.get(status), status).toBeGreaterThan(25);
    }
  });

  it('change nothing without side effects, and answer the same', () => {
    fc.assert(
      fc.property(aCase, (one) => {
        place(one);
        const paging = new Arm64Paging(ram, one.state);
        paging.access = ACCESSES[one.access][0];
        const kind = ACCESSES[one.access][1];
        const before = snapshot();
        const answer = () => [
          paging.walk(hi32(one.va), lo32(one.va), kind, false),
          paging.pa,
          paging.faultCode,
        ];
        const first = answer();
        expect(answer()).toEqual(first);
        expect(snapshot().equals(before)).toBe(true);
        expect(paging.walk(hi32(one.va), lo32(one.va), kind, true)).toBe(first[0]);
      }),
      { numRuns: 300 },
    );
  });

  it('are told as they are walked', () => {
    fc.assert(
      fc.property(aCase, fc.constantFrom(READ, WRITE, FETCH), (one, kind) => {
        place(one);
        const paging = new Arm64Paging(ram, one.state);
        const report = paging.inspect(one.va as VirtAddr, kind);
        const ok = paging.walk(hi32(one.va), lo32(one.va), kind, false);
        expect(report.ok).toBe(ok);
        expect(report.pa).toBe(ok ? paging.pa : null);
        expect(report.code).toBe(ok ? null : BigInt(paging.faultCode));
        expect(report.levels.map((level) => level.entry)).toEqual(
          Array.from({ length: paging.record.length }, (_, step) => paging.record.entry(step)),
        );
      }),
      { numRuns: 1000 },
    );
  });

  it('are judged from a TLB entry as by a walk, at any privilege', () => {
    fc.assert(
      fc.property(aCase, fc.nat(14), fc.boolean(), fc.boolean(), (one, other, pan, uao) => {
        place(one);
        const paging = new Arm64Paging(ram, one.state);
        paging.access = ACCESSES[one.access][0];
        if (!paging.walk(hi32(one.va), lo32(one.va), ACCESSES[one.access][1], true)) return;
        if (!paging.translating) return;
        const { rights, pa } = paging;
        const kept = paging.untag(hi32(one.va), ACCESSES[one.access][1]);
        // What is cached stays; privilege and PSTATE change.
        Object.assign(paging.state, { el: one.state.el ^ 1, pan, uao });
        paging.configure();
        const [type, kind] = ACCESSES[other];
        paging.access = type;
        const bare = paging.untag(hi32(one.va), kind);
        // TBID: the tag of a fetch may count, and then its address is another.
        if (bare !== kept) return;
        const grant = paging.grant(rights, bare, lo32(one.va), kind);
        const [perms, code] = [paging.perms, paging.faultCode];
        const fresh = new Arm64Paging(ram, paging.state);
        fresh.access = type;
        const ok = fresh.walk(hi32(one.va), lo32(one.va), kind, false);
        expect(grant === REFUSED).toBe(!ok);
        if (!ok) {
          expect(code).toBe(fresh.faultCode);
          return;
        }
        expect(fresh.pa).toBe(pa);
        expect(grant).toBe(type.dirties && rights < 0x8000_0000 ? REWALK : GRANTED);
        expect(perms).toBe(fresh.perms);
      }),
      { numRuns: 3000 },
    );
  });

  it('are untagged to an address that walks alike', () => {
    fc.assert(
      fc.property(aCase, fc.constantFrom(READ, FETCH), (one, kind) => {
        place(one);
        const paging = new Arm64Paging(ram, one.state);
        const ok = paging.walk(hi32(one.va), lo32(one.va), kind, false);
        const { pa } = paging;
        const bare = paging.untag(hi32(one.va), kind);
        expect(paging.walk(bare, lo32(one.va), kind, false)).toBe(ok);
        if (ok) expect(paging.pa).toBe(pa);
        if (ok && paging.translating) {
          const top = (BigInt(bare) << 32n) >> 52n;
          expect(virtAddr(top)).toBe(top);
          expect([0n, 0xfffn]).toContain(top);
        }
      }),
      { numRuns: 1000 },
    );
  });
});
