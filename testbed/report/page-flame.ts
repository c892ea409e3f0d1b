// Where the cycles went: a flame graph of the folded stacks, and the tables of `--profile`.
import { grouped, percent, share } from './format.ts';
import { type Html, html } from './html.ts';
import type { ReportProfile, RunReport } from './model.ts';
import { more } from './page-head.ts';
import { type Frame, layOut } from './stacks.ts';

const ROW = 20;
const MOST_FRAMES = 1500;

export function flameSection({ profile }: RunReport, id: string): Html {
  return html`<section id="${id}-flame" aria-labelledby="${id}-flame-title">
<h3 id="${id}-flame-title">Cycles <span class="quiet">${profile === null ? 'not counted' : grouped(profile.cycles)}</span></h3>
${
  profile === null
    ? html`<p class="empty">The run was made without a cycle model (<code>--cost off</code>).</p>`
    : html`${flame(profile, id)}
<div class="tables">${profile.tables.map((table) => profileTable(table, profile.cycles))}</div>`
}
</section>
`;
}

function flame({ stacks }: ReportProfile, id: string): Html {
  const { rows, more: left } = widest(layOut(stacks));
  if (rows.length === 0) return html`<p class="empty">No stack took a whole cycle.</p>`;
  const total = rows.filter(({ depth }) => depth === 0).reduce((sum, { value }) => sum + value, 0);
  const depth = Math.max(...rows.map((frame) => frame.depth));
  return html`<div class="tools" data-flame="${id}">
<label>Search <input type="search" class="search" autocomplete="off" spellcheck="false" placeholder="regular expression"></label>
<button type="button" class="reset" disabled>Reset zoom</button>
<output class="quiet matched" aria-live="polite"></output>
</div>
<svg class="flame" id="${id}-graph" role="tree" aria-label="Flame graph of cycles: arrow keys move, Enter zooms, Escape zooms out" width="100%" height="${(depth + 1) * ROW}" data-total="${total}">
${rows.map((frame, i) => frameOf(frame, total, i === 0))}</svg>
<p class="quiet note told" id="${id}-told">${grouped(total)} cycles in ${grouped(stacks.length)} stacks. Click or Enter zooms, arrow keys move, Escape zooms out.</p>
${more({ rows: [], more: left }, 'frame')}`;
}

/** Of too many frames those that can be seen; parents are never narrower than what is below them. */
function widest(frames: readonly Frame[]): { rows: readonly Frame[]; more: number } {
  if (frames.length <= MOST_FRAMES) return { rows: frames, more: 0 };
  const values = frames.map(({ value }) => value).sort((a, b) => b - a);
  const least = values[MOST_FRAMES];
  const rows = frames.filter(({ value }) => value > least);
  return { rows, more: frames.length - rows.length };
}

function frameOf({ name, depth, start, value }: Frame, total: number, first: boolean): Html {
  const label = `${name}: ${grouped(value)} cycles, ${share(value, total)}`;
  return html`<svg class="frame ${kindOf(name)}" role="treeitem" aria-level="${depth + 1}" aria-label="${label}" tabindex="${first ? 0 : -1}" x="${percent(start, total)}" y="${depth * ROW}" width="${percent(value, total)}" height="${ROW - 1}" data-start="${start}" data-value="${value}" data-depth="${depth}" data-name="${name}"><title>${label}</title><rect width="100%" height="100%"/><text x="4" y="14">${name}</text></svg>
`;
}

/** Code, events, or the frame that holds both. */
function kindOf(name: string): string {
  if (name === 'x86_64' || name === 'arm64') return 'root';
  if (name.startsWith('[')) return 'events';
  const hash = [...name].reduce((sum, mark) => (sum * 31 + mark.codePointAt(0)!) >>> 0, 7);
  return `tone${hash % 4}`;
}

function profileTable({ title, cut: rows }: ReportProfile['tables'][number], cycles: number): Html {
  return html`<details class="fold"${title === 'function' || title === 'event' ? html` open` : null}><summary><h4>by ${title}</h4></summary>
<div class="scroll" tabindex="0" role="region" aria-label="Cycles by ${title}"><table class="profile">
<thead><tr><th scope="col" class="num">share</th><th scope="col"><span class="hidden">bar</span></th><th scope="col" class="num">cycles</th><th scope="col" class="num">times</th><th scope="col">${title}</th></tr></thead>
<tbody>${rows.rows.map(
    ({ name, count, cycles: own }) =>
      html`<tr><td class="num">${share(own, cycles)}</td><td class="share"><svg width="56" height="8" aria-hidden="true"><rect class="meter" width="${percent(own, cycles)}" height="8"/></svg></td><td class="num">${own.toFixed(1)}</td><td class="num">${grouped(count)}</td><th scope="row"><code>${name}</code></th></tr>
`,
  )}</tbody></table></div>
${more(rows, 'row')}</details>`;
}
