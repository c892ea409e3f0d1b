// Every schedule of a race up to a bound of preemptions. A preemption takes the CPU away from somebody who could have gone
// on; that one ends or waits costs nothing. Depth first, each run from the start again, since a kernel path is a
// generator and cannot be copied. Two reductions, both of which keep every state that the bound lets be reached:
//
// - A CPU is preempted only before a step that does not commute with something another unfinished CPU does in some run.
//   Before any other step the preemption can be moved behind it: the same steps in an order that cannot be told apart, with
//   no more preemptions. What CPUs do is learnt on the way; if that grew, everything is explored once more with what is
//   known now, until nothing new is learnt.
// - A state is left when it was reached before with the same CPU running and no fewer preemptions to spend.
//
// Sleep sets are not used: under a bound the schedule that they keep may be the one that the bound forbids (Coons,
// Musuvathi, McKinley, "Bounded Partial-Order Reduction", OOPSLA 2013).
import type { Violation } from './invariants.ts';
import type { WatchedRace } from './watched-race.ts';

export interface ExploreOptions {
  /** Preemptions in a schedule at most; Infinity for none. */
  readonly preemptions: number;
  /** False: every schedule there is, for comparison. */
  readonly reduce?: boolean;
  /** Part `index` (from 0) of `count`: the schedules are divided by where they first leave the one without preemption. */
  readonly shard?: { readonly index: number; readonly count: number };
  /**
   * Looks for the shortest way to break this invariant, which is known to be broken, and for nothing else. `steps`: so many
   * at most.
   */
  readonly shortest?: { readonly invariant: string; readonly steps: number };
  /** Told of every state at the end of a schedule that broke nothing. */
  readonly onEnd?: (shared: number) => void;
}

export interface ExploreProgress {
  readonly pass: number;
  readonly schedules: number;
  readonly runs: number;
  readonly steps: number;
  readonly states: number;
}

/** A way to break an invariant. */
export interface Counterexample {
  readonly violation: Violation;
  /** Who moves, step by step, up to the one that breaks it. */
  readonly cpus: readonly number[];
}

export interface Explored extends ExploreProgress {
  /** Every schedule within the bound was covered. */
  readonly complete: boolean;
  /** One for each invariant that can be broken, the shortest that was met. */
  readonly counterexamples: ReadonlyMap<string, Counterexample>;
}

/** A point at which one of several CPUs was let move. */
interface Node {
  /** CPU that moved last; -1 at the start. */
  readonly last: number;
  /** Preemptions left. */
  readonly left: number;
  readonly ready: readonly number[];
  chosen: number;
  /** Still to be tried; null until the first was. */
  rest: number[] | null;
  /** Other CPUs were left out, because the step that was tried first is no concern of theirs. */
  narrowed: boolean;
}

/** What is left to do, and all that is known, as plain values. */
export interface ExploreState {
  readonly counts: readonly number[];
  /** The present pass has learnt something that calls for another. */
  readonly grew: boolean;
  readonly nodes: readonly Node[];
  readonly visited: readonly (readonly [number, readonly number[]])[];
  readonly found: readonly (readonly [string, Counterexample])[];
  readonly footprints: ReturnType<WatchedRace['footprints']['save']>;
}

/** Preemptions that the hash of a state tells apart at most. */
const MOST_LEFT = 64;

export class Explorer {
  private readonly watched: WatchedRace;
  private readonly options: ExploreOptions;
  /** By state, for each number of preemptions that were left: the fewest steps that it took. */
  private visited = new Map<number, number[]>();
  private found = new Map<string, Counterexample>();
  private nodes: Node[] = [];
  private path: number[] = [];
  private schedules = 0;
  private runs = 0;
  private steps = 0;
  private pass = 0;
  /** Branches off the first run of a pass so far: what shards divide. */
  private branches = 0;
  private complete = false;

  constructor(watched: WatchedRace, options: ExploreOptions) {
    this.watched = watched;
    this.options = options;
  }

  /** Does `runs` runs. @returns false once everything is covered */
  advance(runs: number): boolean {
    for (let i = 0; i < runs && !this.complete; i++) {
      if (this.pass === 0) this.beginPass();
      this.run();
      this.runs++;
      if (this.backtrack()) continue;
      if (this.watched.footprints.grew && this.reduces) this.beginPass();
      else this.complete = true;
    }
    return !this.complete;
  }

  /** Explores until everything is covered. */
  explore(): Explored {
    while (this.advance(1000));
    return this.result();
  }

  result(): Explored {
    const { complete, found } = this;
    return { ...this.progress(), complete, counterexamples: found };
  }

  /** Every state that was met, by its hash. */
  get stateKeys(): Iterable<number> {
    return this.visited.keys();
  }

  save(): ExploreState {
    const { pass, runs, schedules, steps, branches } = this;
    return {
      counts: [pass, runs, schedules, steps, branches],
      grew: this.watched.footprints.grew,
      nodes: this.nodes,
      visited: [...this.visited],
      found: [...this.found],
      footprints: this.watched.footprints.save(),
    };
  }

  /** Goes on where {@link save} was called, on a race of the same scenario. */
  load({ counts, grew, nodes, visited, found, footprints }: ExploreState): void {
    [this.pass, this.runs, this.schedules, this.steps, this.branches] = counts;
    this.nodes = nodes.map((node) => ({ ...node, rest: node.rest?.slice() ?? null }));
    this.visited = new Map(visited.map(([key, depths]) => [key, [...depths]]));
    this.found = new Map(found);
    this.watched.footprints.load(footprints);
    this.watched.footprints.grew = grew;
  }

  private get reduces(): boolean {
    return this.options.reduce ?? true;
  }

  progress(): ExploreProgress {
    const { pass, schedules, runs, steps, visited } = this;
    return { pass, schedules, runs, steps, states: visited.size };
  }

  private beginPass(): void {
    this.pass++;
    this.watched.footprints.grew = false;
    this.visited.clear();
    this.found.clear();
    this.nodes = [];
    this.schedules = 0;
    this.branches = 0;
  }

  /** One run: along the nodes as far as they go, then on by default until the end, a known state or a violation. */
  private run(): void {
    const { watched, nodes } = this;
    const { race } = watched;
    watched.restart();
    this.path = [];
    let last = -1;
    let left = this.options.preemptions;
    // Depth at which a walker's choice began, up to the step of its CPU.
    let choice = -1;
    for (let depth = 0; depth < this.longest; depth++) {
      const ready = race.ready();
      if (ready.length === 0) {
        this.ended(watched.end());
        return;
      }
      if (depth === nodes.length) {
        if (this.reduces && this.known(last, left, depth)) return;
        nodes.push({
          last,
          left,
          ready,
          chosen: ready.includes(last) ? last : ready[0],
          rest: null,
          narrowed: false,
        });
      }
      const node = nodes[depth];
      const { chosen } = node;
      const violation = watched.step(chosen);
      this.steps++;
      this.path.push(chosen);
      node.rest ??= this.alternatives(node, depth);
      const cpu = race.cpuOf(chosen);
      if (chosen >= race.cpuCount && cpu !== null && choice < 0) choice = depth;
      if (choice >= 0) this.widen(nodes[choice], chosen);
      if (chosen < race.cpuCount) choice = -1;
      if (violation !== null) {
        this.ended(violation);
        return;
      }
      // A store buffer moves beside the CPUs.
      if (cpu === null) continue;
      if (last >= 0 && cpu !== last && ready.includes(last)) left--;
      last = cpu;
    }
  }

  /** Steps of a run at most. */
  private get longest(): number {
    const { shortest } = this.options;
    if (shortest === undefined) return Number.POSITIVE_INFINITY;
    const best = this.found.get(shortest.invariant)?.cpus.length;
    return best === undefined ? shortest.steps : best - 1;
  }

  private known(last: number, left: number, depth: number): boolean {
    const key = this.watched.footprints.state(last + 1);
    const steps = this.options.shortest === undefined ? 0 : depth;
    const index = Math.min(left, MOST_LEFT);
    const before = this.visited.get(key) ?? [];
    for (let i = index; i < before.length; i++) if (before[i] <= steps) return true;
    for (let i = before.length; i < index; i++) before.push(Number.POSITIVE_INFINITY);
    before[index] = steps;
    this.visited.set(key, before);
    return false;
  }

  /** Who else may move in a node whose default step was just done. */
  private alternatives(node: Node, depth: number): number[] {
    const { last, left, ready, chosen } = node;
    const others = ready.filter((cpu) => cpu !== chosen);
    const { shard } = this.options;
    const undeviated = shard !== undefined && this.nodes.slice(0, depth).every(isDefault);
    // Store buffers, and the choices of the CPU that goes on.
    const free = others.filter((actor) => !this.preempts(actor, last));
    if (chosen === last) {
      if (left <= 0 || others.length === 0) return free;
      if (this.reduces && !undeviated && !this.concernsOthers(chosen)) {
        node.narrowed = true;
        return free;
      }
    }
    if (!undeviated) return others;
    return others.filter(() => this.branches++ % shard.count === shard.index);
  }

  private preempts(actor: number, last: number): boolean {
    const cpu = this.watched.race.cpuOf(actor);
    return cpu !== null && cpu !== last;
  }

  /** A step that is no concern of others may be one if its walk finds something else. */
  private widen(node: Node, chosen: number): void {
    if (!node.narrowed || !this.concernsOthers(chosen)) return;
    node.narrowed = false;
    node.rest!.push(...node.ready.filter((actor) => this.preempts(actor, node.last)));
  }

  private concernsOthers(chosen: number): boolean {
    const { race, footprints } = this.watched;
    const others = race.unfinished();
    return footprints.concerns(others.filter((cpu) => cpu !== race.cpuOf(chosen)));
  }

  private ended(violation: Violation | null): void {
    this.schedules++;
    if (violation === null) {
      this.options.onEnd?.(this.watched.footprints.sharedState());
      return;
    }
    const best = this.found.get(violation.invariant);
    if (best !== undefined && best.cpus.length <= this.path.length) return;
    this.found.set(violation.invariant, { violation, cpus: this.path });
  }

  /** Goes back to the last node that has something left. @returns false if none has */
  private backtrack(): boolean {
    const { nodes } = this;
    for (let node = nodes.at(-1); node !== undefined; node = nodes.at(-1)) {
      const next = node.rest?.shift();
      if (next !== undefined) {
        node.chosen = next;
        return true;
      }
      nodes.pop();
    }
    return false;
  }
}

/** The choice that is made without preemption, and at the start. */
const isDefault = ({ last, ready, chosen }: Node): boolean =>
  chosen === (ready.includes(last) ? last : ready[0]);
