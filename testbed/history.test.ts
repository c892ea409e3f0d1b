// The way back of the debugger: every moment that was passed is found again as it was.
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { Debugger } from './debugger.ts';
import { WorldRun } from './run.ts';
import { type ArchName, parseScenario } from './scenario.ts';
import { loadTestHost } from './test-run.ts';
import { ramText } from './test-world-text.ts';

const FIXTURES = new URL('../fixtures/', import.meta.url);
const FILES = [
  'first-fault',
  't39-fault-safe-read',
  't05-end-of-upper-guard',
  't25-scratched-page-v2',
  't30-destroy',
];
const ARCHS: readonly ArchName[] = ['x86_64', 'arm64'];

const host = await loadTestHost();

function debug(text: string, arch: ArchName, use: (debug: Debugger) => void): void {
  const scenario = parseScenario(text, 'test.yaml', (name) =>
    readFileSync(new URL(name, FIXTURES)),
  );
  const run = new WorldRun(host, scenario.worlds[arch]!);
  try {
    use(new Debugger(run));
  } finally {
    run.close();
  }
}

const fixture = (name: string): string => readFileSync(new URL(`${name}.yaml`, FIXTURES), 'utf8');

/** What a user can tell of a moment. */
function moment({ run, done, vcpu }: Debugger): string {
  const { arch, context, ram } = run.kernel;
  const registers = arch.description.general.map((name) => vcpu.cpu.readRegister(name));
  const report = run.program(null).mainProg.streams[1].peek();
  const counts = [vcpu.cpu.retired, vcpu.faults.length, done.length];
  return [...counts, ...registers, ramText(ram), ...context.log, report].join('\n');
}

const LOOP = `
arch: [x86_64, arm64]
code:
  x86_64: |
    mov ecx, 5000
    1: mov [rdi], rcx
    dec ecx
    jnz 1b
    ret
  arm64: |
    mov x2, #5000
    1: str x2, [x0]
    subs x2, x2, #1
    b.ne 1b
    ret
args: [{arena: 0x4000}]
`;

describe.each(ARCHS)('a way back on %s', (arch) => {
  it.each(FILES)('passes every moment of %s again', (file) => {
    debug(fixture(file), arch, (d) => {
      const moments: string[] = [];
      d.start();
      for (;;) {
        moments.push(moment(d));
        const stop = d.stepInstruction();
        if (stop.kind === 'ended') d.start();
        if (d.call === null) break;
      }
      expect(moments.length).toBeGreaterThan(1);
      for (const before of moments.reverse()) {
        expect(d.history.stepBack()).toEqual({ kind: 'stepped' });
        expect(moment(d)).toBe(before);
      }
      expect(d.history.stepBack()).toEqual({ kind: 'start' });
      expect(moment(d)).toBe(moments.at(-1));
    });
  });

  it('goes far, and on from there at less', () => {
    debug(LOOP, arch, (d) => {
      d.start();
      d.advance(12_000);
      const here = moment(d);
      d.advance(1);
      for (let i = 0; i < 3; i++) {
        expect(d.history.stepBack()).toEqual({ kind: 'stepped' });
        expect(d.vcpu.cpu.retired).toBe(12_000 - i);
        if (i === 0) expect(moment(d)).toBe(here);
      }
      expect(d.continue().kind).toBe('ended');
      expect(d.vcpu.cpu.retired).toBe(15_002);
    });
  });

  it('stops at breakpoints in the order that they were reached in, last first', () => {
    debug(LOOP, arch, (d) => {
      d.start();
      const size = arch === 'x86_64' ? 5n : 4n;
      const store = d.addBreakpoint((d.ip + size) as typeof d.ip, 'store');
      const first = d.addBreakpoint(d.ip, 'first');
      for (let i = 0; i < 3; i++) expect(d.continue()).toMatchObject({ breakpoint: store });
      expect(d.vcpu.cpu.retired).toBe(7);
      expect(d.history.continueBack()).toEqual({ kind: 'breakpoint', breakpoint: store });
      expect(d.vcpu.cpu.retired).toBe(4);
      expect(d.history.continueBack()).toEqual({ kind: 'breakpoint', breakpoint: store });
      expect(d.vcpu.cpu.retired).toBe(1);
      expect(d.history.continueBack()).toEqual({ kind: 'breakpoint', breakpoint: first });
      expect(d.vcpu.cpu.retired).toBe(0);
      expect(d.history.continueBack()).toEqual({ kind: 'start' });
      // Those that the way back only passed do not count as hits.
      expect([store.hits, first.hits]).toEqual([5, 1]);
      d.deleteBreakpoint(store.id);
      expect(d.continue().kind).toBe('ended');
      expect(d.history.continueBack()).toMatchObject({ kind: 'breakpoint', breakpoint: first });
    });
  });

  it('begins before a fault that is being stepped through', () => {
    debug(fixture('first-fault'), arch, (d) => {
      d.start();
      const before = moment(d);
      for (let i = 0; i < 4; i++) d.stepFault();
      expect(d.inFault).toBe(true);
      expect(d.history.stepBack()).toEqual({ kind: 'stepped' });
      expect(d.inFault).toBe(false);
      expect(moment(d)).toBe(before);
      expect(d.stepFault()).toMatchObject({ title: 'access' });
    });
  });

  it('tells no reader of the events twice', () => {
    debug(fixture('first-fault'), arch, (d) => {
      let events = 0;
      d.run.kernel.events.read(() => events++);
      d.start();
      d.stepInstruction();
      d.stepInstruction();
      const before = events;
      d.history.stepBack();
      expect(events).toBe(before);
    });
  });
});
