<?php
// PHP's memcached extension (libmemcached) against a running server: text, or the binary protocol if MEMC_PROTOCOL is binary.
// Run by scripts/clients through with-server.
declare(strict_types=1);
require __DIR__ . '/harness.php';

if (!class_exists('Memcached')) {
    fwrite(STDERR, "the php-memcached extension is not installed\n");
    exit(1);
}

define('BINARY', getenv('MEMC_PROTOCOL') === 'binary');

function client(array $options = []): Memcached
{
    global $HOST, $PORT;
    $client = new Memcached();
    $client->setOptions([Memcached::OPT_BINARY_PROTOCOL => BINARY, Memcached::OPT_COMPRESSION => false] + $options);
    $client->addServer($HOST, $PORT);
    return $client;
}

$c = client();

$features = [
    'set' => function () use ($c) {
        same($c->set('set', 'one'), true);
        same($c->set('set', 'two'), true);
        same($c->get('set'), 'two');
        same($c->set('empty', ''), true);
        same($c->get('empty'), '');
    },
    'get' => function () use ($c) {
        same($c->get('get-nothing'), false);
        same($c->getResultCode(), Memcached::RES_NOTFOUND);
        $c->set('get', "\x00\r\nEND\r\n\xff");
        same($c->get('get'), "\x00\r\nEND\r\n\xff");
    },
    'multi' => function () use ($c) {
        $pairs = [];
        for ($i = 0; $i < 300; $i++) {
            $pairs["multi$i"] = "value $i";
        }
        same($c->setMulti($pairs), true);
        same($c->getMulti([...array_keys($pairs), 'multi-nothing']), $pairs);
        same($c->getDelayed(['multi1', 'multi2'], true), true);
        same(count($c->fetchAll()), 2);
        same($c->deleteMulti(['multi1', 'multi-nothing']), ['multi1' => true, 'multi-nothing' => Memcached::RES_NOTFOUND]);
    },
    'add' => function () use ($c) {
        same($c->add('add', '1'), true);
        same($c->add('add', '2'), false);
        same($c->getResultCode(), BINARY ? Memcached::RES_DATA_EXISTS : Memcached::RES_NOTSTORED);
        same($c->get('add'), '1');
    },
    'replace' => function () use ($c) {
        same($c->replace('replace', '1'), false);
        $c->set('replace', '1');
        same($c->replace('replace', '22'), true);
        same($c->get('replace'), '22');
    },
    'append' => function () use ($c) {
        same($c->append('append', 'x'), false);
        $c->set('append', 'a');
        same($c->append('append', str_repeat('b', 5000)), true);
        same($c->get('append'), 'a' . str_repeat('b', 5000));
    },
    'prepend' => function () use ($c) {
        same($c->prepend('prepend', 'x'), false);
        $c->set('prepend', 'z');
        same($c->prepend('prepend', str_repeat('y', 5000)), true);
        same($c->get('prepend'), str_repeat('y', 5000) . 'z');
    },
    'cas' => function () use ($c) {
        $c->set('cas', '1');
        $found = $c->get('cas', null, Memcached::GET_EXTENDED);
        same($found['value'], '1');
        same($c->cas($found['cas'], 'cas', '2'), true);
        same($c->cas($found['cas'], 'cas', '3'), false);
        same($c->getResultCode(), Memcached::RES_DATA_EXISTS);
        same($c->get('cas'), '2');
    },
    'incr' => function () use ($c) {
        same($c->increment('incr'), false);
        same($c->getResultCode(), Memcached::RES_NOTFOUND);
        $c->set('incr', 9);
        same($c->increment('incr'), 10);
        same($c->increment('incr', 4294967296), 4294967306);
    },
    'decr' => function () use ($c) {
        same($c->decrement('decr'), false);
        $c->set('decr', 10);
        same($c->decrement('decr'), 9);
        same($c->get('decr'), 9);
        same($c->decrement('decr', 100), 0);
    },
    'touch' => function () use ($c) {
        same($c->touch('touch', 10), false);
        $c->set('touch', 't', 100);
        same($c->touch('touch', 1000), true);
        same($c->get('touch'), 't');
        same($c->touch('touch', time() - 1000), true);
        same($c->get('touch'), false);
    },
    'delete' => function () use ($c) {
        same($c->delete('delete'), false);
        same($c->getResultCode(), Memcached::RES_NOTFOUND);
        $c->set('delete', 'd');
        same($c->delete('delete'), true);
        same($c->get('delete'), false);
    },
    'expiry' => function () use ($c) {
        $c->set('expiry-never', '1', 0);
        if (!BINARY) { // expiry is never negative in the binary protocol
            $c->set('expiry-past', '1', -1);
            same($c->get('expiry-past'), false);
        }
        $c->set('expiry-date', '1', time() + 100);
        $c->set('expiry-later', '1', 100);
        $c->set('expiry-soon', '1', 1);
        eventually(fn() => $c->get('expiry-soon') === false);
        same(count($c->getMulti(['expiry-never', 'expiry-date', 'expiry-later'])), 3);
    },
    'stats' => function () use ($c, $HOST, $PORT) {
        $before = $c->getStats()["$HOST:$PORT"];
        $c->set('stats', 's');
        $c->get('stats');
        $after = $c->getStats()["$HOST:$PORT"];
        same($after['cmd_set'] - $before['cmd_set'], 1);
        same($after['get_hits'] - $before['get_hits'], 1);
        same($after['limit_maxbytes'], 64 * 1024 * 1024);
    },
    'version' => function () use ($c, $HOST, $PORT) {
        same(preg_match('/^\d+\.\d+\.\d+$/', $c->getVersion()["$HOST:$PORT"]), 1);
    },
    'large' => function () use ($c, $LARGE) {
        same($c->set('large', $LARGE), true);
        same($c->get('large') === $LARGE, true);
        $many = [];
        for ($i = 0; $i < 8; $i++) {
            $many["large$i"] = substr($LARGE, $i);
        }
        same($c->setMulti($many), true);
        same($c->getMulti(array_keys($many)) === $many, true);
    },
    'toolarge' => function () use ($c, $TOO_LARGE) {
        $c->set('toolarge', 'old');
        same($c->set('toolarge', $TOO_LARGE), false);
        same(client()->get('toolarge'), false);
        same(client()->set('toolarge', 'after'), true);
    },
    'keys' => function () use ($c) {
        foreach ([str_repeat('k', 250), 'a:b/c?d=e,f;{}[]\'"'] as $key) {
            same($c->set($key, 'v'), true);
            same($c->get($key), 'v');
        }
        same($c->set(str_repeat('k', 251), 'v'), false);
    },
    'flags' => function () use ($c) {
        foreach ([7, 1.5, true, 'text', ['a' => [1, null]]] as $value) {
            same($c->set('flags', $value), true);
            same($c->get('flags'), $value);
        }
        $own = client([Memcached::OPT_USER_FLAGS => 0x1234]);
        same($own->set('flags', 'v'), true);
        same($c->get('flags', null, Memcached::GET_EXTENDED)['flags'], 0x1234);
        $packing = client([Memcached::OPT_COMPRESSION => true]);
        same($packing->set('packed', str_repeat('compress me ', 10000)), true);
        same($packing->get('packed') === str_repeat('compress me ', 10000), true);
    },
    'noreply' => function () use ($c) {
        $quiet = client([Memcached::OPT_NOREPLY => true, Memcached::OPT_TCP_NODELAY => true]);
        for ($i = 0; $i < 100; $i++) {
            $quiet->set("noreply$i", "v$i");
        }
        $quiet->delete('noreply0');
        eventually(fn() => $c->get('noreply99') === 'v99' && $c->get('noreply0') === false);
    },
    'flush' => function () use ($c) {
        $c->set('flush', '1');
        same($c->flush(1000), true);
        same($c->get('flush'), '1');
        same($c->flush(), true);
        same($c->get('flush'), false);
        same($c->set('flush', '2'), true);
        same($c->get('flush'), '2');
    },
];

if (getenv('MEMC_SASL_PORT') !== false) {
    $features['sasl'] = function () use ($HOST) {
        $login = function (?string $password) use ($HOST): Memcached {
            $client = new Memcached();
            $client->setOption(Memcached::OPT_BINARY_PROTOCOL, true);
            if ($password !== null) {
                $client->setSaslAuthData(getenv('MEMC_USER'), $password);
            }
            $client->addServer($HOST, (int) getenv('MEMC_SASL_PORT'));
            return $client;
        };
        $known = $login(getenv('MEMC_PASSWORD'));
        same($known->set('sasl', '1'), true);
        same($known->get('sasl'), '1');
        same($login(getenv('MEMC_PASSWORD') . '!')->get('sasl'), false);
        same($login(null)->get('sasl'), false);
    };
}

run_features('php-memcached', $features);
