// What compiled code in a modelled function's place may not do unseen: while it runs, page tables are read-only to the
// core and structures of the model are not there, so that each access to them stops it. Whoever runs the code looks at the
// access and lets it through, alone. The direct map and the array of struct page are made here page by page, when the
// code first reaches them: whole ones would cost the tables of all memory.
import { FRAME_SIZE } from '../../emulator/address.ts';
import { join } from '../../emulator/bits.ts';
import {
  type AccessKind,
  FETCH,
  PERM_W,
  READ,
  type Translator,
  WRITE,
} from '../../emulator/engine.ts';

/** What lies in a frame. */
export type Watched = 'table' | 'structure' | null;

/** An access that was stopped. */
export interface Caught {
  /** Of its first byte that lies in the frame. */
  readonly va: bigint;
  readonly pa: number;
  readonly kind: AccessKind;
  readonly watched: Watched;
}

/** What the watch asks of the kernel around it. */
export interface WatchHost {
  watched(frame: number): Watched;
  /** Maps the page of an address that a running kernel would have mapped. @returns false: it is none */
  provide(va: bigint): boolean;
  /** Does something that no reader of events hears of. */
  silently(action: () => boolean): boolean;
}

export class GuestWatch implements Translator {
  pa = 0;
  perms = 0;
  /** Compiled code runs. */
  on = false;
  /** Reads of page tables stop it as well. */
  seesReads = false;
  host: WatchHost | null = null;
  /** Frames that the present instruction may touch. */
  readonly granted = new Set<number>();
  private caught: Caught | null = null;
  private readonly inner: Translator;

  constructor(inner: Translator) {
    this.inner = inner;
  }

  translate(hi: number, lo: number, kind: AccessKind): boolean {
    const { inner, host } = this;
    if (!this.on || host === null) {
      if (!inner.translate(hi, lo, kind)) return false;
      this.pa = inner.pa;
      this.perms = inner.perms;
      return true;
    }
    if (!inner.translate(hi, lo, kind) && !this.translateProvided(hi, lo, kind)) return false;
    const { pa } = inner;
    this.pa = pa;
    this.perms = inner.perms;
    const frame = Math.floor(pa / FRAME_SIZE);
    const watched = kind === FETCH || this.granted.has(frame) ? null : host.watched(frame);
    if (watched === null) return true;
    if (kind === READ && watched === 'table' && !this.seesReads) {
      this.perms &= ~PERM_W;
      return true;
    }
    this.caught = { va: join(hi, lo), pa: pa + (lo & 0xfff), kind, watched };
    return false;
  }

  /** The access that stopped the core at `va`; null if something else did. */
  take(va: bigint, kind: AccessKind): Caught | null {
    const { caught } = this;
    this.caught = null;
    if (caught === null || caught.va >> 12n !== va >> 12n) return null;
    if (caught.kind !== kind && !(caught.kind === WRITE || kind === WRITE)) return null;
    return { ...caught, va, pa: caught.pa - (caught.pa % FRAME_SIZE) + Number(va & 0xfffn) };
  }

  private translateProvided(hi: number, lo: number, kind: AccessKind): boolean {
    const { inner } = this;
    if (!this.host!.provide(join(hi, lo))) return false;
    const again = () => inner.translate(hi, lo, kind);
    // A TLB that keeps refusals refuses once more.
    return this.host!.silently(again) || again();
  }
}
