// The timeline of a run: a lane for each CPU, faults by what became of them. Many faults are drawn as a histogram.

import { grouped, percent, ticks } from './format.ts';
import { type Html, html } from './html.ts';
import type { FaultRow, RunReport, TimeSlice } from './model.ts';
import { RESOLUTIONS, SLICES } from './tally.ts';

const LANE = 34;
const AXIS = 20;

/** What the resolutions mean, for the legend. */
const MEANINGS = {
  scratch: 'the page installed, runs again',
  extable: 'fixed up by the exception table',
  kfence: 'taken by KFENCE',
  spurious: 'nothing to do, runs again',
  oops: 'the kernel cannot go on',
} as const;

export function timelineSection(run: RunReport, id: string): Html {
  const { timeline, faultCount } = run;
  return html`<section id="${id}-timeline" aria-labelledby="${id}-timeline-title">
<h3 id="${id}-timeline-title">Fault timeline <span class="quiet">in ${timeline.unit}</span></h3>
${faultCount === 0 ? html`<p class="empty">No access faulted.</p>` : plot(run, id)}
</section>
`;
}

function plot(run: RunReport, id: string): Html {
  const { timeline, faults, faultCount } = run;
  const { length, cpus, steps, slices } = timeline;
  const height = cpus * LANE + AXIS;
  const used = RESOLUTIONS.filter((name) =>
    run.groups.rows.some((group) => group.resolution === name),
  );
  const marks =
    slices === null ? faults.rows.map((fault) => mark(fault, length, id)) : histogram(slices);
  const about = `${grouped(faultCount)} faults over ${grouped(length)} ${timeline.unit}`;
  return html`<ul class="legend">${used.map(
    (name) =>
      html`<li><span class="key ${name}"></span>${name} <span class="quiet">${MEANINGS[name]}</span></li>`,
  )}</ul>
<div class="plot">
<div class="lanes" aria-hidden="true">${Array.from({ length: cpus }, (_, cpu) => html`<span>cpu ${cpu}</span>`)}</div>
<svg class="timeline" role="img" aria-label="${about}" width="100%" height="${height}">
${Array.from(
  { length: cpus },
  (_, cpu) =>
    html`<line class="rule" x1="0" x2="100%" y1="${(cpu + 1) * LANE - 4}" y2="${(cpu + 1) * LANE - 4}"/>`,
)}
${steps.rows.map(
  ({ label, start }, i) =>
    html`<line class="step" x1="${percent(start, length)}" x2="${percent(start, length)}" y1="0" y2="${cpus * LANE}"><title>step ${i + 1}: ${label}</title></line>`,
)}
${marks}
${ticks(length).map((value) => tick(value, length, cpus * LANE))}
</svg>
</div>
${
  slices === null
    ? null
    : html`<p class="quiet note">Each bar counts the faults of a ${SLICES}th of the run; the tallest stands for ${grouped(tallest(slices))}.</p>`
}`;
}

function tick(value: number, length: number, y: number): Html {
  const at = value / Math.max(1, length);
  const anchor = at < 0.04 ? 'start' : at > 0.94 ? 'end' : 'middle';
  return html`<line class="tick" x1="${percent(value, length)}" x2="${percent(value, length)}" y1="${y - 4}" y2="${y + 2}"/><text class="axis" x="${percent(value, length)}" y="${y + 14}" text-anchor="${anchor}">${grouped(value)}</text>`;
}

function mark(fault: FaultRow, length: number, id: string): Html {
  const { number, start, end, cpu, resolution, symbol, place, access, cycles } = fault;
  const cost = cycles === null ? '' : `, ${grouped(cycles)} cycles`;
  const title = `fault ${number}: ${access} at ${place} by ${symbol}: ${resolution}${cost}`;
  return html`<a href="#${id}-f${number}" tabindex="-1"><rect class="mark ${resolution}" x="${percent(start, length)}" width="${percent(end - start, length)}" y="${cpu * LANE + 8}" height="${LANE - 14}"><title>${title}</title></rect></a>
`;
}

const total = ({ counts }: TimeSlice): number =>
  Object.values(counts).reduce((sum, count) => sum + count, 0);

const tallest = (slices: readonly TimeSlice[]): number => Math.max(1, ...slices.map(total));

function histogram(slices: readonly TimeSlice[]): Html[] {
  const most = tallest(slices);
  return slices.map((slice) => {
    let y = (slice.cpu + 1) * LANE - 4;
    const parts = RESOLUTIONS.flatMap((name) => {
      const count = slice.counts[name] ?? 0;
      if (count === 0) return [];
      const height = Math.max(1, ((LANE - 8) * count) / most);
      y -= height;
      return [
        html`<rect class="bar ${name}" x="${percent(slice.slice, SLICES)}" width="${percent(1, SLICES)}" y="${y.toFixed(1)}" height="${height.toFixed(1)}"/>`,
      ];
    });
    const told = Object.entries(slice.counts).map(([name, count]) => `${grouped(count)} ${name}`);
    return html`<g><title>${told.join(', ')}</title>${parts}</g>
`;
  });
}
