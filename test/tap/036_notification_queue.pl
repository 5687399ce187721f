# Tests: sessions that LISTEN and hold the tail of the notification queue: in a transaction, or outside of one while their client does
# not read; what LISTEN and UNLISTEN leave; what ends such a leak.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;
use PgleakActions;

use Test::More;

my $node = new_node('notification_queue', conf => <<'END');
pgleak.idle_leak_after = '100ms'
autovacuum = off
END
$node->safe_psql('postgres', 'CREATE ROLE app LOGIN');

my $queue = q([{"locktype": "notification queue"}]);

sub ask { return $node->safe_psql('postgres', $_[0]); }

sub eventually_leaks
{
	my ($session, $columns, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return eventually_is($node, "SELECT $columns FROM pgleak.leaks WHERE pid = $session->{pid}", $expected, $name);
}

# Test: whether a session that has run these statements is said to hold the queue in its next transaction.
sub holds_queue
{
	my ($expected, $name, @statements) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $session = wire($node, user => 'app');
	$session->do(@statements, 'BEGIN', 'SELECT 1');
	eventually_leaks($session, q(impact, coalesce(held::text, '')), $expected ? "horizon|$queue" : 'none|', $name);
	$session->do('COMMIT');
	$session->close;
}

sub test_statements
{
	holds_queue(0, 'a session that does not LISTEN');
	holds_queue(1, 'LISTEN', 'LISTEN a');
	holds_queue(1, 'LISTEN in a block', 'BEGIN', 'LISTEN a', 'COMMIT');
	holds_queue(0, 'LISTEN that is rolled back', 'BEGIN', 'LISTEN a', 'ROLLBACK');
	holds_queue(0, 'LISTEN in a savepoint that is rolled back', 'BEGIN', 'SAVEPOINT s', 'LISTEN a', 'ROLLBACK TO s', 'COMMIT');
	holds_queue(0, 'UNLISTEN of the channel', 'LISTEN a', 'UNLISTEN a');
	holds_queue(1, 'UNLISTEN of another one', 'LISTEN a', 'LISTEN b', 'UNLISTEN a');
	holds_queue(0, 'UNLISTEN *', 'LISTEN a', 'LISTEN b', 'UNLISTEN *');
	holds_queue(1, 'LISTEN after UNLISTEN *', 'BEGIN', 'UNLISTEN *', 'LISTEN b', 'COMMIT');
	holds_queue(1, 'UNLISTEN * that is rolled back', 'LISTEN a', 'BEGIN', 'UNLISTEN *', 'ROLLBACK');
	holds_queue(0, 'DISCARD ALL', 'LISTEN a', 'DISCARD ALL');
	holds_queue(1, 'DISCARD PLANS', 'LISTEN a', 'DISCARD PLANS');
	holds_queue(1, 'LISTEN in a function', 'DO $$ BEGIN EXECUTE $a$LISTEN a$a$; END $$');
}

# Notifications that come one by one are sent outside of a transaction.
sub stuck_session
{
	my $session = wire($node, user => 'app');
	$session->do('LISTEN unheard');
	my $tries = 0;
	while (ask("SELECT count(*) FROM pg_stat_activity WHERE pid = $session->{pid} AND wait_event = 'ClientWrite'") == 0)
	{
		die 'the client has room for everything' if $tries++ == 1000;
		ask(q(SELECT pg_notify('unheard', repeat('x', 7900))));
	}
	return $session;
}

sub test_stuck
{
	my $session = stuck_session();
	is(ask("SELECT state, backend_xmin IS NULL, xact_start IS NULL FROM pg_stat_activity WHERE pid = $session->{pid}"), 'idle|t|t',
		'stuck: outside of a transaction');
	eventually_leaks($session, 'clock, state, wait_event, impact, held, transaction_age IS NULL', "idle|idle|ClientWrite|horizon|$queue|t",
		'stuck: it is a leak');
	my $leak = ask("SELECT leak_id FROM pgleak.leaks WHERE pid = $session->{pid}");

	# What wakes it is no sign of its client.
	ask(q(SELECT pg_notify('unheard', '')) ) for 1 .. 20;
	is(ask("SELECT count(*) FROM pgleak.leaks WHERE leak_id = $leak"), 1, 'stuck: notifications that wake it do not end the leak');
	my ($answer, $said) = act($node, 'cancel', $session->{pid});
	is($answer, 'f', 'stuck: nothing to cancel');
	like($said, qr/is not in a transaction.*pgleak\.terminate/s, 'stuck: the hint says what helps');

	while ($session->has_answer) { $session->receive(0.1); }
	eventually_recorded($node, $session, 'released', 'stuck: the leak ends when the client reads');
	is(recorded($node, $session, 'held, state'), "$queue|idle", 'stuck: the history says what it was');
	is(ask("SELECT count(*) FROM pgleak.history WHERE pid = $session->{pid}"), 1, 'stuck: one episode');
	$session->do('UNLISTEN *');
	$session->close;
}

sub test_limit
{
	my $session = stuck_session();
	eventually_leaks($session, 'impact', 'horizon', 'limit: it is a leak');
	ask(q(INSERT INTO pgleak.rules (role, min_impact, idle_terminate_after) VALUES ('app', 'horizon', '1s')));
	eventually_is($node, "SELECT outcome, last_action_result FROM pgleak.history WHERE pid = $session->{pid}", 'terminated|done',
		'limit: a terminate ends it');
	ask('DELETE FROM pgleak.rules');
	$session->close;
}

test_statements();
test_stuck();
test_limit();
no_damage($node, 'no session was harmed');
$node->stop;
done_testing();
