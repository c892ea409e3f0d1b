// Memory that a running kernel has mapped, as compiled code finds it: the direct map and the array of struct page, made page
// by page when the code first reaches them. A struct page holds the counts that the model has.
import { FRAME_SIZE, type Pfn, virtAddr } from '../../emulator/address.ts';
import type { StructLayout, StructMember } from '../../emulator/elf/layouts.ts';
import type { Kernel } from '../kernel.ts';
import { writeUint } from './laid.ts';

/** sizeof(struct page) of most kernels: for objects that never look into one. */
const USUAL_PAGE = 64;

export class PageStructs {
  private readonly kernel: Kernel;
  private readonly members: ReadonlyMap<string, StructMember>;
  /** sizeof(struct page) */
  readonly size: number;

  /** @param layout of struct page; null: not known */
  constructor(kernel: Kernel, layout: StructLayout | null) {
    this.kernel = kernel;
    this.members = layout?.members ?? new Map();
    this.size = layout?.size ?? USUAL_PAGE;
  }

  /** pfn_to_page(). @param pfn in frames */
  page(pfn: Pfn): bigint {
    const index = pfn / this.kernel.pages.framesPerPage;
    return this.kernel.layout.vmemmap + BigInt(index * this.size);
  }

  /** page_to_pfn(), in frames; null for an address that is no page's. */
  pfn(page: bigint): Pfn | null {
    const offset = page - this.kernel.layout.vmemmap;
    if (offset < 0n || offset % BigInt(this.size) !== 0n) return null;
    const pfn = Number(offset / BigInt(this.size)) * this.kernel.pages.framesPerPage;
    return this.kernel.pages.pfnValid(pfn) ? (pfn as Pfn) : null;
  }

  /** Puts the counts of a page into its struct page, if the code has that mapped. */
  countPage(pfn: Pfn): void {
    const { memory, pages } = this.kernel;
    const members = this.members;
    const { refs, maps } = pages.countsOf(pfn);
    for (const [name, value] of [
      ['_refcount', refs],
      ['_mapcount', maps - 1],
    ] as const) {
      const member = members?.get(name);
      if (member === undefined) continue;
      const pa = memory.physOf(virtAddr(this.page(pfn) + BigInt(member.offset)));
      if (pa !== null) writeUint(this.kernel, pa, member.size, BigInt(value));
    }
  }

  /**
   * Maps a page of the direct map or of the array of struct page, as a running kernel has them. Nobody is told.
   * @returns false for an address in neither
   */
  provide(va: bigint): boolean {
    const { kernel } = this;
    const { layout, ram, mm, pages } = kernel;
    const pageSize = BigInt(kernel.pageSize);
    const at = va - (va % pageSize);
    const structs = (BigInt(ram.size) / pageSize) * BigInt(this.size);
    if (within(va, layout.directMap, BigInt(ram.size))) {
      const pfn = Number(at - layout.directMap) / FRAME_SIZE;
      return quietly(kernel, () => mm.mapRange(virtAddr(at), pfn as Pfn, 1, 'PAGE_KERNEL') === 0);
    }
    if (!within(va, layout.vmemmap, structs)) return false;
    return quietly(kernel, () => {
      const pfn = pages.allocPage(kernel.dataPages);
      if (pfn < 0 || mm.mapRange(virtAddr(at), pfn as Pfn, 1, 'PAGE_KERNEL') !== 0) return false;
      const first = (at - layout.vmemmap) / BigInt(this.size);
      for (let i = first; i * BigInt(this.size) < at - layout.vmemmap + pageSize; i++) {
        this.countPage((Number(i) * pages.framesPerPage) as Pfn);
      }
      return true;
    });
  }
}

/** Does something that nobody is told of, with memory from the end of RAM. */
function quietly<T>(kernel: Kernel, action: () => T): T {
  const { context, events, pages } = kernel;
  const { access } = context;
  context.access = null;
  try {
    return events.silently(() => pages.fromTop(action));
  } finally {
    context.access = access;
  }
}

const within = (va: bigint, start: bigint, size: bigint): boolean =>
  va >= start && va < start + size;
