// What becomes of a command whose second process dies: test programs stand in for that process, the search is real.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { faultline } from './test-cli.ts';

const folder = mkdtempSync(join('node_modules', '.supervise-test-'));
afterAll(() => rmSync(folder, { recursive: true }));

const program = (script: string): string[] => [process.execPath, '-e', script];
const DIES = program('console.error("tcg fatal error"); process.abort()');

function assembly(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

const reader = assembly('reader.S', 'mov rax, [rdi]\nret\n');
const argv = ['run', reader, '--arch', 'x86_64', '--args', 'arena:0x0'];

describe('code of somebody else', () => {
  it('is run by a second process, whose end is the command’s', async () => {
    const script = 'console.error("said"); process.exit(process.env.FAULTLINE_SUPERVISED ? 1 : 3)';
    const run = await faultline(argv, { command: program(script) });
    expect(run).toEqual({ exitCode: 1, stdout: '', stderr: 'said\n' });
  });

  it('is run with care if that process dies, and the engine’s own words are not shown', async () => {
    const run = await faultline(argv, { command: DIES });
    expect(run.stderr).toBe('');
    expect(run.stdout).toMatch(/^\S+reader\.S \(x86_64\)\nreturned; 2 instructions/);
    expect(run.stdout).toMatch(/\nreplay: npx faultline run .*reader\.S --arch x86_64/);
    expect(run.exitCode).toBe(0);
  });

  it('has the same document', async () => {
    const plain = await faultline([...argv, '--json']);
    const run = await faultline([...argv, '--json'], { command: DIES });
    expect(run.stdout).toBe(plain.stdout);
  });

  it('is refused as ever', async () => {
    const bad = assembly('bad.S', 'mov rax, [rdi\n');
    const run = await faultline(['run', bad, '--arch', 'x86_64'], { command: DIES });
    expect(run.exitCode).toBe(2);
    expect(run.stderr).toContain('bad.S:1');
  });

  it('is run here where it is a scenario file', async () => {
    const run = await faultline(['run', 'fixtures/first-fault.yaml'], { command: DIES });
    expect(run.exitCode).toBe(0);
    expect(run.stdout).toContain('as expected');
  });
});
