// Puts what a recorder saw and what a run came to together as the data of its HTML report.
import { hex } from '../../emulator/bits.ts';
import type { CallSeen } from '../call.ts';
import type { RunDocument } from '../document.ts';
import { formatErrno } from '../errno.ts';
import { policiesOf } from '../policies.ts';
import { foldedStacks, profileOf } from '../profile.ts';
import type { RunHost, StepRun, WorldRun } from '../run.ts';
import type { KernelOptions } from '../scenario.ts';
import type { StorySource } from '../story.ts';
import { arenaMap } from './arena-map.ts';
import { grouped } from './format.ts';
import {
  type Cut,
  cut,
  type FaultGroup,
  type FaultRow,
  type ReportProfile,
  type ReportStep,
  type RunReport,
} from './model.ts';
import type { RecordedFault } from './recorded.ts';
import type { Recorder } from './recorder.ts';
import { MOST_MARKS, RESOLUTIONS } from './tally.ts';

const MOST = { steps: 200, failures: 100, lines: 300, groups: 100, walks: 200, arenas: 8 } as const;
const MOST_STEPS_ON_AXIS = 40;
const MOST_PROFILE_ROWS = { block: 40, instruction: 200, 'source line': 200 } as const;

export interface ReportParts {
  readonly run: WorldRun;
  readonly host: RunHost;
  readonly steps: readonly StepRun[];
  /** What each of them came to, in a line. */
  readonly summaries: readonly string[];
  readonly document: RunDocument;
  readonly source: StorySource;
}

export function reportOf(recorder: Recorder, parts: ReportParts): RunReport {
  const { run, steps, document, source } = parts;
  const { tally } = recorder;
  const faults = [...recorder.faults].sort((a, b) => a.order - b.order);
  const { file, name } = { file: String(document.scenario), name: document.name };
  const streams = document.streams as { stderr?: string } | undefined;
  const failures = (document.failures ?? []) as unknown as RunReport['failures']['rows'];
  const oops = steps.map(({ seen }) => (seen.kind === 'call' ? seen.oops : null)).find(Boolean);
  const calls = steps.flatMap(({ seen }) => (seen.kind === 'call' ? [seen as CallSeen] : []));
  return {
    name,
    file,
    arch: document.arch,
    series: document.series,
    pass: document.pass,
    outcome: String(document.outcome ?? ''),
    replay: String(document.replay ?? ''),
    facts: factsOf(recorder, parts, calls),
    failures: cut(failures, MOST.failures),
    steps: cut(stepsOf(parts), MOST.steps),
    registers: [...(calls.at(-1)?.registers ?? [])].map(([register, value]) => [
      register,
      hex(value),
    ]),
    stderr: linesOf(streams?.stderr ?? ''),
    oops: oops ?? null,
    timeline: {
      unit: recorder.isRace
        ? 'steps of the schedule'
        : run.kernel.costing
          ? 'cycles'
          : 'instructions',
      length: recorder.time,
      cpus: run.world.cpus.length,
      steps: cut(recorder.steps.length > 1 ? recorder.steps : [], MOST_STEPS_ON_AXIS),
      slices: tally.count <= MOST_MARKS ? null : tally.slices(recorder.time),
    },
    faults: {
      rows: faults.map((fault) => rowOf(fault, source)),
      more: tally.count - faults.length,
    },
    faultCount: tally.count,
    unfinished: recorder.unfinished,
    groups: groupsOf(recorder),
    walks: cut(recorder.walks.entries(), MOST.walks),
    walkCount: recorder.walks.count,
    arenas: cut(
      run.places.slice(0, MOST.arenas).map((place) => arenaMap(run, place, recorder.freed, tally)),
      MOST.arenas,
    ),
    profile: profileOfCalls(parts, calls),
    faultAddressRegister: source.faultAddressRegister,
  };
}

function rowOf(fault: RecordedFault, source: StorySource): FaultRow {
  const { order, start, end, cpu, site, va, access, code, resolution, cycles, detail } = fault;
  return {
    number: order + 1,
    start,
    end,
    cpu,
    ip: site.ip,
    symbol: site.symbol,
    address: hex(va),
    place: source.place(va),
    access,
    code: hex(code),
    resolution,
    cycles,
    detail,
  };
}

function groupsOf({ tally }: Recorder): Cut<FaultGroup> {
  const { rows, more } = cut(tally.groups(), MOST.groups);
  return {
    rows: rows.map(({ like, count, first, lowest, highest, cycles }) => ({
      symbol: like.site.symbol,
      instruction: like.site.instruction,
      access: like.access,
      code: hex(like.code),
      resolution: like.resolution,
      count,
      first,
      lowest: hex(lowest),
      highest: hex(highest),
      cycles,
    })),
    more,
  };
}

function stepsOf({ run, steps, summaries }: ReportParts): ReportStep[] {
  const several = run.world.form === 'cpus';
  const cpuOf = new Map(run.world.cpus.flatMap((list, cpu) => list.map((step) => [step, cpu])));
  return steps.map(({ step, failures }, i) => ({
    cpu: several ? (cpuOf.get(step) ?? null) : null,
    kind: step.kind,
    line: step.line,
    summary: summaries[i],
    pass: failures.length === 0,
  }));
}

function linesOf(text: string): Cut<string> {
  return text === '' ? cut([], 0) : cut(text.trimEnd().split('\n'), MOST.lines);
}

type Facts = RunReport['facts'][number];

function factsOf(recorder: Recorder, parts: ReportParts, calls: readonly CallSeen[]): Facts[] {
  const { run, document } = parts;
  const { tally } = recorder;
  const { costing } = run.kernel;
  const counts = RESOLUTIONS.map((name) => [name, tally.countOf(name)] as const);
  const kinds = counts.flatMap(([name, count]) => (count > 0 ? [`${grouped(count)} ${name}`] : []));
  const sum = (pick: (call: CallSeen) => number) =>
    calls.reduce((all, call) => all + pick(call), 0);
  const schedule = document.schedule;
  const violation = document.violation as { invariant?: string; what?: string } | null | undefined;
  const result: [string, string][] = [
    ['outcome', String(document.outcome ?? '')],
    ...(document.why === undefined
      ? []
      : [
          ['why', `${document.why}${document.ip === undefined ? '' : ` at ${document.ip}`}`] as [
            string,
            string,
          ],
        ]),
    ...(document.ret === undefined
      ? []
      : [['returned', String(document.ret ?? 'nothing')] as [string, string]]),
    ['instructions', grouped(sum((call) => call.instructions))],
    ['cycles', costing === null ? 'not counted' : grouped(sum((call) => call.cycles ?? 0))],
    ['faults', kinds.length === 0 ? '0' : `${grouped(tally.count)} (${kinds.join(', ')})`],
    ...(schedule === undefined ? [] : [['schedule', String(schedule)] as [string, string]]),
    ...(violation == null
      ? []
      : [['broken invariant', `${violation.invariant}: ${violation.what}`] as [string, string]]),
  ];
  const model: [string, string][] = [
    ['grain', costing?.grain ?? 'off'],
    ...(costing === null
      ? []
      : ([
          ['preset', costing.preset.name],
          ['stands for', costing.preset.about],
        ] as [string, string][])),
  ];
  return [
    ['result', result],
    ['cost model', model],
    ['kernel', kernelFacts(run)],
    ['limits', limitFacts(run)],
  ];
}

const yesNo = (value: boolean): string => (value ? 'yes' : 'no');

function kernelFacts({ world }: WorldRun): [string, string][] {
  const options: KernelOptions = world.kernel;
  const ofArch: [string, string][] =
    world.arch === 'x86_64'
      ? [
          ['la57', yesNo(options.la57)],
          ['pti', yesNo(options.pti)],
        ]
      : [
          ['contpte', yesNo(options.contpte)],
          ['hafdbs', yesNo(options.hafdbs)],
          ['kpti', yesNo(options.pti)],
        ];
  return [
    ['series', world.series],
    ['page size', String(options.pageSize)],
    ...ofArch,
    ['unwinder', options.unwinder],
    ['arena lock', options.arenaLock],
    ['bpf syscall', yesNo(options.bpfSyscall)],
    ['kfence', options.kfence === null ? 'off' : `${options.kfence.objects} objects`],
    ['memory model', world.memory],
    ['policies', policiesOf(world).join(', ') || 'the architecture’s rule'],
  ];
}

function limitFacts({ world }: WorldRun): [string, string][] {
  const { limits, injections } = world;
  return [
    ['instructions', limits.instructions === null ? 'none' : grouped(limits.instructions)],
    ...injections.map(({ at, nth, errno }): [string, string] => [
      `injected at ${at}`,
      `${formatErrno(errno)}, call ${nth}`,
    ]),
  ];
}

/** Of several calls the rows of one name are put together. */
function profileOfCalls(
  { run, host }: ReportParts,
  calls: readonly CallSeen[],
): ReportProfile | null {
  const { costing } = run.kernel;
  if (costing === null) return null;
  const profiles = calls.flatMap((call) => profileOf(call, costing, host.disassembler) ?? []);
  if (profiles.length === 0) return null;
  const tables = (
    [
      ['function', 'functions'],
      ['event', 'events'],
      ['block', 'blocks'],
      ['instruction', 'instructions'],
      ['source line', 'lines'],
    ] as const
  ).map(([title, key]) => {
    const rows = new Map<string, { name: string; count: number; cycles: number }>();
    for (const profile of profiles) {
      for (const { name, count, cycles } of profile[key]) {
        const row = rows.get(name) ?? { name, count: 0, cycles: 0 };
        rows.set(name, { name, count: row.count + count, cycles: row.cycles + cycles });
      }
    }
    const all = [...rows.values()];
    if (!['instruction', 'source line'].includes(title)) all.sort((a, b) => b.cycles - a.cycles);
    const most = (MOST_PROFILE_ROWS as Readonly<Record<string, number>>)[title] ?? 60;
    return { title, cut: cut(all, most) };
  });
  return {
    cycles: profiles.reduce((sum, { cycles }) => sum + cycles, 0),
    stacks: profiles.flatMap((profile) => foldedStacks(run.world.arch, profile)),
    tables: tables.filter((table) => table.cut.rows.length > 0),
  };
}
