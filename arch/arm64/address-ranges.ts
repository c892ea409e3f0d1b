// Which half of the address space an address lies in, as the kernel asks (asm/memory.h, asm/processor.h). The hardware's
// question is another, VA[55] alone: see arch/arm64/paging.ts.
import type { VirtAddr } from '../../emulator/address.ts';
import { hi32 } from '../../emulator/bits.ts';
import type { FaultContext } from '../arch.ts';

/** vabits_actual: width of kernel and user addresses. */
export const vaBits = (context: FaultContext): number =>
  context.pte.shifts[0] + context.pte.topBits;

/**
 * is_ttbr0_addr(): below TASK_SIZE. `addr` is untagged.
 * @kernel is_ttbr0_addr arch/arm64/include/asm/processor.h read
 */
export const isTtbr0Addr = (context: FaultContext, addr: bigint): boolean =>
  hi32(addr) >>> (vaBits(context) - 32) === 0;

/**
 * is_ttbr1_addr(): at or above PAGE_OFFSET.
 * @kernel is_ttbr1_addr arch/arm64/include/asm/processor.h read
 */
export const isTtbr1Addr = (context: FaultContext, addr: bigint): boolean =>
  hi32(addr) >> (vaBits(context) - 32) === -1;

/**
 * untagged_addr(): a user address (VA[55] = 0) without its tag; kernel addresses keep theirs.
 * @kernel untagged_addr arch/arm64/include/asm/memory.h read
 */
export const untaggedAddr = (addr: VirtAddr): VirtAddr =>
  hi32(addr) & 0x0080_0000 ? addr : (BigInt.asUintN(56, addr) as VirtAddr);
