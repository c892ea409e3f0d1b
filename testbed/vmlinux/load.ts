// A kernel image put into the modelled machine: its memory at the addresses it was linked for, and what a kernel does to
// itself when it starts, as far as code depends on it: relocations, alternatives, the exception table. The model keeps
// its own text behind it. Left out: everything else of a boot. Data is as it was linked.

import type { KernelLayout } from '../../arch/arch.ts';
import { applyArm64Alternatives } from '../../arch/arm64/alternatives.ts';
import { sortExtable } from '../../arch/extable.ts';
import type { Stretch } from '../../arch/stretch.ts';
import { applyAlternatives } from '../../arch/x86/alternatives.ts';
import { orcAddresses } from '../../arch/x86/orc-table.ts';
import { FRAME_SIZE, type Pfn, type VirtAddr, virtAddr } from '../../emulator/address.ts';
import { ElfError } from '../../emulator/elf/read.ts';
import type { Pgprot } from '../../mm/pte.ts';
import { CallError } from '../call-error.ts';
import type { Kernel } from '../kernel.ts';
import { OutOfMemory } from '../kernel-memory.ts';
import type { ObjectFile } from '../object-file.ts';
import { ALTERNATIVES_REMEDY } from '../patch-code.ts';
import type { CpuFeatures, World } from '../scenario-model.ts';
import { type Extent, isKernelImage, type KernelImage, readKernelImage } from './image.ts';
import type { ImageSymbol } from './symbols.ts';

/** A world's image, by the path that errors give it. */
export interface WorldImage {
  readonly path: string;
  readonly image: KernelImage;
}

const RELA_SIZE = 24;
const RELATIVE = 1027;

/** The image whose functions a world calls or binds names to; null if there is none. @throws CallError */
export function imageOf({ cpus }: World): WorldImage | null {
  let found: ObjectFile | null = null;
  for (const step of cpus.flat()) {
    if (step.kind !== 'call') continue;
    const bound = [...step.symbols.values()].flatMap((b) => (b.kind === 'object' ? [b.file] : []));
    const files = step.code.kind === 'object' ? [step.code.file, ...bound] : bound;
    for (const file of files) {
      if (!isKernelImage(file.bytes) || file.path === found?.path) continue;
      if (found !== null) {
        throw new CallError(
          `${file.path}: the scenario has another kernel image, ${found.path}`,
          'a machine runs one kernel: write two scenarios',
        );
      }
      found = file;
    }
  }
  return found === null ? null : { path: found.path, image: openImage(found) };
}

/** @throws CallError for a file that cannot be read */
export function openImage({ path, bytes }: ObjectFile): KernelImage {
  try {
    return readKernelImage(bytes);
  } catch (error) {
    if (!(error instanceof ElfError)) throw error;
    throw new CallError(`${path}: ${error.message}`, error.remedy);
  }
}

/** The symbol of an image that a name means. @throws CallError if there is none */
export function imageSymbol(file: ObjectFile, name: string): ImageSymbol {
  const { symbols } = openImage(file);
  const found = symbols.named(name);
  if (found !== null) return found;
  const near = symbols.near(name);
  throw new CallError(
    `${file.path}: does not define ${name}`,
    near === null ? 'see what it holds: faultline run IMAGE --list' : `did you mean ${near}?`,
  );
}

/** Bytes at the end of RAM that the image lies in: whole pages. 0 without one. */
export function reservedFor(image: KernelImage | null, pageSize: number): number {
  if (image === null) return 0;
  const page = BigInt(pageSize);
  const from = image.start - (image.start % page);
  return Number(((image.end - from + page - 1n) / page) * page);
}

/** What the model has of its own around kernel text, bytes: its code, and on arm64 its stack. */
const OWN_TEXT = 0x100_0000n;
const LAYOUT_ALIGN = 0x20_0000n;

/** The layout of a kernel whose text is an image's: what would lie in or behind our own text lies behind it. */
export function layoutAround(layout: KernelLayout, image: KernelImage | null): KernelLayout {
  const { text, stack, arenaBase } = layout;
  if (image === null || image.start >= text + OWN_TEXT || image.end <= text) return layout;
  const over = image.end % LAYOUT_ALIGN;
  const shift = image.end - text + (over === 0n ? 0n : LAYOUT_ALIGN - over);
  const moved = (at: VirtAddr): VirtAddr =>
    at > text && at < text + 2n * OWN_TEXT ? virtAddr(at + shift) : at;
  return {
    ...layout,
    text: virtAddr(text + shift),
    stack: moved(stack),
    arenaBase: moved(arenaBase),
  };
}

function patch(
  path: string,
  { machine, symbols }: KernelImage,
  table: Stretch,
  code: readonly Stretch[],
  { erms, cpucaps }: CpuFeatures,
): void {
  try {
    if (machine === 'x86_64') applyAlternatives(table, code, erms);
    else {
      const nameOf = (at: bigint) => symbols.around(at)?.name ?? `0x${at.toString(16)}`;
      applyArm64Alternatives(table, code, new Set(cpucaps), nameOf);
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new CallError(`${path}: ${error.message}`, ALTERNATIVES_REMEDY[machine]);
  }
}

/** @throws CallError, OutOfMemory */
export function loadImage(
  kernel: Kernel,
  { path, image }: WorldImage,
  features: CpuFeatures,
): void {
  const memory = mapImage(kernel, image);
  const at = ({ address, length }: Extent): Uint8Array | null => {
    const offset = Number(address - image.start);
    if (offset < 0 || offset + length > memory.length) return null;
    return memory.subarray(offset, offset + length);
  };
  if (image.relatives !== null) applyRelatives(image, memory, image.relatives);
  const alternatives = image.alternatives && at(image.alternatives);
  if (alternatives !== null && image.alternatives !== null) {
    const table = { address: image.alternatives.address, bytes: alternatives };
    patch(path, image, table, [{ address: image.start, bytes: memory }], features);
  }
  const extable = image.extable && at(image.extable);
  if (extable !== null && image.extable !== null) {
    kernel.addExtableBytes(sortExtable(Uint8Array.from(extable)), virtAddr(image.extable.address));
  }
  if (image.orc !== null) {
    const [places, entries] = image.orc.map((extent) => at(extent));
    if (places && entries) {
      const ips = orcAddresses(Uint8Array.from(places), image.orc[0].address);
      kernel.addOrcTable(ips, Uint8Array.from(entries), image.end);
    }
  }
  kernel.symbols.image = image.symbols;
  kernel.imageFile = image.elf === null ? null : Object.freeze(image.elf);
  kernel.environment.useImage(image);
  kernel.codeChanged();
}

/** Maps it, every page with the rights of what lies there. @returns its memory, in RAM */
function mapImage(kernel: Kernel, image: KernelImage): Uint8Array {
  const { pageSize, ram, pages, mm } = kernel;
  const { start, end, sections } = image;
  const from = start - (start % BigInt(pageSize));
  const reserved = reservedFor(image, pageSize);
  const count = reserved / pageSize;
  const base = ram.base + ram.size - reserved;
  const rights = new Uint8Array(count);
  for (const { address, bytes, size, writable, executable } of sections) {
    const offset = Number(address - from);
    ram.write(base + offset, bytes);
    const right = PRESENT | (writable ? WRITE : 0) | (executable ? EXEC : 0);
    const last = Math.floor((offset + size - 1) / pageSize);
    for (let i = Math.floor(offset / pageSize); i <= last; i++) rights[i] |= right;
  }
  for (let i = 0; i < count; ) {
    let next = i + 1;
    while (next < count && rights[next] === rights[i]) next++;
    if (rights[i] !== 0) {
      const pfn = (base / FRAME_SIZE + i * pages.framesPerPage) as Pfn;
      const va = virtAddr(from + BigInt(i * pageSize));
      if (mm.mapRange(va, pfn, next - i, PROTECTIONS[rights[i]]) < 0) {
        throw new OutOfMemory('no memory is left for the page tables of the kernel image');
      }
    }
    i = next;
  }
  const offset = base - ram.base + Number(start - from);
  return ram.bytes.subarray(offset, offset + Number(end - start));
}

const PRESENT = 1;
const WRITE = 2;
const EXEC = 4;
const PROTECTIONS: Readonly<Record<number, Pgprot>> = {
  [PRESENT]: 'PAGE_KERNEL_RO',
  [PRESENT | WRITE]: 'PAGE_KERNEL',
  [PRESENT | EXEC]: 'PAGE_KERNEL_ROX',
  [PRESENT | WRITE | EXEC]: 'PAGE_KERNEL_EXEC',
};

/**
 * Puts addresses into their places, as the image's first instructions do: it lies where it was linked.
 * @param memory the image's, whose frames have been written
 */
function applyRelatives({ start }: KernelImage, memory: Uint8Array, table: Uint8Array): void {
  const entries = new DataView(table.buffer, table.byteOffset, table.length);
  const view = new DataView(memory.buffer, memory.byteOffset, memory.length);
  for (let at = 0; at + RELA_SIZE <= table.length; at += RELA_SIZE) {
    if (entries.getUint32(at + 8, true) !== RELATIVE) continue;
    const place = Number(entries.getBigUint64(at, true) - start);
    if (place < 0 || place + 8 > memory.length) continue;
    view.setBigUint64(place, entries.getBigUint64(at + 16, true), true);
  }
}
