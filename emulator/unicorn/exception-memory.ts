// Undoes a memory of the x86 core: it keeps the last exception, and when the kernel (here: a hook) has handled that
// one, takes the next for a double fault and the one after for a triple fault (Unicorn issue 1883). The word is part
// of the saved context; where, is found out by having a probe divide by zero.
import {
  answerFill,
  type Binding,
  dropCallback,
  makeCallback,
  sharedBytes,
  viewNative,
} from './binding.ts';
import {
  UC_ARCH_X86,
  UC_CTL_TLB_TYPE,
  UC_HOOK_INTR,
  UC_HOOK_TLB_FILL,
  UC_MODE_64,
  UC_TLB_VIRTUAL,
} from './constants.ts';
import type { Core } from './core.ts';

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
  const code = sharedBytes(4096);
  code.set([0x31, 0xc9, 0xf7, 0xf1]); // xor ecx, ecx; div ecx
  const uc = binding.open(UC_ARCH_X86, UC_MODE_64);
  const fill = makeCallback('fill', (_uc, _address, _type, result) => {
    answerFill(result, 0, 7);
    return true;
  });
  const interrupt = makeCallback('interrupt', (engine) => binding.stop(engine));
  try {
    binding.control(uc, UC_CTL_TLB_TYPE, 'int', UC_TLB_VIRTUAL);
    binding.mapRam(uc, 0, code);
    binding.addHook(uc, UC_HOOK_TLB_FILL, fill);
    binding.addHook(uc, UC_HOOK_INTR, interrupt);
    const { context, size } = binding.newContext(uc);
    const snapshot = () => {
      binding.check(binding.contextSave(uc, context), 'uc_context_save');
      return new Int32Array(viewNative(context, size & ~3)).slice();
    };
    const before = snapshot();
    binding.emuStart(uc, 0n, code.length, 0, 0);
    const after = snapshot();
    binding.contextFree(context);
    return [...before.keys()].filter((i) => before[i] === NONE && after[i] === DIVIDE_ERROR);
  } finally {
    binding.close(uc);
    dropCallback(fill);
    dropCallback(interrupt);
  }
}
