// What the kernel writes into code when it loads it, by tables that come with it: alternatives by the CPU's features, and
// static keys. Left as linked: sites of thunks (.retpoline_sites, .return_sites, .call_sites), ENDBR (.ibt_endbr_seal) and
// profiling entries (__patchable_function_entries), whose code does the same unpatched, and static calls, whose
// trampolines jump where they were built to.
import { applyArm64Alternatives } from '../arch/arm64/alternatives.ts';
import { applyJumpTable } from '../arch/jump-label.ts';
import { bytesAt } from '../arch/stretch.ts';
import { applyAlternatives } from '../arch/x86/alternatives.ts';
import type { Linked, LinkedSection } from '../emulator/elf/link.ts';
import { CallError } from './call-error.ts';
import type { ArchName, CpuFeatures } from './scenario-model.ts';

const CODE =
  /^\.(?:text|altinstr_replacement|init|exit|noinstr|entry|fixup|static_call|sched|spinlock|kprobes|ref|head)/;

/** @throws CallError for a table that cannot be applied */
export function patchCode(linked: Linked, arch: ArchName, features: CpuFeatures): void {
  const code = linked.sections.filter(({ name }) => CODE.test(name));
  eachTable(linked, '.altinstructions', ALTERNATIVES_REMEDY[arch], (table) =>
    arch === 'x86_64'
      ? applyAlternatives(table, code, features.erms)
      : applyArm64Alternatives(table, code, new Set(features.cpucaps), (at) => nameOf(linked, at)),
  );
  eachTable(linked, '__jump_table', 'build the object again', (table) =>
    applyJumpTable(arch, table, code, (key) => enabled(linked, key)),
  );
}

/** By architecture: what to do about a table that cannot be applied. */
export const ALTERNATIVES_REMEDY: Readonly<Record<ArchName, string>> = {
  x86_64: 'compile it for 5.12 or later',
  arm64: 'leave the capability out of kernel.cpucaps: the code then stays as it was built',
};

/** func+0x10, or the address. */
function nameOf({ symbols }: Linked, address: bigint): string {
  const around = symbols.findLast((symbol) => symbol.isFunction && symbol.address <= address);
  if (around === undefined) return `0x${address.toString(16)}`;
  const offset = address - around.address;
  return offset === 0n ? around.name : `${around.name}+0x${offset.toString(16)}`;
}

function eachTable(
  { sections }: Linked,
  name: string,
  remedy: string,
  apply: (table: LinkedSection) => void,
): void {
  for (const table of sections.filter((section) => section.name === name)) {
    try {
      apply(table);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw new CallError(`${table.object.name}: ${error.message}`, remedy);
    }
  }
}

/** The first member of struct static_key; null for a key that none of the objects has. */
function enabled({ sections }: Linked, key: bigint): boolean | null {
  const bytes = bytesAt(sections, key, 4);
  return bytes && new DataView(bytes.buffer, bytes.byteOffset).getInt32(0, true) > 0;
}
