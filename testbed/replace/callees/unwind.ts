// Stack walks that compiled code asks for, and what they call back.
import { virtAddr } from '../../../emulator/address.ts';
import { bool, type Callee } from '../guest-calls.ts';
import { UnwindStates } from '../unwind-state.ts';
import { writeWordAt } from '../words.ts';
import { type CalleeParts, plain } from './index.ts';

export function unwindCallees(parts: CalleeParts): [string, Callee][] {
  const { kernel, structures } = parts;
  const { bpf } = kernel;
  return [
    [
      // void arch_bpf_stack_walk(bool (*consume_fn)(void *cookie, u64 ip, u64 sp, u64 bp), void *cookie)
      'arch_bpf_stack_walk',
      function* (argument) {
        const [fn, cookie] = [virtAddr(argument(0)), argument(1)];
        const name = kernel.symbols.find(fn)?.name ?? 'consume_fn';
        for (const { ip, sp, bp } of bpf.trace.walkFrames()) {
          if (!bool(yield* parts.calls!.call(name, fn, [cookie, ip, sp, bp]))) break;
        }
        return null;
      },
    ],
    [
      // The context has the program alone.
      'find_from_stack_cb',
      plain((argument) => {
        const prog = bpf.ksyms.findProg(virtAddr(argument(1)));
        if (prog === null) return 1n;
        writeWordAt(kernel, argument(0), structures.prog(prog.mainProg), 'find_from_stack_cb');
        return 0n;
      }),
    ],
  ];
}

/** x86's ORC unwinder, on the code's own struct unwind_state. */
export function orcCallees({ kernel, structures }: CalleeParts): [string, Callee][] {
  const states = new UnwindStates(kernel, structures);
  return [
    [
      // __unwind_start(state, task, regs, first_frame): the frames up to the exception are skipped, as the model has none.
      '__unwind_start',
      plain((argument) => {
        states.start(argument(0), argument(1), null);
        return null;
      }),
    ],
    ['unwind_next_frame', plain((argument) => (states.next(argument(0)) ? 1n : 0n))],
    ['unwind_get_return_address', plain((argument) => states.returnAddress(argument(0)))],
    ['unwind_get_return_address_ptr', plain((argument) => states.returnAddressPtr(argument(0)))],
  ];
}
