// Functions of memory management that compiled code does in the model's place: what the model asks of whoever runs it.
// Those that are absent the model does itself.
import type { VirtAddr } from '../emulator/address.ts';
import type { PteFn } from './apply-range.ts';
import type { Activity } from './context.ts';

/** A walk of init_mm. @returns what the function returned */
type CompiledWalk = (start: VirtAddr, size: number, fn: PteFn) => Activity<number>;

export interface CompiledMemory {
  applyToPageRange?: CompiledWalk;
  applyToExistingPageRange?: CompiledWalk;
}
