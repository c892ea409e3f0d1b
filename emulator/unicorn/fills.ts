// Answers the library's requests for translations from the translator that the vCPU was given, and keeps what was
// refused: the fault is worked out from it when the entry has ended (stops.ts), or repaired on the spot.
import { hi32, lo32 } from '../bits.ts';
import { type AccessKind, FETCH, PERM_W, PERM_X, type Translator } from '../engine.ts';
import type { Ram } from '../ram.ts';
import {
  answerFill,
  type Binding,
  dropCallback,
  makeCallback,
  type Piece,
  type Pointer,
  type SharedMemory,
} from './binding.ts';
import type { CodeMap } from './code-map.ts';
import { UC_HOOK_TLB_FILL, UC_MEM_READ } from './constants.ts';
import type { FlushPage } from './internals.ts';
import type { NativeCode } from './native-code.ts';

const TWO_32 = 2 ** 32;
const FRAME = 4096;
const NOTHING = -1;
// The layout that the native code knows, in 4-byte words.
const FILL_PA = 2;
const FILL_PERMS = 4;
const FLUSHES = 5;
const FLUSH_FUNCTION = 6;
const FLUSH_CPU = 8;
const FLUSH_MODES = 10;
const FLUSH_PAGES = 12;
const MAX_FLUSHES = 8;

/** Told of a refused data access while the instruction can still go on. @returns true if it may try again */
export type Recovery = (hi: number, lo: number, kind: AccessKind) => boolean;

/** What the fills ask of the core. */
export interface FillsOwner {
  /** True for a fetch of the library's own, after the end of what it was to run. */
  isStray(hi: number, lo: number): boolean;
  /** Instructions that must not be translated were found, or are gone. */
  fatalChanged(): void;
  /** Other code lies under an address that ran before. */
  codeMoved(): void;
}

export class Fills {
  /** Kind of the fill that the last entry was refused; -1 if none was. */
  refusedKind: AccessKind | typeof NOTHING = NOTHING;
  refusedHi = 0;
  refusedLo = 0;
  /** Why the engine cannot go on. */
  trouble: string | null = null;
  /** Set while a run lets faults be repaired. */
  recovery: Recovery | null = null;
  /** A fetch of the library's own got an answer of no meaning: cached translations are not to be kept. */
  strayed = false;
  /** Set while any address may be answered with the first frame. */
  anything = false;
  /** Our machine code is to flush pages when the callback has returned. */
  private flushes = false;
  private answering = false;
  /** 1 for each frame that the core may have written since {@link forgetWrites}, or ever. */
  private readonly writable: Uint8Array;
  /** Frames to which the library may store without asking. */
  private readonly storing: Uint8Array;
  private reconsidered = false;
  private pa = 0;
  private perms = 0;
  /** {@link fillHalves} is called, by our machine code. */
  private readonly native: boolean;
  private readonly data: Piece;
  private readonly callback: Pointer;
  private readonly owner: FillsOwner;
  private readonly ram: Ram;
  private readonly translator: Translator;
  private readonly code: CodeMap;

  constructor(
    owner: FillsOwner & {
      readonly binding: Binding;
      readonly handle: Pointer;
      readonly memory: SharedMemory;
    },
    ram: Ram,
    translator: Translator,
    code: CodeMap,
    native: NativeCode | null,
  ) {
    this.owner = owner;
    this.ram = ram;
    this.translator = translator;
    this.code = code;
    this.writable = new Uint8Array(ram.size / FRAME);
    this.storing = new Uint8Array(ram.size / FRAME);
    this.data = owner.memory.take(4 * (FLUSH_PAGES + 2 * MAX_FLUSHES));
    this.callback = native
      ? makeCallback('fillHalves', this.fillHalves)
      : makeCallback('fill', this.fill);
    this.native = native !== null;
    this.data.u64[0] = this.callback;
    const entry = native?.fill ?? this.callback;
    owner.binding.addHook(owner.handle, UC_HOOK_TLB_FILL, entry, this.data.bytes);
  }

  /** Tells the machine code how the pages of `cpu` are flushed. */
  flushWith({ address, modes }: FlushPage, cpu: Pointer): void {
    this.data.u64[FLUSH_FUNCTION / 2] = address;
    this.data.u64[FLUSH_CPU / 2] = cpu;
    this.data.u32[FLUSH_MODES] = modes;
    this.flushes = this.native;
  }

  /**
   * Has the machine code drop a page's translations before the core goes on, which costs a tenth of a call from here.
   * @returns false if that cannot be done: no fill is being answered
   */
  flushLater(va: bigint): boolean {
    if (!this.answering || !this.flushes) return false;
    const count = this.data.u32[FLUSHES];
    if (count === MAX_FLUSHES) return false;
    this.data.u64[FLUSH_PAGES / 2 + count] = va;
    this.data.u32[FLUSHES] = count + 1;
    return true;
  }

  /** An entry begins. */
  reset(): void {
    this.refusedKind = NOTHING;
    this.trouble = null;
    this.reconsidered = false;
  }

  /** First byte of the page that was refused. */
  refusedPage(): bigint {
    return (BigInt(this.refusedHi) << 32n) | BigInt((this.refusedLo & ~(FRAME - 1)) >>> 0);
  }

  /** A translation asked for outside a run, as the core would. @returns false if the access faults */
  probe(hi: number, lo: number, kind: AccessKind): boolean {
    return this.translator.translate(hi, lo, kind);
  }

  /** Physical address after a {@link probe} that succeeded; `lo` is the lower half of what was probed. */
  probedAddress(lo: number): number {
    return this.translator.pa + (lo & (FRAME - 1));
  }

  /** Looks at the page of `ip` as a fetch would. @returns false if that faults */
  learnCode(ip: bigint): boolean {
    if (!this.translator.translate(hi32(ip), lo32(ip), FETCH)) return false;
    const { pa } = this.translator;
    if (!this.ram.contains(pa, FRAME)) return false;
    this.fetch(Number(ip >> 12n), pa);
    return true;
  }

  /** True if the core may have stored into code that it ran: it need not be what was scanned, nor stay so. */
  mayWriteCode(): boolean {
    for (const frame of this.code.executedFrames) {
      if (this.writable[frame - this.ram.base / FRAME] !== 0) return true;
    }
    return false;
  }

  /** No cached translation lets the core write unasked any more. */
  forgetWrites(): void {
    this.writable.fill(0);
  }

  /** True if the library may store to the frame at `pa` without asking. It no longer counts then: drop its translations. */
  takeStoring(pa: number): boolean {
    const frame = (pa - this.ram.base) / FRAME;
    const storing = this.storing[frame] !== 0;
    this.storing[frame] = 0;
    return storing;
  }

  /** Has the fill under way refused, so that its instruction does nothing and can be begun again. */
  reconsider(): void {
    this.reconsidered = true;
  }

  /** True if {@link reconsider} ended the last entry; reading it resets it. */
  takeReconsidered(): boolean {
    const { reconsidered } = this;
    this.reconsidered = false;
    return reconsidered;
  }

  close(): void {
    dropCallback(this.callback);
  }

  /** The hook without machine code. Addresses come as int64: canonical ones of both halves as Number. */
  private readonly fill = (
    _uc: Pointer,
    address: number | bigint,
    type: number,
    result: Pointer,
  ): boolean => {
    const small = typeof address === 'number';
    const hi = small ? Math.floor(address / TWO_32) >>> 0 : hi32(address);
    const lo = small ? address >>> 0 : lo32(address);
    if (!this.answer(hi, lo, type)) return false;
    answerFill(result, this.pa, this.perms);
    return true;
  };

  /** The same, asked by our machine code, which takes the answer from {@link data}. */
  private readonly fillHalves = (hi: number, lo: number, type: number): boolean => {
    this.answering = true;
    try {
      if (!this.answer(hi, lo, type)) return false;
    } finally {
      this.answering = false;
    }
    this.data.u32[FILL_PA] = this.pa >>> 0;
    this.data.u32[FILL_PA + 1] = this.pa / TWO_32;
    this.data.u32[FILL_PERMS] = this.perms;
    return true;
  };

  /** Sets {@link pa} and {@link perms}. @returns false if the access faults */
  private answer(hi: number, lo: number, type: number): boolean {
    const kind = (type - UC_MEM_READ) as AccessKind;
    if (this.anything) return this.answerAnything();
    if (kind === FETCH && (this.refusedKind !== NOTHING || this.owner.isStray(hi, lo))) {
      // A refusal would change what the entry returns.
      this.strayed = true;
      return this.answerAnything();
    }
    const { translator } = this;
    const allowed = translator.translate(hi, lo, kind);
    // A refusal stands, whatever was dropped with it: the entry ends here, and the next one asks again.
    if (!allowed) this.reconsidered = false;
    const ok = allowed || this.recover(hi, lo, kind);
    const { pa } = translator;
    const reaches = ok && this.ram.contains(pa, FRAME);
    if (!reaches || this.reconsidered) {
      if (ok && !reaches) this.trouble = `physical address 0x${pa.toString(16)} is outside RAM`;
      this.refusedKind = kind;
      this.refusedHi = hi;
      this.refusedLo = lo;
      return false;
    }
    this.pa = pa;
    this.perms = translator.perms;
    if (kind === FETCH) this.fetch(hi * 0x10_0000 + (lo >>> 12), pa);
    // The library would fetch from the page without asking.
    else if (!this.code.executedFrames.has(pa / FRAME)) this.perms &= ~PERM_X;
    if (this.perms & PERM_W) {
      this.writable[(pa - this.ram.base) / FRAME] = 1;
      this.storing[(pa - this.ram.base) / FRAME] = 1;
    }
    return true;
  }

  private answerAnything(): true {
    this.pa = this.ram.base;
    this.perms = PERM_X;
    return true;
  }

  /** Fetches cannot be repaired here: the x86 translator reads ahead, and this one may never be wanted. */
  private recover(hi: number, lo: number, kind: AccessKind): boolean {
    if (kind === FETCH || this.recovery === null || this.reconsidered) return false;
    while (this.recovery(hi, lo, kind)) {
      if (this.translator.translate(hi, lo, kind)) return true;
    }
    return false;
  }

  private fetch(page: number, pa: number): void {
    const old = this.code.frameOf(page);
    const first = old < 0 && page === 0;
    if (this.code.fetched(page, pa) || first) this.owner.fatalChanged();
    if (old >= 0 && old !== pa) this.owner.codeMoved();
  }
}
