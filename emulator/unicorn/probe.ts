// What a few instructions change inside the x86 core: a throw-away engine runs them and its saved state is compared. So
// words of the state are found whose place no interface tells, in any build of the library.
import {
  answerFill,
  type Binding,
  dropCallback,
  makeCallback,
  type Pointer,
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

/** The state as 32-bit words before and after. */
export interface StateChange {
  readonly before: Int32Array;
  readonly after: Int32Array;
}

/**
 * Runs `code` from address 0 until it raises an exception or its last byte is behind it.
 * @param prepare makes the engine ready, which has 64-bit mode, no paging and 4 KiB of memory
 */
export function probeState(
  binding: Binding,
  code: readonly number[],
  prepare: (uc: Pointer) => void = () => {},
): StateChange {
  const ram = sharedBytes(4096);
  ram.set(code);
  const uc = binding.open(UC_ARCH_X86, UC_MODE_64);
  const fill = makeCallback('fill', (_uc, _address, _type, result) => {
    answerFill(result, 0, 7);
    return true;
  });
  const interrupt = makeCallback('interrupt', (engine) => binding.stop(engine));
  try {
    binding.control(uc, UC_CTL_TLB_TYPE, 'int', UC_TLB_VIRTUAL);
    binding.mapRam(uc, 0, ram);
    binding.addHook(uc, UC_HOOK_TLB_FILL, fill);
    binding.addHook(uc, UC_HOOK_INTR, interrupt);
    prepare(uc);
    const { context, size } = binding.newContext(uc);
    const snapshot = () => {
      binding.check(binding.contextSave(uc, context), 'uc_context_save');
      return new Int32Array(viewNative(context, size & ~3)).slice();
    };
    const before = snapshot();
    binding.emuStart(uc, 0n, ram.length, 0, 0);
    const after = snapshot();
    binding.contextFree(context);
    return { before, after };
  } finally {
    binding.close(uc);
    dropCallback(fill);
    dropCallback(interrupt);
  }
}
