import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Pfn, virtAddr } from '../emulator/address.ts';
import { finish } from './context.ts';
import { createMemory } from './test-kernel.ts';
import { VM_NO_GUARD, VM_SPARSE, Vmalloc, type VmStruct } from './vmalloc.ts';

const START = virtAddr(0xffff_c900_0000_0000n);
const END = virtAddr(0xffff_c900_0010_0000n);

function area() {
  const memory = createMemory();
  const flushes: bigint[][] = [];
  const tlb = {
    flushKernelRange: (start: bigint, end: bigint) => void flushes.push([start, end]),
    flushBeforeSet() {},
    flushOneKernel() {},
  };
  return { ...memory, flushes, vmalloc: new Vmalloc(memory.mm, tlb, START, END) };
}

describe('vmalloc areas', () => {
  it('gives the lowest gap, with a guard page behind each area', () => {
    const { vmalloc } = area();
    const first = vmalloc.getVmArea(0x3000, VM_SPARSE)!;
    const second = vmalloc.getVmArea(0x1001, VM_SPARSE)!;
    const third = vmalloc.getVmArea(0x1000, VM_NO_GUARD)!;
    expect(first).toEqual({ addr: START, size: 0x4000, flags: VM_SPARSE });
    expect(second).toMatchObject({ addr: START + 0x4000n, size: 0x3000 });
    expect(third).toMatchObject({ addr: START + 0x7000n, size: 0x1000 });
    finish(vmalloc.freeVmArea(first));
    expect(vmalloc.getVmArea(0x3001, 0)?.addr).toBe(START + 0x8000n);
    expect(vmalloc.getVmArea(0x3000, 0)?.addr).toBe(START);
  });

  it('gives a wanted address only if it is free, aligned and inside', () => {
    const { vmalloc } = area();
    const at = virtAddr(START + 0x8000n);
    expect(vmalloc.getVmArea(0x2000, 0, at)?.addr).toBe(at);
    expect(vmalloc.getVmArea(0x1000, 0, at)).toBeNull();
    expect(vmalloc.getVmArea(0x1000, 0, virtAddr(START + 0x7000n))).toBeNull();
    expect(vmalloc.getVmArea(0x1000, VM_NO_GUARD, virtAddr(START + 0x7000n))).not.toBeNull();
    expect(vmalloc.getVmArea(0x1000, 0, virtAddr(START + 0xa000n))).toBeNull();
    expect(vmalloc.getVmArea(0x1000, 0, virtAddr(START + 0xb800n))).toBeNull();
    expect(vmalloc.getVmArea(0x1000, 0, virtAddr(START - 0x1000n))).toBeNull();
    expect(vmalloc.getVmArea(0x1000, 0, virtAddr(END - 0x1000n))).toBeNull();
  });

  it('refuses what does not fit', () => {
    const { vmalloc } = area();
    expect(vmalloc.getVmArea(0x10_0000, 0)).toBeNull();
    expect(vmalloc.getVmArea(0xf_f000, 0)?.addr).toBe(START);
    expect(vmalloc.getVmArea(0x1000, 0)).toBeNull();
  });

  it('knows its addresses', () => {
    const { vmalloc } = area();
    const found = vmalloc.getVmArea(0x1000, 0)!;
    expect(vmalloc.isVmallocAddr(START)).toBe(true);
    expect(vmalloc.isVmallocAddr(END)).toBe(false);
    expect(vmalloc.isVmallocAddr(virtAddr(START - 1n))).toBe(false);
    expect(vmalloc.findVmArea(virtAddr(START + 0x1fffn))).toBe(found);
    expect(vmalloc.findVmArea(virtAddr(START + 0x2000n))).toBeNull();
  });

  it('clears the PTEs of a freed area and flushes it once', () => {
    const { mm, ram, vmalloc, flushes } = area();
    const found = vmalloc.getVmArea(0x4000, 0)!;
    mm.mapRange(virtAddr(found.addr + 0x1000n), 0x40 as Pfn, 2, 'PAGE_KERNEL');
    mm.mapRange(virtAddr(found.addr + 0x5000n), 0x50 as Pfn, 1, 'PAGE_KERNEL');
    finish(vmalloc.freeVmArea(found));
    expect(mm.vmallocToPage(virtAddr(found.addr + 0x1000n))).toBe(-1);
    expect(ram.read64(mm.ptepOffset(virtAddr(found.addr + 0x2000n))!)).toBe(0n);
    expect(mm.vmallocToPage(virtAddr(found.addr + 0x5000n))).toBe(0x50);
    expect(flushes).toEqual([[found.addr, found.addr + 0x5000n]]);
    expect(() => finish(vmalloc.freeVmArea(found))).toThrow(/not an area/);
  });

  it('stops before each PTE and the flush while it is stepped', () => {
    const { kernel, mm, vmalloc } = area();
    const found = vmalloc.getVmArea(0x4000, 0)!;
    mm.mapRange(found.addr, 0x40 as Pfn, 2, 'PAGE_KERNEL');
    kernel.stepping = true;
    expect([...vmalloc.freeVmArea(found)].map((step) => step.kind)).toEqual(['pte', 'pte', 'tlb']);
  });

  it('never gives an address twice', () => {
    const action = fc.record({ pages: fc.integer({ min: 1, max: 40 }), free: fc.nat(30) });
    fc.assert(
      fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
        const { vmalloc } = area();
        const held: VmStruct[] = [];
        for (const { pages, free } of actions) {
          const found = vmalloc.getVmArea(pages * 4096, 0);
          if (found) held.push(found);
          else finish(vmalloc.freeVmArea(held.splice(free % held.length, 1)[0]));
          const sorted = [...held].sort((a, b) => (a.addr < b.addr ? -1 : 1));
          sorted.forEach((a, i) => {
            const end = a.addr + BigInt(a.size);
            expect(a.addr >= START && end <= (sorted[i + 1]?.addr ?? END)).toBe(true);
          });
        }
      }),
      { numRuns: 50 },
    );
  });
});
