# Cache::Memcached::Fast against a running server. Run by scripts/clients through with-server.
use strict;
use warnings;
use FindBin;
require "$FindBin::Bin/harness.pl";
use Cache::Memcached::Fast;
our ($HOST, $PORT, $LARGE, $TOO_LARGE);

my $c = Cache::Memcached::Fast->new({
    servers => ["$HOST:$PORT"], io_timeout => 20, max_size => 4 * 1024 * 1024, utf8 => 0, max_failures => 0,
});

run_features('Cache::Memcached::Fast',
    set => sub {
        same($c->set('set', 'one'), 1);
        same($c->set('set', 'two'), 1);
        same($c->get('set'), 'two');
        same($c->set('empty', ''), 1);
        same($c->get('empty'), '');
    },
    get => sub {
        same($c->get('get-nothing'), undef);
        $c->set('get', "\x00\r\nEND\r\n\xff");
        same($c->get('get'), "\x00\r\nEND\r\n\xff");
    },
    multi => sub {
        my @stored = $c->set_multi(map { ["multi$_", "value $_"] } 1 .. 300);
        same(scalar(grep { $_ } @stored), 300);
        my $got = $c->get_multi((map { "multi$_" } 1 .. 300), 'multi-nothing');
        same(scalar keys %$got, 300);
        same($got->{"multi$_"}, "value $_") for 1 .. 300;
        $c->delete_multi(map { "multi$_" } 1 .. 300);
        same(scalar keys %{ $c->get_multi(map { "multi$_" } 1 .. 300) }, 0);
        $c->set_multi(['n1', 1], ['n2', 2]);
        same($c->incr_multi(['n1', 10], 'n2', 'n3')->{n1}, 11);
        same($c->get('n2'), 3);
    },
    add => sub {
        same($c->add('add', 1), 1);
        same($c->add('add', 2), '');
        same($c->get('add'), 1);
    },
    replace => sub {
        same($c->replace('replace', 1), '');
        $c->set('replace', 1);
        same($c->replace('replace', 22), 1);
        same($c->get('replace'), 22);
    },
    append => sub {
        same($c->append('append', 'x'), '');
        $c->set('append', 'a');
        same($c->append('append', 'b' x 5000), 1);
        same($c->get('append'), 'a' . 'b' x 5000);
    },
    prepend => sub {
        same($c->prepend('prepend', 'x'), '');
        $c->set('prepend', 'z');
        same($c->prepend('prepend', 'y' x 5000), 1);
        same($c->get('prepend'), 'y' x 5000 . 'z');
    },
    cas => sub {
        same($c->gets('cas'), undef);
        $c->set('cas', 1);
        my $found = $c->gets('cas');
        same($found->[1], 1);
        same($c->cas('cas', $found->[0], 2), 1);
        same($c->cas('cas', $found->[0], 3), '');
        same($c->get('cas'), 2);
        same($c->gets_multi('cas', 'cas-nothing')->{cas}[1], 2);
    },
    incr => sub {
        same($c->incr('incr'), '');
        $c->set('incr', 9);
        same($c->incr('incr'), 10);
        same($c->incr('incr', 4294967296), 4294967306);
        $c->set('incr', 'word');
        same($c->incr('incr'), undef);
    },
    decr => sub {
        same($c->decr('decr'), '');
        $c->set('decr', 10);
        same($c->decr('decr'), 9);
        same($c->get('decr'), '9 ');
        same($c->decr('decr', 100), '0E0'); # this client's true zero
    },
    touch => sub {
        same($c->touch('touch', 10), '');
        $c->set('touch', 't', 100);
        same($c->touch('touch', 1000), 1);
        same($c->get('touch'), 't');
        same($c->touch('touch', -1), 1);
        same($c->get('touch'), undef);
    },
    gat => sub {
        same($c->gat(10, 'gat-nothing'), undef);
        $c->set('gat', 'g', 100);
        same($c->gat(1000, 'gat'), 'g');
        my $found = $c->gats(1000, 'gat');
        same($found->[1], 'g');
        same(scalar keys %{ $c->gat_multi(1000, 'gat', 'gat-nothing') }, 1);
        same($c->gat(-1, 'gat'), 'g');
        same($c->get('gat'), undef);
    },
    delete => sub {
        same($c->delete('delete'), '');
        $c->set('delete', 'd');
        same($c->delete('delete'), 1);
        same($c->get('delete'), undef);
    },
    expiry => sub {
        $c->set('expiry-never', 1, 0);
        $c->set('expiry-past', 1, -1);
        same($c->get('expiry-past'), undef);
        $c->set('expiry-date', 1, time + 100);
        $c->set('expiry-later', 1, 100);
        $c->set('expiry-soon', 1, 1);
        eventually(sub { !defined $c->get('expiry-soon') });
        same(join(' ', sort keys %{ $c->get_multi(qw(expiry-never expiry-date expiry-later)) }),
            'expiry-date expiry-later expiry-never');
    },
    version => sub {
        same((values %{ $c->server_versions })[0] =~ /^\d+\.\d+\.\d+/ ? 1 : 0, 1);
    },
    large => sub {
        same($c->set('large', $LARGE), 1);
        same($c->get('large'), $LARGE);
        $c->set_multi(map { ["large$_", substr $LARGE, $_] } 1 .. 8);
        my $got = $c->get_multi(map { "large$_" } 1 .. 8);
        same($got->{"large$_"}, substr $LARGE, $_) for 1 .. 8;
    },
    toolarge => sub {
        $c->set('toolarge', 'old');
        same(!$c->set('toolarge', $TOO_LARGE), 1);
        same($c->get('toolarge'), undef);
        same($c->set('toolarge', 'after'), 1);
    },
    keys => sub {
        for my $key ('k' x 250, "\xff\xfe\x80", 'a:b/c?d=e,f;{}[]\'"') {
            same($c->set($key, 'v'), 1);
            same($c->get($key), 'v');
        }
    },
    flags => sub {
        same($c->set('flags', { list => [1, 2, 3], text => 'x' }), 1);
        same($c->get('flags')->{list}[2], 3);
        my $packing = Cache::Memcached::Fast->new({ servers => ["$HOST:$PORT"], compress_threshold => 1000 });
        same($packing->set('packed', 'compress me ' x 10000), 1);
        same($packing->get('packed'), 'compress me ' x 10000);
    },
    noreply => sub {
        # in void context this client sends noreply
        $c->set('noreply', 1);
        $c->incr('noreply', 4);
        $c->add('noreply', 'x');
        $c->append('noreply', 0);
        $c->prepend('noreply', 1);
        $c->touch('noreply', 100);
        $c->nowait_push;
        same($c->get('noreply'), 150);
        $c->delete('noreply');
        $c->replace('noreply', 'x');
        $c->nowait_push;
        same($c->get('noreply'), undef);
    },
    flush => sub {
        $c->set('flush', 1);
        same((values %{ $c->flush_all(1000) })[0], 1);
        same($c->get('flush'), 1);
        same((values %{ $c->flush_all })[0], 1);
        same($c->get('flush'), undef);
        same($c->set('flush', 2), 1);
        same($c->get('flush'), 2);
    },
);
