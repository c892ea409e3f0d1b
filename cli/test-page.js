// @ts-check
// What tests ask of a page, within the page: cli/test-browser.ts has it loaded before the page's own script.

const PATCH = 8;

/** @param {string} png base64 */
async function decoded(png) {
  const blob = await (await fetch(`data:image/png;base64,${png}`)).blob();
  return createImageBitmap(blob);
}

/** @param {number} width @param {number} height */
function canvasOf(width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const drawing = canvas.getContext('2d');
  if (drawing === null) throw new Error('no canvas');
  return { canvas, drawing };
}

/** A picture half as wide and high, in few colours. @param {string} png base64 */
async function halve(png) {
  const image = await decoded(png);
  const { canvas, drawing } = canvasOf(Math.ceil(image.width / 2), Math.ceil(image.height / 2));
  drawing.imageSmoothingQuality = 'high';
  drawing.drawImage(image, 0, 0, canvas.width, canvas.height);
  const pixels = drawing.getImageData(0, 0, canvas.width, canvas.height);
  for (const [i, level] of pixels.data.entries()) pixels.data[i] = Math.round(level / 51) * 51;
  drawing.putImageData(pixels, 0, 0);
  const blob = await canvas.convertToBlob({ type: 'image/png' });
  let text = '';
  for (const byte of new Uint8Array(await blob.arrayBuffer())) text += String.fromCharCode(byte);
  return btoa(text);
}

/**
 * How two pictures differ: their sizes, and the share of patches whose mean differs by more than `level` of 255.
 * @param {readonly [string, string]} pair base64 @param {number} level
 */
async function unlike(pair, level) {
  const [one, other] = await Promise.all(
    pair.map(async (png) => {
      const image = await decoded(png);
      const { drawing } = canvasOf(image.width, image.height);
      drawing.drawImage(image, 0, 0);
      return drawing.getImageData(0, 0, image.width, image.height);
    }),
  );
  let all = 0;
  let differ = 0;
  for (let y = 0; y + PATCH <= Math.min(one.height, other.height); y += PATCH) {
    for (let x = 0; x + PATCH <= Math.min(one.width, other.width); x += PATCH) {
      const [a, b] = [meanOf(one, x, y), meanOf(other, x, y)];
      all++;
      if (a.some((value, channel) => Math.abs(value - b[channel]) > level)) differ++;
    }
  }
  return {
    width: one.width === other.width,
    heights: [one.height, other.height],
    patches: differ / Math.max(1, all),
  };
}

/** @param {ImageData} image @param {number} x @param {number} y */
function meanOf({ data, width }, x, y) {
  const sums = [0, 0, 0];
  for (let dy = 0; dy < PATCH; dy++) {
    for (let dx = 0; dx < PATCH; dx++) {
      for (let channel = 0; channel < 3; channel++) {
        sums[channel] += data[((y + dy) * width + x + dx) * 4 + channel];
      }
    }
  }
  return sums.map((sum) => sum / PATCH ** 2);
}

/** Colour as red, green, blue and opacity. @param {string} text as a computed style has it */
const colourOf = (text) => {
  const [red, green, blue, opacity = 1] = (text.match(/[\d.]+/g) ?? []).map(Number);
  return { rgb: [red, green, blue], opacity };
};

/** WCAG 2: relative luminance. @param {readonly number[]} rgb */
function luminance(rgb) {
  const [red, green, blue] = rgb.map((value) => {
    const part = value / 255;
    return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

/** The colour that lies behind an element's text. @param {Element} element @returns {readonly number[]} */
function backgroundOf(element) {
  const frame = element.closest('.frame');
  if (frame !== null) {
    const rect = /** @type {Element} */ (frame.querySelector('rect'));
    return colourOf(getComputedStyle(rect).fill).rgb;
  }
  for (let at = /** @type {Element | null} */ (element); at !== null; at = at.parentElement) {
    const { rgb, opacity } = colourOf(getComputedStyle(at).backgroundColor);
    if (opacity > 0) return rgb;
  }
  return [255, 255, 255];
}

/** Texts with too little contrast to what is behind them (WCAG 2 AA, 4.5 to 1). */
function poorContrasts() {
  const poor = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node !== null; node = walker.nextNode()) {
    const element = node.parentElement;
    if (element === null || node.textContent?.trim() === '') continue;
    if (element.closest('script, style, title') || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const text = luminance(colourOf(element instanceof SVGElement ? style.fill : style.color).rgb);
    const behind = luminance(backgroundOf(element));
    const ratio = (Math.max(text, behind) + 0.05) / (Math.min(text, behind) + 0.05);
    if (ratio < 4.5) {
      poor.add(`${element.tagName} ${element.getAttribute('class') ?? ''}: ${ratio.toFixed(2)}`);
    }
  }
  return [...poor];
}

/** What lies beyond the right edge, outside regions that scroll. */
function overflowing() {
  const width = document.documentElement.clientWidth;
  const beyond = [...document.querySelectorAll('body *')].filter(
    (element) =>
      element.getBoundingClientRect().right > width + 1 && !element.closest('.scroll, pre, .skip'),
  );
  const told = beyond.map(({ tagName, textContent }) => `${tagName} ${textContent?.slice(0, 40)}`);
  if (document.documentElement.scrollWidth > width) told.push('the page scrolls sideways');
  return told;
}

/** Rows whose cells lie over each other, and text that its line cuts off. */
function overlapping() {
  const found = [];
  for (const row of document.querySelectorAll('.row, .maprow, .facts dl > div')) {
    const cells = [...row.children].map((cell) => cell.getBoundingClientRect());
    cells.forEach((one, i) => {
      for (const other of cells.slice(i + 1)) {
        const x = Math.min(one.right, other.right) - Math.max(one.left, other.left);
        const y = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top);
        if (x > 1 && y > 1) found.push(row.textContent?.slice(0, 60));
      }
    });
    for (const cell of row.querySelectorAll('span, dd')) {
      if (cell.scrollWidth > cell.clientWidth + 1 && cell.clientWidth > 0) {
        found.push(`cut: ${cell.textContent?.slice(0, 40)}`);
      }
    }
  }
  return found;
}

const FOCUSABLE = 'a[href], button:not(:disabled), input, summary, [tabindex]';

/** Everything that Tab must reach, named by its place. */
function focusable() {
  return [...document.querySelectorAll(FOCUSABLE)]
    .filter((element) => /** @type {HTMLElement | SVGElement} */ (element).tabIndex >= 0)
    .filter((element) => element.checkVisibility())
    .map(placeOf);
}

/** The element that has the focus, and whether anything shows it. */
function focused() {
  const element = document.activeElement;
  if (element === null || element === document.body) return null;
  const style = getComputedStyle(element);
  const rect = element.matches('.frame') ? element.querySelector('rect') : null;
  const shown =
    rect === null
      ? style.outlineStyle !== 'none' && Number.parseFloat(style.outlineWidth) >= 2
      : Number.parseFloat(getComputedStyle(rect).strokeWidth) >= 2;
  return { place: placeOf(element), shown, name: nameOf(element) };
}

/** @param {Element} element */
function nameOf(element) {
  const label = element.getAttribute('aria-label') ?? element.closest('label')?.textContent;
  return (label ?? element.textContent ?? '').trim();
}

/** @param {Element} element @returns {string} */
function placeOf(element) {
  const all = [...document.querySelectorAll(FOCUSABLE)];
  return `${all.indexOf(element)} ${element.tagName.toLowerCase()}`;
}

/** @param {string} selector @param {string} property @param {string} value */
function style(selector, property, value) {
  for (const element of document.querySelectorAll(selector)) {
    /** @type {HTMLElement} */ (element).style.setProperty(property, value);
  }
}

/** A script that did not come with the page. */
function intrude() {
  const script = document.createElement('script');
  script.textContent = 'globalThis.ran = true';
  document.body.append(script);
  return 'ran' in globalThis;
}

Object.assign(globalThis, {
  testing: {
    style,
    intrude,
    halve,
    unlike,
    poorContrasts,
    overflowing,
    overlapping,
    focusable,
    focused,
  },
});
