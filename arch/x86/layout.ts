// Where a modelled x86-64 kernel keeps things, without KASLR (Documentation/arch/x86/x86_64/mm.rst). Offsets inside
// the text and vmalloc areas are ours.
import { virtAddr } from '../../emulator/address.ts';
import type { KernelConfig } from '../../mm/context.ts';
import type { KernelLayout } from '../arch.ts';

export function x86Layout(config: KernelConfig): KernelLayout {
  const vmallocStart = config.la57 ? 0xffa0_0000_0000_0000n : 0xffff_c900_0000_0000n;
  return {
    text: virtAddr(0xffff_ffff_8100_0000n),
    bpfText: virtAddr(0xffff_ffff_c020_0000n),
    directMap: virtAddr(config.la57 ? 0xff11_0000_0000_0000n : 0xffff_8880_0000_0000n),
    vmemmap: virtAddr(config.la57 ? 0xffd4_0000_0000_0000n : 0xffff_ea00_0000_0000n),
    vmallocStart: virtAddr(vmallocStart),
    // A real kernel with five levels ends the range at 0xffd2000000000000. Scenarios name the addresses of four levels
    // whatever the depth, and nothing else is modelled between the two.
    vmallocEnd: virtAddr(0xffff_e900_0000_0000n),
    stack: virtAddr(vmallocStart + 0x10_0000n),
    arenaBase: virtAddr(0xffff_c900_01e6_9000n),
  };
}
