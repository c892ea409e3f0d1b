import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { hi32, join, lo32 } from '../emulator/bits.ts';
import { ANY_SPACE, MISS, Tlb, type TlbShape } from './tlb.ts';

const SHAPE: TlbShape = [
  { name: '4K/2M', shifts: [12, 21], sets: 4, ways: 2 },
  { name: 'large', shifts: [30, 39], sets: 1, ways: 2 },
];
const VA = 0xffff_c900_0123_4000n;

function make(shape = SHAPE) {
  const gone: string[] = [];
  const tlb = new Tlb(shape, undefined, (hi, lo, shift) =>
    gone.push(`${join(hi, lo).toString(16)}/${shift}`),
  );
  const add = (va: bigint, shift = 12, space = 0, global = false, page = 0x5000, rights = 1) =>
    tlb.insert(hi32(va), lo32(va), space, global, shift, page, rights);
  const find = (va: bigint, space = 0) => tlb.lookup(hi32(va), lo32(va), space);
  const has = (va: bigint, space = 0) => find(va, space) !== MISS;
  return { tlb, gone, add, find, has };
}

describe('an entry', () => {
  it('answers for every byte of its page and no other', () => {
    const { add, has } = make();
    for (const [va, shift] of [
      [0x7000n, 12],
      [0x60_0000n, 21],
      [0x8000_0000n, 30],
      [0xff80_0000_0000_0000n, 39],
    ] as const) {
      add(va, shift);
      expect(has(va)).toBe(true);
      expect(has(va + (1n << BigInt(shift)) - 1n)).toBe(true);
      expect(has(va - 1n)).toBe(false);
      expect(has(va + (1n << BigInt(shift)))).toBe(false);
    }
  });

  it('keeps what it was given', () => {
    const { tlb, add, find } = make();
    add(VA, 12, 7, false, 2 ** 51, 0x8000_0001);
    const slot = find(VA + 0xfffn, 7);
    expect(tlb.pageAddr(slot)).toBe(2 ** 51);
    expect(tlb.rights(slot)).toBe(0x8000_0001);
    expect(tlb.pageShift(slot)).toBe(12);
  });

  it('belongs to one space unless it is global', () => {
    const { add, has } = make();
    add(VA, 12, 3);
    add(VA + 0x1000n, 12, 3, true);
    expect([has(VA, 3), has(VA, 4), has(VA + 0x1000n, 4)]).toEqual([true, false, true]);
  });

  it('gives way to a new one of the same page, without an eviction', () => {
    const { tlb, gone, add, find } = make();
    add(VA, 12, 0, false, 0x5000);
    add(VA, 12, 0, false, 0x6000);
    expect(tlb.size).toBe(1);
    expect(tlb.pageAddr(find(VA))).toBe(0x6000);
    expect(gone).toEqual([]);
  });

  it('is not made for a page size that no array holds', () => {
    const { tlb, add } = make();
    add(VA, 16);
    expect(tlb.size).toBe(0);
  });

  it('of 4 KiB answers before a larger one that covers it too', () => {
    const { tlb, add, find } = make();
    add(VA, 21, 0, false, 0x20_0000);
    add(VA, 12, 0, false, 0x5000);
    expect(tlb.pageAddr(find(VA))).toBe(0x5000);
    expect(tlb.pageAddr(find(VA + 0x1000n))).toBe(0x20_0000);
  });
});

describe('replacement', () => {
  it('drops the entry of a full set whose turn it is, and tells', () => {
    const { gone, add, has, find } = make();
    // Four sets: pages 4 apart share one.
    const page = (n: number) => BigInt(n) << 14n;
    add(page(1));
    add(page(2));
    find(page(1));
    add(page(3));
    expect(gone).toEqual([`${page(1).toString(16)}/12`]);
    add(page(4));
    expect([1, 2, 3, 4].map((n) => has(page(n)))).toEqual([false, false, true, true]);
    add(page(4) + 0x1000n);
    expect(gone).toHaveLength(2);
  });
});

describe('invalidation', () => {
  it('of a page takes every size that covers it', () => {
    const { tlb, add, gone } = make();
    add(VA, 12);
    add(VA, 21);
    add(VA, 30);
    add(VA + 0x1000n, 12);
    expect(tlb.invalidatePage(hi32(VA), lo32(VA) + 0xabc, 0, false)).toBe(3);
    expect(tlb.size).toBe(1);
    expect(gone).toHaveLength(3);
  });

  it('of a page or a space leaves other spaces, and global entries unless told', () => {
    const { tlb, add, has } = make();
    const fill = () => {
      tlb.invalidateAll();
      add(VA, 12, 1);
      add(VA, 12, 2);
      add(VA + 0x1000n, 12, 1, true);
    };
    const left = () => [has(VA, 1), has(VA, 2), has(VA + 0x1000n, 9)];
    fill();
    tlb.invalidatePage(hi32(VA), lo32(VA), 1, false);
    expect(left()).toEqual([false, true, true]);
    fill();
    tlb.invalidateSpace(1, false);
    expect(left()).toEqual([false, true, true]);
    fill();
    tlb.invalidateSpace(ANY_SPACE, false);
    expect(left()).toEqual([false, false, true]);
    fill();
    tlb.invalidateSpace(1, true);
    expect(left()).toEqual([false, true, false]);
    fill();
    expect(tlb.invalidateAll()).toBe(3);
    expect(left()).toEqual([false, false, false]);
  });
});

describe('a shape', () => {
  it('has sets by powers of two and each page size once', () => {
    const one = { name: 'x', shifts: [12], sets: 4, ways: 2 };
    expect(() => new Tlb([{ ...one, sets: 3 }])).toThrow(RangeError);
    expect(() => new Tlb([{ ...one, ways: 0 }])).toThrow(RangeError);
    expect(() => new Tlb([one, { ...one, name: 'y' }])).toThrow(RangeError);
    expect(() => new Tlb([{ ...one, shifts: [11] }])).toThrow(RangeError);
  });
});

// ---- Any sequence of operations, against a list ----

interface Entry {
  va: bigint;
  shift: number;
  space: number;
  global: boolean;
  page: number;
}

const covers = (one: Entry, va: bigint) => one.va >> BigInt(one.shift) === va >> BigInt(one.shift);

const operation = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      op: fc.constantFrom('insert', 'lookup', 'insert', 'lookup', 'page'),
      va: fc
        .tuple(fc.constantFrom(0n, 0xffff_8000_0000_0000n), fc.integer({ min: 0, max: 5 }))
        .chain(([base, n]) =>
          fc.constantFrom(12n, 21n, 30n, 39n).map((shift) => base + (BigInt(n) << shift)),
        ),
      shift: fc.constantFrom(12, 21, 30, 39),
      space: fc.integer({ min: 0, max: 2 }),
      global: fc.boolean(),
      page: fc.integer({ min: 0, max: 99 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constantFrom('space', 'all'),
      va: fc.constant(0n),
      shift: fc.constant(12),
      space: fc.integer({ min: -1, max: 2 }),
      global: fc.boolean(),
      page: fc.constant(0),
    }),
  },
);

describe('any sequence of operations', () => {
  it('leaves in the TLB only what was inserted and not named since', () => {
    let hits = 0;
    fc.assert(
      fc.property(
        fc.array(operation, { minLength: 5, maxLength: 60, size: 'max' }),
        (operations) => {
          let list: Entry[] = [];
          let dropped: string[] = [];
          const name = (va: bigint, shift: number, space: number) => `${va}/${shift}/${space}`;
          const tlb = new Tlb(SHAPE, undefined, (hi, lo, shift, space) =>
            dropped.push(name(join(hi, lo), shift, space)),
          );
          for (const { op, va, shift, space, global, page } of operations) {
            const matches = (one: Entry) => one.global || one.space === space;
            const named = (one: Entry) => (one.global ? global : space < 0 || one.space === space);
            // As in a kernel: the upper half is global. A page both global and not is hit twice on hardware.
            const kernel = va >= 2n ** 63n;
            dropped = [];
            if (op === 'insert') {
              const base = (va >> BigInt(shift)) << BigInt(shift);
              tlb.insert(hi32(va), lo32(va), space, kernel, shift, page, 1);
              // Capacity is the TLB's own affair: the list follows what it says it dropped, one at most.
              expect(dropped.length).toBeLessThanOrEqual(1);
              const old = list.findIndex(
                (one) => one.shift === shift && covers(one, va) && matches(one),
              );
              if (old >= 0) list.splice(old, 1);
              for (const gone of dropped) {
                const victim = list.findIndex((one) => name(one.va, one.shift, one.space) === gone);
                expect(victim).toBeGreaterThanOrEqual(0);
                list.splice(victim, 1);
              }
              list.push({ va: base, shift, space, global: kernel, page });
            } else if (op === 'page') {
              const before = list.length;
              list = list.filter((one) => !(covers(one, va) && named(one)));
              expect(tlb.invalidatePage(hi32(va), lo32(va), space, global)).toBe(
                before - list.length,
              );
            } else if (op === 'space') {
              list = list.filter((one) => !named(one));
              tlb.invalidateSpace(space, global);
            } else if (op === 'all') {
              list = [];
              tlb.invalidateAll();
            } else {
              const slot = tlb.lookup(hi32(va), lo32(va), space);
              const found = list.filter((one) => covers(one, va) && matches(one));
              expect(slot === MISS).toBe(found.length === 0);
              if (slot === MISS) continue;
              hits++;
              expect(found.map((one) => one.page)).toContain(tlb.pageAddr(slot));
            }
            expect(tlb.size).toBe(list.length);
          }
        },
      ),
      { numRuns: 1500, seed: 5 },
    );
    expect(hits).toBeGreaterThan(500);
  });
});
