# pgleak.idle_times on real sessions: what counts as an idle time, that each is counted once and for the right pool, also when its
# session has ended or has changed its name; restarts, reset, and who may see what. What pgleak.choose_limits() says of it.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;
use PgleakActions;
use PgleakActions::Wire qw(parse bind_to execute sync);

use Test::More;
use Time::HiRes qw(usleep);

my $node = new_node('idle', conf => "pgleak.scan_interval = '50ms'\npgleak.idle_leak_after = 0\n");

sub ask { return $node->safe_psql('postgres', $_[0]); }

# A session of an application. %options as for wire().
sub client
{
	my ($application, %options) = @_;
	return wire($node, %options, parameters => { application_name => $application, %{ $options{parameters} // {} } });
}

sub pool { return ask("SELECT $_[1] FROM pgleak.idle_times WHERE application_name = '$_[0]'"); }

sub eventually_pool
{
	my ($application, $columns, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return eventually_is($node, "SELECT $columns FROM pgleak.idle_times WHERE application_name = '$application'", $expected, $name);
}

# A transaction of two idle times.
sub transact { $_[0]->do('BEGIN', 'SELECT 1', 'COMMIT') for 1 .. $_[1] // 1; }

sub pause { usleep(1000 * $_[0]); }

sub converse
{
	my ($session, @messages) = @_;
	$session->send_raw(join '', @messages, sync());
	$session->read_answer;
	die "$session->{sqlstate} $session->{message}" if $session->{sqlstate};
}

sub test_a_known_time
{
	my $shop = client('shop');
	eventually_pool('shop', q(count, total, p50, p99, max, since < now()), '0|||||t', 'a pool without idle times has no statistics');
	$shop->do('BEGIN');
	pause(1200);
	is(pool('shop', 'count'), 0, 'an idle time is not counted before it ends');
	$shop->do('SELECT 1', 'COMMIT');
	eventually_pool('shop', q(count, max >= '1.2s' AND max < '60s', total > max), '2|t|t', 'then it is, with the one before COMMIT');
	is(pool('shop', q(p50 < p95 AND p95 <= p99 AND p99 <= max AND p99 > '0.6s')), 't', 'percentiles');
	is(pool('shop', 'busy_share > 0 AND busy_share <= 1'), 't', 'and the share of the time in use');
	pause(300);
	$shop->do('SELECT 1', 'SELECT 1');
	transact($shop);
	eventually_pool('shop', 'count', 4, 'idle times outside of a transaction do not count');
	$shop->close;
	is(pool('shop', 'count'), 4, 'a pool without sessions is still known');
}

sub test_failures
{
	my $session = client('failing');
	$session->do('BEGIN');
	pause(400);
	$session->ask('SELEC 1');
	is($session->{sqlstate}, '42601', 'a statement fails before it starts');
	eventually_pool('failing', q(count, max >= '0.4s'), '1|t', 'the idle time before it is counted');
	$session->do('ROLLBACK');
	eventually_pool('failing', 'count', 2, 'and the one in the aborted block');
	$session->do('BEGIN', 'SAVEPOINT a');
	$session->ask('SELECT 1 / (i - 1) FROM generate_series(1, 2) i');
	$session->do('ROLLBACK TO a', 'COMMIT');
	eventually_pool('failing', 'count', 6, 'as with a savepoint');
	$session->close;
}

sub test_extended_protocol
{
	my $session = client('driver', extended => 1);
	transact($session);
	eventually_pool('driver', 'count', 2, 'the extended protocol');
	$session->do('BEGIN');
	converse($session, parse('', 'SELECT generate_series(1, 10)'), bind_to('p', ''));
	converse($session, execute('p', 2));
	pause(300);
	converse($session, execute('p', 2)) for 1 .. 3;
	$session->do('COMMIT');
	eventually_pool('driver', q(count, max >= '0.3s' AND total < '20s'), '7|t', 'a result fetched in parts has an idle time for each part');
	$session->do('BEGIN', 'DECLARE c CURSOR FOR SELECT generate_series(1, 10)', 'FETCH 2 FROM c', 'FETCH 2 FROM c', 'COMMIT');
	eventually_pool('driver', 'count', 11, 'and so has a cursor');
	converse($session, map { (parse('', $_), bind_to('', ''), execute('', 0)) } 'BEGIN', 'SELECT 1', 'SELECT 2');
	$session->do('COMMIT');
	eventually_pool('driver', 'count', 12, 'a pipeline is not idle inside');
	$session->do('CREATE FUNCTION many() RETURNS int LANGUAGE plpgsql AS $$ BEGIN FOR i IN 1 .. 5 LOOP PERFORM i; END LOOP; RETURN 1; END $$');
	$session->do('BEGIN', 'SELECT many()', 'COMMIT');
	eventually_pool('driver', 'count', 14, 'nor is a function');
	$session->close;
}

# A transaction that begins after the server has added the idle times before it to its statistics, which it does at the end of a
# transaction that has read a table, once a second at most.
sub test_reported_sum
{
	my $session = client('reported');
	$session->do('BEGIN');
	pause(1200);
	$session->do('SELECT count(*) FROM pg_class', 'COMMIT');
	eventually_pool('reported', q(count, total >= '1.2s'), '2|t', 'an idle time');
	ask('SELECT pgleak.reset()');
	eventually_pool('reported', 'count', '0', 'is forgotten');
	$session->do('BEGIN');
	pause(1500);
	$session->do('COMMIT');
	eventually_pool('reported', q(count, max >= '1.5s'), '1|t', 'the next one counts in full');
	$session->close;
}

# Sessions of two applications take turns in the same slot, each gone before the next sample.
sub test_short_sessions
{
	my @keepers = map { client($_) } 'brief', 'hasty';
	eventually_pool($_, 'count', 0, "$_ is known") for 'brief', 'hasty';
	for my $round (1 .. 15)
	{
		for my $application ('brief', 'hasty')
		{
			my $session = client($application);
			$session->do('BEGIN');
			pause(20) if $application eq 'hasty';
			$session->do('COMMIT');
			$session->close;
		}
	}
	eventually_pool('brief', 'count', 15, 'the idle times of short sessions are counted when they have ended');
	eventually_pool('hasty', q(count, total >= '0.3s', p50 >= '10ms'), '15|t|t', 'each for its own pool');
	cmp_ok(pool('brief', 'extract(epoch FROM p50)'), '<', pool('hasty', 'extract(epoch FROM p50)'), 'and for no other');
	$_->close for @keepers;
	client("unseen $_")->close for 1 .. 3;
}

# One session changes its pool.
sub test_names
{
	my @keepers = map { client($_) } 'left', 'right', 'third';
	eventually_pool($_, 'count', 0, "$_ is known") for 'left', 'right', 'third';
	my $session = client('left');
	for my $round (1 .. 10)
	{
		$session->do(q(SET application_name = 'left'));
		transact($session);
		$session->do(q(SET application_name = 'right'));
		transact($session, 2);
	}
	eventually_pool('left', 'count', 20, 'SET application_name changes the pool');
	eventually_pool('right', 'count', 40, 'and so it does back');
	$session->do('RESET application_name');
	transact($session);
	eventually_pool('left', 'count', 22, 'RESET');
	$session->do(q(SELECT set_config('application_name', 'right', false)));
	transact($session);
	eventually_pool('right', 'count', 42, 'set_config()');
	$session->do('BEGIN', q(SET LOCAL application_name = 'third'), 'SELECT 1', 'ROLLBACK');
	transact($session);
	eventually_pool('third', 'count', 2, 'SET LOCAL');
	eventually_pool('right', 'count', 45, 'and its end');
	$session->do('DISCARD ALL');
	transact($session);
	eventually_pool('left', 'count', 24, 'DISCARD ALL');

	# A name for each transaction, faster than samples are taken: some lose their pool, none gets another one.
	my %before = map { $_ => pool($_, 'count') } 'left', 'right', 'third';
	my $all = q(SELECT max(count) FILTER (WHERE scope = 'server'), sum(count) FILTER (WHERE scope <> 'server') FROM pgleak.idle_times);
	my ($server) = split /\|/, ask($all);
	for my $round (1 .. 30)
	{
		for my $name ('left', 'right', 'third')
		{
			$session->do("SET application_name = '$name'");
			transact($session);
		}
	}
	$server += 180;
	eventually_is($node, $all, "$server|$server", 'no idle time is lost or counted twice');
	cmp_ok(pool($_, 'count'), '<=', $before{$_} + 60, "$_ has none of another pool") for 'left', 'right', 'third';
	cmp_ok(pool('left', 'count'), '>', $before{left}, 'but some of its own');
	$_->close for @keepers, $session;
}

sub test_restart_of_the_scanner
{
	my $session = client('lasting');
	transact($session, 3);
	eventually_pool('lasting', 'count', 6, 'a pool has idle times');
	my $since = pool('lasting', 'since');
	my $old = worker_pid($node, 'scanner');
	ask("SELECT pg_terminate_backend($old)");
	eventually(sub { my $new = worker_pid($node, 'scanner'); $new ne '' && $new ne $old }, 'the scanner is restarted');
	ask('SELECT pgleak.scan()');
	transact($session);
	eventually_pool('lasting', 'count', 8, 'the next one goes on with them');
	is(pool('lasting', 'since'), $since, 'counted since the same time');
	$session->close;
}

sub test_masking
{
	ask('CREATE ROLE ordinary LOGIN; CREATE ROLE other LOGIN; CREATE ROLE colleague LOGIN IN ROLE other; CREATE ROLE statistics LOGIN IN ROLE pg_read_all_stats');
	my $masked = client('masked', user => 'other');
	transact($masked);
	eventually_pool('masked', 'count', 2, 'a pool of another role has idle times');
	my %role = map { $_ => session($node, user => $_) } qw(ordinary other colleague statistics);
	my $visible = q(SELECT string_agg(key, ' ' ORDER BY key COLLATE "C") FROM pgleak.idle_times p, jsonb_each_text(to_jsonb(p)) WHERE value IS NOT NULL AND p.%s);
	my $of_pool = sprintf $visible, q(application_name = 'masked');
	is($role{ordinary}->ask($of_pool), 'application_name database role scope', 'an ordinary role sees that it is there');
	is($role{ordinary}->ask(sprintf $visible, q(scope = 'server')), 'scope', 'the same of the server');
	like($role{$_}->ask($of_pool), qr/count database max p50 p95 p99 role scope since total/, "$_ sees all") for qw(other colleague statistics);
	like($role{statistics}->ask(sprintf $visible, q(scope = 'server')), qr/count max p50/, 'who reads all statistics sees all of the server');
	$role{ordinary}->ask('SELECT * FROM pgleak.choose_limits()');
	like($role{ordinary}{error}, qr/permission denied for function choose_limits/, 'limits are chosen by those who see all');
	$_->close for values %role, $masked;
}

sub advice { return ask("SELECT suggested_value, reason FROM pgleak.choose_limits() WHERE setting = 'pgleak.$_[0]'"); }

sub test_choose_limits
{
	ask('SELECT pgleak.reset()');
	eventually_is($node, q(SELECT sum(count), count(max), bool_and(since > now() - interval '10s') FROM pgleak.idle_times WHERE scope <> 'server'),
		'0|0|t', 'pgleak.reset() forgets all idle times');
	my $shop = client('shop');
	transact($shop, 6);
	eventually_pool('shop', 'count', 12, 'a pool has twelve');
	is(ask('SELECT count(*), count(suggested_value) FROM pgleak.choose_limits()'), '9|0', 'too few to suggest a limit');
	like(advice('idle_leak_after'), qr/^\|only 12 idle times were seen in \d+s, too few to choose from: come back after 100$/, 'which it says');
	transact($shop, 70);
	$shop->do('BEGIN');
	pause(2000);
	$shop->do('COMMIT');
	eventually_pool('shop', 'count', 153, 'later it has enough');
	like(advice('idle_leak_after'), qr/^(10s|\d\ds)\|the longest regular one of 153 idle times in 1 pool was [\d.]+s, in "shop"$/,
		'a limit above its longest idle time is suggested');
	like(advice('idle_cancel_after'), qr/^\|idle times were counted for \d+s only: come back after a day, because/, 'but no action yet');
	like(advice('transaction_leak_after'), qr/^\|idle times do not tell how long transactions take/, 'and none that they do not support');
	configure($node, 'pgleak.blocking_leak_after' => '1s');
	eventually(sub { advice('blocking_leak_after') =~ /^\d+s\|the longest regular one .*; others may wait as long as a session is idle$/ },
		'a limit that is too short is found');
	is(ask(q(SELECT string_agg(current_value, ',') FROM pgleak.choose_limits() WHERE setting LIKE '%leak_after')), '0,0,1s', 'current values');
	configure($node, 'pgleak.blocking_leak_after' => undef);

	# A rule, or the sessions' own setting.
	ask(q(INSERT INTO pgleak.rules (application_name, idle_leak_after) VALUES ('sh%', '1h')));
	eventually(sub { advice('idle_leak_after') =~ /^\|rules or settings of their own keep this limit away from all pools/ }, 'a pool with a rule does not count');
	like(advice('blocking_leak_after'), qr/^\|idle times do not tell/, 'but for other limits');
	ask('DELETE FROM pgleak.rules');
	eventually(sub { advice('idle_leak_after') =~ /^1\ds\|the longest/ }, 'without the rule it counts again');
	my $own = client('shop', parameters => { options => q(-c pgleak.idle_leak_after=1h) });
	eventually(sub { advice('idle_leak_after') =~ /keep this limit away/ }, 'a pool with a setting of its own does not');
	$_->close for $own, $shop;
}

test_a_known_time();
test_failures();
test_extended_protocol();
test_reported_sum();
test_short_sessions();
test_names();
test_restart_of_the_scanner();
test_masking();
test_choose_limits();

# A restart of the server; then without.
my $last = client('last');
transact($last);
$last->close;
$node->restart;
eventually_is($node, q(SELECT sum(count) FROM pgleak.idle_times), 0, 'a restarted server begins anew');
isnt(ask(q(SELECT sum(allocated_size) FROM pg_shmem_allocations WHERE name = 'pgleak idle times')), '', 'with its memory');
$node->append_conf('postgresql.conf', 'pgleak.track_idle_times = off');
$node->restart;
my $session = client('untracked');
transact($session, 100);
ask('SELECT pgleak.scan()');
is(ask('SELECT count(*) FROM pgleak.idle_times'), 0, 'switched off, nothing is counted');
is(ask(q(SELECT sum(allocated_size) FROM pg_shmem_allocations WHERE name = 'pgleak idle times')), '', 'and takes no memory');
is(ask('SELECT DISTINCT suggested_value, reason FROM pgleak.choose_limits()'), '|pgleak.track_idle_times is off', 'and there is no advice');
is(ask('SELECT pgleak.reset()'), '', 'nothing to reset');
$session->close;

$node->stop;
done_testing();
