# Tests: prepared transactions as leaks: found by their age and by those who wait behind them, named by their gid with the
# statement that ends them, masked like sessions; recorded once with how they ended, whatever restarts or dies in between;
# and the way from the session that prepared one.

use strict;
use warnings FATAL => 'all';
use utf8;

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;
use PgleakActions;

use Encode qw(encode);
use PostgreSQL::Test::Utils;
use Test::More;

# Cluster.pm turns restart_after_crash off.
my $node = new_node('prepared', streaming => 1, conf => <<'END');
max_prepared_transactions = 8
pgleak.idle_leak_after = 0
pgleak.prepared_leak_after = '1s'
autovacuum = off
restart_after_crash = on
END
$node->safe_psql('postgres', <<'END');
CREATE TABLE account (id integer PRIMARY KEY, amount integer);
INSERT INTO account SELECT i, 100 FROM generate_series(1, 20) AS i;
GRANT ALL ON account TO PUBLIC;
CREATE ROLE alice LOGIN;
CREATE ROLE bob LOGIN;
CREATE DATABASE shop;
END

sub ask { return $node->safe_psql('postgres', $_[0]); }

sub change { my ($id) = @_; return "UPDATE account SET amount = amount + 1 WHERE id = $id"; }

# Prepares a transaction that changes one row of account, or writes an id only. %options: as psql().
sub prepare
{
	my ($gid, $statement, %options) = @_;
	my $server = delete $options{node} // $node;
	my $quoted = $gid =~ s/(['\\])/$1$1/gr;
	my $user = delete $options{user};
	$server->safe_psql($options{dbname} // 'postgres', encode('UTF-8', "BEGIN; $statement; PREPARE TRANSACTION E'$quoted'"),
		$user ? (extra_params => [ '-U', $user ]) : ());
}

sub finish { my ($how, $gid, $server) = @_; ($server // $node)->safe_psql('postgres', "$how PREPARED '$gid'"); }

# Test: these columns of the leak come to be as expected; %options: from => the table, node.
sub eventually_prepared
{
	my ($gid, $columns, $expected, $name, %options) = @_;
	my $table = $options{from} // 'leaks';
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return eventually_is($options{node} // $node,
		"SELECT $columns FROM pgleak.$table WHERE gid = '$gid' AND kind = 'prepared transaction'", $expected, $name);
}

# Test: there is one row about it in the history, with this outcome.
sub recorded_once
{
	my ($gid, $outcome, $name, $server) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return eventually_prepared($gid, "string_agg(coalesce(outcome, 'open'), ' ')", $outcome, $name,
		from => 'history', node => $server);
}

# What stays the same as long as it is the same episode.
sub identity { my ($gid) = @_; return ask("SELECT leak_id, prepared_at, detected_at FROM pgleak.leaks WHERE gid = '$gid'"); }

# Detection -----------------------------------------------------------------------------------------------------------------

sub test_age
{
	prepare('by age', change(1), user => 'alice');
	eventually_prepared('by age', q(kind, pid IS NULL, database, role, application_name IS NULL, state IS NULL, clock, leak_after,
		limit_source, impact, locks > 0, blocked, holds_xid IS NOT NULL, xmin_age >= 0, next_action IS NULL, remedy),
		"prepared transaction|t|postgres|alice|t|t|prepared|00:00:01|server|horizon|t|0|t|t|t|ROLLBACK PREPARED 'by age'",
		'age: it is a leak');
	is(ask(q(SELECT l.prepared_at = p.prepared AND l.holds_xid = p.transaction AND l.transaction_age >= l.leak_after
		FROM pgleak.leaks l JOIN pg_prepared_xacts p USING (gid))), 't', 'age: as the server has it');
	like(ask(q(SELECT held FROM pgleak.leaks WHERE gid = 'by age')), qr/"mode": "RowExclusiveLock".*"relation": "public.account"/,
		'age: its locks are named');
	is(ask('SELECT state, application, statement FROM pgleak.top'), 'prepared||by age', 'age: pgleak.top shows it');
	is(ask('SELECT kind, clock, sessions FROM pgleak.metrics_sessions'), 'prepared transaction|prepared|1', 'age: the metrics count it');
	is(ask('SELECT coalesce(sum(leaked), 0) FROM pgleak.pools'), 0, 'age: no pool has lost a connection');
	like(log_after($node), qr/LOG:  pgleak: prepared transaction leak: xid=\d+ gid="by age" database=postgres role=alice clock=prepared for=[\d.]+s limit=1s source=server impact=horizon .*\n.*HINT:  In database "postgres", use ROLLBACK PREPARED 'by age' or COMMIT PREPARED\./,
		'age: the log says what to type');
	recorded_once('by age', 'open', 'age: it is recorded');
	is(ask('SELECT pgleak.scan()'), 1, 'age: pgleak.scan() counts it');
}

sub test_end
{
	finish('ROLLBACK', 'by age');
	recorded_once('by age', 'rolled back', 'end: ROLLBACK PREPARED');
	eventually_is($node, 'SELECT count(*) FROM pgleak.leaks', 0, 'end: it is no leak any more');
	is(ask(q(SELECT ended_at > detected_at, duration = ended_at - detected_at OR duration < '1min' FROM pgleak.history WHERE gid = 'by age')),
		't|t', 'end: it has an end');
	like(log_after($node), qr/LOG:  pgleak: prepared transaction leak ended: xid=\d+ gid="by age" .* outcome="rolled back" lasted=/,
		'end: the log has it');
	prepare('to commit', change(1));
	recorded_once('to commit', 'open', 'end: another one');
	finish('COMMIT', 'to commit');
	recorded_once('to commit', 'committed', 'end: COMMIT PREPARED');
	is(ask(q(SELECT episodes FROM pgleak.metrics_outcomes WHERE outcome IN ('committed', 'rolled back'))), "1\n1", 'end: the outcomes are counted');
}

# A transaction manager prepares and commits all the time.
sub test_short
{
	my $before = ask('SELECT leaks FROM pgleak.stats');
	for my $i (1 .. 20)
	{
		prepare("short $i", 'SELECT pg_current_xact_id()');
		finish('COMMIT', "short $i");
	}
	is(ask('SELECT pgleak.scan()'), 0, 'short: none is a leak');
	is(ask('SELECT leaks FROM pgleak.stats'), $before, 'short: nor was any');
}

sub test_odd_gids
{
	my @gids = (q(it's "mine"), q(C:\new\table), "tab\there", 'größer als 日本', 'x' x 199);
	for my $gid (@gids)
	{
		my $bytes = encode('UTF-8', $gid);
		prepare($gid, 'SELECT pg_current_xact_id()');
		eventually_is($node, "SELECT gid = (SELECT gid FROM pg_prepared_xacts) FROM pgleak.leaks", 't', "odd gid: $bytes is shown");
		$node->psql('postgres', ask('SELECT remedy FROM pgleak.leaks'));
		is(ask('SELECT count(*) FROM pg_prepared_xacts'), 0, 'odd gid: its remedy works');
		eventually_is($node, 'SELECT count(*) FROM pgleak.leaks', 0, 'odd gid: it is gone');
	}
	eventually_is($node, q(SELECT count(*) FROM pgleak.history WHERE outcome = 'rolled back' AND gid ~ '^(it|C:|tab|gr|xxx)'), 5,
		'odd gid: all are recorded');
	like(log_after($node), qr/gid="C:\\\\new\\\\table"/, 'odd gid: escaped in the log');
}

sub test_other_database
{
	prepare('elsewhere', 'CREATE TABLE here (id integer)', dbname => 'shop');
	eventually_prepared('elsewhere', 'database, remedy', "shop|ROLLBACK PREPARED 'elsewhere'", 'other database: it is named');
	like(log_after($node), qr/HINT:  In database "shop", use ROLLBACK PREPARED 'elsewhere'/, 'other database: in the log too');
	$node->safe_psql('shop', q(ROLLBACK PREPARED 'elsewhere'));
	recorded_once('elsewhere', 'rolled back', 'other database: it is recorded');
}

sub test_masking
{
	prepare('of alice', change(1), user => 'alice');
	eventually_prepared('of alice', 'count(*)', 1, 'masked: a leak');
	my $columns = q(SELECT gid, role, remedy, held IS NULL, xmin_age IS NULL, query FROM pgleak.leaks);
	my $as = sub { $node->safe_psql('postgres', $columns, extra_params => [ '-U', $_[0] ]) };
	is($as->('bob'), 'of alice|alice||t|t|<insufficient privilege>', 'masked: what pg_prepared_xacts shows everybody, and no more');
	is($as->('alice'), q(of alice|alice|ROLLBACK PREPARED 'of alice'|f|f|), 'masked: the owner sees it all');
	finish('ROLLBACK', 'of alice');
	recorded_once('of alice', 'rolled back', 'masked: it is over');
}

# Others wait behind it, by which it is found long before its age is.
sub test_blocking
{
	configure($node, 'pgleak.prepared_leak_after' => '1h', 'pgleak.blocking_leak_after' => '1s');
	prepare('in the way', change(1));
	my @waiters = map { wire($node, parameters => { application_name => "waiter $_" }) } 1, 2;
	$_->start(change(1)) for @waiters;
	eventually_prepared('in the way', 'clock, impact, blocked, blocked_for >= leak_after', 'blocking|blocking|2|t', 'blocking: it is the root');
	my $pids = join ',', sort map { $_->{pid} } @waiters;
	eventually_prepared('in the way', q((SELECT string_agg(w->>'pid', ',' ORDER BY w->>'pid') FROM jsonb_array_elements(waiting) w)), $pids,
		'blocking: those who wait are named');
	is(ask('SELECT count(*) FROM pgleak.leaks'), 1, 'blocking: its victims are no leaks');
	finish('ROLLBACK', 'in the way');
	$_->read_answer for @waiters;
	recorded_once('in the way', 'rolled back', 'blocking: it is recorded');
	eventually_prepared('in the way', 'impact, blocked, jsonb_array_length(waiting)', 'blocking|2|2', 'blocking: with its worst moment', from => 'history');
	$_->close for @waiters;
	configure($node, 'pgleak.prepared_leak_after' => undef, 'pgleak.blocking_leak_after' => undef);
}

# By the server's limit for transactions, too, unless ages do not matter.
sub test_limits
{
	configure($node, 'pgleak.prepared_leak_after' => 0, 'pgleak.transaction_leak_after' => '1s');
	prepare('no limit', 'SELECT pg_current_xact_id()');
	holds(sub { ask('SELECT count(*) FROM pgleak.leaks') eq '0' }, 'limits: 0 is never', 4);
	configure($node, 'pgleak.prepared_leak_after' => '1h');
	eventually_prepared('no limit', 'clock, leak_after', 'transaction|00:00:01', 'limits: it is a transaction');
	finish('ROLLBACK', 'no limit');
	recorded_once('no limit', 'rolled back', 'limits: it is recorded');
	configure($node, 'pgleak.prepared_leak_after' => undef, 'pgleak.transaction_leak_after' => undef);
}

# A session leaks, then hands its transaction over.
sub test_link
{
	configure($node, 'pgleak.idle_leak_after' => '300ms');
	my $session = wire($node, parameters => { application_name => 'manager' });
	$session->do('BEGIN', change(1));
	eventually_is($node, "SELECT count(*) FROM pgleak.leaks WHERE pid = $session->{pid}", 1, 'link: the session is a leak');
	$session->do(q(PREPARE TRANSACTION 'handed over'));
	recorded_once('handed over', 'open', 'link: so is what it has prepared');
	$session->do('BEGIN', 'SELECT pg_current_xact_id()', q(PREPARE TRANSACTION 'another one'), q(ROLLBACK PREPARED 'another one'));
	eventually_is($node, q(SELECT s.application_name, s.outcome, p.leak_id <> s.leak_id FROM pgleak.history p JOIN pgleak.history s USING (gid, holds_xid)
		WHERE p.kind = 'prepared transaction' AND s.kind = 'session' AND gid = 'handed over'), 'manager|prepared|t', 'link: it leads to the session');
	like(log_after($node), qr/session leak ended: pid=$session->{pid} .* outcome=prepared gid="handed over"/, 'link: in the log too');
	finish('COMMIT', 'handed over');
	recorded_once('handed over', 'committed', 'link: it ends');
	$session->close;
	configure($node, 'pgleak.idle_leak_after' => undef);
}

# Restarts ------------------------------------------------------------------------------------------------------------------

sub test_workers
{
	prepare('kept', change(1));
	recorded_once('kept', 'open', 'workers: a leak');
	my $before = identity('kept');
	my $mark = log_mark($node);
	my $old = worker_pid($node, 'scanner');
	ask("SELECT pg_terminate_backend($old)");
	eventually(sub { my $new = worker_pid($node, 'scanner'); $new ne '' && $new ne $old }, 'workers: a new scanner');
	ask('SELECT pgleak.scan()');
	is(identity('kept'), $before, 'workers: the episode goes on');
	restart_recorder($node);
	is(identity('kept'), $before, 'workers: and without the recorder');
	unlike(log_after($node, $mark), qr/prepared transaction leak/, 'workers: nothing is said again');
	my $recorder = worker_pid($node, 'recorder');
	kill 'STOP', $recorder;
	finish('COMMIT', 'kept');
	is(identity('kept'), '', 'workers: it has ended, and nobody can ask how');
	kill 'CONT', $recorder;
	recorded_once('kept', 'committed', 'workers: until the recorder is back');
}

sub test_restart
{
	my ($mode) = @_;
	my $gid = "over $mode";
	prepare($gid, change(2));
	recorded_once($gid, 'open', "$mode: a leak");
	my $before = identity($gid);
	my $mark = log_mark($node);
	$node->stop($mode);
	$node->start;
	eventually_prepared($gid, 'count(*)', 1, "$mode: it is one after the restart");
	is(identity($gid), $before, "$mode: the same episode");
	recorded_once($gid, 'open', "$mode: in the same row");
	like(log_after($node, $mark), qr/prepared transaction leak goes on after restart: xid=\d+ gid="$gid"/, "$mode: the log says so");
	unlike(log_after($node, $mark), qr/prepared transaction leak: /, "$mode: it is not found again");
	finish('ROLLBACK', $gid);
	recorded_once($gid, 'rolled back', "$mode: it ends");
	eventually_prepared($gid, q(duration BETWEEN ended_at - detected_at - '1s' AND ended_at - detected_at + '1s'), 't', "$mode: and has lasted since before",
		from => 'history');
}

sub test_killed_scanner
{
	prepare('over a crash', change(3));
	recorded_once('over a crash', 'open', 'crash: a leak');
	my $before = identity('over a crash');
	my $started_at = ask('SELECT started_at FROM pgleak.stats');
	kill 'KILL', worker_pid($node, 'scanner');
	eventually_restarted($node, $started_at, 'crash: the server is back');
	eventually_prepared('over a crash', 'count(*)', 1, 'crash: it is a leak again');
	is(identity('over a crash'), $before, 'crash: the same');
	finish('COMMIT', 'over a crash');
	recorded_once('over a crash', 'committed', 'crash: recorded once');
}

# It ends while pgleak is not loaded.
sub test_unwatched
{
	prepare("unwatched $_", 'SELECT pg_current_xact_id()') for 1, 2;
	recorded_once("unwatched $_", 'open', "unwatched: leak $_") for 1, 2;
	$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
	$node->restart;
	finish('COMMIT', 'unwatched 1');
	finish('ROLLBACK', 'unwatched 2');
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pgleak'");
	$node->restart;
	recorded_once('unwatched 1', 'committed', 'unwatched: the commit log knows it');
	recorded_once('unwatched 2', 'rolled back', 'unwatched: the other one too');
}

# The history cannot be read after the start. The row is the same all the same.
sub test_locked_history
{
	prepare('locked out', change(4));
	recorded_once('locked out', 'open', 'locked history: a leak');
	prepare('the lock', 'LOCK TABLE pgleak.history');
	$node->restart;
	eventually_prepared('locked out', 'count(*)', 1, 'locked history: it is found without it');
	finish('ROLLBACK', 'the lock');
	eventually_recording($node, 'locked history: free again');
	finish('ROLLBACK', 'locked out');
	recorded_once('locked out', 'rolled back', 'locked history: one row');
}

# Without a database the recorder cannot list anything.
sub test_no_database
{
	$node->append_conf('postgresql.conf', "pgleak.database = 'missing'");
	$node->restart;
	prepare('nameless', change(5));
	eventually_is($node, q(SELECT kind, gid IS NULL, prepared_at IS NULL, remedy IS NULL, role = 'postgres'::regrole::oid::text FROM pgleak.leaks),
		'prepared transaction|t|t|t|t', 'no database: it is a leak without a name');
	like(log_after($node), qr/prepared transaction leak: xid=\d+ database=\d+ role=10 .*\n.*HINT:  See pg_prepared_xacts/, 'no database: the log has it');
	ask('CREATE DATABASE missing');
	eventually_prepared('nameless', 'database, role, remedy', "postgres|postgres|ROLLBACK PREPARED 'nameless'", 'no database: it gets its name as soon as there is one');
	finish('ROLLBACK', 'nameless');
	eventually_is($node, 'SELECT count(*) FROM pgleak.leaks', 0, 'no database: it ends');
	$node->append_conf('postgresql.conf', "pgleak.database = 'postgres'");
	$node->restart;
}

# On a standby a prepared transaction has no process; that comes with the promotion.
sub test_standby
{
	prepare('over the promotion', change(6));
	recorded_once('over the promotion', 'open', 'standby: a leak on the primary');
	my $before = identity('over the promotion');
	$node->backup('base');
	my $standby = empty_node('standby');
	$standby->init_from_backup($node, 'base', has_streaming => 1);
	$standby->start;
	$node->wait_for_catchup($standby);
	is($standby->safe_psql('postgres', 'SELECT count(*) FROM pgleak.leaks'), 0, 'standby: none there');
	$node->stop('immediate');
	$standby->promote;
	eventually_prepared('over the promotion', 'leak_id, prepared_at, detected_at', $before, 'standby: the same episode after the promotion', node => $standby);
	recorded_once('over the promotion', 'open', 'standby: in the same row', $standby);
	finish('COMMIT', 'over the promotion', $standby);
	recorded_once('over the promotion', 'committed', 'standby: it ends', $standby);
	$standby->stop;
}

sub test_memory
{
	my $slots = ask(q(SELECT sum(setting::int) + 1 FROM pg_settings WHERE name IN
		('max_connections', 'max_worker_processes', 'max_wal_senders', CASE WHEN EXISTS (SELECT FROM pg_settings
		WHERE name = 'autovacuum_worker_slots') THEN 'autovacuum_worker_slots' ELSE 'autovacuum_max_workers' END)));
	my $taken = ask(q(SELECT allocated_size FROM pg_shmem_allocations WHERE name = 'pgleak prepared transactions'));
	my $computed = 8 * 2856 + $slots * 224;
	cmp_ok(abs($taken / $computed - 1), '<', 0.02, "memory: $taken bytes, as doc/operation.md says");
}

# A server that can have none.
sub test_none
{
	my $none = new_node('none');
	is($none->safe_psql('postgres', q(SELECT count(*) FROM pg_shmem_allocations WHERE name = 'pgleak prepared transactions')), 0,
		'none: no memory is taken');
	is($none->safe_psql('postgres', 'SELECT pgleak.scan()'), 0, 'none: and all works');
	$none->stop;
}

test_age();
test_end();
test_short();
test_odd_gids();
test_other_database();
test_masking();
test_blocking();
test_limits();
test_link();
test_workers();
test_restart($_) for qw(fast immediate);
test_killed_scanner();
test_unwatched();
test_locked_history();
test_no_database();
test_memory();
unlike(log_after($node), qr/PANIC|TRAP:|ERROR:  pgleak|could not record/, 'nothing went wrong');
test_standby();
test_none();

done_testing();
