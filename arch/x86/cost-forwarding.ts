// How soon a load has what an earlier store wrote, on the Golden Cove family: measured chains through memory. The core
// renames memory: it learns which store feeds a load and gives the load's result the stored register's name. It does
// so not with an index register nor for a read-modify-write with a register; the rest was seen in loops, and in code
// that is run once only for the plainest forms. Approximate.
import type { Forwarding } from '../../emulator/cost/builder.ts';
import { TICKS_PER_CYCLE } from '../../emulator/cost/units.ts';
import { measuredTicks } from './cost-classes.ts';
import { isImmediate, type MemoryOperand, type Operand } from './cost-operands.ts';

/** The measured chain, less the cycle of the operation in it. */
const through = (form: string) => measuredTicks(form) - TICKS_PER_CYCLE;

/** The load's result is another name of the stored register. */
export const RENAMED: Forwarding = { unrolled: 0, loop: 0 };
/** push and pop. */
export const STACK: Forwarding = { unrolled: measuredTicks('push+pop'), loop: 0 };
/** `leave`: measured in code that is run once; taken for the same in a loop. */
export const FRAME: Forwarding = {
  unrolled: measuredTicks('push+pop'),
  loop: measuredTicks('push+pop'),
};
const BY_IMMEDIATE: Forwarding = { unrolled: through('add m32,imm8'), loop: 0 };
const BY_ITSELF: Forwarding = { unrolled: through('inc m64'), loop: 0 };
/** Not locked: the chain less the five cycles of the comparison and exchange. */
const COMPARE_EXCHANGE: Forwarding = {
  unrolled: measuredTicks('cmpxchg m64,r64 (no lock)') - measuredTicks('cmpxchg r64,r64'),
  loop: measuredTicks('cmpxchg m64,r64 (no lock)') - measuredTicks('cmpxchg r64,r64'),
};
/** Not locked: the chain less that of the registers; taken for renamed in a loop. */
const EXCHANGE_ADD: Forwarding = {
  unrolled: measuredTicks('xadd m64,r64 (no lock)') - measuredTicks('xadd r64,r64'),
  loop: 0,
};
/** The store buffer's ordinary way. */
const ORDINARY: Forwarding = { unrolled: through('add m64,r64'), loop: through('add m64,r64') };

/** @param modifies the instruction writes the operand too */
export function forwardingOf(
  mnemonic: string,
  operands: readonly Operand[],
  memory: MemoryOperand,
  modifies: boolean,
): Forwarding {
  // A multiplication's operand was measured as a plain forward.
  if (mnemonic === 'mul' || mnemonic === 'imul') return FRAME;
  if (memory.index >= 0) return ORDINARY;
  if (mnemonic === 'xadd') return EXCHANGE_ADD;
  if (!modifies) return RENAMED;
  if (mnemonic === 'cmpxchg') return COMPARE_EXCHANGE;
  if (operands.length === 1) return BY_ITSELF;
  return isImmediate(operands[1]) ? BY_IMMEDIATE : ORDINARY;
}
