// Variables of the kernel that inline functions of its headers read, and objects of which only the address counts.
import { type VirtAddr, virtAddr } from '../../emulator/address.ts';
import type { Kernel } from '../kernel.ts';

/** Variables by name, with the bytes that they have. */
type Variables = Readonly<Record<string, { readonly size: number; readonly value: bigint }>>;

const word = (value: bigint) => ({ size: 8, value: BigInt.asUintN(64, value) });

function variables({ arch, config, layout }: Kernel): Variables {
  if (arch.name === 'arm64') {
    return {
      memstart_addr: word(0n),
      arm64_use_ng_mappings: { size: 1, value: config.pti ? 1n : 0n },
      vabits_actual: word(48n),
    };
  }
  const mask = config.pti ? ~0x100n : -1n;
  return {
    page_offset_base: word(layout.directMap),
    vmemmap_base: word(layout.vmemmap),
    vmalloc_base: word(layout.vmallocStart),
    __default_kernel_pte_mask: word(mask),
    __supported_pte_mask: word(-1n),
    sme_me_mask: word(0n),
  };
}

/** Nothing is mapped there: code that looks into them faults at an address with their name. */
const OPAQUE = ['init_mm', 'swapper_pg_dir'];

/** Maps the variables from `at` on, a page boundary. @returns addresses by name */
export function kernelVariables(kernel: Kernel, at: VirtAddr): Map<string, bigint> {
  const bytes = new Uint8Array(kernel.pageSize);
  const view = new DataView(bytes.buffer);
  const addresses = new Map<string, bigint>();
  Object.entries(variables(kernel)).forEach(([name, { size, value }], i) => {
    if (size === 1) view.setUint8(i * 8, Number(value));
    else view.setBigUint64(i * 8, value, true);
    addresses.set(name, at + BigInt(i * 8));
    kernel.symbols.add(name, virtAddr(at + BigInt(i * 8)), size);
  });
  kernel.memory.mapBytes(at, bytes, 'PAGE_KERNEL', kernel.dataPages);
  OPAQUE.forEach((name, i) => {
    const place = virtAddr(at + BigInt(kernel.pageSize * (i + 2)));
    addresses.set(name, place);
    kernel.symbols.add(name, place, kernel.pageSize);
  });
  return addresses;
}
