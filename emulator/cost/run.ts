// Runs passages of a program through front end and scoreboard. One way of running is one figure: cycles per passage in
// the steady state, as the difference between many passages and half as many.
import type { CoreDescription } from './core.ts';
import { FrontEnd, type FrontEndDescription } from './front-end.ts';
import { issueOrder, keepsItsPlace } from './order.ts';
import { BranchPredictor } from './predictor.ts';
import type { CostProgram, Passage, TraceStep } from './program.ts';
import { Scoreboard } from './scoreboard.ts';

export interface CoreModel {
  readonly core: CoreDescription;
  readonly frontEnd: FrontEndDescription;
}

/** Gives the passages one after another; `number` counts from 0. */
export type PassageSource = (number: number) => Passage;

export interface RunShape {
  /** The same code again and again: it comes decoded, and the core has learnt its memory. Else copy follows copy. */
  readonly loop: boolean;
  /** Instructions of all copies, where the code is not a loop: what a core learns of loads, it learns by address. */
  readonly copied: number;
  /** Passages before measuring, which teach the predictor. */
  readonly warm: number;
  /** Passages of the shorter of the two runs. */
  readonly passages: number;
}

interface Delivered {
  readonly step: TraceStep;
  /** Cycle from which the front end has it. */
  readonly at: number;
}

export class CostRun {
  private readonly program: CostProgram;
  private readonly model: CoreModel;
  private readonly loop: boolean;
  private readonly scoreboard: Scoreboard;
  private readonly frontEnd: FrontEnd;
  private readonly predictor = new BranchPredictor();
  private readonly lastOutcome = new Map<number, boolean>();
  private readonly size: number;
  private passed = 0;
  /** What was delivered and not issued yet: instructions that follow each other. */
  private readonly stretch: Delivered[] = [];
  /** Orders of stretches, by the index of the first instruction and how many there are. */
  private readonly orders = new Map<number, readonly number[]>();

  constructor(model: CoreModel, program: CostProgram, loop: boolean, copied: number) {
    this.model = model;
    this.program = program;
    this.loop = loop;
    this.scoreboard = new Scoreboard(model.core, loop, loop || this.learns(copied));
    this.frontEnd = new FrontEnd(model.frontEnd, loop);
    const last = program[program.length - 1];
    this.size = last === undefined ? 0 : last.address + last.insn.length - program[0].address;
  }

  /** True if the loads of so many instructions of copied code fit into what the core remembers of loads. */
  private learns(copied: number): boolean {
    const loads = this.program.filter(({ insn }) => insn.uops.some((uop) => uop.load >= 0)).length;
    return (loads * copied) / this.program.length <= this.model.core.rememberedLoads;
  }

  /** Cycles until everything so far has retired and is stored. */
  get cycle(): number {
    return this.scoreboard.cycle;
  }

  pass(passage: Passage): void {
    const { program, scoreboard, frontEnd } = this;
    // Unrolled, each copy lies behind the last and its branches are new ones.
    const offset = this.loop ? 0 : this.passed * this.size;
    const seen = new Set<number>();
    for (let i = 0; i < passage.length; i++) {
      const step = passage[i];
      const placed = program[step.at];
      const { insn } = placed;
      // The branch that was fused decides for both.
      const taken = placed.fusedWithNext ? (passage[++i]?.taken ?? false) : step.taken;
      const address = placed.address + offset;
      const target = program[passage[i + 1]?.at ?? 0].address + offset;
      const delivered = frontEnd.deliver(insn, address, taken, target);
      if (keepsItsPlace(insn)) {
        this.issueStretch();
        scoreboard.issue(insn, delivered, step, taken);
      } else this.stretch.push({ step, at: delivered });
      if (insn.flow === 'branch') this.branch(address, taken);
      if (taken && !this.loop && !seen.has(step.at)) {
        frontEnd.lose(this.model.frontEnd.newTargetCycles - 1);
      }
      if (taken) seen.add(step.at);
    }
    this.issueStretch();
    this.passed++;
  }

  private issueStretch(): void {
    const { stretch, program, scoreboard } = this;
    if (stretch.length === 0) return;
    for (const [n, index] of this.orderOf(stretch).entries()) {
      const { step } = stretch[index];
      scoreboard.issue(program[step.at].insn, stretch[n].at, step, false);
    }
    stretch.length = 0;
  }

  private orderOf(stretch: readonly Delivered[]): readonly number[] {
    const { program, orders } = this;
    const key = stretch[0].step.at * (program.length + 1) + stretch.length;
    let order = orders.get(key);
    if (order === undefined) {
      const insns = stretch.map(({ step }) => program[step.at].insn);
      order = issueOrder(insns, this.model.core.temporaries);
      orders.set(key, order);
    }
    return order;
  }

  private branch(address: number, taken: boolean): void {
    const { frontEnd, scoreboard, lastOutcome } = this;
    const { mispredictCycles, loopExitCycles } = this.model.frontEnd;
    const right = this.predictor.resolve(address, taken);
    const leaves = lastOutcome.get(address) === true && !taken;
    lastOutcome.set(address, taken);
    if (!right && this.loop) frontEnd.redirect(scoreboard.branchResolved + mispredictCycles);
    else if (leaves) frontEnd.lose(loopExitCycles);
  }
}

/** @returns cycles per passage in the steady state: of many passages, a quotient of whole numbers */
export function steadyCycles(
  model: CoreModel,
  program: CostProgram,
  source: PassageSource,
  { loop, copied, warm, passages }: RunShape,
): number {
  const run = new CostRun(model, program, loop, copied);
  let number = 0;
  const pass = (count: number) => {
    for (let i = 0; i < count; i++) run.pass(source(number++));
    return run.cycle;
  };
  pass(warm);
  const first = pass(passages);
  const second = pass(passages);
  return (second - first) / passages;
}
