// Where a modelled arm64 kernel with 48-bit addresses keeps things, without KASLR (Documentation/arch/arm64/memory.rst).
// Offsets inside the text and vmalloc areas are ours.
import { virtAddr } from '../../emulator/address.ts';
import type { KernelConfig } from '../../mm/context.ts';
import type { KernelLayout } from '../arch.ts';

/** VMEMMAP_END; the array holds 64 bytes for each page of half the kernel's addresses. */
const VMEMMAP_END = 0xffff_ffff_c000_0000n;
const HALF = 1n << 47n;

export function arm64Layout(config: KernelConfig): KernelLayout {
  return {
    text: virtAddr(0xffff_8000_8000_0000n),
    bpfText: virtAddr(0xffff_8000_7800_0000n),
    directMap: virtAddr(0xffff_0000_0000_0000n),
    vmemmap: virtAddr(VMEMMAP_END - (HALF / BigInt(config.pageSize)) * 64n),
    vmallocStart: virtAddr(0xffff_8000_8000_0000n),
    vmallocEnd: virtAddr(0xffff_fdff_bfff_0000n),
    stack: virtAddr(0xffff_8000_80c0_0000n),
    arenaBase: virtAddr(
      config.pageSize === 65536 ? 0xffff_8000_8101_0000n : 0xffff_8000_8100_8000n,
    ),
  };
}
