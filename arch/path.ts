// The ends of a fault path. Outcomes without data are made once.
import type { FaultOutcome, FaultPath, Recoverer } from './arch.ts';

export const SPURIOUS: FaultOutcome = { resolution: 'spurious' };
export const FIXED_UP: FaultOutcome = { resolution: 'extable' };
const REPAIRED: Readonly<Record<Recoverer['resolution'], FaultOutcome>> = {
  scratch: { resolution: 'scratch' },
  kfence: { resolution: 'kfence' },
};

/** The outcome of a recoverer that returned true. */
export const repairedBy = (recoverer: Recoverer): FaultOutcome => REPAIRED[recoverer.resolution];

/** A path that has already come to its outcome. */
// biome-ignore lint/correctness/useYield: nothing another CPU could see is left to do
export function* settled(outcome: FaultOutcome): FaultPath {
  return outcome;
}
