// A run as the document that `--json` prints: scenario.md of the project's documentation has its keys. Addresses and
// words are hex strings, so that no reader loses bits.
import type { Field } from '../arch/fields.ts';
import { hex } from '../emulator/bits.ts';
import type { CallSeen } from './call.ts';
import { formatErrno } from './errno.ts';
import type { Failure } from './expect.ts';
import type { FaultRecord } from './fault-log.ts';
import type { StepObserved } from './observed.ts';
import { pageAt } from './places.ts';
import { policiesOf } from './policies.ts';
import type { StepRun, WorldRun } from './run.ts';
import type { Scenario } from './scenario.ts';

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

/** The document of a whole run, or of one call. */
export interface RunDocument extends JsonObject {
  scenario: string;
  name: string;
  arch: string;
  series: string;
  /** See {@link policiesOf}. */
  policies: string[];
  pass: boolean;
}

export interface DocumentOptions {
  readonly scenario: Scenario;
  /** Command line that runs this again. */
  readonly replay: string;
  /** Fields of a fault code. */
  decode(code: bigint): readonly Field[];
}

/** Named fields as an object: a field's own fields nested, otherwise its value. */
function fieldsToJson(fields: readonly Field[]): JsonObject {
  return Object.fromEntries(
    fields.map((field) => [
      field.name,
      field.fields.length > 0 ? fieldsToJson(field.fields) : hex(field.value),
    ]),
  );
}

/** Documents of the run `run` with the steps done so far. */
export function documentOf(
  run: WorldRun,
  steps: readonly StepRun[],
  options: DocumentOptions,
): RunDocument {
  const { world } = run;
  const base = {
    scenario: options.scenario.file,
    name: options.scenario.name,
    arch: world.arch,
    series: world.series,
    policies: policiesOf(world),
  };
  const { replay } = options;
  if (world.form === 'call' && steps.length === 1) {
    return { ...base, ...stepDocument(run, steps[0], options), replay };
  }
  const documents = steps.map((step) => ({
    ...base,
    step: step.step.kind,
    line: step.step.line,
    ...stepDocument(run, step, options),
    replay,
  }));
  const calls = steps.flatMap(({ seen }) => (seen.kind === 'call' ? [seen as CallSeen] : []));
  const outcomes = steps.map(({ seen }) => {
    if (seen.kind === 'call') return seen.outcome;
    return seen.kind === 'stuck' ? 'budget' : 'returned';
  });
  const sum = (pick: (call: CallSeen) => number) => calls.reduce((n, call) => n + pick(call), 0);
  return {
    ...base,
    pass: steps.every(({ failures }) => failures.length === 0),
    outcome: outcomes.find((outcome) => outcome !== 'returned') ?? 'returned',
    ret: hexOrNull(calls.at(-1)?.ret ?? null),
    kbase: hex(run.places[0].kbase),
    instructions: sum((call) => call.instructions),
    cycles: run.kernel.costing === null ? null : sum((call) => call.cycles ?? 0),
    cost: run.kernel.costing?.name ?? 'off',
    faults: calls.flatMap((call) => faultsOf(run, call, options)),
    streams: { stdout: '', stderr: steps.map(({ seen }) => seen.stderr).join('') },
    oops: oopsOf(calls.find(({ oops }) => oops !== null)),
    registers: registersOf(calls.at(-1)),
    failures: steps.flatMap(({ failures }, i) =>
      failures.map((failure) => ({ ...failure, expect: `steps[${i}].${failure.expect}` })),
    ),
    steps: documents,
    replay,
  };
}

/** A step: its document has the keys of a run whatever it does, and those of its own. */
export function stepDocument(
  run: WorldRun,
  { seen, failures }: StepRun,
  options: DocumentOptions,
): JsonObject & { pass: boolean } {
  const call = seen.kind === 'call' ? (seen as CallSeen) : undefined;
  return {
    pass: failures.length === 0,
    ...outcomeOf(seen),
    ret: hexOrNull(call?.ret ?? null),
    kbase: hex(run.places[0].kbase),
    instructions: call?.instructions ?? 0,
    cycles: run.kernel.costing === null ? null : (call?.cycles ?? 0),
    cost: run.kernel.costing?.name ?? 'off',
    faults: call === undefined ? [] : faultsOf(run, call, options),
    streams: { stdout: '', stderr: seen.stderr },
    oops: oopsOf(call),
    registers: registersOf(call),
    ...(seen.kind === 'call' || seen.kind === 'stuck' ? {} : factsOf(seen)),
    failures: failures.map(({ expect, wanted, got }: Failure) => ({ expect, wanted, got })),
  };
}

/** How a step ended; a call that did not return says why and where. */
function outcomeOf(seen: StepObserved): JsonObject {
  if (seen.kind === 'stuck') return { outcome: 'budget', why: seen.why };
  if (seen.kind !== 'call') return { outcome: 'returned' };
  const { end, outcome } = seen as CallSeen;
  return {
    outcome,
    ...('why' in end ? { why: end.why, ip: hex(end.ip) } : {}),
    ...('bytes' in end ? { bytes: Buffer.from(end.bytes).toString('hex') } : {}),
  };
}

/** What a step other than a call did, in the words in which a scenario expects it. */
function factsOf(seen: Exclude<StepObserved, { kind: 'call' | 'stuck' }>): JsonObject {
  switch (seen.kind) {
    case 'alloc':
      return { result: seen.page === null ? null : { page: seen.page } };
    case 'free':
    case 'worker':
      return { freed: seen.freed };
    case 'destroy':
      return { freed: seen.freed, leaked: seen.leaked };
    case 'reserve':
    case 'create':
    case 'lock':
      return { result: errnoOf(seen.result) };
    case 'unlock':
      return {};
    case 'user':
      return { result: seen.result, value: hexOrNull(seen.value) };
    case 'pte':
      return { value: hex(seen.value), kind: seen.pteKind };
    case 'streamRead':
    case 'streamPrint':
      return { result: errnoOf(seen.result), bytes: seen.bytes };
  }
}

const hexOrNull = (value: bigint | null): string | null => (value === null ? null : hex(value));
const errnoOf = (value: number): number | string => (value === 0 ? 0 : formatErrno(value));
const oopsOf = (call: CallSeen | undefined): string[] | null =>
  call?.oops == null ? null : [...call.oops];
const registersOf = (call: CallSeen | undefined): JsonObject =>
  Object.fromEntries([...(call?.registers ?? [])].map(([name, value]) => [name, hex(value)]));

function faultsOf(run: WorldRun, call: CallSeen, options: DocumentOptions): JsonObject[] {
  return Array.from({ length: call.faults.length }, (_, i) =>
    faultDocument(run, call.faults.at(i), options),
  );
}

function faultDocument(run: WorldRun, fault: FaultRecord, options: DocumentOptions): JsonObject {
  return {
    cpu: fault.cpu,
    ip: hex(fault.ip),
    addr: hex(fault.addr),
    page: pageAt(fault.addr, run.places),
    access: fault.access,
    code: hex(fault.code),
    decoded: fieldsToJson(options.decode(fault.code)),
    resolution: fault.resolution,
  };
}
