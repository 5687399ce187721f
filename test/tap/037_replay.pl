# Tests: a session on a standby that holds replay back, by its snapshot, by its lock or by being in a transaction, is a
# blocking leak; the startup process waits behind it; nobody else is blamed, neither then nor after it has been cancelled. Where
# the holder is a guess, no limit acts on it.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/lib";
use PgleakTest;
use PgleakActions;

use JSON::PP ();
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', streaming => 1, conf => <<'END');
autovacuum = off
pgleak.blocking_leak_after = '1s'
END
$node->safe_psql('postgres', 'CREATE TABLE item AS SELECT i AS id FROM generate_series(1, 1000) AS i');
$node->safe_psql('postgres', 'CREATE TABLE other (id integer)');
$node->safe_psql('postgres', q{
	CREATE ROLE limited LOGIN;
	ALTER ROLE limited SET pgleak.blocking_cancel_after = '2s';
	ALTER ROLE limited SET pgleak.blocking_terminate_after = '3s';
	GRANT SELECT ON item, other TO limited});
$node->backup('copy');
my $standby = empty_node('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->append_conf('postgresql.conf', <<'END');
max_standby_streaming_delay = -1
hot_standby_feedback = off
END
$standby->start;
$node->safe_psql('postgres', q(SET allow_in_place_tablespaces = on; CREATE TABLESPACE place LOCATION ''));

# Helpers ---------------------------------------------------------------------------------------------------------------

# A session of the standby in a transaction.
sub reader
{
	my ($begin, @statements) = @_;
	my $session = wire($standby);
	$session->do($begin, @statements);
	return $session;
}

my $repeatable_read = 'BEGIN ISOLATION LEVEL REPEATABLE READ';

sub eventually_leaks
{
	my ($session, $columns, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return eventually_is($standby, "SELECT $columns FROM pgleak.leaks WHERE pid = $session->{pid}", $expected, $name);
}

sub leaks
{
	my ($session, $columns) = @_;
	return $standby->safe_psql('postgres', "SELECT $columns FROM pgleak.leaks WHERE pid = $session->{pid}");
}

sub wait_for_replay { $node->wait_for_catchup($standby, 'replay'); return; }

sub eventually_replay_waits
{
	my ($event) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return eventually_is($standby, "SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'startup'", $event, "$event: replay waits");
}

# Test: only replay waits behind the leak.
sub startup_waits_behind
{
	my ($session, $kind, $expected) = @_;
	my ($waiter) = @{ JSON::PP->new->utf8->decode(leaks($session, 'waiting')) };
	is_deeply({ map { $_ => $waiter->{$_} } keys %$expected }, $expected, "$kind: what replay waits for");
	is($waiter->{pid}, $standby->safe_psql('postgres', q(SELECT pid FROM pg_stat_activity WHERE backend_type = 'startup')),
		"$kind: the startup process waits");
	is($waiter->{backend_type}, 'startup', "$kind: its kind");
	ok($waiter->{direct}, "$kind: it waits for the leak itself");
	return;
}

# Test: replay goes on after the leak is cancelled, and then nobody is blamed.
sub goes_on
{
	my ($session, $kind, @others) = @_;
	is(cancel($standby, $session), 't', "$kind: it is cancelled");
	wait_for_replay();
	eventually_is($standby, 'SELECT count(*) FROM pgleak.waits', '0', "$kind: nobody waits any more");
	is(leaks($_, q(coalesce(blocked, 0), waiting IS NULL)), '0|t', "$kind: another session has never been blamed") for @others;
	$_->close for $session, @others;
	return;
}

# Conflicts -------------------------------------------------------------------------------------------------------------

sub test_snapshot
{
	my $old = reader($repeatable_read, 'SELECT FROM item');
	$node->safe_psql('postgres', 'DELETE FROM item WHERE id <= 500');
	wait_for_replay();
	my $new = reader($repeatable_read, 'SELECT FROM item');
	my $without = reader('BEGIN', 'SELECT 1');
	$node->safe_psql('postgres', 'VACUUM item');
	eventually_replay_waits('RecoveryConflictSnapshot');
	eventually_leaks($old, 'impact, blocked', 'blocking|1', 'snapshot: it is blocking');
	startup_waits_behind($old, 'snapshot', { locktype => 'RecoveryConflictSnapshot', guess => JSON::PP::true });
	eventually_leaks($old, q(blocked_for > '2s' AND blocked_for < transaction_age), 't', 'snapshot: since when');
	is($standby->safe_psql('postgres', 'SELECT waiter_backend_type, locktype, relation IS NULL, mode IS NULL, waiting_for > \'2s\', depth, root_pid, root_kind FROM pgleak.waits'),
		"startup|RecoveryConflictSnapshot|t|t|t|1|$old->{pid}|session", 'snapshot: the view');
	goes_on($old, 'snapshot', $new, $without);
}

# The blocking clock alone finds it.
sub test_blocking_clock
{
	my $reader = reader('SET pgleak.idle_leak_after = 0', $repeatable_read, 'SELECT FROM item');
	$node->safe_psql('postgres', 'DELETE FROM item WHERE id <= 700');
	$node->safe_psql('postgres', 'VACUUM item');
	eventually_leaks($reader, 'clock, impact, blocked', 'blocking|blocking|1', 'clock: it is blocking');
	goes_on($reader, 'clock');
}

sub test_lock
{
	my $reader = reader('BEGIN', 'SELECT FROM other');
	# Without a snapshot: a page of the catalogs may be pruned after the ALTER TABLE, and then replay really waits for it: the
	# server logs a conflict on the snapshot.
	my $bystander = reader('BEGIN', 'SELECT FROM item');
	$node->safe_psql('postgres', 'ALTER TABLE other ADD COLUMN name text');
	eventually_leaks($reader, 'impact, blocked', 'blocking|1', 'lock: it is blocking');
	startup_waits_behind($reader, 'lock', { locktype => 'relation', relation => 'public.other', mode => 'AccessExclusiveLock', guess => undef });
	goes_on($reader, 'lock', $bystander);
}

# A temporary file is in the tablespace, so replay waits for all that are in a transaction.
sub test_tablespace
{
	my $reader = reader('SET temp_tablespaces = place', 'SET work_mem = 64', 'BEGIN',
		'DECLARE spilled CURSOR FOR SELECT i FROM generate_series(1, 100000) AS i ORDER BY -i', 'FETCH spilled');
	$node->safe_psql('postgres', 'DROP TABLESPACE place');
	eventually_replay_waits('RecoveryConflictTablespace');
	eventually_leaks($reader, 'impact, blocked', 'blocking|1', 'tablespace: it is blocking');
	startup_waits_behind($reader, 'tablespace', { locktype => 'RecoveryConflictTablespace', guess => undef });
	my $late = reader($repeatable_read, 'SELECT FROM item');
	eventually_leaks($late, 'blocked, waiting IS NULL', '0|t', 'tablespace: one that came later is not in its way');
	goes_on($reader, 'tablespace', $late);
}

# Limits -----------------------------------------------------------------------------------------------------------------

sub limited_reader
{
	my (@statements) = @_;
	my $session = wire($standby, user => 'limited');
	$session->do(@statements);
	return $session;
}

# The server does not show whose snapshot replay waits for, so limits leave the sessions that pgleak names alone.
sub test_limits_leave_a_guess_alone
{
	my $reader = limited_reader($repeatable_read, 'SELECT FROM item');
	$node->safe_psql('postgres', 'DELETE FROM item WHERE id <= 800');
	$node->safe_psql('postgres', 'VACUUM item');
	eventually_leaks($reader, q(blocked_for > '6s', action_held_by, next_action IS NULL), 't|holder is a guess|t', 'guess: the view says why');
	is(leaks($reader, 'state, last_action IS NULL'), 'idle in transaction|t', 'guess: no limit acts on it');
	unlike(slurp_file($standby->logfile), qr{pgleak: will \w+: .*pid=$reader->{pid} }, 'guess: nor was that tried');
	goes_on($reader, 'guess');
}

sub test_limits_act_on_a_lock
{
	my $reader = limited_reader('BEGIN', 'SELECT FROM other');
	$node->safe_psql('postgres', 'ALTER TABLE other ADD COLUMN number integer');
	wait_for_replay();
	eventually_leaks($reader, 'state, last_action, last_action_result', 'idle in transaction (aborted)|cancel|done', 'limit: it acts on who holds the lock');
	$reader->close;
}

test_snapshot();
test_blocking_clock();
test_lock();
test_tablespace();
test_limits_leave_a_guess_alone();
test_limits_act_on_a_lock();

done_testing();
