// What is told to the writer of a wrong command line or file. Each kind has a golden file under fixtures/golden/errors:
// read the diff before accepting it with `npx vitest run cli/wrong-input.test.ts -u`.
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { type CliWorld, faultline, golden, transcript } from './test-cli.ts';

type Case = [name: string, argv: string[], files?: CliWorld['files']];

const FIRST = 'fixtures/first-fault.yaml';
const X86_ONLY = 'fixtures/t15-read-only-page-x86.yaml';
const MUTANT = 'fixtures/mutants/alloc-set-over-scratch.yaml';
const REPLACED = [
  ...['--arch', 'arm64', '--replace'],
  'apply_range_set_cb=fixtures/replace/mainline-arm64-O2.o',
];
const debug = (...commands: string[]) => [
  ...['debug', FIRST, '--arch', 'arm64', '--batch'],
  ...commands.flatMap((command) => ['-ex', command]),
];
/** A scenario for x86-64 with these lines after its head. */
const scenario = (...lines: string[]) => ({
  'wrong.yaml': ['name: wrong', 'arch: x86_64', ...lines, ''].join('\n'),
});
const code = (...lines: string[]) =>
  scenario('code:', '  x86_64: |', ...lines.map((line) => `    ${line}`));
const assembly = { 'code.S': 'nop\nret\n' };

const CASES: readonly Case[] = [
  ['unknown-command', ['rnu', FIRST]],
  ['unknown-option', ['run', FIRST, '--jsno']],
  [
    'replace-what-cannot-be',
    ['run', FIRST, '--replace', 'bpf_prog_stream_free=fixtures/replace/btf-arm64.o'],
  ],
  [
    'replace-and-mutant',
    ['explore', 'fixtures/races/fault-alloc.yaml', ...REPLACED, '--mutant', MUTANT],
  ],
  ['replace-and-late-stores', ['run', 'fixtures/races/late-alloc.yaml', ...REPLACED]],
  ['breakpoint-in-replaced-code', [...debug('break apply_range_set_cb'), ...REPLACED]],
  ['help-of-nothing', ['help', 'decod']],
  ['no-file', ['run']],
  ['too-many-files', ['run', FIRST, FIRST]],
  ['arch-unknown', ['run', FIRST, '--arch', 'riscv']],
  ['series-unknown', ['run', FIRST, '--series', 'v3']],
  ['arch-not-given', ['walk', FIRST, '0']],
  ['arch-of-another', ['run', X86_ONLY, '--arch', 'arm64']],
  ['trace-unknown', ['run', FIRST, '--trace', 'faults,wlaks']],
  ['schedule-of-one-cpu', ['run', FIRST, '--schedule', '0:*']],
  ['file-missing', ['run', 'fixtures/no-such.yaml']],
  ['file-missing-without-ending', ['run', 'fixtures/no-such']],
  ['file-is-a-directory', ['run', 'fixtures']],
  ['file-of-unknown-type', ['run', 'package.json.txt'], { 'package.json.txt': '{}' }],
  ['object', ['run', 'code.o'], { 'code.o': 'ELF' }],
  ['binary-as-scenario', ['run', 'wrong.yaml'], { 'wrong.yaml': Uint8Array.of(0x7f, 0x45, 0xff) }],
  ['binary-as-assembly', ['run', 'code.S'], { 'code.S': Uint8Array.of(0x90, 0, 0, 0xc3) }],
  ['empty-scenario', ['run', 'wrong.yaml'], { 'wrong.yaml': '' }],
  ['empty-assembly', ['run', 'code.S'], { 'code.S': '# nothing\n' }],
  ['args-word', ['run', 'code.S', '--args', 'arena:0,fourty'], assembly],
  ['args-empty', ['run', 'code.S', '--args', '1,,2'], assembly],
  ['args-too-wide', ['run', 'code.S', '--args', '0x10000000000000000'], assembly],
  [
    'args-too-many',
    ['run', 'code.S', '--args', '1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17'],
    assembly,
  ],
  ['args-for-a-scenario', ['run', FIRST, '--args', '1']],
  ['alloc-without-count', ['run', 'code.S', '--alloc', '5'], assembly],
  ['alloc-of-nothing', ['run', 'code.S', '--alloc', '5:0'], assembly],
  ['alloc-outside', ['run', 'code.S', '--arena-pages', '4', '--alloc', '4:1'], assembly],
  ['alloc-twice', ['run', 'code.S', '--alloc', '0:2', '--alloc', '1:1'], assembly],
  ['arena-of-nothing', ['run', 'code.S', '--arena-pages', '0'], assembly],
  ['max-insns-word', ['run', 'code.S', '--max-insns', 'many'], assembly],
  [
    'symbol-missing',
    ['run', 'code.S', '--symbol', 'start'],
    { 'code.S': 'first: nop\nlast: ret\n' },
  ],
  ['assembly-wrong', ['run', 'code.S'], { 'code.S': 'nop\n\nmov rax, rbx, rcx\nret\n' }],
  [
    'assembly-of-another-arch',
    ['run', 'code.S', '--arch', 'arm64'],
    { 'code.S': 'xor eax, eax\n' },
  ],
  ['code-wrong', ['run', 'wrong.yaml'], code('nop', 'bogus rax', 'ret')],
  ['code-label-missing', ['run', 'wrong.yaml'], code('nop', 'jmp nowhere')],
  [
    'code-wrong-in-a-step',
    ['run', 'wrong.yaml'],
    scenario(
      'steps:',
      '  - alloc: {page: 0, count: 1}',
      '  - call:',
      '      code:',
      '        x86_64: |',
      '          mov rax, [rdi]',
      '          mvo rax, rdi',
      '      args: [{arena: 0}]',
    ),
  ],
  [
    'extable-label-missing',
    ['run', 'wrong.yaml'],
    scenario(
      'code:',
      '  x86_64: |',
      '    ret',
      'extable:',
      '  - {insn: load, fixup: done, type: default}',
    ),
  ],
  [
    'many-mistakes',
    ['run', 'wrong.yaml'],
    scenario('codes: {x86_64: ret}', 'arena: {page: 4}', 'expect: {outcome: crashed, ret: [1]}'),
  ],
  ['test-folder-missing', ['test', 'fixtures/no-such']],
  ['test-of-assembly', ['test', 'fixtures/asm/x86_64.s']],
  ['test-of-nothing', ['test', 'fixtures/asm']],
  ['shard-impossible', ['test', FIRST, '--shard', '3/2']],
  ['shard-word', ['test', FIRST, '--shard', 'first']],
  ['reporter-unknown', ['test', FIRST, '--reporter', 'tap']],
  ['walk-of-a-word', ['walk', FIRST, 'arena', '--arch', 'arm64']],
  ['walk-schedule-of-one', ['walk', FIRST, '0', '--arch', 'arm64', '--schedule', '0:1']],
  [
    'walk-schedule-form',
    ['walk', 'fixtures/races/fault-fault.yaml', '0', '--arch', 'arm64', '--schedule', '2:1'],
  ],
  ['decode-unknown', ['decode', 'far', '0']],
  ['decode-negative', ['decode', 'esr', '-1']],
  ['decode-too-wide', ['decode', 'pte-x86', '0x10000000000000000']],
  ['decode-level', ['decode', 'pte-x86', '1', '--level', 'PUD']],
  ['decode-level-arm64', ['decode', 'pte-arm64', '1', '--level', '4']],
  ['decode-granule', ['decode', 'pte-arm64', '1', '--granule', '8K']],
  ['decode-option-of-another', ['decode', 'pf', '1', '--granule', '4K']],
  ['asm-nothing', ['asm']],
  ['asm-wrong', ['asm', '--arch', 'arm64', 'mov x0, x1; mov x0, eax']],
  ['asm-twice', ['asm', 'nop', '--file', 'code.S']],
  ['asm-address', ['asm', 'nop', '--address', 'here']],
  ['disasm-odd', ['disasm', '48', '8']],
  ['disasm-nothing', ['disasm']],
  ['disasm-file-missing', ['disasm', '--file', 'no-such.bin']],
  ['setup-wheel-missing', ['setup', '--wheel', 'no-such.whl']],
  ['debug-unknown-command', debug('frobnicate')],
  ['debug-ambiguous', debug('ste')],
  ['debug-register', debug('print $rax')],
  ['debug-symbol', debug('break nowhere')],
  ['debug-expression', debug('print $x0 +')],
  ['debug-examine-format', debug('x/4q $sp')],
  ['debug-examine-unmapped', debug('stepi', 'x/2gx 0x1000')],
  ['debug-info', debug('info threads')],
  ['debug-count', debug('stepi never')],
  ['debug-breakpoint', debug('delete 7')],
  ['debug-walk-nothing', debug('info walk')],
];

describe('wrong input', () => {
  it.each(CASES)('%s', async (name, argv, files) => {
    const run = await faultline(argv, { files });
    expect(run.exitCode).toBe(2);
    // What is wrong, and indented below it what to do.
    expect(run.stderr).toMatch(/^\S.*\n {2}\S.*\n$/s);
    await expect(transcript(argv, run)).toMatchFileSnapshot(golden(`errors/${name}.txt`));
  });

  it.each(CASES)('%s, as JSON', async (_name, argv, files) => {
    const plain = await faultline(argv, { files });
    const run = await faultline([...argv, '--json'], { files });
    expect(run.exitCode).toBe(2);
    expect(run.stderr).toBe(plain.stderr);
    const { error } = JSON.parse(run.stdout);
    const prefix = argv[0] === 'debug' ? '' : 'faultline: ';
    expect(`${prefix}${error.message}\n  ${error.remedy}\n`).toBe(run.stderr);
  });
});

describe('wrong scenarios of fixtures/bad', () => {
  const files = readdirSync('fixtures/bad').filter((name) => /\.(yaml|json)$/.test(name));

  it.each(files)('%s', async (name) => {
    const told = readFileSync(`fixtures/bad/${name.replace(/\.\w+$/, '.txt')}`, 'utf8');
    const [message, remedy] = told.trimEnd().split('\n-> ');
    const located = message.replaceAll(`${name}:`, `fixtures/bad/${name}:`);
    expect(await faultline(['run', `fixtures/bad/${name}`])).toEqual({
      exitCode: 2,
      stdout: '',
      stderr: `faultline: ${located}\n  ${remedy}\n`,
    });
  });
});
