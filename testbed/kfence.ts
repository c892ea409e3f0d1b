// A KFENCE pool in the modelled kernel, where a scenario wants one. No object is ever allocated in it: nobody samples
// allocations here, so every guard page that code touches is an invalid access. The model itself is mm/kfence.ts.
import type { Recoverer } from '../arch/arch.ts';
import { virtAddr } from '../emulator/address.ts';
import { hex, u64 } from '../emulator/bits.ts';
import { KFENCE_ARM64, KFENCE_X86, Kfence } from '../mm/kfence.ts';
import { VM_NO_GUARD } from '../mm/vmalloc.ts';
import { CallError } from './call.ts';
import type { Kernel } from './kernel.ts';

/**
 * kfence_init(): maps a pool and makes KFENCE the first to be asked about kernel faults on absent pages.
 * @param pool where it begins. @param objects CONFIG_KFENCE_NUM_OBJECTS
 * @throws CallError for a place where no pool can lie, or without memory for it
 */
export function setUpKfence(kernel: Kernel, pool: bigint, objects: number): Kfence {
  checkPlace(kernel, pool, objects);
  const { context, ram, mm, bpf, symbols, arch } = kernel;
  const host = {
    kernel: context,
    ram,
    mm,
    tlb: bpf.tlb,
    arch: arch.name === 'x86_64' ? KFENCE_X86 : KFENCE_ARM64,
    formatSymbol: symbols.format.bind(symbols),
  };
  // Buffers and later arenas keep out of it. A pool that lies in an arena on purpose finds its addresses taken.
  const bytes = (objects + 1) * 2 * kernel.pageSize;
  kernel.vmalloc.getVmArea(bytes, VM_NO_GUARD, virtAddr(pool));
  const kfence = makePool(() => new Kfence(host, virtAddr(pool), objects));
  const recoverer: Recoverer = {
    fn: 'kfence_handle_page_fault',
    resolution: 'kfence',
    handlePageFault: (addr, isWrite, regs) => kfence.handlePageFault(addr, isWrite, regs),
  };
  // page_fault_oops() and __do_kernel_fault() ask KFENCE before the arena.
  kernel.recoverers.unshift(recoverer);
  kernel.kfence = kfence;
  return kfence;
}

function makePool(make: () => Kfence): Kfence {
  try {
    return make();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new CallError(error.message, 'give fewer `objects` in kernel.kfence');
  }
}

function checkPlace(kernel: Kernel, pool: bigint, objects: number): void {
  const { pageSize, mm } = kernel;
  const size = BigInt((objects + 1) * 2 * pageSize);
  const where = `kernel.kfence.pool: ${hex(u64(pool))}`;
  if (pool % BigInt(pageSize) !== 0n) {
    throw new CallError(`${where} is no page boundary`, `align it to ${hex(pageSize)}`);
  }
  const { shifts, topBits } = mm.format;
  const lowest = u64(-1n << BigInt(shifts[0] + topBits - 1));
  const upperHalf = kernel.arch.linkRegister === null ? lowest : u64(lowest << 1n);
  if (pool < upperHalf || pool + size > 1n << 64n) {
    throw new CallError(
      `${where} to ${hex(u64(pool + size - 1n))} are not all kernel addresses`,
      `give an address from ${hex(upperHalf)} on`,
    );
  }
  for (let at = pool; at < pool + size; at += BigInt(pageSize)) {
    if (kernel.memory.physOf(virtAddr(at)) === null) continue;
    const what = kernel.symbols.find(virtAddr(at))?.name ?? 'something else';
    throw new CallError(
      `${where}: a pool of ${hex(size)} bytes there would lie over ${what} at ${hex(at)}`,
      'put it where nothing is mapped, or give fewer `objects`',
    );
  }
}
