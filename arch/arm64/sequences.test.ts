// Random sequences of accesses to one address, changes of its descriptors and TLBIs, against the slow walker: an access
// comes to what the tables say now, or said at an access since the last TLBI of the page. No descriptor changes but by
// the access flag and the dirty state, and where none was changed by hand they are as the walker leaves them.
import { expect, it } from 'vitest';
import { Ram } from '../../emulator/ram.ts';
import { Mmu } from '../../mm/mmu.ts';
import { Dice } from '../test-dice.ts';
import { runSequences } from '../test-sequences.ts';
import { type Arm64Instruction, performAccess } from './access.ts';
import {
  type Arm64Case,
  descriptorAddr,
  type GoldenAccess,
  RAM_BASE,
  RAM_SIZE,
  stateOf,
} from './golden-case.ts';
import { Arm64Paging } from './paging.ts';
import { randomCase } from './test-configurations.ts';
import { instruction } from './test-instructions.ts';
import { type Arm64Tlb, NEOVERSE_N1_L2TLB, tlbi, tlbiOperand } from './tlb.ts';

const INSTRUCTIONS = ['ldr', 'ldr', 'str', 'str', 'ldtr', 'sttr', 'cas', 'dc_zva', 'br'] as const;
/** Valid, table, AttrIndx, AP, AF, nG, an address bit, DBM, PXN, UXN and those of tables. */
const CHANGES = [0, 0, 0, 1, 2, 6, 7, 7, 10, 10, 11, 30, 51, 53, 54, 59, 61, 62];
const AF_AP2 = (1n << 10n) | (1n << 7n);

type Tables = ReadonlyMap<number, bigint>;

const write = (ram: Ram, tables: Tables): void => {
  for (const [at, desc] of tables) ram.write64(at, desc);
};

/** What an instruction comes to, as text: a physical address or a fault. */
const told = (esr: number | null, value: bigint): string =>
  esr === null
    ? `pa 0x${value.toString(16)}`
    : `esr 0x${esr.toString(16)} far 0x${value.toString(16)}`;

class Sequence {
  private readonly dice: Dice;
  private readonly tables = new Map<number, bigint>();
  private readonly cpu: Arm64Tlb;
  private readonly va: bigint;
  private readonly ram: Ram;
  private used: Tables[] = [];
  /** A descriptor was changed since the last TLBI. */
  private changed = false;
  /** Accesses that came to something else than the tables of now say. */
  stale = 0;

  constructor(seed: number, ram: Ram) {
    this.dice = new Dice(seed);
    this.ram = ram;
    const golden = randomCase(seed, ram) as Extract<Arm64Case, { access: GoldenAccess }>;
    for (const one of golden.tables) this.tables.set(descriptorAddr(one), BigInt(one.desc));
    write(ram, this.tables);
    const paging = new Arm64Paging(ram, stateOf(golden));
    this.cpu = { paging, mmu: new Mmu({ paging, tlb: NEOVERSE_N1_L2TLB }) };
    this.va = BigInt(golden.access.va) & ~63n;
  }

  step(): void {
    const { dice, cpu, va, tables, ram } = this;
    const { state } = cpu.paging;
    switch (dice.below(8)) {
      case 0: {
        const operation = dice.pick(['vae1', 'vaae1', 'vale1', 'vmalle1'] as const);
        tlbi(cpu, operation, tlbiOperand(va as never, cpu.paging.space));
        this.used = [];
        this.changed = false;
        return;
      }
      case 1:
        state.el = 1 - state.el;
        state.pan = dice.once(2);
        cpu.paging.configure();
        return;
      case 2:
      case 3:
      case 4: {
        if (tables.size === 0) return;
        const at = dice.pick([...tables.keys()]);
        tables.set(at, tables.get(at)! ^ (1n << BigInt(dice.pick(CHANGES))));
        ram.write64(at, tables.get(at)!);
        this.changed = true;
        return;
      }
      default:
        this.access(dice.pick(INSTRUCTIONS));
    }
  }

  private access(insn: Arm64Instruction): void {
    const { tables, ram, va, cpu } = this;
    const size = insn === 'dc_zva' ? 64 : insn === 'br' ? 4 : 8;
    const before = new Map(tables);
    let after: Tables = before;
    const allowed = [...this.used, before].map((some) => {
      write(ram, some);
      const ending = instruction(ram, cpu.paging.state, insn, va, size);
      after = new Map([...tables.keys()].map((at) => [at, ram.read64(at)]));
      if ('esr' in ending) return told(ending.esr, ending.far);
      return told(null, 'bytes' in ending ? ending.bytes[0] : 0n);
    });
    write(ram, before);
    const { fault, ...got } = performAccess(cpu.mmu, cpu.paging, { insn, va: va as never, size });
    const outcome =
      fault === null ? told(null, BigInt((got as { pa: number }).pa)) : told(fault.esr, fault.far);
    expect(allowed).toContain(outcome);
    if (allowed.at(-1) !== outcome) this.stale++;
    for (const at of tables.keys()) {
      const now = ram.read64(at);
      expect(now & ~AF_AP2).toBe(before.get(at)! & ~AF_AP2);
      tables.set(at, now);
    }
    if (!this.changed) expect(tables).toEqual(after);
    if (fault === null) this.used.push(before);
  }

  end(): void {
    for (const at of this.tables.keys()) this.ram.write64(at, 0n);
  }
}

it('an access comes to what the tables say, or said since the last TLBI', () => {
  const ram = new Ram(RAM_BASE, RAM_SIZE);
  runSequences((seed) => new Sequence(seed, ram));
});
