// Snapshots of whole worlds: every fixture, stopped at every step and inside its calls. What was saved, run on and
// restored must be the same in every field (test-world-text.ts) and go on with the same events and results.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Event, EventSink } from '../emulator/events.ts';
import type { Call } from './call.ts';
import { type StepRun, WorldRun } from './run.ts';
import { parseScenario, type Scenario, type World } from './scenario.ts';
import type { WorldState } from './snapshot.ts';
import { loadTestHost } from './test-run.ts';
import { worldText } from './test-world-text.ts';

const host = await loadTestHost();
const FIXTURES = fileURLToPath(new URL('../fixtures', import.meta.url));

function load(file: string): Scenario {
  const path = join(FIXTURES, file);
  return parseScenario(readFileSync(path, 'utf8'), file, (name) =>
    readFileSync(resolve(dirname(path), name)),
  );
}

const scenarios = readdirSync(FIXTURES, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.yaml') && !/^(bad|golden|mutants|litmus|races)\//.test(file))
  .sort()
  .flatMap((file) => {
    const scenario = load(file);
    return scenario.archs.map((arch) => ({
      name: `${file} (${arch})`,
      world: scenario.worlds[arch]!,
    }));
  });

/** A world on its way: a move is a plain step, the entry of a call, or a few of its instructions. */
class Journey {
  readonly run: WorldRun;
  /** What the moves so far have changed beside the run itself. */
  readonly own = {
    next: 0,
    moves: 0,
    call: null as Call | null,
    inCall: 0,
    results: [] as StepRun[],
  };
  private readonly sink = new EventSink();
  private events: Event[] = [];

  constructor(world: World) {
    this.sink.read((event) => void this.events.push(event));
    this.run = new WorldRun(host, world, { events: this.sink });
    this.events = [];
  }

  get over(): boolean {
    return this.own.call === null && this.own.next >= this.run.steps.length;
  }

  /** @returns all that was to be seen of it */
  move(): string {
    const { own, run } = this;
    own.moves++;
    if (own.call !== null) this.moveInCall(own.call);
    else {
      const step = run.steps[own.next++];
      if (step.kind === 'call') own.call = run.startCall(step);
      else own.results.push(run.runStep(step));
      own.inCall = 0;
    }
    const seen = [this.events, own.results.length, own.results.at(-1)];
    this.events = [];
    return text(seen);
  }

  private moveInCall(call: Call): void {
    const { vcpu } = call;
    // One by one at first, and in strides through what is long.
    const stride = Math.min(this.own.inCall++ < 12 ? 1 : 5000, call.limit - call.retired);
    const end = vcpu.cpu.retired + stride;
    for (;;) {
      const stop = vcpu.cpu.run(end - vcpu.cpu.retired, vcpu.recoverInPlace);
      if (stop.reason === 'limit' && call.retired < call.limit) return;
      const ended = vcpu.resolve(stop);
      if (ended === null) continue;
      this.own.results.push(this.run.endCall(call, ended));
      this.own.call = null;
      return;
    }
  }

  save(): WorldState {
    return this.run.save([this.own]);
  }

  /** All of its state. */
  text(): string {
    return worldText(this.run, this.own);
  }
}

/** @returns JSON with bigints, maps and lists of faults spelt out */
const text = (value: unknown): string =>
  JSON.stringify(value, (_key, item) => {
    if (typeof item === 'bigint') return `${item}n`;
    if (item instanceof Map) return [...item];
    if (item && typeof item === 'object' && typeof item.at === 'function' && !Array.isArray(item)) {
      return Array.from({ length: item.length }, (_, i) => item.at(i));
    }
    return item;
  });

function withJourney(world: World, use: (journey: Journey) => void): void {
  const journey = new Journey(world);
  try {
    use(journey);
  } finally {
    journey.run.close();
  }
}

describe('a snapshot of a world', () => {
  it.each(scenarios)('comes back as it was: $name', ({ world }) => {
    withJourney(world, (journey) => {
      for (let moves = 0; !journey.over && moves < 30; moves++) {
        const saved = journey.save();
        const before = journey.text();
        const seen = journey.move();
        const after = journey.text();
        journey.run.restore(saved);
        expect(journey.text()).toBe(before);
        expect(journey.move()).toBe(seen);
        expect(journey.text()).toBe(after);
      }
    });
  });

  const varied = scenarios.filter(({ name }) =>
    /^(t25|t30|t36|t37|t38|t39|t40|t26-scratched|program-atomic|object-kfuncs)/.test(name),
  );

  it.each(varied)('leads to the same future from any branch: $name', ({ world }) => {
    const seen: string[] = [];
    withJourney(world, (journey) => {
      while (!journey.over && seen.length < 25) seen.push(journey.move());
    });
    const going = fc.oneof(fc.nat(6), fc.constant('save' as const), fc.record({ to: fc.nat(99) }));
    fc.assert(
      fc.property(fc.array(going, { minLength: 3, maxLength: 14 }), (ways) => {
        withJourney(world, (journey) => {
          const saved: { state: WorldState; moves: number }[] = [];
          for (const way of ways) {
            if (way === 'save') saved.push({ state: journey.save(), moves: journey.own.moves });
            else if (typeof way === 'number') forward(journey, way, seen);
            else if (saved.length > 0) {
              const { state, moves } = saved[way.to % saved.length];
              journey.run.restore(state);
              expect(journey.own.moves).toBe(moves);
            }
          }
          forward(journey, seen.length, seen);
        });
      }),
      { numRuns: 6 },
    );
  });

  it('of which a branch leaves nothing behind', () => {
    withJourney(varied[0].world, (journey) => {
      const before = journey.text();
      const inside = journey.run.fork(() => {
        for (let i = 0; i < journey.run.steps.length; i++) {
          const step = journey.run.steps[i];
          journey.run.runStep(step);
        }
        return journey.text();
      });
      expect(inside).not.toBe(before);
      expect(journey.text()).toBe(before);
    });
  });

  it('copies the frames that the code writes, and no others', () => {
    const copied = (pages: number): number => {
      const scenario = parseScenario(writer(pages), 'test.yaml', () => new Uint8Array());
      let frames = 0;
      withJourney(scenario.worlds.x86_64!, (journey) => {
        const { ram } = journey.run.kernel;
        journey.move();
        const state = journey.save();
        const before = ram.framesCopied;
        while (!journey.over) journey.move();
        journey.run.restore(state);
        frames = ram.framesCopied - before;
      });
      return frames;
    };
    // On the way back; what a frame of zeroes held needs no copy. Beside them the tables, for their dirty bits.
    expect(copied(50) - copied(10)).toBe(40);
    expect(copied(10)).toBeLessThan(30);
  });

  it('is refused of another run, and once the run is over', () => {
    withJourney(varied[0].world, (one) => {
      const state = one.save();
      withJourney(varied[0].world, (other) => {
        expect(() => other.run.restore(state)).toThrow('another run');
        other.save();
      });
      one.run.close();
      expect(() => one.run.restore(state)).toThrow(RangeError);
    });
  });

  it('is refused within a kernel path', () => {
    withJourney(varied[0].world, ({ run }) => {
      run.kernel.context.stepping = true;
      expect(() => run.save()).toThrow('under way');
    });
  });
});

function forward(journey: Journey, moves: number, seen: readonly string[]): void {
  for (let i = 0; i < moves && journey.own.moves < seen.length; i++) {
    const at = journey.own.moves;
    expect(journey.move()).toBe(seen[at]);
  }
}

const writer = (pages: number): string => `
arch: x86_64
arena: {pages: 64, alloc: [[0, 64]]}
code:
  x86_64: |
    mov ecx, ${pages}
    1: mov [rdi], rcx
    add rdi, 0x1000
    dec ecx
    jnz 1b
    ret
args: [{arena: 0}]
`;
