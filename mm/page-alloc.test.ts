import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FRAME_SIZE, type Pfn } from '../emulator/address.ts';
import { PageAllocator } from './page-alloc.ts';
import { createMemory } from './test-kernel.ts';

function allocator(frames: number, pageSize = 4096) {
  const { kernel, ram } = createMemory(pageSize);
  const pages = new PageAllocator(kernel, ram, 1024, frames);
  return { kernel, ram, pages, owner: pages.owner('test') };
}

describe('page allocator', () => {
  it('gives zeroed pages, also those that were written and freed', () => {
    const { ram, pages, owner } = allocator(4);
    const pfn = pages.allocPage(owner) as Pfn;
    ram.write64(pfn * FRAME_SIZE + 8, 0x1234n);
    expect(pages.freePage(pfn)).toBe(true);
    expect(pages.allocPage(owner)).toBe(pfn);
    expect(ram.read64(pfn * FRAME_SIZE + 8)).toBe(0n);
  });

  it('runs out, and recovers when a page comes back', () => {
    const { pages, owner } = allocator(3);
    const taken = [pages.allocPage(owner), pages.allocPage(owner), pages.allocPage(owner)];
    expect(new Set(taken).size).toBe(3);
    expect(pages.allocPage(owner)).toBe(-1);
    expect(pages.freePages).toBe(0);
    pages.freePage(taken[1] as Pfn);
    expect(pages.allocPage(owner)).toBe(taken[1]);
  });

  it('reports a page freed twice, and one that is not its own, and goes on', () => {
    const { kernel, pages, owner } = allocator(3);
    const pfn = pages.allocPage(owner) as Pfn;
    pages.freePage(pfn);
    expect(pages.freePage(pfn)).toBe(false);
    expect(pages.freePage(5 as Pfn)).toBe(false);
    expect(pages.bugs).toEqual([
      { pfn, what: 'freed twice' },
      { pfn: 5, what: 'not a page of the allocator' },
    ]);
    expect(kernel.log[0]).toMatch(/^BUG: Bad page state: pfn:00400$/);
    expect(pages.freePages).toBe(3);
  });

  it('keeps a page until its last reference is dropped', () => {
    const { pages, owner } = allocator(3);
    const pfn = pages.allocPage(owner) as Pfn;
    pages.pageRefAdd(pfn);
    expect(pages.pageRefCount(pfn)).toBe(2);
    expect(pages.freePage(pfn)).toBe(false);
    expect(owner.outstanding).toBe(1);
    expect(pages.freePage(pfn)).toBe(true);
    expect(owner.outstanding).toBe(0);
    expect(pages.bugs).toEqual([]);
  });

  it('counts user mappings apart from references', () => {
    const { pages, owner } = allocator(3);
    const pfn = pages.allocPage(owner) as Pfn;
    expect(pages.pageMapped(pfn)).toBe(false);
    pages.mapCountAdd(pfn, 1);
    expect(pages.pageMapped(pfn)).toBe(true);
    pages.mapCountAdd(pfn, -1);
    expect(pages.pageMapped(pfn)).toBe(false);
  });

  it('tells who holds what', () => {
    const { pages, owner } = allocator(8);
    const other = pages.owner('other');
    const again = pages.owner('test');
    pages.allocPage(owner);
    pages.allocPage(again);
    const pfn = pages.allocPage(other) as Pfn;
    expect(pages.outstanding()).toEqual(
      new Map([
        ['test', 2],
        ['other', 1],
      ]),
    );
    pages.freePage(pfn);
    expect(pages.outstanding()).toEqual(new Map([['test', 2]]));
  });

  it('gives a wanted frame once, and clean when it comes round again', () => {
    const { ram, pages, owner } = allocator(4);
    expect(pages.allocPageAt(1026, owner)).toBe(1026);
    expect(pages.allocPageAt(1026, owner)).toBe(-1);
    expect(pages.allocPageAt(9, owner)).toBe(-1);
    ram.write64(1026 * FRAME_SIZE, 1n);
    pages.freePage(1026 as Pfn);
    const rest = [0, 1, 2, 3].map(() => pages.allocPage(owner));
    expect([...rest].sort()).toEqual([1024, 1025, 1026, 1027]);
    expect(ram.read64(1026 * FRAME_SIZE)).toBe(0n);
    expect(pages.allocPage(owner)).toBe(-1);
  });

  it('gives runs of fresh pages only', () => {
    const { pages, owner } = allocator(16);
    pages.allocPageAt(1024 + 10, owner);
    expect(pages.allocRun(8, owner)).toBe(1024);
    expect(pages.allocRun(4, owner)).toBe(-1);
    expect(pages.allocRun(2, owner)).toBe(1032);
    expect(owner.outstanding).toBe(11);
  });

  it('hands out 64 KiB pages as sixteen frames', () => {
    const { ram, pages, owner } = allocator(64, 65536);
    expect(pages.freePages).toBe(4);
    const pfn = pages.allocPage(owner) as Pfn;
    ram.write64((pfn + 15) * FRAME_SIZE, 7n);
    pages.freePage(pfn);
    expect(pages.allocPage(owner)).toBe(pfn);
    expect(ram.read64((pfn + 15) * FRAME_SIZE)).toBe(0n);
    expect(pages.allocPage(owner)).toBe(pfn + 16);
    expect(pages.pfnValid(pfn + 1)).toBe(false);
  });

  it('refuses a range that is no RAM or no whole page', () => {
    const { kernel, ram } = createMemory();
    expect(() => new PageAllocator(kernel, ram, 0, 1 << 20)).toThrow(RangeError);
    expect(() => new PageAllocator(kernel, ram, 16, 0)).toThrow(RangeError);
  });

  it('never has a page twice at large, whatever is done', () => {
    const action = fc.record({
      op: fc.constantFrom('alloc', 'at', 'run', 'free', 'ref'),
      n: fc.integer({ min: 0, max: 31 }),
    });
    fc.assert(
      fc.property(fc.array(action, { maxLength: 120 }), (actions) => {
        const { pages, owner } = allocator(32);
        const refs = new Map<number, number>();
        const take = (pfn: number) => {
          if (pfn < 0) return;
          expect(refs.has(pfn)).toBe(false);
          refs.set(pfn, 1);
        };
        for (const { op, n } of actions) {
          const pfn = (1024 + n) as Pfn;
          if (op === 'alloc') take(pages.allocPage(owner));
          if (op === 'at') take(pages.allocPageAt(pfn, owner));
          if (op === 'run') {
            const first = pages.allocRun(1 + (n % 5), owner);
            for (let i = 0; first >= 0 && i < 1 + (n % 5); i++) take(first + i);
          }
          const held = refs.get(pfn);
          if (!held) continue;
          if (op === 'ref') pages.pageRefAdd(pfn);
          if (op === 'ref') refs.set(pfn, held + 1);
          if (op === 'free') expect(pages.freePage(pfn)).toBe(held === 1);
          if (op === 'free') held === 1 ? refs.delete(pfn) : refs.set(pfn, held - 1);
        }
        expect(pages.bugs).toEqual([]);
        expect(owner.outstanding).toBe(refs.size);
        expect(pages.freePages).toBe(32 - refs.size);
      }),
      { numRuns: 300 },
    );
  });
});
