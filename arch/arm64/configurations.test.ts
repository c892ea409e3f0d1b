import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Ram } from '../../emulator/ram.ts';
import { unicornEngine } from '../../emulator/unicorn/engine.ts';
import { RAM_BASE, RAM_SIZE } from './golden-case.ts';
import { createOracle } from './oracle.ts';
import { randomCase } from './test-configurations.ts';

// Whole configurations like those of the golden file, but at random, with the outcome of a second walker that was written
// down from the pseudocode alone. Every descriptor that the access changed is compared, after faults too.

interface Ending {
  expect: { fault: { esr: string; ec: string } | null };
  access: { kind: string };
}

const outcomeOf = (fault: Ending['expect']['fault']): string => {
  if (fault === null) return 'granted';
  return fault.ec === '0x22' ? 'pc' : (Number(fault.esr) & 0x3f).toString(16);
};

const seed = fc.integer({ min: 0, max: 2 ** 31 - 1 });
const tables = new Ram(RAM_BASE, RAM_SIZE);

describe('random arm64 configurations', () => {
  const seen = new Map<string, number>();

  it('come to what the pseudocode says', () => {
    const oracle = createOracle();
    fc.assert(
      fc.property(seed, (one) => {
        const golden = randomCase(one, tables);
        expect(oracle.run(golden).differences).toEqual([]);
        const key = outcomeOf((golden as unknown as Ending).expect.fault);
        seen.set(key, (seen.get(key) ?? 0) + 1);
      }),
      { numRuns: 6000 },
    );
  });

  it('are of every outcome', () => {
    const levels = [0, 1, 2, 3];
    const statuses = [0, 4, 8, 12].flatMap((kind) => levels.map((level) => kind + level));
    // No access flag and no permission fault without a leaf, which is never at level 0 here.
    for (const status of statuses.filter((one) => one !== 8 && one !== 12)) {
      const name = status.toString(16);
      expect(seen.get(name) ?? 0, name).toBeGreaterThan(0);
    }
    for (const name of ['21', 'pc']) expect(seen.get(name)).toBeGreaterThan(20);
    expect(seen.get('granted')).toBeGreaterThan(1000);
  });

  // An atomic that is refused to write has read first there, and leaves an access flag behind.
  it('come to the same on a vCPU', () => {
    const oracle = createOracle(unicornEngine());
    fc.assert(
      fc.property(seed, (one) => {
        const golden = randomCase(one, tables);
        const { expect: end, access } = golden as unknown as Ending;
        const faults = end.fault !== null;
        const open = faults && access.kind === 'rmw' ? { tables_open: 'af-on-fault' } : {};
        const { differences, skipped } = oracle.run({ ...golden, ...open });
        // An atomic that is refused to write has read first, and there is nothing to read.
        fc.pre(!(faults && skipped === 'the physical address is outside RAM'));
        expect({ differences, skipped }).toEqual({ differences: [], skipped: null });
      }),
      { numRuns: 1000 },
    );
  });
});
