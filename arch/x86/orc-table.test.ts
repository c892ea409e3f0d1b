// Tables of objtool's form, made by hand.
import { describe, expect, it } from 'vitest';
import { OrcTable, orcAddresses } from './orc-table.ts';

const BASE = 0xffff_ffff_8110_0000n;
/** struct orc_entry: sp_offset, bp_offset, sp_reg and bp_reg, type. */
const entry = (sp: number, bp: number, spReg: number, bpReg: number) => [
  ...new Uint8Array(Int16Array.of(sp, bp).buffer),
  spReg | (bpReg << 4),
  0,
];
const ips = (...offsets: number[]) => BigUint64Array.from(offsets.map((at) => BASE + BigInt(at)));

describe('an ORC table', () => {
  const entries = Uint8Array.from([
    ...entry(8, 0, 5, 0),
    ...entry(16, -16, 5, 1),
    ...entry(16, -16, 4, 1),
    ...entry(0, 0, 0, 0),
    ...entry(24, 0, 6, 0),
  ]);
  const table = new OrcTable(ips(0, 1, 4, 0x20, 0x30), entries, BASE + 0x40n);

  it.each([
    [0, { base: 'sp', offset: 8n, bpSlot: null }],
    [1, { base: 'sp', offset: 16n, bpSlot: 16n }],
    [3, { base: 'sp', offset: 16n, bpSlot: 16n }],
    [0x1f, { base: 'bp', offset: 16n, bpSlot: 16n }],
    // Undefined, and R10: nothing that can be followed.
    [0x20, null],
    [0x30, null],
  ] as const)('says of offset %i', (offset, wanted) => {
    expect(table.find(BASE + BigInt(offset))).toEqual(wanted);
  });

  it('covers its code alone', () => {
    const covered = [-1, 0, 0x3f, 0x40].map((at) => table.covers(BASE + BigInt(at)));
    expect(covered).toEqual([false, true, true, false]);
    expect(table.find(BASE - 1n)).toBeNull();
    expect(new OrcTable(ips(), new Uint8Array(0), BASE).covers(BASE)).toBe(false);
  });

  it('of a module is sorted, and of two entries for one address the last counts', () => {
    const mixed = Uint8Array.from([
      ...entry(32, 0, 5, 0),
      ...entry(8, 0, 5, 0),
      ...entry(40, 0, 5, 0),
    ]);
    const unsorted = new OrcTable(ips(9, 0, 9), mixed, BASE + 16n);
    expect(unsorted.find(BASE + 8n)?.offset).toBe(8n);
    expect(unsorted.find(BASE + 9n)?.offset).toBe(40n);
  });

  it('may be cut off', () => {
    const cut = new OrcTable(ips(0, 4), entries.slice(0, 9), BASE + 16n);
    expect(cut.find(BASE + 5n)?.offset).toBe(8n);
  });
});

it('addresses are distances from themselves', () => {
  const words = new Uint8Array(Int32Array.of(-0x100, 0x10).buffer);
  expect([...orcAddresses(words, BASE)]).toEqual([BASE - 0x100n, BASE + 0x14n]);
});
