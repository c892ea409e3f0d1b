// What compiled code that keeps and searches the symbols of programs may call: the search itself, red-black trees, the
// lock around them and the search of an exception table.
import { virtAddr } from '../../../emulator/address.ts';
import { hex } from '../../../emulator/bits.ts';
import { KernelStuck } from '../../../mm/context.ts';
import type { Callee } from '../guest-calls.ts';
import { type CalleeParts, plain } from './index.ts';

const ENTRY_SIZE = 12;

export function ksymCallees(parts: CalleeParts): [string, Callee][] {
  const { kernel, ksyms } = parts;
  const { bpf } = kernel;
  return [
    [
      'bpf_prog_ksym_find',
      plain((argument) => {
        const prog = bpf.ksyms.findProg(virtAddr(argument(0)));
        return prog === null ? 0n : parts.structures.prog(prog);
      }),
    ],
    [
      'bpf_ksym_find',
      plain((argument) => {
        const found = bpf.ksyms.find(virtAddr(argument(0)));
        if (found === null) return 0n;
        ksyms.lay(bpf.ksyms.all());
        return ksyms.address(found)!;
      }),
    ],
    [
      'search_bpf_extables',
      plain((argument) => {
        const ip = virtAddr(argument(0));
        const entry = bpf.ksyms.searchExtables(ip);
        const prog = bpf.ksyms.lookUp(ip)?.prog;
        if (entry === null || !prog) return 0n;
        const { at, count } = parts.structures.extables.table(prog);
        return searchTable(parts, at, count, ip);
      }),
    ],
    [
      // search_extable(base, num, value)
      'search_extable',
      plain((argument) => searchTable(parts, argument(0), Number(argument(1)), argument(2))),
    ],
  ];
}

/** Address of the entry for the instruction at `ip` in a table in memory, or 0. */
function searchTable({ kernel }: CalleeParts, at: bigint, count: number, ip: bigint): bigint {
  const bytes = kernel.memory.read(virtAddr(at), count * ENTRY_SIZE);
  if (bytes === null) throw new KernelStuck(`an exception table at ${hex(at)} is not there`);
  const view = new DataView(bytes.buffer);
  let [low, high] = [0, count - 1];
  while (low <= high) {
    const middle = (low + high) >> 1;
    const entry = at + BigInt(middle * ENTRY_SIZE);
    const insn = entry + BigInt(view.getInt32(middle * ENTRY_SIZE, true));
    if (insn === ip) return entry;
    if (insn < ip) low = middle + 1;
    else high = middle - 1;
  }
  return 0n;
}
