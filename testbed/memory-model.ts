// The choices of the memory model, as every report names them.
import type { World } from './scenario.ts';

/** One line. docs/races.md says what is left out. */
export function memoryModelText({ arch }: World): string {
  const flushes =
    arch === 'arm64'
      ? 'TLBI complete on every CPU within its step'
      : 'flushes reach every CPU within their step';
  return `sequential consistency between steps; TLBs of their own, filled by accesses; ${flushes}`;
}
