// The map of an arena: what its pages hold at the end of the run, and where faults hit. A row is a line of cells, as in a
// hexdump; rows that repeat are told by their number.
import { hex, u64 } from '../../emulator/bits.ts';
import { grouped } from './format.ts';
import { type Html, html } from './html.ts';
import { CELLS } from './map-rows.ts';
import type { ArenaMap, CellRun, MapRow, RunReport } from './model.ts';
import { more } from './page-head.ts';

const LEGEND: readonly (readonly [state: CellRun['state'], text: string])[] = [
  ['allocated', 'allocated'],
  ['scratch', 'scratch page'],
  ['freed', 'freed during the run'],
  ['other', 'another entry'],
  ['mixed', 'several of these'],
  ['none', 'nothing mapped'],
  ['guard', 'guard'],
];

export function arenaSection({ arenas }: RunReport, id: string): Html {
  return html`<section id="${id}-arena" aria-labelledby="${id}-arena-title">
<h3 id="${id}-arena-title">Arena map <span class="quiet">at the end of the run</span></h3>
${arenas.rows.map((arena) => mapOf(arena))}
${more(arenas, 'arena')}
</section>
`;
}

function mapOf(arena: ArenaMap): Html {
  const { name, rows, pagesPerCell, extents, destroyed } = arena;
  const shown = new Set(rows.flatMap(({ cells }) => cells.map(({ state }) => state)));
  const hit = rows.some(({ cells }) => cells.some(({ faults }) => faults > 0));
  return html`<h4>${name}${destroyed ? html` <span class="quiet">destroyed</span>` : null}</h4>
${facts(arena)}
<ul class="legend">${LEGEND.filter(([state]) => shown.has(state)).map(
    ([state, text]) => html`<li><span class="key page-${state}"></span>${text}</li>`,
  )}${hit && html`<li><span class="key page-hit"></span>faults hit</li>`}</ul>
<div class="map" role="img" aria-label="Map of ${name}: the table below tells the same">
${rows.map((row) => rowOf(row, arena))}</div>
<p class="quiet note">A cell is ${pagesPerCell === 1 ? 'a page' : `${grouped(pagesPerCell)} pages`}, a row ${CELLS} cells${pagesPerCell === 1 ? null : '; it shows what any of its pages holds'}. Numbers count pages from kern_vm_start.</p>
${extentTable(arena)}
${more(extents, 'range')}`;
}

function facts(arena: ArenaMap): Html {
  const { kernVmStart, userVmStart, pages, pageSize, firstSlot, scratchPfn, counts, band, guard } =
    arena;
  const list: readonly (readonly [string, Html | string])[] = [
    ['kern_vm_start', html`<code>${hex(kernVmStart)}</code>`],
    ['user_vm_start', html`<code>${hex(userVmStart)}</code>, page ${grouped(firstSlot)}`],
    ['max_entries', `${grouped(pages)} pages of ${grouped(pageSize)} bytes`],
    ['allocated', grouped(counts.allocated)],
    [
      'scratch',
      html`${grouped(counts.scratch)}${scratchPfn === '' ? null : html`, pfn <code>${scratchPfn}</code>`}`,
    ],
    ['freed', grouped(counts.freed)],
    ...(counts.other > 0 ? [['other', grouped(counts.other)] as const] : []),
    ['guards', `${guard} pages on each side of ${grouped(band)}`],
  ];
  return html`<dl class="inline">${list.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

function rowOf({ first, cells, repeats, repeatFaults }: MapRow, arena: ArenaMap): Html {
  const { pagesPerCell, band, guard } = arena;
  const isGuard = first < 0 || first >= band;
  const label = isGuard ? (first < 0 ? 'lower guard' : 'upper guard') : grouped(first);
  const each = isGuard ? 1 : pagesPerCell;
  let at = 0;
  const runs = cells.map((run) => {
    const from = first + at * each;
    const x = at;
    at += run.count;
    return cellRun(run, x, from, from + run.count * each - 1);
  });
  const width = isGuard ? guard : Math.max(CELLS, at);
  const lines = Array.from({ length: at - 1 }, (_, i) => `M${i + 1} 0V1`).join('');
  return html`<div class="maprow"><span class="label">${label}</span><svg viewBox="0 0 ${Math.max(width, CELLS)} 1" preserveAspectRatio="none" aria-hidden="true">${runs}<path class="cellrule" d="${lines}"/></svg></div>
${
  repeats > 0
    ? html`<div class="maprow repeat"><span class="label">*</span><span>${grouped(repeats)} more ${repeats === 1 ? 'row' : 'rows'} like it, to page ${grouped(first + (repeats + 1) * CELLS * each - 1)}${repeatFaults > 0 ? `; ${grouped(repeatFaults)} faults` : ''}</span></div>
`
    : null
}`;
}

function cellRun({ state, count, faults }: CellRun, x: number, from: number, to: number): Html {
  const pages = from === to ? `page ${grouped(from)}` : `pages ${grouped(from)} to ${grouped(to)}`;
  const hits = faults > 0 ? `, ${grouped(faults)} fault${faults === 1 ? '' : 's'}` : '';
  return html`<g><title>${pages}: ${state}${hits}</title><rect class="page-${state}" x="${x}" width="${count}" height="1"/>${
    faults > 0 && html`<rect class="page-hit" x="${x}" y=".62" width="${count}" height=".38"/>`
  }</g>`;
}

function extentTable(arena: ArenaMap): Html {
  const { extents, kernVmStart, userVmStart, pageSize, name, firstSlot, band } = arena;
  if (extents.rows.length === 0) return html`<p class="empty">No page holds anything.</p>`;
  const at = (page: number) => hex(u64(kernVmStart + BigInt(page) * BigInt(pageSize)));
  // Programs see page p of the band at this address; the guards have none.
  const user = (page: number) =>
    page < 0 || page >= band
      ? '–'
      : hex(((userVmStart >> 32n) << 32n) + BigInt(page) * BigInt(pageSize));
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Pages of ${name}"><table>
<caption>pages in a row</caption>
<thead><tr><th scope="col" class="num">first</th><th scope="col" class="num">last</th><th scope="col" class="num">pages</th><th scope="col">hold</th><th scope="col" class="num">faults</th><th scope="col">kernel address</th><th scope="col">user address</th><th scope="col" class="num">slot</th></tr></thead>
<tbody>${extents.rows.map(
    ({ first, count, state, faults }) =>
      html`<tr><td class="num">${grouped(first)}</td><td class="num">${grouped(first + count - 1)}</td><td class="num">${grouped(count)}</td><th scope="row"><span class="key page-${state}"></span>${state}</th><td class="num">${grouped(faults)}</td><td><code>${at(first)}</code></td><td><code>${user(first)}</code></td><td class="num">${slotOf(first, firstSlot, arena)}</td></tr>
`,
  )}</tbody></table></div>`;
}

/** How the kfuncs count the page, if it is one that they can allocate. */
function slotOf(page: number, firstSlot: number, { pages, band }: ArenaMap): string {
  const slot = page - firstSlot;
  return page >= 0 && page < band && slot >= 0 && slot < pages ? grouped(slot) : '–';
}
