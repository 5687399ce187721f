# A thousand leaks at once, a recorder that cannot write, a queue that is full: the log has a line for each event and no more
# however long it lasts, and the history stays as small as its retention.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;

use PostgreSQL::Test::Utils;
use Test::More;

my $many = 1000;

my $node = new_node('growth', conf => <<'END');
max_connections = 1100
pgleak.scan_interval = '20ms'
pgleak.queue_size = 64
pgleak.max_actions_per_minute = 10
END

sub ask { return $node->safe_psql('postgres', $_[0]); }

# Lines of ours since $mark, by kind: what they begin with, or else the message.
sub lines_since
{
	my ($mark) = @_;
	my %count;
	for my $line (split /\n/, log_after($node, $mark))
	{
		next unless $line =~ /(LOG|WARNING|ERROR|FATAL):  (pgleak.*)/;
		my ($level, $message) = ($1, $2);
		# Verdicts on pools have a limit of their own, a line a minute for each pool.
		next if $message =~ /^pgleak: pool verdict: /;
		$message =~ s/: pid=.*//;
		$count{"$level $message"}++;
	}
	return \%count;
}

# Waits for $count more looks.
sub look_often
{
	my ($count) = @_;
	my $scans = ask('SELECT scans FROM pgleak.stats') + $count;
	PgleakTest::poll(sub { ask('SELECT scans FROM pgleak.stats') >= $scans }, 60) or die 'no looks';
}

# As many sessions as leak at once; a process can hold 500 of them.
sub sessions { my (%options) = @_; return map { crowd($node, $many / 2, %options) } 1 .. 2; }

# The recorder fails, again and again; more events come than the queue holds.
sub test_failing_recorder
{
	ask(q{CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'not now'; END$$;
		CREATE TRIGGER fail BEFORE INSERT ON pgleak.history FOR EACH ROW EXECUTE FUNCTION fail()});
	my $mark = log_mark($node);
	my @crowds = sessions();
	$_->run([ 'BEGIN', 'SELECT 1' ]) for @crowds;
	eventually_is($node, 'SELECT count(*) FROM pgleak.leaks', $many, "$many leaks are open at once");
	eventually_is($node, 'SELECT recorder_errors > 2, events_dropped > 0 FROM pgleak.stats', 't|t',
		'the recorder has failed several times, and events were dropped');
	look_often(100);
	is_deeply(lines_since($mark), { 'LOG pgleak: session leak' => $many, 'WARNING pgleak recorder: could not write history: not now' => 1 },
		'one line for each leak, one for the recorder, and no more however many looks see them');

	$mark = log_mark($node);
	$_->run(['COMMIT']) for @crowds;
	eventually_is($node, 'SELECT count(*) FROM pgleak.leaks', 0, 'the leaks have ended');
	look_often(50);
	is_deeply(lines_since($mark), { 'LOG pgleak: session leak ended' => $many }, 'one line for each end');
	ask('DROP TRIGGER fail ON pgleak.history');
	eventually_is($node, 'SELECT events_queued - events_written FROM pgleak.stats', 0, 'what the queue held is written');
	eventually_is($node, 'SELECT count(*) FROM pgleak.history WHERE outcome IS NULL', 0, 'and no row stays open');
	$_->close for @crowds;
}

# Limits want to act on all at once.
sub test_actions
{
	ask(q(CREATE ROLE app LOGIN; ALTER ROLE app SET pgleak.idle_cancel_after = '300ms'));
	my $mark = log_mark($node);
	my @crowds = sessions(user => 'app');
	$_->run([ 'BEGIN', 'SELECT 1' ]) for @crowds;
	eventually_is($node, 'SELECT cancels FROM pgleak.stats', 10, 'as many actions as a minute may have');
	eventually_is($node, 'SELECT count(*) FROM pgleak.leaks', $many, 'of all that are due');
	look_often(100);
	my $lines = lines_since($mark);
	delete $lines->{$_} for grep { /rolled back in place/ } keys %$lines;
	is_deeply($lines, {
			'LOG pgleak: session leak' => $many, 'LOG pgleak: will cancel' => 10, 'LOG pgleak: cancel' => 10,
			'WARNING pgleak: more than 10 actions within one minute, suspending actions for one minute' => 1 },
		'one line for each leak, two for each action, one for those that are held back');
	$_->close for @crowds;
	eventually_is($node, 'SELECT count(*) FROM pgleak.leaks', 0, 'they end');
}

# Leaks come and go for longer than they are kept.
sub test_retention
{
	my $made = ask('SELECT count(*) FROM pgleak.history');
	my $first = ask('SELECT max(leak_id) FROM pgleak.history');
	my $crowd = crowd($node, 10);
	eventually(sub {
			$crowd->run([ 'BEGIN', 'SELECT 1' ]);
			PgleakTest::poll(sub { ask('SELECT count(*) FROM pgleak.leaks') eq '10' }, 60);
			$crowd->run(['COMMIT']);
			$made += 10;
			return ask("SELECT count(*) FROM pgleak.history WHERE leak_id <= $first") eq '0';
		}, 'with a retention of 10 s the leaks of before are forgotten while others come');
	my $rows = ask('SELECT count(*) FROM pgleak.history');
	note("$made leaks, $rows rows");
	cmp_ok($rows, '<', $made, 'the history does not grow with the leaks that there have been');
	is(ask(q(SELECT count(*) > 0 FROM pgleak.history WHERE ended_at > now() - interval '10 s')), 't', 'and has the newest');
	$crowd->close;
}

test_failing_recorder();
configure($node, 'pgleak.retention' => '10s');
test_actions();
test_retention();

$node->stop;
done_testing();
