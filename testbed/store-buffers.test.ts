// The shapes that tell x86-TSO from sequential consistency (Owens, Sarkar, Sewell, "A Better x86 Memory Model: x86-TSO",
// TPHOLs 2009), run on vCPUs in every order: which results there are.
import { beforeAll, describe, expect, it } from 'vitest';
import { Explorer } from './explore.ts';
import { type RunHost, WorldRun } from './run.ts';
import { parseScenario } from './scenario.ts';
import { loadTestHost } from './test-run.ts';
import { WatchedRace } from './watched-race.ts';

let host: RunHost;
beforeAll(async () => {
  host = await loadTestHost();
});

/** Results of all schedules: rax of each CPU. Words x and y lie at [rdi] and [rdi + 0x40]. */
function results(memory: 'sc' | 'tso', codes: readonly string[], reduce = true): string[] {
  const cpus = codes.map((code) => [
    { call: { code: { x86_64: `xor eax, eax\n${code}\nret` }, args: [{ arena: 0 }] } },
  ]);
  const text = JSON.stringify({
    name: 'tso',
    arch: 'x86_64',
    memory,
    cpus,
    arena: { alloc: [[0, 1]] },
  });
  const run = new WorldRun(
    host,
    parseScenario(text, 'tso.json', () => new Uint8Array()).worlds.x86_64!,
  );
  const watched = new WatchedRace(run);
  const seen = new Set<string>();
  const onEnd = () => {
    const rets = watched.race.done.map(([{ seen: call }]) =>
      call.kind === 'call' ? call.ret : null,
    );
    seen.add(rets.join(' '));
  };
  const { complete } = new Explorer(watched, {
    preemptions: reduce ? 4 : 2,
    reduce,
    onEnd,
  }).explore();
  expect(complete).toBe(true);
  run.close();
  return [...seen].sort();
}

const X = '[rdi]';
const Y = '[rdi + 0x40]';
const store = (at: string) => `mov dword ptr ${at}, 1`;
const load = (at: string) => `mov eax, ${at}`;

describe('two CPUs', () => {
  const sb = [`${store(X)}\n${load(Y)}`, `${store(Y)}\n${load(X)}`];

  it('SB: both may miss the other store, with buffers alone', () => {
    expect(results('sc', sb)).toEqual(['0 1', '1 0', '1 1']);
    expect(results('tso', sb)).toEqual(['0 0', '0 1', '1 0', '1 1']);
  });

  it('SB with fences, or locked stores: neither may', () => {
    const fenced = [`${store(X)}\nmfence\n${load(Y)}`, `${store(Y)}\nmfence\n${load(X)}`];
    expect(results('tso', fenced)).toEqual(['0 1', '1 0', '1 1']);
    const locked = [`lock inc dword ptr ${X}\n${load(Y)}`, `lock inc dword ptr ${Y}\n${load(X)}`];
    expect(results('tso', locked)).toEqual(['0 1', '1 0', '1 1']);
  });

  it('MP: stores are seen in their order', () => {
    const reader = `mov eax, ${Y}\nmov ecx, ${X}\nlea eax, [rax * 2 + rcx]`;
    const mp = [`${store(X)}\n${store(Y)}`, reader];
    for (const memory of ['sc', 'tso'] as const) {
      // 2 would be y without x.
      expect(results(memory, mp)).toEqual(['0 0', '0 1', '0 3']);
    }
  });

  it('a CPU sees its own store at once', () => {
    expect(results('tso', [`${store(X)}\n${load(X)}`, load(Y)])).toEqual(['1 0']);
  });
});
