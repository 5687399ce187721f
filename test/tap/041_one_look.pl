# One look: what the live views show of a session belongs together, however fast the session changes, and all views in one
# query show the same.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;
use PgleakActions;

use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('look', conf => <<'END');
pgleak.scan_interval = '10ms'
pgleak.idle_leak_after = 0
pgleak.transaction_leak_after = '10ms'
pgleak.act_on_superusers = on
END

my $tmp = $PostgreSQL::Test::Utils::tmp_check;

# A client that runs numbered statements in one transaction for as long as it is left alone: those with odd and those with
# even numbers have different query identifiers.
sub start_hammer
{
	my $script = "$tmp/hammer.sql";
	open my $file, '>', $script or die $!;
	print $file "SET application_name = 'hammer';\nBEGIN;\n";
	print $file $_ % 2 ? "SELECT $_;\n" : "SELECT $_, 0;\n" for 1 .. 1_000_000;
	close $file;
	my $client = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-f', $script ],
		'>', '/dev/null', '2>', '/dev/null');
	eventually_is($node, q(SELECT count(*) FROM pgleak.leaks WHERE application_name = 'hammer'), 1, 'the client leaks');
	return $client;
}

# Many looks at it, each at both views in one query; what is wrong with them, with the number of looks.
my $looks_function = q{
	CREATE FUNCTION looks(count int, OUT seen bigint, OUT states bigint, OUT moved bigint, OUT wrong text[])
	LANGUAGE plpgsql AS $$
	DECLARE
		l record;
		n bigint;
		last_n bigint;
		before bigint := 0;
		all_states text[] := '{}';
	BEGIN
		seen := 0; moved := 0; wrong := '{}';
		FOR i IN 1 .. count LOOP
			SELECT a.state, a.query, a.query_id, a.trail, a.idle_since, b.query AS again, b.trail AS trail_again,
				b.query_id AS query_id_again, b.state AS state_again, t.statement, t.state AS top_state
			INTO l
			FROM pgleak.leaks a FULL JOIN pgleak.leaks b USING (pid) FULL JOIN pgleak.top t USING (pid)
			WHERE coalesce(a.application_name, b.application_name, t.application) = 'hammer';
			CONTINUE WHEN NOT FOUND;
			seen := seen + 1;
			n := substring(l.query FROM '\d+');
			last_n := substring(l.trail -> -1 ->> 'query' FROM '\d+');
			moved := moved + (n > before)::int;
			before := n;
			IF NOT l.state = ANY (all_states) THEN all_states := all_states || l.state; END IF;
			IF (l.query, l.state, l.query_id, l.trail) IS DISTINCT FROM (l.again, l.state_again, l.query_id_again, l.trail_again) THEN
				wrong := wrong || format('two views: %s', l);
			ELSIF l.statement IS DISTINCT FROM pgleak.fit_text(l.query, 15)
				OR l.top_state IS DISTINCT FROM (CASE l.state WHEN 'active' THEN 'active' ELSE 'idle tx' END) THEN
				wrong := wrong || format('pgleak.top: %s', l);
			ELSIF l.state = 'idle in transaction' AND (last_n <> n OR l.idle_since IS NULL
				OR l.query_id IS DISTINCT FROM (l.trail -> -1 ->> 'query_id')::bigint) THEN
				wrong := wrong || format('idle: %s', l);
			-- Between its arrival and its start a statement is shown, but not yet in the trail.
			ELSIF l.state = 'active' AND (last_n NOT IN (n - 1, n) OR l.idle_since IS NOT NULL
				OR l.query_id <> (l.trail -> (CASE last_n WHEN n THEN -1 ELSE -2 END) ->> 'query_id')::bigint) THEN
				wrong := wrong || format('active: %s', l);
			ELSIF EXISTS (SELECT FROM jsonb_array_elements(l.trail) WITH ORDINALITY AS e(entry, place)
				WHERE place > 2 AND (substring(entry ->> 'query' FROM '\d+')::bigint <> last_n - jsonb_array_length(l.trail) + place
					OR (entry ->> 'omitted')::bigint <> substring(entry ->> 'query' FROM '\d+')::bigint - 2)
					OR place <= 2 AND (entry ->> 'query') <> (ARRAY['BEGIN', 'SELECT 1'])[place]) THEN
				wrong := wrong || format('trail: %s', l);
			END IF;
		END LOOP;
		states := cardinality(all_states);
	END $$};

sub test_consistency
{
	$node->safe_psql('postgres', $looks_function);
	my $client = start_hammer();
	my ($looks, $seen, $moved, $states, $wrong) = (0, 0, 0, 0, '');
	# Until it has been seen at enough different moments, which a busy machine may take a while for.
	eventually(sub {
			my @result = split /\|/, $node->safe_psql('postgres',
				'SELECT seen, moved, states, cardinality(wrong), wrong[1] FROM looks(300)');
			$looks += 300;
			$seen += $result[0];
			$moved += $result[1];
			$states = $result[2] if $result[2] > $states;
			$wrong ||= "$result[3] of them, as $result[4]" if $result[3];
			return $wrong || ($moved > 500 && $states == 2);
		}, 'the session was seen at many moments, idle and active');
	is($wrong, '', 'and always as one');
	note("$seen looks, $moved at another statement, $states states");
	is($seen, $looks, 'no look missed it');
	$client->kill_kill(grace => 0);
}

# Within one query the moment stays, a query later it has moved on.
sub test_one_moment
{
	my $session = wire($node);
	my $looker = wire($node);
	$session->do('BEGIN', 'SELECT 1');
	eventually_is($node, "SELECT count(*) FROM pgleak.leaks WHERE pid = $session->{pid}", 1, 'a leak');
	my $query = "SELECT query FROM pgleak.leaks WHERE pid = $session->{pid}";
	my $gate = wire($node);
	$gate->do('BEGIN', 'SELECT pg_advisory_xact_lock(1)');

	$looker->start("SELECT ($query), (SELECT count(*) FROM pg_advisory_lock(1)), ($query), (SELECT statement FROM pgleak.top WHERE pid = $session->{pid})");
	eventually_is($node, "SELECT wait_event FROM pg_stat_activity WHERE pid = $looker->{pid}", 'advisory', 'a query waits in mid-way');
	$session->do('SELECT 2');
	$gate->do('COMMIT');
	is($looker->read_answer, 'SELECT 1|1|SELECT 1|SELECT 1', 'all of a query is of the moment of its first look');
	is($looker->ask($query), 'SELECT 2', 'the next query looks again');

	# Queries in one another, in a transaction and in a cursor: each has a look of its own and leaves nothing behind.
	$looker->do(qq{CREATE FUNCTION nested() RETURNS text LANGUAGE plpgsql AS \$\$ BEGIN RETURN ($query); END \$\$});
	$looker->do('BEGIN ISOLATION LEVEL REPEATABLE READ');
	is($looker->ask("SELECT query, nested() FROM pgleak.leaks WHERE pid = $session->{pid} AND nested() = ($query)"),
		'SELECT 2|SELECT 2', 'a query in a query');
	$looker->do("DECLARE c CURSOR FOR $query");
	is($looker->ask('FETCH c'), 'SELECT 2', 'a cursor looks when it is fetched from');
	$looker->ask("SELECT count(*), 1 / (count(*) - 1) FROM pgleak.leaks WHERE pid = $session->{pid}");
	is($looker->{sqlstate}, '22012', 'a query that fails');
	$looker->do('ROLLBACK');
	$session->do('SELECT 3');
	is($looker->ask($query), 'SELECT 3', 'looks after all of these are new ones');
	$_->close for $session, $looker, $gate;
}

# A leak that is over is not shown with what its session does next, though the scanner may not have noticed.
sub test_over
{
	my $session = wire($node);
	$session->do('BEGIN', 'SELECT 1');
	eventually_is($node, "SELECT count(*) FROM pgleak.leaks WHERE pid = $session->{pid}", 1, 'a leak');
	stop_process(worker_pid($node, 'scanner'));
	my $shown = sub {
		return $node->safe_psql('postgres',
			"SELECT string_agg(concat_ws('|', state, query, trail -> -1 ->> 'query'), ',') FROM pgleak.leaks WHERE pid = $session->{pid}");
	};
	$session->do('SELECT 2');
	is($shown->(), 'idle in transaction|SELECT 2|SELECT 2', 'what it does in the same transaction is shown at once');
	$session->ask('SELECT 1 / pg_backend_pid() / 0 FROM pg_class');
	is($shown->(), 'idle in transaction (aborted)|SELECT 1 / pg_backend_pid() / 0 FROM pg_class|SELECT 1 / pg_backend_pid() / 0 FROM pg_class',
		'also that it has failed');
	$session->do('ROLLBACK', 'BEGIN', 'SELECT 3');
	is($shown->(), '', 'what it does in the next one is not');
	continue_process(worker_pid($node, 'scanner'));
	eventually_is($node, "SELECT query FROM pgleak.leaks WHERE pid = $session->{pid}", 'SELECT 3', 'until that is a leak itself');
	$session->close;
}

test_one_moment();
test_over();
test_consistency();

$node->stop;
done_testing();
