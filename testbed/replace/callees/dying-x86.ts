// How an x86-64 kernel dies, for compiled code that calls for it. Those that do not return end the code with the oops.

import { dumpStackPrintInfo, oopsExit, panic, printModules } from '../../../arch/oops.ts';
import { die, dumpPagetable, oopsEnd, showFaultOops } from '../../../arch/x86/oops.ts';
import type { X86PtRegs } from '../../../arch/x86/registers.ts';
import {
  showAllRegs,
  showOpcodes,
  showRegs,
  showTraceLogLvl,
} from '../../../arch/x86/show-regs.ts';
import { handleStackOverflow } from '../../../arch/x86/stack-guard.ts';
import { type VirtAddr, virtAddr } from '../../../emulator/address.ts';
import { lo32 } from '../../../emulator/bits.ts';
import { ERRNO, KernelStuck } from '../../../mm/context.ts';
import { CompiledEnd } from '../compiled-end.ts';
import { note } from '../exception.ts';
import type { Callee } from '../guest-calls.ts';
import { formatText, readText } from '../printk-format.ts';
import { type Argument, type CalleeParts, plain } from './index.ts';
import { registersAt } from './path.ts';

const HARMLESS = [
  ...['efi_crash_gracefully_on_page_fault', 'bust_spinlocks', 'console_verbose', 'add_taint'],
  ...['notify_die', 'kexec_should_crash', 'crash_kexec', 'oops_enter'],
];

export function dyingX86Callees(parts: CalleeParts): [string, Callee][] {
  const { kernel } = parts;
  const { context } = kernel;
  const vcpu = () => kernel.cpus[context.cpu];
  const regsAt = (address: bigint) => registersAt(parts, address).regs as X86PtRegs;
  /** CR2 as the exception found it. */
  const cr2 = (): VirtAddr => vcpu().exception?.fault.addr ?? virtAddr(0n);
  const begin = () => {
    context.endLine();
    context.reportStart = context.log.length;
    return 0n;
  };
  const end = (by: string): never => {
    const lines = context.log.slice(context.reportStart ?? 0);
    context.reportStart = null;
    throw new CompiledEnd(by, { outcome: 'oops', lines });
  };
  /** In the handler of a double fault the whole kernel dies. */
  const isFatal = () => vcpu().exception?.isDouble === true || context.reportInInterrupt;
  const finish = (regs: bigint) => oopsEnd(vcpu().faultContext, regsAt(regs), cr2(), isFatal());
  const report = (argument: Argument): bigint => {
    const [regs, err] = [regsAt(argument(1)), lo32(argument(2))];
    die(vcpu().faultContext, readText(kernel, argument(0)), regs, err, cr2());
    return 0n;
  };
  return [
    ['oops_begin', plain(begin)],
    ['__die', plain(report)],
    [
      'die',
      plain((argument) => {
        begin();
        report(argument);
        finish(argument(1));
        return end('die');
      }),
    ],
    [
      'oops_end',
      plain((argument) => {
        finish(argument(1));
        return lo32(argument(2)) === 0 ? null : end('oops_end');
      }),
    ],
    [
      'show_fault_oops',
      plain((argument) => {
        const fault = { addr: virtAddr(argument(2)), code: argument(1), access: 'read' } as const;
        showFaultOops(vcpu().faultContext, regsAt(argument(0)), fault);
        return null;
      }),
    ],
    [
      'dump_pagetable',
      plain((argument) => {
        dumpPagetable(vcpu().faultContext, virtAddr(argument(0)));
        return null;
      }),
    ],
    [
      // The trace alone, as show_stack_regs() prints it.
      'show_stack_regs',
      plain((argument) => {
        showTraceLogLvl(vcpu().faultContext, regsAt(argument(0)));
        return null;
      }),
    ],
    ['make_task_dead', plain(() => end('make_task_dead'))],
    ['rewind_stack_and_make_dead', plain(() => end('rewind_stack_and_make_dead'))],
    ...(
      [
        ['dump_stack_print_info', dumpStackPrintInfo],
        ['show_regs_print_info', dumpStackPrintInfo],
        ['print_modules', printModules],
        ['oops_exit', oopsExit],
        ['print_oops_end_marker', oopsExit],
      ] as const
    ).map(([name, print]): [string, Callee] => [
      name,
      plain(() => {
        print(vcpu().faultContext);
        return null;
      }),
    ]),
    [
      // panic(const char *format, ...): never returns
      'panic',
      plain((argument) => {
        let i = 1;
        const text = formatText(kernel, readText(kernel, argument(0)), () => argument(i++));
        panic(vcpu().faultContext, text);
        return end('panic');
      }),
    ],
    [
      'handle_stack_overflow',
      plain((argument) => {
        const on = vcpu();
        const [regs, addr] = [regsAt(argument(0)), virtAddr(argument(1))];
        note(
          on,
          'handle_stack_overflow',
          handleStackOverflow(on.faultContext, regs, addr, isFatal()),
        );
        return null;
      }),
    ],
    [
      // bool get_stack_info_noinstr(unsigned long *stack, struct task_struct *, struct stack_info *)
      'get_stack_info_noinstr',
      plain((argument) => {
        const { task } = vcpu();
        const [at, info] = [argument(0), argument(2)];
        if (at < task.stack || at >= task.stackEnd) return 0n;
        const { members } = parts.structures.layout('stack_info');
        for (const [name, value] of [
          ['begin', task.stack],
          ['end', task.stackEnd],
          ['type', 1n],
        ] as const) {
          const member = members.get(name);
          if (member === undefined) continue;
          const bytes = new Uint8Array(8);
          new DataView(bytes.buffer).setBigUint64(0, value, true);
          kernel.memory.write(
            virtAddr(info + BigInt(member.offset)),
            bytes.subarray(0, member.size),
          );
        }
        return 1n;
      }),
    ],
    [
      // long copy_from_kernel_nofault(void *to, const void *from, size_t)
      'copy_from_kernel_nofault',
      plain((argument) => {
        const [to, from, size] = [virtAddr(argument(0)), virtAddr(argument(1)), argument(2)];
        if (size > 0x1000n) throw new KernelStuck(`copies ${size} bytes at once`);
        const last = from + (size || 1n) - 1n;
        for (const at of [from, last]) {
          if (kernel.memory.physOf(virtAddr(at)) === null) parts.structures.pages.provide(at);
        }
        const bytes = kernel.memory.read(from, Number(size));
        return bytes !== null && kernel.memory.write(to, bytes) ? 0n : BigInt(ERRNO.EFAULT);
      }),
    ],
    [
      'show_regs',
      plain((argument) => {
        showRegs(vcpu().faultContext, regsAt(argument(0)), cr2());
        return null;
      }),
    ],
    [
      '__show_regs',
      plain((argument) => {
        showAllRegs(vcpu().faultContext, regsAt(argument(0)), cr2());
        return null;
      }),
    ],
    [
      'show_opcodes',
      plain((argument) => {
        showOpcodes(vcpu().faultContext, regsAt(argument(0)));
        return null;
      }),
    ],
    [
      // void show_trace_log_lvl(struct task_struct *, struct pt_regs *, unsigned long *stack, const char *log_lvl)
      'show_trace_log_lvl',
      plain((argument) => {
        showTraceLogLvl(vcpu().faultContext, regsAt(argument(1)));
        return null;
      }),
    ],
    // What only other machines, other notifiers or the console would notice.
    ...HARMLESS.map((name): [string, Callee] => [name, plain(() => 0n)]),
  ];
}
