// Spinlocks of the code's own, in its memory: a word that is not 0 while the lock is held. Interrupts are not modelled.
import { virtAddr } from '../../../emulator/address.ts';
import { hex } from '../../../emulator/bits.ts';
import { type Activity, CHANGED, KernelStuck, LOOKED } from '../../../mm/context.ts';
import type { Callee } from '../guest-calls.ts';
import { type CalleeParts, plain } from './index.ts';

const WORD = 4;

export function spinLockCallees({ kernel, structures }: CalleeParts): [string, Callee][] {
  const { context, memory, ram } = kernel;
  /** Physical address of a lock's word. */
  const wordAt = (address: bigint): number => {
    const pa = structures.physical(address) ?? memory.physOf(virtAddr(address));
    if (pa !== null && ram.contains(pa, WORD)) return pa;
    throw new KernelStuck(`takes a spinlock at ${hex(address)}, where nothing is mapped`);
  };
  const isHeld = (pa: number): boolean => ram.readUint(pa, WORD) !== 0n;
  function* lock(address: bigint): Activity<void> {
    const pa = wordAt(address);
    const what = `spinlock at ${hex(address)}`;
    while (isHeld(pa)) {
      if (!context.stepping) throw new KernelStuck(`spins on the ${what}, which its CPU holds`);
      yield { kind: 'lock', what, ready: () => !isHeld(pa) };
    }
    context.access?.word(pa - (pa % 8), LOOKED | CHANGED);
    ram.write(pa, Uint8Array.of(1, 0, 0, 0));
  }
  const unlock = (address: bigint): void => {
    const pa = wordAt(address);
    context.access?.word(pa - (pa % 8), LOOKED | CHANGED);
    ram.write(pa, new Uint8Array(WORD));
  };
  const locks = ['', '_bh', '_irq', '_irqsave'].map((kind) => `_raw_spin_lock${kind}`);
  const unlocks = ['', '_bh', '_irq', '_irqrestore'].map((kind) => `_raw_spin_unlock${kind}`);
  return [
    ...locks.map((name): [string, Callee] => [
      name,
      function* (argument) {
        yield* lock(argument(0));
        return 0n;
      },
    ]),
    ...unlocks.map((name): [string, Callee] => [
      name,
      plain((argument) => {
        unlock(argument(0));
        return null;
      }),
    ]),
    [
      '_raw_spin_trylock',
      function* (argument) {
        if (isHeld(wordAt(argument(0)))) return 0n;
        yield* lock(argument(0));
        return 1n;
      },
    ],
  ];
}
