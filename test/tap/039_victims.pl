# Tests: who waits for the transactions of others although it asks for none of their locks, or is no client: the creation of
# a logical slot, CREATE INDEX and other commands with CONCURRENTLY, an autovacuum that prevents a wraparound. Each is named in
# the leak, in pgleak.waits, and the leak in pgleak.horizon. Whom the server does not show as waiting, nobody is blamed for.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/lib";
use PgleakTest;
use PgleakActions;

use Test::More;

my $node = new_node('main', streaming => 1, conf => <<'END');
wal_level = logical
max_replication_slots = 5
autovacuum_naptime = '1s'
log_autovacuum_min_duration = 0
pgleak.blocking_leak_after = '1s'
END
$node->safe_psql('postgres', q{
	CREATE TABLE item AS SELECT i AS id FROM generate_series(1, 1000) AS i;
	CREATE TABLE other (id integer);
	CREATE TABLE old (id integer) WITH (autovacuum_freeze_max_age = 100000);
	CREATE TABLE updated (id integer) WITH (autovacuum_vacuum_threshold = 10, autovacuum_vacuum_scale_factor = 0);
	INSERT INTO updated SELECT i FROM generate_series(1, 100) AS i;
	CREATE TABLE parted (id integer) PARTITION BY LIST (id);
	CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
	CREATE DATABASE elsewhere;
	CREATE PROCEDURE burn(count integer) LANGUAGE plpgsql AS
		$$ BEGIN FOR i IN 1..count LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$});

# Helpers ---------------------------------------------------------------------------------------------------------------

# A session that leaks, in a transaction that has an id and ran these statements.
sub leaking
{
	my (@statements) = @_;
	my $session = wire($node, parameters => { application_name => 'leak' });
	$session->do('BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT pg_current_xact_id()', @statements);
	return $session;
}

# A session that has sent a statement.
sub started
{
	my ($statement, %options) = @_;
	my $session = wire($node, %options);
	$session->start($statement);
	return $session;
}

sub leaks
{
	my ($session, $columns) = @_;
	return $node->safe_psql('postgres', "SELECT $columns FROM pgleak.leaks WHERE pid = $session->{pid}");
}

sub eventually_leaks
{
	my ($session, $columns, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return eventually_is($node, "SELECT $columns FROM pgleak.leaks WHERE pid = $session->{pid}", $expected, $name);
}

# Test: the leak, the waits and the horizon all name the pair. Returns the process ID of who waits.
sub waits_behind
{
	my ($leak, $type, $locktype, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $first = q(waiting -> 0 ->> 'backend_type', waiting -> 0 ->> 'locktype', waiting -> 0 -> 'direct');
	eventually_leaks($leak, "impact, blocked, $first", "blocking|1|$type|$locktype|true", "$name: named in the leak");
	is($node->safe_psql('postgres', 'SELECT waiter_backend_type, locktype, depth, root_pid, root_kind FROM pgleak.waits'),
		"$type|$locktype|1|$leak->{pid}|session", "$name: so does the view of waits");
	is($node->safe_psql('postgres', "SELECT kind, is_oldest FROM pgleak.horizon WHERE pid = $leak->{pid}"), 'session|t',
		"$name: and the leak holds back VACUUM");
	return leaks($leak, q(waiting -> 0 -> 'pid'));
}

# Test: without the leak, all that waited goes on.
sub goes_on
{
	my ($name, $leak, @waiters) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(cancel($node, $leak), 't', "$name: the leak is cancelled");
	for my $waiter (@waiters)
	{
		$waiter->read_answer;
		is($waiter->{sqlstate}, '', "$name: the other goes on");
	}
	eventually_is($node, 'SELECT count(*) FROM pgleak.waits', '0', "$name: nobody waits any more");
	$_->close for $leak, @waiters;
	return;
}

# Tests -----------------------------------------------------------------------------------------------------------------

# A slot is consistent once all transactions of the moment have ended.
sub test_slot_of_a_walsender
{
	my $leak = leaking();
	my $waiter = started('CREATE_REPLICATION_SLOT by_walsender TEMPORARY LOGICAL test_decoding', parameters => { replication => 'database' });
	is(waits_behind($leak, 'walsender', 'transactionid', 'slot of a walsender'), $waiter->{pid}, 'slot of a walsender: it is that process');
	is($node->safe_psql('postgres', q(SELECT kind, pid FROM pgleak.horizon WHERE slot_name = 'by_walsender')),
		"replication slot|$waiter->{pid}", 'slot of a walsender: the slot holds back VACUUM meanwhile');
	goes_on('slot of a walsender', $leak, $waiter);
}

sub test_slot_of_a_session
{
	my $leak = leaking();
	my $waiter = started(q(SELECT pg_create_logical_replication_slot('by_session', 'test_decoding', true)));
	waits_behind($leak, 'client backend', 'transactionid', 'slot of a session');
	goes_on('slot of a session', $leak, $waiter);
}

# The leak has a snapshot; the table is another one.
sub test_concurrently
{
	my ($name, $statement, @touches) = @_;
	my $leak = leaking('SELECT FROM other', @touches);
	my $waiter = started($statement);
	waits_behind($leak, 'client backend', 'virtualxid', $name);
	goes_on($name, $leak, $waiter);
}

# An autovacuum that prevents a wraparound waits for its lock; any other goes on to the next table.
sub test_autovacuum_that_waits
{
	my $leak = leaking('LOCK TABLE old IN SHARE MODE');
	$node->safe_psql('postgres', 'SET synchronous_commit = off; CALL burn(101000)');
	my $pid = waits_behind($leak, 'autovacuum worker', 'relation', 'autovacuum that waits');
	is(leaks($leak, q(waiting -> 0 ->> 'relation', waiting -> 0 ->> 'mode')), 'public.old|ShareUpdateExclusiveLock', 'autovacuum that waits: what it waits for');
	like($node->safe_psql('postgres', "SELECT query FROM pg_stat_activity WHERE pid = $pid"), qr/^autovacuum: VACUUM public\.old \(to prevent wraparound\)/,
		'autovacuum that waits: it is that one');
	goes_on('autovacuum that waits', $leak);
}

sub test_autovacuum_that_skips
{
	my $harmless = wire($node);
	$harmless->do('CREATE TEMPORARY TABLE mine (id integer)', 'BEGIN', 'LOCK TABLE mine',
		'LOCK TABLE updated IN ROW EXCLUSIVE MODE', 'CREATE TABLE new (id integer)');
	my $leak = leaking('LOCK TABLE updated IN SHARE UPDATE EXCLUSIVE MODE');
	eventually_leaks($leak, 'autovacuum_skipped', 'f', 'skipped: not yet');
	$node->safe_psql('postgres', 'UPDATE updated SET id = id + 1');
	eventually_leaks($leak, 'autovacuum_skipped', 't', 'skipped: probably');
	eventually(sub { log_count($node, qr/skipping vacuum of "updated" --- lock not available/) > 0 }, 'skipped: indeed');
	is(leaks($leak, 'blocked, impact'), '0|horizon', 'skipped: nobody waits');
	is(leaks($harmless, 'autovacuum_skipped'), 'f', 'skipped: not because of a weaker lock, nor of what is temporary or not yet there');
	is($node->safe_psql('elsewhere', 'CREATE EXTENSION pgleak; SELECT autovacuum_skipped IS NULL FROM pgleak.leaks WHERE pid = ' . $leak->{pid}), 't',
		'skipped: unknown in another database');
	configure($node, autovacuum => 'off');
	eventually_leaks($leak, 'autovacuum_skipped', 'f', 'skipped: not without autovacuum');
	configure($node, autovacuum => undef);
	$_->close for $leak, $harmless;
}

# The server looks whether anybody is connected, for 5 s, and gives up.
sub test_who_polls
{
	my $connected = wire($node, dbname => 'elsewhere');
	$connected->do('BEGIN', 'SELECT 1');
	my $waiter = started('DROP DATABASE elsewhere');
	eventually_is($node, "SELECT wait_event_type IS NULL, count(*) FROM pg_stat_activity WHERE pid = $waiter->{pid} AND state = 'active' GROUP BY 1", 't|1',
		'polls: DROP DATABASE works');
	is($node->safe_psql('postgres', "SELECT count(*) FROM pgleak.waits WHERE waiter_pid = $waiter->{pid}"), '0', 'polls: it does not wait');
	is(leaks($connected, 'blocked, impact'), '0|none', 'polls: and nobody is blamed') if leaks($connected, '1');
	$waiter->read_answer;
	is($waiter->{sqlstate}, '55006', 'polls: it fails');
	$_->close for $connected, $waiter;
}

test_slot_of_a_walsender();
test_slot_of_a_session();
test_concurrently('CREATE INDEX CONCURRENTLY', 'CREATE INDEX CONCURRENTLY item_id ON item (id)');
test_concurrently('REINDEX CONCURRENTLY', 'REINDEX INDEX CONCURRENTLY item_id');
test_concurrently('DROP INDEX CONCURRENTLY', 'DROP INDEX CONCURRENTLY item_id', 'SELECT FROM item');
test_concurrently('DETACH CONCURRENTLY', 'ALTER TABLE parted DETACH PARTITION parted_1 CONCURRENTLY', 'SELECT FROM parted');
test_autovacuum_that_skips();
test_autovacuum_that_waits();
test_who_polls();

done_testing();
