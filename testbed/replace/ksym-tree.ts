// The symbols of programs in an object's own variables: bpf_tree, a latch tree (include/linux/rbtree_latch.h) of two copies,
// and the list bpf_kallsyms. They are laid down before the object's code runs, whenever the model's have changed since,
// and taken over from functions that change them.
import type { BpfKsym } from '../../bpf/prog.ts';
import { hex } from '../../emulator/bits.ts';
import type { Linked } from '../../emulator/elf/link.ts';
import { KernelStuck } from '../../mm/context.ts';
import { CallError } from '../call-error.ts';
import type { Kernel } from '../kernel.ts';
import type { KsymPlaces } from './ksym-places.ts';
import { RbTrees } from './rb-tree.ts';
import type { Structures } from './structures.ts';
import { writeWordAt } from './words.ts';

const TREE = 'bpf_tree';
const LIST = 'bpf_kallsyms';
const RB_NODE_SIZE = 24n;
const RB_ROOT_SIZE = 8n;

/** Offsets of what the tree is made of. */
interface Offsets {
  /** In struct bpf_ksym. */
  readonly lnode: bigint;
  readonly tnode: bigint;
  /** In struct latch_tree_root. */
  readonly seq: bigint;
  readonly tree: bigint;
}

export class KsymTree {
  private readonly kernel: Kernel;
  private readonly places: KsymPlaces;
  private readonly trees: RbTrees;
  private readonly root: bigint;
  /** Of the list; null: the object has none. */
  private readonly head: bigint | null;
  private readonly offsets: Offsets;
  /** Physical address of the generation that lies there, and one: memory goes back with a snapshot, fields would not. */
  private readonly stamp: number;

  /** The tree of an object; null for one that has none. @throws CallError for one without the layouts */
  static of(
    kernel: Kernel,
    structures: Structures,
    places: KsymPlaces,
    { symbols }: Linked,
  ): KsymTree | null {
    const own = (name: string) => symbols.find((one) => one.name === name && !one.isFunction);
    const root = own(TREE);
    if (root === undefined) return null;
    return new KsymTree(kernel, structures, places, root.address, own(LIST)?.address ?? null);
  }

  private constructor(
    kernel: Kernel,
    structures: Structures,
    places: KsymPlaces,
    root: bigint,
    head: bigint | null,
  ) {
    this.kernel = kernel;
    this.places = places;
    this.trees = new RbTrees(kernel);
    this.root = root;
    this.head = head;
    const offset = (struct: string, member: string): bigint => {
      const found = structures.layout(struct).members.get(member);
      if (found !== undefined) return BigInt(found.offset);
      throw new CallError(
        `struct ${struct} of the object that has ${TREE} has no member ${member}`,
        'compile it with the headers of a kernel from 5.8 on',
      );
    };
    offset('bpf_prog_aux', 'ksym');
    this.offsets = {
      lnode: offset('bpf_ksym', 'lnode'),
      tnode: offset('bpf_ksym', 'tnode'),
      seq: offset('latch_tree_root', 'seq'),
      tree: offset('latch_tree_root', 'tree'),
    };
    this.stamp = structures.reserve(8);
  }

  /** Lays down what the model has, unless it lies there. */
  lay(): void {
    const { ram, bpf } = this.kernel;
    if (ram.read64(this.stamp) === BigInt(bpf.ksyms.generation) + 1n) return;
    const all = bpf.ksyms.all();
    const placed = this.places.lay(all);
    for (const copy of [0n, 1n]) {
      const nodes = placed.map((at) => at + this.offsets.tnode + copy * RB_NODE_SIZE);
      this.trees.lay(this.rootOf(copy), nodes);
    }
    this.link(placed.map((at) => at + this.offsets.lnode));
    this.markLaid(bpf.ksyms.generation);
  }

  /** A symbol that is not in the tree, with links as the kernel sets them up. @returns its address */
  place(ksym: BpfKsym): bigint {
    const at = this.places.lay([...this.kernel.bpf.ksyms.all(), ksym]).at(-1)!;
    const lnode = at + this.offsets.lnode;
    this.write(lnode, lnode);
    this.write(lnode + 8n, lnode);
    return at;
  }

  /**
   * What the tree holds now, after a function changed it. Then it counts as laid for the model's next generation.
   * @param known symbols that may be in it, and the function that left it
   */
  takeOver(known: readonly BpfKsym[], by: string): BpfKsym[] {
    const [first, second] = [0n, 1n].map((copy) => this.nodes(copy));
    const wrong = (what: string) => new KernelStuck(`${by} leaves ${TREE} with ${what}`);
    if (first.length !== second.length || first.some((at, i) => at !== second[i])) {
      throw wrong('two copies that differ');
    }
    const byAddress = new Map(known.map((ksym) => [this.places.address(ksym), ksym]));
    const held = first.map((at) => {
      const ksym = byAddress.get(at);
      if (ksym === undefined) throw wrong(`${hex(at)} in it, which is no struct bpf_ksym`);
      return ksym;
    });
    if (held.some((ksym, i) => i > 0 && held[i - 1].start >= ksym.start)) {
      throw wrong('symbols that are not in order');
    }
    this.markLaid(this.kernel.bpf.ksyms.generation + 1);
    return held;
  }

  private nodes(copy: bigint): bigint[] {
    return this.trees
      .read(this.rootOf(copy))
      .map((node) => node - this.offsets.tnode - copy * RB_NODE_SIZE);
  }

  private rootOf(copy: bigint): bigint {
    return this.root + this.offsets.tree + copy * RB_ROOT_SIZE;
  }

  /** A list of struct list_head, round its head. */
  private link(nodes: readonly bigint[]): void {
    const round = this.head === null ? nodes : [this.head, ...nodes];
    round.forEach((node, i) => {
      this.write(node, round[(i + 1) % round.length]);
      this.write(node + 8n, round.at(i - 1)!);
    });
  }

  private markLaid(generation: number): void {
    this.kernel.ram.write64(this.stamp, BigInt(generation) + 1n);
  }

  private write(at: bigint, value: bigint): void {
    writeWordAt(this.kernel, at, value, LIST);
  }
}
