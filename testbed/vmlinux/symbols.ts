// The symbols of a kernel image, tens of thousands: kept in columns and looked up by halving.
import {
  type ElfFile,
  SHF_EXECINSTR,
  SHN_ABS,
  SHN_UNDEF,
  STB_LOCAL,
  STB_WEAK,
  STT_FILE,
  STT_FUNC,
  STT_SECTION,
} from '../../emulator/elf/read.ts';
import type { KernelSymbols } from './kallsyms.ts';

export interface ImageSymbol {
  readonly name: string;
  readonly address: bigint;
  /** Bytes; where the image does not say, up to the next symbol. */
  readonly size: number;
  readonly isCode: boolean;
  readonly binding: 'local' | 'global' | 'weak';
}

/** Bytes of a function, and of a variable, at most. */
const MOST_CODE = 2 ** 20;
const MOST_DATA = 2 ** 28;
const LAST = 2n ** 64n - 1n;

export class ImageSymbols {
  private readonly addresses: BigUint64Array;
  private readonly names: readonly string[];
  private readonly types: string;
  private readonly sizes: Float64Array | null;
  private byName: Map<string, number> | null = null;

  /** @param table by address. @param sizes of its symbols, bytes; null: nothing says */
  constructor({ addresses, names, types }: KernelSymbols, sizes: Float64Array | null = null) {
    this.addresses = addresses;
    this.names = names;
    this.types = types;
    this.sizes = sizes;
  }

  get length(): number {
    return this.names.length;
  }

  at(index: number): ImageSymbol {
    const address = this.addresses[index];
    const isCode = 'tTwW'.includes(this.types[index]);
    // What an image says of sizes is not to be relied on.
    const said = this.sizes?.[index] || this.reach(index);
    const size = Math.min(said, isCode ? MOST_CODE : MOST_DATA, Number(LAST - address));
    return {
      name: this.names[index],
      address,
      size,
      isCode,
      binding: bindingOf(this.types[index]),
    };
  }

  /** Address of the first symbol of a name. */
  get(name: string): bigint | undefined {
    return this.named(name)?.address;
  }

  /** The first symbol of a name. */
  named(name: string): ImageSymbol | null {
    this.byName ??= new Map(this.names.map((known, i): [string, number] => [known, i]).reverse());
    const index = this.byName.get(name);
    return index === undefined ? null : this.at(index);
  }

  /** A name like `name` that it has: the compiler's part of it (memcpy.constprop.0), or with one letter changed. */
  near(name: string): string | null {
    return (
      this.names.find((known) => known.startsWith(`${name}.`)) ??
      this.names.find((known) => known === `__${name}` || known === name.replace(/^_+/, '')) ??
      null
    );
  }

  /** The function that holds an address: of several at one address the first. */
  around(address: bigint): ImageSymbol | null {
    for (let i = this.after(address) - 1; i >= 0; i = this.after(this.addresses[i] - 1n) - 1) {
      const found = this.best(i);
      const isInside = address < found.address + BigInt(Math.max(1, found.size));
      if (isInside && found.isCode) return found;
      // A function without its size reaches to the next symbol: nothing further down can hold the address.
      if (this.sizes === null || address - found.address > MOST_CODE) return null;
    }
    return null;
  }

  /** Of the symbols at the address of `last` the first function with a size, else the first. */
  private best(last: number): ImageSymbol {
    let first = last;
    while (first > 0 && this.addresses[first - 1] === this.addresses[last]) first--;
    for (let i = first; i <= last; i++) {
      const symbol = this.at(i);
      if (symbol.isCode && (this.sizes === null || this.sizes[i] > 0)) return symbol;
    }
    return this.at(first);
  }

  /** Bytes up to the next symbol at another address. */
  private reach(index: number): number {
    const next = this.addresses[this.after(this.addresses[index])];
    return next === undefined ? 1 : Number(next - this.addresses[index]);
  }

  /** Index of the first symbol above an address. */
  private after(address: bigint): number {
    let low = 0;
    let high = this.addresses.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.addresses[middle] <= address) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** nm's small letters are local, but for those of weak symbols. */
function bindingOf(type: string): ImageSymbol['binding'] {
  if ('wWvV'.includes(type)) return 'weak';
  return type === type.toLowerCase() ? 'local' : 'global';
}

/** The symbol table of an ELF image; null for one that was stripped. */
export function symbolsOfElf({ symbols, sections }: ElfFile): ImageSymbols | null {
  const own = symbols.filter(({ name, section, type }) => {
    const isMark = /^(?:\$|\.L|__pfx_)/.test(name);
    return (
      name !== '' && !isMark && section !== SHN_UNDEF && type !== STT_FILE && type !== STT_SECTION
    );
  });
  if (own.length === 0) return null;
  own.sort((a, b) => (a.value < b.value ? -1 : a.value > b.value ? 1 : 0));
  const types = own.map(({ type, section, binding }) => {
    const isText = ((sections[section]?.flags ?? 0n) & SHF_EXECINSTR) !== 0n;
    const isCode = type === STT_FUNC || (isText && type === 0);
    if (binding === STB_WEAK) return isCode ? 'W' : 'V';
    const letter = isCode ? 'T' : section === SHN_ABS ? 'A' : 'D';
    return binding === STB_LOCAL ? letter.toLowerCase() : letter;
  });
  const table = {
    addresses: BigUint64Array.from(own.map(({ value }) => value)),
    names: own.map(({ name }) => name),
    types: types.join(''),
  };
  return new ImageSymbols(table, Float64Array.from(own.map(({ size }) => Number(size))));
}
