// Stack walks that compiled code asks for, and what they call back.
import { virtAddr } from '../../../emulator/address.ts';
import { bool, type Callee } from '../guest-calls.ts';
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
