// Where code lies in the modelled kernel: the code under test, images of BPF programs, what stands in the place of the
// model's functions, and places to return to that are never run.
import { type VirtAddr, virtAddr } from '../emulator/address.ts';
import type { Linked } from '../emulator/elf/link.ts';
import type { PageOwner } from '../mm/page-alloc.ts';
import type { Kernel } from './kernel.ts';

/** Distance of the code under test from the start of kernel text. */
export const CODE_OFFSET = 0x10_0000n;

/** Distance of replaced functions' code from that of BPF images: modules lie there as well. */
const MODULE_OFFSET = 0x400_0000n;

/** Text in front of a function under test, as in a kernel: an oops prints the bytes before its instruction. */
const CODE_PADDING = 0x40n;

export class KernelText {
  private readonly kernel: Kernel;
  private readonly owner: PageOwner;
  private nextCode: bigint;
  private nextImage: bigint;
  private nextModule: bigint;

  /** @param kernel of which the layout, the memory and its pages are there */
  constructor(kernel: Kernel) {
    const { layout, pages } = kernel;
    this.kernel = kernel;
    this.owner = pages.owner('kernel text');
    this.nextCode = layout.text + CODE_OFFSET;
    this.nextImage = layout.bpfText;
    this.nextModule = layout.bpfText + MODULE_OFFSET;
  }

  /** Address at which the next code of {@link load} will lie. */
  get next(): VirtAddr {
    return virtAddr(this.nextCode + CODE_PADDING);
  }

  /** Loads code as kernel text at {@link next}, read-only and executable. @throws OutOfMemory */
  load(bytes: Uint8Array): VirtAddr {
    const at = this.next;
    const padding = Number(CODE_PADDING);
    const padded = new Uint8Array(padding + bytes.length).fill(this.trapByte, 0, padding);
    padded.set(bytes, padding);
    this.kernel.memory.mapBytes(virtAddr(this.nextCode), padded, 'PAGE_KERNEL_ROX', this.owner);
    // One unmapped page between two pieces of code: running off an end is a fault.
    this.nextCode += BigInt(
      (this.kernel.memory.pagesFor(padded.length) + 1) * this.kernel.pageSize,
    );
    this.kernel.codeChanged();
    return at;
  }

  /** Loads linked code, its text at {@link next} and the rest where it was laid out. @throws OutOfMemory */
  loadSegments({ segments, end }: Pick<Linked, 'segments' | 'end'>): void {
    for (const segment of segments) {
      const { kind, address, bytes } = segment;
      if (kind === 'text') this.load(bytes);
      else if (kind === 'percpu') this.kernel.environment.mapTemplate(segment);
      else {
        const prot = kind === 'data' ? 'PAGE_KERNEL' : 'PAGE_KERNEL_RO';
        this.kernel.memory.mapBytes(virtAddr(address), bytes, prot, this.owner);
      }
    }
    this.nextCode = end + BigInt(this.kernel.pageSize);
    this.kernel.codeChanged();
  }

  /**
   * Loads what `action` loads as a part of the kernel itself, away from the code under test and with pages from the end
   * of memory: a scenario finds its own code and pages where they always are.
   */
  asKernel<T>(action: () => T): T {
    const { nextCode } = this;
    this.nextCode = this.nextModule;
    try {
      return this.kernel.events.silently(() => this.kernel.pages.fromTop(action));
    } finally {
      this.nextModule = this.nextCode;
      this.nextCode = nextCode;
    }
  }

  /** Maps a page for the image of a BPF program that is only ever on the stack. @returns its address */
  loadBlankImage(): VirtAddr {
    const at = virtAddr(this.nextImage);
    this.nextImage += BigInt(this.kernel.pageSize);
    this.mapBlank(at);
    return at;
  }

  /**
   * Maps a page of text at a page boundary, unless one is mapped, filled with traps (int3; udf): a place to return to
   * that is never run.
   */
  mapBlank(at: VirtAddr): void {
    if (this.kernel.memory.physOf(at) !== null) return;
    const traps = new Uint8Array(this.kernel.pageSize).fill(this.trapByte);
    this.kernel.memory.mapBytes(at, traps, 'PAGE_KERNEL_ROX', this.owner);
  }

  /** Fills text that is never run: int3, udf. */
  private get trapByte(): number {
    return this.kernel.arch.linkRegister === null ? 0xcc : 0;
  }
}
