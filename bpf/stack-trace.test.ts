import { describe, expect, it } from 'vitest';
import { virtAddr } from '../emulator/address.ts';
import { BpfProg } from './prog.ts';
import { createWorld, KERNEL_IP, loadProg } from './test-world.ts';

function setUp() {
  const world = createWorld('x86_64');
  const { prog, ip, ksym } = loadProg(world, null);
  world.stack = [KERNEL_IP, ip];
  const { trace, ksyms } = world.bpf;
  const dump = () => {
    trace.walk();
    return trace
      .dumpStack()
      .lines.map((line) => line.text)
      .join('');
  };
  return { world, trace, ksyms, prog, ip, ksym, dump };
}

describe('a stack trace', () => {
  it('is made once while nothing that it shows changes', () => {
    const { trace, dump } = setUp();
    dump();
    const first = trace.dumpStack();
    dump();
    expect(trace.dumpStack()).toBe(first);
  });

  it('shows each change of task, CPU and stack', () => {
    const { world, dump } = setUp();
    const changes: [string, () => void][] = [
      ['CPU: 2 ', () => Object.assign(world.kernel, { cpu: 2 })],
      ['UID: 7 ', () => Object.assign(world.task, { uid: 7 })],
      ['PID: 9 ', () => Object.assign(world.task, { pid: 9 })],
      ['Comm: other\n', () => Object.assign(world.task, { comm: 'other' })],
      [
        `sym_${(KERNEL_IP + 4n).toString(16)}\n`,
        () => world.stack.splice(0, 1, virtAddr(KERNEL_IP + 4n)),
      ],
    ];
    for (const [text, change] of changes) {
      expect(dump()).not.toContain(text);
      change();
      expect(dump()).toContain(text);
    }
    world.stack = [];
    expect(dump()).toBe('CPU: 2 UID: 7 PID: 9 Comm: other\nCall trace:\n\n');
  });

  it('shows the lines of programs that come and go', () => {
    const { ksyms, ksym, ip, dump } = setUp();
    expect(dump()).not.toContain('  x = 1; @ a.c:3\n');
    ksyms.remove(ksym);
    const prog = new BpfProg('again', null);
    prog.lineInfo = (at) => (at === ip ? { line: 'x = 1;', file: 'a.c', num: 3 } : null);
    ksyms.add({ ...ksym, prog });
    expect(dump()).toContain(`sym_${ip.toString(16)}\n  x = 1; @ a.c:3\n`);
  });

  it('forgets symbols when it is told to', () => {
    const { trace, dump } = setUp();
    dump();
    const first = trace.dumpStack();
    trace.forgetSymbols();
    dump();
    expect(trace.dumpStack()).not.toBe(first);
  });
});
