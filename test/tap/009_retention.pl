# The history stays small: what is old or too much is deleted, in small batches, oldest first, and never a leak that is open.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;

use PostgreSQL::Test::Utils;
use Test::More;

my $batch = 1000;    # rows that one transaction deletes at most

my $node = new_node('retention', conf => 'pgleak.history_max_rows = 20');

sub ask { return $node->safe_psql('postgres', $_[0]); }

# Rows as if there had been leaks, whose numbers begin at $first; $ended_at is an expression.
sub insert_rows
{
	my ($count, $first, $ended_at) = @_;
	ask(qq{
		INSERT INTO pgleak.history (system_identifier, leak_id, pid, database, role, application_name, backend_start, state,
			clock, detected_at, leak_after, limit_source, ended_at, duration, outcome)
		SELECT system_identifier, $first + i, 0, 'd', 'r', 'a', now() - interval '9 days', 'idle in transaction',
			'idle', now() - interval '9 days', '1s', 'server', e, '1s', CASE WHEN e IS NOT NULL THEN 'committed' END
		FROM pg_control_system(), generate_series(1, $count) i, LATERAL (SELECT $ended_at) x(e)});
}

sub test_row_cap
{
	my $open = crowd($node, 5);
	$open->run([ 'BEGIN', 'SELECT 1' ]);
	eventually_is($node, 'SELECT count(*) FROM pgleak.history', 5, 'leaks are open');
	my $crowd = crowd($node, 30);
	$crowd->run([ 'BEGIN', 'SELECT 1' ]);
	eventually_is($node, 'SELECT count(*) FROM pgleak.leaks', 35, 'there are more leaks than history may have rows');
	# Those of one look have ended at the same time: the older half is seen to end before the newer one does.
	$crowd->run(['COMMIT'], to => 15, spread => 1);
	ask('SELECT pgleak.scan()');
	$crowd->run(['COMMIT'], from => 15, spread => 1);
	$crowd->close;

	eventually_is($node, 'SELECT count(*) FROM pgleak.history', 20, 'history is pruned to pgleak.history_max_rows');
	is(ask('SELECT count(*) FROM pgleak.history WHERE outcome IS NULL'), 5, 'open leaks are kept');
	my @kept = split /,/, ask(q(SELECT string_agg(pid::text, ',') FROM pgleak.history WHERE outcome IS NOT NULL));
	my %newest = map { $_ => 1 } @{ $crowd->{pids} }[ 15 .. 29 ];
	is(scalar(grep { !$newest{$_} } @kept), 0, 'the newest are kept');
	$open->close;
}

sub test_retention
{
	insert_rows(2500, -10_000, q(now() - interval '2 days'));
	insert_rows(10, -20_000, q(now() - interval '12 hours'));
	insert_rows(10, -30_000, 'NULL::timestamptz');
	ask(q{
		CREATE TABLE batches (rows bigint);
		CREATE FUNCTION count_batch() RETURNS trigger LANGUAGE plpgsql AS
			$$BEGIN INSERT INTO public.batches SELECT count(*) FROM gone HAVING count(*) > 0; RETURN NULL; END$$;
		CREATE TRIGGER count_batch AFTER DELETE ON pgleak.history REFERENCING OLD TABLE AS gone
			FOR EACH STATEMENT EXECUTE FUNCTION count_batch()});
	configure($node, 'pgleak.retention' => '1d', 'pgleak.history_max_rows' => 0);
	restart_recorder($node);

	my $by_age = q(SELECT count(*) FILTER (WHERE ended_at < now() - interval '1 day') || ' ' ||
		count(*) FILTER (WHERE ended_at >= now() - interval '1 day' AND leak_id < 0) || ' ' ||
		count(*) FILTER (WHERE ended_at IS NULL) FROM pgleak.history);
	eventually_is($node, $by_age, '0 10 10', 'rows older than pgleak.retention are deleted, younger and open ones kept');
	is(ask('SELECT sum(rows), count(*), max(rows) FROM batches'), "2500|3|$batch", "in batches of $batch rows");
}

sub test_short_retention
{
	my $open = leak($node);
	my $ended = leak($node);
	eventually_recorded($node, $ended, 'open', 'a leak is recorded');
	$ended->do('COMMIT');
	configure($node, 'pgleak.retention' => '1s');
	eventually_is($node, "SELECT count(*) FROM pgleak.history WHERE pid = $ended->{pid}", 0,
		'a retention of 1 s leaves nothing that has ended');
	eventually_recorded($node, $open, 'open', 'and all that is open');
	$_->close for $open, $ended;
}

test_row_cap();
test_retention();
test_short_retention();

is(ask('SELECT recorder_errors FROM pgleak.stats'), 0, 'nothing was an error');
$node->stop;
done_testing();
