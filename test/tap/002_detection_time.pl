# A leak is detected when its limit is reached and not at some later look: the scanner wakes up for it.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;

use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('time', conf => "pgleak.scan_interval = '1s'\npgleak.idle_leak_after = '2s'");

# The median and the largest overshoot beyond the limit, in ms, among the leaks of 20 sessions after $query.
sub overshoots
{
	my ($query, $name) = @_;
	my $which = "query = '$query'";
	eventually_is($node, "SELECT count(*) FROM pgleak.history WHERE $which", 20, "$name: all leaks are detected");
	my ($least, $median, $largest) = split /\|/, $node->safe_psql('postgres', qq(
		SELECT min(ms), percentile_cont(0.5) WITHIN GROUP (ORDER BY ms), max(ms)
		FROM (SELECT 1000 * extract(epoch FROM detected_at - idle_since - leak_after) AS ms
			FROM pgleak.history WHERE $which) o));
	note("$name: overshoot least $least ms, median $median ms, largest $largest ms");
	cmp_ok($least, '>=', 0, "$name: none is detected before its limit");
	return ($median, $largest);
}

# Each session is seen idle before its limit is reached, so the scanner knows when that will be.
sub test_limit_above_interval
{
	my $crowd = crowd($node, 20);
	$crowd->run([ 'BEGIN', 'SELECT 1' ], spread => 3);
	my ($median) = overshoots('SELECT 1', 'limit 2 s');
	cmp_ok($median, '<=', 20, 'a limit of 2 s is met within 20 ms at an interval of 1 s (median)');

	$crowd->run([ 'COMMIT', 'BEGIN', 'SELECT 2' ], spread => 3);
	($median) = overshoots('SELECT 2', 'limit 2 s once more');
	cmp_ok($median, '<=', 20, 'also by a session that leaks again at once (median)');
	$crowd->close;
}

# A session may pass a limit shorter than the interval between two looks; the next one finds it.
sub test_limit_below_interval
{
	my $crowd = crowd($node, 20);
	$crowd->run([ q(SET pgleak.idle_leak_after = '200ms'), 'BEGIN', 'SELECT 3' ], spread => 3);
	my ($median, $largest) = overshoots('SELECT 3', 'limit 200 ms');
	cmp_ok($median, '<=', 1000, 'a limit of 200 ms is met within the interval of 1 s (median)');
	cmp_ok($largest, '<=', 1200, 'and hardly later by any session');
	$crowd->close;
}

test_limit_above_interval();
test_limit_below_interval();

$node->stop;
done_testing();
