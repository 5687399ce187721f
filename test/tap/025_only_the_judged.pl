# Actions on active sessions: a signal hits the transaction that was judged, or nothing. Short transactions of one statement
# or one message have their own ages; a commit that has begun, and one that waits for a synchronous standby, is never
# interrupted; an action counts as done only when its effect was seen; sessions that declared themselves are spared.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;
use PgleakActions;

use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = new_node('judged', streaming => 1, conf => <<'END');
pgleak.scan_interval = '10ms'
pgleak.idle_leak_after = '1h'
pgleak.max_actions_per_minute = 100000
autovacuum = off
max_prepared_transactions = 10
END

# The procedure leaves one row for each transaction that commits.
$node->safe_psql('postgres', q{
	CREATE TABLE t (i int);
	CREATE TABLE done (pid int DEFAULT pg_backend_pid(), id xid DEFAULT pg_current_xact_id()::xid);
	GRANT ALL ON t, done TO PUBLIC;
	CREATE PROCEDURE rounds(count int, seconds float, part float DEFAULT 1) LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. count LOOP
			INSERT INTO done DEFAULT VALUES;
			IF random() < part THEN
				PERFORM pg_sleep(seconds);
			END IF;
			COMMIT;
		END LOOP;
	END
	$$});

my $administrator = wire($node);
my $roles = 0;

sub ask { return $administrator->ask($_[0]); }

# A role of its own with these limits (transaction_cancel_after => '1s', ...).
sub limited_role
{
	my (%limits) = @_;
	my $role = 'role_' . ++$roles;
	$node->safe_psql('postgres', join ';', "CREATE ROLE $role LOGIN",
		map { "ALTER ROLE $role SET pgleak.$_ = '$limits{$_}'" } sort keys %limits);
	return $role;
}

sub limited_session { return wire($node, user => limited_role(@_)); }

# Limits of the transaction clock: a leak and its action after the same time.
sub acted_on { my ($action, $after) = @_; return (transaction_leak_after => $after, "transaction_${action}_after" => $after); }

sub is_recorded
{
	my ($session, $columns, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return eventually_is($node, "SELECT $columns FROM pgleak.history WHERE pid = $session->{pid}", $expected, $name);
}

# Waits until the session waits for this event, as pg_stat_activity names it.
sub eventually_waits
{
	my ($session, $event, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return eventually_is($node, "SELECT wait_event FROM pg_stat_activity WHERE pid = $session->{pid}", $event, $name);
}

# Waits until the transaction is older than the limits that the test gave it, as pgleak sees it.
sub eventually_older
{
	my ($session, $age, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return eventually_is($node,
		"SELECT transaction_age > '$age' FROM pgleak.leaks WHERE pid = $session->{pid}", 't', $name);
}

# Only the judged transaction --------------------------------------------------------------------------------------------

# Test: the history and what the client has seen tell the same: as many calls have failed as transactions were cancelled, and
# what was cancelled is not committed, the rest is.
sub agrees
{
	my ($session, $failures, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $its = "FROM pgleak.history WHERE pid = $session->{pid}";
	my $committed = "holds_xid IN (SELECT id FROM done WHERE pid = $session->{pid})";
	is_recorded($session, 'count(*) FILTER (WHERE ended_at IS NULL)', 0, "$name: every episode ends");
	my $cancelled = ask("SELECT count(*) $its AND outcome = 'cancelled'");
	is($failures - $cancelled, 0, "$name: no transaction is hit that was not judged ($failures of the client's calls failed)");
	is(ask("SELECT count(*) $its AND outcome = 'cancelled' AND $committed"), 0, "$name: nothing that was cancelled is committed");
	is(ask("SELECT count(*) $its AND outcome = 'committed' AND holds_xid IS NOT NULL AND NOT $committed"), 0,
		"$name: what the history has as committed is");
	is(ask("SELECT count(*) $its AND outcome NOT IN ('cancelled', 'committed')"), 0, "$name: there is no other outcome");
}

sub test_loop
{
	my $session = limited_session(acted_on('cancel', '1s'));
	is($session->ask('CALL rounds(100, 0.02)') . $session->{sqlstate}, '',
		'a procedure that commits in a loop is not hit, although the CALL takes longer than the limit');
	is(ask("SELECT count(*) FROM done WHERE pid = $session->{pid}"), 100, 'loop: all its transactions commit');
	is(recorded($node, $session, 'count(*)'), 0, 'loop: each transaction has its own age, so none is a leak');
	$session->close;
}

# Each transaction about as long as the limit, so that the signal arrives at any point, and most often at the commit.
sub test_about_the_limit
{
	my $session = limited_session(acted_on('cancel', '60ms'));
	my $failures = 0;
	for my $call (1 .. 20)
	{
		my $seconds = 0.05 + 0.001 * $call;
		$session->ask("CALL rounds(5, $seconds)");
		next unless $session->{sqlstate};
		$failures++ if is($session->{sqlstate}, '57014', 'about the limit: a call that fails was cancelled');
	}
	isnt(recorded($node, $session, 'count(*)'), 0, 'about the limit: transactions are judged');
	agrees($session, $failures, 'about the limit');
	$session->close;
}

# The limit is reached while the commit waits for the disk.
sub test_slow_commit
{
	configure($node, fsync => 'on', commit_delay => 100_000, commit_siblings => 0);
	my $session = limited_session(acted_on('cancel', '60ms'));
	my $failures = 0;
	for my $call (1 .. 5)
	{
		$session->ask('CALL rounds(4, 0.03)');
		$failures++ if $session->{sqlstate};
	}
	isnt(recorded($node, $session, "count(*) FILTER (WHERE outcome = 'committed')"), 0,
		'slow commits: transactions are judged and commit all the same');
	agrees($session, $failures, 'slow commits');
	configure($node, fsync => 'off', commit_delay => undef, commit_siblings => undef);
	$session->close;
}

# The signal arrives in a commit that checks for no interrupts any more: in one expression that takes long, of a deferred trigger.
sub test_late_cancel
{
	my $expression = join ' || ', (q(md5(rpad(NEW.text, 5000000, NEW.text)))) x 15;
	$administrator->do('CREATE TABLE late (text text)', 'GRANT ALL ON late TO PUBLIC', qq(
		CREATE FUNCTION check_late() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN RETURN CASE WHEN $expression = NEW.text THEN NEW END; END'),
		'CREATE CONSTRAINT TRIGGER late AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION check_late()');
	my $session = limited_session(acted_on('cancel', '100ms'));
	is($session->ask(q(BEGIN; INSERT INTO late VALUES ('x'); COMMIT; SELECT 'next')) . $session->{sqlstate}, 'next',
		'late cancel: it is withdrawn before the next transaction');
	is(ask('SELECT count(*) FROM late'), 1, 'late cancel: the commit goes on');
	is_recorded($session, 'outcome, last_action, last_action_result', 'committed|cancel|skipped',
		'late cancel: the outcome is committed');
	$session->close;
}

# Several transactions in one message.
sub test_one_message
{
	my $session = limited_session(acted_on('cancel', '1s'));
	my $transaction = 'BEGIN; INSERT INTO done DEFAULT VALUES; SELECT pg_sleep(0.3); COMMIT';
	$session->ask(join '; ', ($transaction) x 5);
	is($session->{sqlstate} . $session->{status}, 'I', 'one message of five transactions: none is hit');
	is(recorded($node, $session, 'count(*)'), 0, 'one message: no transaction is as old as the message');
	is(ask("SELECT count(*) FROM done WHERE pid = $session->{pid}"), 5, 'one message: all commit');
	$session->close;
}

sub test_vacuum
{
	my $role = limited_role(acted_on('cancel', '1s'));
	my $session = wire($node, user => $role);
	my @tables = map { "vacuumed_$_" } 1 .. 20;
	$administrator->do(map { ("CREATE TABLE $_ AS SELECT 1 AS i", "ALTER TABLE $_ OWNER TO $role") } @tables);
	$session->do('SET vacuum_cost_limit = 1', 'SET vacuum_cost_page_hit = 1', 'SET vacuum_cost_delay = 20');
	# Tables as long as it takes for the command to be older than the limit.
	$session->do('VACUUM ' . join ', ', (@tables) x 3);
	is(recorded($node, $session, 'count(*)'), 0, 'a VACUUM of many tables is no leak: each has a transaction of its own');
	cmp_ok(ask("SELECT extract(epoch FROM state_change - query_start) FROM pg_stat_activity WHERE pid = $session->{pid}"), '>',
		1, 'VACUUM: although the command is older than the limit');
	$session->close;
}

# Requests by hand at random moments while a procedure commits 10,000 times.
sub test_random_cancels
{
	my $session = limited_session();
	my $count = 10_000;
	my ($failures, $successes, $committed) = (0, 0, 0);
	while ($committed < $count)
	{
		$session->start('CALL rounds(' . ($count - $committed) . ', 0.002, 0.1)');
		until ($session->has_answer)
		{
			usleep(rand 20_000);
			$successes++ if ask("SELECT pgleak.cancel($session->{pid})") eq 't';
		}
		$session->read_answer;
		$failures++ if $session->{sqlstate};
		$committed = ask("SELECT count(*) FROM done WHERE pid = $session->{pid}");
	}
	note("10,000 commits: $successes cancels succeeded");
	isnt($successes, 0, 'random cancels: some hit');
	is($successes, $failures, 'random cancels: pgleak.cancel() is true as often as a call fails');
	is($committed, $count, 'random cancels: 10,000 transactions commit');
	agrees($session, $failures, 'random cancels');
	$session->close;
}

# Commits that wait for a standby --------------------------------------------------------------------------------------------

sub test_standby
{
	my %session = map { $_ => limited_session(acted_on($_, '200ms')) } 'cancel', 'terminate';
	configure($node, synchronous_standby_names => 'nobody');
	eventually_is($node, 'SHOW synchronous_standby_names', 'nobody', 'standby: commits wait for one that there is not');
	$_->start('INSERT INTO done DEFAULT VALUES') for values %session;
	eventually_waits($_, 'SyncRep', 'standby: the commit waits') for values %session;
	for my $action (sort keys %session)
	{
		my $session = $session{$action};
		eventually_older($session, '1s', "standby: the limit to $action is over");
		is(recorded($node, $session, "coalesce(last_action, 'nothing')"), 'nothing', "standby: and nothing is done");
		for my $by_hand ('cancel', 'terminate')
		{
			my ($answer, $said) = act($node, $by_hand, $session->{pid});
			is($answer, 'f', "standby: pgleak.$by_hand() is false");
			like($said, qr/WARNING: .*waits for a synchronous standby, nothing was done/, "standby: pgleak.$by_hand() says why");
		}
		ok(!$session->has_answer, 'standby: no commit is acknowledged that no standby has');
	}
	configure($node, synchronous_standby_names => undef);
	for my $session (values %session)
	{
		$session->read_answer;
		is("$session->{tag} @{ $session->{notices} }", 'INSERT 0 1 ', 'standby: the commit is acknowledged afterwards, without a warning');
		eventually_recorded($node, $session, 'committed', 'standby: its outcome is committed');
		$session->close;
	}
}

# COMMIT PREPARED ends another transaction than its own. Its limit is reached while its WAL is on the way to the disk, and the wait
# for the standby comes after that.
sub test_standby_prepared
{
	my %session = map { $_ => limited_session(acted_on('cancel', '30ms')) } 'COMMIT PREPARED', 'ROLLBACK PREPARED';
	for my $command (sort keys %session)
	{
		$session{$command}->do('BEGIN', 'INSERT INTO done DEFAULT VALUES', "PREPARE TRANSACTION '$command'");
	}
	configure($node, synchronous_standby_names => 'nobody', fsync => 'on', commit_delay => 100_000, commit_siblings => 0);
	eventually_is($node, 'SHOW synchronous_standby_names', 'nobody', 'prepared: commits wait for a standby that there is not');
	$session{$_}->start("$_ '$_'") for sort keys %session;
	eventually_waits($session{$_}, 'SyncRep', "prepared: $_ waits") for sort keys %session;
	ok(!$session{$_}->has_answer, "prepared: $_ is not acknowledged while no standby has it") for sort keys %session;
	configure($node, synchronous_standby_names => undef, fsync => 'off', commit_delay => undef, commit_siblings => undef);
	for my $command (sort keys %session)
	{
		$session{$command}->read_answer;
		is("$session{$command}{tag} @{ $session{$command}{notices} }", "$command ", "prepared: $command is acknowledged afterwards");
		$session{$command}->close;
	}
}

# A terminate that was accepted just before the commit began. test_late_cancel() has made the table.
sub test_standby_terminate
{
	my $session = limited_session(acted_on('terminate', '100ms'));
	configure($node, synchronous_standby_names => 'nobody');
	eventually_is($node, 'SHOW synchronous_standby_names', 'nobody', 'late terminate: commits wait for a standby that there is not');
	$session->start(q(INSERT INTO late VALUES ('y')));
	eventually_waits($session, 'SyncRep', 'late terminate: the commit waits for the standby');
	is_recorded($session, 'last_action', 'terminate', 'late terminate: although the session has accepted it');
	ok(!$session->has_answer && is_running($session->{pid}), 'late terminate: the wait goes on');
	configure($node, synchronous_standby_names => undef);
	eventually(sub { !is_running($session->{pid}) }, 'late terminate: the session ends after it');
	is(ask(q(SELECT count(*) FROM late WHERE text = 'y')), 1, 'late terminate: its transaction is committed');
	eventually_recorded($node, $session, 'committed', 'late terminate: the outcome says so');
	$session->close;
}

# Sessions that wait for their client --------------------------------------------------------------------------------------------

# In the middle of a COPY FROM STDIN.
sub stalled_copy
{
	my $session = limited_session();
	$session->do('BEGIN');
	$session->start('COPY t FROM STDIN');
	eventually_waits($session, 'ClientRead', 'stalled COPY: the session waits for its client');
	return $session;
}

# In the middle of a result.
sub unread_result
{
	my $session = limited_session();
	$session->start(q(SELECT repeat('x', 1000) FROM generate_series(1, 100000)));
	eventually_waits($session, 'ClientWrite', 'unread result: the session waits for its client');
	return $session;
}

# Sets limits of the server. Those of a role would be in force before the session waits for its client.
sub limit_server
{
	my (%limits) = @_;
	configure($node, map { ("pgleak.$_" => $limits{$_}) } keys %limits);
}

sub test_client_wait
{
	my ($name, $open) = @_;
	my %limits = acted_on('cancel', '100ms');
	my $mark = log_mark($node);
	my $failed = ask('SELECT cancels_failed FROM pgleak.stats');
	my $session = $open->();
	limit_server(%limits);
	is_recorded($session, 'last_action_result', 'no effect: waits for its client', "$name: a cancel has no effect");
	eventually(sub { ask('SELECT cancels_failed FROM pgleak.stats') >= $failed + 2 }, "$name: it is tried again");
	is(log_count($node, qr/will cancel: pid=$session->{pid} /, $mark), 1, "$name: the log says it once");
	is(log_count($node, qr/cancel: pid=$session->{pid} .*result="no effect: waits for its client"/, $mark), 1,
		"$name: and once what came of it");
	is(recorded($node, $session, 'count(*), min(outcome)'), '1|', "$name: it does not count as cancelled");
	is(ask("SELECT count(*) FROM pg_stat_activity WHERE pid = $session->{pid}"), 1, "$name: the session is there");
	limit_server(map { $_ => undef } keys %limits);
	return $session;
}

sub test_client_wait_by_hand
{
	my ($name, $open) = @_;
	my $session = $open->();
	my ($answer, $said) = act($node, 'cancel', $session->{pid});
	is($answer, 'f', "$name: pgleak.cancel() is false");
	like($said, qr/WARNING: .*did not react to the cancel.*waits for its client.*pgleak\.terminate\($session->{pid}\)/s,
		"$name: and names what would help");
	is(terminate($node, $session), 't', "$name: pgleak.terminate() succeeds");
	eventually(sub { !is_running($session->{pid}) }, "$name: the backend is gone");
	eventually_recorded($node, $session, 'terminated', "$name: the outcome is terminated");
	$session->close;
}

sub test_client_wait_terminate
{
	my ($name, $open) = @_;
	my %limits = acted_on('terminate', '100ms');
	my $session = $open->();
	limit_server(%limits);
	eventually(sub { !is_running($session->{pid}) }, "$name: a limit terminates it");
	eventually_recorded($node, $session, 'terminated', "$name: the outcome is terminated");
	limit_server(map { $_ => undef } keys %limits);
	$session->close;
}

# Sessions that take long to end ------------------------------------------------------------------------------------------------

# An exiting backend drops its temporary tables, and waits for a lock on one of them.
sub test_slow_exit
{
	my $session = limited_session(idle_leak_after => '100ms', idle_terminate_after => '200ms');
	my $mark = log_mark($node);
	$session->do('CREATE TEMPORARY TABLE slow (i int)');
	my $table = ask("SELECT relnamespace::regnamespace || '.slow' FROM pg_class WHERE relname = 'slow'");
	$administrator->do('BEGIN', "LOCK TABLE $table");
	$session->do('BEGIN', 'INSERT INTO t VALUES (1)');
	eventually_is($node, "SELECT count(*) FROM pg_locks WHERE pid = $session->{pid} AND NOT granted", 1,
		'slow exit: the session has accepted the terminate and waits for a lock');
	$node->safe_psql('postgres', 'SELECT pgleak.scan()') for 1 .. 2;
	is(log_count($node, qr/terminate: pid=$session->{pid} .*result=done/, $mark), 0,
		'slow exit: it is not done while the session is there');
	is(recorded($node, $session, 'last_action_result, outcome'), 'requested|', 'slow exit: and the history does not say so');
	$administrator->do('ROLLBACK');
	is_recorded($session, 'last_action_result', 'done', 'slow exit: it is done in the end');
	is(ask("SELECT count(*) FROM pg_stat_activity WHERE pid = $session->{pid}"), 0, 'slow exit: the session has gone by then');
	eventually_recorded($node, $session, 'terminated', 'slow exit: the outcome is terminated');
	$session->close;
}

# Other cancels ----------------------------------------------------------------------------------------------------------------

sub test_other_cancels
{
	my ($session, $name) = @_;
	$session->do(q(SET statement_timeout = '50ms'));
	$session->ask('SELECT pg_sleep(60)');
	like("$session->{sqlstate} $session->{message}", qr/^57014 .*statement timeout/, "$name: statement_timeout works");
	$session->do('RESET statement_timeout');
	$session->start('SELECT pg_sleep(60)');
	eventually_waits($session, 'PgSleep', "$name: a statement runs");
	ask("SELECT pg_cancel_backend($session->{pid})");
	$session->read_answer;
	like("$session->{sqlstate} $session->{message}", qr/^57014 .*user request/, "$name: pg_cancel_backend() works");
}

# The request has been answered, and the scanner has not seen it yet: it is stopped.
sub test_cancel_after_action
{
	my $session = stalled_copy();
	my $scanner = worker_pid($node, 'scanner');
	my $actor = start_act($node, 'cancel', $session);
	eventually(sub { log_count($node, qr/will cancel: pid=$session->{pid} /) }, 'cancelled twice: an action is under way');
	# The evidence comes before the signal; when the scanner sleeps again, that is sent as well.
	eventually(sub { ask("SELECT wait_event IS NOT NULL FROM pg_stat_activity WHERE pid = $scanner") eq 't' },
		'cancelled twice: the signal is sent');
	stop_process($scanner);
	# The server checks for interrupts after a row.
	$session->send_raw(PgleakActions::Wire::message('d', "1\n") . PgleakActions::Wire::message('c'));
	$session->read_answer;
	is("$session->{sqlstate} $session->{status}", '57014 E', 'cancelled twice: it hits the COPY when its client goes on');
	$session->do('ROLLBACK');
	$session->start('SELECT pg_sleep(600)');
	eventually_waits($session, 'PgSleep', 'cancelled twice: the session runs another statement');
	ask("SELECT pg_cancel_backend($session->{pid})");
	eventually(sub { $session->has_answer }, 'cancelled twice: pg_cancel_backend() works after a cancel of ours too');
	continue_process($scanner);
	is($actor->read_answer, 't', 'cancelled twice: pgleak.cancel() has seen its effect');
	eventually_recorded($node, $session, 'cancelled', 'cancelled twice: the outcome is cancelled');
	$_->close for $session, $actor;
}

# What a cancelled statement leaves ----------------------------------------------------------------------------------------------

sub test_cancelled_block
{
	my $session = limited_session(acted_on('cancel', '200ms'));
	$session->do('BEGIN', 'INSERT INTO done DEFAULT VALUES');
	answers($session, 'SELECT pg_sleep(60)', '57014 E', 'cancelled block: the statement fails');
	answers($session, 'SELECT 1', '25P02 E', 'cancelled block: the next one is refused');
	answers($session, 'COMMIT', '40000 I', 'cancelled block: COMMIT fails loudly');
	like($session->{message}, qr/^transaction was rolled back by pgleak: /, 'cancelled block: and says who did it');
	eventually_recorded($node, $session, 'cancelled', 'cancelled block: the outcome is cancelled');
	$session->do('BEGIN');
	answers($session, 'SELECT 1/0', '22012 E', 'after that: a block fails by itself');
	answers($session, 'COMMIT', 'ROLLBACK I', 'after that: its COMMIT is answered as PostgreSQL does');
	$session->close;
}

sub test_savepoint
{
	my $session = limited_session();
	$session->do('BEGIN', 'INSERT INTO done DEFAULT VALUES', 'SAVEPOINT s');
	$session->start('SELECT pg_sleep(60)');
	eventually_waits($session, 'PgSleep', 'savepoint: a statement runs');
	is(cancel($node, $session), 't', 'savepoint: it is cancelled');
	$session->read_answer;
	is("$session->{sqlstate} $session->{status}", '57014 E', 'savepoint: the client hears it');
	$session->do('ROLLBACK TO s');
	answers($session, 'COMMIT', 'COMMIT I', 'savepoint: a block that goes on from it commits');
	is(ask("SELECT count(*) FROM done WHERE pid = $session->{pid}"), 1, 'savepoint: its rows are there');
	eventually_recorded($node, $session, 'committed', 'savepoint: the outcome is committed');
	$session->close;
}

# A rollback does not free a session-level advisory lock.
sub test_locks_left
{
	my $session = limited_session(idle_leak_after => '100ms', idle_cancel_after => '200ms');
	my $waiter = wire($node);
	my $mark = log_mark($node);
	$session->do('BEGIN', 'SELECT pg_advisory_lock(77)');
	$waiter->start('SELECT pg_advisory_lock(77)');
	is_recorded($session, 'last_action, last_action_result', 'cancel|done, still blocks 1', 'locks left: the result says so');
	is(ask("SELECT last_action_result FROM pgleak.leaks WHERE pid = $session->{pid}"), 'done, still blocks 1', 'locks left: so does the view');
	is(log_count($node, qr/still blocks others after the cancel: pid=$session->{pid} /, $mark), 1, 'locks left: so does the log, once');
	is(terminate($node, $session), 't', 'locks left: pgleak.terminate() succeeds');
	eventually(sub { $waiter->has_answer }, 'locks left: and frees who waits');
	is_recorded($session, 'last_action, last_action_result', 'terminate|done', 'locks left: its result blocks nobody');
	$_->close for $session, $waiter;
}

# Who is spared ------------------------------------------------------------------------------------------------------------------

my %idle_limits = (idle_leak_after => '100ms', idle_cancel_after => '200ms');

# Test: the session is past its limits and has its transaction.
sub is_spared
{
	my ($session, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	eventually_older($session, '800ms', "$name: it is past its limits");
	like(activity($node, $session), qr/^idle in transaction\|/, "$name: it is spared");
}

sub test_declared
{
	my $session = limited_session(%idle_limits);
	$session->do('SET idle_in_transaction_session_timeout = 0', 'BEGIN', 'INSERT INTO t VALUES (1)');
	is_spared($session, 'declared');
	is(ask("SELECT next_action, action_held_by, declared FROM pgleak.leaks WHERE pid = $session->{pid}"),
		'|declared idle on purpose|t', 'declared: no action is announced, and the view says why');
	my ($answer, $said) = act($node, 'cancel', $session->{pid});
	is($answer, 't', 'declared: pgleak.cancel() works');
	like($said, qr/WARNING: .*had declared that it is idle on purpose.*do not rely on that dump/s, 'declared: and warns');
	$session->do('ROLLBACK', 'RESET idle_in_transaction_session_timeout', 'BEGIN', 'INSERT INTO t VALUES (1)');
	eventually(sub { activity($node, $session) =~ /aborted/ }, 'declared, and taken back: the limits act');
	$session->do('ROLLBACK', 'SET idle_in_transaction_session_timeout = 0', 'BEGIN', 'INSERT INTO t VALUES (1)');
	is_spared($session, 'declared again');
	configure($node, 'pgleak.act_on_declared' => 'on');
	eventually(sub { activity($node, $session) =~ /aborted/ }, 'declared: with pgleak.act_on_declared the limits act');
	configure($node, 'pgleak.act_on_declared' => undef);
	$session->close;
}

sub test_exported
{
	my $session = limited_session(%idle_limits);
	my $skipped = ask('SELECT skipped FROM pgleak.stats');
	$session->do('BEGIN ISOLATION LEVEL REPEATABLE READ');
	my $snapshot = $session->ask('SELECT pg_export_snapshot()');
	eventually(sub { ask('SELECT skipped FROM pgleak.stats') > $skipped }, 'exported snapshot: the target refuses');
	is_spared($session, 'exported snapshot');
	my $other = wire($node);
	$other->do('BEGIN ISOLATION LEVEL REPEATABLE READ', "SET TRANSACTION SNAPSHOT '$snapshot'", 'COMMIT');
	is(cancel($node, $session), 't', 'exported snapshot: pgleak.cancel() works');
	$_->close for $session, $other;
}

# While the session works, too.
sub test_exported_active
{
	my $session = limited_session(acted_on('cancel', '200ms'));
	my $skipped = ask('SELECT skipped FROM pgleak.stats');
	$session->do('BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT pg_export_snapshot()');
	$session->start('SELECT pg_sleep(60)');
	eventually(sub { ask('SELECT skipped FROM pgleak.stats') > $skipped }, 'exported snapshot, active: the target refuses');
	eventually_older($session, '800ms', 'exported snapshot, active: it is past its limits');
	ok(!$session->has_answer, 'exported snapshot, active: it is spared');
	is(cancel($node, $session), 't', 'exported snapshot, active: pgleak.cancel() works');
	$session->close;
}

# The process that sent the signal has ended since, and another scanner runs. The signal is pgleak's all the same: the
# target learns whom it is from, and a commit would be safe from it.
sub test_former_scanner
{
	my $session = wire($node);
	$session->do('BEGIN');
	$session->start('SELECT pg_sleep(600)');
	eventually(sub { activity($node, $session) =~ /^active/ }, 'former scanner: the query runs');
	stop_process($session->{pid});
	my $actor = start_act($node, 'cancel', $session);
	eventually(sub { has_pending($session->{pid}, 2) }, 'former scanner: the signal is on its way');
	my $scanner = worker_pid($node, 'scanner');
	ask("SELECT pg_terminate_backend($scanner)");
	eventually(sub { (worker_pid($node, 'scanner') || $scanner) != $scanner }, 'former scanner: another one runs');
	continue_process($session->{pid});
	$session->read_answer;
	is("$session->{sqlstate} $session->{status}", '57014 E', 'former scanner: the query is cancelled');
	like("@{ $session->{notices} }", qr/^transaction was rolled back by pgleak: /, 'former scanner: by pgleak');
	$actor->read_answer;
	$_->close for $session, $actor;
}

# It waits for a lock of another session, which is the one to act on.
sub test_victim
{
	my $session = limited_session(acted_on('cancel', '200ms'));
	$administrator->do('BEGIN', 'SELECT pg_advisory_xact_lock(78)');
	$session->start('SELECT pg_advisory_xact_lock(78)');
	eventually_older($session, '800ms', 'victim: it is past its limits');
	ok(!$session->has_answer, 'victim: who waits is spared');
	is(ask("SELECT next_action, action_held_by FROM pgleak.leaks WHERE pid = $session->{pid}"),
		"|waits behind pid $administrator->{pid}", 'victim: the view names the session in front');
	# Once it waits no more, it is past its limit and may be cancelled; a dry run lets it end.
	configure($node, 'pgleak.dry_run' => 'on');
	eventually(sub { ask("SELECT count(*) FROM pg_settings WHERE name = 'pgleak.dry_run' AND setting = 'on'") }, 'victim: the dry run');
	my $scans = ask('SELECT scans FROM pgleak.stats');
	eventually(sub { ask('SELECT scans FROM pgleak.stats') > $scans + 2 }, 'victim: the scanner knows of it');
	$administrator->do('ROLLBACK');
	$session->read_answer;
	is("$session->{sqlstate} $session->{status}", ' I', 'victim: it goes on');
	configure($node, 'pgleak.dry_run' => undef);
	$session->close;
}

# A cancel would leave an invalid index.
sub test_debris
{
	my $role = limited_role(acted_on('cancel', '200ms'));
	my $session = wire($node, user => $role);
	$administrator->do('CREATE TABLE indexed (i int)', "ALTER TABLE indexed OWNER TO $role",
		"GRANT CREATE ON SCHEMA public TO $role", 'BEGIN', 'INSERT INTO indexed VALUES (1)');
	$session->start('CREATE INDEX CONCURRENTLY half ON indexed (i)');
	eventually_older($session, '800ms', 'debris: it is past its limits');
	ok(!$session->has_answer, 'debris: a command that would leave some is spared');
	is(ask("SELECT next_action, action_held_by FROM pgleak.leaks WHERE pid = $session->{pid}"), '|would leave an invalid object',
		'debris: the view says why');
	my ($answer, $said) = act($node, 'cancel', $session->{pid});
	is($answer, 't', 'debris: pgleak.cancel() works');
	like($said, qr/WARNING: .*may have left an invalid index/, 'debris: and warns');
	$session->read_answer;
	is("$session->{sqlstate} $session->{status}", '57014 I', 'debris: the command is cancelled');
	$administrator->do('ROLLBACK');
	is(ask(q(SELECT indisvalid FROM pg_index WHERE indexrelid = 'half'::regclass)), 'f', 'debris: there is an invalid index');
	$session->close;
}

# SET role in the role's settings changes who the session is from its start on, but not who has logged in.
sub test_login_role
{
	my ($plain, $super) = map { limited_role(%idle_limits) } 1 .. 2;
	$administrator->do("ALTER ROLE $super SUPERUSER", "ALTER ROLE $super SET role = $plain",
		"GRANT $super TO $plain", "ALTER ROLE $plain SET role = $super");
	my $becomes_super = wire($node, user => $plain);
	is($becomes_super->ask('SELECT current_user'), $super, 'SET role at login: an ordinary login is a superuser');
	$becomes_super->do('BEGIN', 'INSERT INTO t VALUES (1)');
	my $becomes_plain = wire($node, user => $super);
	is($becomes_plain->ask('SELECT current_user'), $plain, 'SET role at login: a superuser is an ordinary role');
	$becomes_plain->do('BEGIN', 'INSERT INTO t VALUES (1)');
	eventually(sub { activity($node, $becomes_super) =~ /aborted/ }, 'SET role at login: limits act on an ordinary login');
	is_spared($becomes_plain, 'SET role at login, the login of a superuser');
	$_->close for $becomes_super, $becomes_plain;
}

test_loop();
test_about_the_limit();
test_slow_commit();
test_late_cancel();
test_one_message();
test_vacuum();
test_random_cancels();
test_standby();
test_standby_prepared();
test_standby_terminate();
my %client_wait = ('stalled COPY' => \&stalled_copy, 'unread result' => \&unread_result);
for my $name (sort keys %client_wait)
{
	my $waiting = test_client_wait($name, $client_wait{$name});
	my $other = limited_session();
	# Takes a second, since it has no effect.
	my $actor = start_act($node, 'cancel', $waiting);
	test_other_cancels($other, "$name, another session");
	is($actor->read_answer, 'f', "$name: an action was under way all the time");
	# Without a word of its client in the middle of a COPY, which the server would complain about.
	ask("SELECT pg_terminate_backend($waiting->{pid}, 60000)");
	$_->close for $waiting, $other, $actor;
	test_client_wait_by_hand($name, $client_wait{$name});
	test_client_wait_terminate($name, $client_wait{$name});
}
test_slow_exit();
test_cancel_after_action();
test_cancelled_block();
test_savepoint();
test_locks_left();
test_declared();
test_exported();
test_exported_active();
test_former_scanner();
test_victim();
test_debris();
test_login_role();

no_damage($node, 'no process has complained or crashed',
	except => qr/waits for a synchronous standby, nothing was done|did not react to the cancel|may have left an invalid index/);

$administrator->close;
$node->stop;
done_testing();
