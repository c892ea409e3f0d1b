// The Neoverse N1 for the scoreboard, approximate: widths and windows as LLVM's scheduling model of the core has them,
// which is what it is compared with. It does not follow stores into loads: the comparison is with a tool that does not.
import type { CoreDescription } from '../../emulator/cost/core.ts';
import type { FrontEndDescription } from '../../emulator/cost/front-end.ts';
import { PORTS } from './cost-classes.ts';
import { TEMPORARY, VALUES } from './cost-operands.ts';

export const neoverseN1: CoreDescription = {
  name: 'Neoverse N1',
  values: VALUES,
  temporaries: TEMPORARY,
  width: 3,
  retireWidth: 8,
  window: 128,
  schedulers: [{ ports: 0x1ff, entries: 120 }],
  ports: 9,
  takenBranchPorts: PORTS.b,
  blockedForwarding: 10,
  lockedLoad: 5,
  followsStores: false,
  rememberedLoads: 400,
  storeBuffer: 128,
  storesPerLine: 2,
  line: 2 ** 40, // the reference knows no cache lines
  loadsPerBank: 2,
};

/** No limit of its own: dispatch is the narrower one. */
export const neoverseN1FrontEnd: FrontEndDescription = {
  windowBytes: 32,
  windowInstructions: 8,
  decoders: 8,
  decodedSlots: 8,
  fullGroupTicks: 60,
  slowLengthCycles: 0,
  cachedSlots: 8,
  nearBytes: 64,
  mispredictCycles: 11,
  loopExitCycles: 0,
  newTargetCycles: 1,
};
