// `run --report`: what the page holds of runs of every kind, and what becomes of files that cannot be written.
import {
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { faultline } from './test-cli.ts';

const folder = mkdtempSync(join(tmpdir(), 'faultline-report-'));
afterAll(() => rmSync(folder, { recursive: true }));

const FIRST = 'fixtures/first-fault.yaml';

let files = 0;
/** Runs with `--report`. @returns the page, and what was printed */
async function report(argv: readonly string[], world = {}) {
  const path = join(folder, `${files++}.html`);
  const run = await faultline(['run', ...argv, '--report', path], world);
  return { page: readFileSync(path, 'utf8'), ...run };
}

/** Text of a page without its markup. */
const textOf = (page: string): string =>
  page
    .replace(/<(style|script)>.*?<\/\1>/gs, '')
    .replaceAll(/<[^>]*>/g, ' ')
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&amp;', '&')
    .replaceAll(/\s+/g, ' ');

describe('the page of a run', () => {
  it('tells of one fault all that the story tells, with costs that sum to the whole', async () => {
    const { page, stdout, exitCode } = await report([FIRST, '--arch', 'x86_64']);
    expect(exitCode).toBe(0);
    const text = textOf(page);
    for (const [, fn] of stdout.matchAll(/^ {4}([a-z_]+) {2}/gm)) expect(text).toContain(fn);
    for (const [, table, index, entry] of stdout.matchAll(/(0x\w+)\[(\d+)\] +(0x\w+)/g)) {
      expect(text).toMatch(new RegExp(`${table} ${index} 0x\\w+ ${entry}`));
    }
    expect(text).toContain('0xffffc90001e6a000');
    expect(text).toContain(
      'npx faultline run fixtures/first-fault.yaml --arch x86_64 --series mainline',
    );
    expect(text).toContain('ERROR: Arena WRITE access at unmapped address 0x7f0000001000');
    const [, path] = /<table class="path">(.*?)<\/table>/s.exec(page)!;
    const cells = [...path.matchAll(/<td class="num">([\d,]*)<\/td>/g)].map(([, cell]) =>
      Number(cell.replaceAll(',', '')),
    );
    const whole = cells.pop()!;
    expect(cells.reduce((sum, cell) => sum + cell)).toBe(whole);
    expect(whole).toBeGreaterThan(2000);
  });

  it('is the same bytes every time', async () => {
    const [one, other] = [await report([FIRST]), await report([FIRST])];
    expect(other.page).toBe(one.page);
  });

  it('has a run for each architecture, and is printed beside what is printed anyway', async () => {
    const { page, stdout } = await report([FIRST]);
    expect(page.match(/<article /g)).toHaveLength(2);
    expect(stdout).toBe((await faultline(['run', FIRST])).stdout);
  });

  it('goes with --json', async () => {
    const { page, stdout } = await report([FIRST, '--json']);
    expect(JSON.parse(stdout).passed).toBe(2);
    expect(page.match(/<article /g)).toHaveLength(2);
  });

  it('counts time in instructions where cycles are not counted', async () => {
    const { page } = await report([FIRST, '--cost', 'off']);
    expect(textOf(page)).toContain('Fault timeline in instructions');
    expect(page).not.toContain('<svg class="flame"');
  });

  it('is right about faults that its finer grain counts', async () => {
    const { page } = await report([FIRST, '--cost', 'exact', '--arch', 'arm64']);
    expect(textOf(page)).toMatch(/grain exact preset neoverse-n1/);
  });

  it('shows an oops, what differs, and a run without faults', async () => {
    const oops = await report(['fixtures/t09-no-program.yaml', '--arch', 'x86_64']);
    expect(textOf(oops.page)).toContain('BUG: unable to handle page fault');
    const differs = await report(['fixtures/golden/suite/differs.yaml']);
    expect(differs.exitCode).toBe(1);
    expect(textOf(differs.page)).toContain('not as expected');
    const plain = await report(['plain.S'], { files: { 'plain.S': 'xor eax, eax\nret\n' } });
    expect(textOf(plain.page)).toContain('No access faulted.');
    const halt = await report(['halt.S'], { files: { 'halt.S': 'nop\nhlt\n' } });
    expect(textOf(halt.page)).toMatch(/outcome halted why hlt at 0xffffffff81100041/);
  });

  it('tells several CPUs by the steps of their schedule', async () => {
    const { page } = await report(['fixtures/races/fault-alloc.yaml', '--arch', 'x86_64']);
    expect(textOf(page)).toContain('Fault timeline in steps of the schedule');
  });

  it('tells what was allocated, freed and scratched', async () => {
    const scenario = `
name: pages
arch: [arm64]
arena: {alloc: [[0, 1], [4, 3]], user_vm_start: 0x7f0000003000, pages: 64}
steps:
  - free: {page: 4, count: 2}
  - call: {code: {arm64: "str x1, [x0]\\nret"}, args: [{arena: 0x5000}, 1]}
`;
    const { page } = await report(['pages.yaml'], { files: { 'pages.yaml': scenario } });
    const text = textOf(page);
    expect(text).toMatch(/allocated 2 scratch 1, pfn 0x1234 freed 2/);
    // Page 5 of the band was never a program's: user_vm_start lies at page 3, so slots 4 to 6 are pages 7 to 9.
    expect(text).toMatch(/3 3 1 allocated 0 0x\w+ 0x7f0000003000 0/);
    expect(text).toMatch(/5 5 1 scratch 1 0x\w+ 0x7f0000005000 2/);
    expect(text).toMatch(/7 8 2 freed 0 0x\w+ 0x7f0000007000 4/);
    expect(text).toMatch(/9 9 1 allocated 0 0x\w+ 0x7f0000009000 6/);
  });
});

describe('text of others', () => {
  it('cannot become markup, wherever it stands', async () => {
    const evil = '</script></style></title>"><img src=x onerror=alert(1)>\u202e';
    const text = JSON.stringify(evil);
    const scenario = `
name: ${text}
arch: [x86_64]
steps:
  - call: {code: {x86_64: "mov [rdi], rsi # <img src=y>\\nret"}, args: [{arena: 0}, 1]}
    expect: {stderr: ${text}}
  - stream: {print: ${text}, count: 1}
`;
    const file = 'a<img src=z>.yaml';
    const { page } = await report([file], { files: { [file]: scenario } });
    expect(page).toContain('&lt;img src=x onerror=alert(1)&gt;\\u202e');
    expect(page).not.toMatch(/<img|\u202e/);
    expect(page.match(/<\/script>/g)).toHaveLength(1);
    expect(page.match(/<\/style>/g)).toHaveLength(1);
  });
});

describe('a run of very many faults', () => {
  it('is cut, with the number of what was cut, and aggregated', async () => {
    const scenario = `
name: many
arch: [x86_64]
code:
  x86_64: "mov ecx, 16384\\n1: mov [rdi], rcx\\nadd rdi, 4096\\ndec ecx\\njnz 1b\\nret"
args: [{arena: 0x100000}]
`;
    const { page } = await report(['many.yaml'], { files: { 'many.yaml': scenario } });
    expect(page.length).toBeLessThan(1_000_000);
    const text = textOf(page);
    expect(text).toContain('… and 16,128 more faults');
    expect(text).toContain('16,384 (16,384 scratch)');
    expect(text).toMatch(/255 more rows like it, to page 16,639; 16,320 faults/);
  });
});

describe('a file that cannot be written', () => {
  it.each([
    [folder, 'is a directory'],
    [join(folder, 'none', 'out.html'), 'there is no folder'],
    ['', 'no file is named'],
  ])('%j: %s, exit code 2, before anything runs', async (path, why) => {
    const { exitCode, stderr, stdout } = await faultline(['run', FIRST, '--report', path]);
    expect(exitCode).toBe(2);
    expect(stderr).toContain(why);
    expect(stdout).toBe('');
  });

  it.each([
    // Longer than a file's name may be: told at the first look.
    join(folder, 'x'.repeat(300)),
    // A folder where nobody can make a file: told when the page is written.
    '/proc/out.html',
  ])('%s: is told, and nothing half-written is left', async (path) => {
    const { exitCode, stderr } = await faultline(['run', FIRST, '--report', path]);
    expect(exitCode).toBe(2);
    expect(stderr).toContain('cannot be written');
    expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });

  it('is written to and not replaced if it is a device; a link is followed', async () => {
    expect((await faultline(['run', FIRST, '--report', '/dev/null'])).exitCode).toBe(0);
    expect(statSync('/dev/null').isCharacterDevice()).toBe(true);
    const [real, link] = [join(folder, 'real.html'), join(folder, 'link.html')];
    writeFileSync(real, '');
    symlinkSync(real, link);
    expect((await faultline(['run', FIRST, '--report', link])).exitCode).toBe(0);
    expect(lstatSync(link).isSymbolicLink()).toBe(true);
    expect(readFileSync(real, 'utf8')).toContain('<!DOCTYPE html>');
  });

  it('replaces the page that was there', async () => {
    const path = join(folder, 'again.html');
    await faultline(['run', FIRST, '--arch', 'x86_64', '--report', path]);
    const { size } = statSync(path);
    await faultline(['run', FIRST, '--report', path]);
    expect(statSync(path).size).toBeGreaterThan(size);
  });
});
