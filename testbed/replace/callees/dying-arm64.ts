// How an arm64 kernel dies, for compiled code that calls for it. What does not return ends the code with the oops.
import {
  className,
  dataAbortDecode,
  die,
  dieKernelFault,
  memAbortDecode,
  showPte,
} from '../../../arch/arm64/oops.ts';
import { Arm64PtRegs } from '../../../arch/arm64/registers.ts';
import { dumpBacktrace, dumpKernelInstr, showRegsOnly } from '../../../arch/arm64/show-regs.ts';
import { dumpStackPrintInfo, oopsExit, printModules } from '../../../arch/oops.ts';
import { virtAddr } from '../../../emulator/address.ts';
import { onward } from '../../../mm/context.ts';
import { CompiledEnd } from '../compiled-end.ts';
import { note } from '../exception.ts';
import type { Callee } from '../guest-calls.ts';
import { readText } from '../printk-format.ts';
import { type Argument, type CalleeParts, plain } from './index.ts';
import { registersAt } from './path.ts';

const TAINT_MACHINE_CHECK = 4n;
const TAINT_DIE = 7n;

export function dyingArm64Callees(parts: CalleeParts): [string, Callee][] {
  const { kernel } = parts;
  const { context } = kernel;
  const vcpu = () => kernel.cpus[context.cpu];
  const on = () => vcpu().faultContext;
  const regsAt = (address: bigint) => registersAt(parts, address).regs as Arm64PtRegs;
  const begin = () => {
    context.endLine();
    context.reportStart ??= context.log.length;
  };
  const end = (by: string): never => {
    context.endLine();
    const lines = context.log.slice(context.reportStart ?? 0);
    context.reportStart = null;
    throw new CompiledEnd(by, { outcome: 'oops', lines });
  };
  const dieOf = (what: bigint, regs: bigint, err: bigint): never => {
    begin();
    die(on(), readText(kernel, what), regsAt(regs), err);
    return end('die');
  };
  const printing = (print: (argument: Argument) => void): Callee =>
    plain((argument) => {
      context.endLine();
      print(argument);
      return null;
    });
  /** Text that stays. */
  const classes = new Map<string, bigint>();
  const nothing = plain(() => 0n);
  const none = (...names: string[]) => names.map((name): [string, Callee] => [name, nothing]);
  return [
    [
      'bust_spinlocks',
      plain((argument) => {
        if (argument(0) !== 0n) begin();
        return null;
      }),
    ],
    ['die', plain((argument) => dieOf(argument(0), argument(1), argument(2)))],
    [
      // arm64_notify_die(str, regs, signo, sicode, far, err), of a fault of the kernel itself.
      'arm64_notify_die',
      plain((argument) => dieOf(argument(0), argument(1), argument(5))),
    ],
    [
      'die_kernel_fault',
      function* (argument) {
        const [addr, esr, regs] = [virtAddr(argument(1)), argument(2), regsAt(argument(3))];
        const path = dieKernelFault(on(), readText(kernel, argument(0)), addr, esr, regs);
        note(vcpu(), 'die_kernel_fault', yield* onward(path));
        return null;
      },
    ],
    ['make_task_dead', plain(() => end('make_task_dead'))],
    ['do_exit', plain(() => end('do_exit'))],
    [
      'add_taint',
      plain((argument) => {
        if (argument(0) === TAINT_DIE) context.dieCounter++;
        if (argument(0) === TAINT_MACHINE_CHECK) context.machineCheck = true;
        return null;
      }),
    ],
    [
      'esr_get_class_string',
      plain((argument) => {
        const name = className(on(), argument(0));
        const at = classes.get(name) ?? parts.heap.text(name);
        classes.set(name, at);
        return at;
      }),
    ],
    ['mem_abort_decode', printing((argument) => memAbortDecode(on(), argument(0)))],
    ['data_abort_decode', printing((argument) => dataAbortDecode(on(), argument(0)))],
    ['show_pte', printing((argument) => showPte(on(), virtAddr(argument(0))))],
    ['print_modules', printing(() => printModules(on()))],
    ['show_regs_print_info', printing(() => dumpStackPrintInfo(on()))],
    ['__show_regs', printing((argument) => showRegsOnly(on(), regsAt(argument(0))))],
    [
      'show_regs',
      printing((argument) => {
        showRegsOnly(on(), regsAt(argument(0)));
        dumpBacktrace(on(), regsAt(argument(0)));
      }),
    ],
    ['dump_backtrace', printing((argument) => dumpBacktrace(on(), regsAt(argument(0))))],
    [
      'dump_kernel_instr',
      printing((argument) => {
        const regs = new Arm64PtRegs();
        regs.ip = virtAddr(argument(0));
        dumpKernelInstr(on(), regs);
      }),
    ],
    ['oops_exit', printing(() => oopsExit(on()))],
    ...none('oops_enter', 'console_verbose', 'notify_die', 'kexec_should_crash', 'crash_kexec'),
    ...none('kasan_non_canonical_hook', 'kasan_report', 'console_flush_on_panic'),
  ];
}
