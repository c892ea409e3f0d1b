import { describe, expect, it } from 'vitest';
import { virtAddr } from '../emulator/address.ts';
import { hex16 } from '../emulator/bits.ts';
import { finish } from './context.ts';
import { KFENCE_ARM64, KFENCE_X86, Kfence } from './kfence.ts';
import { createMemory } from './test-kernel.ts';
import { NO_TLB } from './tlb-control.ts';

const POOL = virtAddr(0xffff_8880_1000_0000n);
const IP = virtAddr(0xffff_ffff_8100_0010n);
const regs = { ip: IP };
const page = (n: number) => POOL + BigInt(n * 4096);

function create(objects = 3, local = false) {
  const memory = createMemory();
  const { kernel, ram, mm } = memory;
  const flushes: string[] = [];
  const host = {
    kernel,
    ram,
    mm,
    tlb: {
      ...NO_TLB,
      flushKernelRange: (start: bigint, end: bigint) => void flushes.push(`all ${end - start}`),
      flushOneKernel: (addr: bigint) => void flushes.push(`this CPU ${hex16(addr)}`),
    },
    arch: { protectedPte: (entry: bigint) => entry & ~1n, local },
    formatSymbol: (ip: bigint) => `touch+0x${(ip & 0xffn).toString(16)}/0x40`,
  };
  const kfence = new Kfence(host, POOL, objects);
  const present = (n: number) => mm.vmallocToPage(virtAddr(page(n))) >= 0;
  const fault = (addr: bigint, isWrite = false) =>
    finish(kfence.handlePageFault(virtAddr(addr), isWrite, regs));
  flushes.length = 0;
  return { ...memory, kfence, present, fault, flushes };
}

describe('KFENCE', () => {
  it('makes a pool of (objects + 1) * 2 pages with its guards away', () => {
    const { kfence, present } = create(3);
    expect(kfence.poolSize).toBe(8 * 4096);
    expect([0, 1, 2, 3, 4, 5, 6, 7].map(present)).toEqual([
      false,
      false,
      true,
      false,
      true,
      false,
      true,
      false,
    ]);
  });

  it('puts object i on page 2 * (i + 1), left or right', () => {
    const { kfence } = create();
    expect(kfence.alloc(32, 'kmalloc-32')).toBe(page(2));
    expect(kfence.alloc(30, 'odd', true, 8)).toBe(page(4) + 4096n - 32n);
    expect(kfence.alloc(4096, 'page')).toBe(page(6));
    expect(kfence.alloc(8, 'kmalloc-8')).toBeNull();
    expect(create().kfence.alloc(4097, 'large')).toBeNull();
  });

  it('declines addresses outside the pool', () => {
    const { fault, kernel } = create();
    expect(fault(POOL - 1n)).toBe(false);
    expect(fault(page(8))).toBe(false);
    expect(kernel.log).toEqual([]);
  });

  it('reports an access right of an object and lets it go on', () => {
    const { kfence, fault, kernel, present } = create();
    const object = kfence.alloc(32, 'kmalloc-32', true)!;
    expect(fault(page(3) + 1n, true)).toBe(true);
    expect(present(3)).toBe(true);
    expect(kernel.log).toEqual([
      '='.repeat(66),
      'BUG: KFENCE: out-of-bounds write in touch+0x10/0x40',
      '',
      `Out-of-bounds write at 0x${hex16(page(3) + 1n)} (33B right of kfence-#0):`,
      ' touch+0x10/0x40',
      '',
      `kfence-#0: 0x${hex16(object)}-0x${hex16(object + 31n)}, size=32, cache=kmalloc-32`,
      '',
      '='.repeat(66),
    ]);
    expect([kfence.bugs, kfence.tainted]).toEqual([1, true]);
  });

  it('reports an access left of an object', () => {
    const { kfence, fault, kernel } = create();
    kfence.alloc(32, 'kmalloc-32');
    expect(fault(page(2) - 4n)).toBe(true);
    expect(kernel.log[3]).toBe(
      `Out-of-bounds read at 0x${hex16(page(2) - 4n)} (4B left of kfence-#0):`,
    );
  });

  it.each([
    { offset: 8, victim: 0, why: 'nearer to the object on the left' },
    { offset: 4088, victim: 1, why: 'nearer to the object on the right' },
  ])('blames the neighbour that is $why', ({ offset, victim }) => {
    const { kfence, fault, kernel } = create();
    kfence.alloc(64, 'a', true);
    kfence.alloc(64, 'b', false);
    fault(page(3) + BigInt(offset));
    expect(kernel.log[3]).toContain(`of kfence-#${victim})`);
  });

  it('counts an equal distance as the left one', () => {
    const { kfence, fault, kernel } = create();
    kfence.alloc(64, 'a', true);
    kfence.alloc(64, 'b', false);
    fault(page(3) + 2048n);
    expect(kernel.log[3]).toContain('of kfence-#0)');
  });

  it('calls a guard without a living neighbour, and the first page, invalid', () => {
    const { fault, kernel } = create();
    expect(fault(page(5))).toBe(true);
    expect(fault(page(0) + 8n, true)).toBe(true);
    expect(kernel.log.filter((line) => /^(BUG|Invalid)/.test(line))).toEqual([
      'BUG: KFENCE: invalid read in touch+0x10/0x40',
      `Invalid read at 0x${hex16(page(5))}:`,
      'BUG: KFENCE: invalid write in touch+0x10/0x40',
      `Invalid write at 0x${hex16(page(0) + 8n)}:`,
    ]);
  });

  it('takes a freed object away and reports its use', () => {
    const { kfence, fault, kernel, present } = create();
    const object = kfence.alloc(16, 'kmalloc-16')!;
    kfence.free(object, IP);
    expect(present(2)).toBe(false);
    expect(fault(object + 8n)).toBe(true);
    expect(kernel.log[1]).toBe('BUG: KFENCE: use-after-free read in touch+0x10/0x40');
    expect(kernel.log[3]).toBe(`Use-after-free read at 0x${hex16(object + 8n)} (in kfence-#0):`);
    expect(present(2)).toBe(true);
  });

  it('gives the object that was freed first again, and its page back', () => {
    const { kfence, present } = create(2);
    const [a, b] = [kfence.alloc(8, 'x')!, kfence.alloc(8, 'x')!];
    kfence.free(b, IP);
    kfence.free(a, IP);
    expect(kfence.alloc(8, 'y')).toBe(b);
    expect([present(2), present(4)]).toEqual([false, true]);
  });

  it('cleans and takes back a guard when its object is freed', () => {
    const { kfence, fault, mm, ram, present } = create();
    const object = kfence.alloc(16, 'kmalloc-16', true)!;
    fault(page(3), true);
    const pa = mm.vmallocToPage(virtAddr(page(3))) * 4096;
    ram.write64(pa, 0xdeadn);
    kfence.free(object, IP);
    expect(present(3)).toBe(false);
    expect(ram.read64(pa)).toBe(0n);
  });

  it('reports a second free, and a free inside an object', () => {
    const { kfence, kernel } = create();
    const object = kfence.alloc(16, 'kmalloc-16')!;
    kfence.free(virtAddr(object + 8n), IP);
    kfence.free(object, IP);
    kfence.free(object, IP);
    expect(kernel.log.filter((line) => line.startsWith('Invalid'))).toEqual([
      `Invalid free of 0x${hex16(object + 8n)} (in kfence-#0):`,
      `Invalid free of 0x${hex16(object)} (in kfence-#0):`,
    ]);
    expect(kfence.bugs).toBe(2);
  });

  it('only makes pages present once it is disabled', () => {
    const { kfence, fault, kernel, present } = create();
    kfence.enabled = false;
    expect(fault(page(3))).toBe(true);
    expect(present(3)).toBe(true);
    expect(kernel.log).toEqual([]);
    expect(kfence.bugs).toBe(0);
  });

  it('stops before the report and before the PTE while it is stepped', () => {
    const { kfence, kernel } = create();
    kernel.stepping = true;
    const steps = [...kfence.handlePageFault(virtAddr(page(3)), false, regs)];
    expect(steps.map((step) => step.kind)).toEqual(['report', 'pte']);
  });

  it('forgets the guard that an object lost once the object itself is used after its free', () => {
    const { kfence, fault, present } = create();
    const object = kfence.alloc(16, 'kmalloc-16', true)!;
    kfence.free(object, IP);
    kfence.metadata[0].unprotectedPage = page(3);
    fault(object);
    expect(kfence.metadata[0].unprotectedPage).toBe(0n);
    expect(present(2)).toBe(true);
  });

  it('arm64: flushes the page that goes from every TLB, each time it is asked', () => {
    const { kfence, fault, flushes } = create();
    const object = kfence.alloc(16, 'kmalloc-16')!;
    kfence.free(object, IP);
    fault(object);
    expect(flushes).toEqual(['all 4096']);
  });

  it('x86: flushes this CPU alone, and leaves an entry that is as it should be', () => {
    const { kfence, fault, flushes, kernel, ram, mm } = create(3, true);
    const object = kfence.alloc(16, 'kmalloc-16')!;
    kfence.free(object, IP);
    expect(flushes).toEqual([`this CPU ${hex16(page(2))}`]);
    // A fault that another CPU has mended already.
    fault(object);
    const written = ram.read64(mm.ptepOffset(virtAddr(page(2)))!);
    ram.write64(mm.ptepOffset(virtAddr(page(2)))!, written | 0x200n);
    fault(object);
    expect(ram.read64(mm.ptepOffset(virtAddr(page(2)))!)).toBe(written | 0x200n);
    expect(kernel.log.filter((line) => line.startsWith('Use-after-free'))).toHaveLength(2);
  });

  it('knows the absent entries of both architectures', () => {
    expect(KFENCE_X86.protectedPte(0x8000000001234163n)).toBe(0x800ffffffedcb162n);
    expect(KFENCE_ARM64.protectedPte(0x0068000001234703n)).toBe(0x0068000001234f02n);
  });
});
