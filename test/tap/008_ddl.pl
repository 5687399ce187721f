# What administrators do to databases and to the extension, under load: the recorder neither breaks nor is in the way, says
# once what it lacks, and goes on when it is there again.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakActions;
use PgleakTest;

use PostgreSQL::Test::Utils;
use Test::More;

my $lost_table = qr/the extension's table pgleak.history is missing from database "postgres", nothing is recorded/;

my $node = new_node('ddl');

sub recorder_errors { return $node->safe_psql('postgres', 'SELECT recorder_errors, last_error FROM pgleak.stats'); }

# A leak that begins now is recorded, and so is its end.
sub check_recording
{
	my ($when) = @_;
	my $session = leak($node);
	eventually_recorded($node, $session, 'open', "$when a leak is recorded");
	$session->do('COMMIT');
	eventually_recorded($node, $session, 'committed', "$when the end of a leak is recorded");
	$session->close;
}

sub test_recreation
{
	my $mark = log_mark($node);
	my $recorder = worker_pid($node, 'recorder');
	my $crowd = crowd($node, 20);
	configure($node, 'pgleak.scan_interval' => '10ms', 'pgleak.idle_leak_after' => '10ms');
	for (1 .. 12)
	{
		# Leaks come and go while the extension does.
		$crowd->start([ 'BEGIN', 'SELECT 1' ], spread => 0.1);
		$node->safe_psql('postgres', q(SET statement_timeout = '10s'; DROP EXTENSION pgleak));
		$crowd->finish;
		$crowd->start(['ROLLBACK'], spread => 0.1);
		$node->safe_psql('postgres', q(SET statement_timeout = '10s'; CREATE EXTENSION pgleak));
		$crowd->finish;
	}
	$crowd->close;
	configure($node, 'pgleak.scan_interval' => undef, 'pgleak.idle_leak_after' => undef);
	eventually_recording($node, 'the recorder works after the extension came and went under load');
	cmp_ok($node->safe_psql('postgres', 'SELECT leaks FROM pgleak.stats'), '>', 100, 'it was under load');
	is(recorder_errors(), '0|', 'and that was no error for it');
	is(worker_pid($node, 'recorder'), $recorder, 'it is the same recorder');
	is(log_count($node, qr/ERROR|FATAL|PANIC|WARNING/, $mark), 0, 'nobody complains in the log');
	check_recording('after the extension came and went');
	is($node->safe_psql('postgres', 'SELECT count(*) - count(DISTINCT (pid, backend_start, xact_start)) FROM pgleak.history'),
		0, 'no episode has two rows');
}

# DROP EXTENSION in the middle of a batch, which is held there by a lock that each of its rows needs.
sub test_drop_in_batch
{
	my $mark = log_mark($node);
	my ($holder, $dropper) = map { wire($node) } 1 .. 2;
	$_->do('SET pgleak.idle_leak_after = 0') for $holder, $dropper;
	$holder->do(q{
		CREATE FUNCTION wait_for_lock() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0 AS
			$$BEGIN PERFORM pg_catalog.pg_advisory_xact_lock_shared(1); RETURN NEW; END$$;
		CREATE TRIGGER wait_for_lock BEFORE INSERT ON pgleak.history FOR EACH ROW EXECUTE FUNCTION wait_for_lock()},
		'SELECT pg_advisory_lock(1)');
	my $waits = 'SELECT wait_event FROM pg_stat_activity WHERE pid = ';
	my $recorder = worker_pid($node, 'recorder');
	my $crowd = crowd($node, 10);
	$crowd->run([ 'BEGIN', 'SELECT 1' ]);
	eventually_is($node, $waits . $recorder, 'advisory', 'the recorder is in the middle of a batch');
	$dropper->start('DROP EXTENSION pgleak');
	eventually_is($node, $waits . $dropper->{pid}, 'relation', 'when somebody drops the extension');
	$holder->do('SELECT pg_advisory_unlock(1)');
	$dropper->read_answer;
	is($dropper->{tag}, 'DROP EXTENSION', 'which is done after the batch');
	$dropper->do('CREATE EXTENSION pgleak', 'DROP FUNCTION wait_for_lock()');
	$crowd->run(['COMMIT']);
	eventually_is($node, q(SELECT count(*), count(DISTINCT pid) FROM pgleak.history WHERE outcome = 'committed'), '10|10',
		'what was dropped with it is recorded in the new one, when it ends');
	is(recorder_errors(), '0|', 'and that was no error for the recorder');
	is(worker_pid($node, 'recorder'), $recorder, 'it is the same');
	is(log_count($node, qr/ERROR|FATAL|PANIC|WARNING/, $mark), 0, 'and has not complained');
	$_->close for $crowd, $holder, $dropper;
}

sub test_drop_database
{
	$node->safe_psql('postgres', 'CREATE DATABASE passing');
	my $session = leak($node, dbname => 'passing');
	eventually_recorded($node, $session, 'open', 'a leak in another database is recorded');
	$session->close;
	eventually_recorded($node, $session, 'disconnected', 'and its end');
	is($node->psql('postgres', 'DROP DATABASE passing', timeout => 30), 0, 'DROP DATABASE of that database does not hang');
}

# Settings that a database or its roles impose on whoever connects, each of which would stop a recorder that obeyed it.
sub test_imposed_settings
{
	my %imposed = (default_transaction_read_only => 'on', default_transaction_isolation => 'serializable',
		default_transaction_deferrable => 'on', statement_timeout => '1ms', lock_timeout => '1ms',
		idle_in_transaction_session_timeout => '1ms', search_path => 'nowhere', row_security => 'off',
		session_replication_role => 'replica', datestyle => 'SQL, DMY', intervalstyle => 'sql_standard',
		client_min_messages => 'error', bytea_output => 'escape', check_function_bodies => 'off', timezone => 'Asia/Tokyo',
		debug_discard_caches => 0);
	$imposed{transaction_timeout} = '1ms' if $node->pg_version >= 17;
	# A session that they do not hold for, since it has been there before.
	my $admin = session($node);
	$admin->do("SET pgleak.idle_leak_after = 0");
	for my $target ('DATABASE postgres', 'ROLE ALL')
	{
		$admin->do(map { "ALTER $target SET $_ = '$imposed{$_}'" } sort keys %imposed);
		my $ask = sub { $admin->ask($_[0]) };
		my $old = $ask->(q(SELECT pid FROM pg_stat_activity WHERE backend_type = 'pgleak recorder'));
		$admin->do("SELECT pg_terminate_backend($old)");
		my $count = 'SELECT count(*), count(outcome) FROM pgleak.history WHERE pid = ';
		my $session = leak($node, env => { PGOPTIONS => '-c statement_timeout=0 -c idle_in_transaction_session_timeout=0'
				. ($node->pg_version >= 17 ? ' -c transaction_timeout=0' : '') });
		eventually(sub { $ask->("$count $session->{pid}") eq '1|0' }, "settings of $target do not hinder recording");
		$session->close;
		eventually(sub { $ask->("$count $session->{pid}") eq '1|1' }, "nor the recording of the end");
		is($ask->('SELECT recorder_errors, last_error FROM pgleak.stats'), '0|', 'and are no error');
		$admin->do(map { "ALTER $target RESET $_" } sort keys %imposed);
	}
	$admin->close;
	restart_recorder($node);
}

sub test_renamed_history
{
	my $mark = log_mark($node);
	$node->safe_psql('postgres', 'ALTER TABLE pgleak.history RENAME TO history_of_last_year');
	my $session = leak($node);
	eventually(sub { log_count($node, $lost_table, $mark) }, 'a history that was renamed is missed');
	eventually(sub { log_count($node, qr/session leak: pid=$session->{pid} /, $mark) }, 'leaks are logged meanwhile');
	is(log_count($node, $lost_table, $mark), 1, 'the missing table is one line in the log');
	$node->safe_psql('postgres', 'ALTER TABLE pgleak.history_of_last_year RENAME TO history');
	eventually_recorded($node, $session, 'open', 'once it has its name again recording goes on');
	$session->close;
	is(recorder_errors(), '0|', 'and that was no error');
}

# The extension's table is dropped and somebody puts another one in its place.
sub test_foreign_history
{
	my $mark = log_mark($node);
	$node->safe_psql('postgres', q{
		BEGIN;
		ALTER EXTENSION pgleak DROP TABLE pgleak.history;
		CREATE TABLE pgleak.theirs (LIKE pgleak.history INCLUDING ALL);
		ALTER TABLE pgleak.history RENAME TO ours;
		ALTER TABLE pgleak.theirs RENAME TO history;
		COMMIT});
	my $session = leak($node);
	eventually(sub { log_count($node, qr/session leak: pid=$session->{pid} /, $mark) }, 'leaks are logged without a history');
	eventually(sub { log_count($node, $lost_table, $mark) }, 'a table of the same name is not taken for the history');
	is($node->safe_psql('postgres', 'SELECT is_recording FROM pgleak.stats'), 'f', 'pgleak.stats says that nothing is recorded');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM pgleak.history'), 0, 'and is never written');
	is(log_count($node, $lost_table, $mark), 1, 'the missing table is one line in the log');

	$node->safe_psql('postgres', q{
		DROP TABLE pgleak.history;
		ALTER EXTENSION pgleak ADD TABLE pgleak.ours;
		DROP EXTENSION pgleak;
		CREATE EXTENSION pgleak});
	eventually_recorded($node, $session, 'open', 'once the extension is made anew recording goes on');
	$session->close;
	is(recorder_errors(), '0|', 'and that was no error');
}

test_recreation();
test_drop_in_batch();
test_drop_database();
test_imposed_settings();
test_renamed_history();
test_foreign_history();

$node->stop;
done_testing();
