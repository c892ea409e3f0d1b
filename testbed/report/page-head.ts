// The head of a run: what it came to, under which policies, step by step; at the end what it said in its streams and logs.

import { andMore } from './format.ts';
import { type Html, html } from './html.ts';
import type { Cut, RunReport } from './model.ts';

export function headSection(run: RunReport, id: string): Html {
  return html`<section id="${id}-run" aria-label="Run">
<div class="facts">${run.facts.map(
    ([group, facts]) =>
      html`<dl><dt class="group">${group}</dt>${facts.map(
        ([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`,
      )}</dl>`,
  )}</div>
<p class="replay"><span class="quiet">replay</span> <code>${run.replay}</code></p>
${failureTable(run)}
${stepTable(run)}
${registers(run)}
</section>
`;
}

function failureTable({ failures }: RunReport): Html | null {
  if (failures.rows.length === 0) return null;
  return html`<h3>What differs</h3>
<div class="scroll" tabindex="0" role="region" aria-label="What differs"><table>
<thead><tr><th scope="col">expect</th><th scope="col">wanted</th><th scope="col">got</th></tr></thead>
<tbody>${failures.rows.map(
    ({ expect, wanted, got }) =>
      html`<tr><th scope="row"><code>${expect}</code></th><td><code>${wanted}</code></td><td class="bad"><code>${got}</code></td></tr>
`,
  )}</tbody></table></div>
${more(failures, 'difference')}`;
}

function stepTable({ steps }: RunReport): Html | null {
  if (steps.rows.length < 2) return null;
  const several = steps.rows.some(({ cpu }) => cpu !== null);
  return html`<details class="fold" open><summary><h3>Steps</h3></summary>
<div class="scroll" tabindex="0" role="region" aria-label="Steps"><table>
<thead><tr><th scope="col" class="num">#</th>${several && html`<th scope="col" class="num">cpu</th>`}<th scope="col">step</th><th scope="col" class="num">line</th><th scope="col">what came of it</th></tr></thead>
<tbody>${steps.rows.map(
    ({ cpu, kind, line, summary, pass }, i) =>
      html`<tr${pass ? null : html` class="bad"`}><td class="num">${i + 1}</td>${several && html`<td class="num">${cpu}</td>`}<th scope="row">${kind}</th><td class="num">${line}</td><td>${summary}${pass ? null : ' – differs'}</td></tr>
`,
  )}</tbody></table></div>
${more(steps, 'step')}</details>`;
}

function registers({ registers }: RunReport): Html | null {
  if (registers.length === 0) return null;
  return html`<details class="fold"><summary><h3>Registers</h3> <span class="quiet">at the end of the last call</span></summary>
<dl class="registers">${registers.map(([name, value]) => html`<div><dt>${name}</dt><dd><code>${value}</code></dd></div>`)}</dl></details>`;
}

export function logSections({ oops, stderr }: RunReport, id: string): Html {
  const block = (title: string, lines: Cut<string>) =>
    html`<h4>${title}</h4>
<pre tabindex="0" role="region" aria-label="${title}">${lines.rows.join('\n')}</pre>
${more(lines, 'line')}`;
  return html`<section id="${id}-log" aria-labelledby="${id}-log-title">
<h3 id="${id}-log-title">Streams and kernel log</h3>
${oops === null ? null : block('kernel log of the oops', { rows: oops, more: 0 })}
${
  stderr.rows.length === 0
    ? html`<p class="empty">The program’s stderr stream is empty.</p>`
    : block('stderr of the program', stderr)
}
</section>
`;
}

/** What was left out, if anything was. */
export function more(rows: Cut<unknown>, one: string, many?: string): Html | null {
  const text = andMore(rows, one, many);
  return text === null ? null : html`<p class="more">${text}</p>`;
}
