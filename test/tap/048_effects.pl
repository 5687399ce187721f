# Tests: what a leak costs beside those who wait: its share in the horizon, WAL that a slot keeps because of it, the notification
# queue, subtransactions; in pgleak.leaks, the history, the log and the notifications; and what it is not blamed for.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;
use PgleakActions;

use Test::More;

my $node = new_node('effects', streaming => 1, conf => <<'END');
pgleak.idle_leak_after = '100ms'
pgleak.prepared_leak_after = '100ms'
max_prepared_transactions = 2
wal_level = logical
max_replication_slots = 5
autovacuum = off
END
$node->safe_psql('postgres', 'CREATE TABLE effects (n int); CREATE TABLE bulk (filler text)');

sub ask { return $node->safe_psql('postgres', $_[0]); }

sub eventually_shows
{
	my ($session, $columns, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return eventually_is($node, "SELECT $columns FROM pgleak.leaks WHERE pid = $session->{pid}", $expected, $name);
}

# Test: samples have been taken of the session, and say that.
sub after_samples
{
	my ($session, $columns, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	eventually_shows($session, 'subxact_overflow IS NOT NULL', 't', "$name: it was sampled");
	return is(ask("SELECT $columns FROM pgleak.leaks WHERE pid = $session->{pid}"), $expected, $name);
}

# The share in the horizon -----------------------------------------------------------------------------------------------

sub test_oldest
{
	my $older = leak($node, query => 'INSERT INTO effects VALUES (1)');
	eventually_shows($older, q(oldest_for > '1 second'), 't', 'oldest: a leak that nothing is older than');
	my $younger = leak($node, query => 'INSERT INTO effects VALUES (1)');
	after_samples($younger, 'oldest_for IS NULL', 't', 'oldest: a younger one is not');
	my $elsewhere = session($node, dbname => 'template1');
	$elsewhere->do('BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT count(*) FROM pg_class');
	$older->do('COMMIT');
	eventually_recorded($node, $older, 'committed', 'oldest: the first one ends');
	is(recorded($node, $older, q(oldest_for > '1 second' AND oldest_for <= duration)), 't', 'oldest: the history says for how long');
	like(log_after($node), qr/session leak ended: pid=$older->{pid} .*oldest_for=[0-9.]+s .*leak_id/, 'oldest: so does the log');
	eventually_shows($younger, q(oldest_for > '1 second'), 't', 'oldest: then the younger one is the oldest');
	$younger->do('ROLLBACK');
	$elsewhere->do('ROLLBACK');
	$_->close for $older, $younger, $elsewhere;
}

# WAL --------------------------------------------------------------------------------------------------------------------

# Writes WAL, and a record that says which transactions are in progress; the consumer of the slot then has all of it.
sub consume
{
	my ($slot) = @_;
	ask('INSERT INTO bulk SELECT repeat(md5(g::text), 30) FROM generate_series(1, 1000) g');
	ask('CHECKPOINT');
	ask("SELECT count(*) FROM pg_logical_slot_get_changes('$slot', NULL, NULL)");
}

# Test: the columns about WAL come to say that while the slot is consumed.
sub while_consumed
{
	my ($leak, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $shown = '';
	my $is_shown = sub {
		consume('consumed');
		return ($shown = ask("SELECT slot_name, retained_bytes > 1000000 FROM pgleak.leaks WHERE $leak")) eq $expected;
	};
	PgleakTest::poll($is_shown, $PgleakTest::patience);
	return is($shown, $expected, $name);
}

sub test_wal
{
	ask(q(SELECT pg_create_logical_replication_slot('consumed', 'test_decoding')));
	my $reader = session($node);
	$reader->do('BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT count(*) FROM effects');
	my $writer = leak($node, query => 'INSERT INTO effects VALUES (1)');
	ask(q(SELECT pg_create_physical_replication_slot('physical', true)));
	my $younger = leak($node, query => 'INSERT INTO effects VALUES (1)');
	while_consumed("pid = $writer->{pid}", 'consumed|t', 'WAL: the oldest transaction that writes keeps it');
	my $kept = ask(q(SELECT confirmed_flush_lsn - restart_lsn FROM pg_replication_slots WHERE slot_name = 'consumed'));
	eventually_shows($writer, "retained_bytes = $kept", 't', 'WAL: as much as the slot shows');
	after_samples($younger, 'retained_bytes IS NULL AND slot_name IS NULL', 't', 'WAL: not a younger one');
	after_samples($reader, 'retained_bytes IS NULL AND slot_name IS NULL', 't', 'WAL: not one that only reads');

	my $listener = session($node);
	$listener->do('LISTEN pgleak');
	$writer->do('ROLLBACK');
	eventually_recorded($node, $writer, 'rolled back', 'WAL: the leak ends');
	is(recorded($node, $writer, "slot_name, retained_bytes >= $kept"), 'consumed|t', 'WAL: the history says how much');
	like(log_after($node), qr/session leak ended: pid=$writer->{pid} .*retained_bytes=[0-9]+ slot=consumed/, 'WAL: so does the log');
	while_consumed("pid = $younger->{pid}", 'consumed|t', 'WAL: now it is the other one');
	$younger->do('ROLLBACK');
	$reader->do('ROLLBACK');
	eventually_is($node, "SELECT count(*) FROM pgleak.leaks", '0', 'WAL: no leak is left');
	eventually(sub {
		consume('consumed');
		return ask("SELECT confirmed_flush_lsn - restart_lsn < $kept / 2 FROM pg_replication_slots WHERE slot_name = 'consumed'") eq 't';
	}, 'WAL: and the slot lets go of it');
	$_->close for $reader, $writer, $younger, $listener;
}

# A slot whose consumer does not come keeps WAL of its own accord.
sub test_consumer_away
{
	my $writer = leak($node, query => 'INSERT INTO effects VALUES (1)');
	ask('INSERT INTO bulk SELECT repeat(md5(g::text), 30) FROM generate_series(1, 1000) g');
	eventually_shows($writer, q(oldest_for > '0'), 't', 'consumer away: two samples');
	is(ask("SELECT retained_bytes IS NULL FROM pgleak.leaks WHERE pid = $writer->{pid}"), 't', 'consumer away: not the fault of the leak');
	$writer->do('ROLLBACK');
	$writer->close;
}

sub test_prepared
{
	ask(q(BEGIN; INSERT INTO effects VALUES (1); PREPARE TRANSACTION 'kept'));
	while_consumed(q(gid = 'kept'), 'consumed|t', 'prepared: a prepared transaction keeps WAL too');
	eventually_is($node, q(SELECT oldest_for > '1 second', subxact_overflow FROM pgleak.leaks WHERE gid = 'kept'), 't|f', 'prepared: and is the oldest');
	ask(q(ROLLBACK PREPARED 'kept'));
	eventually_is($node, q(SELECT outcome, slot_name, retained_bytes > 1000000 FROM pgleak.history WHERE gid = 'kept'), 'rolled back|consumed|t',
		'prepared: the history says so');
	ask(q(SELECT pg_drop_replication_slot('consumed'), pg_drop_replication_slot('physical')));
}

# The notification queue -------------------------------------------------------------------------------------------------

sub test_queue
{
	my $listener = session($node);
	$listener->do('LISTEN unheard', 'BEGIN', 'SELECT 1');
	my $other = leak($node, query => 'SELECT 1');
	eventually_shows($listener, 'notify_queue_usage', '0', 'queue: it is empty');
	ask(q(SELECT count(pg_notify('unheard', repeat('x', 7000) || g)) FROM generate_series(1, 2000) g));
	eventually_shows($listener, 'notify_queue_usage > 0', 't', 'queue: it fills');
	after_samples($other, 'notify_queue_usage IS NULL', 't', 'queue: who does not LISTEN does not hold it');
	$listener->do('COMMIT');
	eventually_recorded($node, $listener, 'committed', 'queue: the leak ends');
	is(recorded($node, $listener, 'notify_queue_usage BETWEEN 0.00001 AND 1'), 't', 'queue: the history says how full it was');
	$other->do('COMMIT');
	$_->close for $listener, $other;
}

# Subtransactions --------------------------------------------------------------------------------------------------------

sub with_savepoints
{
	my ($count) = @_;
	my $session = session($node);
	$session->do('BEGIN', map { ("SAVEPOINT s$_", 'INSERT INTO effects VALUES (1)') } 1 .. $count);
	return $session;
}

sub test_subtransactions
{
	my $few = with_savepoints(60);
	my $many = with_savepoints(70);
	after_samples($few, 'subxact_overflow', 'f', 'subtransactions: as many as fit');
	after_samples($many, 'subxact_overflow', 't', 'subtransactions: too many');
	$_->do('ROLLBACK') for $few, $many;
	eventually_recorded($node, $many, 'rolled back', 'subtransactions: the leak ends');
	is(recorded($node, $many, 'subxact_overflow'), 't', 'subtransactions: the history says so');
	like(log_after($node), qr/session leak ended: pid=$many->{pid} .*subxact_overflow=yes/, 'subtransactions: so does the log');
	unlike(log_after($node), qr/session leak ended: pid=$few->{pid} .*subxact_overflow/, 'subtransactions: not for the others');
	$_->close for $few, $many;
}

test_oldest();
test_wal();
test_consumer_away();
test_prepared();
test_queue();
test_subtransactions();
no_damage($node, 'no session was harmed');
$node->stop;
done_testing();
