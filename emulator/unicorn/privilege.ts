// The privilege level of the x86 core. No interface of the library sets it (a write of CS changes the selector alone),
// but it is part of the saved state: in the word that a probe's SYSRET changes from level 0 to level 3 and in nothing
// else. Left out: levels 1 and 2, and the selectors of CS and SS, which 64-bit code does not need.
import { type Binding, type Pointer, sharedBytes, viewNative } from './binding.ts';
import { UC_X86_REG_MSR } from './constants.ts';
import type { Core } from './core.ts';
import { EngineError } from './error.ts';
import { probeState } from './probe.ts';

/** What of a core is looked at here. */
type StateHolder = Pick<Core, 'binding' | 'handle' | 'context'>;

const MSR_EFER = 0xc000_0080;
const MSR_STAR = 0xc000_0081;
const CPL = 3;
const found = new WeakMap<Binding, number>();

/** @returns 0 to 3 */
export function readCpl(core: StateHolder): number {
  return stateWords(core)[wordOf(core.binding)] & CPL;
}

/**
 * Translations that the core has cached are tagged with the level and stay.
 * @throws RangeError for a level other than 0 or 3
 */
export function writeCpl(core: StateHolder, cpl: number): void {
  if (cpl !== 0 && cpl !== 3) throw new RangeError(`CPL must be 0 or 3: ${cpl}`);
  const words = stateWords(core);
  const at = wordOf(core.binding);
  words[at] = (words[at] & ~CPL) | cpl;
  core.binding.check(
    core.binding.contextRestore(core.handle, core.context.context),
    'uc_context_restore',
  );
}

/** The core's state, in its scratch context. */
function stateWords(core: StateHolder): Int32Array {
  const { context, size } = core.context;
  core.binding.check(core.binding.contextSave(core.handle, context), 'uc_context_save');
  return new Int32Array(viewNative(context, size & ~3));
}

function wordOf(binding: Binding): number {
  const known = found.get(binding);
  if (known !== undefined) return known;
  const { before, after } = probeState(binding, [0x48, 0x0f, 0x07], (uc) => {
    writeMsr(binding, uc, MSR_EFER, 0x501n);
    writeMsr(binding, uc, MSR_STAR, 0x23_0010n << 32n);
  });
  const candidates = [...before.keys()].filter(
    (i) => before[i] !== 0 && (before[i] & CPL) === 0 && after[i] === (before[i] | CPL),
  );
  if (candidates.length !== 1) {
    throw new EngineError(
      'where this Unicorn library keeps the privilege level cannot be found out',
      "run 'npx faultline doctor'",
    );
  }
  found.set(binding, candidates[0]);
  return candidates[0];
}

function writeMsr(binding: Binding, uc: Pointer, number: number, value: bigint): void {
  const bytes = sharedBytes(16);
  new Uint32Array(bytes.buffer)[0] = number;
  new BigUint64Array(bytes.buffer)[1] = value;
  binding.check(binding.regWrite(uc, UC_X86_REG_MSR, bytes), 'write an MSR');
}
