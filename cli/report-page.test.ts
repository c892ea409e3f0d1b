// The HTML report as a person has it before him, in headless Chromium.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  chromiumPath,
  comparePicture,
  fontFor,
  inPage,
  launch,
  type Opened,
  open,
} from './test-browser.ts';
import { faultline, golden } from './test-cli.ts';

const EVIL = '</script></style></title>"><img src=x onerror=alert(1)>';
const SCENARIOS: Readonly<Record<string, string>> = {
  evil: `
name: ${JSON.stringify(EVIL)}
steps:
  - call: {code: {x86_64: "mov [rdi], rsi\\nret", arm64: "str x1, [x0]\\nret"}, args: [{arena: 0}, 1]}
    expect: {stderr: ${JSON.stringify(EVIL)}}
  - stream: {print: ${JSON.stringify(EVIL)}, count: 1}
`,
  many: `
name: sixteen thousand faults
arena: {alloc: [[0, 1], [100, 30], [500000, 5]]}
code:
  x86_64: "mov ecx, 16384\\n1: mov [rdi], rcx\\nadd rdi, 4096\\ndec ecx\\njnz 1b\\nret"
  arm64: "mov x2, #16384\\n1: str x2, [x0]\\nadd x0, x0, #4096\\nsubs x2, x2, #1\\nb.ne 1b\\nret"
args: [{arena: 0x100000}]
`,
};
const COMMANDS: Readonly<Record<string, readonly string[]>> = {
  first: ['fixtures/first-fault.yaml'],
  'first-x86_64': ['fixtures/first-fault.yaml', '--arch', 'x86_64'],
  'oops-arm64': ['fixtures/t09-no-program.yaml', '--arch', 'arm64'],
  'race-arm64': ['fixtures/races/fault-alloc.yaml', '--arch', 'arm64'],
  steps: ['fixtures/t36-deferred-free.yaml'],
  differs: ['fixtures/golden/suite/differs.yaml'],
  uncosted: ['fixtures/first-fault.yaml', '--cost', 'off'],
  evil: ['evil.yaml'],
  many: ['many.yaml', '--arch', 'x86_64'],
};
const NAMES = Object.keys(COMMANDS);

const folder = mkdtempSync(join(tmpdir(), 'faultline-page-'));
const fileOf = (name: string): string => join(folder, `${name}.html`);

describe.skipIf(chromiumPath === null)(
  'the page in Chromium (left out where none is installed)',
  () => {
    let browser: Browser;
    let opened: Opened | null = null;

    beforeAll(async () => {
      const files = Object.fromEntries(
        Object.entries(SCENARIOS).map(([name, text]) => [`${name}.yaml`, text]),
      );
      for (const [name, argv] of Object.entries(COMMANDS)) {
        const { exitCode } = await faultline(['run', ...argv, '--report', fileOf(name)], { files });
        expect(exitCode, name).toBeLessThan(2);
      }
      browser = await launch();
    }, 120_000);
    afterAll(async () => {
      await browser?.close();
      rmSync(folder, { recursive: true });
    });

    async function show(name: string, options: Parameters<typeof open>[2] = {}): Promise<Opened> {
      await opened?.page.context().close();
      opened = await open(browser, fileOf(name), options);
      return opened;
    }

    const desk = { viewport: { width: 1280, height: 900 } };
    const hand = { viewport: { width: 400, height: 800 } };

    it.each(NAMES)(
      '%s: asks for nothing but itself, says nothing, and fits 400 pixels without text over text',
      async (name) => {
        const { page, requests, said } = await show(name, hand);
        expect(await page.locator('article').count()).toBeGreaterThan(0);
        expect(await page.locator('img, iframe, link').count()).toBe(0);
        for (const { viewport } of [hand, desk]) {
          await page.setViewportSize(viewport);
          expect(await inPage(page, 'overflowing')).toEqual([]);
          expect(await inPage(page, 'overlapping')).toEqual([]);
        }
        expect(requests).toHaveLength(1);
        expect(said).toEqual([]);
      },
    );

    it('runs no script but its own', async () => {
      const { page, said } = await show('evil', desk);
      expect(await page.title()).toContain(EVIL);
      expect(await inPage(page, 'intrude')).toBe(false);
      expect(said.join()).toContain('Content Security Policy');
    });

    describe('can be read', () => {
      it.each(['first', 'oops-arm64', 'steps', 'differs'])('%s: with contrast', async (name) => {
        const { page } = await show(name, desk);
        for (const colorScheme of ['light', 'dark'] as const) {
          await page.emulateMedia({ colorScheme });
          expect(await inPage(page, 'poorContrasts'), colorScheme).toEqual([]);
        }
      });

      it('without its script', async () => {
        const { page } = await show('first', { ...desk, javaScriptEnabled: false });
        expect(await page.locator('#r0-f1 .path').isVisible()).toBe(true);
        expect(await page.locator('#r0-graph text').first().textContent()).toBe('x86_64');
      });

      it('has headings in order, one of each section, and a name for every region', async () => {
        const { page } = await show('race-arm64', desk);
        const levels = await page
          .locator('h1, h2, h3, h4')
          .evaluateAll((found) =>
            found.map((one) => Number((one as { tagName: string }).tagName[1])),
          );
        expect(levels[0]).toBe(1);
        levels.slice(1).forEach((level, i) => {
          expect(level).toBeLessThanOrEqual(levels[i] + 1);
        });
        const unnamed = page.locator('section:not([aria-label], [aria-labelledby])');
        expect(await unnamed.count()).toBe(0);
        expect(await page.locator('main').count()).toBe(1);
      });
    });

    describe('by keyboard', () => {
      it.each(['first', 'race-arm64', 'steps'])(
        '%s: Tab reaches everything, in order, and shows where it is',
        async (name) => {
          const { page } = await show(name, desk);
          const all = await inPage<string[]>(page, 'focusable');
          expect(all.length).toBeGreaterThan(20);
          for (const place of all) {
            await page.keyboard.press('Tab');
            const at = await inPage<{ place: string; shown: boolean; name: string }>(
              page,
              'focused',
            );
            expect(at.place).toBe(place);
            expect(at, place).toMatchObject({ shown: true, name: expect.stringMatching(/\S/) });
          }
        },
      );

      it('a flame graph zooms, moves and comes back', async () => {
        const { page } = await show('first', desk);
        const told = page.locator('#r0-told');
        const width = (name: string) =>
          page.locator(`#r0-graph .frame[data-name="${name}"]`).getAttribute('width');
        await page.locator('#r0-graph .frame').first().focus();
        await page.keyboard.press('ArrowDown');
        expect(await told.textContent()).toContain('[events]');
        await page.keyboard.press('ArrowDown');
        await page.keyboard.press('ArrowRight');
        expect(await told.textContent()).toContain('page-table walk');
        const before = await width('page-table walk');
        await page.keyboard.press('Enter');
        expect(await width('page-table walk')).toBe('100%');
        expect(await page.locator('#r0-graph .frame[data-name="page fault"]').isVisible()).toBe(
          false,
        );
        await page.keyboard.press('Escape');
        expect(Number.parseFloat((await width('page-table walk'))!)).toBeCloseTo(
          Number.parseFloat(before!),
          2,
        );
        expect(await page.locator('[data-flame=r0] .reset').isDisabled()).toBe(true);
      });
    });

    describe('by mouse', () => {
      it('a flame graph zooms at a click and finds names', async () => {
        const { page } = await show('first', desk);
        await page.locator('#r0-graph .frame[data-name="pathSearch"]').click();
        expect(
          await page.locator('#r0-graph .frame[data-name="pathSearch"]').getAttribute('width'),
        ).toBe('100%');
        await page.locator('[data-flame=r0] .reset').click();
        const search = page.locator('[data-flame=r0] input');
        const matched = page.locator('[data-flame=r0] output');
        await search.fill('^recover');
        expect(await page.locator('#r0-graph .match').count()).toBe(4);
        expect(await matched.textContent()).toMatch(/^53\.\d\d% in 4 frames$/);
        // A part of the whole counts once where a frame and its parent both match.
        await search.fill('.');
        expect(await matched.textContent()).toMatch(/^100\.00% in \d+ frames$/);
        await search.fill('(');
        expect(await matched.textContent()).toBe('no regular expression');
        expect(await search.getAttribute('aria-invalid')).toBe('true');
      });

      it('faults are filtered, opened and closed, and a mark of the timeline leads to its fault', async () => {
        const { page } = await show('many', desk);
        await page.locator('[data-faults=r0] input').fill('0xffffc90001f69000 write');
        expect(await page.locator('[data-faults=r0] output').textContent()).toBe('1 of 256');
        await page.locator('[data-faults=r0] input').fill('');
        await page.locator('[data-faults=r0] .open-all').click();
        expect(await page.locator('#r0-list details[open]').count()).toBe(24);
        await page.locator('[data-faults=r0] .close-all').click();
        expect(await page.locator('#r0-list details[open]').count()).toBe(0);
        const { page: first } = await show('first', desk);
        await first.locator('#r0-f1 summary').click();
        expect(await first.locator('#r0-f1[open]').count()).toBe(0);
        await first.locator('#r0-timeline .mark').click();
        expect(await first.locator('#r0-f1[open]').count()).toBe(1);
      });
    });

    // Other fonts break lines elsewhere.
    const usual =
      fontFor('sans-serif') === 'DejaVu Sans' && fontFor('monospace') === 'DejaVu Sans Mono';
    describe.skipIf(!usual)('looks as it did (left out where the fonts are not DejaVu)', () => {
      let desktop: Page;
      beforeAll(async () => {
        desktop = (await open(browser, null)).page;
      });
      const looks = [
        ['first-x86_64', 1280, 'light'],
        ['first-x86_64', 1280, 'dark'],
        ['first-x86_64', 400, 'light'],
        ['first-x86_64', 400, 'dark'],
        ['oops-arm64', 1280, 'dark'],
        ['oops-arm64', 400, 'light'],
        ['race-arm64', 1280, 'light'],
        ['race-arm64', 400, 'dark'],
      ] as const;
      it.each(looks)('%s, %i wide, %s', async (name, width, colorScheme) => {
        const { page } = await show(name, { viewport: { width, height: 900 }, colorScheme });
        const picture = await page.screenshot({ fullPage: true });
        const kept = golden(`report/${name}-${width}-${colorScheme}.png`);
        expect(await comparePicture(desktop, picture, kept)).toBeNull();
      });

      it('differs from itself in other colours, or with a section gone', async () => {
        const { page } = await show('first-x86_64', hand);
        const kept = golden('report/first-x86_64-400-light.png');
        const look = async () =>
          comparePicture(desktop, await page.screenshot({ fullPage: true }), kept, false);
        await inPage(page, 'style', '.frame rect', 'fill', 'red');
        expect(await look()).toMatch(/differ/);
        await inPage(page, 'style', '#r0-walks', 'display', 'none');
        expect(await look()).toMatch(/high/);
        rmSync(`${kept}.actual`);
      });
    });
  },
);
