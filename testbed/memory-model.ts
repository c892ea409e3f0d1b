// The choices of the memory model, as every report names them.
import type { World } from './scenario.ts';

/** One line. */
export function memoryModelText(_world: World): string {
  return 'sequential consistency between steps';
}
