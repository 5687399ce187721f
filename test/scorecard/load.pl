# For test/scorecard: the duration of a scan with 100, 1,000 and 5,000 sessions, 1 % of them leaking, according to
# pgleak.stats; and the memory that the workers have taken after 10,000 scans. Ends with a note for each.
# PGLEAK_SESSIONS can set other numbers of sessions.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../tap/lib";
use PgleakTest;

use PostgreSQL::Test::Utils;
use Test::More;

my @steps = split ' ', $ENV{PGLEAK_SESSIONS} // '100 1000 5000';
my $scans = 10_000;

my $node = new_node('load', conf => 'max_connections = ' . ($steps[-1] + 100) . "\nshared_buffers = 16MB\n"
	. "pgleak.scan_interval = '10ms'\npgleak.max_actions_per_minute = 0");
$node->safe_psql('postgres', q{
	CREATE FUNCTION time_scans(times int) RETURNS SETOF bigint LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. times LOOP
			PERFORM pgleak.scan();
			RETURN NEXT (SELECT last_scan_us FROM pgleak.stats);
		END LOOP;
	END $$});

# Private memory of a process, in kB.
sub memory
{
	my ($pid) = @_;
	return (slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+) kB/m)[0];
}

my @crowds;
my $connected = 0;
for my $sessions (@steps)
{
 # One process per thousand, because each session needs an open file in it.
	while ($connected < $sessions)
	{
		my $count = $sessions - $connected > 900 ? 900 : $sessions - $connected;
		push @crowds, crowd($node, $count);
		$connected += $count;
	}
	my $leaks = $sessions / 100;
 # The newest ones, whose slots are not those of earlier leaks.
	$crowds[-1]->run([ 'BEGIN', 'SELECT 1' ], from => 0, to => $leaks);
	eventually_is($node, 'SELECT count(*) FROM pgleak.leaks', $leaks, "$sessions sessions: 1 % leaks");
	my ($p50, $p99) = split /\|/, $node->safe_psql('postgres', q{SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY us),
		percentile_disc(0.99) WITHIN GROUP (ORDER BY us) FROM time_scans(1000) AS us});
	note("load: $sessions sessions in " . ($steps[-1] + 100) . " slots: scan p50 $p50 us, p99 $p99 us");
	$crowds[-1]->run(['COMMIT'], from => 0, to => $leaks);
}
$_->close for @crowds;

# Leaks come and go all the time, so that scans do everything that they can do.
my $crowd = crowd($node, 20);
my @workers = map { worker_pid($node, $_) } 'scanner', 'recorder';
my $turn = sub {
	$crowd->run([ 'BEGIN', 'SELECT 1' ]);
	eventually_is($node, 'SELECT count(*) FROM pgleak.leaks', 20, 'sessions leak');
	$node->safe_psql('postgres', "SELECT count(*) FROM time_scans($_[0])");
	$crowd->run(['COMMIT']);
	eventually_is($node, 'SELECT count(*) FROM pgleak.history WHERE outcome IS NULL', 0, 'and are recorded');
};
$turn->(1000) for 1 .. 3;
my @before = map { memory($_) } @workers;
$turn->($scans / 10) for 1 .. 10;
my @growth = map { memory($workers[$_]) - $before[$_] } 0, 1;
is("@growth", '0 0', "the workers take no more memory in $scans scans");
note("memory: $scans scans: scanner $growth[0] kB, recorder $growth[1] kB more");

$node->stop;
done_testing();
