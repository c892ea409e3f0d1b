// The constants of a cost model beyond its blocks: events, caches, TLB. Each has a name, a unit, a value and a source;
// a preset is one value for each. An architecture's `costs.ts` has presets as data, and a user may bring another.

export type Unit = 'cycles' | 'bytes' | 'ways' | 'entries' | 'percent';

/** Every knob: its unit, and what it says. */
export const KNOBS = {
  exceptionEntry: ['cycles', 'delivery of a page fault taken in kernel mode'],
  exceptionReturn: ['cycles', 'return from it to kernel mode'],
  pathEntry: ['cycles', 'entry code: registers saved, context tracking, the handler called'],
  pathClassify: ['cycles', 'what kind of fault it is, and the way to the kernel-mode handlers'],
  pathVma: ['cycles', 'look-up of a VMA, for a user address alone'],
  pathSearch: ['cycles', 'one search of the exception tables'],
  pathFixup: ['cycles', 'the handler of an exception-table entry'],
  pathExit: ['cycles', 'exit code up to the return instruction'],
  recoverFrame: ['cycles', 'one stack frame unwound in search of a BPF program'],
  recoverInstall: ['cycles', 'way to the PTE and ptep_try_set()'],
  recoverReport: ['cycles', 'one report to a stream, its bytes apart'],
  recoverReportByte: ['cycles', 'one byte of a report formatted and copied'],
  printkLine: ['cycles', 'one line of the kernel log'],
  invalidatePage: ['cycles', 'one page dropped from the own TLB: INVLPG, TLBI by address'],
  invalidateAll: ['cycles', 'an address space or everything dropped from the own TLB'],
  rootWrite: ['cycles', 'CR3 or TTBR written'],
  barrier: ['cycles', 'DSB that waits for invalidations of the own CPU'],
  shootdownSend: ['cycles', 'an IPI or a broadcast sent'],
  shootdownFirst: ['cycles', 'until the first other CPU has answered'],
  shootdownFurther: ['cycles', 'each further CPU'],
  walkFixed: ['cycles', 'a page-table walk without its entries'],
  walkEntry: ['cycles', 'one entry read by a walk, where caches are not modelled'],
  walkFactor: ['percent', 'what a walk costs beside a native one'],
  upperEntries: ['entries', 'paging-structure cache of the root and the next level, each'],
  lowerEntries: ['entries', 'paging-structure cache of the last tables'],
  stlbHit: ['cycles', 'a miss of the first-level TLB that the second answers'],
  dtlbEntries: ['entries', 'first-level data TLB'],
  dtlbWays: ['ways', 'of each of its sets'],
  stlbEntries: ['entries', 'second-level TLB'],
  stlbWays: ['ways', 'of each of its sets'],
  lineBytes: ['bytes', 'cache line'],
  l1Bytes: ['bytes', 'first-level data cache'],
  l1Ways: ['ways', 'of each of its sets'],
  l1Hit: ['cycles', 'load to use, in the block model already'],
  l2Bytes: ['bytes', 'second-level cache'],
  l2Ways: ['ways', 'of each of its sets'],
  l2Hit: ['cycles', 'load to use'],
  l3Bytes: ['bytes', 'share of the shared cache'],
  l3Ways: ['ways', 'of each of its sets'],
  l3Hit: ['cycles', 'load to use'],
  memory: ['cycles', 'load to use of what no cache holds'],
} as const satisfies Record<string, readonly [Unit, string]>;

export type KnobName = keyof typeof KNOBS;

export const KNOB_NAMES = Object.keys(KNOBS) as KnobName[];

/** One constant: a whole number in its knob's unit, and where it comes from, in words. */
export interface Knob {
  readonly value: number;
  readonly source: string;
}

/** A value for every knob, and the core whose block model goes with them. */
export interface CostPreset {
  /** As `--cost-preset` takes it. */
  readonly name: string;
  readonly arch: 'x86_64' | 'arm64';
  /** What it stands for. */
  readonly about: string;
  readonly knobs: Readonly<Record<KnobName, Knob>>;
}

/** Values alone, for whoever computes with them. */
export type KnobValues = Readonly<Record<KnobName, number>>;

export const valuesOf = ({ knobs }: CostPreset): KnobValues =>
  Object.fromEntries(KNOB_NAMES.map((name) => [name, knobs[name].value])) as Record<
    KnobName,
    number
  >;

/** A preset with other values for some of the knobs. */
export const adjusted = (
  base: CostPreset,
  name: string,
  about: string,
  changes: Readonly<Partial<Record<KnobName, Knob>>>,
): CostPreset => ({ ...base, name, about, knobs: { ...base.knobs, ...changes } });

/** A knob that does not go with the others. */
export interface Misfit {
  readonly knob: KnobName;
  /** The others, nearest first. */
  readonly beside: readonly KnobName[];
  readonly what: string;
  readonly remedy: string;
}

const CACHES = [
  ['l1Bytes', 'l1Ways'],
  ['l2Bytes', 'l2Ways'],
  ['l3Bytes', 'l3Ways'],
] as const;
const TLBS = [
  ['dtlbEntries', 'dtlbWays'],
  ['stlbEntries', 'stlbWays'],
] as const;
const LONGEST_LINE = 4096;
/** Lines or entries of the largest cache or TLB: each of them is followed. */
const MOST_PLACES = 2 ** 24;

/** @returns the first cache or TLB that its knobs cannot be, with no whole sets or too many places; null if all can be */
export function misfitOf(values: KnobValues): Misfit | null {
  const { lineBytes } = values;
  if (!Number.isInteger(Math.log2(lineBytes)) || lineBytes > LONGEST_LINE) {
    const what = `${lineBytes} is no power of two up to ${LONGEST_LINE}`;
    return { knob: 'lineBytes', beside: [], what, remedy: 'give the bytes of a cache line, as 64' };
  }
  const shapes = [
    ...CACHES.map(([knob, ways]) => ({ knob, ways, place: lineBytes })),
    ...TLBS.map(([knob, ways]) => ({ knob, ways, place: 1 })),
  ];
  for (const { knob, ways, place } of shapes) {
    const set = values[ways] * place;
    const beside: KnobName[] = place > 1 ? [ways, 'lineBytes'] : [ways];
    if (values[knob] % set !== 0) {
      const sets = `sets of ${values[ways]} ways${place > 1 ? ` of ${place} bytes` : ''}`;
      const what = `${values[knob]} ${KNOBS[knob][0]} are no whole ${sets}`;
      return { knob, beside, what, remedy: `give a multiple of ${set}, or another ${ways}` };
    }
    if (values[knob] / place > MOST_PLACES) {
      const what = `${values[knob]} ${KNOBS[knob][0]} are more than ${MOST_PLACES * place}`;
      return { knob, beside, what, remedy: 'give what a core has' };
    }
  }
  return null;
}
