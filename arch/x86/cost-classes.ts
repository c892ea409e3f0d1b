// From an x86-64 instruction's form to ports, latency and slots: the classes of the Golden Cove family. Approximate.
// Latencies, slots and unpipelined times are the measured rows' (cost-table.ts); which ports a measured rate stands
// for (five arithmetic ports, three, two) is from the public descriptions of the core, since no counters were at hand.
// x87 registers have no values here, so what they carry is no chain. MMX forms cost what their vector forms do.
import { TICKS_PER_CYCLE } from '../../emulator/cost/units.ts';
import { X86_MEASURED } from './cost-table.ts';

const mask = (...ports: readonly number[]) => ports.reduce((sum, port) => sum | (1 << port), 0);

/** Ports by what goes to them. */
export const PORTS = {
  none: 0,
  alu: mask(0, 1, 5, 6, 10),
  /** Shifts, flag readers and branches. */
  shift: mask(0, 6),
  flag: mask(0, 6),
  mul: mask(1),
  lea: mask(1, 5, 10),
  p0: mask(0),
  p5: mask(5),
  branch: mask(6),
  vec: mask(0, 1, 5),
  v01: mask(0, 1),
  v15: mask(1, 5),
  v05: mask(0, 5),
  load: mask(2, 3, 11),
  storeAddress: mask(7, 8),
  storeData: mask(4, 9),
} as const;

/** Load-to-use of the L1 data cache, general registers: measured. */
export const LOAD_LATENCY = 5;
/** Vector loads: two more, after the vendor's optimisation manual. */
export const VECTOR_LOAD_LATENCY = 7;

export type PortClass = keyof typeof PORTS;

/** What a class of forms costs. */
export interface FormCost {
  readonly form: string;
  /** Port class of each operation; the first carries the result. */
  readonly ports: readonly PortClass[];
  /** Cycles. */
  readonly latency: number;
  readonly slots: number;
  readonly microcoded: boolean;
  /** One operation that only the first legacy decoder makes: unrolled one a cycle, in a loop more. */
  readonly complex: boolean;
  /** Ticks for which the unpipelined unit is busy, or 0. */
  readonly busy: number;
}

// Each line: port classes; row of the measured table; mnemonics (key: mnemonic, then variant). `slots=`, `lat=` and
// `busy` override the row where it cannot say: an unpipelined unit hides the slots, a chain was not measured.
const CLASSES = `
alu | add r64,r64 | add sub and or xor neg not cmp test inc dec adcx adox
flag | adc r64,r64 | adc sbb
shift | shl r64,imm | shl shr sar sal rol ror
shift shift | rol r64,1 | rol.1 ror.1
shift shift | shl r64,cl | shl.cl shr.cl sar.cl rol.cl ror.cl
shift shift alu | rcl r64,1 | rcl.1 rcr.1
shift shift shift shift shift shift alu alu | rcl r64,imm slots=8 | rcl rcl.cl
shift shift shift shift shift shift alu alu | rcr r64,imm slots=8 | rcr rcr.cl
mul | shld r64,r64,imm | shld shrd
mul shift alu | shld r64,r64,cl | shld.cl
mul shift alu | shrd r64,r64,cl | shrd.cl
shift | shlx r64,r64,r64 | shlx shrx sarx rorx
shift mul | bextr r64,r64,r64 | bextr
mul | bzhi r64,r64,r64 complex | bzhi
mul | pdep r64,r64,r64 | pdep pext
lea | andn r64,r64,r64 | andn blsr blsi blsmsk
mul | popcnt r64,r64 | popcnt lzcnt tzcnt bsf bsr
flag | bts r64,imm complex | bt bts btr btc
mul | imul r64,r64 | imul crc32
mul p5 | mul r64 slots=2 | mul mulx
mul p5 alu | mul r32 slots=3 | mul32
mul alu alu alu | div r32 (small) slots=4 lat=11 busy | div div32 idiv
mul alu alu alu | div r64 (small) slots=4 lat=15 busy | div64
none | lea r64,[b+d] | lea.simple
alu | lea r64,[b+i] | lea lea32
lea | lea r64,[b+i*s] | lea.scaled
flag | cmove r64,r64 complex | cmov set
none | mov r64,r64 | mov
alu | mov r32,imm32 lat=1 | mov.imm
alu | mov r8,r8 lat=1 | mov.merge
none | xor zero lat=0 | zero nop clc endbr64
alu | movzx r32,r16 | movzx
none | movzx r32,r8 lat=0 | movzx.8
lea | movsx r64,r8 | movsx movsxd
lea | cdqe complex | cdqe cwde cbw
flag | cqo lat=1 complex | cqo cdq cwd
mul | bswap r32 complex | bswap
mul alu | bswap r64 | bswap.64 movbe
alu alu alu | xchg r64,r64 lat=1 | xchg
alu alu alu | xadd r64,r64 | xadd
alu alu alu alu alu | cmpxchg r64,r64 slots=5 | cmpxchg
alu | stc lat=1 | stc
flag | cmc complex | cmc
flag | lahf lat=1 complex | lahf
shift shift | sahf lat=2 | sahf
v15 | addsd xmm,xmm | addsd subsd addss subss addps subps addpd subpd addsubps addsubpd
v01 | mulsd xmm,xmm | mulsd mulss mulps mulpd minsd maxsd minss maxss minps maxps minpd maxpd
v01 | mulsd xmm,xmm | fma cmpps
p0 | divsd xmm,xmm slots=1 busy | divsd divpd
p0 | divss xmm,xmm slots=1 busy | divss divps
p0 | sqrtsd xmm,xmm slots=1 busy | sqrtsd sqrtpd
p0 | sqrtss xmm,xmm slots=1 busy | sqrtss sqrtps
vec | paddd xmm,xmm | paddb paddw paddd paddq psubb psubw psubd psubq pand por pxor pandn
vec | andps xmm,xmm | andps orps xorps andnps andpd orpd xorpd andnpd blendps blendpd pblendd
v01 | pcmpeqd xmm,xmm | pcmpeqb pcmpeqw pcmpeqd pcmpeqq pcmpgtb pcmpgtw pcmpgtd
v01 | pminub xmm,xmm | pminub pminsw pminsd pminud pminuw pminsb pmaxub pmaxsw pmaxsd pmaxud pmaxuw pmaxsb
v01 | pavgb xmm,xmm | pavgb pavgw pabsb pabsw pabsd psignb psignw psignd
v01 | paddd xmm,xmm | paddusb paddusw paddsb paddsw psubusb psubusw psubsb psubsw
v01 v01 | pmulld xmm,xmm slots=2 | pmulld
v01 | pmuludq xmm,xmm slots=1 | pmuludq pmuldq pmullw pmulhw pmulhuw pmaddwd pmaddubsw pmulhrsw
p5 | psadbw xmm,xmm | psadbw pcmpgtq
v15 | pshufb xmm,xmm | pshufb pshufd pshuflw pshufhw shufps shufpd pblendw psrldq pslldq movddup movshdup movsldup insertps
v15 | punpcklbw xmm,xmm | punpcklbw punpcklwd punpckldq punpcklqdq punpckhbw punpckhwd punpckhdq punpckhqdq unpcklpd unpckhpd movhlps movlhps
p5 | unpcklps xmm,xmm | unpcklps unpckhps palignr movlps movhps movlpd movhpd
p5 | packuswb xmm,xmm | packuswb packsswb packssdw packusdw
v01 | pslld xmm,imm | pslld psllq psllw psrld psrlq psrlw psrad psraw
v01 v01 | roundsd xmm,xmm,imm slots=2 | roundsd roundss roundps roundpd
p0 | rcpps xmm,xmm | rcpps rsqrtps rcpss rsqrtss
v01 | aesenc xmm,xmm | aesenc aesenclast aesdec aesdeclast
p5 | pclmulqdq xmm,xmm,imm | pclmulqdq permd permq permps permpd perm2f128 perm2i128 permb permw permi2d permi2q permt2d permt2q
p5 | pclmulqdq xmm,xmm,imm | extractf128 extracti128 insertf128 inserti128 broadcastss broadcastsd pbroadcastb pbroadcastw pbroadcastd pbroadcastq
v15 | pshufd xmm,xmm,imm | broadcastss.lane pbroadcastb.lane pbroadcastw.lane pbroadcastd.lane pbroadcastq.lane permilps permilpd
v01 | cvtdq2ps xmm,xmm | cvtdq2ps cvtps2dq cvttps2dq
v01 p5 | cvtps2pd xmm,xmm | cvtps2pd cvtpd2ps cvtdq2pd cvttpd2dq cvtpd2dq cvtsd2ss cvtss2sd
p5 p5 v15 | haddps xmm,xmm | haddps haddpd hsubps hsubpd
v15 v15 vec | phaddd xmm,xmm lat=2 | phaddd phaddw phaddsw phsubd phsubw phsubsw
v15 | pshufd xmm,xmm,imm | pmovzxbw pmovzxbd pmovzxbq pmovzxwd pmovzxwq pmovzxdq pmovsxbw pmovsxbd pmovsxwd pmovsxdq
none | movaps xmm,xmm | movaps movups movapd movupd movdqa movdqu movq.xx lddqu
vec | blendps xmm,xmm,imm | movss movsd
p5 | movq xmm,r64 + movq r64,xmm lat=2 | movd.in movq.in
p0 | movq r64,xmm lat=2 | movd.out movq.out
p0 | pmovmskb r32,xmm lat=3 | pmovmskb movmskps movmskpd
p5 v01 | cvtsi2sd xmm,r64 lat=6 | cvtsi2sd cvtsi2ss
p0 v01 | cvttsd2si r64,xmm lat=6 | cvttsd2si cvttss2si cvtsd2si cvtss2si
p0 | ucomisd xmm,xmm lat=3 | ucomisd ucomiss comisd comiss
p0 p5 | ptest xmm,xmm lat=4 | ptest
p0 p5 | pextrq r64,xmm,1 lat=3 | pextrq pextrd pextrw pextrb extractps
v15 p5 | pinsrq xmm,r64,1 lat=1 | pinsrq pinsrd pinsrw pinsrb
`;

// Forms that were not measured: port classes, latency, slots; after LLVM's scheduling model of the family, and where
// that has none, an estimate.
const OTHERS = `
v01 1 1 | psllvd psllvq psrlvd psrlvq psravd psravq psllvw psrlvw psravw prold prolq prord prorq
v01 v15 2 2 | pslld.x psllq.x psllw.x psrld.x psrlq.x psrlw.x psrad.x psraw.x
vec 1 1 | blendvps blendvpd pblendvb pternlogd pternlogq
vec vec vec 3 3 | blendvps.v blendvpd.v pblendvb.v
v01 p5 6 2 | cvtph2ps cvtps2ph
v01 p5 4 2 | mpsadbw
p0 4 1 | phminposuw
v01 v01 p5 9 3 | dppd
v01 v01 v01 p5 14 6 | dpps
p0 5 1 | testps testpd
p0 p0 p0 11 3 | pcmpistri pcmpistrm
p0 p0 p0 alu alu alu v15 v15 16 8 | pcmpestri pcmpestrm
v01 v01 8 2 | aesimc
v01 v01 p5 p5 14 14 | aeskeygenassist
p5 6 1 | sha1rnds4
v01 vec vec 3 3 | sha1nexte
vec vec 2 2 | sha1msg1
vec vec vec vec vec vec 6 7 | sha1msg2
p5 6 1 | sha256rnds2
vec vec vec vec vec vec 5 7 | sha256msg1
p5 p5 6 2 | sha256msg2
v01 5 1 | gf2p8mulb gf2p8affineqb gf2p8affineinvqb pdpbusd pdpbusds pdpwssd pdpwssds
v01 4 1 | pmadd52luq pmadd52huq scalefpd scalefps
p0 v01 v01 p5 23 12 | pgatherdd pgatherdq gatherdps gatherdpd
p0 v01 v01 p5 22 8 | pgatherqd pgatherqq gatherqps gatherqpd
vec 3 1 | maskmovps maskmovpd pmaskmovd pmaskmovq
p5 3 1 | popcntd popcntq popcntb popcntw pmovqd pmovdw pmovwb pmovdb pcmpd pcmpq pcmpud pcmpuq pcmpb pcmpub ptestmd ptestmq ptestmb
p0 p0 p0 15 3 | pmullq
p5 p5 6 2 | pcompressd pcompressq pexpandd pexpandq
p5 3 1 | kmovb kmovw kmovd kmovq
p0 1 1 | kandb kandw kandd kandq korb korw kord korq kxorb kxorw kxord kxorq knotb knotw knotd knotq
p0 3 1 | kortestb kortestw kortestd kortestq ktestb ktestw ktestd ktestq
v05 1 1 | movq.mmx
none 0 1 | zeroupper
p0 v01 v01 p5 alu alu 12 10 | zeroall
p5 1 1 | fld fst fstp fxch fld1 fldz fabs fchs emms
p5 3 1 | fadd faddp fsub fsubp fsubr fsubrp fild fist fistp
p0 4 1 | fmul fmulp
p0 15 1 | fdiv fdivp fdivr fdivrp fsqrt
alu alu 1 2 | xlatb
alu alu 1 2 | str smsw sldt sgdt sidt
alu 1 1 | clac stac invlpg swapgs
alu alu alu 1 3 | cli
alu alu alu alu alu alu 1 6 | sti
`;

const MEASURED = new Map(X86_MEASURED.map((row) => [row[0], row]));

/** A measured row, in cycles and ticks. @throws RangeError if the table has no such form */
export function measured(form: string) {
  const row = MEASURED.get(form);
  if (row === undefined) throw new RangeError(`the cost table has no form '${form}'`);
  const [, latency, throughput, slots, instructions] = row;
  return {
    latency: latency < 0 ? null : Math.round(latency / TICKS_PER_CYCLE),
    throughput,
    slots: Math.max(1, Math.round(slots / TICKS_PER_CYCLE)),
    instructions,
  };
}

/** Ticks of a measured row's chain. @throws RangeError if the table has none */
export function measuredTicks(form: string): number {
  const latency = MEASURED.get(form)?.[1] ?? -1;
  if (latency < 0) throw new RangeError(`the cost table has no chain of '${form}'`);
  return latency;
}

function parseClasses(): ReadonlyMap<string, FormCost> {
  const all = new Map<string, FormCost>();
  for (const line of CLASSES.trim().split('\n')) {
    const [ports, source, names] = line.split('|').map((part) => part.trim());
    const override = (key: string) => new RegExp(` ${key}=(\\d+)`).exec(source)?.[1];
    const form = source.replace(/ (slots=\d+|lat=\d+|busy|complex)/g, '');
    const row = measured(form);
    const slots = Number(override('slots') ?? row.slots);
    const cost: FormCost = {
      form,
      ports: ports.split(' ') as PortClass[],
      latency: Number(override('lat') ?? row.latency ?? 1),
      slots,
      microcoded: slots > 4,
      complex: / complex/.test(source),
      busy: / busy/.test(source) ? row.throughput : 0,
    };
    for (const name of names.split(' ')) all.set(name, cost);
  }
  for (const line of OTHERS.trim().split('\n')) {
    const [figures, names] = line.split('|').map((part) => part.trim());
    const words = figures.split(' ');
    const [latency, slots] = words.slice(-2).map(Number);
    const ports = words.slice(0, -2) as PortClass[];
    const cost: FormCost = {
      ...{ form: names.split(' ')[0], ports, latency, slots },
      ...{ microcoded: slots > 4, complex: false, busy: 0 },
    };
    for (const name of names.split(' ')) if (!all.has(name)) all.set(name, cost);
  }
  return all;
}

const COSTS = parseClasses();

/** An instruction that no class names: one operation of three cycles on one port, the model's guess. */
const UNKNOWN: FormCost = {
  form: 'unknown',
  ports: ['mul'],
  latency: 3,
  slots: 1,
  microcoded: false,
  complex: false,
  busy: 0,
};

/**
 * @param family mnemonic without prefixes, or the name of a class
 * @param variant refinement to try before it, as `1`, `cl`, `imm`; '' for none
 */
export function classOf(family: string, variant: string): FormCost {
  return COSTS.get(`${family}.${variant}`) ?? COSTS.get(family) ?? UNKNOWN;
}
