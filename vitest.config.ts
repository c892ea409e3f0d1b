import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['{emulator,mm,arch,bpf,testbed,cli,scripts}/**/*.test.ts'],
    // koffi's callbacks and the engine's native state belong to one process.
    pool: 'forks',
    testTimeout: 60_000,
  },
});
