// The code of a fault at an unallocated arena page, whichever of its tables is missing: on arm64 DFSC names the level.
// The tables are shared with the kernel's text, which its TLB entry keeps alive, as on hardware.
import { describe, expect, it } from 'vitest';
import { virtAddr } from '../emulator/address.ts';
import { READ } from '../emulator/engine.ts';
import type { CallSeen } from './call.ts';
import { WorldRun } from './run.ts';
import { type ArchName, parseScenario } from './scenario.ts';
import { loadTestHost } from './test-run.ts';

const host = await loadTestHost();

const CODE = {
  x86_64: { read: 'mov rax, [rdi]', write: 'mov [rdi], rax' },
  arm64: { read: 'ldr x1, [x0]', write: 'str x1, [x0]' },
};
/** Unallocated. */
const OFFSET = 0x1008n;

/** Runs one access with the entry at a level of its walk cleared just before it. @returns address and code of its fault */
function fault(arch: ArchName, access: 'read' | 'write', level: number): [bigint, bigint] {
  const document = {
    arch,
    arena: { alloc: [[0, 1]] },
    code: { [arch]: `nop\n${CODE[arch][access]}\nret` },
    args: [{ arena: `${OFFSET}` }],
  };
  const { worlds } = parseScenario(JSON.stringify(document), 'levels.json', () => new Uint8Array());
  const run = new WorldRun(host, worlds[arch]!);
  try {
    const { kernel, places, steps } = run;
    const [vcpu] = kernel.cpus;
    const va = virtAddr(places[0].kbase + OFFSET);
    let first: bigint | null = null;
    vcpu.beforeInstruction = (ip) => {
      first ??= ip;
      if (ip === first) return;
      const { entryAddr } = vcpu.paging.inspect(va, READ).levels[level];
      kernel.ram.write64(Number(entryAddr), 0n);
    };
    const { faults } = run.runStep(steps[0]).seen as CallSeen;
    const { addr, code } = faults.at(0);
    return [addr - va, code];
  } finally {
    run.close();
  }
}

describe('a fault at an unallocated page of the arena', () => {
  it.each([
    ['arm64', 'read', 0, 0x9600_0004n],
    ['arm64', 'read', 1, 0x9600_0005n],
    ['arm64', 'read', 2, 0x9600_0006n],
    ['arm64', 'read', 3, 0x9600_0007n],
    ['arm64', 'write', 0, 0x9600_0044n],
    ['arm64', 'write', 1, 0x9600_0045n],
    ['arm64', 'write', 2, 0x9600_0046n],
    ['arm64', 'write', 3, 0x9600_0047n],
    // x86 does not tell.
    ['x86_64', 'read', 0, 0n],
    ['x86_64', 'read', 1, 0n],
    ['x86_64', 'read', 2, 0n],
    ['x86_64', 'write', 0, 2n],
    ['x86_64', 'write', 3, 2n],
  ] as const)(
    'on %s, a %s that finds nothing at step %i of its walk',
    (arch, access, level, code) => {
      expect(fault(arch, access, level)).toEqual([0n, code]);
    },
  );
});
