# Tests: the recorder notes who holds VACUUM back, and when nobody does; the samples are pruned; and whatever keeps it from
# writing one, leaks are recorded all the same. It takes a sample when it starts, so the tests restart it.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/lib";
use PgleakTest;
use PgleakActions;

use Test::More;

my $node = new_node('main', streaming => 1, conf => "wal_level = logical\nmax_prepared_transactions = 5\nautovacuum = off\npgleak.prepared_leak_after = 0\n");
$node->safe_psql('postgres', <<'END');
CREATE PROCEDURE burn(count integer) LANGUAGE plpgsql AS
	$$ BEGIN FOR i IN 1..count LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$;
END

sub ask { return ($_[1] // $node)->safe_psql('postgres', $_[0]); }

# Test: the sample that the recorder takes when it starts.
sub newest_is
{
	my ($columns, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ask('CALL burn(10)');
	my $before = ask('SELECT clock_timestamp()');
	restart_recorder($node);
	return eventually_is($node, "SELECT $columns FROM pgleak.horizon_samples WHERE taken_at > '$before' ORDER BY taken_at DESC LIMIT 1", $expected, $name);
}

sub test_holders
{
	newest_is('num_nulls(age_transactions, oldest_seconds, kind, holder)', 4, 'nobody: a row without a holder');
	my $session = wire($node, parameters => { application_name => 'shop' });
	$session->do('BEGIN', 'SELECT pg_current_xact_id()');
	newest_is(q(age_transactions >= 10, oldest_seconds >= 0, kind, regexp_replace(holder, '^pid [0-9]+', 'pid N') = 'pid N, shop, ' || current_user || '@postgres'),
		't|t|session|t', 'a session is named');
	is(ask(q(SELECT count(*) FROM pgleak.horizon_samples WHERE holder LIKE 'pid ) . $session->{pid} . q(,%')), '1', 'by its process');
	like(ask(q(SELECT pgleak.report('1 hour'))), qr/At its worst, .*: session <b>pid $session->{pid}, shop, /, 'and the report says so');
	$session->do('ROLLBACK', 'BEGIN', 'SELECT pg_current_xact_id()', q(PREPARE TRANSACTION 'forgotten'));
	newest_is('kind, holder', 'prepared transaction|forgotten', 'a prepared transaction by its gid');
	ask(q(ROLLBACK PREPARED 'forgotten'));
	ask(q(SELECT pg_create_logical_replication_slot('left_behind', 'test_decoding')));
	newest_is('kind, holder', 'replication slot|left_behind', 'a slot by its name');
	ask(q(SELECT pg_drop_replication_slot('left_behind')));
	$session->close;
}

sub test_pruning
{
	ask(q(INSERT INTO pgleak.horizon_samples (taken_at) SELECT now() - i * interval '1 minute' FROM generate_series(100, 2600) AS i));
	configure($node, 'pgleak.retention' => '1d');
	restart_recorder($node);
	eventually_is($node, q(SELECT count(*) FROM pgleak.horizon_samples WHERE taken_at < now() - interval '1 day'), 0, 'old samples are deleted');
	is(ask(q(SELECT count(*) > 1300 FROM pgleak.horizon_samples)), 't', 'younger ones are kept');
	configure($node, 'pgleak.history_max_rows' => 20);
	restart_recorder($node);
	eventually_is($node, 'SELECT count(*) <= 20 FROM pgleak.horizon_samples', 't', 'and what is too much');
	is(ask(q(SELECT max(taken_at) > now() - interval '1 minute' FROM pgleak.horizon_samples)), 't', 'but never the newest');
	configure($node, 'pgleak.retention' => undef, 'pgleak.history_max_rows' => undef);
}

sub test_refused
{
	is(ask('SELECT recorder_errors FROM pgleak.stats'), 0, 'nothing was an error');
	ask('ALTER TABLE pgleak.horizon_samples ADD CONSTRAINT refused CHECK (false) NOT VALID');
	restart_recorder($node);
	my $session = leak($node);
	eventually_recorded($node, $session, 'open', 'refused: a leak is recorded all the same');
	$session->do('COMMIT');
	eventually_recorded($node, $session, 'committed', 'refused: to its end');
	like(ask('SELECT last_error FROM pgleak.stats'), qr/violates check constraint "refused"/, 'refused: pgleak.stats says so');
	is(log_count($node, qr/could not write pgleak\.horizon_samples: .*refused/), 1, 'refused: so does the log, once');
	ask('ALTER TABLE pgleak.horizon_samples DROP CONSTRAINT refused');
	$session->close;

	my $locker = wire($node);
	$locker->do('BEGIN', 'LOCK pgleak.horizon_samples');
	restart_recorder($node);
	$session = leak($node);
	eventually_recorded($node, $session, 'open', 'locked: a leak is recorded all the same');
	$locker->do('ROLLBACK');
	$_->close for $session, $locker;
}

sub test_standby
{
	$node->backup('copy');
	my $standby = empty_node('replica');
	$standby->init_from_backup($node, 'copy', has_streaming => 1);
	$standby->start;
	$node->wait_for_catchup($standby);
	my $count = 'SELECT count(*) FROM pgleak.horizon_samples';
	is(ask($count, $standby), ask($count), 'a standby shows the samples of its primary');
	like(ask(q(SELECT pgleak.report('1 hour')), $standby), qr/<rect class="horizon"/, 'and draws them');
	$node->stop;
	$standby->promote;
	my $before = ask($count, $standby);
	eventually_is($standby, "SELECT ($count) > $before", 't', 'after its promotion it takes its own');
	is(ask('SELECT recorder_errors FROM pgleak.stats', $standby), 0, 'without an error');
	$standby->stop;
}

test_holders();
test_pruning();
test_refused();
test_standby();
done_testing();
