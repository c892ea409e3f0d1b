import { describe, expect, it } from 'vitest';
import { AssemblyError, loadAssembler } from '../assembler.ts';

const asm = await loadAssembler();
const bytes = (text: string) =>
  Buffer.from(asm.assemble(text, { arch: 'x86_64', address: 0x1000n }).bytes).toString('hex');

function complaint(text: string): AssemblyError {
  try {
    bytes(text);
  } catch (error) {
    if (error instanceof AssemblyError) return error;
    throw error;
  }
  throw new Error('it was assembled');
}

// As GNU as 2.40 has them.
describe('text that stands for other text', () => {
  it.each([
    ['.macro f\nnop\n.endm\nf; f', '9090'],
    [
      '.macro inc r=rax, n=1\nadd \\r, \\n\n.endm\ninc\ninc rbx, 5\ninc n=3',
      '4883c0014883c3054883c003',
    ],
    ['.macro m a:req, b:vararg\n.byte \\a, \\b\n.endm\nm 1, 2, 3', '010203'],
    ['.macro m\nl\\@: jmp l\\@\n.endm\nm; m', 'ebfeebfe'],
    ['.macro down n\n.if \\n\n.byte \\n\ndown (\\n-1)\n.endif\n.endm\ndown 3', '030201'],
    ['.macro m\nnop\n.exitm\nret\n.endm\nm; m', '9090'],
    ['.macro m a\n\\a\\()_x: nop\n.endm\nm foo\njmp foo_x', '90ebfd'],
    ['.macro m s\n.ascii "\\s"\n.endm\nm hello', '68656c6c6f'],
    [
      '.macro st a, b\nmov \\a, \\b\n.endm\nst "qword ptr [rdi]", rax; st rax, [rdi+8]',
      '488907488b4708',
    ],
    ['.macro a; b; .endm; .macro b; nop; .endm; a', '90'],
    ['.macro m\nnop; ret\n.endm\nlab: m; jmp lab', '90c3ebfc'],
    ['.macro m\nnop\n.endm\n.purgem m\n.macro m\nret\n.endm\nm', 'c3'],
    ['.rept 3; nop; .endr', '909090'],
    ['.rept 0; nop; .endr; ret', 'c3'],
    ['n = 2; .rept n*2; .rept 2; nop; .endr; ret; .endr', '9090c39090c39090c39090c3'],
    ['.rept 2; 1: jmp 1b; .endr', 'ebfeebfe'],
    ['.irp r, rax, rbx; push \\r; .endr', '5053'],
    ['.irpc c, 123; .byte \\c; .endr', '010203'],
    ['.if 1; nop; .else; ret; .endif', '90'],
    ['.if 0; .bogus; .else; ret; .endif', 'c3'],
    ['x = 3; .if x == 4; nop; .elseif x == 3; ret; .else; hlt; .endif', 'c3'],
    ['.if (1+1)*2 == 4 && !(3 > 4); nop; .endif', '90'],
    ['.if 1; .if 0; nop; .endif; ret; .endif', 'c3'],
    ['foo: .ifdef foo; nop; .endif; .ifndef bar; ret; .endif', '90c3'],
    ['.ifc a,b; nop; .else; ret; .endif; .ifb; nop; .endif', 'c390'],
    ['.ifgt 1; nop; .endif; .iflt 1; ret; .endif; .ifeq 0; hlt; .endif', '90f4'],
  ])('%j', (text, wanted) => {
    expect(bytes(text)).toBe(wanted);
  });

  it.each([
    ['nop\n.macro f\nnop', 2, /\.macro without end/],
    ['.rept 2\nnop\n', 1, /\.rept without end/],
    ['nop; .if 1\nnop', 1, /\.if without end/],
    ['.endr', 1, /ends nothing/],
    ['.else', 1, /ends nothing/],
    ['.if x\n.endif\nx:', 1, /undefined symbol "x"/],
    ['.if .\n.endif', 1, /undefined symbol "\."/],
    ['.macro f a:req\nnop\n.endm\nf', 4, /needs a value for a/],
    ['.macro f a\nnop\n.endm\nf 1, 2', 4, /takes 1 argument/],
    ['.macro f a, b\nnop\n.endm\nf rax 5', 4, /one argument or several/],
    ['.macro f\nf\n.endm\nf', 2, /nested too deeply/],
    ['.macro f\nf; f\n.endm\nf', 2, /nested too deeply/],
    ['.rept 1000000000\nnop\n.endr', 1, /more than 100000 statements/],
    [
      '.rept 1 << 60\n\n.endr\n.rept 5\n.rept 1<<60\n# x\n.rept 0\n.endr\n.endr\n.endr',
      5,
      /more than/,
    ],
    ['.macro f\nbogus\n.endm\nnop; f', 2, /bogus/],
    ['.error "not this way"', 1, /not this way/],
    ['.exitm', 1, /outside a macro/],
  ])('refuses %j', (text, line, reason) => {
    const error = complaint(text);
    expect(error.reason).toMatch(reason);
    expect(error.line).toBe(line);
    expect(error.remedy).not.toBe('');
  });
});
