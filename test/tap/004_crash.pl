# The server goes down, orderly or not, with leaks open: no row is doubled, none is left open, and the log has them all.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;

use PostgreSQL::Test::Utils;
use Test::More;

my $leaks = 10;

# Cluster.pm turns restart_after_crash off.
my $node = new_node('crash', conf => 'restart_after_crash = on');

my $summary = q(SELECT format('%s rows, %s episodes, outcomes: %s', count(*),
	count(DISTINCT (pid, backend_start, xact_start)), string_agg(DISTINCT coalesce(outcome, 'open'), ', ')) FROM pgleak.history);

# Sessions that leak, all of them recorded as open. Returns them and the place in the log where they begin.
sub open_leaks
{
	my ($before) = @_;
	$node->safe_psql('postgres', 'TRUNCATE pgleak.history');
	my $mark = log_mark($node);
	my $crowd = crowd($node, $leaks);
	$crowd->run([ 'BEGIN', 'SELECT 1' ]);
	eventually_is($node, $summary, "$leaks rows, $leaks episodes, outcomes: open", "leaks are open before $before");
	return ($crowd, $mark);
}

sub check_afterwards
{
	my ($event, $mark, $outcome) = @_;
	eventually_is($node, $summary, "$leaks rows, $leaks episodes, outcomes: $outcome",
		"after $event no row is doubled and none is left open");
	is(log_count($node, qr/LOG:  pgleak: session leak: pid=/, $mark), $leaks, "after $event the log has all leaks");

	my $session = leak($node);
	eventually_recorded($node, $session, 'open', "after $event a new leak is recorded");
	$session->do('COMMIT');
	eventually_recorded($node, $session, 'committed', "after $event the end of a new leak is recorded");
	$session->close;
	is($node->safe_psql('postgres', 'SELECT count(*) - count(DISTINCT leak_id) FROM pgleak.history'), 0,
		"after $event numbers of leaks do not repeat");
}

sub test_killed_worker
{
	my ($worker, $signal) = @_;
	my ($crowd, $mark) = open_leaks("the $worker gets SIG$signal");
	my $started_at = $node->safe_psql('postgres', 'SELECT started_at FROM pgleak.stats');
	is(kill($signal, worker_pid($node, $worker)), 1, "the $worker gets SIG$signal");
	eventually_restarted($node, $started_at, "the server restarts after SIG$signal of the $worker");
	check_afterwards("SIG$signal of the $worker", $mark, 'server stopped');
	is(log_count($node, qr/terminated by signal/, $mark), 1, "and nothing but the $worker has crashed");
}

sub test_immediate_stop
{
	my ($crowd, $mark) = open_leaks('an immediate stop');
	$node->stop('immediate');
	$node->start;
	check_afterwards('an immediate stop', $mark, 'server stopped');
}

sub test_fast_stop
{
	my ($crowd, $mark) = open_leaks('a fast stop');
	$node->restart;
	check_afterwards('a fast stop', $mark, 'server stopped');
	is($node->safe_psql('postgres',
			"SELECT count(*) FROM pgleak.history WHERE outcome = 'server stopped' AND ended_at > pg_postmaster_start_time()"),
		0, 'the rows were completed by the server that stopped');
}

# A fast stop in the middle of a batch: the events have piled up behind one lock, and each row needs another one.
sub test_stop_in_batch
{
	$node->safe_psql('postgres', q{
		TRUNCATE pgleak.history;
		CREATE FUNCTION wait_for_lock() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0 AS
			$$BEGIN PERFORM pg_catalog.pg_advisory_xact_lock_shared(1); RETURN NEW; END$$;
		CREATE TRIGGER wait_for_lock BEFORE INSERT ON pgleak.history FOR EACH ROW EXECUTE FUNCTION wait_for_lock()});
	my $lock = session($node);
	$lock->do('SET pgleak.idle_leak_after = 0', 'SELECT pg_advisory_lock(1)', 'BEGIN', 'LOCK TABLE pgleak.history');
	my $mark = log_mark($node);
	my $crowd = crowd($node, $leaks);
	$crowd->run([ 'BEGIN', 'SELECT 1' ]);
	eventually(sub { log_count($node, qr/session leak: pid=/, $mark) == $leaks }, 'events wait for a lock');
	$lock->do('COMMIT');
	eventually_is($node, q(SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'pgleak recorder'), 'advisory',
		'the recorder is in the middle of a batch');
	$node->restart;
	check_afterwards('a fast stop in the middle of a batch', $mark, 'server stopped');
	$node->safe_psql('postgres', 'DROP TRIGGER wait_for_lock ON pgleak.history');
}

test_killed_worker($_, 'KILL') for 'recorder', 'scanner';
test_killed_worker($_, 'SEGV') for 'recorder', 'scanner';
test_immediate_stop();
test_fast_stop();
test_stop_in_batch();

$node->stop;
done_testing();
