// What a run does beside its steps: options of the kernel, failures to make, and worlds that cannot be.
import { describe, expect, it } from 'vitest';
import type { ArchName } from './scenario.ts';
import { loadTestHost, runYaml } from './test-run.ts';

const host = await loadTestHost();
const ARCHS: readonly ArchName[] = ['x86_64', 'arm64'];
const STORE = '{x86_64: "mov [rdi], rsi; ret", arm64: "str x1, [x0]; ret"}';
const FETCH = '{x86_64: "mov rax, [rdi]; ret", arm64: "ldr x0, [x0]; ret"}';
const world = (text: string) => `arch: [x86_64, arm64]\n${text}`;
const failing = (text: string, arch: ArchName = 'x86_64') => {
  try {
    runYaml(host, world(text), arch);
  } catch (error) {
    const { name, message, remedy } = error as Error & { remedy?: string };
    expect([name, typeof remedy]).toEqual(['CallError', 'string']);
    return message;
  }
  return 'nothing';
};

describe.each(ARCHS)('KFENCE on %s', (arch) => {
  const text = (pool: string) =>
    world(`
kernel: {kfence: {pool: ${pool}, objects: 2}}
steps:
  - call: {code: ${STORE}, args: [{arena: 0x5008}, 1]}
  - call: {code: ${FETCH}, args: [{arena: 0x5008}]}
`);

  it('is asked first, prints its report and lets the access pass', () => {
    const { steps, log } = runYaml(host, text('{arena: 0x4000}'), arch);
    expect(steps[0].seen).toMatchObject({ outcome: 'returned', stderr: '', oops: null });
    expect(steps[1].seen).toMatchObject({ ret: 1n, faults: { length: 0 } });
    expect(log).toHaveLength(7);
    expect(log[1]).toBe(
      `BUG: KFENCE: invalid write in kfunc+0x0/0x${arch === 'arm64' ? '8' : '4'}`,
    );
    expect(log[3]).toMatch(/^Invalid write at 0xffff[0-9a-f]{8}[0-9a-f]{4}:$/);
  });

  it('declines what is not in its pool', () => {
    const { steps, log } = runYaml(host, text('{arena: 0x40000}'), arch);
    expect(steps[0].seen).toMatchObject({ outcome: 'returned' });
    expect(steps[0].seen.stderr).toContain('Arena WRITE access');
    expect(log).toEqual([]);
  });
});

describe('a KFENCE pool that cannot be', () => {
  const pool = (at: string, arch: ArchName = 'x86_64', objects = 2) =>
    failing(`kernel: {kfence: {pool: ${at}, objects: ${objects}}}\nsteps: [{worker: {}}]`, arch);

  it('is named with its place', () => {
    expect(pool('0xffff888000000800')).toMatch(/0xffff888000000800 is no page boundary/);
    expect(pool('0x10000')).toMatch(/are not all kernel addresses/);
    expect(pool('0xffff7ffffffff000')).toMatch(/are not all kernel addresses/);
    expect(pool('0xffff7ffffffff000', 'arm64')).toBe('nothing');
    expect(pool('0xfffffffffffff000')).toMatch(/are not all kernel addresses/);
    expect(pool('0xffffc90000100000')).toMatch(/would lie over something else/);
  });
});

describe('failures to make', () => {
  it.each(ARCHS)('count the calls of the steps only, on %s', (arch) => {
    const { steps } = runYaml(
      host,
      world(`
arena: {alloc: [[0, 3]]}
inject: [{at: alloc_page, nth: 2}, {at: spinlock, nth: 4}]
steps:
  - alloc: {count: 1}
  - alloc: {count: 1}
  - alloc: {count: 1}
  - alloc: {count: 1}
  - user: {page: 0, access: read}
`),
      arch,
    );
    const pages = steps.map(({ seen }) => (seen.kind === 'alloc' ? seen.page : 'user'));
    expect(pages).toEqual([3, null, 4, null, 'user']);
    expect(steps[4].seen).toMatchObject({ result: 'ok' });
  });

  it('reach the user side, the tree, the deferred free and creation', () => {
    const { steps } = runYaml(
      host,
      world(`
arena: {alloc: [[0, 2]]}
inject:
  - {at: spinlock, nth: 1}
  - {at: span, nth: 1}
  - {at: populate, nth: 1}
  - {at: range_node, nth: 3}
steps:
  - user: {page: 5, access: read}
  - free: {page: 0, count: 1, sleepable: false}
  - worker: {}
  - create: {pages: 4}
  - create: {pages: 4}
  - create: {pages: 4}
  - destroy: {}
`),
      'x86_64',
    );
    expect(steps[0].seen).toMatchObject({ result: 'RETRY' });
    // The span could not be had: the page stays until the arena goes.
    expect(steps[2].seen).toMatchObject({ freed: 0 });
    expect(steps.slice(3, 6).map(({ seen }) => (seen as { result?: number }).result)).toEqual([
      -12, 0, -12,
    ]);
    expect(steps[6].seen).toMatchObject({ freed: 2, leaked: 0 });
  });
});

describe('an arena that is destroyed', () => {
  it('takes its user mappings with it and leaks nothing', () => {
    const { steps } = runYaml(
      host,
      world(`
steps:
  - user: {page: 3, access: write, value: 1}
  - free: {page: 3, count: 1, sleepable: false}
  - destroy: {}
  - pte: {page: 3}
`),
      'x86_64',
    );
    expect(steps[2].seen).toMatchObject({ freed: 1, leaked: 0 });
    expect(steps[3].seen).toMatchObject({ value: 0n, pteKind: 'none' });
  });

  it('can be used by no step after it', () => {
    const gone = (step: string) => failing(`steps: [{destroy: {}}, ${step}]`);
    const message = 'arena arena was destroyed by the step at line 2';
    expect(gone('{destroy: {}}')).toBe(message);
    expect(gone('{alloc: {count: 1}}')).toBe(message);
    expect(gone('{user: {page: 0, access: read}}')).toBe(message);
    expect(gone(`{call: {code: ${STORE}, args: [{arena: 0x0}, 1]}}`)).toBe(message);
    expect(gone(`{call: {code: ${FETCH}, args: [{arena: 0x0}], caller: kernel}}`)).toBe('nothing');
  });

  it('leaves the others alone', () => {
    const { steps } = runYaml(
      host,
      world(`
arenas: {a: {alloc: [[0, 1]]}, b: {alloc: [[0, 1]]}}
steps:
  - user: {page: 0, access: write, value: 1, in: a}
  - user: {page: 0, access: write, value: 2, in: b}
  - destroy: {in: a}
  - user: {page: 0, access: read, in: b}
  - destroy: {in: b}
`),
      'arm64',
    );
    expect(steps[2].seen).toMatchObject({ freed: 1, leaked: 0 });
    expect(steps[3].seen).toMatchObject({ value: 2n });
    expect(steps[4].seen).toMatchObject({ freed: 1, leaked: 0 });
  });
});

describe('a step that never ends', () => {
  const text = (expected: string) => `
arch: x86_64
steps:
  - pte: {page: 0, set: 0x40}
  - user: {page: 0, access: read}
${expected}`;

  it('fails as budget, and can be expected', () => {
    const { failures, steps } = runYaml(host, text(''), 'x86_64');
    expect(steps[1].seen).toMatchObject({ kind: 'stuck' });
    expect(failures).toEqual([
      expect.stringMatching(/^outcome: returned, budget: apply_range_set_cb spins on entry 0x40/),
    ]);
    expect(runYaml(host, text('    expect: {outcome: budget}'), 'x86_64').failures).toEqual([]);
  });

  it('is missed where it ends', () => {
    const { failures } = runYaml(
      host,
      'arch: x86_64\nsteps: [{worker: {}, expect: {outcome: budget}}]',
      'x86_64',
    );
    expect(failures).toEqual(['outcome: budget, returned']);
  });
});

describe('a call that cannot be made', () => {
  it('has no instruction', () => {
    expect(failing('code: {x86_64: "", arm64: ""}')).toBe('the code is empty');
    expect(failing('code: {x86_64: "", arm64: ""}\nimage: bpf')).toBe('the code is empty');
  });

  it.each(ARCHS)('has more frames than the stack holds, on %s', (arch) => {
    const frames = Array.from({ length: 400 }, (_, i) => `{prog: p${i}}`).join(', ');
    const text = (stack: string) =>
      `code: ${FETCH}\nargs: [{arena: 0x0}]\ncaller: {frames: [${frames}]}\nkernel: {stack: ${stack}}`;
    expect(failing(text('0x4000'), arch)).toMatch(/^400 frames of programs do not fit/);
    expect(failing(text('0x10000'), arch)).toBe('nothing');
  });
});

describe('kernel options', () => {
  const run = (arch: ArchName, kernel: string, page = 16) =>
    runYaml(
      host,
      `
arch: ${arch}
kernel: {${kernel}}
arena: {alloc: [[0, 1]]}
steps:
  - call:
      code:
        x86_64: "mov [rdi], rsi; mov [rdi + 0x10000], rsi; ret"
        arm64: "str x1, [x0]; add x0, x0, #0x10000; str x1, [x0]; ret"
      args: [{arena: 0x0}, 42]
    expect: {faults: [{access: write, resolution: scratch, page: ${page}}]}
  - pte: {page: ${page}}
  - user: {page: 0, access: read}
    expect: {value: 42}
  - destroy: {}
    expect: {leaked: 0, freed: 1}
`,
      arch,
    );

  it.each<[ArchName, string, bigint, number?]>([
    ['x86_64', 'la57: true', 0x8000000001234163n],
    ['x86_64', 'pti: true', 0x8000000001234063n],
    ['x86_64', 'erms: false', 0x8000000001234163n],
    ['x86_64', 'stack: 0x100000, scratch_pfn: 0xabcde', 0x80000000abcde163n],
    ['x86_64', 'la57: true, vm_start: {x86_64: 0xffa0000001e69000}', 0x8000000001234163n],
    // Where the stack lies otherwise.
    ['x86_64', 'vm_start: {x86_64: 0xffffc90000008000}', 0x8000000001234163n],
    ['x86_64', 'vm_start: {x86_64: 0xffffc90000108000}', 0x8000000001234163n],
    ['arm64', 'pti: true', 0x0068000001234f03n],
    ['arm64', 'hafdbs: true', 0x0068000001234703n],
    ['arm64', 'page_size: 16384', 0x00680000048d0703n, 4],
    ['arm64', 'page_size: 65536', 0x0068000012340703n, 1],
  ])('%s {%s}', (arch, kernel, pte, page) => {
    const { steps, failures } = run(arch, kernel, page);
    expect(failures).toEqual([]);
    expect(steps[1].seen).toMatchObject({ value: pte, pteKind: 'scratch' });
  });

  it('bpf_syscall: false leaves only the stub, which recovers nothing', () => {
    for (const arch of ARCHS) {
      expect(run(arch, 'bpf_syscall: false').steps[0].seen).toMatchObject({ outcome: 'oops' });
    }
  });

  it('refuse places that cannot be', () => {
    const place = (kernel: string) => failing(`kernel: {${kernel}}\nsteps: [{worker: {}}]`);
    expect(place('vm_start: {x86_64: 0xffff888000001000}')).toMatch(/cannot be made: -ENOMEM/);
    expect(place('scratch_pfn: 0x80')).toMatch(/cannot be made: -ENOMEM/);
  });
});
