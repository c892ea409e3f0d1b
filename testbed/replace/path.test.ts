// The fault path in compiled code: mistakes in it show, and code that misbehaves ends as kernel code does.
import { describe, expect, it } from 'vitest';
import { describeWith, GCC } from '../../emulator/test-tools.ts';
import type { CallSeen } from '../call.ts';
import { loadTestHost, runYaml, type TestRun } from '../test-run.ts';
import { compiler } from './test-compile.ts';

const host = await loadTestHost();

const run = (replace: Record<string, string>, text: string): TestRun =>
  runYaml(host, `arch: x86_64\nkernel: {replace: ${JSON.stringify(replace)}}\n${text}`, 'x86_64');

const seen = ({ steps }: TestRun) => steps[0].seen as CallSeen;

const WRITE = `
code: {x86_64: "mov qword ptr [rdi], rsi\\nret"}
args: [{arena: 0x2000}, 7]`;

describe('page_fault_oops in compiled code', () => {
  const name = 'page_fault_oops';

  it('recovers through KFENCE and the arena', () => {
    const done = run({ [name]: 'replace/fault-x86_64-O2.o' }, WRITE);
    expect(seen(done)).toMatchObject({ outcome: 'returned' });
    expect(seen(done).faults.at(0)).toMatchObject({ resolution: 'scratch' });
  });

  it('that mixes up reads and writes is seen in the report', () => {
    expect(seen(run({}, WRITE)).stderr).toContain('WRITE access');
    const done = run({ [name]: 'replace/fault-broken-2-x86_64.o' }, WRITE);
    expect(seen(done).stderr).toContain('READ access');
  });

  it('that asks the arena about pages which forbid the access never oopses', () => {
    const text = `steps:
  - pte: {page: 2, set: 0x8000000001234121}
  - call: {code: {x86_64: "mov [rdi], rsi\\nret"}, args: [{arena: 0x2000}, 7]}`;
    expect(run({}, text).steps[1].seen).toMatchObject({ outcome: 'oops' });
    const done = run({ [name]: 'replace/fault-broken-1-x86_64.o' }, text);
    expect(done.steps[1].seen).toMatchObject({ outcome: 'budget' });
  });

  it('is refused for another architecture', () => {
    const text = `arch: arm64\nkernel: {replace: {${name}: replace/mainline-arm64-O2.o}}
code: {arm64: "str x1, [x0]\\nret"}
args: [{arena: 0x2000}, 7]`;
    expect(() => runYaml(host, text, 'arm64')).toThrow(/page_fault_oops is a function of x86_64/);
  });
});

describeWith(GCC.x86_64, 'code of the fault path that misbehaves', () => {
  const compile = compiler();
  const STACK = '\ncode: {x86_64: "at: push rax\\njmp at"}';
  const cases: readonly (readonly [number, string, string, object])[] = [
    [1, 'page_fault_oops', WRITE, { outcome: 'budget', why: 'ran past its instruction limit' }],
    [2, 'page_fault_oops', WRITE, { outcome: 'halted' }],
    [3, 'page_fault_oops', WRITE, { why: 'no struct pt_regs lies at 0x10' }],
    [4, 'page_fault_oops', WRITE, { why: expect.stringContaining('faults for ever') }],
    [5, 'exc_page_fault', WRITE, { outcome: 'oops' }],
    [6, 'page_fault_oops', WRITE, { why: expect.stringContaining('prints with %pV') }],
    [7, 'exc_double_fault', STACK, { outcome: 'halted', why: 'triple fault' }],
    [7, '__die', STACK, { outcome: 'halted', why: 'triple fault' }],
  ];
  it.each(cases)('%i: %s ends the step', (which, name, text, end) => {
    const object = compile('x86_64', 'odd-path.c', '-O2', `-DODD=${which}`);
    const done = run({ [name]: object }, `limits: {instructions: 20000}${text}`);
    expect(seen(done).end).toMatchObject(end);
  });
});

describe('a mistake in the rest of the path', () => {
  const NULL_READ = '\ncode: {x86_64: "mov rax, [rdi]\\nret"}\nargs: [0x18]';
  const LOAD = `
code: {x86_64: "at: mov rax, [rdi]\\non: ret"}
args: [{arena: 0x2000}]
extable: [{insn: at, fixup: on, type: default}]`;

  it('exc_page_fault that loses the offset tells a wrong address', () => {
    const done = run({ exc_page_fault: 'replace/fault-broken-3-x86_64.o' }, NULL_READ);
    expect(run({}, NULL_READ).log.join()).toContain('address: 0000000000000018');
    expect(done.log.join()).toContain('address: 0000000000000000');
  });

  it('fixup_exception that finds nothing leaves the fault to the arena', () => {
    const done = run({ fixup_exception: 'replace/extable-broken-2-x86_64.o' }, LOAD);
    expect(seen(run({}, LOAD)).faults.at(0)).toMatchObject({ resolution: 'extable' });
    expect(seen(done).faults.at(0)).toMatchObject({ resolution: 'scratch' });
  });

  it('__show_regs without CR2 shows in the oops', () => {
    const done = run({ __show_regs: 'replace/dying-broken-1-x86_64.o' }, NULL_READ);
    expect(run({}, NULL_READ).log.join('\n')).toMatch(/CR2: 0000000000000018 CR3/);
    expect(done.log.join('\n')).toMatch(/CR2: 0000000000000000 CR3/);
  });
});
