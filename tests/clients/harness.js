// Shared code of the JavaScript client tests; the lines printed are those of harness.py.
'use strict';
const assert = require('assert');

const HOST = process.env.MEMC_HOST;
const PORT = Number(process.env.MEMC_PORT);
const LARGE = '0123456789abcdef'.repeat((1024 * 1024 - 512) / 16);
const TOO_LARGE = 'x'.repeat(1024 * 1024);

// Waits for a condition that depends on time, such as expiry.
async function eventually(condition) {
  const deadline = Date.now() + 6000;
  while (!(await condition())) {
    assert(Date.now() < deadline, 'still not so after 6 seconds');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

// The port of with-server's server of that kind, 0 if this run has none: then the
// features that need it are not planned.
const portOf = (kind) => Number(process.env[`MEMC_${kind.toUpperCase()}_PORT`] || 0);

// Tries each feature in order, calls `end` and exits.
async function runFeatures(client, features, end) {
  console.log('plan', client, ...Object.keys(features));
  let failed = 0;
  for (const [name, test] of Object.entries(features)) {
    try {
      await test();
      console.log('ok', client, name);
    } catch (error) {
      failed += 1;
      const line = (/_client\.js:(\d+)/.exec(error.stack || '') || [])[1];
      const reason = String(error.message || error).replace(/\s+/g, ' ').slice(0, 200);
      console.log('not ok', client, `${name}: line ${line}: ${reason}`);
    }
  }
  await end();
  process.exit(failed ? 1 : 0);
}

module.exports = { HOST, PORT, LARGE, TOO_LARGE, same: assert.deepStrictEqual, eventually, portOf, runFeatures };
