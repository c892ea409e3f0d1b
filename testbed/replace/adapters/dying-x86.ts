// How an x86-64 kernel dies, in compiled code: its stack may be what it dies of.
import type { CompiledPathFunction } from '../../../arch/compiled-path.ts';
import type { X86PtRegs } from '../../../arch/x86/registers.ts';
import { getStackGuardInfo } from '../../../arch/x86/stack-guard.ts';
import { virtAddr } from '../../../emulator/address.ts';
import type { Kernel } from '../../kernel.ts';
import { CompiledEnd } from '../compiled-end.ts';
import type { DOUBLE_FAULT_FUNCTIONS, DYING_X86_FUNCTIONS } from '../functions/dying-x86.ts';
import type { CompiledFunction } from '../replacements.ts';
import { type Adapter, type Adapters, call } from './adapter.ts';
import { callFunction, HAND_PAGES, ownMemory, withStack } from './call.ts';

/** An adapter for every function of the table. */
export const dyingAdapters = (table: typeof DYING_X86_FUNCTIONS): Adapters<typeof table> =>
  Object.fromEntries(Object.keys(table).map((name) => [name, dyingAdapter])) as unknown as Adapters<
    typeof table
  >;

const dyingAdapter: Adapter = (compiled, kernel) => {
  const plain = callFunction(compiled, kernel);
  return {
    calls: {
      [compiled.name]: (...args) => {
        if (compiled.name === 'oops_end') {
          laySummary(compiled, kernel);
          kernel.environment.setInNmi(kernel.context.cpu, kernel.context.reportInInterrupt);
        }
        return withStack(compiled, kernel, () => plain(...args));
      },
    },
  };
};

/** Of an object that has exec_summary_regs the model is the owner: __die() may be the model's. */
function laySummary({ object }: CompiledFunction, kernel: Kernel): void {
  const symbol = object.linked.symbols.find(({ name }) => name === 'exec_summary_regs');
  const { execSummaryRegs } = kernel.context;
  if (symbol === undefined || execSummaryRegs === null) return;
  object.ptRegs?.write(execSummaryRegs as X86PtRegs, virtAddr(symbol.address));
}

export const DOUBLE_FAULT_ADAPTERS: Adapters<typeof DOUBLE_FAULT_FUNCTIONS> = {
  exc_double_fault: (compiled, kernel) => ({
    paths: { exc_double_fault: doubleFault(compiled, kernel) },
  }),
};

const doubleFault = (compiled: CompiledFunction, kernel: Kernel): CompiledPathFunction =>
  function* (regs, fault) {
    const vcpu = kernel.cpus[kernel.context.cpu];
    const { below, exception, onDoubleFaultStack, task } = vcpu;
    const { ptRegs } = compiled.object;
    const start = kernel.context.log.length;
    vcpu.exception = { regs, fault, cameTo: null, isDouble: true };
    vcpu.below = ownMemory(compiled, kernel, HAND_PAGES * kernel.pageSize);
    vcpu.onDoubleFaultStack = true;
    vcpu.cpu.writeRegister('cr2', fault.addr);
    kernel.environment.setInNmi(vcpu.id, true);
    try {
      const at = ptRegs!.write(regs, ownMemory(compiled, kernel, 0));
      yield* call(compiled, at, fault.code, fault.addr);
      return { resolution: 'oops', lines: [], halted: `${compiled.name} returned` };
    } catch (error) {
      if (!(error instanceof CompiledEnd) || error.end.outcome !== 'oops') throw error;
      const lines = kernel.context.log.slice(start);
      if (getStackGuardInfo(task, fault.addr)) return { resolution: 'oops', lines };
      return { resolution: 'oops', lines, halted: 'double fault' };
    } finally {
      kernel.environment.setInNmi(vcpu.id, false);
      vcpu.below = below;
      vcpu.onDoubleFaultStack = onDoubleFaultStack;
      vcpu.exception = exception;
    }
  };
