// Members of archives: what they use of each other is found, and what nobody defines is missed only where it is needed.
import { describe, expect, it } from 'vitest';
import { directTarget } from '../arch/branch-target.ts';
import type { CallSeen } from './call.ts';
import { loadTestHost, runYaml } from './test-run.ts';

const host = await loadTestHost();
const ARCHIVE = 'objects/kfuncs-x86_64.a';
const run = (text: string) => runYaml(host, `arch: x86_64\n${text}`, 'x86_64');

describe('a member of an archive', () => {
  it('uses the other members, by its own name or that of a function', () => {
    for (const object of [ARCHIVE, `${ARCHIVE}(kfuncs-x86_64.o)`]) {
      const text = `object: ${object}
symbol: copy
args: [{buffer_size: 8}, {buffer: "0102030405060708"}, 8]
expect: {ret: 42, buffers: [{arg: 0, hex: "0102030405060708"}]}`;
      expect([object, run(text).failures]).toEqual([object, []]);
    }
  });

  it('is refused for what its function can reach, and only for that', () => {
    const member = `${ARCHIVE}(relocations-x86_64.o)`;
    expect(() => run(`object: ${member}\nsymbol: f`)).toThrow(`undefined: ext (used by ${member})`);
    // What is bound to a part of it is not the whole of it either.
    const { steps } = run(`object: ${ARCHIVE}(alternatives-x86_64.o)\nsymbol: which`);
    expect((steps[0].seen as CallSeen).ret).toBe(1n);
  });

  it('that there is not is refused', () => {
    expect(() => run(`object: ${ARCHIVE}(kfuncs-x86-64.o)\nsymbol: sum`)).toThrow(
      /kfuncs-x86_64\.a: has no member kfuncs-x86-64\.o/,
    );
    expect(() => run(`object: ${ARCHIVE}`)).toThrow(/is an archive of 3 objects/);
  });
});

describe('targets of direct branches', () => {
  const target = (machine: 'x86_64' | 'arm64', hex: string) => {
    const code = new Uint8Array(Buffer.from(hex, 'hex'));
    return directTarget(machine, code, 0x1000n, code.length);
  };
  it.each([
    ['e8fbffffff', 0x1000n], // call .
    ['e900010000', 0x1105n],
    ['0f84faffffff', 0x1000n],
    ['74fe', 0x1000n],
    ['eb10', 0x1012n],
    ['90', null],
    ['ffe0', null], // jmp rax
  ])('of x86-64: %s', (hex, wanted) => {
    expect(target('x86_64', hex)).toBe(wanted);
  });
  it.each([
    ['00000094', 0x1000n], // bl .
    ['ffffff17', 0xffcn],
    ['400000b4', 0x1008n], // cbz x0
    ['40000054', 0x1008n], // b.eq
    ['40000036', 0x1008n], // tbz
    ['c0035fd6', null],
  ])('of AArch64: %s', (hex, wanted) => {
    expect(target('arm64', hex)).toBe(wanted);
  });
});
