<?php
// PHP's memcache extension (its own implementation) against a running server. Run by scripts/clients through with-server.
declare(strict_types=1);
require __DIR__ . '/harness.php';

if (!class_exists('Memcache')) {
    fwrite(STDERR, "the php-memcache extension is not installed\n");
    exit(1);
}

error_reporting(E_ALL & ~E_DEPRECATED & ~E_NOTICE); // the extension itself uses deprecated PHP
$c = new Memcache();
$c->addServer($HOST, $PORT, true, 1, 20);
$c->setCompressThreshold(100000000);

run_features('php-memcache', [
    'set' => function () use ($c) {
        same($c->set('set', 'one'), true);
        same($c->set('set', 'two'), true);
        same($c->get('set'), 'two');
        same($c->set('empty', ''), true);
        same($c->get('empty'), '');
    },
    'get' => function () use ($c) {
        same($c->get('get-nothing'), false);
        $c->set('get', "\x00\r\nEND\r\n\xff");
        same($c->get('get'), "\x00\r\nEND\r\n\xff");
    },
    'multi' => function () use ($c) {
        $pairs = [];
        for ($i = 0; $i < 300; $i++) {
            $pairs["multi$i"] = "value $i";
        }
        same($c->set($pairs), true);
        $got = $c->get([...array_keys($pairs), 'multi-nothing']);
        ksort($got);
        ksort($pairs);
        same($got, $pairs);
    },
    'add' => function () use ($c) {
        same($c->add('add', '1'), true);
        same($c->add('add', '2'), false);
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
    'incr' => function () use ($c) {
        same($c->increment('incr'), false);
        $c->set('incr', '9');
        same($c->increment('incr'), 10);
        same($c->increment('incr', 4294967296), 4294967306);
    },
    'decr' => function () use ($c) {
        same($c->decrement('decr'), false);
        $c->set('decr', '10');
        same($c->decrement('decr'), 9);
        same($c->get('decr'), '9 ');
        same($c->decrement('decr', 100), 0);
    },
    'delete' => function () use ($c) {
        same($c->delete('delete'), false);
        $c->set('delete', 'd');
        same($c->delete('delete'), true);
        same($c->get('delete'), false);
    },
    'expiry' => function () use ($c) {
        $c->set('expiry-never', '1', 0, 0);
        $c->set('expiry-date', '1', 0, time() + 100);
        $c->set('expiry-later', '1', 0, 100);
        $c->set('expiry-soon', '1', 0, 1);
        eventually(fn() => $c->get('expiry-soon') === false);
        same(count($c->get(['expiry-never', 'expiry-date', 'expiry-later'])), 3);
    },
    'stats' => function () use ($c) {
        $before = $c->getStats();
        $c->set('stats', 's');
        $c->get('stats');
        $after = $c->getStats();
        same($after['cmd_set'] - $before['cmd_set'], 1);
        same($after['get_hits'] - $before['get_hits'], 1);
        same(count($c->getStats('slabs')) > 0, true);
        same(count($c->getExtendedStats()), 1);
    },
    'version' => function () use ($c) {
        same(preg_match('/^\d+\.\d+\.\d+$/', $c->getVersion()), 1);
    },
    'large' => function () use ($c, $LARGE) {
        same($c->set('large', $LARGE), true);
        same($c->get('large') === $LARGE, true);
    },
    'toolarge' => function () use ($c, $TOO_LARGE) {
        $c->set('toolarge', 'old');
        same(@$c->set('toolarge', $TOO_LARGE), false);
        same($c->get('toolarge'), false);
        same($c->set('toolarge', 'after'), true);
    },
    'keys' => function () use ($c) {
        foreach ([str_repeat('k', 250), "\xff\xfe\x80", 'a:b/c?d=e,f;{}[]\'"'] as $key) {
            same($c->set($key, 'v'), true);
            same($c->get($key), 'v');
        }
    },
    'flags' => function () use ($c) {
        same($c->set('flags', ['a' => [1, null]]), true);
        same($c->get('flags'), ['a' => [1, null]]);
        same($c->set('packed', str_repeat('compress me ', 10000), MEMCACHE_COMPRESSED), true);
        same($c->get('packed') === str_repeat('compress me ', 10000), true);
    },
    'flush' => function () use ($c) {
        $c->set('flush', '1');
        same($c->flush(), true);
        same($c->get('flush'), false);
        same($c->set('flush', '2'), true);
        same($c->get('flush'), '2');
    },
]);
