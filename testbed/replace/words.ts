// Words of memory that compiled code and the model both see. Of the direct map only those pages are mapped that code has
// reached, but all of it is there.
import { virtAddr } from '../../emulator/address.ts';
import { hex } from '../../emulator/bits.ts';
import type { StructMember } from '../../emulator/elf/layouts.ts';
import { KernelStuck } from '../../mm/context.ts';
import type { Kernel } from '../kernel.ts';
import { writeUint } from './laid.ts';

/** Physical address behind a kernel address that has `bytes` bytes; null where nothing is. */
function physOf({ layout, ram, memory }: Kernel, at: bigint, bytes: number): number | null {
  const offset = at - layout.directMap;
  const pa =
    offset >= 0n && offset < BigInt(ram.size) ? Number(offset) : memory.physOf(virtAddr(at));
  return pa === null || !ram.contains(pa, bytes) ? null : pa;
}

/** The 8 bytes at a kernel address. @param what leads there, for the message. @throws KernelStuck */
export function readWordAt(kernel: Kernel, at: bigint, what: string): bigint {
  const pa = physOf(kernel, at, 8);
  if (pa === null) throw new KernelStuck(`${what} leads to ${hex(at)}, where nothing is mapped`);
  return kernel.ram.read64(pa);
}

/** Writes 8 bytes there. @throws KernelStuck */
export function writeWordAt(kernel: Kernel, at: bigint, value: bigint, what: string): void {
  const pa = physOf(kernel, at, 8);
  if (pa === null) throw new KernelStuck(`${what} leads to ${hex(at)}, where nothing is mapped`);
  kernel.ram.write64(pa, value);
}

/** A member of a structure in memory that code gave us the address of. @throws KernelStuck */
export function readMember(
  kernel: Kernel,
  at: bigint,
  { offset, size }: StructMember,
  what: string,
): bigint {
  const pa = physOf(kernel, at + BigInt(offset), size);
  if (pa === null) throw new KernelStuck(`${what} is handed ${hex(at)}, where nothing is mapped`);
  return kernel.ram.readUint(pa, size);
}

/** Writes one. @throws KernelStuck */
export function writeMember(
  kernel: Kernel,
  at: bigint,
  { offset, size }: StructMember,
  value: bigint,
  what: string,
): void {
  const pa = physOf(kernel, at + BigInt(offset), size);
  if (pa === null) throw new KernelStuck(`${what} is handed ${hex(at)}, where nothing is mapped`);
  writeUint(kernel, pa, size, value);
}

/** Fills memory that code gave us the address of with zeroes. @throws KernelStuck */
export function clearAt(kernel: Kernel, at: bigint, bytes: number, what: string): void {
  const pa = physOf(kernel, at, bytes);
  if (pa === null) throw new KernelStuck(`${what} is handed ${hex(at)}, where nothing is mapped`);
  kernel.ram.write(pa, new Uint8Array(bytes));
}
