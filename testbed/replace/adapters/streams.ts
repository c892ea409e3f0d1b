// kernel/bpf/stream.c in compiled code.
import type { BpfProg } from '../../../bpf/prog.ts';
import type { BpfStream, BpfStreamStage } from '../../../bpf/stream.ts';
import { hex } from '../../../emulator/bits.ts';
import { KernelStuck } from '../../../mm/context.ts';
import { CallError } from '../../call-error.ts';
import type { Kernel } from '../../kernel.ts';
import { membersOf } from '../code-memory.ts';
import type { STREAM_FUNCTIONS } from '../functions/streams.ts';
import { bool, s32 } from '../guest-calls.ts';
import type { CompiledFunction } from '../replacements.ts';
import { USER_BUFFER } from '../user-buffer.ts';
import { type Adapters, callNow } from './adapter.ts';

const encoder = new TextEncoder();

/** Calls with a stage in memory, which is taken back afterwards. */
function onStage<T>(
  { name, object: { state } }: CompiledFunction,
  stage: BpfStreamStage,
  call: (at: bigint) => T,
): T {
  const { messages } = state;
  const at = state.lendBytes(new Uint8Array(messages.stageSize));
  messages.writeStage(at, stage);
  const result = call(at);
  try {
    messages.readStage(at, stage);
  } catch (error) {
    if (!(error instanceof KernelStuck)) throw error;
    throw new KernelStuck(`${name} leaves a message with ${error.message}`);
  }
  return result;
}

/** Text as a format that prints it. */
const asFormat = ({ object }: CompiledFunction, text: string): bigint =>
  object.state.lendBytes(encoder.encode(`${text.replaceAll('%', '%%')}\0`));

/** Calls what writes to streams, of which whoever asks for it tells. */
function toldElsewhere<T>({ object }: CompiledFunction, call: () => T): T {
  const { streamMemory } = object.state;
  const before = streamMemory.isTold;
  streamMemory.isTold = true;
  try {
    return call();
  } finally {
    streamMemory.isTold = before;
  }
}

/** The address of a stream. @throws KernelStuck for one of no program that the code has been handed */
function addressOf({ object: { structures } }: CompiledFunction, prog: BpfProg, stream: BpfStream) {
  return structures.stream(prog, prog.streams.indexOf(stream));
}

/** Refuses objects before anything runs. @throws CallError */
const knowsStreams = (compiled: CompiledFunction) => void compiled.object.state.streamMemory;

export const STREAM_ADAPTERS: Adapters<typeof STREAM_FUNCTIONS> = {
  bpf_stream_stage_init: (compiled) => ({
    bpfStreamStageInit(stage) {
      const { state } = compiled.object;
      const at = state.lendBytes(new Uint8Array(state.messages.stageSize).fill(0xff));
      callNow(compiled, at);
      state.messages.readStage(at, stage);
      if (stage.lines.length > 0 || stage.len !== 0) {
        throw new KernelStuck(`${compiled.name} leaves a stage that is not empty`);
      }
    },
  }),
  bpf_stream_stage_free: (compiled) => ({
    bpfStreamStageFree(stage) {
      onStage(compiled, stage, (at) => callNow(compiled, at));
      if (stage.lines.length > 0) {
        throw new KernelStuck(
          `${compiled.name} leaves ${stage.lines.length} elements in the stage`,
        );
      }
    },
  }),
  bpf_stream_stage_printk: (compiled) => ({
    bpfStreamStagePrintk: (stage, text) =>
      onStage(compiled, stage, (at) => s32(callNow(compiled, at, asFormat(compiled, text)))),
  }),
  bpf_stream_stage_dump_stack: (compiled) => ({
    bpfStreamStageDumpStack: (stage) =>
      onStage(compiled, stage, (at) => s32(callNow(compiled, at))),
  }),
  dump_stack_cb(compiled) {
    const { structures, state } = compiled.object;
    const layout = structures.layout('dump_stack_ctx');
    const members = membersOf(
      layout,
      ['ss', 'err'],
      (what) => new CallError(`${structures.path}: ${what}`, 'its members must be ss and err'),
    );
    return {
      dumpStackCb: (stage, { ip, sp, bp }) =>
        onStage(compiled, stage, (at) => {
          const cookie = state.lendBytes(new Uint8Array(layout.size));
          state.memory.set(cookie, members.ss, at);
          const goesOn = bool(callNow(compiled, cookie, ip, sp, bp));
          const err = s32(state.memory.get(cookie, members.err));
          if (goesOn === (err === 0)) return err;
          throw new KernelStuck(`${compiled.name} returns ${goesOn} with err ${err}`);
        }),
    };
  },
  bpf_stream_stage_commit(compiled) {
    knowsStreams(compiled);
    return {
      bpfStreamStageCommit: (stage, prog, id) =>
        toldElsewhere(compiled, () =>
          onStage(compiled, stage, (at) => {
            const err = s32(callNow(compiled, at, compiled.object.structures.prog(prog), id));
            recall(prog);
            return err;
          }),
        ),
    };
  },
  bpf_stream_vprintk(compiled) {
    knowsStreams(compiled);
    return {
      bpfStreamVprintk: (prog, id, text) =>
        toldElsewhere(compiled, () => {
          const aux = compiled.object.structures.auxOf(prog.mainProg);
          const err = s32(callNow(compiled, id, asFormat(compiled, text), 0n, 0n, aux));
          recall(prog);
          return err;
        }),
    };
  },
  bpf_stream_get(compiled) {
    knowsStreams(compiled);
    return {
      bpfStreamGet(prog, id) {
        const { structures } = compiled.object;
        const { mainProg } = prog;
        const found = callNow(compiled, id, structures.auxOf(mainProg));
        if (found === 0n) return null;
        const stream = mainProg.streams.find((_, i) => structures.stream(mainProg, i) === found);
        if (stream !== undefined) return stream;
        throw new KernelStuck(`${compiled.name} returns ${hex(found)}, no stream of the program`);
      },
    };
  },
  bpf_stream_consume_capacity(compiled) {
    knowsStreams(compiled);
    return {
      bpfStreamConsumeCapacity: (prog, stream, length) =>
        s32(callNow(compiled, addressOf(compiled, prog.mainProg, stream), length)),
    };
  },
  bpf_stream_read(compiled, kernel) {
    knowsStreams(compiled);
    return {
      bpfStreamRead: (prog, stream, length, writable) =>
        reading(kernel, compiled, writable, () =>
          callNow(compiled, addressOf(compiled, prog.mainProg, stream), USER_BUFFER, length),
        ),
    };
  },
  bpf_prog_stream_read(compiled, kernel) {
    knowsStreams(compiled);
    return {
      bpfProgStreamRead: (prog, id, length, writable) =>
        reading(kernel, compiled, writable, () =>
          callNow(
            compiled,
            compiled.object.structures.prog(prog.mainProg),
            id,
            USER_BUFFER,
            length,
          ),
        ),
    };
  },
  bpf_prog_stream_init(compiled) {
    knowsStreams(compiled);
    return {
      bpfProgStreamInit(prog) {
        const { state, structures } = compiled.object;
        state.streamMemory.unmade = prog;
        callNow(compiled, structures.prog(prog));
        state.streamMemory.unmade = null;
        for (const stream of prog.streams) {
          const { capacity, pending } = stream.contents();
          if (capacity === 0 && pending.length === 0) continue;
          throw new KernelStuck(`${compiled.name} leaves the ${stream.label} filled`);
        }
      },
    };
  },
};

function recall(prog: BpfProg): void {
  for (const stream of prog.mainProg.streams) stream.recall();
}

/** A function that copies to a buffer of user space. */
function reading(
  kernel: Kernel,
  { name, object }: CompiledFunction,
  writable: number,
  call: () => bigint,
): Uint8Array | number {
  const { result, buffer } = object.state.userBuffers.during(kernel.context.cpu, writable, () =>
    s32(call()),
  );
  if (result < 0) return result;
  if (result <= buffer.length) return buffer.subarray(0, result);
  throw new KernelStuck(`${name} returns ${result} bytes, and ${buffer.length} could be copied`);
}
