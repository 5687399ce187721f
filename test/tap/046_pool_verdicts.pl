# What pgleak.pools says of pools that are in trouble, on real sessions: those that wait for somebody else's lock, and leaks
# that are not what they look like. What a verdict follows from is tested in test/unit.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;

use IPC::Run ();
use JSON::PP ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $node = new_node('verdicts', conf => <<'END');
pgleak.pool_busy_after = '2s'
max_prepared_transactions = 5
END

sub ask { return $node->safe_psql('postgres', $_[0]); }

sub pool
{
	my ($application, $columns) = @_;
	return ask("SELECT $columns FROM pgleak.pools WHERE application_name = '$application'");
}

sub eventually_pool
{
	my ($application, $columns, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return 1 if eventually_is($node, "SELECT $columns FROM pgleak.pools WHERE application_name = '$application'", $expected, $name);
	diag(ask('SELECT row_to_json(p) FROM pgleak.pools p'));
	diag(ask(q(SELECT pid, state, wait_event, application_name, query FROM pg_stat_activity WHERE backend_type = 'client backend')));
	return 0;
}

# The advice comes to match the pattern.
sub eventually_advises
{
	my ($application, $pattern, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $advice = '';
	eventually(sub { ($advice = pool($application, 'advice')) =~ $pattern }, $name) or diag("it says: $advice");
	return $advice;
}

# Requests of an application, as a pgbench script that $size clients repeat. %options: options => settings of theirs.
sub application
{
	my ($name, $size, $request, %options) = @_;
	my $script = PostgreSQL::Test::Utils::tempdir() . '/request.sql';
	append_to_file($script, $request);
	local %ENV = (%ENV, PGAPPNAME => $name, PGOPTIONS => $options{options} // '');
	my ($in, $out) = ('', '');
	my $user = $options{user} // ask('SELECT current_user');
	return IPC::Run::start(
		[ 'pgbench', '-n', '-c', $size, '-T', 600, '-f', $script, '-d', $node->connstr('postgres') . " user=$user" ],
		'<', \$in, '>&', \$out);
}

sub idle_application
{
	my ($name, $count, %options) = @_;
	local $ENV{PGAPPNAME} = $name;
	return crowd($node, $count, %options);
}

sub named_session
{
	my ($name, %options) = @_;
	return session($node, %options, env => { PGAPPNAME => $name });
}

sub log_lines_of { return log_count($node, qr/pgleak: pool verdict: scope=pool .*application=\Q$_[0]\E /); }

ask('CREATE TABLE orders AS SELECT 1 AS id; CREATE ROLE shop LOGIN; CREATE ROLE ann LOGIN; GRANT ALL ON orders TO shop, ann');

my $listener = session($node);
$listener->do('LISTEN pgleak');

# Waiting for somebody else ----------------------------------------------------------------------------------------------

# Somebody looks at a table and goes to lunch; a migration queues behind that, and everybody else behind the migration.
sub test_blocked
{
	my $shop = application('shop', 6, "SELECT FROM orders;\n\\sleep 50 ms\n");
	eventually_pool('shop', 'connections, verdict, waiting', '6|ok|0', 'a pool works');
	my $gui = named_session('DBeaver 23.0', user => 'ann');
	$gui->do('BEGIN', 'SELECT FROM orders');
	my $migration = named_session('migration');
	$migration->send_line('ALTER TABLE orders ADD shipped boolean;');
	eventually_pool('shop', 'verdict, waiting, active', 'blocked|6|6', 'blocked: it waits for somebody else');
	my $advice = eventually_advises('shop', qr/^6 of 6 wait behind pid \d+/, 'blocked: the advice counts who waits');
	like($advice,
		qr/^6 of 6 wait behind pid $gui->{pid} \(DBeaver 23\.0, idle in transaction for \d+(s|min), holds AccessShareLock on public\.orders\); cancel it: SELECT pgleak\.cancel\($gui->{pid}\)$/,
		'blocked: and names the root of the chain, what it holds and what ends that');
	eventually(sub { log_lines_of('shop') == 1 }, 'blocked: it is logged');
	my $relation = ask(q(SELECT 'orders'::regclass::oid));
	like(log_after($node), qr/pool verdict: .*application=shop client=local verdict=blocked was=ok connections=6 in_use=6 capacity=6 leaked=0 waiting=[56]/,
		'blocked: with the number of those who wait');
	like(log_after($node), qr/DETAIL:  6 of 6 wait .*\bholds AccessShareLock on relation $relation\b/, 'blocked: and what they wait for, by number');
	my @payloads;
	eventually(sub {
			push @payloads, map { JSON::PP->new->utf8->decode($_) }
			  $listener->ask('SELECT 1 WHERE false') =~ /with payload "(.*)" received from server process/g;
			return grep { $_->{event} eq 'verdict' && ($_->{application_name} // '') eq 'shop' && $_->{verdict} eq 'blocked' && $_->{waiting} >= 5 } @payloads;
		}, 'blocked: and notified');
	is(ask(q(SELECT verdict, waiting FROM pgleak.metrics_pools WHERE application = 'shop')), 'blocked|6', 'blocked: the metrics say so');
	like(ask('SELECT pgleak.report()'), qr/<span class="verdict blocked">/, 'blocked: so does the report');
	holds(sub { pool('shop', 'verdict') eq 'blocked' }, 'blocked: it never becomes undersized', 4);
	ask('CREATE ROLE reader LOGIN IN ROLE pg_read_all_stats');
	like($node->safe_psql('postgres', q(SELECT advice FROM pgleak.pools WHERE application_name = 'shop'), extra_params => [ '-U', 'reader' ]),
		qr/idle in transaction for/, 'blocked: who reads all statistics sees the state of the root');

	ask($advice =~ s/.*cancel it: //r);
	eventually_pool('shop', 'verdict, waiting', 'ok|0', 'blocked: what the advice says helps');
	$shop->kill_kill(grace => 0);
	$_->close for $gui, $migration;
}

# A login that may see the pool, but not the state of who keeps it waiting.
sub test_masked
{
	my $shop = application('masked', 4, "SELECT FROM orders;\n\\sleep 50 ms\n", user => 'shop');
	my $gui = named_session('psql', user => 'ann');
	$gui->do('BEGIN', 'LOCK orders');
	eventually_pool('masked', 'verdict, waiting', 'blocked|4', 'masked: a pool waits');
	my $reader = session($node, user => 'shop');
	eventually(sub {
			$reader->ask(q(SELECT advice FROM pgleak.pools WHERE application_name = 'masked')) =~
			  /^4 of 4 wait behind pid $gui->{pid} \(psql, holds AccessExclusiveLock on public\.orders\); cancel it: /
		}, 'masked: the state of another role is not shown');
	my $other = session($node, user => 'ann');
	is($other->ask(q(SELECT waiting IS NULL, verdict IS NULL, advice FROM pgleak.pools WHERE application_name = 'masked')),
		't|t|<insufficient privilege>', 'masked: nor how many of another role wait');
	$shop->kill_kill(grace => 0);
	$_->close for $reader, $other, $gui;
}

sub test_blocked_under_limit
{
	ask('ALTER ROLE shop CONNECTION LIMIT 5');
	my @shop = map { named_session('limited', user => 'shop') } 1 .. 4;
	eventually_pool('limited', 'capacity, verdict', '5|ok', 'limit: a pool has a CONNECTION LIMIT');
	my $gui = named_session('psql');
	$gui->do('BEGIN', 'LOCK orders');
	$_->send_line('SELECT FROM orders;') for @shop;
	eventually_pool('limited', 'verdict, in_use_percent', 'blocked|80', 'limit: it is full of sessions that wait');
	holds(sub { pool('limited', 'verdict') eq 'blocked' }, 'limit: which is no reason for a higher one', 5);
	$gui->do('ROLLBACK');
	eventually_pool('limited', 'verdict', 'ok', 'limit: it goes on');
	$_->close for @shop, $gui;
	ask('ALTER ROLE shop CONNECTION LIMIT -1');
}

# Each try ends after 300 ms, and the next one comes 100 ms later.
sub test_retries
{
	my $request = "DO \$\$ BEGIN PERFORM FROM orders; EXCEPTION WHEN lock_not_available THEN NULL; END \$\$;\n\\sleep 100 ms\n";
	my $shop = application('retry', 6, $request, options => '-c lock_timeout=300ms');
	eventually_pool('retry', 'connections, verdict', '6|ok', 'retries: a pool works');
	my $gui = named_session('psql');
	$gui->do('BEGIN', 'LOCK orders');
	eventually_pool('retry', 'verdict', 'blocked', 'retries: those who try again and again wait');
	holds(sub { pool('retry', 'verdict') eq 'blocked' }, 'retries: all the time', 5);
	eventually_advises('retry', qr/ behind pid $gui->{pid} /, 'retries: for the same one');
	$gui->do('ROLLBACK');
	eventually_pool('retry', 'verdict', 'ok', 'retries: until they get through');
	$shop->kill_kill(grace => 0);
	$gui->close;
}

sub test_prepared
{
	my $shop = application('behind', 4, "SELECT FROM orders;\n\\sleep 50 ms\n");
	my $holder = session($node);
	$holder->do('BEGIN', 'LOCK orders', q(PREPARE TRANSACTION 'it''s'));
	eventually_pool('behind', 'verdict', 'blocked', 'prepared: a pool waits for nobody who is there');
	my $advice = eventually_advises('behind',
		qr/^4 of 4 wait behind prepared transaction it's \(holds AccessExclusiveLock on public\.orders\); end it in database postgres: ROLLBACK PREPARED 'it''s', or COMMIT PREPARED$/,
		'prepared: the advice is the statement to type');
	ask($advice =~ s/.*(ROLLBACK PREPARED .*), or COMMIT PREPARED/$1/r);
	eventually_pool('behind', 'verdict', 'ok', 'prepared: which works');
	$shop->kill_kill(grace => 0);
	$holder->close;
}

sub test_advisory
{
	my $shop = application('jobs', 4, "SELECT pg_advisory_xact_lock_shared(77);\n\\sleep 50 ms\n");
	my $holder = named_session('worker');
	$holder->do('SELECT pg_advisory_lock(77)', 'SELECT 1');
	eventually_pool('jobs', 'verdict', 'blocked', 'advisory: a pool waits for an idle session');
	my $advice = eventually_advises('jobs',
		qr/^4 of 4 wait behind pid $holder->{pid} \(worker, idle for \d+s, holds ExclusiveLock on advisory lock 77\); end it: SELECT pgleak\.terminate\($holder->{pid}\)$/,
		'advisory: which no cancel frees');
	ask($advice =~ s/.*end it: //r);
	eventually_pool('jobs', 'verdict', 'ok', 'advisory: but a terminate');
	$shop->kill_kill(grace => 0);
	$holder->close;
}

# All want the same row, and each has it only for a moment.
sub test_turns
{
	my $shop = application('hot', 6, "BEGIN;\nUPDATE orders SET id = id;\nSELECT pg_sleep(0.1);\nCOMMIT;\n");
	eventually_pool('hot', 'verdict', 'blocked', 'turns: a pool waits for itself');
	eventually_advises('hot', qr/^[3456] of 6 wait for locks, for nobody in particular; shorten the transactions/, 'turns: nobody is to be cancelled');
	holds(sub { pool('hot', 'verdict') =~ /^(blocked|ok)$/ }, 'turns: a larger pool would not help', 4);
	$shop->kill_kill(grace => 0);
}

# Leaks that are not what they look like -----------------------------------------------------------------------------------

sub test_nested
{
	my $shop = idle_application('nested', 4);
	eventually_pool('nested', 'connections', 4, 'nested: a pool is at rest');
	$shop->run(['BEGIN']);
	eventually_advises('nested',
		qr/^4 of 4 connections have run nothing but BEGIN since \d\d:\d\d, all within a second: each seems to wait for a second connection of the same pool; raise the pool size,/,
		'nested: requests that hold one connection and wait for another');
	$shop->run(['ROLLBACK']);
	$shop->run([ 'BEGIN', 'SELECT FROM orders' ]);
	eventually_advises('nested', qr/; fix the code that runs it before raising the pool size$/, 'nested: those that have done something do not');
	$shop->close;
}

# The application works, and its pool tests a connection when it comes back.
sub test_probe
{
	my $shop = idle_application('tested', 5);
	my @use = ('ROLLBACK', 'BEGIN', "/*route='/order'*/ UPDATE orders SET id = id", 'COMMIT', 'BEGIN', 'SELECT 1');
	$shop->run(\@use);
	eventually_advises('tested',
		qr/^[45] of 5 connections are idle in transaction since \d\d:\d\d after the same SELECT 1, which reads no table: the pool's own test query/,
		'test query: it is the pool that opens the transactions');
	my $number = 0;
	holds(sub {
			my $one = $number++ % 5;
			$shop->run(\@use, from => $one, to => $one + 1);
			return pool('tested', 'verdict, exhausted_at IS NULL') =~ /^(leak|ok)\|t$/;
		}, 'test query: its free connections are not lost', 8);
	is(log_lines_of('tested'), 0, 'test query: no verdict is announced');
	$shop->close;
}

# As drivers do that keep a connection alive.
sub test_keepalive
{
	my $shop = idle_application('kept alive', 3);
	$shop->run([ 'BEGIN', "/*route='/pay'*/ SELECT FROM orders", 'SELECT NULL' ]);
	eventually_advises('kept alive', qr{; fix the route /pay before raising the pool size$}, 'keepalive: it does not hide where the transaction comes from');
	$shop->close;
}

sub test_words
{
	my $shop = idle_application('worded', 3);
	$shop->run([ 'BEGIN', 'SELECT id FROM orders' ]);
	eventually_advises('worded', qr/, all last ran SELECT id FROM orders( \(query -?\d+\))?, /, 'words: a statement is known by its first words');
	$shop->close;
}

sub test_slow
{
	my $shop = idle_application('slow', 4);
	for (1 .. 3)
	{
		$shop->run([ 'BEGIN', "/*route='/chart'*/ SELECT FROM orders" ], to => 1);
		eventually_pool('slow', 'leaked', 1, "slow: request $_ takes long");
		$shop->run(['COMMIT'], to => 1);
		eventually_pool('slow', 'leaked', 0, "slow: and commits");
	}
	$shop->run([ 'BEGIN', "/*route='/chart'*/ SELECT FROM orders" ], to => 2);
	eventually_advises('slow', qr{; 3 of 3 earlier leaks committed: slow requests, not lost connections; shorten the transactions of the route /chart$},
		'slow: requests that all commit are not lost connections');
	is(pool('slow', 'verdict, exhausted_at IS NULL'), 'leak|t', 'slow: the pool does not lose any');
	eventually_advises('slow', qr{; fix the route /chart before raising the pool size$}, 'slow: but if they never end');
	$shop->close;
}

sub test_elsewhere
{
	my $request = "BEGIN;\nSELECT FROM orders;\n\\sleep 300 ms\nCOMMIT;\n";
	my $shop = application('elsewhere', 4, $request, options => '-c pgleak.idle_leak_after=0');
	eventually_pool('elsewhere', 'verdict', 'undersized', 'elsewhere: a pool is busy');
	like(pool('elsewhere', 'advice'),
		qr/^[34] of 4 connections are in use, busy since \d\d:\d\d, none of them leaks, but [34] are idle in transaction, for 0\.\d+ s on average: the application works outside of the database within its transactions; shorten these/,
		'elsewhere: but not in the database');
	$shop->kill_kill(grace => 0);
}

sub test_terminate
{
	my $shop = idle_application('ended', 6);
	$shop->run([ 'BEGIN', 'SELECT FROM orders' ], to => 2);
	eventually_pool('ended', 'leaked', 2, 'terminate: two connections leak');
	ask(q(SELECT pgleak.terminate(pid) FROM pgleak.leaks WHERE application_name = 'ended'));
	eventually_pool('ended', 'connections, verdict', '4|ok', 'terminate: they end');
	like(pool('ended', 'advice'), qr/^2 connections fewer since the terminate at \d\d:\d\d; the application's pool still counts them/,
		'terminate: the pool does not know');
	my $new = idle_application('ended', 2);
	eventually_pool('ended', 'connections, advice IS NULL', '6|t', 'terminate: until it has replaced them');
	$_->close for $shop, $new;
}

sub test_pair
{
	my $pair = idle_application('pair', 2);
	$pair->run([ 'BEGIN', 'SELECT FROM orders' ]);
	eventually_pool('pair', 'leaked, verdict', '2|leak', 'pair: leaks of two sessions are leaks');
	holds(sub { log_lines_of('pair') == 0 }, 'pair: not a leaking pool', 2);
	$pair->close;
}

# Others use the limit up that it shared with them.
sub test_closed
{
	ask('ALTER ROLE shop CONNECTION LIMIT 10');
	my $closed = idle_application('closed', 2, user => 'shop');
	eventually_pool('closed', 'capacity', 10, 'closed: a pool shares a limit');
	$closed->close;
	eventually_pool('closed', 'count(*)', 0, 'closed: it is closed');
	my $open = application('open', 9, "SELECT pg_sleep(0.3);\n", user => 'shop');
	eventually_pool('open', 'verdict', 'undersized', 'closed: another one uses all of it');
	eventually(sub { log_lines_of('open') == 1 }, 'closed: which is told of the other');
	is(log_lines_of('closed'), 0, 'closed: not of the one that is closed');
	$open->kill_kill(grace => 0);
	ask('ALTER ROLE shop CONNECTION LIMIT -1');
}

test_blocked();
test_masked();
test_blocked_under_limit();
test_retries();
test_prepared();
test_advisory();
test_turns();
test_nested();
test_probe();
test_keepalive();
test_words();
test_slow();
test_elsewhere();
test_terminate();
test_pair();
test_closed();
$listener->close;
$node->stop;

done_testing();
