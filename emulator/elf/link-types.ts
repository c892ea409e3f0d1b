// What linking takes and gives.
import type { InlinedCall } from './inlined.ts';
import type { LineRow } from './line-table.ts';
import type { ElfFile } from './read.ts';

/** Objects that cannot be put together. */
export class LinkError extends Error {
  readonly remedy: string;

  constructor(message: string, remedy: string) {
    super(message);
    this.name = 'LinkError';
    this.remedy = remedy;
  }
}

/** An object by the name that errors give it. */
export interface LinkInput {
  readonly name: string;
  readonly elf: ElfFile;
}

export interface LinkOptions {
  /** Where the text begins, 16-byte aligned at least. */
  readonly address: bigint;
  /** What may be done with memory changes at multiples of it. */
  readonly pageSize: number;
  /** Where the template of per-CPU variables begins, page aligned; null: behind everything else. */
  readonly percpu: bigint | null;
  /**
   * What a name is bound to that an object uses and does not define: an address, or the object whose definition is
   * meant, and the name that it has there; null: whichever object defines it.
   */
  resolve(name: string): bigint | { readonly object: LinkInput; readonly name: string } | null;
  /**
   * True for objects that are part of something larger (a module, members of an archive): what they need and cannot have
   * is no error, but told in {@link Linked.missing} and {@link Linked.broken}.
   */
  readonly partial: boolean;
}

/** `percpu` is the template of the CPUs' own areas: it is not to be mapped where it was linked. */
export type SegmentKind = 'text' | 'rodata' | 'data' | 'percpu';

/** A stretch of memory; all but the first begin at page boundaries. */
export interface Segment {
  readonly kind: SegmentKind;
  readonly address: bigint;
  readonly bytes: Uint8Array;
}

export interface LinkedSection {
  readonly object: LinkInput;
  readonly name: string;
  readonly kind: SegmentKind;
  readonly address: bigint;
  /** A view of its segment. */
  readonly bytes: Uint8Array;
}

export interface LinkedSymbol {
  readonly object: LinkInput;
  readonly name: string;
  readonly address: bigint;
  /** Bytes; 0 if the object does not say. */
  readonly size: number;
  readonly isFunction: boolean;
  readonly isGlobal: boolean;
  /** An IFUNC: its code chooses the function that is meant. */
  readonly isIndirect: boolean;
}

/** A name that nothing usable is bound to, and the address that stands for it: nothing is mapped there. */
export interface MissingSymbol {
  readonly name: string;
  /** The first that uses it. */
  readonly object: LinkInput;
  readonly address: bigint;
  /** It is defined, as an IFUNC. */
  readonly isIndirect: boolean;
}

/** A place that a relocation could not patch. */
export interface BrokenPlace {
  readonly at: bigint;
  readonly error: LinkError;
}

/** A relocation that was applied. */
export interface Reference {
  /** Address of the place. */
  readonly at: bigint;
  /** Address of the symbol meant, the addend included. */
  readonly to: bigint;
}

/** `.orc_unwind_ip` with its relocations applied, and `.orc_unwind`. */
export interface OrcSections {
  /** Where each entry begins to hold; 0 for code that was dropped. */
  readonly ips: BigUint64Array;
  readonly entries: Uint8Array;
}

export interface Linked {
  readonly segments: readonly Segment[];
  readonly sections: readonly LinkedSection[];
  /** What the objects define, by address. */
  readonly symbols: readonly LinkedSymbol[];
  /** By address. */
  readonly missing: readonly MissingSymbol[];
  readonly broken: readonly BrokenPlace[];
  /** By address of the place. */
  readonly references: readonly Reference[];
  /** Source lines of the code, by address; empty without debugging data. */
  readonly lines: readonly LineRow[];
  /** Unwinding data, of each object that has some. */
  readonly orc: readonly OrcSections[];
  /** Calls that were inlined into the code, by address. */
  inlined(): readonly InlinedCall[];
  /** First address behind everything, the missing symbols' included: a multiple of the page size. */
  readonly end: bigint;
}
