import { describe, expect, it } from 'vitest';
import { virtAddr } from '../emulator/address.ts';
import { layDownCallers } from './callers.ts';

const END = virtAddr(0xffff_c900_0001_4000n);
const at = (returnAddress: bigint) => ({ returnAddress: virtAddr(returnAddress) });
const ENTRY = at(0x1111n);
const OUTER = at(0x2222n);
const INNER = at(0x3333n);
const KERNEL = at(0x4444n);

function lay(linkRegister: boolean, kernelFrame: typeof KERNEL | null) {
  const memory = new Map<bigint, bigint>();
  const state = layDownCallers(
    { entry: ENTRY, programs: [OUTER, INNER], kernelFrame, stackArguments: 0 },
    END,
    linkRegister,
    (va, value) => memory.set(va, value),
  );
  /** Return addresses along the chain of frame pointers. */
  const found: bigint[] = [];
  for (let fp: bigint = state.fp; memory.get(fp + 8n); fp = memory.get(fp) ?? 0n) {
    found.push(memory.get(fp + 8n) as bigint);
  }
  return { state, memory, found };
}

describe('x86', () => {
  it('pushes the return address and chains rbp frames', () => {
    const { state, memory, found } = lay(false, KERNEL);
    expect(memory.get(state.sp)).toBe(0x4444n);
    expect(state.sp % 16n).toBe(8n);
    expect(found).toEqual([0x3333n, 0x2222n, 0x1111n]);
  });

  it('lets the innermost program call the code itself', () => {
    const { state, memory, found } = lay(false, null);
    expect(memory.get(state.sp)).toBe(0x3333n);
    expect(found).toEqual([0x2222n, 0x1111n]);
  });
});

describe('arm64', () => {
  it('returns through the link register and ends in the final record', () => {
    const { state, memory, found } = lay(true, KERNEL);
    expect(state.returnAddress).toBe(0x4444n);
    expect(state.sp % 16n).toBe(0n);
    expect(found).toEqual([0x3333n, 0x2222n, 0x1111n]);
    expect(memory.get(END - 0x10n)).toBe(1n);
  });

  it('hides the innermost program from a leaf that it calls itself', () => {
    const { state, found } = lay(true, null);
    expect(state.returnAddress).toBe(0x3333n);
    expect(found).toEqual([0x2222n, 0x1111n]);
  });
});
