// Page-table walks as tables: a level a line, as `faultline walk` prints them.
import { hex } from '../../emulator/bits.ts';
import type { LevelReport } from '../../mm/paging.ts';
import { counted, grouped } from './format.ts';
import { type Html, html } from './html.ts';
import type { RunReport } from './model.ts';
import { more } from './page-head.ts';

interface WalkLine {
  readonly level: LevelReport;
  readonly depth: number;
  /** Walks that read it; null: there is one. */
  readonly count: number | null;
}

export function walkSection({ walks, walkCount }: RunReport, id: string): Html {
  return html`<section id="${id}-walks" aria-labelledby="${id}-walks-title">
<h3 id="${id}-walks-title">Page-table walks <span class="quiet">of ${counted(walkCount, 'fault')}${walkCount > 1 ? ', put together' : null}</span></h3>
${walks.rows.length === 0 ? html`<p class="empty">No tables were walked in vain.</p>` : walkTable(walks.rows, 'Page-table walks')}
${more(walks, 'entry', 'entries')}
</section>
`;
}

export function walkTable(lines: readonly WalkLine[], name: string): Html {
  if (lines.length === 0) return html`<p class="empty">The address has no tables.</p>`;
  const counted = lines.some(({ count }) => count !== null);
  return html`<div class="scroll" tabindex="0" role="region" aria-label="${name}"><table class="walk">
<thead><tr><th scope="col">level</th><th scope="col">table</th><th scope="col" class="num">index</th><th scope="col">entry at</th><th scope="col">entry</th><th scope="col">verdict</th><th scope="col">bits</th>${counted && html`<th scope="col" class="num">walks</th>`}</tr></thead>
<tbody>${lines.map(
    ({ level: { level, table, index, entryAddr, entry, bits, verdict }, depth, count }) =>
      html`<tr class="${entry === 0n ? 'void' : 'held'}"><th scope="row"><span class="in${Math.min(depth, 4)}">${level}</span></th><td><code>${hex(table)}</code></td><td class="num">${index}</td><td><code>${hex(entryAddr)}</code></td><td><code>${hex(entry)}</code></td><td>${verdict}</td><td>${bits}</td>${counted && html`<td class="num">${grouped(count ?? 0)}</td>`}</tr>
`,
  )}</tbody></table></div>`;
}
