// arch_bpf_stack_walk() of x86 as the model does it where parts of the unwinder are compiled code: on a struct unwind_state in
// memory.
import type { StackFrame } from '../../arch/unwind.ts';
import { virtAddr } from '../../emulator/address.ts';
import type { Kernel } from '../kernel.ts';
import type { LoadedObject } from './replacements.ts';
import { UnwindStates } from './unwind-state.ts';

/** Where in a CPU's last page for what functions are handed the state lies. */
const STATE_OFFSET = 0xd00;
/** Frames beyond which a walk goes round. */
const MOST = 100_000;

export function unwindWalk(kernel: Kernel, { structures, hand }: LoadedObject): StackFrame[] {
  if (kernel.config.unwinder !== 'orc') return [];
  const { cpu } = kernel.context;
  const vcpu = kernel.cpus[cpu];
  const states = new UnwindStates(kernel, structures);
  const state = structures.virt(hand[cpu] + 2 * kernel.pageSize + STATE_OFFSET);
  // The frames of the unwinder itself lie below what the exception left, and are passed over.
  const firstFrame = (vcpu.below ?? vcpu.regs.sp) & ~0xfn;
  states.startBy(state, kernel.environment.task(cpu), 0n, firstFrame);
  const frames: StackFrame[] = [];
  while (frames.length < MOST) {
    const frame = states.frame(state);
    if (frame === null) break;
    const ip = states.returnAddressBy(state);
    if (ip === 0n) break;
    if (!kernel.returnTraps.includes(virtAddr(ip))) frames.push({ ...frame, ip: virtAddr(ip) });
    states.nextBy(state);
  }
  return frames;
}
