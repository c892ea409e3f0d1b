// struct bpf_ksym of images of programs in emulated memory: in the program's struct bpf_prog_aux, as in a kernel; a further
// image of the same program, which kernels do not have, in an aux of its own.
import type { BpfKsym, BpfProg } from '../../bpf/prog.ts';
import type { Kernel } from '../kernel.ts';
import { type Laid, writeUint } from './laid.ts';
import type { Structures } from './structures.ts';

const MEMBERS = ['start', 'end', 'name', 'lnode', 'tnode', 'prog'];

export class KsymPlaces {
  private readonly kernel: Kernel;
  private readonly structures: Structures;
  /** The symbol in each program's aux. */
  private readonly inAux = new Map<BpfProg, BpfKsym>();
  private readonly addresses = new Map<BpfKsym, bigint>();
  private readonly bare = new Map<BpfKsym, Laid>();
  private readonly furtherAuxes = new Map<BpfKsym, Laid>();

  constructor(kernel: Kernel, structures: Structures) {
    this.kernel = kernel;
    this.structures = structures;
  }

  /** Lays symbols down with what they hold now, but for their links. @returns their addresses */
  lay(all: readonly BpfKsym[]): bigint[] {
    const held = new Set(all);
    return all.map((ksym) => {
      const at = this.layOne(ksym, held);
      this.addresses.set(ksym, at);
      return at;
    });
  }

  /** Where a symbol lies; null for one that was not laid down. */
  address(ksym: BpfKsym): bigint | null {
    return this.addresses.get(ksym) ?? null;
  }

  /** The symbol at an address; null for what is none. */
  at(address: bigint): BpfKsym | null {
    for (const [ksym, at] of this.addresses) if (at === address) return ksym;
    return null;
  }

  private layOne(ksym: BpfKsym, held: ReadonlySet<BpfKsym>): bigint {
    const { structures, kernel } = this;
    const { name, start, end, prog } = ksym;
    const at = prog === null ? this.bareKsym(ksym) : this.ksymOf(prog, ksym, held);
    const { members } = structures.layout('bpf_ksym');
    const pa = Number(at - kernel.layout.directMap);
    const write = (member: string, value: bigint) => {
      const found = members.get(member);
      if (found !== undefined) writeUint(kernel, pa + found.offset, found.size, value);
    };
    write('start', start);
    write('end', end);
    write('prog', prog === null ? 0n : 1n);
    const text = members.get('name');
    if (text !== undefined) {
      const bytes = new TextEncoder().encode(name).subarray(0, text.size - 1);
      kernel.ram.write(pa + text.offset, Uint8Array.of(...bytes, 0));
    }
    return at;
  }

  private bareKsym(ksym: BpfKsym): bigint {
    return this.structures.put(this.bare, ksym, 'bpf_ksym', {}, null, MEMBERS);
  }

  private ksymOf(prog: BpfProg, ksym: BpfKsym, held: ReadonlySet<BpfKsym>): bigint {
    const { structures } = this;
    const known = this.inAux.get(prog);
    const isOwn = known === undefined || known === ksym || !held.has(known);
    if (isOwn) this.inAux.set(prog, ksym);
    const aux = isOwn
      ? structures.auxOf(prog)
      : structures.aux(this.furtherAuxes, ksym, prog, structures.prog(prog));
    return aux + BigInt(structures.layout('bpf_prog_aux').members.get('ksym')?.offset ?? 0);
  }
}
