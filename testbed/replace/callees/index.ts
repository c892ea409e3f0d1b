// The functions of the model that compiled code in its place may call, by their kernel names.
import type { BpfArena } from '../../../bpf/arena.ts';
import { type VirtAddr, virtAddr } from '../../../emulator/address.ts';
import { applyToExistingPageRange, applyToPageRange } from '../../../mm/apply-range.ts';
import { type Activity, KernelStuck } from '../../../mm/context.ts';
import { flushTlbBeforeSet, flushTlbKernelRangeSteps } from '../../../mm/tlb-control.ts';
import type { Kernel } from '../../kernel.ts';
import type { CodeHeap } from '../code-heap.ts';
import type { ExtableMemory } from '../extable-memory.ts';
import { type Callee, type GuestCalls, s32 } from '../guest-calls.ts';
import type { KfenceMemory } from '../kfence-memory.ts';
import type { KsymPlaces } from '../ksym-places.ts';
import type { LaidState } from '../laid-state.ts';
import type { OrcMemory } from '../orc-memory.ts';
import type { PtRegsMemory } from '../pt-regs.ts';
import type { Structures } from '../structures.ts';
import { ambientCallees } from './ambient.ts';
import { arenaCallees, memoryCallees } from './arena.ts';
import { progCallees } from './bpf.ts';
import { dyingArm64Callees } from './dying-arm64.ts';
import { dyingX86Callees } from './dying-x86.ts';
import { extableCallees } from './extable.ts';
import { extableX86Callees } from './extable-x86.ts';
import { faultArm64Callees } from './fault-arm64.ts';
import { faultX86Callees } from './fault-x86.ts';
import { kfenceCallees } from './kfence.ts';
import { ksymCallees } from './ksym.ts';
import { libraryCallees } from './library.ts';
import { lockCallees } from './locks.ts';
import { mapCallees, populateRange } from './maps.ts';
import { orcCallees } from './orc.ts';
import { pathCallees } from './path.ts';
import { printCallees } from './print.ts';
import { printkCallees } from './printk.ts';
import { rbCallees } from './rbtree.ts';
import { showFaultX86Callees } from './show-fault-x86.ts';
import { spinLockCallees } from './spin-locks.ts';
import { streamCallees } from './streams.ts';
import { tableCallees } from './tables.ts';
import { trapsArm64Callees } from './traps-arm64.ts';
import { unwindCallees } from './unwind.ts';
import { vmallocCallees } from './vmalloc.ts';

/** An integer argument by its number, 64 bits. */
export type Argument = (index: number) => bigint;

/** What the functions work with. */
export interface CalleeParts {
  readonly kernel: Kernel;
  readonly structures: Structures;
  readonly ksyms: KsymPlaces;
  readonly orc: OrcMemory;
  readonly state: LaidState;
  /** Memory that the code asks for. */
  readonly heap: CodeHeap;
  /** struct pt_regs; null for an object that does not define it. */
  readonly ptRegs: PtRegsMemory | null;
  readonly extable: ExtableMemory;
  readonly kfence: KfenceMemory;
  /** Address of the top-level table (swapper_pg_dir). */
  readonly swapper: bigint;
  /** Set once the calls can be made. */
  calls: GuestCalls | null;
}

/** A function without a step that another CPU could see. */
export const plain = (
  action: (argument: Argument, returnsTo: () => VirtAddr) => bigint | null,
): Callee =>
  // biome-ignore lint/correctness/useYield: an Activity that has no step
  function* (argument, returnsTo) {
    return action(argument, returnsTo);
  };

/** Every function that there is. */
export function modelledCallees(parts: CalleeParts): ReadonlyMap<string, Callee> {
  const { kernel, structures } = parts;
  const { context, bpf, pages } = kernel;
  const tlb = bpf.tlb;
  const freePage: Callee = function* (argument) {
    const page = argument(0);
    const pfn = structures.pfn(page);
    if (pfn === null)
      throw new KernelStuck(`frees 0x${page.toString(16)}, which is no struct page`);
    if (context.stepping) yield { kind: 'page', what: `free page 0x${pfn.toString(16)}` };
    pages.freePage(pfn);
    return null;
  };
  const arena = (address: bigint): BpfArena | null => structures.arenaAt(address);
  const all: readonly [string, Callee][] = [
    ['apply_to_page_range', (argument) => applyRange(parts, argument, true)],
    ['apply_to_existing_page_range', (argument) => applyRange(parts, argument, false)],
    [
      'flush_tlb_before_set',
      function* (argument) {
        const addr = virtAddr(argument(0));
        yield* flushTlbBeforeSet(context, tlb, addr);
        return null;
      },
    ],
    [
      'flush_tlb_kernel_range',
      function* (argument) {
        const [start, end] = [virtAddr(argument(0)), virtAddr(argument(1))];
        yield* flushTlbKernelRangeSteps(context, tlb, start, end);
        return null;
      },
    ],
    [
      'pfn_valid',
      plain((argument) => {
        const frames = argument(0) * BigInt(pages.framesPerPage);
        return frames < 2n ** 40n && pages.pfnValid(Number(frames)) ? 1n : 0n;
      }),
    ],
    ['__free_pages', freePage],
    ['___free_pages', freePage],
    ['free_pages_nolock', freePage],
    ...arenaCallees(parts),
    ...memoryCallees(parts),
    ...rbCallees(parts),
    ...mapCallees(parts),
    ...lockCallees(parts),
    ...progCallees(parts),
    ...streamCallees(parts),
    ...printCallees(parts),
    ...libraryCallees(parts),
    ...ksymCallees(parts),
    ...printkCallees(parts),
    ...pathCallees(parts),
    ...extableCallees(parts),
    ...tableCallees(parts),
    ...(kernel.arch.name === 'x86_64'
      ? [
          ...dyingX86Callees(parts),
          ...faultX86Callees(parts),
          ...extableX86Callees(parts),
          ...showFaultX86Callees(parts),
        ]
      : [...dyingArm64Callees(parts), ...faultArm64Callees(parts), ...trapsArm64Callees(parts)]),
    ...unwindCallees(parts),
    ...(kernel.arch.name === 'x86_64' ? orcCallees(parts) : []),
    ...kfenceCallees(parts),
    ...vmallocCallees(parts),
    ...spinLockCallees(parts),
    ['bpf_arena_get_kern_vm_start', plain((argument) => arena(argument(0))?.kernVmStart ?? 0n)],
    ['bpf_arena_get_user_vm_start', plain((argument) => arena(argument(0))?.userVmStart ?? 0n)],
    ...ambientCallees(),
  ];
  const byName = new Map(all);
  if (byName.size === all.length) return byName;
  const names = all.map(([name]) => name);
  const twice = names.filter((name, i) => names.indexOf(name) !== i);
  throw new RangeError(`two modelled functions of one name: ${twice.join(', ')}`);
}

const WALK = 'apply_to_page_range';

/** apply_to_page_range(mm, addr, size, fn, data), with a callback in compiled code. */
function* applyRange(parts: CalleeParts, argument: Argument, create: boolean): Activity<bigint> {
  const { kernel, structures, calls } = parts;
  const [start, size, fn, data] = [1, 2, 3, 4].map(argument);
  const name = kernel.symbols.find(virtAddr(fn))?.name ?? 'pte_fn_t';
  if (create && data === 0n) return yield* populateRange(parts, name, [start, size, fn]);
  let entries = 0;
  const apply = create ? applyToPageRange : applyToExistingPageRange;
  const result = yield* apply(kernel.mm, virtAddr(start), Number(size), function* (entry) {
    const { addr, ptep } = entry;
    const args = [structures.virt(ptep), addr, data];
    const stop = s32(yield* calls!.call(name, virtAddr(fn), args, { ptep, addr }));
    if (stop === 0) entries++;
    return stop;
  });
  if (kernel.events.on && result === 0) {
    kernel.context.decide(WALK, `compiled: walked ${entries} entries`);
  }
  return BigInt(result);
}
