// The kernel of a world before anything of its scenario is in it: a machine, the kernel, its arenas. Making one costs more
// than most calls, and scenarios of a suite ask for the same few, so one that comes back is kept with a snapshot.
import type { Architecture, KernelLayout } from '../arch/arch.ts';
import { arm64 } from '../arch/arm64/index.ts';
import { x86 } from '../arch/x86/index.ts';
import { arenaMapAlloc, BpfArena, guardSize, kernVmSize } from '../bpf/arena.ts';
import { FRAME_SIZE, type VirtAddr, virtAddr } from '../emulator/address.ts';
import type { Assembler } from '../emulator/assembler.ts';
import { hex } from '../emulator/bits.ts';
import type { Disassembler } from '../emulator/disassembler.ts';
import { EventSink } from '../emulator/events.ts';
import { type Restore, SAVE, saveObjects } from '../emulator/snapshot.ts';
import { ERRNO, KernelStuck } from '../mm/context.ts';
import { CallError } from './call-error.ts';
import type { Costing } from './costing.ts';
import { formatErrno } from './errno.ts';
import { Images } from './images.ts';
import { Kernel } from './kernel.ts';
import { setUpKfence } from './kfence.ts';
import type { Machine, Machines, SetUp } from './machines.ts';
import { ramSizeFor } from './memory-need.ts';
import { type ArenaPlace, resolveValue } from './places.ts';
import { replaceFunctions } from './replace/replacements.ts';
import type { ArchName, ArenaOptions, World } from './scenario.ts';
import { mapFlags } from './steps.ts';
import type { KernelImage } from './vmlinux/image.ts';
import { imageOf, layoutAround, loadImage, reservedFor, type WorldImage } from './vmlinux/load.ts';

/** What a run needs from outside: the core that executes, and the tools that read and write its code. */
export interface RunHost {
  readonly machines: Machines;
  readonly assembler: Assembler;
  readonly disassembler: Disassembler;
}

export const ARCHITECTURES: Readonly<Record<ArchName, Architecture>> = { x86_64: x86, arm64 };

/** How a world is run. */
export interface RunOptions {
  readonly events?: EventSink;
  /** What its calls cost is found with this, of its architecture; by default it is not. */
  readonly costing?: Costing | null;
}

/** A kernel with its arenas. */
export interface Boot {
  readonly machine: Machine;
  readonly kernel: Kernel;
  readonly images: Images;
  readonly places: readonly ArenaPlace[];
  /** How to come back to it, under which key, if it is kept. */
  readonly kept: { readonly key: string; readonly restore: Restore } | null;
}

/** What the machines keep of it. */
interface KeptBoot extends SetUp {
  readonly boot: Boot;
}

/**
 * A kernel as a world asks for it: one that was kept, or a new one.
 * @throws CallError for a world that cannot be
 */
export function takeBoot(host: RunHost, world: World, options: RunOptions): Boot {
  const key = keyOf(world, options);
  const kept = key === null ? null : (host.machines.takeSetUp(key) as KeptBoot | null);
  return kept?.boot ?? bootAnew(host, world, options, key);
}

/** Gives it back. Nothing of it may be used afterwards. */
export function giveBoot(host: RunHost, boot: Boot): void {
  const { machine, kernel, kept } = boot;
  if (kept === null) {
    host.machines.give(machine);
    return;
  }
  kernel.events.forgetReaders();
  host.machines.give(machine, kept.key, { machine, restore: kept.restore, boot } as KeptBoot);
}

/** What of a world is no part of its state: what it is made from and with. */
export function outsideOf(host: RunHost, world: World, { machine, kernel }: Boot): object[] {
  const fixed = [host, world, ...world.cpus.flat(), kernel.arch, kernel.events];
  const costing = kernel.costing === null ? [] : [kernel.costing];
  return [...fixed, ...costing, machine, machine.ram, host.disassembler, host.assembler];
}

const worldKeys = new WeakMap<World, string>();

/** All that a boot depends on; null where whoever brings a sink of its own wants to hear of the boot too. */
function keyOf(world: World, { events, costing }: RunOptions): string | null {
  if (events !== undefined) return null;
  let key = worldKeys.get(world);
  if (key === undefined) {
    const { arch, series, arenas, cpus, limits } = world;
    const { replace, ...kernel } = world.kernel;
    const replaced = [...replace].map(([name, { path, bytes }]) => [name, path, idOf(bytes)]);
    const made = arenas.map(({ name, pages, userVmStart, flags }) => [
      ...[name, pages, userVmStart, flags],
    ]);
    const counting = limits.instructions !== null;
    const image = imageOf(world);
    const ram = ramSizeFor(world, image?.image);
    const limit = replace.size > 0 ? limits.instructions : null;
    const parts = [
      ...[arch, series, kernel, made, cpus.length, counting, ram],
      ...[image && numberOf(image), replaced, limit],
    ];
    key = JSON.stringify(parts, (_, part) => (typeof part === 'bigint' ? `${part}n` : part));
    worldKeys.set(world, key);
  }
  return `${key} ${costing?.key ?? ''}`;
}

const imageNumbers = new WeakMap<KernelImage, number>();
let nextNumber = 1;

/** Tells images apart. */
function numberOf({ image }: WorldImage): number {
  const number = imageNumbers.get(image) ?? nextNumber++;
  imageNumbers.set(image, number);
  return number;
}

/** Objects are the same if their bytes are the very same. */
const ids = new WeakMap<Uint8Array, number>();
let lastId = 0;

function idOf(bytes: Uint8Array): number {
  const id = ids.get(bytes) ?? ++lastId;
  ids.set(bytes, id);
  return id;
}

function bootAnew(host: RunHost, world: World, options: RunOptions, key: string | null): Boot {
  const { machines } = host;
  const { costing = null } = options;
  const { description } = ARCHITECTURES[world.arch];
  const metering = costing !== null;
  const counting = world.limits.instructions !== null || metering;
  const accesses = costing?.grain === 'exact';
  const image = imageOf(world);
  const ram = ramSizeFor(world, image?.image);
  const machine = machines.take(description, ram, { counting, metering, accesses });
  try {
    const kernel = createKernel(host, world, machine, options, image?.image ?? null);
    if (image !== null) loadImage(kernel, image, world.kernel);
    const images = new Images(kernel);
    const places = world.arenas.map((arena, i) => createArena(kernel, world, arena, i === 0));
    const { kfence } = world.kernel;
    if (kfence !== null) setUpKfence(kernel, resolveValue(kfence.pool, places), kfence.objects);
    const boot = { machine, kernel, images, places, kept: null };
    return key !== null && machines.comesBack(key) ? keep(host, world, boot, key) : boot;
  } catch (error) {
    machines.give(machine);
    if (error instanceof KernelStuck) {
      const remedy =
        'what is replaced runs from the moment on that arenas and KFENCE’s pool are made';
      throw new CallError(`${world.name}: while the kernel boots, ${error.message}`, remedy);
    }
    throw error;
  }
}

function keep(host: RunHost, world: World, boot: Boot, key: string): Boot {
  const model = saveObjects([boot.kernel, boot.images], outsideOf(host, world, boot));
  const memory = boot.machine[SAVE]();
  const restore = () => {
    memory();
    model();
  };
  return { ...boot, kept: { key, restore } };
}

function createKernel(
  host: RunHost,
  world: World,
  machine: Machine,
  { events = new EventSink(), costing = null }: RunOptions,
  image: KernelImage | null,
): Kernel {
  const { vmStart, scratchPfn, arenaLock, kfence, erms, cpucaps, stack, tlb, replace, ...config } =
    world.kernel;
  const arch = ARCHITECTURES[world.arch];
  const layout = layoutAround(arch.layout({ ...config, series: world.series }), image);
  const kernel = new Kernel({
    arch,
    config: { ...config, series: world.series },
    layout,
    reserved: reservedFor(image, world.kernel.pageSize),
    machine,
    disassembler: host.disassembler,
    events,
    stackSize: stack,
    stackAt: stackPlace(world, layout),
    costing,
    tlbPolicy: tlb,
    replacing: replace.size > 0,
  });
  for (let i = 0; i < world.cpus.length; i++) kernel.addCpu();
  if (replace.size > 0 && world.memory.startsWith('vmsa')) {
    throw new CallError(
      `memory: ${world.memory} does not go with compiled code in the model's place: when walkers see its stores is not modelled`,
      'leave out memory:, or what is replaced',
    );
  }
  if (replace.size > 0) {
    const limit = world.limits.instructions ?? Number.POSITIVE_INFINITY;
    replaceFunctions(
      {
        kernel,
        assembler: host.assembler,
        features: { erms, cpucaps },
        limit,
        kfenceObjects: kfence?.objects ?? 0,
      },
      replace,
    );
  }
  return kernel;
}

/** The stack's own place, or behind the first arena where a scenario puts that over it. */
function stackPlace(world: World, { stack: usual }: KernelLayout): VirtAddr | undefined {
  const { vmStart, stack, pageSize } = world.kernel;
  if (vmStart === null) return undefined;
  const guard = BigInt(guardSize(pageSize));
  const end = vmStart + BigInt(kernVmSize(pageSize)) + guard;
  if (usual >= end || usual + BigInt(stack) < vmStart - guard) return undefined;
  const size = BigInt(stack);
  return virtAddr(end + size - (end % size));
}

function createArena(
  kernel: Kernel,
  world: World,
  options: ArenaOptions,
  first: boolean,
): ArenaPlace {
  const { vmStart, scratchPfn } = world.kernel;
  const attr = {
    maxEntries: options.pages,
    mapFlags: mapFlags(options.flags),
    mapExtra: options.userVmStart,
  };
  const wishes = first
    ? {
        name: options.name,
        kernVmStart: vmStart ?? kernel.layout.arenaBase,
        scratchPfn: (scratchPfn * kernel.pageSize) / FRAME_SIZE,
      }
    : { name: options.name };
  const arena = arenaMapAlloc(kernel.bpf, attr, wishes);
  if (!(arena instanceof BpfArena)) {
    throw new CallError(
      `${world.name}: arena ${options.name} cannot be made: ${formatErrno(arena)}`,
      remedyFor(kernel, arena, first),
    );
  }
  arena.spinlock.raw = world.kernel.arenaLock === 'raw_spinlock';
  kernel.arenas.set(options.name, arena);
  return {
    name: options.name,
    kbase: arena.kernVmStart,
    userVmStart: options.userVmStart,
    pageSize: kernel.pageSize,
  };
}

/** The loader has checked what arena_map_alloc() checks: what is left is room. */
function remedyFor(kernel: Kernel, errno: number, first: boolean): string {
  const { vmallocStart, vmallocEnd } = kernel.layout;
  if (errno !== ERRNO.ENOMEM || !first) return 'give fewer arenas';
  const range = `${hex(vmallocStart)} to ${hex(vmallocEnd)}`;
  return `kernel.vm_start must leave 4 GiB and the guards in ${range}, off the kernel's text and stack, and kernel.scratch_pfn name a free page of at most 4 GiB of memory`;
}
