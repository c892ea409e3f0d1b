// Which optional parts of the architecture a CPU has, as far as address translation asks, and a table of CPUs. Values
// are those of the ID registers (ID_AA64MMFR0_EL1 to ID_AA64MMFR2_EL1, ID_AA64ISAR0_EL1). Left out: features that this
// model never looks at (MTE, FEAT_LSE2, FEAT_PAN3, FEAT_HAFT, permission indirection, 128-bit descriptors).

/** Features of one CPU. DDI 0487, D24.2, the ID register fields named at each. */
export interface Arm64Features {
  /** Physical address size in bits, 32 to 52: ID_AA64MMFR0_EL1.PARange. */
  readonly paBits: number;
  /** ID_AA64MMFR0_EL1.TGran4, TGran16, TGran64. */
  readonly granules: readonly ('4K' | '16K' | '64K')[];
  /** FEAT_PAN and FEAT_PAN2 (PSTATE.PAN, AT S1E1RP): ID_AA64MMFR1_EL1.PAN. */
  readonly pan: boolean;
  /** FEAT_UAO: ID_AA64MMFR2_EL1.UAO. */
  readonly uao: boolean;
  /** FEAT_HAFDBS: ID_AA64MMFR1_EL1.HAFDBS; the access flag alone, or the dirty state too. */
  readonly hafdbs: 'none' | 'AF' | 'AF+dirty';
  /** FEAT_HPDS: ID_AA64MMFR1_EL1.HPDS. */
  readonly hpds: boolean;
  /** FEAT_LSE (CAS, LDADD, SWP): ID_AA64ISAR0_EL1.Atomic. */
  readonly lse: boolean;
  /** FEAT_E0PD: ID_AA64MMFR2_EL1.E0PD. */
  readonly e0pd: boolean;
  /** FEAT_TTST, small translation tables: ID_AA64MMFR2_EL1.ST. */
  readonly ttst: boolean;
  /** FEAT_LVA, 52-bit virtual addresses with the 64K granule: ID_AA64MMFR2_EL1.VARange. */
  readonly lva: boolean;
  /** FEAT_LPA2, TCR_EL1.DS for the 4K and 16K granules: ID_AA64MMFR0_EL1.TGran4, TGran16. */
  readonly lpa2: boolean;
  /** FEAT_PAuth, which brings TCR_EL1.TBIDn: ID_AA64ISAR1_EL1.APA, API. */
  readonly pauth: boolean;
  /** 16-bit ASIDs (TCR_EL1.AS): ID_AA64MMFR0_EL1.ASIDBits. */
  readonly asid16: boolean;
  /** Bytes that DC ZVA zeroes, a power of two: DCZID_EL0.BS. */
  readonly zvaBytes: number;
}

const armv8_2: Arm64Features = {
  paBits: 48,
  granules: ['4K', '16K', '64K'],
  pan: true,
  uao: true,
  hafdbs: 'AF+dirty',
  hpds: true,
  lse: true,
  e0pd: false,
  ttst: false,
  lva: false,
  lpa2: false,
  pauth: false,
  asid16: true,
  zvaBytes: 64,
};

/** CPUs by QEMU's model name. `max` is what the modelled kernel runs on: everything this model knows. */
export const ARM64_CPUS = {
  'neoverse-n1': armv8_2,
  'cortex-a76': { ...armv8_2, paBits: 40 },
  'cortex-a57': {
    ...armv8_2,
    paBits: 44,
    granules: ['4K', '64K'],
    pan: false,
    uao: false,
    hafdbs: 'none',
    hpds: false,
    lse: false,
  },
  max: { ...armv8_2, paBits: 52, e0pd: true, ttst: true, lva: true, lpa2: true, pauth: true },
} as const satisfies Record<string, Arm64Features>;

export type Arm64CpuName = keyof typeof ARM64_CPUS;
