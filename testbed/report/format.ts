// Numbers as the report writes them.
import type { Cut } from './model.ts';

/** 1234567 as 1,234,567, whatever the locale. */
export const grouped = (value: number): string =>
  String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ',');

/** A share of a whole as SVG takes it: a percentage with as many digits as a screen can show. */
export const percent = (part: number, whole: number): string =>
  `${Number(((100 * part) / Math.max(whole, Number.MIN_VALUE)).toFixed(3))}%`;

/** A share for people: 12.34%. */
export const share = (part: number, whole: number): string =>
  `${whole === 0 ? '0.00' : ((100 * part) / whole).toFixed(2)}%`;

/** "1 fault", "2,000 faults". */
export const counted = (count: number, one: string, many = `${one}s`): string =>
  `${grouped(count)} ${count === 1 ? one : many}`;

/** "… and 3 more faults", or nothing. */
export const andMore = ({ more }: Cut<unknown>, one: string, many = `${one}s`): string | null =>
  more > 0 ? `… and ${grouped(more)} more ${more === 1 ? one : many}` : null;

/** Round numbers that divide 0 to `most` into about five parts. */
export function ticks(most: number): number[] {
  if (most <= 0) return [0];
  const rough = most / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(1, [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough)!);
  return Array.from({ length: Math.floor(most / step) + 1 }, (_, i) => i * step);
}
