// Counts retired instructions, stops at a limit, and keeps the core from instructions it must not reach. The library
// counts nothing at speed, but it calls a hook at the start of each translated block: what the block holds is charged
// in advance, and what was not executed when it was left early is given back. A block that does not fit into what
// remains, or that holds an exit or a trapped instruction, is not begun; the vCPU then runs its beginning as a
// shorter block. A block that runs often has its head rewritten and counts itself, see block-heads.ts.
import { hi32, lo32 } from '../bits.ts';
import type { Binding, Pointer, SharedMemory } from './binding.ts';
import { addressOf, dropCallback, makeCallback, readBlock } from './binding.ts';
import { BlockHeads, LAST_AT, RECORD, RECORDS } from './block-heads.ts';
import type { CodeMap } from './code-map.ts';
import { UC_HOOK_BLOCK, UC_HOOK_EDGE_GENERATED } from './constants.ts';
import type { Journal } from './journal.ts';
import { EDGE_CALLBACK, Meter } from './meter.ts';
import type { NativeCode } from './native-code.ts';

// The layout that the native code knows.
const REMAINING = 0;
/** Record of the last block that the hook began: its address, and its bytes. */
const LAST = 8;
const LAST_SIZE = 16;
const STOPPED = 20;
const REPEAT_COUNTER = 24;
const CALLBACK = 32;
const EMU_STOP = 40;
const STORE_SWITCH = 48;
const NO_SWITCH = 56;
/** What the switch holds while stores are hooked, and whether they are. */
const STORE_ON = 64;
const STORE_HOOKED = 76;
const TABLE = 0x1000;
const ENTRIES = 0x1000;
const REPEATED = 0x10000;
const PIECES = 0x20000;
const TABLE_END = TABLE + ENTRIES * 16;
/** Calls of the hook after which a block's head is rewritten, which costs as much as some thousand calls. */
const HEAT = 0x1000 << 16;
const MOST_HEAT = 0x7fff << 16;

const TWO_32 = 2 ** 32;
/** Upper halves below it, in magnitude, are of words that a Number holds exactly. */
const EXACT_HI = 2 ** 21;

/** Instructions that may be granted in all: beyond any run, and exact as a Number. */
export const UNLIMITED = 2 ** 52;

/** What is known of one translated block. */
interface BlockFacts {
  readonly lengths: readonly number[];
  /** Index of the first instruction that must not be run as part of a block; -1: none. */
  readonly barrier: number;
  /** A string instruction alone: its block runs once for each repetition, and once more when none is left. */
  readonly repeated: boolean;
  /** It has stores that the core makes in pieces. */
  readonly pieces: boolean;
}

/** What the counter needs of a core. */
export interface CounterCore {
  readonly binding: Binding;
  readonly memory: SharedMemory;
  readonly handle: Pointer;
  readonly recipe: { readonly fixedLength: number };
  readonly code: CodeMap;
  readonly journal: Journal;
}

export class Counter {
  private readonly data: Uint8Array;
  private readonly words32: Uint32Array;
  private readonly words: BigInt64Array;
  private readonly callbacks: Pointer[] = [];
  private readonly code: CodeMap;
  private readonly binding: Binding;
  private readonly journal: Journal;
  private readonly heads: BlockHeads | null;
  /** Bytes of every instruction; 0 if they vary. */
  private readonly fixedLength: number;
  private readonly repeatCounter: () => bigint;
  private readonly nativeRepeats: boolean;
  private readonly blocks = new Map<number | bigint, Map<number, BlockFacts>>();
  /** Counts edges too, if that was wanted. */
  readonly meter: Meter | null;
  private granted = 0;
  /** Index of the instruction in the block that was not begun at which the run has to stop; -1 for a limit. */
  barrier = -1;

  /**
   * Adds the hooks; to be called before the engine runs anything.
   * @param repeatCounter reads the general register that counts repetitions
   * @param repeatAddress its native address, or null where that is not known
   * @param metering edges are counted
   */
  constructor(
    core: CounterCore,
    repeatCounter: () => bigint,
    repeatAddress: Pointer | null,
    native: NativeCode | null,
    metering: boolean,
  ) {
    const { binding, handle } = core;
    const piece = core.memory.take(TABLE_END + RECORDS * RECORD);
    this.data = piece.bytes;
    this.words32 = piece.u32;
    this.words = piece.i64;
    this.binding = binding;
    this.fixedLength = core.recipe.fixedLength;
    this.code = core.code;
    this.journal = core.journal;
    this.repeatCounter = repeatCounter;
    this.nativeRepeats = repeatAddress !== null;
    const block = makeCallback('block', (engine, va, size) => this.enterBlock(engine, va, size));
    const edge = makeCallback('edge', (_uc, current) => this.learn(current));
    this.callbacks.push(block, edge);
    this.words[REPEAT_COUNTER / 8] = repeatAddress ?? 0n;
    this.words[CALLBACK / 8] = block;
    this.words[EMU_STOP / 8] = binding.emuStop;
    // Where the switch is not known, a word of no meaning is written.
    this.words[STORE_SWITCH / 8] =
      this.journal.switchAddress ?? addressOf(this.data) + BigInt(NO_SWITCH);
    this.meter = metering ? new Meter(piece, core.code, repeatCounter) : null;
    if (this.meter !== null) this.words[EDGE_CALLBACK / 8] = this.edgeCallback(this.meter);
    this.heads =
      metering || !native?.head
        ? null
        : new BlockHeads(piece, TABLE_END, handle, native.block, native.head);
    this.words32[LAST_AT / 4] = LAST;
    const entry = metering ? native?.metered : native?.block;
    binding.addHook(handle, UC_HOOK_BLOCK, entry ?? block, this.data);
    binding.addHook(handle, UC_HOOK_EDGE_GENERATED, edge);
  }

  private edgeCallback(meter: Meter): Pointer {
    const callback = makeCallback('block', (_uc, va: number | bigint, size: number) =>
      meter.enter(va, size, this.factsOf(va, size).repeated),
    );
    this.callbacks.push(callback);
    return callback;
  }

  /** Instructions that may still run. */
  get remaining(): number {
    return this.number(REMAINING);
  }

  /** A signed word of the data that a Number holds exactly, without making a bigint. */
  private number(offset: number): number {
    const { words32 } = this;
    return (words32[offset / 4 + 1] | 0) * TWO_32 + words32[offset / 4];
  }

  /** Allows `limit` more instructions from now on, instead of what remained. */
  grant(limit: number): void {
    this.granted = this.retired + limit;
    this.words[REMAINING / 8] = BigInt(limit);
  }

  get retired(): number {
    return this.granted - this.remaining;
  }

  set retired(value: number) {
    this.granted = value + this.remaining;
  }

  /** Charges an instruction that ran without a hook's knowledge. @param size bytes */
  charge(ip: bigint, size: number): void {
    this.words[REMAINING / 8] -= 1n;
    this.meter?.ran(ip, size);
  }

  /** True if a block was not begun, see {@link barrier}; reading it resets it. */
  takeStopped(): boolean {
    const stopped = this.words32[STOPPED / 4];
    if (stopped === 0) return false;
    if (stopped === 1) this.barrier = -1;
    this.words32[STOPPED / 4] = 0;
    return true;
  }

  /** First byte after the block that was begun last. */
  lastEnd(): bigint {
    const last = this.words32[LAST_AT / 4];
    return BigInt.asUintN(64, this.words[last / 8] + BigInt(this.words32[last / 4 + 2]));
  }

  /** Control goes elsewhere than where the last block led. */
  forgetLast(): void {
    this.setLast(0n, 0);
  }

  private setLast(address: bigint, size: number): void {
    this.words[LAST / 8] = address;
    this.words32[LAST_SIZE / 4] = size;
    this.words32[LAST_AT / 4] = LAST;
  }

  /** The core is about to be entered. */
  beforeEntry(): void {
    this.meter?.suspend();
  }

  /** Instructions of the last block from `ip` to its end: those that have not run if it was left there. */
  unexecutedFrom(ip: bigint): number {
    const { words32 } = this;
    const last = words32[LAST_AT / 4] / 4;
    const start = words32[last];
    const offset = (hi32(ip) - words32[last + 1]) * TWO_32 + lo32(ip) - start;
    const size = words32[last + 2];
    if (offset < 0 || offset >= size) return 0;
    if (this.fixedLength > 0) return (size - offset) / this.fixedLength;
    const { lengths } = this.factsOf(this.lastKey(), size);
    let at = 0;
    let executed = 0;
    while (at < offset && executed < lengths.length) at += lengths[executed++];
    return lengths.length - executed;
  }

  /** The last block was left at `ip`: gives back what did not run. */
  leftAt(ip: bigint): void {
    this.words[REMAINING / 8] += BigInt(this.unexecutedFrom(ip));
    this.meter?.leftAt(ip);
  }

  /** Forgets what blocks hold: the code, or where to stop in it, may have changed. */
  forgetBlocks(): void {
    this.blocks.clear();
    this.words32.fill(0, TABLE / 4, TABLE_END / 4);
    if (this.heads === null) return;
    const last = this.words32[LAST_AT / 4];
    this.setLast(this.words[last / 8], this.words32[last / 4 + 2]);
    this.heads.restore();
  }

  /** Until {@link resume} blocks are neither counted nor stopped. */
  pause(): void {
    this.paused = true;
    this.forgetBlocks();
    this.forgetLast();
  }

  resume(): void {
    this.paused = false;
    // Stores may have been hooked meanwhile.
    this.words32[STORE_HOOKED / 4] = 1;
  }

  private paused = false;

  /** Has the next block run, one instruction at which a run would have to stop otherwise. */
  pass(): void {
    this.passing = true;
  }

  private passing = false;

  close(): void {
    for (const callback of this.callbacks) dropCallback(callback);
  }

  /** A block was translated; one of the same address and size may have held other instructions. */
  private learn(current: Pointer): void {
    const { pc, size } = readBlock(current);
    this.code.translated(pc, size);
    this.meter?.translated(pc, size);
    this.blocks.delete(pc);
    this.words32[this.entry(pc, size) + 2] = 0;
  }

  private entry(va: number | bigint, size: number): number {
    const lo = typeof va === 'number' ? va >>> 0 : Number(BigInt.asUintN(32, va));
    return (TABLE + ((lo + size * 8) & (ENTRIES - 1)) * 16) / 4;
  }

  /** The hook where native code does not know the block, or there is none. */
  private enterBlock(uc: Pointer, va: number | bigint, size: number): void {
    if (this.paused) return;
    const at = BigInt(va);
    const entry = this.entry(va, size);
    // The native code calls back for a block that it knows when that has run often.
    const often = this.words[entry / 2] === at && (this.words32[entry + 2] & 0xffff) === size;
    if (often && this.heads?.full) this.forgetBlocks();
    const facts = this.factsOf(va, size);
    const passed = this.passing && facts.lengths.length === 1;
    this.passing = false;
    if (facts.barrier >= 0 && !passed) {
      this.stop(uc, 2);
      this.barrier = facts.barrier;
      return;
    }
    this.journal.record(facts.pieces);
    this.words[STORE_ON / 8] = BigInt.asIntN(64, this.journal.on);
    this.words32[STORE_HOOKED / 4] = facts.pieces ? 1 : 0;
    if (facts.barrier < 0 && (!facts.repeated || this.nativeRepeats)) {
      this.words[entry / 2] = at;
      const flags = (facts.repeated ? REPEATED : 0) | (facts.pieces ? PIECES : 0);
      this.words32[entry + 2] = size | flags;
      const count = facts.lengths.length;
      this.words32[entry + 3] = count | (flags === 0 ? this.heat(at, size, count, often) : 0);
    }
    const end = BigInt.asUintN(64, at + BigInt(size));
    if (facts.repeated && this.lastEnd() === end && this.repeatCounter() === 0n) return;
    const left = this.words[REMAINING / 8] - BigInt(facts.lengths.length);
    if (left < 0n) {
      this.stop(uc, 1);
      return;
    }
    this.words[REMAINING / 8] = left;
    this.setLast(at, size);
    this.meter?.enter(va, size, facts.repeated);
  }

  /** How often a plain block may call the hook from now on before it is looked at again. */
  private heat(va: bigint, size: number, count: number, often: boolean): number {
    if (this.heads === null) return 0;
    return often && !this.heads.rewrite(va, size, count) ? MOST_HEAT : HEAT;
  }

  /** The last block's address as the library's callbacks give it: a Number where that is exact. */
  private lastKey(): number | bigint {
    const last = this.words32[LAST_AT / 4];
    const hi = this.words32[last / 4 + 1] | 0;
    return hi >= -EXACT_HI && hi < EXACT_HI ? this.number(last) : this.words[last / 8];
  }

  private stop(uc: Pointer, why: 1 | 2): void {
    this.words32[STOPPED / 4] = why;
    this.binding.stop(uc);
  }

  private factsOf(va: number | bigint, size: number): BlockFacts {
    let sizes = this.blocks.get(va);
    if (!sizes) {
      sizes = new Map();
      this.blocks.set(va, sizes);
    }
    let facts = sizes.get(size);
    if (!facts) {
      const lengths = this.code.lengths(va, size);
      const repeated = lengths.length === 1 && this.code.repeats(va);
      const pieces = this.code.storesInPieces(va, lengths);
      facts = { lengths, barrier: this.code.barrier(va, lengths), repeated, pieces };
      sizes.set(size, facts);
    }
    return facts;
  }
}
