// npm's memjs, which uses the binary protocol only, against a running server. Run by scripts/clients (with-server).
// The lines printed are those of harness.py; the module is found in NODE_PATH.
'use strict';
const assert = require('assert');
const { Client } = require('memjs');
const { HOST, PORT, LARGE, TOO_LARGE, same, eventually, portOf, runFeatures } = require('./harness');

const options = { timeout: 20, retries: 0 };
const c = Client.create(`${HOST}:${PORT}`, options);
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
  async expiry() {
    await c.set('expiry-later', '1', { expires: 100 });
    await c.set('expiry-date', '1', { expires: Math.floor(Date.now() / 1000) + 100 });
    await c.set('expiry-soon', '1', { expires: 1 });
    await eventually(async () => (await value('expiry-soon')) === null);
    same([await value('expiry-later'), await value('expiry-date')], ['1', '1']);
  },
  async keys() {
    for (const key of ['k'.repeat(250), 'schl\u00fcssel', 'a b\tc', 'a:b/c?d=e,f;{}[]\'"']) {
      same(await c.set(key, key, {}), true);
      same(await value(key), key);
    }
  },
  async large() {
    same(await c.set('large', LARGE, {}), true);
    same((await value('large')) === LARGE, true);
  },
  async toolarge() {
    await c.set('toolarge', 'old', {});
    await assert.rejects(c.set('toolarge', TOO_LARGE, {}), /too large/i);
    same(await value('toolarge'), null);
    same(await c.set('toolarge', 'after', {}), true);
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

if (portOf('sasl')) {
  features.sasl = async () => {
    const server = `${HOST}:${portOf('sasl')}`;
    const [username, password] = [process.env.MEMC_USER, process.env.MEMC_PASSWORD];
    const known = Client.create(server, { ...options, username, password });
    same(await known.set('sasl', '1', {}), true);
    same((await known.get('sasl')).value.toString(), '1');
    known.close();
    for (const stranger of [{ username, password: `${password}!` }, {}]) {
      const unknown = Client.create(server, { ...options, timeout: 2, ...stranger });
      same(await unknown.get('sasl').then(() => 'read', () => 'refused'), 'refused');
      unknown.close();
    }
  };
}

runFeatures('memjs', features, () => c.close());
