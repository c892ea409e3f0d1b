// What people read, command by command, as golden files under fixtures/golden. Read the diff before accepting it with
// `npx vitest run cli/transcripts.test.ts -u`.
import { describe, expect, it } from 'vitest';
import { type CliWorld, faultline, golden, transcript } from './test-cli.ts';

const FIRST = 'fixtures/first-fault.yaml';
const SUITE = ['test', 'fixtures/golden/suite'];
const ARCHS = ['x86_64', 'arm64'] as const;
const ex = (...commands: string[]) => commands.flatMap((command) => ['-ex', command]);

type Transcript = [name: string, exitCode: number, argv: string[], world?: CliWorld];

const assembly = {
  files: {
    'reader.S': 'first:\n  ret\nsecond:\n  mov rax, [rdi]\n  mov rcx, [rdi + rsi]\n  ret\n',
  },
};

/** Touches as many pages as its second argument says. */
const sweep = {
  files: {
    'sweep.S': 'next:\n  mov [rdi], rsi\n  add rdi, 0x1000\n  dec rsi\n  jnz next\n  ret\n',
  },
};

/** Registers, memory and code of the first fixture's call before and after its fault, by each architecture's names. */
const session = (arch: 'x86_64' | 'arm64'): string[] => {
  const [first, sp, length] = arch === 'x86_64' ? ['rdi', 'rsp', 7] : ['x0', 'sp', 4];
  return [
    ...['debug', FIRST, '--arch', arch, '--batch'],
    ...ex('info registers', 'x/4i $pc', 'disassemble', 'backtrace', `x/8gx $${sp}`),
    ...ex(
      'info arena',
      'info faults',
      `info walk $${first} + 0x1000`,
      'print arena + 0x1000 - $pc',
    ),
    ...ex('break kfunc', `break *$pc + ${length}`, 'info breakpoints', 'stepfault', 'stepfault 2'),
    ...ex('stepfault all', `info walk $${first} + 0x1000`, `x/2gx $${first} + 0x1000`, 'continue'),
    ...ex(
      `x/2gx arena+0x1000`,
      `x/8bx arena + 0x1000`,
      'delete',
      'info breakpoints',
      'info faults',
    ),
    ...ex('stepi', `info registers ${first} $pc`, 'continue', 'continue', 'quit'),
  ];
};

/** There and back again. */
const reverse = (arch: 'x86_64' | 'arm64'): string[] => [
  ...['debug', FIRST, '--arch', arch, '--batch'],
  ...ex('reverse-stepi', 'stepi', 'info faults', 'checkpoint', 'reverse-stepi', 'info faults'),
  ...ex('break kfunc', 'continue', 'reverse-stepi', 'reverse-continue', 'reverse-continue'),
  ...ex('info breakpoints', 'info checkpoints', 'restart 1', 'stepi', 'rc', 'stepi 2', 'rsi 2'),
  ...ex('stepfault 3', 'rsi', 'delete checkpoint 1', 'info checkpoints', 'continue'),
];

const TRANSCRIPTS: Transcript[] = [
  ['run-first-fault', 0, ['run', FIRST]],
  ...ARCHS.flatMap((arch): Transcript[] => [
    [`run-trace-${arch}`, 0, ['run', FIRST, '--arch', arch, '--trace', 'walks,insns']],
    [`run-oops-${arch}`, 0, ['run', 'fixtures/t05-end-of-upper-guard.yaml', '--arch', arch]],
    [`run-extable-${arch}`, 0, ['run', 'fixtures/t39-fault-safe-read.yaml', '--arch', arch]],
    [`debug-first-fault-${arch}`, 0, session(arch)],
    [`debug-reverse-${arch}`, 0, reverse(arch)],
    [
      `debug-breakpoints-${arch}`,
      0,
      [
        ...['debug', 'fixtures/t03-pages-share-scratch.yaml', '--arch', arch, '--batch'],
        ...ex('b', 'c', 'bt', 'b *$pc+4', 'c', 'i b', 'd 1', 'si', 'p $pc', 'c', 'i f'),
      ],
    ],
    [
      `debug-oops-${arch}`,
      0,
      [
        ...['debug', 'fixtures/t09-no-program.yaml', '--arch', arch, '--batch'],
        ...ex('stepfault all', 'info faults', 'stepi'),
      ],
    ],
    [`walk-page-${arch}`, 0, ['walk', FIRST, pageOne(arch), '--arch', arch]],
    [`walk-nx-${arch}`, 0, ['walk', FIRST, pageOne(arch), '--arch', arch, '--access', 'fetch']],
    [`walk-nothing-${arch}`, 0, ['walk', FIRST, '0x7f0000000000', '--arch', arch]],
  ]),
  ['run-steps', 0, ['run', 'fixtures/t25-scratched-page-v2.yaml', '--arch', 'x86_64']],
  [
    'run-steps-replaced',
    0,
    ['run', 'fixtures/regressions/alloc-over-scratch-page-mainline.yaml', '--arch', 'arm64'],
  ],
  ['run-steps-many', 0, ['run', 'fixtures/many-pages-at-once.yaml', '--arch', 'x86_64']],
  ['run-differs', 1, ['run', 'fixtures/golden/suite/differs.yaml']],
  [
    'run-assembly',
    0,
    ['run', 'reader.S', '--symbol', 'second', '--args', 'arena:8,0x2000'],
    assembly,
  ],
  ['run-assembly-oops', 1, ['run', 'reader.S', '--symbol', 'second', '--args', '0'], assembly],
  ['run-assembly-budget', 1, ['run', 'loop.S'], { files: { 'loop.S': 'here: jmp here\n' } }],
  ['run-many-faults', 0, ['run', 'sweep.S', '--args', 'arena:0,40'], sweep],
  ['run-all-faults', 0, ['run', 'sweep.S', '--args', 'arena:0,5', '--trace', 'faults'], sweep],
  ['debug-assembly', 0, ['debug', 'reader.S', '--batch', ...ex('disas', 'c')], assembly],
  [
    'debug-typed',
    1,
    ['debug', 'fixtures/golden/suite/differs.yaml'],
    { stdin: 'sf\n\n\nwat\nc\n' },
  ],
  ['debug-help', 0, ['debug', FIRST, '--arch', 'arm64', '--batch', ...ex('help')]],
  [
    'walk-stale',
    0,
    ['walk', 'fixtures/stale-scratch-mainline.yaml', '0xffffc90028069000', '--arch', 'x86_64'],
  ],
  [
    'walk-race',
    0,
    [
      ...['walk', 'fixtures/races/stale-entry.yaml', '0xffff800081008000', '--arch', 'arm64'],
      ...['--access', 'write', '--schedule', '1:1 0:3'],
    ],
  ],
  [
    'walk-kept-refusal',
    0,
    [
      ...['walk', 'fixtures/races/kept-refusal.yaml', '0xffffc90001e69000', '--arch', 'x86_64'],
      ...['--schedule', '0:2 1:1 2:*'],
    ],
  ],
  ['run-kept-refusal-x86', 0, ['run', 'fixtures/kept-refusal-allocated-x86.yaml']],
  ['run-kept-refusal-arm64', 0, ['run', 'fixtures/kept-refusal-scratch-arm64.yaml']],
  [
    'debug-kept-refusal',
    0,
    [
      ...['debug', 'fixtures/kept-refusal-scratch-x86.yaml', '--batch'],
      ...ex('stepfault all', 'info walk arena', 'stepfault all', 'info walk arena', 'stepi'),
    ],
  ],
  ['test-kept-refusal', 0, ['test', 'fixtures', '--filter', 'kept-refusal-scratch']],
  ['walk-not-canonical', 0, ['walk', FIRST, '0x800000000000', '--arch', 'x86_64']],
  ['decode-pf', 0, ['decode', 'pf', '0x11']],
  ['decode-pf-reserved', 0, ['decode', 'pf', '0x8000000000000009']],
  ['decode-esr-data', 0, ['decode', 'esr', '0x96000047']],
  ['decode-esr-fetch', 0, ['decode', 'esr', '0x8600000f']],
  ['decode-esr-other', 0, ['decode', 'esr', '0xf2000800']],
  ['decode-pte-x86', 0, ['decode', 'pte-x86', '0x8000000001234163']],
  ['decode-pte-x86-large', 0, ['decode', 'pte-x86', '0x80000000400001e3', '--level', 'pd']],
  ['decode-pte-arm64', 0, ['decode', 'pte-arm64', '0x0068000001234703']],
  ['decode-pte-arm64-table', 0, ['decode', 'pte-arm64', '0x1000000000102403', '--level', 'L1']],
  [
    'decode-pte-arm64-64k',
    0,
    ['decode', 'pte-arm64', '0x00680000fff0f703', '--granule', '64K', '--level', '3'],
  ],
  ['test-default', 2, SUITE],
  ['test-junit', 2, [...SUITE, '--reporter', 'junit']],
  ['test-ktap', 2, [...SUITE, '--reporter', 'ktap']],
  ['test-json', 2, [...SUITE, '--reporter', 'json']],
  ['test-one-arch', 0, [...SUITE, '--arch', 'arm64', '--filter', 's.yaml', '--reporter', 'ktap']],
  ['test-passes', 0, [...SUITE, '--filter', 'passes']],
  ['test-differs', 1, [...SUITE, '--filter', 'differs']],
  ['asm-x86_64', 0, ['asm', 'mov [rdi + 0x1000], rsi; xor eax, eax; ret']],
  [
    'asm-arm64',
    0,
    ['asm', '--arch', 'arm64', '--address', '0xffff800080000000', 'here: str x1, [x0]; b here'],
  ],
  ['asm-stdin', 0, ['asm', '--file', '-'], { stdin: 'nop # first\n\nlabel:\n  jmp label\n' }],
  ['disasm-x86_64', 0, ['disasm', '48', '89', 'b7', '00', '10', '00', '00', '31c0', 'c3', '06']],
  ['disasm-arm64', 0, ['disasm', '--arch', 'arm64', '0x010000f9', '0xc0035fd6', 'ffffffff', '00']],
  ['bench-claim-x86_64', 0, ['bench', '--claim', 'no-flush', '--cost-preset', 'golden-cove']],
  ['bench-claim-arm64', 0, ['bench', '--claim', 'no-flush', '--cost-preset', 'neoverse-n1']],
  ['doctor-engine', 0, ['doctor', '--engine']],
  ['help', 0, ['--help']],
  ['help-run', 0, ['help', 'run']],
  ['no-command', 2, []],
];

function pageOne(arch: 'x86_64' | 'arm64'): string {
  return arch === 'x86_64' ? '0xffffc90001e6a000' : '0xffff800081009000';
}

describe('transcripts', () => {
  it.each(TRANSCRIPTS)('%s', async (name, exitCode, argv, world) => {
    const run = await faultline(argv, world);
    // First, so that no fault of ours is ever accepted into a golden file.
    expect(run.exitCode, run.stderr).toBe(exitCode);
    await expect(transcript(argv, run)).toMatchFileSnapshot(golden(`${name}.txt`));
  });
});

describe('colours', () => {
  it('are used where they are wanted and change no word', async () => {
    const argv = ['run', 'fixtures/golden/suite/differs.yaml'];
    const plain = await faultline(argv);
    const coloured = await faultline(argv, { colour: true });
    expect(coloured.stdout).toContain('\x1b[31mnot as expected\x1b[39m');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: colours begin with one
    expect(coloured.stdout.replaceAll(/\x1b\[\d+m/g, '')).toBe(plain.stdout);
  });

  it('never get into JSON', async () => {
    for (const argv of [['run', FIRST], SUITE, ['decode', 'pf', '2']]) {
      const run = await faultline([...argv, '--json'], { colour: true });
      expect(run.stdout).not.toContain('\x1b');
    }
  });

  it('progress is shown on a terminal, on standard error, and wiped', async () => {
    const argv = [...SUITE, '--filter', 'passes', '--reporter', 'junit'];
    const quiet = await faultline(argv);
    const shown = await faultline(argv, { terminal: true });
    expect(quiet.stderr).toBe('');
    expect(shown.stderr).toContain('1/1 fixtures/golden/suite/passes.yaml');
    expect(shown.stderr.endsWith('\r\x1b[K')).toBe(true);
    expect(shown.stdout).toBe(quiet.stdout);
  });
});
