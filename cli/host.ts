// What commands that run code share: the engine and the tools, loaded once.

import { type Assembler, loadAssembler } from '../emulator/assembler.ts';
import type { Condemned } from '../emulator/condemn.ts';
import { loadDisassembler } from '../emulator/disassembler.ts';
import type { Witness } from '../emulator/engine.ts';
import { unicornEngine } from '../emulator/unicorn/engine.ts';
import { Machines } from '../testbed/machines.ts';
import { rememberAssembler, rememberDisassembler } from '../testbed/remembered.ts';
import type { RunHost } from '../testbed/run.ts';

/** Our assembler, or GNU as (`gnu`), whose absence shows when it is used. */
export async function loadNamedAssembler(name: string | undefined): Promise<Assembler> {
  if (name !== 'gnu') return loadAssembler();
  const { assembleWithGnu } = await import('./gnu-as.ts');
  return { assemble: assembleWithGnu };
}

/** One process has one store of machines: they are used again from one command to the next. */
let machines: Machines | null = null;

let alwaysCondemned: readonly Condemned[] = [];

/** Keeps encodings from all machines of this process. To be called before the first {@link loadHost}. */
export function condemnHere(condemned: readonly Condemned[]): void {
  alwaysCondemned = condemned;
}

/**
 * The engine, the assembler and the disassembler.
 * @param condemned encodings that this host's machines refuse, beside those that every one does
 * @param witness of this host's vCPUs
 * @throws EngineError with what to do
 */
export async function loadHost(
  assemblerName?: string,
  condemned: readonly Condemned[] = [],
  witness: Witness | null = null,
): Promise<RunHost> {
  const [assembler, disassembler] = await Promise.all([
    loadNamedAssembler(assemblerName),
    loadDisassembler(),
  ]);
  machines ??= new Machines(unicornEngine(), alwaysCondemned);
  const isPlain = condemned.length === 0 && witness === null;
  return {
    machines: isPlain ? machines : new Machines(unicornEngine(), condemned, witness),
    assembler: rememberAssembler(assembler),
    disassembler: rememberDisassembler(disassembler),
  };
}
