// What an oops of a real kernel has to do with arenas, and a scenario that begins where it ended: the same access to the
// same place, with the same PTE, expecting what the log shows. It is a skeleton: a log does not tell what the code did
// before, nor what the arena held.
import { accessOf, type OopsReport } from '../arch/oops-log.ts';
import { PF_P } from '../arch/x86/fault-code.ts';
import { hex } from '../emulator/bits.ts';
import { arenaEnd } from './places.ts';

/** Where an address lies with respect to an arena. */
export interface ArenaRelation {
  /** Bytes from kern_vm_start; negative below it. */
  readonly offset: bigint;
  /** Kernel pages from kern_vm_start. */
  readonly page: number;
  readonly zone: 'arena' | 'lower guard' | 'upper guard' | 'outside';
  /** bpf_arena_handle_page_fault() takes it for the arena's. */
  readonly recovered: boolean;
}

const SZ_4G = 0x1_0000_0000n;

/** @param kbase kern_vm_start. @param pageSize kernel page size in bytes */
export function relationTo(addr: bigint, kbase: bigint, pageSize: number): ArenaRelation {
  const end = arenaEnd({ name: '', kbase, userVmStart: 0n, pageSize });
  const offset = addr - kbase;
  const page = Number((offset - BigInt.asUintN(Math.log2(pageSize), offset)) / BigInt(pageSize));
  const guard = end - kbase - SZ_4G;
  const recovered = addr >= kbase && addr < end;
  if (recovered) return { offset, page, zone: offset < SZ_4G ? 'arena' : 'upper guard', recovered };
  return {
    offset,
    page,
    zone: offset < 0n && -offset <= guard ? 'lower guard' : 'outside',
    recovered,
  };
}

/** BPF programs in the call trace, innermost first, by the names they were loaded with. */
export const programsOf = ({ trace }: OopsReport): string[] =>
  trace.flatMap((name) => {
    // The tag tells them from functions of the kernel such as bpf_prog_test_run_syscall().
    const match = /^bpf_prog_[0-9a-f]{16}(?:_(.+))?$/.exec(name);
    return match === null ? [] : [match[1] ?? name];
  });

/** A page that is there cannot be recovered: x86 says so in P, arm64 by a status that is no translation fault. */
export function isNotPresent({ arch, code }: OopsReport): boolean {
  if (code === null) return true;
  if (arch === 'x86_64') return (code & BigInt(PF_P)) === 0n;
  const fsc = Number(code & 0x3fn);
  return fsc === 0x2b || (fsc >= 4 && fsc <= 7);
}

const CODE = {
  x86_64: { read: 'mov rax, [rdi]', write: 'mov [rdi], rsi', fetch: 'jmp rdi' },
  arm64: { read: 'ldr x0, [x0]', write: 'str x1, [x0]', fetch: 'br x0' },
} as const;

/**
 * The skeleton as YAML.
 * @param kbase kern_vm_start, if it is known
 */
export function scenarioOf(report: OopsReport, kbase: bigint | null): string {
  const { arch, addr, code, where, entries } = report;
  const access = accessOf(report);
  const pageSize = report.pageSize ?? 4096;
  const relation = kbase === null || addr === null ? null : relationTo(addr, kbase, pageSize);
  const inArena = relation?.recovered ?? false;
  const pte = entries.find(({ name }) => name.toUpperCase() === 'PTE')?.value ?? null;
  const place = inArena ? `{arena: ${hex(relation!.offset)}}` : `{va: ${hex(addr ?? 0n)}}`;
  const fault = [
    inArena ? `page: ${relation!.page}` : `addr: ${hex(addr ?? 0n)}`,
    `access: ${access}`,
    // Elsewhere the model's tables end at another level than those of the log.
    ...(code !== null && (inArena || (arch === 'x86_64' && isNotPresent(report)))
      ? [`code: ${hex(code)}`]
      : []),
    'resolution: oops',
  ];
  const kernel = [
    ...(kbase === null ? [] : [`vm_start: {${arch}: ${hex(kbase)}}`]),
    ...(pageSize === 4096 ? [] : [`page_size: ${pageSize}`]),
  ];
  const program = programsOf(report).length > 0;
  return [
    '# From an oops in a kernel log. Put in the code that ran, and what the arena held.',
    `name: ${JSON.stringify(`an oops${where === null ? '' : ` at ${where}`}`)}`,
    `arch: ${arch}`,
    ...(kernel.length === 0 ? [] : [`kernel: {${kernel.join(', ')}}`]),
    'steps:',
    ...(inArena && pte !== null && pte !== 0n
      ? [`  - pte: {page: ${relation!.page}, set: ${hex(pte)}}`]
      : []),
    '  - call:',
    '      code:',
    `        ${arch}: |`,
    `          ${CODE[arch][access]}`,
    ...(access === 'fetch' ? [] : ['          ret']),
    `      args: [${place}, 0]`,
    `      caller: ${program ? 'bpf' : 'kernel'}`,
    '    expect:                               # what the log shows',
    '      outcome: oops',
    `      faults: [{${fault.join(', ')}}]`,
    '',
  ].join('\n');
}
