// Links relocatable objects into memory, as a kernel's module loader does: sections laid out by what may be done with
// them, symbols given addresses, relocations applied, a GOT where the compiler wanted one. Left out: dynamic linking,
// TLS, versions, linker scripts; unwinding and debugging data is not loaded.

import { inlinedOf, linesOf, orcOf } from './link-debug.ts';
import { Layout } from './link-layout.ts';
import { type Defined, Symbols } from './link-symbols.ts';
import {
  type BrokenPlace,
  LinkError,
  type Linked,
  type LinkedSymbol,
  type LinkInput,
  type LinkOptions,
  type MissingSymbol,
  type Reference,
} from './link-types.ts';
import {
  type ElfRelocation,
  type ElfSection,
  SHN_UNDEF,
  STB_LOCAL,
  STB_WEAK,
  STT_SECTION,
} from './read.ts';
import type { Relocation, RelocationOperand } from './relocation.ts';
import { relocationsOf } from './relocation-tables.ts';

/** Bytes of address space that each missing symbol gets: accesses near it are told apart from others'. */
export const MISSING_SIZE = 0x100n;
const ET_REL = 1;
const GOT_SYMBOL = '_GLOBAL_OFFSET_TABLE_';

export * from './link-types.ts';

/** @throws LinkError */
export function link(inputs: readonly LinkInput[], options: LinkOptions): Linked {
  return new Link(inputs, options).run();
}

class Link {
  private readonly inputs: readonly LinkInput[];
  private readonly options: LinkOptions;
  private readonly layout: Layout;
  private readonly symbols: Symbols;
  /** GOT entries: symbol address to entry. */
  private readonly got = new Map<bigint, bigint>();
  private readonly missing = new Map<string, MissingSymbol>();
  private readonly broken: BrokenPlace[] = [];
  private readonly references: Reference[] = [];

  constructor(inputs: readonly LinkInput[], options: LinkOptions) {
    for (const { name, elf } of inputs) {
      if (elf.type === ET_REL) continue;
      throw new LinkError(`${name}: is no relocatable object`, 'compile it with -c');
    }
    this.inputs = inputs;
    this.options = options;
    this.layout = new Layout(inputs, options, wantsGot);
    this.symbols = new Symbols(inputs, this.layout);
  }

  run(): Linked {
    this.findMissing();
    for (const { input, section } of this.layout.loaded) {
      for (const relocation of section.relocations) this.tryRelocate(input, section, relocation);
    }
    this.references.sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0));
    const { pageSize } = this.options;
    const end = this.layout.end + BigInt(this.missing.size) * MISSING_SIZE;
    return {
      segments: this.layout.segments.filter(({ bytes }) => bytes.length > 0),
      sections: this.layout.loaded.map(({ input, section, kind, address }) => ({
        object: input,
        name: section.name,
        kind,
        address,
        bytes: this.layout.bytesAt(kind, address, Number(section.size)),
      })),
      symbols: this.symbols.defined.sort((a, b) => (a.address < b.address ? -1 : 1)),
      missing: [...this.missing.values()],
      broken: this.broken,
      references: this.references,
      lines: linesOf(this.inputs, this.layout),
      orc: orcOf(this.inputs, this.layout),
      inlined: inlinedOf(this.inputs, this.layout),
      end: ((end + BigInt(pageSize) - 1n) / BigInt(pageSize)) * BigInt(pageSize),
    };
  }

  /** Every name that is used and not defined must be bound before anything is patched: all that are not are told. */
  private findMissing(): void {
    for (const { input, section } of this.layout.loaded) {
      for (const { symbol } of section.relocations) {
        const { name, section: home, binding } = input.elf.symbols[symbol];
        if (symbol === 0 || binding === STB_LOCAL || this.missing.has(name)) continue;
        const isUndefined = home === SHN_UNDEF && this.bound(name) === null;
        const isIndirect = this.definition(name)?.isIndirect ?? false;
        if (!isIndirect && (!isUndefined || binding === STB_WEAK)) continue;
        const address = this.layout.end + BigInt(this.missing.size) * MISSING_SIZE;
        this.missing.set(name, { name, object: input, address, isIndirect });
      }
    }
    if (this.missing.size === 0 || this.options.partial) return;
    throw missingError([...this.missing.values()]);
  }

  /** What a global name stands for among the objects, unless it is bound to something else. */
  private definition(name: string): LinkedSymbol | undefined {
    return this.options.resolve(name) === null ? this.symbols.global(name) : undefined;
  }

  private bound(name: string): bigint | null {
    if (name === GOT_SYMBOL) return this.layout.gotStart;
    const given = this.options.resolve(name);
    if (typeof given === 'bigint') return given;
    if (given === null) {
      return this.missing.get(name)?.address ?? this.symbols.global(name)?.address ?? null;
    }
    const found = this.symbols.defined.find(
      (s) => s.isGlobal && s.name === given.name && s.object === given.object,
    );
    if (found !== undefined) return found.address;
    throw new LinkError(
      `${given.object.name} does not define ${given.name}`,
      'bind the name to an object that does, or to an address',
    );
  }

  private tryRelocate(input: LinkInput, section: ElfSection, entry: ElfRelocation): void {
    try {
      this.relocate(input, section, entry);
    } catch (error) {
      if (!(error instanceof LinkError) || !this.options.partial) throw error;
      const at = this.layout.home(input, section.index)!.address + entry.offset;
      this.broken.push({ at, error });
    }
  }

  private relocate(input: LinkInput, section: ElfSection, entry: ElfRelocation): void {
    const { type, offset, symbol } = entry;
    const { kind, address } = this.layout.home(input, section.index)!;
    const bytes = this.layout.bytesAt(kind, address, Number(section.size));
    const where = `${input.name}: ${section.name}+0x${offset.toString(16)}`;
    const relocation = this.relocation(input, type, where);
    if (offset + BigInt(relocation.size) > BigInt(bytes.length)) {
      throw new LinkError(`${where}: a relocation outside its section`, 'build the object again');
    }
    if (relocation.size === 0) return;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const place = { view, offset: Number(offset), address: address + offset };
    const addend = entry.addend ?? relocation.implicit(place);
    const target = this.target(input, symbol, where);
    const goesOn = relocation.branch && target === null;
    const value = goesOn
      ? place.address + 4n
      : this.operand(relocation.operand, target ?? { address: 0n, size: 0 }) + addend;
    this.references.push({ at: place.address, to: (target?.address ?? 0n) + addend });
    const problem = relocation.apply(place, value);
    if (problem === null) return;
    throw new LinkError(
      `${where}: ${relocation.name} against ${nameOf(input, symbol)}: ${problem}`,
      'bind the symbol nearer to the code, or compile for a code model that reaches it',
    );
  }

  private relocation({ elf }: LinkInput, type: number, where: string): Relocation {
    const { known, refused } = relocationsOf(elf);
    const relocation = known.get(type);
    if (relocation !== undefined) return relocation;
    const no = refused.get(type);
    if (no !== undefined) {
      throw new LinkError(`${where}: ${no.name} is for ${no.why}`, 'compile it without');
    }
    throw new LinkError(
      `${where}: relocations of type ${type} are not known here`,
      'build the object with a compiler of today, or without the option that makes it',
    );
  }

  private operand(operand: RelocationOperand, { address, size }: Defined): bigint {
    const { gotStart } = this.layout;
    switch (operand) {
      case 'S':
        return address;
      case 'G':
        return this.gotEntry(address);
      case 'G-GOT':
        return this.gotEntry(address) - gotStart;
      case 'G-Page(GOT)':
        return this.gotEntry(address) - (gotStart & ~0xfffn);
      case 'S-GOT':
        return address - gotStart;
      case 'GOT':
        return gotStart;
      case 'Z':
        return BigInt(size);
    }
  }

  /** @returns null for a weak symbol that nobody defines */
  private target(input: LinkInput, index: number, where: string): Defined | null {
    if (index === 0) return { address: 0n, size: 0 };
    const symbol = input.elf.symbols[index];
    if (symbol.section === SHN_UNDEF) {
      const address = this.bound(symbol.name);
      const size = this.symbols.global(symbol.name)?.size ?? 0;
      return address === null ? null : { address, size };
    }
    // A global symbol may have a stronger definition elsewhere.
    if (symbol.binding !== STB_LOCAL) {
      const chosen = this.missing.has(symbol.name)
        ? { address: this.missing.get(symbol.name)!.address, size: 0 }
        : this.symbols.global(symbol.name);
      if (chosen !== undefined) return chosen;
    }
    const address = this.symbols.addressOf(input, index);
    if (address !== null) return { address, size: Number(symbol.size) };
    throw new LinkError(
      `${where}: ${nameOf(input, index)} lies in a section that is not loaded`,
      'compile without -g and unwinding tables',
    );
  }

  private gotEntry(target: bigint): bigint {
    const known = this.got.get(target);
    if (known !== undefined) return known;
    const entry = this.layout.gotStart + BigInt(this.got.size * 8);
    this.got.set(target, entry);
    const bytes = this.layout.bytesAt('rodata', entry, 8);
    new DataView(bytes.buffer, bytes.byteOffset).setBigUint64(0, BigInt.asUintN(64, target), true);
    return entry;
  }
}

/** The error that names every missing symbol. */
export function missingError(missing: readonly MissingSymbol[]): LinkError {
  const indirect = missing.find(({ isIndirect }) => isIndirect);
  if (indirect !== undefined) {
    return new LinkError(
      `${indirect.name} is an indirect function (IFUNC), which a program's loader resolves`,
      `bind ${indirect.name} under \`symbols:\` to the object of one of its implementations`,
    );
  }
  const names = missing.map(({ name, object }) => `${name} (used by ${object.name})`).join(', ');
  return new LinkError(
    `undefined: ${names}`,
    'bind it under `symbols:` to an address, an object or a built-in stub such as memcpy',
  );
}

const wantsGot = ({ type }: ElfRelocation, { elf }: LinkInput): boolean =>
  (relocationsOf(elf).known.get(type)?.operand ?? 'S').includes('G');

function nameOf({ elf }: LinkInput, index: number): string {
  const { name, type, section } = elf.symbols[index];
  const own = type === STT_SECTION ? elf.sections[section]?.name : name;
  return own || `symbol ${index}`;
}
