// What an unpipelined unit, as a divider, has to do and when. A job whose operands are late leaves the unit to others
// that come after it: they go into the gap if they fit.
import { TICKS_PER_CYCLE } from './units.ts';

interface Job {
  /** Ticks. */
  readonly begin: number;
  readonly end: number;
}

/** Jobs that are remembered; before the first of them nothing fits. */
const REMEMBERED = 64;

export class UnitJobs {
  /** In order of time. */
  private readonly jobs: Job[] = [{ begin: 0, end: 0 }];

  /**
   * Gives the unit a job.
   * @param busy ticks it takes
   * @param ready cycle from which its operands are there
   * @param portFree first cycle from the given one in which it gets a port
   * @returns cycle in which it starts
   */
  add(busy: number, ready: number, portFree: (cycle: number) => number): number {
    const { jobs } = this;
    let before = jobs.length - 1;
    while (before > 0 && jobs[before].end > ready * TICKS_PER_CYCLE) before--;
    for (; ; before++) {
      const { end } = jobs[before];
      const at = portFree(Math.max(ready, Math.ceil(end / TICKS_PER_CYCLE)));
      // A job that starts at once when the last one ends keeps the fraction of a cycle that rounding up has lost.
      const begin = end > (at - 1) * TICKS_PER_CYCLE ? end : at * TICKS_PER_CYCLE;
      const next = jobs[before + 1];
      if (next !== undefined && begin + busy > next.begin) continue;
      jobs.splice(before + 1, 0, { begin, end: begin + busy });
      if (jobs.length > REMEMBERED) jobs.shift();
      return at;
    }
  }
}
