// Every fault of a run, counted: by instruction, by page of an arena, and in time. A run may take a million, so nothing here
// keeps more of one than a few numbers.
import type { Resolution } from '../../emulator/events.ts';
import type { ArenaPlace } from '../places.ts';
import type { TimeSlice } from './model.ts';
import type { Moment, RecordedFault } from './recorded.ts';

export const RESOLUTIONS: readonly Resolution[] = [
  'scratch',
  'extable',
  'kfence',
  'spurious',
  'oops',
];

/** Faults on a timeline beyond which single marks would hide each other. */
export const MOST_MARKS = 240;
/** Slices of a timeline then. */
export const SLICES = 240;

export interface TalliedGroup {
  readonly like: RecordedFault;
  count: number;
  first: number;
  lowest: bigint;
  highest: bigint;
  cycles: number | null;
}

export class FaultTally {
  private readonly byKind = new Map<string, TalliedGroup>();
  private readonly places: readonly ArenaPlace[];
  private readonly byPage = new Map<string, Map<number, number>>();
  /** Of each fault its place in time, once its call has ended; until then how far the call had come. */
  private readonly starts: number[] = [];
  private moments: number[] = [];
  /** Of each fault its CPU and resolution. */
  private readonly kinds: number[] = [];

  constructor(places: readonly ArenaPlace[]) {
    this.places = places;
  }

  get count(): number {
    return this.kinds.length;
  }

  add(fault: RecordedFault): void {
    const { site, access, code, resolution, va, cycles, cpu } = fault;
    this.starts.push(fault.start);
    this.moments.push(fault.instructions, fault.events);
    this.kinds.push(cpu * RESOLUTIONS.length + RESOLUTIONS.indexOf(resolution));
    this.countPage(va);
    const key = `${site.symbol} ${site.instruction} ${access} ${code} ${resolution}`;
    const group = this.byKind.get(key);
    if (group === undefined) {
      const first = fault.order + 1;
      this.byKind.set(key, { like: fault, count: 1, first, lowest: va, highest: va, cycles });
      return;
    }
    group.count++;
    group.first = Math.min(group.first, fault.order + 1);
    if (va < group.lowest) group.lowest = va;
    if (va > group.highest) group.highest = va;
    group.cycles = group.cycles === null || cycles === null ? null : group.cycles + cycles;
  }

  /** A call has ended that began at `time`: its faults are placed. @param at how far into the call */
  place(at: (moment: Moment) => number, time: number): void {
    const { moments, starts } = this;
    const first = starts.length - moments.length / 2;
    for (let i = 0; i < moments.length; i += 2) {
      const [instructions, events] = [moments[i], moments[i + 1]];
      starts[first + i / 2] = time + at({ instructions, events });
    }
    this.moments = [];
  }

  /** By instruction, access, code and resolution, the most frequent first. */
  groups(): TalliedGroup[] {
    return [...this.byKind.values()].sort((a, b) => b.count - a.count || a.first - b.first);
  }

  /** Faults by page of an arena, from kern_vm_start. */
  pagesOf(arena: string): ReadonlyMap<number, number> {
    return this.byPage.get(arena) ?? new Map();
  }

  countOf(resolution: Resolution): number {
    const at = RESOLUTIONS.indexOf(resolution);
    return this.kinds.reduce((sum, kind) => sum + (kind % RESOLUTIONS.length === at ? 1 : 0), 0);
  }

  /** @param length of the run, in the unit of its time */
  slices(length: number): TimeSlice[] {
    const slices = new Map<
      string,
      { cpu: number; slice: number; counts: Partial<Record<Resolution, number>> }
    >();
    for (const [i, kind] of this.kinds.entries()) {
      const cpu = Math.floor(kind / RESOLUTIONS.length);
      const resolution = RESOLUTIONS[kind % RESOLUTIONS.length];
      const slice = Math.min(
        SLICES - 1,
        Math.floor((this.starts[i] * SLICES) / Math.max(1, length)),
      );
      const key = `${cpu} ${slice}`;
      const known = slices.get(key) ?? { cpu, slice, counts: {} };
      known.counts[resolution] = (known.counts[resolution] ?? 0) + 1;
      slices.set(key, known);
    }
    return [...slices.values()].sort((a, b) => a.cpu - b.cpu || a.slice - b.slice);
  }

  private countPage(va: bigint): void {
    for (const { name, kbase, pageSize } of this.places) {
      const offset = va - kbase;
      // The guards on both sides belong to it.
      if (offset < -GUARD || offset >= SZ_4G + GUARD) continue;
      const page =
        Number(offset / BigInt(pageSize)) - (offset < 0n && offset % BigInt(pageSize) ? 1 : 0);
      let pages = this.byPage.get(name);
      if (pages === undefined) {
        pages = new Map();
        this.byPage.set(name, pages);
      }
      pages.set(page, (pages.get(page) ?? 0) + 1);
    }
  }
}

const SZ_4G = 0x1_0000_0000n;
/** The larger guard, that of 64 KiB pages, on each side. */
const GUARD = 0x1_0000n;
