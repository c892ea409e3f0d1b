// Loads steps. Keys that a mapping of steps inherits from the top of the file (`caller`, `symbols`, `image`) are
// defaults of its calls.
import { virtAddr } from '../emulator/address.ts';
import type { Path } from './scenario-error.ts';
import { loadCall } from './scenario-load-call.ts';
import { loadCallExpect, loadPlainExpect } from './scenario-load-expect.ts';
import type { Loader } from './scenario-loader.ts';
import type { KernelPage, UserPage } from './scenario-model.ts';
import type { RawCall } from './scenario-schema-call.ts';
import type { RawCallExpect, RawStep } from './scenario-schema-steps.ts';
import type { CallStep, CreateStep, Step, StreamPrintStep, StreamReadStep } from './step-model.ts';

/** @param defaults the top of the file */
export function loadSteps(
  raw: readonly RawStep[],
  path: Path,
  defaults: RawCall,
  loader: Loader,
): Step[] {
  return raw.map((step, i) => loadStep(step, [...path, i], defaults, loader));
}

/** A call whose keys stand at `path`, and its expectations at `expectPath`. */
export function loadCallStep(
  raw: RawCall,
  path: Path,
  expect: RawCallExpect | undefined,
  expectPath: Path,
  loader: Loader,
): CallStep {
  const call = loadCall(raw, path, loader);
  return {
    kind: 'call',
    line: loader.lineOf(path),
    ...call,
    expect: loadCallExpect(expect ?? {}, expectPath, call.args, loader),
  };
}

function loadStep(raw: RawStep, path: Path, defaults: RawCall, loader: Loader): Step {
  const line = loader.lineOf(path);
  const expectPath = [...path, 'expect'];
  const common = (expect: Parameters<typeof loadPlainExpect>[0]) =>
    loadPlainExpect(expect, expectPath, loader);
  const on = (key: string, given: { in?: string } | null) => ({
    line,
    arena: loader.arena(given?.in, [...path, key, 'in']),
  });
  if ('call' in raw) {
    const { caller, symbols, image } = defaults;
    const call = { caller, image, ...raw.call, symbols: { ...symbols, ...raw.call.symbols } };
    return loadCallStep(call, [...path, 'call'], raw.expect, expectPath, loader);
  }
  if ('alloc' in raw) {
    const { page, count, sleepable = true } = raw.alloc;
    const result = raw.expect?.result;
    return {
      kind: 'alloc',
      ...on('alloc', raw.alloc),
      page: (page ?? null) as UserPage | null,
      count,
      sleepable,
      expect: { ...common(raw.expect), result: result && { page: result.page as UserPage } },
    };
  }
  if ('free' in raw) {
    const { page, count, sleepable = true } = raw.free;
    return {
      kind: 'free',
      ...on('free', raw.free),
      page: page as UserPage,
      count,
      sleepable,
      expect: { ...common(raw.expect), freed: raw.expect?.freed },
    };
  }
  if ('reserve' in raw) {
    return {
      kind: 'reserve',
      ...on('reserve', raw.reserve),
      page: raw.reserve.page as UserPage,
      count: raw.reserve.count,
      expect: { ...common(raw.expect), result: resultOf(raw.expect, expectPath, loader) },
    };
  }
  if ('user' in raw) {
    const { page, offset = 0, access, value = 0n } = raw.user;
    const expected = loader.pick<bigint>(raw.expect?.value);
    if (offset > loader.pageSize - 8) {
      const message = `8 bytes at offset ${offset} leave the page`;
      const remedy = `give an offset up to ${loader.pageSize - 8}`;
      loader.complain([...path, 'user', 'offset'], message, remedy);
    }
    return {
      kind: 'user',
      ...on('user', raw.user),
      page: page as UserPage,
      offset,
      access,
      value: virtAddr(value),
      expect: {
        ...common(raw.expect),
        result: raw.expect?.result,
        value: expected === undefined ? undefined : virtAddr(expected),
      },
    };
  }
  if ('worker' in raw) {
    const expect = { ...common(raw.expect), freed: raw.expect?.freed };
    return { kind: 'worker', ...on('worker', raw.worker), expect };
  }
  if ('destroy' in raw) {
    const { freed, leaked } = raw.expect ?? {};
    const expect = { ...common(raw.expect), freed, leaked };
    return { kind: 'destroy', ...on('destroy', raw.destroy), expect };
  }
  if ('pte' in raw) {
    return {
      kind: 'pte',
      ...on('pte', raw.pte),
      page: raw.pte.page as KernelPage,
      set: loader.pick<bigint>(raw.pte.set) ?? null,
      expect: {
        ...common(raw.expect),
        value: loader.pick<bigint>(raw.expect?.value),
        kind: raw.expect?.kind,
      },
    };
  }
  if ('lock' in raw) {
    const expect = { ...common(raw.expect), result: resultOf(raw.expect, expectPath, loader) };
    return { kind: 'lock', ...on('lock', raw.lock), expect };
  }
  if ('unlock' in raw) {
    return { kind: 'unlock', ...on('unlock', raw.unlock), expect: common(raw.expect) };
  }
  if ('create' in raw) return loadCreate(raw, line, path, loader);
  return loadStream(raw, line, path, loader);
}

const resultOf = (
  expect: { result?: bigint | string } | undefined,
  path: Path,
  loader: Loader,
): number | undefined =>
  expect?.result === undefined ? undefined : loader.errno(expect.result, [...path, 'result']);

function loadCreate(
  raw: Extract<RawStep, { create: unknown }>,
  line: number,
  path: Path,
  loader: Loader,
): CreateStep {
  const { pages, user_vm_start, flags, key_size, value_size } = raw.create;
  const expectPath = [...path, 'expect'];
  return {
    kind: 'create',
    line,
    pages: pages ?? DEFAULT_PAGES,
    userVmStart: user_vm_start ?? DEFAULT_USER_VM_START,
    flags: flags ?? [],
    keySize: key_size ?? 0,
    valueSize: value_size ?? 0,
    expect: {
      ...loadPlainExpect(raw.expect, expectPath, loader),
      result: resultOf(raw.expect, expectPath, loader),
    },
  };
}

/** max_entries of an arena of 4 GiB, and a map_extra whose lower half is 0. */
export const DEFAULT_PAGES = 0x10_0000;
export const DEFAULT_USER_VM_START = 0x7f00_0000_0000n;

function loadStream(
  raw: Extract<RawStep, { stream: unknown }>,
  line: number,
  path: Path,
  loader: Loader,
): StreamReadStep | StreamPrintStep {
  const { read, print, count, prog = null } = raw.stream;
  const at = [...path, 'stream'];
  if ((read === undefined) === (print === undefined)) {
    loader.complain(at, 'a stream is either read or printed to', 'give one of `read` and `print`');
  }
  const expectPath = [...path, 'expect'];
  const expect = {
    ...loadPlainExpect(raw.expect, expectPath, loader),
    result: resultOf(raw.expect, expectPath, loader),
    bytes: raw.expect?.bytes,
  };
  if (print !== undefined) {
    return { kind: 'streamPrint', line, prog, text: print, count: count ?? 1, expect };
  }
  if (count !== undefined) {
    loader.complain([...at, 'count'], 'a stream is read once', 'leave it out', 'key');
  }
  return { kind: 'streamRead', line, prog, length: read ?? 0, expect };
}
