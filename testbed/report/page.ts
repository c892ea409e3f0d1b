// The HTML report: one file that needs nothing else. A pure function of its data: the same run gives the same bytes.
import { createHash } from 'node:crypto';
import { Html, html } from './html.ts';
import type { RunReport } from './model.ts';
import { arenaSection } from './page-arena.ts';
import { faultSection } from './page-faults.ts';
import { flameSection } from './page-flame.ts';
import { headSection, logSections } from './page-head.ts';
import { timelineSection } from './page-timeline.ts';
import { walkSection } from './page-walks.ts';

/** What the page is dressed in and moved by. */
export interface PageAssets {
  readonly css: string;
  readonly script: string;
}

/** Sections of a run: its anchor and what the contents call it. */
const SECTIONS: readonly (readonly [id: string, name: string])[] = [
  ['run', 'Run'],
  ['timeline', 'Timeline'],
  ['faults', 'Faults'],
  ['flame', 'Cycles'],
  ['walks', 'Walks'],
  ['arena', 'Arena'],
  ['log', 'Streams'],
];

/** @param runs of one scenario, one for each architecture */
export function pageOf(runs: readonly RunReport[], { css, script }: PageAssets): string {
  const [{ name, file }] = runs;
  const policy = `default-src 'none'; style-src ${hashOf(css)}; script-src ${hashOf(script)}; base-uri 'none'; form-action 'none'`;
  return `${html`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>${name} – faultline</title>
<style>${new Html(css)}</style>
</head>
<body>
<a class="skip" href="#r0">Skip to the report</a>
<header class="top">
<h1>${name}</h1>
<p class="quiet"><code>${file}</code></p>
<nav aria-label="Contents">${runs.map((run, i) => contents(run, i, runs.length))}</nav>
</header>
<main>
${runs.map((run, i) => runArticle(run, `r${i}`))}
</main>
<footer class="quiet"><p>Made by faultline. Cycles are a model’s, with a known error.</p></footer>
<script>${new Html(script)}</script>
</body>
</html>
`}`;
}

const hashOf = (text: string): string =>
  `'sha256-${createHash('sha256').update(text, 'utf8').digest('base64')}'`;

function contents(run: RunReport, i: number, of: number): Html {
  const links = SECTIONS.map(([id, text]) => html`<li><a href="#r${i}-${id}">${text}</a></li>`);
  const label = of > 1 ? html`<a class="arch" href="#r${i}">${run.arch}</a>` : null;
  return html`<div class="contents">${label}<ul>${links}</ul></div>
`;
}

function runArticle(run: RunReport, id: string): Html {
  return html`<article id="${id}" aria-labelledby="${id}-title">
<h2 id="${id}-title">${run.arch} <span class="quiet">series ${run.series}</span> ${
    run.pass
      ? html`<strong class="badge pass">as expected</strong>`
      : html`<strong class="badge fail">not as expected</strong>`
  }</h2>
${headSection(run, id)}
${timelineSection(run, id)}
${faultSection(run, id)}
${flameSection(run, id)}
${walkSection(run, id)}
${arenaSection(run, id)}
${logSections(run, id)}
</article>
`;
}
