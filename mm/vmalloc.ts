// Areas of the vmalloc range: who has which addresses. get_vm_area() of mm/vmalloc.c without the memory: callers map
// pages themselves (VM_SPARSE). Addresses are deterministic: the lowest gap that fits, or the one a scenario asks for.
// Left out: lazy purging (an area is unmapped and flushed when it is freed), per-CPU blocks, KASLR.
import type { VirtAddr } from '../emulator/address.ts';
import { hex, u64 } from '../emulator/bits.ts';
import { PteCursor } from './apply-range.ts';
import { type Activity, finish } from './context.ts';
import type { InitMm } from './init-mm.ts';
import { ptepGetAndClear } from './pte.ts';
import { flushTlbKernelRangeSteps, type TlbControl } from './tlb-control.ts';

/** include/linux/vmalloc.h */
export const VM_USERMAP = 0x8;
export const VM_NO_GUARD = 0x40;
export const VM_SPARSE = 0x1000;

/** struct vm_struct. `size` is in bytes and includes the guard page. */
export interface VmStruct {
  readonly addr: VirtAddr;
  readonly size: number;
  readonly flags: number;
}

export class Vmalloc {
  private readonly mm: InitMm;
  private readonly tlb: TlbControl;
  private readonly start: VirtAddr;
  private readonly end: VirtAddr;
  /** By address. */
  private readonly areas: VmStruct[] = [];

  /** @param start VMALLOC_START and @param end VMALLOC_END (exclusive), page boundaries */
  constructor(mm: InitMm, tlb: TlbControl, start: VirtAddr, end: VirtAddr) {
    this.mm = mm;
    this.tlb = tlb;
    this.start = start;
    this.end = end;
  }

  /** @kernel is_vmalloc_addr mm/vmalloc.c read */
  isVmallocAddr(addr: VirtAddr): boolean {
    const { isVmallocAddr: compiled } = this.mm.kernel.compiled ?? {};
    if (compiled) return finish(compiled(addr));
    return addr >= this.start && addr < this.end;
  }

  /** The area, guard page included, that holds `addr`. */
  findVmArea(addr: VirtAddr): VmStruct | null {
    return this.areas.find((a) => addr >= a.addr && addr < a.addr + BigInt(a.size)) ?? null;
  }

  /**
   * get_vm_area(size, flags): reserves addresses, and a guard page behind them unless VM_NO_GUARD is set.
   * @param size bytes, rounded up to pages. @param at the address wanted, a page boundary
   * @returns null if no gap fits, or if `at` is outside the range or taken
   * @kernel get_vm_area mm/vmalloc.c read
   */
  getVmArea(size: number, flags: number, at?: VirtAddr): VmStruct | null {
    const { getVmArea: compiled } = this.mm.kernel.compiled ?? {};
    return compiled ? finish(compiled(size, flags, at)) : this.getVmAreaNode(size, flags, at);
  }

  /**
   * __get_vm_area_node(), of the whole range.
   * @kernel __get_vm_area_node mm/vmalloc.c read
   */
  getVmAreaNode(size: number, flags: number, at?: VirtAddr): VmStruct | null {
    const { pageSize } = this.mm;
    const pages = Math.ceil(size / pageSize) + (flags & VM_NO_GUARD ? 0 : 1);
    const bytes = pages * pageSize;
    const position = at === undefined ? this.findGap(bytes) : this.gapAt(at, bytes);
    if (size <= 0 || position === null) return null;
    const before = position.index > 0 ? this.areas[position.index - 1] : null;
    const addr = at ?? (before ? endOf(before) : this.start);
    const area = { addr, size: bytes, flags };
    this.areas.splice(position.index, 0, area);
    return area;
  }

  /**
   * free_vm_area(): clears every PTE of the area, flushes the TLBs and gives the addresses back. Pages are the
   * caller's to free.
   * @throws Error for an area that is not in use
   * @kernel free_vm_area mm/vmalloc.c read - not lazily, and without warnings of entries neither none nor present
   */
  freeVmArea(area: VmStruct): Activity<void> {
    const { freeVmArea: compiled } = this.mm.kernel.compiled ?? {};
    return compiled ? compiled(area) : this.removeVmArea(area);
  }

  /**
   * remove_vm_area(). @throws Error for an area that is not in use
   * @kernel remove_vm_area mm/vmalloc.c read
   */
  *removeVmArea(area: VmStruct): Activity<void> {
    const { mm } = this;
    const index = this.areas.indexOf(area);
    if (index < 0) throw new Error(`free_vm_area: ${hex(area.addr)} is not an area`);
    const { kernel } = mm;
    const cursor = new PteCursor(mm, area.addr, area.size, false);
    while (cursor.next()) {
      if (kernel.stepping) yield { kind: 'pte', what: `vunmap ${hex(cursor.addr)}` };
      ptepGetAndClear(kernel, mm.ram, cursor.addr, cursor.ptep);
    }
    const what = 'flush_tlb_kernel_range of the area';
    yield* flushTlbKernelRangeSteps(kernel, this.tlb, area.addr, endOf(area), what);
    this.areas.splice(this.areas.indexOf(area), 1);
  }

  /** Index at which an area in the lowest gap of `bytes` would be inserted. */
  private findGap(bytes: number): { index: number } | null {
    let from: bigint = this.start;
    for (let index = 0; index <= this.areas.length; index++) {
      const to = index < this.areas.length ? this.areas[index].addr : this.end;
      if (to - from >= BigInt(bytes)) return { index };
      if (index < this.areas.length) from = endOf(this.areas[index]);
    }
    return null;
  }

  private gapAt(at: VirtAddr, bytes: number): { index: number } | null {
    const aligned = at % BigInt(this.mm.pageSize) === 0n;
    if (!aligned || at < this.start || at + BigInt(bytes) > this.end) return null;
    const index = this.areas.findIndex((area) => endOf(area) > at);
    if (index < 0) return { index: this.areas.length };
    return this.areas[index].addr >= at + BigInt(bytes) ? { index } : null;
  }
}

const endOf = (area: VmStruct): VirtAddr => u64(area.addr + BigInt(area.size)) as VirtAddr;
