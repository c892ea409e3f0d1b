// Random kernels, callers and accesses: which faults come, what becomes of each and what is reported, beside a second
// answer that is worked out here from the description of the kernel's behaviour and shares no code with the model. The
// seed is printed with a failure.
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { hex } from '../emulator/bits.ts';
import type { ArchName } from './scenario.ts';
import { loadTestHost, runYaml } from './test-run.ts';

const SZ_4G = 2n ** 32n;
const CODE: Readonly<
  Record<ArchName, readonly (readonly [size: bigint, write: boolean, string])[]>
> = {
  x86_64: [
    [1n, true, 'mov [rdi], sil'],
    [2n, true, 'mov [rdi], si'],
    [4n, true, 'mov [rdi], esi'],
    [8n, true, 'mov [rdi], rsi'],
    [1n, false, 'movzx eax, byte ptr [rdi]'],
    [8n, false, 'mov rax, [rdi]'],
  ],
  arm64: [
    [1n, true, 'strb w1, [x0]'],
    [2n, true, 'strh w1, [x0]'],
    [4n, true, 'str w1, [x0]'],
    [8n, true, 'str x1, [x0]'],
    [1n, false, 'ldrb w0, [x0]'],
    [8n, false, 'ldr x0, [x0]'],
  ],
};
const VM_STARTS: Readonly<Record<ArchName, readonly bigint[]>> = {
  x86_64: [0xffffc90001e69000n, 0xffffc900401ff000n, 0xffffc97ffffff000n, 0xffffca0000000000n],
  arm64: [0xffff800081010000n, 0xffff8000c1ff0000n, 0xffff807fffff0000n, 0xffff9000fff80000n],
};
/** Callers in YAML, and whether the innermost program that a walk finds uses the arena: on x86 and on arm64. */
const CALLERS: readonly (readonly [string, boolean, boolean])[] = [
  ['bpf', true, true],
  ['kernel', false, false],
  ['bpf_without_arena', false, false],
  ['{frames: [{prog: p, subprogram: true}, {prog: q, arena: none}]}', true, true],
  ['{frames: [{prog: p, at_end: true}]}', true, true],
  ['{frames: [{prog: q, arena: none, at_end: true}, {prog: p}]}', false, false],
  // The code keeps no frame record: on arm64 that hides the program that calls it.
  ['{direct: true, frames: [{prog: p}]}', true, false],
  ['{direct: true, frames: [{prog: p}, {prog: q, arena: none}]}', true, false],
];

const access = fc.record({
  /** Page: its place among those worth a visit. */
  spot: fc.nat(9),
  delta: fc.constantFrom(0n, 0x10n, 0x123n, -1n, -4n, -8n),
  insn: fc.nat(5),
  /** To where the last access went, or the page behind it. */
  again: fc.constantFrom(null, null, 0n, 1n),
});
const world = fc.record({
  arch: fc.constantFrom<ArchName>('x86_64', 'arm64'),
  series: fc.constantFrom('v2', 'mainline'),
  granule: fc.constantFrom(4096n, 4096n, 16384n, 65536n),
  flags: fc.record({ pti: fc.boolean(), la57: fc.boolean(), hafdbs: fc.boolean() }),
  contpte: fc.constantFrom(true, true, true, false),
  bpfSyscall: fc.constantFrom(true, true, true, true, false),
  unwinder: fc.constantFrom('orc', 'orc', 'orc', 'frame_pointer', 'none'),
  vmStart: fc.nat(3),
  low: fc.constantFrom(0n, 0x26200000n, 0xfff00000n),
  pages: fc.integer({ min: 1, max: 16 }),
  caller: fc.nat(CALLERS.length - 1),
  accesses: fc.array(access, { minLength: 1, maxLength: 4 }),
});
type Drawn = typeof world extends fc.Arbitrary<infer T> ? T : never;

/** What one access must come to. */
interface Wanted {
  outcome: 'returned' | 'oops' | 'budget';
  faults: { addr: bigint; code: bigint | null; resolution: 'scratch' | 'oops' }[];
  reports: string[];
}

const HIGH = 0x7f7dn << 32n;

/** The scenario, and what must come of each of its calls. */
function predict(drawn: Drawn): { yaml: string; wanted: Wanted[] } {
  const { arch, flags } = drawn;
  const x86 = arch === 'x86_64';
  const page = x86 ? 4096n : drawn.granule;
  const guard = page === 65536n ? 0x10000n : 0x8000n;
  const kbase = VM_STARTS[arch][drawn.vmStart];
  const first = drawn.low / page;
  const mapped = new Set([first]);
  const [caller, foundX86, foundArm64] = CALLERS[drawn.caller];
  const found = x86 ? foundX86 && drawn.unwinder === 'orc' : foundArm64;
  const recovers = found && drawn.bpfSyscall;
  const lastPage = first + BigInt(drawn.pages) - 1n;
  const ends = [0n, first, first + 1n, lastPage, SZ_4G / page - 1n, SZ_4G / page];
  const spots = [...ends, (SZ_4G + guard) / page - 1n, (SZ_4G + guard) / page, -1n, -guard / page];
  let last = 0n;
  const steps: string[] = [];
  const wanted = drawn.accesses.map(({ spot, delta, insn, again }): Wanted => {
    const [size, write, text] = CODE[arch][insn];
    const at = again === null ? spots[spot] : last + again;
    const va = kbase + at * page + (delta < 0n ? page + delta : delta);
    last = at;
    steps.push(
      `  - call: {code: {${arch}: "${text}; ret"}, args: [{va: ${hex(va)}}, 5], caller: ${caller}}`,
    );
    const result: Wanted = { outcome: 'returned', faults: [], reports: [] };
    for (let byte = va; byte < va + size; byte += page - (byte % page)) {
      const inRange = byte >= kbase && byte < kbase + SZ_4G + guard;
      const number = (byte - kbase) / page;
      if (inRange && mapped.has(number)) continue;
      const code = x86 ? (write ? 2n : 0n) : inRange ? (write ? 0x96000047n : 0x96000007n) : null;
      const recovered = inRange && recovers;
      const never = recovered && !x86 && !drawn.contpte;
      for (let i = never ? 64 : 1; i > 0; i--) {
        result.faults.push({ addr: byte, code, resolution: recovered ? 'scratch' : 'oops' });
        if (!recovered) continue;
        const printed = (HIGH + number * page).toString(16);
        const kind = write ? 'WRITE' : 'READ';
        result.reports.push(`ERROR: Arena ${kind} access at unmapped address 0x${printed}`);
      }
      if (!recovered || never) {
        result.outcome = recovered ? 'budget' : 'oops';
        break;
      }
      mapped.add(number);
    }
    return result;
  });
  const kernel = x86
    ? `pti: ${flags.pti}, la57: ${flags.la57}, unwinder: ${drawn.unwinder}`
    : `pti: ${flags.pti}, page_size: ${page}, contpte: ${drawn.contpte}, hafdbs: ${flags.hafdbs}`;
  const yaml = [
    `arch: ${arch}`,
    `series: ${drawn.series}`,
    `arena: {pages: ${drawn.pages}, user_vm_start: ${hex(HIGH + drawn.low)}, alloc: [[0, 1]]}`,
    `kernel: {vm_start: {${arch}: ${hex(kbase)}}, bpf_syscall: ${drawn.bpfSyscall}, ${kernel}}`,
    'steps:',
    ...steps,
  ].join('\n');
  return { yaml, wanted };
}

it('accesses fault, recover and are reported as described, whatever the kernel and the caller', async () => {
  const host = await loadTestHost();
  fc.assert(
    fc.property(world, (drawn) => {
      const { yaml, wanted } = predict(drawn);
      const got = runYaml(host, yaml, drawn.arch).steps.map(({ seen }): Wanted => {
        if (seen.kind !== 'call') throw new Error(seen.kind);
        const faults = Array.from({ length: seen.faults.length }, (_, i) => seen.faults.at(i));
        return {
          outcome: seen.outcome as Wanted['outcome'],
          faults: faults.map(({ addr, code, resolution }) => ({
            addr,
            code,
            resolution: resolution as 'scratch' | 'oops',
          })),
          reports: seen.stderr.split('\n').filter((line) => line.startsWith('ERROR')),
        };
      });
      // Outside of the recovery range the level at which a walk ends depends on what else lies near.
      wanted.forEach(({ faults }, i) => {
        faults.forEach((fault, n) => {
          fault.code ??= got[i].faults[n]?.code ?? null;
        });
      });
      expect(got).toEqual(wanted);
    }),
    { numRuns: 400 },
  );
});
