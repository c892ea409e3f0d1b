// Every line of every report names a function that the project says something about.
import { describe, expect, it } from 'vitest';
import { Explainer } from './explain.ts';
import { STANDINGS } from './standings.ts';
import { faultline } from './test-cli.ts';

const explained = async (fixture: string) => {
  const run = await faultline(['run', `fixtures/${fixture}.yaml`, '--explain']);
  expect([run.exitCode, run.stderr]).toEqual([0, '']);
  return run.stdout;
};

describe('run --explain', () => {
  it.each([
    't05-end-of-upper-guard',
    't09-no-program',
    't17-fetch',
    't18-read-only-page-arm64',
    't38-kfence-first',
    't40-null-dereference',
  ])('names the function of every line of %s', async (fixture) => {
    const text = await explained(fixture);
    expect(text).not.toContain('nothing is said of it');
    const lines = text.split('\n');
    const printed = lines.findIndex((line) => /^ {2}\|/.test(line));
    expect(printed).toBeGreaterThan(0);
    // A block of lines is never left without its function.
    lines.forEach((line, i) => {
      if (/^ {2}\|/.test(line)) expect(lines[i + 1]).toMatch(/^ {2}\||^ {6}in \w+\(\), \S+: /);
    });
  });

  it('knows both functions of a report', async () => {
    const text = await explained('first-fault');
    expect(text).toMatch(/\| ERROR: Arena .*\n {6}in __bpf_prog_report_arena_violation\(\)/);
    expect(text).toContain('in bpf_stream_stage_dump_stack(), kernel/bpf/stream.c');
  });

  it('tells what a program printed, and of a function without standing that there is none', () => {
    const explainer = new Explainer('arm64');
    const stream = { cpu: 0, prog: 'p', stream: 'stderr', dropped: false } as const;
    explainer.read({ type: 'streamWrite', ...stream, text: 'hello\n' });
    explainer.read({ type: 'streamWrite', ...stream, dropped: true, text: 'lost' });
    explainer.read({ type: 'printk', cpu: 0, text: 'line', by: 'no_such_function' });
    expect(explainer.take()).toEqual([
      'kernel log',
      '  | line',
      '      in no_such_function(): nothing is said of it',
      'stderr of the program',
      '  | hello',
      `      in bpf_stream_vprintk(), ${STANDINGS.bpf_stream_vprintk[0]}: its text was read`,
    ]);
    expect(explainer.take()).toEqual([]);
  });

  it('is a list of lines in a document', async () => {
    const argv = ['run', 'fixtures/t06-lower-guard.yaml', '--arch', 'arm64', '--explain', '--json'];
    const run = await faultline(argv);
    expect(run.exitCode).toBe(0);
    const { explained, oops } = JSON.parse(run.stdout);
    expect(explained.map(({ text }: { text: string }) => text)).toEqual(oops);
    expect(explained[0]).toEqual({
      text: expect.stringContaining('Unable to handle kernel paging request'),
      function: 'die_kernel_fault',
      source: 'arch/arm64/mm/fault.c',
      standing: 'read',
    });
  });
});

describe('debug --explain', () => {
  it('says it of the report at the end', async () => {
    const argv = ['debug', 'fixtures/t06-lower-guard.yaml', '--arch', 'x86_64', '--explain'];
    const run = await faultline([...argv, '--batch', '-ex', 'continue']);
    expect([run.exitCode, run.stderr]).toEqual([0, '']);
    expect(run.stdout).toMatch(/\| #PF: error_code.*\n {6}in show_fault_oops\(\), arch\/x86/);
  });
});
