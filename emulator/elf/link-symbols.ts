// Which definition each name stands for: strong ones before tentative ones before weak ones (gABI, "Symbol Table").
import type { Layout } from './link-layout.ts';
import { LinkError, type LinkedSymbol, type LinkInput } from './link-types.ts';
import {
  SHN_ABS,
  SHN_COMMON,
  SHN_UNDEF,
  STB_LOCAL,
  STB_WEAK,
  STT_FILE,
  STT_FUNC,
  STT_GNU_IFUNC,
  STT_SECTION,
} from './read.ts';

/** What a relocation is told of its symbol. */
export interface Defined {
  readonly address: bigint;
  readonly size: number;
}

/** How strong a definition is: a stronger one wins, two strong ones are an error. */
const WEAK = 1;
const TENTATIVE = 2;
const STRONG = 3;

export class Symbols {
  /** What the objects define. */
  readonly defined: LinkedSymbol[] = [];
  private readonly layout: Layout;
  private readonly globals = new Map<string, { symbol: LinkedSymbol; strength: number }>();

  /** @throws LinkError for a name with two definitions */
  constructor(inputs: readonly LinkInput[], layout: Layout) {
    this.layout = layout;
    for (const input of inputs) this.define(input);
  }

  /** The definition that a global name stands for. @throws LinkError for an indirect function */
  global(name: string): LinkedSymbol | undefined {
    return this.globals.get(name)?.symbol;
  }

  /** Address of a symbol that its own object defines; null if its section is not loaded. */
  addressOf(input: LinkInput, index: number): bigint | null {
    const { section, value, name } = input.elf.symbols[index];
    if (section === SHN_ABS) return value;
    if (section === SHN_COMMON) return this.layout.common.get(name) ?? null;
    const home = this.layout.home(input, section);
    return home === undefined ? null : home.address + value;
  }

  private define(input: LinkInput): void {
    for (const [index, symbol] of input.elf.symbols.entries()) {
      const { name, section, type, binding } = symbol;
      if (section === SHN_UNDEF || name === '' || type === STT_FILE || type === STT_SECTION)
        continue;
      const address = this.addressOf(input, index);
      if (address === null) continue;
      const isGlobal = binding !== STB_LOCAL;
      const linked: LinkedSymbol = {
        object: input,
        name,
        address,
        size: Number(symbol.size),
        isFunction: type === STT_FUNC,
        isGlobal,
        isIndirect: type === STT_GNU_IFUNC,
      };
      this.defined.push(linked);
      const strength = binding === STB_WEAK ? WEAK : section === SHN_COMMON ? TENTATIVE : STRONG;
      if (isGlobal) this.addGlobal(linked, strength);
    }
  }

  private addGlobal(symbol: LinkedSymbol, strength: number): void {
    const { name } = symbol;
    const other = this.globals.get(name);
    if (other === undefined || strength > other.strength) {
      this.globals.set(name, { symbol, strength });
    } else if (strength === STRONG && other.strength === STRONG) {
      throw new LinkError(
        `${name} is defined by ${other.symbol.object.name} and by ${symbol.object.name}`,
        'leave one of the objects out',
      );
    }
  }
}
