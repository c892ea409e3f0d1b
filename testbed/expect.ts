// Compares what a step did with what its scenario expects of it. Every difference becomes one failure that begins with
// the key that was not met, so that a reader finds it in the file at once.
import { createHash } from 'node:crypto';
import { hex, u64 } from '../emulator/bits.ts';
import { formatErrno } from './errno.ts';
import { compareFaults } from './expect-faults.ts';
import type { CallExpect, Expect, NumberRange, Wanted } from './expect-model.ts';
import { findInOrder, matchText } from './match.ts';
import type { CallObserved, Observed, StepObserved } from './observed.ts';
import { type ArenaPlace, resolveValue } from './places.ts';
import type { Value } from './scenario-model.ts';
import type { Step } from './step-model.ts';

/** One expectation that was not met. `expect` begins with its key: `ret`, `memory[0]`, `faults[2].code`. */
export interface Failure {
  readonly expect: string;
  readonly wanted: string;
  readonly got: string;
}

/** Where failures of one step go. */
export class Failures {
  readonly list: Failure[] = [];

  add(expect: string, wanted: string, got: string): void {
    this.list.push({ expect, wanted, got });
  }

  /** Adds a failure unless nothing is wanted or it is what was got. */
  same<T>(expect: string, wanted: T | undefined, got: T, format: (value: T) => string): void {
    if (wanted !== undefined && wanted !== got) this.add(expect, format(wanted), format(got));
  }
}

/**
 * @param step and what it did, which must be of one kind
 * @param arenas where the arenas lie
 * @returns the expectations that were not met, in the order of the format's description; empty if all were
 */
export function checkStep(
  step: Step,
  observed: StepObserved,
  arenas: readonly ArenaPlace[],
): readonly Failure[] {
  const failures = new Failures();
  compareStep(step, observed, arenas, failures);
  compareStream(step.expect, observed, failures);
  if (step.kind === 'call' && observed.kind === 'call') {
    compareReport(step.expect, observed, failures);
    compareRange('instructions', step.expect.instructions, observed.instructions, failures);
    compareRange('cycles', step.expect.cycles, observed.cycles, failures);
  }
  return failures.list;
}

const orNothing = (value: bigint | null): string => (value === null ? 'nothing' : hex(value));

function compareStep(
  step: Step,
  observed: StepObserved,
  arenas: readonly ArenaPlace[],
  failures: Failures,
): void {
  if (step.kind === 'call' && observed.kind === 'call') {
    compareCall(step.expect, observed, arenas, failures);
    return;
  }
  if (observed.kind === 'stuck') {
    if (step.expect.outcome !== 'budget') {
      failures.add('outcome', step.expect.outcome, `budget: ${observed.why}`);
    }
    return;
  }
  failures.same('outcome', step.expect.outcome, 'returned', String);
  if (step.kind === 'alloc' && observed.kind === 'alloc') {
    const { result } = step.expect;
    const wanted = result === undefined ? undefined : (result?.page ?? null);
    failures.same<number | null>('result', wanted, observed.page, (page) =>
      page === null ? 'null' : `{page: ${page}}`,
    );
  } else if (
    (step.kind === 'free' && observed.kind === 'free') ||
    (step.kind === 'worker' && observed.kind === 'worker')
  ) {
    failures.same('freed', step.expect.freed, observed.freed, String);
  } else if (step.kind === 'destroy' && observed.kind === 'destroy') {
    failures.same('freed', step.expect.freed, observed.freed, String);
    failures.same('leaked', step.expect.leaked, observed.leaked, String);
  } else if (
    (step.kind === 'reserve' && observed.kind === 'reserve') ||
    (step.kind === 'create' && observed.kind === 'create') ||
    (step.kind === 'lock' && observed.kind === 'lock')
  ) {
    failures.same('result', step.expect.result, observed.result, formatErrno);
  } else if (step.kind === 'user' && observed.kind === 'user') {
    failures.same('result', step.expect.result, observed.result, String);
    failures.same<bigint | null>('value', step.expect.value, observed.value, orNothing);
  } else if (step.kind === 'pte' && observed.kind === 'pte') {
    failures.same('value', step.expect.value, observed.value, hex);
    failures.same('kind', step.expect.kind, observed.pteKind, String);
  } else if (
    (step.kind === 'streamRead' && observed.kind === 'streamRead') ||
    (step.kind === 'streamPrint' && observed.kind === 'streamPrint')
  ) {
    failures.same('result', step.expect.result, observed.result, formatErrno);
    failures.same('bytes', step.expect.bytes, observed.bytes, String);
  } else if (step.kind !== 'unlock' || observed.kind !== 'unlock') {
    throw new TypeError(`a step ${step.kind} was observed as ${observed.kind}`);
  }
}

function compareCall(
  expect: CallExpect,
  observed: CallObserved,
  arenas: readonly ArenaPlace[],
  failures: Failures,
): void {
  failures.same('outcome', expect.outcome, observed.outcome, String);
  const resolve = (value: Value) => resolveValue(value, arenas);
  // A call that ended otherwise than expected has failed already: that it returned nothing is no news.
  if (expect.ret !== undefined && (observed.ret !== null || expect.outcome === observed.outcome)) {
    failures.same<bigint | null>('ret', resolve(expect.ret), observed.ret, orNothing);
  }
  if (expect.faults) compareFaults(expect.faults, observed.faults, arenas, failures);
  for (const [i, { arena, offset, length, wanted }] of expect.memory.entries()) {
    const got = observed.readArena(arena, offset, length);
    compareBytes(`memory[${i}]`, wanted, got, resolve, failures);
  }
  for (const [i, { arg, length, wanted }] of expect.buffers.entries()) {
    const got = observed.readBuffer(arg, length);
    compareBytes(`buffers[${i}]`, wanted, got, resolve, failures);
  }
  for (const [name, value] of expect.registers) {
    failures.same(`registers.${name}`, resolve(value), u64(observed.readRegister(name)), hex);
  }
}

const hexOf = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

/** Little endian, as both architectures store it. */
function pointerBytes(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, u64(value), true);
  return bytes;
}

/** Bytes that a failure shows: more of them tell nobody more. */
const SHOWN = 64;

function compareBytes(
  key: string,
  wanted: Wanted,
  got: Uint8Array | null,
  resolve: (value: Value) => bigint,
  failures: Failures,
): void {
  if (wanted.kind === 'sha256') {
    const sum = got === null ? 'not mapped' : createHash('sha256').update(got).digest('hex');
    failures.same(key, wanted.sha256, sum, String);
    return;
  }
  const bytes = wanted.kind === 'bytes' ? wanted.bytes : pointerBytes(resolve(wanted.value));
  const at = got === null ? 0 : bytes.findIndex((byte, i) => byte !== got[i]);
  if (at < 0) return;
  // Aligned to what a hex dump would show.
  const from = bytes.length <= SHOWN ? 0 : at - (at % 16);
  const place = from > 0 ? `at +${hex(from)}: ` : '';
  const show = (all: Uint8Array) => place + hexOf(all.subarray(from, from + SHOWN));
  failures.add(key, show(bytes), got === null ? 'not mapped' : show(got));
}

function compareRange(
  key: string,
  wanted: NumberRange | undefined,
  got: number | null,
  failures: Failures,
): void {
  if (wanted === undefined) return;
  if (got !== null && got >= wanted.min && got <= wanted.max) return;
  failures.add(key, formatRange(wanted), got === null ? 'not counted (--cost off)' : String(got));
}

function formatRange({ min, max }: NumberRange): string {
  if (min === max) return String(min);
  if (max === Number.MAX_SAFE_INTEGER) return `at least ${min}`;
  return min === 0 ? `at most ${max}` : `${min} to ${max}`;
}

function compareStream(expect: Expect, observed: Observed, failures: Failures): void {
  if (expect.stderr) {
    const match = matchText(expect.stderr, observed.stderr);
    if (!match.ok) {
      failures.add('stderr', match.wanted, `line ${match.textLine + 1}: ${match.got}`);
    }
  }
  compareRange('stderr_bytes', expect.stderrBytes, observed.stderrBytes, failures);
}

/** Lines of the oops. With `oops` expected and no lines, any text is accepted. */
function compareReport(expect: CallExpect, observed: CallObserved, failures: Failures): void {
  const { oops } = observed;
  if (expect.oops === undefined) return;
  if (expect.oops === null) {
    if (oops !== null) failures.add('oops', 'null', oops[0] ?? 'a report');
    return;
  }
  const missing = findInOrder(expect.oops, oops ?? []);
  if (missing < 0) return;
  const where = missing > 0 ? 'no such line after those before it' : 'no such line';
  const got = oops === null ? 'no report' : `${where}; the report begins: ${oops[0]}`;
  failures.add('oops', expect.oops[missing].source.trimEnd(), got);
}
