// Locks that compiled code takes by calls: mutexes of the arena, and mmap_lock. Letting one go is no step of its own.
import { type Lock, mutexLock, unlock } from '../../../bpf/rqspinlock.ts';
import { hex } from '../../../emulator/bits.ts';
import { KernelStuck } from '../../../mm/context.ts';
import type { Callee } from '../guest-calls.ts';
import { type CalleeParts, plain } from './index.ts';

export function lockCallees({ kernel, structures }: CalleeParts): [string, Callee][] {
  const { context } = kernel;
  /** null: the lock of a stream, for which nobody waits, since reading one is a step. */
  const lockAt = (address: bigint): Lock | null => {
    const arena = structures.arenaAround(address);
    const member = structures.arenaMemberAt(address);
    if (arena !== null && member === 'lock') return arena.lock;
    if (arena !== null && member === 'zap_mutex') return arena.zapMutex;
    const mm = structures.mappings.mmAround(address);
    if (mm !== null) return mm.mmapLock;
    if (structures.auxAround(address) !== null) return null;
    throw new KernelStuck(`${hex(address)} is no lock of the model`);
  };
  /** map->freeze_mutex guards what no other CPU changes. */
  const isOfMap = (address: bigint): boolean => structures.arenaMemberAt(address) === 'map';
  const acquire: Callee = function* (argument) {
    if (isOfMap(argument(0))) return null;
    const lock = lockAt(argument(0));
    if (lock !== null) yield* mutexLock(context, lock);
    return null;
  };
  const release = plain((argument) => {
    if (isOfMap(argument(0))) return null;
    const lock = lockAt(argument(0));
    if (lock === null) return null;
    if (lock.holder !== context.cpu)
      throw new KernelStuck(`lets ${lock.name} go, which CPU ${context.cpu} does not hold`);
    unlock(context, lock);
    return null;
  });
  const nothing = plain(() => null);
  return [
    ['mutex_lock', acquire],
    ['mutex_lock_nested', acquire],
    ['mutex_unlock', release],
    ['down_read', acquire],
    ['up_read', release],
    ['mmap_read_lock', acquire],
    ['mmap_read_unlock', release],
    ['__mutex_init', nothing],
    ['mutex_init_generic', nothing],
  ];
}
