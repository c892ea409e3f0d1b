// Kernel memory by its virtual addresses, through init_mm's tables and whatever the rights: how the testbed lays things
// down, and how a debugger looks at them.
import { FRAME_SIZE, type Pfn, type VirtAddr, virtAddr } from '../emulator/address.ts';
import { u64 } from '../emulator/bits.ts';
import type { Ram } from '../emulator/ram.ts';
import type { InitMm } from '../mm/init-mm.ts';
import type { PageOwner } from '../mm/page-alloc.ts';
import type { Pgprot } from '../mm/pte.ts';

/** The modelled machine has no room for what it is asked to hold. */
export class OutOfMemory extends RangeError {
  readonly remedy = 'ask for less: fewer or smaller pages, buffers and pieces of code';
}

export class KernelMemory {
  private readonly mm: InitMm;
  private readonly ram: Ram;
  private readonly pageSize: number;
  private readonly pageMask: bigint;
  private readonly readAt: (pa: number) => void;

  /** @param readAt hears of the 8 bytes at each physical address that {@link readWord} depends on */
  constructor(mm: InitMm, readAt: (pa: number) => void) {
    this.mm = mm;
    this.ram = mm.ram;
    this.pageSize = mm.pageSize;
    this.pageMask = BigInt(mm.pageSize - 1);
    this.readAt = readAt;
  }

  /** Physical address behind a kernel address; null where nothing is mapped. */
  physOf(va: VirtAddr): number | null {
    const pfn = this.mm.vmallocToPage(va);
    return pfn < 0 ? null : pfn * FRAME_SIZE + Number(va & this.pageMask);
  }

  /** The 8 bytes at an address, aligned or not; null where something is not mapped. */
  readWord(va: VirtAddr): bigint | null {
    const ptep = this.mm.ptepOffset(va);
    const pfn = ptep === null ? -1 : this.mm.pfnAt(ptep);
    if (ptep === null || pfn < 0) return null;
    const pa = pfn * FRAME_SIZE + Number(va & this.pageMask);
    if (pa % 8 === 0 && this.ram.contains(pa, 8)) {
      this.readAt(ptep);
      this.readAt(pa);
      return this.ram.read64(pa);
    }
    const bytes = this.read(va, 8);
    return bytes === null ? null : new DataView(bytes.buffer).getBigUint64(0, true);
  }

  /** Stores 8 bytes at an 8-byte boundary. @returns false where nothing is mapped */
  writeWord(va: VirtAddr, value: bigint): boolean {
    const pa = this.physOf(va);
    if (pa === null || !this.ram.contains(pa, 8)) return false;
    this.ram.write64(pa, value);
    return true;
  }

  /** Bytes; null where a page is not mapped or lies outside RAM. */
  read(va: VirtAddr, length: number): Uint8Array | null {
    const bytes = new Uint8Array(length);
    return this.eachPage(va, length, (pa, offset, count) => {
      bytes.set(this.ram.read(pa, count), offset);
    })
      ? bytes
      : null;
  }

  /** @returns false, with part of it written, where a page is not mapped */
  write(va: VirtAddr, bytes: Uint8Array): boolean {
    return this.eachPage(va, bytes.length, (pa, offset, count) => {
      this.ram.write(pa, bytes.subarray(offset, offset + count));
    });
  }

  pagesFor(bytes: number): number {
    return Math.ceil(bytes / this.pageSize);
  }

  /** Maps `count` zeroed pages. @throws OutOfMemory */
  map(at: VirtAddr, count: number, prot: Pgprot, owner: PageOwner): void {
    for (let i = 0; i < count; i++) {
      const pfn = this.mm.pages.allocPage(owner);
      const va = u64(at + BigInt(i * this.pageSize)) as VirtAddr;
      if (pfn < 0 || this.mm.mapRange(va, pfn as Pfn, 1, prot) < 0) {
        throw new OutOfMemory('no memory is left');
      }
    }
  }

  /** Maps as many pages as `bytes` need, at least one, and writes them there. @throws OutOfMemory */
  mapBytes(at: VirtAddr, bytes: Uint8Array, prot: Pgprot, owner: PageOwner): void {
    this.map(at, this.pagesFor(Math.max(bytes.length, 1)), prot, owner);
    this.write(at, bytes);
  }

  /** Calls `visit` for each stretch of [va, va + length) within a page. @returns false at the first unmapped page */
  private eachPage(
    va: VirtAddr,
    length: number,
    visit: (pa: number, offset: number, count: number) => void,
  ): boolean {
    for (let offset = 0; offset < length; ) {
      const at = virtAddr(va + BigInt(offset));
      const pa = this.physOf(at);
      const count = Math.min(length - offset, this.pageSize - Number(at & this.pageMask));
      if (pa === null || !this.ram.contains(pa, count)) return false;
      visit(pa, offset, count);
      offset += count;
    }
    return true;
  }
}
