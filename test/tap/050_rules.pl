# Rules as their users meet them: in force within a second for sessions that are idle already, following roles, ending by
# themselves, waiting for an impact, muting an open leak; and the examples of doc/rules.md.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;

use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

# A scanner that looks once an hour unless something wakes it, and a server that calls nothing a leak.
my $node = new_node('rules', conf => "pgleak.scan_interval = '1h'\npgleak.idle_leak_after = 0");

sub sql { return $node->safe_psql('postgres', $_[0]); }

# The rules are these and no others: each is a list of assignments as in an UPDATE. Returns their ids.
sub set_rules
{
	my (@rules) = @_;
	my $id = sql('SELECT coalesce(max(id), 0) FROM pgleak.rules');
	my @ids = map { $id + $_ } 1 .. @rules;
	sql(join ';', 'BEGIN', 'DELETE FROM pgleak.rules',
		(map { ("INSERT INTO pgleak.rules (id) VALUES ($ids[$_])", "UPDATE pgleak.rules SET $rules[$_] WHERE id = $ids[$_]") }
		  0 .. $#rules), 'COMMIT');
	return @ids;
}

# Who decides about the leak limit of a session.
sub decider
{
	my ($session) = @_;
	return sql("SELECT source FROM pgleak.limits_for($session->{pid}) WHERE setting = 'pgleak.idle_leak_after'");
}

sub eventually_decided
{
	my ($session, $by, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return eventually_is($node,
		"SELECT source FROM pgleak.limits_for($session->{pid}) WHERE setting = 'pgleak.idle_leak_after'", $by, $name);
}

# The open leaks, as 'rule 1 rule 3'.
sub leaks_by { return sql(q{SELECT string_agg(limit_source, ' ' ORDER BY leak_id) FROM pgleak.leaks}); }

sub test_effect_on_idle_sessions
{
	my $session = leak($node);
	my $started = time;
	my $rounds = 10;
	for my $round (1 .. $rounds)
	{
		my ($id) = set_rules("idle_leak_after = '1ms'");
		eventually(sub { leaks_by() eq "rule $id" }, "round $round: a session that is idle already becomes a leak by a new rule");
		$session->do('COMMIT');
		eventually(sub { sql('SELECT pgleak.scan()') eq '0' }, "round $round: the leak ends");
		set_rules();
		eventually_decided($session, 'server', "round $round: without the rule the server decides");
		$session->do('BEGIN', 'SELECT 1');
	}
	# The recorder looks every five seconds by itself; only if it is told can it be this fast on the average.
	cmp_ok((time - $started) / $rounds, '<', 4, 'the recorder is told of changes and need not look for them');
	$session->close;
}

# Changes count at the commit and not before, and what is rolled back never.
sub test_commit
{
	my $session = session($node);
	my ($id) = set_rules("idle_leak_after = '1h'");
	eventually_decided($session, "rule $id", 'a rule is in force');
	my $writer = session($node);
	$writer->do('BEGIN', 'DELETE FROM pgleak.rules');
	holds(sub { decider($session) eq "rule $id" }, 'a deletion that is not committed does not count', 1);
	$writer->do('ROLLBACK', 'BEGIN', 'SAVEPOINT one', 'DELETE FROM pgleak.rules', 'ROLLBACK TO one', 'COMMIT');
	holds(sub { decider($session) eq "rule $id" }, 'nor one that was rolled back', 1);
	$writer->do('TRUNCATE pgleak.rules');
	eventually_decided($session, 'server', 'TRUNCATE counts');
	$_->close for $writer, $session;
}

sub test_roles
{
	sql('CREATE ROLE etl; CREATE ROLE nightly LOGIN');
	my $session = session($node, user => 'nightly');
	my ($id) = set_rules("role = 'etl', idle_leak_after = '1h'");
	is(decider($session), 'server', 'a rule for another role does not match');
	sql('GRANT etl TO nightly');
	eventually_decided($session, "rule $id", 'GRANT of the role makes it match');
	sql('REVOKE etl FROM nightly');
	eventually_decided($session, 'server', 'REVOKE unmakes it');
	sql('CREATE ROLE between IN ROLE etl; GRANT between TO nightly');
	eventually_decided($session, "rule $id", 'a member of a member counts');
	if ($node->pg_version >= 16)
	{
		sql('GRANT between TO nightly WITH INHERIT FALSE, SET FALSE');
		holds(sub { decider($session) eq "rule $id" }, 'whatever the membership lets him do', 1.5);
	}
	sql('DROP ROLE etl');
	eventually_decided($session, 'server', 'a role that is dropped matches nobody');
	is(sql('SELECT role FROM pgleak.rules'), 'etl', 'its rule is kept');
	sql('CREATE ROLE etl ROLE between');
	eventually_decided($session, "rule $id", 'and matches again when the role is made again');
	sql('ALTER ROLE etl RENAME TO loader');
	eventually_decided($session, 'server', 'a role that is renamed matches by its new name only');
	set_rules("role = 'loader', idle_leak_after = '1h'");
	eventually(sub { decider($session) =~ /^rule/ }, 'which another rule may name');
	sql('ALTER ROLE nightly RENAME TO daily');
	holds(sub { decider($session) =~ /^rule/ }, 'the session stays what it is when its own role is renamed', 1.5);
	$session->close;
	sql('DROP ROLE daily, between, loader');
}

sub test_databases
{
	my ($id) = set_rules("database = 'shop', idle_leak_after = '1h'");
	sql('CREATE DATABASE shop');
	my $session = session($node, dbname => 'shop');
	eventually_decided($session, "rule $id", 'a rule for a database that is made later matches');
	$session->close;
	sql('DROP DATABASE shop');
}

# What the scanner has matched for a session holds only while the session is what it was: the next one in its place may be
# another, and anybody may call himself something else.
sub test_other_names
{
	my ($id) = set_rules("application_name = 'careless', idle_leak_after = '1ms'");
	my $session = leak($node);
	sql('SELECT pgleak.scan()') for 1 .. 3;
	is(leaks_by(), '', 'a session with another name is no leak');
	$session->do(q{SET application_name = 'careless'});
	eventually(sub { sql('SELECT pgleak.scan()'); leaks_by() eq "rule $id" }, 'in the same transaction it takes the name and is one');
	$session->close;
	for my $round (1 .. 3)
	{
		my $careful = leak($node);
		sql('SELECT pgleak.scan()') for 1 .. 3;
		is(leaks_by(), '', "round $round: a session of another name is none");
		$careful->close;
		my $careless = leak($node, env => { PGAPPNAME => 'careless' });
		eventually(sub { sql('SELECT pgleak.scan()'); leaks_by() eq "rule $id" }, "round $round: and its successor of that name is");
		$careless->close;
		eventually(sub { sql('SELECT pgleak.scan()') eq '0' }, "round $round: until it goes");
	}
}

# The wall clock ends a mute, and wakes the scanner for it.
sub test_end_of_validity
{
	my $session = leak($node);
	my ($mute, $rule) = set_rules("priority = 1, idle_leak_after = '0', valid_until = now() + interval '2 seconds'",
		"idle_leak_after = '1ms'");
	is(leaks_by(), '', 'a mute holds');
	eventually(sub { leaks_by() eq "rule $rule" }, 'until it is no longer valid');
	is(sql("SELECT detected_at >= valid_until FROM pgleak.leaks, pgleak.rules p WHERE p.id = $mute"), 't', 'and not before');
	$session->close;
}

sub test_min_impact
{
	sql('CREATE TABLE stock (id integer)');
	my ($blocker, $other) = set_rules("min_impact = 'blocking', idle_leak_after = '50ms', idle_cancel_after = '100ms'",
		"idle_leak_after = '1h', idle_cancel_after = '2h'");
	configure($node, 'pgleak.scan_interval' => '20ms');
	sql('CREATE ROLE app LOGIN; GRANT ALL ON stock TO app');
	my $holder = session($node, user => 'app');
	$holder->do('BEGIN', 'INSERT INTO stock VALUES (1)', 'LOCK stock IN ROW EXCLUSIVE MODE');
	my $harmless = session($node, user => 'app');
	$harmless->do('BEGIN', 'SELECT count(*) FROM stock');
	holds(sub { leaks_by() eq '' }, 'as long as nobody waits the rule for blockers does not count', 1);
	is(decider($holder), "rule $other", 'but the next one does');

	my $waiter = session($node);
	$waiter->send_line('LOCK TABLE stock IN SHARE MODE;');
	$waiter->send_line('BEGIN; LOCK TABLE stock IN SHARE MODE; COMMIT;');
	eventually_is($node, "SELECT outcome || ' ' || limit_source || ' ' || leak_after FROM pgleak.history WHERE pid = $holder->{pid}",
		"cancelled rule $blocker 00:00:00.05", 'who begins to block is a leak by that rule, and is cancelled by it');
	is($waiter->ask('SELECT 1'), 1, 'those who waited go on');
	is(sql("SELECT count(*) FROM pgleak.history WHERE pid = $harmless->{pid}"), 0, 'who blocks nobody is left alone');
	is(decider($holder), "rule $other", 'and who does not block any more has the limits of the next rule again');
	$_->close for $holder, $harmless, $waiter;
	configure($node, 'pgleak.scan_interval' => undef);
}

# An open leak follows its rules as far as actions go; it stays one until its end.
sub test_open_leak
{
	sql('CREATE ROLE tester LOGIN');
	configure($node, 'pgleak.scan_interval' => '20ms');
	my ($id) = set_rules("role = 'tester', idle_leak_after = '50ms', idle_cancel_after = '2s'");
	my $session = leak($node, user => 'tester');
	my $leak = "SELECT limit_source, next_action FROM pgleak.leaks WHERE pid = $session->{pid}";
	eventually_is($node, $leak, "rule $id|cancel", 'a leak is about to be cancelled');
	my ($mute) = set_rules("role = 'tester', idle_leak_after = '0'");
	eventually_is($node, $leak, "rule $id|", 'a mute that comes later takes that back, and the leak stays open');
	set_rules("role = 'tester', idle_leak_after = '50ms', idle_cancel_after = '100ms'");
	eventually_recorded($node, $session, 'cancelled', 'a shorter limit that comes later counts at once');
	$session->close;
	configure($node, 'pgleak.scan_interval' => undef);
}

# The transaction clock of a rule: active sessions have to be looked at because of it.
sub test_transaction_clock
{
	my ($id) = set_rules("application_name = 'report', transaction_leak_after = '100ms'");
	my $session = session($node);
	$session->do(q{SET application_name = 'report'});
	$session->send_line('BEGIN; SELECT pg_sleep(600);');
	eventually_is($node, 'SELECT pgleak.scan() >= 0, string_agg(state || clock || limit_source, $$ $$) FROM pgleak.leaks',
		"t|activetransactionrule $id", 'a rule for the transaction clock finds an active session');
	sql("SELECT pg_terminate_backend($session->{pid})");
	$session->close;
}

# Every example of doc/rules.md does what its comment says.
sub test_examples
{
	my $page = slurp_file("$FindBin::RealBin/../../doc/rules.md");
	my ($section) = $page =~ /^## Examples\n(.*?)^## /ms;
	my @examples = map { split /(?<=;)\n\n/ } $section =~ /^```sql\n(.*?)^```/msg;
	cmp_ok(scalar @examples, '>=', 6, 'doc/rules.md has examples');
	set_rules();
	for my $example (@examples)
	{
		my ($note) = $example =~ /'([^']*)'\);/s;
		is($node->psql('postgres', $example, on_error_die => 0), 0, "the example \"$note\" is accepted");
	}
	is(sql('SELECT count(*) FROM pgleak.rules'), scalar @examples, 'each is a rule');
	is(sql(q{SELECT count(*) FROM pgleak.rules WHERE application_name LIKE '%\\\\\\\\%'}), 0, 'none escapes a backslash');

	sql('CREATE ROLE backup LOGIN; CREATE ROLE etl; CREATE ROLE etl_nightly LOGIN IN ROLE etl');
	my $check = sub {
		my ($note, $expected, $name, %options) = @_;
		my $session = session($node, %options);
		eventually_is($node, qq{
			SELECT p.note, string_agg(replace(l.setting, 'pgleak.', '') || ' ' || l.value, ', ' ORDER BY l.setting)
			FROM pgleak.limits_for($session->{pid}) l JOIN pgleak.rules p ON l.source = 'rule ' || p.id
			GROUP BY p.note}, "$note|$expected", $name);
		$session->close;
	};
	$check->('nightly dump', 'idle_leak_after 00:00:00', 'pg_dump is exempt', user => 'backup', env => { PGAPPNAME => 'pg_dump' });
	$check->('people', 'idle_cancel_after 01:00:00, idle_leak_after 00:10:00', 'who calls himself pg_dump is not',
		env => { PGAPPNAME => 'psql' });
	$check->('every login role that is a member of etl',
		'idle_leak_after 01:00:00, transaction_leak_after 12:00:00, transaction_terminate_after 24:00:00', 'ETL has its hours',
		user => 'etl_nightly', env => { PGAPPNAME => 'loader' });
	sql('CREATE DATABASE shop');
	$check->('migration tonight', 'idle_leak_after 00:00:00', 'the mute comes first', dbname => 'shop', user => 'backup');
	set_rules();
}

test_effect_on_idle_sessions();
test_commit();
test_roles();
test_databases();
test_other_names();
test_end_of_validity();
test_min_impact();
test_open_leak();
test_transaction_clock();
test_examples();
is(sql('SELECT recorder_errors, last_error FROM pgleak.stats'), '0|', 'nothing of all this was an error');

$node->stop;
done_testing();
