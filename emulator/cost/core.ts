// What the scoreboard must know of a core: widths, window sizes, forwarding. All sizes are the vendor's public figures
// or measured; an architecture's `cost-core.ts` says which.

export interface CoreDescription {
  readonly name: string;
  /** Values of the architecture's numbering (registers, flags, temporaries). */
  readonly values: number;
  /** First of the values that only live inside one instruction. */
  readonly temporaries: number;
  /** Slots renamed a cycle. */
  readonly width: number;
  /** Operations retired a cycle. */
  readonly retireWidth: number;
  /** Slots between rename and retirement. */
  readonly window: number;
  /** Where operations wait for their operands: entries, and the ports they wait for. */
  readonly schedulers: readonly { readonly ports: number; readonly entries: number }[];
  /** Ports, numbered from 0. */
  readonly ports: number;
  /** Ports that can execute a taken branch. */
  readonly takenBranchPorts: number;
  /** Cycles to a load that needs bytes of a store that does not hold all of them. */
  readonly blockedForwarding: number;
  /** Cycles to a load of what a locked operation wrote. */
  readonly lockedLoad: number;
  /** Loads wait for earlier stores to the same bytes; without it memory carries no data. */
  readonly followsStores: boolean;
  /** Loads whose store the core remembers. */
  readonly rememberedLoads: number;
  /** Stores between rename and the write to the cache. */
  readonly storeBuffer: number;
  /** Stores to one cache line that are written in one cycle. */
  readonly storesPerLine: number;
  /** Bytes of a cache line. */
  readonly line: number;
  /** Loads that one 8-byte bank of the cache serves in a cycle. */
  readonly loadsPerBank: number;
}
