// What the engine is told of A64 instructions: encodings it must not get, and accesses of forms that the engine's own
// table (emulator/unicorn/test-forms.ts) leaves out.
import { describe, expect, it } from 'vitest';
import { type AccessForm, READ, WRITE } from '../../emulator/engine.ts';
import { arm64Instructions as a64 } from './insn.ts';
import { ARM64_REFUSALS } from './refusals.ts';

const bytes = (...words: number[]) => new Uint8Array(Uint32Array.from(words).buffer);
const shown = (form: AccessForm) => ({
  base: form.base,
  at: BigInt.asIntN(64, (BigInt(form.displacementHi) << 32n) | BigInt(form.displacementLo)),
  size: form.size,
  kind: form.kind,
});

const ABORTS = {
  action: 'refuse',
  why: 'unallocated: the process aborts when the core translates them',
};

describe('accesses', () => {
  it.each([
    ['ldr x0, .+8 (literal)', 0x58000040, [{ base: 32, at: 8n, size: 8, kind: READ }]],
    ['ldr q0, .-4', 0x9cffffe0, [{ base: 32, at: -4n, size: 16, kind: READ }]],
    ['ldrsw x0, .+12', 0x98000060, [{ base: 32, at: 12n, size: 4, kind: READ }]],
    ['ldr x0, [sp, #8]', 0xf94007e0, [{ base: 31, at: 8n, size: 8, kind: READ }]],
    ['dc zva, x3', 0xd50b7423, [{ base: 3, at: 0n, size: 1, kind: WRITE }]],
    ['dc civac, x3', 0xd50b7e23, []],
    ['prfm pldl1keep, [x1]', 0xf9800020, []],
    ['prfm pldl1keep, .+8', 0xd8000040, []],
    ['prfum pldl1keep, [x1, #1]', 0xf8801020, []],
    ['add x0, x1, x2', 0x8b020020, []],
    ['stxr w0, x1, [x2]', 0xc8007c41, [{ base: 2, at: 0n, size: 8, kind: WRITE }]],
    ['stlxp w0, x1, x2, [x3]', 0xc8208861, [{ base: 3, at: 0n, size: 16, kind: WRITE }]],
    ['ldapr w0, [x1]', 0xb8bfc020, [{ base: 1, at: 0n, size: 4, kind: READ }]],
    ['ldapur x0, [x1, #8]', 0xd9408020, [{ base: 1, at: 8n, size: 8, kind: READ }]],
    ['stlur w0, [x1, #-4]', 0x991fc020, [{ base: 1, at: -4n, size: 4, kind: WRITE }]],
    ['ldr x0, [x1, xzr]', 0xf87f6820, [{ base: 1, at: 0n, size: 8, kind: READ }]],
  ])('%s', (_text, word, wanted) => {
    expect(a64.accesses(bytes(word)).map(shown)).toEqual(wanted);
  });

  it('knows nothing of code that is not there', () => {
    expect(a64.accesses(new Uint8Array(3))).toEqual([]);
    expect(a64.length(new Uint8Array(3))).toBe(0);
    expect(a64.length(bytes(0, 0))).toBe(4);
  });
});

describe('traps', () => {
  it.each([
    ['wfi', 0xd503207f, { action: 'halt', name: 'wfi' }],
    ['nop', 0xd503201f, null],
    ['fadd v0.8h, v1.8h, v2.8h', 0x4e421420, null],
    ['fmaxnm v0.4h, v0.4h, v0.4h', 0x0e400400, null],
    ['fcvtzs v0.8h, v1.8h', 0x4ef9b820, null],
    ['fsqrt v0.8h, v1.8h', 0x6ef9f820, null],
    ['unallocated three-same, U:a:opcode 5', 0x0e422c00, ABORTS],
    ['unallocated three-same, 0x1f', 0x2ec23c00, ABORTS],
    ['unallocated two-register, 0', 0x4e780800, ABORTS],
    ['unallocated scalar, 0x2f', 0x5ef8f800, ABORTS],
  ])('%s', (_text, word, wanted) => {
    expect(a64.trap(bytes(word))).toEqual(wanted);
  });

  it.each([
    ['mrs x5, cntvct_el0', 0xd53be045, /clock/],
    ['mrs x0, rndr', 0xd53b2400, /random/],
  ])('refuses %s', (_text, word, why) => {
    const trap = a64.trap(bytes(word));
    expect(trap?.action === 'refuse' && trap.why).toMatch(why);
  });

  it.each(ARM64_REFUSALS.map((row) => [row.name, row] as const))(
    'have a true example: %s',
    (_name, row) => {
      expect(a64.trap(Uint8Array.from(Buffer.from(row.example, 'hex')))).toEqual(row.trap);
    },
  );

  it('finds every fatal word of a page, and no other', () => {
    const page = new Uint8Array(4096);
    const words = new Uint32Array(page.buffer);
    words.fill(0x4e421420);
    words[0] = 0x0e422c00;
    words[700] = 0x7ef80800;
    words[1023] = 0x4e780800;
    expect(a64.fatal(page)).toEqual([0, 2800, 4092]);
    for (const at of a64.fatal(page)) {
      expect(a64.trap(page.subarray(at, at + 4))).toEqual(ABORTS);
    }
  });
});
