// How an object lays its structures out: members by name, with offset and size, out of its DWARF or, without any, its BTF.
// Members of structures and unions without a name count as their owner's, as in C. Left out: bit fields, which have no
// address, and everything but structures and unions.
import { type Restore, SAVE, type Saveable } from '../snapshot.ts';
import { readBtfTypes } from './btf.ts';
import { ElfError } from './bytes.ts';
import { readDwarfTypes } from './dwarf-types.ts';
import type { ElfFile } from './read.ts';

export interface StructMember {
  /** Bytes from the start of the structure. */
  readonly offset: number;
  /** Bytes. */
  readonly size: number;
}

export interface StructLayout {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  readonly members: ReadonlyMap<string, StructMember>;
}

/** A type as debugging data tells it, by the reader's own numbers. */
export interface DebugType {
  readonly kind: 'struct' | 'array' | 'alias' | 'sized';
  readonly name: string;
  /** Bytes; of an array the number of elements. */
  readonly size: number;
  /** What an alias or array is of. */
  readonly of: number;
  readonly members: readonly {
    readonly name: string;
    readonly offset: number;
    readonly type: number;
  }[];
  /** A structure that is only declared. */
  readonly declaration: boolean;
}

export interface DebugTypes {
  readonly types: ReadonlyMap<number, DebugType>;
}

/** Members of a structure, and types inside types, beyond which the data is taken for damaged. */
const DEEPEST = 64;
const MOST_MEMBERS = 1e5;

/** Never changes once it is made, but for what has been worked out of it. */
export class Layouts implements Saveable {
  private readonly types: ReadonlyMap<number, DebugType>;
  private readonly byName = new Map<string, DebugType>();
  private readonly known = new Map<string, StructLayout | null>();
  /** Members that the present structure may still have. */
  private left = 0;

  constructor({ types }: DebugTypes) {
    this.types = types;
    for (const type of types.values()) {
      if (type.kind !== 'struct' || type.name === '' || type.declaration) continue;
      if (!this.byName.has(type.name)) this.byName.set(type.name, type);
    }
  }

  /** The layout of `struct name` or `union name`; null if the object does not define it. */
  struct(name: string): StructLayout | null {
    const known = this.known.get(name);
    if (known !== undefined) return known;
    const type = this.byName.get(name);
    const layout = type === undefined ? null : this.layOut(type);
    this.known.set(name, layout);
    return layout;
  }

  [SAVE](): Restore {
    return () => {};
  }

  private layOut(type: DebugType): StructLayout {
    const members = new Map<string, StructMember>();
    this.left = MOST_MEMBERS;
    this.collect(type, 0, members, 0);
    return { name: type.name, size: type.size, members };
  }

  private collect(
    type: DebugType,
    base: number,
    into: Map<string, StructMember>,
    depth: number,
  ): void {
    if (depth > DEEPEST) return;
    for (const { name, offset, type: of } of type.members) {
      if (this.left-- <= 0) return;
      const at = base + offset;
      if (name !== '') {
        if (!into.has(name)) into.set(name, { offset: at, size: this.sizeOf(of, 0) });
        continue;
      }
      const inner = this.resolve(of);
      if (inner?.kind === 'struct') this.collect(inner, at, into, depth + 1);
    }
  }

  private resolve(id: number): DebugType | undefined {
    let type = this.types.get(id);
    for (let i = 0; type?.kind === 'alias' && i < DEEPEST; i++) type = this.types.get(type.of);
    return type;
  }

  private sizeOf(id: number, depth: number): number {
    const type = this.resolve(id);
    if (type === undefined || depth > DEEPEST) return 0;
    return type.kind === 'array' ? type.size * this.sizeOf(type.of, depth + 1) : type.size;
  }
}

/** The layouts of an object; null if it has neither DWARF nor BTF that can be read. */
export function readLayouts(elf: ElfFile): Layouts | null {
  for (const read of [readDwarfTypes, readBtfTypes]) {
    try {
      const types = read(elf);
      if (types !== null) return new Layouts(types);
    } catch (error) {
      // Damaged debugging data is none.
      if (!(error instanceof ElfError)) throw error;
    }
  }
  return null;
}
