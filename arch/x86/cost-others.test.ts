import { beforeAll, describe, expect, it } from 'vitest';
import { type Disassembler, loadDisassembler } from '../../emulator/disassembler.ts';
import { decodeX86Cost } from './cost-decode.ts';
import { CARRY, FLAGS, MASK, MMX, TEMPORARY, VECTOR } from './cost-operands.ts';

// Forms that no measurement has: what they read and write after the SDM's instruction reference, and their figures after
// LLVM's scheduling model of the family's server core.

let disassembler: Disassembler;
beforeAll(async () => {
  disassembler = await loadDisassembler();
});

function decode(hex: string) {
  const bytes = Uint8Array.from(hex.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));
  const [insn] = disassembler.disassemble(bytes, { arch: 'x86_64', address: 0x1000n });
  expect(insn.bytes.length).toBe(bytes.length);
  return decodeX86Cost(insn);
}

const GENERAL = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11'];

/** A value's register; the flags but for the carry are ZF. */
function nameOf(value: number): string {
  if (value === CARRY) return 'CF';
  if (value === FLAGS) return 'ZF';
  if (value >= MASK) return `k${value - MASK}`;
  if (value >= MMX) return `m${value - MMX}`;
  return value < VECTOR ? GENERAL[value] : `x${value - VECTOR}`;
}

const names = (values: readonly number[]) =>
  [...new Set(values.filter((value) => value < TEMPORARY).map(nameOf))].sort();
const words = (text: string) => text.split(' ').filter(Boolean).sort();

describe('registers and flags of', () => {
  it.each([
    ['adcx rax, rcx', '66480f38f6c1', 'rax rcx CF', 'rax CF'],
    ['adox rax, rcx', 'f3480f38f6c1', 'rax rcx ZF', 'rax ZF'],
    ['sahf', '9e', 'rax ZF', 'CF ZF'],
    ['loop 1f', 'e200', 'rcx', 'rcx'],
    ['jrcxz 1f', 'e300', 'rcx', ''],
    ['cpuid', '0fa2', 'rax rcx', 'rax rcx rdx rbx'],
    ['rdmsr', '0f32', 'rcx', 'rax rdx'],
    ['wrmsr', '0f30', 'rax rcx rdx', ''],
    ['rdrand rax', '480fc7f0', '', 'rax CF ZF'],
    ['lsl eax, ax', '0f03c0', 'rax', 'rax ZF'],
    ['out dx, al', 'ee', 'rax rdx', ''],
    ['verw ax', '0f00e8', 'rax', ''],
    ['leave', 'c9', 'rbp', 'rsp rbp'],
    ['mulx rax, rcx, rbx', 'c4e2f3f6c3', 'rdx rbx', 'rax rcx'],
    ['div cl', 'f6f1', 'rax rcx', 'rax CF ZF'],
    ['cmpxchg16b [r11]', '490fc70b', 'rax rdx r11', 'rax rdx ZF'],
    ['xadd ecx, edx', '0fc1d1', 'rcx rdx', 'rcx rdx CF ZF'],
    ['shl ax, cl', '66d3e0', 'rax rcx CF ZF', 'rax CF ZF'],
    ['lgdt [r11]', '410f0113', 'r11', ''],
    ['movhps [r11], xmm0', '410f1703', 'r11 x0', ''],
    ['vfmadd231pd ymm0, ymm1, ymm2', 'c4e2f5b8c2', 'x0 x1 x2', 'x0'],
    ['vpdpbusd ymm0, ymm1, ymm2', '62f2752850c2', 'x0 x1 x2', 'x0'],
    ['vpternlogd zmm0, zmm1, zmm2, 3', '62f3754825c203', 'x0 x1 x2', 'x0'],
    ['vpblendvb ymm0, ymm1, ymm2, ymm3', 'c4e3754cc230', 'x1 x2 x3', 'x0'],
    ['vtestps ymm0, ymm1', 'c4e27d0ec1', 'x0 x1', 'CF ZF'],
    ['paddb mm0, mm1', '0ffcc1', 'm0 m1', 'm0'],
    ['movq mm0, rax', '480f6ec0', 'rax', 'm0'],
    ['movd eax, mm0', '0f7ec0', 'm0', 'rax'],
    ['vaddpd zmm0 {k1} {z}, zmm1, zmm2', '62f1f5c958c2', 'x1 x2 k1', 'x0'],
    ['vaddpd zmm0 {k1}, zmm1, zmm2', '62f1f54958c2', 'x0 x1 x2 k1', 'x0'],
    ['vpcmpeqd k1, zmm0, zmm1', '62f17d4876c9', 'x0 x1', 'k1'],
    ['vpcmpeqd k1 {k2}, zmm0, zmm1', '62f17d4a76c9', 'x0 x1 k2', 'k1'],
    ['kmovq rax, k1', 'c4e1fb93c1', 'k1', 'rax'],
    ['kandq k1, k2, k3', 'c4e1ec41cb', 'k2 k3', 'k1'],
    ['kortestq k1, k1', 'c4e1f898c9', 'k1', 'CF ZF'],
    ['movss xmm0, xmm1', 'f30f10c1', 'x0 x1', 'x0'],
    ['cvtpd2dq xmm0, xmm1', 'f20fe6c1', 'x1', 'x0'],
    ['cvtsi2sd xmm0, eax', 'f20f2ac0', 'x0 rax', 'x0'],
    ['vmovd xmm0, eax', 'c5f96ec0', 'rax', 'x0'],
    ['vpgatherdd ymm0, [r11+ymm1*4], ymm2', 'c4c26d90048b', 'x0 x1 x2 r11', 'x0'],
  ])('%s', (_, hex, reads, writes) => {
    const { uops } = decode(hex);
    expect(names(uops.flatMap((uop) => uop.reads))).toEqual(words(reads));
    expect(names(uops.flatMap((uop) => uop.writes))).toEqual(words(writes));
  });
});

describe('latency and slots of', () => {
  it.each([
    ['pslld xmm0, xmm1', '660ff2c1', 2, 2],
    ['vpblendvb ymm0, ymm1, ymm2, ymm3', 'c4e3754cc230', 3, 3],
    ['pblendvb xmm0, xmm1, xmm0', '660f3810c1', 1, 1],
    ['vpermilps ymm0, ymm1, 27', 'c4e37d04c11b', 1, 1],
    ['vpermq ymm0, ymm1, 27', 'c4e3fd00c11b', 3, 1],
    ['vpbroadcastb xmm0, xmm1', 'c4e27978c1', 1, 1],
    ['vpbroadcastd ymm0, xmm1', 'c4e27d58c1', 3, 1],
    ['cmpltpd xmm0, xmm1', '660fc2c101', 4, 1],
    ['hsubpd xmm0, xmm1', '660f7dc1', 5, 3],
    ['dppd xmm0, xmm1, 49', '660f3a41c131', 9, 3],
    ['mpsadbw xmm0, xmm1, 0', '660f3a42c100', 4, 2],
    ['sha256rnds2 xmm0, xmm1, xmm0', '0f38cbc1', 6, 1],
    ['aesimc xmm0, xmm1', '660f38dbc1', 8, 2],
    ['vmovq rax, xmm0', 'c4e1f97ec0', 2, 1],
    ['vmovdqa64 zmm0, zmm1', '62f1fd486fc1', 0, 1],
    ['pcmpistri xmm0, xmm1, 12', '660f3a63c10c', 11, 3],
  ])('%s', (_, hex, latency, slots) => {
    const { uops, slots: found } = decode(hex);
    const results = uops.filter(({ writes }) => writes.length > 0);
    expect(Math.max(...results.map((uop) => uop.latency))).toBe(latency);
    expect(found).toBe(slots);
  });
});

it('half a vector goes to memory without a load', () => {
  // movhps [r11], xmm0
  const { uops } = decode('410f1703');
  expect(uops.filter(({ load }) => load >= 0)).toEqual([]);
  expect(uops.filter(({ store }) => store >= 0)).toHaveLength(1);
});
