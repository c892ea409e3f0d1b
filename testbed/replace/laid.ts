// Structures of the model in memory. The core never reaches them unseen: at each access the members are written as the model
// has them, and after it what the code changed is given back to the model. So both see one state, whoever works on it.
import { FRAME_SIZE } from '../../emulator/address.ts';
import { hex } from '../../emulator/bits.ts';
import type { StructLayout } from '../../emulator/elf/layouts.ts';
import { WRITE } from '../../emulator/engine.ts';
import type { AccessLog, Step } from '../../mm/context.ts';
import type { Kernel } from '../kernel.ts';
import { OutOfMemory } from '../kernel-memory.ts';
import { Blocks } from './blocks.ts';
import type { Caught } from './watch.ts';

/** A member that shows what the model has. */
export interface Binding {
  /** null: what lies in memory stays. */
  get(): bigint | null;
  /** Takes over what the code wrote; absent: it may not. @returns what is wrong with it, or null */
  set?(value: bigint): string | null;
}

/** `exchange`: writes if it finds what it expects. */
export type Access = 'read' | 'write' | 'exchange';

export interface Members {
  readonly bound: Readonly<Record<string, Binding>>;
  /** Members that the code may use as it likes. */
  readonly shared: readonly string[];
  /** For links from one structure to others: writes them before an access, takes them over after one. */
  readonly links: { lay(): void; take(): void } | null;
  /** Tells what of the model an access to a member touches. */
  touches(member: string, access: AccessLog, writes: boolean): void;
  /**
   * Makes what a member stands for in memory that the code reaches. @param pa of the structure
   * @returns false if it does not
   */
  lend(member: string, by: string, pa: number): boolean;
  /** The step that an access to a member is for other CPUs; null: it is part of what comes before. */
  step(member: string, how: Access): Step | null;
}

const NOTHING: Members = {
  bound: {},
  shared: [],
  links: null,
  touches() {},
  lend: () => false,
  step: () => null,
};

export interface Laid {
  readonly pa: number;
  readonly layout: StructLayout;
  readonly members: Members;
  /** Memory that the code asked for, in which it may do as it likes. */
  readonly raw: boolean;
}

/** Apart from each other: an access past an end is one to nothing. */
const APART = 64;

export class LaidMemory {
  private readonly kernel: Kernel;
  private readonly poolSize: number;
  private readonly grow: () => number;
  private readonly pools: Pool[] = [];
  private readonly laid = new Map<number, Laid>();
  /** What the present instruction may touch. */
  private readonly open = new Set<Laid>();

  /** @param poolSize bytes that it has and grows by, whole frames. @param grow gets so many @throws OutOfMemory */
  constructor(kernel: Kernel, poolSize: number, grow: () => number) {
    this.kernel = kernel;
    this.poolSize = poolSize;
    this.grow = grow;
    this.pools.push(this.pool());
  }

  private pool(): Pool {
    return { start: this.grow(), blocks: new Blocks(this.poolSize) };
  }

  /** True if the frame holds structures. */
  holds(frame: number): boolean {
    const pa = frame * FRAME_SIZE;
    return this.pools.some(({ start }) => pa >= start && pa < start + this.poolSize);
  }

  /** Gives a structure its place, of zeros. @throws OutOfMemory */
  lay(layout: StructLayout, members: Partial<Members> = {}, raw = false): Laid {
    const pa = this.reserve(layout.size);
    this.kernel.ram.write(pa, new Uint8Array(layout.size));
    const laid = freeze({ pa, layout, members: { ...NOTHING, ...members }, raw });
    this.laid.set(pa, laid);
    return laid;
  }

  /** Memory for code that asks for some. */
  layRaw(layout: StructLayout, members: Partial<Members> = {}): Laid {
    return this.lay(layout, members, true);
  }

  /** What was memory that the code asked for is a structure of the model from now on. */
  adopt({ pa }: Laid, layout: StructLayout, members: Partial<Members>): Laid {
    const laid = freeze({ pa, layout, members: { ...NOTHING, ...members }, raw: false });
    this.laid.set(pa, laid);
    return laid;
  }

  free({ pa }: Laid): void {
    this.laid.delete(pa);
    const home = this.pools.find(({ start }) => pa >= start && pa < start + this.poolSize);
    home?.blocks.free(pa - home.start);
  }

  /** What begins at `pa`, or lies around it. */
  at(pa: number): Laid | null {
    return this.laid.get(pa) ?? null;
  }

  around(pa: number): Laid | null {
    for (const one of this.laid.values()) {
      if (pa >= one.pa && pa < one.pa + one.layout.size) return one;
    }
    return null;
  }

  /** The step before an access to a frame that {@link holds}. */
  step({ pa }: Caught, how: Access): Step | null {
    const laid = this.around(pa);
    const member = laid && memberAt(laid, pa);
    return laid && member ? laid.members.step(member, how) : null;
  }

  /** Prepares an access to a frame that {@link holds}. @param writes now, or after it reads. @returns what is wrong with it; null: nothing */
  admit({ pa, kind }: Caught, writes: boolean, by: string): string | null {
    const laid = this.around(pa);
    if (laid === null) return 'an access behind the structures of the model';
    const { layout, members } = laid;
    const member = memberAt(laid, pa);
    if ((member !== null && members.lend(member, by, laid.pa)) || laid.raw) return null;
    const place = placeOf(laid, pa);
    const binding = member === null ? undefined : members.bound[member];
    if (member === null || (binding === undefined && !members.shared.includes(member))) {
      return `${kind === WRITE ? 'writes' : 'reads'} ${place}, which the model does not keep`;
    }
    if (kind === WRITE && binding !== undefined && binding.set === undefined) {
      return `writes ${layout.name}.${member}, which is the model’s own`;
    }
    const { access } = this.kernel.context;
    if (access !== null) members.touches(member, access, writes);
    this.refresh(laid);
    this.open.add(laid);
    return null;
  }

  /** The code has the model work on what lies at `pa`: it is made there if it is to be. */
  reach(pa: number, by: string): void {
    const laid = this.around(pa);
    const member = laid && memberAt(laid, pa);
    if (laid && member) laid.members.lend(member, by, laid.pa);
  }

  /** Gives back to the model what the instruction changed. @returns what is wrong with it; null: nothing */
  settle(): string | null {
    let problem: string | null = null;
    for (const laid of this.open) problem ??= this.takeOver(laid);
    this.open.clear();
    return problem;
  }

  /** Writes a structure as the model has it. */
  refresh({ pa, layout, members }: Laid): void {
    for (const [name, { get }] of Object.entries(members.bound)) {
      const member = layout.members.get(name);
      const value = member === undefined ? null : get();
      if (value !== null) writeUint(this.kernel, pa + member!.offset, member!.size, value);
    }
    members.links?.lay();
  }

  private takeOver({ pa, layout, members }: Laid): string | null {
    for (const [name, { get, set }] of Object.entries(members.bound)) {
      const member = layout.members.get(name);
      const before = member === undefined ? null : get();
      if (before === null) continue;
      const bits = Math.min(member!.size, 8) * 8;
      const now = this.kernel.ram.readUint(pa + member!.offset, bits / 8);
      if (now === BigInt.asUintN(bits, before)) continue;
      if (set === undefined) return `writes ${layout.name}.${name}, which is the model’s own`;
      const wrong = set(now);
      if (wrong !== null) return `writes ${layout.name}.${name}: ${wrong}`;
    }
    members.links?.take();
    return null;
  }

  /** Memory among the structures. @throws OutOfMemory */
  reserve(bytes: number): number {
    if (bytes + APART > this.poolSize)
      throw new OutOfMemory(`a structure of ${bytes} bytes is too large`);
    for (const { start, blocks } of this.pools) {
      const at = blocks.alloc(bytes + APART);
      if (at !== null) return start + at;
    }
    this.pools.push(this.pool());
    return this.reserve(bytes);
  }
}

/** Some memory, and what of it is in use. */
interface Pool {
  readonly start: number;
  readonly blocks: Blocks;
}

/** Snapshots need not look into it. */
const freeze = (laid: Laid): Laid => Object.freeze(laid);

/** The member that holds the byte at `pa`, of several one that the model keeps; null: none. */
function memberAt({ pa: start, layout, members }: Laid, pa: number): string | null {
  const offset = pa - start;
  let found: string | null = null;
  for (const [name, one] of layout.members) {
    if (offset < one.offset || offset >= one.offset + one.size) continue;
    if (name in members.bound || members.shared.includes(name)) return name;
    found ??= name;
  }
  return found;
}

const placeOf = (laid: Laid, pa: number): string =>
  `${laid.layout.name}.${memberAt(laid, pa) ?? hex(pa - laid.pa)}`;

/** A member's value as an unsigned number; 0 for one that there is not. */
export function readMember({ ram }: Kernel, { pa, layout }: Laid, name: string): bigint {
  const member = layout.members.get(name);
  return member === undefined ? 0n : ram.readUint(pa + member.offset, Math.min(member.size, 8));
}

export function writeUint(kernel: Kernel, pa: number, size: number, value: bigint): void {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, value), true);
  kernel.ram.write(pa, bytes.subarray(0, Math.min(size, 8)));
}
