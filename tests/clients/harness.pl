# Shared code of the Perl client tests; the lines printed are those of harness.py.
use strict;
use warnings;

our ($HOST, $PORT) = ($ENV{MEMC_HOST}, $ENV{MEMC_PORT});
our $LARGE = '0123456789abcdef' x ((1024 * 1024 - 512) / 16);
our $TOO_LARGE = 'x' x (1024 * 1024);

# run_features(CLIENT, NAME => sub {...}, ...): tries each in order and exits.
sub run_features {
    my ($client, @features) = @_;
    my @names = map { $features[2 * $_] } 0 .. $#features / 2;
    $| = 1;
    print "plan $client @names\n";
    my $failed = 0;
    while (my ($name, $test) = splice @features, 0, 2) {
        if (eval { $test->(); 1 }) {
            print "ok $client $name\n";
        } else {
            $failed++;
            (my $reason = substr $@, 0, 200) =~ s/\s+/ /g;
            print "not ok $client $name: $reason\n";
        }
    }
    exit($failed ? 1 : 0);
}

sub same {
    my ($got, $want) = @_;
    my ($g, $w) = map { defined $_ ? length $_ < 80 ? "'$_'" : length($_) . ' bytes' : 'undef' } $got, $want;
    return if defined $got ? defined $want && $got eq $want : !defined $want;
    my (undef, undef, $line) = caller;
    die "line $line: got $g, wanted $w\n";
}

# Waits for a condition that depends on time, such as expiry.
sub eventually {
    my ($condition) = @_;
    my (undef, undef, $line) = caller;
    my $deadline = time + 7;
    until ($condition->()) {
        die "line $line: still not so after 6 seconds\n" if time > $deadline;
        select undef, undef, undef, 0.05;
    }
}

1;
