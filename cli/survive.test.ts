// Commands whose code takes their own process down: the aborts are real (test-reckless.ts), the process is a user's.
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

/** As in guard.test.ts: the library's translator aborts at both. */
const KILLERS = {
  x86_64: 'jmp 9f\n9: .byte 0xf0, 0x48, 0x0f, 0xa3, 0xc8',
  arm64: 'nop\n.inst 0x0e422c00',
};
const BYTES = { x86_64: 'f0480fa3c8', arm64: '002c420e' };

let folder: string;

beforeAll(() => {
  // Below the checkout, so that the bundle finds its packages.
  folder = mkdtempSync(join('node_modules', '.survive-test-'));
  const build = ['scripts/build.js', resolve(folder, 'dist'), 'cli/test-reckless.ts'];
  spawnSync(process.execPath, build, { stdio: 'inherit' });
  mkdirSync(join(folder, 'bin'));
  copyFileSync('bin/faultline.js', join(folder, 'bin/faultline.js'));
});

afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, content: string | object): string {
  const path = join(folder, name);
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

const kills = () =>
  file('kills.json', {
    name: 'kills',
    code: {
      x86_64: `mov [rdi], rdi\n${KILLERS.x86_64}\nret`,
      arm64: `str x0, [x0]\n${KILLERS.arm64}\nret`,
    },
    args: [{ arena: 0 }],
  });

function faultline(argv: readonly string[], input = '', env: Record<string, string> = {}) {
  const { status, signal, stdout, stderr } = spawnSync(
    process.execPath,
    [join(folder, 'bin/faultline.js'), ...argv],
    { input, env: { ...process.env, ...env }, encoding: 'utf8' },
  );
  return { status, signal, stdout, stderr };
}

describe('a command whose code takes the engine down', () => {
  it('tells its story to the end, once, without the library’s own words', () => {
    const { stdout, ...rest } = faultline(['run', kills()]);
    expect(rest).toEqual({ status: 1, signal: null, stderr: '' });
    for (const arch of ['x86_64', 'arm64'] as const) {
      expect(stdout.match(new RegExp(`^${arch}, series`, 'gm'))).toHaveLength(1);
      const end = new RegExp(
        `^engine: the engine aborts at this instruction at 0x[0-9a-f]+: ${BYTES[arch]}; 2 instr.*1 scratch`,
        'gm',
      );
      expect(stdout.match(end)).toHaveLength(1);
      expect(stdout).toMatch(
        new RegExp(`^replay: npx faultline run .*kills.json --arch ${arch} --series`, 'm'),
      );
    }
    expect(stdout.match(/^fault 1: write/gm)).toHaveLength(2);
  });

  it('prints its document', () => {
    const { stdout, status } = faultline(['run', kills(), '--arch', 'x86_64', '--json']);
    expect(status).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({
      outcome: 'engine',
      bytes: BYTES.x86_64,
      ip: expect.stringMatching(/^0x/),
      instructions: 2,
      replay: expect.stringMatching(/^npx faultline run .*kills\.json --arch x86_64/),
      faults: [{ page: 0, resolution: 'scratch' }],
    });
  });

  it('is any that runs code: walk, debug, explore', () => {
    const walk = faultline(['walk', kills(), '0xffffc90000000000', '--arch', 'x86_64']);
    expect(walk).toMatchObject({ status: 0, stderr: '' });
    expect(walk.stdout).toContain('not present');

    const batch = ['--batch', '-ex', 'stepi', '-ex', 'continue'];
    const debug = faultline(['debug', kills(), '--arch', 'arm64', ...batch]);
    expect(debug).toMatchObject({ status: 1, stderr: '' });
    expect(debug.stdout).toMatch(/^engine: the engine aborts .*: 002c420e; 2 instructions/m);

    const call = (code: string) => [{ call: { code: { x86_64: code } } }];
    const race = file('race.json', {
      arch: ['x86_64'],
      cpus: [call(`mov eax, 1\n${KILLERS.x86_64}`), call('ret')],
    });
    const explored = faultline(['explore', race]);
    expect(explored).toMatchObject({ status: 1, stderr: '' });
    expect(explored.stdout).toContain('outcome: wanted returned, got engine');
  });

  it('goes on behind what was typed before', () => {
    const typed = 'stepi\ncontinue\ninfo registers rip\nquit\n';
    const { stdout, ...rest } = faultline(['debug', kills(), '--arch', 'x86_64'], typed);
    expect(rest).toEqual({ status: 1, signal: null, stderr: '' });
    expect(stdout.match(/^=> .*mov qword ptr \[rdi\], rdi$/gm)).toHaveLength(1);
    expect(stdout).toMatch(/^engine: the engine aborts .*\n(?:.*\n)*rip +0x/m);
  });

  it.each([
    ['by a fault of the library', 'int 0x2b'],
    ['by exit()', 'int 0x2c'],
  ])('may do so %s', (_, code) => {
    const run = faultline(['run', file('other.S', `${code}\nret\n`)]);
    expect(run).toMatchObject({ status: 1, signal: null, stderr: '' });
    expect(run.stdout).toMatch(/^engine: the engine aborts .*: cd2[bc]; 0 instructions/m);
  });

  it('gives up at what dies in two ways', () => {
    const run = faultline(['run', file('flaky.S', 'int 0x2d\nret\n')]);
    expect(run).toMatchObject({ status: 3, signal: null, stdout: '' });
    expect(run.stderr).toMatch(/the engine died, but not in a plain run of the file/);
  });

  it('has a second process where it cannot leave a will', () => {
    const argv = ['run', kills(), '--arch', 'x86_64', '--json'];
    const other = faultline(argv, '', { FAULTLINE_NO_NATIVE: '1' });
    expect(other).toEqual(faultline(argv));
  });
});

it('leaves signals that somebody sends alone', () => {
  const endless = file('endless.json', {
    arch: ['x86_64'],
    code: { x86_64: '1: jmp 1b' },
    limits: { instructions: 'none' },
  });
  const run = spawnSync(process.execPath, [join(folder, 'bin/faultline.js'), 'run', endless], {
    timeout: 4000,
    killSignal: 'SIGABRT',
  });
  expect(run.signal).toBe('SIGABRT');
});
