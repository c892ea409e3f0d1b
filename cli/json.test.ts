// `--json`: the documents have the keys and spellings that the scenario format's description promises, and nothing else
// is printed beside them.
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { faultline } from './test-cli.ts';
import { hex, runDocument, step, testDocument } from './test-documents.ts';

const ARCHS = ['x86_64', 'arm64'] as const;
const FIRST = 'fixtures/first-fault.yaml';

/** The one document that a command prints. */
async function documentOf(argv: string[], files?: Record<string, string>) {
  const { stdout, ...rest } = await faultline([...argv, '--json'], { files });
  return { document: JSON.parse(stdout), ...rest };
}

const steps = `
name: every kind of step
arch: [x86_64, arm64]
arena: {pages: 16, alloc: [[0, 1]]}
steps:
  - alloc: {page: 1, count: 1}
  - alloc: {page: 1, count: 1}
  - free: {page: 1, count: 1}
  - reserve: {page: 2, count: 1}
  - reserve: {page: 2, count: 1}
  - user: {page: 0, access: write, value: 7}
  - user: {page: 0, access: read}
  - pte: {page: 0}
  - pte: {page: 3}
  - call:
      code: {x86_64: "mov rax, [rdi]\\nret", arm64: "ldr x0, [x0]\\nret"}
      args: [{arena: 0x5000}]
  - stream: {read: 16}
  - stream: {print: "hello\\n"}
  - free: {page: 0, count: 1, sleepable: false}
  - worker: {}
  - create: {pages: 0}
  - call:
      code: {x86_64: "mov rax, [rdi]\\nret", arm64: "ldr x0, [x0]\\nret"}
      args: [{arena: -0x1000}]
    expect: {outcome: oops}
  - destroy: {}
`;

describe('the document of a run', () => {
  it.each(ARCHS)('has what the format promises (%s)', async (arch) => {
    const { document, exitCode, stderr } = await documentOf(['run', FIRST, '--arch', arch]);
    expect([exitCode, stderr]).toEqual([0, '']);
    runDocument.parse(document);
    expect(document).toMatchObject({
      scenario: FIRST,
      name: 'a kfunc writes past what the program allocated',
      arch,
      series: 'mainline',
      pass: true,
      outcome: 'returned',
      ret: '0x0',
      kbase: { x86_64: '0xffffc90001e69000', arm64: '0xffff800081008000' }[arch],
      instructions: 3,
      oops: null,
      failures: [],
      replay: `npx faultline run ${FIRST} --arch ${arch} --series mainline`,
    });
    expect(document.faults).toMatchObject([
      {
        cpu: 0,
        ip: { x86_64: '0xffffffff81100040', arm64: '0xffff800080100040' }[arch],
        addr: { x86_64: '0xffffc90001e6a000', arm64: '0xffff800081009000' }[arch],
        page: 1,
        access: 'write',
        code: { x86_64: '0x2', arm64: '0x96000047' }[arch],
        resolution: 'scratch',
      },
    ]);
    const fields = document.faults[0].decoded;
    if (arch === 'x86_64') expect(fields).toMatchObject({ P: '0x0', 'W/R': '0x1', 'U/S': '0x0' });
    else expect(fields).toMatchObject({ EC: '0x25', ISS: { WnR: '0x1', DFSC: '0x7' } });
    expect(document.streams.stderr).toMatch(
      /^ERROR: Arena WRITE access at unmapped address 0x7f00/,
    );
  });

  it('is the document of a test for a file with two architectures', async () => {
    const { document } = await documentOf(['run', FIRST]);
    testDocument.parse(document);
    expect(document).toMatchObject({ passed: 2, failed: 0, skipped: 0 });
    const both = await documentOf(['test', FIRST]);
    expect(both.document).toEqual(document);
  });

  it('is replayed by its own replay line', async () => {
    const files = { 'read.S': 'nop\nhere: mov rax, [rdi]\nret\n' };
    const argv = ['run', 'read.S', '--symbol', 'here', '--args', 'arena:0x10,-2', '--alloc', '3:2'];
    const { document } = await documentOf([...argv, '--arena-pages', '9', '--series', 'v2'], files);
    const words = document.replay.split(' ');
    expect(words.slice(0, 3)).toEqual(['npx', 'faultline', 'run']);
    expect((await documentOf(words.slice(2), files)).document).toEqual(document);
  });

  it('has page null outside every arena, also in the lower guard', async () => {
    for (const file of ['t06-lower-guard', 't40-null-dereference']) {
      const { document } = await documentOf(['run', `fixtures/${file}.yaml`]);
      for (const result of document.results) {
        runDocument.parse(result);
        expect(result.faults.map(({ page }: { page: unknown }) => page)).toEqual([null]);
      }
    }
  });

  it('counts pages in the arena that contains the address', async () => {
    const { document } = await documentOf(['run', 'fixtures/t11-other-arena.yaml']);
    for (const result of document.results) expect(result.faults[0].page).toBe(0);
  });

  it('keeps the report of an oops, line by line', async () => {
    const argv = ['run', 'fixtures/t09-no-program.yaml', '--arch', 'x86_64'];
    const { document } = await documentOf(argv);
    runDocument.parse(document);
    expect(document).toMatchObject({ outcome: 'oops', ret: null, pass: true });
    expect(document.oops[0]).toBe('BUG: unable to handle page fault for address: ffffc90028069123');
    expect(document.oops.join('')).not.toContain('\n');
  });

  it('names the key of each failure first', async () => {
    const files = {
      'wrong.yaml': `
name: differs in everything
arch: x86_64
arena: {alloc: [[0, 1]]}
code: {x86_64: "mov [rdi], rsi\\nret"}
args: [{arena: 0x1000}, {buffer: "00"}]
expect:
  outcome: oops
  ret: 5
  faults: [{page: 2, access: read, resolution: kfence}]
  memory: [{offset: 0, hex: "00"}, {offset: 0, hex: "ff"}]
  buffers: [{arg: 1, hex: "01"}]
  registers: {x86_64: {rsi: 0}}
  stderr: "nothing"
  oops: ["BUG: "]
`,
    };
    const { document, exitCode } = await documentOf(['run', 'wrong.yaml'], files);
    expect(exitCode).toBe(1);
    runDocument.parse(document);
    const keys = document.failures.map((one: { expect: string }) => one.expect);
    expect(keys).toEqual(
      expect.arrayContaining(['outcome', 'ret', 'memory[1]', 'buffers[0]', 'stderr', 'oops']),
    );
    expect(keys).toContainEqual(expect.stringMatching(/^faults\[0\]\.(page|access)/));
    expect(keys).toContainEqual(expect.stringMatching(/^registers/));
    expect(keys).not.toContain('memory[0]');
  });

  it('tells why the code could not go on', async () => {
    const files = { 'stop.S': 'nop\nud2\n', 'loop.S': 'here: jmp here\n' };
    const stop = await documentOf(['run', 'stop.S'], files);
    const loop = await documentOf(['run', 'loop.S', '--max-insns', '100'], files);
    for (const { document, exitCode } of [stop, loop]) {
      runDocument.parse(document);
      expect(exitCode).toBe(1);
    }
    const ip = '0xffffffff81100041';
    expect(stop.document).toMatchObject({ outcome: 'halted', why: '#UD', ip, ret: null });
    expect(loop.document).toMatchObject({ outcome: 'budget', instructions: 100 });
  });
});

describe('the document of steps', () => {
  it.each(ARCHS)('has one of each step, in order (%s)', async (arch) => {
    const files = { 'steps.yaml': steps };
    const { document, exitCode } = await documentOf(['run', 'steps.yaml', '--arch', arch], files);
    expect(document.failures).toEqual([]);
    expect(exitCode).toBe(0);
    runDocument.parse(document);
    for (const [i, one] of document.steps.entries()) {
      expect(step.safeParse(one).error?.message, `steps[${i}]`).toBeUndefined();
    }
    expect(document.steps).toMatchObject([
      { step: 'alloc', result: { page: 1 }, line: 6 },
      { step: 'alloc', result: null },
      { step: 'free', freed: 1 },
      { step: 'reserve', result: 0 },
      { step: 'reserve', result: '-EBUSY' },
      { step: 'user', result: 'ok' },
      { step: 'user', result: 'ok', value: '0x7' },
      { step: 'pte', kind: 'page' },
      { step: 'pte', kind: 'none', value: '0x0' },
      { step: 'call', outcome: 'returned', faults: [{ page: 5, resolution: 'scratch' }] },
      { step: 'streamRead', result: 0, bytes: 16 },
      { step: 'streamPrint', result: 0, bytes: 6 },
      { step: 'free', freed: 0 },
      { step: 'worker', freed: 1 },
      { step: 'create', result: '-EINVAL' },
      { step: 'call', outcome: 'oops', ret: null, faults: [{ page: null }] },
      { step: 'destroy', leaked: 0 },
    ]);
    // The whole run: its first bad outcome, its last call, and all faults and streams.
    const calls = document.steps.filter(({ step: kind }: { step: string }) => kind === 'call');
    expect(document).toMatchObject({ outcome: 'oops', ret: null, pass: true });
    expect(document.faults).toEqual([...calls[0].faults, ...calls[1].faults]);
    expect(document.oops).toEqual(calls[1].oops);
    expect(document.registers).toEqual(calls[1].registers);
    expect(document.instructions).toBe(calls[0].instructions + calls[1].instructions);
  });

  it('has the failures of every step, by step', async () => {
    const { document } = await documentOf(['run', 'fixtures/golden/suite/differs.yaml']);
    runDocument.parse(document);
    expect(document.pass).toBe(false);
    expect(document.failures.map((one: { expect: string }) => one.expect)).toEqual([
      'steps[0].ret',
      'steps[0].faults[0].access',
      'steps[0].stderr',
      'steps[1].result',
    ]);
    expect(document.steps[1].failures).toEqual([
      { expect: 'result', wanted: 'null', got: '{page: 2}' },
    ]);
  });
});

describe('the document of a test', () => {
  it('has every file, also one that cannot be used', async () => {
    const argv = ['test', 'fixtures/golden/suite'];
    const { document, exitCode } = await documentOf(argv);
    testDocument.parse(document);
    expect(exitCode).toBe(2);
    expect(document).toMatchObject({ passed: 2, failed: 2, skipped: 0 });
    expect(document.results.at(-1)).toMatchObject({ pass: false, status: 'failed' });
    const reported = await faultline([...argv, '--reporter', 'json']);
    expect(JSON.parse(reported.stdout)).toEqual(document);
  });

  it('has files for another architecture as skipped', async () => {
    const { document } = await documentOf([
      'test',
      'fixtures/golden/suite/differs.yaml',
      '--arch',
      'arm64',
    ]);
    expect(document).toMatchObject({ passed: 0, failed: 0, skipped: 1 });
    expect(document.results).toMatchObject([{ status: 'skipped', why: 'not for arm64' }]);
  });
});

describe('other documents', () => {
  it.each([
    ['walk', ['walk', FIRST, '0xffff800081009000', '--arch', 'arm64']],
    ['debug', ['debug', FIRST, '--arch', 'x86_64', '--batch', '-ex', 'info registers']],
    ['decode', ['decode', 'esr', '0x96000047']],
    ['asm', ['asm', 'x: jmp x']],
    ['disasm', ['disasm', '90c3']],
    ['schema', ['schema']],
    ['setup', ['setup']],
    ['doctor', ['doctor']],
  ] as [string, string[]][])('%s prints one and nothing else', async (_name, argv) => {
    const { document, exitCode, stderr } = await documentOf(argv);
    expect(typeof document).toBe('object');
    expect([exitCode, stderr]).toEqual([0, '']);
  });

  it('walk has every level and what it comes to', async () => {
    const argv = ['walk', FIRST, '0xffffc90001e6a010', '--arch', 'x86_64'];
    const { document } = await documentOf(argv);
    const level = z.strictObject({
      level: z.enum(['PML4', 'PDPT', 'PD', 'PT']),
      table: hex,
      index: z.int().min(0).max(511),
      entryAddr: hex,
      entry: hex,
      bits: z.string(),
      verdict: z.string(),
    });
    const entry = z.strictObject({
      ...{ va: hex, size: hex, pa: hex.nullable() },
      rights: z.string(),
      global: z.boolean(),
      pcid: z.int(),
      answers: z.boolean(),
      stale: z.enum(['gone', 'moved', 'rights']).nullable(),
    });
    z.strictObject({
      va: hex,
      ok: z.boolean(),
      pa: hex.nullable(),
      code: hex.nullable(),
      verdict: z.string(),
      policies: z.array(z.string()),
      tlb: z.tuple([z.strictObject({ cpu: z.literal(0), entries: z.tuple([entry]) })]),
      levels: z.array(level).length(4),
    }).parse(document);
    expect(document).toMatchObject({ ok: true, pa: '0x1234010', code: null });
    const fetch = await documentOf([...argv, '--access', 'fetch']);
    expect(fetch.document).toMatchObject({ ok: false, pa: null, code: '0x11' });
  });

  it('decode has the fields, nested', async () => {
    const { document } = await documentOf(['decode', 'esr', '0x96000047']);
    expect(document).toMatchObject({ what: 'esr', value: '0x96000047' });
    const iss = document.fields.find(({ name }: { name: string }) => name === 'ISS');
    expect(iss.fields).toContainEqual({ name: 'WnR', bits: '6', value: '0x1', meaning: 'write' });
  });

  it("asm and disasm are each other's inverse", async () => {
    const text = 'mov rax, qword ptr [rdi + 0x1000]; xor ecx, ecx; ret';
    const { document } = await documentOf(['asm', text]);
    const back = await documentOf(['disasm', document.bytes]);
    expect(back.document.map(({ text: one }: { text: string }) => one).join('; ')).toBe(text);
  });

  it('debug ends with the error of a wrong command, in the same document', async () => {
    const argv = ['debug', FIRST, '--arch', 'arm64', '--batch', '-ex', 'p $sp', '-ex', 'bogus'];
    const { document, exitCode } = await documentOf(argv);
    expect(exitCode).toBe(2);
    expect(document).toMatchObject({
      scenario: FIRST,
      arch: 'arm64',
      pass: true,
      error: { message: 'unknown command: bogus', remedy: "try 'help'" },
    });
    expect(document.lines[1]).toMatch(/^\$1 = 0xffff8/);
  });
});
