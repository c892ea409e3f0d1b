// All state of a world as text, to compare two moments of it. It goes through every field by itself, with no use of the
// methods that make snapshots, so that what those forget shows here.
import { createHash } from 'node:crypto';
import { Arm64Processor } from '../arch/arm64/processor.ts';
import { RangeTree } from '../bpf/range-tree.ts';
import { BpfStream } from '../bpf/stream.ts';
import { Ram } from '../emulator/ram.ts';
import { DerivedMap, SavedCopy, VerifiedMap } from '../emulator/snapshot.ts';
import { VersionedMemory } from '../emulator/versions.ts';
import { InitMm } from '../mm/init-mm.ts';
import { Mmu } from '../mm/mmu.ts';
import { FaultLog } from './fault-log.ts';
import { Machine } from './machines.ts';
import type { WorldRun } from './run.ts';

const hash = (bytes: Uint8Array): string => createHash('sha1').update(bytes).digest('hex');

const CACHES = [DerivedMap, VerifiedMap, SavedCopy, VersionedMemory];

/** Objects of these classes are shown by what they mean, since their fields hold room to spare, order or caches. */
const MEANINGS: readonly ((object: object) => unknown)[] = [
  (o) => o instanceof Ram && ramText(o),
  (o) => o instanceof RangeTree && o.nodes(),
  (o) => o instanceof BpfStream && [o.capacity, o.peek()],
  (o) => o instanceof FaultLog && [...o.since(0)],
  (o) => o instanceof InitMm && o.tablePages,
  (o) => CACHES.some((cache) => o instanceof cache) && 'cache',
];

/** What is not zero in memory. */
export function ramText(ram: Ram): string {
  const lines: string[] = [];
  const zero = hash(new Uint8Array(4096));
  for (const frame of (ram as unknown as { dirtyFrames: number[] }).dirtyFrames) {
    const sum = hash(ram.bytes.subarray(frame * 4096, (frame + 1) * 4096));
    if (sum !== zero) lines.push(`${frame} ${sum}`);
  }
  return lines.sort().join('\n');
}

/** @param more objects beside the run */
export function worldText(run: WorldRun, ...more: object[]): string {
  const { world, kernel } = run;
  const { ram } = kernel;
  const { host } = run as unknown as { host: object };
  const { disassembler } = kernel as unknown as { disassembler: object };
  const ids = new Map<object, number>();
  const outside = [host, world, ...world.cpus.flat(), kernel.arch, kernel.events, disassembler];
  for (const object of outside) ids.set(object, -1);
  const out: string[] = [];
  const show = (value: unknown): void => {
    if (typeof value === 'bigint') out.push(`${value}n`);
    else if (typeof value === 'function') out.push('function');
    else if (typeof value !== 'object' || value === null) out.push(JSON.stringify(value) ?? 'void');
    else if (ids.has(value)) out.push(`@${ids.get(value)}`);
    else {
      ids.set(value, ids.size);
      showObject(value);
    }
  };
  const showObject = (object: object): void => {
    for (const meaning of MEANINGS) {
      const meant = meaning(object);
      if (meant === false) continue;
      show(meant);
      return;
    }
    if (object instanceof Machine) show(object.ram);
    else if ('executedFrames' in object) showCpu();
    else if (ArrayBuffer.isView(object)) {
      out.push(hash(new Uint8Array(object.buffer, object.byteOffset, object.byteLength)));
    } else if (object instanceof Map || object instanceof Set)
      for (const item of object) show(item);
    else {
      out.push(object.constructor.name);
      for (const [key, value] of Object.entries(object)) {
        // Which refills the core asked for last is no state: it has a cache of its own in front of the TLB.
        if (object instanceof Mmu && key === 'hit') continue;
        // Registers that a processor reads anew before it looks at any.
        if (object instanceof Arm64Processor && key === 'words') continue;
        out.push(`${key}:`);
        show(value);
      }
    }
  };
  const showCpu = (): void => {
    for (const { cpu } of kernel.cpus) {
      const { general } = cpu.description;
      out.push(`retired ${cpu.retired}`, ...general.map((name) => `${cpu.readRegister(name)}`));
    }
  };
  show(ram);
  show(run);
  for (const one of more) show(one);
  return out.join('\n');
}
