// What compiled code of KFENCE calls: the report, and what makes pages of the pool come and go.
import { virtAddr } from '../../../emulator/address.ts';
import { hex } from '../../../emulator/bits.ts';
import { KernelStuck } from '../../../mm/context.ts';
import type { Kfence, KfenceError } from '../../../mm/kfence.ts';
import { printObject } from '../../../mm/kfence-report.ts';
import { bool, type Callee, s32 } from '../guest-calls.ts';
import { type CalleeParts, plain } from './index.ts';

/** enum kfence_error_type */
export const ERRORS: readonly (KfenceError | null)[] = [
  'oob',
  'uaf',
  null,
  'invalid',
  'invalid_free',
];
/** KFENCE_FAULT_REPORT: the report was all. */
const REPORTED = 1n;
const PG_LEVEL_4K = 1;

export function kfenceCallees({
  kernel,
  structures,
  kfence: memory,
}: CalleeParts): [string, Callee][] {
  const { context, mm } = kernel;
  const pool = (name: string): Kfence => {
    const kfence = memory.kfence ?? kernel.kfence;
    if (kfence !== null) return kfence;
    throw new KernelStuck(`calls ${name} without a pool of KFENCE's`);
  };
  const chance = (most: (ceiling: bigint) => bigint): Callee =>
    plain((argument) => (memory.right ? most(argument(0) & 0xffff_ffffn) : 0n));
  const blamed = () => memory.blamed[context.cpu] ?? virtAddr(0n);
  const trace = (index: number): Callee =>
    plain((argument) => {
      kernel.memory.writeWord(virtAddr(argument(index)), blamed());
      return 1n;
    });
  return [
    [
      'kfence_report_error',
      function* (argument) {
        const name = 'kfence_report_error';
        const kfence = pool(name);
        const [addr, isWrite] = [virtAddr(argument(0)), bool(argument(1))];
        const meta = memory.metadataAt(name, kfence, argument(3));
        const error = ERRORS[s32(argument(4))];
        if (!error) throw new KernelStuck(`${name} of error ${s32(argument(4))} is not modelled`);
        if (context.stepping) yield { kind: 'report', what: `KFENCE error at ${hex(addr)}` };
        memory.takeBack(name, kfence);
        yield* kfence.report(error, addr, isWrite, blamed(), meta);
        memory.lay(kfence);
        return REPORTED;
      },
    ],
    [
      // void kfence_print_object(struct seq_file *, const struct kfence_metadata *)
      'kfence_print_object',
      plain((argument) => {
        const kfence = pool('kfence_print_object');
        const meta = memory.metadataAt('kfence_print_object', kfence, argument(1));
        if (meta === null) throw new KernelStuck('kfence_print_object is called for no object');
        printObject(context, meta);
        return null;
      }),
    ],
    ['kfence_handle_fault', plain(() => null)],
    // panic_on_warn is not set.
    ['check_panic_on_warn', plain(() => null)],
    ...(['kfence_protect', 'kfence_unprotect'] as const).map((name): [string, Callee] => [
      name,
      plain((argument) => {
        pool(name).protect(argument(0), name === 'kfence_protect');
        return 1n;
      }),
    ]),
    [
      'kfence_guarded_free',
      plain((argument) => {
        const name = 'kfence_guarded_free';
        const kfence = pool(name);
        const [addr, meta] = [virtAddr(argument(0)), memory.metadataAt(name, kfence, argument(1))];
        memory.takeBack(name, kfence);
        kfence.guardedFree(addr, meta, blamed());
        memory.lay(kfence);
        return null;
      }),
    ],
    [
      // pte_t *lookup_address(unsigned long address, unsigned int *level)
      'lookup_address',
      plain((argument) => {
        const ptep = mm.ptepOffset(virtAddr(argument(0)));
        kernel.memory.write(virtAddr(argument(1)), Uint8Array.of(PG_LEVEL_4K, 0, 0, 0));
        return ptep === null ? 0n : structures.virt(ptep);
      }),
    ],
    [
      // int set_memory_valid(unsigned long addr, int numpages, int enable): in KFENCE's pool.
      'set_memory_valid',
      plain((argument) => {
        const kfence = pool('set_memory_valid');
        const [first, count] = [argument(0), s32(argument(1))];
        for (let i = 0; i < count; i++) {
          const at = first + BigInt(i * kernel.pageSize);
          if (!kfence.isKfenceAddress(at)) {
            throw new KernelStuck(`set_memory_valid of ${hex(at)}, which is not in KFENCE's pool`);
          }
          kfence.protectPage(at, s32(argument(2)) === 0);
        }
        return 0n;
      }),
    ],
    ['stack_trace_save', trace(0)],
    ['stack_trace_save_regs', trace(1)],
    [
      // void stack_trace_print(const unsigned long *entries, unsigned int nr_entries, int spaces)
      'stack_trace_print',
      plain((argument) => {
        for (let i = 0; i < s32(argument(1)); i++) {
          const ip = kernel.memory.readWord(virtAddr(argument(0) + BigInt(8 * i))) ?? 0n;
          const spaces = ' '.repeat(1 + s32(argument(2)));
          context.printk(spaces + kernel.symbols.format(virtAddr(ip)), 'kfence_report_error');
        }
        return null;
      }),
    ],
    ['get_random_u8', chance(() => 0xffn)],
    ['get_random_u32', chance(() => 0xffff_ffffn)],
    ['__get_random_u32_below', chance((ceiling) => ceiling - 1n)],
    ['get_random_u32_below', chance((ceiling) => ceiling - 1n)],
  ];
}
