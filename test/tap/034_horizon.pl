# Tests: pgleak.horizon names everything that holds back VACUUM or keeps WAL, the oldest first, and what ends it: sessions,
# prepared transactions, slots, standbys and background workers, on a primary and on a standby. What VACUUM itself removes is
# the measure of the truth.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/lib";
use PgleakTest;
use PgleakActions;

use Test::More;

my $node = new_node('main', streaming => 1, conf => <<'END');
wal_level = logical
max_prepared_transactions = 5
max_replication_slots = 5
autovacuum = off
END
$node->safe_psql('postgres', <<'END');
CREATE TABLE account (id integer, amount integer);
INSERT INTO account SELECT i, 100 FROM generate_series(1, 5000) AS i;
CREATE TABLE flushed (id integer);
CREATE ROLE ordinary LOGIN;
CREATE DATABASE elsewhere;
CREATE PROCEDURE burn(count integer) LANGUAGE plpgsql AS
	$$ BEGIN FOR i IN 1..count LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$;
END

# Helpers ---------------------------------------------------------------------------------------------------------------

# Assigns transaction ids. The server does not hurry to write of those that changed nothing, so the last one does.
sub burn { my ($count) = @_; return $node->safe_psql('postgres', "CALL burn($count); INSERT INTO flushed VALUES (1)"); }

sub named { my ($name, %options) = @_; return wire($options{node} // $node, %options, parameters => { application_name => $name }); }

# What the view shows, but for the recorder, which takes a sample once a minute.
sub horizon
{
	my ($columns, %options) = @_;
	my $where = " WHERE backend_type IS DISTINCT FROM 'pgleak recorder'" . ($options{where} ? " AND ($options{where})" : '');
	return ($options{node} // $node)->safe_psql($options{dbname} // 'postgres', "SELECT $columns FROM pgleak.horizon$where",
		$options{user} ? (extra_params => [ '-U', $options{user} ]) : ());
}

# Test: what the view shows comes to be as expected.
sub eventually_shows
{
	my ($columns, $expected, $name, %options) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $where = $options{where} ? " WHERE $options{where}" : '';
	return eventually_is($options{node} // $node, "SELECT $columns FROM pgleak.horizon$where", $expected, $name);
}

sub eventually_nobody
{
	my ($name, @options) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return eventually_shows('count(*)', '0', $name, where => 'is_oldest', @options);
}

# Number of dead rows that VACUUM has to keep.
sub kept_by_vacuum
{
	my ($table) = @_;
	my ($out, $err);
	$node->psql('postgres', "VACUUM (VERBOSE) $table", stderr => \$err);
	return $err =~ /(\d+) are dead but not yet removable/ ? $1 : "unknown: $err";
}

# Types what the view says.
sub follow_remedy
{
	my ($where, $dbname) = @_;
	return $node->safe_psql($dbname // 'postgres', horizon('remedy', where => $where));
}

sub finish { for my $session (@_) { $session->read_answer if $session->has_answer; $session->close; } }

# Sessions --------------------------------------------------------------------------------------------------------------

sub test_sessions
{
	eventually_nobody('nobody holds anything');
	my ($writer, $reader, $other) = (named('writer'), named('reader'), named('other', dbname => 'elsewhere'));
	$other->do('BEGIN', 'SELECT pg_current_xact_id()');
	burn(10);
	$writer->do('BEGIN', 'SELECT pg_current_xact_id()');
	burn(10);
	$reader->do('BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT 1');
	burn(10);
	my $columns = 'kind, database, pid, application_name, role = current_user, backend_type, state, holds, is_oldest, remedy';
	my $row = 'client backend|idle in transaction|tables, catalogs';
	is(horizon($columns), join("\n",
		"session|elsewhere|$other->{pid}|other|t|$row|t|SELECT pgleak.cancel($other->{pid})",
		"session|postgres|$reader->{pid}|reader|t|$row|t|SELECT pgleak.cancel($reader->{pid})",
		"session|postgres|$writer->{pid}|writer|t|$row|f|SELECT pgleak.cancel($writer->{pid})"),
		'the oldest first: a session of another database; a reader with the snapshot of a time when that one ran; a writer');
	is($node->safe_psql('postgres', <<'END'), 't', 'ids, ages and times are those of pg_stat_activity');
SELECT bool_and(h.since = a.xact_start AND h.age BETWEEN '0' AND clock_timestamp() - a.xact_start
	AND h.xid IS NOT DISTINCT FROM a.backend_xid AND h.xmin IS NOT DISTINCT FROM a.backend_xmin
	AND h.age_transactions >= greatest(age(a.backend_xid), age(a.backend_xmin)))
FROM pgleak.horizon h JOIN pg_stat_activity a USING (pid)
END
	$node->safe_psql('postgres', 'UPDATE account SET amount = amount + 1 WHERE id <= 7');
	is(kept_by_vacuum('account'), '7', 'VACUUM has to keep dead rows');
	follow_remedy("pid = $reader->{pid}");
	is(horizon('application_name', where => 'is_oldest AND database = \'postgres\''), 'writer', 'the next is the oldest');
	follow_remedy("pid = $_->{pid}") for $writer, $other;
	eventually_nobody('after the remedies nobody holds anything');
	is(kept_by_vacuum('account'), '0', 'and VACUUM removes the rows');
	finish($writer, $reader, $other);
}

sub test_own_session
{
	is($node->safe_psql('postgres', <<'END'), '0', 'who asks does not see itself');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT pg_current_xact_id() \g /dev/null
SELECT count(*) FROM pgleak.horizon;
END
}

# VACUUM's own snapshot holds nothing, and neither does the session then.
sub test_vacuum
{
	my $session = wire($node);
	$session->do(q(SET vacuum_cost_delay = '100ms'), 'SET vacuum_cost_limit = 1');
	$session->start('VACUUM account');
	eventually_is($node, "SELECT count(*) FROM pg_stat_activity WHERE pid = $session->{pid} AND backend_xmin IS NOT NULL", '1', 'VACUUM has a snapshot');
	is(horizon('count(*)', where => "pid = $session->{pid}"), '0', 'which holds nothing');
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($session->{pid})");
	finish($session);
}

# Others do not wait for the snapshot of such a CREATE INDEX CONCURRENTLY, but VACUUM honours it.
sub test_concurrent_index
{
	$node->safe_psql('postgres', <<'END');
CREATE TABLE "indexed" AS SELECT i AS id FROM generate_series(1, 10) AS i;
CREATE FUNCTION compare_slowly(integer, integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE STRICT AS
	$$ BEGIN PERFORM pg_advisory_xact_lock_shared(99); RETURN btint4cmp($1, $2); END $$;
CREATE OPERATOR CLASS slow_ops FOR TYPE integer USING btree AS
	OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 compare_slowly(integer, integer);
END
	my ($lock, $session) = (wire($node), wire($node));
	$lock->do('SELECT pg_advisory_lock(99)');
	$session->start('CREATE INDEX CONCURRENTLY ON "indexed" (id slow_ops)');
	eventually_is($node, "SELECT count(*) FROM pg_stat_activity WHERE pid = $session->{pid} AND wait_event = 'advisory'", '1', 'an index is being built');
	burn(3);
	$node->safe_psql('postgres', 'UPDATE account SET amount = amount + 1 WHERE id <= 3');
	is(horizon('kind, is_oldest', where => "pid = $session->{pid}"), 'session|t', 'CREATE INDEX CONCURRENTLY is the oldest');
	is(kept_by_vacuum('account'), '3', 'and so VACUUM has to keep dead rows');
	$lock->do('SELECT pg_advisory_unlock(99)');
	$session->read_answer;
	finish($lock, $session);
}

sub test_masked
{
	my $session = named('secret');
	$session->do('BEGIN', 'SELECT pg_current_xact_id()');
	burn(2);
	my $public = 'kind, database, pid, application_name, role = session_user, xid IS NOT NULL, holds, age_transactions > 1, is_oldest';
	my $names = join ', ', map { "$_ IS NOT NULL" } qw(backend_type state since age remedy);
	my $where = "pid = $session->{pid}";
	is(horizon("$public, $names", where => $where), "session|postgres|$session->{pid}|secret|t|t|tables, catalogs|t|t|t|t|t|t|t", 'a superuser sees all');
	is(horizon("$public, $names", where => $where, user => 'ordinary'),
		"session|postgres|$session->{pid}|secret|f|t|tables, catalogs|t|t|f|f|f|f|f", 'an ordinary role sees what pg_stat_activity shows');
	finish($session);
}

# Prepared transactions -------------------------------------------------------------------------------------------------

sub test_prepared_transactions
{
	my ($here, $there) = (wire($node), wire($node, dbname => 'elsewhere'));
	$here->do('BEGIN', 'SELECT pg_current_xact_id()', q(PREPARE TRANSACTION 'it''s \mine'));
	$there->do('BEGIN', 'SELECT pg_current_xact_id()', q(PREPARE TRANSACTION 'theirs'));
	finish($here, $there);
	burn(5);
	is(horizon('kind, database, pid IS NULL, gid, role = current_user, holds, is_oldest, remedy', where => q(kind = 'prepared transaction')), join("\n",
		q(prepared transaction|postgres|t|it's \mine|t|tables, catalogs|t|ROLLBACK PREPARED E'it''s \\\\mine'),
		q(prepared transaction|elsewhere|t|theirs|t|tables, catalogs|t|ROLLBACK PREPARED 'theirs' -- in its own database)), 'two prepared transactions');
	is($node->safe_psql('postgres', q(SELECT bool_and(h.since = p.prepared AND h.xid = p.transaction AND h.age_transactions = age(p.transaction))
		FROM pgleak.horizon h JOIN pg_prepared_xacts p USING (gid))), 't', 'ids and times are those of pg_prepared_xacts');
	is(horizon('count(*)', where => q(gid = 'theirs'), user => 'ordinary'), '1', 'which everybody may see');
	$node->safe_psql('postgres', 'UPDATE account SET amount = amount + 1 WHERE id <= 4');
	is(kept_by_vacuum('account'), '4', 'VACUUM has to keep dead rows');
	$node->restart;
	is(horizon('string_agg(gid, \',\' ORDER BY gid)'), q(it's \mine,theirs), 'they outlive a restart');
	follow_remedy(q(gid LIKE 'it%'));
	is(kept_by_vacuum('account'), '0', 'after the remedy VACUUM removes the rows');
	follow_remedy(q(gid = 'theirs'), 'elsewhere');
	eventually_nobody('nobody holds anything any more');
	is($node->safe_psql('postgres', 'SELECT horizon_holder IS NULL FROM pgleak.stats'), 't', 'pgleak.stats says so too');
}

# Replication slots -----------------------------------------------------------------------------------------------------

sub test_slots
{
	$node->safe_psql('postgres', <<'END');
SELECT pg_create_physical_replication_slot('physical', true);
SELECT pg_create_physical_replication_slot('fresh');
SELECT pg_create_logical_replication_slot('logical', 'test_decoding');
END
	burn(20);
	$node->safe_psql('postgres', 'UPDATE account SET amount = amount + 1 WHERE id <= 5');
	is(horizon('kind, slot_name, database IS NULL, pid IS NULL, application_name IS NULL, holds, active, wal_status, is_oldest, remedy'), join("\n",
		q(replication slot|logical|t|t|t|catalogs, WAL|f|reserved|t|SELECT pg_drop_replication_slot('logical')),
		q(replication slot|physical|t|t|t|WAL|f|reserved|f|SELECT pg_drop_replication_slot('physical'))), 'a logical slot holds catalogs, a physical one WAL');
	is($node->safe_psql('postgres', q(SELECT bool_and(h.restart_lsn = s.restart_lsn AND h.xmin IS NOT DISTINCT FROM s.xmin AND
			h.catalog_xmin IS NOT DISTINCT FROM s.catalog_xmin AND h.wal_status = s.wal_status AND h.active = s.active
			AND h.age_transactions IS NOT DISTINCT FROM age(s.catalog_xmin)
			AND abs(h.retained_bytes - (pg_current_wal_lsn() - s.restart_lsn)) < 10000 AND h.retained_bytes > 0)
		FROM pgleak.horizon h JOIN pg_replication_slots s USING (slot_name))), 't', 'as pg_replication_slots shows them');
	eventually_shows('slot_name', 'logical', 'the age of what a slot holds is known after a moment',
		where => q(age BETWEEN '1 s' AND '1 min' AND since BETWEEN now() - interval '1 min' AND now()));
	is($node->safe_psql('postgres', 'SELECT horizon_holder FROM pgleak.stats'), 'replication slot logical', 'pgleak.stats names the oldest holder');
	is(horizon('count(*)', where => q(kind = 'replication slot'), user => 'ordinary'), '2', 'everybody may see them');
	is(kept_by_vacuum('account'), '0', 'VACUUM of a table keeps nothing for them');
	$node->safe_psql('postgres', 'CREATE TABLE gone (); DROP TABLE gone');
	cmp_ok(kept_by_vacuum('pg_class'), '>', 0, 'but VACUUM of a catalog does');
	follow_remedy(q(slot_name = 'logical'));
	is(kept_by_vacuum('pg_class'), '0', 'until the remedy');
	eventually_nobody('nobody holds anything any more');
}

sub test_lost_slot
{
	$node->safe_psql('postgres', q(SELECT pg_create_logical_replication_slot('logical', 'test_decoding')));
	configure($node, max_slot_wal_keep_size => '1MB', max_wal_size => '32MB', min_wal_size => '32MB');
	for (1 .. 4) { $node->safe_psql('postgres', 'SELECT pg_switch_wal(); CREATE TABLE filling (); DROP TABLE filling; CHECKPOINT'); }
	is($node->safe_psql('postgres', q(SELECT string_agg(slot_name, ' ' ORDER BY slot_name) FROM pg_replication_slots WHERE wal_status = 'lost')),
		'logical physical', 'two slots are lost');
	is(horizon('count(*)', where => q(kind = 'replication slot')), '0', 'and hold nothing any more');
	is(kept_by_vacuum('pg_class'), '0', 'VACUUM agrees');
	$node->safe_psql('postgres', q(SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots));
	configure($node, max_slot_wal_keep_size => undef);
}

sub test_active_slots
{
	my $consumer = named('consumer');
	$consumer->do(q(SELECT pg_create_logical_replication_slot('temporary', 'test_decoding', true)));
	is(horizon('slot_name, pid, application_name, active, remedy'),
		"temporary|$consumer->{pid}|consumer|t|SELECT pg_terminate_backend($consumer->{pid})", 'a temporary slot belongs to its session');
	follow_remedy(q(slot_name = 'temporary'));
	eventually_shows('count(*)', '0', 'and ends with it');
	finish($consumer);

	# Somebody who copies a database and then follows it, as a subscription does.
	my $walsender = wire($node, parameters => { application_name => 'subscriber', replication => 'database' });
	$walsender->do('CREATE_REPLICATION_SLOT followed LOGICAL test_decoding EXPORT_SNAPSHOT');
	burn(5);
	is(horizon('kind, database, application_name, backend_type, holds, is_oldest, remedy', where => "pid = $walsender->{pid}"),
		"session|postgres|subscriber|walsender|tables, catalogs|t|SELECT pg_terminate_backend($walsender->{pid})", 'a walsender that exports its snapshot is a session');
	$walsender->start('START_REPLICATION SLOT followed LOGICAL 0/0');
	eventually_shows('kind, slot_name, pid, application_name, holds, active, remedy', "replication slot|followed|$walsender->{pid}|subscriber|catalogs, WAL|t|"
		  . 'let consumer "subscriber" catch up, or end the transaction that it waits for', 'when it follows, its slot names it');
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($walsender->{pid})");
	eventually_shows('remedy', q(SELECT pg_drop_replication_slot('followed')), 'until it has gone');
	follow_remedy(q(slot_name = 'followed'));
	$walsender->close;
}

# Background workers ----------------------------------------------------------------------------------------------------

# An index expression that waits in autovacuum only.
sub test_autovacuum
{
	$node->safe_psql('postgres', <<'END');
CREATE FUNCTION wait_in_analyze(integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
	IF current_setting('application_name') = '' THEN PERFORM pg_advisory_xact_lock_shared(98); END IF; RETURN $1; END $$;
CREATE TABLE analyzed (id integer) WITH (autovacuum_enabled = on, autovacuum_analyze_threshold = 10);
CREATE INDEX ON analyzed (public.wait_in_analyze(id));
END
	my $lock = wire($node);
	$lock->do('SELECT pg_advisory_lock(98)');
	configure($node, autovacuum => 'on', autovacuum_naptime => '1s');
	$node->safe_psql('postgres', 'INSERT INTO analyzed SELECT generate_series(1, 1000)');
	my $where = q(kind = 'background worker');
	eventually_shows('database, backend_type, holds, since IS NOT NULL', 'postgres|autovacuum worker|tables, catalogs|t', 'autovacuum analyzes', where => $where);
	like(horizon('remedy', where => $where), qr/^SELECT pg_cancel_backend\([0-9]+\)$/, 'the remedy of autovacuum');
	configure($node, autovacuum => undef, autovacuum_naptime => undef);
	follow_remedy($where);
	eventually_shows('count(*)', '0', 'ends it', where => $where);
	finish($lock);
}

# Standbys --------------------------------------------------------------------------------------------------------------

sub start_standby
{
	my ($name, $conf) = @_;
	my $standby = empty_node($name);
	$standby->init_from_backup($node, 'copy', has_streaming => 1);
	$standby->append_conf('postgresql.conf', "wal_receiver_status_interval = 1\n$conf");
	$standby->start;
	$node->wait_for_catchup($standby);
	return $standby;
}

sub test_standby
{
	$node->backup('copy');
	my $standby = start_standby('replica', "hot_standby_feedback = off\nmax_standby_streaming_delay = -1");
	my $reader = named('report', node => $standby);
	$reader->do('BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT 1');
	burn(10);
	$node->wait_for_catchup($standby);
	my $columns = 'kind, database, pid, application_name, state, holds, age_transactions >= 10, since IS NOT NULL, is_oldest, remedy';
	my $row = "session|postgres|$reader->{pid}|report|idle in transaction";
	my $rest = "t|t|t|SELECT pgleak.cancel($reader->{pid})";
	is(horizon($columns, node => $standby), "$row|replay|$rest", 'on a standby a reader delays replay');
	eventually_shows('count(*)', '0', 'which the primary does not know');

	configure($standby, hot_standby_feedback => 'on');
	eventually_shows('kind, database IS NULL, application_name, backend_type, holds, age_transactions >= 10, is_oldest, remedy',
		'standby feedback|t|replica|walsender|tables, catalogs|t|t|end the session that pgleak.horizon shows on standby "replica"',
		'with feedback the primary names the standby');
	is(horizon($columns, node => $standby), "$row|replay, tables, catalogs|$rest", 'and the standby the session');
	eventually_shows('count(*)', '1', 'the age of the feedback is known after a moment', where => q(age BETWEEN '1 s' AND '1 min'));
	is(horizon('application_name, backend_type IS NULL, state IS NULL, age IS NOT NULL', user => 'ordinary'), 'replica|t|t|t', 'what an ordinary role sees of it');
	$node->safe_psql('postgres', 'UPDATE account SET amount = amount + 1 WHERE id <= 6');
	is(kept_by_vacuum('account'), '6', 'VACUUM has to keep dead rows');
	is($standby->safe_psql('postgres', horizon('remedy', node => $standby)), 't', 'the remedy on the standby');
	eventually_nobody('ends the feedback');
	is(kept_by_vacuum('account'), '0', 'and VACUUM removes the rows');
	finish($reader);
	return $standby;
}

sub test_standby_with_slot
{
	my ($standby) = @_;
	$node->safe_psql('postgres', q(SELECT pg_create_physical_replication_slot('of_replica')));
	configure($standby, primary_slot_name => 'of_replica');
	my $reader = named('report', node => $standby);
	$reader->do('BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT 1');
	burn(10);
	my $columns = 'kind, slot_name, application_name, holds, age_transactions >= 10, active, is_oldest';
	eventually_shows("$columns, remedy", 'replication slot|of_replica|replica|tables, catalogs, WAL|t|t|t|'
		  . 'let standby "replica" catch up, and end the session that pgleak.horizon shows there', 'with a slot the slot holds it, and names the standby');
	is(horizon('pid IN (SELECT pid FROM pg_stat_replication)'), 't', 'by its walsender');
	$standby->stop;
	eventually_shows("$columns, remedy", q(replication slot|of_replica||tables, catalogs, WAL|t|f|t|SELECT pg_drop_replication_slot('of_replica')),
		'without the standby the slot still holds it');
	$standby->start;
	return $standby;
}

sub test_promotion
{
	my ($standby) = @_;
	my $reader = named('report', node => $standby);
	$reader->do('BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT 1');
	burn(10);
	$node->wait_for_catchup($standby);
	is(horizon('application_name, holds, is_oldest', node => $standby), 'report|replay, tables, catalogs|t', 'before the promotion');
	$standby->promote;
	is(horizon('application_name, holds, is_oldest', node => $standby), 'report|tables, catalogs|t', 'after it');
	$standby->safe_psql('postgres', q(SELECT pg_create_logical_replication_slot('logical', 'test_decoding')));
	$standby->safe_psql('postgres', 'CALL burn(5)');
	eventually_shows('holds, is_oldest', 'catalogs, WAL|t', 'and the clock of transaction ids goes on', node => $standby,
		where => q(slot_name = 'logical' AND age BETWEEN '1 s' AND '1 min'));
	finish($reader);
	no_damage($standby, 'no session of the standby was harmed');
	$standby->stop;
}

test_sessions();
test_own_session();
test_vacuum();
test_concurrent_index();
test_masked();
test_prepared_transactions();
test_slots();
test_lost_slot();
test_active_slots();
test_autovacuum();
test_promotion(test_standby_with_slot(test_standby()));
no_damage($node, 'no session was harmed');
$node->stop;
done_testing();
