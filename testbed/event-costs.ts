// Charges what happens beside the instructions of a run: faults by the steps of their path, walks entry by entry, TLB
// operations by the number of CPUs that they reach. Every charge is a knob of the preset, so many times.
import { KNOB_NAMES, type KnobName, type KnobValues } from '../emulator/cost/knobs.ts';
import { WalkCache, type WalkSteps } from '../emulator/cost/walk-cache.ts';
import type { Resolution } from '../emulator/events.ts';
import type { KernelWork } from '../mm/context.ts';

/** What one knob came to. */
export interface Charge {
  readonly name: KnobName;
  readonly count: number;
  readonly cycles: number;
}

/** A walk as the paging unit recorded it. */
export interface RecordedWalk extends WalkSteps {
  /** Physical address of an entry. */
  entryAddr(step: number): number;
}

/** A fault as far as its costs go. */
export interface CostedFault {
  readonly resolution: Resolution;
  /** Addresses of the lower half take the way through the VMAs. */
  readonly userAddress: boolean;
}

/** Of one vCPU. Counts begin again with {@link take}. */
export class EventCosts {
  readonly values: KnobValues;
  /** Cycles so far, since the last {@link take}. */
  cycles = 0;
  /** Cycles of the last walk. */
  lastWalk = 0;
  private readonly work: KernelWork;
  private readonly walks: WalkCache;
  private counts = new Map<KnobName, { count: number; cycles: number }>();
  private seen: KernelWork;

  /** @param work counters of the kernel, of which differences are charged */
  constructor(values: KnobValues, work: KernelWork) {
    this.values = values;
    this.work = work;
    this.seen = { ...work };
    this.walks = new WalkCache(values.upperEntries, values.lowerEntries);
  }

  /** Charges since the last call, in the order of the knobs. */
  take(): Charge[] {
    const charges = this.charges();
    this.counts.clear();
    this.cycles = 0;
    this.seen = { ...this.work };
    return charges;
  }

  /** The same, and they go on. */
  charges(): Charge[] {
    return KNOB_NAMES.flatMap((name) => {
      const charge = this.counts.get(name);
      return charge === undefined ? [] : [{ name, ...charge }];
    });
  }

  add(name: KnobName, count = 1, each = this.values[name]): void {
    if (count === 0) return;
    const charge = this.counts.get(name) ?? { count: 0, cycles: 0 };
    charge.count += count;
    charge.cycles += count * each;
    this.cycles += count * each;
    this.counts.set(name, charge);
  }

  /** A fault went its whole way: delivery, the kernel's path and, unless the kernel died, the return. */
  fault({ resolution, userAddress }: CostedFault): void {
    const done = this.workDone();
    this.add('exceptionEntry');
    this.add('pathEntry');
    this.add('pathClassify');
    if (userAddress) this.add('pathVma');
    this.add('pathSearch', done.searches);
    this.add('recoverFrame', done.frames);
    if (resolution === 'scratch') this.add('recoverInstall');
    this.add('recoverReport', done.reports);
    this.add('recoverReportByte', done.reportBytes);
    this.add('printkLine', done.logLines);
    if (resolution === 'extable') this.add('pathFixup');
    if (resolution === 'oops') return;
    this.add('pathExit');
    this.add('exceptionReturn');
  }

  /** The MMU walked the tables. @param hi upper and @param lo lower 32 bits of the address */
  walk(hi: number, lo: number, walk: RecordedWalk): void {
    const before = this.cycles;
    const known = this.walks.walked(hi, lo, walk);
    const { walkFactor, walkFixed } = this.values;
    this.add('walkFixed', 1, Math.round((walkFixed * walkFactor) / 100));
    for (let step = known; step < walk.length; step++) {
      this.add('walkEntry', 1, Math.round((this.entryCycles(walk, step) * walkFactor) / 100));
    }
    this.lastWalk = this.cycles - before;
  }

  /** Cycles to one entry of a walk. */
  protected entryCycles(_walk: RecordedWalk, _step: number): number {
    return this.values.walkEntry;
  }

  /** Something was dropped from a TLB: what is remembered of upper levels goes with it. */
  invalidated(): void {
    this.walks.clear();
  }

  /** The kernel dropped `pages` pages (null: everything) on `cpus` CPUs, this one among them. */
  shootdown(pages: number | null, cpus: number): void {
    if (pages === null) this.add('invalidateAll');
    else this.add('invalidatePage', pages);
    this.add('barrier');
    if (cpus > 1) this.broadcast(cpus, 1);
  }

  /** `times` messages to all of `cpus` CPUs but this one, at least one, and their answers. */
  broadcast(cpus: number, times: number): void {
    this.add('shootdownSend', times);
    this.add('shootdownFirst', times);
    this.add('shootdownFurther', times * (cpus - 2));
  }

  private workDone(): KernelWork {
    const { work, seen } = this;
    this.seen = { ...work };
    return {
      searches: work.searches - seen.searches,
      frames: work.frames - seen.frames,
      reports: work.reports - seen.reports,
      reportBytes: work.reportBytes - seen.reportBytes,
      logLines: work.logLines - seen.logLines,
    };
  }
}
