# Cache::Memcached against a running server. Run by scripts/clients through with-server.
use strict;
use warnings;
use FindBin;
require "$FindBin::Bin/harness.pl";
use Cache::Memcached;
our ($HOST, $PORT, $LARGE, $TOO_LARGE);

my $c = Cache::Memcached->new({ servers => ["$HOST:$PORT"], select_timeout => 20 });

run_features('Cache::Memcached',
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
        $c->set("multi$_", "value $_") for 1 .. 300;
        my $got = $c->get_multi((map { "multi$_" } 1 .. 300), 'multi-nothing');
        same(scalar keys %$got, 300);
        same($got->{"multi$_"}, "value $_") for 1 .. 300;
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
    incr => sub {
        same($c->incr('incr'), undef);
        $c->set('incr', 9);
        same($c->incr('incr'), 10);
        same($c->incr('incr', 4294967296), 4294967306);
    },
    decr => sub {
        same($c->decr('decr'), undef);
        $c->set('decr', 10);
        same($c->decr('decr'), 9);
        same($c->get('decr'), '9 ');
        same($c->decr('decr', 100), 0);
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
    stats => sub {
        my $before = $c->stats('misc')->{hosts}{"$HOST:$PORT"}{misc};
        $c->set('stats', 's');
        $c->get('stats');
        my $after = $c->stats('misc')->{hosts}{"$HOST:$PORT"}{misc};
        same($after->{cmd_set} - $before->{cmd_set}, 1);
        same($after->{get_hits} - $before->{get_hits}, 1);
        my $slabs = $c->stats('slabs')->{hosts}{"$HOST:$PORT"}{slabs};
        same($slabs =~ /^STAT \d+:chunk_size \d+/m ? 1 : 0, 1);
    },
    large => sub {
        same($c->set('large', $LARGE), 1);
        same($c->get('large'), $LARGE);
        $c->set("large$_", substr $LARGE, $_) for 1 .. 8;
        my $got = $c->get_multi(map { "large$_" } 1 .. 8);
        same($got->{"large$_"}, substr $LARGE, $_) for 1 .. 8;
    },
    toolarge => sub {
        $c->set('toolarge', 'old');
        same($c->set('toolarge', $TOO_LARGE), '');
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
        my $packing = Cache::Memcached->new({ servers => ["$HOST:$PORT"], compress_threshold => 1000 });
        same($packing->set('packed', 'compress me ' x 10000), 1);
        same($packing->get('packed'), 'compress me ' x 10000);
    },
    flush => sub {
        $c->set('flush', 1);
        $c->flush_all;
        same($c->get('flush'), undef);
        same($c->set('flush', 2), 1);
        same($c->get('flush'), 2);
    },
);
