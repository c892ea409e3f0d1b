// Stack walks in compiled code (fixtures/replace/unwind.c): through handlers in compiled code and what they interrupted, and
// mistakes that must show.
import { describe, expect, it } from 'vitest';
import { describeWith, GCC } from '../../emulator/test-tools.ts';
import type { CallSeen } from '../call.ts';
import type { ArchName } from '../scenario.ts';
import { loadTestHost, runYaml, type TestRun } from '../test-run.ts';
import { UNWIND_FUNCTIONS } from './functions/unwind.ts';
import { compiler } from './test-compile.ts';

const host = await loadTestHost();
const compile = compiler();

const FRAMES = '[{prog: inner, subprogram: true}, {prog: outer, arena: other}]';
const SCENARIO = `
arenas: {arena: {pages: 16}, other: {pages: 16}}
code: {x86_64: "mov [rdi], rsi\\nret", arm64: "str x1, [x0]\\nret"}
args: [{arena: 0x2000}, 7]
caller: {frames: ${FRAMES}}`;

const run = (arch: ArchName, replace: Record<string, string>, more = ''): TestRun => {
  const kernel = `kernel: {replace: ${JSON.stringify(replace)}}`;
  return runYaml(host, `arch: ${arch}\n${kernel}\n${more}${SCENARIO}`, arch);
};

const seenBy = (done: TestRun) => done.steps[0].seen as CallSeen;
const tell = (done: TestRun) => {
  const { outcome, ret, stderr, faults } = seenBy(done);
  return { outcome, ret, stderr, faults: faults.length };
};
const ran = (done: TestRun, fn: string): number =>
  done.events
    .flat()
    .filter((one) => one.type === 'decision' && one.fn === fn && /^compiled: /.test(one.text))
    .length;

for (const arch of ['x86_64', 'arm64'] as const) {
  const walks = `replace/unwind-${arch}-O2.o`;
  const report = `replace/report-${arch}-O2.o`;
  const model = tell(run(arch, {}));

  describe(`stack walks in compiled code (${arch})`, () => {
    it('come by what the model comes by', () => {
      expect(model.outcome).toBe('returned');
      expect(model.stderr).toContain('bpf_prog_');
      for (const name of ['arch_bpf_stack_walk', 'find_from_stack_cb']) {
        const done = run(arch, { [name]: walks });
        expect(tell(done)).toEqual(model);
        expect(ran(done, name)).toBeGreaterThan(0);
      }
    });

    it('go through the functions of other objects that called them', () => {
      const replace = { arch_bpf_stack_walk: walks, bpf_prog_find_from_stack: report };
      const done = run(arch, replace);
      expect(tell(done)).toEqual(model);
      // The search walks, and the report once more.
      expect(ran(done, 'arch_bpf_stack_walk')).toBe(2);
      expect(ran(done, 'bpf_prog_find_from_stack')).toBe(1);
    });
  });

  describeWith(GCC[arch], `stack walks that are in trouble (${arch})`, () => {
    const broken = (name: string, mistake: number, more = '') =>
      run(arch, { [name]: compile(arch, 'unwind.c', '-O2', `-DBROKEN=${mistake}`) }, more);

    it('go on from a handler that faulted in the code that it interrupted', () => {
      const handler = compile(arch, 'odd.c', '-O2', '-DODD=9');
      const replace = { bpf_arena_handle_page_fault: handler };
      const once = run(arch, replace);
      const both = run(arch, { ...replace, arch_bpf_stack_walk: walks });
      expect(tell(both)).toEqual(tell(once));
      expect(tell(both).stderr).toContain('bpf_arena_handle_page_fault+');
    });

    it('a search that goes on behind the innermost program finds one with another arena', () => {
      expect(tell(broken('find_from_stack_cb', 2)).outcome).toBe('oops');
    });

    it('one that ends after a frame finds nobody', () => {
      expect(tell(broken('arch_bpf_stack_walk', 3)).outcome).toBe('oops');
    });

    it('one that walks for ever ends at the limit', () => {
      const done = broken('arch_bpf_stack_walk', 5, 'limits: {instructions: 9000}\n');
      expect(seenBy(done).end).toMatchObject({
        outcome: 'budget',
        why: 'ran past its instruction limit',
      });
    });

    if (arch === 'x86_64') {
      it('one that hands the unwinder a wrong address ends the call', () => {
        expect(seenBy(broken('arch_bpf_stack_walk', 6)).end).toMatchObject({
          outcome: 'halted',
          why: 'unwind_next_frame is handed 0x40, where nothing is mapped',
        });
      });
    }
  });
}

describe('the ORC unwinder in compiled code', () => {
  const unwinder = 'replace/orc-x86_64-O2.o';
  const names = Object.entries(UNWIND_FUNCTIONS).filter(([, one]) => 'arch' in one);
  const parts = names.map(([name]) => name);
  const model = tell(run('x86_64', {}));

  it.each(parts)('%s alone', (name) => {
    const done = run('x86_64', { [name]: unwinder });
    expect(tell(done)).toEqual(model);
    // The walk for BPF asks where an address was found by nobody.
    if (name !== 'unwind_get_return_address_ptr') expect(ran(done, name)).toBeGreaterThan(0);
  });

  it('walks through functions in compiled code, from one that called another', () => {
    const all = Object.fromEntries(parts.map((name) => [name, unwinder]));
    const walk = { arch_bpf_stack_walk: 'replace/unwind-x86_64-O2.o' };
    const search = { bpf_prog_find_from_stack: 'replace/report-x86_64-O2.o' };
    expect(tell(run('x86_64', { ...all, ...walk, ...search }))).toEqual(model);
  });
});

describeWith(GCC.x86_64, 'mistakes in the ORC unwinder', () => {
  const broken = (name: string, mistake: number) =>
    run('x86_64', { [name]: compile('x86_64', 'orc.c', '-O2', `-DBROKEN=${mistake}`) });

  it.each([
    ['get_stack_info', 1],
    ['unwind_next_frame', 2],
    ['unwind_get_return_address', 3],
  ] as const)('in %s: the program is not found', (name, mistake) => {
    expect(tell(broken(name, mistake)).outcome).toBe('oops');
  });

  it('goes on from a handler that faulted in the code that it interrupted', () => {
    const replace = {
      bpf_arena_handle_page_fault: compile('x86_64', 'odd.c', '-O2', '-DODD=9'),
      arch_bpf_stack_walk: 'replace/unwind-x86_64-O2.o',
    };
    const object = 'replace/orc-x86_64-O2.o';
    const all = { ...replace, __unwind_start: object, unwind_next_frame: object };
    expect(tell(run('x86_64', all))).toEqual(tell(run('x86_64', replace)));
  });
});
