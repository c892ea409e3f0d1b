// Pages of arenas that were allocated and given back while the run went on: the tables do not remember them.
import type { PteChangeEvent } from '../../emulator/events.ts';
import { arenaAt } from '../places.ts';
import type { WorldRun } from '../run.ts';

export class FreedPages {
  private readonly run: WorldRun;
  /** By arena, a byte for each page that was. */
  private readonly pages = new Map<string, Uint8Array>();

  constructor(run: WorldRun) {
    this.run = run;
  }

  has(arena: string, page: number): boolean {
    return this.pages.get(arena)?.[page] === 1;
  }

  /** Pages of an arena that were freed, in ascending order. */
  *of(arena: string): Generator<number> {
    for (const [page, was] of (this.pages.get(arena) ?? []).entries()) if (was) yield page;
  }

  note({ va, before, after }: PteChangeEvent): void {
    if (after !== 0n || before === 0n) return;
    const { kernel, places } = this.run;
    const place = arenaAt(va, places);
    if (place === null || !kernel.mm.format.ptePresent(before)) return;
    if (kernel.mm.format.ptePfn(before) === kernel.arenas.get(place.name)?.scratchPage) return;
    const page = Number((va - place.kbase) / BigInt(place.pageSize));
    let pages = this.pages.get(place.name);
    if (pages === undefined) {
      pages = new Uint8Array(2 ** 32 / place.pageSize + 64);
      this.pages.set(place.name, pages);
    }
    pages[page] = 1;
  }
}
