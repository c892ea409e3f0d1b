// What a function can come to need: the names that nothing is bound to, as far as its code and data lead to them. Calls
// through pointers that are stored somewhere lead on where the pointer's variable is named; what is missed here faults
// at an address of the missing name's own.

import { directTarget } from '../arch/branch-target.ts';
import {
  type BrokenPlace,
  type Linked,
  type LinkedSymbol,
  type MissingSymbol,
  missingError,
} from '../emulator/elf/link.ts';
import type { InstructionSet } from '../emulator/engine.ts';
import type { Kernel } from './kernel.ts';
import { linking } from './link-objects.ts';

/** @param except functions that will not run. @throws CallError that names everything missing which `entry` may reach */
export function checkReachable(
  kernel: Kernel,
  linked: Linked,
  entry: LinkedSymbol,
  except: ReadonlySet<string> = new Set(),
): void {
  if (linked.missing.length === 0 && linked.broken.length === 0) return;
  const { missing, broken } = new Reach(kernel, linked).from(entry, except);
  linking(() => {
    if (missing.length > 0) throw missingError(missing);
    if (broken !== null) throw broken.error;
  });
}

/** The same for code that tells what is missing when it comes to it. @throws CallError for what could not be linked */
export function checkRelocated(
  kernel: Kernel,
  linked: Linked,
  entry: LinkedSymbol,
  except: ReadonlySet<string>,
): void {
  if (linked.broken.length > 0) checkReachable(kernel, { ...linked, missing: [] }, entry, except);
}

class Reach {
  private readonly linked: Linked;
  private readonly instructions: InstructionSet;
  private readonly machine: 'x86_64' | 'arm64';
  private readonly missing: ReadonlyMap<bigint, MissingSymbol>;

  constructor({ arch }: Kernel, linked: Linked) {
    this.linked = linked;
    this.machine = arch.name;
    this.instructions = arch.description.instructions;
    this.missing = new Map(linked.missing.map((symbol) => [symbol.address, symbol]));
  }

  from(
    entry: LinkedSymbol,
    except: ReadonlySet<string>,
  ): { missing: MissingSymbol[]; broken: BrokenPlace | null } {
    const found = new Set<MissingSymbol>();
    let broken: BrokenPlace | null = null;
    const seen = new Set<LinkedSymbol>([entry]);
    const queue = [entry];
    for (let symbol = queue.pop(); symbol !== undefined; symbol = queue.pop()) {
      broken ??= this.brokenIn(symbol);
      for (const to of this.targets(symbol)) {
        const missing = this.missing.get(to) ?? this.missing.get(to + 4n);
        if (missing !== undefined) found.add(missing);
        const next = this.around(to);
        if (next === null || seen.has(next) || except.has(next.name)) continue;
        seen.add(next);
        queue.push(next);
      }
    }
    return { missing: [...found], broken };
  }

  private brokenIn(symbol: LinkedSymbol): BrokenPlace | null {
    const { address } = symbol;
    const end = address + BigInt(this.sizeOf(symbol));
    return this.linked.broken.find(({ at }) => at >= address && at < end) ?? null;
  }

  /** Addresses that a symbol's bytes refer to. */
  private targets(symbol: LinkedSymbol): bigint[] {
    const { address } = symbol;
    const end = address + BigInt(this.sizeOf(symbol));
    const { references } = this.linked;
    const targets: bigint[] = [];
    for (
      let i = firstAt(references, address);
      i < references.length && references[i].at < end;
      i++
    ) {
      targets.push(references[i].to);
    }
    if (symbol.isFunction) targets.push(...this.branches(address, end));
    return targets;
  }

  /** Targets of direct branches: assemblers resolve those within a section themselves. */
  private branches(address: bigint, end: bigint): bigint[] {
    const section = this.linked.sections.find(
      (one) => address >= one.address && end <= one.address + BigInt(one.bytes.length),
    );
    if (section === undefined) return [];
    const targets: bigint[] = [];
    for (let at = address; at < end; ) {
      const from = Number(at - section.address);
      const code = section.bytes.subarray(from, from + 16);
      const length = this.instructions.length(code);
      if (length === 0) break;
      const target = directTarget(this.machine, code, at, length);
      if (target !== null) targets.push(target);
      at += BigInt(length);
    }
    return targets;
  }

  /** The symbol whose bytes hold an address; x86 references lie up to 4 bytes before what they mean. */
  private around(to: bigint): LinkedSymbol | null {
    const { symbols } = this.linked;
    for (const address of [to, to + 4n]) {
      const at = firstAfter(symbols, address) - 1;
      for (let i = at; i >= 0 && i > at - 8; i--) {
        const symbol = symbols[i];
        const isMark = /^(?:\$|\.L|__pfx_)/.test(symbol.name);
        if (!isMark && address < symbol.address + BigInt(Math.max(1, this.sizeOf(symbol))))
          return symbol;
      }
    }
    return null;
  }

  /** Of a symbol without a size, up to the next one. */
  private sizeOf({ address, size }: LinkedSymbol): number {
    if (size > 0) return size;
    const { symbols } = this.linked;
    const next = symbols[firstAfter(symbols, address)];
    return next === undefined ? 0 : Number(next.address - address);
  }
}

/** Index of the first reference at or after an address. */
function firstAt(references: Linked['references'], address: bigint): number {
  let low = 0;
  let high = references.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (references[middle].at < address) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Index of the first symbol that begins after an address. */
function firstAfter(symbols: readonly LinkedSymbol[], address: bigint): number {
  let low = 0;
  let high = symbols.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (symbols[middle].address <= address) low = middle + 1;
    else high = middle;
  }
  return low;
}
