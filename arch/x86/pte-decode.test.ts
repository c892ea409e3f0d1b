import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Field } from '../fields.ts';
import { decodeX86Pte, type X86Level, x86EntryBits } from './pte-decode.ts';

const LEVELS: X86Level[] = ['PML5', 'PML4', 'PDPT', 'PD', 'PT'];
const brief = (fields: readonly Field[]) =>
  fields.filter((one) => one.value !== 0n).map((one) => `${one.name}[${one.bits}] ${one.meaning}`);

describe('an entry', () => {
  it('of the kernel is told in the manual’s words', () => {
    expect(brief(decodeX86Pte(0x8000_0000_0123_4163n))).toEqual([
      'P[0] present: 4K page',
      'R/W[1] writable',
      'A[5] accessed',
      'D[6] dirty',
      'G[8] global',
      'address[51:12] frame at 0x1234000',
      'XD[63] no fetch',
    ]);
    expect(x86EntryBits(0x8000_0000_0123_4163n, 'PT')).toBe('P RW A D G XD');
  });

  it('that is not present has no other field', () => {
    expect(decodeX86Pte(0x1234_5678n).map((one) => [one.name, one.bits])).toEqual([
      ['P', '0'],
      ['ignored', '63:1'],
    ]);
  });

  it('means other things at other levels', () => {
    const entry = 0x4020_11e7n; // P RW US A, and bits 6, 7, 8, 12, 21, 30
    const named = (level: X86Level) => brief(decodeX86Pte(entry, level));
    expect(named('PT').slice(4)).toEqual([
      'D[6] dirty',
      'PAT[7] ',
      'G[8] global',
      'address[51:12] frame at 0x40201000',
    ]);
    expect(named('PD').join()).toContain('PAT[12]');
    expect(named('PD').join()).toContain('address[51:21] page at 0x40200000');
    expect(named('PDPT').join()).toContain('reserved[29:13] must be 0'); // bit 21
    expect(named('PML4').join()).toContain('PS[7] reserved: must be 0');
    expect(x86EntryBits(entry, 'PD')).toBe('P RW US A D PS G PAT');
    expect(x86EntryBits(entry, 'PML4')).toBe('P RW US A PS');
  });

  it('shows what this CPU reserves', () => {
    const entry = 0x800c_0000_0020_0081n;
    const text = brief(
      decodeX86Pte(entry, 'PDPT', { maxPhysAddr: 46, nxe: false, page1g: false }),
    ).join('; ');
    expect(text).toContain('reserved[51:46] must be 0');
    expect(text).toContain('PS[7] reserved: no 1G pages');
    expect(text).toContain('XD[63] reserved: EFER.NXE is 0');
    expect(brief(decodeX86Pte(entry, 'PDPT')).join()).not.toContain('reserved[51');
  });

  it('is covered by its fields, each bit once, and rebuilt from them', () => {
    const word = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
    const maxPhysAddr = fc.constantFrom(36, 48, 52);
    fc.assert(
      fc.property(word, fc.constantFrom(...LEVELS), maxPhysAddr, (entry, level, width) => {
        const rules = { maxPhysAddr: width, nxe: true, page1g: true };
        let next = 0;
        let rebuilt = 0n;
        for (const one of decodeX86Pte(entry, level, rules)) {
          const [high, low = high] = one.bits.split(':').map(Number);
          expect(low).toBe(next);
          next = high + 1;
          rebuilt |= one.value << BigInt(low);
        }
        expect(next).toBe(64);
        expect(rebuilt).toBe(entry);
      }),
      { numRuns: 2000, seed: 6 },
    );
  });
});
