# Tests: the recorder notes the pools in trouble once a minute, and when a trouble is over; 2,000 pools do not become 2,000
# rows; the samples are pruned; and whatever keeps it from writing one, leaks are recorded all the same. It takes a sample when
# it starts, so the tests restart it.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;
use PgleakActions;

use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', streaming => 1, conf => "pgleak.pool_busy_after = '2s'\nautovacuum = off\nlisten_addresses = '127.0.0.1'\nmax_connections = 150\n");

sub ask { return ($_[1] // $node)->safe_psql('postgres', $_[0]); }

# Sessions of an application.
sub application
{
	my ($name, $count, %options) = @_;
	local $ENV{PGAPPNAME} = $name;
	return crowd($node, $count, %options);
}

# A sample after the pools are as the query says. Returns when it was taken.
sub sample_when
{
	my ($query, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	eventually_is($node, $query, $expected, $name);
	my $before = ask('SELECT clock_timestamp()');
	restart_recorder($node);
	my $taken = '';
	PgleakTest::poll(sub { $taken = ask("SELECT max(taken_at) FROM pgleak.pool_samples WHERE taken_at > '$before'") }, 60)
	  or die 'no sample was taken';
	return $taken;
}

# Columns of the rows of a sample about applications whose name is like that.
sub rows
{
	my ($taken, $columns, $like) = @_;
	return ask("SELECT $columns FROM (SELECT * FROM pgleak.pool_samples
		WHERE taken_at = '$taken' AND application_name LIKE '$like' ORDER BY place) AS s");
}

sub verdict_of { return "SELECT coalesce(max(verdict), 'none') FROM pgleak.pools WHERE scope = 'pool' AND application_name = '$_[0]'"; }

# Test: the report matches the pattern. It would be too long for a message.
sub report_has
{
	my ($pattern, $name, $server) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok(ask(q(SELECT pgleak.report('1 hour')), $server) =~ $pattern, $name);
}

# A pool gets into trouble and out of it, and a healthy one has no row.
sub test_life
{
	my $healthy = application('healthy', 4);
	my $shop = application('shop', 5);
	my $taken = sample_when(verdict_of('shop'), 'ok', 'life: two pools are fine');
	is(rows($taken, 'count(*)', '%'), 0, 'life: a pool that is fine has no row');
	is(ask("SELECT place, scope, num_nulls(database, role, application_name, client_addr), connections >= 9, in_use = connections, capacity > 100, verdict
			FROM pgleak.pool_samples WHERE taken_at = '$taken'"), '0|server|4|t|t|t|ok', 'life: the whole server always has one');

	$shop->run([ 'BEGIN', 'SELECT 1' ], to => 4);
	$taken = sample_when(verdict_of('shop'), 'leaking', 'life: one leaks');
	is(rows($taken, 'place, scope, database, role = current_user, application_name, client_addr, connections, in_use, leaked, waiting, capacity, verdict', '%'),
		'1|pool|postgres|t|shop||5|4|4|0|5|leaking', 'life: its row says what pgleak.pools says');
	report_has(qr/before: ok<\/title><line class="mark leaking"/, 'life: the report marks when it began');

	$shop->run(['COMMIT'], to => 4);
	$taken = sample_when(verdict_of('shop'), 'ok', 'life: it is fine again');
	is(rows($taken, 'place, application_name, connections, in_use, leaked, verdict', '%'), '21|shop|5|0|0|ok', 'life: a row says that it is over');
	report_has(qr/before: leaking<\/title><line class="mark ok"/, 'life: and the report');
	$taken = sample_when(verdict_of('shop'), 'ok', 'life: it stays fine');
	is(rows($taken, 'count(*)', '%'), 0, 'life: that is said once');

	$shop->run([ 'BEGIN', 'SELECT 1' ], to => 1);
	$taken = sample_when(verdict_of('shop'), 'leak', 'life: one of its connections leaks');
	is(rows($taken, 'leaked, verdict', 'shop'), '1|leak', 'life: which has a row');
	$shop->close;
	$taken = sample_when(verdict_of('shop'), 'none', 'life: it is closed');
	is(rows($taken, 'connections, in_use, leaked, waiting, capacity, verdict', 'shop'), '0|0|0|0||', 'life: closed: so is its row');
	report_has(qr/<span class="verdict [^"]*">closed<\/span>/, 'life: closed: the report says so');
	$healthy->close;
}

sub test_waiting
{
	ask('CREATE TABLE orders AS SELECT 1 AS id');
	my $gui = wire($node, parameters => { application_name => 'gui' });
	$gui->do("SET pgleak.idle_leak_after = '0'", "SET pgleak.blocking_leak_after = '0'", 'BEGIN', 'LOCK orders');
	my @shop = map { session($node, env => { PGAPPNAME => 'waiters' }) } 1 .. 4;
	$_->send_line('SELECT FROM orders;') for @shop;
	my $taken = sample_when(verdict_of('waiters'), 'blocked', 'waiting: a pool waits for a lock');
	is(rows($taken, q(in_use, leaked, waiting, verdict), 'waiters'), '4|0|4|blocked', 'waiting: how many, and the verdict');
	report_has(qr/<path class="waiting" d="M[^"]+"/, 'waiting: the report draws it');
	$gui->do('ROLLBACK');
	$_->close for @shop, $gui;
}

# Each of 30 pools leaks; 20 and the server have a row.
sub test_many
{
	my @small = map { application("many$_", 1) } 1 .. 27;
	my @large = map { application("large$_", 3) } 1 .. 3;
	$_->run([ 'BEGIN', 'SELECT 1' ]) for @small, @large;
	my $taken = sample_when(q(SELECT count(*) FILTER (WHERE verdict = 'leak'), count(*) FILTER (WHERE verdict = 'leaking')
		FROM pgleak.pools WHERE application_name ~ '^(many|large)'), '27|3', 'many: 30 pools are in trouble');
	is(ask("SELECT count(*) FROM pgleak.pool_samples WHERE taken_at = '$taken' AND place BETWEEN 1 AND 20"), 20, 'many: 20 have a row');
	is(ask("SELECT count(*) FROM pgleak.pool_samples WHERE taken_at = '$taken' AND application_name ~ '^(many|large)'"), 20, 'many: and no more');
	is(rows($taken, q(string_agg(verdict, ' ' ORDER BY place)), 'large%'), 'leaking leaking leaking', 'many: the worst among them');
	is(rows($taken, q(max(place)), 'large%'), 3, 'many: which come first');
	report_has(qr/These are the worst 8 of \d+ pools that were in trouble/, 'many: the report counts what it leaves out');
	$_->close for @small, @large;
	$taken = sample_when(q(SELECT count(*) FROM pgleak.pools WHERE application_name ~ '^(many|large)'), 0, 'many: they close');
	is(rows($taken, 'count(*), min(place), max(place)', '%'), '20|21|40', 'many: as many rows say so');
}

# An application at several addresses leaks: the sum has a row, and those of its pools that are worse than it.
sub test_addresses
{
	$node->append_conf('pg_hba.conf', "host all all 127.0.0.0/8 trust\n");
	$node->reload;
	my $pods = sub { map { wire($node, tcp => 1, from => $_[0], parameters => { application_name => 'pods' }) } 1 .. $_[1] };
	my @single = map { $pods->("127.0.0.$_", 1) } 2 .. 5;
	my @leaking = $pods->('127.0.0.6', 3);
	$_->do('BEGIN', 'SELECT 1') for @single[ 0 .. 1 ];
	my $sum = q(SELECT verdict FROM pgleak.pools WHERE scope = 'application' AND application_name = 'pods');
	my $taken = sample_when($sum, 'leaking', 'addresses: an application leaks');
	is(rows($taken, 'scope, client_addr, connections, leaked, verdict', 'pods'), 'application||7|2|leaking', 'addresses: its sum has a row, its pools have none');
	report_has(qr/pods<br><span class="soft">[^<]*, all addresses<\/span>/, 'addresses: and a curve');
	$_->do('COMMIT') for @single[ 0 .. 1 ];
	eventually_is($node, $sum, 'ok', 'addresses: it recovers');
	$_->close for @single, @leaking;
}

sub test_pruning
{
	ask('TRUNCATE pgleak.pool_samples');
	ask(q(INSERT INTO pgleak.pool_samples (taken_at, place, scope) SELECT now() - i * interval '1 minute', place, 'server'
		FROM generate_series(100, 2600) AS i, generate_series(0, 1) AS place));
	configure($node, 'pgleak.retention' => '1d');
	restart_recorder($node);
	eventually_is($node, q(SELECT count(*) FROM pgleak.pool_samples WHERE taken_at < now() - interval '1 day'), 0, 'old samples are deleted');
	is(ask(q(SELECT count(*) > 2600 FROM pgleak.pool_samples)), 't', 'younger ones are kept');
	configure($node, 'pgleak.history_max_rows' => 21);
	restart_recorder($node);
	eventually_is($node, 'SELECT count(*) <= 22 FROM pgleak.pool_samples', 't', 'and what is too much');
	is(ask(q(SELECT max(taken_at) > now() - interval '1 minute' FROM pgleak.pool_samples)), 't', 'but never the newest');
	is(ask(q(SELECT count(*) FROM pgleak.pool_samples AS s WHERE place = 1 AND NOT EXISTS (
		SELECT FROM pgleak.pool_samples AS o WHERE o.taken_at = s.taken_at AND o.place = 0))), 0, 'no sample in part');
	configure($node, 'pgleak.retention' => undef, 'pgleak.history_max_rows' => undef);
}

sub test_refused
{
	is(ask('SELECT recorder_errors FROM pgleak.stats'), 0, 'nothing was an error');
	ask('ALTER TABLE pgleak.pool_samples ADD CONSTRAINT refused CHECK (false) NOT VALID');
	restart_recorder($node);
	my $session = leak($node);
	eventually_recorded($node, $session, 'open', 'refused: a leak is recorded all the same');
	$session->do('COMMIT');
	eventually_recorded($node, $session, 'committed', 'refused: to its end');
	like(ask('SELECT last_error FROM pgleak.stats'), qr/violates check constraint "refused"/, 'refused: pgleak.stats says so');
	is(log_count($node, qr/could not write pgleak\.pool_samples: .*refused/), 1, 'refused: so does the log, once');
	my $before = ask('SELECT clock_timestamp()');
	restart_recorder($node);
	eventually_is($node, "SELECT count(*) FROM pgleak.horizon_samples WHERE taken_at > '$before'", 1, 'refused: the other samples are taken');
	ask('ALTER TABLE pgleak.pool_samples DROP CONSTRAINT refused');
	$session->close;

	my $locker = wire($node);
	$locker->do('BEGIN', 'LOCK pgleak.pool_samples');
	restart_recorder($node);
	$session = leak($node);
	eventually_recorded($node, $session, 'open', 'locked: a leak is recorded all the same');
	$locker->do('ROLLBACK');
	eventually_is($node, 'SELECT max(taken_at) > now() - interval \'5s\' FROM pgleak.pool_samples', 't', 'locked: a sample is taken as soon as it can be');
	$_->close for $session, $locker;
}

sub test_standby
{
	ask(q(INSERT INTO pgleak.pool_samples (taken_at, place, scope, database, role, application_name, connections, in_use, leaked, waiting, verdict)
		VALUES (now() - interval '10 minutes', 1, 'pool', 'shop', 'shop', 'shop', 5, 4, 4, 0, 'leaking')));
	$node->backup('copy');
	my $standby = empty_node('replica');
	$standby->init_from_backup($node, 'copy', has_streaming => 1);
	$standby->start;
	$node->wait_for_catchup($standby);
	my $count = 'SELECT count(*) FROM pgleak.pool_samples';
	is(ask($count, $standby), ask($count), 'a standby shows the samples of its primary');
	restart_recorder($standby);
	report_has(qr/<line class="mark /, 'and draws them', $standby);
	holds(sub { ask('SELECT recorder_errors, is_recording FROM pgleak.stats', $standby) eq '0|f' }, 'and tries to write none', 3);
	$node->stop;
	$standby->promote;
	my $before = ask($count, $standby);
	eventually_is($standby, "SELECT ($count) > $before", 't', 'after its promotion it takes its own');
	is(ask('SELECT recorder_errors FROM pgleak.stats', $standby), 0, 'without an error');
	return $standby;
}

# Who has dropped the table has no samples, and everything else.
sub test_dropped
{
	my ($server) = @_;
	ask('ALTER EXTENSION pgleak DROP TABLE pgleak.pool_samples; DROP TABLE pgleak.pool_samples', $server);
	restart_recorder($server);
	my $session = leak($server);
	eventually_recorded($server, $session, 'open', 'dropped: a leak is recorded all the same');
	$session->close;
	my $mark = ask('SELECT recorder_errors FROM pgleak.stats', $server);
	is($mark, 0, 'dropped: that is no error');
	$server->stop;
}

test_life();
test_waiting();
test_many();
test_addresses();
test_pruning();
test_refused();
my $promoted = test_standby();
test_dropped($promoted);
done_testing();
