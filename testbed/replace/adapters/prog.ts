// The search for programs in compiled code.
import { KernelStuck } from '../../../mm/context.ts';
import type { PROG_FUNCTIONS } from '../functions/prog.ts';
import { type Adapters, call } from './adapter.ts';

export const PROG_ADAPTERS: Adapters<typeof PROG_FUNCTIONS> = {
  bpf_prog_find_from_stack: (compiled) => ({
    *bpfProgFindFromStack() {
      const { structures } = compiled.object;
      const found = yield* call(compiled);
      const prog = found === 0n ? null : structures.progAt(found);
      if (found === 0n || prog !== null) return prog;
      throw new KernelStuck(`${compiled.name} returns 0x${found.toString(16)}, no struct bpf_prog`);
    },
  }),
};
