// Loads what must come of a step: patterns compiled, architectures picked, contradictions refused.
import type {
  BufferExpectation,
  CallExpect,
  Expect,
  FaultExpectation,
  MemoryExpectation,
  NumberRange,
  Outcome,
  PlainExpect,
  Wanted,
} from './expect-model.ts';
import type { TextPattern } from './match.ts';
import { isBuffer } from './places.ts';
import type { Path } from './scenario-error.ts';
import type { Loader } from './scenario-loader.ts';
import type { ArenaOffset, Argument, KernelPage, Value } from './scenario-model.ts';
import type { RawValue } from './scenario-schema-call.ts';
import type { RawCallExpect, RawRange } from './scenario-schema-steps.ts';

/** What every step may expect. */
function loadExpect(
  raw: { stderr?: string; stderr_bytes?: RawRange } | undefined,
  path: Path,
  loader: Loader,
): Expect {
  return {
    stderr: raw?.stderr === undefined ? undefined : loader.pattern(raw.stderr, [...path, 'stderr']),
    stderrBytes: rangeOf(raw?.stderr_bytes),
  };
}

/** What every step but a call may expect. */
export function loadPlainExpect(
  raw: (Parameters<typeof loadExpect>[0] & { outcome?: PlainExpect['outcome'] }) | undefined,
  path: Path,
  loader: Loader,
): PlainExpect {
  return { ...loadExpect(raw, path, loader), outcome: raw?.outcome ?? 'returned' };
}

/** @param args of the call, among them the buffers */
export function loadCallExpect(
  raw: RawCallExpect,
  path: Path,
  args: readonly Argument[],
  loader: Loader,
): CallExpect {
  const oops = loadOops(raw.oops, [...path, 'oops'], loader);
  const ret = loader.pick<RawValue>(raw.ret);
  return {
    ...loadExpect(raw, path, loader),
    outcome: loadOutcome(raw, oops, path, loader),
    ret: ret === undefined ? undefined : loader.value(ret, [...path, 'ret']),
    faults: loader
      .pick<RawFault[]>(raw.faults)
      ?.map((fault, i) => loadFault(fault, [...path, 'faults', i], loader)),
    memory: (loader.pick<RawMemory[]>(raw.memory) ?? []).map((memory, i) =>
      loadMemory(memory, [...path, 'memory', i], loader),
    ),
    buffers: (loader.pick<RawBuffer[]>(raw.buffers) ?? []).map((buffer, i) =>
      loadBuffer(buffer, [...path, 'buffers', i], args, loader),
    ),
    registers: loadRegisters(raw.registers, [...path, 'registers'], loader),
    oops,
    instructions: rangeOf(loader.pick<RawRange>(raw.instructions)),
    cycles: rangeOf(loader.pick<RawRange>(raw.cycles)),
  };
}

type Element<T> = T extends readonly (infer E)[] ? E : never;
type RawFault = Element<RawCallExpect['faults']>;
type RawMemory = Element<RawCallExpect['memory']>;
type RawBuffer = Element<RawCallExpect['buffers']>;

const rangeOf = (raw: RawRange | undefined): NumberRange | undefined => {
  if (raw === undefined) return undefined;
  if (typeof raw === 'number') return { min: raw, max: raw };
  return { min: raw.min ?? 0, max: raw.max ?? Number.MAX_SAFE_INTEGER };
};

/** Undefined: nothing is expected. null: no report. Otherwise whole lines. */
function loadOops(
  raw: RawCallExpect['oops'],
  path: Path,
  loader: Loader,
): readonly TextPattern[] | null | undefined {
  const given = loader.pick<string | string[] | null>(raw);
  if (given === undefined || given === null) return given;
  if (typeof given === 'string') return [loader.pattern(given, path)];
  return given.map((line, i) => loader.pattern(line, [...path, i]));
}

function loadOutcome(
  raw: RawCallExpect,
  oops: readonly TextPattern[] | null | undefined,
  path: Path,
  loader: Loader,
): Outcome {
  const given = loader.pick<Outcome>(raw.outcome);
  if (given === undefined) return oops ? 'oops' : 'returned';
  if (oops && given !== 'oops') {
    const message = `outcome is ${given}, but lines of an oops are expected`;
    loader.complain([...path, 'oops'], message, 'set outcome: oops, or leave the lines out', 'key');
  } else if (oops === null && given === 'oops') {
    const message = 'outcome is oops, but no report is expected';
    loader.complain([...path, 'oops'], message, 'leave the key out to accept any text', 'key');
  }
  return given;
}

function loadFault(raw: RawFault, path: Path, loader: Loader): FaultExpectation {
  const value = (key: 'addr' | 'ip'): Value | undefined => {
    const given = loader.pick<RawValue>(raw[key]);
    return given === undefined ? undefined : loader.value(given, [...path, key]);
  };
  if (raw.step !== undefined && typeof raw.page !== 'number' && raw.addr === undefined) {
    loader.complain([...path, 'step'], 'there is no page to step from', 'give `page:` too', 'key');
  }
  return {
    page: raw.page as KernelPage | null | undefined,
    access: raw.access,
    resolution: raw.resolution,
    addr: value('addr'),
    ip: value('ip'),
    code: loader.pick<bigint>(raw.code),
    count: raw.count ?? 1,
    step: raw.step ?? 0,
  };
}

/** Complains unless exactly one of `keys` is given. */
function exactlyOne<T extends object>(
  raw: T,
  keys: (keyof T & string)[],
  path: Path,
  loader: Loader,
) {
  if (keys.filter((key) => raw[key] !== undefined).length === 1) return;
  const message = `exactly one of ${keys.join(', ')} says what must be there`;
  loader.complain(path, message, 'give one of them');
}

const digest = (sha256: string): Wanted & { kind: 'sha256' } => ({
  kind: 'sha256',
  sha256: sha256.toLowerCase(),
});

function loadMemory(raw: RawMemory, path: Path, loader: Loader): MemoryExpectation {
  exactlyOne(raw, ['hex', 'pointer', 'sha256'], path, loader);
  const { hex, sha256, length } = raw;
  if ((sha256 === undefined) !== (length === undefined)) {
    loader.complain(path, '`sha256` and `length` go together', 'give both, or `hex`');
  }
  const place = {
    arena: loader.arena(raw.in, [...path, 'in']),
    offset: raw.offset as ArenaOffset,
  };
  if (hex !== undefined) {
    return { ...place, length: hex.length, wanted: { kind: 'bytes', bytes: hex } };
  }
  if (sha256 !== undefined) return { ...place, length: length ?? 0, wanted: digest(sha256) };
  const value = loader.value(loader.pick<RawValue>(raw.pointer) ?? 0n, [...path, 'pointer']);
  return { ...place, length: 8, wanted: { kind: 'pointer', value } };
}

function loadBuffer(
  raw: RawBuffer,
  path: Path,
  args: readonly Argument[],
  loader: Loader,
): BufferExpectation {
  exactlyOne(raw, ['hex', 'sha256'], path, loader);
  const argument = args[raw.arg];
  const size = argument !== undefined && isBuffer(argument) ? argument.bytes.length : null;
  const length = raw.hex?.length ?? raw.length ?? size ?? 0;
  if (size === null) {
    const buffers = args.flatMap((given, i) => (isBuffer(given) ? [i] : []));
    const remedy = `arguments count from 0; ${buffers.length ? `buffers are ${buffers.join(', ')}` : 'none is a buffer'}`;
    loader.complain([...path, 'arg'], `argument ${raw.arg} is no buffer`, remedy);
  } else if (length > size) {
    const message = `${length} bytes are expected of a buffer of ${size}`;
    loader.complain(path, message, 'make the buffer larger or the expectation shorter');
  }
  const wanted =
    raw.sha256 === undefined
      ? { kind: 'bytes' as const, bytes: raw.hex ?? new Uint8Array() }
      : digest(raw.sha256);
  return { arg: raw.arg, length, wanted };
}

function loadRegisters(
  raw: RawCallExpect['registers'],
  path: Path,
  loader: Loader,
): Map<string, Value> {
  return new Map(
    Object.entries(raw?.[loader.arch] ?? {}).map(([name, value]) => {
      const at = [...path, loader.arch, name];
      loader.checkRegister(name, loader.registers, at, 'key');
      return [name, loader.value(value, at)];
    }),
  );
}
