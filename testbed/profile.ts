// What a call cost, by function, block, instruction, source line and event; and the same as folded stacks for flame
// graphs.
import type { KnobName } from '../emulator/cost/knobs.ts';
import { TICKS_PER_CYCLE } from '../emulator/cost/units.ts';
import type { Disassembler } from '../emulator/disassembler.ts';
import type { MeteredBlock } from '../emulator/engine.ts';
import type { CallSeen } from './call.ts';
import type { Costing } from './costing.ts';

/** One place and what it cost. */
export interface ProfileRow {
  readonly name: string;
  /** Times it ran or happened. */
  readonly count: number;
  readonly cycles: number;
}

/** Rows of each kind, the dearest first; instructions by address. */
export interface Profile {
  readonly cycles: number;
  readonly cost: string;
  readonly functions: readonly ProfileRow[];
  readonly events: readonly ProfileRow[];
  readonly blocks: readonly ProfileRow[];
  readonly instructions: readonly ProfileRow[];
  readonly lines: readonly ProfileRow[];
}

/** What a knob's event is part of. */
function partOf(name: KnobName): string {
  if (/^(exception|path|recover|printk)/.test(name)) return 'page fault';
  if (/^walk/.test(name)) return 'page-table walk';
  return /^(invalidate|root|barrier|shootdown)/.test(name) ? 'TLB operation' : 'memory access';
}

/** Where events are put that are no code of the call. */
const BESIDE = '[events]';

class Rows {
  private readonly rows = new Map<string, { count: number; cycles: number }>();

  add(name: string, count: number, cycles: number): void {
    const row = this.rows.get(name) ?? { count: 0, cycles: 0 };
    this.rows.set(name, { count: row.count + count, cycles: row.cycles + cycles });
  }

  list(): ProfileRow[] {
    return [...this.rows].map(([name, row]) => ({ name, ...row }));
  }

  dearest(): ProfileRow[] {
    return this.list().sort((a, b) => b.cycles - a.cycles);
  }
}

/** Cycles of a block's instructions: what each adds to those before it, as parts of what the block took. */
function shares(costing: Costing, block: MeteredBlock, ticks: number): number[] {
  const alone = costing.blocks.byInstruction(block);
  const whole = alone.reduce((sum, one) => sum + one, 0);
  return alone.map((one) => (whole === 0 ? 0 : (ticks * one) / whole / TICKS_PER_CYCLE));
}

/** @returns null for a call whose cost nobody counted */
export function profileOf(
  call: CallSeen,
  costing: Costing,
  disassembler: Disassembler,
): Profile | null {
  const { cost } = call;
  if (cost === null) return null;
  const [functions, events, blocks, instructions, lines] = Array.from(
    { length: 5 },
    () => new Rows(),
  );
  const text = new Map<bigint, string>();
  const each = new Map<bigint, { count: number; cycles: number }>();
  for (const { edge, ticks } of cost.blocks.edges) {
    const { block, count } = edge;
    const cycles = ticks / TICKS_PER_CYCLE;
    functions.add(call.functionAt(block.address), count, cycles);
    blocks.add(call.symbolAt(block.address), count, cycles);
    const parts = shares(costing, block, ticks);
    const arch = costing.preset.arch;
    disassembler.disassemble(block.bytes, { arch, address: block.address }).forEach((insn, i) => {
      const row = each.get(insn.address) ?? { count: 0, cycles: 0 };
      // A string instruction at the end has its time from its count.
      const own = parts[i] ?? Math.max(0, cycles - parts.reduce((sum, part) => sum + part, 0));
      each.set(insn.address, { count: row.count + count, cycles: row.cycles + own });
      text.set(insn.address, insn.text);
    });
  }
  for (const [address, row] of [...each].sort(([a], [b]) => (a < b ? -1 : 1))) {
    instructions.add(`${call.symbolAt(address)}  ${text.get(address)}`, row.count, row.cycles);
    const line = call.lineAt(address);
    if (line !== null) lines.add(line, row.count, row.cycles);
  }
  const { mispredicted } = cost.blocks;
  if (mispredicted.count > 0) {
    const cycles = mispredicted.ticks / TICKS_PER_CYCLE;
    events.add('mispredicted loop exits', mispredicted.count, cycles);
    functions.add(BESIDE, mispredicted.count, cycles);
  }
  for (const { name, count, cycles } of cost.charges) {
    events.add(`${partOf(name)}: ${name}`, count, cycles);
    functions.add(BESIDE, count, cycles);
  }
  return {
    cycles: cost.cycles,
    cost: cost.cost,
    functions: functions.dearest(),
    events: events.dearest(),
    blocks: blocks.dearest(),
    instructions: instructions.list(),
    lines: lines.list(),
  };
}

/** Lines `frame;frame cycles`, as flame graph tools read them; cycles are whole, and parts below one are left out. */
export function foldedStacks(root: string, { blocks, events }: Profile): string[] {
  const line = (frames: readonly string[], cycles: number): string[] =>
    Math.round(cycles) > 0 ? [`${[root, ...frames].join(';')} ${Math.round(cycles)}`] : [];
  return [
    ...blocks.flatMap(({ name, cycles }) => line([name.split('+')[0], name], cycles)),
    ...events.flatMap(({ name, cycles }) => line([BESIDE, ...name.split(': ')], cycles)),
  ];
}
