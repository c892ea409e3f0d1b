// What the page-fault path of x86-64 asks, for compiled code that asks it: arch/x86/mm/fault.c and the entry code.
import {
  faultInKernelSpace,
  spuriousKernelFault,
  spuriousKernelFaultCheck,
} from '../../../arch/x86/fault.ts';
import { type PhysAddr, virtAddr } from '../../../emulator/address.ts';
import { hex, lo32 } from '../../../emulator/bits.ts';
import { KernelStuck } from '../../../mm/context.ts';
import type { Callee } from '../guest-calls.ts';
import { type CalleeParts, plain } from './index.ts';

export function faultX86Callees({ kernel, structures }: CalleeParts): [string, Callee][] {
  const context = () => kernel.cpus[kernel.context.cpu].faultContext;
  const tell = (fn: string, text: string) => {
    if (kernel.events.on) kernel.context.decide(fn, text);
  };
  const nothing = plain(() => 0n);
  return [
    [
      'fault_in_kernel_space',
      plain((argument) => {
        const yes = faultInKernelSpace(context(), virtAddr(argument(0)));
        tell('fault_in_kernel_space', yes ? 'a kernel address' : 'a user address');
        return BigInt(yes);
      }),
    ],
    [
      'spurious_kernel_fault',
      plain((argument) => {
        const fault = { code: argument(0), addr: virtAddr(argument(1)) };
        const yes = spuriousKernelFault(context(), fault);
        tell('spurious_kernel_fault', yes ? 'the entry permits it now' : 'not spurious');
        return BigInt(yes);
      }),
    ],
    [
      'spurious_kernel_fault_check',
      plain((argument) => {
        const at = structures.physical(argument(1));
        if (at === null || !kernel.ram.contains(at, 8)) {
          throw new KernelStuck(
            `spurious_kernel_fault_check is handed ${hex(argument(1))}, no entry`,
          );
        }
        const entry = { height: 0, at: at as PhysAddr, value: kernel.ram.read64(at) };
        return BigInt(spuriousKernelFaultCheck(context(), lo32(argument(0)), entry));
      }),
    ],
    // What the entry does of RCU and of lockdep is not modelled.
    ...['irqentry_enter', 'irqentry_exit'].map((name): [string, Callee] => [name, nothing]),
  ];
}
