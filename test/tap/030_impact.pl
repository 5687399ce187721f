# Tests: what a leak hurts: xid and snapshot with their age, locks, and how many sessions wait behind it, directly or
# through others; that only the root of a chain is blamed; that peaks stay in the history; that actions go by it.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/lib";
use PgleakTest;
use PgleakActions;

use JSON::PP ();
use Test::More;

my $node = new_node('main', conf => <<'END');
max_prepared_transactions = 5
pgleak.act_on_superusers = on
deadlock_timeout = 60s
autovacuum = off
END
$node->safe_psql('postgres', <<'END');
CREATE TABLE account (id integer PRIMARY KEY, amount integer);
INSERT INTO account SELECT i, 100 FROM generate_series(1, 9) AS i;
CREATE TABLE other (id integer);
CREATE TABLE large AS SELECT generate_series(1, 10000) AS id;
ALTER TABLE large SET (parallel_workers = 2);
CREATE FUNCTION read_other(id integer) RETURNS boolean LANGUAGE plpgsql PARALLEL SAFE
    AS $$ BEGIN PERFORM FROM other; RETURN true; END $$;
END

# Helpers ---------------------------------------------------------------------------------------------------------------

# A session that is a leak also while it is active.
sub old_wire
{
	my $session = wire($node, @_);
	$session->do(q(SET pgleak.transaction_leak_after = '150ms'));
	return $session;
}

sub change { my ($id) = @_; return "UPDATE account SET amount = amount - 1 WHERE id = $id"; }

# Sends a statement and waits until its session, or a process that works for it, waits for a lock.
sub start_waiting
{
	my ($session, $statement) = @_;
	$session->start($statement);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return eventually_is($node, qq(
		SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND $session->{pid} IN (pid, leader_pid)),
		't', "'$statement' waits");
}

sub columns
{
	my ($session, $columns) = @_;
	return $node->safe_psql('postgres', "SELECT $columns FROM pgleak.leaks WHERE pid = $session->{pid}");
}

# Test: these columns of a session's leak come to be as expected.
sub eventually_leaks
{
	my ($session, $columns, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return eventually_is($node, "SELECT $columns FROM pgleak.leaks WHERE pid = $session->{pid}", $expected, $name);
}

# Has those who wait go on, and ends all sessions.
sub finish { for my $session (@_) { $session->read_answer if $session->has_answer; $session->close; } }

# Waits: who is blamed --------------------------------------------------------------------------------------------------

sub test_chain
{
	my ($root, $middle, $last) = (leaking_wire($node, query => change(1)), old_wire(), old_wire());
	eventually_leaks($root, 'blocked, blocked_for IS NULL, impact', '0|t|horizon', 'a leak that nobody waits for');
	my $mark = log_mark($node);
	$middle->do('BEGIN', change(2));
	start_waiting($middle, change(1));
	start_waiting($last, change(2));
	eventually_leaks($root, 'blocked, impact', '2|blocking', 'the root of a chain of three blocks two');
	is(columns($root, q(blocked_for > '0' AND blocked_for < transaction_age)), 't', 'for how long');
	eventually_leaks($middle, 'blocked, blocked_for IS NULL, impact', '0|t|horizon', 'the middle is not blamed: it waits itself');
	eventually_leaks($last, 'blocked', '0', 'nor is the end');

	my $who = "pid=$root->{pid} database=postgres .* impact=blocking locks=[0-9]+ xmin_age=[0-9]+ blocked=[12] blocked_for=[0-9.]+s";
	eventually(sub { log_count($node, qr/LOG:  pgleak: session leak blocks others: $who leak_id=/, $mark) }, 'that it blocks is logged');
	is(recorded($node, $root, 'impact, blocked > 0, ended_at IS NULL'), 'blocking|t|t', 'and in the history, while it is open');

	$root->do('COMMIT');
	$middle->read_answer;
	eventually_leaks($middle, 'blocked, impact', '1|blocking', 'when the root has gone the next in the chain is to blame');
	$middle->do('COMMIT');
	$last->read_answer;
	eventually_recorded($node, $root, 'committed', 'the root has ended');
	is(recorded($node, $root, q(blocked, blocked_for > '0', impact)), '2|t|blocking', 'the history keeps its worst moment');
	is(log_count($node, qr/session leak blocks others: pid=$root->{pid} /, $mark), 1, 'that it blocked was logged once');
	like(log_after($node, $mark), qr/session leak ended: pid=$root->{pid} .* impact=blocking .* blocked=2 /, 'and so is what it was');
	finish($root, $middle, $last);
}

sub test_hot_row
{
	my $root = leaking_wire($node, query => change(1));
	my @waiters = map { wire($node) } 1 .. 5;
	start_waiting($_, change(1)) for @waiters;
	eventually_leaks($root, 'blocked, impact', '5|blocking', 'all who wait for one row wait behind the leak that holds it');
	my $direct = $node->safe_psql('postgres',
		"SELECT count(*) FROM pg_stat_activity WHERE $root->{pid} = ANY (pg_blocking_pids(pid))");
	cmp_ok($direct, '<', 5, "only $direct of them for itself");
	my ($left) = pop @waiters;
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($left->{pid})");
	eventually_leaks($root, 'blocked', '4', 'one who has left does not count any more');
	$root->do('ROLLBACK');
	$_->read_answer for @waiters;
	eventually_recorded($node, $root, 'rolled back', 'the leak has ended');
	is(recorded($node, $root, 'blocked'), '5', 'the history has the peak');
	finish(@waiters, $root);
}

sub test_two_roots
{
	my @roots = map { leaking_wire($node, query => 'SELECT count(*) FROM other') } 1 .. 2;
	my ($alter, $reader) = (wire($node), wire($node));
	start_waiting($alter, 'ALTER TABLE other ADD COLUMN added integer');
	eventually_leaks($roots[0], 'blocked, impact', '1|blocking', 'a lock on the fast path blocks');
	start_waiting($reader, 'SELECT count(*) FROM other');
	eventually_leaks($roots[0], 'blocked', '2', 'and those in the queue behind who would get along with it');
	eventually_leaks($roots[1], 'blocked', '2', 'who waits for two counts for both');
	$roots[0]->do('COMMIT');
	eventually_leaks($roots[1], 'blocked', '2', 'and for the one that is left');
	$roots[1]->do('COMMIT');
	$_->read_answer for $alter, $reader;
	finish(@roots, $alter, $reader);
}

sub test_parallel_query
{
	my $root = leaking_wire($node, query => 'LOCK TABLE other');
	my $session = wire($node);
	$session->do('SET parallel_setup_cost = 0', 'SET parallel_tuple_cost = 0', 'SET parallel_leader_participation = off');
	start_waiting($session, 'SELECT count(*) FROM large WHERE read_other(id)');
	eventually_is($node, "SELECT count(*) FROM pg_stat_activity WHERE leader_pid = $session->{pid} AND wait_event_type = 'Lock'",
		'2', 'two workers of a query wait');
	my $behind = wire($node);
	start_waiting($behind, 'SELECT count(*) FROM other');
	eventually_leaks($root, 'blocked', '2', 'the query counts once');
	$root->do('COMMIT');
	$_->read_answer for $session, $behind;
	finish($root, $session, $behind);
}

sub test_prepared_transaction
{
	my $owner = wire($node);
	$owner->do('BEGIN', change(1), q(PREPARE TRANSACTION 'prepared'));
	my $bystander = leaking_wire($node, query => change(3));
	my $waiter = wire($node);
	start_waiting($waiter, change(1));
	eventually_leaks($bystander, 'blocked, impact', '0|horizon', 'no session is blamed for a prepared transaction');

	# Behind the prepared transaction, and behind a leak too.
	my $second = wire($node);
	$second->do('BEGIN', change(2));
	start_waiting($second, change(3));
	my $third = wire($node);
	start_waiting($third, change(2));
	eventually_leaks($bystander, 'blocked', '2', 'others are blamed as ever');
	$node->safe_psql('postgres', q(ROLLBACK PREPARED 'prepared'));
	$bystander->do('ROLLBACK');
	$waiter->read_answer;
	$second->read_answer;
	$second->do('COMMIT');
	$third->read_answer;
	finish($owner, $bystander, $waiter, $second, $third);
}

sub test_other_locks
{
	my $advisory = leaking_wire($node, query => 'SELECT pg_advisory_xact_lock(1)');
	eventually_leaks($advisory, 'locks, impact', '1|locks', 'an advisory lock is a lock');
	my $waiter = wire($node);
	start_waiting($waiter, 'SELECT pg_advisory_lock_shared(1)');
	eventually_leaks($advisory, 'blocked, impact', '1|blocking', 'for which somebody can wait');
	$advisory->do('COMMIT');
	$waiter->read_answer;

	# Waits for every transaction whose snapshot is from before the index, by its virtual id.
	my $reader = wire($node);
	$reader->do('BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT 1');
	my $maker = wire($node);
	start_waiting($maker, 'CREATE INDEX CONCURRENTLY ON other (id)');
	eventually_leaks($reader, 'blocked, impact', '1|blocking', 'CREATE INDEX CONCURRENTLY waits for a leak');
	$reader->do('COMMIT');
	$maker->read_answer;
	finish($advisory, $waiter, $reader, $maker);
}

# What is held ----------------------------------------------------------------------------------------------------------

sub test_holdings
{
	my $nothing = leaking_wire($node);
	my $locks = leaking_wire($node, query => 'SELECT count(*) FROM other');
	my $snapshot = wire($node);
	$snapshot->do('BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT 1');
	my $extended = wire($node, extended => 1);
	$extended->do('BEGIN', 'SELECT 1');
	my $writer = leaking_wire($node, query => 'INSERT INTO other (id) VALUES (1)');
	my $xid = $writer->ask('SELECT pg_current_xact_id()::xid');

	my $columns = 'holds_xid IS NOT NULL, holds_xmin IS NOT NULL, xmin_age IS NOT NULL, impact';
	eventually_leaks($nothing, "$columns, locks", 'f|f|f|none|0', 'a transaction that holds nothing');
	eventually_leaks($locks, "$columns, locks > 0", 'f|f|f|locks|t', 'one that has read a table');
	eventually_leaks($snapshot, $columns, 'f|t|t|horizon', 'one that keeps its snapshot');
	eventually_leaks($extended, $columns, 'f|t|t|horizon', 'one that has read in the extended protocol');
	eventually_leaks($writer, "$columns, holds_xid", "t|f|t|horizon|$xid", 'one that has written');
	for my $session ($nothing, $locks, $writer)
	{
		my $locked = $node->safe_psql('postgres',
			"SELECT count(*) FROM pg_locks WHERE pid = $session->{pid} AND locktype <> 'virtualxid' AND granted");
		eventually_leaks($session, 'locks', $locked, "the number of locks is that of pg_locks: $locked");
	}

	my ($before, $snapshot_before) = map { columns($_, 'xmin_age') } $writer, $snapshot;
	$node->safe_psql('postgres', "DO 'BEGIN FOR i IN 1 .. 50 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END'");
	eventually_leaks($writer, "xmin_age >= $before + 50 AND xmin_age < $before + 60", 't', 'its age grows as others use xids');
	eventually_leaks($snapshot, "xmin_age >= $snapshot_before + 50", 't', 'so does that of a snapshot');

	is(cancel($node, $writer), 't', 'a rollback in place');
	eventually_leaks($writer, "$columns, locks, blocked", 'f|f|f|none|0|0', 'leaves nothing that hurts');
	$writer->ask('ROLLBACK');
	eventually_recorded($node, $writer, 'cancelled', 'the writer has ended');
	is(recorded($node, $writer, "holds_xid, xmin_age >= $before + 50, locks > 0, blocked, blocked_for IS NULL, impact"),
		"$xid|t|t|0|t|horizon", 'what it held is in the history');
	finish($nothing, $locks, $snapshot, $extended, $writer);
}

# What follows from it --------------------------------------------------------------------------------------------------

# Who waits itself is not acted on for those behind it.
sub test_min_impact_blocking
{
	my $root = wire($node);
	$root->do('SET pgleak.idle_leak_after = 0', 'BEGIN', change(1));
	my $middle = old_wire();
	$middle->do(q(SET pgleak.action_min_impact = 'blocking'), q(SET pgleak.transaction_cancel_after = '200ms'), 'BEGIN', change(2));
	start_waiting($middle, change(1));
	my $last = wire($node);
	start_waiting($last, change(2));
	eventually_leaks($middle, q(blocked, next_action, action_held_by, transaction_age > '1s'), "0||waits behind pid $root->{pid}|t",
		'a session that waits is past its limit, and no action is announced');
	is(columns($middle, 'last_action'), '', 'and has not been acted on, though somebody waits for it');
	$root->do('COMMIT');
	$middle->read_answer;
	eventually(sub { $last->has_answer }, 'once it is the root itself it is');
	$last->read_answer;
	eventually_leaks($middle, 'last_action, last_action_result, impact', 'cancel|done|none', 'cancelled in place');
	like(log_after($node), qr/will cancel: pid=$middle->{pid} .* impact=blocking .* blocked=1 blocked_for=/, 'the log says why');
	$middle->ask('ROLLBACK');
	finish($root, $middle, $last);
}

sub test_notifications
{
	my $listener = wire($node);
	$listener->do('LISTEN pgleak');
	my $root = leaking_wire($node, query => change(1));
	my @events;
	my $hear = sub {
		$listener->ask('SELECT 1');
		push @events, grep { ($_->{pid} // 0) == $root->{pid} } map { JSON::PP->new->utf8->decode($_) } @{ $listener->{payloads} };
		return scalar @events;
	};
	eventually(sub { $hear->() >= 1 }, 'a leak is notified');
	my $waiter = wire($node);
	start_waiting($waiter, change(1));
	eventually(sub { $hear->() >= 2 }, 'and that it blocks');
	$root->do('COMMIT');
	$waiter->read_answer;
	eventually(sub { $hear->() >= 3 }, 'and its end');
	is(join(', ', map { "$_->{event}: $_->{impact} $_->{blocked}" } @events),
		'opened: horizon 0, blocking: blocking 1, ended: blocking 1', 'each says what it hurts');
	finish($listener, $root, $waiter);
}

sub test_top
{
	my $old = leaking_wire($node);
	eventually_leaks($old, 'count(*)', '1', 'an old leak that hurts nobody');
	my $young = leaking_wire($node, query => change(1));
	my $waiter = wire($node);
	start_waiting($waiter, change(1));
	eventually_leaks($young, 'blocked', '1', 'and a young one that does');
	is($node->safe_psql('postgres', "SELECT pid, blocked FROM pgleak.top WHERE pid IN ($old->{pid}, $young->{pid})"),
		"$young->{pid}|1\n$old->{pid}|0", 'the worst is on top');
	$node->safe_psql('postgres', 'CREATE ROLE ordinary LOGIN');
	is($node->safe_psql('postgres', q(SELECT count(*), count(holds_xid), count(locks), count(blocked), count(impact)
		FROM pgleak.leaks WHERE pid IN ) . "($old->{pid}, $young->{pid})", extra_params => [ '-U', 'ordinary' ]),
		'2|0|0|0|0', 'what it hurts is for those who may see it');
	$young->do('COMMIT');
	$waiter->read_answer;
	finish($old, $young, $waiter);
}

test_chain();
test_hot_row();
test_two_roots();
test_parallel_query();
test_prepared_transaction();
test_other_locks();
test_holdings();
test_min_impact_blocking();
test_notifications();
test_top();
no_damage($node, 'no session was harmed');
$node->stop;
done_testing();
