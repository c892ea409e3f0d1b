#!/usr/bin/env node
// Starts the bundled command line; in a source checkout it builds the bundle first if that is missing or older than a
// source file, so that install scripts may be skipped and no edit runs stale.
import { existsSync, readdirSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';

const root = fileURLToPath(new URL('..', import.meta.url));
const bundle = `${root}dist/main.js`;

function newestSource(folder) {
  let newest = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory()) newest = Math.max(newest, newestSource(path));
    else if (/(?<!\.test)\.(ts|js|css)$/.test(entry.name)) {
      newest = Math.max(newest, statSync(path).mtimeMs);
    }
  }
  return newest;
}

function stale() {
  if (!existsSync(bundle)) return true;
  if (!existsSync(`${root}cli/main.ts`)) return false;
  const built = statSync(bundle).mtimeMs;
  return ['emulator', 'mm', 'arch', 'bpf', 'testbed', 'cli'].some(
    (floor) => newestSource(root + floor) > built,
  );
}

if (stale()) {
  try {
    await (await import('../scripts/build.js')).buildDist();
  } catch (error) {
    process.stderr.write(
      `faultline: cannot build dist/: ${error.message}\nRun 'npm ci' (with development dependencies) in ${root}\n`,
    );
    process.exit(2);
  }
}

// The assembler and disassembler are WebAssembly that runs for milliseconds: optimising their hot functions, which V8
// would begin a hundred times earlier, costs more than it saves.
setFlagsFromString('--wasm-tiering-budget=180000000');

const { main, processIo } = await import('../dist/main.js');
process.exitCode = await main(process.argv.slice(2), processIo());
