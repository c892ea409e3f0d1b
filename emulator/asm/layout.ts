// Gives every item its address and its bytes. Sizes depend on addresses (a jump may be short) and addresses on sizes, so
// rounds are made until nothing moves; a jump that once was long stays long, which makes them end.
import { hex, u64 } from '../bits.ts';
import { AssemblyError } from './error.ts';
import type { Expr, Scope } from './expression.ts';
import type { Statement } from './source.ts';

/** What stands between two labels: an instruction, data, padding. */
export interface Item {
  readonly statement: Statement;
  /** A label: takes the address, has no bytes. */
  readonly label?: string;
  /** A symbol set here; its value is asked again in every round. */
  readonly set?: { readonly name: string; readonly expr: Expr; value(scope: Scope): bigint };
  /** Bytes at `scope.here`. Called once a round, and only if the item has any. @throws AssemblyError */
  encode?(scope: Scope): Uint8Array;
  /** What the encoder will be asked for, so that all can be asked at once. */
  readonly wanted?: string;
  /** Counts as code in the map of lines. */
  readonly isCode?: boolean;
}

export interface Line {
  readonly address: bigint;
  readonly length: number;
  /** From 1. */
  readonly line: number;
  readonly text: string;
  /** An instruction, not data or padding. */
  readonly isCode: boolean;
}

export interface Layout {
  readonly bytes: Uint8Array;
  readonly labels: Map<string, bigint>;
  readonly lines: Line[];
}

const MAX_ROUNDS = 64;
/** More code than any kernel function or BPF program has; a typing error in .space must not eat the host's memory. */
export const MAX_PROGRAM = 16 << 20;

/**
 * @param base address of the first byte
 * @param symbols given from outside
 * @throws AssemblyError of the first statement that cannot be encoded
 */
export function layOut(
  items: readonly Item[],
  base: bigint,
  symbols: ReadonlyMap<string, bigint>,
): Layout {
  const values = new Map(symbols);
  const defined = new Set<string>();
  for (const item of items) if (item.label !== undefined) defined.add(item.label);
  for (const item of items) if (item.set !== undefined) defined.add(item.set.name);

  let previous: Int32Array | null = null;
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const pass = onePass(items, base, values, defined);
    const settled = !pass.moved && previous !== null && equal(previous, pass.sizes);
    if (settled) {
      if (pass.error !== null) throw pass.error;
      return collect(items, base, pass, values);
    }
    previous = pass.sizes;
  }
  throw new AssemblyError(
    items[0]?.statement ?? { line: 1, column: 1 },
    `addresses do not settle in ${MAX_ROUNDS} rounds`,
    'an .org, .align or .space depends on what follows it: use fixed numbers there',
  );
}

interface Pass {
  readonly sizes: Int32Array;
  readonly chunks: (Uint8Array | null)[];
  /** A symbol has another value than in the round before. */
  readonly moved: boolean;
  /** The first complaint; it counts only if addresses are final. */
  readonly error: AssemblyError | null;
}

function onePass(
  items: readonly Item[],
  base: bigint,
  values: Map<string, bigint>,
  defined: ReadonlySet<string>,
): Pass {
  const sizes = new Int32Array(items.length);
  const chunks: (Uint8Array | null)[] = new Array(items.length).fill(null);
  let here = base;
  let total = 0;
  let moved = false;
  let error: AssemblyError | null = null;
  const assign = (name: string, value: bigint) => {
    if (values.get(name) !== value) moved = true;
    values.set(name, value);
  };
  const scope = {
    get here() {
      return here;
    },
    // A label that lies ahead is taken to be near until the first round has seen it.
    lookup: (name: string) => values.get(name) ?? (defined.has(name) ? here : null),
  };
  for (let i = 0; i < items.length; i++) {
    const item = items[i];
    try {
      if (item.label !== undefined) assign(item.label, here);
      if (item.set !== undefined) assign(item.set.name, item.set.value(scope));
      if (item.encode === undefined) continue;
      const chunk = item.encode(scope);
      total += chunk.length;
      if (total > MAX_PROGRAM) throw tooLarge(item.statement);
      chunks[i] = chunk;
      sizes[i] = chunk.length;
      here = u64(here + BigInt(chunk.length));
    } catch (failure) {
      if (!(failure instanceof AssemblyError) || total > MAX_PROGRAM) throw failure;
      error ??= failure;
    }
  }
  return { sizes, chunks, moved, error };
}

const equal = (a: Int32Array, b: Int32Array) => a.every((size, i) => size === b[i]);

const tooLarge = (statement: Statement) =>
  new AssemblyError(
    statement,
    `the program has more than ${hex(MAX_PROGRAM)} bytes`,
    'check the numbers of .space, .fill, .org and .align',
  );

function collect(
  items: readonly Item[],
  base: bigint,
  pass: Pass,
  values: ReadonlyMap<string, bigint>,
): Layout {
  const bytes = new Uint8Array(pass.sizes.reduce((sum, size) => sum + size, 0));
  const labels = new Map<string, bigint>();
  const lines: Line[] = [];
  let at = 0;
  items.forEach((item, i) => {
    // Local labels (`1:`) can be defined twice and are nobody's business outside.
    if (item.label !== undefined && !/^\d/.test(item.label)) {
      labels.set(item.label, values.get(item.label)!);
    }
    const chunk = pass.chunks[i];
    if (chunk === null || chunk.length === 0) return;
    const { line, text } = item.statement;
    const address = u64(base + BigInt(at));
    lines.push({ address, length: chunk.length, line, text, isCode: item.isCode === true });
    bytes.set(chunk, at);
    at += chunk.length;
  });
  return { bytes, labels, lines };
}
