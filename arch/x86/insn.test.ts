// What the engine is told of x86-64 instructions: which must not reach the core, and accesses of forms that the engine's
// own table (emulator/unicorn/test-forms.ts) leaves out.
import { describe, expect, it } from 'vitest';
import { type AccessForm, READ, WRITE } from '../../emulator/engine.ts';
import { x86Instructions as x86 } from './insn.ts';
import { X86_REFUSALS } from './refusals.ts';

const bytes = (hex: string) => Uint8Array.from(Buffer.from(hex.replace(/ /g, ''), 'hex'));
const NAMES = ['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rbp', 'rsp', 'r8', 'r9', 'r10', 'r11'];
const nameOf = (index: number) =>
  index < 0 ? '' : ((index === 16 ? 'rip' : NAMES[index]) ?? `#${index}`);
const shown = (form: AccessForm) => {
  const at = BigInt.asIntN(64, (BigInt(form.displacementHi) << 32n) | BigInt(form.displacementLo));
  const index = form.index < 0 ? '' : `+${nameOf(form.index)}*${1 << form.shift}`;
  const place = form.exact ? `${nameOf(form.base)}${index}${at < 0n ? '' : '+'}${at}` : '?';
  return `${form.kind === READ ? 'R' : 'W'}${form.size} ${place}`;
};

describe('accesses', () => {
  it.each([
    ['push rax', '50', ['W8 rsp-8']],
    ['push ax', '6650', ['W2 rsp-2']],
    ['push [rdi]', 'ff37', ['R8 rdi+0', 'W8 rsp-8']],
    ['push imm8', '6a01', ['W8 rsp-8']],
    ['pushf', '9c', ['W8 rsp-8']],
    ['pop rax', '58', ['R8 rsp+0']],
    ['pop [rdi]', '8f07', ['R8 rsp+0', 'W8 ?']],
    ['call rel32', 'e800000000', ['W8 rsp-8']],
    ['call rax', 'ffd0', ['W8 rsp-8']],
    ['call [rdi]', 'ff17', ['R8 rdi+0', 'W8 rsp-8']],
    ['jmp [rdi]', 'ff27', ['R8 rdi+0']],
    ['jmp rax', 'ffe0', []],
    ['ret', 'c3', ['R8 rsp+0']],
    ['leave', 'c9', ['R8 rbp+0']],
    ['iretq', '48cf', ['R40 rsp+0']],
    ['push fs', '0fa0', ['W8 rsp-8']],
    ['rep movsq', 'f348a5', ['R8 rsi+0', 'W8 rdi+0']],
    ['repe cmpsb', 'f3a6', ['R1 rsi+0', 'R1 rdi+0']],
    ['mov al, fs:[rdi]', '648a07', ['R1 ?']],
    ['mov al, [edi]', '678a07', ['R1 ?']],
    ['mov eax, [moffs]', 'a11122334455667788', ['R4 ?']],
    ['mov [moffs], eax', 'a31122334455667788', ['W4 ?']],
    ['xlat', 'd7', ['R1 ?']],
    ['bts [rdi], rax', '480fab07', ['W8 ?']],
    ['bt [rdi], rax', '480fa307', ['R8 ?']],
    ['maskmovdqu', '660ff7c1', ['W16 ?']],
    ['mov rax, [rip + 0x10]', '488b0510000000', ['R8 rip+23']],
    ['mov [rip - 8], imm32', 'c705f8ffffff44332211', ['W4 rip+2']],
    ['mov rax, [0x1000]', '488b042500100000', ['R8 +4096']],
    ['mov rax, [rbx + rcx*4 + 0x80]', '488b848b80000000', ['R8 rbx+rcx*4+128']],
    ['mov rax, [rsp]', '488b0424', ['R8 rsp+0']],
    ['lea', '488d07', []],
    ['nop [rax]', '0f1f00', []],
    ['prefetcht0 [rax]', '0f1808', []],
    ['invlpg [rax]', '0f0138', []],
    ['cmpxchg8b [rdi]', '0fc70f', ['W8 rdi+0']],
    ['xsave [rdi]', '0fae27', ['W576 rdi+0']],
    ['xrstor [rdi]', '0fae2f', ['R576 ?']],
    ['mov rax, rbx', '4889d8', []],
    ['cut off', '488b', []],
  ])('%s', (_text, code, wanted) => {
    expect(x86.accesses(bytes(code)).map(shown)).toEqual(wanted);
  });

  it('knows the first pieces of wide stores', () => {
    const unit = (code: string) => x86.accesses(bytes(code)).map((form) => form.unit);
    expect(unit('0f1107')).toEqual([8]); // movups
    expect(unit('0fae07')).toEqual([2]); // fxsave
    expect(unit('0f0107')).toEqual([2]); // sgdt
    expect(unit('488907')).toEqual([8]); // mov, whole
    expect(x86.accesses(bytes('0fae07'))[0]).toMatchObject({ kind: WRITE, lastByteFirst: true });
  });
});

describe('traps', () => {
  it.each([
    ['hlt', 'f4', 'halt'],
    ['a VEX form', 'c5f058c2', 'refuse'],
    ['a VEX form with segment and address prefix', '6764c4e17058c2', 'refuse'],
    ['an EVEX form', '62f17c48100f', 'refuse'],
    ['in al, dx', 'ec', 'refuse'],
    ['rep insb', 'f36c', 'refuse'],
    ['syscall', '0f05', 'refuse'],
    ['sysexit', '0f35', 'refuse'],
    ['rdseed rax', '480fc7f8', 'refuse'],
    ['data16 call', '66e800000000', 'refuse'],
    ['data16 rex.w call', '6648e800000000', null],
    ['data16 jne', '660f8500000000', 'refuse'],
    ['clflush [rdi]', '0fae3f', 'touch'],
    ['clflushopt [rdi]', '660fae3f', 'touch'],
    ['clwb [rdi]', '660fae37', 'touch'],
    ['sfence', '0faef8', null],
    ['xsaveopt [rdi]', '0fae37', null],
    ['cmpxchg16b [rdi]', '480fc70f', null],
    ['lock cmpxchg [rdi], rbx', 'f0480fb11f', null],
    ['lock inc [rdi]', 'f048ff07', null],
    ['lock xadd with a register', 'f0480fc1d8', 'invalid'],
    ['lock mov [rdi], rax', 'f0488907', 'invalid'],
    ['lock cmp [rdi], rax', 'f0483907', 'invalid'],
    ['lock bt [rdi], rax', 'f0480fa307', 'invalid'],
    ['lock bts [rdi], rax', 'f0480fab07', null],
    ['lock nop', 'f090', 'invalid'],
    ['movmskps eax, [rdi]', '0f5007', 'invalid'],
    ['XOP vprotb xmm0, xmm1, xmm0', '8fe87892c1', 'invalid'],
    ['pop [rdi]', '8f07', null],
    ['nothing', '', null],
  ])('%s', (_text, code, action) => {
    expect(x86.trap(bytes(code))?.action ?? null).toBe(action);
  });

  const PREFIXES = ['66', 'f2', 'f3', '67', '64', '65', '2e', '48', '4f'];
  const pairs = ['', ...PREFIXES, ...PREFIXES.flatMap((a) => PREFIXES.map((b) => a + b))];
  it.each([
    ['VEX of two bytes', 'c5f058c2'],
    ['VEX of three bytes', 'c4e17058c2'],
    ['EVEX', '62f17c48100f'],
  ])('refuses %s behind any two prefixes, and finds its length', (_name, code) => {
    for (const prefixes of pairs) {
      expect(x86.trap(bytes(prefixes + code))?.action, prefixes).toBe('refuse');
      expect(x86.length(bytes(`${prefixes}${code}90`)), prefixes).toBe(
        (prefixes.length + code.length) / 2,
      );
      expect(x86.trap(bytes(`f0${prefixes}${code}`))?.action, prefixes).toBe('invalid');
    }
  });

  it.each(X86_REFUSALS.map((row) => [row.name, row] as const))(
    'have a true example: %s',
    (_name, row) => {
      expect(x86.trap(bytes(row.example))).toEqual(row.trap);
    },
  );

  it('finds every start of what the core does not survive', () => {
    const page = new Uint8Array(4096).fill(0x90);
    page.set(bytes('f00fa3c8'), 0); // lock bt
    page.set(bytes('66f02e0fb3c8'), 100); // 66 or f0 may be the first
    page.set(bytes('480fa3c8'), 200); // no lock
    page.set(bytes('f00fa307'), 300); // memory
    page.set(bytes('f00fbaf001'), 400); // lock btr, imm8
    page.set(bytes('f00fbae0'), 4092); // lock bt, imm8 in the next page
    page.set(bytes('f00fa3'), 500);
    expect(x86.fatal(page).sort((a, b) => a - b)).toEqual([0, 100, 101, 400, 4092]);
    for (const at of x86.fatal(page)) expect(x86.trap(page.subarray(at))?.action).toBe('invalid');
  });

  it.each([
    ['rep stosb', 'f3aa', true],
    ['repne scasb', 'f2ae', true],
    ['stosb', 'aa', false],
    ['rep with a REX prefix', 'f348ab', true],
    ['pause', 'f390', false],
    ['movss', 'f30f1007', false],
  ])('knows repetition: %s', (_text, code, wanted) => {
    expect(x86.repeats(bytes(code))).toBe(wanted);
  });
});
