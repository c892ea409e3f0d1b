// How the kernel's flushes reach the TLBs: page by page or whole, on every CPU or on one.
import { beforeAll, describe, expect, it } from 'vitest';
import { type VirtAddr, virtAddr } from '../emulator/address.ts';
import { EventSink } from '../emulator/events.ts';
import { tlbControl } from './kernel-tlbs.ts';
import { type RunHost, WorldRun } from './run.ts';
import { type ArchName, parseScenario } from './scenario.ts';
import { loadTestHost } from './test-run.ts';

const START = virtAddr(0xffff_c900_1000_0000n);

let host: RunHost;
beforeAll(async () => {
  host = await loadTestHost();
});

/** What `flush` asks of the TLBs of two CPUs: the operations of each CPU, counted. */
function operations(
  arch: ArchName,
  pageSize: number,
  flush: (tlb: ReturnType<typeof tlbControl>, end: (pages: number) => VirtAddr) => void,
): readonly string[] {
  const size =
    pageSize === 4096
      ? ''
      : `kernel: {page_size: ${pageSize}}
`;
  const text = `name: flush
${size}arch: [${arch}]
code: {${arch}: ret}
`;
  const world = parseScenario(text, 'flush.yaml', () => new Uint8Array()).worlds[arch]!;
  const events = new EventSink();
  const counts = new Map<string, number>();
  events.read((event) => {
    if (event.type !== 'tlb' || !event.op.startsWith('invalidate')) return;
    const key = `CPU ${event.cpu} ${event.op}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  });
  const { kernel } = new WorldRun(host, world, { events });
  kernel.addCpu();
  counts.clear();
  flush(tlbControl(kernel), (pages) => virtAddr(START + BigInt(pages * pageSize)));
  return [...counts].map(([key, count]) => `${key} ${count}`);
}

describe('flush_tlb_kernel_range()', () => {
  it.each<[ArchName, number, number]>([
    ['x86_64', 4096, 33],
    ['arm64', 4096, 511],
    ['arm64', 16384, 2047],
  ])('on %s with pages of %i bytes goes page by page up to %i of them', (arch, size, most) => {
    const flushed = (pages: number) =>
      operations(arch, size, (tlb, end) => tlb.flushKernelRange(START, end(pages)));
    expect(flushed(most)).toEqual([`CPU 0 invalidatePage ${most}`, `CPU 1 invalidatePage ${most}`]);
    expect(flushed(most + 1)).toEqual(['CPU 0 invalidateAll 1', 'CPU 1 invalidateAll 1']);
  });
});

describe('flush_tlb_before_set()', () => {
  it('is nothing on x86, and the page on every CPU on arm64', () => {
    const flushed = (arch: ArchName) => operations(arch, 4096, (tlb) => tlb.flushBeforeSet(START));
    expect(flushed('x86_64')).toEqual([]);
    expect(flushed('arm64')).toEqual(['CPU 0 invalidatePage 1', 'CPU 1 invalidatePage 1']);
  });
});

describe('flush_tlb_one_kernel()', () => {
  it('leaves the TLBs of other CPUs alone', () => {
    const flushed = operations('x86_64', 4096, (tlb) => tlb.flushOneKernel(START));
    expect(flushed).toEqual(['CPU 0 invalidatePage 1']);
  });
});
