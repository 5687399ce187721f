# Tests: a pool of fixed size whose connections are all checked out and forgotten outside of transactions: it has worked steadily,
# then nothing runs, and all its connections stay open and idle.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;
use PgleakActions;

use Test::More;
use Time::HiRes qw(time usleep);

my $node = new_node('silence', conf => <<'END');
pgleak.idle_leak_after = '1s'
autovacuum = off
END

sub pool
{
	my ($name, $size) = @_;
	return map { wire($node, parameters => { application_name => $name }) } 1 .. $size;
}

sub shown { my ($name, $columns) = @_; return $node->safe_psql('postgres', "SELECT $columns FROM pgleak.pools WHERE application_name = '$name'"); }

# Lets the pools work until each second of a while has seen transactions.
sub work
{
	my ($seconds, @sessions) = @_;
	my $end = time + $seconds;
	while (time < $end) { for my $session (@sessions) { $session->do('SELECT 1'); usleep(20_000); } }
}

my @lost = pool('lost', 4);
my @shrinks = pool('shrinks', 4);
my @pair = pool('pair', 2);
work(25, @lost, @shrinks, @pair);
is(shown('lost', 'suspects, advice IS NULL'), '0|t', 'a pool at work has no suspects');

eventually_is($node, q(SELECT suspects, connections, oldest_suspect_idle >= '10s' FROM pgleak.pools WHERE application_name = 'lost'), '4|4|t',
	'it falls silent: all its connections are suspects');
like(shown('lost', 'advice'), qr/^4 of 4 connections idle since \d\d:\d\d(:\d\d)?, before that \d+ transactions a second: .* \(a guess, not a leak\)$/,
	'the advice says since when, and what was before');
is(shown('lost', 'verdict, leaked'), 'ok|0', 'it is a guess, not a verdict');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pgleak.leaks'), '0', 'and no leak');
is(shown('pair', 'suspects'), '0', 'two connections are no pool');

(shift @shrinks)->close;
eventually_is($node, q(SELECT suspects, connections FROM pgleak.pools WHERE application_name = 'shrinks'), '0|3', 'a pool that closes a connection is well');

$lost[0]->do('SELECT 1');
eventually_is($node, q(SELECT suspects, advice IS NULL FROM pgleak.pools WHERE application_name = 'lost'), '0|t', 'one connection is used again: no suspects');

$_->close for @lost, @shrinks, @pair;
no_damage($node, 'no session was harmed');
$node->stop;
done_testing();
