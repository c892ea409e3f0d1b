// Blocks that run often count themselves: what they count, where they stop and what they store must be what the hook
// would have made of it. Each loop here runs often enough to have its head rewritten.
import fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { arm64Description } from '../../arch/arm64/registers.ts';
import { x86Description } from '../../arch/x86/registers.ts';
import { virtAddr } from '../address.ts';
import { PERM_R, PERM_W, PERM_X } from '../engine.ts';
import { addressOf, SharedMemory, sharedBytes } from './binding.ts';
import { BlockHeads, RECORDS } from './block-heads.ts';
import { nativeCode } from './native-code.ts';
import { CODE, CODE_PA, DATA, DATA_PA, TestMachine } from './test-machine.ts';

const ROUNDS = 6000;

/** Loops with what each of their instructions is: an index into the loop, by instructions retired. */
const LOOPS = [
  {
    description: x86Description,
    // 1: inc rax; add rbx, rax; dec rcx; jnz 1b; then jmp self
    code: '48ffc0 4801c3 48ffc9 75f5 ebfe',
    starts: [0, 3, 6, 9],
    end: 11,
    count: 'rcx',
    sum: 'rax',
  },
  {
    description: arm64Description,
    // 1: add x0, x0, #1; add x3, x3, x0; subs x2, x2, #1; b.ne 1b; b .
    code: [0x91000400, 0x8b000063, 0xf1000442, 0x54ffffa1, 0x14000000],
    starts: [0, 4, 8, 12],
    end: 16,
    count: 'x2',
    sum: 'x0',
  },
] as const;

/** Counts the heads that are rewritten from now on. */
function countRewritten(): () => number {
  const rewrite = vi.spyOn(BlockHeads.prototype, 'rewrite');
  return () => rewrite.mock.results.filter(({ value }) => value === true).length;
}

afterEach(() => vi.restoreAllMocks());

const rewriting = (nativeCode()?.head ?? null) !== null;

describe.each(LOOPS)(
  '$description.name: a loop',
  ({ description, code, starts, end, count, sum }) => {
    const start = (rounds: number, options = {}) =>
      new TestMachine(description, code, options).set({ [count]: rounds });

    it.skipIf(!rewriting)('has its head rewritten, skipped on hosts without such code', () => {
      const rewritten = countRewritten();
      const m = start(ROUNDS);
      expect(m.cpu.run(ROUNDS * 4 + 10).reason).toBe('limit');
      expect(rewritten()).toBe(1);
    });

    it('stops at any limit, and goes on from there', () => {
      const limits = fc.array(fc.integer({ min: 1, max: ROUNDS * 2 }), {
        minLength: 3,
        maxLength: 8,
      });
      fc.assert(
        fc.property(limits, (given) => {
          const m = start(ROUNDS);
          let ran = 0;
          for (const limit of [ROUNDS * 3 + 1, ...given]) {
            const stop = m.cpu.run(limit);
            expect(stop.reason).toBe('limit');
            ran += limit;
            const inside = ran < ROUNDS * 4;
            const at = inside ? starts[ran % 4] : end;
            expect(stop.ip).toBe(CODE + BigInt(at));
            expect(m.cpu.retired).toBe(ran);
            const begun = Math.min(Math.ceil(ran / 4), ROUNDS);
            expect(m.get(sum)).toBe(BigInt(begun));
          }
        }),
        { numRuns: 30 },
      );
    });

    it('stops at an exit that is set when its head is rewritten already', () => {
      const rewritten = countRewritten();
      const m = start(ROUNDS * 2);
      m.cpu.run(ROUNDS * 4);
      m.cpu.setExits([virtAddr(CODE + BigInt(starts[2]))]);
      expect(m.cpu.run(1000)).toMatchObject({ reason: 'exit', ip: CODE + BigInt(starts[2]) });
      expect(m.cpu.retired).toBe(ROUNDS * 4 + 2);
      m.cpu.setExits([]);
      expect(m.cpu.run(ROUNDS * 3).reason).toBe('limit');
      expect(m.cpu.retired).toBe(ROUNDS * 7 + 2);
      if (rewriting) expect(rewritten()).toBe(2);
    });

    it('runs new code where it stood', () => {
      const m = start(ROUNDS * 2);
      m.cpu.run(ROUNDS * 4);
      m.load(CODE_PA, description === x86Description ? '48ffc3 ebfb' : [0x91000463, 0x17ffffff]);
      m.cpu.flushCode();
      const before = m.get(sum);
      m.cpu.run(ROUNDS);
      expect(m.get(sum)).toBe(before);
      expect(m.cpu.retired).toBe(ROUNDS * 5);
    });
  },
);

describe('beside blocks that need the hook', () => {
  it.each([1, 2, 3])('counts %i repetitions behind a block that counts itself', (times) => {
    const rewritten = countRewritten();
    // 1: mov ecx, times; rep stosb; dec rdx; jnz 1b; then jmp self
    const code = `b9${times.toString(16).padStart(2, '0')}000000 f3aa 48ffca 75f4 ebfe`;
    const perRound = 1 + times + 2;
    for (const last of [0, 1, 2, perRound, 3 * perRound + 1]) {
      const m = new TestMachine(x86Description, code);
      for (let page = 0; page < 8; page++) m.mapData(page);
      m.set({ rdi: DATA, rdx: ROUNDS });
      const ran = (ROUNDS - 4) * perRound + last;
      expect(m.cpu.run(ran).reason).toBe('limit');
      expect(m.cpu.retired).toBe(ran);
      expect(Number(m.get('rdx'))).toBe(ROUNDS - Math.floor((ran + 1) / perRound));
      if (rewriting) expect(rewritten()).toBeGreaterThan(0);
    }
  });

  it('has wide stores noted, which come and go between', () => {
    const rewritten = countRewritten();
    // 1: mov ecx, 5000; 2: dec ecx; jnz 2b; movdqu [rdi], xmm0; jmp 1b
    const m = new TestMachine(x86Description, 'b988130000 ffc9 75fc f30f7f07 ebf1');
    m.mapData(0);
    m.mapData(1);
    m.set({ rdi: DATA + 0xff8n });
    m.cpu.run(5 * (2 * 5000 + 3));
    if (rewriting) expect(rewritten()).toBeGreaterThan(0);
    m.ram.write64(DATA_PA + 0xff8, 0x1122_3344n);
    m.pages.unmap(DATA + 0x1000n);
    m.cpu.flushTlb();
    const stop = m.cpu.run(20_000);
    expect(stop).toMatchObject({ reason: 'fault', va: DATA + 0x1000n });
    expect(m.ram.read64(DATA_PA + 0xff8)).toBe(0x1122_3344n);
    expect(m.cpu.retired).toBe(5 * (2 * 5000 + 3) + 2 * 5000 + 1);
  });

  it('makes room when every record is taken', () => {
    const rewritten = countRewritten();
    // Loops one behind the other: mov ecx, 4200; 1: dec ecx; jnz 1b
    const loops = RECORDS + 40;
    const m = new TestMachine(x86Description, '', { codePages: 4 });
    const code = Buffer.from(`${'b968100000ffc975fc'.repeat(loops)}ebfe`, 'hex');
    m.ram.write(CODE_PA, code);
    const all = loops * (1 + 2 * 4200);
    expect(m.cpu.run(all).ip).toBe(CODE + BigInt(loops * 9));
    expect(m.cpu.retired).toBe(all);
    if (rewriting) expect(rewritten()).toBe(loops);
  });

  it('keeps user and kernel apart, whose blocks begin at one address', () => {
    const m = new TestMachine(x86Description, LOOPS[0].code).set({ rcx: ROUNDS * 3 });
    m.pages.map(CODE, CODE_PA, PERM_R | PERM_W | PERM_X);
    for (const cpl of [0, 3, 0]) {
      m.set({ cpl });
      expect(m.cpu.run(ROUNDS * 3).reason).toBe('limit');
    }
    expect(m.cpu.retired).toBe(ROUNDS * 9);
    expect(m.get('rax')).toBe(BigInt(Math.ceil((ROUNDS * 9) / 4)));
  });
});

describe('rewriting', () => {
  const UC = 0x4567_89ab_cdefn;
  const VA = -0x7f00_0000n;
  const memory = sharedBytes(128);
  const END = addressOf(memory) + 100n;
  const HOOK = END - 0x1234_5678n;

  /** A head as the library writes it, at the end of memory of its own. */
  function laidOut(change: (bytes: number[]) => void = () => undefined) {
    const data = new SharedMemory().take(0x4000);
    const heads = new BlockHeads(data, 0x1000, UC, HOOK, 0x7777n);
    const le = (value: bigint, n: number) =>
      Array.from({ length: n }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));
    const bytes = [
      ...[0x48, 0xbf, ...le(UC, 8)],
      ...[0x48, 0xc7, 0xc6, ...le(VA, 4)],
      ...[0xba, 11, 0, 0, 0],
      ...[0x48, 0xb9, ...le(addressOf(data.bytes), 8)],
      ...[0xff, 0x15, 0x99, 0, 0, 0],
    ];
    change(bytes);
    memory.fill(0xcc);
    memory.set(bytes, 100 - bytes.length);
    data.u64[136 / 8] = END;
    return { data, heads, before: memory.slice(), length: bytes.length };
  }

  it.each([
    ['far', [0xff, 0x15, 0x99, 0, 0, 0]],
    ['near', [0xe8, 0x88, 0xa9, 0xcb, 0xed]],
  ])('replaces the loads and a %s call, and nothing else', (_, call) => {
    const { data, heads, before, length } = laidOut((bytes) => {
      bytes.splice(-6, 6, ...call);
    });
    expect(heads.rewrite(VA, 11, 4)).toBe(true);
    const start = 100 - length;
    expect(memory.subarray(0, start)).toEqual(before.subarray(0, start));
    expect(memory.subarray(100)).toEqual(before.subarray(100));
    const address = Buffer.alloc(8);
    address.writeBigUInt64LE(addressOf(data.bytes));
    // mov rcx, data; cmp dword ptr [rcx + 76], 0; jne 1f; sub qword ptr [rcx], 4; jns 2f;
    // 1: call [rcx + 120]; 2: mov dword ptr [rcx + 72], 0x1000; nop
    const code = `83794c00 7506 48832904 7903 ff5178 c7414800100000`;
    const load = address.readUInt32LE(4)
      ? `48b9${address.toString('hex')}`
      : `b9${address.toString('hex', 0, 4)}`;
    const expected = (load + code).replaceAll(' ', '');
    const written = Buffer.from(memory.slice(start, 100)).toString('hex');
    expect(written.slice(0, expected.length)).toBe(expected);
    expect(written.slice(expected.length)).toMatch(/^(90|6690|0f1f|660f1f)/);
    expect([data.i64[0x1000 / 8], data.u32[0x1008 / 4], data.u32[0x100c / 4]]).toEqual([VA, 11, 4]);
    heads.restore();
    expect(memory).toEqual(before);
  });

  it.each([
    ['another engine', (bytes: number[]) => bytes.fill(1, 2, 10)],
    ['another address', (bytes: number[]) => bytes.fill(1, 13, 17)],
    ['another size', (bytes: number[]) => bytes.fill(1, 18, 19)],
    ['other data', (bytes: number[]) => bytes.fill(1, 24, 28)],
    ['no call', (bytes: number[]) => bytes.fill(0x90, bytes.length - 6)],
  ])('leaves alone what has %s', (_, change) => {
    const { heads, before } = laidOut(change);
    expect(heads.rewrite(VA, 11, 4)).toBe(false);
    expect(memory).toEqual(before);
  });

  it('leaves alone a block of more instructions than a byte can charge', () => {
    const { heads, before } = laidOut();
    expect([heads.rewrite(VA, 11, 128), heads.rewrite(VA, 11, 127)]).toEqual([false, true]);
    heads.restore();
    expect(memory).toEqual(before);
  });

  it('does not restore what the library has overwritten', () => {
    const { heads } = laidOut();
    heads.rewrite(VA, 11, 4);
    memory[95] ^= 1;
    const now = memory.slice();
    heads.restore();
    expect(memory).toEqual(now);
  });
});
