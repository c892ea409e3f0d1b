// What `faultline decode oops` makes of logs; and the way round: an oops that our own model printed decodes to what it
// was, and the scenario made of it ends in the same oops.
import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import type { RunHost } from '../testbed/run.ts';
import { runYaml } from '../testbed/test-run.ts';
import { loadHost } from './host.ts';
import { faultline } from './test-cli.ts';

const KBASE = { x86_64: '0xffffc90001e69000', arm64: '0xffff800081008000' } as const;
type Arch = keyof typeof KBASE;

interface Report {
  readonly arch: Arch;
  readonly addr: string;
  readonly access: string;
  readonly code: string;
  readonly programs: readonly string[];
  readonly walk: readonly { name: string; level: string; value: string }[];
  readonly recovery: Record<string, unknown> | null;
  readonly scenario: string;
  readonly explained: readonly { readonly text: string; readonly function: string }[];
}

async function decode(log: string, ...options: string[]): Promise<Report[]> {
  const run = await faultline(['decode', 'oops', '--json', '--explain', ...options], {
    stdin: log,
  });
  expect([run.exitCode, run.stderr]).toEqual([0, '']);
  return JSON.parse(run.stdout).reports;
}

let host: RunHost;
beforeAll(async () => {
  host = await loadHost();
});

const OWN = [
  ['t06-lower-guard', 'lower guard', false],
  ['t09-no-program', 'arena', true],
  ['t10-innermost-without-arena', 'arena', true],
  ['t13-unwinder-none', 'arena', true],
  ['t15-read-only-page-x86', 'arena', true],
  ['t17-fetch', 'arena', true],
  ['t18-read-only-page-arm64', 'arena', true],
  ['t19-access-flag', 'arena', true],
  ['t40-null-dereference', 'outside', false],
] as const;

describe.each(OWN)('the oops of %s', (name, zone, inRange) => {
  it('decodes to what it was, and its scenario ends as it did', async () => {
    const text = readFileSync(`fixtures/${name}.yaml`, 'utf8');
    const archs = (['x86_64', 'arm64'] as const).filter((arch) =>
      /^arch: (.*)$/m.exec(text)?.[1].includes(arch),
    );
    for (const arch of archs) {
      const { log, steps, events } = runYaml(host, text, arch);
      const call = steps.findLast(({ seen }) => seen.kind === 'call')?.seen;
      if (call?.kind !== 'call') throw new Error('no call');
      const fault = call.faults.at(call.faults.length - 1);
      const stamped = log.map((line, i) => `[   12.${345678 + i}] ${line}`).join('\r\n');
      const [report, ...others] = await decode(stamped, '--kbase', KBASE[arch]);
      expect(others).toEqual([]);
      const said = events.flat().flatMap((event) => (event.type === 'printk' ? [event] : []));
      const end = said.findIndex(({ text }) => text.includes('end trace'));
      expect(report.explained.map(({ text, function: by }) => [text, by])).toEqual(
        said.slice(0, end + 1).map(({ text, by }) => [text.trim(), by]),
      );
      expect(report).toMatchObject({
        arch,
        addr: `0x${fault.addr.toString(16)}`,
        access: fault.access,
        code: `0x${fault.code.toString(16)}`,
        recovery: { zone, in_range: inRange },
      });
      // The log does not tell that the innermost program had no arena, or that there was no unwinder.
      if (name === 't10-innermost-without-arena' || name === 't13-unwinder-none') continue;
      expect(runYaml(host, report.scenario, arch).failures).toEqual([]);
    }
  });
});

describe('a log of a real kernel', () => {
  it('is told with its tables, the range and a scenario', async () => {
    const { exitCode, stdout } = await faultline([
      ...['decode', 'oops', 'fixtures/logs/x86-dmesg.log', '--kbase', KBASE.x86_64],
    ]);
    expect(exitCode).toBe(0);
    await expect(stdout).toMatchFileSnapshot('../fixtures/logs/x86-dmesg.txt');
  });

  it('of arm64 as well', async () => {
    const { exitCode, stdout } = await faultline([
      'decode',
      'oops',
      'fixtures/logs/arm64-console.log',
    ]);
    expect(exitCode).toBe(0);
    await expect(stdout).toMatchFileSnapshot('../fixtures/logs/arm64-console.txt');
  });

  it('tells the programs in the trace and where the address lies', async () => {
    const [report] = await decode(
      readFileSync('fixtures/logs/arm64-console.log', 'utf8'),
      '--kbase',
      KBASE.arm64,
    );
    expect(report.programs).toEqual(['sum_it']);
    expect(report.recovery).toEqual({
      kbase: KBASE.arm64,
      offset: '0x26201ff8',
      page: 0x26201,
      zone: 'arena',
      in_range: true,
      not_present: true,
    });
    expect(report.walk.map(({ level }) => level)).toEqual([
      ...['level 0', 'level 0', 'level 1', 'level 2', 'level 3'],
    ]);
  });
});

describe('what is wrong', () => {
  it.each([
    ['', [], 'standard input: holds no page-fault oops'],
    ['\u0000\ufffd junk', [], 'standard input: holds no page-fault oops'],
    ['', ['no-such.log'], 'no-such.log: no such file or directory'],
    ['', ['--kbase', 'abc'], '--kbase: abc is no 64-bit number'],
    ['', ['--kbase', '0x1000'], '--kbase: 0x1000 cannot be a kern_vm_start'],
    ['', ['--level', 'PT'], '--level says nothing about oops'],
  ])('%j %j is refused with a remedy', async (stdin, options, message) => {
    const run = await faultline(['decode', 'oops', ...options], { stdin });
    expect([run.exitCode, run.stdout]).toEqual([2, '']);
    const [first, remedy] = run.stderr.split('\n');
    expect(first).toBe(`faultline: ${message}`);
    expect(remedy.trim()).not.toBe('');
  });

  it('other words need a value, and know no --kbase', async () => {
    expect((await faultline(['decode', 'pf'])).exitCode).toBe(2);
    expect((await faultline(['decode', 'pf', '2', '--kbase', KBASE.arm64])).exitCode).toBe(2);
    expect((await faultline(['decode', 'nothing'])).exitCode).toBe(2);
  });
});
