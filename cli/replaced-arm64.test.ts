// The fault path of arm64 in compiled code, function by function: faults of every status code, most of which no access
// raises, are handed to the kernel as if they had happened. Events and outcomes must be the model's.
import { beforeAll, describe, expect, it } from 'vitest';
import { dataAbort, instructionAbort } from '../arch/arm64/fault-code.ts';
import type { VirtAddr } from '../emulator/address.ts';
import { hex } from '../emulator/bits.ts';
import { type AccessKind, FETCH, READ, WRITE } from '../emulator/engine.ts';
import { EventSink } from '../emulator/events.ts';
import { finish, KernelStuck } from '../mm/context.ts';
import type { ReplaceableName } from '../testbed/replace/functions/index.ts';
import { type RunHost, WorldRun } from '../testbed/run.ts';
import { parseScenario, type World } from '../testbed/scenario.ts';
import type { CallStep } from '../testbed/step-model.ts';
import { loadHost } from './host.ts';
import { comparable, GROUPS, lineOf, replacing } from './test-replaced.ts';

let host: RunHost;
beforeAll(async () => {
  host = await loadHost();
});

const POOL = 0xffff_0000_3000_0000n;

/** Each instruction but the first has an entry of another type. */
const TEXT = `
arch: arm64
kernel: {kfence: {pool: ${hex(POOL)}, objects: 4}}
arena: {alloc: [[0, 1]]}
code:
  arm64: |
    plain: nop
    zeroed: nop
    copied: nop
    stored: nop
    padded: nop
    fixed: ret
extable:
  - {insn: zeroed, fixup: fixed, type: kaccess_err_zero, data: 0x1e3}
  - {insn: copied, fixup: fixed, type: uaccess_cpy, data: 0}
  - {insn: stored, fixup: fixed, type: uaccess_cpy, data: 1}
  - {insn: padded, fixup: fixed, type: load_unaligned_zeropad, data: 0x44}
args: [{arena: 0}, 1, {arena: 0x5}]
`;
const INSTRUCTIONS = 5;

const world: World = parseScenario(TEXT, 'faults.yaml', () => {
  throw new Error('there is no file');
}).worlds.arm64!;

interface Fault {
  /** Number of the interrupted instruction. */
  readonly at: number;
  readonly va: bigint;
  readonly esr: bigint;
}

const ALL_CODES = Array.from({ length: 64 }, (_, fsc) => fsc);
const SOME_CODES = [0, 4, 7, 11, 15, 16, 17, 33, 0x2b];

/** Faults at an absent and a mapped page of the arena, beyond it, at NULL, in user space, and in the pool. */
function faults(run: WorldRun, codes: readonly number[]): Fault[] {
  const { kernVmStart, recoveryEnd } = run.kernel.arenas.get('arena')!;
  const places = [kernVmStart + 0x7010n, kernVmStart + 8n, recoveryEnd + 0x123n, 0x10n];
  const addresses = [...places, 0xab00_7f00_0000_1000n, 0x0100_0000_0000_0000n, POOL + 0x1008n];
  const esrs = codes.flatMap((fsc) => [
    dataAbort(false, fsc, false, false),
    dataAbort(false, fsc, true, false),
    instructionAbort(false, fsc),
  ]);
  let at = 0;
  return esrs.flatMap((esr) =>
    addresses.map((va) => ({ at: at++ % INSTRUCTIONS, va, esr: BigInt(esr) })),
  );
}

/**
 * What the kernel made of each fault, and how often each compiled function ran.
 * @param level null: the model does it all
 * @param unseen functions of the object, which may call each other
 */
function deliver(
  names: readonly ReplaceableName[],
  level: string | null,
  codes = ALL_CODES,
  unseen = names,
) {
  const sink = new EventSink();
  const told: string[] = [];
  const ran = new Map<string, number>();
  sink.read((event) => {
    if (event.type === 'decision' && event.text.startsWith('compiled: ')) {
      ran.set(event.fn, (ran.get(event.fn) ?? 0) + 1);
    }
    const same = comparable(event, unseen);
    if (same !== null) told.push(lineOf(same));
  }, false);
  const run = new WorldRun(host, level === null ? world : replacing(world, names, level), {
    events: sink,
  });
  try {
    const call = run.startCall(run.steps[0] as CallStep);
    const { cpu } = call.vcpu;
    const start = cpu.readRegister('pc');
    const state = cpu.save();
    for (const { at, va, esr } of faults(run, codes)) {
      const ip = (start + BigInt(at * 4)) as VirtAddr;
      cpu.writeRegister('pc', ip);
      const kind: AccessKind = esr >> 26n === 0x21n ? FETCH : esr & 0x40n ? WRITE : READ;
      const fault = { ip, va: va as VirtAddr, kind, vector: Number(esr >> 26n), code: esr };
      told.push(`${hex(esr)} at ${hex(va)}, instruction ${at}`);
      try {
        const path = call.vcpu.enter(fault);
        const end = 'outcome' in path ? path : call.vcpu.conclude(fault, finish(path));
        told.push(lineOf({ end, regs: [...call.vcpu.regs.words] }));
      } catch (error) {
        if (!(error instanceof KernelStuck)) throw error;
        told.push(error.message);
      }
      cpu.restore(state);
    }
  } finally {
    run.close();
  }
  return { told, ran };
}

/** The first line in which they differ, with the fault that it is about. */
function difference(model: readonly string[], compiled: readonly string[]): string | null {
  const at = model.findIndex((line, i) => line !== compiled[i]);
  if (at < 0 && model.length === compiled.length) return null;
  const fault = model.slice(0, at + 1).findLast((line) => line.startsWith('0x'));
  return `${fault}\n  model:    ${model[at]}\n  compiled: ${compiled[at]}`;
}

const FAULT = GROUPS.FAULT_ARM64.names;
const EXTABLE = GROUPS.EXTABLE_ARM64.names;
const TRAPS = GROUPS.TRAPS_ARM64.names;

/** What no fault of the table comes to: programs have their own scenarios, and an entry of type `none` makes BUG(). */
const ELSEWHERE: readonly string[] = ['ex_handler_bpf', 'bug_brk_handler'];

describe('faults of every status code', () => {
  it.each(['O0', 'O2'])('in compiled code at -%s', (level) => {
    for (const names of [FAULT, EXTABLE, TRAPS, [...FAULT, ...EXTABLE, ...TRAPS]]) {
      const compiled = deliver(names, level);
      expect(difference(deliver(names, null).told, compiled.told)).toBeNull();
      expect([...compiled.ran.values()].reduce((sum, n) => sum + n)).toBeGreaterThan(100);
    }
  });

  it.each([...FAULT, ...EXTABLE, ...TRAPS].filter((name) => !ELSEWHERE.includes(name)))(
    'where %s alone is compiled',
    (name) => {
      const unseen = [FAULT, EXTABLE, TRAPS].find((names: readonly string[]) =>
        names.includes(name),
      )!;
      const model = deliver([name], null, SOME_CODES, unseen);
      const compiled = deliver([name], 'O2', SOME_CODES, unseen);
      expect(difference(model.told, compiled.told)).toBeNull();
      expect(compiled.ran.get(name)).toBeGreaterThan(0);
    },
  );
});
