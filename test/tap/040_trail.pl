# The trail as sql/trail.sql cannot test it: statements of the extended protocol, other sizes of it, text that is cut or
# invalid in any encoding, and sessions that follow one another in the same slot.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;
use PgleakActions;
use PgleakActions::Wire qw(message parse bind_to execute sync);

use POSIX qw(ceil);
use Test::More;

my $node = new_node('trail', conf => "pgleak.scan_interval = '50ms'");

$node->safe_psql('postgres', q{
	CREATE TABLE t (i int PRIMARY KEY);
	INSERT INTO t SELECT generate_series(1, 10);
	CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
	DECLARE r record;
	BEGIN
		FOR r IN SELECT i FROM t LOOP PERFORM 1; END LOOP;
		RETURN 1;
	END $$;
	CREATE FUNCTION same_text() RETURNS SETOF int LANGUAGE plpgsql AS $$
	DECLARE c refcursor := 'c'; n int;
	BEGIN
		OPEN c FOR SELECT 1; FETCH c INTO n; RETURN NEXT n; CLOSE c;
	END $$;
	CREATE PROCEDURE commit_between() LANGUAGE plpgsql AS $$
	BEGIN PERFORM 1; COMMIT; PERFORM 2; END $$});

# The statements of a session's trail, each on a line.
sub trail_query
{
	my ($view, $session) = @_;
	return qq{SELECT string_agg(e ->> 'query', E'\\n' ORDER BY n)
		FROM (SELECT trail FROM pgleak.$view WHERE pid = $session->{pid} ORDER BY leak_id DESC LIMIT 1) AS last,
			jsonb_array_elements(trail) WITH ORDINALITY AS t(e, n)};
}

# Test: the session's trail comes to be these statements, live and, when it has committed, in the history. $outcomes are
# those of all its episodes.
sub has_trail
{
	my ($session, $expected, $name, $outcomes) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	eventually_is($node, trail_query('leaks', $session), join("\n", @$expected), $name);
	$session->ask('COMMIT');
	eventually_recorded($node, $session, $outcomes // 'committed', "$name: the episode ends");
	is($node->safe_psql('postgres', trail_query('history', $session)), join("\n", @$expected, 'COMMIT'),
		"$name: the history has all of it");
	$session->close;
}

# Sends messages of the extended protocol; dies if the server does not like them.
sub converse
{
	my ($session, @messages) = @_;
	$session->send_raw(join '', @messages, sync());
	my $rows = $session->read_answer;
	die "$session->{sqlstate} $session->{message}" if $session->{sqlstate};
	return $rows;
}

sub test_extended_protocol
{
	my $session = wire($node, extended => 1);
	$session->do('BEGIN', 'SELECT 1', 'INSERT INTO t VALUES (11)', 'DELETE FROM t WHERE i = 11 RETURNING i');
	$session->ask('SELECT i FROM t WHERE i = $1::int', 3);
	has_trail($session, [ 'BEGIN', 'SELECT 1', 'INSERT INTO t VALUES (11)', 'DELETE FROM t WHERE i = 11 RETURNING i',
			'SELECT i FROM t WHERE i = $1::int' ], 'the unnamed statement');
}

sub test_named_statements
{
	my $session = wire($node);
	converse($session, parse('begin', 'BEGIN'), parse('select', 'SELECT i, f() FROM t WHERE i > $1::int ORDER BY i'),
		parse('insert', 'INSERT INTO t VALUES ($1::int)'), parse('commit', 'COMMIT'));
	# The second round is the one that a driver lives in: Bind and Execute alone.
	for my $round (1, 2)
	{
		converse($session, bind_to('', 'begin'), execute('', 0));
		converse($session, bind_to('', 'select', 8), execute('', 0));
		converse($session, bind_to('', 'insert', 20 + $round), execute('', 0));
		converse($session, bind_to('', 'commit'), execute('', 0)) if $round == 1;
	}
	has_trail($session, [ 'BEGIN', 'SELECT i, f() FROM t WHERE i > $1::int ORDER BY i',
			'INSERT INTO t VALUES ($1::int)' ], 'named statements, run again');
}

sub test_portals
{
	my $session = wire($node);
	$session->do('BEGIN');
	# Each kind of portal, fetched from in pieces; with and without a name of its own.
	converse($session, parse('', 'SELECT i FROM t ORDER BY i'), bind_to('p', ''));
	is(converse($session, execute('p', 2)), "1\n2", 'two rows of a portal');
	is(converse($session, execute('p', 2)), "3\n4", 'the next two');
	converse($session, parse('s', 'UPDATE t SET i = -i WHERE i < 4 RETURNING i'), bind_to('q', 's'));
	converse($session, execute('q', 1));
	converse($session, execute('q', 0));
	converse($session, parse('', 'SELECT same_text()'), bind_to('r', ''), execute('r', 0));
	converse($session, parse('', 'DECLARE c CURSOR FOR SELECT 5'), bind_to('', ''), execute('', 0));
	converse($session, parse('', 'FETCH ALL FROM c'), bind_to('named', ''), execute('named', 0));
	converse($session, parse('', 'DECLARE d CURSOR FOR SELECT 6'), bind_to('another', ''), execute('another', 0));
	has_trail($session, [ 'BEGIN', 'SELECT i FROM t ORDER BY i', 'UPDATE t SET i = -i WHERE i < 4 RETURNING i',
			'SELECT same_text()', 'DECLARE c CURSOR FOR SELECT 5', 'FETCH ALL FROM c', 'DECLARE d CURSOR FOR SELECT 6' ],
		'portals are entered once');
}

sub test_pipeline
{
	my $session = wire($node);
	converse($session, map { (parse('', $_), bind_to('', ''), execute('', 0)) } 'BEGIN', 'SELECT 1', 'SELECT 2');
	has_trail($session, [ 'BEGIN', 'SELECT 1', 'SELECT 2' ], 'a pipeline');
}

# An error in the extended protocol: the statement was bound, so it is in.
sub test_failure
{
	my $session = wire($node, extended => 1);
	$session->do('BEGIN');
	$session->ask('SELECT 1 / (i - 4) FROM t');
	is($session->{sqlstate}, '22012', 'a statement fails');
	$session->ask('SELECT 1');
	is($session->{sqlstate}, '25P02', 'the next is ignored');
	eventually_is($node, trail_query('leaks', $session), "BEGIN\nSELECT 1 / (i - 4) FROM t",
		'the failed statement is in the trail, the ignored one is not');
	$session->do('ROLLBACK', 'BEGIN', 'SELECT 2');
	has_trail($session, [ 'BEGIN', 'SELECT 2' ], 'what follows an aborted transaction has a trail of its own',
		'rolled back committed');
}

# A transaction in the middle of a procedure has no statement of the client's of its own.
sub test_procedure
{
	my $session = wire($node);
	$session->do('CALL commit_between()', 'BEGIN', 'SELECT 3');
	has_trail($session, [ 'BEGIN', 'SELECT 3' ], 'after a procedure with transactions of its own');
}

# The slot of a session that has gone is another's; he sees nothing of it.
sub test_next_session
{
	for my $round (1 .. 3)
	{
		my $session = wire($node);
		$session->do('BEGIN', "SELECT $round");
		has_trail($session, [ 'BEGIN', "SELECT $round" ], "session $round");
	}
}

# Every way to cut a text, and bytes that are none: the recorder takes no harm.
sub test_bytes
{
	my %characters = (utf8 => "\xF0\x9F\x92\xA7", euc_jp => "\x8F\xB0\xA1", latin1 => "\xDF", sql_ascii => "\xE2\x82\xAC");
	for my $encoding (sort keys %characters)
	{
		$node->safe_psql('postgres',
			"CREATE DATABASE $encoding TEMPLATE template0 ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C'");
		my $session = wire($node, dbname => $encoding);
		$session->do("SET client_encoding = '$encoding'", 'BEGIN',
			map { "SELECT '" . 'x' x $_ . $characters{$encoding} x 60 . "'" } 0 .. 3);
		$session->do("SELECT '\xFF\xC0\xAF\xED\xA0\x80'") if $encoding eq 'sql_ascii';
		eventually_is($node, "SELECT max(octet_length(e ->> 'query')) > 100 FROM pgleak.leaks, jsonb_array_elements(trail - 0) AS e
				WHERE pid = $session->{pid}", 't', "statements in $encoding are shown");
		$session->do('COMMIT');
		eventually_recorded($node, $session, 'committed', "and recorded");
		is($node->safe_psql('postgres', "SELECT jsonb_array_length(trail) FROM pgleak.history WHERE pid = $session->{pid}"),
			$encoding eq 'sql_ascii' ? 7 : 6, 'as many as there were');
		$session->close;
	}
	is($node->safe_psql('postgres', 'SELECT recorder_errors, last_error IS NULL FROM pgleak.stats'), '0|t', 'no error');
}

sub restart_with
{
	my ($size) = @_;
	# Other settings have other values too, for the formula of the memory.
	$node->append_conf('postgresql.conf', "pgleak.trail_size = $size\npgleak.max_pools = " . 100 * (1 + $size));
	$node->restart;
	eventually_recording($node, "recording with a trail of $size");
	test_memory();
}

sub test_sizes
{
	for my $size (1, 32)
	{
		restart_with($size);
		my $session = wire($node);
		$session->do('BEGIN', map { "SELECT '$_" . 'x' x 200 . "'" } 1 .. 40);
		# The first two stay, if there is room for more.
		my @first = $size > 2 ? ('BEGIN', 1) : ();
		my $last = join "\n", map { /BEGIN/ ? $_ : substr "SELECT '$_" . 'x' x 200, 0, 128 } @first,
			41 - ($size - @first) .. 40;
		eventually_is($node, trail_query('leaks', $session), $last, "the first two and the last, $size in all");
		$session->close;
		eventually_recorded($node, $session, 'disconnected', "the episode ends");
		is($node->safe_psql('postgres', trail_query('history', $session)), $last, "the history has the same $size");
	}
}

sub test_none
{
	restart_with(0);
	my $session = wire($node);
	$session->do('BEGIN', 'SELECT 1');
	eventually_is($node, "SELECT trail IS NULL FROM pgleak.leaks WHERE pid = $session->{pid}", 't', 'without a trail');
	$session->do('COMMIT');
	eventually_recorded($node, $session, 'committed', 'it is recorded');
	is($node->safe_psql('postgres', "SELECT trail IS NULL FROM pgleak.history WHERE pid = $session->{pid}"), 't',
		'without a trail');
	is($node->safe_psql('postgres', "SELECT count(*) FROM pg_shmem_allocations WHERE name = 'pgleak trails'"), 0,
		'and takes no memory');
	# The guard of COMMIT is at the same hook.
	$session->do('BEGIN');
	eventually_is($node, "SELECT pgleak.cancel(pid) FROM pgleak.leaks WHERE pid = $session->{pid}", 't', 'rolled back in place');
	$session->ask('COMMIT');
	is($session->{sqlstate}, '40000', 'COMMIT still fails');
	$session->close;
}

# The formula of doc/operation.md holds within a hundredth, with various settings.
sub test_memory
{
	my $slots = $node->safe_psql('postgres', q{SELECT sum(setting::int) + 1 FROM pg_settings WHERE name IN
		('max_connections', 'max_worker_processes', 'max_wal_senders', CASE WHEN EXISTS (SELECT FROM pg_settings
		WHERE name = 'autovacuum_worker_slots') THEN 'autovacuum_worker_slots' ELSE 'autovacuum_max_workers' END)});
	my %setting = map { $_ => $node->safe_psql('postgres', "SELECT setting FROM pg_settings WHERE name = '$_'") }
		qw(pgleak.trail_size pgleak.queue_size pgleak.max_pools track_activity_query_size);
	my $trail_size = $setting{'pgleak.trail_size'};
	my $trail = $trail_size ? 128 * ceil((72 + 368 * $trail_size) / 128) : 0;
	my $computed = 287_000 + 1928 * $setting{'pgleak.max_pools'} + $slots * (4896 + $trail) +
		$setting{'pgleak.queue_size'} * (2872 + $setting{track_activity_query_size} + 184 * $trail_size);
	my $taken = $node->safe_psql('postgres', "SELECT sum(allocated_size) FROM pg_shmem_allocations WHERE name LIKE 'pgleak %'");
	cmp_ok(abs($taken / $computed - 1), '<', 0.01, "$taken bytes of shared memory for a trail of $trail_size, as doc/operation.md says");
}

test_extended_protocol();
test_named_statements();
test_portals();
test_pipeline();
test_failure();
test_procedure();
test_next_session();
test_bytes();
test_memory();
test_sizes();
test_none();

$node->stop;
done_testing();
