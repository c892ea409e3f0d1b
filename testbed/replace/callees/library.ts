// What compiled code takes from lib/: memory, strings and lists without a lock. None of it is a step.
import type { Callee } from '../guest-calls.ts';
import { readText } from '../printk-format.ts';
import { type CalleeParts, plain } from './index.ts';

/** Elements of a list beyond which it is taken to go round. */
const MOST = 1 << 20;

export function libraryCallees({ kernel, state, structures }: CalleeParts): [string, Callee][] {
  const { memory } = state;
  const copy = plain((argument) => {
    memory.writeBytes(argument(0), memory.readBytes(argument(1), Number(argument(2))));
    return argument(0);
  });
  const fill = plain((argument) => {
    const bytes = new Uint8Array(Number(argument(2))).fill(Number(argument(1) & 0xffn));
    memory.writeBytes(argument(0), bytes);
    return argument(0);
  });
  return [
    ...['memcpy', '__memcpy', 'memmove', '__memmove'].map((name): [string, Callee] => [name, copy]),
    ...['memset', '__memset'].map((name): [string, Callee] => [name, fill]),
    ['strlen', plain((argument) => BigInt(readText(kernel, argument(0)).length))],
    [
      // bool llist_add_batch(new_first, new_last, head): true if the list was empty
      'llist_add_batch',
      plain((argument) => {
        const [first, last, head] = [argument(0), argument(1), argument(2)];
        structures.reach(head, 'llist_add_batch');
        const before = memory.read(head);
        memory.write(last, before);
        memory.write(head, first);
        return before === 0n ? 1n : 0n;
      }),
    ],
    [
      'llist_reverse_order',
      plain((argument) => {
        let reversed = 0n;
        let node = argument(0);
        for (let i = 0; node !== 0n && i < MOST; i++) {
          structures.reach(node, 'llist_reverse_order');
          const next = memory.read(node);
          memory.write(node, reversed);
          reversed = node;
          node = next;
        }
        return reversed;
      }),
    ],
    ['__might_fault', plain(() => null)],
    ['__check_object_size', plain(() => null)],
  ];
}
