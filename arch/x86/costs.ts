// Event costs of x86 machines as data: the measured Golden Cove family server core, and the virtual machine that it was
// measured in. Each constant says what it rests on. The block model's tables are other files'.
import { adjusted, type CostPreset } from '../../emulator/cost/knobs.ts';

const OPTIMIZATION =
  'manual: Intel 64 and IA-32 Architectures Optimization Reference Manual, Golden Cove Microarchitecture';
/** Cycles that delivery and return leave of a whole fault that was measured; how they divide was not. */
const share = (why: string): string =>
  `estimate: a share of 1,180 of the 1,930 cycles of memory-costs.json recommended_cost_table_x86.linux_fault_path_kernel_bad_area_to_fixup: ${why}`;

export const goldenCovePreset: CostPreset = {
  name: 'golden-cove',
  arch: 'x86_64',
  about: 'server core of the Golden Cove family, as bare metal',
  knobs: {
    exceptionEntry: {
      value: 500,
      source: 'estimate: Torvalds (2014) has 715 on Haswell from ring 3; ring 0 switches no stack',
    },
    exceptionReturn: {
      value: 250,
      source: 'estimate: Torvalds (2014) has 330 for IRET to ring 3 on Haswell; ring 0 needs less',
    },
    pathEntry: { value: 150, source: share('registers saved, a handful of calls') },
    pathClassify: { value: 120, source: share('tests and calls without a loop') },
    pathVma: { value: 350, source: share('a walk of the maple tree, load after load') },
    pathSearch: { value: 320, source: share('a binary search, whose branches nobody foresees') },
    pathFixup: { value: 90, source: share('one indirect call') },
    pathExit: { value: 150, source: share('as the entry') },
    recoverFrame: {
      value: 80,
      source:
        'estimate: an ORC look-up is some ten loads of 5 cycles in a chain and a branch of 17 not foreseen',
    },
    recoverInstall: {
      value: 250,
      source:
        'estimate: the arena looked up, four entries of 5 to 16 cycles in a chain, a locked operation of 18, calls between',
    },
    recoverReport: {
      value: 400,
      source: 'estimate: a few hundred instructions of formatting and lists, about one a cycle',
    },
    recoverReportByte: {
      value: 4,
      source: 'estimate: formatted and copied byte by byte, a few instructions each',
    },
    printkLine: {
      value: 3000,
      source: 'estimate: formatting and the ring buffer, about 1 us at 3 GHz, no console',
    },
    invalidatePage: {
      value: 200,
      source: 'estimate: literature on INVLPG spans about 100 to 500',
    },
    invalidateAll: { value: 250, source: 'estimate: as a CR3 write that flushes' },
    rootWrite: {
      value: 250,
      source: 'estimate: memory-costs.json recommended_cost_table_x86.cr3_write_flush; 200 without',
    },
    barrier: { value: 38, source: 'measured: cycles.jsonl sys.mfence#unroll' },
    shootdownSend: {
      value: 300,
      source: 'estimate: write of the x2APIC ICR, a WRMSR that does not serialise',
    },
    shootdownFirst: {
      value: 3000,
      source:
        'estimate: literature has 1 to 3 us, lower end at 3 GHz; without a VM exit memory-costs.json tlb_flush_user_visible.membarrier_expedited_one_ipi.min',
    },
    shootdownFurther: {
      value: 500,
      source: 'estimate: published scaling with the CPUs (Amit, Tai, Wei, EuroSys 2020)',
    },
    walkFixed: {
      value: 10,
      source:
        'estimate: start of the walker and refill, memory-costs.json tlb.recommended_native_model.walk_fixed',
    },
    walkEntry: {
      value: 5,
      source: 'measured: memory-costs.json cache_load_to_use.l1d; the entries are taken for cached',
    },
    walkFactor: { value: 100, source: 'definition: this is the native walk' },
    upperEntries: {
      value: 4,
      source: 'estimate: the vendor publishes no sizes; few, since each covers 1 GiB or more',
    },
    lowerEntries: {
      value: 32,
      source: 'estimate: the vendor publishes no sizes; small enough to be asked within the walk',
    },
    stlbHit: { value: 7, source: 'measured: memory-costs.json tlb.stlb_hit_extra' },
    dtlbEntries: { value: 96, source: 'measured: memory-costs.json tlb.l1_dtlb_4k_entries' },
    dtlbWays: { value: 6, source: 'measured: memory-costs.json tlb.l1_dtlb_4k_ways' },
    stlbEntries: {
      value: 2048,
      source: `${OPTIMIZATION}; memory-costs.json tlb_curve_4k_stride leaves its plateau there`,
    },
    stlbWays: { value: 16, source: OPTIMIZATION },
    lineBytes: {
      value: 64,
      source: 'manual: Intel SDM volume 3A, Internal Caches, TLBs, and Buffers',
    },
    l1Bytes: { value: 48 << 10, source: 'measured: memory-costs.json machine.l1d' },
    l1Ways: { value: 12, source: 'measured: memory-costs.json machine.l1d' },
    l1Hit: { value: 5, source: 'measured: memory-costs.json cache_load_to_use.l1d' },
    l2Bytes: { value: 2 << 20, source: 'measured: memory-costs.json machine.l2' },
    l2Ways: { value: 16, source: OPTIMIZATION },
    l2Hit: { value: 16, source: 'measured: memory-costs.json cache_load_to_use.l2' },
    l3Bytes: {
      value: 32 << 20,
      source: 'estimate: an eighth of memory-costs.json machine.l3, which all cores share',
    },
    l3Ways: {
      value: 16,
      source: 'estimate: as the L2; a share of a cache has no ways of its own',
    },
    l3Hit: {
      value: 100,
      source:
        'estimate: about 33 ns of a server mesh at 3 GHz; with neighbours memory-costs.json cache_load_to_use.l3_or_far.min',
    },
    memory: {
      value: 330,
      source:
        'estimate: about 110 ns at 3 GHz; with neighbours memory-costs.json cache_load_to_use.dram_or_far.min',
    },
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
      source: 'measured: memory-costs.json tlb.walk_total_in_guest.min, twice a native walk',
    },
    l3Hit: { value: 250, source: 'measured: memory-costs.json cache_load_to_use.l3_or_far.min' },
    memory: { value: 443, source: 'measured: memory-costs.json cache_load_to_use.dram_or_far.min' },
    shootdownFirst: {
      value: 53000,
      source:
        'measured: memory-costs.json tlb_flush_user_visible.madvise_dontneed_1page_remote_running.median less 3,000 of the rest',
    },
    shootdownFurther: {
      value: 2000,
      source: 'estimate: each further IPI is an exit of the sender',
    },
  },
);

export const X86_PRESETS: readonly CostPreset[] = [goldenCovePreset, virtualPreset];
