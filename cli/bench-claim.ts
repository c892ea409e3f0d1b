// faultline bench --claim no-flush: an install of the scratch page as the patch does it beside one that flushes.
import { writeFileSync } from 'node:fs';
import type { KnobName } from '../emulator/cost/knobs.ts';
import { type NoFlushClaim, noFlushClaim, RATES, SHARES } from '../testbed/no-flush.ts';
import { ARCHITECTURES } from '../testbed/run.ts';
import type { ArchName } from '../testbed/scenario.ts';
import { presetsFrom } from './cost.ts';
import { CliError, EXIT } from './errors.ts';
import { loadHost } from './host.ts';
import type { Io } from './io.ts';

interface ClaimOptions {
  readonly arch?: ArchName;
  readonly costPreset?: string;
  readonly json?: boolean;
  readonly plot?: string;
}

const FLUSH_KNOBS: readonly KnobName[] = [
  ...(['invalidatePage', 'barrier', 'shootdownSend', 'shootdownFirst'] as const),
  'shootdownFurther',
];

/** @returns the exit code. @throws CliError */
export async function benchClaimCommand(options: ClaimOptions, io: Io): Promise<number> {
  const { arch, costPreset, json, plot } = options;
  const all =
    costPreset === undefined
      ? Object.values(ARCHITECTURES).map(({ costs }) => costs.presets[0])
      : presetsFrom(costPreset, io);
  const presets = all.filter((one) => arch === undefined || one.arch === arch);
  if (presets.length === 0) {
    throw new CliError(`--cost-preset ${costPreset}: is not for ${arch}`, 'give another preset');
  }
  const host = await loadHost();
  const claims = presets.map((preset) => noFlushClaim(host, preset));
  if (json)
    io.out(`${JSON.stringify({ claim: 'no-flush', results: claims.map(asJson) }, null, 2)}\n`);
  else io.out(`${claims.map((claim) => textOf(claim)).join('\n\n')}\n`);
  if (plot !== undefined) {
    try {
      writeFileSync(plot, svgOf(claims));
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw new CliError(`--plot ${plot}: cannot be written: ${why}`, 'check the path');
    }
  }
  return EXIT.ok;
}

function asJson({ preset, fault, rows }: NoFlushClaim): object {
  const knobs = Object.fromEntries(FLUSH_KNOBS.map((name) => [name, preset.knobs[name]]));
  return { preset: preset.name, arch: preset.arch, fault, shares: SHARES, rows, knobs };
}

const log10 = (value: number): number => Math.log10(Math.max(1, value));

const whole = (value: number): string => String(Math.round(value));

function textOf({ preset, fault, rows }: NoFlushClaim): string {
  const last = rows[rows.length - 1];
  const line = (cells: readonly string[]) => cells.map((cell) => cell.padStart(10)).join('');
  const most = Math.max(...rows.flatMap(({ flush, on }) => [flush, ...on]));
  const bar = (value: number) =>
    '#'.repeat(
      Math.max(1, Math.round((50 * Math.log(Math.max(1, value))) / Math.log(Math.max(2, most)))),
    );
  return [
    `no-flush: ${preset.arch}, preset ${preset.name}; cycles of one install, all CPUs together`,
    `the fault ${whole(fault.install)}, a re-fault ${whole(fault.refault)} (both run, fast grain, log lines left out)`,
    '',
    line(['CPUs', 'flush', 'no flush', ...SHARES.map((share) => `on ${share}%`)]),
    ...rows.map(({ cpus, flush, off, on }) => line([cpus, flush, off, ...on].map(whole))),
    '',
    'no flush: negative entries off, as both manuals demand; no crossing at any number of CPUs.',
    `on N%: the policy negative: on; ${fault.own} re-fault of the installing CPU, one of N% of the others.`,
    ...rows.map(
      ({ cpus, crossing, crossingShare }) =>
        `  flushing pays above ${crossing.toFixed(2)} re-faults per install at ${cpus} CPU${cpus === 1 ? '' : 's'}: ` +
        (crossingShare === null
          ? 'no crossing'
          : crossingShare === 0
            ? "on, the installing CPU's own suffices"
            : `on above ${crossingShare.toFixed(1)}% of the others`),
    ),
    '',
    'plot, logarithmic: f flush, - no flush, + on 100%',
    ...rows.flatMap(({ cpus, flush, off, on }) => [
      `${String(cpus).padStart(4)} f ${bar(flush)}`,
      `     - ${bar(off)}`,
      `     + ${bar(on[on.length - 1])}`,
    ]),
    '',
    `cycles per million instructions that a flush adds at ${last.cpus} CPUs, by faults per million:`,
    `  ${RATES.map((rate) => `${rate}: ${whole(rate * (last.flush - last.off))}`).join(', ')}`,
    '',
    'The flush and the number of re-faults are a model, of these knobs; CPUs that answer pay nothing in it:',
    ...FLUSH_KNOBS.map(
      (name) => `  ${name} ${preset.knobs[name].value}: ${preset.knobs[name].source}`,
    ),
  ].join('\n');
}

/** Log-log curves, one panel for each preset. */
function svgOf(claims: readonly NoFlushClaim[]): string {
  const [width, height] = [480, 320];
  const panels = claims.map(({ preset, rows }, i) => {
    const curves = [
      ['flush', '#c33', rows.map(({ flush }) => flush)],
      ['no flush', '#393', rows.map(({ off }) => off)],
      ['negative entries on, all CPUs', '#36c', rows.map(({ on }) => on[on.length - 1])],
    ] as const;
    const logs = curves.flatMap(([, , values]) => values.map(log10));
    const low = Math.floor(Math.min(...logs));
    const high = Math.ceil(Math.max(...logs));
    const x = (at: number) => 50 + (at * (width - 70)) / (rows.length - 1);
    const y = (value: number) =>
      height - 40 - ((log10(value) - low) * (height - 80)) / Math.max(1, high - low);
    const lines = curves.map(([name, colour, values], nth) => {
      const points = values.map((value, at) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`);
      return `<polyline fill="none" stroke="${colour}" points="${points.join(' ')}"/><text x="60" y="${50 + 16 * nth}" fill="${colour}">${name}</text>`;
    });
    const ticks = rows.map(
      ({ cpus }, at) => `<text x="${x(at)}" y="${height - 20}">${cpus}</text>`,
    );
    const powers = Array.from({ length: high - low + 1 }, (_, n) => low + n);
    const sides = powers.map((n) => `<text x="5" y="${y(10 ** n)}">1e${n}</text>`);
    const title = `<text x="50" y="20">${preset.arch}: cycles of one install by CPUs</text>`;
    return `<g transform="translate(0 ${i * height})">${[title, ...lines, ...ticks, ...sides].join('')}</g>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height * claims.length}" font-family="sans-serif" font-size="12">${panels.join('')}</svg>\n`;
}
