// npm's memcached-elasticache, which discovers the nodes of a cluster, against a running server. Run by scripts/clients
// through with-server. The lines printed are those of harness.py; the module is found in NODE_PATH.
'use strict';
const fs = require('fs');
const Memcached = require('memcached-elasticache');
const { HOST, PORT, same, portOf, runFeatures } = require('./harness');

const cluster = portOf('cluster');
const nodes = [cluster, PORT].map((port) => `${HOST}:${port}`).sort();
let version = 10;

// Puts other nodes into the file. The client asks again until the server has read it.
function announce(ports) {
  const file = process.env.MEMC_CLUSTER_FILE;
  const words = ports.map((port) => `${HOST}|${HOST}|${port}`);
  version += 1;
  fs.writeFileSync(`${file}.new`, `${version}\n${words.join('\n')}\n`);
  fs.renameSync(`${file}.new`, file);
}

// A client that asks often, once it knows these nodes.
async function discover(expected) {
  const client = new Memcached(`${HOST}:${cluster}`, { autoDiscoverInterval: 100, timeout: 20000, failures: 0 });
  await new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error('never discovered')), 20000).unref();
    client.on('autoDiscoverFailure', reject);
    client.on('autoDiscover', (found) => found.join() === expected.join() && resolve());
  });
  return client;
}

const features = {
  async memcached_elasticache() {
    announce([cluster, PORT]);
    const client = await discover(nodes);
    for (let n = 0; n < 50; n += 1) {
      await new Promise((resolve, reject) => client.set(`node${n}`, `${n}`, 0, (e) => (e ? reject(e) : resolve())));
      same(await new Promise((resolve, reject) => client.get(`node${n}`, (e, v) => (e ? reject(e) : resolve(v)))), `${n}`);
    }
    announce([PORT]);
    await discover([`${HOST}:${PORT}`]);
  },
};

runFeatures('elasticache_node', features, async () => {});
