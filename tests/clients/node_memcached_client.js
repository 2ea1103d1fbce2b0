// npm's memcached against a running server. Run by scripts/clients through with-server.
// The lines printed are those of harness.py; the module is found in NODE_PATH.
'use strict';
const { promisify } = require('util');
const Memcached = require('memcached');
const { HOST, PORT, LARGE, TOO_LARGE, same, eventually, runFeatures } = require('./harness');

const server = `${HOST}:${PORT}`;
const options = { timeout: 20000, retries: 0, failures: 0, poolSize: 4, maxValue: 8 << 20 };
const raw = new Memcached(server, options);
const c = {};
for (const name of ['set', 'get', 'gets', 'getMulti', 'add', 'replace', 'append', 'prepend', 'cas', 'incr', 'decr',
  'touch', 'del', 'flush', 'stats', 'settings', 'slabs', 'items', 'cachedump', 'version']) {
  c[name] = promisify(raw[name]).bind(raw);
}

// This client reports some refusals as `false` and others as an error: both count as refused.
const refused = async (promise) => {
  const answer = await promise.catch(() => false);
  same(answer, false);
};

const features = {
  async set() {
    same(await c.set('set', 'one', 0), true);
    same(await c.set('set', 'two', 0), true);
    same(await c.get('set'), 'two');
    same(await c.set('empty', '', 0), true);
    same(await c.get('empty'), '');
  },
  async get() {
    same(await c.get('get-nothing'), undefined);
    const bytes = Buffer.from([1, 2, 250, 251, 255, 32, 65]);
    same(await c.set('get', bytes, 0), true);
    same(await c.get('get'), bytes);
  },
  async multi() {
    const names = [...Array(300).keys()].map((i) => `multi${i}`);
    await Promise.all(names.map((name) => c.set(name, `value of ${name}`, 0)));
    const got = await c.getMulti([...names, 'multi-nothing']);
    same(Object.keys(got).length, 300);
    for (const name of names) same(got[name], `value of ${name}`);
  },
  async add() {
    same(await c.add('add', '1', 0), true);
    await refused(c.add('add', '2', 0));
    same(await c.get('add'), '1');
  },
  async replace() {
    await refused(c.replace('replace', '1', 0));
    await c.set('replace', '1', 0);
    same(await c.replace('replace', '22', 0), true);
    same(await c.get('replace'), '22');
  },
  async append() {
    await refused(c.append('append', 'x'));
    await c.set('append', 'a', 0);
    same(await c.append('append', 'b'.repeat(5000)), true);
    same(await c.get('append'), 'a' + 'b'.repeat(5000));
  },
  async prepend() {
    await refused(c.prepend('prepend', 'x'));
    await c.set('prepend', 'z', 0);
    same(await c.prepend('prepend', 'y'.repeat(5000)), true);
    same(await c.get('prepend'), 'y'.repeat(5000) + 'z');
  },
  async cas() {
    await c.set('cas', '1', 0);
    const found = await c.gets('cas');
    same(found.cas !== undefined && found.cas !== '', true);
    same(await c.cas('cas', '2', found.cas, 0), true);
    await refused(c.cas('cas', '3', found.cas, 0));
    same(await c.get('cas'), '2');
  },
  async incr() {
    same(await c.incr('incr', 1), false);
    await c.set('incr', '9', 0);
    same(await c.incr('incr', 1), 10);
    same(await c.incr('incr', 4294967296), 4294967306);
  },
  async decr() {
    same(await c.decr('decr', 1), false);
    await c.set('decr', '10', 0);
    same(await c.decr('decr', 1), 9);
    same(await c.decr('decr', 100), 0);
  },
  async touch() {
    await refused(c.touch('touch', 10));
    await c.set('touch', 't', 100);
    same(await c.touch('touch', 1000), true);
    same(await c.get('touch'), 't');
    same(await c.touch('touch', -1), true);
    same(await c.get('touch'), undefined);
  },
  async delete() {
    await refused(c.del('delete'));
    await c.set('delete', 'd', 0);
    same(await c.del('delete'), true);
    same(await c.get('delete'), undefined);
  },
  async expiry() {
    await c.set('expiry-never', '1', 0);
    await c.set('expiry-past', '1', -1);
    same(await c.get('expiry-past'), undefined);
    await c.set('expiry-later', '1', 100);
    await c.set('expiry-date', '1', Math.floor(Date.now() / 1000) + 100);
    await c.set('expiry-soon', '1', 1);
    await eventually(async () => (await c.get('expiry-soon')) === undefined);
    same(Object.keys(await c.getMulti(['expiry-never', 'expiry-later', 'expiry-date'])).length, 3);
  },
  async stats() {
    const [before] = await c.stats();
    same(before.server, server);
    await c.set('stats', 's', 0);
    await c.get('stats');
    const [after] = await c.stats();
    same(after.cmd_set - before.cmd_set, 1);
    same(after.get_hits - before.get_hits, 1);
    const [settings] = await c.settings();
    same(settings.maxbytes, 64 * 1024 * 1024);
    const [slabs] = await c.slabs();
    same(Object.values(slabs).some((row) => row.chunk_size > 0), true);
    const [items] = await c.items();
    same(Object.values(items).some((row) => row.number > 0), true);
  },
  async version() {
    same(/^\d+\.\d+\.\d+/.test((await c.version())[0].version), true);
  },
  async large() {
    same(await c.set('large', LARGE, 0), true);
    same((await c.get('large')) === LARGE, true);
  },
  async toolarge() {
    // a separate client: this one abandons a server after any SERVER_ERROR
    const other = new Memcached(server, options);
    await c.set('toolarge', 'old', 0);
    await refused(promisify(other.set).bind(other)('toolarge', TOO_LARGE, 0));
    other.end();
    same(await c.get('toolarge'), undefined);
    same(await c.set('toolarge', 'after', 0), true);
  },
  async keys() {
    for (const key of ['k'.repeat(250), 'schl\u00fcssel', 'a:b/c?d=e,f;{}[]\'"']) {
      same(await c.set(key, 'v', 0), true);
      same(await c.get(key), 'v');
    }
  },
  async flags() {
    for (const value of ['text', 7, { list: [1, 2, null] }]) {
      same(await c.set('flags', value, 0), true);
      same(await c.get('flags'), value);
    }
  },
  async flush() {
    await c.set('flush', '1', 0);
    same(await c.flush(), [true]);
    same(await c.get('flush'), undefined);
    same(await c.set('flush', '2', 0), true);
    same(await c.get('flush'), '2');
  },
};

runFeatures('node-memcached', features, () => raw.end());
