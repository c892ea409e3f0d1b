// Code in its several forms, and what its symbols are bound to.
import { describe, expect, it } from 'vitest';
import type { Linked } from '../emulator/elf/link.ts';
import type { CallSeen } from './call.ts';
import { definition } from './load-code.ts';
import type { ArchName } from './scenario.ts';
import { stubNames, stubText } from './stubs.ts';
import { loadTestHost, runYaml } from './test-run.ts';

const host = await loadTestHost();
const ARCHS: readonly ArchName[] = ['x86_64', 'arm64'];
const objectOf = (arch: ArchName) => `objects/kfuncs-${arch}.o`;

const run = (arch: ArchName, text: string) => runYaml(host, `arch: ${arch}\n${text}`, arch);
const call = (arch: ArchName, text: string): CallSeen =>
  run(arch, text).steps.at(-1)!.seen as CallSeen;
const refused = (arch: ArchName, text: string): { message: string; remedy: string } => {
  try {
    run(arch, text);
  } catch (error) {
    const { name, message, remedy } = error as Error & { remedy: string };
    expect(name).toBe('CallError');
    return { message, remedy };
  }
  throw new Error('nothing was refused');
};

describe.each(ARCHS)('an object of %s', (arch) => {
  const object = objectOf(arch);

  it('may be bound to a stub, also of another name', () => {
    for (const stub of ['memcpy', 'memmove']) {
      const text = `
object: ${object}
symbol: copy
symbols: {memcpy: ${stub}}
args: [{buffer_size: 8}, {buffer: "0102030405060708"}, 8]
expect: {ret: 42, buffers: [{arg: 0, hex: "0102030405060708"}]}
`;
      expect(run(arch, text).failures).toEqual([]);
    }
  });

  it('is refused before anything runs where a symbol is not bound', () => {
    const { message, remedy } = refused(arch, `object: ${object}\nsymbol: sum`);
    expect(message).toBe(`undefined: memcpy (used by ${object})`);
    expect(remedy).toMatch(/symbols:/);
  });

  it('is refused with a function that it does not define, or none of several named', () => {
    const symbols = 'symbols: {memcpy: memcpy}';
    expect(refused(arch, `object: ${object}\nsymbol: summ\n${symbols}`).message).toBe(
      `${object}: does not define summ`,
    );
    expect(refused(arch, `object: ${object}\n${symbols}`).message).toMatch(/several functions: /);
  });

  it('may be the image of a program', () => {
    const seen = call(
      arch,
      `object: ${object}\nsymbol: sum\nsymbols: {memcpy: memcpy}\nimage: bpf\nargs: [{arena: 0x0}, 1]`,
    );
    // The program itself faults, and has no table for it: the handler finds it as the innermost.
    expect(seen).toMatchObject({ outcome: 'returned', ret: 0n });
    expect(seen.stderr).toContain('Arena READ access at unmapped address');
  });

  it('keeps its data from call to call', () => {
    const step = `{call: {object: ${object}, symbol: copy, args: [{buffer_size: 8}, {buffer_size: 8}, 0]}}`;
    const { steps } = run(arch, `symbols: {memcpy: memcpy}\nsteps: [${step}, ${step}]`);
    expect(steps.map(({ seen }) => (seen as CallSeen).ret)).toEqual([42n, 44n]);
  });
});

describe.each(ARCHS)('assembly of %s', (arch) => {
  const jump = arch === 'x86_64' ? 'jmp' : 'b';

  it('may use addresses, stubs and objects', () => {
    const code = (name: string) => `code: {${arch}: "${jump} ${name}"}`;
    const copied = run(
      arch,
      `${code('memcpy')}
symbols: {memcpy: memcpy}
args: [{buffer_size: 4}, {buffer: "01020304"}, 4]
expect: {buffers: [{arg: 0, hex: "01020304"}]}`,
    );
    expect(copied.failures).toEqual([]);
    const summed = call(
      arch,
      `${code('sum')}\nsymbols: {sum: ${objectOf(arch)}, memcpy: memcpy}\nargs: [{buffer: "0500000000000000"}, 1]`,
    );
    expect(summed.ret).toBe(5n);
  });

  it('is refused with a stub that there is not', () => {
    const text = `code: {${arch}: "${jump} memcpy"}\nsymbols: {memcpy: memcpi}`;
    expect(refused(arch, text)).toEqual({
      message: `symbols: there is no built-in stub memcpi for ${arch}`,
      remedy: 'did you mean memcpy?',
    });
  });
});

describe.each(ARCHS)('the built-in routines of %s', (arch) => {
  it('assemble, every one', () => {
    for (const name of stubNames(arch)) {
      const text = stubText(arch, name)!;
      const { bytes } = host.assembler.assemble(text, { arch, address: 0x1000n });
      expect([name, bytes.length > 0]).toEqual([name, true]);
    }
  });

  it('do what their names promise', () => {
    const jump = arch === 'x86_64' ? 'jmp' : 'b';
    const stub = (name: string, args: string) =>
      call(
        arch,
        `code: {${arch}: "${jump} ${name}"}\nsymbols: {${name}: ${name}}\nargs: [${args}]`,
      );
    const abc = '{buffer: "616263006465"}';
    expect(stub('strlen', abc).ret).toBe(3n);
    expect(stub('memcmp', `${abc}, ${abc}, 6`).ret).toBe(0n);
    const int = (value: bigint | null) => BigInt.asIntN(32, value ?? 0n);
    expect(int(stub('memcmp', `${abc}, {buffer: "616264"}, 3`).ret)).toBe(-1n);
    expect(int(stub('memcmp', `{buffer: "ff"}, {buffer: "01"}, 1`).ret)).toBe(254n);
    expect(stub('_printk', abc).ret).toBe(0n);
  });

  it('fill, and move areas that overlap either way', () => {
    const leaves = (text: string, name: string, args: string, hex: string) => {
      const jump = arch === 'x86_64' ? 'jmp' : 'b';
      const code = `code: {${arch}: "${text}${jump} ${name}"}\nsymbols: {${name}: ${name}}\nargs: [${args}]`;
      expect(run(arch, `${code}\nexpect: {buffers: [{arg: 0, hex: "${hex}"}]}`).failures).toEqual(
        [],
      );
    };
    const [up, down] =
      arch === 'x86_64'
        ? ['mov rsi, rdi; lea rdi, [rdi + 2]; ', 'lea rsi, [rdi + 2]; ']
        : ['mov x1, x0; add x0, x0, #2; ', 'add x1, x0, #2; '];
    leaves('', 'memset', '{buffer_size: 4}, 0x1aa, 3', 'aaaaaa00');
    leaves(up, 'memmove', '{buffer: "0102030405060708"}, 0, 6', '0102010203040506');
    leaves(down, 'memmove', '{buffer: "0102030405060708"}, 0, 6', '0304050607080708');
  });
});

describe('a function that an object does not define', () => {
  const symbols = (names: readonly string[]) =>
    names.map((name) => ({ name, isFunction: true, object: { name: 'a.o' } }));
  const many = Array.from({ length: 20 }, (_, i) => `function_${i}`);
  const cases: readonly (readonly [names: readonly string[], remedy: string])[] = [
    [[], 'it defines no function'],
    [['memcpy', 'memset'], 'its functions are memcpy, memset'],
    [
      ['find_page.constprop.0', ...many],
      'it has find_page.constprop.0, which the compiler made of it: compile it with noipa',
    ],
    [
      ['find_pages', ...many],
      'did you mean find_pages? compilers put static functions into their callers: compile it with noinline',
    ],
  ];
  it.each(cases)('among %j', (names, remedy) => {
    const linked = { symbols: symbols(names) } as unknown as Linked;
    expect(() => definition(linked, 'find_page', 'a.o')).toThrow(
      expect.objectContaining({ message: 'a.o: does not define find_page', remedy }),
    );
  });
});
