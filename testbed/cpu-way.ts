// Several CPUs, a step at a time: one instruction, or one step of a kernel path that another CPU could see (mm/context.ts).
// Who moves next is the caller's to choose, so that a schedule can be given, counted through or replayed. Left out:
// interrupts. A step is seen by all CPUs at once; what reorders them is memory-model.ts's.
import { hex } from '../emulator/bits.ts';
import { onward, type Step } from '../mm/context.ts';
import type { Kernel } from './kernel.ts';
import { type CallEnd, endOf, type OtherStop, type Vcpu } from './vcpu.ts';

/** What a CPU is about to do. */
export type CpuStep =
  | Step
  | { readonly kind: 'insn'; readonly what: string; readonly ready?: undefined };

/** One CPU's way to the end of its call; it yields before each step. */
export type CpuWay = Generator<CpuStep, CallEnd, void>;

/**
 * Runs a vCPU, whose registers and exits are set, to its end. A fault's delivery belongs to the step of its
 * instruction; the kernel's path is stepped, and the retry is a step of its own.
 * @param limit instructions to retire at most
 */
export function* cpuWay(vcpu: Vcpu, ipName: string, limit: number): CpuWay {
  const { cpu } = vcpu;
  const end = cpu.retired + limit;
  for (;;) {
    yield { kind: 'insn', what: hex(cpu.readRegister(ipName)) };
    const stop = vcpu.drive?.(cpu, 1) ?? cpu.run(1);
    if (stop.reason === 'limit' && cpu.retired < end) {
      // Having returned is no step of its own.
      if (cpu.run(0).reason === 'exit') return { outcome: 'returned' };
      continue;
    }
    const fault = vcpu.takenBy(stop);
    if (fault === null) return endOf(stop as OtherStop);
    const path = vcpu.enter(fault);
    if ('outcome' in path) return path;
    const done = vcpu.conclude(fault, yield* onward(path));
    if (done === 'resume') vcpu.resume();
    else if (done !== 'retry') return done;
  }
}

/** A CPU that can move, and what it would do. */
export interface Ready {
  readonly cpu: number;
  readonly step: CpuStep;
}

/**
 * Moves CPUs until all have ended.
 * @param ways way of each CPU, by its id
 * @param choose picks the index of one of `ready`, which is in order of the ids and never empty
 * @returns how each CPU's call ended
 */
export function runWays(
  kernel: Kernel,
  ways: readonly CpuWay[],
  choose: (ready: readonly Ready[]) => number,
): CallEnd[] {
  const { context } = kernel;
  const ends: CallEnd[] = [];
  let ready: Ready[] = [];
  const move = (cpu: number): Ready[] => {
    context.cpu = cpu;
    const next = ways[cpu].next();
    if (!next.done) return [{ cpu, step: next.value }];
    ends[cpu] = next.value;
    return [];
  };
  const before = context.stepping;
  context.stepping = true;
  try {
    ready = ways.flatMap((_, cpu) => move(cpu));
    while (ready.length > 0) {
      const at = choose(ready);
      ready.splice(at, 1, ...move(ready[at].cpu));
    }
  } finally {
    context.stepping = before;
  }
  return ends;
}
