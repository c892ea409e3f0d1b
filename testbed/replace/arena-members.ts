// What compiled code finds in struct bpf_arena: the members that the model has, and what the code may do with them.
import type { BpfArena } from '../../bpf/arena.ts';
import { CHANGED, LOOKED } from '../../mm/context.ts';
import type { Kernel } from '../kernel.ts';
import type { Binding, Members } from './laid.ts';
import type { Structures } from './structures.ts';

export function arenaMembers(kernel: Kernel, structures: Structures, arena: BpfArena): Members {
  const { context } = kernel;
  const { mappings, spans } = structures;
  const bound: Record<string, Binding> = {
    user_vm_start: own(arena, 'userVmStart'),
    user_vm_end: own(arena, 'userVmEnd'),
    zap_gen: counter(arena, 'zapGen'),
    nr_pages: counter(arena, 'nrPages'),
    kern_vm: { get: () => structures.vmStruct(arena.kernVm) },
    scratch_page: { get: () => structures.page(arena.scratchPage) },
    free_spans: spans.binding(arena),
    'map.ops': { get: () => structures.mapOps() },
    'map.frozen': { get: () => (mappings.frozen ? 1n : 0n) },
    'map.map_type': { get: () => BigInt(arena.mapType) },
    'map.max_entries': { get: () => BigInt(arena.maxEntries) },
    'map.map_flags': { get: () => BigInt(arena.mapFlags) },
  };
  return {
    bound,
    // Nobody but the code looks at these; they are 0 until it writes them.
    shared: ['vma_list.next', 'vma_list.prev', 'map.record', 'map.writecnt'],
    links: mappings.links(arena),
    lend: (member, by, pa) =>
      member === 'rt' &&
      (structures.lender?.lendTree(arena, structures.treeAddress(pa), by) ?? false),
    touches(member, access, writes) {
      const how = writes ? LOOKED | CHANGED : LOOKED;
      if (isOfMappings(member)) access.object(arena.mappings, how);
      if (member === 'free_spans') access.object(arena.deferred, how);
    },
    step(member, kind) {
      if (member === 'free_spans' && kind === 'exchange')
        return { kind: 'call', what: 'queue the span and free_irq' };
      const unguarded = isOfMappings(member) && arena.lock.holder !== context.cpu;
      if (!unguarded || kind === 'read') return null;
      return { kind: 'lock', what: `${member} without ${arena.lock.name}` };
    },
  };
}

const isOfMappings = (member: string): boolean => /^(?:vma_list|zap_gen)/.test(member);

/** A number that the code may change. */
export const counter = <Name extends string>(
  owner: { [Key in Name]?: number },
  name: Name,
): Binding => ({
  get: () => BigInt(owner[name] ?? 0),
  set(value) {
    const counted: { [Key in Name]?: number } = owner;
    counted[name] = Number(BigInt.asIntN(32, value));
    return null;
  },
});

/** A word that the code may change. */
const own = <Name extends string>(owner: Record<Name, bigint>, name: Name): Binding => ({
  get: () => owner[name],
  set(value) {
    owner[name] = value;
    return null;
  },
});
