import { describe, expect, it } from 'vitest';
import { type Pfn, type VirtAddr, virtAddr } from '../emulator/address.ts';
import { applyToExistingPageRange, applyToPageRange } from './apply-range.ts';
import { ERRNO, finish } from './context.ts';
import { setPteAt } from './pte.ts';
import { BAD_ENTRY, createMemory, HUGE_ENTRY, type TestMemory } from './test-kernel.ts';

const START = virtAddr(0xffff_8000_8100_8000n);
const PMD = 2 ** 21;

function visited(
  apply: typeof applyToPageRange,
  memory: TestMemory,
  start: VirtAddr,
  size: number,
) {
  const addrs: bigint[] = [];
  const walk = apply(memory.mm, start, size, ({ addr }) => {
    addrs.push(addr);
    return 0;
  });
  const result = finish(walk);
  return { result, addrs };
}

function put({ mm, ram, kernel }: TestMemory, addr: bigint, entry = 0x5001n) {
  const va = virtAddr(addr);
  setPteAt(kernel, ram, va, mm.ptepAlloc(va) as never, entry);
}

/** Overwrites the entry of the last level above PTEs. */
function putPmd({ mm, ram }: TestMemory, addr: bigint, entry: bigint) {
  mm.ptepAlloc(virtAddr(addr));
  let table = mm.swapperPgDir as number;
  for (const shift of [39n, 30n]) {
    table = mm.format.tableAddr(ram.read64(table + Number((addr >> shift) & 0x1ffn) * 8));
  }
  ram.write64(table + Number((addr >> 21n) & 0x1ffn) * 8, entry);
}

describe('apply_to_page_range', () => {
  it('visits every PTE in order, none or not, over table borders', () => {
    const memory = createMemory();
    put(memory, START + 0x3000n);
    const { result, addrs } = visited(applyToPageRange, memory, START, 3 * PMD);
    expect(result).toBe(0);
    expect(addrs.length).toBe((3 * PMD) / 4096);
    expect(addrs.every((addr, i) => addr === START + BigInt(i * 4096))).toBe(true);
  });

  it('points each call at the PTE of its address', () => {
    const memory = createMemory();
    const seen: boolean[] = [];
    const start = virtAddr(START + BigInt(PMD) - 0xa000n);
    const walk = applyToPageRange(memory.mm, start, 0x8000, ({ ptep, addr }) => {
      seen.push(memory.mm.ptepOffset(addr) === ptep);
      return 0;
    });
    finish(walk);
    expect(seen).toEqual(Array(8).fill(true));
  });

  it('stops at the first result that is not 0', () => {
    const memory = createMemory();
    let calls = 0;
    const walk = applyToPageRange(memory.mm, START, 0x8000, () => (++calls === 3 ? -16 : 0));
    const result = finish(walk);
    expect([result, calls]).toEqual([-16, 3]);
  });

  it('refuses an empty range and one past the end of memory', () => {
    const memory = createMemory();
    expect(visited(applyToPageRange, memory, START, 0).result).toBe(ERRNO.EINVAL);
    const top = virtAddr(0xffff_ffff_ffff_f000n);
    expect(visited(applyToPageRange, memory, top, 0x2000).result).toBe(ERRNO.EINVAL);
    expect(memory.kernel.log).toEqual(['WARNING: at __apply_to_page_range (addr >= end)']);
  });

  it('stops at a huge entry with -EINVAL, after the PTEs before it', () => {
    const memory = createMemory();
    putPmd(memory, START + BigInt(PMD), HUGE_ENTRY);
    const { result, addrs } = visited(applyToPageRange, memory, START, 3 * PMD);
    expect(result).toBe(ERRNO.EINVAL);
    expect(addrs.length).toBe(Number((BigInt(PMD) - (START % BigInt(PMD))) / 4096n));
  });

  it('clears a malformed entry and goes on', () => {
    const memory = createMemory();
    putPmd(memory, START, BAD_ENTRY);
    const { result, addrs } = visited(applyToPageRange, memory, START, 0x2000);
    expect([result, addrs.length]).toEqual([0, 2]);
  });

  it('fails with -ENOMEM without tables', () => {
    const memory = createMemory(4096, 1 << 20);
    const hog = memory.pages.owner('hog');
    while (memory.pages.freePages > 3) memory.pages.allocPage(hog);
    const { result, addrs } = visited(applyToPageRange, memory, START, 3 * PMD);
    expect(result).toBe(ERRNO.ENOMEM);
    expect(addrs.length).toBeGreaterThan(0);
  });
});

describe('apply_to_existing_page_range', () => {
  it('visits PTEs that are not none and makes no table', () => {
    const memory = createMemory();
    const wanted = [0n, 0x5000n, 0x8000_0000n, 0xffff_f000n].map((o) => START + o);
    for (const addr of wanted) put(memory, addr);
    put(memory, START - 0x1000n);
    put(memory, START + 2n ** 32n);
    const tables = memory.mm.tablePages;
    const { result, addrs } = visited(applyToExistingPageRange, memory, START, 2 ** 32);
    expect(result).toBe(0);
    expect(addrs).toEqual(wanted);
    expect(memory.mm.tablePages).toBe(tables);
  });

  it('takes an entry of dirty bits alone for none', () => {
    const memory = createMemory();
    put(memory, START, 0x40n);
    put(memory, START + 0x1000n);
    expect(visited(applyToExistingPageRange, memory, START, 0x2000).addrs).toEqual([
      START + 0x1000n,
    ]);
  });

  it('steps over a malformed entry, and stops at a huge one', () => {
    const memory = createMemory();
    put(memory, START + BigInt(2 * PMD));
    putPmd(memory, START, BAD_ENTRY);
    const tables = memory.mm.tablePages;
    expect(visited(applyToExistingPageRange, memory, START, 3 * PMD).addrs).toEqual([
      START + BigInt(2 * PMD),
    ]);
    expect(memory.mm.tablePages).toBe(tables);
    expect(memory.kernel.log).toEqual(['WARNING: at __apply_to_page_range (bad entry)']);
    putPmd(memory, START + BigInt(PMD), HUGE_ENTRY);
    const { result, addrs } = visited(applyToExistingPageRange, memory, START, 3 * PMD);
    expect([result, addrs]).toEqual([ERRNO.EINVAL, []]);
  });

  it('finds what was mapped by whole pages of 64 KiB', () => {
    const memory = createMemory(65536);
    const start = virtAddr(0xffff_8000_8101_0000n);
    memory.mm.mapRange(virtAddr(start + 0x7_0000n), 0x100 as Pfn, 2, 'PAGE_KERNEL');
    expect(visited(applyToExistingPageRange, memory, start, 2 ** 32).addrs).toEqual([
      start + 0x7_0000n,
      start + 0x8_0000n,
    ]);
  });
});
