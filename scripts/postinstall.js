// Runs after npm install: fetches the engine's library, so that the first run need not. It never fails an install;
// whatever goes wrong is said in one line, and the first run (or `npx faultline setup`) tries again.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const LIMIT_MS = 300_000;

function setUp() {
  const cli = fileURLToPath(new URL('../bin/faultline.js', import.meta.url));
  if (!existsSync(cli)) return 'bin/faultline.js is missing';
  const result = spawnSync(process.execPath, [cli, 'setup'], {
    encoding: 'utf8',
    timeout: LIMIT_MS,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  if (result.status === 0) return null;
  if (result.error) return result.error.message;
  return result.stderr?.trim().split('\n')[0] || `exit status ${result.status}`;
}

let trouble;
try {
  trouble = process.env.FAULTLINE_SKIP_SETUP ? null : setUp();
} catch (error) {
  trouble = error instanceof Error ? error.message : String(error);
}
if (trouble !== null) {
  console.log(`faultline: engine not set up yet (${trouble}); run 'npx faultline setup' later`);
}
process.exitCode = 0;
