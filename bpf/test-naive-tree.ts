// A naive set of slots that the tests of range trees, and through test-naive.ts those of arenas, compare with. It is
// written from the description of the kernel's behaviour, and shares no code with the model.
import { ERRNO } from '../mm/context.ts';

/** A set of slots and, for the ties, the time at which each maximal run last changed. */
export class NaiveTree {
  private runs: { start: number; last: number; time: number }[] = [];
  private time = 0;

  set(start: number, last: number): void {
    if (this.covered(start, last)) return;
    this.clear(start, last);
    const left = this.runs.find((run) => run.last + 1 === start);
    const right = this.runs.find((run) => run.start === last + 1);
    this.runs = this.runs.filter((run) => run !== left && run !== right);
    this.add(left ? left.start : start, right ? right.last : last);
  }

  clear(start: number, last: number): void {
    const hit = this.runs.filter((run) => run.start <= last && run.last >= start);
    this.runs = this.runs.filter((run) => !hit.includes(run));
    for (const run of hit.sort((a, b) => a.start - b.start)) {
      if (run.start < start) this.add(run.start, start - 1);
      if (run.last > last) this.add(last + 1, run.last);
    }
  }

  covered(start: number, last: number): boolean {
    return this.runs.some((run) => run.start <= start && run.last >= last);
  }

  find(len: number): number {
    const size = (run: { start: number; last: number }) => run.last - run.start + 1;
    const fits = this.runs.filter((run) => size(run) >= len);
    fits.sort((a, b) => size(a) - size(b) || b.time - a.time);
    return fits[0]?.start ?? ERRNO.ENOENT;
  }

  nodes(): number[][] {
    return [...this.runs].sort((a, b) => a.start - b.start).map((run) => [run.start, run.last]);
  }

  private add(start: number, last: number): void {
    this.runs.push({ start, last, time: ++this.time });
  }
}
