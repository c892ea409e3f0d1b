// What an arm64 kernel asks on the way of an abort, for compiled code that calls for it.
import type { ExtableEntry } from '../../../arch/arch.ts';
import { abortOf } from '../../../arch/arm64/abort.ts';
import { exHandlerBpf, fixupException, insnMayAccessUser } from '../../../arch/arm64/extable.ts';
import {
  isEl1PermissionFault,
  isEl1TagCheckFault,
  isSpuriousEl1TranslationFault,
} from '../../../arch/arm64/kernel-fault.ts';
import type { Arm64PtRegs } from '../../../arch/arm64/registers.ts';
import type { Handled } from '../../../arch/compiled-path.ts';
import { virtAddr } from '../../../emulator/address.ts';
import { type Activity, KernelStuck, onward } from '../../../mm/context.ts';
import { note } from '../exception.ts';
import type { Callee } from '../guest-calls.ts';
import { type Argument, type CalleeParts, plain } from './index.ts';
import { registersAt } from './path.ts';

/** Functions that only a fault of user mode, or one that a VMA explains, comes to. */
const USERS_OWN = [
  ...['arm64_force_sig_fault', 'arm64_force_sig_mceerr', 'arm64_force_sig_fault_pkey'],
  ...['handle_mm_fault', 'pagefault_out_of_memory', 'do_compat_alignment_fixup'],
  ...['vma_end_read', 'vma_refcount_put', 'apei_claim_sea'],
];

export function faultArm64Callees(parts: CalleeParts): [string, Callee][] {
  const { kernel, extable } = parts;
  const { context } = kernel;
  const vcpu = () => kernel.cpus[context.cpu];
  const on = () => vcpu().faultContext;
  const regsAt = (address: bigint) => registersAt(parts, address).regs as Arm64PtRegs;
  const abort = (argument: Argument) =>
    abortOf({ addr: virtAddr(argument(0)), code: argument(1), access: 'read' });
  const entryAt = (address: bigint): ExtableEntry => {
    const entry = extable.entry(address, 'ex_handler_bpf');
    if (entry !== null) return entry;
    throw new KernelStuck('calls ex_handler_bpf without an entry');
  };
  function* handler(
    name: string,
    at: bigint,
    action: (regs: Arm64PtRegs) => Handled,
  ): Activity<bigint> {
    const { regs, giveBack } = registersAt(parts, at);
    const outcome = yield* onward(action(regs as Arm64PtRegs));
    if (outcome === null) return 0n;
    note(vcpu(), name, outcome);
    giveBack();
    return 1n;
  }
  const nothing = plain(() => 0n);
  return [
    [
      'fixup_exception',
      (argument) =>
        handler('fixup_exception', argument(0), (regs) => fixupException(on(), regs, argument(1))),
    ],
    [
      'ex_handler_bpf',
      (argument) =>
        handler('ex_handler_bpf', argument(1), (regs) =>
          exHandlerBpf(on(), entryAt(argument(0)), regs),
        ),
    ],
    [
      'insn_may_access_user',
      plain((argument) => BigInt(insnMayAccessUser(on(), virtAddr(argument(0)), argument(1)))),
    ],
    [
      'is_spurious_el1_translation_fault',
      plain((argument) =>
        BigInt(isSpuriousEl1TranslationFault(on(), regsAt(argument(2)), abort(argument))),
      ),
    ],
    [
      'is_el1_permission_fault',
      plain((argument) => BigInt(isEl1PermissionFault(on(), regsAt(argument(2)), abort(argument)))),
    ],
    [
      'is_el1_mte_sync_tag_check_fault',
      plain((argument) =>
        BigInt(
          isEl1TagCheckFault(
            on(),
            abortOf({ addr: virtAddr(0n), code: argument(0), access: 'read' }),
          ),
        ),
      ),
    ],
    // The task's mm maps nothing.
    ...['lock_vma_under_rcu', 'lock_mm_and_find_vma'].map((name): [string, Callee] => [
      name,
      nothing,
    ]),
    [
      // pte_t *__pte_offset_map(pmd_t *pmd, unsigned long addr, pmd_t *pmdvalp)
      '__pte_offset_map',
      plain((argument) => {
        const pmd = kernel.memory.readWord(virtAddr(argument(0))) ?? 0n;
        if (argument(2) !== 0n) kernel.memory.writeWord(virtAddr(argument(2)), pmd);
        const { format, pageSize } = kernel.mm;
        if (format.tableNone(pmd) || format.tableLeaf(pmd) || format.tableBad(pmd)) return 0n;
        const index = (argument(1) / BigInt(pageSize)) % BigInt(pageSize / 8);
        return parts.structures.virt(format.tableAddr(pmd)) + 8n * index;
      }),
    ],
    // Nothing is printed so often that it would be held back.
    ['___ratelimit', plain(() => 1n)],
    // No firmware call is under way.
    ['efi_runtime_fixup_exception', nothing],
    ...USERS_OWN.map((name): [string, Callee] => [
      name,
      plain(() => {
        throw new KernelStuck(`calls ${name}, and the fault is the kernel’s own`);
      }),
    ]),
  ];
}
