import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { type ArchName, parseScenario, ScenarioError, type World } from './scenario.ts';

const noFiles = (path: string): Uint8Array => {
  throw Object.assign(new Error(`no ${path}`), { code: 'ENOENT' });
};

const parse = (text: string, readFile = noFiles) => parseScenario(text, 'some/file.yaml', readFile);

function world(text: string, arch: ArchName = 'x86_64', readFile = noFiles): World {
  const found = parse(text, readFile).worlds[arch];
  if (!found) throw new Error(`no world for ${arch}`);
  return found;
}

/** The only step, which must be a call. */
function call(text: string, arch: ArchName = 'x86_64', readFile = noFiles) {
  const [step] = world(text, arch, readFile).cpus[0];
  if (step.kind !== 'call') throw new Error(step.kind);
  return step;
}

const RET = 'code: {x86_64: ret, arm64: ret}\n';

describe('defaults', () => {
  const { arenas, kernel, limits, series, form, ...rest } = world(RET);

  it('are a whole arena, mainline and the documented kernel', () => {
    const arena = { name: 'arena', pages: 1048576, userVmStart: 0x7f0000000000n };
    expect(arenas).toEqual([{ ...arena, flags: [], alloc: [], init: [] }]);
    expect(series).toBe('mainline');
    expect(limits).toEqual({ instructions: 10_000_000 });
    expect(kernel).toEqual({
      pageSize: 4096,
      vmStart: null,
      scratchPfn: 0x1234,
      la57: false,
      pti: false,
      contpte: true,
      unwinder: 'orc',
      kfence: null,
      arenaLock: 'rqspinlock',
      hafdbs: false,
      bpfSyscall: true,
      erms: true,
      cpucaps: [],
      tlb: { negative: 'off' },
      stack: 0x4000,
      replace: new Map(),
    });
    expect(form).toBe('call');
    expect(rest).toMatchObject({ schedule: null, bound: { preemptions: null }, without: [] });
  });

  it('put a program that uses the arena on the stack', () => {
    const frame = { prog: 'prog', arena: 'arena', subprogram: false, atEnd: false };
    expect(call(RET).caller).toEqual({ direct: false, frames: [frame] });
    const frames = (caller: string) => call(`${RET}caller: ${caller}`).caller.frames;
    expect(frames('bpf_without_arena')).toEqual([{ ...frame, arena: null }]);
    expect(frames('kernel')).toEqual([]);
    expect(call(`${RET}caller: {direct: true}`).caller).toEqual({ direct: true, frames: [frame] });
  });

  it('grow with arm64 pages', () => {
    const { arenas: large, kernel: with64k } = world(
      'arch: arm64\ncode: {arm64: ret}\nkernel: {page_size: 65536}',
      'arm64',
    );
    expect(large[0].pages).toBe(65536);
    expect(with64k.stack).toBe(65536);
  });
});

describe('numbers', () => {
  const arg = (text: string) => {
    const [argument] = call(`${RET}args: [${text}]`).args;
    return argument.kind === 'integer' ? argument.value : argument;
  };

  it.each([
    ['0xffffffffffffffff', 0xffffffffffffffffn],
    ['18446744073709551615', 0xffffffffffffffffn],
    ['9007199254740993', 9007199254740993n],
    ['-1', 0xffffffffffffffffn],
    ['-0x8000000000000000', 0x8000000000000000n],
    ['-0x10', 0xfffffffffffffff0n],
    ['"0xffff888000000001"', 0xffff888000000001n],
    ['"-16"', 0xfffffffffffffff0n],
  ])('%s keeps all its bits', (text, value) => {
    expect(arg(text)).toBe(value);
  });

  it('are the same in JSON', () => {
    const json =
      '{"code": {"x86_64": "ret"}, "args": [18446744073709551615, "0x8000000000000001"]}';
    expect(call(json).args).toEqual([
      { kind: 'integer', value: 0xffffffffffffffffn },
      { kind: 'integer', value: 0x8000000000000001n },
    ]);
  });

  it('may be relative to an arena, also below it', () => {
    expect(arg('{arena: -1}')).toEqual({ kind: 'arena', arena: 'arena', offset: -1n });
    expect(arg('{user: 0x10}')).toEqual({ kind: 'user', arena: 'arena', offset: 16n });
    expect(arg('{va: 0xffff800000000000}')).toBe(0xffff800000000000n);
    const two = `arenas: {a: {}, b: {}}\n${RET}args: [{arena: 1, in: b}, {arena: 2}]`;
    expect(call(two).args.map((a) => 'arena' in a && a.arena)).toEqual(['b', 'a']);
  });
});

describe('architectures', () => {
  it('are those that the code is given for, unless the file names them', () => {
    expect(parse('code: {arm64: ret}').archs).toEqual(['arm64']);
    expect(parse(RET).archs).toEqual(['x86_64', 'arm64']);
    expect(parse(`arch: arm64\n${RET}`).archs).toEqual(['arm64']);
    expect(parse('steps: [{alloc: {count: 1}}]').archs).toEqual(['x86_64', 'arm64']);
    expect(parse(`arch: [arm64, x86_64, arm64]\n${RET}`).archs).toEqual(['arm64', 'x86_64']);
  });

  it('pick their own code, codes, registers and lines', () => {
    const text = `${RET}
expect:
  ret: {arm64: 7}
  faults: [{code: {x86_64: 2, arm64: 0x96000047}}]
  registers: {x86_64: {rcx: 1}, arm64: {x2: 2}}
  oops: {x86_64: [one], arm64: null}
`;
    const x86 = call(text).expect;
    const arm = call(text, 'arm64').expect;
    expect([x86.ret, arm.ret]).toEqual([undefined, { kind: 'integer', value: 7n }]);
    expect([x86.faults?.[0].code, arm.faults?.[0].code]).toEqual([2n, 0x96000047n]);
    expect([...x86.registers.keys(), ...arm.registers.keys()]).toEqual(['rcx', 'x2']);
    expect([x86.outcome, arm.outcome]).toEqual(['oops', 'returned']);
    expect([x86.oops?.length, arm.oops]).toEqual([1, null]);
  });
});

describe('expectations', () => {
  it('tell a key that is null from one left out', () => {
    const faults = call(`${RET}expect: {faults: [{page: null}, {}]}`).expect.faults;
    expect(faults?.map((fault) => fault.page)).toEqual([null, undefined]);
    expect(call(RET).expect.oops).toBeUndefined();
    expect(call(`${RET}expect: {oops: null}`).expect.oops).toBeNull();
    expect(call(`${RET}expect: {faults: []}`).expect.faults).toEqual([]);
    expect(call(RET).expect.faults).toBeUndefined();
  });

  it('hold bounds in one form', () => {
    const { stderrBytes, cycles, instructions } = call(
      `${RET}expect: {stderr_bytes: {max: 99999}, cycles: {min: 5}, instructions: 3}`,
    ).expect;
    expect(stderrBytes).toEqual({ min: 0, max: 99999 });
    expect(cycles).toEqual({ min: 5, max: Number.MAX_SAFE_INTEGER });
    expect(instructions).toEqual({ min: 3, max: 3 });
  });
});

describe('files', () => {
  const files: Record<string, Uint8Array> = {
    'p.bin': Uint8Array.of(1, 2, 3),
    'x.o': elf(62),
    'a.o': elf(183),
  };
  const readFile = (path: string) => files[path] ?? noFiles(path);

  function elf(machine: number): Uint8Array {
    const bytes = new Uint8Array(64);
    bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
    bytes[18] = machine;
    return bytes;
  }

  it('fill arenas and buffers', () => {
    const text = `${RET}arena: {alloc: [[0, 1]], init: [{offset: 8, file: p.bin}]}
args: [{buffer: {file: p.bin}}, {buffer: "0a 0b"}, {buffer_size: 4}]`;
    expect(world(text, 'x86_64', readFile).arenas[0].init).toEqual([
      { offset: 8n, contents: { kind: 'bytes', bytes: files['p.bin'] } },
    ]);
    const buffers = call(text, 'x86_64', readFile).args;
    expect(buffers).toEqual([
      { kind: 'buffer', bytes: files['p.bin'], atEnd: false },
      { kind: 'buffer', bytes: Uint8Array.of(10, 11), atEnd: false },
      { kind: 'buffer', bytes: new Uint8Array(4), atEnd: false },
    ]);
  });

  it('decide the architecture of an object', () => {
    expect(parse('object: a.o\nsymbol: f', readFile).archs).toEqual(['arm64']);
    const both = 'object: {x86_64: x.o, arm64: a.o}\nsymbol: f';
    expect(parse(both, readFile).archs).toEqual(['x86_64', 'arm64']);
    expect(call(both, 'arm64', readFile).code).toMatchObject({
      file: { path: 'a.o' },
      symbol: 'f',
    });
    expect(() => parse('arch: x86_64\nobject: a.o', readFile)).toThrow(/a\.o is for arm64/);
  });

  it('may stand under code as well', () => {
    const { code } = call('code: {object: x.o, symbol: g}', 'x86_64', readFile);
    expect(code).toMatchObject({ kind: 'object', file: { path: 'x.o' }, symbol: 'g' });
    expect(call('code: {bytes: {x86_64: "90c3"}}').code).toEqual({
      kind: 'bytes',
      bytes: Uint8Array.of(0x90, 0xc3),
    });
  });

  it('give symbols', () => {
    const text = 'object: x.o\nsymbol: f\nsymbols: {a: 0x10, b: x.o, c: {object: x.o}, d: memcpy}';
    const { symbols } = call(text, 'x86_64', readFile);
    expect([...symbols].map(([name, { kind }]) => `${name} ${kind}`)).toEqual([
      'a value',
      'b object',
      'c object',
      'd stub',
    ]);
  });
});

describe('steps', () => {
  const steps = (text: string) => world(text).cpus[0];

  it('come in every kind', () => {
    const text = `
steps:
  - call: {code: {x86_64: ret, arm64: ret}}
  - alloc: {page: -1, count: 2, sleepable: false}
    expect: {result: null}
  - free: {page: 0, count: 1}
  - reserve: {page: 0, count: 1}
    expect: {result: -EBUSY}
  - user: {page: 0, access: write, value: -1}
    expect: {result: SIGSEGV}
  - worker:
  - destroy: {}
    expect: {freed: 1, leaked: 0}
  - pte: {page: 1048583, set: {x86_64: 1}}
    expect: {kind: other, value: {x86_64: 1, arm64: 2}}
  - stream: {read: 0x100}
  - stream: {print: hello, count: 3}
    expect: {result: -ENOSPC, bytes: 10}
  - create: {pages: 0x100001, user_vm_start: 0x1001, flags: 0}
    expect: {result: -E2BIG}
`;
    expect(steps(text).map((step) => step.kind)).toEqual([
      ...['call', 'alloc', 'free', 'reserve', 'user', 'worker', 'destroy', 'pte'],
      ...['streamRead', 'streamPrint', 'create'],
    ]);
    expect(steps(text)).toMatchObject([
      {},
      { page: -1, sleepable: false, expect: { result: null } },
      { sleepable: true, expect: { freed: undefined } },
      { expect: { result: -16 } },
      { value: 0xffffffffffffffffn, offset: 0, expect: { result: 'SIGSEGV' } },
      { arena: 'arena' },
      { expect: { freed: 1, leaked: 0 } },
      { page: 1048583, set: 1n, expect: { kind: 'other', value: 1n } },
      { length: 256, prog: null },
      { text: 'hello', count: 3, expect: { result: -28, bytes: 10 } },
      { pages: 0x100001, userVmStart: 0x1001n, flags: 0, expect: { result: -7 } },
    ]);
    const arm = world(text, 'arm64').cpus[0].find((step) => step.kind === 'pte');
    expect(arm).toMatchObject({ set: null, expect: { value: 2n } });
  });

  it('take caller, symbols and image of the file where a call gives none', () => {
    const text = `
caller: kernel
symbols: {a: 1, b: 2}
steps:
  - call: {code: {x86_64: ret}}
  - call: {code: {x86_64: ret}, caller: bpf, symbols: {b: 3}}
`;
    const [first, second] = steps(text);
    expect(first).toMatchObject({ caller: { frames: [] } });
    expect(second).toMatchObject({ caller: { frames: [{ prog: 'prog' }] } });
    const value = (n: bigint) => ({ kind: 'value', value: { kind: 'integer', value: n } });
    const symbols = second.kind === 'call' ? Object.fromEntries(second.symbols) : {};
    expect(symbols).toEqual({ a: value(1n), b: value(3n) });
  });

  it('know their lines', () => {
    const text = 'steps:\n  - alloc: {count: 1}\n\n  - worker: {}\n';
    expect(steps(text).map((step) => step.line)).toEqual([2, 4]);
  });

  it('may be given for several CPUs, with a schedule', () => {
    const text = 'cpus:\n  - [{alloc: {count: 1}}]\n  - [{worker: {}}, {worker: {}}]\n';
    const { form, cpus, schedule } = world(`${text}schedule: "0:3 1:*"`);
    expect(form).toBe('cpus');
    expect(cpus.map((list) => list.length)).toEqual([1, 2]);
    expect(schedule).toEqual({
      kind: 'turns',
      turns: [
        { cpu: 0, steps: 3 },
        { cpu: 1, steps: null },
      ],
    });
    expect(world(`${text}schedule: {seed: 7}`).schedule).toEqual({ kind: 'seed', seed: 7n });
  });
});

it('creates what the kernel refuses only through `create`', () => {
  expect(() => parse(`${RET}arena: {pages: 0x100001}`)).toThrow(/1048577 pages is impossible/);
  expect(() => parse('steps: [{create: {pages: 0x100001}}]')).not.toThrow();
});

describe('hostile files', () => {
  it('are refused when aliases would make them huge', () => {
    const lines = ['a: &a [1,1,1,1,1,1,1,1,1,1]'];
    for (const [name, before] of ['ba', 'cb', 'dc', 'ed', 'fe', 'gf', 'hg']) {
      lines.push(`${name}: &${name} [${Array(10).fill(`*${before}`).join(',')}]`);
    }
    expect(() => parse(lines.join('\n'))).toThrow(ScenarioError);
  });

  it('are refused when an alias holds itself', () => {
    expect(() => parse('args: &a [*a]')).toThrow(ScenarioError);
  });

  it('are refused when nested too deeply', () => {
    expect(() => parse(`args: ${'['.repeat(20_000)}${']'.repeat(20_000)}`)).toThrow(ScenarioError);
    expect(() => parse(`args: ${'['.repeat(500)}${']'.repeat(500)}`)).toThrow(ScenarioError);
  });
});

it('reads the first example', () => {
  const path = fileURLToPath(new URL('../fixtures/first-fault.yaml', import.meta.url));
  const scenario = parse(readFileSync(path, 'utf8'));
  expect(scenario.archs).toEqual(['x86_64', 'arm64']);
});
