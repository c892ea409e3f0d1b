// The Golden Cove core for the scoreboard: a server part of the family, in a virtual machine. Approximate. Behind each
// number stands where it is from: the vendor's public descriptions, a form measured on the core, or a fit to blocks
// and functions measured there.
import type { CoreDescription } from '../../emulator/cost/core.ts';
import type { FrontEndDescription } from '../../emulator/cost/front-end.ts';
import { PORTS } from './cost-classes.ts';
import { TEMPORARY, VALUES } from './cost-operands.ts';

export const goldenCove: CoreDescription = {
  name: 'Golden Cove',
  values: VALUES,
  temporaries: TEMPORARY,
  width: 6, // public; a stream of nops retires 6 a cycle
  retireWidth: 8, // public
  window: 256, // fit to overlapping calls; the public figure of 512 is for a thread that has the core to itself
  schedulers: [
    { ports: PORTS.alu, entries: 97 }, // public
    { ports: PORTS.load, entries: 70 }, // public
    { ports: PORTS.storeAddress | PORTS.storeData, entries: 76 }, // public: 38 of each
  ],
  ports: 12, // public
  takenBranchPorts: PORTS.shift, // fit: two taken branches in a cycle were seen
  blockedForwarding: 17, // fit
  lockedLoad: 5, // measured: a load from the L1 data cache
  followsStores: true,
  rememberedLoads: 400, // fit
  storeBuffer: 112, // public
  storesPerLine: 2, // measured: two stores a cycle to one line, one to two lines
  line: 64,
  loadsPerBank: 2, // measured: two loads a cycle from one address, three from several
};

export const goldenCoveFrontEnd: FrontEndDescription = {
  windowBytes: 32, // public; measured with long instructions
  windowInstructions: 8, // fit: code of more than 8.5 a window takes two cycles for each
  decoders: 6, // public
  decodedSlots: 6, // public
  fullGroupTicks: 66, // fit; nops come at 5.7 a cycle
  slowLengthCycles: 3, // measured: 16-bit immediates
  cachedSlots: 8, // public
  nearBytes: 64, // fit
  mispredictCycles: 17, // estimate, usual for the family
  loopExitCycles: 3, // fit
  newTargetCycles: 5, // measured: a row of jumps, each new
};
