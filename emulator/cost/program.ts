// A piece of code as the scoreboard runs it, and what running it did: which instructions, where their accesses went,
// which branches were taken. The two come from different hands: a decoder, and an engine or a guess.
import type { CostedInstruction } from './instruction.ts';

/** One instruction at its place. */
export interface PlacedInstruction {
  readonly insn: CostedInstruction;
  /** Address of its first byte. */
  readonly address: number;
  /** The branch after it is part of it: one operation, counted once. */
  readonly fusedWithNext: boolean;
}

export type CostProgram = readonly PlacedInstruction[];

/** Where one instruction reads and writes, and how often it repeats itself. */
export interface Places {
  /** One for each access. */
  readonly addresses: readonly number[];
  /** Count of a repeat prefix; 1 without. */
  readonly count: number;
}

/** One executed instruction. */
export interface TraceStep extends Places {
  /** Index into the program. */
  readonly at: number;
  /** Control went somewhere else than to the next instruction. */
  readonly taken: boolean;
}

/** What one run through the code did. */
export type Passage = readonly TraceStep[];

/** Two instructions of which the second is a conditional branch, as the one operation they become. */
function fuse(first: CostedInstruction, branch: CostedInstruction): CostedInstruction {
  const uops = first.uops.slice();
  const last = uops.pop();
  if (last !== undefined) uops.push({ ...last, ports: branch.uops[0].ports });
  return {
    ...first,
    form: `${first.form} and branch`,
    length: first.length + branch.length,
    uops,
    flow: branch.flow,
  };
}

/** @param start address of the first instruction; the others follow without gaps */
export function placeProgram(insns: readonly CostedInstruction[], start: number): CostProgram {
  let address = start;
  return insns.map((insn, i) => {
    const next = insns[i + 1];
    const fusedWithNext = insn.fusible && next?.flow === 'branch';
    const placed = { insn: fusedWithNext ? fuse(insn, next) : insn, address, fusedWithNext };
    address += insn.length;
    return placed;
  });
}
