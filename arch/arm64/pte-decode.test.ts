import { describe, expect, it } from 'vitest';
import type { Field } from '../fields.ts';
import { arm64EntryBits, arm64EntrySummary, decodeArm64Pte } from './pte-decode.ts';

const told = (fields: readonly Field[]) =>
  Object.fromEntries(fields.map((one) => [one.name, one.meaning]));

describe('a decoded descriptor', () => {
  it('of a kernel page', () => {
    expect(told(decodeArm64Pte(0x0068_0000_0123_4703n))).toMatchObject({
      type: 'page',
      AttrIndx: 'MAIR_EL1.Attr0',
      'AP[2:1]': 'EL1 read/write',
      SH: 'inner shareable',
      AF: 'accessed',
      nG: 'global',
      address: 'page at 0x1234000',
      DBM: 'dirty state in hardware, if TCR_EL1.HD is set',
      PXN: 'no execution at EL1',
      UXN: 'no execution at EL0',
    });
  });

  it('of a table', () => {
    expect(told(decodeArm64Pte(0x7800_0000_4567_8003n, 1))).toEqual({
      type: 'table',
      address: 'table at 0x45678000',
      PXNTable: 'no execution at EL1 below',
      UXNTable: 'no execution at EL0 below',
      APTable: 'read-only, no access at EL0',
      NSTable: '',
    });
  });

  const k64 = { granuleShift: 16, ds: false, lpa: false };
  const k16 = { granuleShift: 14, ds: false, lpa: false };
  const k4 = { granuleShift: 12, ds: false, lpa: false };
  it.each<[number, typeof k4, string]>([
    [0, k4, 'reserved at this level: invalid'],
    [1, k4, 'block'],
    [2, k4, 'block'],
    [3, k4, 'reserved at this level: invalid'],
    [1, k16, 'reserved at this level: invalid'],
    [2, k16, 'block'],
    [1, k64, 'reserved at this level: invalid'],
    [1, { ...k64, lpa: true }, 'block'],
    [0, { ...k4, ds: true }, 'block'],
    [1, { ...k16, ds: true }, 'block'],
  ])('of block type at level %i with %o is %s', (level, rules, meaning) => {
    expect(decodeArm64Pte(1n, level, rules)[0].meaning).toBe(meaning);
  });

  it('has the address of the block size', () => {
    const fields = decodeArm64Pte(0xffff_ffff_f701n, 2);
    expect(fields.find((one) => one.name === 'address')).toMatchObject({
      bits: '47:21',
      meaning: 'block at 0xffffffe00000',
    });
  });

  it('finds the upper address bits of LPA and LPA2', () => {
    expect(told(decodeArm64Pte(0x4567_a703n, 3, { ...k64, lpa: true })).address).toBe(
      'page at 0xa000045670000',
    );
    const wide = decodeArm64Pte((1n << 49n) | 0x4567_8603n, 3, { ...k4, ds: true });
    expect(told(wide).address).toBe('page at 0xa000045678000');
    expect(Object.keys(told(wide))).not.toContain('SH');
  });

  it('of an invalid entry has nothing to say', () => {
    expect(told(decodeArm64Pte(0x800n))).toEqual({
      type: 'invalid',
      ignored: 'the walker looks at no other bit',
    });
  });

  it('covers every bit at most once', () => {
    for (const [desc, level] of [
      [3n, 3],
      [3n, 1],
      [1n, 2],
    ] as const) {
      const seen = new Set<number>();
      for (const { bits, name } of decodeArm64Pte(desc, level)) {
        const [high, low = high] = bits.split(':').map(Number);
        for (let at = low; at <= high; at++) {
          // nT lies among the address bits that a block of level 2 or 1 does not use.
          expect(seen.has(at), name).toBe(false);
          seen.add(at);
        }
      }
    }
  });
});

describe('the short form', () => {
  it.each<[bigint, number, string]>([
    [0x0068_0000_0123_4703n, 3, 'AttrIndx0 SH3 AF DBM PXN UXN'],
    [0x0070_0000_0123_4fd7n, 3, 'AttrIndx5 AP[1] AP[2] SH3 AF nG Contiguous PXN UXN'],
    [0x7800_0000_4567_8003n, 2, 'PXNTable UXNTable APTable[0] APTable[1]'],
    [0x7800_0000_4567_8002n, 2, ''],
    [0x701n, 0, ''],
  ])('of %i at level %i', (desc, level, words) => {
    expect(arm64EntryBits(desc, level)).toBe(words);
  });

  it('of a summary names what has no attributes', () => {
    const words = [0x9f7f_f0003n, 0x701n, 0n, 0x703n].map((desc) => arm64EntrySummary(desc, 1));
    expect(words).toEqual(['table', 'AttrIndx0 SH3 AF', 'invalid', 'table']);
    expect(arm64EntrySummary(0x701n, 0)).toBe('invalid');
  });
});
