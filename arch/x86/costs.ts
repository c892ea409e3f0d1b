// Event costs of x86 machines as data: the measured Golden Cove family server core, and the virtual machine that it was
// measured in. Each constant says what it rests on. The block model's tables are other files'.
import { adjusted, type CostPreset } from '../../emulator/cost/knobs.ts';

const ESTIMATE = 'estimate, not measured';
const SHARE =
  'estimate: a share of the 1,180 cycles between delivery and return that the measured 1,930 leave';

export const goldenCovePreset: CostPreset = {
  name: 'golden-cove',
  arch: 'x86_64',
  about: 'server core of the Golden Cove family, as bare metal',
  knobs: {
    exceptionEntry: {
      value: 500,
      source: 'estimate: literature has 715 on Haswell from ring 3; ring 0 switches no stack',
    },
    exceptionReturn: {
      value: 250,
      source: 'estimate: literature has 330 for iret to ring 3 on Haswell',
    },
    pathEntry: { value: 150, source: SHARE },
    pathClassify: { value: 120, source: SHARE },
    pathVma: { value: 350, source: SHARE },
    pathSearch: { value: 320, source: SHARE },
    pathFixup: { value: 90, source: SHARE },
    pathExit: { value: 150, source: SHARE },
    recoverFrame: { value: 80, source: ESTIMATE },
    recoverInstall: { value: 250, source: ESTIMATE },
    recoverReport: { value: 400, source: ESTIMATE },
    recoverReportByte: { value: 4, source: ESTIMATE },
    printkLine: { value: 3000, source: ESTIMATE },
    invalidatePage: {
      value: 200,
      source: 'estimate: literature on INVLPG spans about 100 to 500',
    },
    invalidateAll: { value: 250, source: 'estimate, as a CR3 write that flushes' },
    rootWrite: { value: 250, source: 'estimate, with a flush; 200 without' },
    barrier: { value: 38, source: 'measured: mfence' },
    shootdownSend: { value: 300, source: 'estimate: write of the x2APIC ICR' },
    shootdownFirst: {
      value: 3000,
      source: 'literature: 1 to 3 us at 3 GHz, lower end; 2,269 measured where no VM exit fell in',
    },
    shootdownFurther: { value: 500, source: 'estimate from published scaling of shootdowns' },
    walkFixed: { value: 10, source: ESTIMATE },
    walkEntry: { value: 5, source: 'measured: L1D load-to-use; the entries are taken for cached' },
    walkFactor: { value: 100, source: 'native' },
    upperEntries: { value: 4, source: 'estimate: the vendor publishes no sizes' },
    lowerEntries: { value: 32, source: 'estimate: the vendor publishes no sizes' },
    stlbHit: { value: 7, source: 'measured: 12 cycles of a chase beyond 96 pages, less 5' },
    dtlbEntries: { value: 96, source: 'measured: first knee of the chase' },
    dtlbWays: { value: 6, source: 'measured: conflicts at 2 MiB stride' },
    stlbEntries: {
      value: 2048,
      source: "vendor's optimisation manual; the measured chase leaves its plateau there",
    },
    stlbWays: { value: 16, source: "vendor's optimisation manual" },
    lineBytes: { value: 64, source: 'CPUID' },
    l1Bytes: { value: 48 << 10, source: 'CPUID; measured knee' },
    l1Ways: { value: 12, source: 'CPUID' },
    l1Hit: { value: 5, source: 'measured' },
    l2Bytes: { value: 2 << 20, source: 'CPUID' },
    l2Ways: { value: 16, source: 'CPUID' },
    l2Hit: { value: 16, source: 'measured' },
    l3Bytes: { value: 32 << 20, source: 'estimate: a share of the 260 MiB that all cores have' },
    l3Ways: { value: 16, source: ESTIMATE },
    l3Hit: { value: 100, source: 'estimate: about 33 ns of a server mesh; 250 measured at least' },
    memory: { value: 330, source: 'estimate: about 110 ns; 443 measured at least' },
  },
};

/** The machine in which the measurements were made. */
const virtualPreset = adjusted(
  goldenCovePreset,
  'virtual',
  'the same core in a virtual machine with nested paging, as it was measured',
  {
    walkFactor: {
      value: 200,
      source: 'measured: walks in the guest take 42 to 52 cycles at best, twice a native one',
    },
    l3Hit: { value: 250, source: 'measured: least of a chase beyond L2, with neighbours' },
    memory: { value: 443, source: 'measured: least of a chase of 268 MB on large pages' },
    shootdownFirst: {
      value: 53000,
      source: 'measured: 56,000 to 58,500 cycles with one running remote CPU, less 3,000 to 5,000',
    },
    shootdownFurther: {
      value: 2000,
      source: 'estimate: each further IPI is an exit of the sender',
    },
  },
);

export const X86_PRESETS: readonly CostPreset[] = [goldenCovePreset, virtualPreset];
