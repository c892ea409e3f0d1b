// Makes docs/trust.md: npx tsx scripts/gen-trust.ts
// from the `@kernel` tags of the source (trust/tags.ts), the versions of the kernel's files (trust/sources.ts), the tests
// that measure-trust.ts found to hold each function (trust/held-by.json), and trust/template.md. It fails for a tagged
// function without a test. `npx tsx scripts/gen-trust.ts --check` writes nothing and exits with 1 if the page is stale.
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { idOf } from './trust/break.ts';
import { ROOT, read, sourceFiles, testFiles } from './trust/files.ts';
import { MENTIONED } from './trust/mentioned.ts';
import { sourceOf } from './trust/sources.ts';
import { type KernelTag, readSource } from './trust/tags.ts';
import { testsOf, type WrittenTest } from './trust/tests.ts';

export const PAGE = 'docs/trust.md';
const HEAD =
  '<!-- Made by: npx tsx scripts/gen-trust.ts. Do not edit by hand; the prose is scripts/trust/template.md. -->';

/** Sections of the function tables, and which files belong to each; the first that fits. */
const SECTIONS: readonly (readonly [title: string, prefix: string])[] = [
  ['The arena and its surroundings (`bpf/`)', 'bpf/'],
  ['The fault path of x86-64 (`arch/x86/`)', 'arch/x86/'],
  ['The fault path of AArch64 (`arch/arm64/`)', 'arch/arm64/'],
  ['Common to both (`arch/`)', 'arch/'],
  ['Memory management (`mm/`)', 'mm/'],
  ['The machine put together (`testbed/`)', 'testbed/'],
];

const testName = ({ file, title }: WrittenTest): string => `${file}: ${title}`;

/**
 * The tests that hold a function: those measured, if they still exist; for what cannot be left out, tests that mention it.
 */
function holders(
  tag: KernelTag,
  tests: readonly WrittenTest[],
  heldBy: Readonly<Record<string, readonly string[]>>,
): readonly string[] {
  const measured = heldBy[idOf(tag.file, tag.symbol)];
  if (measured !== undefined) {
    const names = new Set(tests.map(testName));
    return measured.filter((name) => names.has(name));
  }
  const member = tag.symbol.split('.').at(-1);
  const mentions = new RegExp(`\\b${member}\\b`);
  const floor = tag.file.split('/')[0];
  return tests
    .filter(({ file, body }) => file.startsWith(`${floor}/`) && mentions.test(body))
    .map(testName)
    .slice(0, 2);
}

/** Text without what Markdown would take for markup. */
const plain = (text: string): string => text.replace(/[|<>*_[\]]/g, (c) => `\\${c}`);

/** Text as code in a table cell. */
const code = (text: string): string => `\`${text.replaceAll('`', "'").replaceAll('|', '\\|')}\``;

function row(tag: KernelTag, held: readonly string[]): string {
  const tests = held.map((name) => {
    const [file, ...title] = name.split(': ');
    return `${file}: ${code(title.join(': '))}`;
  });
  const remark = tag.remark ? `${tag.standing}; ${plain(tag.remark)}` : tag.standing;
  const ours = `${code(tag.symbol)} in ${tag.file}`;
  return `| ${code(tag.name)} | ${ours} | ${tag.source} | ${remark} | ${tests.join('<br>')} |`;
}

function functionTables(tags: readonly KernelTag[], rows: ReadonlyMap<KernelTag, string>): string {
  const sectionOf = (tag: KernelTag) => SECTIONS.find(([, prefix]) => tag.file.startsWith(prefix));
  return SECTIONS.map((section) => {
    const own = tags.filter((tag) => sectionOf(tag) === section);
    const head = '| Kernel | Ours | Source | Standing | Held by |\n|---|---|---|---|---|';
    return `## ${section[0]}\n\n${head}\n${own.map((tag) => rows.get(tag)).join('\n')}`;
  }).join('\n\n');
}

function sourceTable(tags: readonly KernelTag[]): string {
  const versions = new Map<string, string>();
  for (const { source } of tags) versions.set(source, sourceOf(source).version);
  const byVersion = new Map<string, string[]>();
  for (const [path, version] of [...versions].sort()) {
    byVersion.set(version, [...(byVersion.get(version) ?? []), path]);
  }
  const rows = [...byVersion].map(([version, paths]) => `| ${version} | ${paths.join('<br>')} |`);
  const count = (standing: string) => tags.filter((tag) => tag.standing === standing).length;
  return `## Versions

${tags.length} entries: ${count('read')} read, ${count('derived')} derived, ${count('unverified')} unverified.

| Version | Files |
|---|---|
${rows.join('\n')}`;
}

/** Fixtures that keep something the kernel does wrong: all of `regressions`, and those that say so at their head. */
function findings(): string {
  const names = readdirSync(join(ROOT, 'fixtures'), { recursive: true, encoding: 'utf8' });
  return names
    .filter((name) => /^(regressions\/)?[\w-]+\.yaml$/.test(name))
    .sort()
    .map((name) => ({ file: `fixtures/${name}`, text: read(`fixtures/${name}`) }))
    .filter(({ file, text }) => file.includes('/regressions/') || /^# A finding\b/.test(text))
    .map(({ file, text }) => {
      const comment = /^(?:#.*\n)+/
        .exec(text)?.[0]
        .replace(/^# ?/gm, '')
        .replace(/\s+/g, ' ')
        .trim();
      const title = /^name: (.*)$/m.exec(text)?.[1] ?? '';
      return `- **${plain(title)}** (\`${file}\`). ${plain(comment ?? '')}`;
    })
    .join('\n');
}

/** @returns the page, and what is wrong with what it is made from */
export function makeTrust(): { readonly text: string; readonly problems: readonly string[] } {
  const tags = sourceFiles().flatMap((file) => readSource(file, read(file)).tags);
  const tests = testFiles().flatMap((file) => testsOf(file, read(file)));
  const heldBy = JSON.parse(read('scripts/trust/held-by.json'));
  const problems: string[] = [];
  const rows = new Map<KernelTag, string>();
  for (const tag of tags) {
    const held = holders(tag, tests, heldBy);
    if (held.length === 0) {
      problems.push(`${idOf(tag.file, tag.symbol)} (${tag.name}): no test holds it that exists`);
    }
    rows.set(tag, row(tag, held));
  }
  const mentioned = Object.entries(MENTIONED).map(([name, why]) => `- \`${name}()\`: ${why}`);
  const filled = read('scripts/trust/template.md')
    .replace('<!-- sources -->', () => sourceTable(tags))
    .replace('<!-- functions -->', () => functionTables(tags, rows))
    .replace('<!-- mentioned -->', () => mentioned.join('\n'))
    .replace('<!-- findings -->', findings);
  return { text: `${HEAD}\n\n${filled}`, problems };
}

function main(check: boolean): number {
  const { text, problems } = makeTrust();
  for (const problem of problems) console.error(`gen-trust: ${problem}`);
  if (problems.length > 0) {
    console.error(
      'gen-trust: npx tsx scripts/measure-trust.ts [WORD] finds the tests that hold a function',
    );
    return 1;
  }
  if (!check) writeFileSync(join(ROOT, PAGE), text);
  else if (read(PAGE) !== text) {
    console.error(`gen-trust: ${PAGE} is stale: npx tsx scripts/gen-trust.ts`);
    return 1;
  }
  return 0;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  process.exitCode = main(process.argv.includes('--check'));
}
