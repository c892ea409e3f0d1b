// Relocations and symbols of the rarer kinds, as compilers and assemblers of today make them: each object must hold the kind
// that the case is about, and its function run with the right result, or be refused by name.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { readElf, SHN_COMMON } from '../emulator/elf/read.ts';
import { describeWith, GCC } from '../emulator/test-tools.ts';
import type { CallSeen } from './call.ts';
import type { ArchName } from './scenario.ts';
import { loadTestHost, runYaml } from './test-run.ts';

const host = await loadTestHost();
const folder = mkdtempSync(join(tmpdir(), 'faultline-relocations-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const COMMON = [
  '-c',
  '-O2',
  '-ffreestanding',
  '-fno-stack-protector',
  '-fno-asynchronous-unwind-tables',
];
const CLANG = { x86_64: '--target=x86_64-linux-gnu', arm64: '--target=aarch64-linux-gnu' } as const;

interface Case {
  readonly name: string;
  readonly arch: ArchName;
  readonly clang?: boolean;
  readonly flags?: readonly string[];
  /** `s`: assembly. */
  readonly language?: 'c' | 's' | 'c++';
  readonly source: string;
  /** Relocation types that the object must hold. */
  readonly types?: readonly number[];
  /** What `f(30)` returns, or why it is refused. */
  readonly comes: bigint | RegExp;
  /** More of the scenario. */
  readonly more?: string;
}

const GOT = `extern long variable; long variable = 7; extern long weak_one __attribute__((weak));
long other(long); long f(long a) { return other(a) + variable + (&weak_one != 0); }
long other(long a) { return a + 1; }`;
const TENTATIVE = `long tentative; long array[100]; __attribute__((weak)) long answer(void) { return 1; }
long f(long a) { tentative += a; array[99] = 2; return tentative + array[99] + answer(); }`;
const LARGE = `long variable = 7; static long table[4] = {1, 2, 3, 4}; long other(long);
long f(long a) { return other(a) + variable + table[a & 3]; }
__attribute__((noinline)) long other(long a) { return a + 1; }`;
const TLS = '__thread long mine; long f(long a) { return mine + a; }';
const far = 'symbols: {away: 0xffff900000000000}\n';
const CALL_AWAY = 'long away(long); long f(long a) { return away(a) + 1; }';
const many = (count: number, text: string) =>
  `${Array.from({ length: count }, (_, i) => `.section .d${i},"a"\n.byte 1\n`).join('')}${text}`;

const CASES: readonly Case[] = [
  {
    name: 'a GOT that the compiler leaves to the linker (GOTPCRELX)',
    arch: 'x86_64',
    flags: ['-fPIC', '-fno-plt'],
    source: GOT,
    types: [41, 42],
    comes: 38n,
  },
  {
    name: 'the same by clang',
    arch: 'x86_64',
    clang: true,
    flags: ['-fPIC', '-fno-plt'],
    source: GOT,
    types: [42],
    comes: 38n,
  },
  {
    name: 'a GOT by page (ADR_GOT_PAGE, LD64_GOT_LO12_NC)',
    arch: 'arm64',
    flags: ['-fPIC'],
    source: GOT,
    types: [311, 312],
    comes: 38n,
  },
  {
    name: 'the same by clang',
    arch: 'arm64',
    clang: true,
    flags: ['-fPIC'],
    source: GOT,
    types: [311, 312],
    comes: 38n,
  },
  ...(['x86_64', 'arm64'] as const).flatMap((arch): Case[] => [
    {
      name: 'tentative definitions (SHN_COMMON) and a weak function',
      arch,
      flags: ['-fno-pic', '-fcommon'],
      source: TENTATIVE,
      comes: 33n,
    },
    {
      name: 'a weak function that another object does not define either',
      arch,
      flags: ['-fno-pic'],
      source:
        '__attribute__((weak)) long nobody(long); long f(long a) { return nobody ? nobody(a) : a + 2; }',
      comes: 32n,
    },
    {
      name: 'thread-local storage',
      arch,
      flags: ['-fPIC'],
      source: TLS,
      comes: /(R_AARCH64_TLS\w* is for thread-local storage|undefined: __tls_get_addr)/,
    },
    {
      name: 'thread-local storage of programs',
      arch,
      flags: ['-fno-pic'],
      source: TLS,
      comes: /R_(X86_64_TPOFF32|AARCH64_TLS\w*) is for thread-local storage/,
    },
    {
      name: 'inline functions, each in a group of its own (COMDAT)',
      arch,
      clang: true,
      language: 'c++',
      flags: ['-fno-pic', '-fno-exceptions', '-ffunction-sections'],
      source:
        'template <int n> __attribute__((noinline)) long add(long a) { return a + n; }\nextern "C" long f(long a) { return add<3>(a) + add<4>(a); }',
      comes: 67n,
    },
    {
      name: 'a branch that does not reach',
      arch,
      flags: ['-fno-pic', ...(arch === 'x86_64' ? ['-mcmodel=kernel'] : [])],
      source: CALL_AWAY,
      more: far,
      comes: /R_(X86_64_PLT32|AARCH64_CALL26) against away: .*(reach|fit|range)/,
    },
    {
      name: 'an absolute address',
      arch,
      language: 's',
      source:
        arch === 'x86_64'
          ? '.globl f\nf: mov $answer, %rax\nret\n.globl answer\n.set answer, 42\n'
          : '.globl f\nf: movz x0, #:abs_g0:answer\nret\n.globl answer\n.set answer, 42\n',
      comes: 42n,
    },
    {
      name: 'more sections than a header counts (SHN_XINDEX)',
      arch,
      language: 's',
      source: many(
        65300,
        arch === 'x86_64'
          ? '.text\n.globl f\nf: lea value(%rip), %rax\nmov (%rax), %rax\nret\n.section .last,"aw"\nvalue: .quad 9\n'
          : '.text\n.globl f\nf: adrp x0, value\nldr x0, [x0, #:lo12:value]\nret\n.section .last,"aw"\n.balign 8\nvalue: .quad 9\n',
      ),
      comes: 9n,
    },
  ]),
  {
    name: 'a call of an absolute address (PLT32)',
    arch: 'x86_64',
    language: 's',
    source:
      '.globl f\nf: call there@PLT\nret\n.text 1\n.globl there\nreal: lea 5(%rdi), %rax\nret\n.set there, real\n',
    types: [4],
    comes: 35n,
  },
  {
    name: 'the large code model',
    arch: 'x86_64',
    flags: ['-mcmodel=large', '-fno-pic'],
    source: LARGE,
    types: [1],
    comes: 41n,
  },
  {
    name: 'the large code model with a GOT',
    arch: 'x86_64',
    flags: ['-mcmodel=large', '-fPIC'],
    source: LARGE,
    types: [29],
    comes: 41n,
  },
  {
    name: 'the large code model',
    arch: 'arm64',
    flags: ['-mcmodel=large', '-fno-pic'],
    source: LARGE,
    comes: 41n,
  },
  {
    name: 'addresses 16 bits at a time (MOVW_UABS)',
    arch: 'arm64',
    clang: true,
    flags: ['-mcmodel=large', '-fno-pic'],
    source: LARGE,
    types: [264, 266, 268, 269],
    comes: 41n,
  },
  {
    name: 'signed and relative 16-bit groups (MOVW_SABS, MOVW_PREL)',
    arch: 'arm64',
    language: 's',
    source:
      '.globl f\nf: movz x0, #:abs_g0_s:minus\nmovn x1, #0\nmovz x2, #:prel_g0:1f\nmovk x2, #:prel_g0_nc:1f\nadd x0, x0, x1\nret\n1: nop\n.globl minus\n.set minus, -3\n',
    types: [270, 287, 288],
    comes: 0xffff_ffff_ffff_fffcn,
  },
  {
    name: 'conditional branches and tests of bits into another section',
    arch: 'arm64',
    language: 's',
    source:
      '.globl f\nf: tbz x0, #0, even\nmov x0, #1\nret\n.section .text.even,"ax"\n.globl even\neven: cbnz x0, back\nmov x0, #2\nret\n.section .text.back,"ax"\n.globl back\nback: subs x0, x0, #30\nb.eq done\nmov x0, #3\nret\n.section .text.done,"ax"\n.globl done\ndone: mov x0, #4\nb last\n.section .text.last,"ax"\n.globl last\nlast: ret\n',
    types: [279, 280, 282],
    comes: 4n,
  },
  {
    name: 'a test of a bit that does not reach',
    arch: 'arm64',
    language: 's',
    source: '.globl f\nf: tbz x0, #0, away\nret\n',
    more: far,
    types: [279],
    comes: /R_AARCH64_TSTBR14 against away: /,
  },
];

CASES.forEach((one, i) => {
  const { arch, clang = false, flags = [], language = 'c', source } = one;
  const command = clang ? 'clang' : GCC[arch];
  describeWith(command, `${one.name}, ${command} ${clang ? CLANG[arch] : ''}`, () => {
    const [file, object] = [join(folder, `${i}.${language}`), join(folder, `${i}.o`)];
    it(typeof one.comes === 'bigint' ? `comes to ${one.comes}` : 'is refused by name', () => {
      writeFileSync(file, source);
      const options = [...(clang ? [CLANG[arch]] : []), ...COMMON, ...flags];
      const made = spawnSync(command, [...options, file, '-o', object], { encoding: 'utf8' });
      expect([made.status, made.stderr]).toEqual([0, '']);
      const elf = readElf(new Uint8Array(readFileSync(object)));
      const types = new Set(elf.sections.flatMap((s) => s.relocations.map(({ type }) => type)));
      for (const type of one.types ?? []) expect([...types]).toContain(type);
      if (flags.includes('-fcommon')) {
        expect(elf.symbols.some(({ section }) => section === SHN_COMMON)).toBe(true);
      }
      if (language === 'c++') expect(elf.groups.length).toBeGreaterThan(1);
      const run = () =>
        runYaml(
          host,
          `arch: ${arch}\nobject: "${object}"\nsymbol: f\nargs: [30]\n${one.more ?? ''}`,
          arch,
        ).steps[0].seen as CallSeen;
      if (typeof one.comes !== 'bigint') {
        expect(run).toThrow(one.comes);
        return;
      }
      const { outcome, ret } = run();
      expect({ outcome, ret }).toEqual({ outcome: 'returned', ret: one.comes });
    });
  });
});
