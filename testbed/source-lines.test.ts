// What a fault's place is told as where the object has debugging data: line, and the calls that were inlined.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { virtAddr } from '../emulator/address.ts';
import { GCC, isInstalled } from '../emulator/test-tools.ts';
import type { CallSeen } from './call.ts';
import { WorldRun } from './run.ts';
import { parseScenario } from './scenario.ts';
import { sourceAt } from './source-lines.ts';
import { loadTestHost } from './test-run.ts';

const SOURCE = new URL('../fixtures/c/inlined.c', import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), 'faultline-lines-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const host = await loadTestHost();

describe('source lines', () => {
  const command = GCC.x86_64;
  const linker = command.replace('gcc', 'ld');
  it.runIf(isInstalled(command, linker))(
    `name inlined calls, the innermost first, in objects and in a linked kernel (with ${command})`,
    () => {
      const object = join(folder, 'inlined.o');
      const args = ['-O2', '-g', '-fno-pic', '-mno-red-zone', '-mcmodel=kernel'];
      const compile = spawnSync(command, [...args, '-c', '-o', object, SOURCE], OPTIONS);
      expect(compile.stderr).toBe('');
      const image = join(folder, 'vmlinux');
      const link = ['-e', '0', '-Ttext', '0xffffffff81000000', object, '-o', image];
      expect(spawnSync(linker, link, OPTIONS).stderr).toBe('');
      for (const file of [object, image]) {
        expect(placesIn(file)).toEqual([
          'inner at inlined.c:6, inlined in middle at inlined.c:14, inlined at inlined.c:25',
          'inlined.c:31',
        ]);
      }
    },
  );
});

const OPTIONS = { encoding: 'utf8' } as const;

/** Where the first faults of two calls come from. */
function placesIn(file: string): (string | null)[] {
  const text = `
arch: x86_64
steps:
  - {call: {object: ${file}, symbol: outer, args: [{arena: 0x1000}, 1]}}
  - {call: {object: ${file}, symbol: plain, args: [{arena: 0x9000}]}}
`;
  const scenario = parseScenario(text, 'test.yaml', (name) => readFileSync(name));
  const run = new WorldRun(host, scenario.worlds.x86_64!, {});
  try {
    return run.steps.map((step) => {
      const { faults } = run.runStep(step).seen as CallSeen;
      return sourceAt(run.kernel, virtAddr(faults.at(0).ip));
    });
  } finally {
    run.close();
  }
}
