// 10,000 byte strings and 10,000 sequences of valid instructions by chance, on each architecture: the process that runs
// them does not die, nothing hangs, and the library's own words are never shown. scripts/fuzz-engine.ts runs more.
import { describe, expect, it } from 'vitest';
import { runCampaign } from './fuzz/campaign.ts';

const COUNT = 10_000;
const SEED = 2026;

describe.each(['x86_64', 'arm64'] as const)('code by chance, seed 2026, on %s', (arch) => {
  it.each(['bytes', 'sequences'] as const)(
    '%s',
    async (kind) => {
      const campaign = { arch, kind, seed: SEED, from: 0, to: COUNT };
      const report = await runCampaign(campaign);
      expect(report.wrong, `seed ${SEED}`).toEqual([]);
      expect(report.deaths, `seed ${SEED}`).toEqual([]);
      const { outcomes } = report;
      expect(Object.values(outcomes).reduce((sum, n) => sum + n, 0)).toBe(COUNT);
      // It does run code, and code that faults.
      if (kind === 'sequences') expect(outcomes.returned).toBeGreaterThan(COUNT / 20);
      expect(outcomes.oops).toBeGreaterThan(COUNT / 20);
      expect(report.faults).toBeGreaterThan(COUNT / 10);
    },
    600_000,
  );
});
