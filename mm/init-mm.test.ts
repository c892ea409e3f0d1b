import { describe, expect, it } from 'vitest';
import { type Pfn, type VirtAddr, virtAddr } from '../emulator/address.ts';
import { hi32, lo32 } from '../emulator/bits.ts';
import { Ram } from '../emulator/ram.ts';
import { ERRNO } from './context.ts';
import { EXISTING, InitMm, LOOK, type WalkMode } from './init-mm.ts';
import { PageAllocator } from './page-alloc.ts';
import { BAD_ENTRY, createMemory, HUGE_ENTRY } from './test-kernel.ts';

const VA = virtAddr(0xffff_8000_8100_8000n);

const pteTable = (mm: InitMm, va: VirtAddr, mode: WalkMode = EXISTING) =>
  mm.pteTable(hi32(va), lo32(va), mode);

/** Physical address of the entry for `va` at a level; 0 is the top. */
function entryAddr({ mm, ram }: ReturnType<typeof createMemory>, va: VirtAddr, level: number) {
  let table = mm.swapperPgDir as number;
  for (let i = 0; ; i++) {
    const bits = i === 0 ? mm.format.topBits : mm.format.pageShift - 3;
    const index = Number((va >> BigInt(mm.format.shifts[i])) & ((1n << BigInt(bits)) - 1n));
    if (i === level) return table + index * 8;
    table = mm.format.tableAddr(ram.read64(table + index * 8));
  }
}

describe.each([4096, 16384, 65536])('page tables of the kernel, %i-byte pages', (pageSize) => {
  it('makes tables once, one of each level', () => {
    const { mm } = createMemory(pageSize);
    expect(mm.ptepOffset(VA)).toBeNull();
    const ptep = mm.ptepAlloc(VA);
    expect(ptep).toBeGreaterThan(0);
    expect(mm.ptepAlloc(VA)).toBe(ptep);
    expect(mm.ptepOffset(VA)).toBe(ptep);
    expect(mm.tablePages).toBe(mm.format.shifts.length);
    const next = virtAddr(VA + BigInt(pageSize));
    expect(mm.ptepAlloc(next)).toBe(ptep + 8);
    expect(mm.tablePages).toBe(mm.format.shifts.length);
  });

  it('maps pages and finds them again', () => {
    const { mm, pages } = createMemory(pageSize);
    const owner = pages.owner('data');
    const pfn = pages.allocRun(3, owner) as Pfn;
    expect(mm.mapRange(VA, pfn, 3, 'PAGE_KERNEL')).toBe(0);
    const frames = pageSize / 4096;
    for (let i = 0; i < 3; i++) {
      const addr = virtAddr(VA + BigInt(i * pageSize + 0x123));
      expect(mm.vmallocToPage(addr)).toBe(pfn + i * frames);
    }
    expect(mm.vmallocToPage(virtAddr(VA + BigInt(3 * pageSize)))).toBe(-1);
    expect(mm.vmallocToPage(virtAddr(0xffff_9000_0000_0000n))).toBe(-1);
  });

  it('populates 4 GiB with every table of PTEs, and only once', () => {
    const memory = createMemory(pageSize, 64 << 20);
    const { mm } = memory;
    const size = 2 ** 32 + 0x8000;
    const before = mm.tablePages;
    expect(mm.populate(VA, size)).toBe(0);
    const first = Number(VA / BigInt(mm.pmdSize));
    const last = Number((VA + BigInt(size - 1)) / BigInt(mm.pmdSize));
    const made = mm.tablePages - before;
    expect(made).toBeGreaterThan(last - first);
    if (pageSize === 4096) expect(made).toBe(2049 + 5 + 1);
    for (let i = first; i <= last; i++) {
      expect(mm.ptepOffset(virtAddr(BigInt(i) * BigInt(mm.pmdSize)))).not.toBeNull();
    }
    expect(mm.ptepOffset(virtAddr(BigInt(last + 1) * BigInt(mm.pmdSize)))).toBeNull();
    expect(mm.populate(VA, size)).toBe(0);
    expect(mm.tablePages - before).toBe(made);
  });

  it('makes runs of tables over a 4 GiB border of physical memory', () => {
    const { kernel } = createMemory(pageSize);
    const ram = new Ram(2 ** 32 - (8 << 20), 32 << 20);
    const pages = new PageAllocator(kernel, ram, ram.base / 4096, ram.size / 4096);
    const hog = pages.owner('hog');
    const left = Math.max(2, Math.floor((8 << 20) / pageSize) - 7);
    for (let i = 0; i < left; i++) pages.allocPage(hog);
    const mm = new InitMm({ kernel, ram, pages, format: createMemory(pageSize).mm.format });
    expect(mm.populate(VA, 16 * mm.pmdSize)).toBe(0);
    const tables = Array.from({ length: 16 }, (_, i) => {
      const va = virtAddr(VA + BigInt(i) * BigInt(mm.pmdSize));
      return Math.floor(mm.ptepOffset(va)! / pageSize) * pageSize;
    });
    expect(new Set(tables).size).toBe(16);
    expect(tables.some((t) => t < 2 ** 32) && tables.some((t) => t > 2 ** 32)).toBe(true);
    expect(tables.every((t) => ram.contains(t, pageSize))).toBe(true);
  });

  it('says which span has no table', () => {
    const { mm } = createMemory(pageSize);
    expect(pteTable(mm, VA)).toBe(0);
    expect(mm.noTableShift).toBe(mm.format.shifts[0]);
    mm.ptepAlloc(VA);
    expect(pteTable(mm, virtAddr(VA + BigInt(mm.pmdSize)))).toBe(0);
    expect(mm.noTableShift).toBe(mm.format.shifts.at(-2));
  });
});

describe('entries that others wrote', () => {
  it('refuses a huge entry with a warning, once', () => {
    const memory = createMemory();
    const { mm, ram, kernel } = memory;
    mm.ptepAlloc(VA);
    ram.write64(entryAddr(memory, VA, 2), HUGE_ENTRY);
    expect(mm.ptepAlloc(VA)).toBe(ERRNO.EINVAL);
    expect(mm.ptepOffset(VA)).toBeNull();
    expect(kernel.log).toEqual(['WARNING: at __apply_to_page_range (leaf entry)']);
  });

  it('looks without a warning', () => {
    const memory = createMemory();
    const { mm, ram, kernel } = memory;
    mm.ptepAlloc(VA);
    for (const [entry, found] of [
      [HUGE_ENTRY, ERRNO.EINVAL],
      [BAD_ENTRY, 0],
      [mm.format.mkTable((1 << 30) as never), 0],
    ] as const) {
      ram.write64(entryAddr(memory, VA, 2), entry);
      expect(pteTable(mm, VA, LOOK)).toBe(found);
      expect([mm.ptepOffset(VA), mm.vmallocToPage(VA)]).toEqual([null, -1]);
    }
    expect(kernel.log).toEqual([]);
  });

  it('clears a malformed entry and makes a new table for it', () => {
    const memory = createMemory();
    const { mm, ram, kernel } = memory;
    const old = mm.ptepAlloc(VA);
    ram.write64(entryAddr(memory, VA, 1), BAD_ENTRY);
    expect(pteTable(mm, VA)).toBe(0);
    expect(ram.read64(entryAddr(memory, VA, 1))).toBe(BAD_ENTRY);
    expect(mm.ptepAlloc(VA)).not.toBe(old);
    expect(kernel.log).toEqual([
      'WARNING: at __apply_to_page_range (bad entry)',
      'bad entry 0000000000200401',
    ]);
  });

  it('follows a table that was replaced behind its back', () => {
    const memory = createMemory();
    const { mm, ram, pages } = memory;
    const old = mm.ptepAlloc(VA);
    const table = (pages.allocPage(pages.owner('table')) as number) * 4096;
    ram.write64(entryAddr(memory, VA, 2), mm.format.mkTable(table as never));
    expect(mm.ptepAlloc(VA)).toBe(table + (old % 4096));
  });

  it('fails with -ENOMEM when tables run out', () => {
    const { mm, pages } = createMemory(4096, 1 << 20);
    const hog = pages.owner('hog');
    while (pages.freePages > 2) pages.allocPage(hog);
    expect(mm.ptepAlloc(VA)).toBe(ERRNO.ENOMEM);
    expect(mm.populate(VA, 2 ** 32)).toBe(ERRNO.ENOMEM);
    expect(mm.mapRange(VA, 20 as Pfn, 1, 'PAGE_KERNEL')).toBe(ERRNO.ENOMEM);
  });
});
