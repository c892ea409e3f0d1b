// Turns a file that the schema let through into the world of one architecture: one way of saying things, with defaults
// filled in.
import { objectArch, openObject } from './object-file.ts';
import { loadArenas, namedArenas } from './scenario-load-arena.ts';
import { loadInjections, loadKernel, loadSchedule } from './scenario-load-kernel.ts';
import { loadCallStep, loadSteps } from './scenario-load-steps.ts';
import type { Loader, ReadFile } from './scenario-loader.ts';
import { ARCHS, type ArchName, actorsOfCpu, type World } from './scenario-model.ts';
import type { Raw } from './scenario-schema.ts';
import type { RawCall } from './scenario-schema-call.ts';
import type { Step } from './step-model.ts';

/** Instructions after which a run counts as one that does not end. */
const DEFAULT_INSTRUCTIONS = 10_000_000;

/** Keys of the one call of the short form. */
const CALL_KEYS = ['code', 'bytes', 'object', 'args', 'expect'] as const;

/** Loads for the loader's architecture; what is wrong goes to the loader. */
export function loadWorld(raw: Raw, name: string, loader: Loader): World {
  loader.arenas = namedArenas(raw).map((arena) => arena.name);
  const kernel = loadKernel(raw.kernel, loader);
  loader.pageSize = kernel.pageSize;
  const form = raw.cpus ? 'cpus' : raw.steps ? 'steps' : 'call';
  checkForm(raw, form, loader);
  const cpus = loadCpus(raw, form, loader);
  const limit = raw.limits?.instructions ?? DEFAULT_INSTRUCTIONS;
  return {
    name,
    arch: loader.arch,
    series: raw.series ?? 'mainline',
    arenas: loadArenas(raw, loader),
    kernel,
    limits: { instructions: limit === 'none' ? null : limit },
    injections: loadInjections(raw.inject, loader),
    form,
    cpus,
    schedule: loadSchedule(raw.schedule, cpus.length * actorsOfCpu(raw.memory ?? 'sc'), loader),
    memory: loadMemory(raw, loader),
    bound: { preemptions: raw.bound?.preemptions ?? null },
    without: raw.without ?? [],
  };
}

function loadMemory(raw: Raw, loader: Loader): World['memory'] {
  const { memory = 'sc' } = raw;
  if (memory === 'tso' && loader.arch !== 'x86_64') {
    const message = `${loader.arch} has no x86-TSO`;
    loader.complain(['memory'], message, 'leave it out, or set arch: x86_64');
  }
  if (memory.startsWith('vmsa') && loader.arch !== 'arm64') {
    const message = `${loader.arch} has none of AArch64's translation`;
    loader.complain(['memory'], message, 'leave it out, or set arch: arm64');
  }
  if (memory.startsWith('vmsa') && raw.kernel?.tlb?.negative === 'on') {
    const message = 'with memory: vmsa no refusal is kept';
    loader.complain(['kernel', 'tlb', 'negative'], message, 'leave one of them out');
  }
  return memory;
}

/** One call, steps and CPUs are three ways of saying what happens: a file uses one of them. */
function checkForm(raw: Raw, form: World['form'], loader: Loader): void {
  if (form === 'call') {
    if (isIdle(raw)) {
      loader.complain([], 'nothing happens in this scenario', 'give `code:`, `steps:` or `cpus:`');
    }
    if (raw.schedule !== undefined) {
      const message = 'a schedule is for several CPUs';
      loader.complain(['schedule'], message, 'give `cpus:`, or leave it out', 'key');
    }
    return;
  }
  if (raw.cpus && raw.steps) {
    const remedy = 'make them the first steps of CPU 0';
    loader.complain(['steps'], '`steps` and `cpus` exclude each other', remedy, 'key');
  }
  for (const key of [...CALL_KEYS, 'symbol', 'extable'] as const) {
    if (raw[key] === undefined) continue;
    const remedy = key === 'expect' ? 'put it beside a step' : 'put it into a step `call`';
    loader.complain([key], `\`${form}\` replaces \`${key}\``, remedy, 'key');
  }
}

const isIdle = (raw: Raw): boolean => CALL_KEYS.every((key) => raw[key] === undefined);

function loadCpus(raw: Raw, form: World['form'], loader: Loader): Step[][] {
  if (form === 'call') {
    return [isIdle(raw) ? [] : [loadCallStep(raw, [], raw.expect, ['expect'], loader)]];
  }
  if (form === 'steps') return [loadSteps(raw.steps ?? [], ['steps'], raw, loader)];
  const cpus = raw.cpus ?? [];
  if (cpus.length < 1)
    loader.complain(['cpus'], 'there is no CPU', 'give a list of steps for each');
  return cpus.map((steps, i) => loadSteps(steps, ['cpus', i], raw, loader));
}

/**
 * The architectures a scenario runs on: those of `arch`, or those for which all its calls have code.
 * @param readFile asked for the machine of objects
 */
export function archsOf(raw: Raw, readFile: ReadFile): readonly ArchName[] {
  if (raw.arch !== undefined) return typeof raw.arch === 'string' ? [raw.arch] : raw.arch;
  const calls = allSteps(raw).flatMap((step) => ('call' in step ? [step.call] : []));
  const archs = ARCHS.filter((arch) => [raw, ...calls].every((c) => hasCode(c, arch, readFile)));
  return archs.length > 0 ? archs : ARCHS;
}

const allSteps = (raw: Raw) => [...(raw.steps ?? []), ...(raw.cpus ?? []).flat()];

/** True unless the call has code, and none of it for `arch`. */
function hasCode(call: RawCall, arch: ArchName, readFile: ReadFile): boolean {
  const { code } = call;
  const bytes = call.bytes ?? code?.bytes;
  const object = call.object ?? code?.object;
  if (object !== undefined) {
    if (typeof object !== 'string') return object[arch] !== undefined;
    return isFor(object, call.symbol ?? code?.symbol ?? null, arch, readFile);
  }
  if (bytes !== undefined) return bytes[arch] !== undefined;
  return code === undefined || code[arch] !== undefined;
}

function isFor(object: string, symbol: string | null, arch: ArchName, readFile: ReadFile): boolean {
  try {
    return objectArch(openObject(object, symbol, readFile).bytes) === arch;
  } catch {
    // The loader reads it again and tells what is wrong.
    return true;
  }
}
