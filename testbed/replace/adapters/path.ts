// Functions of the fault path in compiled code.
import type { CompiledPathFunction } from '../../../arch/compiled-path.ts';
import { hex } from '../../../emulator/bits.ts';
import { KernelStuck } from '../../../mm/context.ts';
import type { Kernel } from '../../kernel.ts';
import { before, cameTo } from '../exception.ts';
import { REPLACEABLE } from '../functions/index.ts';
import { s32 } from '../guest-calls.ts';
import { argumentsFor } from '../path-arguments.ts';
import type { CompiledFunction } from '../replacements.ts';
import { type Adapter, type Adapters, call } from './adapter.ts';

/** Functions before which another CPU may run, as before the model's. */
const STEPS: ReadonlySet<string> = new Set(['page_fault_oops']);

/** An adapter for every function of a table. */
export const pathAdapters = <Table extends object>(table: Table): Adapters<Table> =>
  Object.fromEntries(
    Object.keys(table).map((name) => [name, pathAdapter]),
  ) as unknown as Adapters<Table>;

const pathAdapter: Adapter = (compiled, kernel) => ({
  paths: { [compiled.name]: pathFunction(compiled, kernel) },
});

const pathFunction = (compiled: CompiledFunction, kernel: Kernel): CompiledPathFunction =>
  function* (regs, fault) {
    const { name, object } = compiled;
    const { prototype } = REPLACEABLE[name];
    if (kernel.context.stepping && STEPS.has(name)) yield { kind: 'call', what: name };
    const { exception, cpu } = kernel.cpus[kernel.context.cpu];
    if (exception === null || object.ptRegs === null) {
      throw new KernelStuck(`${name} is called for a fault at ${hex(fault.addr)} that nobody took`);
    }
    exception.cameTo = null;
    const found = before(kernel, exception);
    if (kernel.arch.name === 'arm64') cpu.writeRegister('far_el1', exception.fault.addr);
    const at = object.ptRegs.write(regs);
    const result = yield* call(compiled, ...argumentsFor(prototype, at, fault));
    object.ptRegs.read(regs, at);
    kernel.context.endLine();
    // A handler's int says whether it handled the fault.
    if (prototype.startsWith('int ') && s32(result) !== 0) return null;
    return cameTo(kernel, exception, found);
  };
