// Tables as compilers leave them: in the order of the code that wrote them.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { virtAddr } from '../emulator/address.ts';
import { searchExtable, sortExtable } from './extable.ts';

const AT = 0xffffffff81200000n;
const decodeTail = (tail: number) => ({ type: tail & 0xff, data: tail >>> 8 });

describe('sort_extable()', () => {
  it('moves entries without moving what they point to', () => {
    const instructions = fc.uniqueArray(fc.integer({ min: -0x100000, max: 0x100000 }), {
      maxLength: 20,
    });
    fc.assert(
      fc.property(instructions, (places) => {
        const bytes = new Uint8Array(places.length * 12);
        const view = new DataView(bytes.buffer);
        places.forEach((place, i) => {
          view.setInt32(i * 12, place - i * 12, true);
          view.setInt32(i * 12 + 4, place + 0x1000 - (i * 12 + 4), true);
          view.setUint32(i * 12 + 8, (i << 8) | 3, true);
        });
        const sorted = sortExtable(bytes);
        places.forEach((place, i) => {
          const ip = virtAddr(AT + BigInt(place));
          expect(searchExtable(sorted, virtAddr(AT), ip, decodeTail)).toMatchObject({
            insn: ip,
            fixup: ip + 0x1000n,
            type: 3,
            data: i,
          });
        });
      }),
    );
  });
});
