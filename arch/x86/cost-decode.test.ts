import { beforeAll, describe, expect, it } from 'vitest';
import { type Disassembler, loadDisassembler } from '../../emulator/disassembler.ts';
import { PORTS } from './cost-classes.ts';
import { decodeX86Cost } from './cost-decode.ts';
import { CARRY, FLAGS, RAX, RBX, RCX, RDI, RDX, RSP, TEMPORARY } from './cost-operands.ts';

let disassembler: Disassembler;
beforeAll(async () => {
  disassembler = await loadDisassembler();
});

function decode(hex: string) {
  const bytes = Uint8Array.from(hex.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));
  const [insn] = disassembler.disassemble(bytes, { arch: 'x86_64', address: 0x1000n });
  expect(insn.bytes.length).toBe(bytes.length);
  return decodeX86Cost(insn);
}

const outside = (values: readonly number[]) =>
  [...new Set(values.filter((value) => value < TEMPORARY))].sort((a, b) => a - b);
const readsOf = (hex: string) => outside(decode(hex).uops.flatMap((uop) => uop.reads));
const writesOf = (hex: string) => outside(decode(hex).uops.flatMap((uop) => uop.writes));

describe('registers and flags', () => {
  it('are read and written as the manual says', () => {
    // add rax, rcx
    expect(readsOf('4801c8')).toEqual([RAX, RCX]);
    expect(writesOf('4801c8')).toEqual([RAX, CARRY, FLAGS]);
    // adc rax, rcx reads the carry
    expect(readsOf('4811c8')).toEqual([RAX, RCX, CARRY]);
    // inc eax leaves the carry
    expect(writesOf('ffc0')).toEqual([RAX, FLAGS]);
    // mul rcx
    expect(readsOf('48f7e1')).toEqual([RAX, RCX]);
    expect(writesOf('48f7e1')).toEqual([RAX, RDX, CARRY, FLAGS]);
    // setb al keeps the rest of rax and reads the carry alone
    expect(readsOf('0f92c0')).toEqual([RAX, CARRY]);
    // seta al needs both
    expect(readsOf('0f97c0')).toEqual([RAX, CARRY, FLAGS]);
  });

  it('treat a 32-bit write as the whole register, a smaller one as a part', () => {
    // mov eax, ebx; mov ax, bx; mov al, bl
    expect(readsOf('89d8')).toEqual([RBX]);
    expect(readsOf('6689d8')).toEqual([RAX, RBX]);
    expect(readsOf('88d8')).toEqual([RAX, RBX]);
  });

  it('need nothing for a zero idiom', () => {
    // xor eax, eax
    expect(readsOf('31c0')).toEqual([]);
    expect(decode('31c0').uops.every((uop) => uop.ports === 0)).toBe(true);
    // xor al, al is none
    expect(readsOf('30c0')).toEqual([RAX]);
  });
});

describe('what the renamer does', () => {
  it('is a move between whole registers', () => {
    expect(decode('4889d8').uops.map((uop) => uop.ports)).toEqual([0]);
    expect(decode('88d8').uops.map((uop) => uop.ports)).toEqual([PORTS.alu]);
  });

  it('is a small sum of 64 bits', () => {
    // add rax, 5; add rax, 100000; add eax, 5
    expect(decode('4883c005').uops[0].ports).toBe(0);
    expect(decode('4805a0860100').uops[0].ports).not.toBe(0);
    expect(decode('83c005').uops[0].ports).not.toBe(0);
  });
});

describe('memory operands', () => {
  it('become loads and stores with their address', () => {
    // mov rax, [rdi+rcx*4+16]
    const load = decode('488b448f10');
    expect(load.accesses).toMatchObject([{ base: RDI, index: RCX, scale: 4, disp: 16, width: 8 }]);
    expect(load.uops.map((uop) => uop.ports)).toEqual([PORTS.load]);
    // add [rdi], rax
    const modify = decode('480107');
    expect(modify.uops.map((uop) => uop.ports)).toEqual([
      PORTS.load,
      PORTS.alu,
      PORTS.storeAddress,
      PORTS.storeData,
    ]);
    expect(modify.slots).toBe(2);
    // push rax
    expect(decode('50').accesses).toMatchObject([{ base: RSP, disp: -8 }]);
  });

  it('of lea are only counted', () => {
    // lea rax, [rdi+rcx*4]
    const lea = decode('488d048f');
    expect(lea.accesses).toEqual([]);
    expect(lea.uops).toMatchObject([{ ports: PORTS.lea, latency: 2, reads: [RDI, RCX] }]);
  });

  it('of a nop are nothing', () => {
    expect(decode('0f1f4000').accesses).toEqual([]);
  });

  it('relative to rip are marked', () => {
    expect(decode('488b0510000000').accesses).toMatchObject([{ base: -1, relative: true }]);
  });
});

describe('prefixes and fusion', () => {
  it('lock, with or without the prefix', () => {
    // lock add [rdi], rax; xchg [rdi], rax; xchg rax, rcx
    expect(decode('f0480107').locked).not.toBeNull();
    expect(decode('488707').locked).not.toBeNull();
    expect(decode('4891').locked).toBeNull();
  });

  it('repeat by the count', () => {
    // rep movsb; short copies all cost the same, long ones more
    const { repeat } = decode('f3a4');
    expect(repeat?.slots(1, false)).toBe(repeat?.slots(128, false));
    expect(repeat?.slots(4096, false)).toBeGreaterThan(repeat?.slots(512, false) ?? 0);
    // pause is no repetition
    expect(decode('f390').repeat).toBeNull();
  });

  it('change the length of an immediate', () => {
    // add ax, 0x1234; add ax, 5 in its short form; mov word [rdi], 5
    expect(decode('66053412').slowLength).toBe(true);
    expect(decode('6683c005').slowLength).toBe(false);
    expect(decode('66c7070500').slowLength).toBe(true);
  });

  it('fuse a comparison with the branch after it, but not memory with an immediate', () => {
    // cmp rax, rcx; cmp [rdi], rax; cmp qword [rdi], 5; mov rax, rcx
    expect(decode('4839c8').fusible).toBe(true);
    expect(decode('483907').fusible).toBe(true);
    expect(decode('48833f05').fusible).toBe(false);
    expect(decode('4889c8').fusible).toBe(false);
  });
});

it('takes any bytes', () => {
  for (const hex of ['06', 'd9c0', 'c5f877', '62f17c48580d00000000', '0f0b', 'f4', '0fa2']) {
    expect(() => decode(hex)).not.toThrow();
  }
});
