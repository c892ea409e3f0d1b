// @ts-check
// The script of the HTML report. The page says all there is to say without it; it moves the flame graph, filters faults, and
// opens what a link points to.

/** @param {string} selector @param {ParentNode} [within] @returns {HTMLElement[]} */
const all = (selector, within = document) => {
  /** @type {NodeListOf<HTMLElement>} */
  const found = within.querySelectorAll(selector);
  return [...found];
};

/** Opens the fault that the address names. */
function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) {
    target.open = true;
    target.querySelector('summary')?.focus();
    target.scrollIntoView();
  }
}
addEventListener('hashchange', openTarget);
openTarget();

for (const tools of all('[data-faults]')) {
  const list = document.getElementById(`${tools.dataset.faults}-list`);
  const input = tools.querySelector('input');
  const output = tools.querySelector('output');
  if (list === null || input === null || output === null) continue;
  const rows = all(':scope > .fault, :scope > .plain', list);
  const texts = rows.map((row) => (row.querySelector('summary') ?? row).textContent?.toLowerCase());
  const show = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, i) => {
      row.hidden = !words.every((word) => texts[i]?.includes(word));
      if (!row.hidden) shown++;
    });
    output.textContent = words.length === 0 ? '' : `${shown} of ${rows.length}`;
  };
  input.addEventListener('input', show);
  const openAll = (/** @type {boolean} */ open) => {
    for (const row of rows) {
      if (row instanceof HTMLDetailsElement && !row.hidden) row.open = open;
    }
  };
  tools.querySelector('.open-all')?.addEventListener('click', () => openAll(true));
  tools.querySelector('.close-all')?.addEventListener('click', () => openAll(false));
}

/**
 * One frame of a flame graph: where it lies in the whole.
 * @typedef {{ element: SVGElement, start: number, end: number, depth: number, name: string }} Frame
 */

/** @param {HTMLElement} tools */
function flameGraph(tools) {
  const graph = document.getElementById(`${tools.dataset.flame}-graph`);
  const told = document.getElementById(`${tools.dataset.flame}-told`);
  const search = tools.querySelector('input');
  const reset = tools.querySelector('button');
  const matched = tools.querySelector('output');
  if (graph === null || told === null || search === null || reset === null || matched === null) {
    return;
  }
  const total = Number(graph.dataset.total);
  /** @type {Frame[]} */
  const frames = all('.frame', graph).map((element) => {
    const { start, value, depth, name = '' } = element.dataset;
    const from = Number(start);
    const drawn = /** @type {SVGElement} */ (/** @type {unknown} */ (element));
    return { element: drawn, start: from, end: from + Number(value), depth: Number(depth), name };
  });
  const hint = told.textContent;
  let zoomed = frames[0];

  /** @param {Frame} frame */
  const zoom = (frame) => {
    zoomed = frame;
    const width = Math.max(frame.end - frame.start, Number.MIN_VALUE);
    for (const { element, start, end, depth } of frames) {
      const around = depth < frame.depth && start <= frame.start && end >= frame.end;
      const within = depth >= frame.depth && start >= frame.start && end <= frame.end;
      element.style.display = around || within ? '' : 'none';
      element.classList.toggle('around', around);
      element.setAttribute('x', around ? '0%' : `${(100 * (start - frame.start)) / width}%`);
      element.setAttribute('width', around ? '100%' : `${(100 * (end - start)) / width}%`);
    }
    reset.disabled = frame === frames[0];
    label();
  };

  /** Cuts names to what their frames have room for. */
  const label = () => {
    const letters = graph.getBoundingClientRect().width / letterWidth(graph);
    for (const { element, name, start, end } of frames) {
      const text = element.querySelector('text');
      if (text === null || element.style.display === 'none') continue;
      // An ancestor of what is shown is as wide as all of it.
      const share = Math.min(1, (end - start) / Math.max(zoomed.end - zoomed.start, 1));
      const room = Math.floor(letters * share - 1);
      const shown = room >= name.length ? name : room < 4 ? '' : `${name.slice(0, room - 1)}…`;
      if (text.textContent !== shown) text.textContent = shown;
    }
  };

  /** @param {Frame} frame */
  const tell = (frame) => {
    const cycles = frame.end - frame.start;
    const of =
      zoomed === frames[0]
        ? ''
        : `, ${percent(cycles, zoomed.end - zoomed.start)} of what is shown`;
    told.textContent = `${frame.name}: ${cycles.toLocaleString('en-US')} cycles, ${percent(cycles, total)}${of}`;
  };

  /** @param {Frame} frame */
  const focus = (frame) => {
    for (const { element } of frames) element.setAttribute('tabindex', '-1');
    frame.element.setAttribute('tabindex', '0');
    frame.element.focus();
  };

  const unzoom = () => {
    zoom(frames[0]);
    focus(frames[0]);
  };

  /** Where an arrow key leads from a frame. @param {Frame} from @param {string} key */
  const next = (from, key) => {
    const shown = frames.filter(({ element }) => element.style.display !== 'none');
    const beside = shown.filter(({ depth }) => depth === from.depth);
    const at = beside.indexOf(from);
    if (key === 'ArrowLeft') return beside[at - 1];
    if (key === 'ArrowRight') return beside[at + 1];
    if (key === 'Home') return shown[0];
    if (key === 'ArrowUp') {
      return shown.find(
        ({ depth, start, end }) =>
          depth === from.depth - 1 && start <= from.start && end >= from.end,
      );
    }
    return shown.find(
      ({ depth, start, end }) => depth === from.depth + 1 && start >= from.start && end <= from.end,
    );
  };

  for (const frame of frames) {
    const { element } = frame;
    element.addEventListener('click', () => {
      zoom(frame);
      focus(frame);
    });
    element.addEventListener('focus', () => tell(frame));
    element.addEventListener('mouseenter', () => tell(frame));
    element.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' || event.key === ' ') zoom(frame);
      else if (event.key === 'Escape') unzoom();
      else if (/^Arrow|^Home$/.test(event.key)) {
        const to = next(frame, event.key);
        if (to !== undefined) focus(to);
      } else return;
      event.preventDefault();
    });
  }
  addEventListener('resize', label);
  label();
  graph.addEventListener('mouseleave', () => {
    told.textContent = hint;
  });
  reset.addEventListener('click', unzoom);

  search.addEventListener('input', () => {
    const pattern = patternOf(search.value);
    search.setAttribute('aria-invalid', String(pattern === null));
    const hits = frames.filter(({ element, name }) => {
      const hit = search.value !== '' && pattern !== null && pattern.test(name);
      element.classList.toggle('match', hit);
      return hit;
    });
    if (search.value === '') matched.textContent = '';
    else if (pattern === null) matched.textContent = 'no regular expression';
    else matched.textContent = `${percent(covered(hits), total)} in ${hits.length} frames`;
  });
}

/** Of a letter in a frame; all have the same. @param {HTMLElement} graph */
function letterWidth(graph) {
  const root = graph.querySelector('text');
  const length = root?.textContent?.length ?? 0;
  const width = root instanceof SVGTextElement && length > 0 ? root.getComputedTextLength() : 0;
  return width > 0 ? width / length : 7;
}

/** Cycles of frames, each counted once where one lies below another. @param {Frame[]} hits */
function covered(hits) {
  let sum = 0;
  let end = -1;
  for (const hit of [...hits].sort((a, b) => a.start - b.start || b.end - a.end)) {
    if (hit.start < end) continue;
    sum += hit.end - hit.start;
    end = hit.end;
  }
  return sum;
}

/** @param {string} text @returns {RegExp | null} */
function patternOf(text) {
  try {
    return new RegExp(text, 'i');
  } catch {
    return null;
  }
}

/** @param {number} part @param {number} whole */
const percent = (part, whole) => `${((100 * part) / Math.max(whole, 1)).toFixed(2)}%`;

for (const tools of all('[data-flame]')) flameGraph(tools);
