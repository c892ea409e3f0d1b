// Runs code so that somebody outside knows where it was if the process dies. Two ways: roughly, with a note before each
// stretch of code; and closely, with a note before each instruction from the stretch on in which the process died, by a
// core that translates one instruction at a time (Witness of emulator/engine.ts). A plain run takes no notes.
import type { VirtAddr } from '../emulator/address.ts';
import type { Cpu, Stop } from '../emulator/engine.ts';

/** Instructions of a stretch. */
const STRETCH = 200;

/** What is noted. */
export interface Place {
  /** The core is running; otherwise the model is. */
  readonly inCore: boolean;
  /** Instructions retired. */
  readonly retired: number;
  readonly ip: VirtAddr;
  /** The instruction there; what can be read of it, or more where its length cannot be told. */
  readonly code: Uint8Array;
}

/**
 * Drives a CPU in place of {@link Cpu.run}.
 * @param note takes a note
 * @param from instructions retired from which a stretch is looked at closely; Infinity: none is
 * @param codeAt reads the instruction at an address
 */
export function driveCarefully(
  note: (place: Place) => void,
  from: number,
  codeAt: (ip: VirtAddr) => Uint8Array,
): (cpu: Cpu, limit: number) => Stop {
  return (cpu, limit) => {
    const end = cpu.retired + limit;
    for (;;) {
      const { retired } = cpu;
      if (retired >= end) return cpu.run(0);
      const ip = cpu.readRegister(cpu.description.instructionPointer) as VirtAddr;
      const place = { retired, ip, code: codeAt(ip) };
      note({ ...place, inCore: true });
      const closely = retired >= from && retired < from + 2 * STRETCH;
      const stretch = Math.min(STRETCH, end - retired, retired < from ? from - retired : STRETCH);
      // A step translates nothing behind its instruction, a run of one may.
      const stop = closely ? cpu.step() : cpu.run(stretch);
      note({ ...place, inCore: false });
      if (stop.reason !== 'limit') return stop;
    }
  };
}
