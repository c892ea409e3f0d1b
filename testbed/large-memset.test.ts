// memset of 64 MiB of arena memory that nobody allocated: a fault for each page, in order, reports until the stream is
// full, and one page that holds what was written.
import { describe, expect, it } from 'vitest';
import type { CallSeen } from './call.ts';
import type { ArchName } from './scenario.ts';
import { loadTestHost, runYaml } from './test-run.ts';

const host = await loadTestHost();
const PAGES = 16384;
/** BPF_STREAM_MAX_CAPACITY (include/linux/bpf.h). */
const STREAM_CAPACITY = 100_000;
const KBASE = { x86_64: 0xffff_c900_01e6_9000n, arm64: 0xffff_8000_8100_8000n };

/** As C libraries fill what is large: string stores, pairs of vector registers. */
const MEMSET: Record<ArchName, string> = {
  x86_64: `
    mov r8, rdi
    movzx eax, sil
    mov r9, 0x0101010101010101
    imul rax, r9
    mov rcx, rdx
    shr rcx, 3
    rep stosq
    mov rax, r8
    ret`,
  arm64: `
    dup v0.16b, w1
    mov x3, x0
  next:
    stp q0, q0, [x3]
    stp q0, q0, [x3, #32]
    add x3, x3, #64
    subs x2, x2, #64
    b.ne next
    ret`,
};

describe.each(['x86_64', 'arm64'] as const)('a memset of 64 MiB on %s', (arch) => {
  it('faults once a page, in order, and reports until the stream is full', () => {
    const lines = MEMSET[arch].trim().split('\n');
    const code = lines.map((line) => `    ${line.trim()}`).join('\n');
    const { steps, failures } = runYaml(
      host,
      `
arch: ${arch}
code:
  ${arch}: |
${code}
args: [{arena: 0x100000}, 0xa5, ${PAGES * 4096}]
limits: {instructions: none}
expect:
  ret: {arena: 0x100000}
  faults: [{page: 256, access: write, resolution: scratch, count: ${PAGES}, step: 1}]
  memory:
    - {offset: 0x100000, hex: "${'a5'.repeat(4096)}"}
    - {offset: ${0x100000 + (PAGES - 1) * 4096}, hex: "${'a5'.repeat(4096)}"}
`,
      arch,
    );
    expect(failures).toEqual([]);
    const seen = steps[0].seen as CallSeen;
    expect(seen.faults.length).toBe(PAGES);
    for (let i = 0; i < PAGES; i++) {
      if (seen.faults.at(i).addr === KBASE[arch] + BigInt(0x100000 + i * 4096)) continue;
      expect([i, seen.faults.at(i).addr]).toEqual([i, 'the start of the next page']);
    }
    const reports = seen.stderr.split('ERROR: Arena WRITE access').slice(1);
    const longest =
      Math.max(...reports.map((text) => text.length)) + 'ERROR: Arena WRITE access'.length;
    expect(reports.length).toBeGreaterThan(50);
    expect(seen.stderrBytes).toBeLessThanOrEqual(STREAM_CAPACITY);
    expect(seen.stderrBytes + longest).toBeGreaterThan(STREAM_CAPACITY);
    // Without holes: the first reports are those of the first pages.
    reports.forEach((text, i) => {
      const address = 0x7f00_0010_0000 + i * 4096;
      expect(text).toContain(` at unmapped address 0x${address.toString(16)}`);
    });
  });
});
