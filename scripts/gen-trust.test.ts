// docs/trust.md is fresh, and every kernel function that the model's docstrings name is accounted for.
import { describe, expect, it } from 'vitest';
import { makeTrust, PAGE } from './gen-trust.ts';
import { instrument } from './trust/break.ts';
import { read, sourceFiles } from './trust/files.ts';
import { MENTIONED } from './trust/mentioned.ts';
import { sourceOf } from './trust/sources.ts';
import { readSource } from './trust/tags.ts';
import { testsOf, titleMatches } from './trust/tests.ts';

// testbed/ puts the model together; its docstrings name kernel functions for orientation.
const modelled = sourceFiles().filter((file) => !file.startsWith('testbed/'));
const facts = modelled.map((file) => readSource(file, read(file)));
const tagged = new Set(
  sourceFiles().flatMap((file) => readSource(file, read(file)).tags.map(({ name }) => name)),
);

describe(PAGE, () => {
  const { text, problems } = makeTrust();

  it('has a test for every function', () => {
    expect(problems).toEqual([]);
  });

  it('is fresh', () => {
    expect(read(PAGE)).toBe(text);
  });

  it('fills its template', () => {
    expect(text).not.toMatch(/<!-- \w+ -->/);
  });
});

describe('kernel functions in docstrings', () => {
  it('are tagged, or listed as mentioned only', () => {
    const unknown = facts.flatMap(({ docstrings }) =>
      docstrings.flatMap(({ file, line, names }) =>
        names
          .filter((name) => !tagged.has(name) && MENTIONED[name] === undefined)
          .map((name) => `${file}:${line}: ${name}()`),
      ),
    );
    expect(unknown).toEqual([]);
  });

  it('have their tag in the docstring that begins with them', () => {
    const untagged = facts.flatMap(({ docstrings }) =>
      docstrings
        .filter(({ callable, subject, tagged }) => callable && subject && tagged.length === 0)
        .filter(({ subject }) => MENTIONED[subject as string] === undefined)
        .map(({ file, line, subject }) => `${file}:${line}: ${subject}()`),
    );
    expect(untagged).toEqual([]);
  });

  it('are listed as mentioned only if they are named and not tagged', () => {
    const named = new Set(facts.flatMap(({ docstrings }) => docstrings.flatMap((d) => d.names)));
    const wrong = Object.keys(MENTIONED).filter((name) => !named.has(name) || tagged.has(name));
    expect(wrong).toEqual([]);
  });
});

describe('reading tags', () => {
  const tagsOf = (text: string) => readSource('a.ts', text).tags;

  it('takes several names and a remark', () => {
    const text =
      '/**\n * a_b(): c.\n * @kernel a_b, c_d mm/x.c derived - less\n *   than all\n */\nfunction f() {}';
    const common = { source: 'mm/x.c', standing: 'derived', remark: 'less than all', file: 'a.ts' };
    expect(tagsOf(text)).toEqual([
      { ...common, name: 'a_b', symbol: 'f' },
      { ...common, name: 'c_d', symbol: 'f' },
    ]);
  });

  it('names methods, constructors and constants', () => {
    const doc = '/** @kernel a_b mm/x.c read */';
    const text = `class C {\n${doc}\nm() {}\n${doc}\nconstructor() {}\n}\n${doc}\nexport const k = () => 1;`;
    expect(tagsOf(text).map(({ symbol }) => symbol)).toEqual(['C.m', 'C', 'k']);
  });

  it.each(['a_b read', 'a_b mm/x.c', 'a_b mm/x.c guessed', 'a_b mm/x.c read less'])(
    'refuses "%s"',
    (tag) => {
      expect(() => tagsOf(`/** @kernel ${tag} */\nfunction f() {}`)).toThrow('not of the form');
    },
  );

  it('finds names in prose, and what it begins with', () => {
    const text = '/** a_b(x): as c_d() does, not p?d_none() or plain(). */\nfunction f() {}';
    const [docstring] = readSource('a.ts', text).docstrings;
    expect(docstring).toMatchObject({
      names: ['a_b', 'c_d'],
      subject: 'a_b',
      tagged: [],
      callable: true,
    });
  });

  it('refuses a source of unknown version', () => {
    expect(() => sourceOf('mm/nowhere.c')).toThrow('mm/nowhere.c');
    expect(sourceOf('mm/kfence/core.c').path).toBe('mm/kfence/');
  });
});

describe('reading tests', () => {
  it('joins the titles of groups, tables included', () => {
    const text = `describe.each([1])('on %i', () => { it('works', () => {}); it.each([2])('x %s', () => {}); });`;
    expect(testsOf('a.test.ts', text).map(({ title }) => title)).toEqual([
      'on %i > works',
      'on %i > x %s',
    ]);
  });

  it.each([
    ['on $arch, $series > works', 'on x86_64, v2 > works', true],
    ['row %d', 'row 12', true],
    ['row %d', 'rows', false],
    ['a (b) costs 5$', 'a (b) costs 5$', true],
    ['works', 'works too', false],
  ])('matches "%s" with "%s": %s', (written, ran, expected) => {
    expect(titleMatches(written, ran)).toBe(expected);
  });
});

describe('leaving functions out', () => {
  it('asks at the start of each tagged function', () => {
    const doc = '/** @kernel a_b mm/x.c read */';
    const text = `${doc}\nfunction f() { return 1; }\n${doc}\nconst g = () => 2;\n${doc}\nconst table = [3];`;
    const made = instrument('a.ts', text);
    expect(made.ids).toEqual(['a.ts#f', 'a.ts#g']);
    expect(made.text).toContain('{ if (globalThis.__leaveOutKernelFunction?.("a.ts#f")) return');
    expect(made.text).toContain(
      '() => globalThis.__leaveOutKernelFunction?.("a.ts#g") ? undefined as never : (2)',
    );
  });
});
