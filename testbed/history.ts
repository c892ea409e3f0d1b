// The way back of a debugger: snapshots, and the same instructions run again from the nearest one. A run is a function of
// its beginning, so that what is reached again is what was there. Left out: a way back into steps that are no calls, and
// changes that somebody makes to the world by hand.
import type { Breakpoint, Debugger, DebugStop } from './debugger.ts';
import type { WorldState } from './snapshot.ts';

/** A moment between two instructions: of which call, and how many had retired in all. */
interface Place {
  /** {@link Debugger.stepsBegun} */
  readonly step: number;
  readonly retired: number;
}

interface Mark extends Place {
  readonly state: WorldState;
}

/** A way back this long leaves a mark so far before its end, for the next one. */
const LONG = 1000;
/** Marks kept beside those of the calls' entries. */
const MARKS_BETWEEN = 16;

export class History {
  private readonly debug: Debugger;
  /** By their places: the entry of each call, and some that ways back have left. */
  private readonly marks: Mark[] = [];
  /** Where one can stand last in each call, by its step. */
  private readonly lastOf = new Map<number, Place>();

  constructor(debug: Debugger) {
    this.debug = debug;
  }

  /** Keeps the present state. Called at the entry of each call. */
  mark(): void {
    const here = this.here();
    if (this.marks.some((mark) => isSame(mark, here))) return;
    const at = this.marks.findIndex((mark) => isBefore(here, mark));
    this.marks.splice(at < 0 ? this.marks.length : at, 0, { ...here, state: this.debug.save() });
  }

  /** A call ends. @param retired whether the instruction that it ended behind has retired */
  ended(retired: boolean): void {
    const { step, retired: count } = this.here();
    this.lastOf.set(step, { step, retired: retired ? count - 1 : count });
  }

  /** reverse-stepi: back to before the instruction that retired last, or that is in the middle of a fault. */
  stepBack(): DebugStop {
    return this.debug.run.kernel.events.silently(() => {
      const here = this.here();
      if (this.debug.inFault) return this.goTo(here);
      const entry = this.marks.findLast((mark) => mark.step === here.step);
      if (this.debug.call !== null && entry && isBefore(entry, here)) {
        return this.goTo({ step: here.step, retired: here.retired - 1 });
      }
      const before = this.placeBefore(here);
      return before === null ? { kind: 'start' } : this.goTo(before);
    });
  }

  /** reverse-continue: back to the last time that a breakpoint was reached before here, or to the first entry. */
  continueBack(): DebugStop {
    return this.debug.run.kernel.events.silently(() => {
      let end = this.here();
      // A call that has ended may have ended at a breakpoint.
      if (this.debug.call === null) end = { ...end, retired: Number.POSITIVE_INFINITY };
      const hits = new Map(this.debug.breakpoints.map((one) => [one, one.hits]));
      const marks = this.marks.filter((mark) => isBefore(mark, end));
      for (const mark of marks.reverse()) {
        const found = this.lastHit(mark, end);
        for (const [one, count] of hits) one.hits = count;
        if (found !== null) {
          this.goTo(found.place);
          found.breakpoint.hits++;
          return { kind: 'breakpoint', breakpoint: found.breakpoint };
        }
        end = mark;
      }
      if (this.marks.length > 0) this.debug.restore(this.marks[0].state);
      return { kind: 'start' };
    });
  }

  private here(): Place {
    return { step: this.debug.stepsBegun, retired: this.debug.vcpu.cpu.retired };
  }

  /** The last place of the call that has ended, or of the one before the present. */
  private placeBefore({ step }: Place): Place | null {
    const ended = [...this.lastOf.keys()].filter((one) =>
      this.debug.call === null ? one <= step : one < step,
    );
    return this.lastOf.get(Math.max(...ended)) ?? null;
  }

  private goTo(place: Place): DebugStop {
    const from = this.marks.findLast((mark) => !isBefore(place, mark))!;
    this.debug.restore(from.state);
    if (place.retired - from.retired > LONG) {
      this.debug.runTo(place.retired - LONG / 4);
      this.mark();
      this.thin();
    }
    this.debug.runTo(place.retired);
    return { kind: 'stepped' };
  }

  /** The last breakpoint in [from, end), in a call that begins at or before `from`. */
  private lastHit(from: Mark, end: Place): { place: Place; breakpoint: Breakpoint } | null {
    const { debug } = this;
    debug.restore(from.state);
    let last: { place: Place; breakpoint: Breakpoint } | null = null;
    const standing = debug.breakpoints.find(({ addr }) => addr === debug.ip);
    if (standing) last = { place: this.here(), breakpoint: standing };
    for (;;) {
      const stop = debug.continue();
      const place = this.here();
      if (stop.kind !== 'breakpoint') return last;
      if (place.step === end.step && !isBefore(place, end)) return last;
      last = { place, breakpoint: stop.breakpoint };
    }
  }

  /** Drops the oldest marks that are no entries of calls. */
  private thin(): void {
    const between = this.marks.filter((mark, i) => this.marks[i - 1]?.step === mark.step);
    if (between.length > MARKS_BETWEEN) this.marks.splice(this.marks.indexOf(between[0]), 1);
  }
}

const isBefore = (a: Place, b: Place): boolean =>
  a.step < b.step || (a.step === b.step && a.retired < b.retired);
const isSame = (a: Place, b: Place): boolean => a.step === b.step && a.retired === b.retired;
