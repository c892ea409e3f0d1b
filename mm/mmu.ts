// The MMU of one vCPU: the engine asks it for a page, it answers from the TLB or by a walk. It knows no architecture: the
// paging unit walks and judges, the TLB remembers, and whoever runs a TLB instruction calls the operations here.
// Left out: memory attributes. Whether a physical address lies in RAM is for the engine to say.
//
// The engine's own cache of translations stands in front of the TLB and must hold nothing that the TLB has dropped, or
// a flush in the model would leave the guest on the old page. So every drop is passed on (MmuListener).
import type { VirtAddr } from '../emulator/address.ts';
import { hi32, join, lo32 } from '../emulator/bits.ts';
import { type AccessKind, READ, type Translator } from '../emulator/engine.ts';
import type { EventSink } from '../emulator/events.ts';
import { GRANTED, NO_RIGHTS, type Paging, REFUSED, RIGHTS_DIRTY } from './paging.ts';
import { MISS, NEGATIVE_PAGE, Tlb, type TlbEntry, type TlbPolicy, type TlbShape } from './tlb.ts';

/** Who caches what the MMU answers. */
export interface MmuListener {
  /** One page of 2^`shift` bytes at `va` is no longer valid. */
  onEvict(va: VirtAddr, shift: number): void;
  /** Nothing that was answered before is valid. */
  onEvictAll(): void;
}

/** Who charges what the MMU does. */
export interface MmuObserver {
  /** The tables were walked for a translation; the paging unit's record has the entries. */
  walked(hi: number, lo: number): void;
  /** An operation dropped translations. */
  invalidated(): void;
}

export interface MmuOptions {
  readonly paging: Paging;
  readonly tlb: TlbShape;
  readonly policy?: TlbPolicy;
  readonly listener?: MmuListener;
  readonly events?: EventSink;
  /** Number of the vCPU, for events. */
  readonly cpu?: number;
}

/** How an entry differs from what a walk finds now: the page is gone, another one, or has other rights. */
export type Staleness = 'gone' | 'moved' | 'rights';

/** A TLB entry beside the tables of now, for people and JSON. */
export interface TlbReport extends TlbEntry {
  /** The rights in words: see {@link Paging.describeRights}. */
  readonly rightsText: string;
  /** False for an entry of another address space. */
  readonly answers: boolean;
  /** Of one that answers: null if it is up to date. */
  readonly stale: Staleness | null;
}

const TWO_32 = 2 ** 32;

export class Mmu implements Translator {
  readonly paging: Paging;
  readonly tlb: Tlb;
  private readonly listener: MmuListener | null;
  private readonly events: EventSink | null;
  private readonly cpu: number;
  /** During an operation that ends with onEvictAll. */
  private quiet = false;

  pa = 0;
  perms = 0;
  /** Of the last translation that was refused: see {@link Paging.faultVector}. */
  faultVector = 0;
  faultCode = 0;
  /** {@link faultCode} as a bigint, which is made anew only for another one. */
  get faultCodeWord(): bigint {
    if (this.codeOfWord !== this.faultCode) {
      this.codeOfWord = this.faultCode;
      this.codeWord = BigInt(this.faultCode);
    }
    return this.codeWord;
  }

  private codeWord = 0n;
  private codeOfWord = 0;
  /** Kind of access of the last translation that was refused. */
  faultKind: AccessKind = READ;
  /** Whether the last translation was answered by the TLB, refusals included. */
  hit = false;
  observer: MmuObserver | null = null;
  /** TLB misses so far. They depend on the program alone; hits do not (mm/tlb.ts) and are not counted. */
  misses = 0;

  constructor(options: MmuOptions) {
    this.paging = options.paging;
    this.listener = options.listener ?? null;
    this.events = options.events ?? null;
    this.cpu = options.cpu ?? 0;
    this.tlb = new Tlb(options.tlb, options.policy, (hi, lo, shift) => this.evicted(hi, lo, shift));
  }

  translate(hi: number, lo: number, kind: AccessKind): boolean {
    const { paging, tlb } = this;
    if (!paging.translating) return this.walk(hi, lo, kind);
    const bare = paging.untag(hi, kind);
    const slot = tlb.lookup(bare, lo, paging.space);
    if (slot === MISS) {
      this.misses++;
      return this.walk(hi, lo, kind);
    }
    const grant = paging.grant(tlb.rights(slot), bare, lo, kind);
    if (grant === GRANTED) {
      this.hit = true;
      this.pa = tlb.pageAddr(slot) + frameOffset(bare, lo, tlb.pageShift(slot));
      this.perms = paging.perms;
      return true;
    }
    if (grant === REFUSED) return this.refuseHit(bare, lo, kind, slot);
    return this.walk(hi, lo, kind);
  }

  /**
   * Compares the TLB's entry for an address, if there is one, with a walk made now without side effects. Dirty state
   * that was set meanwhile is no difference.
   * @returns null if there is no entry or it is up to date
   */
  staleness(va: VirtAddr): Staleness | null {
    const { paging, tlb } = this;
    const bare = paging.untag(hi32(va), READ);
    const slot = paging.translating ? tlb.lookup(bare, lo32(va), paging.space) : MISS;
    return slot === MISS ? null : this.stalenessOf(slot, va);
  }

  /** Every entry that covers an address; of several that answer, the first does. */
  tlbEntries(va: VirtAddr): TlbReport[] {
    const { paging, tlb } = this;
    return tlb.covering(paging.untag(hi32(va), READ), lo32(va)).map((slot) => {
      const entry = tlb.entry(slot);
      const answers = paging.translating && (entry.global || entry.space === paging.space);
      return {
        ...entry,
        rightsText: paging.describeRights(entry.rights),
        answers,
        stale: answers ? this.stalenessOf(slot, va) : null,
      };
    });
  }

  private stalenessOf(slot: number, va: VirtAddr): Staleness | null {
    const { paging, tlb } = this;
    const hi = hi32(va);
    const lo = lo32(va);
    const bare = paging.untag(hi, READ);
    const kept = tlb.rights(slot);
    const page = tlb.pageAddr(slot);
    paging.walk(hi, lo, READ, false);
    if (page === NEGATIVE_PAGE) return paging.found ? 'moved' : null;
    if (!paging.found) return 'gone';
    if (paging.pa !== page + pageOffset(bare, lo, tlb.pageShift(slot))) return 'moved';
    const changed = (kept ^ paging.rights) & ~RIGHTS_DIRTY;
    const undirtied = (kept & ~paging.rights & RIGHTS_DIRTY) !== 0;
    return changed !== 0 || undirtied ? 'rights' : null;
  }

  /**
   * An access that only asks: the TLB answers, or a walk without side effects, and nothing is remembered. A refusal that
   * was kept for one access is used up.
   * @returns false with `faultCode` set
   */
  probe(va: VirtAddr, kind: AccessKind): boolean {
    const { paging, tlb } = this;
    const hi = hi32(va);
    const lo = lo32(va);
    const bare = paging.untag(hi, kind);
    const slot = paging.translating ? tlb.lookup(bare, lo, paging.space) : MISS;
    if (slot !== MISS) {
      const grant = paging.grant(tlb.rights(slot), bare, lo, kind);
      if (grant === GRANTED) return true;
      if (grant === REFUSED) return this.refuseHit(bare, lo, kind, slot);
    }
    if (paging.walk(hi, lo, kind, false)) return true;
    this.faultCode = paging.faultCode;
    return false;
  }

  /**
   * Makes the TLB hold what a walk finds now and nothing else of the page: a translation, or for one access a refusal.
   * @param rights in the place of those that the walk found, for a refusal of another kind
   */
  hold(va: VirtAddr, kind: AccessKind, rights: number | null = null): void {
    const { paging, tlb } = this;
    const hi = hi32(va);
    const lo = lo32(va);
    const bare = paging.untag(hi, kind);
    this.forget(va);
    const found = paging.walk(hi, lo, kind, false) || paging.found;
    if (found && rights === null) this.remember(bare, lo, paging.pa);
    else {
      const { space, pageShift } = paging;
      tlb.insert(bare, lo, space, false, pageShift, NEGATIVE_PAGE, rights ?? paging.rights);
    }
  }

  /** The TLB drops its entries of a page by itself, as it may at any time. */
  forget(va: VirtAddr): void {
    this.dropPage(va, this.paging.space, true);
  }

  // ---- Operations. Each is what an instruction does; arch/*/tlb.ts maps instructions to them. ----

  /** See {@link Tlb.invalidatePage}. The engine forgets the page even if no entry covered it. */
  invalidatePage(va: VirtAddr, space: number, globals: boolean): void {
    this.tell('invalidatePage', va);
    this.observer?.invalidated();
    this.dropPage(va, space, globals);
  }

  private dropPage(va: VirtAddr, space: number, globals: boolean): void {
    this.tlb.invalidatePage(hi32(va), lo32(va), space, globals);
    this.listener?.onEvict((va & ~0xfffn) as VirtAddr, 12);
  }

  /** See {@link Tlb.invalidateSpace}. */
  invalidateSpace(space: number, globals: boolean): void {
    this.tell('invalidateSpace', null);
    this.quietly(() => this.tlb.invalidateSpace(space, globals));
  }

  invalidateAll(): void {
    this.tell('invalidateAll', null);
    this.quietly(() => this.tlb.invalidateAll());
  }

  /**
   * What earlier answers allowed no longer holds, though no entry is dropped: another address space, or a privilege,
   * flag or key that the engine's cache does not know of.
   */
  rightsChanged(): void {
    this.listener?.onEvictAll();
  }

  // ---- Within a translation ----

  private walk(hi: number, lo: number, kind: AccessKind): boolean {
    const { paging } = this;
    this.hit = false;
    if (this.events?.walks) this.tellWalk(hi, lo, kind);
    const found = paging.walk(hi, lo, kind, true);
    if (paging.translating) this.observer?.walked(hi, lo);
    if (!found) return this.refuseWalk(hi, lo, kind);
    this.pa = paging.pa - (lo & 0xfff);
    this.perms = paging.perms;
    if (paging.translating) this.remember(paging.untag(hi, kind), lo, paging.pa);
    return true;
  }

  private remember(hi: number, lo: number, pa: number): void {
    const { space, global, pageShift, rights } = this.paging;
    const page = pa - pageOffset(hi, lo, pageShift);
    this.tlb.insert(hi, lo, space, global, pageShift, page, rights);
  }

  private refuseWalk(hi: number, lo: number, kind: AccessKind): false {
    const { paging, tlb } = this;
    this.faultVector = paging.faultVector;
    this.faultCode = paging.faultCode;
    this.faultKind = kind;
    if (!paging.translating) return false;
    const bare = paging.untag(hi, kind);
    if (paging.faultInvalidates) tlb.invalidatePage(bare, lo, paging.space, true);
    if (tlb.policy.negative === 'on' && !paging.found && paging.rights !== NO_RIGHTS) {
      const { space, pageShift, rights } = paging;
      tlb.insert(bare, lo, space, false, pageShift, NEGATIVE_PAGE, rights);
    }
    return false;
  }

  private refuseHit(hi: number, lo: number, kind: AccessKind, slot: number): false {
    const { paging, tlb } = this;
    this.hit = true;
    const va = join(hi, lo) as VirtAddr;
    if (this.events?.on) {
      const stale = this.stalenessOf(slot, va) !== null;
      if (stale) this.events.emit({ type: 'staleRefusal', cpu: this.cpu, va });
      // The comparison has walked: the unit's answer is to be that of the entry, as if nobody had looked.
      paging.grant(tlb.rights(slot), hi, lo, kind);
    }
    this.faultVector = paging.faultVector;
    this.faultCode = paging.faultCode;
    this.faultKind = kind;
    if (paging.faultInvalidates) tlb.invalidatePage(hi, lo, paging.space, true);
    else if (tlb.pageAddr(slot) === NEGATIVE_PAGE) tlb.drop(slot);
    return false;
  }

  private evicted(hi: number, lo: number, shift: number): void {
    if (!this.quiet) this.listener?.onEvict(join(hi, lo) as VirtAddr, shift);
  }

  private quietly(operation: () => void): void {
    this.quiet = true;
    this.observer?.invalidated();
    operation();
    this.quiet = false;
    this.listener?.onEvictAll();
  }

  private tell(op: string, start: VirtAddr | null): void {
    if (!this.events?.on) return;
    this.events.emit({ type: 'tlb', cpu: this.cpu, op, start, end: start });
  }

  private tellWalk(hi: number, lo: number, kind: AccessKind): void {
    const va = join(hi, lo) as VirtAddr;
    for (const level of this.paging.inspect(va, kind).levels) {
      this.events!.emit({
        type: 'walkStep',
        cpu: this.cpu,
        va,
        level: level.level,
        table: level.table,
        index: level.index,
        entry: level.entry,
        bits: level.bits,
        verdict: level.verdict,
      });
    }
  }
}

/** Offset of an address in its page of 2^`shift` bytes. */
function pageOffset(hi: number, lo: number, shift: number): number {
  if (shift < 32) return lo & (-1 >>> (32 - shift));
  return (hi & ((1 << (shift - 32)) - 1)) * TWO_32 + lo;
}

/** Offset of an address's 4 KiB frame in its page. */
const frameOffset = (hi: number, lo: number, shift: number): number =>
  pageOffset(hi, lo, shift) - (lo & 0xfff);
