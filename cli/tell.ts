// What the story and the summaries of a run need of it, in words.
import type { VirtAddr } from '../emulator/address.ts';
import { hex } from '../emulator/bits.ts';
import type { CallSeen } from '../testbed/call.ts';
import { arenaAt, pageAt } from '../testbed/places.ts';
import { ARCHITECTURES, type StepRun, type WorldRun } from '../testbed/run.ts';
import type { StorySource } from '../testbed/story.ts';

/** "page 3 of arena", or where else an address lies. */
export function placeText(run: WorldRun, va: bigint): string {
  const arena = arenaAt(va, run.places);
  if (arena !== null) return `page ${pageAt(va, run.places)} of ${arena.name}`;
  const { task, layout } = run.kernel;
  if (va < 4096n) return 'the null page';
  if (va >= task.stack && va < task.stackEnd) return 'the kernel stack';
  if (va < task.stack && va >= task.stack - BigInt(run.kernel.pageSize)) {
    return "the kernel stack's guard page";
  }
  const guard = run.places.find(({ kbase }) => va < kbase && va >= kbase - 0x8000n);
  if (guard) return `the lower guard of ${guard.name}`;
  return va >= layout.text ? 'outside every arena' : 'outside every arena and kernel text';
}

export function storySource(run: WorldRun): StorySource {
  const { kernel } = run;
  return {
    instruction: (ip: VirtAddr) => kernel.instructionAt(ip)?.text ?? null,
    formatSymbol: (ip) => kernel.symbols.format(ip),
    place: (va) => placeText(run, va),
    describeCode: (code) => ARCHITECTURES[run.world.arch].describeCode(code),
  };
}

/** One line that says what a step came to. */
export function stepSummary(run: WorldRun, { step, seen }: StepRun): string {
  switch (seen.kind) {
    case 'call':
      return callSummary(run, seen as CallSeen);
    case 'alloc':
      return `alloc: ${seen.page === null ? 'NULL' : `page ${seen.page}`}`;
    case 'free':
    case 'worker':
      return `${seen.kind}: ${seen.freed} pages given back`;
    case 'destroy':
      return `destroy: ${seen.freed} pages given back, ${seen.leaked} leaked`;
    case 'reserve':
    case 'create':
      return `${seen.kind}: ${seen.result}`;
    case 'user':
      return `user: ${seen.result}${seen.value === null ? '' : ` ${hex(seen.value)}`}`;
    case 'pte':
      return `pte${step.kind === 'pte' ? ` of page ${step.page}` : ''}: ${hex(seen.value)} (${seen.pteKind})`;
    case 'streamRead':
    case 'streamPrint':
      return `stream: ${seen.result}, ${seen.bytes} bytes`;
  }
}

function callSummary(run: WorldRun, call: CallSeen): string {
  const { end } = call;
  const faults = call.faults.length;
  const counts = new Map<string, number>();
  for (let i = 0; i < faults; i++) {
    const { resolution } = call.faults.at(i);
    counts.set(resolution, (counts.get(resolution) ?? 0) + 1);
  }
  const kinds = [...counts].map(([resolution, n]) => `${n} ${resolution}`).join(', ');
  const how =
    call.ret !== null
      ? `returned ${hex(call.ret)}`
      : `${end.outcome}${'why' in end ? `: ${end.why} at ${run.kernel.symbols.format(end.ip)}` : ''}`;
  return `${how}; ${call.instructions} instructions, ${call.cycles ?? 0} cycles (uncalibrated), ${faults} ${faults === 1 ? 'fault' : 'faults'}${kinds === '' ? '' : ` (${kinds})`}`;
}
