// Compresses standard input to standard output with Node's zlib: node gzip.js LEVEL [MEMLEVEL].
const [level, memLevel] = process.argv.slice(2).map(Number);
const input = require('fs').readFileSync(0);
process.stdout.write(require('zlib').gzipSync(input, { level, memLevel: memLevel || 8 }));
