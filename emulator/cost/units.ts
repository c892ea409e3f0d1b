// The model's unit of time: one tick is a sixtieth of a core cycle. Rates that do not divide a cycle evenly (three
// ports: a third; five: a fifth; a divider that takes a job every 4.5 cycles) are whole numbers of ticks, so sums are
// exact and the same run always gives the same cycles.

export const TICKS_PER_CYCLE = 60;

/** A rate or latency in cycles, from a table, as whole ticks (nearest). */
export const ticks = (cycles: number): number => Math.round(cycles * TICKS_PER_CYCLE);

/** Ticks as cycles, for printing and scoring. */
export const cycles = (ticks: number): number => ticks / TICKS_PER_CYCLE;
