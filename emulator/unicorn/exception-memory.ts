// Undoes a memory of the x86 core: it keeps the last exception, and when the kernel (here: a hook) has handled that
// one, takes the next for a double fault and the one after for a triple fault (Unicorn issue 1883). The word is part
// of the saved context; where, is found out by having a probe divide by zero.
import { type Binding, viewNative } from './binding.ts';
import type { Core } from './core.ts';
import { probeState } from './probe.ts';

const NONE = -1;
const DIVIDE_ERROR = 0;
const found = new WeakMap<Binding, readonly number[]>();

/** Makes a core forget its last exception. */
export function forgetException(core: Core): void {
  const { binding, handle } = core;
  const { context, size } = core.context;
  let offsets = found.get(binding);
  if (!offsets) {
    offsets = probe(binding);
    found.set(binding, offsets);
  }
  binding.check(binding.contextSave(handle, context), 'uc_context_save');
  const words = new Int32Array(viewNative(context, size & ~3));
  for (const offset of offsets) words[offset] = NONE;
  binding.check(binding.contextRestore(handle, context), 'uc_context_restore');
}

/** Words of a context that a divide error turns from none to its number. */
function probe(binding: Binding): number[] {
  const { before, after } = probeState(binding, [0x31, 0xc9, 0xf7, 0xf1]); // xor ecx, ecx; div ecx
  return [...before.keys()].filter((i) => before[i] === NONE && after[i] === DIVIDE_ERROR);
}
