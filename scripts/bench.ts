// npm run bench: the same as `faultline bench`, from source.
import { benchCommand } from '../cli/bench.ts';
import { processIo } from '../cli/io.ts';

process.exitCode = await benchCommand({ json: process.argv.includes('--json') }, processIo());
