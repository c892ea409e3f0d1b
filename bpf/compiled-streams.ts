// What the model asks of compiled code in the place of kernel/bpf/stream.c, and the report and the dump of a stack that are
// put together out of such functions and the model's. None has a step that another CPU could see.
import type { StackFrame } from '../arch/unwind.ts';
import { CHANGED, type KernelContext, LOOKED } from '../mm/context.ts';
import type { BpfContext } from './context.ts';
import type { BpfProg } from './prog.ts';
import {
  type BpfStream,
  BpfStreamStage,
  bpfProgStreamRead,
  bpfStreamGet,
  bpfStreamStageCommit,
  bpfStreamVprintk,
  tellWrite,
} from './stream.ts';

export interface CompiledStreams {
  bpfStreamStageInit?(stage: BpfStreamStage): void;
  bpfStreamStageFree?(stage: BpfStreamStage): void;
  bpfStreamStagePrintk?(stage: BpfStreamStage, text: string): number;
  bpfStreamStageDumpStack?(stage: BpfStreamStage): number;
  /** @returns what the function left of the error in its struct dump_stack_ctx */
  dumpStackCb?(stage: BpfStreamStage, frame: StackFrame): number;
  /** The stage is left empty where the stream has taken it. */
  bpfStreamStageCommit?(stage: BpfStreamStage, prog: BpfProg, id: number): number;
  bpfStreamVprintk?(prog: BpfProg, id: number, text: string): number;
  bpfStreamGet?(prog: BpfProg, id: number): BpfStream | null;
  bpfStreamConsumeCapacity?(prog: BpfProg, stream: BpfStream, length: number): number;
  bpfStreamRead?(
    prog: BpfProg,
    stream: BpfStream,
    length: number,
    writable: number,
  ): Uint8Array | number;
  bpfProgStreamRead?(
    prog: BpfProg,
    id: number,
    length: number,
    writable: number,
  ): Uint8Array | number;
  bpfProgStreamInit?(prog: BpfProg): void;
}

/** True if a message is made with functions of compiled code. */
export const makesMessages = (compiled: CompiledStreams): boolean =>
  Boolean(
    compiled.bpfStreamStageInit ||
      compiled.bpfStreamStageFree ||
      compiled.bpfStreamStagePrintk ||
      compiled.bpfStreamStageDumpStack ||
      compiled.dumpStackCb ||
      compiled.bpfStreamStageCommit ||
      compiled.bpfStreamGet ||
      compiled.bpfStreamConsumeCapacity,
  );

export function stagePrintk({ compiled }: BpfContext, stage: BpfStreamStage, text: string): number {
  return compiled?.bpfStreamStagePrintk
    ? compiled.bpfStreamStagePrintk(stage, text)
    : stage.printk(text);
}

/** The dump of the last walk, bpf_stream_stage_dump_stack(), by whoever does its parts. */
export function stageDumpStack(bpf: BpfContext, stage: BpfStreamStage): number {
  const { compiled, trace } = bpf;
  if (compiled?.bpfStreamStageDumpStack) return compiled.bpfStreamStageDumpStack(stage);
  if (!compiled?.bpfStreamStagePrintk && !compiled?.dumpStackCb) {
    const { lines, len } = trace.dumpStack();
    stage.lines.push(...lines);
    stage.len += len;
    return 0;
  }
  for (const text of [trace.head(), 'Call trace:\n']) {
    const err = stagePrintk(bpf, stage, text);
    if (err) return err;
  }
  for (const frame of trace.offered) {
    const err = compiled.dumpStackCb
      ? compiled.dumpStackCb(stage, frame)
      : stagePrintk(bpf, stage, trace.frameText(frame.ip));
    if (err) return err;
  }
  return stagePrintk(bpf, stage, '\n');
}

/** A commit, bpf_stream_stage_commit(), and the event of it. */
export function stageCommit(
  { compiled, kernel }: BpfContext,
  stage: BpfStreamStage,
  prog: BpfProg,
  id: number,
): number {
  if (!compiled?.bpfStreamStageCommit) {
    return bpfStreamStageCommit(kernel, stage, prog, id, compiled);
  }
  const lines = [...stage.lines];
  const err = compiled.bpfStreamStageCommit(stage, prog, id);
  if (kernel.events.on && bpfStreamGet(prog, id)) tellWrite(kernel, prog, id, lines, err !== 0);
  return err;
}

/** A whole message in the kernel's calls: the report of a violation. @param head its first line */
export function reportInCalls(bpf: BpfContext, prog: BpfProg, id: number, head: string): void {
  const { compiled, kernel } = bpf;
  const stage = new BpfStreamStage(kernel);
  compiled?.bpfStreamStageInit?.(stage);
  stagePrintk(bpf, stage, head);
  stageDumpStack(bpf, stage);
  kernel.work.reportBytes += stage.len;
  stageCommit(bpf, stage, prog, id);
  compiled?.bpfStreamStageFree?.(stage);
}

/** A print, bpf_stream_vprintk(), and the event of it. */
export function vprintk(
  { compiled, kernel }: BpfContext,
  prog: BpfProg,
  id: number,
  text: string,
): number {
  if (!compiled?.bpfStreamVprintk) return bpfStreamVprintk(kernel, prog, id, text, compiled);
  const stream = bpfStreamGet(prog, id);
  if (stream) kernel.access?.object(stream, LOOKED | CHANGED);
  const before = stream === null ? 0 : stream.contents().pending.length;
  const err = compiled.bpfStreamVprintk(prog, id, text);
  if (kernel.events.on && stream) tellPrint(kernel, prog, id, stream, before, text, err);
  return err;
}

/** What the model tells of a print: the element that was added, or the text that was refused for want of room. */
function tellPrint(
  kernel: KernelContext,
  prog: BpfProg,
  id: number,
  stream: BpfStream,
  before: number,
  text: string,
  err: number,
): void {
  const added = stream.contents().pending.slice(before);
  if (added.length > 0) {
    tellWrite(
      kernel,
      prog,
      id,
      added.map(({ line }) => line),
      false,
    );
  } else if (err === ENOSPC) tellWrite(kernel, prog, id, [{ text, length: text.length }], true);
}

const ENOSPC = -28;

/** A read, bpf_prog_stream_read(), by whoever does it. */
export function streamRead(
  { compiled, kernel }: BpfContext,
  prog: BpfProg,
  id: number,
  length: number,
): Uint8Array | number {
  if (!compiled?.bpfProgStreamRead) {
    return bpfProgStreamRead(kernel, prog, id, length, length, compiled);
  }
  const stream = bpfStreamGet(prog, id);
  if (stream) kernel.access?.object(stream, LOOKED | CHANGED);
  return compiled.bpfProgStreamRead(prog, id, length, length);
}
