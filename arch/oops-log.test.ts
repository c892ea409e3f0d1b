// Logs as they come: with stamps of every kind, other people's lines between, cut at either end.
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { accessOf, levelOf, type OopsReport, parseOopsLog } from './oops-log.ts';

const log = (name: string) =>
  readFileSync(new URL(`../fixtures/logs/${name}`, import.meta.url), 'utf8');
const only = (text: string): OopsReport => {
  const reports = parseOopsLog(text);
  expect(reports).toHaveLength(1);
  return reports[0];
};
const levels = (report: OopsReport) => report.entries.map(({ name }) => levelOf(report, name));

describe('an oops of x86', () => {
  const report = only(log('x86-dmesg.log'));

  it('is read from a dmesg with time stamps', () => {
    expect(report).toMatchObject({
      arch: 'x86_64',
      line: 2,
      message: 'unable to handle page fault',
      addr: 0xffffc90028069018n,
      code: 2n,
      where: 'bpf_testmod_set_cmask+0x17/0x40',
      comm: 'test_progs',
      cpu: 3,
    });
    expect(accessOf(report)).toBe('write');
    expect(report.entries.map(({ value }) => value)).toEqual([
      0x100000067n,
      0x100000067n,
      0x1001c6067n,
      0x10b0d4067n,
      0n,
    ]);
    expect(levels(report)).toEqual([39, 39, 30, 21, 12]);
  });

  it('keeps the kernel registers, not those of the user or of the summary behind the end', () => {
    expect(report.registers.get('rdi')).toBe(0xffffc90028069018n);
    expect(report.registers.get('r8')).toBe(0n);
    expect(report.registers.get('rsp')).toBeUndefined();
    expect(report.instruction?.subarray(0, 2)).toEqual(Uint8Array.of(0x89, 0x07));
  });

  it('lists the trace without guesses', () => {
    expect(report.trace.slice(0, 3)).toEqual([
      'bpf_prog_8a1b2c3d4e5f6071_set_cmask_prog',
      'bpf_test_run',
      'bpf_prog_test_run_syscall',
    ]);
    expect(report.trace).not.toContain('__pfx_bpf_test_run');
  });

  it('is read as 4.19 wrote it, out of a syslog', () => {
    const old = only(log('x86-4.19.log'));
    expect(old).toMatchObject({
      message: 'unable to handle kernel NULL pointer dereference',
      addr: 0x18n,
      code: 0n,
      where: 'xprt_release+0x3e/0x190',
      comm: 'kworker/11:2',
      cpu: 11,
    });
    expect(levels(old)).toEqual([39, 39]);
  });

  it('is read as 3.10 wrote it, with addresses before its symbols', () => {
    const rip = 'RIP: 0010:[<ffffffff812a4b3c>]  [<ffffffff812a4b3c>] do_thing+0x1c/0x60';
    const text = [
      '[ 1234.567890] [T1234] BUG: unable to handle kernel paging request at ffffc90028069018',
      '[ 1234.567891] IP: [<ffffffff812a4b3c>] do_thing+0x1c/0x60',
      '[ 1234.567892] PGD 41e067067 PUD 41e068067 PMD 0 ',
      '[ 1234.567893] Oops: 0002 [#1] SMP ',
      `[ 1234.567897] ${rip}`,
      '[ 1234.567900] Call Trace:',
      '[ 1234.567901]  [<ffffffff8120f2a6>] ? vfs_read+0x96/0x170',
      '[ 1234.567902]  [<ffffffff8120f2b6>] vfs_write+0x96/0x170',
    ].join('\n');
    const report = only(text);
    expect(report).toMatchObject({ code: 2n, where: 'do_thing+0x1c/0x60', trace: ['vfs_write'] });
    expect(levels(report)).toEqual([39, 30, 21]);
  });

  it('is read without its head and with half of its last line', () => {
    const cut = only(log('truncated.log'));
    expect(cut).toMatchObject({
      message: null,
      addr: 0xffffffffc1234000n,
      code: 0x10n,
      where: '0xffffffffc1234000',
      comm: 'a b',
      instruction: null,
    });
    expect(accessOf(cut)).toBe('fetch');
    // PGD and P4D differ: five levels.
    expect(levels(cut)).toEqual([48, 39, 30, 21]);
  });

  it('says where the tables could not be read', () => {
    const text =
      'BUG: unable to handle page fault for address: ffffc90028069018\nPGD 5067 P4D 5067 BAD';
    expect(only(text).entries.at(-1)).toEqual({ name: 'PUD', value: null });
  });
});

describe('an oops of arm64', () => {
  const report = only(log('arm64-console.log'));

  it('is read from a console with levels and threads, and lines of others between', () => {
    expect(report).toMatchObject({
      arch: 'arm64',
      line: 2,
      message: 'paging request',
      addr: 0xffff8000a7209ff8n,
      code: 0x96000007n,
      where: 'bpf_testmod_sum+0x1c/0x48',
      comm: 'test_progs-no_alu32',
      cpu: 1,
      pageSize: 4096,
      vaBits: 48,
    });
    expect(accessOf(report)).toBe('read');
    expect(levels(report)).toEqual([0, 0, 1, 2, 3]);
    expect(report.instruction).toEqual(Uint8Array.of(0x03, 0x00, 0x40, 0xf9));
    expect(report.registers.get('x28')).toBe(0xffff800081008000n);
    expect(report.trace.slice(0, 2)).toEqual([
      'bpf_testmod_sum',
      'bpf_prog_0123456789abcdef_sum_it',
    ]);
  });

  it.each([
    [16, 47, [1, 1, 1, 2, 3]],
    [16, 48, [0, 0, 1, 2, 3]],
    [64, 48, [1, 1, 1, 2, 3]],
    [64, 42, [2, 2, 2, 2, 3]],
    [4, 39, [1, 1, 1, 2, 3]],
    [4, 52, [-1, 0, 1, 2, 3]],
  ])('%ik pages and %i-bit addresses have these levels', (kib, bits, expected) => {
    const pgtable = `swapper pgtable: ${kib}k pages, ${bits}-bit VAs, pgdp=0000000041dd3000`;
    expect(levels(only(log('arm64-console.log').replace(/swapper.*/, pgtable)))).toEqual(expected);
  });

  it('is a stack overflow as well', () => {
    const text = [
      'Insufficient stack space to handle exception!',
      'ESR: 0x0000000096000047 -- DABT (current EL)',
      'FAR: 0xffff800083a27ff0',
    ].join('\n');
    expect(only(text)).toMatchObject({ addr: 0xffff800083a27ff0n, code: 0x96000047n });
  });
});

describe('a log', () => {
  it('may hold several', () => {
    const both = `${log('x86-dmesg.log')}\n${log('arm64-console.log')}`;
    expect(parseOopsLog(both).map(({ arch }) => arch)).toEqual(['x86_64', 'arm64']);
    const twice = `${log('x86-dmesg.log')}${log('x86-dmesg.log')}`;
    expect(parseOopsLog(twice).map(({ line }) => line)).toEqual([2, 43]);
  });

  it('may be cut anywhere', () => {
    for (const name of ['x86-dmesg.log', 'arm64-console.log']) {
      const text = log(name);
      for (let at = 0; at < text.length; at += 7) {
        expect(parseOopsLog(text.slice(at)).length).toBeLessThanOrEqual(1);
        for (const report of parseOopsLog(text.slice(0, at))) levels(report);
      }
    }
  });

  it('may hold none', () => {
    for (const text of ['', '\0\0\0', 'Oops', 'CR2: ffffc90028069018', 'x'.repeat(100_000)]) {
      expect(parseOopsLog(text)).toEqual([]);
    }
  });
});
