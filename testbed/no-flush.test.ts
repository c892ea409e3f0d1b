// What the comparison of flushing and not flushing must keep to, whatever the knobs.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type KnobValues, valuesOf } from '../emulator/cost/knobs.ts';
import { CPUS, compareNoFlush, type MeasuredFault, measureFault, refaultsOf } from './no-flush.ts';
import { ARCHITECTURES } from './run.ts';
import { loadTestHost } from './test-run.ts';

const cycles = fc.integer({ min: 0, max: 100_000 });
const knobs: fc.Arbitrary<KnobValues> = fc
  .record({
    ...{ invalidatePage: cycles, barrier: cycles, shootdownSend: cycles },
    ...{ shootdownFirst: cycles, shootdownFurther: cycles },
  })
  .map((some) => ({ ...valuesOf(ARCHITECTURES.x86_64.costs.presets[0]), ...some }));
const faults: fc.Arbitrary<MeasuredFault> = fc.record({
  install: cycles,
  refault: fc.integer({ min: 1, max: 100_000 }),
  own: fc.integer({ min: 0, max: 2 }),
});

describe('flushing and not', () => {
  it('both cost no less with more CPUs', () => {
    fc.assert(
      fc.property(knobs, faults, (values, fault) => {
        const rows = compareNoFlush(values, fault);
        for (const [i, row] of rows.slice(1).entries()) {
          expect(row.flush).toBeGreaterThanOrEqual(rows[i].flush);
          for (const [nth, on] of row.on.entries())
            expect(on).toBeGreaterThanOrEqual(rows[i].on[nth]);
        }
      }),
    );
  });

  it('differ on one CPU by its own invalidation', () => {
    fc.assert(
      fc.property(knobs, faults, (values, fault) => {
        const [{ flush, off }] = compareNoFlush(values, fault, [1]);
        expect(flush - off).toBe(values.invalidatePage + values.barrier);
      }),
    );
  });

  it('cross where the table does', () => {
    fc.assert(
      fc.property(knobs, faults, (values, fault) => {
        for (const { cpus, flush, on, crossing, crossingShare } of compareNoFlush(values, fault)) {
          const all = on[on.length - 1];
          if (Math.abs(all - flush) > 1e-3) expect(crossingShare === null).toBe(all < flush);
          expect(fault.install + crossing * fault.refault).toBeCloseTo(flush, 3);
          if (crossingShare === null || crossingShare === 0) continue;
          const there = refaultsOf(fault, cpus, crossingShare);
          expect(fault.install + there * fault.refault).toBeCloseTo(flush, 3);
        }
      }),
    );
  });
});

describe.each(['x86_64', 'arm64'] as const)('the fault that is measured on %s', (arch) => {
  it('follows the knobs, and a re-fault installs nothing', async () => {
    const host = await loadTestHost();
    const [preset] = ARCHITECTURES[arch].costs.presets;
    const fault = measureFault(host, preset);
    const entry = { value: preset.knobs.exceptionEntry.value + 100, source: 'test' };
    const dearer = measureFault(host, {
      ...preset,
      knobs: { ...preset.knobs, exceptionEntry: entry },
    });
    expect(dearer).toEqual({
      ...fault,
      install: fault.install + 100,
      refault: fault.refault + 100,
    });
    expect(fault.own).toBe(1);
    expect(fault.refault).toBeLessThan(fault.install);
    expect(CPUS[CPUS.length - 1]).toBe(256);
  });
});
