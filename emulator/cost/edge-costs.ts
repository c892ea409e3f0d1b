// What a run's blocks cost, from how often each ran behind which: see block-costs.ts for one edge. String instructions
// are costed by their counts and branches by how often a loop was left. Code alone decides, so results are remembered
// from one run to the next.
import type { BlockEdge, MeteredBlock } from '../engine.ts';
import { BlockCosts, type CostBlock } from './block-costs.ts';
import type { CostedInstruction } from './instruction.ts';
import type { CoreModel } from './run.ts';
import { TICKS_PER_CYCLE } from './units.ts';

/** One block behind one other. */
export interface EdgeCost {
  readonly edge: BlockEdge;
  /** Ticks of all its times, repetitions included. */
  readonly ticks: number;
}

/** What all the edges of a run come to. */
export interface BlockReport {
  readonly edges: readonly EdgeCost[];
  /** Branches that were not foreseen, and the ticks they took. */
  readonly mispredicted: { readonly count: number; readonly ticks: number };
}

/** Loops of up to so many trips have their exits predicted: measured. */
const PREDICTED_TRIPS = 64;
const REMEMBERED = 10_000;

export class EdgeCosts {
  private readonly model: CoreModel;
  private readonly decode: (block: MeteredBlock) => readonly CostedInstruction[];
  private readonly costs: BlockCosts;
  private readonly decoded = new Map<string, CostBlock>();

  /** @param decode reads the whole of a block; what it cannot read it guesses */
  constructor(model: CoreModel, decode: (block: MeteredBlock) => readonly CostedInstruction[]) {
    this.model = model;
    this.decode = decode;
    this.costs = new BlockCosts(model);
  }

  /** The block as it is costed; a string instruction at its end has its time from its counts, and is none of it. */
  block(block: MeteredBlock): CostBlock {
    const key = hexOf(block.bytes);
    let known = this.decoded.get(key);
    if (known === undefined) {
      known = { key, insns: this.decode(block) };
      if (this.decoded.size >= REMEMBERED) this.decoded.clear();
      this.decoded.set(key, known);
    }
    return known;
  }

  /** Ticks of a block by instruction, the first of which stands at its address. */
  byInstruction(block: MeteredBlock): number[] {
    return this.costs.byInstruction(plain(this.block(block)));
  }

  report(edges: readonly BlockEdge[]): BlockReport {
    const repeated = this.repetitions(edges);
    const costed = edges.map((edge) => ({
      edge,
      ticks: this.once(edge) * edge.count + (repeated.get(edge) ?? 0),
    }));
    return { edges: costed, mispredicted: this.mispredicted(edges) };
  }

  private once({ from, block }: BlockEdge): number {
    const own = plain(this.block(block));
    if (own.insns.length === 0) return 0;
    return this.costs.ticks(from === null ? null : plain(this.block(from)), own);
  }

  /** Ticks of the string instructions that blocks end with, by the edge that leads to the block. */
  private repetitions(edges: readonly BlockEdge[]): Map<BlockEdge, number> {
    const left = new Map<string, number>();
    const ticks = new Map<BlockEdge, number>();
    const add = (edge: BlockEdge, more: number) => ticks.set(edge, (ticks.get(edge) ?? 0) + more);
    for (const edge of edges) {
      // A block may hold the first repetition; those that are left then run as a block of their own.
      const first = edge.from !== null && endOf(edge.from) === endOf(edge.block) ? 1 : 0;
      for (const [count, times] of edge.repeats) {
        add(edge, times * this.repeatTicks(edge.block, count + first));
        if (edge.from === null || first === 0) continue;
        const key = placeOf(edge.from);
        left.set(key, (left.get(key) ?? 0) + times);
      }
    }
    for (const edge of edges) {
      const { insns } = this.block(edge.block);
      if (insns.length < 2 || insns[insns.length - 1].repeat === null) continue;
      // The others made one repetition, or none.
      const key = placeOf(edge.block);
      const went = Math.min(edge.count, left.get(key) ?? 0);
      left.set(key, (left.get(key) ?? 0) - went);
      add(edge, (edge.count - went) * this.repeatTicks(edge.block, 1));
    }
    return ticks;
  }

  private repeatTicks(block: MeteredBlock, count: number): number {
    const { insns } = this.block(block);
    const repeat = insns[insns.length - 1]?.repeat ?? null;
    if (repeat === null) return 0;
    return Math.ceil((repeat.slots(count, true) * TICKS_PER_CYCLE) / this.model.core.width);
  }

  /**
   * A branch backwards that is left is not foreseen if it went more trips than the predictor reaches back. Of other
   * branches the counts do not tell, and they are taken for foreseen.
   */
  private mispredicted(edges: readonly BlockEdge[]): { count: number; ticks: number } {
    const branches = new Map<string, { back: number; out: number }>();
    for (const { from, block, count } of edges) {
      if (from === null || this.block(from).insns.at(-1)?.flow !== 'branch') continue;
      const key = placeOf(from);
      const seen = branches.get(key) ?? { back: 0, out: 0 };
      if (block.address <= from.address) seen.back += count;
      else seen.out += count;
      branches.set(key, seen);
    }
    let count = 0;
    for (const { back, out } of branches.values()) {
      if (back > out * PREDICTED_TRIPS) count += out;
    }
    return { count, ticks: count * this.model.frontEnd.mispredictCycles * TICKS_PER_CYCLE };
  }
}

const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const placeOf = ({ address, bytes }: MeteredBlock): string => `${address}+${bytes.length}`;
const endOf = ({ address, bytes }: MeteredBlock): bigint => address + BigInt(bytes.length);

/** A block without the string instruction that it ends with, or is. */
function plain(block: CostBlock): CostBlock {
  const last = block.insns.at(-1);
  if (last === undefined || last.repeat === null) return block;
  return { key: `${block.key} -`, insns: block.insns.slice(0, -1) };
}
