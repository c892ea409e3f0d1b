// Links relocatable objects into memory, as a kernel's module loader does: sections laid out by what may be done with
// them, symbols given addresses, relocations applied, a GOT where the compiler wanted one. Left out: archives, dynamic
// linking, section groups (COMDAT), TLS, versions, linker scripts; unwinding and debugging data is not loaded.

import {
  LinkError,
  type Linked,
  type LinkedSymbol,
  type LinkInput,
  type LinkOptions,
  type Segment,
  type SegmentKind,
} from './link-types.ts';
import { type ElfSection, SHF_ALLOC, SHF_EXECINSTR, SHN_UNDEF } from './read.ts';
import type { RelocationTable } from './relocation.ts';
import { ARM64_RELOCATIONS } from './relocation-arm64.ts';
import { X86_RELOCATIONS } from './relocation-x86.ts';

const SHF_WRITE = 1n;
const SHN_ABS = 0xfff1;
const SHN_COMMON = 0xfff2;
const STT_FUNC = 2;
const STT_SECTION = 3;
const STT_FILE = 4;
const STB_LOCAL = 0;
const STB_WEAK = 2;

/** Allocated sections that no code reads: notes, unwinding data, and what objtool and the linker leave. */
const NOT_LOADED = /^\.(?:note|eh_frame|orc_|discard|gnu\.|modinfo)/;
/** Bytes of a segment. */
const MOST = 2n ** 28n;
const KINDS: readonly SegmentKind[] = ['text', 'rodata', 'data'];

export * from './link-types.ts';

/** @throws LinkError */
export function link(inputs: readonly LinkInput[], options: LinkOptions): Linked {
  return new Link(inputs, options).run();
}

interface Loaded {
  readonly input: LinkInput;
  readonly section: ElfSection;
  readonly kind: SegmentKind;
  address: bigint;
}

class Link {
  private readonly inputs: readonly LinkInput[];
  private readonly options: LinkOptions;
  private readonly loaded: Loaded[] = [];
  private readonly byIndex = new Map<LinkInput, Map<number, Loaded>>();
  /** Addresses of tentative definitions. */
  private readonly common = new Map<string, bigint>();
  /** Global definitions by name. */
  private readonly globals = new Map<string, LinkedSymbol>();
  private readonly defined: LinkedSymbol[] = [];
  /** GOT entries: symbol address to entry. */
  private readonly got = new Map<bigint, bigint>();
  private gotStart = 0n;
  private segments: Segment[] = [];

  constructor(inputs: readonly LinkInput[], options: LinkOptions) {
    this.inputs = inputs;
    this.options = options;
  }

  run(): Linked {
    this.choose();
    this.layOut();
    this.define();
    this.checkBound();
    for (const one of this.loaded) this.relocate(one);
    const sections = this.loaded.map(({ input, section, address, kind }) => ({
      object: input,
      name: section.name,
      address,
      bytes: this.bytesAt(kind, address, Number(section.size)),
    }));
    const symbols = this.defined.sort((a, b) => (a.address < b.address ? -1 : 1));
    return { segments: this.segments.filter(({ bytes }) => bytes.length > 0), sections, symbols };
  }

  private table({ elf }: LinkInput): RelocationTable {
    return elf.machine === 'x86_64' ? X86_RELOCATIONS : ARM64_RELOCATIONS;
  }

  /** Which sections are loaded, and with what rights. */
  private choose(): void {
    for (const input of this.inputs) {
      if (input.elf.type !== 1) {
        throw new LinkError(`${input.name}: is no relocatable object`, 'compile it with -c');
      }
      const byIndex = new Map<number, Loaded>();
      for (const section of input.elf.sections) {
        if (!(section.flags & SHF_ALLOC) || NOT_LOADED.test(section.name)) continue;
        const one = { input, section, kind: kindOf(section), address: 0n };
        byIndex.set(section.index, one);
        this.loaded.push(one);
      }
      this.byIndex.set(input, byIndex);
    }
  }

  /** Gives every section, the GOT and every tentative definition an address, and makes the memory. */
  private layOut(): void {
    let at = this.options.address;
    for (const kind of KINDS) {
      if (kind !== 'text') at = alignUp(at, BigInt(this.options.pageSize));
      const start = at;
      for (const one of this.loaded.filter((other) => other.kind === kind)) {
        one.address = alignUp(at, one.section.align);
        at = one.address + one.section.size;
      }
      if (kind === 'rodata') at = this.reserveGot(at);
      if (kind === 'data') at = this.reserveCommon(at);
      if (at - start > MOST) {
        throw new LinkError(
          `${this.inputs[0].name}: its ${kind} takes 0x${(at - start).toString(16)} bytes`,
          'link fewer or smaller objects: 256 MiB are the most',
        );
      }
      const bytes = new Uint8Array(Number(at - start));
      this.segments.push({ kind, address: start, bytes });
    }
    for (const { section, kind, address } of this.loaded) {
      this.bytesAt(kind, address, Number(section.size)).set(section.data);
    }
  }

  /** As many entries as there are relocations that could want one of their own. */
  private reserveGot(at: bigint): bigint {
    const wanted = new Set<string>();
    for (const { input, section } of this.loaded) {
      for (const { type, symbol } of section.relocations) {
        if (this.table(input).get(type)?.got) wanted.add(`${input.name} ${symbol}`);
      }
    }
    this.gotStart = alignUp(at, 8n);
    return wanted.size === 0 ? at : this.gotStart + BigInt(wanted.size * 8);
  }

  private reserveCommon(start: bigint): bigint {
    let at = start;
    for (const { elf } of this.inputs) {
      for (const { section, name, size, value } of elf.symbols) {
        if (section !== SHN_COMMON || this.common.has(name)) continue;
        at = alignUp(at, value);
        this.common.set(name, at);
        at += size;
      }
    }
    return at;
  }

  private define(): void {
    for (const input of this.inputs) {
      for (const [index, symbol] of input.elf.symbols.entries()) {
        if (symbol.section === SHN_UNDEF || symbol.name === '') continue;
        if (symbol.type === STT_FILE || symbol.type === STT_SECTION) continue;
        const address = this.addressOf(input, index);
        if (address === null) continue;
        const isGlobal = symbol.binding !== STB_LOCAL;
        const linked: LinkedSymbol = {
          object: input,
          name: symbol.name,
          address,
          size: Number(symbol.size),
          isFunction: symbol.type === STT_FUNC,
          isGlobal,
        };
        this.defined.push(linked);
        if (isGlobal) this.addGlobal(linked, symbol.binding === STB_WEAK);
      }
    }
  }

  private readonly weak = new Set<string>();

  private addGlobal(symbol: LinkedSymbol, isWeak: boolean): void {
    const { name } = symbol;
    const other = this.globals.get(name);
    if (other !== undefined && !isWeak && !this.weak.has(name) && !this.common.has(name)) {
      throw new LinkError(
        `${name} is defined by ${other.object.name} and by ${symbol.object.name}`,
        'leave one of the objects out',
      );
    }
    if (other !== undefined && (isWeak || !this.weak.has(name))) return;
    this.globals.set(name, symbol);
    if (isWeak) this.weak.add(name);
    else this.weak.delete(name);
  }

  /** Address of a symbol that its own object defines; null if its section is not loaded. */
  private addressOf(input: LinkInput, index: number): bigint | null {
    const { section, value, name } = input.elf.symbols[index];
    if (section === SHN_ABS) return value;
    if (section === SHN_COMMON) return this.common.get(name) ?? null;
    const home = this.byIndex.get(input)!.get(section);
    return home === undefined ? null : home.address + value;
  }

  /** Every name that is used and not defined must be bound before anything is patched: all that are not are told. */
  private checkBound(): void {
    const unbound = new Map<string, string>();
    for (const { input, section } of this.loaded) {
      for (const { symbol } of section.relocations) {
        const { name, section: home, binding } = input.elf.symbols[symbol];
        if (symbol === 0 || home !== SHN_UNDEF || binding === STB_WEAK) continue;
        if (this.bound(name) === null) unbound.set(name, input.name);
      }
    }
    if (unbound.size === 0) return;
    const names = [...unbound].map(([name, object]) => `${name} (used by ${object})`).join(', ');
    throw new LinkError(
      `undefined: ${names}`,
      'bind it under `symbols:` to an address, an object or a built-in stub such as memcpy',
    );
  }

  private bound(name: string): bigint | null {
    const given = this.options.resolve(name);
    if (typeof given === 'bigint') return given;
    if (given === null) return this.globals.get(name)?.address ?? null;
    const found = this.defined.find((s) => s.isGlobal && s.name === name && s.object === given);
    if (found !== undefined) return found.address;
    throw new LinkError(
      `${given.name} does not define ${name}`,
      'bind the name to an object that does, or to an address',
    );
  }

  private relocate(one: Loaded): void {
    const { input, section, kind, address } = one;
    const bytes = this.bytesAt(kind, address, Number(section.size));
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (const { type, offset, symbol, addend } of section.relocations) {
      const where = `${input.name}: ${section.name}+0x${offset.toString(16)}`;
      const relocation = this.table(input).get(type);
      if (relocation === undefined) {
        throw new LinkError(
          `${where}: relocations of type ${type} are not known here`,
          'compile without thread-local storage, -fPIC and -mcmodel=large',
        );
      }
      if (offset + BigInt(relocation.size) > BigInt(bytes.length)) {
        throw new LinkError(`${where}: a relocation outside its section`, 'build the object again');
      }
      const target = this.target(input, symbol, where);
      const value = relocation.got ? this.gotEntry(target) : target;
      const place = { view, offset: Number(offset), address: address + offset };
      const problem = relocation.apply(place, value + addend);
      if (problem === null) continue;
      const name = nameOf(input, symbol);
      throw new LinkError(
        `${where}: ${relocation.name} against ${name}: ${problem}`,
        'bind the symbol nearer to the code, or compile for a code model that reaches it',
      );
    }
  }

  private target(input: LinkInput, index: number, where: string): bigint {
    const symbol = input.elf.symbols[index];
    if (index === 0) return 0n;
    // A weak symbol that nobody defines is 0; a global one may have a stronger definition elsewhere.
    if (symbol.section === SHN_UNDEF) return this.bound(symbol.name) ?? 0n;
    if (symbol.binding !== STB_LOCAL) {
      const chosen = this.globals.get(symbol.name);
      if (chosen !== undefined) return chosen.address;
    }
    const address = this.addressOf(input, index);
    if (address !== null) return address;
    throw new LinkError(
      `${where}: ${nameOf(input, index)} lies in a section that is not loaded`,
      'compile without -g and unwinding tables',
    );
  }

  private gotEntry(target: bigint): bigint {
    const known = this.got.get(target);
    if (known !== undefined) return known;
    const entry = this.gotStart + BigInt(this.got.size * 8);
    this.got.set(target, entry);
    const bytes = this.bytesAt('rodata', entry, 8);
    new DataView(bytes.buffer, bytes.byteOffset).setBigUint64(0, BigInt.asUintN(64, target), true);
    return entry;
  }

  private bytesAt(kind: SegmentKind, address: bigint, length: number): Uint8Array {
    const segment = this.segments[KINDS.indexOf(kind)];
    const start = Number(address - segment.address);
    return segment.bytes.subarray(start, start + length);
  }
}

function kindOf({ flags }: ElfSection): SegmentKind {
  if (flags & SHF_EXECINSTR) return 'text';
  return flags & SHF_WRITE ? 'data' : 'rodata';
}

function nameOf({ elf }: LinkInput, index: number): string {
  const { name, type, section } = elf.symbols[index];
  return type === STT_SECTION ? elf.sections[section].name : name || `symbol ${index}`;
}

const alignUp = (at: bigint, align: bigint): bigint =>
  align <= 1n ? at : ((at + align - 1n) / align) * align;
