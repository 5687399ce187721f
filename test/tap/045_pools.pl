# pgleak.pools on real sessions: too small, leaking, a leak, fine; where the capacity comes from; what belongs to which
# pool; who may see it; and how a changed verdict is told. What a verdict follows from is tested in test/unit.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;

use IPC::Run ();
use JSON::PP ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::Local qw(timegm);

my $node = new_node('pools', conf => <<'END');
pgleak.pool_busy_after = '2s'
log_timezone = 'UTC'
superuser_reserved_connections = 4
END

sub ask { return $node->safe_psql('postgres', $_[0]); }

# Columns of the pool of an application.
sub pool
{
	my ($application, $columns) = @_;
	return ask("SELECT $columns FROM pgleak.pools WHERE application_name = '$application'");
}

sub eventually_pool
{
	my ($application, $columns, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return eventually_is($node, "SELECT $columns FROM pgleak.pools WHERE application_name = '$application'", $expected, $name);
}

# $count sessions of an application.
sub application
{
	my ($name, $count, %options) = @_;
	local $ENV{PGAPPNAME} = $name;
	return crowd($node, $count, %options);
}

# Clients that always want to work: an application whose requests queue for $size connections.
sub busy_application
{
	my ($name, $size) = @_;
	my $script = PostgreSQL::Test::Utils::tempdir() . '/request.sql';
	append_to_file($script, "BEGIN;\nSELECT pg_sleep(0.5);\nCOMMIT;\n");
	# On a busy machine it may take pgbench a moment to go on, which is no leak.
	local %ENV = (%ENV, PGAPPNAME => $name, PGOPTIONS => '-c pgleak.idle_leak_after=0');
	my ($in, $out) = ('', '');
	return IPC::Run::start([ 'pgbench', '-n', '-c', $size, '-T', 600, '-f', $script, '-d', $node->connstr('postgres') ],
		'<', \$in, '>&', \$out);
}

# When lines about a pool's verdict were logged, in seconds, with what follows the application's name.
sub verdicts_of
{
	my ($application) = @_;
	my @verdicts;
	for (split /\n/, log_after($node))
	{
		next unless /^(\d+)-(\d+)-(\d+) (\d+):(\d+):(\d+\.\d+) .* pgleak: pool verdict: scope=pool .*application=\Q$application\E (.*)/;
		push @verdicts, { at => timegm(int $6, $5, $4, $3, $2 - 1, $1) + $6 - int $6, text => $7 };
	}
	return @verdicts;
}

# Tests -----------------------------------------------------------------------------------------------------------------

my $listener = session($node);
$listener->do('LISTEN pgleak');
my @payloads;

sub notified
{
	push @payloads, map { JSON::PP->new->utf8->decode($_) }
	  $listener->ask('SELECT 1 WHERE false') =~ /with payload "(.*)" received from server process/g;
	return grep { $_->{event} eq 'verdict' && ($_->{application_name} // '') eq $_[0] } @payloads;
}

sub test_undersized
{
	my $load = busy_application('small', 4);
	eventually_pool('small', 'verdict, capacity, peak, leaked', 'undersized|4|4|0', 'a pool that is busy all the time is undersized');
	like(pool('small', 'advice'), qr/^[34] of 4 connections are in use, busy since \d\d:\d\d, none of them leaks; raise the pool size/,
		'the advice is to raise its size');
	cmp_ok(pool('small', 'in_use_percent'), '>=', 50, 'it is in use');
	is(pool('small', q(busy_since < now() - interval '2s')), 't', 'for longer than pgleak.pool_busy_after');
	is(pool('small', 'exhausted_at IS NULL AND leaks_per_hour = 0'), 't', 'nothing leaks');
	is(ask(q(SELECT count(*) FROM pgleak.history WHERE application_name = 'small')), 0, 'and there is no episode');
	eventually(sub { verdicts_of('small') == 1 }, 'the verdict is logged');
	like((verdicts_of('small'))[0]{text}, qr/^client=local verdict=undersized was=ok connections=4 in_use=[34] capacity=4 leaked=0 waiting=0$/,
		'with its numbers');
	eventually(sub { notified('small') == 1 }, 'and notified');
	my ($notice) = notified('small');
	is_deeply([ map { ref $notice->{$_} || $notice->{$_} } qw(scope database role verdict was connections capacity leaked waiting) ],
		[ 'pool', 'postgres', ask('SELECT current_user'), 'undersized', 'ok', 4, 4, 0, 0 ], 'as JSON');
	$load->kill_kill(grace => 0);
	eventually_pool('small', 'verdict', '', 'a pool without sessions is not shown');
}

# Must come last: the pool of test_undersized has come to rest long ago.
sub test_one_announcement_a_minute
{
	eventually(sub { verdicts_of('small') == 2 }, 'that the pool is fine again is logged as well', 120);
	my @verdicts = verdicts_of('small');
	like($verdicts[1]{text}, qr/verdict=ok was=undersized /, 'as such');
	cmp_ok($verdicts[1]{at} - $verdicts[0]{at}, '>=', 60, 'but a minute after the first');
	eventually(sub { notified('small') == 2 }, 'and notified');
}

sub test_leaking
{
	my $shop = application('shop', 6);
	eventually_pool('shop', 'verdict, connections, idle, in_use_percent, advice', 'ok|6|6|0|', 'a pool at rest is fine');
	$shop->run([ 'BEGIN', "/*route='/orders'*/ SELECT 42" ], to => 3);
	eventually_pool('shop', 'verdict, leaked, idle_in_transaction, idle, in_use_percent', 'leaking|3|3|3|50',
		'a pool of which half leaks is leaking');
	like(pool('shop', 'advice'),
		qr{^3 of 6 connections are idle in transaction since \d\d:\d\d, at \d+ more an hour nothing will be free at \d\d:\d\d; fix the route /orders before raising the pool size$},
		'the advice names the route and the time that is left');
	cmp_ok(pool('shop', 'leaks_per_hour'), '>', 0, 'there is a rate');
	is(pool('shop', 'exhausted_at > now()'), 't', 'and a forecast');
	eventually(sub { verdicts_of('shop') == 1 }, 'the verdict is logged');
	like(log_after($node), qr{DETAIL:  3 of 6 connections are idle in transaction since .* fix the route /orders},
		'with the advice as DETAIL');

	$shop->run([ 'BEGIN', 'SELECT oid FROM pg_class LIMIT 1' ], from => 3);
	eventually_pool('shop', 'leaked, in_use_percent, exhausted_at <= now(), busy_since IS NOT NULL', '6|100|t|t', 'a pool leaks empty');
	like(pool('shop', 'advice'), qr/since \d\d:\d\d, nothing has been free since \d\d:\d\d; see pgleak.leaks and fix the code/,
		'leaks of several routes and queries have nothing in common');
	$shop->run(['ROLLBACK']);
	eventually_pool('shop', 'verdict, leaked, exhausted_at, advice', 'ok|0||', 'a pool that is healed is fine');
	is(scalar(verdicts_of('shop')), 1, 'which is not logged within the minute');
	$shop->close;
}

sub test_leak
{
	my $shop = application('roomy', 12);
	$shop->run([ 'SET pgleak.idle_leak_after = 0', 'BEGIN' ], to => 7);
	$shop->run(['BEGIN'], from => 7, to => 8);
	eventually_pool('roomy', 'verdict, leaked, idle_in_transaction, capacity', 'leak|1|8|12', 'one leak in a pool with room is a leak');
	like(pool('roomy', 'advice'), qr/^1 of 12 connections is idle in transaction since/, 'with advice');
	is(scalar(verdicts_of('roomy')), 0, 'which is logged as a leak, not as a verdict');
	$shop->close;
}

sub test_hidden_statement
{
	configure($node, 'pgleak.log_query' => 'off');
	my $first = leak($node);    # once it is logged the scanner has read the configuration
	eventually_recorded($node, $first, 'open', 'a leak after pgleak.log_query = off');
	my $shop = application('secretive', 3);
	$shop->run([ 'BEGIN', "/*route='/secret'*/ SELECT FROM pg_class" ]);
	eventually(sub { verdicts_of('secretive') == 1 }, 'its pool is leaking');
	like(pool('secretive', 'advice'), qr{fix the route /secret}, 'the view names the route');
	unlike(log_after($node), qr{/secret}, 'the log does not');
	configure($node, 'pgleak.log_query' => undef);
	$_->close for $first, $shop;
}

sub test_server
{
	my $crowd = application('many', 5);
	my $server = q(FROM pgleak.pools WHERE scope = 'server');
	eventually(sub { ask("SELECT connections $server") == ask(q(SELECT count(*) - 1 FROM pg_stat_activity WHERE backend_type = 'client backend')) },
		'one row counts all sessions');    # but for the one that asks, which the last look has not seen
	is(ask("SELECT database IS NULL AND role IS NULL AND application_name IS NULL AND client_addr IS NULL $server"), 't', 'it has no name');
	my $reserved = $node->pg_version >= 16 ? q(current_setting('reserved_connections')::int) : 0;
	is(ask("SELECT capacity = 100 - 4 - $reserved $server"), 't', 'its capacity is what is not reserved');
	configure($node, 'pgleak.pool_busy_percent' => 4);
	eventually_is($node, "SELECT verdict $server", 'undersized', 'its share counts every connection');
	like(ask("SELECT advice $server"), qr/^\d+ of 96 connections are taken, \d+ of them idle, busy since/, 'the advice is about max_connections');
	eventually(sub { log_count($node, qr/pool verdict: scope=server verdict=undersized was=/) == 1 }, 'it is logged');
	configure($node, 'pgleak.pool_busy_percent' => undef);
	eventually_is($node, "SELECT verdict $server", 'ok', 'above pgleak.pool_busy_percent only');
	$crowd->close;
}

sub test_connection_limit
{
	ask('CREATE ROLE limited LOGIN CONNECTION LIMIT 20; CREATE DATABASE narrow');
	my $crowd = application('limited', 4, user => 'limited', dbname => 'narrow');
	eventually_pool('limited', 'capacity, peak', '20|4', q(a role's CONNECTION LIMIT is the capacity));
	ask('ALTER DATABASE narrow CONNECTION LIMIT 8');
	$crowd->run([ 'BEGIN', 'SELECT 1' ], to => 2);
	eventually_pool('limited', 'capacity, in_use_percent', '8|25', q(or a database's, if it is the tighter one));
	my $other = application('neighbour', 2, user => 'limited', dbname => 'narrow');
	$other->run([ 'BEGIN', 'SELECT 1' ]);
	eventually_pool('limited', 'capacity, in_use_percent', '8|50', 'what others use of it counts');
	ask('ALTER DATABASE narrow CONNECTION LIMIT -1; ALTER ROLE limited CONNECTION LIMIT -1');
	eventually_pool('limited', 'capacity, in_use_percent', '4|50', 'without one it is the peak');
	ask('ALTER ROLE limited CONNECTION LIMIT 20 SUPERUSER');
	holds(sub { pool('limited', 'capacity') == 4 }, 'a superuser has none', 6);
	$_->close for $crowd, $other;
}

sub test_application_name
{
	my $crowd = application('before', 3);
	eventually_pool('before', 'connections', 3, 'three sessions are a pool');
	$crowd->run([q(SET application_name = 'after')], to => 2);
	eventually_pool('after', 'connections', 2, 'those that change their name are another');
	eventually_pool('before', 'connections', 1, 'and leave the first');
	$crowd->run(['BEGIN'], to => 1);
	eventually_pool('after', 'connections, leaked', '2|1', 'leaks go with them');
	$crowd->close;
}

# A connection that is checked out and forgotten outside of a transaction, in a pool that has to open another one.
sub test_suspects
{
	my $crowd = application('suspicious', 3);
	$crowd->run(['SELECT 1']);
	eventually_pool('suspicious', 'connections', 3, 'a pool is at rest');
	# pgleak looks once a second, and must see it quiet before the next connection comes.
	holds(sub { $crowd->run(['SELECT 2'], from => 1); pool('suspicious', 'suspects') == 0 },
		'one of its connections is passed over, which makes no suspect', 4);
	my $new = application('suspicious', 1);
	eventually(sub { $_->run(['SELECT 3']) for $new; $crowd->run(['SELECT 2'], from => 1); pool('suspicious', 'suspects') == 1 },
		'it is one when the pool opens and uses another');
	is(pool('suspicious', q(verdict, leaked, oldest_suspect_idle > '1s')), 'ok|0|t', 'that is no leak');
	like(pool('suspicious', 'advice'), qr/^1 idle connection was passed over .* \(a guess, not a leak\)$/, 'but worth a word');
	is(ask(q(SELECT count(*) FROM pgleak.history WHERE application_name = 'suspicious')), 0, 'it is no episode');
	$crowd->run(['SELECT 4']);
	eventually_pool('suspicious', 'suspects', 0, 'once it is used it is none any more');
	$_->close for $crowd, $new;
}

sub test_masking
{
	ask('CREATE ROLE ordinary LOGIN; CREATE ROLE other LOGIN; CREATE ROLE colleague LOGIN IN ROLE other; CREATE ROLE statistics LOGIN IN ROLE pg_read_all_stats');
	my $crowd = application('masked', 3, user => 'other');
	$crowd->run([ 'BEGIN', 'SELECT 1' ], to => 2);
	eventually_pool('masked', 'leaked, verdict', '2|leaking', 'a pool of another role leaks');
	my %role = map { $_ => session($node, user => $_) } qw(ordinary other colleague statistics);
	my $visible = q(SELECT string_agg(key, ' ' ORDER BY key COLLATE "C") FROM pgleak.pools p, jsonb_each_text(to_jsonb(p)) WHERE value IS NOT NULL AND p.%s);
	my $of_pool = sprintf $visible, q(application_name = 'masked');
	is($role{ordinary}->ask($of_pool), 'advice application_name capacity connections database leaked peak role scope',
		'an ordinary role sees who it is and how many');
	is($role{ordinary}->ask(q(SELECT advice FROM pgleak.pools WHERE application_name = 'masked')), '<insufficient privilege>', 'but no advice');
	is($role{ordinary}->ask(sprintf $visible, q(scope = 'server')), 'advice capacity connections leaked peak scope', 'the same of the server');
	like($role{$_}->ask($of_pool), qr/active advice .* verdict/, "$_ sees all") for qw(other colleague statistics);
	like($role{statistics}->ask(sprintf $visible, q(scope = 'server')), qr/active .* verdict/, 'who reads all statistics sees all of the server');
	$_->close for values %role, $crowd;
}

# What an application had before the scanner was restarted is still known after it.
sub test_scanner_restart
{
	my $crowd = application('lasting', 6);
	eventually_pool('lasting', 'peak', 6, 'a pool has its peak');
	$crowd->close_sessions(from => 2);
	eventually_pool('lasting', 'connections', 2, 'and becomes smaller');
	my $old = worker_pid($node, 'scanner');
	ask("SELECT pg_terminate_backend($old)");
	eventually(sub { my $new = worker_pid($node, 'scanner'); $new ne '' && $new ne $old }, 'the scanner is restarted');
	$crowd->run(['BEGIN'], to => 1);
	eventually_pool('lasting', 'connections, peak, leaked', '2|6|1', 'it goes on with what was known');
	$crowd->close;
}

# All sessions of a pool are gone at once, and new ones come.
sub test_application_restart
{
	my $crowd = application('restarted', 6);
	$crowd->run([ 'BEGIN', 'SELECT FROM pg_class' ]);
	eventually_pool('restarted', 'verdict, peak', 'leaking|6', 'an application leaks');
	$crowd->close;
	$crowd = application('restarted', 2);
	eventually_pool('restarted', 'verdict, peak, leaks_per_hour, exhausted_at', 'ok|2|0|', 'and begins anew when it is restarted');
	$crowd->close;
}

test_undersized();
test_leaking();
test_leak();
test_hidden_statement();
test_server();
test_connection_limit();
test_application_name();
test_suspects();
test_masking();
test_scanner_restart();
test_application_restart();
test_one_announcement_a_minute();
$listener->close;
$node->stop;

# More pools than the table holds: one row for the rest, until there is room.
my $crowded = new_node('crowded', conf => "max_connections = 330\npgleak.idle_leak_after = 0\npgleak.max_pools = 256\n");
my $crowd = crowd($crowded, 300);
is($crowd->run([q(SELECT set_config('application_name', 'pool ' || translate(pg_backend_pid()::text, '0123456789', 'abcdefghij'), false))]), 300, 'there are 300 pools');
my $rows = q(SELECT count(*) FILTER (WHERE scope = 'pool' AND application_name LIKE 'pool %' AND connections = 1) = 256,
	sum(connections) FILTER (WHERE scope = 'other'), max(capacity) FILTER (WHERE scope = 'other') FROM pgleak.pools);
eventually_is($crowded, $rows, 't|44|', '256 have a row, the sessions of the others share one');
$crowd->run(['BEGIN'], from => 290);
eventually_is($crowded, q(SELECT idle_in_transaction >= 8, verdict FROM pgleak.pools WHERE scope = 'other'), 't|ok', 'which counts their states');
$crowd->close_sessions(to => 40);
eventually_is($crowded, q(SELECT count(*) FILTER (WHERE scope = 'pool') > 250, coalesce(sum(connections) FILTER (WHERE scope = 'other'), 0) <= 6 FROM pgleak.pools),
	't|t', 'where there is room the others get rows of their own');
my $start = time;
$crowded->safe_psql('postgres', 'SELECT * FROM pgleak.pools') for 1 .. 3;
$crowd->close;
$crowded->stop;

done_testing();
