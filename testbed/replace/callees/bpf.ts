// What of BPF compiled code may call: the search for the running program, and reports.
import { bpfProgReportArenaViolation, reportForCompiled } from '../../../bpf/arena-fault.ts';
import { virtAddr } from '../../../emulator/address.ts';
import { KernelStuck } from '../../../mm/context.ts';
import { bool, type Callee } from '../guest-calls.ts';
import type { CalleeParts } from './index.ts';

export function progCallees(parts: CalleeParts): [string, Callee][] {
  const { kernel, structures } = parts;
  const { bpf } = kernel;
  return [
    [
      'bpf_prog_find_from_stack',
      function* () {
        const { compiled, trace } = bpf;
        if (!compiled?.bpfProgFindFromStack) trace.walk();
        const prog = compiled?.bpfProgFindFromStack
          ? yield* compiled.bpfProgFindFromStack()
          : trace.findProg();
        return prog === null ? 0n : structures.prog(prog);
      },
    ],
    [
      '__bpf_prog_report_arena_violation',
      function* (argument) {
        const prog = structures.progAt(argument(0));
        if (prog === null) throw new KernelStuck('reports for what is no struct bpf_prog');
        const [isWrite, offset, faultIp] = [bool(argument(1)), argument(2), virtAddr(argument(3))];
        yield* reportForCompiled(bpf, prog, isWrite, offset, faultIp);
        return null;
      },
    ],
    [
      'bpf_prog_report_arena_violation',
      function* (argument) {
        const [isWrite, addr, faultIp] = [bool(argument(0)), argument(1), virtAddr(argument(2))];
        yield* bpfProgReportArenaViolation(bpf, isWrite, addr, faultIp);
        return null;
      },
    ],
  ];
}
