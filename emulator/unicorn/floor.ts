// The floor of the benchmark: loops on the bare library, in this process.
import koffi from 'koffi';
import { bare } from './bare.mjs';
import { ensureLibrary } from './library.ts';

/** The bare loops on the library that the engine uses. @throws EngineError */
export const openFloor = (): ReturnType<typeof bare> =>
  bare({ koffi, library: ensureLibrary().path });
