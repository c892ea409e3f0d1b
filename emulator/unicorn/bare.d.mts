// Types of bare.mjs, which stays as it was written.
/** Unicorn through koffi and nothing else: the floor that speed is a ratio of. */
export declare function bare(parts: { koffi: unknown; library: string }): {
  /** `faults.x86_64`, `insns.arm64` and so on. */
  readonly names: readonly string[];
  /** Operations a CPU second, of one repetition. */
  run(name: string): number;
};
