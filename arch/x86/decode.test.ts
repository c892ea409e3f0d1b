// Lengths of instructions, against GNU as (by the engine's table of forms) and against where the core's own translator
// finds the end of each opcode.
import { describe, expect, it } from 'vitest';
import {
  dropCallback,
  makeCallback,
  type Pointer,
  readBlock,
} from '../../emulator/unicorn/binding.ts';
import { UC_HOOK_EDGE_GENERATED } from '../../emulator/unicorn/constants.ts';
import type { Core } from '../../emulator/unicorn/core.ts';
import { X86_FORMS } from '../../emulator/unicorn/test-forms-x86.ts';
import { CODE, CODE_PA, DATA, TestMachine } from '../../emulator/unicorn/test-machine.ts';
import { decode } from './decode.ts';
import { x86Instructions } from './insn.ts';
import { x86Description } from './registers.ts';

const bytes = (hex: string) => Uint8Array.from(Buffer.from(hex.replace(/ /g, ''), 'hex'));

describe('length', () => {
  it.each(X86_FORMS.map(([text, code]) => ({ text, code })))('$text', ({ code }) => {
    const own = bytes(code);
    expect(decode(own).length).toBe(own.length);
    expect(decode(bytes(`${code} 9090909090`)).length).toBe(own.length);
    for (let cut = 0; cut < own.length; cut++) expect(decode(own.subarray(0, cut)).length).toBe(0);
  });

  it.each([
    ['mov rax, imm64', '48b8 1122334455667788', 10],
    ['mov eax, imm32', 'b8 11223344', 5],
    ['mov ax, imm16', '66b8 1122', 4],
    ['mov al, moffs64', 'a0 1122334455667788', 9],
    ['mov al, moffs32', '67a0 11223344', 6],
    ['absolute address by SIB', '8b0425 11223344', 7],
    ['rip-relative', '488b05 11223344', 7],
    ['base of r12 needs a SIB', '498b0424', 4],
    ['base of r13 needs a displacement', '498b4500', 4],
    ['test with an immediate', 'f605 11223344 55', 7],
    ['not without one', 'f615 11223344', 6],
    ['enter', 'c8 1122 33', 4],
    ['mov to cr3 ignores mod', '0f2218', 3],
    ['REX before a prefix counts for nothing', '4866b8 1122', 5],
    ['two REX prefixes', '4841b8 11223344', 7],
    ['more than fifteen bytes', '66666666666666666666666666 b81122', 0],
    ['fifteen bytes', '666666666666666666666666 b81122', 15],
    ['no instruction in 64-bit mode', '06', 0],
  ])('%s', (_text, code, length) => {
    expect(decode(bytes(`${code}`)).length).toBe(length);
  });
});

describe('the core', () => {
  const m = new TestMachine(x86Description, '');
  const core = (m.cpu as unknown as { core: Core }).core;
  const start = m.cpu.save();
  let size = 0;
  const edge = makeCallback('edge', (_uc: Pointer, current: Pointer) => {
    const block = readBlock(current);
    if (BigInt.asUintN(64, BigInt(block.pc)) === CODE) size = block.size;
  });
  core.binding.addHook(core.handle, UC_HOOK_EDGE_GENERATED, edge);

  /** An undocumented TEST, which the core does not have. */
  const differs = (map: string, opcode: number, reg: number) =>
    map === '' && (opcode | 1) === 0xf7 && reg === 1;

  it.each(['', '66', 'f2', 'f3', '48', '6648'])(
    'ends every opcode where we do, prefix "%s"',
    (prefix) => {
      const wrong: string[] = [];
      let seen = 0;
      for (const map of ['', '0f', '0f38', '0f3a']) {
        for (let opcode = 0; opcode < 256; opcode++) {
          // A register, and memory with a displacement of one byte and of four.
          for (const modrm of [0xc1, 0x4f, 0x97]) {
            const code = bytes(`${prefix}${map}${opcode.toString(16).padStart(2, '0')}`);
            const all = Uint8Array.from([
              ...code,
              modrm,
              0x11,
              0x22,
              0x33,
              0x44,
              0x55,
              0x66,
              0x77,
              0x88,
            ]);
            if (x86Instructions.trap(all) !== null) continue;
            // Prefixes are no opcodes.
            if (map === '' && decode(Uint8Array.from([opcode, 0x90])).opcode !== opcode) continue;
            if (differs(map, opcode, (modrm >> 3) & 7)) continue;
            m.ram.bytes.fill(0xf4, CODE_PA, CODE_PA + 32);
            m.ram.write(CODE_PA, all);
            m.cpu.restore(start);
            m.cpu.flushCode();
            m.cpu.flushTlb();
            m.set({ rdi: DATA, rcx: 1, rsp: DATA + 0x800n });
            size = 0;
            const stop = m.cpu.step();
            if (size === 0 || (stop.reason === 'exception' && stop.number === 6)) continue;
            seen++;
            const { length } = decode(all);
            if (length !== size)
              wrong.push(`${Buffer.from(all).toString('hex')}: ${length}, core ${size}`);
          }
        }
      }
      expect(wrong).toEqual([]);
      expect(seen).toBeGreaterThan(500);
    },
  );

  it('is let go', () => {
    m.cpu.close();
    dropCallback(edge);
  });
});
