// What of kernel/bpf/stream.c compiled code may call. A message in the making lies in memory, at the struct bpf_stream_stage
// that the code has for it, whoever has made its elements.
import { stageCommit, stageDumpStack, stagePrintk } from '../../../bpf/compiled-streams.ts';
import { BpfStreamStage, bpfStreamGet } from '../../../bpf/stream.ts';
import { ADDED, CHANGED, KernelStuck, LOOKED } from '../../../mm/context.ts';
import type { Callee } from '../guest-calls.ts';
import { formatText, readText } from '../printk-format.ts';
import { type CalleeParts, plain } from './index.ts';

export function streamCallees({ kernel, structures, state }: CalleeParts): [string, Callee][] {
  const { bpf, context } = kernel;
  /** Does something to the message at an address. */
  const onStage = <T>(at: bigint, action: (stage: BpfStreamStage) => T): T => {
    const { messages } = state;
    const stage = new BpfStreamStage(context);
    messages.readStage(at, stage);
    const result = action(stage);
    messages.writeStage(at, stage);
    return result;
  };
  return [
    [
      'bpf_stream_stage_init',
      plain((argument) => {
        const stage = new BpfStreamStage(context);
        bpf.compiled?.bpfStreamStageInit?.(stage);
        state.messages.writeStage(argument(0), stage);
        return null;
      }),
    ],
    [
      'bpf_stream_stage_free',
      plain((argument) => {
        onStage(argument(0), (stage) => {
          bpf.compiled?.bpfStreamStageFree?.(stage);
          stage.lines.length = 0;
        });
        return null;
      }),
    ],
    [
      'bpf_stream_stage_printk',
      plain((argument) => {
        let i = 2;
        const text = formatText(kernel, readText(kernel, argument(1)), () => argument(i++));
        return BigInt(onStage(argument(0), (stage) => stagePrintk(bpf, stage, text)));
      }),
    ],
    [
      'bpf_stream_stage_dump_stack',
      plain((argument) => {
        bpf.trace.walk();
        return BigInt(onStage(argument(0), (stage) => stageDumpStack(bpf, stage)));
      }),
    ],
    [
      'bpf_stream_stage_commit',
      plain((argument) => {
        const prog = structures.progAt(argument(1));
        if (prog === null) throw new KernelStuck('commits for what is no struct bpf_prog');
        const id = Number(argument(2) & 0xffff_ffffn);
        return BigInt(
          onStage(argument(0), (stage) => {
            context.work.reports++;
            context.work.reportBytes += stage.len;
            const stream = bpfStreamGet(prog, id);
            if (stream !== null) {
              context.access?.object(stream, stream.isRoomy ? ADDED : LOOKED | CHANGED);
            }
            const err = stageCommit(bpf, stage, prog, id);
            // The elements are the stream's now.
            if (err === 0) stage.lines.length = 0;
            return err;
          }),
        );
      }),
    ],
  ];
}
