// What the debugger's info command lists.
import type { VirtAddr } from '../emulator/address.ts';
import { hex } from '../emulator/bits.ts';
import { demangleRust } from '../emulator/elf/demangle-rust.ts';
import type { Debugger } from '../testbed/debugger.ts';
import type { WorldRun } from '../testbed/run.ts';
import { placeText, plural } from './tell.ts';

/** An address as gdb shows it beside its number: <kfunc+4>. */
export function symbolText(run: WorldRun, ip: VirtAddr): string {
  const symbol = run.kernel.symbols.find(ip);
  return symbol === null ? '<?>' : `<${demangleRust(symbol.name)}+${ip - symbol.start}>`;
}

export function arenaLines({ kernel }: WorldRun): string[] {
  return [...kernel.arenas].flatMap(([name, arena]) => [
    `${name}: kern_vm_start ${hex(arena.kernVmStart)}, recovered up to ${hex(arena.recoveryEnd)}`,
    `  user_vm_start ${hex(arena.userVmStart)}, user_vm_end ${hex(arena.userVmEnd)}`,
    `  max_entries ${arena.maxEntries}, ${plural(arena.dataPages.outstanding, 'page')} allocated`,
    `  scratch page pfn ${hex(arena.scratchPage)}, PTE ${hex(arena.scratchPte)}`,
  ]);
}

export function faultLines({ run, vcpu: { faults } }: Debugger): string[] {
  if (faults.length === 0) return ['No faults.'];
  return Array.from({ length: faults.length }, (_, i) => {
    const { ip, addr, access, code, resolution } = faults.at(i);
    const what = `${access} ${hex(addr)} (${placeText(run, addr)}) code ${hex(code)}`;
    return `${i + 1}  ${what} at ${run.kernel.symbols.tell(ip)}: ${resolution}`;
  });
}

export function breakpointLines({ run, breakpoints }: Debugger): string[] {
  if (breakpoints.length === 0) return ['No breakpoints.'];
  return breakpoints.map(({ id, addr, text, hits }) => {
    const place = text === '' ? '' : ` ${text}`;
    return `${id}  ${hex(addr)} ${symbolText(run, addr)}${place}, hit ${plural(hits, 'time')}`;
  });
}
