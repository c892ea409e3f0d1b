// Event costs at the grain `exact`: every access goes through TLBs and caches. The engine tells of physical addresses;
// which page an access went through is known because a frame is never cached there under two pages at once.

import { type VirtAddr, virtAddr } from '../emulator/address.ts';
import { hi32, lo32 } from '../emulator/bits.ts';
import type { KnobValues } from '../emulator/cost/knobs.ts';
import { MemoryModel } from '../emulator/cost/memory.ts';
import { type AccessKind, type Cpu, FETCH, READ, type Translator } from '../emulator/engine.ts';
import type { KernelWork } from '../mm/context.ts';
import type { Paging } from '../mm/paging.ts';
import { EventCosts, type RecordedWalk } from './event-costs.ts';

const FRAME = 4096;
const PAGES_PER_HI = 2 ** 20;

export class ExactCosts extends EventCosts {
  private readonly memory: MemoryModel;
  private readonly paging: Paging;
  /** Page under which the engine reaches each frame. */
  private readonly pageOf = new Map<number, number>();

  constructor(values: KnobValues, work: KernelWork, paging: Paging) {
    super(values, work);
    this.paging = paging;
    this.memory = new MemoryModel(
      values,
      (knob, cycles) => this.add(knob, 1, cycles),
      (page) => this.walkAgain(page),
    );
  }

  override walk(hi: number, lo: number, walk: RecordedWalk): void {
    super.walk(hi, lo, walk);
    this.memory.translated(pageNumber(hi, lo));
  }

  override invalidated(): void {
    super.invalidated();
    this.memory.invalidated();
  }

  /** The translator of a vCPU, seen: accesses before a translation are charged before it changes anything. */
  watch(translator: Translator, cpu: () => Cpu): Translator {
    const { pageOf } = this;
    return {
      translate(hi: number, lo: number, kind: AccessKind): boolean {
        if (kind !== FETCH) cpu().drainAccesses();
        if (!translator.translate(hi, lo, kind)) return false;
        const frame = Math.floor(translator.pa / FRAME);
        const page = pageNumber(hi, lo);
        const before = pageOf.get(frame);
        // Data beside code is read through the fetch's own entry.
        if (kind === FETCH && before !== undefined) return true;
        if (before !== undefined && before !== page) cpu().flushTlbPage(addressOf(before));
        pageOf.set(frame, page);
        return true;
      },
      get pa() {
        return translator.pa;
      },
      get perms() {
        return translator.perms;
      },
    };
  }

  /** One access of the program, as the engine tells of it. */
  readonly access = (pa: number, size: number, write: boolean): void => {
    const page = this.pageOf.get(Math.floor(pa / FRAME));
    if (page !== undefined) this.memory.access(page, pa, size, write);
  };

  protected override entryCycles(walk: RecordedWalk, step: number): number {
    return this.memory.entry(walk.entryAddr(step));
  }

  /** The modelled TLB still holds what this one has lost: the tables are read without effects. */
  private walkAgain(page: number): void {
    const va = addressOf(page);
    const hi = hi32(va);
    const lo = lo32(va);
    if (this.paging.walk(hi, lo, READ, false)) this.walk(hi, lo, this.paging.record);
  }
}

const pageNumber = (hi: number, lo: number): number => hi * PAGES_PER_HI + (lo >>> 12);
const addressOf = (page: number): VirtAddr => virtAddr(BigInt(page) * BigInt(FRAME));
