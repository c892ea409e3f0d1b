import { describe, expect, it } from 'vitest';
import { hi32, join, lo32 } from './bits.ts';

describe('hi32() and lo32()', () => {
  it.each([
    [0n, 0, 0],
    [0xffff_8000_8100_8000n, 0xffff_8000, 0x8100_8000],
    [0x1_0000_0000n, 1, 0],
    [-1n, 0xffff_ffff, 0xffff_ffff],
    [-0x8000_0000_0000_0000n, 0x8000_0000, 0],
    [0x5_1234_5678_9abc_def0n, 0x1234_5678, 0x9abc_def0],
  ])('split %x into unsigned halves, modulo 2^64', (word, hi, lo) => {
    expect([hi32(word), lo32(word)]).toEqual([hi, lo]);
    expect(join(hi, lo)).toBe(BigInt.asUintN(64, word));
  });
});
