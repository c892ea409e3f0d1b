// Variables of the kernel that inline functions of its headers read, and objects of which only the address counts.
import { FRAME_SIZE, type Pfn, type VirtAddr, virtAddr } from '../../emulator/address.ts';
import type { Kernel } from '../kernel.ts';

/** Variables by name, with what they hold: words, or one number of fewer bytes. */
type Variables = Readonly<Record<string, readonly bigint[] | { size: number; value: bigint }>>;

const word = (value: bigint): readonly bigint[] => [BigInt.asUintN(64, value)];

/** node_states[] has a mask of up to 1,024 nodes for each of six states; node 0 is in all of them. */
const NODE_STATES = Array<bigint>(6 * 16).fill(1n);

/** What kernels of both architectures read. */
const COMMON: Variables = {
  nr_node_ids: { size: 4, value: 1n },
  node_states: NODE_STATES,
  panic_on_oops: { size: 4, value: 0n },
  // Set as soon as it is known how its structures are laid out.
  mem_section: word(0n),
  // Of objects that do not define them; set as a function of KFENCE's is called.
  __kfence_pool: word(0n),
  kfence_metadata: word(0n),
  kfence_enabled: { size: 1, value: 0n },
  no_hash_pointers: { size: 1, value: 1n },
  // Queues of work and caches of kmalloc() are told apart by nobody.
  system_wq: word(0n),
  system_percpu_wq: word(0n),
  system_unbound_wq: word(0n),
  kmalloc_caches: Array<bigint>(20 * 14).fill(0n),
};

/** @param image what addresses of the kernel's image are above physical ones */
function variables({ arch, config, layout }: Kernel, image: bigint): Variables {
  if (arch.name === 'arm64') {
    return {
      ...COMMON,
      memstart_addr: word(0n),
      arm64_use_ng_mappings: { size: 1, value: config.pti ? 1n : 0n },
      vabits_actual: word(48n),
      kimage_voffset: word(image),
    };
  }
  const mask = config.pti ? ~0x100n : -1n;
  return {
    ...COMMON,
    page_offset_base: word(layout.directMap),
    vmemmap_base: word(layout.vmemmap),
    vmalloc_base: word(layout.vmallocStart),
    __default_kernel_pte_mask: word(mask),
    __supported_pte_mask: word(-1n),
    sme_me_mask: word(0n),
    __pgtable_l5_enabled: word(config.la57 ? 1n : 0n),
    pgdir_shift: word(config.la57 ? 48n : 39n),
    ptrs_per_p4d: word(config.la57 ? 512n : 1n),
    physical_mask: word((1n << 52n) - 1n),
    phys_base: word(0n),
  };
}

/**
 * Bounds of the kernel's own text and of its unwinding data: nothing lies between them, since all code here is a module's;
 * and code that nothing returns to.
 */
const EMPTY = [
  ...['_stext', '_etext', '_sinittext', '_einittext', 'orc_lookup', 'orc_lookup_end'],
  ...['__start_orc_unwind_ip', '__stop_orc_unwind_ip', '__start_orc_unwind', '__stop_orc_unwind'],
  ...['arch_rethook_trampoline', 'ret_from_fork_asm'],
];

/** Nothing is mapped there: code that looks into them faults at an address with their name. */
const OPAQUE = ['init_mm', 'bpf_global_ma'];

/** The top-level table, by both architectures' names. */
const TOP_TABLE = ['swapper_pg_dir', 'init_top_pgt'];

/**
 * Large variables of which all that code reads is 0, with their bytes: caches that kmalloc()'s callees do not look at, and a
 * CPU of X86_VENDOR_INTEL without errata.
 */
const ZERO: Readonly<Record<string, number>> = { kmalloc_caches: 0xc00, boot_cpu_data: 0x400 };

/** Maps the variables from `at` on, a page boundary. @returns addresses by name */
export function kernelVariables(kernel: Kernel, at: VirtAddr): Map<string, bigint> {
  const bytes = new Uint8Array(kernel.pageSize);
  const view = new DataView(bytes.buffer);
  const addresses = new Map<string, bigint>();
  let offset = 0;
  const { swapperPgDir } = kernel.mm;
  const top = virtAddr(at + BigInt(kernel.pageSize * (OPAQUE.length + 2)));
  const image = top - BigInt(swapperPgDir);
  for (const [name, given] of Object.entries(variables(kernel, image))) {
    const words = 'value' in given ? [given.value] : given;
    words.forEach((value, i) => {
      view.setBigUint64(offset + i * 8, value, true);
    });
    const size = 'value' in given ? given.size : words.length * 8;
    addresses.set(name, at + BigInt(offset));
    kernel.symbols.add(name, virtAddr(at + BigInt(offset)), size);
    offset += words.length * 8;
  }
  kernel.memory.mapBytes(at, bytes, 'PAGE_KERNEL', kernel.dataPages);
  for (const name of EMPTY) addresses.set(name, at + BigInt(kernel.pageSize));
  OPAQUE.forEach((name, i) => {
    const place = virtAddr(at + BigInt(kernel.pageSize * (i + 2)));
    addresses.set(name, place);
    kernel.symbols.add(name, place, kernel.pageSize);
  });
  const zero = virtAddr(at + BigInt(kernel.pageSize * (OPAQUE.length + 4)));
  kernel.memory.mapBytes(zero, new Uint8Array(kernel.pageSize), 'PAGE_KERNEL', kernel.dataPages);
  let used = 0n;
  for (const [name, size] of Object.entries(ZERO)) {
    addresses.set(name, zero + used);
    kernel.symbols.add(name, virtAddr(zero + used), size);
    used += BigInt(size);
  }
  kernel.mm.mapRange(top, (swapperPgDir / FRAME_SIZE) as Pfn, 1, 'PAGE_KERNEL');
  for (const name of TOP_TABLE) {
    addresses.set(name, top);
    kernel.symbols.add(name, top, kernel.pageSize);
  }
  return addresses;
}
