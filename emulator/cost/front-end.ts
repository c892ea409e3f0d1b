// The front end: when an instruction reaches the renamer. Two ways, approximate: code that is run once goes through the
// legacy decoders (so many bytes and instructions a cycle), a loop comes decoded from the micro-op cache.
import type { CostedInstruction } from './instruction.ts';
import { TICKS_PER_CYCLE } from './units.ts';

export interface FrontEndDescription {
  /** Bytes of the aligned window that the legacy way fetches a cycle. */
  readonly windowBytes: number;
  /** Instructions whose lengths it finds in a window a cycle. */
  readonly windowInstructions: number;
  /** Legacy decoders: instructions, and slots they make, a cycle. */
  readonly decoders: number;
  readonly decodedSlots: number;
  /** Ticks that a cycle of all decoders takes: measured, a little more than one cycle. */
  readonly fullGroupTicks: number;
  /** Cycles lost to a length-changing prefix. */
  readonly slowLengthCycles: number;
  /** Slots a cycle from the micro-op cache. */
  readonly cachedSlots: number;
  /** A taken branch that skips less than this loses no cycle. */
  readonly nearBytes: number;
  /** Cycles from a branch that was found wrong to the first instruction of the right way. */
  readonly mispredictCycles: number;
  /** Cycles lost where a loop is left. */
  readonly loopExitCycles: number;
  /** Cycles that the first taken branch of new code loses, whose target the nearest table does not hold. */
  readonly newTargetCycles: number;
}

export class FrontEnd {
  private readonly description: FrontEndDescription;
  private readonly cached: boolean;
  /** Ticks at which the group that is being decoded began. */
  private group = 0;
  private lastTaken = -TICKS_PER_CYCLE;
  private groupSize = 0;
  private groupSlots = 0;
  private window = -1;
  private windowCount = 0;
  /** Ticks at which the instruction's length is known. */
  private fetched = 0;

  constructor(description: FrontEndDescription, cached: boolean) {
    this.description = description;
    this.cached = cached;
  }

  /**
   * @param address of the instruction
   * @param taken it jumps, to `target`
   * @returns cycle in which the instruction is there
   */
  deliver(insn: CostedInstruction, address: number, taken: boolean, target: number): number {
    const near = target > address && target - address < this.description.nearBytes;
    if (this.cached) return this.deliverCached(insn, taken && !near);
    this.decode(insn, address);
    const cycle = Math.floor(this.group / TICKS_PER_CYCLE);
    // Nothing behind a taken branch is decoded in its cycle.
    if (taken) {
      this.next(TICKS_PER_CYCLE);
      this.fetched = Math.max(this.fetched, this.group);
    }
    return cycle;
  }

  /** Everything after comes at `cycle` or later: the way so far was wrong. */
  redirect(cycle: number): void {
    this.next(0);
    this.group = Math.max(this.group, cycle * TICKS_PER_CYCLE);
    this.fetched = Math.max(this.fetched, this.group);
  }

  /** The way to the next instruction is not what the nearest table holds: what follows comes later. */
  lose(cycles: number): void {
    this.next(0);
    this.group += cycles * TICKS_PER_CYCLE;
    this.fetched = Math.max(this.fetched, this.group);
  }

  /** One taken branch a cycle; what follows it may come in the same cycle. */
  private deliverCached(insn: CostedInstruction, taken: boolean): number {
    const { cachedSlots } = this.description;
    if (taken) {
      this.group = Math.max(this.group, this.lastTaken + TICKS_PER_CYCLE);
      this.lastTaken = Math.floor(this.group / TICKS_PER_CYCLE) * TICKS_PER_CYCLE;
    }
    const cycle = Math.floor(this.group / TICKS_PER_CYCLE);
    this.group += Math.floor((Math.min(insn.slots, cachedSlots) * TICKS_PER_CYCLE) / cachedSlots);
    return cycle;
  }

  private decode(insn: CostedInstruction, address: number): void {
    const { decoders, decodedSlots, fullGroupTicks } = this.description;
    this.fetch(insn, address);
    if (this.groupSize === decoders) this.next(fullGroupTicks);
    else if (this.groupSize > 0 && (insn.complex || this.groupSlots + insn.slots > decodedSlots)) {
      this.next(TICKS_PER_CYCLE);
    }
    if (this.fetched > this.group + TICKS_PER_CYCLE) {
      this.next(0);
      this.group = this.fetched - TICKS_PER_CYCLE;
    }
    this.groupSize++;
    this.groupSlots += insn.slots;
  }

  /**
   * Finding the lengths takes a cycle for so many instructions of one window; one that reaches into the next window is
   * among those of both.
   */
  private fetch(insn: CostedInstruction, address: number): void {
    const { windowBytes, slowLengthCycles } = this.description;
    this.inWindow(Math.floor(address / windowBytes));
    const last = Math.floor((address + insn.length - 1) / windowBytes);
    if (last !== this.window) this.inWindow(last);
    if (insn.slowLength) this.fetched += slowLengthCycles * TICKS_PER_CYCLE;
  }

  private inWindow(window: number): void {
    if (window !== this.window || this.windowCount === this.description.windowInstructions) {
      this.fetched += TICKS_PER_CYCLE;
      this.window = window;
      this.windowCount = 0;
    }
    this.windowCount++;
  }

  private next(ticks: number): void {
    this.group += ticks;
    this.groupSize = 0;
    this.groupSlots = 0;
  }
}
