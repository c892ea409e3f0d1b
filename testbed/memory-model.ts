// The choices of the memory model, as every report names them.
import type { World } from './scenario.ts';

/** One line. docs/races.md says what is left out. */
export function memoryModelText({ arch, memory }: World): string {
  const flushes =
    arch === 'arm64'
      ? 'TLBI complete on every CPU within its step'
      : 'flushes reach every CPU within their step';
  const order =
    memory === 'tso'
      ? 'x86-TSO: plain stores wait in a buffer'
      : 'sequential consistency between steps';
  return `${order}; TLBs of their own, filled by accesses; ${flushes}`;
}
