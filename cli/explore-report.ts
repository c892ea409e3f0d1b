// What an exploration came to, as the document that `--json` prints and as lines, and the results of shards put together.
import { CliError } from './errors.ts';
import { type Io, paint } from './io.ts';
import { plural, worldLine } from './tell.ts';

/** Part `index` (from 0) of `count`. */
export interface Shard {
  readonly index: number;
  readonly count: number;
}

export interface ViolationDocument {
  readonly invariant: string;
  readonly cpu: number | null;
  readonly what: string;
  readonly schedule: string;
  readonly steps: number;
  readonly preemptions: number;
  readonly replay: string;
}

/** One world explored. */
export interface ExploreDocument {
  readonly scenario: string;
  readonly name: string;
  readonly arch: string;
  readonly series: string;
  readonly policies: readonly string[];
  readonly mutant: string | null;
  /** The choices of the memory model. */
  readonly memory: string;
  readonly without: readonly string[];
  readonly mode: 'exhaustive' | 'random' | 'pct';
  /** exhaustive: null means no bound. */
  readonly preemptions?: number | null;
  readonly complete: boolean;
  /** exhaustive: schedules played to their end, of the last pass; `runs` counts those too that met a known state. */
  readonly schedules?: number;
  readonly states?: number;
  readonly pass?: number;
  readonly runs: number;
  readonly steps: number;
  /** CPU time. */
  readonly seconds: number;
  /** random, pct. */
  readonly seed?: number;
  readonly depth?: number;
  readonly longest?: number;
  readonly chance?: number;
  readonly chanceOfAll?: number;
  readonly violations: readonly ViolationDocument[];
  /** Of a shard: which, and the hashes of its states. */
  readonly shard?: string;
  readonly stateKeys?: string;
}

/** Puts the shards of each architecture together. @throws CliError for shards that do not belong together */
export function mergeDocuments(
  documents: readonly ExploreDocument[],
  file: string,
): ExploreDocument[] {
  const archs = [...new Set(documents.map(({ arch }) => arch))];
  return archs.map((arch) =>
    mergeShards(
      documents.filter((one) => one.arch === arch),
      file,
    ),
  );
}

function mergeShards(parts: readonly ExploreDocument[], file: string): ExploreDocument {
  const [first] = parts;
  const same = (one: ExploreDocument) =>
    one.scenario === file &&
    one.series === first.series &&
    String(one.policies) === String(first.policies) &&
    one.mutant === first.mutant &&
    one.preemptions === first.preemptions;
  const count = Number(first.shard?.split('/')[1]);
  const shards = new Set(parts.map(({ shard }) => shard));
  if (!parts.every(same) || shards.size !== parts.length) {
    throw new CliError(
      '--merge: these are not shards of one exploration',
      'give one file for each shard, of one scenario and bound',
    );
  }
  const states = new Set<number>();
  for (const { stateKeys } of parts) {
    const bytes = Buffer.from(stateKeys!, 'base64');
    for (let at = 0; at < bytes.length; at += 8) states.add(bytes.readDoubleLE(at));
  }
  const sum = (of: (one: ExploreDocument) => number) => parts.reduce((n, one) => n + of(one), 0);
  const { shard, stateKeys, ...rest } = first;
  return {
    ...rest,
    complete: parts.length === count && parts.every(({ complete }) => complete),
    schedules: sum(({ schedules }) => schedules ?? 0),
    runs: sum(({ runs }) => runs),
    steps: sum(({ steps }) => steps),
    seconds: sum(({ seconds }) => seconds),
    pass: Math.max(...parts.map(({ pass }) => pass ?? 0)),
    states: states.size,
    violations: shortestOfEach(parts.flatMap(({ violations }) => violations)),
  };
}

function shortestOfEach(violations: readonly ViolationDocument[]): ViolationDocument[] {
  const best = new Map<string, ViolationDocument>();
  for (const one of violations) {
    const known = best.get(one.invariant);
    if (known === undefined || one.steps < known.steps) best.set(one.invariant, one);
  }
  return [...best.values()];
}

export function tellDocument(document: ExploreDocument, io: Io): void {
  const line = (text: string) => io.out(`${text}\n`);
  const { name, mutant, memory, without, violations } = document;
  line(paint(io, 'bold', name));
  line(worldLine(document, mutant));
  line(`memory model: ${memory}`);
  for (const text of document.mode === 'exhaustive' ? exhaustive(document) : sampled(document))
    line(text);
  if (without.length > 0) line(`not checked: ${without.join(', ')}`);
  for (const { invariant, cpu, what, schedule, steps, preemptions, replay } of violations) {
    line('');
    line(`${paint(io, 'red', invariant)}${cpu === null ? '' : `, by CPU ${cpu}`}: ${what}`);
    line(
      `  schedule "${schedule}": ${plural(steps, 'step')}, ${plural(preemptions, 'preemption')}`,
    );
    line(`  ${replay}`);
  }
  if (violations.length === 0) line(paint(io, 'green', 'every invariant holds'));
}

function exhaustive(document: ExploreDocument): string[] {
  const {
    preemptions,
    complete,
    schedules = 0,
    runs,
    steps,
    states = 0,
    pass = 1,
    seconds,
  } = document;
  const bound =
    preemptions == null ? 'without a bound' : `up to ${plural(preemptions, 'preemption')}`;
  return [
    `${complete ? `complete: every schedule ${bound}` : `not complete: a part of the schedules ${bound}`}`,
    `${plural(schedules, 'schedule')}, ${plural(states, 'distinct state')}; ${plural(runs, 'run')} of ${steps} steps in ${pass === 1 ? '1 pass' : `${pass} passes`}, ${seconds.toFixed(2)} s of CPU`,
  ];
}

function sampled({
  mode,
  runs,
  steps,
  longest,
  chance = 0,
  chanceOfAll = 0,
  depth,
  seconds,
}: ExploreDocument): string[] {
  const what = mode === 'random' ? 'any one schedule' : `any one bug of depth ${depth}`;
  return [
    `${mode}: ${plural(runs, 'run')} of ${steps} steps, the longest of ${longest}, ${seconds.toFixed(2)} s of CPU`,
    `a run meets ${what} with a chance of at least ${chance.toPrecision(2)}, all of them together ${chanceOfAll.toPrecision(2)}`,
  ];
}
