// What compiled kernel code finds around it beside functions: its CPU's variables (GS on x86-64, TPIDR_EL1 on AArch64),
// `current`, the preemption counter, the stack protector's guard. Kernels of several years are served: names that have
// come and gone stand for the same thing. Left out: everything else of task_struct, which reads as 0.
import { type VirtAddr, virtAddr } from '../emulator/address.ts';
import { u64 } from '../emulator/bits.ts';
import type { Segment } from '../emulator/elf/link.ts';
import type { Kernel } from './kernel.ts';
import type { Vcpu } from './vcpu.ts';
import type { KernelImage } from './vmlinux/image.ts';

/** Distance of the per-CPU areas from the start of the direct map, and of one CPU's from the next. */
const AREA_OFFSET = 0x100_0000_0000n;
const AREA_SIZE = 0x1000_0000n;
/** Distance of the tasks from the start of the direct map, and of one CPU's from the next. */
const TASK_OFFSET = 0xff_0000_0000n;
const TASK_STRIDE = 0x1_0000n;
/** Distance of what all CPUs share from the start of kernel text: code reaches it as it reaches its own data. */
const SHARED_OFFSET = 0xa_0000n;
/** arm64: distance of our own variables' template from the start of kernel text, below the code under test. */
const TEMPLATE_OFFSET = 0x8_0000n;
const PAGE = 0x1000;
/** Bytes of the task: more than any kernel's task_struct has. */
const TASK_SIZE = 0x4000;

/** Any value does that a stray write will not leave behind; the lowest byte is 0, as the kernel's. */
const STACK_GUARD = 0x5afe_c0de_f00d_1900n;
/** PREEMPT_ENABLED: no section is open; the bit for "must reschedule" is kept inverted (asm/preempt.h). */
const PREEMPT_ENABLED = { x86_64: 0x8000_0000n, arm64: 0x1_0000_0000n };
/** One NMI in preempt_count. */
const NMI_OFFSET = 1n << 20n;
/** thread_info.preempt_count (arch/arm64/include/asm/thread_info.h), the first member of task_struct. */
const TI_PREEMPT_COUNT = 16n;

interface Variable {
  /** Bytes into our template, and how many. */
  readonly offset: number;
  readonly size: number;
  readonly names: readonly string[];
}

/** Locks that an rqspinlock's owner notes down before it takes them (asm-generic/rqspinlock.h): a count and 31 addresses. */
const HELD_LOCKS: Variable = { offset: 0x100, size: 0x100, names: ['rqspinlock_held_locks'] };

/** What reads as 0: no probe is running. */
const UNUSED: readonly Variable[] = [{ offset: 0x200, size: 8, names: ['current_kprobe'] }];

/**
 * x86: fixed_percpu_data, whose canary compilers address as gs:0x28; struct pcpu_hot of 6.2 to 6.14; and the single
 * variables of the kernels before and after.
 */
const X86_VARIABLES: readonly Variable[] = [
  { offset: 0, size: 0x30, names: ['fixed_percpu_data', 'irq_stack_union'] },
  { offset: 0x40, size: 0x20, names: ['pcpu_hot', 'const_pcpu_hot'] },
  { offset: 0x40, size: 8, names: ['current_task', 'const_current_task'] },
  { offset: 0x48, size: 4, names: ['__preempt_count'] },
  { offset: 0x4c, size: 4, names: ['cpu_number'] },
  { offset: 0x50, size: 8, names: ['__x86_call_depth'] },
  { offset: 0x58, size: 8, names: ['cpu_current_top_of_stack'] },
  { offset: 0x60, size: 8, names: ['this_cpu_off'] },
  { offset: 0x28, size: 8, names: ['__stack_chk_guard', '__ref_stack_chk_guard'] },
  HELD_LOCKS,
  ...UNUSED,
];
const ARM64_VARIABLES: readonly Variable[] = [
  { offset: 0x40, size: 8, names: ['__entry_task'] },
  { offset: 0x4c, size: 4, names: ['cpu_number'] },
  HELD_LOCKS,
  // Stacks beside the task's, which walks look for: nothing runs on one.
  { offset: 0x90, size: 8, names: ['irq_stack_ptr'] },
  { offset: 0x98, size: 8, names: ['sdei_stack_normal_ptr'] },
  { offset: 0xa0, size: 8, names: ['sdei_stack_critical_ptr'] },
  { offset: 0x800, size: 0x800, names: ['overflow_stack'] },
  ...UNUSED,
];

/** Variables that all CPUs share. */
const SHARED: Record<'x86_64' | 'arm64', readonly Variable[]> = {
  x86_64: [{ offset: 0x80, size: 8, names: ['__per_cpu_offset'] }],
  arm64: [
    { offset: 0x80, size: 8, names: ['__per_cpu_offset'] },
    { offset: 0x40, size: 8, names: ['__stack_chk_guard'] },
    { offset: 0x800, size: 8, names: ['efi_rt_stack_top'] },
  ],
};

const PER_CPU = { x86_64: X86_VARIABLES, arm64: ARM64_VARIABLES };

/** True for a variable that compiled code finds without asking. */
export const isEnvironmentName = (arch: 'x86_64' | 'arm64', name: string): boolean =>
  [...PER_CPU[arch], ...SHARED[arch]].some(({ names }) => names.includes(name));

export class Environment {
  /** True once compiled code was loaded: from then on CPUs are entered with their own area and `current`. */
  inUse = false;
  private readonly kernel: Kernel;
  private nextTemplate = BigInt(PAGE);
  private shared: VirtAddr | null = null;
  private image: KernelImage | null = null;

  constructor(kernel: Kernel) {
    this.kernel = kernel;
  }

  private get arch(): 'x86_64' | 'arm64' {
    return this.kernel.arch.name;
  }

  /**
   * Where the next object's per-CPU variables are linked; null: behind its code. x86 kernels link them near 0; nothing
   * is ever mapped there.
   */
  get percpuTemplate(): bigint | null {
    return this.arch === 'x86_64' ? this.nextTemplate : null;
  }

  /** Address that a name of ours has for the linker; null for any other name. */
  address(name: string): bigint | null {
    const known = this.image?.symbols.named(name);
    if (known) return known.address;
    const own = PER_CPU[this.arch].find(({ names }) => names.includes(name));
    if (own !== undefined) return this.template + BigInt(own.offset);
    const shared = SHARED[this.arch].find(({ names }) => names.includes(name));
    if (shared === undefined) return null;
    this.use();
    return this.shared! + BigInt(shared.offset);
  }

  /** Where our own variables are linked. */
  private get template(): bigint {
    return this.arch === 'x86_64' ? 0n : this.kernel.layout.text + TEMPLATE_OFFSET;
  }

  /** What a CPU adds to the address of a per-CPU variable. */
  offset(cpu: number): bigint {
    const { layout } = this.kernel;
    const area = layout.directMap + AREA_OFFSET + BigInt(cpu) * AREA_SIZE;
    return this.arch === 'x86_64' ? area : u64(area - layout.text);
  }

  /** Gives every CPU its copy of an object's variables. @throws OutOfMemory */
  mapTemplate({ address, bytes }: Segment): void {
    this.use();
    for (const { id } of this.kernel.cpus) {
      const at = virtAddr(u64(address + this.offset(id)));
      this.kernel.memory.mapBytes(at, bytes, 'PAGE_KERNEL', this.kernel.dataPages);
    }
    const pages = BigInt(this.kernel.memory.pagesFor(bytes.length) * this.kernel.pageSize);
    if (this.arch === 'x86_64') this.nextTemplate = address + pages;
  }

  /** An image's own variables take the place of ours. @throws OutOfMemory */
  useImage(image: KernelImage): void {
    this.image = image;
    this.use();
    const { percpu, symbols } = image;
    const { kernel } = this;
    const offsets = symbols.named('__per_cpu_offset');
    for (const { id } of kernel.cpus) {
      if (offsets !== null)
        kernel.memory.write(virtAddr(offsets.address + BigInt(id * 8)), word(this.offset(id)));
      if (percpu === null) continue;
      const page = BigInt(kernel.pageSize);
      const from = percpu.address - (percpu.address % page);
      const area = new Uint8Array(Number(percpu.address - from) + percpu.size);
      area.set(percpu.bytes.subarray(0, percpu.size), Number(percpu.address - from));
      this.setKnown(area, from, id);
      const at = virtAddr(u64(from + this.offset(id)));
      kernel.memory.mapBytes(at, area, 'PAGE_KERNEL', kernel.dataPages);
      if (this.arch === 'x86_64')
        this.nextTemplate = from + BigInt(kernel.memory.pagesFor(area.length)) * page;
    }
  }

  /** Puts the values of the variables that we know into a CPU's area, which begins at `from`. */
  private setKnown(area: Uint8Array, from: bigint, cpu: number): void {
    const ours = this.variables(cpu);
    for (const { offset, names, size } of PER_CPU[this.arch]) {
      for (const name of names) {
        const symbol = this.image?.symbols.named(name);
        if (!symbol) continue;
        const at = Number(symbol.address - from);
        if (at >= 0 && at + size <= area.length) area.set(ours.subarray(offset, offset + size), at);
      }
    }
  }

  /** Makes the CPUs' areas and the task, once. @throws OutOfMemory */
  use(): void {
    if (this.inUse) return;
    this.inUse = true;
    const { events, pages } = this.kernel;
    events.silently(() => pages.fromTop(() => this.make()));
  }

  private make(): void {
    const { kernel } = this;
    const task = new Uint8Array(TASK_SIZE);
    if (this.arch === 'arm64') put(task, Number(TI_PREEMPT_COUNT), PREEMPT_ENABLED.arm64);
    const { text } = kernel.layout;
    for (const { id } of kernel.cpus) this.mapData(this.task(id), task);
    const shared = new Uint8Array(PAGE);
    for (const at of [0x28, 0x40]) put(shared, at, STACK_GUARD);
    for (const { id } of kernel.cpus) put(shared, 0x80 + id * 8, this.offset(id));
    // An image's text lies where ours would.
    const isOurs = this.image === null;
    this.shared = isOurs ? this.mapData(text + SHARED_OFFSET, shared) : kernel.allocBuffer(shared);
    // On x86 an image's variables lie where ours would.
    if (this.image !== null && this.arch === 'x86_64') return;
    for (const { id } of kernel.cpus) {
      const at = virtAddr(u64(this.template + this.offset(id)));
      kernel.memory.mapBytes(at, this.variables(id), 'PAGE_KERNEL', kernel.dataPages);
    }
  }

  /** Says of an x86 CPU whether it is in the handler of an NMI, as that of a double fault is. */
  setInNmi(cpu: number, yes: boolean): void {
    const count = (PREEMPT_ENABLED.x86_64 & 0xffff_ffffn) | (yes ? NMI_OFFSET : 0n);
    const bytes = new Uint8Array(8);
    put(bytes, 0, count);
    this.kernel.memory.write(virtAddr(u64(this.offset(cpu) + 0x48n)), bytes.subarray(0, 4));
  }

  /** `current` on a CPU. */
  task(cpu: number): VirtAddr {
    const { directMap } = this.kernel.layout;
    return virtAddr(directMap + TASK_OFFSET + BigInt(cpu) * TASK_STRIDE);
  }

  private mapData(address: bigint, bytes: Uint8Array): VirtAddr {
    const at = virtAddr(address);
    this.kernel.memory.mapBytes(at, bytes, 'PAGE_KERNEL', this.kernel.dataPages);
    return at;
  }

  private variables(cpu: number): Uint8Array {
    const area = new Uint8Array(PAGE);
    put(area, 0x28, STACK_GUARD);
    put(area, 0x40, this.task(cpu));
    put(area, 0x48, (BigInt(cpu) << 32n) | (PREEMPT_ENABLED.x86_64 & 0xffff_ffffn));
    put(area, 0x58, this.kernel.task.stackEnd);
    put(area, 0x60, this.offset(cpu));
    return area;
  }

  /** Sets a CPU's system registers as kernel code expects them. */
  enter({ id, cpu }: Vcpu): void {
    if (!this.inUse) return;
    if (this.arch === 'x86_64') {
      cpu.writeRegister('gs_base', this.offset(id));
      // Code that was compiled for programs finds its stack protector's guard at fs:0x28.
      cpu.writeRegister('fs_base', this.shared!);
      return;
    }
    cpu.writeRegister('tpidr_el1', this.offset(id));
    cpu.writeRegister('sp_el0', this.task(id));
  }
}

const word = (value: bigint): Uint8Array => {
  const bytes = new Uint8Array(8);
  put(bytes, 0, value);
  return bytes;
};

function put(bytes: Uint8Array, at: number, value: bigint): void {
  new DataView(bytes.buffer).setBigUint64(at, BigInt.asUintN(64, value), true);
}
