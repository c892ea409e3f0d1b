// The abort path of arm64 in compiled code: mistakes in it show, code that misbehaves ends the step, and what cannot stand
// there is refused.
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { describeWith, GCC } from '../../emulator/test-tools.ts';
import type { CallSeen } from '../call.ts';
import { loadTestHost, runYaml, type TestRun } from '../test-run.ts';
import { compiler } from './test-compile.ts';

const host = await loadTestHost();

const run = (replace: Record<string, string>, text: string): TestRun =>
  runYaml(host, `arch: arm64\nkernel: {replace: ${JSON.stringify(replace)}}\n${text}`, 'arm64');

const seen = ({ steps }: TestRun) => steps.at(-1)!.seen as CallSeen;

const WRITE = `
code: {arm64: "str x1, [x0]\\nret"}
args: [{arena: 0x2000}, 7]`;

const PROGRAM_READS = `
code: {arm64: "mov x7, #-1\\nload: ldr x7, [x1, #8]\\nmov x0, x7\\nret"}
image: bpf
extable: [{insn: load, type: bpf, dst: x7, arena_reg: x1, offset: 8}]
args: [1, {arena: 0x2000}]`;

describeWith(GCC.arm64, 'the abort path in compiled code', () => {
  const compile = compiler();
  const fault = (...flags: string[]) => compile('arm64', 'fault-arm64.c', '-O2', ...flags);
  const odd = (which: number, ...flags: string[]) =>
    compile('arm64', 'odd-arm64.c', '-O2', `-DODD=${which}`, ...flags);

  it('recovers through KFENCE and the arena, whichever of its functions is replaced', () => {
    for (const name of ['el1_abort', 'do_mem_abort', 'do_bad_area', '__do_kernel_fault']) {
      const source = name === 'el1_abort' ? 'traps-arm64.c' : 'fault-arm64.c';
      const done = run({ [name]: compile('arm64', source, '-O2') }, WRITE);
      expect(seen(done)).toMatchObject({ outcome: 'returned' });
      expect(seen(done).faults.at(0)).toMatchObject({ resolution: 'scratch' });
    }
  });

  it('that mixes up reads and writes is seen in the report', () => {
    expect(seen(run({}, WRITE)).stderr).toContain('WRITE access');
    const done = run({ __do_kernel_fault: fault('-DBROKEN=1') }, WRITE);
    expect(seen(done).stderr).toContain('READ access');
  });

  it('that takes no fault for spurious reports one that another CPU has repaired', () => {
    // The refusal that the TLB keeps is older than the entry.
    const text = readFileSync(
      new URL('../../fixtures/kept-refusal-scratch-arm64.yaml', import.meta.url),
      'utf8',
    );
    const resolutions = (replace: string) =>
      runYaml(host, text.replace('kernel: {', `kernel: {${replace}`), 'arm64')
        .events.flat()
        .flatMap((event) => (event.type === 'retry' ? [event.resolution] : []));
    expect(resolutions('')).toContain('spurious');
    const object = JSON.stringify(fault('-DBROKEN=2'));
    expect(resolutions(`replace: {__do_kernel_fault: ${object}}, `)).not.toContain('spurious');
  });

  it('that leaves a register of a program as it was is seen in what the program reads', () => {
    const object = (...flags: string[]) => compile('arm64', 'extable-arm64.c', '-O2', ...flags);
    expect(seen(run({ fixup_exception: object() }, PROGRAM_READS)).ret).toBe(0n);
    const done = run({ fixup_exception: object('-DBROKEN=1') }, PROGRAM_READS);
    expect(seen(done).ret).toBe(2n ** 64n - 1n);
  });

  it('that runs for ever ends at its limit', () => {
    const text = `limits: {instructions: 5000}${WRITE}`;
    expect(seen(run({ __do_kernel_fault: odd(1) }, text)).end).toMatchObject({
      outcome: 'budget',
      why: 'ran past its instruction limit',
    });
  });

  it.each([
    [2, '__do_kernel_fault', /no struct pt_regs lies at 0x30/],
    [4, 'fixup_exception', /ex_handler_bpf: 0x10 is no exception-table entry/],
    [7, '__do_kernel_fault', /calls handle_mm_fault, and the fault is the kernel’s own/],
    [9, '__do_kernel_fault', /prints a string at 0x40/],
  ])('that does nonsense (%i) ends the step with a reason', (which, name, why) => {
    const { outcome, end } = seen(run({ [name]: odd(which) }, WRITE));
    expect(outcome).toBe('halted');
    expect(end).toMatchObject({ why: expect.stringMatching(why) });
  });

  it('that faults in itself fills the stack', () => {
    const done = run({ __do_kernel_fault: odd(3) }, WRITE);
    expect(seen(done).outcome).toBe('oops');
    expect(done.log.join('\n')).toContain('Insufficient stack space to handle exception!');
  });

  it('that comes to BUG() stops there', () => {
    expect(seen(run({ fixup_exception: odd(5) }, WRITE)).outcome).toBe('halted');
  });

  it('that dies without a word has no report', () => {
    const { outcome, oops } = seen(run({ __do_kernel_fault: odd(6) }, WRITE));
    expect([outcome, oops]).toEqual(['oops', []]);
  });

  it('that comes back from where kernels die faults for ever', () => {
    const text = `code: {arm64: "ldr x0, [x0]\\nret"}\nargs: [0x10]`;
    expect(seen(run({ die_kernel_fault: odd(8) }, text)).outcome).toBe('budget');
  });

  it('is refused without the layout of struct pt_regs', () => {
    expect(() => run({ __do_kernel_fault: odd(1, '-g0') }, WRITE)).toThrow(/has no debugging data/);
    const object = 'replace/mainline-arm64-O2.o';
    expect(() => run({ __do_kernel_fault: object }, WRITE)).toThrow(
      /does not define __do_kernel_fault/,
    );
  });
});
