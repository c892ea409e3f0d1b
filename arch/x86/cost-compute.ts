// The operations between an x86-64 instruction's loads and stores: which ports they go to, what they read and write.
// Approximate: of several operations the first carries the result, the others only take their ports, except where two
// are known to follow each other.
import type { InstructionBuilder } from '../../emulator/cost/builder.ts';
import { type FormCost, PORTS } from './cost-classes.ts';
import { SHIFTS } from './cost-form.ts';
import { CARRY, FLAGS, LOADED, MERGED, type Operand, STORED } from './cost-operands.ts';
import { foldedSum, isZeroIdiom } from './cost-rename.ts';

/** Reading or writing ah to dh takes a merge: measured, two more. */
const HIGH_BYTE_LATENCY = 2;

/** Conditions that need the carry and another flag: the core joins them first. */
const BOTH_FLAGS = /^(cmov|set)(a|na|be|nbe)$/;
const WIDE_PRODUCTS = new Set(['mul', 'imul', 'mulx']);

/** What an instruction's own operations work on. */
export interface Computation {
  readonly mnemonic: string;
  readonly operands: readonly Operand[];
  readonly reads: readonly number[];
  readonly results: readonly number[];
  /** Flags written. */
  readonly flags: readonly number[];
  /** One of ah to dh is an operand. */
  readonly highByte: boolean;
}

/** @returns true if the renamer did it all, or all but the flags */
function byRenamer(out: InstructionBuilder, cost: FormCost, work: Computation): boolean {
  const { mnemonic, operands, reads, results, flags } = work;
  if (isZeroIdiom(mnemonic, operands)) {
    out.renamed(null, [...results, ...flags]);
    return true;
  }
  if (foldedSum(mnemonic, operands) !== null) {
    const [value] = results;
    out.renamed(value, [value]);
    out.uop(PORTS.alu, 1, [value], flags);
    return true;
  }
  if (cost.ports[0] !== 'none') return false;
  out.renamed(reads[0] ?? null, results);
  return true;
}

/** @returns true if the instruction is one of two operations that follow each other */
function inTwoSteps(out: InstructionBuilder, cost: FormCost, work: Computation): boolean {
  const { mnemonic, reads, results, flags } = work;
  const ports = cost.ports.map((name) => PORTS[name]);
  if (BOTH_FLAGS.test(mnemonic)) {
    const others = reads.filter((value) => value !== CARRY && value !== FLAGS);
    out.uop(PORTS.flag, 1, [CARRY, FLAGS], [MERGED]);
    out.uop(PORTS.flag, 1, [...others, MERGED], results);
    return true;
  }
  if (SHIFTS.has(mnemonic) && ports.length === 2) {
    // By cl the old flags stay if the count is 0, by one rotates keep some: a second operation merges them.
    out.uop(ports[0], cost.latency, reads, [...results, MERGED]);
    out.uop(ports[1], 1, [MERGED, CARRY, FLAGS], flags);
    return true;
  }
  if (WIDE_PRODUCTS.has(mnemonic) && results.length === 2) {
    // The upper half comes a cycle after the lower: measured with mulx and with mul.
    const [low, high] = mnemonic === 'mulx' ? [results[1], results[0]] : results;
    out.uop(ports[0], cost.latency, reads, [low, ...flags, MERGED]);
    out.uop(ports[1], 1, [MERGED], [high]);
    for (const port of ports.slice(2)) out.uop(port, 1, [], []);
    return true;
  }
  if (mnemonic === 'xadd') {
    // The sum, and the old destination into the source: two ways through the instruction.
    const toMemory = results.includes(STORED);
    const [target, source] = toMemory ? [STORED, results[0]] : results;
    const old = toMemory ? LOADED : target;
    out.uop(PORTS.alu, cost.latency, reads, [MERGED, ...flags]);
    out.uop(PORTS.alu, 1, [old], [source]);
    out.renamed(MERGED, [target]);
    out.uop(PORTS.alu, 1, [], []);
    return true;
  }
  if (/^cvtt?s[ds]2si$|^cvtsi2s[ds]$/.test(mnemonic)) {
    // Between register files: one operation moves, the other converts.
    const source = reads.slice(-1);
    const old = reads.slice(0, -1);
    out.uop(ports[0], cost.latency - CONVERT_LATENCY, source, [MERGED]);
    out.uop(ports[1], CONVERT_LATENCY, [...old, MERGED], results);
    return true;
  }
  return false;
}

/** The converting operation of two; the other is what is left of the form's latency. */
const CONVERT_LATENCY = 4;

export function compute(out: InstructionBuilder, cost: FormCost, work: Computation): void {
  if (byRenamer(out, cost, work) || inTwoSteps(out, cost, work)) return;
  const [first, ...others] = cost.ports.map((name) => PORTS[name]);
  out.add({
    ports: first,
    latency: cost.latency + (work.highByte ? HIGH_BYTE_LATENCY : 0),
    reads: work.reads,
    writes: [...work.results, ...work.flags],
    busy: cost.busy,
    unit: cost.busy > 0 ? 0 : -1,
  });
  for (const port of others) out.uop(port, 1, [], []);
}
