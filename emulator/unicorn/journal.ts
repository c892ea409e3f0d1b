// Remembers what stores near the end of a page replaced. The core makes a wide store in pieces, and when a later piece
// falls on a page that is refused, the earlier ones are already in memory; hardware has written nothing then. The
// journal takes them back. Left out: registers that a wide load had filled before its second page was refused.
import type { AccessForm } from '../engine.ts';
import type { Ram } from '../ram.ts';
import {
  addressOf,
  type Binding,
  dropCallback,
  makeCallback,
  type Pointer,
  type SharedMemory,
} from './binding.ts';
import { UC_HOOK_MEM_WRITE } from './constants.ts';
import type { StoreHooks } from './internals.ts';
import type { NativeCode } from './native-code.ts';

// The layout that the native code knows.
const HEAD = 0;
const HOST_OF_ZERO = 8;
const RING = 64;
const ENTRY = 32;
/** More than the pieces of the widest store, 512 bytes. */
const ENTRIES = 128;
const PAGE = 4096;
const WATCHED_FROM = 0xe00;

export class Journal {
  private readonly data: Uint8Array;
  private readonly words32: Uint32Array;
  private readonly words: BigUint64Array;
  private readonly ram: Ram;
  private readonly binding: Binding;
  private readonly uc: Pointer;
  private readonly native: NativeCode | null;
  private readonly switch: StoreHooks | null;
  private callback: Pointer | null = null;
  private hooked = false;
  /** What {@link StoreHooks} holds while stores are hooked; 0 before there was a hook. */
  on: Pointer = 0n;

  /** @param store the switch of the library's hooks, where it is known */
  constructor(
    memory: SharedMemory,
    binding: Binding,
    uc: Pointer,
    ram: Ram,
    native: NativeCode | null,
    store: StoreHooks | null,
  ) {
    const piece = memory.take(RING + ENTRIES * ENTRY);
    this.data = piece.bytes;
    this.words32 = piece.u32;
    this.words = piece.u64;
    this.binding = binding;
    this.uc = uc;
    this.ram = ram;
    this.native = native;
    this.switch = store;
    this.words[HOST_OF_ZERO / 8] = BigInt.asUintN(64, addressOf(ram.bytes) - BigInt(ram.base));
  }

  /** Where {@link on} or 0 is written to switch it; null where it stays on. */
  get switchAddress(): Pointer | null {
    return this.switch?.address ?? null;
  }

  /**
   * Notes the stores of what runs next, or does not. A hook makes each store of the core ten times slower, so it is
   * not even there before it is wanted.
   */
  record(wanted: boolean): void {
    if (wanted && !this.hooked) this.hook();
    if (this.hooked) this.switch?.set(wanted ? this.on : 0n);
  }

  private hook(): void {
    this.hooked = true;
    this.callback = this.native
      ? null
      : makeCallback('store', (_uc, _type, pa, size) => this.note(Number(pa), size));
    const entry = this.native?.store ?? this.callback!;
    this.binding.addHook(this.uc, UC_HOOK_MEM_WRITE, entry, this.data);
    this.on = this.switch?.get() ?? 0n;
  }

  /** The hook where there is no native code. */
  private note(pa: number, size: number): void {
    if (pa % PAGE < WATCHED_FROM) return;
    const entry = RING + (this.words32[HEAD / 4]++ % ENTRIES) * ENTRY;
    const last = pa + size - 1;
    this.words[entry / 8] = BigInt(pa);
    this.words32[entry / 4 + 2] = size;
    this.words[entry / 8 + 2] = this.ram.read64(pa - (pa % 8));
    this.words[entry / 8 + 3] = this.ram.read64(last - (last % 8));
  }

  /**
   * Takes back what a store wrote below the end of its first page, before its second was refused.
   * @param pa physical address of the store's first byte
   */
  undo(pa: number, form: AccessForm): void {
    const end = pa - (pa % PAGE) + PAGE;
    // The first piece itself crosses: the core asks for both pages before it writes.
    if (pa + form.unit > end) return;
    const head = this.words32[HEAD / 4];
    for (let back = 1; back <= Math.min(ENTRIES, head); back++) {
      const entry = RING + ((head - back) % ENTRIES) * ENTRY;
      const at = Number(this.words[entry / 8]);
      // Pieces are written upwards, so the latest one at the start is the first of this store.
      if (at < pa || at >= end) return;
      this.putBack(entry, at, end);
      if (at === pa) return;
    }
  }

  private putBack(entry: number, at: number, end: number): void {
    const size = this.words32[entry / 4 + 2];
    const first = at - (at % 8);
    for (let i = at; i < Math.min(at + size, end); i++) {
      const word = i < first + 8 ? entry + 16 : entry + 24;
      this.ram.bytes[i - this.ram.base] = this.data[word + (i % 8)];
    }
  }

  /** To be called before the engine is closed, which frees its hooks. */
  beforeClose(): void {
    if (this.hooked) this.switch?.set(this.on);
  }

  close(): void {
    if (this.callback !== null) dropCallback(this.callback);
  }
}
