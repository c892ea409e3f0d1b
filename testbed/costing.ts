// What a call cost: the blocks that it ran, and what happened beside them, under one preset at one grain. The grain
// `fast` takes data for cached and charges the TLB by its misses; `exact` follows every access.
import type { Architecture } from '../arch/arch.ts';
import { type BlockReport, EdgeCosts } from '../emulator/cost/edge-costs.ts';
import type { CostedInstruction } from '../emulator/cost/instruction.ts';
import { type CostPreset, type KnobValues, valuesOf } from '../emulator/cost/knobs.ts';
import { TICKS_PER_CYCLE } from '../emulator/cost/units.ts';
import type { Disassembler } from '../emulator/disassembler.ts';
import type { BlockEdge, MeteredBlock } from '../emulator/engine.ts';
import type { Charge, EventCosts } from './event-costs.ts';

export type Grain = 'fast' | 'exact';

/** Cycles of a call, whole and in parts. All are whole numbers: the same run gives the same cycles. */
export interface CostReport {
  readonly cycles: number;
  /** `fast golden-cove` */
  readonly cost: string;
  readonly blocks: BlockReport;
  readonly charges: readonly Charge[];
}

/** The cost model of one architecture's runs. What it finds of code it remembers for the next run. */
export class Costing {
  readonly grain: Grain;
  readonly preset: CostPreset;
  readonly values: KnobValues;
  readonly blocks: EdgeCosts;
  /** Models of one key cost the same. */
  readonly key: string;
  private readonly arch: Architecture;
  private readonly disassembler: Disassembler;

  /** @throws RangeError for a preset of another architecture */
  constructor(arch: Architecture, disassembler: Disassembler, grain: Grain, preset?: CostPreset) {
    this.arch = arch;
    this.disassembler = disassembler;
    this.grain = grain;
    this.preset = preset ?? arch.costs.presets[0];
    if (this.preset.arch !== arch.name) {
      throw new RangeError(`preset ${this.preset.name} is of ${this.preset.arch}`);
    }
    this.values = valuesOf(this.preset);
    this.key = `${this.name} ${Object.values(this.values).join(' ')}`;
    this.blocks = new EdgeCosts(arch.costs.model, (block) => this.decode(block));
  }

  /** `fast golden-cove`: what the figures are of. */
  get name(): string {
    return `${this.grain} ${this.preset.name}`;
  }

  /** @param events of the vCPU that ran the blocks. @param cpus CPUs that a broadcast reaches, with its own */
  report(edges: readonly BlockEdge[], events: EventCosts, cpus: number): CostReport {
    for (const { block, count } of edges) this.maintenance(block, count, events, cpus);
    const blocks = this.blocks.report(edges);
    const ticks = blocks.edges.reduce((sum, edge) => sum + edge.ticks, blocks.mispredicted.ticks);
    const { cycles } = events;
    return {
      cycles: Math.ceil(ticks / TICKS_PER_CYCLE) + cycles,
      cost: this.name,
      blocks,
      charges: events.take(),
    };
  }

  private decode(block: MeteredBlock): readonly CostedInstruction[] {
    return this.lines(block).map((line) => this.arch.costs.decode(line));
  }

  private lines({ bytes, address }: MeteredBlock) {
    return this.disassembler.disassemble(bytes, { arch: this.arch.name, address });
  }

  /** Charges the instructions of a block that change how addresses are translated. */
  private maintenance(block: MeteredBlock, count: number, events: EventCosts, cpus: number): void {
    const { costs } = this.arch;
    if (!costs.mayMaintain(block.bytes)) return;
    for (const line of this.lines(block)) {
      const found = costs.maintenance(line);
      if (found === null) continue;
      events.add(found.knob, count);
      if (found.broadcast && cpus > 1) events.broadcast(cpus, count);
    }
  }
}
