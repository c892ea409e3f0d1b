// The front end: when an instruction reaches the renamer. Two ways, approximate: code that is run once goes through the
// legacy decoders (so many bytes and instructions a cycle), a loop comes decoded from the micro-op cache. What the legacy
// way does by place, in aligned windows and in groups of decoders, is taken at its average over the code so far: so the
// order of neighbours does not decide.
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
  /** Ticks at which the next instruction is decoded. */
  private group = 0;
  private lastTaken = -TICKS_PER_CYCLE;
  /** Ticks from which the decoder of complex instructions is free. */
  private complexFree = 0;
  /** Of all instructions so far. */
  private bytes = 0;
  private instructions = 0;
  private slots = 0;
  private complex = 0;
  /** Ticks at which the instruction's length is known, and what is left of finding it in parts of a window. */
  private fetched = 0;
  private fetchRest = 0;

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
    this.decode(insn);
    const cycle = Math.floor(this.group / TICKS_PER_CYCLE);
    this.group += this.decodeTicks(insn);
    // Nothing behind a taken branch is decoded in its cycle.
    if (taken) this.redirect(cycle + 1);
    return cycle;
  }

  /** Everything after comes at `cycle` or later: the way so far was wrong. */
  redirect(cycle: number): void {
    this.group = Math.max(this.group, cycle * TICKS_PER_CYCLE);
    this.fetched = Math.max(this.fetched, this.group);
  }

  /** The way to the next instruction is not what the nearest table holds: what follows comes later. */
  lose(cycles: number): void {
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

  private decode(insn: CostedInstruction): void {
    this.fetch(insn);
    this.group = Math.max(this.group, this.fetched - TICKS_PER_CYCLE);
    this.slots += insn.slots;
    if (!insn.complex) return;
    this.complex++;
    this.group = Math.max(this.group, this.complexFree);
    this.complexFree += this.complexTicks();
  }

  /** An instruction's share of the decoders; what comes from microcode has them for a cycle. */
  private decodeTicks({ slots, microcoded }: CostedInstruction): number {
    const { decoders, decodedSlots, fullGroupTicks } = this.description;
    if (microcoded) return TICKS_PER_CYCLE;
    const bySlots = Math.floor((slots * TICKS_PER_CYCLE) / decodedSlots);
    return Math.max(Math.floor(fullGroupTicks / decoders), bySlots);
  }

  /**
   * Ticks from one complex instruction to the next: a cycle for each decoders' worth of slots begun, since each starts a
   * cycle. How many lie between is the average so far.
   */
  private complexTicks(): number {
    return begun(this.slots / this.complex, this.description.decodedSlots);
  }

  /** Finding the lengths: as many windows as the bytes fill, at what a window of such code takes. */
  private fetch(insn: CostedInstruction): void {
    const { windowBytes, slowLengthCycles } = this.description;
    this.bytes += insn.length;
    this.instructions++;
    const work = this.fetchRest + insn.length * this.windowTicks();
    this.fetched += Math.floor(work / windowBytes);
    this.fetchRest = work % windowBytes;
    if (insn.slowLength) this.fetched += slowLengthCycles * TICKS_PER_CYCLE;
  }

  /**
   * Ticks of a window with as many instructions as there were so far on average: a cycle for every
   * {@link FrontEndDescription.windowInstructions} begun. The one across a window's end counts half on each side.
   */
  private windowTicks(): number {
    const { windowBytes, windowInstructions } = this.description;
    return begun((this.instructions * windowBytes) / this.bytes + 1 / 2, windowInstructions);
  }
}

/** Ticks of `count` things at so many a cycle, each cycle begun counted whole; between whole counts, the average. */
function begun(count: number, aCycle: number): number {
  const full = Math.floor(count / aCycle);
  const slope = Math.min(1, count - full * aCycle);
  return Math.max(TICKS_PER_CYCLE, Math.round((full + slope) * TICKS_PER_CYCLE));
}
