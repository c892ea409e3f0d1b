// Whatever text comes in: bytes or an AssemblyError that names a line of it, at once.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AssemblyError, loadAssembler } from '../assembler.ts';

const asm = await loadAssembler();

const WORDS = {
  x86_64: (
    'mov add lea push pop jmp call ret rep lock movzx xchg test imul shl jne loop nop fld movsd vaddps rax eax ax al ah ' +
    'r8 r8b rsp rip xmm0 ymm1 k1 st fs: gs: cr3 [rdi] [rdi+rax*8-0x80] [rip+x] qword ptr byte dword ptr offset short'
  ).split(' '),
  arm64: (
    'mov add ldr str ldp b bl b.eq cbz tbz adr adrp ret msr mrs dc tlbi ldadd cas casp movk csel bfi movi ld1 x0 w1 xzr ' +
    'sp x30 v0.4s {v0.16b} v1.s[1] [x0] [x0,#8]! [x1,x2,lsl #3] lsl sxtw eq ttbr0_el1 =x #1 #-1 :lo12:x'
  ).split(' '),
};
const COMMON = (
  '% $ # ; : , [ ] ( ) { } + - * / < > << >> ! ~ | & ^ @ ` " \' \\ \n 0 1 -1 1f 1b 1: x: x y . .text .byte .org .align ' +
  '.balign .rept .endr .macro .endm .irp .if .else .endif \\x .fill .space .quad .ascii .set .inst 0x80000000 0xffffffffffffffff 99999999999999999999 0x 09 1e9 \0 é // /* */'
).split(' ');

/** Bytes that fit the text, or a complaint about one of its lines. */
function check(text: string, arch: 'x86_64' | 'arm64'): void {
  try {
    const { bytes, lines } = asm.assemble(text, { arch, address: 0xffff_8000_8100_0000n });
    expect(lines.reduce((sum, { length }) => sum + length, 0)).toBe(bytes.length);
  } catch (error) {
    if (!(error instanceof AssemblyError)) throw error;
    expect(error.line).toBeGreaterThanOrEqual(1);
    expect(error.line).toBeLessThanOrEqual(text.split('\n').length);
    expect(error.column).toBeGreaterThanOrEqual(1);
    expect(error.remedy).not.toBe('');
  }
}

for (const arch of ['x86_64', 'arm64'] as const) {
  describe(`junk as ${arch}`, () => {
    it('takes any characters', () => {
      fc.assert(
        fc.property(fc.string({ unit: 'binary', maxLength: 60 }), (text) => check(text, arch)),
        { numRuns: 200, seed: 1 },
      );
    });

    it('takes any words of the language in any order', () => {
      const word = fc.constantFrom(...WORDS[arch], ...WORDS[arch], ...COMMON);
      const text = fc.array(word, { maxLength: 12 }).map((words) => words.join(' '));
      fc.assert(
        fc.property(text, (junk) => check(junk, arch)),
        { numRuns: 600, seed: 2 },
      );
    });

    it('takes instructions with operands of any kind', () => {
      const [first, rest] = [WORDS[arch].slice(0, 18), WORDS[arch].slice(18)];
      const text = fc
        .tuple(
          fc.constantFrom(...first),
          fc.array(fc.constantFrom(...rest, '1', '-1', '0x80000000', 'x'), { maxLength: 4 }),
        )
        .map(([mnemonic, operands]) => `x: ${mnemonic} ${operands.join(', ')}`);
      fc.assert(
        fc.property(text, (line) => check(line, arch)),
        { numRuns: 600, seed: 3 },
      );
    });
  });
}
