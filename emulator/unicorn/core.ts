// One engine of the library as the vCPU's parts share it: made and configured, its hooks, its registers and caches, and
// the entry into it.
import { hi32, join, lo32 } from '../bits.ts';
import { type AccessForm, type CpuDescription, type Translator, WRITE } from '../engine.ts';
import type { Ram } from '../ram.ts';
import {
  type Binding,
  dropCallback,
  makeCallback,
  type Pointer,
  SharedMemory,
  sharedBytes,
} from './binding.ts';
import { CodeMap } from './code-map.ts';
import * as uc from './constants.ts';
import { Fills, type FillsOwner } from './fills.ts';
import {
  CpuWindow,
  FaultAddress,
  type FlushPage,
  flushPageFunction,
  type RegisterOffsets,
  StoreHooks,
} from './internals.ts';
import { Journal } from './journal.ts';
import { noteRunning } from './last-will.ts';
import type { NativeCode } from './native-code.ts';
import { type Recipe, recipeFor } from './recipes.ts';
import { RegisterFile } from './registers.ts';

const FRAME = 4096;
const MAX_INSTRUCTION = 15n;
const WARM_UP = 0x100;
const NOTHING = -1;
const FEW_EXITS = 8;
/** An exit where nothing runs: not canonical on x86, odd on arm64. */
const NOWHERE = 0x8000_0000_0000_0001n;
const NOWHERE_PAGE = Number(NOWHERE >> 12n);

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

export class Core implements FillsOwner {
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
  readonly fills: Fills;
  private readonly ram: Ram;
  private readonly callbacks: Pointer[] = [];
  private readonly faultAddress: FaultAddress | null;
  private readonly flushPage: FlushPage | null;
  /** Read by the clock instructions. */
  clock: () => number = () => 0;

  /** Number of the exception; -1 if there was none. */
  exception = NOTHING;

  /** @param hooksStay hooks of stores are not to be switched off */
  constructor(
    binding: Binding,
    means: Means,
    description: CpuDescription,
    ram: Ram,
    translator: Translator,
    hooksStay = false,
  ) {
    this.binding = binding;
    this.description = description;
    this.ram = ram;
    this.recipe = recipeFor(description);
    this.code = new CodeMap(ram, description.instructions);
    this.handle = binding.open(this.recipe.arch, this.recipe.mode);
    this.recipe.configure(binding, this.handle);
    binding.control(this.handle, uc.UC_CTL_TLB_TYPE, 'int', uc.UC_TLB_VIRTUAL);
    // With exits the address that a start names as its end means nothing; Unicorn would fetch from it.
    binding.control(this.handle, uc.UC_CTL_UC_USE_EXITS, 'int', 1);
    binding.mapRam(this.handle, ram.base, ram.bytes);
    this.fills = new Fills(this, ram, translator, this.code, means.native);
    // The library looks for code under a store when it is given the page, and then no more.
    this.code.onTranslated = (pa) => {
      if (this.fills.takeStoring(pa)) binding.control(this.handle, uc.UC_CTL_TLB_FLUSH);
    };
    this.hook();
    const store = means.internals && !hooksStay ? new StoreHooks(this.handle) : null;
    this.journal = new Journal(this.memory, binding, this.handle, ram, means.native, store);
    this.registers = new RegisterFile(
      binding,
      this.handle,
      description,
      this.recipe.registers,
      this.memory,
    );
    this.recipe.initialise(this.registers);
    this.fatalChanged();
    this.window = means.internals ? this.openWindow(description) : null;
    this.faultAddress = means.faultAddress ? new FaultAddress(this.handle) : null;
    this.flushPage =
      this.window && flushPageFunction(binding, this.recipe.suffix, this.recipe.modes);
    if (this.flushPage && this.window) this.fills.flushWith(this.flushPage, this.window.cpu);
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

  private hook(): void {
    const { binding, handle, recipe } = this;
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

  /**
   * True for a fetch that only tidies up behind an exit: see {@link fatalChanged}. A fetch for an instruction is from
   * the page of the instruction pointer or the one behind it.
   */
  isStray(hi: number, lo: number): boolean {
    if (this.exception !== NOTHING) return true;
    const page = hi * 0x10_0000 + (lo >>> 12);
    if (page === NOWHERE_PAGE) return this.ip() >> 12n !== NOWHERE >> 12n;
    if (this.code.fatal.size === 0 || !this.window) return false;
    const current = this.window.ipHi() * 0x10_0000 + (this.window.ipLo() >>> 12);
    return page !== current && page !== current + 1;
  }

  codeMoved(): void {
    this.onCodeMoved();
  }

  /** Other code lies under an address that ran before. */
  onCodeMoved: () => void = () => {};

  /**
   * Has translation end before what the core does not survive. The library's exits do that, at a price: after each
   * entry it fetches from the byte before each of them; so nothing else uses them.
   */
  fatalChanged(): void {
    const list = [...this.code.fatal];
    if (this.translationEnd !== null) list.push(this.translationEnd);
    // The library takes no empty list; it passes over an exit at 0 when it fetches, but would not run what lies there.
    if (list.length === 0) list.push(this.code.frameOf(0) < 0 ? 0n : NOWHERE);
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
    this.fatalChanged();
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
    this.fills.anything = true;
    this.binding.emuStart(this.handle, BigInt(WARM_UP), 0, 0, 0);
    this.fills.anything = false;
    ram.write(at, before);
    this.flushTlb();
    this.dropBlocks();
    this.setIp(0n);
  }

  ip(): bigint {
    const { window } = this;
    if (!window) return this.registers.read(this.description.instructionPointer);
    // A loop that faults is asked about one place again and again: no new bigint each time.
    const hi = window.ipHi();
    const lo = window.ipLo();
    if (hi !== this.lastIpHi || lo !== this.lastIpLo) {
      this.lastIpHi = hi;
      this.lastIpLo = lo;
      this.lastIp = join(hi, lo);
    }
    return this.lastIp;
  }

  private lastIp = 0n;
  private lastIpHi = 0;
  private lastIpLo = 0;

  setIp(va: bigint): void {
    this.registers.write(this.description.instructionPointer, va);
  }

  /** What is left in the register that counts repetitions of a string instruction. */
  repeatCount(): bigint {
    const { repeatCounter } = this.recipe;
    return repeatCounter === null ? 0n : this.registers.read(repeatCounter);
  }

  /**
   * Enters the engine at `ip`.
   * @param count instructions after which the library itself stops; 0: none
   * @returns uc_err
   */
  enter(ip: bigint, count: number): number {
    if (this.code.fatal.size > 0 && this.code.fatal.has(ip)) this.judgeAgain(ip);
    this.fills.reset();
    this.exception = NOTHING;
    const error = this.start(ip, count);
    if (this.fills.strayed) this.flushTlb();
    this.fills.strayed = false;
    return error;
  }

  private start(ip: bigint, count: number): number {
    this.running = true;
    noteRunning(true);
    try {
      return this.binding.emuStart(this.handle, ip, 0, 0, count);
    } finally {
      noteRunning(false);
      this.running = false;
    }
  }

  /** An instruction that translation ends before may be fit for the core after all. */
  private judgeAgain(ip: bigint): void {
    if (!this.mayTranslate(ip)) return;
    this.code.admit(ip);
    this.fatalChanged();
    this.dropBlocks();
  }

  /** What translation ended before is no danger to the core. */
  mayTranslate(ip: bigint): boolean {
    // The rest of one that runs over the end of a page was not seen when the page was.
    const next = (ip | BigInt(FRAME - 1)) + 1n;
    if (next - ip < MAX_INSTRUCTION) this.fills.learnCode(next);
    const trap = this.code.trap(ip);
    return trap === null || trap.action === 'intercept';
  }

  /** First byte of the refused access, after an entry that a refused fill ended; null if the library does not tell. */
  faultAddressNow(): bigint | null {
    const exact = this.faultAddress?.read() ?? null;
    // A fetch after the end overwrites the word.
    return exact !== null && exact >> 12n === this.fills.refusedPage() >> 12n ? exact : null;
  }

  /** Set while the core runs: what is dropped then is dropped within a fill. */
  running = false;

  flushTlb(): void {
    if (this.running) this.fills.reconsider();
    this.binding.control(this.handle, uc.UC_CTL_TLB_FLUSH);
  }

  /**
   * Blocks of one page lead to each other without asking for it again: where it is the page of the code itself, the
   * instruction under way is begun again, and fetched.
   */
  flushTlbPage(va: bigint): void {
    if (this.running && samePage(this.ip(), va)) this.fills.reconsider();
    if (this.fills.flushLater(va)) return;
    if (this.flushPage && this.window) {
      this.flushPage.call(this.window.cpu, va, this.flushPage.modes);
    } else this.flushTlb();
  }

  flushCode(): void {
    if (this.code.forget()) this.fatalChanged();
    this.dropBlocks();
  }

  /** As if nothing had ever run here: every fetch, and every first store to a page, asks again. */
  forgetCode(): void {
    this.code.clear();
    this.fatalChanged();
    this.dropBlocks();
    this.flushTlb();
    this.fills.forgetWrites();
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
    this.fills.close();
    this.journal.close();
    this.memory.release();
  }

  /** Takes back what a store left below a page that was refused. hi:lo is its first byte. */
  undoStore(hi: number, lo: number, form: AccessForm): void {
    if (!this.fills.probe(hi, lo, WRITE)) return;
    this.journal.undo(this.fills.probedAddress(lo), form);
  }
}

const samePage = (a: bigint, b: bigint): boolean =>
  lo32(a) >>> 12 === lo32(b) >>> 12 && hi32(a) === hi32(b);
