import { beforeAll, describe, expect, it } from 'vitest';
import { virtAddr } from '../../emulator/address.ts';
import { type Assembler, loadAssembler } from '../../emulator/assembler.ts';
import { type Disassembler, loadDisassembler } from '../../emulator/disassembler.ts';
import { DATA, DATA_PA, TestMachine } from '../../emulator/unicorn/test-machine.ts';
import { type DecodedInsn, DerivedOrc } from './orc.ts';
import { x86Description } from './registers.ts';

const TEXT = 0xffffffff81000000n;

let assembler: Assembler;
let disassembler: Disassembler;
beforeAll(async () => {
  [assembler, disassembler] = await Promise.all([loadAssembler(), loadDisassembler()]);
});

/** Whole 32-bit words. */
function padded(bytes: Uint8Array): Uint8Array {
  const whole = new Uint8Array(Math.ceil(bytes.length / 4) * 4);
  whole.set(bytes);
  return whole;
}

/**
 * The function under test in assembly, and how often it was decoded.
 * @param byLabel every label is a function of its own
 */
function derive(code: string, byLabel = false) {
  const { bytes, labels } = assembler.assemble(code, { arch: 'x86_64', address: TEXT });
  let decoded = 0;
  const decode = (va: bigint): DecodedInsn | null => {
    decoded++;
    const at = Number(va - TEXT);
    const rest = bytes.subarray(at, at + 15);
    const [insn] = disassembler.disassemble(rest, { arch: 'x86_64', address: va });
    return { length: insn.bytes.length, mnemonic: insn.mnemonic, operands: insn.operands };
  };
  const end = virtAddr(TEXT + BigInt(bytes.length));
  const starts = byLabel ? [...labels.values()] : [TEXT];
  const orc = new DerivedOrc({
    functionAt: (ip) => {
      const at = starts.findLastIndex((start) => start <= ip);
      if (at < 0 || ip >= end) return null;
      return { start: virtAddr(starts[at]), end: virtAddr(starts[at + 1] ?? end) };
    },
    read: ({ start, end }) => bytes.slice(Number(start - TEXT), Number(end - TEXT)),
    decode,
  });
  const insns = disassembler.disassemble(bytes, { arch: 'x86_64', address: TEXT });
  return { orc, insns, labels, bytes, decodedSoFar: () => decoded };
}

/** Each instruction's entry, "sp+8" or "bp+16 (bp at -16)"; "?" where nothing is known. */
function entries(code: string): string[] {
  const { orc, insns } = derive(code);
  return insns.map(({ address, bytes }) => {
    const entry = orc.find(address);
    // Every byte of an instruction has its entry, since return addresses are looked up one byte early.
    for (let i = 1; i < bytes.length; i++) expect(orc.find(address + BigInt(i))).toBe(entry);
    if (entry === null) return '?';
    const saved = entry.bpSlot === null ? '' : ` (bp at -${entry.bpSlot})`;
    return `${entry.base}+${entry.offset}${saved}`;
  });
}

describe('derived ORC entries', () => {
  it.each<[string, string, string[]]>([
    ['a leaf', 'mov [rdi], rsi\n xor eax, eax\n ret', ['sp+8', 'sp+8', 'sp+8']],
    [
      'pushes and pops',
      'push rbx\n push r12\n pop r12\n pop rbx\n ret',
      ['sp+8', 'sp+16', 'sp+24', 'sp+16', 'sp+8'],
    ],
    [
      'locals',
      'sub rsp, 0x28\n mov [rsp + 8], rax\n add rsp, 0x28\n ret',
      ['sp+8', 'sp+48', 'sp+48', 'sp+8'],
    ],
    [
      'locals by a negative addend',
      'add rsp, -0x80\n sub rsp, -0x80\n ret',
      ['sp+8', 'sp+136', 'sp+8'],
    ],
    [
      'locals by lea',
      'lea rsp, [rsp - 0x10]\n lea rsp, [rsp + 0x10]\n ret',
      ['sp+8', 'sp+24', 'sp+8'],
    ],
    ['flags', 'pushfq\n cli\n popfq\n ret', ['sp+8', 'sp+16', 'sp+16', 'sp+8']],
    [
      'an rbp frame',
      'push rbp\n mov rbp, rsp\n sub rsp, 0x20\n nop\n leave\n ret',
      ['sp+8', 'sp+16', 'sp+16 (bp at -16)', 'sp+48 (bp at -16)', 'sp+48 (bp at -16)', 'sp+8'],
    ],
    [
      'an rbp frame left by lea and pops',
      'push rbp\n mov rbp, rsp\n push rbx\n sub rsp, rax\n lea rsp, [rbp - 8]\n pop rbx\n pop rbp\n ret',
      [
        'sp+8',
        'sp+16',
        'sp+16 (bp at -16)',
        'sp+24 (bp at -16)',
        'bp+16 (bp at -16)',
        'sp+24 (bp at -16)',
        'sp+16 (bp at -16)',
        'sp+8',
      ],
    ],
    [
      'an aligned stack',
      'push rbp\n mov rbp, rsp\n and rsp, -32\n nop\n mov rsp, rbp\n pop rbp\n ret',
      [
        'sp+8',
        'sp+16',
        'sp+16 (bp at -16)',
        'bp+16 (bp at -16)',
        'bp+16 (bp at -16)',
        'sp+16 (bp at -16)',
        'sp+8',
      ],
    ],
    [
      'rbp as an ordinary register',
      'push rbp\n mov rbp, rdi\n nop\n pop rbp\n ret',
      ['sp+8', 'sp+16', 'sp+16 (bp at -16)', 'sp+16 (bp at -16)', 'sp+8'],
    ],
    [
      'rbp saved by a store',
      'sub rsp, 0x18\n mov [rsp + 0x10], rbp\n mov ebp, 5\n mov rbp, [rsp + 0x10]\n add rsp, 0x18\n ret',
      ['sp+8', 'sp+32', 'sp+32', 'sp+32 (bp at -16)', 'sp+32', 'sp+8'],
    ],
    ['a call', 'sub rsp, 8\n call rax\n add rsp, 8\n ret', ['sp+8', 'sp+16', 'sp+16', 'sp+8']],
    [
      'a branch over pushes',
      'test rdi, rdi\n je 1f\n push rbx\n nop\n pop rbx\n1: ret\n nop',
      ['sp+8', 'sp+8', 'sp+8', 'sp+16', 'sp+16', 'sp+8', '?'],
    ],
    [
      'a jump backwards and code behind the return',
      'jmp 2f\n1: push rax\n jmp 3f\n2: jne 1b\n ret\n3: pop rax\n ret',
      ['sp+8', 'sp+8', 'sp+16', 'sp+8', 'sp+8', 'sp+16', 'sp+8'],
    ],
    [
      'rep, lock and compare leave the stack alone',
      'rep movsb\n lock add [rdi], rax\n cmp rbp, rax\n test rsp, rsp\n ret',
      ['sp+8', 'sp+8', 'sp+8', 'sp+8', 'sp+8'],
    ],
    ['a stack that moves elsewhere', 'mov rsp, rdi\n nop\n ret', ['sp+8', '?', '?']],
    ['a stack that is exchanged', 'xchg rsp, rax\n nop\n ret', ['sp+8', '?', '?']],
    ['what only an indirect jump reaches', 'jmp rax\n ret', ['sp+8', '?']],
    ['what lies behind ud2', 'ud2\n ret', ['sp+8', '?']],
  ])('of %s', (_, code, expected) => {
    expect(entries(code)).toEqual(expected);
  });

  // What the entries promise, checked at every instruction that the CPU really runs: where the return address is and
  // what the caller's rbp was.
  it.each<[string, string]>([
    [
      'a loop with calls and an rbp frame',
      `f: push rbp
       mov rbp, rsp
       push rbx
       sub rsp, 0x18
       mov ebx, 3
    1: mov [rsp + 8], rbx
       call g
       dec ebx
       jne 1b
       add rsp, 0x18
       pop rbx
       leave
       ret
    g: push r12
       lea r12, [rsp - 0x40]
       pop r12
       ret`,
    ],
    [
      'an aligned stack with a variable part',
      `f: push rbp
       mov rbp, rsp
       push r12
       and rsp, -64
       mov eax, 0x30
       sub rsp, rax
       mov qword ptr [rsp], 1
       call g
       lea rsp, [rbp - 8]
       pop r12
       pop rbp
       ret
    g: ret`,
    ],
    [
      'rbp as a counter, saved by a store, and an early way out',
      `f: sub rsp, 0x18
       mov [rsp + 8], rbp
       mov ebp, 2
    1: pushfq
       popfq
       test ebp, ebp
       je 2f
       dec ebp
       jmp 1b
    2: mov rbp, [rsp + 8]
       add rsp, 0x18
       ret`,
    ],
  ])('hold while the CPU runs %s', (_, code) => {
    const { orc, bytes, labels } = derive(code, true);
    const machine = new TestMachine(x86Description, [...new Uint32Array(padded(bytes).buffer)]);
    machine.mapData(0);
    const top = DATA + 0xf00n;
    machine.ram.write64(DATA_PA + 0xf00, TEXT + 0xff0n);
    machine.set({ rsp: top, rbp: 0x1234n });
    const frames = [{ cfa: top + 8n, bp: 0x1234n }];
    let steps = 0;
    for (; machine.get('rip') !== TEXT + 0xff0n; steps++) {
      const ip = machine.get('rip');
      // A call's first instruction opens a frame.
      if (ip === labels.get('g'))
        frames.push({ cfa: machine.get('rsp') + 8n, bp: machine.get('rbp') });
      const frame = frames[frames.length - 1];
      const entry = orc.find(ip);
      expect(entry, `no entry at ${ip.toString(16)}`).not.toBeNull();
      const base = machine.get(entry!.base === 'sp' ? 'rsp' : 'rbp');
      expect(base + entry!.offset).toBe(frame.cfa);
      const bp =
        entry!.bpSlot === null
          ? machine.get('rbp')
          : machine.ram.read64(DATA_PA + Number(frame.cfa - entry!.bpSlot - DATA));
      expect(bp).toBe(frame.bp);
      machine.cpu.step();
      if (machine.get('rsp') === frame.cfa) frames.pop();
      if (steps > 200) throw new Error('does not end');
    }
    expect(steps).toBeGreaterThan(10);
    expect(frames).toEqual([]);
    machine.cpu.close();
  });

  it('are derived once, and again for other code', () => {
    const { orc, bytes, decodedSoFar } = derive('push rbx\n pop rbx\n ret');
    orc.find(TEXT);
    orc.find(TEXT + 1n);
    orc.find(TEXT);
    expect(decodedSoFar()).toBe(3);
    orc.clear();
    orc.find(TEXT);
    expect(decodedSoFar()).toBe(3);
    expect(orc.find(TEXT + 1n)).toMatchObject({ offset: 16n });
    // nop
    bytes[0] = 0x90;
    orc.clear();
    expect(orc.find(TEXT + 1n)).toMatchObject({ offset: 8n });
    expect(decodedSoFar()).toBe(6);
  });

  it('do not leave the function', () => {
    const { orc } = derive('jmp 0xffffffff80ffff00\n ret');
    expect(orc.find(TEXT - 0x100n)).toBeNull();
    expect(orc.find(TEXT + 0x100n)).toBeNull();
  });

  it('end where nothing can be decoded', () => {
    const orc = new DerivedOrc({
      functionAt: () => ({ start: virtAddr(TEXT), end: virtAddr(TEXT + 16n) }),
      read: () => null,
      decode: () => null,
    });
    expect(orc.find(TEXT)).toBeNull();
  });
});
