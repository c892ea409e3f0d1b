// A run in words: where an address lies, what a step came to, what it reported and where it differs.
import type { VirtAddr } from '../emulator/address.ts';
import { hex } from '../emulator/bits.ts';
import type { CallSeen } from '../testbed/call.ts';
import { formatErrno } from '../testbed/errno.ts';
import { arenaAt, pageAt } from '../testbed/places.ts';
import type { StepRun, WorldRun } from '../testbed/run.ts';
import { sourceAt } from '../testbed/source-lines.ts';
import type { StorySource } from '../testbed/story.ts';
import type { Executed } from './execute.ts';

/** GUARD_SZ / 2: what lies below kern_vm_start. */
const HALF_GUARD = 0x8000n;

/** Under a scenario's name: what it is run as. */
export function worldLine(
  { arch, series, policies }: { arch: string; series: string; policies: readonly string[] },
  mutant: string | null = null,
): string {
  const named = policies.map((policy) => `policy ${policy}`);
  if (mutant !== null) named.push(`mutant: ${mutant}`);
  return [arch, `series ${series}`, ...named].join(', ');
}

/** "page 3 of arena", or where else an address lies. */
export function placeText(run: WorldRun, va: bigint): string {
  const arena = arenaAt(va, run.places);
  if (arena !== null) return `page ${pageAt(va, run.places)} of ${arena.name}`;
  const { tasks, symbols, bpf, pageSize } = run.kernel;
  if (va < BigInt(pageSize)) return 'the null page';
  if (va >> 63n === 0n) return 'not a kernel address';
  for (const { stack, stackEnd } of tasks) {
    if (va >= stack && va < stackEnd) return 'the kernel stack';
    if (va < stack && va >= stack - BigInt(pageSize)) return "the kernel stack's guard page";
  }
  const guard = run.places.find(({ kbase }) => va < kbase && va >= kbase - HALF_GUARD);
  if (guard) return `the lower guard of ${guard.name}`;
  const at = va as VirtAddr;
  const isText = symbols.find(at) !== null || bpf.ksyms.lookUp(at) !== null;
  return isText ? 'kernel text' : 'outside every arena';
}

export function storySource(run: WorldRun): StorySource {
  const { kernel } = run;
  return {
    instruction: (ip: VirtAddr) => kernel.instructionAt(ip)?.text ?? null,
    formatSymbol: (ip) => {
      const source = sourceAt(kernel, ip);
      return kernel.symbols.tell(ip) + (source === null ? '' : ` (${source})`);
    },
    place: (va) => placeText(run, va),
    describeCode: (code) => kernel.arch.describeCode(code),
    faultAddressRegister: kernel.arch.faultAddressRegister,
  };
}

/** One line that says what a step came to. */
export function stepSummary(run: WorldRun, { step, seen }: StepRun): string {
  switch (seen.kind) {
    case 'call':
      return callSummary(run, seen as CallSeen);
    case 'stuck':
      return `${step.kind}: budget: ${seen.why}`;
    case 'alloc':
      return `alloc: ${seen.page === null ? 'NULL' : `page ${seen.page}`}`;
    case 'free':
    case 'worker':
      return `${seen.kind}: ${plural(seen.freed, 'page')} given back`;
    case 'destroy':
      return `destroy: ${plural(seen.freed, 'page')} given back, ${seen.leaked} leaked`;
    case 'reserve':
    case 'create':
    case 'lock':
      return `${seen.kind}: ${formatErrno(seen.result)}`;
    case 'unlock':
      return 'unlock';
    case 'user':
      return `user: ${seen.result}${seen.value === null ? '' : ` ${hex(seen.value)}`}`;
    case 'pte':
      return `pte${step.kind === 'pte' ? ` of page ${step.page}` : ''}: ${hex(seen.value)} (${seen.pteKind})`;
    case 'streamRead':
    case 'streamPrint':
      return `stream: ${formatErrno(seen.result)}, ${plural(seen.bytes, 'byte')}`;
  }
}

function callSummary(run: WorldRun, call: CallSeen): string {
  const { end, faults, ret } = call;
  const counts = new Map<string, number>();
  for (let i = 0; i < faults.length; i++) {
    const { resolution } = faults.at(i);
    counts.set(resolution, (counts.get(resolution) ?? 0) + 1);
  }
  const kinds = [...counts].map(([resolution, n]) => `${n} ${resolution}`).join(', ');
  const why = 'why' in end ? `: ${end.why} at ${run.kernel.symbols.tell(end.ip)}` : '';
  const bytes = 'bytes' in end ? `: ${Buffer.from(end.bytes).toString('hex')}` : '';
  const how = ret === null ? `${end.outcome}${why}${bytes}` : `returned ${hex(ret)}`;
  const cost = call.cost === null ? '' : `, ${call.cost.cycles} cycles (${call.cost.cost})`;
  const work = `${plural(call.instructions, 'instruction')}${cost}`;
  return `${how}; ${work}, ${plural(faults.length, 'fault')}${kinds === '' ? '' : ` (${kinds})`}`;
}

/**
 * What a step came to, what was reported meanwhile, and where it differs from what is expected.
 * @param printed what was reported, if it is told otherwise than plainly
 */
export function stepLines(
  run: WorldRun,
  step: StepRun,
  red = (text: string) => text,
  printed = reportLines(step),
): string[] {
  const { failures } = step;
  return [
    stepSummary(run, step),
    ...printed,
    ...failures.flatMap(({ expect, wanted, got }) => [
      `  ${red(expect)}: wanted ${wanted}`,
      `  ${' '.repeat(expect.length)}  got    ${got}`,
    ]),
  ];
}

function reportLines({ seen }: StepRun): string[] {
  const oops = seen.kind === 'call' ? (seen as CallSeen).oops : null;
  return [
    ...(oops === null ? [] : block('kernel log', oops)),
    ...(seen.stderr === '' ? [] : block('stderr of the program', streamLines(seen.stderr))),
  ];
}

/** Lines of a stream that are shown: a run may report a million faults. */
const MOST_LINES = 48;

function streamLines(text: string): string[] {
  const lines = text.trimEnd().split('\n');
  const more = lines.length - MOST_LINES;
  if (more <= 0) return lines;
  return [...lines.slice(0, MOST_LINES), `... and ${more} more lines (--json has them all)`];
}

const block = (title: string, lines: readonly string[]): string[] => [
  title,
  ...lines.map((line) => `  | ${line}`.trimEnd()),
];

/** How to run again what the engine refused or died of. */
export const replayLines = ({ steps, document }: Pick<Executed, 'steps' | 'document'>): string[] =>
  steps.some(({ seen }) => seen.kind === 'call' && seen.outcome === 'engine')
    ? [`replay: ${document.replay}`]
    : [];

/** "1 page", "2 pages". */
export const plural = (count: number, word: string): string =>
  `${count} ${word}${count === 1 ? '' : 's'}`;
