// Compilers and binutils that tests use where the machine has them.
import { spawnSync } from 'node:child_process';
import { describe, it } from 'vitest';

/** gcc by the architecture that it compiles for: plain gcc compiles for its host. */
export const GCC = {
  x86_64: process.arch === 'x64' ? 'gcc' : 'x86_64-linux-gnu-gcc',
  arm64: process.arch === 'arm64' ? 'gcc' : 'aarch64-linux-gnu-gcc',
} as const;

export const isInstalled = (...programs: readonly string[]): boolean =>
  programs.every((program) => spawnSync(program, ['--version']).status === 0);

/** A group of tests that compile with `compiler`; where that is missing, one skipped test says so. */
export function describeWith(compiler: string, name: string, tests: () => void): void {
  const remedy = 'apt-get install gcc gcc-aarch64-linux-gnu clang';
  describe(name, () => {
    if (isInstalled(compiler)) tests();
    else it.skip(`${compiler} is not installed: ${remedy}`);
  });
}
