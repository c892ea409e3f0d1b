import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { KNOB_NAMES } from '../../emulator/cost/knobs.ts';
import type { Charge } from '../event-costs.ts';
import { chargedSince, costedPath } from './path-costs.ts';

const path = [
  'exc_page_fault',
  'handle_page_fault',
  'fixup_exception',
  'ptep_try_set',
  'report',
  'retry',
].map((title) => ({ title, detail: '' }));

const charge = fc.record({
  name: fc.constantFrom(...KNOB_NAMES),
  count: fc.integer({ min: 1, max: 9 }),
  cycles: fc.nat(1000),
});
const charges = fc.uniqueArray(charge, { selector: ({ name }) => name });

describe('the costs of a path', () => {
  it('are the charges, each once, whatever the path has for them', () => {
    fc.assert(
      fc.property(charges, fc.subarray(path), (all, steps) => {
        const rows = costedPath(steps, all);
        const sum = rows.reduce((whole, { cycles }) => whole + cycles!, 0);
        expect(sum).toBe(all.reduce((whole, { cycles }) => whole + cycles, 0));
        for (const { name } of all) {
          expect(rows.filter(({ knobs }) => knobs.split(/[ ×]+/).includes(name))).toHaveLength(1);
        }
        expect(rows.map(({ title }) => title).filter(Boolean)).toEqual(
          steps.map(({ title }) => title),
        );
      }),
    );
  });

  it('stand where the kernel does the work, delivery first and the return before the retry', () => {
    const all = (
      [
        ['exceptionEntry', 1, 500],
        ['exceptionReturn', 1, 250],
        ['pathEntry', 1, 150],
        ['pathSearch', 1, 320],
        ['pathExit', 1, 151],
        ['recoverInstall', 1, 251],
        ['recoverReport', 1, 400],
        ['recoverReportByte', 222, 888],
      ] as const
    ).map(([name, count, cycles]): Charge => ({ name, count, cycles }));
    const rows = costedPath(path, all).map(({ title, cycles, knobs }) => [title, cycles, knobs]);
    expect(rows).toEqual([
      ['', 500, 'exceptionEntry'],
      ['exc_page_fault', 150, 'pathEntry 150'],
      ['handle_page_fault', 0, ''],
      ['fixup_exception', 320, 'pathSearch 320'],
      ['ptep_try_set', 251, 'recoverInstall 251'],
      ['report', 1288, 'recoverReport 400 + 222 × recoverReportByte 888'],
      ['', 151, 'pathExit'],
      ['', 250, 'exceptionReturn'],
      ['retry', 0, ''],
    ]);
  });

  it('are null where nobody counts', () => {
    expect(costedPath(path, null).every(({ cycles }) => cycles === null)).toBe(true);
  });

  it('of one fault are what was charged between two looks', () => {
    const before: Charge[] = [{ name: 'pathEntry', count: 2, cycles: 300 }];
    const now: Charge[] = [
      { name: 'pathEntry', count: 3, cycles: 450 },
      { name: 'pathExit', count: 1, cycles: 150 },
    ];
    expect(chargedSince(before, now)).toEqual([
      { name: 'pathEntry', count: 1, cycles: 150 },
      { name: 'pathExit', count: 1, cycles: 150 },
    ]);
    expect(chargedSince(now, now)).toEqual([]);
  });
});
