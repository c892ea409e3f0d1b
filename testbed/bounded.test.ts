// Code that goes wrong in every way there is ends, and says how: no loop, jump, instruction or stack takes the run, or
// the process, along. Each row is one call; a second run of it must end the same, at the same instruction.
import { beforeAll, describe, expect, it } from 'vitest';
import type { RunHost } from './run.ts';
import { ARCHS, type ArchName } from './scenario-model.ts';
import { loadTestHost, runYaml } from './test-run.ts';

let host: RunHost;
beforeAll(async () => {
  host = await loadTestHost();
});

interface Ended {
  readonly outcome: string;
  readonly why: string | null;
  readonly instructions: number;
  readonly oops: readonly string[] | null;
}

function run(code: string, arch: ArchName, more = ''): Ended {
  const lines = code.split('; ').map((line) => `    ${line}\n`);
  const text = `code:\n  ${arch}: |\n${lines.join('')}args: [{arena: 0x0}]\n${more}`;
  const [step] = runYaml(host, text, arch).steps;
  if (step.seen.kind !== 'call') throw new Error(step.seen.kind);
  const { outcome, instructions, oops } = step.seen;
  const { end } = step.seen as unknown as { end: { why?: string } };
  return { outcome, why: end.why ?? null, instructions, oops };
}

interface Wanted {
  readonly outcome: string;
  /** null: the outcome says it all. */
  readonly why: RegExp | null;
}

const LIMIT = 'limits: {instructions: 20000}\n';
const over: Wanted = { outcome: 'budget', why: /instruction limit/ };
const halted = (why: RegExp): Wanted => ({ outcome: 'halted', why });
const oops: Wanted = { outcome: 'oops', why: null };

type Row = [what: string, code: Record<ArchName, string>, wanted: Record<ArchName, Wanted>];
const both = <T>(x86_64: T, arm64: T) => ({ x86_64, arm64 });
const same = <T>(value: T) => both(value, value);

const ROWS: Row[] = [
  ['a loop on itself', both('1: jmp 1b', '1: b 1b'), same(over)],
  [
    'two blocks that lead to each other',
    both('1: nop; jmp 2f; nop; 2: jmp 1b', '1: nop; b 2f; nop; 2: b 1b'),
    same(over),
  ],
  [
    'a loop that faults each time round',
    both(
      '1: mov rax, [rdi]; add rdi, 0x1000; jmp 1b',
      '1: ldr x1, [x0]; add x0, x0, #0x1000; b 1b',
    ),
    same(over),
  ],
  [
    'a string instruction of 2^63 bytes over the arena',
    both('mov rcx, 0x7fffffffffffffff; rep stosb', '1: strb w1, [x0], #1; b 1b'),
    same(over),
  ],
  [
    'a recursion without end',
    both('1: call 1b', '1: stp x29, x30, [sp, #-16]!; bl 1b'),
    both(oops, oops),
  ],
  ['a jump to nothing', both('xor eax, eax; jmp rax', 'mov x1, #0; br x1'), same(oops)],
  [
    'a jump out of the canonical range, or to an odd address',
    both('mov rax, 0x8000000000000000; jmp rax', 'mov x1, #0x1001; br x1'),
    both(halted(/#GP/), halted(/PC alignment/i)),
  ],
  ['a jump into the arena', both('jmp rdi', 'br x0'), same(oops)],
  ['a return to nobody', both('push 0; ret', 'mov x30, #0; ret'), same(oops)],
  ['an undefined instruction', both('ud2', 'udf #0'), both(halted(/#UD/), halted(/UNDEFINED/))],
  ['a breakpoint', both('int3', 'brk #1'), both(halted(/#BP/), halted(/BRK/))],
  ['a stop of the CPU', both('hlt', 'wfi'), both(halted(/hlt/), halted(/wfi/))],
  [
    'a division by zero, which arm64 does not mind',
    both('xor ecx, ecx; div ecx', 'mov x1, #0; udiv x0, x0, x1; ret'),
    both<Wanted>(halted(/#DE/), { outcome: 'returned', why: null }),
  ],
  [
    'an instruction of a higher level',
    both('vmcall', 'smc #0'),
    both(halted(/./), halted(/SMC|UNDEFINED/)),
  ],
  ['a system call', both('int 0x80', 'svc #0'), both(halted(/INT/), halted(/SVC/))],
  [
    'an instruction that the engine runs wrongly',
    both('.byte 0xc5, 0xf8, 0x58, 0xc1', '.word 0x0edf2d53'),
    same({ outcome: 'engine', why: /./ }),
  ],
  [
    'code that writes over itself',
    both('lea rax, [rip]; mov byte ptr [rax], 0x90; jmp rax', 'adr x1, .; str w0, [x1]; br x1'),
    same(oops),
  ],
];

describe.each(ARCHS)('on %s', (arch) => {
  it.each(ROWS)('%s ends', (_what, code, wanted) => {
    const ended = run(code[arch], arch, LIMIT);
    const { why, outcome } = wanted[arch];
    expect(ended.outcome).toBe(outcome);
    if (why === null) expect(ended.why).toBeNull();
    else expect(ended.why).toMatch(why);
    if (ended.outcome === 'budget') expect(ended.instructions).toBe(20000);
    expect(run(code[arch], arch, LIMIT)).toEqual(ended);
  });

  it('a limit is there where none is given', () => {
    const loop = both('1: jmp 1b', '1: b 1b')[arch];
    expect(run(loop, arch)).toMatchObject({ outcome: 'budget', instructions: 10_000_000 });
  });

  it('an overrun of the stack is told as one', () => {
    const { oops: report } = run(
      both('1: call 1b', '1: stp x29, x30, [sp, #-16]!; bl 1b')[arch],
      arch,
    );
    const told = both('stack guard page was hit', 'kernel stack overflow')[arch];
    expect(report?.some((line) => line.includes(told))).toBe(true);
  });
});
