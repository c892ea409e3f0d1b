// The faults of a run: by instruction, and one by one, of which some open to their whole way through hardware and kernel.
import type { Field } from '../../arch/fields.ts';
import { hex } from '../../emulator/bits.ts';
import { grouped, percent } from './format.ts';
import { type Html, html } from './html.ts';
import type { FaultDetail, FaultRow, RunReport } from './model.ts';
import { more } from './page-head.ts';
import { walkTable } from './page-walks.ts';

export function faultSection(run: RunReport, id: string): Html {
  const { faults, faultCount, unfinished } = run;
  return html`<section id="${id}-faults" aria-labelledby="${id}-faults-title">
<h3 id="${id}-faults-title">Faults <span class="quiet">${grouped(faultCount)}</span></h3>
${faultCount === 0 ? html`<p class="empty">No access faulted.</p>` : list(run, id)}
${more(faults, 'fault')}
${unfinished > 0 ? html`<p class="more">${grouped(unfinished)} more had not come to an end.</p>` : null}
</section>
`;
}

function list(run: RunReport, id: string): Html {
  const { faults, timeline } = run;
  const unit = timeline.unit === 'steps of the schedule' ? 'step' : timeline.unit;
  return html`${groupTable(run)}
<div class="tools" data-faults="${id}">
<label>Filter <input type="search" class="filter" autocomplete="off" spellcheck="false" placeholder="symbol, address, outcome"></label>
<button type="button" class="open-all">Open all</button>
<button type="button" class="close-all">Close all</button>
<output class="quiet" aria-live="polite"></output>
</div>
<div class="faults" id="${id}-list">
<div class="row headings" aria-hidden="true"><span class="n">#</span><span class="at">at ${unit}</span><span class="by">instruction</span><span class="va">address</span><span class="ac">access</span><span class="rs">outcome</span><span class="cy">cycles</span></div>
${faults.rows.map((fault) => row(fault, run, id))}</div>`;
}

function groupTable({ groups }: RunReport): Html | null {
  // Where none is repeated the list says it all.
  if (groups.rows.every(({ count }) => count < 2)) return null;
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Faults by instruction"><table>
<caption>by instruction</caption>
<thead><tr><th scope="col" class="num">faults</th><th scope="col" class="num">first</th><th scope="col">instruction</th><th scope="col">access</th><th scope="col">code</th><th scope="col">outcome</th><th scope="col">addresses</th><th scope="col" class="num">cycles</th></tr></thead>
<tbody>${groups.rows.map(
    ({ symbol, instruction, access, code, resolution, count, first, lowest, highest, cycles }) =>
      html`<tr><td class="num">${grouped(count)}</td><td class="num">${first}</td><th scope="row"><code>${symbol}</code> <code class="quiet">${instruction}</code></th><td>${access}</td><td><code>${code}</code></td><td><span class="key ${resolution}"></span>${resolution}</td><td><code>${lowest}${lowest === highest ? '' : html` –<br>${highest}`}</code></td><td class="num">${cycles === null ? '–' : grouped(cycles)}</td></tr>
`,
  )}</tbody></table></div>
${more(groups, 'instruction')}`;
}

function row(fault: FaultRow, run: RunReport, id: string): Html {
  const { number, start, cpu, symbol, address, place, access, code, resolution, cycles, detail } =
    fault;
  const cells = html`<span class="n">${number}</span><span class="at"><span class="hint">at </span>${grouped(start)}${
    run.timeline.cpus > 1 ? html` <span class="quiet">cpu ${cpu}</span>` : null
  }</span><span class="by"><code>${symbol}</code>${detail && html` <code class="quiet">${detail.instruction}</code>`}</span><span class="va"><code>${address}</code> <span class="quiet">${place}</span></span><span class="ac">${access} <code class="quiet">${code}</code></span><span class="rs"><span class="key ${resolution}"></span>${resolution}</span><span class="cy">${cycles === null ? '–' : grouped(cycles)}<span class="hint"> cycles</span></span>`;
  if (detail === null)
    return html`<div class="row plain" id="${id}-f${number}">${cells}</div>
`;
  return html`<details class="fault" id="${id}-f${number}"${number === 1 && html` open`}><summary class="row">${cells}</summary>
${detailOf(fault, detail, run)}</details>
`;
}

function detailOf(fault: FaultRow, detail: FaultDetail, run: RunReport): Html {
  const { number, address, code, ip, symbol } = fault;
  return html`<div class="detail">
<div class="columns"><div>
<h4>Instruction</h4>
<p><code>${ip}</code> <code>${symbol}</code><br><code>${detail.instruction}</code></p>
<h4>What the hardware reports</h4>
<p>${detail.codeText}; ${run.faultAddressRegister} <code>${address}</code></p>
<table class="fields"><caption class="hidden">Fields of ${code}</caption><thead class="hidden"><tr><th scope="col">bits</th><th scope="col">field</th><th scope="col">value</th><th scope="col">meaning</th></tr></thead>
<tbody>${fieldRows(detail.fields, 0)}</tbody></table>
</div><div>
<h4>The kernel’s path</h4>
${pathTable(fault, detail)}
</div></div>
<h4>Page-table walk</h4>
${detail.walkNote === '' ? null : html`<p class="note">${detail.walkNote}</p>`}
${walkTable(
  detail.walk.map((level, depth) => ({ level, depth, count: null })),
  `Walk of fault ${number}`,
)}
<p class="note">${detail.walkVerdict}${detail.walkCycles === null ? null : `; the walk took ${grouped(detail.walkCycles)} cycles`}</p>
</div>
`;
}

/** Fields that are set, or say something; those that are zero without a word are left out. */
function fieldRows(fields: readonly Field[], depth: number): Html[] {
  return fields.flatMap(({ name, bits, value, meaning, fields: inner }) => [
    html`<tr class="${value === 0n ? 'zero' : 'set'}"><td class="num quiet">${bits}</td><th scope="row"><span class="in${Math.min(depth, 3)}">${name}</span></th><td><code>${hex(value)}</code></td><td>${meaning}</td></tr>
`,
    ...fieldRows(inner, depth + 1),
  ]);
}

function pathTable({ cycles, number }: FaultRow, { path, walkCycles }: FaultDetail): Html {
  const costed = cycles !== null;
  const whole = cycles ?? 0;
  let last = '';
  const rows = path.map(({ title, detail, cycles: own, knobs }) => {
    // What a function decided stands below its name.
    const name = title === last ? '' : title;
    last = title;
    const isFunction = title !== '';
    return html`<tr><th scope="row">${isFunction ? html`<code>${name}</code>` : html`<small class="quiet">${knobs}</small>`}</th><td>${detail}${isFunction && knobs !== '' ? html` <small class="quiet">${knobs}</small>` : null}</td>${costed && costCells(own ?? 0, whole)}</tr>
`;
  });
  return html`<div class="scroll" tabindex="0" role="region" aria-label="The kernel’s path of fault ${number}"><table class="path"><thead><tr><th scope="col">function</th><th scope="col">what</th>${costed && html`<th scope="col" class="num">cycles</th><th scope="col"><span class="hidden">share</span></th>`}</tr></thead>
<tbody>${
    walkCycles !== null &&
    html`<tr><th scope="row"><small class="quiet">walk</small></th><td>the page-table walk, by the hardware</td>${costCells(walkCycles, whole)}</tr>
`
  }${rows}</tbody>
${costed && html`<tfoot><tr><th scope="row">whole fault</th><td></td><td class="num">${grouped(whole)}</td><td></td></tr></tfoot>`}</table></div>`;
}

const costCells = (cycles: number, whole: number): Html =>
  html`<td class="num">${cycles === 0 ? null : grouped(cycles)}</td><td class="share">${
    cycles === 0
      ? null
      : html`<svg width="56" height="8" aria-hidden="true"><rect class="meter" width="${percent(cycles, whole)}" height="8"/></svg>`
  }</td>`;
