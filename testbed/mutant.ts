// Mutants: small files that put something else in the place of named steps of the kernel model, to see whether the
// explorer notices.
import { NAMED_STEPS } from '../bpf/named-steps.ts';
import { type Path, type Problem, ScenarioError } from './scenario-error.ts';
import { readSource } from './scenario-source.ts';

export interface Mutant {
  readonly file: string;
  readonly name: string;
  readonly replacements: ReadonlyMap<string, string>;
}

/**
 * Reads a mutant: `name`, and under `replace` named steps with what stands in their place.
 * @throws ScenarioError for what is wrong in it
 */
export function parseMutant(text: string, file: string): Mutant {
  const source = readSource(text, file);
  const problems: Problem[] = [];
  const complain = (path: Path, message: string, remedy: string) =>
    void problems.push({ ...source.placeOf(path, 'key'), path: path.join('.'), message, remedy });
  const { name = file, replace, ...others } = fields(source.value);
  for (const key of Object.keys(others)) {
    complain([key], 'a mutant has no such key', 'its keys are `name` and `replace`');
  }
  if (typeof name !== 'string') complain(['name'], 'the name is no text', 'put it into quotes');
  const steps = fields(replace);
  if (Object.keys(steps).length === 0) {
    complain(['replace'], 'the mutant replaces nothing', 'write `replace: {function/step: what}`');
  }
  for (const [step, what] of Object.entries(steps)) {
    const known = NAMED_STEPS[step]?.instead;
    if (known === undefined) {
      const remedy = `there are ${Object.keys(NAMED_STEPS).join(', ')}`;
      complain(['replace', step], 'the kernel model has no such step', remedy);
    } else if (typeof what !== 'string' || known[what] === undefined) {
      complain(
        ['replace', step],
        'nothing of this name can replace it',
        `give ${Object.keys(known).join(' or ')}`,
      );
    }
  }
  if (problems.length > 0) throw new ScenarioError(file, problems);
  const replacements = new Map(Object.entries(steps) as [string, string][]);
  return { file, name: name as string, replacements };
}

const fields = (value: unknown): Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : {};
