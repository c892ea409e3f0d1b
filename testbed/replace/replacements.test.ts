// Compiled code in the model's place that is wrong: mistakes show in what the scenario comes to, code that does not come
// back ends as kernel code does, and objects that cannot stand there are refused with a reason.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { describeWith, GCC } from '../../emulator/test-tools.ts';
import type { CallSeen } from '../call.ts';
import type { ArchName } from '../scenario.ts';
import { loadTestHost, runYaml, type TestRun } from '../test-run.ts';

const ARCHS: readonly ArchName[] = ['x86_64', 'arm64'];
const host = await loadTestHost();

/** One write to an empty page, from a program's kfunc; and what became of the entry. */
const WRITE = `
code:
  x86_64: "mov qword ptr [rdi], rsi\\nret"
  arm64: "str x1, [x0]\\nret"
args: [{arena: 0x2000}, 7]`;

const run = (arch: ArchName, replace: Record<string, string>, text: string): TestRun =>
  runYaml(host, `arch: ${arch}\nkernel: {replace: ${JSON.stringify(replace)}}\n${text}`, arch);

const outcome = ({ steps }: TestRun) => (steps[0].seen as CallSeen).outcome;

describe.each(ARCHS)('a mistake in a compiled callback (%s)', (arch) => {
  const broken = (mistake: number) => `replace/broken-${mistake}-${arch}.o`;

  it('clear that collects the scratch page gives it back too early', () => {
    const steps = `steps:
  - call: {code: {x86_64: "mov [rdi], rsi\\nret", arm64: "str x1, [x0]\\nret"}, args: [{arena: 0x2000}, 7]}
  - free: {page: 2, count: 1}
    expect: {freed: 0}
  - destroy: {}
    expect: {freed: 0, leaked: 0}`;
    expect(run(arch, {}, steps).log.join()).not.toContain('Bad page state');
    const { log } = run(arch, { apply_range_clear_cb: broken(1) }, steps);
    expect(log.join()).toContain('Bad page state');
  });

  it('existing that frees the scratch page makes teardown free it twice', () => {
    const steps = `steps:
  - call: {code: {x86_64: "mov [rdi], rsi\\nret", arm64: "str x1, [x0]\\nret"}, args: [{arena: 0x2000}, 7]}
  - destroy: {}
    expect: {freed: 0, leaked: 0}`;
    expect(run(arch, {}, steps).log.join()).not.toContain('Bad page state');
    const { log } = run(arch, { existing_page_cb: broken(2) }, steps);
    expect(log.join()).toContain('Bad page state');
  });

  it('set_scratch that installs nothing faults for ever', () => {
    const done = run(arch, { apply_range_set_scratch_cb: broken(3) }, WRITE);
    expect(outcome(done)).toBe('budget');
    expect((done.steps[0].seen as CallSeen).faults.length).toBe(64);
  });
});

describe.each(ARCHS)('layouts told by BTF alone (%s)', (arch) => {
  it('serve as well', () => {
    const object = `replace/btf-${arch}.o`;
    const done = run(
      arch,
      { apply_range_set_cb: object, bpf_arena_handle_page_fault: object },
      `arena: {alloc: [[0, 2]]}${WRITE}\nexpect: {outcome: returned, faults: [{page: 2, resolution: scratch}]}`,
    );
    expect(done.failures).toEqual([]);
  });
});

describe.each(ARCHS)('what the code reads of struct page (%s)', (arch) => {
  it.each(['v2', 'mainline'])(
    'are the model’s counts: a page that user space maps is zapped (%s)',
    (series) => {
      const object = `replace/pages-${series}-${arch}-O2.o`;
      const steps = `series: ${series}
arena: {alloc: [[0, 2]]}
steps:
  - free: {page: 1, count: 1}
    expect: {freed: 1}
  - user: {page: 0, access: write, value: 7}
    expect: {result: ok}
  - free: {page: 0, count: 1}
    expect: {freed: 1}
  - user: {page: 0, access: read}
    expect: {result: ok, value: 0}`;
      const replacements: Record<string, string>[] = [{}, { arena_free_pages: object }];
      for (const replace of replacements) {
        expect(run(arch, replace, steps).failures).toEqual([]);
      }
    },
  );
});

describe('objects that cannot stand in the model’s place', () => {
  const mainline = 'replace/mainline-x86_64-O2.o';
  const cases: readonly (readonly [string, Record<string, string>, RegExp])[] = [
    [
      'a name that the model does not have',
      { apply_range_set: mainline },
      /apply_range_set is no function of the model/,
    ],
    [
      'another architecture',
      { apply_range_set_cb: 'replace/mainline-arm64-O2.o' },
      /is for arm64, and the scenario runs on x86_64/,
    ],
    [
      'an object without the function',
      { apply_range_set_cb: 'objects/lines-x86_64.o' },
      /does not define apply_range_set_cb/,
    ],
    [
      'a file that is none',
      { apply_range_set_cb: 'replace/none.o' },
      /cannot read replace\/none.o/,
    ],
  ];
  it.each(cases)('%s', (_, replace, message) => {
    expect(() => run('x86_64', replace, WRITE)).toThrow(message);
  });
});

const COMPILERS = {
  x86_64: [GCC.x86_64, '-mcmodel=kernel', '-mno-red-zone', '-mno-sse'],
  arm64: [GCC.arm64, '-mgeneral-regs-only', '-mno-outline-atomics'],
};
const FIXTURES = new URL('../../fixtures/', import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), 'faultline-odd-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

for (const arch of ARCHS) {
  const [compiler, ...flags] = COMPILERS[arch];
  describeWith(compiler, `code that does not come back (${arch})`, () => {
    /** An object of odd.c, and the path from fixtures/ to it. */
    function odd(which: number, ...more: string[]): string {
      const object = join(folder, `${arch}-${which}${more.join('')}.o`);
      const args = ['-c', '-O2', '-ffreestanding', '-fno-pic', '-fno-stack-protector', '-w'];
      const source = `${FIXTURES}replace/odd.c`;
      const made = spawnSync(
        compiler,
        [...flags, ...args, '-g', ...more, `-DODD=${which}`, source, '-o', object],
        { encoding: 'utf8' },
      );
      expect([made.status, made.stderr]).toEqual([0, '']);
      expect(readFileSync(object).length).toBeGreaterThan(0);
      return object;
    }
    const write = (name: string, which: number) => run(arch, { [name]: odd(which) }, WRITE);
    const endOf = (done: TestRun) => (done.steps[0].seen as CallSeen).end;

    it('an oops in it is the kernel’s', () => {
      const done = write('apply_range_set_scratch_cb', 1);
      expect(outcome(done)).toBe('oops');
      expect(done.log.join('\n')).toMatch(/NULL pointer dereference/);
      expect(done.log.join('\n')).toContain('apply_range_set_scratch_cb+');
    });

    it('an endless loop ends at the limit', () => {
      const done = run(
        arch,
        { apply_range_set_scratch_cb: odd(2) },
        `limits: {instructions: 5000}${WRITE}`,
      );
      expect(endOf(done)).toMatchObject({
        outcome: 'budget',
        why: 'ran past its instruction limit',
      });
    });

    it('a member that the model does not keep is named', () => {
      expect(endOf(write('bpf_arena_handle_page_fault', 3))).toMatchObject({
        outcome: 'halted',
        why: 'reads bpf_arena.range_tree, which the model does not keep',
      });
    });

    it('a handler that faults in itself fills the stack', () => {
      const done = write('bpf_arena_handle_page_fault', 4);
      expect(outcome(done)).toBe('oops');
      const text = arch === 'x86_64' ? 'stack guard page was hit' : 'Insufficient stack space';
      expect(done.log.join('\n')).toContain(text);
      const { faults } = done.steps[0].seen as CallSeen;
      expect(faults.length).toBeGreaterThan(16);
      expect(faults.length).toBeLessThan(64);
    });

    it('a handler that faults once in itself is recovered within', () => {
      const done = run(
        arch,
        { bpf_arena_handle_page_fault: odd(9) },
        `${WRITE}\nexpect: {outcome: returned, faults: [{page: 3}, {page: 2}], memory: [{offset: 0x3000, hex: "0700000000000000"}]}`,
      );
      expect(done.failures).toEqual([]);
      const { stderr } = done.steps[0].seen as CallSeen;
      // The first report is of the handler, and the walk goes on in the code that it interrupted.
      expect(stderr.split('\n').filter((line) => /^(ERROR|bpf_arena|kfunc)/.test(line))).toEqual([
        expect.stringMatching(/WRITE access at unmapped address 0x7f0000003000/),
        expect.stringMatching(/^bpf_arena_handle_page_fault\+/),
        expect.stringMatching(/^kfunc\+0x0/),
        expect.stringMatching(/WRITE access at unmapped address 0x7f0000002000/),
        expect.stringMatching(/^kfunc\+0x0/),
      ]);
    });

    it('a structure with a member that the model does not know is refused', () => {
      expect(() => write('apply_range_set_cb', 5)).toThrow(
        /struct apply_range_data has a member colour, which the model knows nothing of/,
      );
    });

    it('a call of what nobody has is refused', () => {
      const call = () => write('apply_range_set_scratch_cb', 6);
      expect(call).toThrow('apply_range_set_scratch_cb: undefined: kick_all_cpus');
    });

    it('what nobody has is only told when the code comes to it', () => {
      const replace = (...more: string[]) => ({ apply_range_set_scratch_cb: odd(11, ...more) });
      expect(run(arch, replace(), `${WRITE}\nexpect: {outcome: returned}`).failures).toEqual([]);
      const reads = () => run(arch, replace('-DREADS'), WRITE);
      expect(reads).toThrow('apply_range_set_scratch_cb: undefined: kick_limit');
    });

    it('a weak definition gives way to the model', () => {
      // Nothing was mapped, so that the access faults until it is given up; the kernel never oopses.
      expect(outcome(write('bpf_arena_handle_page_fault', 12))).toBe('budget');
    });

    it('a damaged list of pages ends the step, not the process', () => {
      const steps = `steps: [{alloc: {page: 0, count: 1}}, {free: {page: 0, count: 1}}]`;
      const done = run(arch, { apply_range_clear_cb: odd(7) }, steps);
      expect(done.steps[1].seen).toMatchObject({
        kind: 'stuck',
        why: expect.stringContaining('free_pages at 0x1234, which is in no struct page'),
      });
    });

    it('a write to what is the model’s own is named', () => {
      const steps = `steps: [{alloc: {page: 0, count: 1}}, {destroy: {}}]`;
      const done = run(arch, { existing_page_cb: odd(8) }, steps);
      expect(done.steps[1].seen).toMatchObject({
        kind: 'stuck',
        why: expect.stringContaining('writes bpf_arena.scratch_page, which is the model’s own'),
      });
    });

    it('what goes through lists of the memory management’s is the model’s, though the object has it', () => {
      const steps = `steps:
  - alloc: {page: 0, count: 1}
  - user: {page: 0, access: read}
  - free: {page: 0, count: 1}
    expect: {freed: 0}`;
      const replace = { arena_free_pages: odd(10) };
      const done = run(arch, replace, steps);
      expect(done.failures).toEqual([]);
      expect(done.steps.map(({ seen }) => seen.kind)).not.toContain('stuck');
    });

    if (arch === 'arm64') {
      it.each([14, 16])('pages of 2^%i bytes, for which it is built', (shift) => {
        const object = join(folder, `pages-${shift}.o`);
        const args = ['-c', '-g', '-O2', '-ffreestanding', '-fno-pic', '-fno-stack-protector'];
        const source = `${FIXTURES}replace/pages.c`;
        const made = spawnSync(
          compiler,
          [...flags, ...args, '-march=armv8.1-a', `-DPAGE_SHIFT=${shift}`, source, '-o', object],
          { encoding: 'utf8' },
        );
        expect([made.status, made.stderr]).toEqual([0, '']);
        const names = ['arena_alloc_pages', 'arena_free_pages', 'bpf_arena_handle_page_fault'];
        const replace = JSON.stringify(Object.fromEntries(names.map((name) => [name, object])));
        const page = 2 ** shift;
        const text = `arch: arm64
arena: {alloc: [[0, 2]]}
steps:
  - call:
      code: {arm64: "str x1, [x0]\\nstr x1, [x2]\\nret"}
      args: [{arena: ${page}}, 7, {arena: ${2 * page}}]
    expect: {faults: [{page: 2, resolution: scratch}], memory: [{offset: ${page}, hex: "0700000000000000"}]}
  - free: {page: 0, count: 3}
    expect: {freed: 2}`;
        const kernel = `kernel: {page_size: ${page}, replace: ${replace}}\n`;
        expect(runYaml(host, kernel + text, arch).failures).toEqual([]);
      });
    }

    it('an object without debugging data is refused', () => {
      expect(() => run(arch, { apply_range_set_cb: odd(5, '-g0') }, WRITE)).toThrow(
        /has no debugging data/,
      );
    });
  });
}
