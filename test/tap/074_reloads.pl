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

# Each is sound; the action of the first with the leak of the second would be taken at the limit of the leak, which is that of
# no action. The second knows the clock of the transaction. Each lasts for a second at a time.
my @limits = (
	{ idle_leak_after => '200ms', idle_cancel_after => '300ms', transaction_leak_after => '0', transaction_cancel_after => '0' },
	{ idle_leak_after => '500ms', idle_cancel_after => '900ms', transaction_leak_after => '250ms', transaction_cancel_after => '1s' });
sub limits_now { return int(time) % 2; }

# What changes each time.
my @others = (
	{ retention => '1h', log_query => 'on', pool_busy_percent => 80 },
	{ retention => '1d', log_query => 'off', pool_busy_percent => 50 });

my $postmaster = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];

# In one piece, or the server itself would read half of it.
sub reload
{
	my ($number) = @_;
	my $configuration = { %{ $limits[limits_now()] }, %{ $others[ $number % 2 ] } };
	my $file = $node->data_dir . '/changing.conf';
	unlink "$file.new";
	append_to_file("$file.new", join '', map { "pgleak.$_ = '$configuration->{$_}'\n" } sort keys %$configuration);
	rename "$file.new", $file or die "$file: $!";
	kill 'HUP', $postmaster;
}

reload(0);
$node->safe_psql('postgres', 'CREATE ROLE app LOGIN; CREATE TABLE t (i int); GRANT ALL ON t TO app');

my @ddl = (
	'CREATE TABLE made (id int PRIMARY KEY, note text)', 'CREATE INDEX ON made (note)', 'ALTER TABLE made ADD COLUMN more int',
	'INSERT INTO made SELECT i FROM generate_series(1, 100) i', 'ANALYZE made', 'ALTER TABLE made SET (fillfactor = 50)',
	'CREATE VIEW seen AS SELECT * FROM made', 'DROP VIEW seen', 'ALTER ROLE app SET work_mem = \'8MB\'', 'REINDEX TABLE made',
	'COMMENT ON TABLE pgleak.history IS \'changed\'', 'ANALYZE pgleak.history', 'TRUNCATE made', 'DROP TABLE made');

my ($cancelled, $committed) = (0, 0);
my @unexpected;

# The end of a transaction, and the next one.
sub begin_anew
{
	my ($session) = @_;
	$session->ask('COMMIT');
	if ($session->{sqlstate} eq '40000') { $cancelled++; }
	elsif ($session->{sqlstate}) { push @unexpected, "COMMIT: $session->{message}"; }
	else { $committed++; }
	$session->do('BEGIN', 'INSERT INTO t VALUES (1)');
}

my $scans = $node->safe_psql('postgres', 'SELECT scans FROM pgleak.stats');
my $administrator = wire($node);
my @sessions = map { wire($node, user => 'app') } 1 .. 10;
# These are idle for as long as only the second configuration allows when the first comes back.
my @patient = map { wire($node, user => 'app') } 1 .. 5;
my $have_begun = 1;
my $reloads = 0;
my $deadline = time + 20;
while (time < $deadline || ($cancelled == 0 || $committed == 0) && time < $deadline + 50)
{
	my $turn = time;
	reload($reloads++);
	$administrator->ask($ddl[ $reloads % @ddl ]);
	push @unexpected, "$ddl[ $reloads % @ddl ]: $administrator->{message}" if $administrator->{sqlstate} && $reloads > @ddl;
	# Each in its own rhythm: some commit before any limit, some long after; every other one never is idle for long.
	for my $number (0 .. $#sessions)
	{
		my $session = $sessions[$number];
		$session->ask('SELECT 1') if $number % 2 && $reloads % 5 == 0;
		next if $reloads % (5 + 10 * $number);
		begin_anew($session);
	}
	if (limits_now() == 0) { $have_begun = 0; }
	elsif (!$have_begun && time - int(time) > 0.25)
	{
		begin_anew($_) for @patient;
		$have_begun = 1;
	}
	usleep(20_000 - 1e6 * (time - $turn)) if time - $turn < 0.02;
}
note("$reloads reloads; $cancelled transactions cancelled, $committed committed");
$_->close for @sessions, @patient;

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
is(join(', ', odd({ any => [ 0.3, 0.9, 1 ] }, map { "any $_" } @actions)), '', 'so is each action');
is(scalar(() = $log =~ /is shorter than/g), 0, 'no look mixes the limits of two configurations');
is(join("\n", @unexpected), '', 'no statement and no DDL fails');
no_damage($node, 'no process has complained or crashed');
is($node->safe_psql('postgres', 'SELECT recorder_errors, events_dropped FROM pgleak.stats'), '0|0', 'the recorder has no errors and drops nothing');
cmp_ok($node->safe_psql('postgres', 'SELECT scans FROM pgleak.stats'), '>', $scans + 50, 'the scanner has looked all the time');
eventually_is($node, 'SELECT count(*) = count(DISTINCT leak_id) AND bool_and(outcome IS NOT NULL) FROM pgleak.history', 't', 'each episode is recorded once, with its end');

$administrator->close;
$node->stop;

# A reload in the middle of a batch, which is held there by a lock that each of its rows needs.
sub test_reload_in_batch
{
	my $leaks = 10;
	my $batch = new_node('batch');
	my ($observer, $listener, $holder) = map { wire($batch) } 1 .. 3;
	$_->do('SET pgleak.idle_leak_after = 0') for $observer, $listener, $holder;
	$listener->do('LISTEN pgleak');
	$holder->do(q{
		CREATE FUNCTION wait_for_lock() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0 AS
			$$BEGIN PERFORM pg_catalog.pg_advisory_xact_lock_shared(1); RETURN NEW; END$$;
		CREATE TRIGGER wait_for_lock BEFORE INSERT ON pgleak.history FOR EACH ROW EXECUTE FUNCTION wait_for_lock()},
		'SELECT pg_advisory_lock(1)', 'BEGIN', 'LOCK TABLE pgleak.history IN ACCESS EXCLUSIVE MODE');
	my $recorder = worker_pid($batch, 'recorder');
	my $crowd = crowd($batch, $leaks);
	$crowd->run([ 'BEGIN', 'SELECT 1' ]);
	eventually_is($batch, 'SELECT events_queued FROM pgleak.stats', $leaks, 'events wait, to be written as one batch');
	$holder->do('COMMIT');
	eventually_is($batch, "SELECT wait_event FROM pg_stat_activity WHERE pid = $recorder", 'advisory', 'it is under way');
	configure($batch, 'pgleak.notify' => 'off', 'pgleak.retention' => '1d');
	eventually(sub { $observer->ask('SHOW pgleak.notify') eq 'off' }, 'the settings change meanwhile');
	$holder->do('SELECT pg_advisory_unlock(1)');
	eventually_is($batch, 'SELECT count(*) FROM pgleak.history', $leaks, 'the batch is written as a whole');
	$listener->ask('SELECT 1');
	is(scalar(grep { /"event": "opened"/ } @{ $listener->{payloads} }), $leaks, 'the batch goes on by the settings that it began with');
	$crowd->run(['COMMIT']);
	eventually_is($batch, q(SELECT count(*) FROM pgleak.history WHERE outcome = 'committed'), $leaks, 'so is the next one');
	$listener->ask('SELECT 1');
	is("@{ $listener->{payloads} }", '', 'by the new settings');
	is($batch->safe_psql('postgres', 'SELECT recorder_errors, events_dropped FROM pgleak.stats'), '0|0', 'without an error');
	is(worker_pid($batch, 'recorder'), $recorder, 'by the same recorder');
	$_->close for $crowd, $observer, $listener, $holder;
	$batch->stop;
}

test_reload_in_batch();
done_testing();
