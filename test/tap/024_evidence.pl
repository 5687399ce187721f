# Evidence comes before action: whatever happens to the scanner in the middle of one, log and history tell the story, once.
# And on a hot standby actions work as well.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;
use PgleakActions;

use PostgreSQL::Test::Utils;
use POSIX qw(SIGTERM);
use Test::More;
use Time::HiRes qw(time usleep);

my $conf = <<'END';
pgleak.scan_interval = '20ms'
pgleak.idle_leak_after = '1h'
pgleak.max_actions_per_minute = 1000
END

# Cluster.pm turns restart_after_crash off.
my $node = new_node('evidence', streaming => 1, conf => $conf . "restart_after_crash = on\nhot_standby_feedback = off\n");

$node->safe_psql('postgres', q{
	CREATE TABLE t (i int);
	INSERT INTO t VALUES (0);
	CREATE ROLE app LOGIN;
	GRANT ALL ON t TO app;
	CREATE ROLE cancelled LOGIN IN ROLE app;
	ALTER ROLE cancelled SET pgleak.idle_leak_after = '100ms';
	ALTER ROLE cancelled SET pgleak.idle_cancel_after = '1s';
	CREATE ROLE terminated LOGIN IN ROLE app;
	ALTER ROLE terminated SET pgleak.idle_leak_after = '100ms';
	ALTER ROLE terminated SET pgleak.idle_terminate_after = '1s'});

sub is_cancelled
{
	my ($server, $session) = @_;
	return held($server, $session) eq 'idle in transaction (aborted)|-|-, 0 locks';
}

# A session that an action is under way for and that does not answer, being stopped.
sub stopped_session
{
	my ($role, $action, $name) = @_;
	my $mark = log_mark($node);
	my $session = leaking_wire($node, user => $role, query => 'INSERT INTO t VALUES (1)');
	stop_process($session->{pid});
	eventually(sub { log_count($node, qr/pgleak: will $action: pid=$session->{pid} /, $mark) },
		"$name: the action is under way");
	return $session;
}

# What the log tells of the session, in its order.
sub story
{
	my ($session, $mark) = @_;
	my $by_scanner = qr/pgleak: (session leak ended|session leak|will \w+|cancel|terminate): pid=$session->{pid} /;
	my $by_session = qr/\[$session->{pid}\].* pgleak: (transaction rolled back in place)/;
	return join ', ', grep { defined } log_after($node, $mark) =~ /$by_scanner|$by_session/g;
}

sub counters { return $node->safe_psql('postgres', "SELECT $_[0] FROM pgleak.stats"); }

# Ends the scanner with a signal and waits for its successor.
sub replace_scanner
{
	my ($old) = worker_pid($node, 'scanner');
	kill 'TERM', $old;
	eventually(sub { my $new = worker_pid($node, 'scanner'); $new ne '' && $new ne $old }, 'there is a new scanner');
}

sub test_order
{
	my $mark = log_mark($node);
	my $session = leaking_wire($node, user => 'cancelled', query => 'INSERT INTO t VALUES (1)');
	eventually(sub { is_cancelled($node, $session) }, 'order: a session is cancelled');
	$session->do('ROLLBACK');
	eventually(sub { log_count($node, qr/pgleak: session leak ended: pid=$session->{pid} /, $mark) },
		'order: and its episode ends');
	is(story($session, $mark), 'session leak, will cancel, transaction rolled back in place, cancel, session leak ended',
		'order: the log tells the intention before the deed');
	$session->close;
}

# Before anything reaches the session the history has it, too.
sub test_intention
{
	my $session = stopped_session('terminated', 'terminate', 'intention');
	# Otherwise it would give up the handshake and send the signal before a slow machine has looked.
	my ($scanner) = worker_pid($node, 'scanner');
	stop_process($scanner);
	eventually_is($node,
		"SELECT last_action, last_action_result, last_action_at IS NOT NULL, outcome IS NULL FROM pgleak.history WHERE pid = $session->{pid}",
		'terminate|requested|t|t', 'intention: the history knows what is requested');
	is($node->safe_psql('postgres',
		"SELECT last_action, last_action_result FROM pgleak.leaks WHERE pid = $session->{pid}"), 'terminate|requested',
		'intention: and so does the live view');
	continue_process($scanner);
	continue_process($session->{pid});
	eventually_recorded($node, $session, 'terminated', 'intention: then it happens');
	$session->close;
}

# Kills the scanner, which restarts the server, and waits until it is back.
sub crash
{
	my ($scanner, $started_at, $name) = @_;
	kill 'KILL', $scanner;
	eventually_restarted($node, $started_at, "$name: the server restarts");
}

# The scanner dies as soon as it has said what it will do: wherever the message, the session and the recorder are by then.
sub test_killed_at_once
{
	my ($role, $action) = @_;
	my $name = "killed at once, $action";
	my $mark = log_mark($node);
	my $scanner = worker_pid($node, 'scanner');
	my $started_at = counters('started_at');
	my $session = leaking_wire($node, user => $role, query => 'INSERT INTO t VALUES (1)');
	eventually_recorded($node, $session, 'open', "$name: a leak is recorded");
	my $leak_id = recorded($node, $session, 'leak_id');
	my $will = qr/pgleak: will $action: pid=$session->{pid} .* leak_id=$leak_id$/m;
	for (1 .. 60_000)
	{
		last if log_count($node, $will, $mark);
		usleep(1000);
	}
	crash($scanner, $started_at, $name);
	is(log_count($node, $will, $mark), 1, "$name: the log tells what was to be done");
	eventually_is($node,
		"SELECT count(*), bool_and(leak_id = $leak_id), bool_and(ended_at IS NOT NULL) FROM pgleak.history WHERE pid = $session->{pid}",
		'1|t|t', "$name: the history has one row, under the number that the log tells");
	like(recorded($node, $session, 'outcome, last_action'), qr/^(server stopped|cancelled|terminated)\|($action)?$/,
		"$name: with an end, and nothing that was not to be done");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM t WHERE i = 1'), 0, "$name: nothing was committed");
	$session->close;
}

# The scanner dies while the session has not answered, and the recorder has written what there is.
sub test_killed_scanner
{
	my $mark = log_mark($node);
	my $session = stopped_session('cancelled', 'cancel', 'killed scanner');
	eventually_is($node, "SELECT last_action FROM pgleak.history WHERE pid = $session->{pid}", 'cancel',
		'killed scanner: the action is recorded');
	my $row = recorded($node, $session, 'leak_id, backend_start, last_action');
	crash(worker_pid($node, 'scanner'), counters('started_at'), 'killed scanner');
	eventually_recorded($node, $session, 'server stopped',
		'killed scanner: the history has the session, once, as ended by the restart');
	is(recorded($node, $session, 'leak_id, backend_start, last_action'), $row,
		'killed scanner: and still knows of the action');
	my ($leak_id) = split /\|/, $row;
	is(log_count($node, qr/pgleak: will cancel: pid=$session->{pid} .* leak_id=$leak_id$/m, $mark), 1,
		'killed scanner: so does the log, by the same number');
	is(log_count($node, qr/terminated by signal/, $mark),
		1 + log_count($node, qr/process \(PID $session->{pid}\) was terminated by signal/, $mark),
		'killed scanner: nothing else has crashed');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM t WHERE i = 1'), 0, 'killed scanner: nothing was committed');

	my $next = leaking_wire($node, user => 'cancelled', query => 'INSERT INTO t VALUES (1)');
	eventually(sub { is_cancelled($node, $next) }, 'killed scanner: afterwards sessions are cancelled as before');
	answers($next, 'COMMIT', '40000 I', 'killed scanner: and told so');
	eventually_recorded($node, $next, 'cancelled', 'killed scanner: and recorded');
	$_->close for $session, $next;
}

# A new scanner takes up what the old one has left.
sub test_replaced_scanner
{
	my ($role, $action, $outcome) = @_;
	my $name = "replaced scanner, $action";
	my $mark = log_mark($node);
	my $done = counters("${action}s");
	my $session = stopped_session($role, $action, $name);
	my $leak_id = $node->safe_psql('postgres', "SELECT leak_id FROM pgleak.leaks WHERE pid = $session->{pid}");
	replace_scanner();
	is($node->safe_psql('postgres', "SELECT leak_id FROM pgleak.leaks WHERE pid = $session->{pid}"), $leak_id,
		"$name: the episode goes on");
	continue_process($session->{pid});
	if ($action eq 'cancel')
	{
		eventually(sub { is_cancelled($node, $session) }, "$name: the session is cancelled in the end");
		answers($session, 'COMMIT', '40000 I', "$name: its client is told so");
	}
	eventually_recorded($node, $session, $outcome, "$name: there is one row, as $outcome");
	eventually_is($node,
		"SELECT last_action, last_action_result, ended_at IS NOT NULL FROM pgleak.history WHERE pid = $session->{pid}",
		"$action|done|t", "$name: which says by what");
	eventually(sub { log_count($node, qr/pgleak: session leak ended: pid=$session->{pid} /, $mark) },
		"$name: the log tells of its end");
	is(log_count($node, qr/pgleak: (session leak|session leak ended): pid=$session->{pid} /, $mark), 2,
		"$name: its beginning and end are logged once");
	is(log_count($node, qr/pgleak: $action: pid=$session->{pid} .* result=done/, $mark), 1, "$name: and that it was done");
	is(counters("${action}s"), $done + 1, "$name: it is counted once");
	$session->close;
}

# The session carries out what the old scanner has asked before there is a new one.
sub test_missing_scanner
{
	my $session = stopped_session('terminated', 'terminate', 'missing scanner');
	my $old = worker_pid($node, 'scanner');
	kill 'TERM', $old;
	eventually(sub { !is_running($old) }, 'missing scanner: it is gone');
	continue_process($session->{pid});
	$session->read_answer;
	is("$session->{severity} $session->{sqlstate}", 'FATAL 25P03', 'missing scanner: the session ends as asked');
	eventually_recorded($node, $session, 'terminated', 'missing scanner: it is recorded as terminated');
}

# Somebody waits for the answer.
sub test_replaced_scanner_by_hand
{
	my $session = leaking_wire($node, query => 'INSERT INTO t VALUES (1)');
	my $mark = log_mark($node);
	stop_process($session->{pid});
	my $actor = start_act($node, 'terminate', $session);
	eventually(sub { log_count($node, qr/pgleak: will terminate: pid=$session->{pid} /, $mark) },
		'replaced scanner, by hand: the action is under way');
	replace_scanner();
	eventually(sub { has_pending($session->{pid}, SIGTERM) }, 'replaced scanner, by hand: the new one goes on');
	ok(!$actor->has_answer, 'replaced scanner, by hand: whoever has asked waits until the session is gone');
	continue_process($session->{pid});
	eventually(sub { !is_running($session->{pid}) }, 'replaced scanner, by hand: the session is gone in the end');
	is($actor->read_answer, 't', "replaced scanner, by hand: whoever has asked gets an answer ($actor->{message})");
	eventually_recorded($node, $session, 'terminated', 'replaced scanner, by hand: there is one row, as terminated');
	$_->close for $session, $actor;
}

# A session that was cancelled stays so.
sub test_parked_session
{
	my $mark = log_mark($node);
	my $session = leaking_wire($node, user => 'cancelled', query => 'INSERT INTO t VALUES (1)');
	eventually(sub { is_cancelled($node, $session) }, 'replaced scanner, parked session: it is cancelled');
	eventually_recorded($node, $session, 'cancelled', 'replaced scanner, parked session: and recorded');
	replace_scanner();
	$node->safe_psql('postgres', 'SELECT pgleak.scan()');
	is($node->safe_psql('postgres',
		"SELECT count(*) FROM pgleak.leaks WHERE pid = $session->{pid} AND last_action_result = 'done'"), 1,
		'replaced scanner, parked session: the new scanner knows');
	answers($session, 'COMMIT', '40000 I', 'replaced scanner, parked session: its COMMIT fails');
	eventually(sub { log_count($node, qr/pgleak: session leak ended: pid=$session->{pid} .* outcome=cancelled/, $mark) },
		'replaced scanner, parked session: the episode ends as cancelled');
	is(log_count($node, qr/pgleak: (session leak|will cancel): pid=$session->{pid} /, $mark), 2,
		'replaced scanner, parked session: nothing is said twice');
	$session->close;
}

# Hot standby ----------------------------------------------------------------------------------------------------------

sub start_standby
{
	$node->backup('base');
	my $standby = empty_node('standby');
	$standby->init_from_backup($node, 'base', has_streaming => 1);
	$standby->append_conf('postgresql.conf', 'max_standby_streaming_delay = -1');
	$standby->start;
	$node->wait_for_catchup($standby);
	return $standby;
}

sub test_standby
{
	my $standby = start_standby();
	for my $protocol ('simple', 'extended')
	{
		my $name = "standby, $protocol protocol";
		my $session = wire($standby, user => 'app', extended => $protocol eq 'extended');
		$session->do('BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT * FROM t', 'SAVEPOINT s',
			'DECLARE c CURSOR FOR SELECT * FROM t', 'FETCH 1 FROM c');
		like(held($standby, $session), qr/^idle in transaction\|-\|\d+, [2-9] locks$/,
			"$name: a session holds a snapshot and locks");
		is(cancel($standby, $session), 't', "$name: it can be cancelled in place");
		ok(is_cancelled($standby, $session), "$name: and holds nothing then") or diag(held($standby, $session));
		is($session->unasked, '', "$name: its client hears nothing unasked");
		answers($session, 'COMMIT', '40000 I', "$name: COMMIT fails, and the block is over");
		answers($session, 'SELECT 1', 'SELECT 1 I', "$name: the connection goes on");
		$session->close;
	}

	my $session = leaking_wire($standby, user => 'cancelled', query => 'SELECT * FROM t');
	$node->safe_psql('postgres', 'ALTER TABLE t ADD COLUMN j int');
	$node->wait_for_catchup($standby);
	eventually(sub { is_cancelled($standby, $session) }, 'standby: a session is cancelled by its limit');
	is($standby->safe_psql('postgres', 'SELECT count(*) FROM t WHERE j IS NULL'), 1,
		'standby: what it held up is replayed');
	my $terminated = leaking_wire($standby, user => 'terminated', query => 'SELECT * FROM t');
	eventually(sub { $terminated->has_answer }, 'standby: another one is terminated by its limit');
	$terminated->read_answer;
	is("$terminated->{severity} $terminated->{sqlstate}", 'FATAL 25P03', 'standby: and reads why');
	unlike(log_after($standby), qr/PANIC|TRAP|terminated by signal|cannot .* during recovery/,
		'standby: nothing tries to write or crashes');

	$standby->promote;
	eventually_recording($standby, 'standby: after its promotion it records');
	eventually_recorded($standby, $terminated, 'terminated', 'standby: what was done before as well');
	eventually_recorded($standby, $session, 'cancelled', 'standby: also what goes on');
	answers($session, 'COMMIT', '40000 I', 'standby: COMMIT of what was cancelled before the promotion fails');
	$_->close for $session, $terminated;
	no_damage($standby, 'standby: no process has complained or crashed');
	$standby->stop;
}

test_order();
test_intention();
test_killed_at_once('cancelled', 'cancel');
test_killed_at_once('terminated', 'terminate');
test_killed_scanner();
test_replaced_scanner('cancelled', 'cancel', 'cancelled');
test_replaced_scanner('terminated', 'terminate', 'terminated');
test_missing_scanner();
test_replaced_scanner_by_hand();
test_parked_session();
test_standby();

no_damage($node, 'no process has complained, none but those that were to has crashed',
	except => qr/was terminated by signal (9|3)|terminating connection because of crash/);

$node->stop;
done_testing();
