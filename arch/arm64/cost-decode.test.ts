import { beforeAll, describe, expect, it } from 'vitest';
import { type Disassembler, loadDisassembler } from '../../emulator/disassembler.ts';
import { decodeArm64Cost } from './cost-decode.ts';
import { FLAGS, parseOperands, SP, VECTOR } from './cost-operands.ts';

let disassembler: Disassembler;
beforeAll(async () => {
  disassembler = await loadDisassembler();
});

function decode(word: number) {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, word, true);
  const [insn] = disassembler.disassemble(bytes, { arch: 'arm64', address: 0x1000n });
  return decodeArm64Cost(insn);
}

describe('AArch64 operands', () => {
  it('are registers, shifts and addresses', () => {
    expect(parseOperands('x0, x1, x2, lsl #3')).toMatchObject({ shift: 'lsl', amount: 3 });
    expect(parseOperands('x0, [x1, #-0x10]!').address).toMatchObject({
      base: 1,
      disp: -16,
      writeback: true,
    });
    expect(parseOperands('w0, [x1, w2, uxtw #2]').address).toMatchObject({ index: 2, scale: 4 });
    expect(parseOperands('x1, x2, [sp], #0x10').address).toMatchObject({
      base: SP,
      writeback: true,
    });
    expect(parseOperands('{v0.4s-v3.4s}, [x0]').registers).toHaveLength(4);
    expect(parseOperands('v1.4s, v2.4s, v3.s[1]').address).toBeNull();
  });

  it('leave out the zero register', () => {
    // subs xzr, x1, x2, which is cmp
    expect(decode(0xeb02003f).uops).toMatchObject([{ reads: [1, 2], writes: [FLAGS] }]);
  });
});

describe('AArch64 classes', () => {
  it('shift in the adder by up to 4, in the multi-cycle pipeline beyond', () => {
    // add x0, x0, x1, lsl #3; the same with lsl #12
    expect(decode(0x8b010c00).uops[0].latency).toBe(1);
    expect(decode(0x8b013000).uops[0].latency).toBe(2);
  });

  it('know word from double-word multiplications', () => {
    // mul x0, x1, x2; mul w0, w1, w2
    expect(decode(0x9b027c20).uops[0].latency).toBe(4);
    expect(decode(0x1b027c20).uops[0].latency).toBe(2);
  });

  it('give pairs and updated bases their operations', () => {
    // ldp x1, x2, [x0]; stp x1, x2, [x0], #16
    expect(decode(0xa9400801)).toMatchObject({ slots: 2 });
    const pushed = decode(0xa8810801);
    expect(pushed.slots).toBe(4);
    expect(pushed.uops.some(({ writes }) => writes.includes(0))).toBe(true);
  });

  it('accumulate into the destination', () => {
    // fmla v0.4s, v1.4s, v2.4s
    expect(decode(0x4e22cc20).uops[0].reads).toContain(VECTOR);
    // movk x0, #1, lsl #16
    expect(decode(0xf2a00020).uops[0].reads).toEqual([0]);
  });
});

describe('AArch64 atomics', () => {
  it('load one register and store the other', () => {
    // ldadd x1, x2, [x0]
    const added = decode(0xf8210002);
    expect(added.accesses).toMatchObject([{ base: 0, width: 8 }]);
    expect(added.uops[0]).toMatchObject({ reads: [0], writes: [2], load: 0 });
    expect(added.uops.at(-1)).toMatchObject({ reads: [1], store: 0 });
    // ldar x1, [x0] only loads
    expect(decode(0xc8dffc01).uops).toHaveLength(1);
  });
});

it('takes any word', () => {
  for (const word of [0, 0xffffffff, 0xd503201f, 0xd4000001, 0x00000010]) {
    expect(() => decode(word)).not.toThrow();
  }
});
