import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { loadDisassembler } from './disassembler.ts';

const { disassemble } = await loadDisassembler();
const from = (hex: string) => Uint8Array.from(Buffer.from(hex, 'hex'));

describe('disassemble', () => {
  it('keeps 64-bit addresses and absolute branch targets', () => {
    const [load, jump] = disassemble(from('488b4708ebfe'), {
      arch: 'x86_64',
      address: 0xffff_ffff_8100_0000n,
    });
    expect(load).toEqual({
      address: 0xffff_ffff_8100_0000n,
      bytes: from('488b4708'),
      mnemonic: 'mov',
      operands: 'rax, qword ptr [rdi + 8]',
      text: 'mov rax, qword ptr [rdi + 8]',
    });
    expect([jump.address, jump.text]).toEqual([0xffff_ffff_8100_0004n, 'jmp 0xffffffff81000004']);
  });

  it('prints GNU syntax on AArch64', () => {
    const insns = disassemble(from('010800f9c0035fd6'), {
      arch: 'arm64',
      address: 0xffff_8000_0000_0000n,
    });
    expect(insns.map(({ text }) => text)).toEqual(['str x1, [x0, #0x10]', 'ret']);
  });

  it('gives data where there is no instruction, and goes on behind it', () => {
    const x86 = disassemble(from('0606c30f'), { arch: 'x86_64', address: 0n });
    expect(x86.map(({ text }) => text)).toEqual(['.byte 0x06', '.byte 0x06', 'ret', '.byte 0x0f']);
    const arm = disassemble(from('ffffffff07000000c0035fd60102'), { arch: 'arm64', address: 0n });
    expect(arm.map(({ text }) => text)).toEqual([
      '.word 0xffffffff',
      'udf #7',
      'ret',
      '.byte 0x01, 0x02',
    ]);
  });

  it.each([
    ['000840f8', 'ldtr x0, [x0]'],
    ['210840b8', 'ldtr w1, [x1]'],
    ['42885fb8', 'ldtr w2, [x2, #-8]'],
    ['639880b8', 'ldtrsw x3, [x3, #9]'],
    ['84f80f38', 'sttrb w4, [x4, #0xff]'],
    ['ffcbdf38', 'ldtrsb wzr, [sp, #-4]'],
    ['200840f8', 'ldtr x0, [x1]'],
  ])('knows unprivileged accesses through their own target: %s', (hex, text) => {
    expect(disassemble(from(hex), { arch: 'arm64', address: 0n })[0].text).toBe(text);
  });

  it('takes more bytes than Capstone does, and cuts no instruction', () => {
    const count = 30_000;
    const bytes = new Uint8Array(count * 7);
    for (let i = 0; i < count; i++) bytes.set(from('488b0578563412'), i * 7);
    const insns = disassemble(bytes, { arch: 'x86_64', address: 0x1000n });
    expect(insns.length).toBe(count);
    expect(new Set(insns.map(({ text }) => text))).toEqual(
      new Set(['mov rax, qword ptr [rip + 0x12345678]']),
    );
    expect(insns.at(-1)!.address).toBe(0x1000n + BigInt((count - 1) * 7));
  });

  it('gives nothing for nothing', () => {
    expect(disassemble(new Uint8Array(0), { arch: 'x86_64', address: 0n })).toEqual([]);
  });

  it('accounts for every byte of anything', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 64 }),
        fc.constantFrom('x86_64' as const, 'arm64' as const),
        fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
        (bytes, arch, address) => {
          const insns = disassemble(bytes, { arch, address });
          expect(Buffer.concat(insns.map((insn) => insn.bytes))).toEqual(Buffer.from(bytes));
          let at = address;
          for (const insn of insns) {
            expect(insn.address).toBe(at);
            at = BigInt.asUintN(64, at + BigInt(insn.bytes.length));
          }
        },
      ),
      { numRuns: 300, seed: 1 },
    );
  });
});
