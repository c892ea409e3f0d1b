// A small core for the tests of the scoreboard: two wide, two arithmetic ports, one load port, one store port.
import { addressAt, type Forwarding, InstructionBuilder } from './builder.ts';
import type { CoreDescription } from './core.ts';
import type { FrontEndDescription } from './front-end.ts';
import type { CostedInstruction } from './instruction.ts';
import { placeProgram } from './program.ts';
import { type CoreModel, type RunShape, steadyCycles } from './run.ts';
import { SymbolicAddresses } from './symbols.ts';
import { TICKS_PER_CYCLE } from './units.ts';

export const ALU = 0b0011;
const LOAD = 0b0100;
const STORE = 0b1000;
export const LOAD_LATENCY = 4;

export const testCore: CoreDescription = {
  name: 'test',
  values: 12,
  temporaries: 10,
  width: 2,
  retireWidth: 2,
  window: 32,
  schedulers: [{ ports: 0b1111, entries: 16 }],
  ports: 4,
  takenBranchPorts: 0b0001,
  blockedForwarding: 10,
  lockedLoad: LOAD_LATENCY,
  followsStores: true,
  rememberedLoads: 100,
  storeBuffer: 8,
  storesPerLine: 1,
  line: 64,
  loadsPerBank: 1,
};

const testFrontEnd: FrontEndDescription = {
  windowBytes: 16,
  windowInstructions: 8,
  decoders: 4,
  decodedSlots: 4,
  fullGroupTicks: TICKS_PER_CYCLE,
  slowLengthCycles: 3,
  cachedSlots: 4,
  nearBytes: 0,
  mispredictCycles: 10,
  loopExitCycles: 0,
  newTargetCycles: 1,
};

export const testModel: CoreModel = { core: testCore, frontEnd: testFrontEnd };

const builder = () => new InstructionBuilder({ load: LOAD, storeAddress: ALU, storeData: STORE });

function finish(
  out: InstructionBuilder,
  changes: Partial<CostedInstruction> = {},
): CostedInstruction {
  return {
    form: 'test',
    length: 4,
    slots: 1,
    microcoded: false,
    slowLength: false,
    complex: false,
    uops: out.uops,
    accesses: out.accesses,
    effects: out.effects,
    flow: 'next',
    fusible: false,
    repeat: null,
    locked: null,
    ...changes,
  };
}

/** An operation of so many cycles on the arithmetic ports. */
export function op(
  reads: readonly number[],
  writes: readonly number[],
  latency = 1,
  changes: Partial<CostedInstruction> = {},
): CostedInstruction {
  const out = builder();
  out.uop(ALU, latency, reads, writes);
  return finish(out, changes);
}

/** An eliminated move. */
export function move(from: number, to: number): CostedInstruction {
  const out = builder();
  out.renamed(from, [to]);
  return finish(out);
}

/** One operation that keeps the divider busy. */
export function divide(reads: readonly number[], writes: readonly number[], busy: number) {
  const out = builder();
  out.add({ ports: ALU, latency: 12, reads, writes, busy: busy * TICKS_PER_CYCLE, unit: 0 });
  return finish(out);
}

const SIX: Forwarding = { unrolled: 6 * TICKS_PER_CYCLE, loop: 0 };

export function load(base: number, disp: number, to: number, width = 8): CostedInstruction {
  const out = builder();
  out.load(out.access(addressAt(base, disp), width, SIX), LOAD_LATENCY, [to]);
  out.unknown([to]);
  return finish(out);
}

export function store(base: number, disp: number, from: number, width = 8): CostedInstruction {
  const out = builder();
  out.store(out.access(addressAt(base, disp), width, SIX), [from]);
  return finish(out);
}

/** Cycles of the block in the steady state, from the micro-op cache unless told otherwise. */
export function steady(insns: readonly CostedInstruction[], shape: Partial<RunShape> = {}): number {
  const program = placeProgram(insns, 0x1000);
  const addresses = new SymbolicAddresses(program, testCore.values);
  return steadyCycles(testModel, program, () => addresses.passage(), {
    loop: true,
    copied: 0,
    warm: 10,
    passages: 60,
    ...shape,
  });
}
