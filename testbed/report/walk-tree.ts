// Walks put together: entries that several of them read, in the same state, are one.
import type { LevelReport } from '../../mm/paging.ts';

interface Node {
  readonly level: LevelReport;
  count: number;
  readonly below: Map<string, Node>;
}

/** One entry, and how many walks read it. */
export interface WalkedEntry {
  /** 0: the top level. */
  readonly depth: number;
  readonly level: LevelReport;
  readonly count: number;
}

export class WalkTree {
  count = 0;
  private readonly top = new Map<string, Node>();

  add(levels: readonly LevelReport[]): void {
    this.count++;
    let nodes = this.top;
    for (const level of levels) {
      const key = `${level.level} ${level.entryAddr} ${level.entry}`;
      let node = nodes.get(key);
      if (node === undefined) {
        node = { level, count: 0, below: new Map() };
        nodes.set(key, node);
      }
      node.count++;
      nodes = node.below;
    }
  }

  /** Every entry behind the one that named its table. */
  entries(): WalkedEntry[] {
    const listed = (nodes: ReadonlyMap<string, Node>, depth: number): WalkedEntry[] =>
      [...nodes.values()].flatMap(({ level, count, below }) => [
        { depth, level, count },
        ...listed(below, depth + 1),
      ]);
    return listed(this.top, 0);
  }
}
