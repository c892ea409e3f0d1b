// lib/rbtree.c for compiled code whose object leaves it to the rest of the kernel.
import { virtAddr } from '../../../emulator/address.ts';
import type { Activity } from '../../../mm/context.ts';
import type { Callee } from '../guest-calls.ts';
import { RbNodes } from '../rb-nodes.ts';
import {
  NOBODY,
  RbTree,
  type Rotated,
  rbBeside,
  rbDeepest,
  rbEnd,
  rbNextPostorder,
} from '../rb-operations.ts';
import { type Argument, type CalleeParts, plain } from './index.ts';

export function rbCallees(parts: CalleeParts): [string, Callee][] {
  const { kernel, structures } = parts;
  let known: RbNodes | null = null;
  const nodes = (): RbNodes => {
    known ??= new RbNodes(structures);
    return known;
  };
  /** void (*augment_rotate)(struct rb_node *old, struct rb_node *new) */
  const callback = (fn: bigint): Rotated => {
    const name = kernel.symbols.find(virtAddr(fn))?.name ?? 'augment_rotate';
    return function* (old, new_) {
      yield* parts.calls!.call(name, virtAddr(fn), [old, new_]);
    };
  };
  const tree = (name: string, root: bigint, rotated: Rotated = NOBODY): RbTree => {
    structures.reach(root, name);
    return new RbTree(nodes(), root, rotated);
  };
  /** A function of a node and a root, both addresses. */
  const changing = (
    name: string,
    action: (tree: RbTree, node: bigint) => Activity<void>,
    augmented = false,
  ): [string, Callee] => [
    name,
    function* (argument: Argument) {
      const rotated = augmented ? callback(argument(2)) : NOBODY;
      yield* action(tree(name, argument(1), rotated), argument(0));
      return null;
    },
  ];
  const end = (name: string, side: 'left' | 'right'): [string, Callee] => [
    name,
    plain((argument) => {
      structures.reach(argument(0), name);
      return rbEnd(nodes(), argument(0), side);
    }),
  ];
  return [
    changing('rb_insert_color', (to, node) => to.insertColor(node)),
    changing('__rb_insert_augmented', (to, node) => to.insertColor(node), true),
    changing('rb_erase', (from, node) => from.erase(node)),
    changing('__rb_erase_color', (from, parent) => from.eraseColor(parent), true),
    end('rb_first', 'left'),
    end('rb_last', 'right'),
    ['rb_next', plain((argument) => rbBeside(nodes(), argument(0), true))],
    ['rb_prev', plain((argument) => rbBeside(nodes(), argument(0), false))],
    [
      'rb_first_postorder',
      plain((argument) => {
        const { top } = tree('rb_first_postorder', argument(0));
        return top === 0n ? 0n : rbDeepest(nodes(), top);
      }),
    ],
    [
      'rb_next_postorder',
      plain((argument) => (argument(0) === 0n ? 0n : rbNextPostorder(nodes(), argument(0)))),
    ],
    [
      'rb_replace_node',
      plain((argument) => {
        tree('rb_replace_node', argument(2)).replace(argument(0), argument(1));
        return null;
      }),
    ],
  ];
}
