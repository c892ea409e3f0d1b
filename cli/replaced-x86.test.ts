// The fault path of x86-64 function by function in compiled code: each alone, its callees bound to the model, over what
// reaches it. What no fixture reaches has scenarios here.
import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { virtAddr } from '../emulator/address.ts';
import { describeWith, GCC } from '../emulator/test-tools.ts';
import type { Ptep } from '../mm/pte.ts';
import type { ReplaceableName } from '../testbed/replace/functions/index.ts';
import { compiler } from '../testbed/replace/test-compile.ts';
import type { RunHost, WorldRun } from '../testbed/run.ts';
import { parseScenario, type World } from '../testbed/scenario.ts';
import { loadHost } from './host.ts';
import { difference, GROUPS, limited, see } from './test-replaced.ts';

let host: RunHost;
beforeAll(async () => {
  host = await loadHost();
});

/** Code that is called with an address of nothing in rdi, and the exception table of its label `at`. */
const code = (text: string, extable = '', args = '{arena: 0x2000}'): string =>
  `arch: x86_64\ncode: {x86_64: ${JSON.stringify(text)}}\nargs: [${args}]\n${extable && `extable: [${extable}]`}`;

const entry = (type: string, data = 0): string =>
  `{insn: at, fixup: on, type: ${type}${data ? `, data: ${data}` : ''}}`;
const LOAD = 'at: mov rax, [rdi]\nnop\non: mov rax, rax\nret';
const BAD = '0x8000000000001000';
const NULL = '0x10';

const SCENARIOS: Readonly<Record<string, string>> = {
  arena: code('mov rax, [rdi]\nret'),
  null: code('mov rax, [rdi]\nret', '', NULL),
  'null with AC set': code('stac\nmov rax, [rdi]\nret', '', NULL),
  'null with AC set and interrupts off': code('cli\nstac\nmov rax, [rdi]\nret', '', NULL),
  'user code': code('mov eax, 0x400000\ncall rax\nret'),
  text: code('call rdi\nret'),
  'stale rights': readFileSync('fixtures/t16-stale-read-only.yaml', 'utf8'),
  'read-only page': readFileSync('fixtures/t15-read-only-page-x86.yaml', 'utf8'),
  'program’s load': readFileSync('fixtures/t21-program-reads.yaml', 'utf8'),
  default: code(LOAD, entry('default')),
  fault: code(LOAD, entry('fault')),
  sgx: code(LOAD, entry('fault_sgx')),
  uaccess: code(LOAD, entry('uaccess')),
  'uaccess beyond the hole': code(LOAD, entry('uaccess'), BAD),
  fprestore: code(LOAD, entry('fpu_restore')),
  'immediate in rcx': code(LOAD, entry('imm_reg', 0x100 | (0xfff2 << 16))),
  'immediate in a popped register': code(
    'push rbx\nat: mov rax, [rdi]\non: ret',
    entry('pop_reg', 0x300 | (5 << 16)),
  ),
  'length left': code(`mov ecx, 3\nmov r8d, 2\n${LOAD}`, entry('ucopy_len', 0x800 | (8 << 16))),
  wrmsr: code(LOAD, entry('wrmsr')),
  rdmsr: code(LOAD, entry('rdmsr')),
  'safe wrmsr': code(LOAD, entry('wrmsr_safe', 0x200)),
  'safe rdmsr': code(LOAD, entry('rdmsr_safe', 0x200)),
  'wrmsr in a machine check': code(LOAD, entry('wrmsr_in_mce')),
  zeropad: code(
    'mov rdi, rsp\nor rdi, 0xfff\nadd rdi, 0x7ffe\nand rdi, -4096\nat: mov rax, [rdi - 3]\non: ret',
    entry('zeropad'),
  ),
  'zeropad of an allocated page': code(
    'at: mov rax, [rdi - 3]\non: ret',
    entry('zeropad'),
    '{arena: 0x1000}',
  ).replace('arch', 'arena: {alloc: [[0, 1]]}\narch'),
  'zeropad elsewhere': code(LOAD, entry('zeropad')),
  'a full stack': code('at: push rax\njmp at'),
  'a stack nowhere': code('mov rsp, 0xffffff0000001000\npush rax'),
};

/** No scenario can break an entry for a user address. */
const reserved = {
  text: code('stac\nmov rax, [rdi]\nret', '', '0x400000'),
  prepare: ({ kernel }: WorldRun) => {
    const ptep = kernel.mm.ptepAlloc(virtAddr(0x400000n)) as Ptep;
    kernel.ram.write64(ptep, 0x000c_0000_0000_1067n);
  },
};

const worldOf = (text: string): World =>
  limited(parseScenario(text, 'test.yaml', () => new Uint8Array()).worlds.x86_64!);

const SOURCES = {
  'fault-x86.c': GROUPS.FAULT_X86.names,
  'extable-x86.c': GROUPS.EXTABLE_X86.names,
  'dying-x86.c': GROUPS.DYING_X86.names,
};
const functions = Object.entries(SOURCES).flatMap(([source, names]) =>
  names.map((name: ReplaceableName) => ({ name, source })),
);

describeWith(GCC.x86_64, 'each function alone', () => {
  const compile = compiler();
  const prepareFor = (scenario: string) => (scenario === 'reserved' ? reserved.prepare : undefined);

  it.each(functions)('$name of $source', ({ name, source }) => {
    const flags = ['-O2', '-fno-optimize-sibling-calls', '-DALL=0', `-DWITH_${name}=1`];
    const path = compile('x86_64', source, ...flags);
    const object = { path, bytes: new Uint8Array(readFileSync(path)), library: null };
    let calls = 0;
    for (const [scenario, text] of Object.entries({ ...SCENARIOS, reserved: reserved.text })) {
      const world = worldOf(text);
      const kernel = { ...world.kernel, replace: new Map([[name, object]]) };
      const model = see(host, world, [name], prepareFor(scenario));
      const compiled = see(host, { ...world, kernel }, [name], prepareFor(scenario));
      calls += compiled.compiled;
      expect([scenario, difference(model, compiled)]).toEqual([scenario, null]);
    }
    expect(calls).toBeGreaterThan(0);
  });
});

describe('all of them together', () => {
  const all = functions.map(({ name }) => name);
  const objects = new Map(
    functions.map(({ name, source }) => {
      const path = `fixtures/replace/${source.replace('-x86.c', '')}-x86_64-O0.o`;
      return [name, { path, bytes: new Uint8Array(readFileSync(path)), library: null }] as const;
    }),
  );
  it.each(Object.entries(SCENARIOS))('%s', (_, text) => {
    const world = worldOf(text);
    const model = see(host, world, all);
    const compiled = see(host, { ...world, kernel: { ...world.kernel, replace: objects } }, all);
    expect(difference(model, compiled)).toBeNull();
  });
});
