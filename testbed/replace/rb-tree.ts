// Red-black trees in emulated memory (include/linux/rbtree.h): laid down, read and changed as a whole. A tree is always
// made anew from its nodes in order, as flat as it goes: users see its order, and never its shape.
import { KernelStuck } from '../../mm/context.ts';
import type { Kernel } from '../kernel.ts';
import { readWordAt, writeWordAt } from './words.ts';

// struct rb_node: __rb_parent_color, rb_right, rb_left. The colour is bit 0 of the parent's address.
const RIGHT = 8n;
const LEFT = 16n;
const BLACK = 1n;
/** Nodes beyond which a tree is taken for damaged. */
const MOST = 100_000;

export class RbTrees {
  private readonly kernel: Kernel;

  constructor(kernel: Kernel) {
    this.kernel = kernel;
  }

  /** Makes the tree whose struct rb_root lies at `root`. @param nodes addresses of struct rb_node, in order */
  lay(root: bigint, nodes: readonly bigint[]): void {
    const write = (at: bigint, value: bigint) => writeWordAt(this.kernel, at, value, 'a tree');
    // All levels but the last are full: the last is red, the others black.
    const last = Math.floor(Math.log2(Math.max(1, nodes.length)));
    const half = (from: number, to: number, parent: bigint, depth: number): bigint => {
      if (from >= to) return 0n;
      const middle = (from + to) >> 1;
      const node = nodes[middle];
      write(node, parent | (depth === last && depth > 0 ? 0n : BLACK));
      write(node + LEFT, half(from, middle, node, depth + 1));
      write(node + RIGHT, half(middle + 1, to, node, depth + 1));
      return node;
    };
    write(root, half(0, nodes.length, 0n, 0));
  }

  /**
   * The nodes of a tree, in order.
   * @throws KernelStuck for a tree that leads out of memory, or round
   */
  read(root: bigint): bigint[] {
    const word = (at: bigint) => readWordAt(this.kernel, at, 'a tree');
    const nodes: bigint[] = [];
    const above: bigint[] = [];
    for (let node = word(root); node !== 0n || above.length > 0; ) {
      if (nodes.length + above.length > MOST) throw new KernelStuck('a tree leads round');
      if (node !== 0n) {
        above.push(node);
        node = word(node + LEFT);
        continue;
      }
      const next = above.pop()!;
      nodes.push(next);
      node = word(next + RIGHT);
    }
    return nodes;
  }
}
