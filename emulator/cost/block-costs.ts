// Cycles of a run, block by block: each edge (the block before, the block) is costed once, by what the block adds
// behind the other. Approximate: it sees no further back than one block, takes branches for predicted and data for
// cached; what faults, walks and flushes cost is counted elsewhere.

import type { CostedInstruction } from './instruction.ts';
import { placeProgram } from './program.ts';
import { type CoreModel, CostRun } from './run.ts';
import { SymbolicAddresses } from './symbols.ts';
import { TICKS_PER_CYCLE } from './units.ts';

/** Times the code is gone through before the figure is taken, so that the core is full. */
const SETTLE = 8;
/**
 * Times of which each half of the measurement is made. Widths and ports of 2, 3, 4 and 6 go into it evenly, and the
 * ends of all the times are averaged, so that the figure does not hang on the cycle in which one of them ended.
 */
const MEASURED = 12;
/** Blocks and edges that are remembered; beyond it all are forgotten. */
const REMEMBERED = 10_000;

/** A straight piece of code that is entered at its start and left at its end. */
export interface CostBlock {
  /** Blocks of one key are the same code. */
  readonly key: string;
  readonly insns: readonly CostedInstruction[];
}

export class BlockCosts {
  private readonly model: CoreModel;
  private readonly blocks = new Map<string, number>();
  private readonly edges = new Map<string, number>();

  constructor(model: CoreModel) {
    this.model = model;
  }

  /**
   * @param previous the block that ran before, or null at the start
   * @returns ticks that the block adds, at least those of its slots at the core's full width
   */
  ticks(previous: CostBlock | null, block: CostBlock): number {
    if (previous === null) return this.alone(block);
    const key = `${previous.key} ${block.key}`;
    return remember(this.edges, key, () => this.edge(previous, block));
  }

  /**
   * Ticks of a block by instruction: what each adds to those before it. They sum up to what the block takes when it
   * follows itself.
   */
  byInstruction(block: CostBlock): number[] {
    const { insns } = block;
    let before = 0;
    return insns.map((_, i) => {
      const upTo = Math.max(before, this.steady(insns.slice(0, i + 1)));
      const own = upTo - before;
      before = upTo;
      return own;
    });
  }

  private edge(previous: CostBlock, block: CostBlock): number {
    const own = this.alone(block);
    if (previous.key === block.key) return own;
    const pair = this.steady([...previous.insns, ...block.insns]);
    const rest = pair - this.alone(previous);
    // Blocks that overlap whole cost what they take of the width; those that wait for each other no more than a chain.
    return Math.max(this.slotTicks(block), rest);
  }

  private alone(block: CostBlock): number {
    return remember(this.blocks, block.key, () => this.steady(block.insns));
  }

  private slotTicks({ insns }: CostBlock): number {
    const slots = insns.reduce((sum, insn) => sum + insn.slots, 0);
    return Math.ceil((slots * TICKS_PER_CYCLE) / this.model.core.width);
  }

  /** Ticks a time if the code is gone through again and again. */
  private steady(insns: readonly CostedInstruction[]): number {
    if (insns.length === 0) return 0;
    const program = placeProgram(insns, 0);
    const run = new CostRun(this.model, program, true, 0);
    const addresses = new SymbolicAddresses(program, this.model.core.values);
    /** Sum of the cycles in which each of the times ends. */
    const ends = (times: number) => {
      let sum = 0;
      for (let n = 0; n < times; n++) {
        run.pass(addresses.passage());
        sum += run.cycle;
      }
      return sum;
    };
    ends(SETTLE);
    const before = ends(MEASURED);
    return Math.round(((ends(MEASURED) - before) * TICKS_PER_CYCLE) / MEASURED ** 2);
  }
}

function remember(known: Map<string, number>, key: string, find: () => number): number {
  const found = known.get(key);
  if (found !== undefined) return found;
  const value = find();
  if (known.size >= REMEMBERED) known.clear();
  known.set(key, value);
  return value;
}
