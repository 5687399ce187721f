# Tests: pgleak.waits: who waits behind whom, with the root first, whatever the root is; what an unprivileged role sees of
# it; that it works on a standby; and what a leak keeps of its worst moment: the locks it holds, and who waited.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/lib";
use PgleakTest;
use PgleakActions;

use JSON::PP ();
use Test::More;

my $node = new_node('main', streaming => 1, conf => <<'END');
max_prepared_transactions = 5
deadlock_timeout = 600s
autovacuum = off
END
$node->safe_psql('postgres', <<'END');
CREATE TABLE account (id integer PRIMARY KEY, amount integer);
INSERT INTO account SELECT i, 100 FROM generate_series(1, 9) AS i;
CREATE TABLE other (id integer);
CREATE SCHEMA "Odd";
CREATE TABLE "Odd"."Table" (id integer);
CREATE ROLE ordinary LOGIN;
CREATE DATABASE elsewhere;
END

# Helpers ---------------------------------------------------------------------------------------------------------------

sub change { my ($id) = @_; return "UPDATE account SET amount = amount - 1 WHERE id = $id"; }

# A session with an application_name.
sub named { my ($name) = @_; return wire($node, parameters => { application_name => $name }); }

# Sends a statement and waits until its session waits for a lock.
sub start_waiting
{
	my ($session, $statement) = @_;
	$session->start($statement);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return eventually_is($node, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND pid = $session->{pid}",
		'1', "'$statement' waits");
}

sub waits { my ($columns, %options) = @_; return $node->safe_psql($options{dbname} // 'postgres', "SELECT $columns FROM pgleak.waits",
		$options{user} ? (extra_params => [ '-U', $options{user} ]) : ()); }

# Test: what the view shows comes to be as expected. (A wait has no start in its first moment.)
sub eventually_waits
{
	my ($columns, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return eventually_is($node, "SELECT $columns FROM pgleak.waits", $expected, $name);
}

sub finish { for my $session (@_) { $session->read_answer if $session->has_answer; $session->close; } }

# The view --------------------------------------------------------------------------------------------------------------

sub test_chain
{
	is(waits('count(*)'), '0', 'nobody waits');
	my ($root, $middle, $last) = map { named($_) } qw(root middle last);
	$root->do('BEGIN', change(1) . " /* route='/orders' */");
	$middle->do('BEGIN', change(2));
	start_waiting($middle, change(1));
	start_waiting($last, change(2));
	eventually_waits('waiter_pid, waiter_application_name, depth, root_pid', "$middle->{pid}|middle|1|$root->{pid}\n$last->{pid}|last|2|$root->{pid}",
		'a chain: the root is the same for both, the depth is not');
	is(waits('locktype, relation IS NULL, mode, waiter_database, waiter_role = current_user, waiter_backend_type, waiter_query', ) =~ s/\n.*//r,
		'transactionid|t|ShareLock|postgres|t|client backend|' . change(1), 'what the first waits for');
	is(waits(q(DISTINCT root_kind, root_gid IS NULL, root_state, root_application_name, root_database, root_role = current_user, root_route)),
		'session|t|idle in transaction|root|postgres|t|/orders', 'who the root is');
	is(waits(q(DISTINCT waiting_for BETWEEN '0' AND clock_timestamp() - since, root_idle_for > waiting_for, root_transaction_age >= root_idle_for)),
		't|t|t', 'times');
	$root->do('COMMIT');
	$middle->read_answer;
	eventually_waits('waiter_pid, depth, root_pid', "$last->{pid}|1|$middle->{pid}", 'the root has gone, and the next is the root');
	$middle->do('COMMIT');
	$last->read_answer;
	is(waits('count(*)'), '0', 'nobody waits any more');
	finish($root, $middle, $last);
}

sub test_two_roots
{
	my @roots = map { wire($node) } 1 .. 2;
	$_->do('BEGIN', 'SELECT FROM "Odd"."Table"') for @roots;
	my ($alter, $reader) = (wire($node), wire($node));
	start_waiting($alter, 'ALTER TABLE "Odd"."Table" ADD COLUMN name text');
	start_waiting($reader, 'SELECT FROM "Odd"."Table"');
	my @pids = sort { $a <=> $b } map { $_->{pid} } @roots;
	eventually_waits('root_pid, waiter_pid, depth, mode, relation',
		join("\n", map { ("$_|$alter->{pid}|1|AccessExclusiveLock|\"Odd\".\"Table\"", "$_|$reader->{pid}|2|AccessShareLock|\"Odd\".\"Table\"") } @pids),
		'two that share a lock are two roots, and a queue behind it has two rows each');
	my $oid = $node->safe_psql('postgres', q(SELECT '"Odd"."Table"'::regclass::oid));
	$node->safe_psql('elsewhere', 'CREATE EXTENSION pgleak');
	is(waits('DISTINCT relation', dbname => 'elsewhere'), $oid, 'in another database the relation has no name');
	$_->do('COMMIT') for @roots;
	$_->read_answer for $alter, $reader;
	finish(@roots, $alter, $reader);
}

# A session that is idle outside of a transaction, and so no leak.
sub test_advisory_lock
{
	my ($root, $waiter) = (named('pooled'), wire($node));
	$root->do('SELECT pg_advisory_lock(7)');
	start_waiting($waiter, 'SELECT pg_advisory_lock(7)');
	eventually_waits(q(root_pid, root_kind, root_state, root_application_name, root_idle_for > '0', root_transaction_age IS NULL, root_route IS NULL, locktype, mode),
		"$root->{pid}|session|idle|pooled|t|t|t|advisory|ExclusiveLock", 'an idle session that keeps an advisory lock is a root');
	$root->do('SELECT pg_advisory_unlock(7)');
	$waiter->read_answer;
	finish($root, $waiter);
}

sub test_prepared_transaction
{
	my ($owner, $waiter) = (wire($node), wire($node));
	$owner->do('BEGIN', change(1), q(PREPARE TRANSACTION 'it''s mine'));
	start_waiting($waiter, change(1));
	eventually_waits(q(waiter_pid, root_pid IS NULL, root_gid, root_kind, root_state IS NULL, root_database, root_role = current_user,
		root_idle_for IS NULL, root_transaction_age > '0', depth),
		"$waiter->{pid}|t|it's mine|prepared transaction|t|postgres|t|t|t|1", 'a prepared transaction is a root');
	$node->safe_psql('postgres', q(ROLLBACK PREPARED 'it''s mine'));
	$waiter->read_answer;
	finish($owner, $waiter);
}

sub test_deadlock
{
	my ($one, $two) = (wire($node), wire($node));
	$one->do('BEGIN', change(1));
	$two->do('BEGIN', change(2));
	start_waiting($one, change(2));
	start_waiting($two, change(1));
	eventually_waits('count(*), count(root_pid), count(root_kind), count(depth), count(locktype)', '2|0|0|0|2', 'a deadlock has no root');
	$node->safe_psql('postgres', "SELECT pg_cancel_backend($two->{pid})");
	$two->read_answer;
	$two->do('ROLLBACK');
	$one->read_answer;
	finish($one, $two);
}

sub test_masked
{
	my ($root, $waiter) = (named('root'), named('waiter'));
	$root->do('BEGIN', change(1) . " /* route='/secret' */");
	start_waiting($waiter, change(1));
	my $names = join ', ', map { "$_ IS NOT NULL" } qw(waiter_backend_type root_state root_idle_for root_transaction_age root_route);
	my $visible = "waiter_pid, waiter_application_name, root_pid, root_application_name, root_kind, locktype, depth, since IS NOT NULL";
	eventually_waits("$visible, $names", "$waiter->{pid}|waiter|$root->{pid}|root|session|transactionid|1|t|t|t|t|t|t", 'a superuser sees all');
	is(waits("$visible, waiter_query, $names", user => 'ordinary'),
		"$waiter->{pid}|waiter|$root->{pid}|root|session|transactionid|1|t|<insufficient privilege>|f|f|f|f|f",
		'an ordinary role sees who waits for whom, and nothing of what they do');
	$root->do('COMMIT');
	$waiter->read_answer;
	finish($root, $waiter);
}

# Replay waits for a reader's lock: the waiter is the startup process.
sub test_standby
{
	$node->backup('copy');
	my $standby = empty_node('standby');
	$standby->init_from_backup($node, 'copy', has_streaming => 1);
	$standby->append_conf('postgresql.conf', 'max_standby_streaming_delay = -1');
	$standby->start;
	my $reader = wire($standby);
	$reader->do('BEGIN', 'SELECT FROM other');
	$node->safe_psql('postgres', 'ALTER TABLE other ADD COLUMN name text');
	eventually_is($standby, 'SELECT waiter_backend_type, waiter_database IS NULL, locktype, relation, mode, root_pid, root_kind, depth FROM pgleak.waits',
		"startup|t|relation|public.other|AccessExclusiveLock|$reader->{pid}|session|1", 'on a standby replay waits behind a reader');
	my $late = wire($standby);
	$late->start('SELECT FROM other');
	eventually_is($standby, "SELECT depth, root_pid FROM pgleak.waits WHERE waiter_pid = $late->{pid}", "2|$reader->{pid}", 'and others behind replay');
	$reader->do('COMMIT');
	$late->read_answer;
	eventually_is($standby, 'SELECT count(*) FROM pgleak.waits', '0', 'until it ends');
	finish($reader, $late);
	$standby->stop;
}

# What a leak keeps -----------------------------------------------------------------------------------------------------

sub leaks
{
	my ($session, $columns, %options) = @_;
	return $node->safe_psql('postgres', "SELECT $columns FROM pgleak.leaks WHERE pid = $session->{pid}",
		$options{user} ? (extra_params => [ '-U', $options{user} ]) : ());
}

sub eventually_leaks
{
	my ($session, $columns, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return eventually_is($node, "SELECT $columns FROM pgleak.leaks WHERE pid = $session->{pid}", $expected, $name);
}

sub decoded { my ($json) = @_; return JSON::PP->new->utf8->decode($json); }

# A lock of the column `held` or `waiting` without its numbers.
sub lock_text { my ($lock) = @_; return join ' ', grep { defined } @$lock{qw(locktype relation mode waiters)}; }

sub test_held
{
	my $root = wire($node);
	$root->do('BEGIN', 'SELECT FROM account', 'LOCK TABLE "Odd"."Table"', 'SELECT pg_advisory_xact_lock(-7)',
		'SELECT pg_advisory_xact_lock_shared(1, -2)');
	eventually_leaks($root, 'jsonb_array_length(held), waiting IS NULL', '5|t', 'the locks of a leak that nobody waits for');
	my $held = decoded(leaks($root, 'held'));
	is(join(', ', map { lock_text($_) } @$held[ 0 .. 2 ]),
		'relation "Odd"."Table" AccessExclusiveLock 0, advisory ExclusiveLock 0, advisory ShareLock 0', 'the strongest come first');
	is(join(', ', sort map { lock_text($_) } @$held[ 3 .. 4 ]),
		join(', ', map { "relation public.$_ AccessShareLock 0" } qw(account account_pkey)), 'then those on the fast path');
	is_deeply([ map { $_->{key} } @$held[ 1, 2 ] ], [ -7, [ 1, -2 ] ], 'advisory locks have the keys of their callers');
	$root->do('SELECT pg_advisory_xact_lock(i) FROM generate_series(1, 20) AS i');
	eventually_leaks($root, 'jsonb_array_length(held), locks', '8|26', 'at most 8 are kept');
	$root->do('COMMIT');
	eventually_recorded($node, $root, 'committed', 'it has ended');
	is(recorded($node, $root, q(jsonb_array_length(held), held -> 0 ->> 'relation', waiting IS NULL)), '8|"Odd"."Table"|t', 'the history has them');
	finish($root);
}

sub test_ten_waiters
{
	my $root = wire($node);
	$root->do('BEGIN', 'SELECT FROM other', change(1), 'LOCK TABLE "Odd"."Table"');
	my @waiters = map { named("waiter $_") } 1 .. 10;
	start_waiting($waiters[0], change(1));
	eventually_leaks($root, 'blocked, jsonb_array_length(waiting)', '1|1', 'one waits');
	start_waiting($waiters[$_], 'SELECT FROM "Odd"."Table"') for 1 .. 9;
	eventually_leaks($root, 'blocked, jsonb_array_length(waiting)', '10|8', 'ten wait, eight are kept');

	my $held = decoded(leaks($root, 'held'));
	is(lock_text($held->[0]), 'relation "Odd"."Table" AccessExclusiveLock 9', 'the lock with the most waiters comes first');
	is(lock_text($held->[1]), 'transactionid ExclusiveLock 1', 'then the one with one');
	is($held->[1]{xid}, leaks($root, 'holds_xid'), 'which is its transaction');
	like(lock_text($held->[2]), qr/^relation public.account(_pkey)? RowExclusiveLock 0$/, 'then those that nobody waits for');

	my %name_of = map { $_->{pid} => $_ } @waiters;
	my $waiting = decoded(leaks($root, 'waiting'));
	is(scalar(grep { $name_of{ $_->{pid} } } @$waiting), 8, 'they are the ones');
	for my $session (@$waiting)
	{
		next unless $session->{locktype} eq 'relation';
		is(lock_text($session), 'relation "Odd"."Table" AccessShareLock', "what $session->{application_name} waits for");
		like($session->{application_name}, qr/^waiter [0-9]+$/, 'its name');
		is($session->{backend_type}, 'client backend', 'its kind');
		ok($session->{direct}, 'it waits for the leak itself');
		last;
	}
	is($node->safe_psql('postgres', "SELECT bool_and((w ->> 'since')::timestamptz = l.waitstart) FROM pgleak.leaks, jsonb_array_elements(waiting) w
		JOIN pg_locks l ON l.pid = (w ->> 'pid')::int AND NOT l.granted"), 't', 'since when is that of pg_locks');
	is(leaks($root, 'held IS NULL, waiting IS NULL', user => 'ordinary'), 't|t', 'an ordinary role sees nothing of it');

	my $left = pop @waiters;
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($left->{pid})");
	eventually_leaks($root, q(blocked, jsonb_array_length(waiting), held -> 0 -> 'waiters'), '9|8|8', 'one has left: the worst moment stays');
	$root->do('COMMIT');
	$_->read_answer for @waiters;
	eventually_recorded($node, $root, 'committed', 'the leak has ended');
	is(recorded($node, $root, q(blocked, jsonb_array_length(waiting), held -> 0 ->> 'relation', held -> 0 -> 'waiters')),
		'10|8|"Odd"."Table"|9', 'the history has the worst moment');
	finish($root, @waiters);
}

sub test_indirect
{
	my ($root, $middle, $last) = (wire($node, user => 'ordinary'), named('middle'), named('last'));
	$root->do('BEGIN', 'SELECT pg_advisory_xact_lock(1)');
	$middle->do('BEGIN', change(1));
	start_waiting($middle, 'SELECT pg_advisory_xact_lock(1)');
	start_waiting($last, change(1));
	eventually_leaks($root, q(blocked, waiting @> '[{"application_name": "middle", "direct": true, "locktype": "advisory", "key": 1},
		{"application_name": "last", "direct": false, "locktype": "transactionid"}]', waiting -> 1 ->> 'backend_type',
		(waiting -> 1 -> 'query_id')::bigint <> 0), '2|t|client backend|t', 'who waits for one that waits');
	is(leaks($root, q(jsonb_array_length(waiting), waiting -> 0 ->> 'pid', waiting -> 0 ->> 'backend_type', waiting -> 0 ->> 'query_id'), user => 'ordinary'),
		"2|$middle->{pid}||", 'the role of the leak sees who waits, but of other roles only what pg_stat_activity shows');
	$root->do('COMMIT');
	$middle->read_answer;
	$middle->do('COMMIT');
	$last->read_answer;
	finish($root, $middle, $last);
}

# What it waits for at view time, and in the history at detection.
sub test_wait_event
{
	my ($idle, $active) = (leaking_wire($node, query => change(1)), wire($node));
	eventually_leaks($idle, 'wait_event', 'ClientRead', 'an idle session waits for its client');
	$active->do(q(SET pgleak.transaction_leak_after = '150ms'), 'BEGIN');
	start_waiting($active, change(1));
	eventually_leaks($active, 'wait_event', 'Lock/transactionid', 'another for a lock');
	$idle->do('COMMIT');
	$active->read_answer;
	eventually_leaks($active, 'wait_event', 'ClientRead', 'and then for its client too');
	$active->do('COMMIT');
	eventually_recorded($node, $active, 'committed', 'it has ended');
	is(recorded($node, $active, 'wait_event'), 'Lock/transactionid', 'the history has what it waited for at detection');
	finish($idle, $active);
}

test_chain();
test_two_roots();
test_advisory_lock();
test_prepared_transaction();
test_deadlock();
test_masked();
test_held();
test_ten_waiters();
test_indirect();
test_wait_event();
test_standby();
no_damage($node, 'no session was harmed');
$node->stop;
done_testing();
