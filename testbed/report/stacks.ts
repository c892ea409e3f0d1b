// Folded stacks as a tree, laid out for a flame graph: the root on top, frames of one parent side by side, the widest first.

/** One frame and where it lies, in the unit of the stacks. */
export interface Frame {
  readonly name: string;
  readonly depth: number;
  readonly start: number;
  readonly value: number;
}

interface Node {
  value: number;
  readonly below: Map<string, Node>;
}

/** @param stacks lines `frame;frame value`, of which equal ones add up. @returns frames, each behind its parent */
export function layOut(stacks: readonly string[]): Frame[] {
  const root: Node = { value: 0, below: new Map() };
  for (const line of stacks) {
    const [, names, value] = /^(.*) (\d+)$/s.exec(line) ?? [];
    if (names === undefined) continue;
    let node = root;
    for (const name of names.split(';')) {
      let next = node.below.get(name);
      if (next === undefined) {
        next = { value: 0, below: new Map() };
        node.below.set(name, next);
      }
      next.value += Number(value);
      node = next;
    }
  }
  const frames: Frame[] = [];
  const place = (nodes: ReadonlyMap<string, Node>, depth: number, from: number): void => {
    let start = from;
    const sorted = [...nodes].sort(([a, x], [b, y]) => y.value - x.value || (a < b ? -1 : 1));
    for (const [name, { value, below }] of sorted) {
      frames.push({ name, depth, start, value });
      place(below, depth + 1, start);
      start += value;
    }
  };
  place(root.below, 0, 0);
  return frames;
}
