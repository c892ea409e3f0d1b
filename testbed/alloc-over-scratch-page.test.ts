// The bug of the posted patch, by its events: v2 meets the scratch PTE and gives up; mainline takes it away and maps
// the page, breaking before making on arm64.
import { describe, expect, it } from 'vitest';
import type { Event } from '../emulator/events.ts';
import type { ArchName, Series } from './scenario.ts';
import { loadTestHost, runYaml } from './test-run.ts';

const KADDR = { x86_64: 0xffffc90028069000n, arm64: 0xffff8000a7208000n };
const SCRATCH = { x86_64: 0x8000000001234163n, arm64: 0x0068000001234703n };

const scenario = (series: Series) => `
arch: [x86_64, arm64]
series: ${series}
arena: {pages: 1000, user_vm_start: 0x7f7d26200000}
kernel:
  vm_start: {x86_64: 0xffffc90001e69000, arm64: 0xffff800081008000}
  scratch_pfn: 0x1234
steps:
  - call:
      code: {x86_64: "mov [rdi], rsi; ret", arm64: "str x1, [x0]; ret"}
      args: [{arena: 0x26200000}, 42]
  - alloc: {count: 1}
  - call:
      code: {x86_64: "mov rax, [rdi]; ret", arm64: "ldr x0, [x0]; ret"}
      args: [{arena: 0x26200000}]
`;

/** PTE changes and flushes of one page, as "accessor before after". */
function steps(events: readonly Event[], va: bigint, scratch: bigint): string[] {
  const name = (pte: bigint) => (pte === 0n ? 'none' : pte === scratch ? 'scratch' : 'page');
  return events.flatMap((event) => {
    if (event.type === 'pteChange' && event.va === va) {
      return [`${event.by} ${name(event.before)} ${name(event.after)}`];
    }
    return event.type === 'tlb' && event.start === va ? [event.op] : [];
  });
}

describe.each<ArchName>(['x86_64', 'arm64'])('alloc over a scratched page on %s', async (arch) => {
  const host = await loadTestHost();

  it('fails in v2, and the scratch PTE stays', () => {
    const { steps: done, events } = runYaml(host, scenario('v2'), arch);
    expect(steps(events[0], KADDR[arch], SCRATCH[arch])).toEqual(['ptep_try_set none scratch']);
    expect(steps(events[1], KADDR[arch], SCRATCH[arch])).toEqual([]);
    expect(done[1].seen).toMatchObject({ kind: 'alloc', page: null });
    expect(done[2].seen).toMatchObject({ ret: 42n });
  });

  it('goes scratch, none, page in mainline', () => {
    const { steps: done, events } = runYaml(host, scenario('mainline'), arch);
    expect(steps(events[1], KADDR[arch], SCRATCH[arch])).toEqual([
      'ptep_get_and_clear scratch none',
      // What the TLB does: nothing on x86, where flush_tlb_before_set() is empty.
      ...(arch === 'arm64' ? ['invalidatePage'] : []),
      'flush_tlb_before_set',
      'ptep_try_set none page',
    ]);
    expect(done[1].seen).toMatchObject({ kind: 'alloc', page: 0 });
    // An x86 CPU goes on reading the scratch page through its TLB.
    expect(done[2].seen).toMatchObject({ ret: arch === 'x86_64' ? 42n : 0n });
  });
});
