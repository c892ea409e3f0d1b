// For tests: the documents that `--json` prints, as the description of the scenario format promises them. No key may be
// missing, and none may be there that is not listed.
import { z } from 'zod';

export const hex = z.string().regex(/^0x(0|[1-9a-f][0-9a-f]{0,15})$/);
const count = z.int().min(0);
const failure = z.strictObject({ expect: z.string(), wanted: z.string(), got: z.string() });
type Decoded = { [name: string]: string | Decoded };
const decoded: z.ZodType<Decoded> = z.lazy(() => z.record(z.string(), z.union([hex, decoded])));
const streams = z.strictObject({ stdout: z.string(), stderr: z.string() });
const fault = z.strictObject({
  cpu: count,
  ip: hex,
  addr: hex,
  page: count.nullable(),
  access: z.enum(['read', 'write', 'fetch']),
  code: hex,
  decoded,
  resolution: z.enum(['scratch', 'extable', 'kfence', 'spurious', 'oops']),
});
const base = {
  scenario: z.string(),
  name: z.string(),
  arch: z.enum(['x86_64', 'arm64']),
  series: z.enum(['v2', 'mainline']),
  policies: z.array(z.string()),
  pass: z.boolean(),
  failures: z.array(failure),
};
const run = {
  ...base,
  outcome: z.enum(['returned', 'oops', 'budget', 'halted', 'engine']),
  ret: hex.nullable(),
  kbase: hex,
  instructions: count,
  cycles: count.nullable(),
  cost: z.string(),
  faults: z.array(fault),
  streams,
  oops: z.array(z.string()).nullable(),
  registers: z.record(z.string(), hex),
};
const call = {
  ...run,
  why: z.string().optional(),
  ip: hex.optional(),
  bytes: z
    .string()
    .regex(/^[0-9a-f]*$/)
    .optional(),
  replay: z.string(),
};
const place = { step: z.string(), line: z.int().min(1) };
const errno = z.union([z.literal(0), z.string().regex(/^-E[A-Z0-9]+$/)]);
const plainStep = <T extends z.ZodRawShape>(step: string, facts: T) =>
  z.strictObject({ ...run, ...place, replay: z.string(), step: z.literal(step), ...facts });
export const step = z.union([
  z.strictObject({ ...call, ...place, step: z.literal('call') }),
  // The kernel never comes out of it.
  z.strictObject({ ...call, ...place, outcome: z.literal('budget'), why: z.string() }),
  plainStep('alloc', { result: z.strictObject({ page: z.int() }).nullable() }),
  plainStep('free', { freed: count }),
  plainStep('worker', { freed: count }),
  plainStep('destroy', { freed: count, leaked: count }),
  plainStep('reserve', { result: errno }),
  plainStep('create', { result: errno }),
  plainStep('user', {
    result: z.enum(['ok', 'SIGSEGV', 'SIGBUS', 'RETRY']),
    value: hex.nullable(),
  }),
  plainStep('pte', { value: hex, kind: z.enum(['none', 'scratch', 'page', 'other']) }),
  plainStep('streamRead', { result: errno, bytes: count }),
  plainStep('streamPrint', { result: errno, bytes: count }),
]);
export const runDocument = z.union([
  z.strictObject(call),
  z.strictObject({ ...run, steps: z.array(step), replay: z.string() }),
]);
export const testDocument = z.strictObject({
  passed: count,
  failed: count,
  skipped: count,
  results: z.array(z.union([runDocument, z.looseObject({ scenario: z.string() })])),
});
