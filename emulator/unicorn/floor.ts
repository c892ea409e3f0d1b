// The floor of the benchmark: loops on the bare library, in this process.
import koffi from 'koffi';
import { bare } from './bare.mjs';
import { Binding } from './binding.ts';
import { type HookedProgram, runHooked } from './floor-hooked.ts';
import { ensureLibrary } from './library.ts';

/** The bare loops on the library that the engine uses. @throws EngineError */
export const openFloor = (): ReturnType<typeof bare> =>
  bare({ koffi, library: ensureLibrary().path });

/** Runs a program under an empty block hook on the same library. @returns CPU seconds. @throws EngineError */
export const runUnderBlockHook = (program: HookedProgram, seconds: () => number): number =>
  runHooked(new Binding(ensureLibrary().path), program, seconds);
