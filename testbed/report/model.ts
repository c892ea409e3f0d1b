// What the HTML report of one run shows, as data: `recorder.ts` collects it while the run goes on, `page.ts` writes it down.
// What a run may have a million of is cut here, and what was cut is counted.
import type { Field } from '../../arch/fields.ts';
import type { Resolution } from '../../emulator/events.ts';
import type { LevelReport } from '../../mm/paging.ts';
import type { Failure } from '../expect.ts';
import type { ProfileRow } from '../profile.ts';
import type { WalkedEntry } from './walk-tree.ts';

/** Some of many. */
export interface Cut<T> {
  readonly rows: readonly T[];
  /** How many there are beside them. */
  readonly more: number;
}

/** The first `most` of many. */
export const cut = <T>(all: readonly T[], most: number): Cut<T> => ({
  rows: all.slice(0, most),
  more: Math.max(0, all.length - most),
});

/** What the places of faults in time are counted in. */
export type TimeUnit = 'cycles' | 'instructions' | 'steps of the schedule';

/** One function of the kernel's path, or what it decided. */
export interface PathStep {
  readonly title: string;
  readonly detail: string;
  /** null: costs are not counted. */
  readonly cycles: number | null;
  /** The knobs that make the cycles: `recoverReport 400 + 222 × recoverReportByte 888`; without a function, its only one. */
  readonly knobs: string;
}

/** A fault told in full. */
export interface FaultDetail {
  readonly instruction: string;
  /** The code in one line, and its fields. */
  readonly codeText: string;
  readonly fields: readonly Field[];
  readonly walk: readonly LevelReport[];
  readonly walkVerdict: string;
  /** How the tables came to be asked, or not. */
  readonly walkNote: string;
  /** Cycles of the walk; null: none was made, or costs are not counted. */
  readonly walkCycles: number | null;
  readonly path: readonly PathStep[];
}

/** One fault. */
export interface FaultRow {
  /** From 1, as the story counts. */
  readonly number: number;
  readonly start: number;
  /** `start` where nothing says how long it took. */
  readonly end: number;
  readonly cpu: number;
  readonly ip: string;
  readonly symbol: string;
  readonly address: string;
  readonly place: string;
  readonly access: string;
  readonly code: string;
  readonly resolution: Resolution;
  readonly cycles: number | null;
  readonly detail: FaultDetail | null;
}

/** Faults by one instruction that came to the same. */
export interface FaultGroup {
  readonly symbol: string;
  readonly instruction: string;
  readonly access: string;
  readonly code: string;
  readonly resolution: Resolution;
  readonly count: number;
  readonly first: number;
  readonly lowest: string;
  readonly highest: string;
  readonly cycles: number | null;
}

/** Faults in one slice of time on one CPU. */
export interface TimeSlice {
  readonly cpu: number;
  readonly slice: number;
  readonly counts: Readonly<Partial<Record<Resolution, number>>>;
}

export interface Timeline {
  readonly unit: TimeUnit;
  readonly length: number;
  readonly cpus: number;
  /** Steps of a scenario that runs them one after the other: where each begins. */
  readonly steps: Cut<{ readonly label: string; readonly start: number }>;
  /** null: they are few, and all among the rows. */
  readonly slices: readonly TimeSlice[] | null;
}

/** Something that is mapped, or was, in pages of the arena in a row. */
export type PageState = 'none' | 'scratch' | 'allocated' | 'freed' | 'other';

export interface Extent {
  /** Pages from kern_vm_start; negative ones lie in the lower guard. */
  readonly first: number;
  readonly count: number;
  readonly state: PageState;
  /** Faults in these pages. */
  readonly faults: number;
}

/** Cells in a row that show the same. */
export interface CellRun {
  readonly count: number;
  /** `guard`: nothing, where nothing belongs. */
  readonly state: PageState | 'guard' | 'mixed';
  readonly faults: number;
}

/** One line of the map. */
export interface MapRow {
  readonly first: number;
  readonly cells: readonly CellRun[];
  /** How many rows behind this one look the same, and the faults in them. */
  readonly repeats: number;
  readonly repeatFaults: number;
}

export interface ArenaMap {
  readonly name: string;
  readonly kernVmStart: bigint;
  readonly userVmStart: bigint;
  readonly pageSize: number;
  /** max_entries. */
  readonly pages: number;
  /** Pages of the 4 GiB, and of each guard. */
  readonly band: number;
  readonly guard: number;
  /** First page from kern_vm_start that a program can allocate. */
  readonly firstSlot: number;
  readonly scratchPfn: string;
  readonly destroyed: boolean;
  readonly counts: Readonly<Record<PageState, number>>;
  readonly pagesPerCell: number;
  readonly rows: readonly MapRow[];
  readonly extents: Cut<Extent>;
}

/** What a call cost. */
export interface ReportProfile {
  readonly cycles: number;
  /** Lines as `--folded` writes them. */
  readonly stacks: readonly string[];
  readonly tables: readonly {
    readonly title: string;
    readonly cut: Cut<ProfileRow>;
  }[];
}

/** One step of the scenario. */
export interface ReportStep {
  readonly cpu: number | null;
  readonly kind: string;
  readonly line: number | null;
  readonly summary: string;
  readonly pass: boolean;
}

/** One run: a scenario on one architecture. */
export interface RunReport {
  readonly name: string;
  readonly file: string;
  readonly arch: string;
  readonly series: string;
  readonly pass: boolean;
  readonly outcome: string;
  readonly replay: string;
  /** What else there is to say of the run in a word each, in groups. */
  readonly facts: readonly (readonly [
    group: string,
    facts: readonly (readonly [string, string])[],
  ])[];
  readonly failures: Cut<Failure>;
  readonly steps: Cut<ReportStep>;
  readonly registers: readonly (readonly [name: string, value: string])[];
  readonly stderr: Cut<string>;
  readonly oops: readonly string[] | null;
  readonly timeline: Timeline;
  readonly faults: Cut<FaultRow>;
  readonly faultCount: number;
  /** Faults whose path had not come to an end. */
  readonly unfinished: number;
  readonly groups: Cut<FaultGroup>;
  readonly walks: Cut<WalkedEntry>;
  readonly walkCount: number;
  readonly arenas: Cut<ArenaMap>;
  readonly profile: ReportProfile | null;
  readonly faultAddressRegister: string;
}
