// How compiled code in a modelled function's place ends the kernel path that called it.
import { hex } from '../../emulator/bits.ts';
import { KernelStuck } from '../../mm/context.ts';
import type { CallEnd } from '../vcpu.ts';

/** The code did not come back: the kernel died in it, or it would run for ever. */
export class CompiledEnd extends KernelStuck {
  readonly end: CallEnd;

  constructor(name: string, end: CallEnd) {
    super(`${name} ${tell(end)}`);
    this.end = end;
  }
}

function tell(end: CallEnd): string {
  if (end.outcome === 'oops') return `made the kernel die: ${end.lines[0] ?? ''}`;
  return end.outcome === 'returned' ? 'returned' : `${end.why} at ${hex(end.ip)}`;
}
