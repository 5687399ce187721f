# Terminating: the client reads why, whoever does not answer gets SIGTERM, and only a backend that is gone counts as
# terminated. And the limits of both clocks, on idle, aborted, cancelled and active sessions.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;
use PgleakActions;

use PostgreSQL::Test::Utils;
use POSIX qw(SIGTERM);
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('terminate', conf => <<'END');
pgleak.scan_interval = '50ms'
pgleak.idle_leak_after = '1h'
pgleak.max_actions_per_minute = 1000
END

$node->safe_psql('postgres', q{
	CREATE TABLE t (i int PRIMARY KEY);
	INSERT INTO t VALUES (1)});

my $roles = 0;

# A session of a role of its own with these limits (idle_terminate_after => '1s', ...).
sub limited_session
{
	my (%limits) = @_;
	my $role = 'role_' . ++$roles;
	$node->safe_psql('postgres', join ';', "CREATE ROLE $role LOGIN", "GRANT ALL ON t TO $role",
		map { "ALTER ROLE $role SET pgleak.$_ = '$limits{$_}'" } sort keys %limits);
	return wire($node, user => $role);
}

# Waits until the session hears something or is closed; returns how long that took.
sub time_until_answer
{
	my ($session) = @_;
	my $start = time;
	eventually(sub { $session->has_answer }, 'the session hears from the server');
	return time - $start;
}

# Test: the session was ended, and its client was told so by what it reads.
sub was_terminated
{
	my ($session, $sqlstate, $message, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$session->read_answer;
	is("$session->{severity} $session->{sqlstate}", "FATAL $sqlstate", "$name: the client reads FATAL $sqlstate");
	like($session->{message}, $message, "$name: with the reason");
	ok(!$session->{is_open}, "$name: the connection is closed");
	eventually(sub { !is_running($session->{pid}) }, "$name: the backend is gone");
}

sub count_of { my ($column) = @_; return $node->safe_psql('postgres', "SELECT $column FROM pgleak.stats"); }

# Why ------------------------------------------------------------------------------------------------------------------

sub test_limit
{
	my $session = limited_session(idle_leak_after => '200ms', idle_terminate_after => '500ms');
	my $mark = log_mark($node);
	$session->do('BEGIN', 'UPDATE t SET i = i');
	my $lasted = time_until_answer($session);
	cmp_ok($lasted, '>', 0.4, 'by limit: not before its limit');
	was_terminated($session, '25P03',
		qr/^terminating connection due to pgleak: it was idle for 0\.[5-9]\d* ?s, the limit is 0\.5/, 'by limit');
	like($session->{hint}, qr/\w/, 'by limit: there is a hint');
	eventually_recorded($node, $session, 'terminated', 'by limit: the episode ends as terminated');
	is(recorded($node, $session, 'last_action, last_action_result, clock'), 'terminate|done|idle',
		'by limit: and says by what');
	my @order = log_after($node,
		$mark) =~ /(session leak: pid|will terminate: pid|FATAL:  terminating|outcome=terminated)/g;
	is(join(', ', @order), 'session leak: pid, will terminate: pid, FATAL:  terminating, outcome=terminated',
		'by limit: the log tells it in that order');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), 1, 'by limit: nothing is locked any more');
}

sub test_by_hand
{
	for my $protocol ('simple', 'extended')
	{
		my $terminates = count_of('terminates');
		my $session = leaking_wire($node, extended => $protocol eq 'extended', query => 'UPDATE t SET i = i');
		is(terminate($node, $session), 't', "by hand, $protocol protocol: pgleak.terminate() succeeds");
		was_terminated($session, '25P03',
			qr/^terminating connection due to pgleak: it was idle for .* at the request of role "/,
			"by hand, $protocol protocol");
		eventually_recorded($node, $session, 'terminated', "by hand, $protocol protocol: the episode ends as terminated");
		is(count_of('terminates'), $terminates + 1, "by hand, $protocol protocol: it is counted");
	}
}

# In the middle of a message from its client.
sub test_half_message
{
	my $session = leaking_wire($node);
	$session->send_raw(substr PgleakActions::Wire::message('Q', 'SELECT 1' . ' ' x 100 . "\0"), 0, 50);
	is(terminate($node, $session), 't', 'in a half message: pgleak.terminate() succeeds');
	was_terminated($session, '25P03', qr/^terminating connection due to pgleak: it was idle/, 'in a half message');
}

# A client of the server's own library shows the reason.
sub test_psql
{
	my $session = leak($node);
	is(terminate($node, $session), 't', 'psql: pgleak.terminate() succeeds');
	$session->ask('SELECT 1');
	like($session->{error}, qr/FATAL:  terminating connection due to pgleak: it was idle for .*, at the request of role "postgres"/,
		'psql shows the reason');
	unlike($session->{error}, qr/HINT/, 'psql shows no hint: no limit had a part in it');
	$session->kill;
}

# Who does not answer --------------------------------------------------------------------------------------------------

sub test_stopped
{
	my $session = limited_session(idle_leak_after => '100ms', idle_terminate_after => '200ms');
	my $mark = log_mark($node);
	$session->do('BEGIN', 'UPDATE t SET i = i');
	stop_process($session->{pid});
	eventually(sub { log_count($node, qr/pgleak: will terminate: pid=$session->{pid} /, $mark) },
		'stopped: it is to be terminated');
	my $start = time;
	ok(!has_pending($session->{pid}, SIGTERM), 'stopped: it gets no SIGTERM at first');
	eventually(sub { has_pending($session->{pid}, SIGTERM) }, 'stopped: it gets SIGTERM');
	my $lasted = time - $start;
	cmp_ok($lasted, '>', 1.5, sprintf 'stopped: not before 2 s (%.2f s)', $lasted);
	cmp_ok($lasted, '<', 4, 'stopped: nor much later');
	is(recorded($node, $session, q(count(*) FILTER (WHERE outcome IS NULL))), '1',
		'stopped: it does not count as terminated yet');
	ok(is_running($session->{pid}), 'stopped: as its backend is there');

	continue_process($session->{pid});
	was_terminated($session, '57P01', qr/^terminating connection due to administrator command/, 'stopped');
	eventually_recorded($node, $session, 'terminated', 'stopped: it counts as terminated when it is gone');
	is(log_count($node, qr/pgleak: will terminate: pid=$session->{pid} /, $mark), 1, 'stopped: the log says it once');
}

# One that goes on before the 2 s are over answers as any other.
sub test_stopped_briefly
{
	my $session = limited_session(idle_leak_after => '100ms', idle_terminate_after => '200ms');
	my $mark = log_mark($node);
	$session->do('BEGIN', 'UPDATE t SET i = i');
	stop_process($session->{pid});
	eventually(sub { log_count($node, qr/pgleak: will terminate: pid=$session->{pid} /, $mark) },
		'stopped briefly: it is to be terminated');
	continue_process($session->{pid});
	was_terminated($session, '25P03', qr/^terminating connection due to pgleak: it was idle/, 'stopped briefly');
	eventually_recorded($node, $session, 'terminated', 'stopped briefly: it counts as terminated');
}

# By hand the asker waits for that as well.
sub test_stopped_by_hand
{
	my $session = leaking_wire($node);
	stop_process($session->{pid});
	my $actor = start_act($node, 'terminate', $session);
	eventually(sub { has_pending($session->{pid}, SIGTERM) }, 'stopped, by hand: it gets SIGTERM');
	ok(!$actor->has_answer, 'stopped, by hand: pgleak.terminate() waits until it is gone');
	continue_process($session->{pid});
	was_terminated($session, '57P01', qr/./, 'stopped, by hand');
	is($actor->read_answer, 't', 'stopped, by hand: pgleak.terminate() succeeds');
	$actor->close;
}

# Which clock, which state ---------------------------------------------------------------------------------------------

# Cancelled first, ended later: on the clock that has begun before the cancellation.
sub test_after_cancel
{
	my $session = limited_session(idle_leak_after => '200ms', idle_cancel_after => '1s', idle_terminate_after => '2s');
	$session->do('BEGIN', 'UPDATE t SET i = i');
	my $start = time;
	eventually(sub { activity($node, $session) eq 'idle in transaction (aborted)|-|-' },
		'parked: the session is cancelled');
	is(recorded($node, $session, 'count(*)'), 1, 'parked: that is one episode');
	my $cancelled_at = time - $start;
	eventually(sub { $session->has_answer }, 'parked: it is ended in the end');
	my $lasted = time - $start;
	was_terminated($session, '25P03',
		qr/^terminating connection due to pgleak: it was idle for [2-3]\.?\d* ?s, the limit is 2/, 'parked');
	cmp_ok($lasted, '>', 1.9, sprintf 'parked: at its limit (cancelled at %.2f s, ended at %.2f s)', $cancelled_at,
		$lasted);
	cmp_ok($lasted, '<', 2.9, 'parked: which counts from when it became idle, not from the cancellation');
	eventually_recorded($node, $session, 'terminated', 'parked: the one episode ends as terminated');
}

# Nothing is parked for ever where nobody asks for termination, and nothing is reported twice.
sub test_parked_only
{
	my $mark = log_mark($node);
	my $session = limited_session(idle_leak_after => '100ms', idle_cancel_after => '200ms');
	$session->do('BEGIN', 'UPDATE t SET i = i');
	eventually(sub { activity($node, $session) eq 'idle in transaction (aborted)|-|-' },
		'left parked: the session is cancelled');
	eventually_is($node, "SELECT last_action_result, next_action FROM pgleak.leaks WHERE pid = $session->{pid}", 'done|',
		'left parked: nothing more is planned');
	eventually_recorded($node, $session, 'cancelled', 'left parked: the history has it as cancelled already');
	is(recorded($node, $session, 'ended_at IS NULL'), 't', 'left parked: and not as ended');
	holds(sub { log_count($node, qr/pgleak: session leak: pid=$session->{pid} /, $mark) == 1 },
		'left parked: it is no new leak', 1);
	is(log_count($node, qr/pgleak: will cancel: pid=$session->{pid} /, $mark), 1, 'left parked: nor cancelled again');
	$session->do('ROLLBACK');
	eventually_is($node, "SELECT outcome, ended_at IS NOT NULL FROM pgleak.history WHERE pid = $session->{pid}",
		'cancelled|t',
		'left parked: the episode ends with its ROLLBACK');
	$session->do('BEGIN', 'UPDATE t SET i = i');
	eventually(sub { activity($node, $session) eq 'idle in transaction (aborted)|-|-' },
		'left parked: the next transaction is judged anew');
	is($node->safe_psql('postgres', "SELECT count(*) FROM pgleak.leaks WHERE pid = $session->{pid}"), 1,
		'left parked: as a leak of its own');
	$session->close;
}

# A client that does not leave the aborted block but sends another statement has shown a sign of life.
sub test_parked_and_used
{
	my $session = limited_session(idle_leak_after => '200ms', idle_cancel_after => '500ms', idle_terminate_after => '2s');
	$session->do('BEGIN', 'UPDATE t SET i = i');
	eventually(sub { activity($node, $session) eq 'idle in transaction (aborted)|-|-' },
		'parked and used: the session is cancelled');
	answers($session, 'SELECT 1', '25P02 E', 'parked and used: its client is alive');
	my $lasted = time_until_answer($session);
	cmp_ok($lasted, '>', 1.9, sprintf 'parked and used: the idle clock begins anew (%.2f s)', $lasted);
	was_terminated($session, '25P03', qr/^terminating connection due to pgleak: it was idle/, 'parked and used');
}

sub test_plain_aborted
{
	my $cancels = count_of('cancels');
	my $mark = log_mark($node);
	my $session = limited_session(idle_leak_after => '200ms', idle_cancel_after => '400ms',
		idle_terminate_after => '1200ms');
	$session->do('BEGIN', 'UPDATE t SET i = i');
	$session->ask('SELECT 1/0');
	my $lasted = time_until_answer($session);
	cmp_ok($lasted, '>', 1.1, sprintf 'plain aborted: not before its limit (%.2f s)', $lasted);
	was_terminated($session, '25P03', qr/^terminating connection due to pgleak: it was idle for/, 'plain aborted');
	eventually_recorded($node, $session, 'terminated', 'plain aborted: the episode ends as terminated');
	is(log_count($node, qr/will cancel: pid=$session->{pid} /, $mark), 0, 'plain aborted: it was never to be cancelled');
	is(count_of('cancels'), $cancels, 'plain aborted: nor was it');
}

sub test_plain_aborted_commit
{
	my $session = limited_session(idle_leak_after => '100ms', idle_cancel_after => '100ms');
	$session->do('BEGIN', 'UPDATE t SET i = i');
	$session->ask('SELECT 1/0');
	eventually_recorded($node, $session, 'open', 'plain aborted, not terminated: it is a leak');
	holds(sub { recorded($node, $session, 'last_action IS NULL AND outcome IS NULL') eq 't' },
		'plain aborted, not terminated: nothing is done about it', 1);
	answers($session, 'COMMIT', 'ROLLBACK I', 'plain aborted, not terminated: its COMMIT is answered as core does');
	eventually_recorded($node, $session, 'rolled back', 'plain aborted, not terminated: the episode ends as rolled back');
	$session->close;
}

sub test_active_cancel
{
	my $session = limited_session(transaction_leak_after => '200ms', transaction_cancel_after => '500ms');
	$session->do('BEGIN', 'UPDATE t SET i = i');
	$session->start('SELECT pg_sleep(60)');
	$session->read_answer;
	is("$session->{severity} $session->{sqlstate} $session->{status}", 'ERROR 57014 E',
		'active, to be cancelled: its query is cancelled');
	eventually(sub { lock_count($node, $session) == 0 }, 'active, to be cancelled: and its locks are gone');
	answers($session, 'SELECT 1', '25P02 E', 'active, to be cancelled: the connection lives');
	$session->do('ROLLBACK');
	eventually_recorded($node, $session, 'cancelled', 'active, to be cancelled: the episode ends as cancelled');
	is(recorded($node, $session, 'clock, last_action, last_action_result'), 'transaction|cancel|done',
		'active, to be cancelled: and says by what');
	answers($session, 'SELECT 1', 'SELECT 1 I', 'active, to be cancelled: the connection goes on');
	$session->close;
}

# One statement outside of a block.
sub test_active_statement
{
	my $session = limited_session(transaction_leak_after => '200ms', transaction_cancel_after => '200ms');
	$session->start('SELECT pg_sleep(60)');
	$session->read_answer;
	is("$session->{severity} $session->{sqlstate} $session->{status}", 'ERROR 57014 I', 'a single statement is cancelled');
	eventually_recorded($node, $session, 'cancelled', 'a single statement: the episode ends as cancelled');
	$session->close;
}

sub test_active_terminate
{
	my $session = limited_session(transaction_leak_after => '200ms', transaction_terminate_after => '500ms');
	$session->do('BEGIN', 'UPDATE t SET i = i');
	$session->start('SELECT pg_sleep(60)');
	was_terminated($session, '57P01', qr/^terminating connection due to administrator command/, 'active, to be terminated');
	eventually_recorded($node, $session, 'terminated', 'active, to be terminated: the episode ends as terminated');
	is(recorded($node, $session, 'clock, last_action, last_action_result'), 'transaction|terminate|done',
		'active, to be terminated: and says by what');
}

# A transaction that is too old and idle is rolled back in place, whichever clock says so.
sub test_old_idle
{
	my $session = limited_session(transaction_leak_after => '200ms', transaction_cancel_after => '500ms',
		transaction_terminate_after => '1500ms');
	$session->do('BEGIN', 'UPDATE t SET i = i');
	eventually(sub { held($node, $session) eq 'idle in transaction (aborted)|-|-, 0 locks' },
		'old and idle: it is cancelled in place');
	is($session->unasked, '', 'old and idle: the client hears nothing unasked');
	answers($session, 'COMMIT', '40000 I', 'old and idle: COMMIT fails, and the block is over');
	like($session->{message},
		qr/^transaction was rolled back by pgleak: it was open for 0\.[5-9]\d* ?s, the limit is 0\.5/,
		'old and idle: with the reason');
	like($session->{hint}, qr/"pgleak.transaction_cancel_after"/, 'old and idle: and the setting');
	$session->close;
}

# The first cancellation hit a statement inside a savepoint, so the transaction lives on with all it holds.
sub test_survivor
{
	my $session = limited_session(idle_leak_after => '300ms', idle_cancel_after => '600ms',
		transaction_leak_after => '300ms', transaction_cancel_after => '300ms');
	$session->do('BEGIN', 'UPDATE t SET i = i', 'SAVEPOINT s');
	$session->start('SELECT pg_sleep(60)');
	$session->read_answer;
	is($session->{sqlstate}, '57014', 'survivor: a statement inside a savepoint is cancelled');
	# The session itself answers, in the same message: it is soon cancelled again.
	is($session->ask("ROLLBACK TO s; SELECT pg_current_xact_id_if_assigned() IS NOT NULL, "
			. "count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND relation = 't'::regclass"),
		't|1', 'survivor: the transaction lives on and holds what it held');
	eventually(sub { held($node, $session) eq 'idle in transaction (aborted)|-|-, 0 locks' },
		'survivor: so it is cancelled again', 10);
	$session->close;
}

# That it was not the last word also shows in how the episode ends.
sub test_survivor_commits
{
	my $session = limited_session(transaction_leak_after => '300ms', transaction_cancel_after => '300ms');
	$session->do('BEGIN', 'SAVEPOINT s');
	$session->start('SELECT pg_sleep(60)');
	$session->read_answer;
	is($session->{sqlstate}, '57014', 'survivor that commits: a statement inside a savepoint is cancelled');
	$session->do('ROLLBACK TO s');
	$session->ask('COMMIT');
	my $outcome = $session->{sqlstate} ? 'cancelled' : 'committed';
	eventually_recorded($node, $session, $outcome, "survivor that commits: the episode ends as $outcome");
	$session->close;
}

# A session that ends by itself was not terminated.
sub test_disconnected
{
	my $session = limited_session(idle_leak_after => '100ms', idle_terminate_after => '1h');
	$session->do('BEGIN', 'UPDATE t SET i = i');
	eventually_recorded($node, $session, 'open', 'disconnected: it is a leak');
	$session->close;
	eventually_recorded($node, $session, 'disconnected', 'disconnected: one that ends by itself was not terminated');
}

test_limit();
test_by_hand();
test_half_message();
test_psql();
test_stopped();
test_stopped_briefly();
test_stopped_by_hand();
test_after_cancel();
test_parked_only();
test_parked_and_used();
test_plain_aborted();
test_plain_aborted_commit();
test_active_cancel();
test_active_statement();
test_active_terminate();
test_old_idle();
test_survivor();
test_survivor_commits();
test_disconnected();

no_damage($node, 'no process has complained or crashed');

$node->stop;
done_testing();
