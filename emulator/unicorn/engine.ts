// The engine on the native library: finds it, checks it once, and makes vCPUs.
import type { Cpu, CpuDescription, CpuOptions, Engine, Translator } from '../engine.ts';
import type { Ram } from '../ram.ts';
import { Binding } from './binding.ts';
import { UnicornCpu } from './cpu.ts';
import { OFFSETS_OF } from './internals.ts';
import { ensureLibrary, type Found, isReleaseLibrary } from './library.ts';
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

/** @param internals false: do without inner offsets even where they are known, for tests. @throws EngineError */
export function createEngine(library: Found, internals = true): UnicornEngine {
  const binding = new Binding(library.path);
  // The unpacked copy was checked when it was unpacked.
  const release = library.source === 'unpacked' || isReleaseLibrary(library.path);
  const known = internals && release && hostName() === OFFSETS_OF;
  return {
    library,
    version: library.version,
    knowsInternals: known,
    createCpu: (
      id: number,
      description: CpuDescription,
      ram: Ram,
      translator: Translator,
      options: CpuOptions = {},
    ): Cpu => new UnicornCpu(binding, known, id, description, ram, translator, options),
  };
}
