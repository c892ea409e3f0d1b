// Variants of x86-64 cost blocks that hardware runs in the same time: other registers, other displacements, independent
// neighbours in the other order. For tests of the cost model; a block that has no such variant gives none.

import type { Assembler } from '../emulator/assembler.ts';
import type { CostedInstruction } from '../emulator/cost/instruction.ts';
import type { Disassembler } from '../emulator/disassembler.ts';
import { x86Costs } from './cost-models.ts';
import { RSP } from './x86/cost-operands.ts';
import { BLOCK_ADDRESS } from './x86/cost-state.ts';

/** A block of a cycle file. */
export interface VariedBlock {
  readonly id: string;
  readonly arch: string;
  readonly asm: string;
  readonly bytes: string;
  readonly mode: string;
}

/** A block to compare, and its variant. */
export interface BlockPair {
  readonly kind: 'registers' | 'displacements' | 'order';
  readonly id: string;
  readonly mode: string;
  /** Machine code, hex. */
  readonly before: string;
  readonly after: string;
}

/** Registers that no instruction uses unnamed, that need a prefix all, and no longer address. */
const GENERAL = ['r8', 'r9', 'r10', 'r11', 'r14'];
const VECTORS = Array.from({ length: 8 }, (_, n) => `mm${n}`);
/** Bytes of a cache line: what lies in one still does, what crosses its end still crosses it. */
const LINE = 64;

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** Every one of the names becomes the next; the last the first. */
function rotated(asm: string, names: readonly string[], prefix: string): string {
  const pattern = new RegExp(`\\b(${prefix})(${names.join('|')})(?=[dwb]?\\b)`, 'g');
  return asm.replace(pattern, (_, start: string, name: string) => {
    return start + names[(names.indexOf(name) + 1) % names.length];
  });
}

const renamed = (asm: string) => rotated(rotated(asm, GENERAL, ''), VECTORS, '[xyz]');

/** By one register, displacements go up by a line, all of them, if all stay bytes. */
function shifted(asm: string): string {
  const operand = /\[(\w+)([^\]]*?)(?:([+-])(\d+))?\]/g;
  const fixed = new Set<string>();
  for (const [, base, , sign, number] of asm.matchAll(operand)) {
    const disp = Number(number ?? 0);
    if (sign !== '+' || disp === 0 || disp + LINE > 127) fixed.add(base);
  }
  return asm.replace(operand, (all, base: string, index: string, _, number: string) =>
    fixed.has(base) || /^(rip|[re]sp|[re]bp)$/.test(base)
      ? all
      : `[${base}${index}+${Number(number) + LINE}]`,
  );
}

function assembled(assembler: Assembler, asm: string): string | null {
  try {
    const text = asm.split(';').join('\n');
    return hex(assembler.assemble(text, { arch: 'x86_64', address: BigInt(BLOCK_ADDRESS) }).bytes);
  } catch {
    return null;
  }
}

const outer = (values: readonly number[]) =>
  values.filter((value) => value < x86Costs.model.core.temporaries);

function touched(insn: CostedInstruction) {
  return {
    reads: outer(insn.uops.flatMap(({ reads }) => reads)),
    writes: [
      ...outer(insn.uops.flatMap(({ writes }) => writes)),
      ...insn.effects.map(({ to }) => to),
    ],
    stores: insn.uops.some(({ store }) => store >= 0),
    accesses: insn.accesses.length > 0,
  };
}

/** Neither sees what the other does, and neither is one that the core takes alone. */
function independent(a: CostedInstruction, b: CostedInstruction): boolean {
  const alone = (insn: CostedInstruction) =>
    insn.flow !== 'next' || insn.microcoded || insn.locked !== null || insn.repeat !== null;
  if (alone(a) || alone(b)) return false;
  const [first, second] = [touched(a), touched(b)];
  const meet = (left: readonly number[], right: readonly number[]) =>
    left.some((value) => right.includes(value));
  const memory = (first.stores && second.accesses) || (second.stores && first.accesses);
  const stack = [first, second].every(({ writes }) => writes.includes(RSP));
  return (
    !memory &&
    !stack &&
    !meet(first.writes, second.writes) &&
    !meet(first.writes, second.reads) &&
    !meet(first.reads, second.writes)
  );
}

/** Every pair of independent neighbours, one at a time in the other order. */
function reordered({ bytes }: VariedBlock, disassembler: Disassembler): string[] {
  const code = Uint8Array.from(Buffer.from(bytes, 'hex'));
  const insns = disassembler.disassemble(code, { arch: 'x86_64', address: BigInt(BLOCK_ADDRESS) });
  const costed = insns.map(x86Costs.decode);
  // Jumps and addresses by rip count bytes; a branch is fused with what stands before it.
  const moves = costed.some(
    ({ flow, accesses }) => flow !== 'next' || accesses.some(({ relative }) => relative),
  );
  if (moves || /rip/.test(insns.map(({ operands }) => operands).join())) return [];
  const variants: string[] = [];
  for (let at = 0; at + 1 < insns.length; at++) {
    if (!independent(costed[at], costed[at + 1])) continue;
    const order = [...insns];
    [order[at], order[at + 1]] = [order[at + 1], order[at]];
    variants.push(order.map((insn) => hex(insn.bytes)).join(''));
  }
  return variants;
}

/** @param block one of x86-64 */
export function variantsOf(
  block: VariedBlock,
  assembler: Assembler,
  disassembler: Disassembler,
): BlockPair[] {
  const { id, mode, asm, bytes } = block;
  const pairs: BlockPair[] = reordered(block, disassembler).map((after) => ({
    ...{ kind: 'order' as const, id, mode, before: bytes, after },
  }));
  const plain = /\b[0-9]:|\bst\b/.test(asm) ? null : assembled(assembler, asm);
  if (plain === null) return pairs;
  const textual = [
    ['registers', renamed(asm)],
    ['displacements', shifted(asm)],
  ] as const;
  for (const [kind, text] of textual) {
    const after = text === asm ? null : assembled(assembler, text);
    if (after?.length === plain.length) pairs.push({ kind, id, mode, before: plain, after });
  }
  return pairs;
}
