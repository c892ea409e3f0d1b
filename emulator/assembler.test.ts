import { describe, expect, it } from 'vitest';
import { type AssembleOptions, AssemblyError, loadAssembler } from './assembler.ts';

const asm = await loadAssembler();
const BASE = 0xffff_ffff_8100_0000n;

type Options = Partial<AssembleOptions>;

const x86 = (text: string, options: Options = {}) =>
  asm.assemble(text, { arch: 'x86_64', address: BASE, ...options });
const arm = (text: string, options: Options = {}) =>
  asm.assemble(text, { arch: 'arm64', address: BASE, ...options });
const hex = ({ bytes }: { bytes: Uint8Array }) => Buffer.from(bytes).toString('hex');
/** Words as the manual writes them. */
const words = (text: string, options: Options = {}) => {
  const { bytes } = arm(text, options);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return Array.from({ length: bytes.length / 4 }, (_, i) =>
    view
      .getUint32(i * 4, true)
      .toString(16)
      .padStart(8, '0'),
  );
};

function complaint(work: () => unknown): AssemblyError {
  try {
    work();
  } catch (error) {
    if (error instanceof AssemblyError) return error;
    throw error;
  }
  throw new Error('it was assembled');
}

describe('text', () => {
  it('leaves comments out and takes ; as separator', () => {
    expect(hex(x86('nop # a\nnop // b; nop\n/* nop\n nop */ ret; nop'))).toBe('9090c390');
    expect(words('# a\nnop // b\n  # c\nmov x0, #1 /* d */; ret')).toEqual([
      'd503201f',
      'd2800020',
      'd65f03c0',
    ]);
    expect(hex(x86('.ascii "#;//" # x'))).toBe('233b2f2f');
    expect(hex(x86("mov al, ';'; mov al, '#'"))).toBe('b03bb023');
  });

  it('gives labels and a map of lines with absolute addresses', () => {
    const { labels, lines, bytes } = x86('start: nop\n\n  jmp end; nop\n1: .byte 1, 2\nend:\n');
    expect(labels).toEqual(
      new Map([
        ['start', BASE],
        ['end', BASE + 6n],
      ]),
    );
    expect(lines).toEqual([
      { address: BASE, length: 1, line: 1, text: 'start: nop', isCode: true },
      { address: BASE + 1n, length: 2, line: 3, text: 'jmp end', isCode: true },
      { address: BASE + 3n, length: 1, line: 3, text: 'nop', isCode: true },
      { address: BASE + 4n, length: 2, line: 4, text: '1: .byte 1, 2', isCode: false },
    ]);
    expect(bytes.length).toBe(6);
  });

  it('takes what gcc -S -masm=intel writes', () => {
    const text = `
	.file	"a.c"
	.intel_syntax noprefix
	.text
	.p2align 4
	.globl	f
	.type	f, @function
f:
.LFB0:
	.cfi_startproc
	mov	edi, OFFSET FLAT:.LC0
	call	g@PLT
	mov	rax, QWORD PTR .LC0[rip]
	jmp	.L2
	.p2align 4,,10
	.p2align 3
.L2:
	ret
	.cfi_endproc
.LC0:
	.quad	1
	.size	f, .-f
	.ident	"GCC: (Debian 12.2.0-14) 12.2.0"
	.section	.note.GNU-stack,"",@progbits
	.long	7
	.text
	nop`;
    const symbols = { g: 0x2000n };
    expect(hex(x86(text, { address: 0x1000n, symbols }))).toBe(
      'bf19100000e8f60f0000488b0508000000eb050f1f440000c3010000000000000090',
    );
  });

  it('assembles nothing from nothing', () => {
    expect(x86(' \n# x\n')).toEqual({ bytes: new Uint8Array(0), labels: new Map(), lines: [] });
  });

  it('wraps addresses at 2^64', () => {
    const { labels } = x86('nop; a: jmp b; b: ret', { address: 0xffff_ffff_ffff_ffffn });
    expect([labels.get('a'), labels.get('b')]).toEqual([0n, 2n]);
  });

  it('does the same twice and between programs', () => {
    const text = 'a: mov rax, [rip + b]; jne a; b: .quad a';
    expect(hex(x86(text))).toBe(hex(x86(text)));
    expect(hex(x86(text, { address: 0n }))).not.toBe(hex(x86(text)));
  });
});

describe('labels and branches', () => {
  it('binds local labels to the nearest definition in the named direction', () => {
    expect(hex(x86('1: jmp 1b; jmp 1f; 1: jmp 1b; 2: jmp 2b'))).toBe('ebfeeb00ebfeebfe');
  });

  it.each([
    [127, 'eb7f'],
    [128, 'e980000000'],
  ])('chooses the length of a jump over %i bytes', (gap, wanted) => {
    expect(hex(x86(`jmp end; .space ${gap}; end:`)).slice(0, wanted.length)).toBe(wanted);
    expect(hex(x86(`start: .space ${gap - 2}; jmp start`)).slice(-4)).toBe(
      gap === 127 ? 'eb81' : 'eb80',
    );
  });

  it('lengthens a jump that others push away', () => {
    const text = `jmp a; ${'jmp b; '.repeat(60)} a: .space 100; b:`;
    const { bytes, labels } = x86(text);
    expect(bytes[0]).toBe(0xe9);
    const view = new DataView(bytes.buffer);
    expect(BASE + 5n + BigInt(view.getInt32(1, true))).toBe(labels.get('a'));
  });

  it('refuses what a branch cannot reach', () => {
    expect(complaint(() => x86('nop\n loop end; .space 200; end:')).message).toMatch(
      /^2:7: .*short branch/,
    );
    expect(complaint(() => x86('call 0x1000', { address: 0xffff_8000_0000_0000n })).reason).toMatch(
      /out of reach/,
    );
    expect(complaint(() => arm('cbz x0, end; .space 0x100000; end:')).reason).toMatch(/reaches/);
    expect(complaint(() => arm('b . + 2')).reason).toMatch(/multiple of 4/);
  });

  it('takes symbols from outside as addresses', () => {
    const symbols = { memcpy: BASE + 0x1000n };
    expect(hex(x86('call memcpy', { symbols }))).toBe('e8fb0f0000');
    expect(hex(x86('mov rdi, offset memcpy', { symbols }))).toBe('48c7c700100081');
    expect(words('bl memcpy', { symbols })).toEqual(['94000400']);
    expect(hex(x86('.quad memcpy + 1', { symbols }))).toBe('01100081ffffffff');
    expect(complaint(() => x86('memcpy: ret', { symbols })).reason).toMatch(/defined twice/);
  });

  it('encodes adrp by pages and the low bits beside it', () => {
    const symbols = { here: BASE + 0x1234n };
    expect(words('nop; adrp x0, here; add x0, x0, :lo12:here', { symbols }).slice(1)).toEqual([
      'b0000000',
      '9108d000',
    ]);
  });

  it('has each literal once in a pool', () => {
    const text = 'ldr x0, =16; ldr x1, =0x10; ldr w2, =16; ldr x3, =end; ldr x4, =end; end: ret';
    expect(arm(text).bytes.length).toBe(6 * 4 + 8 + 16);
    expect(arm('ldr x0, =1; .ltorg; ldr x0, =1').bytes.length).toBe(8 + 8 + 8 + 8);
  });

  it('aligns instructions behind data, but no label before them', () => {
    expect(hex(arm('.byte 1; nop; .byte 2; ret'))).toBe('010000001f2003d502000000c0035fd6');
    expect(hex(arm('.byte 1; f: nop; adr x0, f'))).toBe('010000001f2003d5c0ffff30');
  });

  it('puts literals behind the code, aligned', () => {
    const { bytes } = arm('ldr x0, =0x1122334455667788\nldr w1, =7\nret');
    expect(hex({ bytes: bytes.slice(12) })).toBe('070000008877665544332211');
    expect(words('ldr x0, =0x1122334455667788\nldr w1, =7\nret').slice(0, 3)).toEqual([
      '58000080',
      '18000041',
      'd65f03c0',
    ]);
  });
});

describe('directives', () => {
  it.each([
    ['.byte 1, -1, 255', '01ffff'],
    ['.short 0x1234, -1', '3412ffff'],
    ['.word 0x1234', '3412'],
    ['.long 1', '01000000'],
    ['.quad -1', 'ffffffffffffffff'],
    ['.octa 1', '01000000000000000000000000000000'],
    ['.asciz "a\\n\\0\\x41"', '610a004100'],
    ['.string "a", "b"', '61006200'],
    ['.byte 1; .balign 4; .byte 2', '010f1f0002'],
    ['.byte 1; .balign 4, 0; .byte 2', '0100000002'],
    ['.byte 1; .p2align 4,,3; .byte 2', '0102'],
    ['.byte 1; .org 4; .byte 2', '0100000002'],
    ['a: .byte 1; .org a + 3, 9; .byte 2', '01090902'],
    ['.fill 2, 4, 1', '0100000001000000'],
    // Four bytes of the number are used, says GNU as's manual.
    ['.fill 1, 8, -1', 'ffffffff00000000'],
    ['.quad -1 >> 60', '0f00000000000000'],
    ['.zero 2; .space 2, 5; .skip 1', '0000050500'],
    ['N = 3; .set M, N * (2 + 1) << 1 | 1; .byte N, M', '0313'],
    ['.byte end - start; start: .space 3; end:', '03000000'],
    ['.text; .globl f; .type f, @function; f: ret; .size f, . - f; .cfi_endproc', 'c3'],
    ['.section .text.unlikely, "ax"; ret', 'c3'],
    ['.float 1.5; .double -2', '0000c03f00000000000000c0'],
  ])('%s', (text, wanted) => {
    expect(hex(x86(text))).toBe(wanted);
  });

  it('means powers by .align and four bytes by .word on AArch64', () => {
    expect(words('nop; .align 3; ret')).toEqual(['d503201f', 'd503201f', 'd65f03c0']);
    expect(hex(arm('.word 1; .hword 2; .byte 1; .balign 4; ret'))).toBe(
      '01000000020001001f2003d5c0035fd6'.replace('1f2003d5', ''),
    );
  });

  it.each([
    ['.byte 256', /8 bits/],
    ['.org 2; .org 1', /backwards/],
    ['.balign 3', /power of two/],
    ['.space -1', /negative/],
    ['.space 1 << 40', /too many/],
    ['.section .data', /no place/],
    ['.include "x"', /cannot be honoured/],
    ['.incbin "x"', /cannot be honoured/],
    ['.bogus', /unknown directive/],
    ['.quad nowhere', /undefined symbol "nowhere"/],
    ['.long 1 / 0', /division by zero/],
    ['#include <x.h>', /preprocessor/],
    ['.ascii "a', /string without end/],
    ['/* a', /comment without end/],
    ['.space end - start; start: .balign 8; nop; end: .org end - start', /settle|backwards/],
  ])('refuses %s', (text, reason) => {
    expect(complaint(() => x86(text)).reason).toMatch(reason);
  });
});

describe('x86: where the encoder is silently wrong', () => {
  it.each([
    ['mov rax, [rdi + 0x80000000]', /32 bits with sign/],
    ['mov rax, [rdi + 0x100000000]', /32 bits with sign/],
    ['mov rax, [rdi + 0xffffffff]', /32 bits with sign/],
    ['add al, 300', /8 bits/],
    ['mov dword ptr [rdi], 0x1ffffffff', /32 bits/],
    ['mov eax, 0x123456789', /32 bits/],
    ['add rax, 0x80000000', /sign-extended/],
    ['push 0x80000000', /sign-extended/],
    ['int 256', /8 bits/],
    ['mov rax, [rdi', /expected "\]"/],
    ['x: mov rax, x', /bare symbol/],
    ['mov [rdi], 1', /size of the memory operand/],
    ['movzx eax, [rdi]', /size of the memory operand/],
    ['shl [rdi], cl', /size of the memory operand/],
    ['mov ah, r8b', /REX/],
    ['rex64 [rdi]', /rex64/],
    ['lock mov [rdi], rax', /lock cannot/],
    ['rep add rax, rbx', /rep cannot/],
    ['vmovups zmmword ptr [r9 - 0x100], zmm3', /turned/],
    ['mov eax, [rax + ebx]', /different widths/],
    ['mov eax, [rax + rbx*3]', /scale 3/],
  ])('refuses %s', (text, reason) => {
    expect(complaint(() => x86(text)).reason).toMatch(reason);
  });

  it.each([
    ['push 0xffff', '68ffff0000'],
    ['push -1', '6aff'],
    ['mov rax, [rdi - 0x80000000]', '488b8700000080'],
    ['mov rax, [rdi + 0xffffffff80000000]', '488b8700000080'],
    ['mov eax, [eax + 0xffffffff]', '678b40ff'],
    ['and eax, 0xffffffff80000000', '2500000080'],
    ['nop dword ptr [rax]', '0f1f00'],
    ['mov rax, fs:[0x28]', '64488b042528000000'],
    ['pop [rdi]', '8f07'],
    ['endbr64', 'f30f1efa'],
    ['sysretq', '480f07'],
    ['retn', 'c3'],
    ['retn 5', 'c20500'],
    ['retfq 0x1234', '48ca3412'],
    ['mov word ptr [rdi], cs', '8c0f'],
    ['jmp $', 'ebfe'],
    ['clac; stac', '0f01ca0f01cb'],
    ['test eax, 0x80000000', 'a900000080'],
    ['test rax, 0xffffffff80000000', '48a900000080'],
    ['xchg eax, eax', '87c0'],
  ])('encodes %s', (text, wanted) => {
    expect(hex(x86(text))).toBe(wanted);
  });
});

describe('AArch64: what the encoder lacks', () => {
  it.each([
    ['ldadd x1, x2, [x0]', 'f8210002'],
    ['ldaddalh w1, w2, [sp]', '78e103e2'],
    ['stclrl w1, [x0]', 'b861101f'],
    ['swpab w1, w2, [x0]', '38a18002'],
    ['casal x1, x2, [x0]', 'c8e1fc02'],
    ['caspl x0, x1, x2, x3, [x4]', '4820fc82'],
    ['ldaprb w0, [x1]', '38bfc020'],
    ['bti jc', 'd50324df'],
    ['paciasp', 'd503233f'],
    ['autia x0, sp', 'dac113e0'],
    ['retaa', 'd65f0bff'],
    ['msr pan, #1', 'd500419f'],
    ['msr uao, #1', 'd500417f'],
    ['mrs x0, pan', 'd5384260'],
    ['mrs x3, ttbr1_el1', 'd5382023'],
    ['msr s3_0_c13_c0_4, x5', 'd518d085'],
    ['udf #7', '00000007'],
    ['ldtr x0, [x0]', 'f8400800'],
    ['sttrb w3, [x3, #-256]', '38100863'],
    ['.inst 0xd503201f', 'd503201f'],
    ['tlbi vae1os, x0', 'd5088120'],
    ['add x0, x1, #-5', 'd1001420'],
    ['mov x0, #0xffffffffffff1234', '929db960'],
    ['bic x0, x1, #1', '927ff820'],
    ['bcc .', '54000003'],
    ['ldlar x0, [x1]', 'c8df7c20'],
    ['ldapur x0, [x1, #-1]', 'd95ff020'],
    ['ldrab x0, [x1, #-8]!', 'f8fffc20'],
    ['msr s3_7_c15_c2_0, x0', 'd51ff200'],
    ['mrs x0, erxstatus_el1', 'd5385440'],
  ])('encodes %s', (text, wanted) => {
    expect(words(text)).toEqual([wanted]);
  });

  it.each([
    ['casp x1, x2, x4, x5, [x6]', /cannot encode/],
    ['mov w0, #0x100000000', /32 bits/],
    ['movk x0, #1, lsl #0x100000000', /shift by/],
    ['ldr x0, [x1, #32768]', /cannot encode/],
    ['mrs x0, nosuch_el1', /cannot encode/],
    ['ldr x0, [x1, :lo13:x]', /unknown part/],
    ['mov x0, nowhere', /cannot encode|undefined/],
    ['udf #65536', /cannot encode/],
  ])('refuses %s', (text, reason) => {
    expect(complaint(() => arm(text)).reason).toMatch(reason);
  });
});

describe('errors', () => {
  it('name line, column and remedy', () => {
    const error = complaint(() => x86('nop\n\n  mov rax, nowhere + 1\n'));
    expect([error.line, error.column]).toEqual([3, 12]);
    expect(error.message).toBe('3:12: undefined symbol "nowhere"');
    expect(error.remedy).toMatch(/label/);
  });

  it('do not depend on the length of the program', () => {
    const many = Array.from({ length: 5000 }, (_, i) => `mov qword ptr [rdi + ${i * 8}], rax`);
    expect(x86(many.join('\n')).lines.length).toBe(5000);
    expect(complaint(() => x86([...many, 'bogus'].join('\n'))).line).toBe(5001);
  });

  it('find the bad instruction among many', () => {
    const text = `${'nop\nadd rax, 1\n'.repeat(50)} bogus rax\n${'sub rax, 7\n'.repeat(50)}`;
    const error = complaint(() => x86(text));
    expect([error.line, error.column]).toEqual([101, 2]);
    expect(error.reason).toMatch(/bogus rax/);
  });

  it('tell AT&T syntax and foreign comments for what they are', () => {
    expect(complaint(() => x86('mov %rax, %rbx')).remedy).toMatch(/without %/);
    expect(complaint(() => x86('mov rax, 1 ; load one')).remedy).toMatch(/comments begin with #/);
    expect(complaint(() => x86('mov rax, 10h')).reason).toMatch(/bad number/);
  });

  it('come of absurdly long statements too', () => {
    const long = 'x'.repeat(100_000);
    expect(complaint(() => x86(`${long} rax`)).reason).toMatch(/too long/);
    expect(complaint(() => x86(`mov ${'rax, '.repeat(20_000)} rax`)).reason).toMatch(/too long/);
    expect(complaint(() => arm(`mrs x0, ${long}`)).reason).toMatch(/too long/);
    expect(complaint(() => x86(`.byte ${'('.repeat(100_000)}`)).reason).toMatch(/too deeply/);
    expect(complaint(() => x86(`.byte ${'9'.repeat(100_000)}`)).reason).toMatch(/8 bits/);
    expect(hex(x86('nop'))).toBe('90');
  });

  it('report the first of several', () => {
    expect(complaint(() => x86('nop\nfoo1\nfoo2')).line).toBe(2);
  });
});
