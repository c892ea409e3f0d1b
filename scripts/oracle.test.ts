import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync, gzipSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { readCases, UsageError } from './oracle-lines.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'oracle-'));
afterAll(() => rmSync(directory, { recursive: true }));

const LINES = gunzipSync(readFileSync(join(ROOT, 'fixtures/oracle/x86-walk.jsonl.gz')))
  .toString('utf8')
  .split('\n')
  .slice(0, 3);

const ARM64_LINE = gunzipSync(readFileSync(join(ROOT, 'fixtures/oracle/arm64-walk.jsonl.gz')))
  .toString('utf8')
  .split('\n')[0];

function messageOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (error instanceof UsageError) return error.message;
    throw error;
  }
  return 'nothing';
}

const table = (line: { tables: object[] }, change: object) => ({
  ...line,
  tables: [{ ...line.tables[0], ...change }, ...line.tables.slice(1)],
});
const insn = (line: { access: object }, change: object) => ({
  ...line,
  access: { ...line.access, ...change },
});

function file(name: string, lines: readonly string[]): string {
  const path = join(directory, name);
  const text = `${lines.join('\n')}\n`;
  writeFileSync(path, name.endsWith('.gz') ? gzipSync(text) : text);
  return path;
}

function oracle(...args: string[]) {
  const tsx = join(ROOT, 'node_modules/tsx/dist/cli.mjs');
  const run = spawnSync(process.execPath, [tsx, join(ROOT, 'scripts/oracle.ts'), ...args], {
    encoding: 'utf8',
  });
  return { code: run.status, out: run.stdout, err: run.stderr };
}

describe('the oracle', () => {
  it('counts over files of both kinds, and writes answers in the files’ shape', () => {
    const answers = join(directory, 'answers');
    const run = oracle('--answers', answers, file('a.jsonl', LINES), file('b.jsonl.gz', LINES));
    expect(run).toEqual({ code: 0, out: 'agree 6, differ 0, skipped 0\n', err: '' });
    const written = readFileSync(answers, 'utf8').trimEnd().split('\n');
    const first = JSON.parse(LINES[0]);
    expect(JSON.parse(written[0])).toEqual({
      id: first.id,
      expect: first.expect,
      tables_after: first.tables_after,
    });
    expect(written).toHaveLength(6);
  });

  it('shows what differs and exits 1', () => {
    const wrong = { ...JSON.parse(LINES[0]), expect: { fault: null, pa: '0x1' } };
    const path = file('wrong.jsonl', [JSON.stringify(wrong), LINES[1]]);
    const run = oracle(path);
    expect(run.code).toBe(1);
    expect(run.out).toContain(wrong.id);
    expect(run.out.trimEnd().endsWith('agree 1, differ 1, skipped 0')).toBe(true);
    const json = oracle('--json', path);
    expect(json.code).toBe(1);
    expect(JSON.parse(json.out)).toMatchObject({
      agree: 1,
      differ: 1,
      skipped: 0,
      differences: [{ id: wrong.id }],
    });
  });

  it('runs cases on a vCPU, with the same answers', () => {
    const path = file('cpu.jsonl', LINES);
    const [walked, ran] = [join(directory, 'walked'), join(directory, 'ran')];
    expect(oracle('--answers', walked, path).code).toBe(0);
    const run = oracle('--through', 'cpu', '--answers', ran, path);
    expect(run).toEqual({ code: 0, out: 'agree 3, differ 0, skipped 0\n', err: '' });
    expect(readFileSync(ran, 'utf8')).toBe(readFileSync(walked, 'utf8'));
  });

  it('counts apart what a vCPU cannot make, and exits 1 if that is too much', () => {
    const odd = JSON.parse(LINES[0]);
    odd.access.size = 3;
    const path = file('odd.jsonl', [JSON.stringify(odd), LINES[1]]);
    const run = oracle('--through', 'cpu', path);
    expect(run.code).toBe(1);
    expect(run.out).toBe(
      `unreached 1: no instruction for ${odd.access.kind} 3\nagree 1, differ 0, skipped 1\n`,
    );
    const json = JSON.parse(oracle('--through', 'cpu', '--json', path).out);
    expect(json).toMatchObject({ skipped: 1, unreached: expect.anything() });
  });

  it('scores cycle cases, and counts those without an answer', () => {
    const block = {
      id: 'x#unroll',
      arch: 'x86_64',
      cat: 'alu',
      bytes: '4801d8',
      mode: 'unroll',
      cycles_per_iter: 1,
    };
    const lines = [block, { id: 'y', mode: 'unroll', cycles_per_iter: 1 }];
    const path = file(
      'cycles.jsonl',
      lines.map((line) => JSON.stringify(line)),
    );
    const run = oracle('--json', path);
    expect(run.code).toBe(1);
    const document = JSON.parse(run.out);
    expect(document).toMatchObject({ agree: 1, differ: 1, skipped: 0 });
    expect(document.cycles).toContainEqual(expect.objectContaining({ category: 'core', n: 1 }));
    expect(oracle(path).out).toMatch(/^core +1 +0\.0%/m);
  });

  it('answers a case that expects nothing, and says that it compared nothing', () => {
    const { expect: _, tables_after, tables_after_binding, ...bare } = JSON.parse(LINES[0]);
    const answers = join(directory, 'bare');
    const run = oracle('--answers', answers, file('bare.jsonl', [JSON.stringify(bare)]));
    expect(run).toMatchObject({ code: 1, err: '' });
    expect(run.out).toBe(
      `${bare.id}: skipped, the line expects nothing\nagree 0, differ 0, skipped 1\n`,
    );
    expect(JSON.parse(readFileSync(answers, 'utf8'))).toMatchObject({
      id: bare.id,
      tables_after,
    });
  });

  it('writes an answer for every case, also for one that a vCPU cannot make', () => {
    const odd = JSON.parse(LINES[0]);
    odd.access.size = 3;
    const answers = join(directory, 'odd-answers');
    oracle('--through', 'cpu', '--answers', answers, file('odd.jsonl', [JSON.stringify(odd)]));
    expect(JSON.parse(readFileSync(answers, 'utf8'))).toMatchObject({ id: odd.id, expect: null });
  });

  const [X86, ARM64] = [LINES[0], ARM64_LINE].map((line) => JSON.parse(line));
  it.each([
    ['a line that is no object', '42', /bad.jsonl:2: this kind of case is not known/],
    ['null', 'null', /bad.jsonl:2: this kind/],
    ['half a line', LINES[0].slice(0, 100), /bad.jsonl:2: .*one case in JSON/],
    ['no id', { ...X86, id: undefined }, /bad.jsonl:2: id: /],
    [
      'an unknown kind',
      { ...X86, access: { ...X86.access, kind: 'peek' } },
      /access.kind: .*"rmw"/,
    ],
    ['a number for an address', { ...X86, access: { ...X86.access, va: 4096 } }, /access.va: /],
    ['65 bits', { ...X86, cr3: '0x10000000000000000' }, /cr3: must be a hex string of at most 64/],
    ['a size of 0', { ...X86, access: { ...X86.access, size: 0 } }, /access.size: /],
    ['half a byte', { ...X86, access: { ...X86.access, size: 1.5 } }, /access.size: /],
    ['CPL 7', { ...X86, cpl: 7 }, /cpl: /],
    ['an entry out of its table', table(X86, { index: 512 }), /tables.0.index: /],
    ['a table between frames', table(X86, { pa: '0x1000008' }), /tables.0.pa: .*4096/],
    ['a table beyond RAM', table(X86, { pa: '0x1000000000' }), /tables.0.pa: .*272 MiB/],
    ['an unknown step', { ...X86, steps_before: [{ op: 'wait' }] }, /steps_before.0.op: /],
    ['no tables', { ...X86, tables: null }, /tables: /],
    ['an unknown CPU', { ...ARM64, cpu: 'z80' }, /cpu: .*"neoverse-n1"/],
    ['an unknown instruction', insn(ARM64, { insn: 'wfi' }), /access.insn: /],
    ['a size that no instruction has', insn(ARM64, { size: 5 }), /access.size: /],
    ['EL3', { ...ARM64, el: 3 }, /el: /],
    ['neither access nor steps', { ...ARM64, access: undefined }, /either "access" or "steps"/],
    ['a descriptor beyond RAM', table(ARM64, { pa: '0x0' }), /tables.0.pa: .*0x40000000/],
  ])('refuses %s, with the line, the field and what should stand there', (_, bad, wanted) => {
    const text = typeof bad === 'string' ? bad : JSON.stringify(bad);
    const path = file('bad.jsonl', [LINES[0], text]);
    const told = messageOf(() => readCases(path));
    expect(told).toMatch(wanted);
    expect(told).toMatch(/bad\.jsonl:2: /);
    expect(told).not.toContain('\n');
  });

  it.each([
    ['no file', []],
    ['a file that is no JSON', [file('text.jsonl', ['hello'])]],
    ['a number that is none', [file('nan.jsonl', [LINES[0].replace('"cr3":"0x', '"cr3":"0y')])]],
    ['a size of 0', [file('zero.jsonl', [LINES[0].replace(/"size": ?[0-9]+/, '"size":0')])]],
    ['no paging', [file('real.jsonl', [LINES[0].replace(/"cr0": ?"[^"]*"/, '"cr0":"0x33"')])]],
    ['a way through that there is not', ['--through', 'kvm', file('way.jsonl', LINES)]],
    ['a kind of case that is not known', [file('other.jsonl', ['{"id": "x", "answer": 42}'])]],
  ])('exits 2 for %s, with one line of reason', (_, args) => {
    const run = oracle(...args);
    expect(run.code).toBe(2);
    expect(run.out).toBe('');
    expect(run.err.trimEnd().split('\n')).toHaveLength(1);
  });
});
