# Every episode makes exactly one row, whatever happens to the recorder: it is terminated in a storm, its table is locked,
# its statements fail, its queue runs over. And while it waits, nobody waits for it.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;

use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('once', conf => 'max_connections = 250');

my $balance = q(SELECT format('%s rows, %s episodes, %s open', count(*), count(DISTINCT (pid, backend_start, xact_start)),
	count(*) FILTER (WHERE outcome IS NULL)) FROM pgleak.history);

# Empties the history and the counters.
sub start_anew
{
	$node->safe_psql('postgres', 'TRUNCATE pgleak.history; SELECT pgleak.reset()');
	return log_mark($node);
}

# The numbers of the leaks that the log tells of, in order, each as often as it does.
sub logged_ids
{
	my ($event, $mark) = @_;
	return [ sort { $a <=> $b } log_after($node, $mark) =~ /LOG:  pgleak: $event: .* leak_id=(\d+)/g ];
}

sub recorded_ids
{
	return [ split /\n/, $node->safe_psql('postgres', 'SELECT leak_id FROM pgleak.history ORDER BY 1') ];
}

sub counters { return $node->safe_psql('postgres', "SELECT $_[0] FROM pgleak.stats"); }

sub test_storm
{
	my $mark = start_anew();
	my $crowd = crowd($node, 200);
	$crowd->start([ 'BEGIN', 'SELECT 1' ], spread => 3);
	restart_recorder($node) for 1 .. 2;
	is($crowd->finish, 200, '200 sessions leak while the recorder is terminated again and again');
	eventually(sub { @{ logged_ids('session leak', $mark) } == 200 }, 'each leak is logged');

	restart_recorder($node);
	my $recorder = worker_pid($node, 'recorder');
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($recorder)");
	$crowd->run(['COMMIT'], from => 0, to => 100);
	$crowd->run(['ROLLBACK'], from => 100, to => 150);
	$crowd->close_sessions(from => 150, to => 200);
	eventually(sub { worker_pid($node, 'recorder') !~ /^($recorder)?$/ }, 'they end while the recorder is away');
	restart_recorder($node);

	eventually_is($node, $balance, '200 rows, 200 episodes, 0 open', 'a storm of 200 leaks makes exactly 200 rows, all ended');
	is($node->safe_psql('postgres',
			q(SELECT string_agg(format('%s %s', n, outcome), ', ' ORDER BY n DESC, outcome)
			  FROM (SELECT outcome, count(*) AS n FROM pgleak.history GROUP BY 1) o)),
		'100 committed, 50 disconnected, 50 rolled back', 'each row has the outcome that the episode had');
	is_deeply(recorded_ids(), logged_ids('session leak', $mark), 'the rows are the leaks of the log, each logged once');
	is_deeply(recorded_ids(), logged_ids('session leak ended', $mark), 'and so are their ends');
	is(counters('events_queued, events_written, events_dropped, recorder_errors'), '400|400|0|0', 'the counters agree');
}

# A session that holds a lock which excludes the recorder, until it is closed.
sub lock_history
{
	my $session = session($node);
	$session->do('SET pgleak.idle_leak_after = 0', 'BEGIN', 'LOCK TABLE pgleak.history IN ACCESS EXCLUSIVE MODE');
	return $session;
}

sub test_locked_history
{
	my $mark = start_anew();
	my $lock = lock_history();
	my $crowd = crowd($node, 20);
	$crowd->start([ 'BEGIN', 'SELECT 1' ], spread => 8);

	my $state = q(SELECT now() - s.last_scan_at < '2s', r.backend_xmin, r.wait_event_type
		FROM pgleak.stats s, pg_stat_activity r WHERE r.backend_type = 'pgleak recorder');
	my ($looks, $snapshots, $lock_waits) = (0, 0, 0);
	holds(sub {
			my ($is_scanning, $xmin, $wait) = split /\|/, $node->safe_psql('postgres', $state), -1;
			$looks++;
			$snapshots++ if $xmin ne '';
			$lock_waits++ if $wait eq 'Lock';
			$is_scanning eq 't';
		}, 'scans go on while somebody locks the history for 10 s', 10);
	# It looks at the lock now and then, for which it needs a snapshot for an instant.
	cmp_ok($snapshots, '<=', $looks / 10, "the recorder holds no snapshot while it waits ($snapshots of $looks looks)");
	is($lock_waits, 0, 'nor does it queue for the lock');

	$crowd->finish;
	eventually(sub { @{ logged_ids('session leak', $mark) } == 20 }, 'leaks are logged while the history is locked', 5);
	is(log_count($node, qr/pgleak.history is locked by another session/, $mark), 1, 'the lock is one line in the log');
	$crowd->run(['COMMIT'], from => 0, to => 10);
	$lock->close;
	eventually_is($node, $balance, '20 rows, 20 episodes, 10 open', 'the rows arrive once the lock is gone');
	$crowd->close;
	eventually_is($node, $balance, '20 rows, 20 episodes, 0 open', 'and are completed');
}

# A backend is there for a while after its client has gone: it shows the state its client left, and has a transaction of
# its own in which it drops its temporary tables. Here somebody has locked one of them.
sub test_slow_exit
{
	for my $query ('SELECT 1', 'SELECT 1/0')
	{
		my $mark = start_anew();
		my $session = session($node);
		$session->do('CREATE TEMP TABLE mine ()', 'BEGIN');
		my $table = $session->ask('SELECT pg_my_temp_schema()::regnamespace') . '.mine';
		$session->ask($query);
		eventually_recorded($node, $session, 'open', "a session with a temporary table leaks after $query");

		my $lock = session($node);
		$lock->do('SET pgleak.idle_leak_after = 0', 'BEGIN', "LOCK TABLE $table IN ACCESS SHARE MODE");
		$session->close;
		my $sessions = 'SELECT count(*) FROM pg_stat_activity WHERE pid = ' . $session->{pid};
		eventually_is($node, "$sessions AND wait_event_type = 'Lock'", 1, 'it cannot drop the table on its way out');
		$node->safe_psql('postgres', 'SELECT pgleak.scan()');
		$lock->close;
		eventually_is($node, $sessions, 0, 'now it can, and is gone');
		$node->safe_psql('postgres', 'SELECT pgleak.scan()');
		is(@{ logged_ids('session leak', $mark) }, 1, 'what it did on its way out was no leak');
		eventually_recorded($node, $session, 'disconnected', 'and the one it had ended as disconnected');
	}
}

sub test_failing_history
{
	my $mark = start_anew();
	$node->safe_psql('postgres', q{
		CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'no room today'; END$$;
		CREATE TRIGGER refuse BEFORE INSERT ON pgleak.history FOR EACH ROW EXECUTE FUNCTION refuse()});
	my $recorder = worker_pid($node, 'recorder');
	my $crowd = crowd($node, 5);
	$crowd->run([ 'BEGIN', 'SELECT 1' ]);

	eventually_is($node, 'SELECT recorder_errors >= 2 FROM pgleak.stats', 't', 'a failing statement is tried again');
	is(counters('is_recording, last_error, last_error_at IS NOT NULL, events_written'), 'f|no room today|t|0',
		'pgleak.stats tells the error');
	# The first pauses are of 1 and 2 s, all later ones longer.
	my $attempts = 'recorder_errors, extract(epoch FROM last_error_at)';
	my ($count, $at) = split /\|/, counters($attempts);
	my ($more, $later);
	eventually(sub { ($more, $later) = split /\|/, counters($attempts); $more > $count && $later > $at }, 'and once more');
	cmp_ok($later - $at, '>=', 1.9 * ($more - $count), 'and not again and again: there are pauses');
	is(log_count($node, qr/WARNING:  pgleak recorder: could not write history: no room today/, $mark), 1,
		'the error is one line in the log, not one each time');
	is(worker_pid($node, 'recorder'), $recorder, 'the recorder survives the error');

	$crowd->close;
	eventually(sub { @{ logged_ids('session leak ended', $mark) } == 5 }, 'the scanner goes on meanwhile');
	is($node->safe_psql('postgres', $balance), '0 rows, 0 episodes, 0 open', 'nothing is in the history yet');
	$node->safe_psql('postgres', 'SELECT pgleak.reset()');
	is(counters('events_queued, events_written'), '10|0', 'pgleak.reset() goes on counting events that wait');
	$node->safe_psql('postgres', 'DROP TRIGGER refuse ON pgleak.history');
	eventually_is($node, $balance, '5 rows, 5 episodes, 0 open', 'the rows arrive once the cause is gone');
	is(worker_pid($node, 'recorder'), $recorder, 'and still from the same recorder');
	is(counters('events_queued, events_written, events_dropped'), '10|10|0', 'no event is lost or doubled');
}

# Rows that are there already, as when the recorder ended between its commit and its saying so.
sub test_written_already
{
	my $mark = start_anew();
	my $crowd = crowd($node, 5);
	$crowd->run([ 'BEGIN', 'SELECT 1' ], to => 1);
	eventually_is($node, $balance, '1 rows, 1 episodes, 1 open', 'a leak whose number tells that of the next ones');
	$node->safe_psql('postgres', q{
		CREATE TEMP TABLE copy AS SELECT * FROM pgleak.history;
		UPDATE copy SET leak_id = leak_id + 3, ended_at = now(), outcome = 'committed';
		INSERT INTO pgleak.history SELECT * FROM copy});
	$crowd->run([ 'BEGIN', 'SELECT 1' ], from => 1);
	eventually(sub { @{ logged_ids('session leak', $mark) } == 5 }, 'four more, and there is a row for the third of these');
	eventually_is($node, 'SELECT count(*), count(*) FILTER (WHERE outcome IS NULL) FROM pgleak.history', '5|4',
		'it stays as it is, and the others are recorded');
	is_deeply(recorded_ids(), logged_ids('session leak', $mark), 'each once');
	is(counters('events_written, events_queued - events_written, last_error LIKE $$duplicate key%$$'), '5|0|t',
		'after an error that says so');
	is(log_count($node, qr/WARNING:  pgleak recorder: could not write history: duplicate key/, $mark), 1, 'once');
	$crowd->close;
	eventually_is($node, 'SELECT count(*) FROM pgleak.history WHERE outcome IS NULL', 0, 'and recording goes on');
}

sub test_full_queue
{
	$node->append_conf('postgresql.conf', 'pgleak.queue_size = 16');
	$node->restart;
	eventually_recording($node, 'the recorder works with a queue of 16 events');
	my $mark = start_anew();
	my $lock = lock_history();
	my $crowd = crowd($node, 30);
	$crowd->run([ 'BEGIN', 'SELECT 1' ]);

	eventually(sub { @{ logged_ids('session leak', $mark) } == 30 }, 'all leaks are logged although the queue is full');
	is(counters('leaks, events_queued, events_dropped'), '30|16|14', 'what the queue cannot hold is dropped and counted');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM pgleak.leaks'), 30, 'the live view shows all');

	$lock->close;
	eventually_is($node, $balance, '16 rows, 16 episodes, 16 open', 'what the queue held is recorded');
	is_deeply(recorded_ids(), [ @{ logged_ids('session leak', $mark) }[ 0 .. 15 ] ], 'it held the oldest events');

	$lock = lock_history();
	is($crowd->run(['COMMIT']), 30, 'the leaks end while the queue has no room for all of the ends');
	eventually(sub { @{ logged_ids('session leak ended', $mark) } == 30 }, 'each end is logged');
	$lock->close;
	eventually_is($node, $balance, '30 rows, 30 episodes, 0 open', 'no end is lost, and what had no beginning is recorded at its end');
	is(counters('events_queued, events_written, events_dropped'), '46|46|14', 'no end is dropped or doubled');
	$crowd->close;
}

# What waits for room in the queue waits in shared memory, not in the scanner.
sub test_full_queue_and_scanner
{
	my $mark = start_anew();
	my $crowd = crowd($node, 30);
	# No faster than the recorder takes them from its small queue.
	$crowd->run([ 'BEGIN', 'SELECT 1' ], spread => 1);
	eventually_is($node, $balance, '30 rows, 30 episodes, 30 open', 'leaks that nothing keeps from being recorded');
	my $lock = lock_history();
	$crowd->run(['ROLLBACK']);
	eventually(sub { @{ logged_ids('session leak ended', $mark) } == 30 }, 'their ends are too many for the queue');
	my $old = worker_pid($node, 'scanner');
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($old)");
	eventually(sub { worker_pid($node, 'scanner') !~ /^($old)?$/ }, 'the scanner is terminated and comes back');
	$lock->close;
	eventually_is($node, $balance, '30 rows, 30 episodes, 0 open', 'the ends are recorded all the same');

	# A session leaks again before there is room: its slot has no place for two.
	$crowd->run([ 'BEGIN', 'SELECT 1' ], spread => 1);
	eventually_is($node, $balance, '60 rows, 60 episodes, 30 open', 'they leak again');
	$lock = lock_history();
	$crowd->run([ 'ROLLBACK', 'BEGIN', 'SELECT 1' ]);
	eventually_is($node, 'SELECT leaks FROM pgleak.stats', 90, 'and a third time, while nothing can be written');
	my $dropped = counters('events_dropped');
	cmp_ok($dropped, '>', 0, "what no longer has a place is counted ($dropped)");
	$lock->close;
	$crowd->close;
}

test_storm();
test_locked_history();
test_slow_exit();
test_failing_history();
test_written_already();
test_full_queue();
test_full_queue_and_scanner();

$node->stop;
done_testing();
