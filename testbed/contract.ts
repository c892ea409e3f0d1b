// The contract of a kfunc that is handed arena pointers (Documentation/bpf/kfuncs.rst, 2.8): it may access what lies up
// to GUARD_SZ / 2 past a pointer, and nothing below it. Only then does every access that misses the arena's pages hit
// one of its guards. Breaking it shows nowhere as long as a page is mapped there; here every access is looked at.
// Left out: pointers that the code reads from memory, which are not handed in; accesses whose address the decoder cannot
// tell (segment overrides, gathers); what the kernel's own routines do.
import { type BpfArena, guardSize, SZ_4G } from '../bpf/arena.ts';
import { accessAddress } from '../emulator/access-form.ts';
import type { VirtAddr } from '../emulator/address.ts';
import { hex } from '../emulator/bits.ts';
import { type AccessForm, WRITE } from '../emulator/engine.ts';
import type { Failure } from './expect.ts';
import type { Kernel } from './kernel.ts';
import type { Vcpu } from './vcpu.ts';

/** An argument that points into an arena. */
interface Handed {
  readonly index: number;
  readonly value: bigint;
}

/** Accesses of one instruction that break the contract in one way; the first is told. */
interface Breach {
  /** Place and text of the instruction. */
  readonly by: string;
  readonly access: string;
  readonly argument: number;
  readonly value: bigint;
  /** Bytes of the first byte accessed from the pointer; negative: below it. */
  readonly distance: bigint;
  count: number;
}

/** Breaches told of one call at most. */
const MOST = 16;

export class ContractWatch {
  private readonly kernel: Kernel;
  private readonly vcpu: Vcpu;
  private readonly handed: readonly Handed[];
  private readonly limit: bigint;
  private readonly breaches = new Map<string, Breach>();
  private readonly registers: BigUint64Array;
  private lastIp = -1n;
  private lastRetired = -1;

  /** @param args values of the call's arguments */
  constructor(kernel: Kernel, vcpu: Vcpu, args: readonly bigint[]) {
    this.kernel = kernel;
    this.vcpu = vcpu;
    this.limit = BigInt(guardSize(kernel.pageSize) / 2);
    this.registers = new BigUint64Array(vcpu.regs.words.length);
    this.handed = args
      .map((value, index) => ({ index, value }))
      .filter(({ value }) => this.arenaAround(value, 0n) !== null);
  }

  /** Looks at the accesses of the instruction that is next. */
  readonly look = (ip: VirtAddr): void => {
    const { cpu } = this.vcpu;
    // Run again after a fault: it was seen.
    if (this.handed.length === 0 || (ip === this.lastIp && cpu.retired === this.lastRetired))
      return;
    this.lastIp = ip;
    this.lastRetired = cpu.retired;
    const insn = this.kernel.instructionAt(ip);
    if (insn === null) return;
    const forms = cpu.description.instructions.accesses(insn.bytes);
    if (forms.length === 0) return;
    cpu.readGeneral(this.registers);
    for (const form of forms) if (form.exact) this.judge(ip, form);
  };

  private judge(ip: VirtAddr, form: AccessForm): void {
    const at = accessAddress(form, this.registers);
    const arena = this.arenaAround(at, this.limit);
    if (arena === null) return;
    const last = at + BigInt(form.size) - 1n;
    const keeps = ({ value }: Handed) => at >= value && last - value <= this.limit;
    if (this.handed.some(keeps)) return;
    const near = this.nearest(at);
    const key = `${ip} ${near.index} ${at < near.value}`;
    const known = this.breaches.get(key);
    if (known !== undefined) known.count++;
    else {
      this.breaches.set(key, {
        by: this.instruction(ip),
        access: `${form.kind === WRITE ? 'write' : 'read'} of ${form.size} bytes`,
        argument: near.index,
        value: near.value,
        distance: at - near.value,
        count: 1,
      });
    }
  }

  /** The pointer that was meant: the highest one at or below the access, or the lowest of all. */
  private nearest(at: bigint): Handed {
    const sorted = [...this.handed].sort((a, b) => (a.value < b.value ? -1 : 1));
    return sorted.findLast(({ value }) => value <= at) ?? sorted[0];
  }

  private arenaAround(at: bigint, margin: bigint): BpfArena | null {
    for (const arena of this.kernel.arenas.values()) {
      const offset = at - arena.kernVmStart;
      if (offset >= -margin && offset < BigInt(SZ_4G) + margin) return arena;
    }
    return null;
  }

  private instruction(ip: VirtAddr): string {
    const { kernel } = this;
    return `${kernel.symbols.format(ip)}: ${kernel.instructionAt(ip)?.text ?? 'not readable'}`;
  }

  /** What is to be reported of the call. */
  failures(): Failure[] {
    return [...this.breaches.values()].slice(0, MOST).map((breach) => {
      const { by, access, argument, value, distance, count } = breach;
      const far = distance < 0n ? `${hex(-distance)} bytes below` : `${hex(distance)} bytes past`;
      const more = count > 1 ? `, and ${count - 1} more` : '';
      return {
        expect: 'contract',
        wanted: `accesses up to ${hex(this.limit)} bytes past an arena pointer`,
        got: `${access} ${far} argument ${argument} (${hex(value)}) by ${by}${more}`,
      };
    });
  }
}
