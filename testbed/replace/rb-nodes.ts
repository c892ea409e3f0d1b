// Red-black trees of the kernel in emulated memory (lib/rbtree.c): the links of struct rb_node as the object lays them out,
// trees made of sorted nodes, and trees read back in order, which finds whatever is wrong with them.
import { hex } from '../../emulator/bits.ts';
import { KernelStuck } from '../../mm/context.ts';
import { CallError } from '../call-error.ts';
import { CodeMemory, type Member, membersOf } from './code-memory.ts';
import type { Structures } from './structures.ts';

const BLACK = 1n;
/** Deeper than any tree that is balanced and fits into memory. */
const DEEPEST = 64;
/** Links that one operation may follow: more than a whole tree has. */
const MOST_LINKS = 1 << 20;

export class RbNodes {
  readonly memory: CodeMemory;
  private readonly links: Readonly<Record<'__rb_parent_color' | 'rb_left' | 'rb_right', Member>>;
  private followed = 0;

  /** @throws CallError if the object does not tell how struct rb_node is laid out */
  constructor(structures: Structures) {
    this.memory = new CodeMemory(structures.kernel);
    this.links = membersOf(
      structures.layout('rb_node'),
      ['__rb_parent_color', 'rb_left', 'rb_right'],
      (what) => new CallError(`${structures.path}: ${what}`, 'compile it with <linux/rbtree.h>'),
    );
  }

  /** A new operation begins, with as many links to follow as any may need. */
  begin(): void {
    this.followed = 0;
  }

  left(node: bigint): bigint {
    return this.follow(node, this.links.rb_left);
  }

  right(node: bigint): bigint {
    return this.follow(node, this.links.rb_right);
  }

  /** @returns the parent, 0 for a root */
  parent(node: bigint): bigint {
    return this.follow(node, this.links.__rb_parent_color) & ~3n;
  }

  /** A node that is none counts as black. */
  isRed(node: bigint): boolean {
    return node !== 0n && (this.parentColor(node) & BLACK) === 0n;
  }

  /** Parent and colour in one word: a node that is its own parent is in no tree. */
  parentColor(node: bigint): bigint {
    return this.memory.get(node, this.links.__rb_parent_color);
  }

  setParentColor(node: bigint, word: bigint): void {
    this.memory.set(node, this.links.__rb_parent_color, word);
  }

  setParent(node: bigint, parent: bigint): void {
    this.setParentColor(node, parent | (this.parentColor(node) & BLACK));
  }

  setRed(node: bigint, isRed: boolean): void {
    this.setParentColor(node, this.parent(node) | (isRed ? 0n : BLACK));
  }

  setLeft(node: bigint, child: bigint): void {
    this.memory.set(node, this.links.rb_left, child);
  }

  setRight(node: bigint, child: bigint): void {
    this.memory.set(node, this.links.rb_right, child);
  }

  private follow(node: bigint, link: Member): bigint {
    if (this.followed++ > MOST_LINKS) throw new KernelStuck('a red-black tree goes round for ever');
    return this.memory.get(node, link);
  }

  /**
   * Links sorted nodes to a balanced tree: all levels are full and black, but for the last, which is red.
   * @param each called for a node once its children are done
   * @returns the root, 0 for no nodes
   */
  build(
    nodes: readonly bigint[],
    each: (node: bigint, left: bigint, right: bigint) => void,
  ): bigint {
    const lastLevel = Math.floor(Math.log2(Math.max(1, nodes.length)));
    const make = (from: number, to: number, level: number): bigint => {
      if (from >= to) return 0n;
      const middle = (from + to) >> 1;
      const node = nodes[middle];
      const left = make(from, middle, level + 1);
      const right = make(middle + 1, to, level + 1);
      this.setLeft(node, left);
      this.setRight(node, right);
      this.setParentColor(node, level === lastLevel && level > 0 ? 0n : BLACK);
      for (const child of [left, right]) if (child !== 0n) this.setParent(child, node);
      each(node, left, right);
      return node;
    };
    return make(0, nodes.length, 0);
  }

  /**
   * The nodes of a tree in order.
   * @param isNode whether a node can lie at an address. @throws KernelStuck for what is no red-black tree
   */
  inOrder(root: bigint, isNode: (at: bigint) => boolean): bigint[] {
    const nodes: bigint[] = [];
    const seen = new Set<bigint>();
    this.begin();
    /** @returns how many black nodes every way down has */
    const visit = (node: bigint, parent: bigint, depth: number): number => {
      if (node === 0n) return 0;
      if (!isNode(node)) throw new KernelStuck(`a link to ${hex(node)}, where no node is`);
      if (seen.has(node)) throw new KernelStuck(`the node at ${hex(node)} linked twice`);
      if (depth > DEEPEST) throw new KernelStuck('a tree that is not balanced');
      seen.add(node);
      if (this.parent(node) !== parent) {
        throw new KernelStuck(`a wrong parent in the node at ${hex(node)}`);
      }
      const isRed = this.isRed(node);
      if (isRed && (parent === 0n || this.isRed(parent))) {
        throw new KernelStuck(`a red node at ${hex(node)} where a black one must be`);
      }
      const left = visit(this.left(node), node, depth + 1);
      nodes.push(node);
      const right = visit(this.right(node), node, depth + 1);
      if (left !== right) {
        throw new KernelStuck(`unequal numbers of black nodes below ${hex(node)}`);
      }
      return left + (isRed ? 0 : 1);
    };
    visit(root, 0n, 0);
    return nodes;
  }
}
