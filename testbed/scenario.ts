// Scenario files: from text to worlds that can be run, or to a list of everything that is wrong with them. Reads no
// file itself: whoever knows the folder hands in a function.
import * as z from 'zod/mini';
import { formatPath, type Problem, ScenarioError } from './scenario-error.ts';
import { type Complaint, complaintsOf } from './scenario-issues.ts';
import { archsOf, loadWorld } from './scenario-load.ts';
import { Loader, type ReadFile } from './scenario-loader.ts';
import type { ArchName, Scenario, World } from './scenario-model.ts';
import { scenarioSchema } from './scenario-schema.ts';
import { readSource, type Source } from './scenario-source.ts';
import { annotationOf } from './scenario-values.ts';

export type * from './expect-model.ts';
export { ScenarioError } from './scenario-error.ts';
export type { ReadFile } from './scenario-loader.ts';
export * from './scenario-model.ts';
export * from './step-model.ts';

/**
 * Reads a scenario file.
 * @param fileName for messages and reports; relative paths in the file are the reader's to resolve
 * @param readFile contents of a file named in the scenario; what it throws becomes an error with the place in the file
 * @throws ScenarioError listing everything that is wrong
 */
export function parseScenario(text: string, fileName: string, readFile: ReadFile): Scenario {
  const source = readSource(text, fileName);
  if (typeof source.value !== 'object' || source.value === null || Array.isArray(source.value)) {
    const message = source.value === null ? 'the file says nothing' : 'a scenario is a mapping';
    const remedy = 'write keys such as `name:`, `arena:` and `code:` at the left margin';
    fail(source, [{ path: [], part: 'value', message, remedy }]);
  }
  const result = scenarioSchema().safeParse(source.value);
  if (!result.success) fail(source, complaintsOf(result.error.issues, source.value));
  const raw = result.data;
  const files = cached(readFile);
  const archs = [...new Set(archsOf(raw, files))];
  if (archs.length === 0) {
    const remedy = 'give x86_64, arm64 or both';
    fail(source, [{ path: ['arch'], part: 'value', message: 'no architecture to run on', remedy }]);
  }
  const name = raw.name ?? fileName;
  const worlds: Partial<Record<ArchName, World>> = {};
  const complaints: Complaint[] = [];
  for (const arch of archs) {
    const loader = new Loader(arch, files, (path) => source.placeOf(path, 'value').line);
    worlds[arch] = loadWorld(raw, name, loader);
    complaints.push(...loader.complaints);
  }
  if (complaints.length > 0) fail(source, complaints);
  return { file: fileName, name, archs, series: raw.series ?? 'mainline', worlds };
}

function fail(source: Source, complaints: readonly Complaint[]): never {
  const problems = complaints.map(
    ({ path, part, message, remedy }): Problem => ({
      ...source.placeOf(path, part),
      path: formatPath(path),
      message,
      remedy,
    }),
  );
  throw new ScenarioError(source.file, problems);
}

/** Both architectures name the same files. */
function cached(readFile: ReadFile): ReadFile {
  const seen = new Map<string, Uint8Array>();
  return (path) => {
    const bytes = seen.get(path) ?? readFile(path);
    seen.set(path, bytes);
    return bytes;
  };
}

/** The scenario format as JSON Schema (draft 2020-12), for editors. */
export function jsonSchema(): Record<string, unknown> {
  const schema = z.toJSONSchema(scenarioSchema(), {
    io: 'input',
    reused: 'ref',
    override: ({ zodSchema, jsonSchema }) => {
      const annotation = annotationOf(zodSchema);
      if (annotation?.json) {
        for (const key of Object.keys(jsonSchema)) delete jsonSchema[key];
        Object.assign(jsonSchema, annotation.json);
      }
      if (annotation?.description) jsonSchema.description = annotation.description;
    },
  });
  return { ...schema, title: 'Faultline scenario' };
}
