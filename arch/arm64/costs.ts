// Event costs of Arm machines as data. Nothing here was measured on hardware; each constant says what it rests on. The
// block model's tables are other files'.
import { adjusted, type CostPreset } from '../../emulator/cost/knobs.ts';

const CARRIED = 'estimate: the golden-cove figure carried over, no Arm core was measured';
const MANUAL = 'manual: Arm Neoverse N1 Core Technical Reference Manual (100616)';
const TLBS = `${MANUAL}, Memory Management Unit, TLB organization`;
const L1 = `${MANUAL}, Level 1 memory system`;
const L2 = `${MANUAL}, Level 2 memory system`;
const LOAD_TO_USE = 'manual: Arm Neoverse N1 Software Optimization Guide, Load instructions';

const neoverseN1Preset: CostPreset = {
  name: 'neoverse-n1',
  arch: 'arm64',
  about: 'Arm Neoverse N1, from public documents and by analogy',
  knobs: {
    exceptionEntry: { value: 500, source: CARRIED },
    exceptionReturn: { value: 250, source: CARRIED },
    pathEntry: { value: 150, source: CARRIED },
    pathClassify: { value: 120, source: CARRIED },
    pathVma: { value: 350, source: CARRIED },
    pathSearch: { value: 320, source: CARRIED },
    pathFixup: { value: 90, source: CARRIED },
    pathExit: { value: 150, source: CARRIED },
    recoverFrame: { value: 80, source: CARRIED },
    recoverInstall: { value: 250, source: CARRIED },
    recoverReport: { value: 400, source: CARRIED },
    recoverReportByte: { value: 4, source: CARRIED },
    printkLine: { value: 3000, source: CARRIED },
    invalidatePage: {
      value: 20,
      source: 'estimate: TLBI is sent off; its DSB waits, and counts apart',
    },
    invalidateAll: {
      value: 20,
      source: 'estimate: TLBI is sent off; its DSB waits, and counts apart',
    },
    rootWrite: { value: 50, source: 'estimate: MSR TTBR and ISB; it invalidates nothing' },
    barrier: {
      value: 180,
      source: 'estimate: waits for the TLB operations before it, some 60 ns at 3 GHz',
    },
    shootdownSend: { value: 20, source: 'estimate: TLBI ...IS, no interrupt' },
    shootdownFirst: { value: 300, source: 'estimate: DSB ISH with another CPU to answer' },
    shootdownFurther: { value: 10, source: 'estimate: the interconnect asks all at once' },
    walkFixed: { value: 10, source: CARRIED },
    walkEntry: { value: 4, source: `${LOAD_TO_USE}; the entries are taken for cached` },
    walkFactor: { value: 100, source: 'definition: this is the native walk' },
    upperEntries: { value: 4, source: CARRIED },
    lowerEntries: { value: 32, source: CARRIED },
    stlbHit: {
      value: 6,
      source:
        'estimate: the Cortex-A76 TRM (A5.2.3) has usually three for the access alone; as many to get there',
    },
    dtlbEntries: { value: 48, source: TLBS },
    dtlbWays: { value: 48, source: `${TLBS}: fully associative` },
    stlbEntries: { value: 1280, source: TLBS },
    stlbWays: { value: 5, source: TLBS },
    lineBytes: { value: 64, source: L1 },
    l1Bytes: { value: 64 << 10, source: L1 },
    l1Ways: { value: 4, source: L1 },
    l1Hit: { value: 4, source: LOAD_TO_USE },
    l2Bytes: { value: 1 << 20, source: `${L2}: the largest that may be built` },
    l2Ways: { value: 8, source: L2 },
    l2Hit: { value: 11, source: 'estimate: 9 to 11 cycles are published, the upper end' },
    l3Bytes: { value: 32 << 20, source: CARRIED },
    l3Ways: { value: 16, source: CARRIED },
    l3Hit: { value: 80, source: 'estimate: about 27 ns of a server mesh at 3 GHz' },
    memory: { value: 300, source: 'estimate: about 100 ns at 3 GHz' },
  },
};

const virtualPreset = adjusted(
  neoverseN1Preset,
  'virtual',
  'the same core in a virtual machine with two stages of translation',
  {
    walkFactor: { value: 200, source: CARRIED },
    shootdownFirst: {
      value: 300,
      source: 'estimate: broadcasts need no exit, so virtual CPUs change nothing',
    },
  },
);

export const ARM64_PRESETS: readonly CostPreset[] = [neoverseN1Preset, virtualPreset];
