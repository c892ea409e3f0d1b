// Nothing old is used: neither a translation that was dropped nor code that was overwritten, whoever did it and whenever.
import { afterEach, describe, expect, it } from 'vitest';
import { arm64Description as arm64 } from '../../arch/arm64/registers.ts';
import { x86Description as x86 } from '../../arch/x86/registers.ts';
import { virtAddr } from '../address.ts';
import { FETCH } from '../engine.ts';
import { createEngine } from './engine.ts';
import { ensureLibrary } from './library.ts';
import { CODE, DATA, TestMachine } from './test-machine.ts';

const library = ensureLibrary();
const VARIANTS = [
  { variant: 'all short cuts', shortCuts: {}, counting: true },
  { variant: 'no short cut', shortCuts: { internals: false, native: false }, counting: true },
  { variant: 'no counting', shortCuts: {}, counting: false },
].map((one) => ({ ...one, engine: createEngine(library, one.shortCuts) }));

const open: TestMachine[] = [];
afterEach(() => {
  for (const m of open.splice(0)) m.cpu.close();
});

/** Stores to a page, goes on to the next one, for ever: the second instruction is the store. */
const STORES = [
  // nop; 1: mov [rdi],rcx; add rdi,0x1000; jmp 1b
  { description: x86, pointer: 'rdi', code: '90 48890f 4881c700100000 ebf4', store: 1n },
  // nop; 1: str x1,[x0]; add x0,x0,#1,lsl #12; b 1b
  {
    description: arm64,
    pointer: 'x0',
    code: [0xd503201f, 0xf9000001, 0x91400400, 0x17fffffe],
    store: 4n,
  },
];

describe.each(VARIANTS)('$variant', ({ engine, counting }) => {
  describe.each(STORES)('$description.name', ({ description, pointer, code, store }) => {
    it.each([
      ['its page', (m: TestMachine) => m.cpu.flushTlbPage(CODE)],
      ['everything', (m: TestMachine) => m.cpu.flushTlb()],
    ])('fetches a loop again when a handler of its faults has dropped %s', (_name, flush) => {
      const m = new TestMachine(description, code, { engine, counting });
      open.push(m);
      m.set({ [pointer]: DATA });
      let faults = 0;
      const stop = m.cpu.run(counting ? 1000 : Number.POSITIVE_INFINITY, (va, kind) => {
        if (kind === FETCH) return false;
        m.mapData(Number((va - DATA) >> 12n));
        if (++faults === 3) {
          m.pages.unmap(CODE);
          flush(m);
        }
        return faults < 40;
      });
      const ip = virtAddr(CODE + store);
      expect(stop).toEqual({ reason: 'fault', ip, va: ip, kind: FETCH });
      expect(faults).toBe(3);
      // The store was begun again, and has not retired.
      if (counting) expect(m.cpu.retired).toBe(7);
    });
  });
});
