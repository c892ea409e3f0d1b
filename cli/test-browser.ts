// For tests: pages in headless Chromium, and pictures of them compared with kept ones.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { getuid } from 'node:process';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';

/** What tests ask of a page, within it. */
const SCRIPT = fileURLToPath(new URL('test-page.js', import.meta.url));

const NAMES = ['chromium', 'chromium-browser', 'google-chrome'];

/** A Chromium of the system's, or null. */
export const chromiumPath: string | null =
  (process.env.PATH ?? '')
    .split(':')
    .flatMap((folder) => NAMES.map((name) => join(folder, name)))
    .find((path) => existsSync(path)) ?? null;

export const launch = (): Promise<Browser> =>
  chromium.launch({
    executablePath: chromiumPath!,
    // As root Chromium has no sandbox; the same rendering with and without a GPU.
    args: [
      '--disable-gpu',
      '--font-render-hinting=none',
      ...(getuid?.() === 0 ? ['--no-sandbox'] : []),
    ],
  });

export interface Opened {
  readonly page: Page;
  /** Addresses asked for, and what the console said. */
  readonly requests: string[];
  readonly said: string[];
}

/** Calls a function of test-page.js. */
export const inPage = <T>(page: Page, name: string, ...args: readonly unknown[]): Promise<T> =>
  page.evaluate(
    ([fn, given]) =>
      (globalThis as unknown as { testing: Record<string, (...args: unknown[]) => T> }).testing[
        fn as string
      ](...(given as unknown[])),
    [name, args] as const,
  );

/** Opens a file without a network; null: an empty page. */
export async function open(
  browser: Browser,
  file: string | null,
  options: BrowserContextOptions = {},
): Promise<Opened> {
  const context = await browser.newContext({ offline: true, reducedMotion: 'reduce', ...options });
  const page = await context.newPage();
  const requests: string[] = [];
  const said: string[] = [];
  page.on('request', (request) => requests.push(request.url()));
  page.on('console', (message) => said.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => said.push(`error: ${error.message}`));
  if (options.javaScriptEnabled !== false) await page.addInitScript({ path: SCRIPT });
  await page.goto(file === null ? 'about:blank' : pathToFileURL(file).href);
  return { page, requests, said };
}

/** The font family that the system takes for a generic name; null where nothing tells. */
export function fontFor(name: string): string | null {
  try {
    return execFileSync('fc-match', ['-f', '%{family}', name], { encoding: 'utf8' });
  } catch {
    return null;
  }
}

/** How unlike two pictures may be: fonts and antialiasing differ a little from one Chromium to the next. */
const TOLERATED = {
  /** Share of the height. */
  height: 0.01,
  /** Of 255, by which a patch of 8 by 8 pixels may differ on average, and the share of patches that may differ more. */
  level: 24,
  patches: 0.01,
} as const;

/** What test-page.js finds of two pictures. */
interface Unlike {
  readonly width: boolean;
  readonly heights: readonly [number, number];
  readonly patches: number;
}

/**
 * Compares a picture with the kept one; with FAULTLINE_KEEP_PICTURES set it becomes the kept one. Kept pictures are half as
 * wide and high, in few colours.
 * @returns what differs, or null
 */
export async function comparePicture(
  page: Page,
  picture: Buffer,
  kept: string,
  keep = process.env.FAULTLINE_KEEP_PICTURES !== undefined,
): Promise<string | null> {
  const actual = `${kept}.actual`;
  const half = await inPage<string>(page, 'halve', picture.toString('base64'));
  const bytes = Buffer.from(half, 'base64');
  if (keep || !existsSync(kept)) {
    mkdirSync(dirname(kept), { recursive: true });
    writeFileSync(keep ? kept : actual, bytes);
    return keep ? null : `${kept} is not there`;
  }
  const pair = [half, readFileSync(kept).toString('base64')] as const;
  const { width, heights, patches } = await inPage<Unlike>(page, 'unlike', pair, TOLERATED.level);
  rmSync(actual, { force: true });
  const [height, keptHeight] = heights;
  const why = !width
    ? 'the widths differ'
    : Math.abs(height - keptHeight) > TOLERATED.height * keptHeight
      ? `is ${height} pixels high, the kept one ${keptHeight}`
      : patches > TOLERATED.patches
        ? `${(100 * patches).toFixed(1)} % of it differ`
        : null;
  if (why !== null) writeFileSync(actual, bytes);
  return why === null ? null : `${kept}: ${why}; see ${actual}`;
}
