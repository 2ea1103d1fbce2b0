// npm's memcache: text and, with a login, the binary protocol. Run by scripts/clients through with-server.
// The lines printed are those of harness.py; the module is found in NODE_PATH.
'use strict';
const assert = require('assert');
const { Memcache, createNode } = require('memcache');
const { HOST, PORT, LARGE, TOO_LARGE, same, eventually, portOf, runFeatures } = require('./harness');

const server = `${HOST}:${PORT}`;
// absolute times are seconds too, and the server decides what is too large
const c = new Memcache({ nodes: [server], timeout: 20000, maxExpiration: 2 ** 32, maxValueSize: 1 << 23 });

const features = {
  async set() {
    same(await c.set('set', 'one'), true);
    same(await c.set('set', 'two'), true);
    same(await c.get('set'), 'two');
    same(await c.set('empty', ''), true);
    same(await c.get('empty'), '');
  },
  async get() {
    same(await c.get('get-nothing'), undefined);
    same(await c.set('get', 'two\r\nlines\r\nEND'), true);
    same(await c.get('get'), 'two\r\nlines\r\nEND');
  },
  async multi() {
    const names = [...Array(300).keys()].map((i) => `multi${i}`);
    await Promise.all(names.map((name) => c.set(name, `value of ${name}`)));
    same(await Promise.all(names.map((name) => c.get(name))), names.map((name) => `value of ${name}`));
    const got = await c.gets([...names, 'multi-nothing']);
    same(got.size, 300);
    for (const name of names) same(got.get(name), `value of ${name}`);
  },
  async add() {
    same(await c.add('add', '1'), true);
    same(await c.add('add', '2'), false);
    same(await c.get('add'), '1');
  },
  async replace() {
    same(await c.replace('replace', '1'), false);
    await c.set('replace', '1');
    same(await c.replace('replace', '22'), true);
    same(await c.get('replace'), '22');
  },
  async append() {
    same(await c.append('append', 'x'), false);
    await c.set('append', 'a');
    same(await c.append('append', 'b'.repeat(5000)), true);
    same(await c.get('append'), 'a' + 'b'.repeat(5000));
  },
  async prepend() {
    same(await c.prepend('prepend', 'x'), false);
    await c.set('prepend', 'z');
    same(await c.prepend('prepend', 'y'.repeat(5000)), true);
    same(await c.get('prepend'), 'y'.repeat(5000) + 'z');
  },
  async cas() {
    await c.set('cas', '1');
    same(await c.cas('cas', '2', '1'), false);
    same(await c.get('cas'), '1');
  },
  async incr() {
    same(await c.incr('incr'), undefined);
    await c.set('incr', '9');
    same(await c.incr('incr'), 10);
    same(await c.incr('incr', 4294967296), 4294967306);
  },
  async decr() {
    same(await c.decr('decr'), undefined);
    await c.set('decr', '10');
    same(await c.decr('decr'), 9);
    same(await c.decr('decr', 100), 0);
  },
  async touch() {
    same(await c.touch('touch', 10), false);
    await c.set('touch', 't', 100);
    same(await c.touch('touch', 1000), true);
    same(await c.get('touch'), 't');
  },
  async delete() {
    same(await c.delete('delete'), false);
    await c.set('delete', 'd');
    same(await c.delete('delete'), true);
    same(await c.get('delete'), undefined);
  },
  async expiry() {
    await c.set('expiry-later', '1', 100);
    await c.set('expiry-date', '1', Math.floor(Date.now() / 1000) + 100);
    await c.set('expiry-soon', '1', 1);
    await eventually(async () => (await c.get('expiry-soon')) === undefined);
    same((await c.gets(['expiry-later', 'expiry-date'])).size, 2);
  },
  async stats() {
    const before = (await c.stats()).get(server);
    await c.set('stats', 's');
    await c.get('stats');
    const after = (await c.stats()).get(server);
    same(after.cmd_set - before.cmd_set, 1);
    same(after.get_hits - before.get_hits, 1);
    same((await c.stats('settings')).get(server).maxbytes, '67108864');
  },
  async version() {
    same((await c.version()).get(server), 'VERSION 1.6.45');
  },
  async large() {
    same(await c.set('large', LARGE), true);
    same((await c.get('large')) === LARGE, true);
  },
  async toolarge() {
    await c.set('toolarge', 'old');
    same(await c.set('toolarge', TOO_LARGE).catch(() => false), false);
    same(await c.get('toolarge'), undefined);
    same(await c.set('toolarge', 'after'), true);
  },
  async keys() {
    for (const key of ['k'.repeat(250), 'a:b/c?d=e,f;{}[]\'"']) {
      same(await c.set(key, key), true);
      same(await c.get(key), key);
    }
  },
  async flush() {
    await c.set('flush', '1');
    same(await c.flush(1000), true);
    same(await c.get('flush'), '1');
    same(await c.flush(), true);
    same(await c.get('flush'), undefined);
    same(await c.set('flush', '2'), true);
    same(await c.get('flush'), '2');
  },
};

if (portOf('sasl')) {
  features.sasl = async () => {
    const [username, password] = [process.env.MEMC_USER, process.env.MEMC_PASSWORD];
    const known = createNode(HOST, portOf('sasl'), { timeout: 20000, sasl: { username, password } });
    await known.connect();
    same(known.isAuthenticated, true);
    same(await known.binarySet('sasl', '1'), true);
    same(await known.binaryAdd('sasl', '2'), false);
    same(await known.binaryAppend('sasl', '2'), true);
    same(await known.binaryIncr('sasl', 30), 42);
    same(await known.binaryDecr('sasl', 2), 40);
    same(await known.binaryTouch('sasl', 100), true);
    same(await known.binaryGet('sasl'), '40');
    same(await known.binaryVersion(), '1.6.45');
    same((await known.binaryStats()).curr_items, '1');
    same(await known.binaryDelete('sasl'), true);
    await known.disconnect();
    const stranger = createNode(HOST, portOf('sasl'), { timeout: 20000, sasl: { username, password: `${password}!` } });
    stranger.on('error', () => {});
    await assert.rejects(stranger.connect(), /SASL|auth/i);
  };
}

runFeatures('node-memcache', features, () => c.disconnect());
