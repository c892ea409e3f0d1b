// Kinds of address. A virtual address is 64 bits wide and held as bigint. A physical address has at most 52 bits on
// both architectures (MAXPHYADDR, PARange), so a number holds it exactly.
import { u64 } from './bits.ts';

declare const space: unique symbol;

/** Any 64-bit virtual address, unsigned. */
export type VirtAddr = bigint & { readonly [space]: 'virtual' };

/** A physical address: an integer from 0 to 2^52 - 1. */
export type PhysAddr = number & { readonly [space]: 'physical' };

/** A physical page frame number of 4 KiB frames: 0 to 2^40 - 1. */
export type Pfn = number & { readonly [space]: 'pfn' };

export const FRAME_SIZE = 4096;

/** @returns `value` modulo 2^64 as a virtual address */
export const virtAddr = (value: bigint): VirtAddr => u64(value) as VirtAddr;

/** @throws RangeError if `value` is not an integer from 0 to 2^52 - 1 */
export function physAddr(value: number): PhysAddr {
  if (!Number.isInteger(value) || value < 0 || value >= 2 ** 52) {
    throw new RangeError(`not a physical address: ${value}`);
  }
  return value as PhysAddr;
}

export const pfnToPhys = (pfn: Pfn): PhysAddr => (pfn * FRAME_SIZE) as PhysAddr;
