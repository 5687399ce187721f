# The two workers: they are there, come back, obey a reload, stop with the server, and wait patiently and quietly for
# whatever the recorder lacks: its extension, its database, the right version, a worker slot, preloading.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;

use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $workers = q(SELECT string_agg(backend_type || ' in ' || coalesce(datname, 'no database'), ', ' ORDER BY backend_type)
	FROM pg_stat_activity WHERE backend_type LIKE 'pgleak %');
my $no_extension = qr/extension "pgleak" does not exist in database "postgres", nothing is recorded/;

my $node = new_node('workers', extension => 0);

sub test_presence
{
	eventually_is($node, $workers, 'pgleak recorder in postgres, pgleak scanner in no database',
		'both workers show in pg_stat_activity by their backend_type, each in its database');
}

sub test_missing_extension
{
	eventually(sub { log_count($node, $no_extension) }, 'without the extension the recorder says so');
	my $session = leak($node);
	eventually(sub { log_count($node, qr/session leak: pid=$session->{pid} /) },
		'without the extension a leak is detected and logged');
	is(log_count($node, $no_extension), 1, 'the missing extension is one line in the log');

	$node->safe_psql('postgres', 'CREATE EXTENSION pgleak');
	eventually_recording($node, 'recording starts by itself within 5 s after CREATE EXTENSION', 5);
	eventually_recorded($node, $session, 'open', 'the leak that was open then is recorded');
	$session->close;
	eventually_recorded($node, $session, 'disconnected', 'and so is its end');
}

# True once the session has been idle for longer than the limit of 200 ms that is not in force.
sub is_past_old_limit
{
	my ($session) = @_;
	return $node->safe_psql('postgres',
		"SELECT now() - state_change > '300ms' FROM pg_stat_activity WHERE pid = $session->{pid}") eq 't';
}

sub test_reload
{
	configure($node, 'pgleak.idle_leak_after' => '1h');
	my $session = leak($node);
	eventually(sub { is_past_old_limit($session) }, 'a session is idle beyond the old limit');
	is($node->safe_psql('postgres', 'SELECT pgleak.scan()'), 0, 'a limit raised by a reload holds');
	configure($node, 'pgleak.idle_leak_after' => undef);
	eventually_is($node, 'SELECT count(*) FROM pgleak.leaks', 1, 'a limit lowered by a reload holds at the next look', 5);
	$session->close;
}

sub test_restart_of
{
	my ($worker) = @_;
	my $session = leak($node);
	eventually_recorded($node, $session, 'open', "a leak is open while the $worker runs");
	my $leak_id = $node->safe_psql('postgres', "SELECT leak_id FROM pgleak.leaks WHERE pid = $session->{pid}");

	my $old = worker_pid($node, $worker);
	my $ended_at = $node->safe_psql('postgres', "SELECT now() FROM pg_terminate_backend($old)");
	eventually(sub { my $new = worker_pid($node, $worker); $new ne '' && $new ne $old },
		"the $worker is back soon after pg_terminate_backend");
	is($node->safe_psql('postgres',
			"SELECT backend_start - '$ended_at' < '2s' FROM pg_stat_activity WHERE backend_type = 'pgleak $worker'"), 't',
		"the $worker is back within 2 s");
	is($node->safe_psql('postgres', "SELECT leak_id FROM pgleak.leaks WHERE pid = $session->{pid}"),
		$leak_id, "the open episode goes on under its number after the $worker has come back");
	$session->do('COMMIT');
	eventually_recorded($node, $session, 'committed', "the episode ends as one row after the $worker has come back");
	is($node->safe_psql('postgres', "SELECT leak_id FROM pgleak.history WHERE pid = $session->{pid}"),
		$leak_id, 'and that row has the same number');
}

sub test_stop
{
	my @pids = (worker_pid($node, 'scanner'), worker_pid($node, 'recorder'));
	my $session = leak($node);
	eventually_recorded($node, $session, 'open', 'a leak is open when the server stops');
	$session->close;

	my $mark = log_mark($node);
	my $start = time;
	$node->stop('fast');
	cmp_ok(time - $start, '<', 5, 'a fast stop takes no longer for the workers');
	is(kill(0, @pids), 0, 'no worker is left after the stop');
	my $pids = join '|', @pids;      # the session's own process may be told to end before it sees that its client has gone
	unlike(log_after($node, $mark), qr/\[(?:$pids)\] .*(?:WARNING|ERROR|FATAL|PANIC)/, 'the workers stop without a complaint in the log');
	$node->start;
	eventually_is($node, $workers, 'pgleak recorder in postgres, pgleak scanner in no database', 'and start again');
}

sub test_other_version
{
	my $complaint = qr/extension "pgleak" in database "postgres" is not version [0-9.]+, nothing is recorded/;
	my $version = $node->safe_psql('postgres', q(SELECT extversion FROM pg_extension WHERE extname = 'pgleak'));
	my $set_version = sub {
		$node->safe_psql('postgres', "UPDATE pg_extension SET extversion = '$_[0]' WHERE extname = 'pgleak'");
	};
	my $mark = log_mark($node);

	$set_version->('0.9');
	my $session = leak($node);
	eventually(sub { log_count($node, $complaint, $mark) }, 'an extension at another version is noticed');
	eventually(sub { log_count($node, qr/session leak: pid=$session->{pid} /, $mark) },
		'a leak is logged while the extension is at another version');
	like(log_after($node, $mark), qr/HINT:  Run ALTER EXTENSION pgleak UPDATE/, 'the log has a hint what to do');
	is(log_count($node, $complaint, $mark), 1, 'the other version is one line in the log');

	$set_version->($version);
	eventually_recorded($node, $session, 'open', 'the leak is recorded once the version is right');
	$session->close;
}

sub test_missing_database
{
	my $complaint = qr/could not connect to database "later"/;
	my $mark = log_mark($node);
	$node->append_conf('postgresql.conf', "pgleak.database = 'later'");
	$node->restart;

	my $session = leak($node);
	eventually(sub { log_count($node, $complaint, $mark) }, 'a missing database is noticed');
	eventually(sub { log_count($node, qr/session leak: pid=$session->{pid} /, $mark) },
		'a leak is logged while the database is missing');
	is($node->safe_psql('postgres', "SELECT count(*) FROM pgleak.leaks WHERE pid = $session->{pid}"), 1,
		'and shows in the live view');
	like(log_after($node, $mark), qr/HINT:  Create the database, or set "pgleak.database"/, 'the log has a hint what to do');
	# Longer than it takes to try twice more.
	holds(sub { log_count($node, qr/$complaint|FATAL:  database "later"/, $mark) <= 2 }, 'the missing database is one line in the log, and one of the server', 10);

	$node->safe_psql('postgres', 'CREATE DATABASE later');
	$node->safe_psql('later', 'CREATE EXTENSION pgleak');
	eventually(sub {
			$node->safe_psql('later', "SELECT count(*) FROM pgleak.history WHERE pid = $session->{pid}") eq '1';
		}, 'recording starts by itself once the database is there');
	is(log_count($node, $complaint, $mark), 1, 'and that was one line in the log');
	$session->close;

	$node->safe_psql('postgres', 'DROP DATABASE later WITH (FORCE)');
	eventually_is($node, 'SELECT is_recording FROM pgleak.stats', 'f',
		'pgleak.stats says that nothing is recorded once the database is gone', 15);
	$node->append_conf('postgresql.conf', "pgleak.database = 'postgres'");
}

sub test_no_worker_slots
{
	# One slot is the logical replication launcher's, the next the scanner's.
	$node->append_conf('postgresql.conf', 'max_worker_processes = 2');
	$node->restart;
	my $session = leak($node);
	eventually(sub { log_count($node, qr/session leak: pid=$session->{pid} /) },
		'with no worker slot for the recorder the scanner works');
	is($node->safe_psql('postgres', 'SELECT is_recording FROM pgleak.stats'), 'f',
		'with no worker slot for the recorder pgleak.stats says that nothing is recorded');

	$node->append_conf('postgresql.conf', 'max_worker_processes = 1');
	$node->restart;
	is($node->safe_psql('postgres', $workers), '', 'with no worker slots the server starts without the workers');
	is($node->safe_psql('postgres', 'SELECT is_recording, scans, last_scan_at IS NULL FROM pgleak.stats'), 'f|0|t',
		'with no worker slots pgleak.stats says that nothing is done');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM pgleak.leaks'), 0, 'and the live view is empty');
	$node->append_conf('postgresql.conf', 'max_worker_processes = 8');
}

# Statements that call each function of the extension that reads shared memory, with some argument or other.
sub function_calls
{
	return split /\n/, $node->safe_psql('postgres', q{
		SELECT format('SELECT * FROM %s(%s)', p.oid::regproc,
			(SELECT string_agg(format('%L::%s', 0, t::regtype), ', ') FROM unnest(p.proargtypes) t))
		FROM pg_proc p WHERE p.pronamespace = 'pgleak'::regnamespace AND p.prolang =
			(SELECT oid FROM pg_language WHERE lanname = 'c') AND p.prorettype <> 'trigger'::regtype AND p.provolatile <> 'i'});
}

sub test_not_preloaded
{
	$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
	$node->restart;
	$node->safe_psql('postgres', 'DROP EXTENSION pgleak');
	is($node->psql('postgres', 'CREATE EXTENSION pgleak'), 0, 'CREATE EXTENSION works without preloading');

	for my $call (function_calls())
	{
		my ($status, undef, $error) = $node->psql('postgres', $call);
		like($error, qr/ERROR:  pgleak must be loaded via "shared_preload_libraries".*\nHINT:  Add pgleak/s,
			"without preloading an error with a hint: $call");
	}
	is($node->safe_psql('postgres', 'SELECT count(*) FROM pgleak.history'), 0,
		'the history can be read without preloading');
	is(log_count($node, qr/terminated by signal/), 0, 'no process has crashed');
}

test_presence();
test_missing_extension();
test_reload();
test_restart_of('scanner');
test_restart_of('recorder');
test_stop();
test_other_version();
test_missing_database();
test_no_worker_slots();
test_not_preloaded();

$node->stop;
done_testing();
