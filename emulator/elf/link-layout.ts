// Where each section of the objects to link comes to lie.
import {
  LinkError,
  type LinkInput,
  type LinkOptions,
  type Segment,
  type SegmentKind,
} from './link-types.ts';
import {
  type ElfRelocation,
  type ElfSection,
  SHF_ALLOC,
  SHF_EXECINSTR,
  SHN_COMMON,
} from './read.ts';

const SHF_WRITE = 1n;
const SHF_TLS = 0x400n;

/** Allocated sections that no code reads: notes, unwinding data, and what objtool and the linker leave. */
const NOT_LOADED = /^\.(?:note|eh_frame|orc_|discard|gnu\.|modinfo)/;
const PERCPU = /^\.data\.\.?percpu/;
/** Bytes of a segment. */
const MOST = 2n ** 28n;
const MOST_ALIGN = 2n ** 21n;
const KINDS: readonly SegmentKind[] = ['text', 'rodata', 'data', 'percpu'];

export interface Loaded {
  readonly input: LinkInput;
  readonly section: ElfSection;
  readonly kind: SegmentKind;
  address: bigint;
}

export class Layout {
  readonly loaded: readonly Loaded[];
  readonly segments: readonly Segment[];
  /** Addresses of tentative definitions (SHN_COMMON). */
  readonly common = new Map<string, bigint>();
  /** Where the GOT begins, whether there is one or not. */
  gotStart = 0n;
  /** First address behind everything, a multiple of the page size. */
  readonly end: bigint;
  private readonly byIndex = new Map<LinkInput, Map<number, Loaded>>();

  /** @param wantsGot true for a relocation that may need a GOT entry of its own, or the table's address */
  constructor(
    inputs: readonly LinkInput[],
    { address, pageSize, percpu }: LinkOptions,
    wantsGot: (relocation: ElfRelocation, input: LinkInput) => boolean,
  ) {
    this.loaded = this.choose(inputs);
    const segments: Segment[] = [];
    let at = address;
    let end = at;
    for (const kind of KINDS) {
      if (kind === 'percpu') {
        end = at;
        at = percpu ?? at;
      }
      if (kind !== 'text') at = alignUp(at, BigInt(pageSize));
      const start = at;
      for (const one of this.loaded.filter((other) => other.kind === kind)) {
        one.address = alignUp(at, one.section.align);
        at = one.address + one.section.size;
      }
      if (kind === 'rodata') at = this.reserveGot(at, wantsGot);
      if (kind === 'data') at = this.reserveCommon(at, inputs);
      checkSize(inputs, kind, at - start);
      segments.push({ kind, address: start, bytes: new Uint8Array(Number(at - start)) });
    }
    this.segments = segments;
    this.end = alignUp(percpu === null ? at : end, BigInt(pageSize));
    for (const { section, kind, address: to } of this.loaded) {
      this.bytesAt(kind, to, Number(section.size)).set(section.data);
    }
  }

  /** A section as it was loaded; undefined if it was not. */
  home(input: LinkInput, index: number): Loaded | undefined {
    return this.byIndex.get(input)?.get(index);
  }

  bytesAt(kind: SegmentKind, address: bigint, length: number): Uint8Array {
    const segment = this.segments[KINDS.indexOf(kind)];
    const start = Number(address - segment.address);
    return segment.bytes.subarray(start, start + length);
  }

  /** Which sections are loaded, and with what rights. Of a COMDAT group the first object's is kept. */
  private choose(inputs: readonly LinkInput[]): Loaded[] {
    const signatures = new Set<string>();
    return inputs.flatMap((input) => {
      const dropped = new Set<number>();
      for (const { signature, members } of input.elf.groups) {
        if (signatures.has(signature)) for (const member of members) dropped.add(member);
        signatures.add(signature);
      }
      const chosen = input.elf.sections
        .filter(({ flags, name, index }) => {
          const isLoaded = (flags & (SHF_ALLOC | SHF_TLS)) === SHF_ALLOC;
          return isLoaded && !NOT_LOADED.test(name) && !dropped.has(index);
        })
        .map((section): Loaded => ({ input, section, kind: kindOf(section), address: 0n }));
      for (const { section } of chosen) checkSection(input, section);
      this.byIndex.set(input, new Map(chosen.map((one) => [one.section.index, one])));
      return chosen;
    });
  }

  private reserveGot(
    at: bigint,
    wantsGot: (relocation: ElfRelocation, input: LinkInput) => boolean,
  ): bigint {
    const wanted = new Set<string>();
    for (const { input, section } of this.loaded) {
      for (const relocation of section.relocations) {
        if (wantsGot(relocation, input)) wanted.add(`${input.name} ${relocation.symbol}`);
      }
    }
    this.gotStart = alignUp(at, 8n);
    return wanted.size === 0 ? at : this.gotStart + BigInt(wanted.size * 8);
  }

  /** Of tentative definitions of one name the largest size and alignment count. */
  private reserveCommon(start: bigint, inputs: readonly LinkInput[]): bigint {
    const wanted = new Map<string, { size: bigint; align: bigint }>();
    for (const { elf } of inputs) {
      for (const { section, name, size, value } of elf.symbols) {
        if (section !== SHN_COMMON) continue;
        const other = wanted.get(name) ?? { size: 0n, align: 1n };
        wanted.set(name, { size: max(other.size, size), align: max(other.align, value) });
      }
    }
    let at = start;
    for (const [name, { size, align }] of wanted) {
      at = alignUp(at, align);
      this.common.set(name, at);
      at += size;
    }
    return at;
  }
}

function checkSection(input: LinkInput, { name, align }: ElfSection): void {
  if (align > MOST_ALIGN) {
    throw new LinkError(
      `${input.name}: ${name} wants an alignment of 0x${align.toString(16)} bytes`,
      'align it to 2 MiB or less',
    );
  }
}

function checkSize(inputs: readonly LinkInput[], kind: SegmentKind, size: bigint): void {
  if (size <= MOST) return;
  throw new LinkError(
    `${inputs[0].name}: its ${kind} takes 0x${size.toString(16)} bytes`,
    'link fewer or smaller objects: 256 MiB are the most',
  );
}

function kindOf({ name, flags }: ElfSection): SegmentKind {
  if (PERCPU.test(name)) return 'percpu';
  if (flags & SHF_EXECINSTR) return 'text';
  return flags & SHF_WRITE ? 'data' : 'rodata';
}

const max = (a: bigint, b: bigint): bigint => (a > b ? a : b);
const alignUp = (at: bigint, align: bigint): bigint =>
  align <= 1n ? at : ((at + align - 1n) / align) * align;
