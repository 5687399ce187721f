# Tests: the tags of statements of any length, however they are sent, and those of pgleak.tags; which statement's tags a leak
# shows; that nobody inherits them, and where they appear.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;
use PgleakActions;
use PgleakActions::Wire qw(message parse bind_to execute sync);

use Test::More;

# The status array keeps the first 99 bytes of a statement.
my $node = new_node('tags', conf => <<'END');
pgleak.scan_interval = '50ms'
track_activity_query_size = 100
pgleak.blocking_leak_after = '1s'
END
$node->safe_psql('postgres', q{
	CREATE TABLE t (i integer PRIMARY KEY, v text);
	INSERT INTO t SELECT i FROM generate_series(1, 10) i;
	CREATE FUNCTION nested() RETURNS integer LANGUAGE plpgsql AS $$
	BEGIN
		EXECUTE 'SELECT 1 /*route=''/nested''*/';
		RETURN (SELECT count(*) /*route='/inside'*/ FROM t);
	END $$;
	CREATE PROCEDURE commit_between() LANGUAGE plpgsql AS $$
	BEGIN PERFORM 1; COMMIT; UPDATE t SET v = 'c' WHERE i = 10; PERFORM pg_sleep(600); END $$});

sub tagged { my ($statement, $route) = @_; return "$statement /*route='$route'*/"; }

# A statement of 10 kB with a tag at its end.
sub long_statement { my ($route) = @_; return tagged("SELECT '" . 'x' x 10_000 . "'", $route); }

sub route_query { my ($session) = @_; return "SELECT tags ->> 'route' FROM pgleak.leaks WHERE pid = $session->{pid}"; }

# Test: the session becomes a leak of this route.
sub has_route
{
	my ($session, $route, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return eventually_is($node, route_query($session), $route, $name);
}

sub converse
{
	my ($session, @messages) = @_;
	$session->send_raw(join '', @messages, sync());
	$session->read_answer;
	die "$session->{sqlstate} $session->{message}" if $session->{sqlstate};
	return;
}

sub test_ways_to_send
{
	my $session = wire($node);
	$session->do('BEGIN', long_statement('/simple'));
	has_route($session, '/simple', 'a statement of 10 kB, simple protocol');
	is($node->safe_psql('postgres', "SELECT length(query) FROM pgleak.leaks WHERE pid = $session->{pid}"),
		99, 'of which the status array has the beginning only');

	converse($session, parse('', long_statement('/unnamed')), bind_to('', ''), execute('', 0));
	has_route($session, '/unnamed', 'the unnamed statement of the extended protocol');

	converse($session, parse('named', long_statement('/named')), bind_to('', 'named'), execute('', 0));
	has_route($session, '/named', 'a named one');
	$session->do(tagged('SELECT 1', '/between'));
	has_route($session, '/between', 'another one');
	converse($session, bind_to('', 'named'), execute('', 0));
	has_route($session, '/named', 'the named one again: Bind and Execute alone');

	$session->do('PREPARE p AS SELECT 1 /*route=\'/prepare\'*/', 'SELECT 1');
	has_route($session, '/prepare', 'PREPARE');
	$session->do(tagged('EXECUTE p', '/execute'));
	has_route($session, '/execute', 'EXECUTE has its own');

	$session->do(tagged('DECLARE c CURSOR FOR SELECT i FROM t', '/cursor'), 'FETCH 2 FROM c', 'FETCH 2 FROM c', 'CLOSE c',
		'DEALLOCATE p', 'SHOW timezone', 'SELECT NULL', '/* ping */ SELECT 1');
	has_route($session, '/cursor', 'FETCH, CLOSE, DEALLOCATE, SHOW and keepalives leave them in place');

	$session->do(tagged('SELECT nested()', '/outer'), 'SELECT nested()');
	has_route($session, '/outer', 'statements of functions do not count');

	converse($session, parse('', tagged('SELECT i FROM t', '/portal')), bind_to('portal', ''), execute('portal', 2));
	converse($session, execute('portal', 2));
	has_route($session, '/portal', 'a portal fetched in parts');

	$session->do(tagged('COPY (SELECT 1) TO \'/dev/null\'', '/copy'), 'SAVEPOINT s');
	has_route($session, '/copy', 'COPY');
	$session->ask(tagged('SELECT 1 / (i - 4) FROM t', '/failed'));
	has_route($session, '/failed', 'a statement that fails');
	is($node->safe_psql('postgres', "SELECT state FROM pgleak.leaks WHERE pid = $session->{pid}"),
		'idle in transaction (aborted)', 'its block is aborted');
	$session->do('ROLLBACK', 'BEGIN');
	$session->ask(tagged('SELECT * FROM nowhere', '/nowhere'));
	has_route($session, '/nowhere', 'one that fails before it runs');
	$session->do('ROLLBACK');
	$session->close;
	return;
}

# The tags of one transaction are not those of the next, in the same message or in the same slot.
sub test_next_transaction
{
	my $session = wire($node);
	$session->do("BEGIN; SELECT 1; COMMIT; BEGIN; " . tagged('SELECT 2', '/both'));
	has_route($session, '/both', 'a message that spans two transactions speaks for both');
	$session->do('COMMIT', 'BEGIN', 'SELECT 3');
	has_route($session, '', 'the next transaction has none');
	$session->do('ROLLBACK');
	$session->close;

	$session = wire($node);
	$session->do('BEGIN');
	has_route($session, '', 'nor has the next session');
	$session->close;

	my $caller = wire($node);
	$caller->start(tagged('CALL commit_between()', '/call'));
	my $waiter = wire($node);
	eventually_is($node, "SELECT query LIKE '%CALL%' AND wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = $caller->{pid}", 't',
		'a procedure runs its second transaction');
	$waiter->start("UPDATE t SET v = 'w' WHERE i = 10");
	has_route($caller, '/call', 'whose tags are those of the call');
	$node->safe_psql('postgres', "SELECT pg_cancel_backend($caller->{pid})");
	$_->read_answer for $caller, $waiter;
	$_->close for $caller, $waiter;
	return;
}

# A session that is idle outside of a transaction, but holds a lock: the tags of the transaction that was its last.
sub test_between_transactions
{
	my $holder = wire($node);
	$holder->do(tagged('SELECT pg_advisory_lock(47)', '/lock'));
	my $waiter = wire($node);
	$waiter->start('SELECT pg_advisory_lock(47)');
	has_route($holder, '/lock', 'a session that holds a lock outside of transactions');
	is($node->safe_psql('postgres', "SELECT root_route FROM pgleak.waits WHERE root_pid = $holder->{pid}"), '/lock',
		'pgleak.waits names the route of the root');
	$holder->close;
	$waiter->read_answer;
	$waiter->close;
	return;
}

# For statements that nobody can add to.
sub test_setting
{
	my $session = wire($node, parameters => { options => "-c pgleak.tags=job='nightly',route='/options'" });
	$session->do('BEGIN');
	has_route($session, '/options', 'pgleak.tags in the options of the connection');
	converse($session, parse('set', 'SELECT set_config(\'pgleak.tags\', $1, true)'), bind_to('', 'set', "route='%2Fset'"), execute('', 0));
	has_route($session, '/set', 'set_config() with a parameter');
	$session->do('COMMIT', 'BEGIN');
	has_route($session, '/options', 'SET LOCAL ends with its transaction');
	$session->do('COMMIT');
	$session->do('BEGIN', q{SET LOCAL pgleak.tags = 'route=''/local'''});
	$session->ask('SELECT 1 / 0');
	has_route($session, '/local', 'but not with the error that leaves its block');
	$session->do('ROLLBACK');
	$session->close;
	return;
}

# A driver that asks every now and then whether the connection works does not make the application any busier.
sub test_keepalive
{
	configure($node, 'pgleak.idle_leak_after' => '3s');
	my ($leaking, $working) = map { wire($node) } 1, 2;
	$_->do('BEGIN', tagged('UPDATE t SET v = v WHERE i = ' . $_->{pid}, '/pay')) for $leaking, $working;
	my $is_leak = sub { $node->safe_psql('postgres', "SELECT count(*) FROM pgleak.leaks WHERE clock = 'idle' AND pid = $_[0]{pid}") };
	eventually(sub {
			$leaking->do('SELECT NULL');
			$working->do('SELECT count(*) FROM t');
			return $is_leak->($leaking);
		}, 'keepalives do not keep it from being a leak');
	is($is_leak->($working), 0, 'but reading a table does');
	is($node->safe_psql('postgres', route_query($leaking)), '/pay', 'with the route of its last work');
	is($node->safe_psql('postgres', "SELECT idle_for >= '3s' FROM pgleak.leaks WHERE pid = $leaking->{pid}"), 't', 'and its idle time');
	$_->close for $leaking, $working;
	configure($node, 'pgleak.idle_leak_after' => '200ms');
	return;
}

# A role that may not see a statement sees nothing that is part of it.
sub test_masking
{
	$node->safe_psql('postgres', 'CREATE ROLE reader');
	my $session = wire($node);
	$session->do('BEGIN', tagged('SELECT 1', '/masked'));
	has_route($session, '/masked', 'for a superuser');
	my %shown = (
		'pgleak.open_transactions()' => 'pgleak.open_transactions() is masked for others',
		'pgleak.leaks' => 'pgleak.leaks is masked for others',
		'pgleak.top' => 'pgleak.top is masked for others');
	for my $source (sort keys %shown)
	{
		my $query = "SELECT count(*) FROM $source o WHERE o::text LIKE '%/masked%'";
		is($node->safe_psql('postgres', "SET ROLE reader; $query"), 0, $shown{$source});
		is($node->safe_psql('postgres', $query), 1, 'and only for them');
	}
	$session->close;
	return;
}

# file:line in the log, the history and what groups it.
sub test_code
{
	my $mark = log_mark($node);
	my $session = wire($node);
	$session->do('BEGIN', "SELECT 1 /*code='app%2Forders.py%3A42%20get_orders',route='/orders'*/");
	my $is_it = "WHERE code = 'app/orders.py:42 get_orders'";
	eventually_is($node, "SELECT count(*) FROM pgleak.history $is_it", 1, 'the history has the code');
	is($node->safe_psql('postgres', "SELECT count(*) FROM pgleak.leaks $is_it"), 1, 'so has pgleak.leaks');
	is($node->safe_psql('postgres', "SELECT route, episodes FROM pgleak.offenders $is_it"), '/orders|1', 'and pgleak.offenders');
	ok(log_after($node, $mark) =~ m{session leak: .* route=/orders code="app/orders\.py:42 get_orders" }, 'and the log');
	$session->do('COMMIT');
	$session->close;

	configure($node, 'pgleak.log_query' => 'off');
	$session = wire($node);
	$session->do('BEGIN', "SELECT 1 /*code='app%2Fsecret.py%3A1',route='/secret'*/");
	eventually_is($node, "SELECT count(*) FROM pgleak.history WHERE code = 'app/secret.py:1'", 1, 'without pgleak.log_query');
	ok(log_after($node, $mark) !~ /secret/, 'the log has neither');
	$session->close;
	configure($node, 'pgleak.log_query' => undef);
	return;
}

test_ways_to_send();
test_next_transaction();
test_between_transactions();
test_setting();
test_keepalive();
test_masking();
test_code();
is($node->safe_psql('postgres', 'SELECT recorder_errors, last_error IS NULL FROM pgleak.stats'), '0|t', 'no error');
$node->stop;
done_testing;
