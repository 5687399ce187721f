# In the middle of a look a session may become idle, and between judgement and action anything may happen, so the scanner
# judges again right before it acts. Here it is made to stop there, in a build that can be told to (test/run inject makes
# it), and something happens: the session goes on, begins another transaction, or ends and another one takes its place, its
# slot and its process id. Nothing is sent then. With PGLEAK_REUSES=N a session is replaced N times more than usual.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../tap/lib";

# Process ids can be chosen in a namespace of one's own only. Where there cannot be one only slots are reused.
BEGIN
{
	my @own_pids = qw(unshare --user --pid --fork --mount-proc --map-current-user --keep-caps);
	my $has_own_pids = 'echo 1000 > /proc/sys/kernel/ns_last_pid';
	if (!$ENV{PGLEAK_OWN_PIDS} && system("@own_pids sh -c '$has_own_pids' >/dev/null 2>&1") == 0)
	{
		$ENV{PGLEAK_OWN_PIDS} = 1;
		# Process 1 has to be one that looks after orphans.
		exec @own_pids, 'sh', '-c', '"$@"; exit $?', 'sh', $^X, $0;
	}
}

use PgleakTest;
use PgleakActions;

use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = new_node('judged', conf => <<'END');
pgleak.idle_leak_after = '1h'
autovacuum = off
log_min_messages = debug1
max_connections = 15
END

$node->safe_psql('postgres', q{
	CREATE TABLE t (i int);
	CREATE ROLE cancelled LOGIN;
	ALTER ROLE cancelled SET pgleak.idle_leak_after = '100ms';
	ALTER ROLE cancelled SET pgleak.idle_cancel_after = '100ms';
	CREATE ROLE terminated LOGIN;
	ALTER ROLE terminated SET pgleak.idle_leak_after = '100ms';
	ALTER ROLE terminated SET pgleak.idle_terminate_after = '100ms';
	CREATE ROLE late LOGIN;
	ALTER ROLE late SET pgleak.idle_leak_after = '1s';
	CREATE ROLE spared LOGIN;
	GRANT ALL ON t TO PUBLIC});

my $administrator = wire($node);
my ($reuses, $wrong_signals) = (0, 0);

sub counters
{
	return $administrator->ask('SELECT cancels, terminates, cancels_failed, skipped FROM pgleak.stats');
}

# Has the scanner stop at $point of what it does next; $meanwhile->() happens there, and it goes on.
sub while_stopped
{
	my ($point, $begin, $meanwhile) = @_;
	my $mark = log_mark($node);
	configure($node, 'pgleak.stop_at' => $point);
	my $begun = $begin->();
	eventually(sub { log_count($node, qr/pgleak injection: stopped at "$point"/, $mark) }, "the scanner stops at \"$point\"");
	my @result = $meanwhile->();
	configure($node, 'pgleak.stop_at' => undef);
	eventually(sub { log_count($node, qr/pgleak injection: continuing from "$point"/, $mark) }, 'and goes on');
	return ($mark, $begun, @result);
}

# The place of a session among all, while it is in a transaction.
sub slot
{
	my ($session) = @_;
	return $administrator->ask(
		"SELECT split_part(virtualtransaction, '/', 1) FROM pg_locks WHERE pid = $session->{pid} AND locktype = 'virtualxid'");
}

# Ends the session; another one gets its slot, and its process id if they can be chosen. Up to 16 the slot that was given
# back last is the next to be taken, from 17 on the one that has been free for longest.
sub replaced
{
	my ($session, $user) = @_;
	my $slot = slot($session);
	my $other = $session;
	my @fillers;
	for my $try (1 .. 100)
	{
		my $last = $other;
		$last->close;
		usleep(1000) while is_running($last->{pid});
		# Somebody else who left a moment later has given back another one since, which would be taken again and again.
		push @fillers, wire($node) if $try > 1 && $node->pg_version < 17 && @fillers < 5;
		choose_pid($session->{pid});
		$other = leaking_wire($node, user => $user, query => 'INSERT INTO t VALUES (2)');
		last if slot($other) eq $slot;
	}
	$_->close for @fillers;
	is(slot($other), $slot, 'another session has its slot');
	is($other->{pid}, $session->{pid}, 'and its process id') if $ENV{PGLEAK_OWN_PIDS};
	$reuses++ if $other->{pid} == $session->{pid};
	return $other;
}

# The next process that is made gets this process id.
sub choose_pid
{
	my ($pid) = @_;
	return unless $ENV{PGLEAK_OWN_PIDS};
	open my $file, '>', '/proc/sys/kernel/ns_last_pid' or die "ns_last_pid: $!";
	print $file $pid - 1;
	close $file or die "ns_last_pid: $!";
}

# Test: $session goes on as if nothing had been, and its COMMIT succeeds.
sub is_untouched
{
	my ($session, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $untouched = like(activity($node, $session), qr/^idle in transaction\|\d+\|/, "$name: the session has its transaction");
	$untouched &= is($session->unasked, '', "$name: its client hears nothing");
	$untouched &= answers($session, 'COMMIT', 'COMMIT I', "$name: its COMMIT succeeds");
	$wrong_signals++ unless $untouched;
}

# Test: the action on the session with this process id is counted and logged as skipped, and nothing else is.
sub is_skipped
{
	my ($pid, $action, $mark, $before, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($cancels, $terminates, $failed, $skipped) = split /\|/, $before;
	# Who asked is answered before it is logged.
	$administrator->do('SELECT pgleak.scan()');
	is(counters(), join('|', $cancels, $terminates, $failed, $skipped + 1), "$name: skipped is counted, nothing else");
	is(log_count($node, qr/DEBUG:  pgleak: $action: pid=$pid .* result=skipped /, $mark), 1, "$name: and logged");
	is(log_count($node, qr/rolled back in place|terminating connection|canceling statement/, $mark), 0,
		"$name: nothing has happened to anybody");
}

my %happening = (
	'goes on' => sub { my ($session) = @_; $session->do('INSERT INTO t VALUES (2)'); return $session },
	'begins another transaction' => sub {
		my ($session) = @_;
		$session->do('ROLLBACK', 'BEGIN', 'INSERT INTO t VALUES (2)');
		return $session;
	},
	'is replaced' => sub { my ($session) = @_; return replaced($session, 'spared') });

# What an idle session does meanwhile: asked for by hand, at each place.
sub test_idle
{
	my ($action, $point, $what) = @_;
	my $name = "$action, \"$point\", the session $what";
	my $before = counters();
	my $session = leaking_wire($node, user => 'spared', query => 'INSERT INTO t VALUES (1)');
	my $pid = $session->{pid};
	my ($mark, $actor, $survivor) = while_stopped($point, sub { start_act($node, $action, $session) },
		sub { $happening{$what}->($session) });
	is($actor->read_answer, 'f', "$name: whoever asked is told that it was not done");
	like("@{ $actor->{notices} }", qr/has moved on, no action was taken/, "$name: and why");
	is_skipped($pid, $action, $mark, $before, $name);
	is_untouched($survivor, $name);
	$_->close for $survivor, $actor;
}

# An active session, reached by a signal. The statement ends while the scanner is stopped, so the signal would reach a
# session that is idle, or in its next statement.
sub test_active
{
	my ($action, $what) = @_;
	my $name = "$action of an active session that $what";
	my $before = counters();
	my $session = leaking_wire($node, user => 'spared', query => 'INSERT INTO t VALUES (1)');
	my $pid = $session->{pid};
	$administrator->do('SELECT pg_advisory_lock(1)');
	$session->start('SELECT pg_advisory_xact_lock(1)');
	eventually(sub { activity($node, $session) =~ /^active/ }, "$name: it is active");
	my ($mark, $actor, $survivor) = while_stopped('check', sub { start_act($node, $action, $session) }, sub {
			$administrator->do('SELECT pg_advisory_unlock(1)');
			$session->read_answer;
			return $happening{$what}->($session);
		});
	is($actor->read_answer, 'f', "$name: whoever asked is told that it was not done");
	is_skipped($pid, $action, $mark, $before, $name);
	is_untouched($survivor, $name);
	$_->close for $survivor, $actor;
}

# By a limit, and a session that ends and has its place taken.
sub test_limit
{
	my ($role, $action) = @_;
	my $name = "$action by a limit";
	my $before = counters();
	my $session;
	my ($mark, undef, $survivor) = while_stopped('check',
		sub { $session = leaking_wire($node, user => $role, query => 'INSERT INTO t VALUES (1)') },
		sub { $happening{'is replaced'}->($session) });
	eventually(sub { counters() ne $before }, "$name: there is a result");
	is_skipped($session->{pid}, $action, $mark, $before, $name);
	eventually_is($node, "SELECT outcome, last_action, last_action_result FROM pgleak.history WHERE role = '$role'",
		"disconnected|$action|skipped", "$name: the history tells it, as of the session that has gone");
	is_untouched($survivor, $name);
	$survivor->close;
}

# The evidence is there by then: before anything is sent the log and the history tell what will be.
sub test_evidence
{
	my ($action) = @_;
	my $name = "$action, evidence";
	my $mark = log_mark($node);
	my $session = leaking_wire($node, user => 'spared', query => 'INSERT INTO t VALUES (1)');
	my (undef, $actor) = while_stopped('check', sub { start_act($node, $action, $session) }, sub {
			is(log_count($node, qr/LOG:  pgleak: will $action: pid=$session->{pid} /, $mark), 1,
				"$name: before anything is sent the log tells of it");
			eventually_is($node,
				"SELECT last_action, last_action_result, outcome IS NULL FROM pgleak.history WHERE pid = $session->{pid}"
				  . ' ORDER BY detected_at DESC LIMIT 1', "$action|requested|t", "$name: and so does the history");
		});
	# It may have got too late for it meanwhile.
	like($actor->read_answer, qr/^[tf]$/, "$name: whoever asked gets an answer");
	$_->close for $session, $actor;
}

# A look that lasts long, as the scanner can be preempted, and a session that becomes idle in the middle of it. How long
# the look had lasted by then is no part of its idle time.
sub test_long_look
{
	my $name = 'idle since the middle of a look';
	my $session = wire($node, user => 'late');
	while_stopped('scan', sub { }, sub { $session->do('BEGIN', 'SELECT pg_sleep(1.5)') });
	eventually_is($node, "SELECT count(*) FROM pgleak.history WHERE role = 'late'", 1, "$name: it becomes a leak");
	is($node->safe_psql('postgres', "SELECT detected_at - idle_since > leak_after / 2 FROM pgleak.history WHERE role = 'late'"),
		't', "$name: after the limit, not before");
	$session->close;
}

note($ENV{PGLEAK_OWN_PIDS} ? 'process ids are reused, too' : 'process ids cannot be chosen here: slots are reused only');
for my $action ('cancel', 'terminate')
{
	for my $what (sort keys %happening)
	{
		test_idle($action, $_, $what) for 'check', 'message', 'wake-up';
		test_active($action, $what);
	}
	test_evidence($action);
}
for my $again (1 .. $ENV{PGLEAK_REUSES} // 0)
{
	test_idle($again % 2 ? 'cancel' : 'terminate', ('check', 'message', 'wake-up')[ $again % 3 ], 'is replaced');
}
test_limit('cancelled', 'cancel');
test_limit('terminated', 'terminate');
test_long_look();

note("signals: $reuses sessions replaced by others with their process ids, $wrong_signals wrong signals");
no_damage($node, 'no process has complained or crashed');
$administrator->close;
$node->stop;
done_testing();
