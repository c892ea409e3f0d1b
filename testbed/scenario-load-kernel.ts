// Loads what a run is set in besides arenas: the modelled kernel's configuration, failures to inject and schedules.
import { type VirtAddr, virtAddr } from '../emulator/address.ts';
import { hex } from '../emulator/bits.ts';
import type { ObjectFile } from './object-file.ts';
import { isReplaceable, REPLACEABLE, type ReplaceableName } from './replace/functions/index.ts';
import { whyNotReplaceable } from './replace/refusals.ts';
import { nearest } from './scenario-error.ts';
import { loadObject } from './scenario-load-call.ts';
import type { Loader } from './scenario-loader.ts';
import type { Injection, KernelOptions, Schedule } from './scenario-model.ts';
import type { Raw } from './scenario-schema.ts';

export function loadKernel(raw: Raw['kernel'], loader: Loader): KernelOptions {
  const { kfence } = raw ?? {};
  const pageSize = loadPageSize(raw?.page_size, loader);
  return {
    pageSize,
    vmStart: loadVmStart(raw?.vm_start?.[loader.arch], pageSize, loader),
    scratchPfn: raw?.scratch_pfn ?? 0x1234,
    la57: raw?.la57 ?? false,
    pti: raw?.pti ?? false,
    contpte: raw?.contpte ?? true,
    unwinder: raw?.unwinder ?? 'orc',
    kfence: kfence
      ? {
          pool: loader.value(loader.pick(kfence.pool) ?? 0n, ['kernel', 'kfence', 'pool']),
          objects: kfence.objects ?? 255,
        }
      : null,
    arenaLock: raw?.arena_lock ?? 'rqspinlock',
    hafdbs: raw?.hafdbs ?? false,
    bpfSyscall: raw?.bpf_syscall ?? true,
    erms: raw?.erms ?? true,
    cpucaps: raw?.cpucaps ?? [],
    stack: loadStack(raw?.stack, pageSize, loader),
    tlb: { negative: raw?.tlb?.negative ?? 'off' },
    replace: loadReplace(raw?.replace, loader),
  };
}

function loadReplace(
  raw: NonNullable<Raw['kernel']>['replace'],
  loader: Loader,
): ReadonlyMap<ReplaceableName, ObjectFile> {
  const replace = new Map<ReplaceableName, ObjectFile>();
  for (const [name, given] of Object.entries(raw ?? {})) {
    const at = ['kernel', 'replace', name];
    if (!isReplaceable(name)) {
      loader.complain(at, ...notReplaceable(name), 'key');
      continue;
    }
    const path = loader.pick(given);
    if (path !== undefined) replace.set(name, loadObject(path, name, at, loader));
  }
  return replace;
}

const ALL_THAT_CAN = 'docs/objects.md has a table of all functions that can be replaced';

/** What is wrong with a name that no function of the model has that could be replaced, and what to do. */
export function notReplaceable(name: string): [message: string, remedy: string] {
  const known = Object.keys(REPLACEABLE);
  const reason = whyNotReplaceable(name);
  if (reason !== null) {
    return [`${name} cannot be replaced: ${reason}`, ALL_THAT_CAN];
  }
  const near = nearest(name, known);
  const remedy = near === null ? ALL_THAT_CAN : `did you mean ${near}? ${ALL_THAT_CAN}`;
  return [`${name} is no function of the model that compiled code can replace`, remedy];
}

function loadPageSize(size = 4096, loader: Loader): number {
  const sizes = loader.arch === 'arm64' ? [4096, 16384, 65536] : [4096];
  if (sizes.includes(size)) return size;
  const message = `${loader.arch} has no pages of ${size} bytes`;
  const remedy = sizes.length > 1 ? `give ${sizes.join(', ')}` : 'leave it out, or set arch: arm64';
  loader.complain(['kernel', 'page_size'], message, remedy);
  return 4096;
}

function loadVmStart(given: bigint | undefined, pageSize: number, loader: Loader): VirtAddr | null {
  if (given === undefined) return null;
  const upperHalf = 0x8000_0000_0000_0000n;
  if (given % BigInt(pageSize) !== 0n || given < upperHalf) {
    const message = `${hex(given)} cannot be a kern_vm_start`;
    const remedy = `give a kernel address aligned to ${hex(pageSize)}`;
    loader.complain(['kernel', 'vm_start', loader.arch], message, remedy);
  }
  return virtAddr(given);
}

/** THREAD_SIZE: a power of two on both, and on arm64 at least a page (asm/memory.h). */
function loadStack(given: number | undefined, pageSize: number, loader: Loader): number {
  const size = given ?? Math.max(0x4000, pageSize);
  if (size < pageSize || size > 0x10_0000 || (size & (size - 1)) !== 0) {
    const message = `${hex(size)} bytes are no size of a kernel stack`;
    loader.complain(
      ['kernel', 'stack'],
      message,
      `give a power of two from ${hex(pageSize)} to 0x100000`,
    );
  }
  return size;
}

export function loadInjections(raw: Raw['inject'], loader: Loader): Injection[] {
  return (raw ?? []).map(({ at, nth, errno }, i) => {
    // The one way in which an rqspinlock fails without a bug in the program.
    const usual = at === 'spinlock' ? 'ETIMEDOUT' : 'ENOMEM';
    return { at, nth: nth ?? 1, errno: loader.errno(errno ?? usual, ['inject', i, 'errno']) };
  });
}

export function loadSchedule(raw: Raw['schedule'], cpus: number, loader: Loader): Schedule | null {
  if (raw === undefined) return null;
  if (typeof raw === 'object') return { kind: 'seed', seed: raw.seed };
  return parseSchedule(raw, cpus, (message, remedy) =>
    loader.complain(['schedule'], message, remedy),
  );
}

/**
 * Turns of CPUs as `schedule:` and `run --schedule` write them: "0:3 1:2 0:*".
 * @param cpus how many CPUs there are
 */
export function parseSchedule(
  text: string,
  cpus: number,
  complain: (message: string, remedy: string) => void,
): Schedule {
  const turns = text
    .trim()
    .split(/\s+/)
    .map((turn) => {
      const [, cpu, steps] = turn.match(/^(\d+):(\d+|\*)$/) ?? [];
      if (cpu === undefined)
        complain(`"${turn}" is no turn`, 'write cpu:steps, such as 0:3 or 1:*');
      else if (Number(cpu) >= cpus)
        complain(`there is no CPU ${cpu}`, `CPUs count from 0 to ${cpus - 1}`);
      return { cpu: Number(cpu ?? 0), steps: steps === '*' ? null : Number(steps ?? 0) };
    });
  return { kind: 'turns', turns };
}
