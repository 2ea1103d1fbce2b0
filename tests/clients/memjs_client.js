// npm's memjs, which speaks packets only, against a running server. Run by scripts/clients through with-server.
// The lines printed are those of harness.py; the module is found in NODE_PATH.
'use strict';
const assert = require('assert');
const { Client } = require('memjs');

const server = `${process.env.MEMC_HOST}:${process.env.MEMC_PORT}`;
const c = Client.create(server, { timeout: 20, retries: 0 });
const LARGE = '0123456789abcdef'.repeat((1024 * 1024 - 512) / 16);
const same = assert.deepStrictEqual;
const value = async (key) => {
  const got = (await c.get(key)).value;
  return got === null ? null : got.toString();
};

const features = {
  async set() {
    same(await c.set('set', 'one', {}), true);
    same(await c.set('set', 'two', {}), true);
    same(await value('set'), 'two');
    same(await c.set('empty', '', {}), true);
    same(await value('empty'), '');
  },
  async get() {
    same(await value('get-nothing'), null);
    const bytes = Buffer.from([0, 13, 10, 250, 255]);
    same(await c.set('get', bytes, {}), true);
    same((await c.get('get')).value, bytes);
  },
  async multi() {
    const names = [...Array(300).keys()].map((i) => `multi${i}`);
    await Promise.all(names.map((name) => c.set(name, `value of ${name}`, {})));
    const got = await Promise.all(names.map(value));
    same(got, names.map((name) => `value of ${name}`));
  },
  async add() {
    same(await c.add('add', '1', {}), true);
    same(await c.add('add', '2', {}), false);
    same(await value('add'), '1');
  },
  async replace() {
    same(await c.replace('replace', '1', {}), false);
    await c.set('replace', '1', {});
    same(await c.replace('replace', '2', {}), true);
    same(await value('replace'), '2');
  },
  async append() {
    await assert.rejects(c.append('append', 'x'), /not stored/);
    await c.set('append', 'b', {});
    same(await c.append('append', 'c'), true);
    same(await value('append'), 'bc');
  },
  async delete() {
    await c.set('delete', '1', {});
    same(await c.delete('delete'), true);
    same(await c.delete('delete'), false);
  },
  async incr() {
    same((await c.increment('incr', 5, { initial: 10 })).value, 10);
    same((await c.increment('incr', 5, {})).value, 15);
  },
  async decr() {
    same((await c.decrement('decr', 5, { initial: 10 })).value, 10);
    same((await c.decrement('decr', 100, {})).value, 0);
  },
  async touch() {
    await c.set('touch', '1', {});
    same(await c.touch('touch', 100), true);
    same(await c.touch('touch-nothing', 100), false);
  },
  async large() {
    same(await c.set('large', LARGE, {}), true);
    same(await value('large'), LARGE);
  },
  async stats() {
    const rows = await new Promise((resolve, reject) => {
      c.stats((error, _, stats) => (error ? reject(error) : resolve(stats)));
    });
    same(rows.version, '1.6.45');
  },
  async flush() {
    await c.set('flush', '1', {});
    await c.flush();
    same(await value('flush'), null);
  },
};

(async () => {
  console.log('plan memjs', ...Object.keys(features));
  let failed = 0;
  for (const [name, test] of Object.entries(features)) {
    try {
      await test();
      console.log('ok memjs', name);
    } catch (error) {
      failed += 1;
      console.log(`not ok memjs ${name}:`, String(error.stack).replace(/\s+/g, ' ').slice(0, 200));
    }
  }
  c.close();
  process.exit(failed ? 1 : 0);
})();
