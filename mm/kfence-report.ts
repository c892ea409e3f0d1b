// The text of KFENCE's reports (mm/kfence/report.c). Pointers are printed as with no_hash_pointers. Left out: stacks
// below the first frame, who allocated and freed the object and when, registers.
import type { VirtAddr } from '../emulator/address.ts';
import { hex16, u64 } from '../emulator/bits.ts';
import { finish, type KernelContext } from './context.ts';
import type { KfenceError, KfenceMetadata } from './kfence.ts';

export interface KfenceFinding {
  readonly error: KfenceError;
  readonly addr: VirtAddr;
  readonly isWrite: boolean;
  /** %pS of the instruction. */
  readonly where: string;
  readonly meta: KfenceMetadata | null;
}

const LINE = '='.repeat(66);

/**
 * kfence_report_error(): prints one finding to the kernel log.
 * @kernel kfence_report_error mm/kfence/report.c read
 */
export function kfenceReportError(kernel: KernelContext, finding: KfenceFinding): void {
  const { where, meta } = finding;
  const [title, message] = headline(finding);
  const print = (line: string) => kernel.printk(line, 'kfence_report_error');
  for (const line of [LINE, `BUG: KFENCE: ${title} in ${where}`, '', message, ` ${where}`, '']) {
    print(line);
  }
  if (meta) {
    printObject(kernel, meta);
    print('');
  }
  print(LINE);
}

function headline({ error, addr, isWrite, meta }: KfenceFinding): [string, string] {
  const access = isWrite ? 'write' : 'read';
  const at = `0x${hex16(addr)}`;
  switch (error) {
    case 'oob': {
      const left = addr < meta!.addr;
      const distance = left ? meta!.addr - addr : addr - meta!.addr;
      const side = `${distance}B ${left ? 'left' : 'right'} of kfence-#${meta!.index}`;
      return [`out-of-bounds ${access}`, `Out-of-bounds ${access} at ${at} (${side}):`];
    }
    case 'uaf': {
      const message = `Use-after-free ${access} at ${at} (in kfence-#${meta!.index}):`;
      return [`use-after-free ${access}`, message];
    }
    case 'invalid':
      return [`invalid ${access}`, `Invalid ${access} at ${at}:`];
    case 'invalid_free':
      return ['invalid free', `Invalid free of ${at}${meta ? ` (in kfence-#${meta.index})` : ''}:`];
  }
}

/**
 * kfence_print_object(): an object that was never used has no more to tell.
 * @kernel kfence_print_object mm/kfence/report.c read
 */
export function printObject(kernel: KernelContext, meta: KfenceMetadata): void {
  const { kfencePrintObject: compiled } = kernel.compiled ?? {};
  if (compiled) finish(compiled(meta));
  else kernel.printk(describe(meta), 'kfence_print_object');
}

function describe({ index, state, addr, size, cache }: KfenceMetadata): string {
  if (state === 'unused') return `kfence-#${index} unused`;
  const last = u64(addr + BigInt(size) - 1n);
  return `kfence-#${index}: 0x${hex16(addr)}-0x${hex16(last)}, size=${size}, cache=${cache}`;
}
