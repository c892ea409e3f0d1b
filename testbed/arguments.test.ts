// Arguments beyond the registers, and buffers whose overrun faults.
import { describe, expect, it } from 'vitest';
import type { CallSeen } from './call.ts';
import { loadTestHost, runYaml } from './test-run.ts';

const host = await loadTestHost();
/** Loads the last of 16 arguments, and the first on the stack. */
const LAST = {
  x86_64: ['mov rax, [rsp + 80]', 'mov rdx, [rsp + 8]', 'ret'],
  arm64: ['ldr x0, [sp, #56]', 'ldr x1, [sp]', 'ret'],
};
const BYTE = { x86_64: ['mov al, [rdi + rsi]', 'ret'], arm64: ['ldrb w0, [x0, x1]', 'ret'] };
const FIRST_ON_STACK = { x86_64: ['rdx', 107n], arm64: ['x1', 109n] } as const;

describe.each(['x86_64', 'arm64'] as const)('arguments on %s', (arch) => {
  const call = (lines: readonly string[], rest: string): CallSeen => {
    const code = lines.map((line) => `    ${line}`).join('\n');
    const text = `arch: ${arch}\ncode:\n  ${arch}: |\n${code}\n${rest}`;
    return runYaml(host, text, arch).steps[0].seen as CallSeen;
  };

  it('may be 16', () => {
    const args = Array.from({ length: 16 }, (_, i) => 101 + i).join(', ');
    const seen = call(LAST[arch], `args: [${args}]`);
    expect(seen.ret).toBe(116n);
    const [register, value] = FIRST_ON_STACK[arch];
    expect(seen.readRegister(register)).toBe(value);
    expect(seen.outcome).toBe('returned');
  });

  it('that are buffers at the end of their page fault behind their last byte', () => {
    const at = (index: number) =>
      call(BYTE[arch], `args: [{buffer: "010203", at_end: true}, ${index}]`);
    expect(at(2)).toMatchObject({ outcome: 'returned' });
    expect(at(2).ret! & 0xffn).toBe(3n);
    expect(at(3).outcome).toBe('oops');
  });
});
