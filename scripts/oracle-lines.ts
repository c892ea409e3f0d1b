// Reads files of golden cases and checks each line against its format before anything runs, so that a slip in a file is
// told with its line, its field and what should stand there. Fields that a format does not name are left alone.
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { z } from 'zod';
import { ARM64_CPUS } from '../arch/arm64/features.ts';
import type { GoldenCase } from '../arch/oracle.ts';
import { isCycleCase } from './oracle-cycles.ts';

/** A mistake of the user's: told in one line, exit code 2. */
export class UsageError extends Error {}

export interface Line {
  readonly kind: 'x86' | 'arm64' | 'cycles';
  /** FILE:LINE */
  readonly place: string;
  readonly golden: GoldenCase;
}

const hex = z
  .string()
  .regex(/^0x[0-9a-fA-F]{1,16}$/, 'must be a hex string of at most 64 bits, such as "0x1000"');
const frame = (size: number) =>
  hex.refine((text) => BigInt(text) % BigInt(size) === 0n, `must be a multiple of ${size}`);
const whole = (min: number, max: number) => z.int().min(min).max(max);
const flag = z.union([z.literal(0), z.literal(1)]);
const id = z.string().min(1);

// ---- x86 (FORMAT.md) ----

const x86Entry = z.object({
  level: z.enum(['pml5', 'pml4', 'pdpt', 'pd', 'pt']),
  pa: frame(4096).refine((pa) => BigInt(pa) < 272n << 20n, 'must lie below 272 MiB'),
  index: whole(0, 511),
  entry: hex,
});
const x86Outcome = z.object({
  fault: z.union([
    z.null(),
    z.object({ vector: whole(0, 255), error_code: hex, cr2: hex.optional() }),
  ]),
  pa: hex.optional(),
});
const x86Access = z.object({
  kind: z.enum(['read', 'write', 'rmw', 'fetch']),
  va: hex,
  size: whole(1, 4096),
  seg: z.string().optional(),
});
const x86Ending = { expect: x86Outcome.optional(), manual_allows: z.array(x86Outcome).optional() };
const x86Step = z.discriminatedUnion('op', [
  z.object({ op: z.literal('access'), ...x86Access.shape, ...x86Ending }),
  z.object({ op: z.literal('write_entry'), ...x86Entry.shape }),
  z.object({ op: z.literal('invlpg'), va: hex }),
  z.object({ op: z.enum(['mov_cr3', 'mov_cr4']), value: hex }),
]);
const x86Case = z.object({
  id,
  cr0: hex,
  cr3: hex,
  cr4: hex,
  efer: hex,
  pkru: hex,
  pkrs: hex.optional(),
  cpl: whole(0, 3),
  rflags_ac: flag,
  page1g: z.boolean().optional(),
  tables: z.array(x86Entry),
  steps_before: z.array(x86Step).optional(),
  access: x86Access,
  ...x86Ending,
  tables_after: z.array(x86Entry).optional(),
  tables_after_binding: z.boolean().optional(),
});

// ---- arm64 (FORMAT-arm64.md) ----

const RAM = { base: 0x4000_0000n, end: 0xc000_0000n };
const arm64Descriptor = z.object({
  pa: frame(8).refine(
    (pa) => BigInt(pa) >= RAM.base && BigInt(pa) < RAM.end - 0x1_0000n,
    'must lie in the 2 GiB from 0x40000000',
  ),
  index: whole(0, 8191),
  desc: hex,
});
const arm64Outcome = z.object({
  fault: z.union([z.null(), z.object({ esr: hex, far: hex })]),
  pa: hex.optional(),
  pa2: hex.optional(),
  value: z.union([hex, z.array(hex)]).optional(),
  par: hex.optional(),
  fst: hex.optional(),
  attr: hex.optional(),
  sh: whole(0, 3).optional(),
});
const INSNS = [
  ...['ldr', 'str', 'ldp', 'stp', 'ldtr', 'sttr', 'cas', 'casp', 'ldadd', 'swp', 'ldxr', 'stxr'],
  ...['ldxr_stxr', 'ldxp_stxp', 'ldar', 'stlr', 'dc_zva', 'br', 'prfm_pld', 'prfm_pst', 'dc_cvac'],
  ...['dc_cvap', 'dc_civac', 'dc_ivac', 'dc_cvau', 'ic_ivau'],
  ...['s1e1r', 's1e1w', 's1e0r', 's1e0w', 's1e1rp', 's1e1wp'],
] as const;
const arm64Access = z.object({
  kind: z.string().optional(),
  insn: z.enum(INSNS),
  va: hex,
  size: z.union([1, 2, 4, 8, 16, 32, 64].map((size) => z.literal(size))).optional(),
  el: flag.optional(),
});
const arm64Ending = {
  expect: arm64Outcome.optional(),
  alt: arm64Outcome.optional(),
  tables_after: z.array(arm64Descriptor).optional(),
  tables_open: z.string().optional(),
};
const TLBI = ['vmalle1', 'vae1', 'vaae1', 'vale1', 'vaale1', 'aside1'] as const;
const arm64Step = z.discriminatedUnion('op', [
  z.object({ op: z.literal('access'), access: arm64Access, ...arm64Ending }),
  z.object({ op: z.literal('write'), ...arm64Descriptor.shape }),
  z.object({
    op: z.literal('tlbi'),
    type: z.enum([...TLBI, ...TLBI.map((type) => `${type}is` as const)]),
    va: hex.optional(),
    asid: whole(0, 0xffff).optional(),
  }),
]);
const arm64Case = z
  .object({
    id,
    cpu: z.enum(Object.keys(ARM64_CPUS) as [string, ...string[]]),
    sctlr: hex,
    tcr: hex,
    mair: hex,
    ttbr0: hex,
    ttbr1: hex,
    pan: z.union([flag, z.null()]),
    uao: flag.optional(),
    el: flag,
    tables: z.array(arm64Descriptor),
    access: arm64Access.optional(),
    steps: z.array(arm64Step).min(1).optional(),
    ...arm64Ending,
  })
  .refine((line) => (line.access === undefined) !== (line.steps === undefined), {
    message: 'a case has either "access" or "steps"',
  });

const SCHEMAS = { x86: x86Case, arm64: arm64Case } as const;

/** What a line is by what it holds: x86 cases have CR3, arm64 cases TTBR0_EL1. */
function kindOf(line: object): Line['kind'] | null {
  if (isCycleCase(line)) return 'cycles';
  return 'cr3' in line ? 'x86' : 'ttbr0' in line ? 'arm64' : null;
}

/**
 * The cases of a .jsonl or .jsonl.gz file.
 * @throws UsageError for a file that cannot be read, and for a line that is not as its format says
 */
export function readCases(file: string): Line[] {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
    if (file.endsWith('.gz')) bytes = gunzipSync(bytes);
  } catch (error) {
    throw new UsageError(`${file}: ${(error as Error).message}`);
  }
  const lines = bytes.toString('utf8').split('\n');
  const cases = lines.flatMap((text, at) =>
    text.trim() === '' ? [] : [parseLine(text, `${file}:${at + 1}`)],
  );
  if (cases.length === 0) throw new UsageError(`${file}: no cases in it`);
  return cases;
}

function parseLine(text: string, place: string): Line {
  let line: unknown;
  try {
    line = JSON.parse(text);
  } catch (error) {
    throw new UsageError(`${place}: ${(error as Error).message}; a line is one case in JSON`);
  }
  const kind = typeof line === 'object' && line !== null ? kindOf(line) : null;
  if (kind === null) {
    throw new UsageError(
      `${place}: this kind of case is not known: an x86 case has "cr3", an arm64 case "ttbr0", a cycle case "mode"`,
    );
  }
  if (kind !== 'cycles') check(SCHEMAS[kind], line, place);
  return { kind, place, golden: line as GoldenCase };
}

function check(schema: z.ZodType, line: unknown, place: string): void {
  const { error } = schema.safeParse(line);
  if (error === undefined) return;
  const [issue] = error.issues;
  const named = (line as { id?: unknown }).id;
  const where = [typeof named === 'string' ? named : '', issue.path.join('.')].filter(Boolean);
  throw new UsageError(`${[place, ...where].join(': ')}: ${issue.message}`);
}
