// lib/rbtree.c on trees in emulated memory: what the inline functions of <linux/rbtree.h> and rbtree_augmented.h call. Left
// out: the order of stores, which lockless readers of a running kernel rely on.
import type { Activity } from '../../mm/context.ts';
import type { CodeMemory } from './code-memory.ts';
import type { RbNodes } from './rb-nodes.ts';

/** Told of each rotation: `new_` has taken the place of `old`, which is below it now. */
export type Rotated = (old: bigint, new_: bigint) => Activity<void>;

export const NOBODY: Rotated = function* () {};

export class RbTree {
  private readonly nodes: RbNodes;
  private readonly memory: CodeMemory;
  /** Address of the root's pointer to the first node. */
  private readonly root: bigint;
  private readonly rotated: Rotated;

  /** @param root address of struct rb_root */
  constructor(nodes: RbNodes, root: bigint, rotated: Rotated = NOBODY) {
    nodes.begin();
    this.nodes = nodes;
    this.memory = nodes.memory;
    this.root = root;
    this.rotated = rotated;
  }

  get top(): bigint {
    return this.memory.read(this.root);
  }

  /** rb_insert_color(): balances the tree after a red node was linked at its bottom. */
  *insertColor(inserted: bigint): Activity<void> {
    const { nodes } = this;
    let node = inserted;
    for (;;) {
      let parent = nodes.parent(node);
      if (parent === 0n) break;
      if (!nodes.isRed(parent)) return;
      const grand = nodes.parent(parent);
      const isLeft = nodes.left(grand) === parent;
      const uncle = isLeft ? nodes.right(grand) : nodes.left(grand);
      if (nodes.isRed(uncle)) {
        nodes.setRed(parent, false);
        nodes.setRed(uncle, false);
        nodes.setRed(grand, true);
        node = grand;
        continue;
      }
      const inner = isLeft ? nodes.right(parent) : nodes.left(parent);
      if (inner === node) {
        yield* this.rotate(parent, isLeft);
        parent = node;
      }
      nodes.setRed(parent, false);
      nodes.setRed(grand, true);
      yield* this.rotate(grand, !isLeft);
      return;
    }
    nodes.setRed(node, false);
  }

  /** rb_erase() */
  *erase(node: bigint): Activity<void> {
    const { nodes } = this;
    const [left, right] = [nodes.left(node), nodes.right(node)];
    const word = nodes.parentColor(node);
    const parent = nodes.parent(node);
    if (left === 0n || right === 0n) {
      const child = left === 0n ? right : left;
      this.replaceChild(parent, node, child);
      // An only child is red, and takes over the colour as well.
      if (child !== 0n) nodes.setParentColor(child, word);
      else if ((word & 1n) !== 0n && parent !== 0n) yield* this.eraseColor(parent);
      return;
    }
    let next = right;
    for (let down = nodes.left(next); down !== 0n; down = nodes.left(next)) next = down;
    const orphan = nodes.right(next);
    const wasRed = nodes.isRed(next);
    let above = next;
    if (next !== right) {
      above = nodes.parent(next);
      nodes.setLeft(above, orphan);
      nodes.setRight(next, right);
      nodes.setParent(right, next);
    }
    nodes.setLeft(next, left);
    nodes.setParent(left, next);
    this.replaceChild(parent, node, next);
    nodes.setParentColor(next, word);
    if (orphan !== 0n) nodes.setParentColor(orphan, above | 1n);
    else if (!wasRed) yield* this.eraseColor(above);
  }

  /** __rb_erase_color(): balances the tree where a black node is gone that was the only child of `above` on its side. */
  *eraseColor(above: bigint): Activity<void> {
    const { nodes } = this;
    let parent = above;
    let node = 0n;
    while (parent !== 0n) {
      const isLeft = nodes.right(parent) !== node;
      const near = (of: bigint) => (isLeft ? nodes.left(of) : nodes.right(of));
      const far = (of: bigint) => (isLeft ? nodes.right(of) : nodes.left(of));
      let sibling = far(parent);
      if (nodes.isRed(sibling)) {
        nodes.setRed(sibling, false);
        nodes.setRed(parent, true);
        yield* this.rotate(parent, isLeft);
        sibling = far(parent);
      }
      if (!nodes.isRed(near(sibling)) && !nodes.isRed(far(sibling))) {
        nodes.setRed(sibling, true);
        if (nodes.isRed(parent)) {
          nodes.setRed(parent, false);
          return;
        }
        node = parent;
        parent = nodes.parent(node);
        continue;
      }
      if (!nodes.isRed(far(sibling))) {
        nodes.setRed(near(sibling), false);
        nodes.setRed(sibling, true);
        yield* this.rotate(sibling, !isLeft);
        sibling = far(parent);
      }
      nodes.setRed(sibling, nodes.isRed(parent));
      nodes.setRed(parent, false);
      nodes.setRed(far(sibling), false);
      yield* this.rotate(parent, isLeft);
      return;
    }
  }

  /** rb_replace_node(): `new_` takes over the links of `victim`. */
  replace(victim: bigint, new_: bigint): void {
    const { nodes } = this;
    const [left, right] = [nodes.left(victim), nodes.right(victim)];
    nodes.setParentColor(new_, nodes.parentColor(victim));
    nodes.setLeft(new_, left);
    nodes.setRight(new_, right);
    for (const child of [left, right]) if (child !== 0n) nodes.setParent(child, new_);
    this.replaceChild(nodes.parent(victim), victim, new_);
  }

  /** The child on the other side takes the place of `top`, which goes down to this side. */
  private *rotate(top: bigint, toLeft: boolean): Activity<void> {
    const { nodes } = this;
    const up = toLeft ? nodes.right(top) : nodes.left(top);
    const between = toLeft ? nodes.left(up) : nodes.right(up);
    const parent = nodes.parent(top);
    if (toLeft) {
      nodes.setRight(top, between);
      nodes.setLeft(up, top);
    } else {
      nodes.setLeft(top, between);
      nodes.setRight(up, top);
    }
    if (between !== 0n) nodes.setParent(between, top);
    nodes.setParent(up, parent);
    nodes.setParent(top, up);
    this.replaceChild(parent, top, up);
    yield* this.rotated(top, up);
  }

  private replaceChild(parent: bigint, old: bigint, new_: bigint): void {
    const { nodes } = this;
    if (parent === 0n) this.memory.write(this.root, new_);
    else if (nodes.left(parent) === old) nodes.setLeft(parent, new_);
    else nodes.setRight(parent, new_);
  }
}

/** rb_first() and rb_last(). @param root address of struct rb_root */
export function rbEnd(nodes: RbNodes, root: bigint, side: 'left' | 'right'): bigint {
  nodes.begin();
  let node = nodes.memory.read(root);
  if (node === 0n) return 0n;
  for (let next = nodes[side](node); next !== 0n; next = nodes[side](node)) node = next;
  return node;
}

/** rb_next() with `forward`, or rb_prev(). */
export function rbBeside(nodes: RbNodes, node: bigint, forward: boolean): bigint {
  nodes.begin();
  // RB_EMPTY_NODE()
  if (nodes.parentColor(node) === node) return 0n;
  const [ahead, back] = forward ? (['right', 'left'] as const) : (['left', 'right'] as const);
  let down = nodes[ahead](node);
  if (down !== 0n) {
    for (let next = nodes[back](down); next !== 0n; next = nodes[back](down)) down = next;
    return down;
  }
  let child = node;
  let parent = nodes.parent(child);
  while (parent !== 0n && nodes[ahead](parent) === child) {
    child = parent;
    parent = nodes.parent(child);
  }
  return parent;
}

/** rb_first_postorder() below a node. */
export function rbDeepest(nodes: RbNodes, top: bigint): bigint {
  let node = top;
  for (;;) {
    const next = nodes.left(node) || nodes.right(node);
    if (next === 0n) return node;
    node = next;
  }
}

/** rb_next_postorder() */
export function rbNextPostorder(nodes: RbNodes, node: bigint): bigint {
  nodes.begin();
  const parent = nodes.parent(node);
  if (parent === 0n) return 0n;
  const right = nodes.right(parent);
  return nodes.left(parent) === node && right !== 0n ? rbDeepest(nodes, right) : parent;
}
