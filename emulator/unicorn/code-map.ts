// The code that a vCPU has fetched: which frames lie under which pages, where a run has to stop in it, and what the
// instructions there do. It reads RAM through the translations that the fetches were given, so that looking at code
// never walks a page table again.
import { virtAddr } from '../address.ts';
import {
  type AccessForm,
  type InstructionSet,
  type Interceptor,
  type Trap,
  type Witness,
  WRITE,
} from '../engine.ts';
import type { Ram } from '../ram.ts';

const PAGE = 4096;
const MAX_INSTRUCTION = 16;
const NO_BYTES = new Uint8Array(0);
const EVERY_OFFSET = Array.from({ length: PAGE }, (_, at) => at);
const INTERCEPT: Trap = { action: 'intercept' };

interface CodePage {
  readonly pa: number;
  /** Addresses of what the core does not survive translating. */
  readonly fatal: readonly bigint[];
}

/** Number of the virtual page of an address. */
const pageOf = (va: bigint): number => Number(va >> 12n);

/** Callbacks give addresses as int64, elsewhere they are unsigned. */
const unsigned = (va: number | bigint): bigint => BigInt.asUintN(64, BigInt(va));

export class CodeMap {
  /** Frames fetched from since {@link clear}, or ever. */
  readonly executedFrames = new Set<number>();
  /** Where translation itself must end. */
  readonly fatal = new Set<bigint>();
  /** Addresses at which a run ends before executing. */
  exits: ReadonlySet<bigint> = new Set();
  interceptor: Interceptor | null = null;
  /** Told of each instruction before the core translates it, which then happens to no other at the same time. */
  witness: Witness | null = null;
  private readonly ram: Ram;
  private readonly instructions: InstructionSet;
  private readonly pages = new Map<number, CodePage>();
  /**
   * By physical address, what each frame held when it was first fetched from since {@link forget}: the core keeps what it
   * translated of a frame that is mapped no more.
   */
  private readonly copies = new Map<number, Uint8Array>();
  private readonly forms = new Map<bigint, readonly AccessForm[]>();
  // The last answer from there: a loop that faults asks again and again.
  private lastAt = 0n;
  private lastForms: readonly AccessForm[] | null = null;
  private readonly translatedAt = new Set<number | bigint>();

  constructor(ram: Ram, instructions: InstructionSet) {
    this.ram = ram;
    this.instructions = instructions;
  }

  /** The frame under a page that was fetched from; -1 if it never was. */
  frameOf(page: number): number {
    return this.pages.get(page)?.pa ?? -1;
  }

  /**
   * A page was made fetchable.
   * @param page its number. @param pa physical address of its frame
   * @returns true if {@link fatal} changed
   */
  fetched(page: number, pa: number): boolean {
    this.executedFrames.add(pa / PAGE);
    const old = this.pages.get(page);
    if (old?.pa === pa) return false;
    if (old) this.forgetForms();
    return this.scan(page, pa, old);
  }

  /** True unless all code is byte for byte what it was when it was translated. The core itself notices what it stores. */
  differs(): boolean {
    const { bytes, base } = this.ram;
    for (const [pa, copy] of this.copies) {
      const at = pa - base;
      if (Buffer.compare(bytes.subarray(at, at + PAGE), copy) !== 0) return true;
    }
    return false;
  }

  /** The code may have changed. @returns true if {@link fatal} changed */
  forget(): boolean {
    this.forgetForms();
    this.translatedAt.clear();
    this.copies.clear();
    let changed = false;
    for (const [page, old] of this.pages) changed = this.scan(page, old.pa, old) || changed;
    return changed;
  }

  /** As if nothing had ever been fetched. */
  clear(): void {
    this.forgetForms();
    this.translatedAt.clear();
    this.copies.clear();
    this.executedFrames.clear();
    this.pages.clear();
    this.fatal.clear();
  }

  /** The core may translate the instruction at `va`, which was in {@link fatal}. */
  admit(va: bigint): void {
    this.fatal.delete(va);
    this.witness?.(virtAddr(va), this.instruction(va));
  }

  private scan(page: number, pa: number, old: CodePage | undefined): boolean {
    const code = this.ram.bytes.subarray(pa - this.ram.base, pa - this.ram.base + PAGE);
    const base = BigInt(page) << 12n;
    const offsets = this.witness ? EVERY_OFFSET : this.instructions.fatal(code);
    const fatal = offsets.map((at) => base + BigInt(at));
    this.pages.set(page, { pa, fatal });
    if (!this.copies.has(pa)) this.copies.set(pa, code.slice());
    for (const va of old?.fatal ?? []) this.fatal.delete(va);
    for (const va of fatal) this.fatal.add(va);
    return fatal.length > 0 || (old?.fatal.length ?? 0) > 0;
  }

  /** Up to `length` bytes of code at `va`, fewer where the following page was never fetched. */
  bytes(va: bigint, length: number): Uint8Array {
    const offset = Number(va & 0xfffn);
    const first = this.within(va, Math.min(length, PAGE - offset));
    if (offset + length <= PAGE || first.length === 0) return first;
    const second = this.within(va + BigInt(PAGE - offset), length - (PAGE - offset));
    const all = new Uint8Array(first.length + second.length);
    all.set(first);
    all.set(second, first.length);
    return all;
  }

  private within(va: bigint, length: number): Uint8Array {
    const page = this.pages.get(pageOf(va));
    if (!page) return NO_BYTES;
    const at = page.pa - this.ram.base + Number(va & 0xfffn);
    return this.ram.bytes.subarray(at, at + length);
  }

  /** A copy of the one instruction at `va`; of up to 16 bytes if its length cannot be told. */
  instruction(va: bigint): Uint8Array {
    const code = this.bytes(va, MAX_INSTRUCTION);
    const length = this.instructions.length(code);
    return Uint8Array.from(length > 0 ? code.subarray(0, length) : code);
  }

  trap(va: bigint): Trap | null {
    const code = this.bytes(va, MAX_INSTRUCTION);
    return this.interceptor?.wants(code) ? INTERCEPT : this.instructions.trap(code);
  }

  accesses(va: bigint): readonly AccessForm[] {
    if (va === this.lastAt && this.lastForms !== null) return this.lastForms;
    let forms = this.forms.get(va);
    if (forms === undefined) {
      forms = this.instructions.accesses(this.bytes(va, MAX_INSTRUCTION));
      this.forms.set(va, forms);
    }
    this.lastAt = va;
    this.lastForms = forms;
    return forms;
  }

  private forgetForms(): void {
    this.forms.clear();
    this.lastForms = null;
  }

  /** Lengths of the instructions in [va, va + size). What cannot be decoded counts as one instruction to the end. */
  lengths(va: number | bigint, size: number): number[] {
    const code = this.bytes(unsigned(va), size);
    const lengths: number[] = [];
    for (let at = 0; at < size; ) {
      const length = this.instructions.length(code.subarray(at));
      lengths.push(length > 0 ? Math.min(length, size - at) : size - at);
      at += lengths[lengths.length - 1];
    }
    return lengths;
  }

  /** True if the last of these instructions may go on elsewhere than behind itself. */
  endsInJump(code: Uint8Array): boolean {
    for (let at = 0; at < code.length; ) {
      const length = this.instructions.length(code.subarray(at));
      if (length === 0 || at + length >= code.length) {
        return this.instructions.jumps(code.subarray(at));
      }
      at += length;
    }
    return false;
  }

  /** Index of the first of these instructions at which a run has to stop; -1 if there is none. */
  barrier(va: number | bigint, lengths: readonly number[]): number {
    let at = unsigned(va);
    for (let i = 0; i < lengths.length; i++) {
      if (this.exits.has(at) || this.trap(at) !== null) return i;
      at += BigInt(lengths[i]);
    }
    return -1;
  }

  /** True if the core makes a store of one of these instructions in pieces, which must be taken back at a fault. */
  storesInPieces(va: number | bigint, lengths: readonly number[]): boolean {
    let at = unsigned(va);
    return lengths.some((length) => {
      const forms = this.accesses(at);
      at += BigInt(length);
      return forms.some((form) => form.kind === WRITE && form.exact && form.unit < form.size);
    });
  }

  repeats(va: number | bigint): boolean {
    return this.instructions.repeats(this.bytes(unsigned(va), MAX_INSTRUCTION));
  }

  /** Told of each frame that a block was translated from, before it runs. */
  onTranslated: (pa: number) => void = () => {};

  /** @param size bytes of the block */
  translated(va: number | bigint, size: number): void {
    const at = unsigned(va);
    const first = this.frameOf(pageOf(at));
    const last = this.frameOf(pageOf(at + BigInt(Math.max(size, 1) - 1)));
    if (first >= 0) this.onTranslated(first);
    if (last >= 0 && last !== first) this.onTranslated(last);
    // Translated twice: the guest may have rewritten it.
    if (this.translatedAt.has(va)) this.forgetForms();
    else this.translatedAt.add(va);
  }
}
