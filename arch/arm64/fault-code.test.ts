import { describe, expect, it } from 'vitest';
import type { Field } from '../fields.ts';
import {
  dataAbort,
  decodeEsr,
  describeEsr,
  FSC_ADDRESS_SIZE,
  FSC_TRANSLATION,
  FSC_WALK_ABORT,
  faultStatus,
  faultStatusName,
  instructionAbort,
  pcAlignmentFault,
} from './fault-code.ts';
import { exceptionClass } from './syndrome.ts';

/** Every field of a tree by its path, as far as it is not 0. */
function flat(fields: readonly Field[], path = ''): Record<string, string> {
  const found: Record<string, string> = {};
  for (const one of fields) {
    const name = `${path}${one.name}`;
    if (one.value !== 0n && one.fields.length === 0) {
      found[name] = one.meaning === '' ? `0x${one.value.toString(16)}` : one.meaning;
    }
    Object.assign(found, flat(one.fields, `${name}.`));
  }
  return found;
}

const EC = (ec: number) => BigInt(ec) << 26n;
const IL = 1n << 25n;

describe('a built syndrome', () => {
  it.each([
    [dataAbort(false, 0x07, true, false), 0x9600_0047],
    [dataAbort(false, 0x07, false, false), 0x9600_0007],
    [dataAbort(true, 0x0f, true, true), 0x9200_014f],
    [instructionAbort(false, 0x0f), 0x8600_000f],
    [instructionAbort(true, 0x04), 0x8200_0004],
    [pcAlignmentFault(), 0x8a00_0000],
  ])('%i', (built, wanted) => {
    expect(built).toBe(wanted);
  });

  it('has codes of its own for level -1', () => {
    const kinds = [FSC_ADDRESS_SIZE, FSC_TRANSLATION, FSC_WALK_ABORT];
    expect(kinds.map((kind) => faultStatus(kind, -1))).toEqual([0x29, 0x2b, 0x13]);
    expect(kinds.map((kind) => faultStatus(kind, 3))).toEqual([0x03, 0x07, 0x17]);
  });
});

describe('fault status names (D24.2.40)', () => {
  it.each([
    [0x00, 'level 0 address size fault'],
    [0x07, 'level 3 translation fault'],
    [0x09, 'level 1 access flag fault'],
    [0x0e, 'level 2 permission fault'],
    [0x10, 'synchronous External abort, not on a table walk'],
    [0x13, 'level -1 synchronous External abort on a table walk'],
    [0x1f, 'level 3 synchronous parity or ECC error on a table walk'],
    [0x21, 'alignment fault'],
    [0x29, 'level -1 address size fault'],
    [0x2b, 'level -1 translation fault'],
    [0x30, 'TLB conflict abort'],
    [0x3f, 'reserved'],
  ])('0x%i', (fsc, name) => {
    expect(faultStatusName(fsc)).toBe(name);
  });

  it('have no two codes of one name', () => {
    const names = Array.from({ length: 64 }, (_, fsc) => faultStatusName(fsc));
    const used = names.filter((name) => name !== 'reserved');
    expect(new Set(used).size).toBe(used.length);
    const reserved = names.flatMap((name, fsc) => (name === 'reserved' ? [fsc] : []));
    expect(reserved).toEqual([
      0x19, 0x20, 0x2d, 0x2e, 0x2f, 0x32, 0x33, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3f,
    ]);
  });
});

describe('a decoded syndrome', () => {
  it('of a kernel write to a hole', () => {
    expect(flat(decodeEsr(0x9600_0047n))).toEqual({
      EC: 'Data Abort from the current EL',
      IL: '32-bit instruction, or no instruction',
      'ISS.WnR': 'write',
      'ISS.DFSC': 'level 3 translation fault',
    });
    expect(describeEsr(0x9600_0047n)).toBe(
      'Data Abort from the current EL, write, level 3 translation fault',
    );
  });

  it('tells what ISV makes valid, and ISS2', () => {
    const esr = 0x9200_0047n | (1n << 24n) | (2n << 22n) | (5n << 16n) | (1n << 15n) | (1n << 37n);
    expect(flat(decodeEsr(esr))).toMatchObject({
      'ISS2.DirtyBit': 'dirty state',
      'ISS.SAS': '4-byte access',
      'ISS.SRT': 'x5',
      'ISS.SF': '64-bit register',
    });
    const without = decodeEsr(esr & ~(1n << 24n));
    expect(Object.keys(flat(without))).not.toContain('ISS.SRT');
  });

  it('names an External abort’s SET, FnV and EA, and cache maintenance', () => {
    const esr = EC(0x25) | IL | 0x10n | (3n << 11n) | (1n << 10n) | (1n << 9n) | (1n << 8n);
    expect(flat(decodeEsr(esr))).toMatchObject({
      'ISS.SET': 'restartable state',
      'ISS.FnV': 'FAR is not valid',
      'ISS.EA': 'External abort type',
      'ISS.CM': 'cache maintenance or address translation',
    });
    expect(describeEsr(esr)).toMatch(/cache maintenance, synchronous External abort/);
  });

  it.each<[string, bigint, Record<string, string>]>([
    ['SVC', EC(0x15) | IL | 0x80n, { EC: 'SVC, AArch64', 'ISS.imm16': '0x80' }],
    ['BRK', EC(0x3c) | IL | 0x800n, { 'ISS.Comment': 'Linux: BUG() or WARN()' }],
    [
      'an MRS of SCTLR_EL1 into x3',
      EC(0x18) | IL | (3n << 20n) | (1n << 10n) | (3n << 5n) | 1n,
      { 'ISS.Op0': 'SCTLR_EL1', 'ISS.Rt': 'x3', 'ISS.Direction': 'read' },
    ],
    [
      'a DC ZVA',
      EC(0x18) | IL | (1n << 20n) | (1n << 17n) | (3n << 14n) | (7n << 10n) | (4n << 1n),
      { 'ISS.Op0': 'DC ZVA' },
    ],
    ['a WFE', EC(0x01) | IL | 1n, { 'ISS.TI': 'WFE' }],
    ['an SError', EC(0x2f) | IL | (1n << 24n) | 5n, { 'ISS.IMPLEMENTATION DEFINED': '0x5' }],
    ['a single step', EC(0x32) | IL | (1n << 24n) | 0x22n, { 'ISS.IFSC': 'debug exception' }],
    ['a PAC failure', EC(0x1c) | IL | 2n, { 'ISS.PAC key': 'data key' }],
    ['an instruction abort', EC(0x21) | IL | 0xfn, { 'ISS.IFSC': 'level 3 permission fault' }],
  ])('of %s', (_, esr, fields) => {
    expect(flat(decodeEsr(esr))).toMatchObject(fields);
  });

  it('covers its bits without overlap in every class', () => {
    for (let ec = 0; ec < 64; ec++) {
      for (const esr of [EC(ec) | IL | (1n << 24n), EC(ec)]) {
        const iss = decodeEsr(esr).find((one) => one.name === 'ISS')!;
        const seen = new Set<number>();
        for (const { bits, name } of iss.fields) {
          if (bits === '24:0') continue;
          const [high, low = high] = bits.split(':').map(Number);
          expect(high, name).toBeLessThanOrEqual(24);
          for (let at = low; at <= high; at++) {
            expect(seen.has(at), `EC ${ec}, ${name}`).toBe(false);
            seen.add(at);
          }
        }
      }
    }
  });

  it('names the classes that exist and calls the others reserved', () => {
    const classes = Array.from({ length: 64 }, (_, ec) => ec);
    expect(classes.filter((ec) => exceptionClass(ec) === 'reserved')).toEqual([
      0x02, 0x0b, 0x0f, 0x10, 0x23, 0x29, 0x2a, 0x2b, 0x2e, 0x36, 0x37, 0x39, 0x3b, 0x3e, 0x3f,
    ]);
    expect(decodeEsr(1n << 60n)[0]).toMatchObject({ name: 'RES0', value: 16n });
  });
});
