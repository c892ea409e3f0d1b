// Symbols of programs in compiled code (fixtures/replace/prog.c): each function runs, mistakes show, and code that damages
// the tree ends the run with a word.
import { describe, expect, it } from 'vitest';
import { describeWith, GCC } from '../../emulator/test-tools.ts';
import type { CallSeen } from '../call.ts';
import type { ArchName } from '../scenario.ts';
import { loadTestHost, runYaml, type TestRun } from '../test-run.ts';
import { PROG_FUNCTIONS } from './functions/prog.ts';
import { compiler } from './test-compile.ts';

const host = await loadTestHost();
const compile = compiler();
const SYMBOLS = Object.keys(PROG_FUNCTIONS).filter((name) => /ksym|extables/.test(name));

/** Programs of several images on the stack, one that ends with the call; and a program whose own access is fixed up. */
const SCENARIO = `
arena: {alloc: [[0, 1]]}
steps:
  - call:
      code: {x86_64: "mov [rdi], rsi\\nret", arm64: "str x1, [x0]\\nret"}
      args: [{arena: 0x2000}, 7]
      caller: {frames: [{prog: inner, at_end: true}, {prog: outer}, {prog: inner, subprogram: true}]}
    expect: {outcome: returned, faults: [{page: 2, resolution: scratch}]}
  - call:
      code:
        x86_64: "access: mov rax, [rdi + r12]\\nret"
        arm64: "access: ldr x0, [x28, x0]\\nret"
      image: bpf
      args: [0x3000]
      extable: [{insn: access, type: bpf, dst: {x86_64: rax, arm64: x0}, arena_reg: {x86_64: rdi, arm64: x0}}]
    expect: {outcome: returned}
  - call:
      code: {x86_64: "mov [rdi], rsi\\nret", arm64: "str x1, [x0]\\nret"}
      args: [{arena: 0x4000}, 7]
    expect: {outcome: returned, faults: [{page: 4, resolution: scratch}]}`;

const run = (arch: ArchName, names: readonly string[], object: string): TestRun => {
  const replace = Object.fromEntries(names.map((name) => [name, object]));
  const kernel = `kernel: {replace: ${JSON.stringify(replace)}}`;
  return runYaml(host, `arch: ${arch}\n${kernel}\n${SCENARIO}`, arch);
};

const tell = ({ steps }: TestRun) =>
  steps.map(({ seen }) => {
    const { outcome, ret, stderr } = seen as CallSeen;
    return { outcome, ret, stderr };
  });

for (const arch of ['x86_64', 'arm64'] as const) {
  const model = () => run(arch, [], '');
  const object = `replace/prog-${arch}-O2.o`;

  describe(`symbols of programs in compiled code (${arch})`, () => {
    it.each(SYMBOLS)('%s runs, and does what the model does', (name) => {
      const done = run(arch, [name], object);
      expect(done.failures).toEqual([]);
      expect(tell(done)).toEqual(tell(model()));
      const ran = done.events
        .flat()
        .filter((event) => event.type === 'decision' && event.text.startsWith('compiled: '));
      const loads = /add|del/.test(name);
      // Images are loaded before the events of a call are read.
      if (!loads) expect(ran.length).toBeGreaterThan(0);
    });

    it('all of them together', () => {
      const done = run(arch, SYMBOLS, object);
      expect(done.failures).toEqual([]);
      expect(tell(done)).toEqual(tell(model()));
    });

    it('the other functions of an object find the tree that it has', () => {
      const replace = { bpf_prog_ksym_find: object };
      const text = `arch: ${arch}\nkernel: {replace: ${JSON.stringify(replace)}}\n${SCENARIO}`;
      const done = runYaml(host, text, arch, ({ kernel }) => {
        const [linked] = kernel.residentObjects.values();
        expect(linked.symbols.map(({ name }) => name)).toContain('bpf_tree');
      });
      expect(done.failures).toEqual([]);
    });
  });

  describeWith(GCC[arch], `mistakes in symbols of programs (${arch})`, () => {
    const broken = (mistake: number, names: readonly string[]) =>
      run(arch, names, compile(arch, 'prog.c', '-O2', `-DBROKEN=${mistake}`));

    it('a symbol that is never added: its program is not found', () => {
      const done = broken(1, ['bpf_ksym_add']);
      expect((done.steps[0].seen as CallSeen).outcome).toBe('oops');
    });

    it('a copy that is forgotten is told', () => {
      expect(() => broken(2, ['bpf_ksym_add'])).toThrow(
        'bpf_ksym_add leaves bpf_tree with two copies that differ',
      );
    });

    it('an end that does not count: the program whose call comes last is not found', () => {
      const done = broken(3, ['bpf_ksym_find']);
      expect(tell(done)[0].stderr).not.toBe(tell(model())[0].stderr);
    });

    it('a tree that leads round ends the call at its limit', () => {
      const object = compile(arch, 'prog.c', '-O2', '-DBROKEN=4');
      const kernel = `kernel: {replace: {bpf_prog_ksym_find: ${object}}}\nlimits: {instructions: 9000}`;
      const done = runYaml(host, `arch: ${arch}\n${kernel}\n${SCENARIO}`, arch);
      expect((done.steps[0].seen as CallSeen).end).toMatchObject({
        outcome: 'budget',
        why: 'ran past its instruction limit',
      });
    });
  });
}
