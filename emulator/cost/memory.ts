// Caches and TLB reach, access by access: three levels of cache by physical line, two of TLB by virtual page, all of
// them replacing what was not used for the longest time. Approximate: every load that misses is waited for, so
// independent misses, which hardware overlaps, are an upper bound; nothing is fetched ahead; stores wait for nothing;
// caches begin cold and hold data alone.
import type { KnobName, KnobValues } from './knobs.ts';
import { SetCache } from './set-cache.ts';

/** Told what an access cost beyond a hit in the first level, which the block model has. */
export type ChargeAccess = (knob: KnobName, cycles: number) => void;

export class MemoryModel {
  private readonly values: KnobValues;
  private readonly charge: ChargeAccess;
  private readonly l1: SetCache;
  private readonly l2: SetCache;
  private readonly l3: SetCache;
  private readonly dtlb: SetCache;
  private readonly stlb: SetCache;
  private readonly walk: (page: number) => void;

  /** @param walk charges a page-table walk for a page that no TLB holds */
  constructor(values: KnobValues, charge: ChargeAccess, walk: (page: number) => void) {
    this.values = values;
    this.charge = charge;
    this.walk = walk;
    const cache = (bytes: number, ways: number) =>
      new SetCache(Math.max(1, Math.floor(bytes / values.lineBytes)), ways);
    this.l1 = cache(values.l1Bytes, values.l1Ways);
    this.l2 = cache(values.l2Bytes, values.l2Ways);
    this.l3 = cache(values.l3Bytes, values.l3Ways);
    this.dtlb = new SetCache(values.dtlbEntries, values.dtlbWays);
    this.stlb = new SetCache(values.stlbEntries, values.stlbWays);
  }

  /**
   * One access of the program.
   * @param page number of the virtual page
   * @param pa physical address
   * @param size bytes
   */
  access(page: number, pa: number, size: number, write: boolean): void {
    if (!this.dtlb.touch(page)) {
      if (this.stlb.touch(page)) this.charge('stlbHit', this.values.stlbHit);
      else this.walk(page);
    }
    const { lineBytes } = this.values;
    const last = Math.floor((pa + size - 1) / lineBytes);
    for (let line = Math.floor(pa / lineBytes); line <= last; line++) {
      const level = this.level(line);
      if (level !== 'l1Hit' && !write) {
        this.charge(level, Math.max(0, this.values[level] - this.values.l1Hit));
      }
    }
  }

  /** A translation was made and charged elsewhere: the TLBs hold it. */
  translated(page: number): void {
    this.dtlb.touch(page);
    this.stlb.touch(page);
  }

  /** One entry of a page table, read by a walk. @returns cycles to it */
  entry(pa: number): number {
    return this.values[this.level(Math.floor(pa / this.values.lineBytes))];
  }

  /** Translations were dropped: of which pages is not followed. */
  invalidated(): void {
    this.dtlb.clear();
    this.stlb.clear();
  }

  private level(line: number): 'l1Hit' | 'l2Hit' | 'l3Hit' | 'memory' {
    if (this.l1.touch(line)) return 'l1Hit';
    if (this.l2.touch(line)) return 'l2Hit';
    return this.l3.touch(line) ? 'l3Hit' : 'memory';
  }
}
