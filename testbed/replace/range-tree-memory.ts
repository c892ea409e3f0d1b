// The range tree of an arena in emulated memory, as kernel/bpf/range_tree.c keeps it: nodes in an interval tree by address
// and in a tree by size, laid out as the object says. It is made when compiled code reaches it, and read back, with all
// that must hold of it, when the code is done.
import type { Range, RangeTree } from '../../bpf/range-tree.ts';
import { hex } from '../../emulator/bits.ts';
import { KernelStuck } from '../../mm/context.ts';
import { CallError } from '../call-error.ts';
import type { CodeHeap } from './code-heap.ts';
import { type Member, membersOf } from './code-memory.ts';
import type { Loans } from './loans.ts';
import { RbNodes } from './rb-nodes.ts';
import type { Structures } from './structures.ts';

export const RANGE_TREE_STRUCTS = [
  'range_tree',
  'range_node',
  'rb_root_cached',
  'rb_node',
] as const;

const REMEDY =
  'replace the functions with code that keeps the range tree as kernel/bpf/range_tree.c does';

export class RangeTreeMemory {
  /** sizeof(struct range_node) */
  readonly nodeSize: number;
  private readonly nodes: RbNodes;
  private readonly tree: Readonly<Record<'it_root' | 'range_size_root', Member>>;
  private readonly root: Readonly<Record<'rb_root' | 'rb_leftmost', Member>>;
  private readonly node: Readonly<
    Record<'rn_rbnode' | 'rb_range_size' | 'rn_start' | 'rn_last' | '__rn_subtree_last', Member>
  >;
  private readonly heap: CodeHeap;
  private readonly loans: Loans;

  /** @throws CallError for an object whose range tree is another */
  constructor(structures: Structures, heap: CodeHeap, loans: Loans) {
    const missing = (what: string) => new CallError(`${structures.path}: ${what}`, REMEDY);
    const [tree, node, root] = RANGE_TREE_STRUCTS.map((name) => structures.layout(name));
    this.nodes = new RbNodes(structures);
    this.heap = heap;
    this.loans = loans;
    this.nodeSize = node.size;
    this.tree = membersOf(tree, ['it_root', 'range_size_root'], missing);
    this.root = membersOf(root, ['rb_root', 'rb_leftmost'], missing);
    this.node = membersOf(
      node,
      ['rn_rbnode', 'rb_range_size', 'rn_start', 'rn_last', '__rn_subtree_last'],
      missing,
    );
  }

  /**
   * Makes a tree at an address, where it stays until it is looked for in the model.
   * @param by the function that asks for it. @param done called when it has come back
   */
  lend(rt: RangeTree, at: bigint, by: string, done: () => void): void {
    const ranges = rt.nodesBySize().map(({ start, last }) => ({ start, last }));
    const laid = new Map<Range, bigint>();
    for (const range of ranges) {
      const node = this.heap.alloc(this.nodeSize);
      if (node === 0n) throw new KernelStuck(`${by}: no memory is left for the range tree`);
      this.nodes.memory.set(node, this.node.rn_start, range.start);
      this.nodes.memory.set(node, this.node.rn_last, range.last);
      laid.set(range, node);
    }
    this.layByAddress(at, laid);
    this.layBySize(at, [...laid.values()]);
    rt.lend(() => {
      const back = this.loans.read(() => this.read(rt, at, by));
      if (back === null) for (const node of laid.values()) this.heap.free(node);
      done();
      return back;
    });
    this.loans.add(rt);
  }

  /** The first slot of a node that a call has returned; what lay there is still there once the tree has come back. */
  startAt(node: bigint): number {
    return Number(this.nodes.memory.get(node, this.node.rn_start));
  }

  private layByAddress(at: bigint, laid: ReadonlyMap<Range, bigint>): void {
    const { memory } = this.nodes;
    const { rn_rbnode: link, __rn_subtree_last: subtree, rn_last: last } = this.node;
    const sorted = [...laid].sort(([a], [b]) => a.start - b.start);
    const links = sorted.map(([, node]) => node + BigInt(link.offset));
    const base = (rb: bigint) => rb - BigInt(link.offset);
    const top = this.nodes.build(links, (rb, left, right) => {
      let most = memory.get(base(rb), last);
      for (const child of [left, right]) {
        const below = child === 0n ? 0n : memory.get(base(child), subtree);
        if (below > most) most = below;
      }
      memory.set(base(rb), subtree, most);
    });
    this.setRoot(at, this.tree.it_root, top, links[0] ?? 0n);
  }

  /** Larger ranges stand to the left; of equal ones the one that was inserted first. @param nodes by size, ascending */
  private layBySize(at: bigint, nodes: readonly bigint[]): void {
    const { memory } = this.nodes;
    const sizeOf = (node: bigint) =>
      memory.get(node, this.node.rn_last) - memory.get(node, this.node.rn_start);
    // The sort keeps the order of equal ones.
    const sorted = [...nodes].sort((a, b) => Number(sizeOf(b) - sizeOf(a)));
    const links = sorted.map((node) => node + BigInt(this.node.rb_range_size.offset));
    const top = this.nodes.build(links, () => {});
    this.setRoot(at, this.tree.range_size_root, top, links[0] ?? 0n);
  }

  private setRoot(tree: bigint, member: Member, top: bigint, leftmost: bigint): void {
    const at = tree + BigInt(member.offset);
    this.nodes.memory.set(at, this.root.rb_root, top);
    this.nodes.memory.set(at, this.root.rb_leftmost, leftmost);
  }

  /**
   * Takes a tree out of memory, and gives its nodes back.
   * @returns the ranges, by size, equal ones in order of insertion
   * @throws KernelStuck for a tree that the functions of the kernel would not have left
   */
  private read(rt: RangeTree, at: bigint, by: string): Range[] {
    const wrong = (what: string) => new KernelStuck(`${by} leaves ${rt.label} with ${what}`);
    const telling = <T>(action: () => T): T => {
      try {
        return action();
      } catch (error) {
        throw error instanceof KernelStuck ? wrong(error.message) : error;
      }
    };
    const byAddress = telling(() => this.inOrder(at, this.tree.it_root, this.node.rn_rbnode));
    const bySize = telling(() =>
      this.inOrder(at, this.tree.range_size_root, this.node.rb_range_size),
    );
    const inTree = new Set(byAddress);
    const lost = bySize.find((node) => !inTree.has(node));
    if (lost !== undefined || bySize.length !== byAddress.length) {
      throw wrong(`${byAddress.length} nodes by address and ${bySize.length} by size`);
    }
    this.checkOrder(byAddress, wrong);
    const ranges = bySize.map((node) => this.range(node));
    ranges.forEach((range, i) => {
      if (i > 0 && sizeOf(ranges[i - 1]) < sizeOf(range)) {
        throw wrong(`a larger range behind a smaller one at ${hex(bySize[i])}`);
      }
    });
    this.checkSubtrees(byAddress, wrong);
    for (const node of byAddress) this.heap.free(node);
    // Ascending, and equal ones still in order of insertion.
    return ranges.sort((a, b) => sizeOf(a) - sizeOf(b));
  }

  private inOrder(tree: bigint, member: Member, link: Member): bigint[] {
    const { memory } = this.nodes;
    const root = tree + BigInt(member.offset);
    const offset = BigInt(link.offset);
    const isNode = (rb: bigint) => this.heap.sizeOf(rb - offset) >= this.nodeSize;
    const links = this.nodes.inOrder(memory.get(root, this.root.rb_root), isNode);
    const leftmost = memory.get(root, this.root.rb_leftmost);
    if (leftmost !== (links[0] ?? 0n)) throw new KernelStuck(`rb_leftmost ${hex(leftmost)}`);
    return links.map((rb) => rb - offset);
  }

  private range(node: bigint): Range {
    const { memory } = this.nodes;
    const start = Number(memory.get(node, this.node.rn_start));
    return { start, last: Number(memory.get(node, this.node.rn_last)) };
  }

  private checkOrder(nodes: readonly bigint[], wrong: (what: string) => KernelStuck): void {
    let before = -1;
    for (const node of nodes) {
      const { start, last } = this.range(node);
      if (last < start) throw wrong(`slots ${start} to ${last} in one node`);
      if (start <= before) throw wrong(`slot ${start} in two nodes, or nodes out of order`);
      before = last;
    }
  }

  private checkSubtrees(nodes: readonly bigint[], wrong: (what: string) => KernelStuck): void {
    const { memory } = this.nodes;
    const offset = BigInt(this.node.rn_rbnode.offset);
    for (const node of nodes) {
      // The nodes are disjoint: the last of a subtree is the last of its rightmost node.
      let rb = node + offset;
      this.nodes.begin();
      for (let next = this.nodes.right(rb); next !== 0n; next = this.nodes.right(rb)) rb = next;
      const last = memory.get(rb - offset, this.node.rn_last);
      if (memory.get(node, this.node.__rn_subtree_last) === last) continue;
      throw wrong(`a wrong __rn_subtree_last in the node at ${hex(node)}`);
    }
  }
}

const sizeOf = ({ start, last }: Range): number => last - start;
