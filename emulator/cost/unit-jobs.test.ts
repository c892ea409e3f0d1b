import { describe, expect, it } from 'vitest';
import { UnitJobs } from './unit-jobs.ts';
import { TICKS_PER_CYCLE } from './units.ts';

const BUSY = 5 * TICKS_PER_CYCLE;
const anyPort = (cycle: number) => cycle;

describe('an unpipelined unit', () => {
  it('does one job after another', () => {
    const unit = new UnitJobs();
    expect([0, 0, 0].map((ready) => unit.add(BUSY, ready, anyPort))).toEqual([0, 5, 10]);
  });

  it('does not wait for a job whose operands are late', () => {
    const unit = new UnitJobs();
    expect(unit.add(BUSY, 100, anyPort)).toBe(100);
    expect(unit.add(BUSY, 1, anyPort)).toBe(1);
    // Between 6 and 100 there is room for one that is ready at 95, not at 96.
    expect(unit.add(BUSY, 96, anyPort)).toBe(105);
    expect(unit.add(BUSY, 95, anyPort)).toBe(95);
  });

  it('keeps the fraction of a cycle of jobs that follow each other', () => {
    const unit = new UnitJobs();
    const half = 4.5 * TICKS_PER_CYCLE;
    expect([0, 0, 0, 0].map((ready) => unit.add(half, ready, anyPort))).toEqual([0, 5, 9, 14]);
  });

  it('waits for a port', () => {
    expect(new UnitJobs().add(BUSY, 3, (cycle) => Math.max(cycle, 7))).toBe(7);
  });
});
