// x86's ORC unwinder and what it asks, for compiled code that walks a stack: on the code's own struct unwind_state.
import { virtAddr } from '../../../emulator/address.ts';
import type { Callee } from '../guest-calls.ts';
import { UnwindStates } from '../unwind-state.ts';
import { type CalleeParts, plain } from './index.ts';

export function orcCallees({ kernel, structures, orc }: CalleeParts): [string, Callee][] {
  const { bpf } = kernel;
  const states = new UnwindStates(kernel, structures);
  const truth = (is: boolean) => (is ? 1n : 0n);
  return [
    [
      // __unwind_start(state, task, regs, first_frame): the frames up to the exception are skipped, as the model has none.
      '__unwind_start',
      plain((argument) => {
        const [state, task, regs, firstFrame] = [0, 1, 2, 3].map(argument);
        states.startBy(state, task, regs, firstFrame);
        return null;
      }),
    ],
    ['unwind_next_frame', plain((argument) => truth(states.nextBy(argument(0))))],
    ['unwind_get_return_address', plain((argument) => states.returnAddressBy(argument(0)))],
    ['unwind_get_return_address_ptr', plain((argument) => states.returnAddressPtrBy(argument(0)))],
    ['orc_find', plain((argument) => orc.entry(argument(0)) ?? 0n)],
    ['__module_address', plain((argument) => orc.moduleOf(argument(0), structures))],
    [
      // get_stack_info(stack, task, info, visit_mask)
      'get_stack_info',
      plain((argument) => {
        const [stack, task, info, visitMask] = [0, 1, 2, 3].map(argument);
        return BigInt(states.stackInfoBy(stack, task, info, visitMask));
      }),
    ],
    [
      '__kernel_text_address',
      plain((argument) => {
        const ip = virtAddr(argument(0));
        return truth(kernel.symbols.find(ip) !== null || bpf.ksyms.lookUp(ip) !== null);
      }),
    ],
    [
      'bpf_has_frame_pointer',
      plain((argument) => truth(bpf.ksyms.lookUp(virtAddr(argument(0))) !== null)),
    ],
  ];
}
