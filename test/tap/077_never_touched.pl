# What is no client's session is never touched, however far past every limit it is: walsenders, autovacuum, parallel workers,
# pgleak's own workers. All actions are on, for superusers too, and act on the session beside them.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakActions;
use PgleakTest;

use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('others', streaming => 'logical', conf => <<'END');
pgleak.scan_interval = '20ms'
pgleak.max_actions_per_minute = 1000000
pgleak.act_on_superusers = on
autovacuum_naptime = 1s
END

sub ask { return $node->safe_psql('postgres', $_[0]); }

ask(q{
	CREATE ROLE exempt LOGIN SUPERUSER;
	ALTER ROLE exempt SET pgleak.transaction_leak_after = 0;
	ALTER ROLE exempt SET pgleak.idle_leak_after = 0;
	CREATE TABLE big AS SELECT i, repeat('x', 500) AS filler FROM generate_series(1, 20000) i;
	CREATE TABLE one (n int); INSERT INTO one VALUES (1); ALTER TABLE one SET (parallel_workers = 2)});
my $administrator = wire($node, user => 'exempt');

# Waits for a process of the kind that has worked or waited for longer than every limit; returns its process id.
sub process_past_limits
{
	my ($kind, $condition) = @_;
	my $pid = '';
	eventually(sub {
			($pid = $administrator->ask("SELECT min(pid) FROM pg_stat_activity WHERE backend_type = '$kind' AND $condition")) ne '';
		}, "$kind: there is one past every limit");
	return $pid;
}

# Sessions are cancelled and terminated beside it; it is not.
sub is_spared
{
	my ($kind, $pid) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $mark = log_mark($node);
	my $start = $administrator->ask("SELECT backend_start FROM pg_stat_activity WHERE pid = $pid");
	my $session = leaking_wire($node, query => 'INSERT INTO one VALUES (2)');
	eventually(sub { log_count($node, qr/pgleak: terminate: pid=$session->{pid} .* result=done/, $mark) },
		"$kind: a session beside it is terminated");
	$administrator->do('SELECT pgleak.scan()');
	is($administrator->ask("SELECT count(*) FROM pg_stat_activity WHERE pid = $pid AND backend_start = '$start'"), 1,
		"$kind: it lives");
	is(log_count($node, qr/pgleak: [^\n]*: pid=$pid /), 0, "$kind: the log has nothing about it");
	is($administrator->ask("SELECT count(*) FROM pgleak.leaks WHERE pid = $pid"), 0, "$kind: it is no leak");
	my $answer = $administrator->ask("SELECT pgleak.cancel($pid)");
	like("$answer @{ $administrator->{notices} }", qr/^f PID $pid is not a client backend$/,
		"$kind: nor can it be cancelled by hand");
	$session->close;
}

# All six limits.
sub limits
{
	my ($limit) = @_;
	my @names = map { my $clock = $_; map { "pgleak.${clock}_${_}_after" } qw(leak cancel terminate) } qw(idle transaction);
	configure($node, map { ($_ => $limit) } @names);
}

my $past = "now() - coalesce(xact_start, state_change) > '1s'";

# Before the limits: they would end the session that makes it.
my $walsender = session($node, replication => 'database');
$walsender->do(q(CREATE_REPLICATION_SLOT passing TEMPORARY LOGICAL pgoutput (SNAPSHOT 'export')), 'BEGIN', 'SELECT 1');
ask(q{
	ALTER TABLE big SET (autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_limit = 1,
		autovacuum_vacuum_cost_delay = 100);
	UPDATE big SET i = i + 1});
# The recorder's transaction lasts as long as somebody's trigger. One sleep for all rows stays within its timeout.
ask(q{
	CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF pg_catalog.clock_timestamp() < pg_catalog.now() + '1s'::interval THEN PERFORM pg_catalog.pg_sleep(2); END IF;
		RETURN NEW;
	END$$;
	CREATE TRIGGER slow BEFORE INSERT ON pgleak.history FOR EACH ROW EXECUTE FUNCTION slow()});
my $leader = wire($node, user => 'exempt');
$leader->do('SET parallel_setup_cost = 0', 'SET parallel_tuple_cost = 0', 'SET min_parallel_table_scan_size = 0',
	'SET parallel_leader_participation = off', 'SET pgleak.transaction_leak_after = 0');
$leader->start('SELECT pg_sleep(120) FROM one');
limits('200ms');

is_spared('walsender', process_past_limits('walsender', "state = 'idle in transaction' AND now() - state_change > '1s'"));
is_spared('autovacuum worker', process_past_limits('autovacuum worker', $past));
is_spared('parallel worker', process_past_limits('parallel worker', $past));
is_spared('pgleak recorder', process_past_limits('pgleak recorder', "state = 'active' AND now() - xact_start > '500ms'"));
is_spared('pgleak scanner', process_past_limits('pgleak scanner', "now() - backend_start > '1s'"));
is_spared('logical replication launcher', process_past_limits('logical replication launcher', "now() - backend_start > '1s'"));

limits('0');
ask('DROP TRIGGER slow ON pgleak.history');
ask("SELECT pg_cancel_backend($leader->{pid})");
$_->close for $walsender, $leader, $administrator;
no_damage($node, 'no process has complained or crashed');
$node->stop;
done_testing();
