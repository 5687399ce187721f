# What the TAP tests have in common: servers with pgleak, polling, reading the server log.
#
# To run the tests, build and install pgleak, then as an ordinary user, from any directory that this user may write to
# (servers and logs go into ./tmp_check):
#
#     PG_CONFIG=/path/to/pg_config prove -j2 test/tap/*.pl         all of them
#     PG_CONFIG=/path/to/pg_config prove -v test/tap/004_crash.pl  one of them
#
# That is the same for every version of the server: this module finds the server's programs, its pg_regress and its
# PostgreSQL::Test modules (part of the packages postgresql-server-dev-NN) by asking pg_config. Needed besides: IPC::Run
# (libipc-run-perl) and psycopg2 (python3-psycopg2) for /usr/bin/python3, or whatever $PYTHON names.
package PgleakTest;

use strict;
use warnings FATAL => 'all';

use Cwd qw(getcwd);
use File::Basename qw(basename dirname);
use File::Path qw(remove_tree);
use Test::More;
use Time::HiRes qw(time usleep);

BEGIN
{
	my $pg_config = $ENV{PG_CONFIG} || 'pg_config';
	my $ask = sub { chomp(my $answer = `$pg_config $_[0]`); $answer or die "$pg_config $_[0] says nothing\n" };
	my $pgxs = dirname(dirname(dirname($ask->('--pgxs'))));

	unshift @INC, "$pgxs/src/test/perl";
	$ENV{PG_REGRESS} ||= "$pgxs/src/test/regress/pg_regress";
	$ENV{PATH} = $ask->('--bindir') . ":$ENV{PATH}";

	my $here = getcwd();
	$ENV{TESTDIR} ||= $here;
	$ENV{TESTDATADIR} ||= "$here/tmp_check";
	$ENV{TESTLOGDIR} ||= "$here/tmp_check/log";
}

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

use PgleakTest::Crowd;
use PgleakTest::Session;

use Exporter 'import';
our @EXPORT = qw(
  empty_node new_node recover_to configure create_extension
  eventually eventually_is holds
  log_mark log_after log_count
  session leak crowd
  worker_pid eventually_recording eventually_recorded eventually_restarted restart_recorder
);

# How long anything may take that makes no promise about its time.
our $patience = 60;

# A server without data. There may be some from an earlier run, which keeps it if a test fails.
sub empty_node
{
	my ($name) = @_;
	my $test = basename($0) =~ s/\.[^.]+$//r;
	remove_tree("$PostgreSQL::Test::Utils::tmp_check/t_${test}_${name}_data");
	my $node = PostgreSQL::Test::Cluster->new($name);
	unlink $node->logfile;
	return $node;
}

# A started server of its own. %options: conf => text for postgresql.conf, streaming => as Cluster::init's
# allows_streaming, extension => 0 to leave out CREATE EXTENSION.
sub new_node
{
	my ($name, %options) = @_;
	my $node = empty_node($name);
	$node->init(
		allows_streaming => $options{streaming} // 0,
		extra => [ '--encoding=UTF8', '--no-locale' ]);
	$node->append_conf('postgresql.conf', <<"END");
shared_preload_libraries = 'pgleak'
pgleak.scan_interval = '100ms'
pgleak.idle_leak_after = '200ms'
log_statement = none
log_line_prefix = '%m [%p] %q%a '
max_connections = 100
END
	$node->append_conf('postgresql.conf', $options{conf}) if defined $options{conf};
	$node->start;
	create_extension($node) if $options{extension} // 1;
	return $node;
}

# A server made from the backup "base" of another one and its archive, which pauses recovery at a restore point.
sub recover_to
{
	my ($name, $origin, $point) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $node = empty_node($name);
	$node->init_from_backup($origin, 'base', has_restoring => 1, standby => 0);
	$node->append_conf('postgresql.conf', <<"END");
recovery_target_name = '$point'
recovery_target_action = 'pause'
hot_standby = on
END
	$node->start;
	eventually_is($node, 'SELECT pg_get_wal_replay_pause_state()', 'paused', 'recovery stops at the point');
	return $node;
}

# Changes settings of the configuration file and reloads it; a value of undef removes the change.
sub configure
{
	my ($node, %settings) = @_;
	$node->safe_psql('postgres', join "\n",
		map { defined $settings{$_} ? "ALTER SYSTEM SET $_ = '$settings{$_}';" : "ALTER SYSTEM RESET $_;" }
		sort keys %settings);
	$node->reload;
}

sub create_extension
{
	my ($node, $database) = @_;
	$node->safe_psql($database // 'postgres', 'CREATE EXTENSION pgleak');
	poll(sub { is_recording($node, $database) }, $patience) or die "the recorder does not record";
}

# Polling ---------------------------------------------------------------------------------------------------------------

# True as soon as $condition->() is; false if it has not been for $seconds.
sub poll
{
	my ($condition, $seconds) = @_;
	my $deadline = time + $seconds;
	until ($condition->())
	{
		return 0 if time > $deadline;
		usleep(50_000);
	}
	return 1;
}

# Test: $condition->() comes true within $seconds.
sub eventually
{
	my ($condition, $name, $seconds) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok(poll($condition, $seconds // $patience), $name);
}

# Test: $query, asked in database postgres, comes to answer $expected within $seconds.
sub eventually_is
{
	my ($node, $query, $expected, $name, $seconds) = @_;
	my $answer = '';
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	poll(sub { ($answer = $node->safe_psql('postgres', $query)) eq $expected }, $seconds // $patience);
	return is($answer, $expected, $name);
}

# Test: $condition->() is true whenever it is looked at for $seconds.
sub holds
{
	my ($condition, $name, $seconds) = @_;
	my $deadline = time + $seconds;
	my $looks = 0;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	while (time < $deadline)
	{
		$looks++;
		return fail("$name (broken at look $looks)") unless $condition->();
		usleep(100_000);
	}
	return pass($name);
}

# The server log --------------------------------------------------------------------------------------------------------

# The place that the log has reached; the functions below read on from there.
sub log_mark { my ($node) = @_; return -s $node->logfile // 0; }

sub log_after
{
	my ($node, $mark) = @_;
	return substr(slurp_file($node->logfile), $mark // 0);
}

# Number of times that $pattern matches the log.
sub log_count
{
	my ($node, $pattern, $mark) = @_;
	my $matches = () = log_after($node, $mark) =~ /$pattern/g;
	return $matches;
}

# Sessions --------------------------------------------------------------------------------------------------------------

# An open session; %options as PgleakTest::Session->new takes them.
sub session { return PgleakTest::Session->new(@_); }

# A session that is idle in a transaction after a statement (query => ...).
sub leak
{
	my ($node, %options) = @_;
	my $query = delete $options{query} // 'SELECT 1';
	my $session = session($node, %options);
	$session->do('BEGIN', $query);
	return $session;
}

# Many open sessions in one process; options as PgleakTest::Crowd->new takes them.
sub crowd { return PgleakTest::Crowd->new(@_); }

# The recorder ----------------------------------------------------------------------------------------------------------

sub worker_pid
{
	my ($node, $type) = @_;
	return $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pgleak $type'");
}

sub is_recording
{
	my ($node, $database) = @_;
	return $node->safe_psql($database // 'postgres', 'SELECT is_recording FROM pgleak.stats') eq 't';
}

# Test: the recorder writes into the history.
sub eventually_recording
{
	my ($node, $name, $seconds) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return eventually(sub { is_recording($node) }, $name, $seconds);
}

# Test: exactly one row about the session is in the history, with the outcome given ('open' for none yet).
sub eventually_recorded
{
	my ($node, $session, $outcome, $name, $seconds) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return eventually_is($node,
		"SELECT string_agg(coalesce(outcome, 'open'), ' ') FROM pgleak.history WHERE pid = $session->{pid}",
		$outcome, $name, $seconds);
}

# Test: after a crash the server is back, with statistics that begin later than these. A psql that cannot connect may be gone
# before it could be written to, as $node->psql would: that ends the test with a broken pipe.
sub eventually_restarted
{
	my ($node, $started_at, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my @psql = ('psql', '-XAtq', '-d', $node->connstr('postgres'));
	my $query = "SELECT started_at > '$started_at' FROM pgleak.stats";
	return eventually(sub { (run_command([ @psql, '-c', $query ]))[0] eq 't' }, $name);
}

# Has the recorder end and come back.
sub restart_recorder
{
	my ($node) = @_;
	my $old = worker_pid($node, 'recorder');
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($old)");
	poll(sub { my $new = worker_pid($node, 'recorder'); $new ne '' && $new ne $old }, $patience)
	  or die "the recorder has not come back";
}

1;
