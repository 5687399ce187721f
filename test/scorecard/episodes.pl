# For test/scorecard: 2,000 episodes while workers are terminated 20 times and killed 3 times. Each must have exactly
# one row. Ends with a note of the numbers lost and duplicated.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../tap/lib";
use PgleakTest;

use Test::More;

my ($rounds, $sessions) = (20, 100);
my %killed_in = (5 => 'recorder', 10 => 'scanner', 15 => 'recorder');

# Cluster.pm turns restart_after_crash off.
my $node = new_node('episodes', conf => "restart_after_crash = on\nmax_connections = 250");
my $open = 'SELECT count(*) FROM pgleak.history WHERE outcome IS NULL';

sub terminate
{
	my ($worker) = @_;
	my $old = worker_pid($node, $worker);
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($old)");
	eventually(sub { worker_pid($node, $worker) !~ /^(|$old)$/ }, "the $worker is terminated and comes back");
}

for my $round (1 .. $rounds)
{
	my $crowd = crowd($node, $sessions);
	$crowd->start([ 'BEGIN', 'SELECT 1' ], spread => 0.5);
	terminate($round % 2 ? 'recorder' : 'scanner');
	is($crowd->finish, $sessions, "round $round: sessions leak meanwhile");
	eventually_is($node, $open, $sessions, "round $round: each has an open row");
	if (my $worker = $killed_in{$round})
	{
		my $started_at = $node->safe_psql('postgres', 'SELECT started_at FROM pgleak.stats');
		kill 'KILL', worker_pid($node, $worker);
		eventually_restarted($node, $started_at, "round $round: the $worker is killed, and the server restarts");
		eventually_recording($node, "round $round: and records");
	}
	else
	{
		$crowd->run(['COMMIT']);
		$crowd->close;
	}
	eventually_is($node, $open, 0, "round $round: each row is completed");
}

my ($rows, $episodes) = split /\|/,
  $node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT (pid, backend_start)) FROM pgleak.history');
my $all = $rounds * $sessions;
is("$rows rows, $episodes episodes", "$all rows, $all episodes", 'every episode has one row');
note(sprintf 'episodes: %d with %d SIGTERM and %d SIGKILL of workers: %d lost, %d doubled',
	$all, $rounds, scalar keys %killed_in, $all - $episodes, $rows - $episodes);

$node->stop;
done_testing();
