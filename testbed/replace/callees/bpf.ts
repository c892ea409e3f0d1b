// What of BPF compiled code may call: the search for the running program, and the streams that it reports to.
import { bpfProgReportArenaViolation, reportForCompiled } from '../../../bpf/arena-fault.ts';
import { BpfStreamStage, bpfStreamGet, bpfStreamStageCommit } from '../../../bpf/stream.ts';
import { virtAddr } from '../../../emulator/address.ts';
import { ADDED, CHANGED, KernelStuck, LOOKED } from '../../../mm/context.ts';
import { bool, type Callee } from '../guest-calls.ts';
import { formatText, readText } from '../printk-format.ts';
import { type CalleeParts, plain } from './index.ts';

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

/** A message in the making is known by the address of its struct bpf_stream_stage, which stays the code's own. */
export function streamCallees({ kernel, structures }: CalleeParts): [string, Callee][] {
  const { bpf, context } = kernel;
  const stages = new Map<string, BpfStreamStage>();
  const keyOf = (address: bigint) => `${context.cpu}:${address}`;
  const stage = (address: bigint): BpfStreamStage => {
    const found = stages.get(keyOf(address));
    if (found !== undefined) return found;
    throw new KernelStuck(
      `0x${address.toString(16)} is no stage that bpf_stream_stage_init() made`,
    );
  };
  return [
    [
      'bpf_stream_stage_init',
      plain((argument) => {
        stages.set(keyOf(argument(0)), new BpfStreamStage(context));
        return null;
      }),
    ],
    [
      'bpf_stream_stage_free',
      plain((argument) => {
        stages.delete(keyOf(argument(0)));
        return null;
      }),
    ],
    [
      'bpf_stream_stage_printk',
      plain((argument) => {
        let i = 2;
        const text = formatText(kernel, readText(kernel, argument(1)), () => argument(i++));
        return BigInt(stage(argument(0)).printk(text));
      }),
    ],
    [
      'bpf_stream_stage_dump_stack',
      plain((argument) => {
        bpf.trace.walk();
        const { lines, len } = bpf.trace.dumpStack();
        const to = stage(argument(0));
        to.lines.push(...lines);
        to.len += len;
        return 0n;
      }),
    ],
    [
      'bpf_stream_stage_commit',
      plain((argument) => {
        const [made, prog] = [stage(argument(0)), structures.progAt(argument(1))];
        if (prog === null) throw new KernelStuck('commits for what is no struct bpf_prog');
        const id = Number(argument(2) & 0xffff_ffffn);
        context.work.reports++;
        context.work.reportBytes += made.len;
        const stream = bpfStreamGet(prog, id);
        if (stream !== null) {
          context.access?.object(stream, stream.isRoomy ? ADDED : LOOKED | CHANGED);
        }
        return BigInt(bpfStreamStageCommit(context, made, prog, id));
      }),
    ],
  ];
}
