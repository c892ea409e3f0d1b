// Memory that does not grow with what a run does: a fault on each of the 1,048,576 pages of an arena.
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { BPF_STREAM_MAX_CAPACITY } from '../bpf/stream.ts';

const PAGES = 2 ** 20;
const SCRIPT = fileURLToPath(new URL('./test-whole-arena.ts', import.meta.url));

describe('a whole arena of recovered faults', () => {
  it.each(['x86_64', 'arm64'])(
    'stays below 400 MB on %s',
    (arch) => {
      const text = execFileSync(process.execPath, ['--import', 'tsx', SCRIPT, arch], {
        encoding: 'utf8',
      });
      const { megabytes, stderrBytes, ...result } = JSON.parse(text);
      expect(result).toEqual({
        outcome: 'returned',
        instructions: 2 + 4 * PAGES,
        faults: PAGES,
        page: PAGES - 1,
        resolution: 'scratch',
        log: 0,
      });
      // The report stream took what it holds and dropped the rest.
      expect(stderrBytes).toBeLessThan(BPF_STREAM_MAX_CAPACITY);
      expect(stderrBytes).toBeGreaterThan(BPF_STREAM_MAX_CAPACITY - 1000);
      expect(megabytes).toBeLessThan(400);
    },
    180_000,
  );
});
