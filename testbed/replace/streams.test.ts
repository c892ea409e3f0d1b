// Streams in compiled code (fixtures/replace/stream.c): each function runs alone and does what the model does, reports may be
// made partly by the one and partly by the other, mistakes show, and code that damages a stream ends the step.
import { describe, expect, it } from 'vitest';
import { BPF_STDERR, bpfProgStreamRead, bpfStreamVprintk } from '../../bpf/stream.ts';
import { describeWith, GCC } from '../../emulator/test-tools.ts';
import { ERRNO } from '../../mm/context.ts';
import type { CallSeen } from '../call.ts';
import type { ArchName } from '../scenario.ts';
import { loadTestHost, runYaml, type TestRun } from '../test-run.ts';
import { STREAM_FUNCTIONS } from './functions/streams.ts';
import { compiler } from './test-compile.ts';

const ARCHS: readonly ArchName[] = ['x86_64', 'arm64'];
const NAMES = Object.keys(STREAM_FUNCTIONS);
const host = await loadTestHost();

/** Reports of programs with several frames, prints of every length at which something changes, and reads of parts. */
const SCENARIO = `
arena: {alloc: [[0, 1]]}
steps:
  - call:
      code: {x86_64: "mov [rdi], rsi\\nret", arm64: "str x1, [x0]\\nret"}
      args: [{arena: 0x2000}, 7]
      caller: {frames: [{prog: inner}, {prog: outer}, {prog: inner, subprogram: true}]}
  - stream: {print: "100%, é"}
  - stream: {read: 0}
  - stream: {read: 5}
  - stream: {print: ""}
  - stream: {print: ${'x'.repeat(1023)}}
  - stream: {print: ${'y'.repeat(1024)}}
  - stream: {print: ${'z'.repeat(1030)}}
  - call:
      code: {x86_64: "mov rax, [rdi]\\nret", arm64: "ldr x1, [x0]\\nret"}
      args: [{arena: 0x5000}, 7]
      caller: {frames: [{prog: inner}]}
  - stream: {read: 700}
  - stream: {print: ${'w'.repeat(1000)}, count: 100}
  - call:
      code: {x86_64: "mov rax, [rdi]\\nret", arm64: "ldr x1, [x0]\\nret"}
      args: [{arena: 0x6000}, 7]
      caller: {frames: [{prog: inner}]}
  - stream: {read: 99}
  - stream: {read: 1000000}`;

type Replace = Readonly<Record<string, string>>;

function run(arch: ArchName, replace: Replace, series = 'mainline', text = SCENARIO): TestRun {
  const kernel = `kernel: {replace: ${JSON.stringify(replace)}}`;
  return runYaml(host, `arch: ${arch}\nseries: ${series}\n${kernel}\n${text}`, arch);
}

/** What of a run does not depend on who did it. */
const told = ({ steps, events, failures }: TestRun) => ({
  steps: steps.map(({ seen }) =>
    'stderr' in seen ? { ...seen, instructions: 0, cycles: 0, retired: 0 } : seen,
  ),
  writes: events.flat().filter(({ type }) => type === 'streamWrite'),
  failures,
});

const seenOf = (done: TestRun) =>
  JSON.stringify(told(done), (_, v) => (typeof v === 'bigint' ? `${v}` : v));

const ran = ({ events }: TestRun, name: string): boolean =>
  events
    .flat()
    .some((e) => e.type === 'decision' && e.fn === name && e.text.startsWith('compiled:'));

describe.each(ARCHS)('compiled streams (%s)', (arch) => {
  const object = (series: string, level: string) => `replace/stream-${series}-${arch}-${level}.o`;
  const all = (path: string): Replace => Object.fromEntries(NAMES.map((name) => [name, path]));

  it.each(NAMES)('do what the model does: %s alone', (name) => {
    const done = run(arch, { [name]: object('mainline', 'O2') });
    expect(ran(done, name)).toBe(true);
    expect(seenOf(done)).toBe(seenOf(run(arch, {})));
  });

  it.each([
    ['v2', 'O0'],
    ['v2', 'O2'],
    ['mainline', 'O0'],
    ['mainline', 'O2'],
  ])('do what the model does: all of %s at %s', (series, level) => {
    const done = run(arch, all(object(series, level)), series);
    expect(seenOf(done)).toBe(seenOf(run(arch, {}, series)));
  });

  it('serve a report in another object, and one in the same', () => {
    const model = seenOf(run(arch, {}));
    const report = { __bpf_prog_report_arena_violation: `replace/report-${arch}-O2.o` };
    expect(seenOf(run(arch, report))).toBe(model);
    expect(seenOf(run(arch, { ...report, ...all(object('mainline', 'O0')) }))).toBe(model);
    // A message that the stream refuses is told by nobody there.
    const roomy = SCENARIO.replace('count: 100', 'count: 3');
    const own = { __bpf_prog_report_arena_violation: `replace/stream-with-report-${arch}.o` };
    const done = run(arch, own, 'mainline', roomy);
    expect(ran(done, '__bpf_prog_report_arena_violation')).toBe(true);
    expect(seenOf(done)).toBe(seenOf(run(arch, {}, 'mainline', roomy)));
  });

  it.each(['v2', 'mainline'])('fault where the buffer of user space ends (%s)', (series) => {
    const read = (replace: Replace) => {
      const results: unknown[] = [];
      const kernel = `series: ${series}\nkernel: {replace: ${JSON.stringify(replace)}}`;
      const text = `arch: ${arch}\n${kernel}\nsteps: [{worker: {}}]`;
      runYaml(host, text, arch, (world) => {
        const { context, bpf } = world.kernel;
        const prog = world.program(null);
        for (const line of ['0123456789', 'abcdef']) {
          bpfStreamVprintk(context, prog, BPF_STDERR, line);
        }
        for (const [length, writable] of [
          [16, 0],
          [16, 4],
          [16, 12],
          [16, 16],
        ]) {
          const got =
            bpf.compiled?.bpfProgStreamRead?.(prog, BPF_STDERR, length, writable) ??
            bpfProgStreamRead(context, prog, BPF_STDERR, length, writable, bpf.compiled);
          results.push(typeof got === 'number' ? got : Buffer.from(got).toString());
        }
        results.push(prog.streams[1].capacity, prog.streams[1].peek());
      });
      return results;
    };
    const model = read({});
    expect(model[0]).toBe(ERRNO.EFAULT);
    for (const name of ['bpf_stream_read', 'bpf_prog_stream_read']) {
      expect(read({ [name]: object(series, 'O2') })).toEqual(model);
    }
  });

  it.each([
    [1, 'bpf_stream_stage_commit'],
    [2, 'bpf_stream_consume_capacity'],
    [3, 'bpf_stream_get'],
  ])('show a mistake (%i, in %s)', (mistake, name) => {
    const done = run(arch, { [name]: `replace/stream-broken-${mistake}-${arch}.o` });
    expect(seenOf(done)).not.toBe(seenOf(run(arch, {})));
  });
});

const compile = compiler();
describe.each(ARCHS)('code that damages streams', (arch) => {
  describeWith(GCC[arch], arch, () => {
    const odd = (which: number) => compile(arch, 'odd-stream.c', '-O2', `-DODD=${which}`);
    const text = `
limits: {instructions: 5000}
steps:
  - call: {code: {x86_64: "mov [rdi], rsi\\nret", arm64: "str x1, [x0]\\nret"}, args: [{arena: 0x2000}, 7]}
  - stream: {read: 8}`;
    const ends = (name: string, which: number): string[] =>
      run(arch, { [name]: odd(which) }, 'mainline', text).steps.map(({ seen }) => {
        if (seen.kind === 'stuck') return seen.why;
        const end = seen.kind === 'call' ? (seen as CallSeen).end : null;
        return end !== null && 'why' in end ? end.why : seen.kind;
      });

    it.each([
      [1, /^bpf_stream_stage_commit leaves the stderr of .* with an element at 0x1234, where none/],
      [2, /^bpf_stream_stage_commit leaves the stderr of .* with an element at 0x.*, where none/],
      [3, /^bpf_stream_stage_commit leaves the stderr of .* with an element of 100000 bytes/],
      [4, /^bpf_stream_stage_commit leaves the stderr of .* with an element at 0x.*, where none/],
      [5, /ran past its instruction limit/],
    ])('ends the call (%i)', (which, why) => {
      expect(ends('bpf_stream_stage_commit', which)[0]).toMatch(why);
    });

    it.each([
      ['bpf_stream_stage_init', 0, /^bpf_stream_stage_init leaves a stage that is not empty/],
      ['bpf_stream_stage_printk', 0, /^bpf_stream_stage_printk leaves a message with an elem/],
      ['dump_stack_cb', 0, /^dump_stack_cb returns false with err 0/],
      ['bpf_stream_get', 0, /^bpf_stream_get returns 0x1234, no stream of the program/],
      ['bpf_prog_stream_read', 1, /^bpf_prog_stream_read returns 9 bytes, and 8 could be copied/],
    ])('ends the step: %s', (name, step, why) => {
      expect(ends(name, 0)[step]).toMatch(why);
    });

    it('which leave what a program starts with', () => {
      expect(() => ends('bpf_prog_stream_init', 0)).toThrow(
        /^while program prog is loaded, bpf_prog_stream_init leaves the stdout of prog with/,
      );
    });

    it('are refused that keep streams otherwise', () => {
      expect(() => ends('bpf_stream_stage_commit', 20)).toThrow(
        /does not define struct bpf_stream with its members capacity, log/,
      );
    });
  });
});
