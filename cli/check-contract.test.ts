// run --check-contract: accesses past GUARD_SZ / 2 of an arena pointer, and below it, also on pages that are mapped.
import { describe, expect, it } from 'vitest';
import { faultline } from './test-cli.ts';

const CODE = {
  x86_64:
    'mov rax, [rdi]\nmov rax, [rdi + 0x7ff8]\nmov byte ptr [rdi - 1], 0\nmov [rdi + 0x7ff9], eax\nmov [rdi + 0x7ffd], rax\nmov eax, [rsi]\nret\n',
  arm64:
    'ldr x2, [x0]\nldr x2, [x0, #0x7ff8]\nsturb w2, [x0, #-1]\nmov x3, #0x7ff9\nstr w2, [x0, x3]\nmov x3, #0x7ffd\nstr x2, [x0, x3]\nldr w2, [x1]\nret\n',
};

describe.each(['x86_64', 'arm64'] as const)('run --check-contract on %s', (arch) => {
  const argv = [
    'run',
    'a.S',
    '--arch',
    arch,
    '--args',
    'arena:0x1000,arena:0x20000',
    '--alloc',
    '0:64',
  ];
  const files = { 'a.S': CODE[arch] };

  it('reports instruction, argument and distance, where nothing faults', async () => {
    const { exitCode, stdout } = await faultline([...argv, '--check-contract', '--json'], {
      files,
    });
    const document = JSON.parse(stdout);
    expect(exitCode).toBe(1);
    expect(document.faults).toEqual([]);
    expect(document.failures).toHaveLength(2);
    const [below, past] = document.failures.map((failure: { got: string }) => failure.got);
    expect(below).toMatch(
      /^write of 1 bytes 0x1 bytes below argument 0 \(0x\w+\) by kfunc\+0x\w+\/0x\w+: /,
    );
    expect(past).toMatch(/^write of 8 bytes 0x7ffd bytes past argument 0 .* by kfunc\+/);
    expect(document.replay).toContain('--check-contract');
  });

  it('says nothing without the option, nor of what keeps to it', async () => {
    expect((await faultline(argv, { files })).exitCode).toBe(0);
    const good = { 'a.S': arch === 'x86_64' ? 'mov rax, [rdi]\nret\n' : 'ldr x2, [x0]\nret\n' };
    const { exitCode, stdout } = await faultline([...argv, '--check-contract'], { files: good });
    expect([exitCode, stdout]).toEqual([0, expect.stringContaining('as expected')]);
  });
});
