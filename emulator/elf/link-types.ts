// What linking takes and gives.
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
  /**
   * What a name is bound to that an object uses and does not define: an address, or the object whose definition is
   * meant; null: whichever object defines it.
   */
  resolve(name: string): bigint | LinkInput | null;
}

export type SegmentKind = 'text' | 'rodata' | 'data';

/** A stretch of memory; the second and third begin at page boundaries. */
export interface Segment {
  readonly kind: SegmentKind;
  readonly address: bigint;
  readonly bytes: Uint8Array;
}

export interface LinkedSection {
  readonly object: LinkInput;
  readonly name: string;
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
}

export interface Linked {
  readonly segments: readonly Segment[];
  readonly sections: readonly LinkedSection[];
  /** What the objects define, by address. */
  readonly symbols: readonly LinkedSymbol[];
}
