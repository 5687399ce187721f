# Settings change with 50 reloads a second, and tables are made, changed and dropped: no look mixes two configurations, every
# leak and action is one of theirs, nothing is an error.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakActions;
use PgleakTest;

use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = new_node('reloads', conf => <<'END');
pgleak.scan_interval = '10ms'
pgleak.max_actions_per_minute = 1000000
log_min_messages = warning
include_if_exists = 'changing.conf'
END

# Each is sound; the limit of action of the first with the leak of the second would not be. The second knows the clock of
# the transaction.
my @configurations = (
	{ idle_leak_after => '200ms', idle_cancel_after => '300ms', transaction_leak_after => '0', transaction_cancel_after => '0',
		retention => '1h', log_query => 'on', pool_busy_percent => 80 },
	{ idle_leak_after => '500ms', idle_cancel_after => '600ms', transaction_leak_after => '250ms', transaction_cancel_after => '350ms',
		retention => '1d', log_query => 'off', pool_busy_percent => 50 });

my $postmaster = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];

# In one piece, or the server itself would read half of it.
sub reload
{
	my ($configuration) = @_;
	my $file = $node->data_dir . '/changing.conf';
	unlink "$file.new";
	append_to_file("$file.new", join '', map { "pgleak.$_ = '$configuration->{$_}'\n" } sort keys %$configuration);
	rename "$file.new", $file or die "$file: $!";
	kill 'HUP', $postmaster;
}

reload($configurations[0]);
$node->safe_psql('postgres', 'CREATE ROLE app LOGIN; CREATE TABLE t (i int); GRANT ALL ON t TO app');

my @ddl = (
	'CREATE TABLE made (id int PRIMARY KEY, note text)', 'CREATE INDEX ON made (note)', 'ALTER TABLE made ADD COLUMN more int',
	'INSERT INTO made SELECT i FROM generate_series(1, 100) i', 'ANALYZE made', 'ALTER TABLE made SET (fillfactor = 50)',
	'CREATE VIEW seen AS SELECT * FROM made', 'DROP VIEW seen', 'ALTER ROLE app SET work_mem = \'8MB\'', 'REINDEX TABLE made',
	'COMMENT ON TABLE pgleak.history IS \'changed\'', 'ANALYZE pgleak.history', 'TRUNCATE made', 'DROP TABLE made');

my $scans = $node->safe_psql('postgres', 'SELECT scans FROM pgleak.stats');
my $administrator = wire($node);
my @sessions = map { wire($node, user => 'app') } 1 .. 10;
my @unexpected;
my ($reloads, $cancelled, $committed) = (0, 0, 0);
my $deadline = time + 10;
while (time < $deadline || ($cancelled == 0 || $committed == 0) && time < $deadline + 50)
{
	my $turn = time;
	reload($configurations[ $reloads++ % 2 ]);
	$administrator->ask($ddl[ $reloads % @ddl ]);
	push @unexpected, "$ddl[ $reloads % @ddl ]: $administrator->{message}" if $administrator->{sqlstate} && $reloads > @ddl;
	# Each in its own rhythm: some commit before any limit, some long after; every other one never is idle for long.
	for my $number (0 .. $#sessions)
	{
		my $session = $sessions[$number];
		$session->ask('SELECT 1') if $number % 2 && $reloads % 5 == 0;
		next if $reloads % (5 + 10 * $number);
		$session->ask('COMMIT');
		if ($session->{sqlstate} eq '40000') { $cancelled++; }
		elsif ($session->{sqlstate}) { push @unexpected, "COMMIT: $session->{message}"; }
		else { $committed++; }
		$session->do('BEGIN', 'INSERT INTO t VALUES (1)');
	}
	usleep(20_000 - 1e6 * (time - $turn)) if time - $turn < 0.02;
}
note("$reloads reloads; $cancelled transactions cancelled, $committed committed");
$_->close for @sessions;

my $log = log_after($node);
my @leaks = $log =~ /pgleak: session leak: pid=\d+ .* clock=(\w+ for=\S+ limit=\S+) /g;
my @actions = $log =~ /pgleak: will cancel: pid=\d+ .* (for=\S+ limit=\S+) /g;

# What is not past one of these limits, by clock.
sub odd
{
	my ($limits, @lines) = @_;
	return grep {
		my ($clock, $lasted, $limit) = /^(\w+) for=([0-9.]+)s limit=([0-9.]+)s$/;
		!(defined $clock && $lasted >= $limit && grep { $_ == $limit } @{ $limits->{$clock} })
	} @lines;
}

cmp_ok($cancelled, '>', 0, 'under reloads sessions are cancelled');
cmp_ok(scalar(grep { /^idle/ } @leaks), '>', 5, 'leaks are found on the clock that both configurations know');
cmp_ok(scalar(grep { /^transaction/ } @leaks), '>', 5, 'and on that of one of them');
is(join(', ', odd({ idle => [ 0.2, 0.5 ], transaction => [0.25] }, @leaks)), '',
	'each leak is past its limit in one of the configurations');
is(join(', ', odd({ any => [ 0.3, 0.35, 0.6 ] }, map { "any $_" } @actions)), '', 'so is each action');
is(scalar(() = $log =~ /is shorter than/g), 0, 'no look mixes the limits of two configurations');
is(join("\n", @unexpected), '', 'no statement and no DDL fails');
no_damage($node, 'no process has complained or crashed');
is($node->safe_psql('postgres', 'SELECT recorder_errors, events_dropped FROM pgleak.stats'), '0|0', 'the recorder has no errors and drops nothing');
cmp_ok($node->safe_psql('postgres', 'SELECT scans FROM pgleak.stats'), '>', $scans + 50, 'the scanner has looked all the time');
eventually_is($node, 'SELECT count(*) = count(DISTINCT leak_id) AND bool_and(outcome IS NOT NULL) FROM pgleak.history', 't', 'each episode is recorded once, with its end');

$administrator->close;
$node->stop;
done_testing();
