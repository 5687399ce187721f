# Where rules come from and what becomes of them: restarts of the recorder and of the server, a locked table, more rules or
# members than there is room for, DROP EXTENSION, pg_dump, a standby.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;

use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('kept', streaming => 1, conf => "max_prepared_transactions = 5\npgleak.idle_leak_after = '1h'");

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub who_decides
{
	my ($session) = @_;
	return "SELECT source FROM pgleak.limits_for($session->{pid}) WHERE setting = 'pgleak.idle_leak_after'";
}

sub decider { return sql(who_decides($_[0])); }

sub eventually_decided
{
	my ($session, $by, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return eventually_is($node, who_decides($session), $by, $name);
}

sub last_error { return sql('SELECT last_error FROM pgleak.stats'); }

# Has no rules, and begins to count them anew.
sub clear
{
	sql('TRUNCATE pgleak.rules RESTART IDENTITY');
	sql('SELECT pgleak.reset()');
}

sub test_recorder_restart
{
	my $session = session($node);
	sql(q{INSERT INTO pgleak.rules (idle_leak_after) VALUES ('2h')});
	eventually_decided($session, 'rule 1', 'a rule is in force');
	my $old = worker_pid($node, 'recorder');
	sql("SELECT pg_terminate_backend($old)");
	eventually_is($node, "SELECT count(*) FROM pg_stat_activity WHERE pid = $old", 0, 'the recorder has gone');
	is(decider($session), 'rule 1', 'the rule is in force without a recorder');
	sql('DELETE FROM pgleak.rules');
	eventually_decided($session, 'server', 'the next recorder sees what has changed meanwhile');
	sql(q{INSERT INTO pgleak.rules (idle_leak_after) VALUES ('2h')});
	eventually_decided($session, 'rule 2', 'and what changes then');
	clear();
	$session->close;
}

# Changes that no trigger tells of.
sub test_untold_changes
{
	my $session = session($node);
	sql(q{SET session_replication_role = replica; INSERT INTO pgleak.rules (idle_leak_after) VALUES ('2h')});
	eventually_decided($session, 'rule 1', 'a change without a trigger is found');
	sql(q{BEGIN; DELETE FROM pgleak.rules; PREPARE TRANSACTION 'change'});
	is(decider($session), 'rule 1', 'a prepared change does not count');
	sql(q{COMMIT PREPARED 'change'});
	eventually_decided($session, 'server', 'once it is committed it does');
	clear();
	$session->close;
}

# More rules than fit can only come from a restore without triggers.
sub test_too_many_rules
{
	my $session = session($node);
	my $mark = log_mark($node);
	sql(q{INSERT INTO pgleak.rules (database) SELECT 'elsewhere' FROM generate_series(1, 255)});
	sql(q{INSERT INTO pgleak.rules (idle_leak_after) VALUES ('2h')});
	eventually_decided($session, 'rule 256', 'the last of 256 rules decides');
	sql(q{SET session_replication_role = replica; INSERT INTO pgleak.rules (priority, idle_leak_after) VALUES (1, '3h')});
	eventually(sub { last_error() eq 'pgleak.rules has more than 256 enabled rules' }, 'the 257th is an error for the recorder');
	is(log_count($node, qr/WARNING:  pgleak recorder: could not read pgleak.rules: pgleak.rules has more than 256 enabled/, $mark),
		1, 'which the log has once');
	is(decider($session), 'rule 256', 'and the rules that were in force stay so');
	sql('UPDATE pgleak.rules SET enabled = false WHERE id = 1');
	eventually_decided($session, 'rule 257', 'a rule less, and all others count');
	clear();
	$session->close;
}

# Rows that only a table without its CHECKs can hold, one of them at a time.
sub test_invalid_rules
{
	my $session = session($node);
	sql(q{INSERT INTO pgleak.rules (idle_leak_after) VALUES ('2h')});
	eventually_decided($session, 'rule 1', 'a rule is in force');
	my $checks = join ', ', split /\n/, sql(q{
		SELECT 'DROP CONSTRAINT ' || quote_ident(conname) FROM pg_constraint
		WHERE conrelid = 'pgleak.rules'::regclass AND contype = 'c'});
	sql("ALTER TABLE pgleak.rules $checks");
	my %invalid = (idle_leak_after => "'-1s'", transaction_leak_after => "'-1 month'", idle_cancel_after => "'100000 years'",
		blocking_terminate_after => "'400 days'",
		min_impact => "'much'", database => "repeat('x', 64)", role => "''", application_name => "repeat('%', 100000)");
	for my $column (sort keys %invalid)
	{
		sql('SELECT pgleak.reset()');
		sql("INSERT INTO pgleak.rules (id, priority, $column) VALUES (7, 1, $invalid{$column})");
		eventually(sub { last_error() eq "rule 7 of pgleak.rules has an invalid $column" }, "an invalid $column is told");
		is(decider($session), 'rule 1', 'and changes nothing');
		sql('DELETE FROM pgleak.rules WHERE id = 7');
		sql(q{UPDATE pgleak.rules SET idle_leak_after = '2h'});
		restart_recorder($node);
	}
	# Whatever types the columns have by now, and whatever inherits from the table.
	sql(q{ALTER TABLE pgleak.rules ALTER min_impact TYPE varchar, ALTER id TYPE bigint, ALTER client_addr TYPE cidr;
		CREATE TABLE child () INHERITS (pgleak.rules);
		INSERT INTO child (id, priority, idle_leak_after, enabled) VALUES (8, 0, '4h', true);
		UPDATE ONLY pgleak.rules SET client_addr = NULL, priority = 5});
	holds(sub { decider($session) eq 'rule 1' }, 'a table that inherits from it has no rules', 2);
	sql(q{DROP TABLE child; DROP EXTENSION pgleak; CREATE EXTENSION pgleak});
	eventually_decided($session, 'server', 'the extension made anew has none');
	clear();
	$session->close;
}

sub test_many_members
{
	my $mark = log_mark($node);
	sql(q{CREATE ROLE everybody;
		DO $$ BEGIN FOR i IN 1 .. 4096 LOOP EXECUTE format('CREATE ROLE r%s LOGIN IN ROLE everybody', i); END LOOP; END $$});
	my $first = session($node, user => 'r1');
	my $last = session($node, user => 'r4096');
	sql(q{INSERT INTO pgleak.rules (role, idle_leak_after) VALUES ('everybody', '2h')});
	eventually_decided($first, 'rule 1', 'a rule counts for the members for which there is room');
	is(decider($last), 'server', 'and not for others');
	like(last_error(), qr/applies to only 4096 members of the roles it names, omitting 1/, 'pgleak.stats says so');
	is(log_count($node, qr/WARNING:  pgleak recorder: pgleak.rules applies to only 4096 members/, $mark), 1, 'and the log, once');
	sql('DROP ROLE r2');
	eventually_decided($last, 'rule 1', 'with one less there is room');
	$_->close for $first, $last;
	sql(q{DO $$ DECLARE r text; BEGIN FOR r IN SELECT rolname FROM pg_roles WHERE rolname ~ '^r\d' LOOP
		EXECUTE format('DROP ROLE %s', r); END LOOP; END $$});
	sql('DROP ROLE everybody');
	clear();
}

sub test_locked_table
{
	my $session = session($node);
	sql(q{INSERT INTO pgleak.rules (idle_leak_after) VALUES ('2h')});
	eventually_decided($session, 'rule 1', 'a rule is in force');
	my $locker = session($node);
	$locker->do('BEGIN', 'LOCK TABLE pgleak.rules', 'UPDATE pgleak.rules SET enabled = false');
	restart_recorder($node);
	holds(sub { decider($session) eq 'rule 1' }, 'it is in force while the table is locked, also for a new recorder', 2);
	$locker->do('COMMIT');
	eventually_decided($session, 'server', 'until the recorder can see that it is not');
	is(last_error(), '', 'which was no error');
	clear();
	$_->close for $locker, $session;
}

sub test_extension_comes_and_goes
{
	my $session = session($node);
	sql(q{INSERT INTO pgleak.rules (idle_leak_after) VALUES ('50ms')});
	my $leak = leak($node);
	eventually_is($node, "SELECT limit_source FROM pgleak.leaks WHERE pid = $leak->{pid}", 'rule 1', 'a rule makes a leak');
	$leak->close;
	my $mark = log_mark($node);
	sql('DROP EXTENSION pgleak');
	eventually(sub { log_count($node, qr/LOG:  pgleak recorder: 0 rules of pgleak.rules are in force/, $mark) },
		'DROP EXTENSION takes the rules along');
	sql('CREATE EXTENSION pgleak');
	is(decider($session), 'server', 'and they do not come back');
	sql(q{INSERT INTO pgleak.rules (idle_leak_after) VALUES ('2h')});
	eventually_decided($session, 'rule 1', 'new ones count');
	clear();
	$session->close;
}

# Rules are the user's own and go where his database goes; history belongs to the server.
sub test_dump
{
	sql(q{INSERT INTO pgleak.rules (role, application_name, client_addr, idle_leak_after, blocking_leak_after, blocking_cancel_after,
			blocking_terminate_after, valid_until, note)
		VALUES ('backup', 'pg\_dump%', '10.0.0.0/8', '0', '5s', '1min', '24 days', '2100-01-01', 'it''s a note'),
			(NULL, NULL, NULL, '2h', '0', NULL, NULL, NULL, NULL);
		DELETE FROM pgleak.rules WHERE id = 2; INSERT INTO pgleak.rules (note) VALUES ('third')});
	my $leak = leak($node);
	sql(q{UPDATE pgleak.rules SET idle_leak_after = '50ms' WHERE id = 3});
	eventually_recorded($node, $leak, 'open', 'there is something in the history');
	$leak->close;

	my $dump = "$PostgreSQL::Test::Utils::tmp_check/rules.sql";
	my $all = 'SELECT p::text FROM pgleak.rules p ORDER BY id';
	$node->command_ok([ 'pg_dump', '--file', $dump, 'postgres' ], 'pg_dump dumps');
	sql('CREATE DATABASE copy TEMPLATE template0');
	$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, 'copy' ], 'and psql restores');
	is($node->safe_psql('copy', $all), sql($all), 'the rules are there as they were');
	is($node->safe_psql('copy', 'SELECT count(*) FROM pgleak.history'), 0, 'the history is not');
	is($node->safe_psql('copy', q{INSERT INTO pgleak.rules (note) VALUES ('next') RETURNING id}), 4, 'numbers go on');

	# Into the database of the recorder itself, with the triggers and without.
	sql('DROP EXTENSION pgleak');
	$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, 'postgres' ], 'a restore into pgleak.database');
	my $session = session($node);
	eventually_decided($session, 'rule 3', 'puts the rules into force');
	$session->close;
	sql('DROP DATABASE copy');
	clear();
}

# After a start nobody knows yet whom the rules exempt. A prepared transaction keeps the table locked over the restart, so
# that this does not pass too quickly to be seen.
sub test_server_restart
{
	sql('CREATE ROLE exempt LOGIN; CREATE ROLE guilty LOGIN');
	sql(q{INSERT INTO pgleak.rules (role, idle_leak_after) VALUES ('exempt', '0')});
	configure($node, 'pgleak.idle_leak_after' => '50ms', 'pgleak.idle_cancel_after' => '100ms', 'pgleak.idle_terminate_after' => 0);
	sql(q{BEGIN; LOCK TABLE pgleak.rules; PREPARE TRANSACTION 'lock'});
	$node->restart;
	my $exempt = leak($node, user => 'exempt');
	my $guilty = leak($node, user => 'guilty');
	eventually_is($node, 'SELECT count(*) FROM pgleak.leaks', 2, 'after a start leaks are found without rules');
	holds(sub { sql('SELECT string_agg(coalesce(next_action, $$none$$), $$ $$) FROM pgleak.leaks') eq 'none none' },
		'but limits act on nobody', 2);
	sql(q{ROLLBACK PREPARED 'lock'});
	eventually_recorded($node, $guilty, 'cancelled', 'once the rules are known they do');
	eventually_recorded($node, $exempt, 'open', 'and spare those who are exempt');
	is(sql("SELECT state FROM pg_stat_activity WHERE pid = $exempt->{pid}"), 'idle in transaction', 'who go on');
	$_->close for $exempt, $guilty;
	clear();
	configure($node, 'pgleak.idle_leak_after' => undef, 'pgleak.idle_cancel_after' => undef, 'pgleak.idle_terminate_after' => undef);
	sql('DROP ROLE exempt, guilty');
}

# Without an extension, or without the database, there are no rules to wait for.
sub test_start_without_rules
{
	configure($node, 'pgleak.idle_leak_after' => '50ms', 'pgleak.idle_cancel_after' => '100ms');
	sql('CREATE ROLE guilty LOGIN');
	for my $where ('nowhere', 'template1')
	{
		$node->append_conf('postgresql.conf', "pgleak.database = '$where'");
		$node->restart;
		my $session = leak($node, user => 'guilty');
		eventually(sub { sql("SELECT state FROM pg_stat_activity WHERE pid = $session->{pid}") eq 'idle in transaction (aborted)' },
			"with pgleak.database = $where limits act");
		$session->close;
	}
	$node->append_conf('postgresql.conf', "pgleak.database = 'postgres'");
	$node->restart;
	configure($node, 'pgleak.idle_leak_after' => undef, 'pgleak.idle_cancel_after' => undef);
	sql('DROP ROLE guilty');
}

sub test_standby
{
	$node->backup('base');
	my $standby = empty_node('standby');
	$standby->init_from_backup($node, 'base', has_streaming => 1);
	$standby->start;
	my $mark = log_mark($standby);
	my $session = leak($standby);
	sql(q{INSERT INTO pgleak.rules (idle_leak_after) VALUES ('50ms')});
	eventually_is($standby, "SELECT limit_source FROM pgleak.leaks WHERE pid = $session->{pid}", 'rule 1',
		'a rule that is made on the primary counts on the standby');
	sql('TRUNCATE pgleak.rules');
	eventually_is($standby, who_decides($session), 'server', 'and so does its end');
	sql(q{CREATE ROLE etl; INSERT INTO pgleak.rules (role, idle_leak_after) VALUES ('etl', '2h')});
	sql('GRANT etl TO ' . sql('SELECT quote_ident(current_user)'));
	eventually_is($standby, who_decides($session), 'rule 2', 'memberships count there too');
	is($standby->safe_psql('postgres', 'SELECT recorder_errors, last_error FROM pgleak.stats'), '0|', 'without an error');
	unlike(log_after($standby, $mark), qr/ERROR|FATAL|PANIC|WARNING/, 'or a complaint');
	$standby->promote;
	eventually_recording($standby, 'after its promotion it records');
	$standby->safe_psql('postgres', 'TRUNCATE pgleak.rules');
	eventually_is($standby, who_decides($session), 'server', 'and has rules of its own');
	$session->close;
	$standby->stop;
}

test_recorder_restart();
test_untold_changes();
test_too_many_rules();
test_invalid_rules();
test_many_members();
test_locked_table();
test_extension_comes_and_goes();
test_dump();
test_server_restart();
test_start_without_rules();
test_standby();

$node->stop;
done_testing();
