// The library's engine with everything hooked that a vCPU needs, and what its callbacks heard during the last entry.
// Why the entry ended is worked out in cpu.ts.

import { hi32, lo32 } from '../bits.ts';
import {
  type AccessForm,
  type AccessKind,
  type CpuDescription,
  FETCH,
  PERM_X,
  type Translator,
  WRITE,
} from '../engine.ts';
import type { Ram } from '../ram.ts';
import {
  answerFill,
  type Binding,
  dropCallback,
  makeCallback,
  type Pointer,
  SharedMemory,
  sharedBytes,
} from './binding.ts';
import { CodeMap } from './code-map.ts';
import * as uc from './constants.ts';
import {
  CpuWindow,
  FaultAddress,
  type FlushPage,
  flushPageFunction,
  type RegisterOffsets,
  StoreHooks,
} from './internals.ts';
import { Journal } from './journal.ts';
import type { NativeCode } from './native-code.ts';
import { type Recipe, recipeFor } from './recipes.ts';
import { RegisterFile } from './registers.ts';

const TWO_32 = 2 ** 32;
const FRAME = 4096;
const WARM_UP = 0x100;
const NOTHING = -1;
const FEW_EXITS = 8;
// The layout that the native code knows, in 4-byte words.
const FILL_PA = 2;
const FILL_PERMS = 4;

/** Short cuts that an engine may take. Without them the same things are done, slower. */
export interface Means {
  /** The library is the build whose inner offsets internals.ts has. */
  readonly internals: boolean;
  /** The library tells the faulting byte. */
  readonly faultAddress: boolean;
  /** Machine code of ours for hooks. */
  readonly native: NativeCode | null;
}

/** Offsets that were found right in this process, whose library with known offsets is always the same build. */
const believed = new Set<RegisterOffsets>();

/** Told of a refused data access while the instruction can still go on. @returns true if it may try again */
export type Recovery = (hi: number, lo: number, kind: AccessKind) => boolean;

export class Core {
  readonly binding: Binding;
  /** Shared with the library and our machine code. */
  readonly memory = new SharedMemory();
  readonly handle: Pointer;
  readonly recipe: Recipe;
  readonly registers: RegisterFile;
  readonly code: CodeMap;
  readonly journal: Journal;
  /** null where the library's inner offsets are not known. */
  readonly window: CpuWindow | null;
  readonly description: CpuDescription;
  /** A scratch context, of so many bytes. */
  readonly context: { readonly context: Pointer; readonly size: number };
  private readonly ram: Ram;
  private readonly translator: Translator;
  private readonly callbacks: Pointer[] = [];
  private readonly faultAddress: FaultAddress | null;
  private readonly flushPage: FlushPage | null;
  /** Set while a run lets faults be repaired. */
  recovery: Recovery | null = null;
  /** Read by the clock instructions. */
  clock: () => number = () => 0;

  // What the last entry's callbacks heard.
  /** Kind of the refused fill; -1 if none was refused. */
  refusedKind: AccessKind | typeof NOTHING = NOTHING;
  refusedHi = 0;
  refusedLo = 0;
  /** Number of the exception; -1 if there was none. */
  exception = NOTHING;
  /** Why the engine cannot go on, if a callback says so. */
  trouble: string | null = null;

  constructor(
    binding: Binding,
    means: Means,
    description: CpuDescription,
    ram: Ram,
    translator: Translator,
  ) {
    this.binding = binding;
    this.description = description;
    this.ram = ram;
    this.translator = translator;
    this.recipe = recipeFor(description);
    this.code = new CodeMap(ram, description.instructions);
    this.handle = binding.open(this.recipe.arch, this.recipe.mode);
    this.recipe.configure(binding, this.handle);
    binding.control(this.handle, uc.UC_CTL_TLB_TYPE, 'int', uc.UC_TLB_VIRTUAL);
    // With exits the address that a start names as its end means nothing; Unicorn would fetch from it.
    binding.control(this.handle, uc.UC_CTL_UC_USE_EXITS, 'int', 1);
    binding.mapRam(this.handle, ram.base, ram.bytes);
    this.hook(means.native);
    const store = means.internals ? new StoreHooks(this.handle) : null;
    this.journal = new Journal(this.memory, binding, this.handle, ram, means.native, store);
    this.registers = new RegisterFile(
      binding,
      this.handle,
      description,
      this.recipe.registers,
      this.memory,
    );
    this.recipe.initialise(this.registers);
    this.updateFatal();
    this.window = means.internals ? this.openWindow(description) : null;
    this.faultAddress = means.faultAddress ? new FaultAddress(this.handle) : null;
    this.flushPage = this.window && flushPageFunction(binding, this.recipe.suffix);
    this.context = binding.newContext(this.handle);
  }

  /** The window is believed if it shows what was just written, once for each architecture. */
  private openWindow(description: CpuDescription): CpuWindow | null {
    const { general, instructionPointer } = description;
    const known = this.recipe.offsets;
    const window = CpuWindow.open(this.handle, known);
    if (window === null || believed.has(known)) return window;
    const pattern = BigUint64Array.from(general, (_, i) => 0x5a5a_0000_1000n * BigInt(i + 1));
    const before = new BigUint64Array(general.length);
    this.registers.readGeneral(before);
    pattern[general.length - 1] = before[general.length - 1];
    this.registers.writeGeneral(pattern);
    const shows = window.shows(pattern, general.indexOf(instructionPointer));
    this.registers.writeGeneral(before);
    if (!shows) return null;
    believed.add(known);
    return window;
  }

  private hook(native: NativeCode | null): void {
    const { binding, handle, recipe } = this;
    this.hookFill(native);
    this.add('interrupt', uc.UC_HOOK_INTR, (_uc: Pointer, number: number) => {
      this.exception = number;
      binding.stop(handle);
    });
    for (const instruction of recipe.clocks) {
      this.add('instruction', uc.UC_HOOK_INSN, () => this.readClock(instruction), instruction);
    }
  }

  private add(
    kind: Parameters<typeof makeCallback>[0],
    hook: number,
    // biome-ignore lint/suspicious/noExplicitAny: each kind has its own parameters
    callback: (...args: any[]) => unknown,
    instruction: number | null = null,
  ): void {
    const pointer = makeCallback(kind, callback);
    this.callbacks.push(pointer);
    this.binding.addHook(this.handle, hook, pointer, null, instruction);
  }

  /** The clock is the count of instructions: the host's time would make runs differ. */
  private readClock(instruction: number): number {
    const now = BigInt(this.clock());
    this.registers.write('rax', now & 0xffff_ffffn);
    this.registers.write('rdx', now >> 32n);
    if (instruction === uc.UC_X86_INS_RDTSCP) this.registers.write('rcx', 0n);
    return 1;
  }

  /** The TLB-fill hook without machine code. Addresses come as int64: canonical ones of both halves as Number. */
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

  /** The same, asked by our machine code, which takes the answer from {@link fillData}. */
  private readonly fillHalves = (hi: number, lo: number, type: number): boolean => {
    if (!this.answer(hi, lo, type)) return false;
    this.fillData.u32[FILL_PA] = this.pa >>> 0;
    this.fillData.u32[FILL_PA + 1] = this.pa / TWO_32;
    this.fillData.u32[FILL_PERMS] = this.perms;
    return true;
  };

  /** Sets {@link pa} and {@link perms}. @returns false if the access faults */
  private answer(hi: number, lo: number, type: number): boolean {
    const kind = (type - uc.UC_MEM_READ) as AccessKind;
    if (this.warming) return this.answerAnything();
    if (kind === FETCH && this.afterTheEnd(hi, lo)) {
      // A refusal would change what the entry returns.
      this.tidied = true;
      return this.answerAnything();
    }
    const { translator } = this;
    const ok = translator.translate(hi, lo, kind) || this.recover(hi, lo, kind);
    if (!ok || this.reconsidered) {
      this.refusedKind = kind;
      this.refusedHi = hi;
      this.refusedLo = lo;
      return false;
    }
    const { pa } = translator;
    if (!this.ram.contains(pa, FRAME)) {
      this.trouble = `physical address 0x${pa.toString(16)} is outside RAM`;
      return false;
    }
    this.pa = pa;
    this.perms = translator.perms;
    if (kind === FETCH) this.fetch(hi * 0x10_0000 + (lo >>> 12), pa);
    // The library would fetch from the page without asking.
    else if (!this.code.executedFrames.has(pa / FRAME)) this.perms &= ~PERM_X;
    return true;
  }

  private answerAnything(): true {
    this.pa = this.ram.base;
    this.perms = PERM_X;
    return true;
  }

  private pa = 0;
  private perms = 0;
  private readonly fillData = this.memory.take(24);

  private hookFill(native: NativeCode | null): void {
    const callback = native
      ? makeCallback('fillHalves', this.fillHalves)
      : makeCallback('fill', this.fill);
    this.callbacks.push(callback);
    this.fillData.u64[0] = callback;
    const entry = native?.fill ?? callback;
    this.binding.addHook(this.handle, uc.UC_HOOK_TLB_FILL, entry, this.fillData.bytes);
  }

  private tidied = false;

  /** True for a fetch that only tidies up behind an exit: see {@link updateFatal}. No instruction wants it. */
  private afterTheEnd(hi: number, lo: number): boolean {
    if (this.refusedKind !== NOTHING || this.exception !== NOTHING) return true;
    if (this.code.fatal.size === 0 || !this.window) return false;
    const page = hi * 0x10_0000 + (lo >>> 12);
    const current = this.window.ipHi() * 0x10_0000 + (this.window.ipLo() >>> 12);
    return page !== current && page !== current + 1;
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
    if (this.code.fetched(page, pa)) this.updateFatal();
    if (old >= 0 && old !== pa) this.onCodeMoved();
  }

  /** Other code lies under an address that ran before. */
  onCodeMoved: () => void = () => {};

  /**
   * Has translation end before what the core does not survive. The library's exits do that, at a price: after each
   * entry it fetches from the byte before each of them; so nothing else uses them.
   */
  private updateFatal(): void {
    const list = [...this.code.fatal];
    if (this.translationEnd !== null) list.push(this.translationEnd);
    // The library takes no empty list; it passes over an exit at 0 when it fetches.
    if (list.length === 0) list.push(0n);
    const few = list.length <= FEW_EXITS;
    const bytes = few ? this.exitList.bytes : sharedBytes(list.length * 8);
    new BigUint64Array(bytes.buffer, bytes.byteOffset, list.length).set(list);
    const count = BigInt(list.length);
    this.binding.control(this.handle, uc.UC_CTL_UC_EXITS, 'void *', bytes, 'size_t', count);
  }

  private readonly exitList = this.memory.take(FEW_EXITS * 8);
  private translationEnd: bigint | null = null;

  /** An entry is for one instruction, see {@link endTranslationAt}. */
  get stepping(): boolean {
    return this.translationEnd !== null;
  }

  /** Has code that is translated from now on end before `va` too. */
  endTranslationAt(va: bigint | null): void {
    this.translationEnd = va;
    this.updateFatal();
  }

  /**
   * The library tells of each block that it translates once one block has followed another: here are two that nobody
   * misses.
   */
  warmUp(): void {
    const { ram, recipe } = this;
    // Address 0 is an exit.
    const at = ram.base + WARM_UP;
    const before = ram.read(at, recipe.twoBlocks.length);
    ram.write(at, recipe.twoBlocks);
    this.warming = true;
    this.binding.emuStart(this.handle, BigInt(WARM_UP), 0, 0, 0);
    this.warming = false;
    ram.write(at, before);
    this.flushTlb();
    this.dropBlocks();
    this.setIp(0n);
  }

  private warming = false;

  ip(): bigint {
    const { window } = this;
    if (window) return (BigInt(window.ipHi()) << 32n) | BigInt(window.ipLo());
    return this.registers.read(this.description.instructionPointer);
  }

  setIp(va: bigint): void {
    this.registers.write(this.description.instructionPointer, va);
  }

  /** What is left in the register that counts repetitions of a string instruction. */
  repeatCount(): bigint {
    const { repeatCounter } = this.recipe;
    return repeatCounter === null ? 0n : this.registers.read(repeatCounter);
  }

  /** Looks at the page of `ip` as a fetch would. @returns false if that faults */
  learnCode(ip: bigint): boolean {
    if (!this.translator.translate(hi32(ip), lo32(ip), FETCH)) return false;
    const { pa } = this.translator;
    if (!this.ram.contains(pa, FRAME)) return false;
    this.fetch(Number(ip >> 12n), pa);
    return true;
  }

  /**
   * Enters the engine at `ip`.
   * @param count instructions after which the library itself stops; 0: none
   * @returns uc_err
   */
  enter(ip: bigint, count: number): number {
    this.refusedKind = NOTHING;
    this.exception = NOTHING;
    this.trouble = null;
    this.reconsidered = false;
    const error = this.binding.emuStart(this.handle, ip, 0, 0, count);
    if (this.tidied) this.flushTlb();
    this.tidied = false;
    return error;
  }

  /** First byte of the page that was refused. */
  refusedPage(): bigint {
    return (BigInt(this.refusedHi) << 32n) | BigInt((this.refusedLo & ~(FRAME - 1)) >>> 0);
  }

  /** First byte of the refused access, after an entry that a refused fill ended; null if the library does not tell. */
  faultAddressNow(): bigint | null {
    const exact = this.faultAddress?.read() ?? null;
    // A fetch after the end overwrites the word.
    return exact !== null && exact >> 12n === this.refusedPage() >> 12n ? exact : null;
  }

  flushTlb(): void {
    this.binding.control(this.handle, uc.UC_CTL_TLB_FLUSH);
  }

  flushTlbPage(va: bigint): void {
    if (this.flushPage && this.window) this.flushPage(this.window.cpu, va);
    else this.flushTlb();
  }

  flushCode(): void {
    if (this.code.forget()) this.updateFatal();
    this.dropBlocks();
  }

  private reconsidered = false;

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

  /** Drops translated code; what is known of the code stays. */
  dropBlocks(): void {
    this.binding.control(this.handle, uc.UC_CTL_TB_FLUSH);
  }

  close(): void {
    this.binding.contextFree(this.context.context);
    this.journal.beforeClose();
    this.binding.close(this.handle);
    for (const callback of this.callbacks) dropCallback(callback);
    this.journal.close();
    this.memory.release();
  }

  /** Takes back what a store left below a page that was refused. hi:lo is its first byte. */
  undoStore(hi: number, lo: number, form: AccessForm): void {
    if (!this.translator.translate(hi, lo, WRITE)) return;
    this.journal.undo(this.translator.pa + (lo & (FRAME - 1)), form);
  }

  /** A translation asked for outside a run, as the core would. @returns false if the access faults */
  probe(hi: number, lo: number, kind: AccessKind): boolean {
    return this.translator.translate(hi, lo, kind);
  }
}
