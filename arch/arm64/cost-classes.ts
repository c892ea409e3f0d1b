// Costs of AArch64 instruction classes on a Neoverse N1: ports, latency, operations. Approximate: latencies and
// pipelines after Arm's Neoverse N1 Software Optimization Guide as publicly known, occupancies and the number of
// operations chosen to agree with LLVM's scheduling model of the core (llvm-mca). No Arm core was measured.

const mask = (...ports: readonly number[]) => ports.reduce((sum, port) => sum | (1 << port), 0);

/** Pipelines, by the guide's names: B branch, S single-cycle, M multi-cycle, L load/store, D store data, V vector. */
export const PORTS = {
  b: mask(0),
  i: mask(1, 2, 3),
  m: mask(3),
  l: mask(4, 5),
  d: mask(6),
  v: mask(7, 8),
  v0: mask(7),
  v1: mask(8),
} as const;

export type PortClass = keyof typeof PORTS;

export interface ClassCost {
  readonly name: string;
  readonly port: PortClass;
  /** Cycles. */
  readonly latency: number;
  /** Operations of the dispatcher's width. */
  readonly slots: number;
  /** Cycles for which its unit takes nothing else. */
  readonly busy: number;
  /** Which unit: one on the integer side, one on the vector side. */
  readonly unit: number;
}

// name: ports latency slots busy: mnemonics
const CLASSES = `
integer: i 1 1 1: add sub adds subs and ands bic bics orr orn eor eon mov movz movn movk cmp cmn tst neg negs mvn ngc adc adcs sbc sbcs csel csinc csinv csneg cset csetm cinc cinv cneg ccmp ccmn lsl lsr asr ror sxtb sxth sxtw uxtb uxth ubfx sbfx ubfiz sbfiz ubfm sbfm clz cls rbit rev rev16 rev32 adr adrp
hint: i 1 1 1: nop hint yield bti isb dsb dmb paciasp autiasp wfe sev
shifted: m 2 1 1: add.shift sub.shift adds.shift subs.shift cmp.shift cmn.shift neg.shift
insert: m 2 1 1: bfi bfxil bfm
extract: m 3 2 1: extr
multiply: m 2 1 1: mul madd msub mneg smull umull smaddl umaddl smsubl umsubl crc32b crc32h crc32w crc32cb crc32cw
crc: m 2 1 1: crc32x crc32cx
multiplyWide: m 4 1 3: mul.x madd.x msub.x mneg.x
multiplyHigh: m 5 1 3: umulh smulh
divide: m 12 1 5: udiv sdiv
divideWide: m 20 1 5: udiv.x sdiv.x
branch: b 1 1 1: b br ret cbz cbnz tbz tbnz
call: b 1 2 1: bl blr
vector: v 2 1 1: add.v sub.v and.v orr.v eor.v bic.v mov.v movi mvni cmeq cmgt cmge cmhi cmhs ext zip1 zip2 uzp1 uzp2 trn1 trn2 dup cnt tbl fadd fsub fabs fneg fmax fmin fmaxnm fminnm shl ushr sshr umin umax smin smax abs neg.v not ushll sshll uaddlp addp ins rev64 fcsel mvn.v cls.v clz.v rbit.v rev16.v rev32.v faddp fmaxp fminp sabd uabd saba uaba shadd uhadd sqadd uqadd sqsub uqsub xtn xtn2 sqxtn uqxtn saddl uaddl ssubl usubl saddw uaddw bif bit bsl sri sli ssra usra fcmeq fcmge fcmgt facge facgt frecpe frsqrte fcvtl fcvtn sxtl uxtl tbx
across: v1 5 1 1: addv uaddlv saddlv umaxv uminv smaxv sminv fmaxv fminv
vectorMultiply: v0 5 2 2: mul.v mla mls smull.v umull.v smlal umlal smlsl umlsl sqdmulh
pmull: v0 2 1 1: pmull pmull2 aese aesd aesmc aesimc
fmul: v 3 1 1: fmul fnmul fmulx
fma: v 4 1 1: fmadd fmsub fnmadd fnmsub fmla fmls
fcmp: v0 2 1 1: fcmp fcmpe
fdiv: v0 10 1 7: fdiv fsqrt
fdivWide: v0 15 1 12: fdiv.d fsqrt.d
fmov: v 2 1 1: fmov
toVector: m 3 1 1: fmov.in
fromVector: v1 2 1 1: fmov.out umov
toFloat: m 6 2 1: scvtf ucvtf
fromFloat: v0 4 2 1: fcvtzs fcvtzu
convert: v0 3 1 1: fcvt frintm frintp frintz frinta
`;

/** A store's address goes through the load/store pipelines. */
export const MEMORY_PORTS = { load: PORTS.l, storeAddress: PORTS.l, storeData: PORTS.d } as const;

/** Cycles of a load from the L1 data cache: general and vector registers. */
export const LOAD_LATENCY = 4;
export const VECTOR_LOAD_LATENCY = 5;

const COSTS = new Map<string, ClassCost>();
for (const line of CLASSES.trim().split('\n')) {
  const [name, numbers, mnemonics] = line.split(':').map((part) => part.trim());
  const [port, latency, slots, busy] = numbers.split(' ');
  const cost: ClassCost = {
    name,
    port: port as PortClass,
    latency: Number(latency),
    slots: Number(slots),
    busy: Number(busy),
    unit: port === 'm' ? 0 : 1,
  };
  for (const mnemonic of mnemonics.split(' ')) COSTS.set(mnemonic, cost);
}

/** An instruction that no class names is taken for a vector operation of three cycles. */
const UNKNOWN: ClassCost = { name: 'unknown', port: 'v', latency: 3, slots: 1, busy: 1, unit: 1 };

/** @param variant refinement to try before the bare mnemonic; '' for none */
export function classOf(family: string, variant: string): ClassCost {
  return COSTS.get(`${family}.${variant}`) ?? COSTS.get(family) ?? UNKNOWN;
}
