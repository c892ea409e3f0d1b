// The Golden Cove core for the scoreboard. Sizes are the vendor's public ones, rates and latencies measured on a server
// part of the family; approximate.
import type { CoreDescription } from '../../emulator/cost/core.ts';
import type { FrontEndDescription } from '../../emulator/cost/front-end.ts';
import { PORTS } from './cost-classes.ts';
import { TEMPORARY, VALUES } from './cost-operands.ts';

export const goldenCove: CoreDescription = {
  name: 'Golden Cove',
  values: VALUES,
  temporaries: TEMPORARY,
  width: 6,
  retireWidth: 8,
  window: 256,
  schedulers: [
    { ports: PORTS.alu, entries: 97 },
    { ports: PORTS.load, entries: 70 },
    { ports: PORTS.storeAddress | PORTS.storeData, entries: 76 },
  ],
  ports: 12,
  binding: 'rename',
  takenBranchPorts: PORTS.shift,
  blockedForwarding: 17,
  lockedLoad: 5,
  followsStores: true,
  rememberedLoads: 400,
  storeBuffer: 112,
  storesPerLine: 2,
  line: 64,
  loadsPerBank: 2,
};

export const goldenCoveFrontEnd: FrontEndDescription = {
  windowBytes: 32,
  windowInstructions: 8,
  decoders: 6,
  decodersWithComplex: 5,
  decodedSlots: 6,
  fullGroupTicks: 63,
  slowLengthCycles: 3,
  cachedSlots: 8,
  nearBytes: 64,
  mispredictCycles: 17,
  loopExitCycles: 2,
  newTargetCycles: 5,
};
