// What compiled code of mm/vmalloc.c, of TLB flushes and of BPF's pages calls.
import { bpfMapAllocPage } from '../../../bpf/arena.ts';
import { type Pfn, virtAddr } from '../../../emulator/address.ts';
import { type Activity, KernelStuck } from '../../../mm/context.ts';
import { flushTlbOneKernel } from '../../../mm/tlb-control.ts';
import type { Vcpu } from '../../vcpu.ts';
import { bool, type Callee, s32 } from '../guest-calls.ts';
import { type CalleeParts, plain } from './index.ts';

/** Number of the argument that is the order, by the function that gives pages. */
const PAGE_SOURCES: Readonly<Record<string, number>> = {
  alloc_pages_noprof: 1,
  alloc_pages_nolock_noprof: 2,
  try_alloc_pages_noprof: 1,
  __alloc_pages_noprof: 1,
  alloc_pages_nolock: 1,
  alloc_pages_node: 2,
};
/** Below the stack pointer of what an interrupt interrupts. */
const INTERRUPT_FRAME = 0x200n;

/** Functions that the model does even where the object has them: the areas are its own. */
export const AREA_CALLEES: readonly string[] = ['__get_vm_area_node', 'remove_vm_area'];

export function vmallocCallees(parts: CalleeParts): [string, Callee][] {
  const { kernel, structures } = parts;
  const { context, bpf, mm, pages, vmalloc } = kernel;
  return [
    [
      // size, align, shift, flags, start, end, node, gfp_mask, caller
      '__get_vm_area_node',
      plain((argument) => {
        const at = parts.calls!.wishes[context.cpu];
        const area = vmalloc.getVmAreaNode(Number(argument(0)), Number(argument(3)), at);
        return area === null ? 0n : structures.vmStruct(area);
      }),
    ],
    [
      'remove_vm_area',
      function* (argument) {
        const addr = virtAddr(argument(0));
        const area = vmalloc.findVmArea(addr);
        if (area === null || area.addr !== addr) return 0n;
        yield* vmalloc.removeVmArea(area);
        return structures.vmStruct(area);
      },
    ],
    ...Object.entries(PAGE_SOURCES).map(([name, order]): [string, Callee] => [
      name,
      function* (argument) {
        const which = s32(argument(order));
        if (which !== 0) throw new KernelStuck(`${name} of order ${which}: pages come one by one`);
        if (context.stepping) yield { kind: 'page', what: 'allocate a page' };
        const arena = parts.calls!.pagesFor[context.cpu] ?? null;
        const pfn =
          arena === null
            ? pages.allocPage(kernel.dataPages)
            : bpfMapAllocPage(arena, arena.dataPages);
        return pfn < 0 ? 0n : structures.page(pfn as Pfn);
      },
    ]),
    [
      'flush_tlb_one_kernel',
      plain((argument) => {
        flushTlbOneKernel(context, bpf.tlb, mm.pageStart(virtAddr(argument(0))));
        return null;
      }),
    ],
    ...interruptCallees(parts),
  ];
}

/** Functions that run another on CPUs, which interrupt what these do. All of them do so within one step. */
function interruptCallees(parts: CalleeParts): [string, Callee][] {
  const { kernel } = parts;
  function* onEach(fn: bigint, info: bigint, cond: bigint, others: boolean): Activity<void> {
    const { context } = kernel;
    const { cpu: self, stepping } = context;
    const name = kernel.symbols.find(virtAddr(fn))?.name ?? 'smp_call_func_t';
    context.stepping = false;
    try {
      for (const vcpu of kernel.cpus) {
        if (others && vcpu.id === self) continue;
        const { below } = vcpu;
        context.cpu = vcpu.id;
        if (vcpu.id !== self) vcpu.below = interrupted(vcpu);
        const asks = [BigInt(vcpu.id), info];
        const wanted =
          cond === 0n || bool(yield* parts.calls!.call('smp_cond_func_t', virtAddr(cond), asks));
        if (wanted) yield* parts.calls!.call(name, virtAddr(fn), [info]);
        vcpu.below = below;
      }
    } finally {
      context.cpu = self;
      context.stepping = stepping;
    }
  }
  /** Where the stack of a CPU is free, whatever it does. */
  const interrupted = ({ below, cpu, task }: Vcpu): bigint | null => {
    const sp = cpu.readRegister(kernel.arch.description.stackPointer);
    if (below !== null) return below;
    return sp > task.stack && sp <= task.stackEnd ? sp - INTERRUPT_FRAME : null;
  };
  const callee = (fn: number, info: number, cond: number | null, others: boolean): Callee =>
    function* (argument) {
      const condition = cond === null ? 0n : argument(cond);
      yield* onEach(argument(fn), argument(info), condition, others);
      return 0n;
    };
  return [
    ['on_each_cpu', callee(0, 1, null, false)],
    ['on_each_cpu_cond_mask', callee(1, 2, 0, false)],
    ['smp_call_function', callee(0, 1, null, true)],
    ['smp_call_function_many', callee(1, 2, null, true)],
  ];
}
