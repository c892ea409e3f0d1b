// What is known of a function in whose place compiled code can be put.

export interface Replaceable {
  /** Source file that has it. */
  readonly source: string;
  readonly prototype: string;
  /** Structures that the model fills in for it and reads afterwards: the object must tell their layout. */
  readonly structs: readonly string[];
  /** The one architecture that has it; left out: both have. */
  readonly arch?: 'x86_64' | 'arm64';
}
