import { describe, expect, it } from 'vitest';
import { TICKS_PER_CYCLE } from '../../emulator/cost/units.ts';
import { classOf, measured, PORTS } from './cost-classes.ts';
import { X86_MEASURED } from './cost-table.ts';

const portCount = (mask: number) => mask.toString(2).replaceAll('0', '').length;

/** Forms with one operation on pipelined ports, and the class they are costed by. */
const SINGLE = [
  ['add', '', 'add r64,r64'],
  ['shl', '', 'shl r64,imm'],
  ['andn', '', 'andn r64,r64,r64'],
  ['lea.scaled', '', 'lea r64,[b+i*s]'],
  ['imul', '', 'imul r64,r64'],
  ['popcnt', '', 'popcnt r64,r64'],
  ['paddd', '', 'paddd xmm,xmm'],
  ['pshufb', '', 'pshufb xmm,xmm'],
  ['unpcklps', '', 'unpcklps xmm,xmm'],
  ['mulsd', '', 'mulsd xmm,xmm'],
] as const;

describe('cost classes', () => {
  it.each(SINGLE)('gives %s the ports of its measured rate', (family, variant, form) => {
    const { ports, slots } = classOf(family, variant);
    expect(slots).toBe(1);
    const count = portCount(PORTS[ports[0]]);
    // Five ports: a fifth of a cycle each. The measurement had eight chains, which bind where the latency is 8 or more.
    expect(measured(form).throughput / TICKS_PER_CYCLE).toBeCloseTo(1 / count, 1);
  });

  it('takes a latency from the measured row unless the class says why not', () => {
    expect(classOf('imul', '').latency).toBe(3);
    expect(classOf('mulsd', '').latency).toBe(4);
    expect(classOf('divsd', '').latency).toBe(13);
    expect(classOf('rcl', '').latency).toBe(7);
  });

  it('keeps the divider busy for the measured time', () => {
    expect(classOf('sqrtsd', '').busy).toBe(4.5 * TICKS_PER_CYCLE);
    expect(classOf('divss', '').busy).toBe(3 * TICKS_PER_CYCLE);
    expect(classOf('imul', '').busy).toBe(0);
  });

  it('prefers a variant and falls back to the bare name', () => {
    expect(classOf('shl', 'cl').slots).toBe(2);
    expect(classOf('shl', 'imm')).toBe(classOf('shl', ''));
    expect(classOf('nosuch', '').form).toBe('unknown');
  });

  it('says so if a row is missing', () => {
    expect(() => measured('nosuch r64')).toThrow("no form 'nosuch r64'");
  });

  it('has each measured form once', () => {
    const forms = X86_MEASURED.map(([form]) => form);
    expect(new Set(forms).size).toBe(forms.length);
  });
});
