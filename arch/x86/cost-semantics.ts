// Which operands, registers and flags an x86-64 instruction reads and writes, by mnemonic, after the SDM's instruction
// reference (Vol. 2). For costing: flags are two values (carry, and the rest), and what is undefined counts as written.

/**
 * Roles of the operands in order: r reads, w writes, x both, a its address only. Then the flags: what is read before
 * the slash and written after it (C carry, Z the others), then implicit registers in the same way.
 */
interface Semantics {
  readonly roles: string;
  readonly flagsRead: string;
  readonly flagsWritten: string;
  readonly reads: readonly number[];
  readonly writes: readonly number[];
}

import { RAX, RBX, RCX, RDI, RDX, RSI } from './cost-operands.ts';

const REGISTER_OF: Readonly<Record<string, number>> = {
  a: RAX,
  b: RBX,
  c: RCX,
  d: RDX,
  S: RSI,
  D: RDI,
};

// mnemonics: roles flags implicit
const RULES = `
add sub and or xor: xr /CZ
adc sbb: xr C/CZ
adcx: xr C/C
adox: xr Z/Z
cmp test: rr /CZ
inc dec: x /Z
neg: x /CZ
not bswap: x
mov movabs movzx movsx movsxd movbe: wr
lea: wa
shl sal shr sar: xr /CZ
rol ror: xr /C
rcl rcr: xr C/C
shld shrd: xrr /CZ
shlx shrx sarx rorx pdep pext: wrr
bextr bzhi andn: wrr /CZ
blsr blsi blsmsk popcnt lzcnt tzcnt: wr /CZ
bsf bsr: xr /CZ
bt: rr /C
bts btr btc: xr /C
imul1 mul: r /CZ a/ad
imul2: xr /CZ
imul3: wrr /CZ
mulx: wwr - d/
div idiv: r /CZ ad/ad
div8 idiv8: r /CZ a/a
cbw cwde cdqe: - - a/a
cwd cdq cqo: - - a/d
xchg: xx
xadd: xx /CZ
cmpxchg: xr /CZ a/a
cmpxchg8b cmpxchg16b: x /Z ad/ad
lahf: - CZ/ a/a
sahf: - Z/CZ a/
clc stc: - /C
cmc: - C/C
cld std cli sti: -
crc32: xr
movnti movntdq movntps movntpd: wr
lodsb lodsw lodsd lodsq: - - aS/aS
stosb stosw stosd stosq: - - aD/D
movsb movsw movsq: - - SD/SD
scasb scasw scasd scasq: - /CZ aD/D
cmpsb cmpsw cmpsd cmpsq: - /CZ SD/SD
rdtsc: - - /ad
rdtscp: - - /adc
xgetbv: - - c/ad
cpuid: - - ac/abcd
rdmsr rdpmc: - - c/ad
wrmsr xsetbv: - - acd/
rdrand rdseed: w /CZ
xlatb: - - ab/a
in: wr
out: rr
lldt ltr lmsw verr verw wrfsbase wrgsbase umonitor umwait tpause: r
lsl lar: wr /Z
str smsw sgdt sidt sldt fnstcw fnstsw: w
lgdt lidt fldcw xrstor fxrstor: r
xsave xsaveopt xsavec fxsave: w
invlpg cldemote: a
invpcid: ra
fld fild: r
fst fstp fist fistp: w
rdfsbase rdgsbase rdpid: w
ldmxcsr: r
stmxcsr: w
movdiri movntdqa: wr
prefetcht0 prefetcht1 prefetcht2 prefetchnta prefetchw: r
clflush clflushopt clwb: a
nop: aa
endbr64 lfence mfence sfence pause ud2 int3 hlt leave: -
push: r
pop: w
pushfq pushf: - CZ/
popfq popf: - /CZ
jmp call: r
ret: -
movd movq movaps movups movapd movupd movdqa movdqu lddqu pmovmskb movmskps movmskpd: wr
movss movsd: wr
movlps movhps movlpd movhpd: xr
storehalf: wr
ucomisd ucomiss comisd comiss ptest testps testpd fcomi fcomip: rr /CZ
pcmpistri pcmpistrm pcmpestri pcmpestrm: rrr /CZ
pshufd pshuflw pshufhw roundss roundsd roundps roundpd: wrr
pextrb pextrw pextrd pextrq extractps: wrr
pinsrb pinsrw pinsrd pinsrq insertps shufps shufpd palignr pblendw blendps blendpd pclmulqdq: xrr
cvtpd2dq cvtph2ps phminposuw aesimc cvtdq2ps cvtps2dq cvttps2dq cvtps2pd cvtpd2ps cvtdq2pd cvttpd2dq pabsb pabsw pabsd rcpps rsqrtps sqrtps sqrtpd: wr
pmovzxbw pmovzxbd pmovzxbq pmovzxwd pmovzxwq pmovzxdq pmovsxbw pmovsxbd pmovsxwd pmovsxdq movddup movshdup movsldup: wr
cvtsi2sd cvtsi2ss cvtsd2ss cvtss2sd sqrtsd sqrtss rcpss rsqrtss: xr
cvttsd2si cvttss2si cvtsd2si cvtss2si: wr
kmovb kmovw kmovd kmovq knotb knotw knotd knotq: wr
kandb kandw kandd kandq korb korw kord korq kxorb kxorw kxord kxorq: wrr
kortestb kortestw kortestd kortestq ktestb ktestw ktestd ktestq: rr /CZ
`;

const CONDITION_FLAGS: Readonly<Record<string, string>> = {
  b: 'C',
  c: 'C',
  nae: 'C',
  ae: 'C',
  nb: 'C',
  nc: 'C',
  be: 'CZ',
  na: 'CZ',
  a: 'CZ',
  nbe: 'CZ',
};

function parseRules(): ReadonlyMap<string, Semantics> {
  const all = new Map<string, Semantics>();
  const values = (letters: string) => [...letters].map((letter) => REGISTER_OF[letter]);
  for (const line of RULES.trim().split('\n')) {
    const [names, rest] = line.split(':');
    const [roles, flags = '', implicit = ''] = rest.trim().split(/\s+/);
    const [flagsRead, flagsWritten = ''] = flags.replace('-', '').split('/');
    const [reads, writes = ''] = implicit.replace('-', '').split('/');
    const semantics: Semantics = {
      roles: roles.replace('-', ''),
      flagsRead,
      flagsWritten,
      reads: values(reads),
      writes: values(writes),
    };
    for (const name of names.split(' ')) all.set(name, semantics);
  }
  return all;
}

const SEMANTICS = parseRules();
const NOTHING: Semantics = { roles: '', flagsRead: '', flagsWritten: '', reads: [], writes: [] };

const conditional = (roles: string, condition: string): Semantics => ({
  ...NOTHING,
  roles,
  flagsRead: CONDITION_FLAGS[condition] ?? 'Z',
});

/** VEX and EVEX forms that read their destination: fused multiply-adds, dot products, gathers, two-table permutations. */
const ACCUMULATES = /^v(fn?m(add|sub)|pdp|pmadd52|pternlog|perm[it]2|p?gather)/;

function vectorSemantics(mnemonic: string, operands: number): Semantics {
  const legacy = SEMANTICS.get(mnemonic.slice(1));
  // A VEX form of a two-operand instruction names its destination apart; a fused multiply-add reads it too.
  if (ACCUMULATES.test(mnemonic)) return { ...NOTHING, roles: 'xrrr'.slice(0, operands) };
  if (legacy !== undefined && legacy.roles.length === operands) {
    return { ...legacy, roles: legacy.roles.replace('x', 'w') };
  }
  return { ...NOTHING, roles: `w${'r'.repeat(Math.max(0, operands - 1))}` };
}

/**
 * @param mnemonic without prefixes
 * @param operands number of operands
 * @returns what the instruction reads and writes; an unknown mnemonic with two operands is taken for `op dst, src`
 */
export function semanticsOf(mnemonic: string, operands: number): Semantics {
  if (mnemonic === 'imul') return SEMANTICS.get(`imul${operands}`) ?? NOTHING;
  // The string instruction has the same name as the scalar move; its text has two memory operands, the form no size.
  const known = SEMANTICS.get(mnemonic);
  if (known !== undefined) return known;
  if (mnemonic.startsWith('cmov')) return conditional('xr', mnemonic.slice(4));
  if (mnemonic.startsWith('set')) return conditional('w', mnemonic.slice(3));
  if (mnemonic === 'jrcxz' || mnemonic === 'jecxz') return { ...NOTHING, reads: [RCX] };
  if (mnemonic.startsWith('j')) return conditional('', mnemonic.slice(1));
  if (mnemonic.startsWith('v')) return vectorSemantics(mnemonic, operands);
  return { ...NOTHING, roles: operands === 0 ? '' : `x${'r'.repeat(operands - 1)}` };
}
