// A linked kernel: what of it lies where in memory, its symbols, and the tables that a kernel applies to itself when it
// starts. Read from an ELF file (vmlinux, with a symbol table or stripped) or from an arm64 Image, which is the bare
// memory of one. Left out: what is only needed to boot.
import { ElfError } from '../../emulator/elf/bytes.ts';
import {
  type ElfFile,
  type ElfMachine,
  type ElfSection,
  readElf,
  SHF_ALLOC,
  SHF_EXECINSTR,
  SHT_NOBITS,
} from '../../emulator/elf/read.ts';
import { readKallsyms } from './kallsyms.ts';
import {
  type CodeRange,
  type Found,
  findAlternatives,
  findExtable,
  findRelatives,
} from './search.ts';
import { ImageSymbols, symbolsOfElf } from './symbols.ts';
import { isArm64Image } from './unpack.ts';

export interface ImageSection {
  readonly name: string;
  readonly address: bigint;
  /** What lies there at first; zeroes follow up to `size`. */
  readonly bytes: Uint8Array;
  /** Bytes in memory. */
  readonly size: number;
  readonly writable: boolean;
  readonly executable: boolean;
}

/** A piece of the image's memory. */
export interface Extent {
  readonly address: bigint;
  /** Bytes. */
  readonly length: number;
}

export interface KernelImage {
  readonly machine: ElfMachine;
  /** First byte, and first behind the last: multiples of 4 KiB. */
  readonly start: bigint;
  readonly end: bigint;
  readonly sections: readonly ImageSection[];
  /** The template of per-CPU variables; null where the image has none or does not say. */
  readonly percpu: ImageSection | null;
  readonly symbols: ImageSymbols;
  /** `__ex_table`, `.altinstructions`, `__jump_table`; null where there is none. */
  readonly extable: Extent | null;
  readonly alternatives: Extent | null;
  readonly jumpTable: Extent | null;
  /** `.orc_unwind_ip` and `.orc_unwind`. */
  readonly orc: readonly [Extent, Extent] | null;
  /** RELA entries of R_AARCH64_RELATIVE, whose places hold nothing yet. */
  readonly relatives: Uint8Array | null;
  /** The ELF file that it was read from. */
  readonly elf: ElfFile | null;
}

const ET_REL = 1;
const SHF_WRITE = 1n;
const PAGE = 0x1000n;
/** Kernels lie in the upper half; per-CPU variables of x86 are linked at 0. */
const LOWEST = 0xffff_0000_0000_0000n;
/** Bytes in memory. */
const MOST = 2n ** 28n;
const NOT_LOADED = /^\.(?:init\.scratch|BTF|brk|notes?)/;
const REMEDY = 'give the vmlinux or the boot image of an x86-64 or AArch64 kernel';
/** KIMAGE_VADDR and with it _text is a multiple of it. */
const IMAGE_ALIGN = 0x20_0000n;

const read = new WeakMap<Uint8Array, KernelImage>();

/** True for a linked ELF file or an arm64 Image: what {@link readKernelImage} reads, rather than a linker. */
export function isKernelImage(bytes: Uint8Array): boolean {
  if (isArm64Image(bytes)) return true;
  const isElf = [0x7f, 0x45, 0x4c, 0x46].every((byte, i) => bytes[i] === byte);
  if (!isElf || bytes.length < 64) return false;
  return (bytes[16] | (bytes[17] << 8)) > ET_REL;
}

/** @throws ElfError for a file that is no kernel, or a damaged one */
export function readKernelImage(bytes: Uint8Array): KernelImage {
  const known = read.get(bytes);
  if (known !== undefined) return known;
  const image = Object.freeze(
    isArm64Image(bytes) ? fromArm64Image(bytes) : fromElf(readElf(bytes)),
  );
  read.set(bytes, image);
  return image;
}

function fromElf(elf: ElfFile): KernelImage {
  const sections = elf.sections.filter(({ flags, size, name }) => {
    return (flags & SHF_ALLOC) !== 0n && size > 0n && !NOT_LOADED.test(name);
  });
  const percpu = sections.find(({ name }) => name === '.data..percpu');
  const own = sections.filter((section) => section.address >= LOWEST).map(sectionOf);
  const [first] = own;
  if (first === undefined) throw new ElfError(16, 'a linked file, but no kernel', REMEDY);
  const extent = (...names: string[]) => {
    const found = sections.find(({ name }) => names.includes(name));
    return found === undefined ? null : { address: found.address, length: Number(found.size) };
  };
  const symbols = symbolsOfElf(elf) ?? kallsymsOf(own);
  const between = (from: string, to: string) => extentBetween(symbols, from, to);
  const { start, end } = bounds(own);
  if (percpu !== undefined) checkPercpu(percpu, start, end);
  return {
    machine: elf.machine,
    start,
    end,
    sections: own,
    percpu: percpu === undefined ? null : sectionOf(percpu),
    symbols,
    extable: extent('__ex_table') ?? between('__start___ex_table', '__stop___ex_table'),
    alternatives:
      extent('.altinstructions') ?? between('__alt_instructions', '__alt_instructions_end'),
    jumpTable: extent('__jump_table') ?? between('__start___jump_table', '__stop___jump_table'),
    orc: both(extent('.orc_unwind_ip'), extent('.orc_unwind')),
    relatives: elf.sections.find(({ name }) => name === '.rela.dyn')?.data ?? null,
    elf,
  };
}

const both = (a: Extent | null, b: Extent | null): [Extent, Extent] | null => a && b && [a, b];

/** Per-CPU variables are linked near 0, or with the rest. */
function checkPercpu({ address, size }: ElfSection, start: bigint, end: bigint): void {
  const isNear = address + size <= MOST;
  if (isNear || (address >= start && address + size <= end)) return;
  throw new ElfError(0, `.data..percpu lies at 0x${address.toString(16)}`, REMEDY);
}

function sectionOf({ name, address, type, data, size, flags }: ElfSection): ImageSection {
  if (size > MOST) throw new ElfError(0, `${name} takes 0x${size.toString(16)} bytes`, REMEDY);
  return {
    name,
    address,
    bytes: type === SHT_NOBITS ? new Uint8Array(0) : data,
    size: Number(size),
    // Merging marks x86's .rodata as writable.
    writable: (flags & SHF_WRITE) !== 0n && !name.startsWith('.rodata'),
    executable: (flags & SHF_EXECINSTR) !== 0n,
  };
}

function bounds(sections: readonly ImageSection[]): { start: bigint; end: bigint } {
  let start = sections[0].address;
  let end = start;
  for (const { address, size } of sections) {
    if (address < start) start = address;
    if (address + BigInt(size) > end) end = address + BigInt(size);
  }
  start -= start % PAGE;
  end += (PAGE - (end % PAGE)) % PAGE;
  if (end - start <= MOST && end < 2n ** 64n) return { start, end };
  throw new ElfError(16, `an image of 0x${(end - start).toString(16)} bytes`, REMEDY);
}

/** kallsyms lies in read-only data. */
function kallsymsOf(sections: readonly ImageSection[]): ImageSymbols {
  for (const { name, bytes } of sections) {
    const table = name.startsWith('.rodata') ? readKallsyms(bytes, () => 0n) : null;
    if (table !== null) return new ImageSymbols(table);
  }
  throw new ElfError(0, 'neither a symbol table nor kallsyms is in it', NO_SYMBOLS);
}

const NO_SYMBOLS = 'give the vmlinux before stripping, or a kernel with CONFIG_KALLSYMS';

/** Bytes of an Image that its header says memory takes: image_size. */
const IMAGE_SIZE = 16;

function fromArm64Image(bytes: Uint8Array): KernelImage {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const size = view.getBigUint64(IMAGE_SIZE, true);
  if (size < BigInt(bytes.length) || size > MOST) {
    throw new ElfError(IMAGE_SIZE, `an Image of 0x${size.toString(16)} bytes`, REMEDY);
  }
  const relatives = findRelatives(bytes);
  const base = relatives === null ? null : baseOf(view, relatives);
  const table = readKallsyms(bytes, (at) =>
    base === null ? 0n : pointerAt(view, relatives!, base + BigInt(at)),
  );
  if (table === null) throw new ElfError(0, 'there is no kallsyms in it', NO_SYMBOLS);
  const symbols = new ImageSymbols(table);
  const start = base ?? table.base - (table.base % IMAGE_ALIGN);
  const offsetOf = (name: string): number => {
    const symbol = symbols.named(name);
    const offset = symbol === null ? -1 : Number(symbol.address - start);
    if (offset >= 0 && offset <= bytes.length) return offset;
    throw new ElfError(0, `kallsyms does not tell a ${name} inside the image`, NO_SYMBOLS);
  };
  const [stext, etext, sinit, einit] = ['_stext', '_etext', '_sinittext', '_einittext'].map(
    offsetOf,
  );
  if (!(stext < etext && etext <= sinit && sinit < einit)) {
    throw new ElfError(0, 'its code and data lie in no known order', REMEDY);
  }
  const part = (name: string, from: number, to: number, rights: string): ImageSection => ({
    name,
    address: start + BigInt(from),
    bytes: bytes.subarray(from, Math.min(to, bytes.length)),
    size: to - from,
    writable: rights.includes('w'),
    executable: rights.includes('x'),
  });
  const extentOf = (found: Found | null): Extent | null =>
    found && { address: start + BigInt(found.offset), length: found.length };
  const code: CodeRange[] = [
    { from: 0, to: etext },
    { from: sinit, to: einit },
  ];
  const data = part('.data', einit, Number(size), 'w');
  return {
    machine: 'arm64',
    start,
    end: start + size + ((PAGE - (size % PAGE)) % PAGE),
    sections: [
      part('.text', 0, etext, 'x'),
      part('.rodata', etext, sinit, ''),
      part('.init.text', sinit, einit, 'x'),
      data,
    ],
    // Where in the data per-CPU variables are, nothing says: each CPU gets a copy of it up to what only starting needs.
    percpu: { ...data, size: (relatives?.offset ?? bytes.length) - einit },
    symbols,
    extable:
      extentBetween(symbols, '__start___ex_table', '__stop___ex_table') ??
      extentOf(findExtable(bytes, code)),
    alternatives:
      extentBetween(symbols, '__alt_instructions', '__alt_instructions_end') ??
      extentOf(findAlternatives(bytes, code)),
    jumpTable: extentBetween(symbols, '__start___jump_table', '__stop___jump_table'),
    orc: null,
    relatives: relatives && bytes.subarray(relatives.offset, relatives.offset + relatives.length),
    elf: null,
  };
}

/** What a relocation puts at an address; 0 if none does. */
function pointerAt(view: DataView, { offset, length }: Found, address: bigint): bigint {
  for (let at = offset; at < offset + length; at += 24) {
    if (view.getBigUint64(at, true) === address) return view.getBigUint64(at + 16, true);
  }
  return 0n;
}

/** The start of the image, from the lowest address that is named: some pointer names the first 2 MiB. */
function baseOf(view: DataView, { offset, length }: Found): bigint {
  let lowest = 2n ** 64n;
  for (let at = offset; at < offset + length; at += 24) {
    const addend = view.getBigUint64(at + 16, true);
    if (addend >= LOWEST && addend < lowest) lowest = addend;
  }
  return lowest - (lowest % IMAGE_ALIGN);
}

function extentBetween(symbols: ImageSymbols, from: string, to: string): Extent | null {
  const start = symbols.named(from)?.address;
  const end = symbols.named(to)?.address;
  if (start === undefined || end === undefined || end <= start) return null;
  return { address: start, length: Number(end - start) };
}
