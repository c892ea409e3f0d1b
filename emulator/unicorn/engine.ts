// The engine on the native library: finds it, checks it once, and makes vCPUs.
import type { Cpu, CpuDescription, CpuOptions, Engine, Translator } from '../engine.ts';
import type { Ram } from '../ram.ts';
import { Binding } from './binding.ts';
import type { Means } from './core.ts';
import { UnicornCpu } from './cpu.ts';
import { OFFSETS_OF, tellsFaultAddress } from './internals.ts';
import { ensureLibrary, type Found, isReleaseLibrary } from './library.ts';
import { nativeCode } from './native-code.ts';
import { hostName } from './platform.ts';

/** An engine and the library it stands on. */
export interface UnicornEngine extends Engine {
  readonly library: Found;
  /** True if the library's inner offsets are used; false: slower, and a few addresses come from decoding alone. */
  readonly knowsInternals: boolean;
}

let shared: UnicornEngine | null = null;

/** The engine of this process, made on first use, setting the library up if need be. @throws EngineError */
export function unicornEngine(): UnicornEngine {
  shared ??= createEngine(ensureLibrary());
  return shared;
}

/**
 * An engine on a given library.
 * @param shortCuts false: do without inner offsets or machine code even where they are known, for tests
 * @throws EngineError
 */
export function createEngine(
  library: Found,
  shortCuts: { readonly internals?: boolean; readonly native?: boolean } = {},
): UnicornEngine {
  const binding = new Binding(library.path);
  const means: Means = {
    internals: shortCuts.internals !== false && hasKnownInternals(library),
    faultAddress: shortCuts.internals !== false && tellsFaultAddress(binding),
    native: shortCuts.native === false ? null : nativeCode(),
  };
  return {
    library,
    version: library.version,
    knowsInternals: means.internals,
    createCpu: (
      id: number,
      description: CpuDescription,
      ram: Ram,
      translator: Translator,
      options: CpuOptions = {},
    ): Cpu => new UnicornCpu(binding, means, id, description, ram, translator, options),
  };
}

/** The unpacked copy was checked when it was unpacked; any other is compared byte for byte. */
const hasKnownInternals = (library: Found): boolean =>
  hostName() === OFFSETS_OF && (library.source === 'unpacked' || isReleaseLibrary(library.path));
