// Bundles the command line into dist/, so that it starts in a fraction of the time that loading TypeScript takes.
// Packages with native or WebAssembly parts stay outside the bundle.
import { cpSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));

const REPORT_ASSETS = ['report-page.css', 'report-page.js'];

/** @param inject modules that tests have loaded before ours */
export async function buildDist(outdir = `${root}/dist`, inject = []) {
  rmSync(outdir, { recursive: true, force: true });
  await build({
    absWorkingDir: root,
    entryPoints: { main: 'cli/main.ts', worker: 'cli/worker.ts' },
    outdir,
    inject,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    external: ['koffi', 'capstone-wasm', 'keystone-wasm'],
    sourcemap: 'linked',
    // Half the text to read at every start; names stay, for stack traces.
    minifyWhitespace: true,
    minifySyntax: true,
    // commander is CommonJS and asks for Node's own modules with require().
    banner: {
      js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
    },
    logLevel: 'warning',
  });
  // What the HTML report is dressed in and moved by stands in it as it is.
  for (const name of REPORT_ASSETS) cpSync(`${root}/cli/${name}`, `${outdir}/${name}`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [outdir, ...inject] = process.argv.slice(2);
  await buildDist(outdir, inject);
}
