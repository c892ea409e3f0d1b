// faultline decode: a fault code or a page-table entry as a tree of named fields; oopses are decode-oops.ts's.
import { decodeEsr, describeEsr } from '../arch/arm64/fault-code.ts';
import { arm64EntrySummary, decodeArm64Pte } from '../arch/arm64/pte-decode.ts';
import type { Field } from '../arch/fields.ts';
import { decodePfErrorCode, describePfErrorCode } from '../arch/x86/fault-code.ts';
import { decodeX86Pte, type X86Level, x86EntryBits } from '../arch/x86/pte-decode.ts';
import { hex } from '../emulator/bits.ts';
import { CliError, EXIT } from './errors.ts';
import { type Io, paint } from './io.ts';

export interface DecodeOptions {
  readonly json?: boolean;
  readonly level?: string;
  readonly granule?: string;
  readonly kbase?: string;
  readonly explain?: boolean;
}

interface Decoded {
  readonly title: string;
  readonly summary: string;
  readonly fields: readonly Field[];
}

const KINDS = ['pf', 'esr', 'pte-x86', 'pte-arm64', 'oops'];
/** What each option is for. */
const OPTION_KINDS: readonly ['level' | 'granule' | 'kbase' | 'explain', readonly string[]][] = [
  ['level', ['pte-x86', 'pte-arm64']],
  ['granule', ['pte-arm64']],
  ['kbase', ['oops']],
  ['explain', ['oops']],
];
const X86_LEVELS: readonly X86Level[] = ['PML5', 'PML4', 'PDPT', 'PD', 'PT'];
const ARM64_GRANULES: Readonly<Record<string, number>> = { '4K': 12, '16K': 14, '64K': 16 };

/**
 * @param text the word; for `oops` a file, or nothing for standard input
 * @returns the exit code
 */
export async function decodeCommand(
  what: string,
  text: string | undefined,
  options: DecodeOptions,
  io: Io,
): Promise<number> {
  checkOptions(what, options);
  if (what === 'oops') {
    const kbase = options.kbase === undefined ? null : parseKbase(options.kbase);
    const { decodeOopsCommand } = await import('./decode-oops.ts');
    return decodeOopsCommand(text ?? '-', { ...options, kbase }, io);
  }
  if (text === undefined) {
    throw new CliError(`decode ${what}: there is no value`, 'give it in 0x hex or decimal');
  }
  const value = parseWord(text);
  const { title, summary, fields } = decode(what, value, options);
  if (options.json) {
    const document = { what, value: hex(value), summary, fields: fields.map(fieldToJson) };
    io.out(`${JSON.stringify(document, null, 2)}\n`);
  } else {
    io.out(`${paint(io, 'bold', `${title} ${hex(value)}`)}: ${summary}\n`);
    for (const line of fieldLines(fields, 1)) io.out(`${line}\n`);
  }
  return EXIT.ok;
}

function parseKbase(text: string): bigint {
  const kbase = parseWord(text, '--kbase');
  if (kbase >> 63n === 1n && kbase % 4096n === 0n) return kbase;
  throw new CliError(
    `--kbase: ${text} cannot be a kern_vm_start`,
    'give a page-aligned kernel address, as bpf_arena_get_kern_vm_start() returns it',
  );
}

function checkOptions(what: string, options: DecodeOptions): void {
  if (!KINDS.includes(what)) {
    throw new CliError(`decode: cannot decode ${what}`, `give one of ${KINDS.join(', ')}`);
  }
  for (const [option, kinds] of OPTION_KINDS) {
    if (options[option] === undefined || kinds.includes(what)) continue;
    throw new CliError(`--${option} says nothing about ${what}`, `it is for ${kinds.join(', ')}`);
  }
}

function decode(what: string, value: bigint, options: DecodeOptions): Decoded {
  switch (what) {
    case 'pf':
      return {
        title: 'page-fault error code',
        summary: describePfErrorCode(value),
        fields: decodePfErrorCode(value),
      };
    case 'esr':
      return { title: 'ESR_EL1', summary: describeEsr(value), fields: decodeEsr(value) };
    case 'pte-x86': {
      const level = x86Level(options.level ?? 'PT');
      return {
        title: `${level} entry`,
        summary: x86EntryBits(value, level) || 'not present',
        fields: decodeX86Pte(value, level),
      };
    }
    default: {
      const level = arm64Level(options.level ?? '3');
      const rules = { granuleShift: granule(options), ds: false, lpa: false };
      return {
        title: `level ${level} descriptor`,
        summary: arm64EntrySummary(value, level, rules),
        fields: decodeArm64Pte(value, level, rules),
      };
    }
  }
}

function x86Level(name: string): X86Level {
  const level = X86_LEVELS.find((known) => known === name.toUpperCase());
  if (level === undefined) {
    throw new CliError(
      `--level: x86-64 has no level ${name}`,
      `give one of ${X86_LEVELS.join(', ')}`,
    );
  }
  return level;
}

function arm64Level(name: string): number {
  const level = /^L?(-1|[0-3])$/i.exec(name);
  if (level === null) throw new CliError(`--level: AArch64 has no level ${name}`, 'give -1 to 3');
  return Number(level[1]);
}

function granule({ granule: name = '4K' }: DecodeOptions): number {
  const shift = ARM64_GRANULES[name.toUpperCase()];
  if (shift === undefined)
    throw new CliError(`--granule: no granule ${name}`, 'give 4K, 16K or 64K');
  return shift;
}

/** A 64-bit word as people write one. @param option that gives it, for errors. @throws CliError */
export function parseWord(text: string, option = ''): bigint {
  if (!/^(0x[0-9a-f]{1,64}|[0-9]{1,20})$/i.test(text) || BigInt(text) >= 1n << 64n) {
    const place = option === '' ? '' : `${option}: `;
    throw new CliError(
      `${place}${text} is no 64-bit number`,
      'give it in 0x hex or decimal, unsigned',
    );
  }
  return BigInt(text);
}

export const fieldToJson = ({ name, bits, value, meaning, fields }: Field): object => ({
  name,
  bits,
  value: hex(value),
  meaning,
  ...(fields.length > 0 ? { fields: fields.map(fieldToJson) } : {}),
});

export function fieldLines(fields: readonly Field[], depth: number): string[] {
  const width = Math.max(...fields.map(({ name }) => name.length));
  return fields.flatMap(({ name, bits, value, meaning, fields: inner }) => [
    `${'  '.repeat(depth)}${name.padEnd(width)}  ${bits.padStart(5)}  ${hex(value)}${meaning === '' ? '' : `  ${meaning}`}`,
    ...(inner.length > 0 ? fieldLines(inner, depth + 1) : []),
  ]);
}
