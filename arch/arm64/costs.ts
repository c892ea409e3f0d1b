// Event costs of Arm machines as data. Nothing here was measured on hardware; each constant says what it rests on. The
// block model's tables are other files'.
import { adjusted, type CostPreset } from '../../emulator/cost/knobs.ts';

const CARRIED = 'estimate: the x86 core figure carried over, no Arm core was measured';
const DOCUMENT = 'document value, unverified';
const ESTIMATE = 'estimate, not measured';

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
    invalidatePage: { value: 20, source: 'estimate: TLBI alone, its DSB apart' },
    invalidateAll: { value: 20, source: 'estimate: TLBI alone, its DSB apart' },
    rootWrite: { value: 50, source: 'estimate: MSR TTBR and ISB; it invalidates nothing' },
    barrier: { value: 180, source: ESTIMATE },
    shootdownSend: { value: 20, source: 'estimate: TLBI ...IS, no interrupt' },
    shootdownFirst: { value: 300, source: 'estimate: DSB ISH with another CPU to answer' },
    shootdownFurther: { value: 10, source: 'estimate: the interconnect asks all at once' },
    walkFixed: { value: 10, source: CARRIED },
    walkEntry: { value: 4, source: `${DOCUMENT}: L1D load-to-use` },
    walkFactor: { value: 100, source: 'native' },
    upperEntries: { value: 4, source: ESTIMATE },
    lowerEntries: { value: 32, source: ESTIMATE },
    stlbHit: { value: 6, source: ESTIMATE },
    dtlbEntries: { value: 48, source: DOCUMENT },
    dtlbWays: { value: 48, source: `${DOCUMENT}: fully associative` },
    stlbEntries: { value: 1280, source: DOCUMENT },
    stlbWays: { value: 5, source: DOCUMENT },
    lineBytes: { value: 64, source: DOCUMENT },
    l1Bytes: { value: 64 << 10, source: DOCUMENT },
    l1Ways: { value: 4, source: DOCUMENT },
    l1Hit: { value: 4, source: DOCUMENT },
    l2Bytes: { value: 1 << 20, source: `${DOCUMENT}: 512 KiB or 1 MiB` },
    l2Ways: { value: 8, source: DOCUMENT },
    l2Hit: { value: 11, source: `${DOCUMENT}: 9 to 11` },
    l3Bytes: { value: 32 << 20, source: ESTIMATE },
    l3Ways: { value: 16, source: ESTIMATE },
    l3Hit: { value: 80, source: ESTIMATE },
    memory: { value: 300, source: ESTIMATE },
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
