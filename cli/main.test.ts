// The exit codes, and what holds for the command line as a whole.
import { describe, expect, it } from 'vitest';
import { main, processIo } from './main.ts';
import { faultline } from './test-cli.ts';

const FIRST = 'fixtures/first-fault.yaml';
const SUITE = 'fixtures/golden/suite';

describe('exit codes', () => {
  it.each([
    [0, 'a scenario that is as expected', ['run', FIRST]],
    [0, 'an oops that is expected', ['run', 'fixtures/t09-no-program.yaml']],
    [0, 'a suite that passes', ['test', FIRST]],
    [
      0,
      'a suite of which nothing is for the architecture',
      ['test', `${SUITE}/differs.yaml`, '--arch', 'arm64'],
    ],
    [0, 'a batch of debugger commands', ['debug', FIRST, '--arch', 'arm64', '--batch', '-ex', 'c']],
    [0, 'a walk that ends in nothing', ['walk', FIRST, '0', '--arch', 'arm64']],
    [1, 'a scenario that differs', ['run', `${SUITE}/differs.yaml`]],
    [1, 'a suite that differs', ['test', `${SUITE}/differs.yaml`]],
    [
      1,
      'a debugged scenario that differs',
      ['debug', `${SUITE}/differs.yaml`, '--batch', '-ex', 'c'],
    ],
    [1, 'one differing file beside one that passes', ['test', `${SUITE}/differs.yaml`, FIRST]],
    [2, 'a suite with a file that cannot be used', ['test', SUITE]],
    [2, 'no command', []],
    [2, 'a wrong file', ['run', `${SUITE}/wrong.yaml`]],
    [0, 'help', ['--help']],
    [0, 'help of a command', ['help', 'test']],
    [0, 'help of a command, asked the other way', ['run', '--help']],
    [0, 'the version', ['--version']],
  ] as [number, string, string[]][])('%i for %s', async (exitCode, _what, argv) => {
    expect((await faultline(argv)).exitCode).toBe(exitCode);
  });

  it('1 for an oops, a halt and an endless loop that nobody expects', async () => {
    const files = {
      'oops.S': 'mov rax, [rdi]\nret\n',
      'halt.S': 'hlt\n',
      'loop.S': 'here: jmp here\n',
      'fine.S': 'xor eax, eax\nret\n',
    };
    const codes = await Promise.all(
      Object.keys(files).map((name) => faultline(['run', name, '--max-insns', '50'], { files })),
    );
    expect(codes.map(({ exitCode }) => exitCode)).toEqual([1, 1, 1, 0]);
  });
});

describe('a fault of ours', () => {
  it.each([[[]], [['--json']]])('is 3, with a stack trace on standard error (%s)', async (json) => {
    const printed = { stdout: '', stderr: '' };
    let writes = 0;
    const exitCode = await main(['decode', 'pf', '2', ...json], {
      ...processIo(),
      out(text) {
        if (writes++ === 0) throw new TypeError('we are wrong');
        printed.stdout += text;
      },
      err: (text) => {
        printed.stderr += text;
      },
    });
    expect(exitCode).toBe(3);
    expect(printed.stderr).toMatch(
      /^faultline: a fault of ours, please report it: TypeError: we are wrong\n +at /,
    );
    if (json.length === 0) expect(printed.stdout).toBe('');
    else expect(JSON.parse(printed.stdout).error).toMatchObject({ remedy: null });
  });
});

describe('options', () => {
  it('take the series from the command line before the file', async () => {
    const argv = ['run', 'fixtures/t25-scratched-page-mainline.yaml', '--arch', 'x86_64'];
    expect((await faultline(argv)).exitCode).toBe(0);
    const other = await faultline([...argv, '--series', 'v2', '--json']);
    expect(other.exitCode).toBe(1);
    expect(JSON.parse(other.stdout).series).toBe('v2');
  });

  it('share a suite out among shards, each file once', async () => {
    const whole = await faultline(['test', 'fixtures', '--filter', '/t0', '--json']);
    const scenarios = ({ stdout }: { stdout: string }): string[] =>
      JSON.parse(stdout).results.map(
        ({ scenario, arch }: Record<string, string>) => scenario + arch,
      );
    const parts = [];
    for (const i of [1, 2, 3]) {
      const argv = ['test', 'fixtures', '--filter', '/t0', '--shard', `${i}/3`, '--json'];
      parts.push(scenarios(await faultline(argv)));
    }
    expect(parts.flat().sort()).toEqual(scenarios(whole).sort());
    expect(Math.max(...parts.map(({ length }) => length))).toBeLessThanOrEqual(8);
  });

  it('leave folders out that are marked, unless they are named', async () => {
    const run = await faultline(['test', 'fixtures', '--arch', 'arm64', '--json']);
    const { failed, results } = JSON.parse(run.stdout);
    expect([run.exitCode, failed]).toEqual([0, 0]);
    expect(results.length).toBeGreaterThan(20);
    expect((await faultline(['test', 'fixtures/bad'])).exitCode).toBe(2);
  });

  it('read standard input where it is asked for', async () => {
    const asm = await faultline(['asm', '--file', '-', '--json'], { stdin: 'nop\nret\n' });
    expect(JSON.parse(asm.stdout).bytes).toBe('90c3');
  });

  it('give the same result from either assembler, or say which package is missing', async () => {
    const own = await faultline(['run', FIRST, '--json']);
    const gnu = await faultline(['run', FIRST, '--json', '--assembler', 'gnu']);
    if (gnu.exitCode === 2) {
      expect(gnu.stderr).toMatch(
        /^faultline: no GNU assembler for .* is installed\n {2}install binutils/,
      );
      return;
    }
    const faults = ({ stdout }: { stdout: string }) =>
      JSON.parse(stdout).results.map((result: { faults: unknown }) => result.faults);
    expect(faults(gnu)).toEqual(faults(own));
  });
});
