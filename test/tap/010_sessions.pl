# Whose session can be a leak, by which limit, and who may see it: what needs real connections of several kinds and roles.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakActions;
use PgleakActions::Wire qw(parse bind_to execute sync);
use PgleakTest;

use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('sessions', streaming => 'logical');

sub ask { return $node->safe_psql('postgres', $_[0]); }

sub is_leak { my ($session) = @_; return ask("SELECT count(*) FROM pgleak.leaks WHERE pid = $session->{pid}"); }

# A session for which $condition holds in pg_stat_activity, for longer than the server's limit of 200 ms.
sub is_past_limit
{
	my ($condition) = @_;
	return ask("SELECT count(*) > 0 FROM pg_stat_activity WHERE $condition AND now() - state_change > '400ms'") eq 't';
}

# No leak is open, as a look that begins now finds.
sub check_no_leak
{
	my ($name) = @_;
	is(ask('SELECT pgleak.scan()'), 0, $name);
}

sub test_walsender
{
	my $walsender = session($node, replication => 'database');
	$walsender->do(q(CREATE_REPLICATION_SLOT passing TEMPORARY LOGICAL pgoutput (SNAPSHOT 'export')));
	eventually(sub { is_past_limit(q(backend_type = 'walsender' AND state = 'idle in transaction')) },
		'a walsender that has exported a snapshot is idle in transaction');
	check_no_leak('it is not a leak');
	$walsender->do('BEGIN', 'SELECT 1');
	eventually(sub { is_past_limit(q(backend_type = 'walsender' AND state = 'idle in transaction' AND query LIKE 'SELECT 1%')) },
		'a walsender that has begun a transaction is idle in it');
	check_no_leak('it is not a leak either');
	$walsender->close;
}

# The client sends no data: the server shows the session as active.
sub test_stalled_copy
{
	ask('CREATE TABLE copied (n int)');
	my $session = session($node);
	$session->do('BEGIN');
	$session->send_line('COPY copied FROM STDIN;');
	eventually(sub { is_past_limit("pid = $session->{pid} AND state = 'active' AND wait_event = 'ClientRead'") },
		'a COPY FROM STDIN waits for its client');
	check_no_leak('it is not idle, and so not a leak on the idle clock');

	configure($node, 'pgleak.transaction_leak_after' => '200ms');
	eventually_is($node, "SELECT clock FROM pgleak.leaks WHERE pid = $session->{pid}", 'transaction',
		'it is a leak on the transaction clock');
	configure($node, 'pgleak.transaction_leak_after' => undef);
	$session->send_line("1\n\\.");
	$session->do('COMMIT');
	eventually_recorded($node, $session, 'committed', 'which ends with its transaction');
	$session->close;
}

# The client has sent a part of its statements and no Sync: again it is the client that is waited for.
sub test_stalled_pipeline
{
	my $session = wire($node);
	$session->do('BEGIN');
	$session->send_raw(parse('', 'SELECT 1') . bind_to('', '') . execute('', 0));
	eventually(sub { is_past_limit("pid = $session->{pid} AND state = 'active' AND wait_event = 'ClientRead'") },
		'a pipeline waits for its client');
	check_no_leak('nor is it idle');
	$session->send_raw(sync());
	$session->read_answer;
	$session->do('COMMIT');
	$session->close;
}

sub test_parallel_workers
{
	ask('CREATE TABLE one (n int); INSERT INTO one VALUES (1); ALTER TABLE one SET (parallel_workers = 2)');
	my $session = session($node);
	$session->do(q(SET pgleak.transaction_leak_after = '200ms'), 'SET parallel_setup_cost = 0', 'SET parallel_tuple_cost = 0',
		'SET min_parallel_table_scan_size = 0', 'SET parallel_leader_participation = off');
	$session->send_line('SELECT pg_sleep(60) FROM one;');
	eventually(sub { is_past_limit(q(backend_type = 'parallel worker' AND state = 'active')) }, 'a parallel worker works');
	eventually(sub { is_leak($session) }, 'the session it works for is a leak on the transaction clock');
	is(ask('SELECT pgleak.scan()'), 1, 'the worker itself is none');
	ask("SELECT pg_cancel_backend($session->{pid})");
	eventually_recorded($node, $session, 'rolled back', 'the session is one episode');
	$session->close;
}

# Limits that roles and databases bring with them. The control leaks by the server's limit, after all others began.
sub test_own_limits
{
	ask(q{
		CREATE ROLE patient LOGIN; ALTER ROLE patient SET pgleak.idle_leak_after = '1h';
		CREATE ROLE exempt LOGIN; ALTER ROLE exempt SET pgleak.idle_leak_after = 0;
		CREATE ROLE hasty LOGIN; ALTER ROLE hasty SET pgleak.idle_leak_after = '100ms'});
	ask('CREATE DATABASE relaxed');
	ask(q(ALTER DATABASE relaxed SET pgleak.idle_leak_after = '2h'));

	my %session = (
		'a role with a longer limit' => leak($node, user => 'patient'),
		'an exempt role' => leak($node, user => 'exempt'),
		'a database with a longer limit' => leak($node, dbname => 'relaxed'));
	my $hasty = leak($node, dbname => 'relaxed', user => 'hasty');
	my $control = leak($node);
	eventually(sub { is_leak($control) }, 'a session with no limit of its own is a leak by the limit of the server');
	is(is_leak($session{$_}), 0, "$_ is not") for sort keys %session;
	is(ask("SELECT leak_after, limit_source FROM pgleak.leaks WHERE pid = $hasty->{pid}"), '00:00:00.1|session',
		"a role's limit wins over its database's");
	is(ask("SELECT leak_after, limit_source FROM pgleak.leaks WHERE pid = $control->{pid}"), '00:00:00.2|server',
		'the live view tells where a limit comes from');
	$_->close for values %session, $hasty, $control;
}

# A migration exempts itself for one transaction.
sub test_set_local
{
	my $session = session($node);
	$session->do('BEGIN', 'SET LOCAL pgleak.idle_leak_after = 0', 'SELECT 1');
	eventually(sub { is_past_limit("pid = $session->{pid} AND state = 'idle in transaction'") }, 'a migration takes its time');
	is(is_leak($session), 0, 'SET LOCAL exempts it');
	$session->do('COMMIT', 'BEGIN', 'SELECT 1');
	eventually(sub { is_leak($session) }, 'but not the next transaction');
	$session->close;
}

sub test_ordinary_role
{
	ask('CREATE ROLE ordinary LOGIN; CREATE ROLE watcher LOGIN IN ROLE pg_read_all_stats; CREATE ROLE monitor LOGIN IN ROLE pg_monitor');
	my %role = map { $_ => session($node, user => $_) } qw(ordinary watcher monitor);
	my $ordinary = $role{ordinary};

	$ordinary->ask('SET pgleak.idle_leak_after = 0');
	like($ordinary->{error}, qr/permission denied to set parameter "pgleak.idle_leak_after"/,
		'an ordinary role cannot exempt itself by SET');
	$ordinary->ask('ALTER ROLE ordinary SET pgleak.idle_leak_after = 0');
	like($ordinary->{error}, qr/permission denied to set parameter/, 'nor by ALTER ROLE');
	ok(!eval { session($node, user => 'ordinary', env => { PGOPTIONS => '-c pgleak.idle_leak_after=0' }); 1 },
		'nor by PGOPTIONS');

	my $secret = leak($node, query => "SELECT 'secret'");
	my $own = leak($node, user => 'ordinary', query => "SELECT 'own'");
	eventually(sub { is_leak($secret) && is_leak($own) }, 'there are two leaks');
	my $query = 'SELECT query, state, idle_since IS NULL, backend_start IS NULL FROM pgleak.leaks WHERE pid =';
	is($ordinary->ask("$query $secret->{pid}"), '<insufficient privilege>||t|t', "an ordinary role sees others' leaks masked");
	is($ordinary->ask("$query $own->{pid}"), "SELECT 'own';|idle in transaction|f|f", 'and its own in full');
	unlike($ordinary->ask('SELECT * FROM pgleak.top'), qr/secret/, 'pgleak.top masks as well');
	is($role{$_}->ask("$query $secret->{pid}"), "SELECT 'secret';|idle in transaction|f|f",
		"$_, who reads all statistics, sees all") for qw(watcher monitor);

	for my $forbidden ('SELECT * FROM pgleak.history', 'SELECT * FROM pgleak.stats', 'SELECT pgleak.scan()', 'SELECT pgleak.reset()')
	{
		$ordinary->ask($forbidden);
		like($ordinary->{error}, qr/permission denied/, "an ordinary role is refused: $forbidden");
	}
	for my $allowed ('SELECT * FROM pgleak.history', 'SELECT * FROM pgleak.stats', 'SELECT pgleak.scan()')
	{
		$role{monitor}->ask($allowed);
		is($role{monitor}{error}, '', "a member of pg_monitor is not: $allowed");
	}
	$_->close for values %role, $secret, $own;
}

test_walsender();
test_stalled_copy();
test_stalled_pipeline();
test_parallel_workers();
test_own_limits();
test_set_local();
test_ordinary_role();

$node->stop;
done_testing();
