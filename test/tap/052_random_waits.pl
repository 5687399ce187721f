# Tests: pgleak.waits against the server's own view of the same moment: random lock situations on a live server, compared with
# pg_locks and pg_blocking_pids(), and a few of them with the lines of log_lock_waits.
#
# PGLEAK_SITUATIONS is the number of situations (default 1000), PGLEAK_SEED repeats a run. The server detects no deadlock in
# that time, so that deadlocks are situations too.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;
use PgleakActions;

use List::Util qw(first shuffle uniq);
use Test::More;
use Time::HiRes qw(usleep);

my $situations = $ENV{PGLEAK_SITUATIONS} // 1000;
my $seed = $ENV{PGLEAK_SEED} // int rand 1_000_000;
my $session_count = 14;
my $most_prepared = 4;

my $node = new_node('random_waits', conf => <<"END");
max_prepared_transactions = $most_prepared
deadlock_timeout = 10min
autovacuum = off
END
$node->safe_psql('postgres', <<'END');
CREATE TABLE hot (id integer PRIMARY KEY, n integer);
INSERT INTO hot SELECT i, 0 FROM generate_series(1, 4) AS i;
CREATE TABLE one (n integer);
CREATE TABLE two (n integer);
END

my $admin = wire($node);
my @sessions = map { wire($node) } 1 .. $session_count;
my $next_gid = 0;

# What is in the way --------------------------------------------------------------------------------------------------------

# The modes that conflict with each, as the documentation of PostgreSQL has them.
my @modes = ('ACCESS SHARE', 'ROW SHARE', 'ROW EXCLUSIVE', 'SHARE UPDATE EXCLUSIVE', 'SHARE', 'SHARE ROW EXCLUSIVE', 'EXCLUSIVE',
	'ACCESS EXCLUSIVE');
my %conflicts = (
	AccessShareLock => 'AccessExclusiveLock',
	RowShareLock => 'ExclusiveLock AccessExclusiveLock',
	RowExclusiveLock => 'ShareLock ShareRowExclusiveLock ExclusiveLock AccessExclusiveLock',
	ShareUpdateExclusiveLock => 'ShareUpdateExclusiveLock ShareLock ShareRowExclusiveLock ExclusiveLock AccessExclusiveLock',
	ShareLock => 'RowExclusiveLock ShareUpdateExclusiveLock ShareRowExclusiveLock ExclusiveLock AccessExclusiveLock',
	ShareRowExclusiveLock => 'RowExclusiveLock ShareUpdateExclusiveLock ShareLock ShareRowExclusiveLock ExclusiveLock AccessExclusiveLock',
	ExclusiveLock => 'RowShareLock RowExclusiveLock ShareUpdateExclusiveLock ShareLock ShareRowExclusiveLock ExclusiveLock AccessExclusiveLock',
	AccessExclusiveLock => 'AccessShareLock RowShareLock RowExclusiveLock ShareUpdateExclusiveLock ShareLock ShareRowExclusiveLock '
	  . 'ExclusiveLock AccessExclusiveLock');

sub one_of { return $_[ rand @_ ]; }

sub random_lock
{
	my $id = 1 + int rand 4;
	return one_of(
		"UPDATE hot SET n = n + 1 WHERE id = $id",
		"UPDATE hot SET n = n + 1 WHERE id = $id",
		"SELECT FROM hot WHERE id = $id FOR " . one_of('UPDATE', 'NO KEY UPDATE', 'SHARE', 'KEY SHARE'),
		'LOCK TABLE ' . one_of(qw(one two)) . ' IN ' . one_of(@modes) . ' MODE',
		"SELECT pg_advisory_xact_lock($id)",
		"SELECT pg_advisory_xact_lock_shared(7, $id)",
		"SAVEPOINT s; UPDATE hot SET n = n + 1 WHERE id = $id");
}

# What an idle session does next; it has said which transaction it is in.
sub random_step
{
	my ($session) = @_;
	return 'ROLLBACK' if $session->{status} eq 'E';
	my $roll = rand;
	if ($session->{status} eq 'I')
	{
		return one_of('SELECT pg_advisory_lock(' . int(rand 4) . ')', 'SELECT pg_advisory_lock_shared(' . int(rand 4) . ')') if $roll < 0.1;
		return 'SELECT pg_advisory_unlock_all()' if $roll < 0.2;
		return prepared_end() // 'SELECT 1' if $roll < 0.3;
		return 'BEGIN; ' . random_lock();
	}
	return one_of('COMMIT', 'ROLLBACK') if $roll < 0.25;
	return "PREPARE TRANSACTION 'g" . $next_gid++ . "'" if $roll < 0.35;
	return random_lock();
}

sub prepared_end
{
	my $gid = $admin->ask('SELECT gid FROM pg_prepared_xacts ORDER BY random() LIMIT 1') or return;
	return one_of('COMMIT', 'ROLLBACK') . " PREPARED '$gid'";
}

# Takes a step: an idle session goes on or, if most of them wait, one of those gives up.
sub take_step
{
	my @waiting = grep { $_->{is_busy} } @sessions;
	if (@waiting > $session_count * 0.75 || (@waiting && rand() < 0.05))
	{
		$admin->do('SELECT pg_cancel_backend(' . one_of(@waiting)->{pid} . ')');
		return;
	}
	my $session = one_of(grep { !$_->{is_busy} } @sessions);
	$session->start(random_step($session));
	$session->{is_busy} = 1;
}

# One moment, as the server and as pgleak see it ---------------------------------------------------------------------------

my $lock = q(concat_ws(' ', locktype, database, relation, page, tuple, virtualxid, transactionid, classid, objid, objsubid));
my $all_locks = "SELECT md5(string_agg(concat_ws(',', $lock, virtualtransaction, pid, mode, granted, waitstart), ';' ORDER BY $lock,
	virtualtransaction, pid, mode, granted)) FROM pg_locks WHERE pid IS DISTINCT FROM pg_backend_pid()";

# Reads answers until each statement has been answered or waits for a lock. Returns the locks of that moment.
sub settle
{
	for (1 .. 20_000)
	{
		for my $session (grep { $_->{is_busy} && $_->has_answer } @sessions) { $session->read_answer; $session->{is_busy} = 0; }
		my $busy = join ' ', sort map { $_->{pid} } grep { $_->{is_busy} } @sessions;
		my $waiting = join ' ', sort split /\n/, $admin->ask('SELECT DISTINCT pid FROM pg_locks WHERE NOT granted');
		return $admin->ask($all_locks) if $busy eq $waiting;
		usleep(500);
	}
	die 'the sessions do not settle';
}

# By pid: what the process waits for, and who is in its way: pids, and identifiers of prepared transactions.
sub read_server
{
	my %gid_of = map { split /\|/ } split /\n/, $admin->ask(q(SELECT virtualtransaction, gid FROM pg_locks
		JOIN pg_prepared_xacts ON transactionid = transaction WHERE pid IS NULL));
	my (%waits, %prepared);
	for (split /\n/, $admin->ask("SELECT pid, $lock, locktype, relation::regclass, mode, pg_blocking_pids(pid) FROM pg_locks WHERE NOT granted"))
	{
		my ($pid, $on, $type, $relation, $mode, $blockers) = split /\|/;
		$relation = "public.$relation" if $relation;
		$waits{$pid} = { on => $on, mode => $mode, shown => join('|', $type, $type =~ /^(relation|tuple)$/ ? $relation : '', $mode),
			blockers => [ uniq grep { $_ } $blockers =~ /[0-9]+/g ], has_prepared => scalar($blockers =~ /\b0\b/) };
	}
	for (split /\n/, $admin->ask("SELECT $lock, mode, virtualtransaction FROM pg_locks WHERE pid IS NULL"))
	{
		my ($on, $mode, $transaction) = split /\|/;
		next unless $gid_of{$transaction};    # prepared just now: this moment will not count
		push @{ $prepared{$on} }, { mode => $mode, gid => $gid_of{$transaction} };
	}
	for my $wait (grep { $_->{has_prepared} } values %waits)
	{
		my @modes = split / /, $conflicts{ $wait->{mode} };
		push @{ $wait->{blockers} }, uniq map { $_->{gid} } grep { my $held = $_->{mode}; first { $_ eq $held } @modes } @{ $prepared{ $wait->{on} } };
	}
	return \%waits;
}

# The rows that pgleak.waits has to have: the nearest way from each waiter to everyone at an end of its chains.
sub expected_rows
{
	my ($waits) = @_;
	my @rows;
	for my $waiter (keys %$waits)
	{
		my %depth = ($waiter => 0);
		my @found = ($waiter);
		my @roots;
		while (defined(my $who = shift @found))
		{
			my $wait = $waits->{$who};
			push @roots, $who unless $wait;
			for my $next ($wait ? @{ $wait->{blockers} } : ())
			{
				next if defined $depth{$next};
				$depth{$next} = $depth{$who} + 1;
				push @found, $next;
			}
		}
		push @rows, map { "$waiter|$waits->{$waiter}{shown}|$depth{$_}|$_" } @roots;
		push @rows, "$waiter|$waits->{$waiter}{shown}||" unless @roots;
	}
	return join "\n", sort @rows;
}

my $shown_rows = q(SELECT waiter_pid, locktype, relation, mode, depth, coalesce(root_gid, root_pid::text) FROM pgleak.waits);

sub test_random
{
	srand $seed;
	my %seen = map { $_ => 0 } qw(waiters deadlocks prepared roots deepest);
	my ($compared, $failed) = (0, 0);
	while ($compared < $situations && !$failed)
	{
		take_step();
		my $before = settle();
		my $waits = read_server();
		my $shown = join "\n", sort split /\n/, $admin->ask($shown_rows);
		next if $admin->ask($all_locks) ne $before;    # something has moved
		my $expected = expected_rows($waits);
		$failed = $shown ne $expected;
		is($shown, $expected, "situation $compared of seed $seed") if $failed;
		$compared++;
		my @rows = split /\n/, $expected;
		$seen{waiters} += keys %$waits;
		$seen{roots} += uniq map { (split /\|/, $_, -1)[5] } @rows;
		$seen{deadlocks} += grep { /\|\|$/ } @rows;
		$seen{prepared} += grep { /\|g[0-9]+$/ } @rows;
		for (@rows) { my $depth = (split /\|/, $_, -1)[4] || 0; $seen{deepest} = $depth if $depth > $seen{deepest}; }
	}
	ok(!$failed, "$compared situations (seed $seed): as pg_locks and pg_blocking_pids() have it");
	note(join ', ', map { "$_: $seen{$_}" } sort keys %seen);
	cmp_ok($seen{$_}, '>', 0, "among them: $_") for qw(waiters deadlocks prepared roots);
	cmp_ok($seen{deepest}, '>', 2, 'among them: chains of several');
}

sub end_all
{
	for my $session (@sessions)
	{
		$node->safe_psql('postgres', "SELECT pg_terminate_backend($session->{pid}, 60000)");
		$session->close;
	}
	$node->safe_psql('postgres', "ROLLBACK PREPARED '$_'") for split /\n/, $node->safe_psql('postgres', 'SELECT gid FROM pg_prepared_xacts');
}

# The server's log ----------------------------------------------------------------------------------------------------------

# Test: what the server logs about a wait is what the view shows of it.
sub as_logged
{
	my ($name, $hold, $want) = @_;
	my $mark = log_mark($node);
	my ($holder, @waiters) = map { wire($node) } 1 .. 3;
	$holder->do('BEGIN', $hold);
	for my $waiter (@waiters)
	{
		$waiter->start($want);
		eventually_is($node, "SELECT count(*) FROM pg_locks WHERE pid = $waiter->{pid} AND NOT granted", '1', "$name: it waits");
	}
	my $first = $waiters[0]{pid};
	my $logged = qr/process $first still waiting for (\w+) on .*\n.*DETAIL:  Process(?:es)? holding the lock: ([0-9, ]+)\. Wait queue: ([0-9, ]+)\./;
	eventually(sub { log_after($node, $mark) =~ $logged }, "$name: the server logs it");
	my ($mode, $holders, $queue) = log_after($node, $mark) =~ $logged;
	is($admin->ask("SELECT mode, root_pid FROM pgleak.waits WHERE waiter_pid = $first"), "$mode|$holders", "$name: the same mode and holder");
	is($holders, $holder->{pid}, "$name: which is the one");
	my @behind = split /\n/, $admin->ask('SELECT waiter_pid FROM pgleak.waits');
	ok((!grep { my $pid = $_; !grep { $_ == $pid } @behind } split /, /, $queue), "$name: all of its queue wait behind it");
	$holder->do('ROLLBACK');
	$_->read_answer for @waiters;
	$_->close for $holder, @waiters;
}

test_random();
end_all();
configure($node, deadlock_timeout => '20ms', log_lock_waits => 'on');
as_logged('a table', 'LOCK TABLE one IN SHARE MODE', 'INSERT INTO one VALUES (1)');
as_logged('a hot row', 'UPDATE hot SET n = 0 WHERE id = 1', 'UPDATE hot SET n = 1 WHERE id = 1');
as_logged('an advisory lock', 'SELECT pg_advisory_xact_lock(1)', 'SELECT pg_advisory_xact_lock(1)');
no_damage($node, 'no session was harmed');
$node->stop;
done_testing();
