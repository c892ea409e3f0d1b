// Where arenas came to lie, and the two ways of counting in them that the scenario format has.
import type { VirtAddr } from '../emulator/address.ts';
import { u64 } from '../emulator/bits.ts';
import type { Argument, KernelPage, Value } from './scenario-model.ts';

const SZ_4G = 0x1_0000_0000n;
/** GUARD_SZ of kernel/bpf/arena.c before it is rounded up to twice the page size. */
const GUARD_SZ = 0x1_0000n;

/** One arena in the machine. */
export interface ArenaPlace {
  readonly name: string;
  /** kern_vm_start. */
  readonly kbase: bigint;
  readonly userVmStart: bigint;
  /** Kernel page size in bytes. */
  readonly pageSize: number;
}

/** First byte behind what an arena contains: 4 GiB and half a guard from kern_vm_start. */
export function arenaEnd(arena: ArenaPlace): bigint {
  const twoPages = 2n * BigInt(arena.pageSize);
  return arena.kbase + SZ_4G + (GUARD_SZ > twoPages ? GUARD_SZ : twoPages) / 2n;
}

/** The arena that contains `va`, or null. The lower guard belongs to none. */
export function arenaAt(va: bigint, arenas: readonly ArenaPlace[]): ArenaPlace | null {
  return arenas.find((arena) => va >= arena.kbase && va < arenaEnd(arena)) ?? null;
}

/** Page of `va` in the arena that contains it, or null outside every arena. */
export function pageAt(va: bigint, arenas: readonly ArenaPlace[]): KernelPage | null {
  const arena = arenaAt(va, arenas);
  if (arena === null) return null;
  return Number((va - arena.kbase) / BigInt(arena.pageSize)) as KernelPage;
}

/** @throws RangeError if there is no such arena (the loader has checked names: then it is our mistake) */
export function arenaNamed(name: string, arenas: readonly ArenaPlace[]): ArenaPlace {
  const arena = arenas.find((candidate) => candidate.name === name);
  if (arena === undefined) throw new RangeError(`no arena ${name}`);
  return arena;
}

/** @returns the value as an unsigned 64-bit number */
export function resolveValue(value: Value, arenas: readonly ArenaPlace[]): bigint {
  switch (value.kind) {
    case 'integer':
      return u64(value.value);
    case 'arena':
      return u64(arenaNamed(value.arena, arenas).kbase + value.offset);
    case 'user':
      return u64(arenaNamed(value.arena, arenas).userVmStart + value.offset);
  }
}

export const isBuffer = (argument: Argument): argument is Extract<Argument, { kind: 'buffer' }> =>
  argument.kind === 'buffer';

/** An entry of the kernel's tables, or where it lies. */
export type EntryArgument = Extract<Argument, { kind: 'pte' | 'entry' }>;

export const isEntry = (argument: Argument): argument is EntryArgument =>
  argument.kind === 'pte' || argument.kind === 'entry';

/** Virtual address of an arena's user page, as the kfuncs take it. */
export const userAddress = (arena: ArenaPlace, page: number): VirtAddr =>
  u64(arena.userVmStart + BigInt(page) * BigInt(arena.pageSize)) as VirtAddr;
