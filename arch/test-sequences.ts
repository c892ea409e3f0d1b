// Random sequences of steps on a paging unit with its TLB, for the tests of both architectures.
import fc from 'fast-check';
import { expect } from 'vitest';

/** One sequence: its steps check what they come to. */
export interface RandomSequence {
  step(): void;
  /** Leaves the memory as it was. */
  end(): void;
  /** Accesses so far that came to something else than the tables of now say. */
  readonly stale: number;
}

/** Runs random sequences of 14 steps, and has them meet stale entries often enough to tell. */
export function runSequences(begin: (seed: number) => RandomSequence): void {
  let stale = 0;
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 31 - 1 }), (seed) => {
      const sequence = begin(seed);
      try {
        for (let left = 14; left > 0; left--) sequence.step();
      } finally {
        sequence.end();
        stale += sequence.stale;
      }
    }),
    { numRuns: 1500 },
  );
  expect(stale).toBeGreaterThan(100);
}
