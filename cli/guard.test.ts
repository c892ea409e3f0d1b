// Code that takes the engine down costs one outcome and no process. The aborts are real: test-reckless.ts.
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Guard } from './guard.ts';

/** Unallocated half precision, and `lock bt rax, rcx` where a block begins: the library's translator aborts at both. */
const A64 = { word: '0x0e422c00', bytes: '002c420e' };
const X86 = { list: '0xf0, 0x48, 0x0f, 0xa3, 0xc8', bytes: 'f0480fa3c8' };
const KILLERS = { x86_64: `jmp 9f\n9: .byte ${X86.list}`, arm64: `.inst ${A64.word}` };

let folder: string;
let program: string;
let guard: Guard;

beforeAll(() => {
  // Below the checkout, so that the bundle finds its packages.
  folder = mkdtempSync(join('node_modules', '.guard-test-'));
  const build = ['scripts/build.js', resolve(folder, 'dist'), 'cli/test-reckless.ts'];
  spawnSync(process.execPath, build, { stdio: 'inherit' });
  program = resolve(folder, 'dist/worker.js');
  guard = new Guard(60, program);
});

afterAll(() => {
  guard.close();
  rmSync(folder, { recursive: true });
});

function scenario(name: string, document: object): { file: string; options: object } {
  const file = join(folder, `${name}.json`);
  writeFileSync(file, JSON.stringify({ name, ...document }));
  return { file, options: {} };
}

const call = (x86_64: string, arm64: string, more: object = {}) => ({
  code: { x86_64, arm64 },
  args: [{ arena: 0 }],
  ...more,
});

async function ran(job: { file: string; options: object }, arch: 'x86_64' | 'arm64') {
  const verdict = await guard.run(job, arch);
  if (verdict.kind !== 'ran') throw new Error(`ended as ${verdict.kind}`);
  return verdict.ran;
}

describe.each(['x86_64', 'arm64'] as const)('an engine that aborts, on %s', (arch) => {
  const bytes = arch === 'arm64' ? A64.bytes : X86.bytes;

  it('is outcome engine at the very instruction, with what happened before it', async () => {
    const job = scenario(
      'abort',
      call(`mov [rdi], rdi\n${KILLERS.x86_64}\nret`, `str x0, [x0]\nnop\n${KILLERS.arm64}\nret`),
    );
    const { document, pass } = await ran(job, arch);
    expect(document).toMatchObject({
      outcome: 'engine',
      why: 'the engine aborts at this instruction',
      bytes,
      instructions: 2,
      replay: expect.stringMatching(/^npx faultline run .*abort\.json --arch/),
    });
    expect(document.faults).toMatchObject([{ page: 0, access: 'write', resolution: 'scratch' }]);
    expect(pass).toBe(false);
  });

  it('is what a scenario may expect, and the next one runs', async () => {
    const expected = { expect: { outcome: 'engine' } };
    const job = scenario('expected', call(KILLERS.x86_64, KILLERS.arm64, expected));
    expect((await ran(job, arch)).pass).toBe(true);
    const next = scenario('next', call('xor eax, eax\nret', 'mov x0, #0\nret'));
    expect((await ran(next, arch)).document).toMatchObject({ outcome: 'returned', ret: '0x0' });
  });

  it('is found deep in a loop', async () => {
    const job = scenario(
      'deep',
      call(
        `mov ecx, 4321\n1: dec ecx\njnz 1b\n${KILLERS.x86_64}`,
        `mov x1, #4321\n1: subs x1, x1, #1\nb.ne 1b\n${KILLERS.arm64}`,
      ),
    );
    expect((await ran(job, arch)).document).toMatchObject({
      outcome: 'engine',
      bytes,
      instructions: 1 + 2 * 4321 + (arch === 'x86_64' ? 1 : 0),
    });
  });

  it('counts for nothing behind an instruction that ends the run', async () => {
    const job = scenario(
      'behind',
      call(`mov [0], rax\n${KILLERS.x86_64}`, `mov x1, #0\nstr x1, [x1]\n${KILLERS.arm64}`),
    );
    expect((await ran(job, arch)).document).toMatchObject({ outcome: 'oops' });
  });

  it('costs a step, and the others are done', async () => {
    const step = { call: call(KILLERS.x86_64, KILLERS.arm64) };
    const fine = { call: call('mov eax, 7\nret', 'mov x0, #7\nret') };
    const { document } = await ran(scenario('steps', { steps: [step, fine, step] }), arch);
    expect(document.steps).toMatchObject([
      { outcome: 'engine', bytes },
      { outcome: 'returned', ret: '0x7' },
      { outcome: 'engine', bytes },
    ]);
  });
});

it('ends an engine that hangs', async () => {
  const impatient = new Guard(4, program);
  try {
    const job = scenario('hang', { arch: ['x86_64'], code: { x86_64: 'int 0x29\nret' } });
    expect(await impatient.run(job, 'x86_64')).toMatchObject({
      kind: 'ran',
      ran: {
        document: { outcome: 'engine', why: 'the engine hangs at this instruction', bytes: 'cd29' },
      },
    });
  } finally {
    impatient.close();
  }
});

it('gives up an engine that hangs at what is kept from it', async () => {
  const impatient = new Guard(4, program);
  try {
    const job = scenario('hopeless', { arch: ['x86_64'], code: { x86_64: 'int 0x2a\nret' } });
    const verdict = await impatient.run(job, 'x86_64');
    expect(verdict).toMatchObject({ kind: 'died', place: { code: Uint8Array.of(0xcd, 0x2a) } });
  } finally {
    impatient.close();
  }
});

it('ends code without a limit that never ends, as late', async () => {
  const impatient = new Guard(4, program);
  try {
    const limits = { instructions: 'none' };
    const job = scenario('late', { arch: ['x86_64'], code: { x86_64: 'nop\n1: jmp 1b' }, limits });
    const verdict = await impatient.run(job, 'x86_64');
    expect(verdict).toMatchObject({ kind: 'late', place: { code: Uint8Array.of(0xeb, 0xfe) } });
  } finally {
    impatient.close();
  }
});

it("lets a suite go on behind an abort, without the library's own words", () => {
  scenario('suite-a', call(KILLERS.x86_64, KILLERS.arm64, { expect: { ret: 0 } }));
  scenario('suite-b', call('xor eax, eax\nret', 'mov x0, #0\nret'));
  mkdirSync(join(folder, 'bin'));
  copyFileSync('bin/faultline.js', join(folder, 'bin/faultline.js'));
  const files = ['suite-a.json', 'suite-b.json'].map((name) => join(folder, name));
  const run = spawnSync(process.execPath, [join(folder, 'bin/faultline.js'), 'test', ...files]);
  expect(run.stderr.toString()).toBe('');
  expect(run.stdout.toString().replaceAll(`${folder}/`, '')).toBe(`\
FAIL suite-a.json x86_64: suite-a
       suite-a.json:1: outcome: wanted returned, got engine
       replay: npx faultline run suite-a.json --arch x86_64 --series mainline
FAIL suite-a.json arm64: suite-a
       suite-a.json:1: outcome: wanted returned, got engine
       replay: npx faultline run suite-a.json --arch arm64 --series mainline
ok   suite-b.json x86_64: suite-b
ok   suite-b.json arm64: suite-b
2 passed, 2 failed
`);
  expect(run.status).toBe(1);
});
