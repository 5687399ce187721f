# Who may do what: each kind of role tries everything there is to try with each table, view, sequence, function and setting of
# pgleak, on each kind of process, and on what others run. What there is comes from the catalog, so whatever is new and has no
# expectation here fails. The expectations are those of doc/permissions.md, as tables.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;
use PgleakActions;
use PgleakMatrix;

use PostgreSQL::Test::Utils;
use Test::More;

# Kinds of roles, see PgleakMatrix; writer and setter have been granted what they are named for. A superuser may do all that can
# be done, and is named nowhere below.
my %roles = %PgleakMatrix::roles;
my $everybody = join ' ', sort keys %roles;
my $granted_setting = 'pgleak.idle_leak_after';

my %may_select = (
	(map { $_ => $everybody } qw(leaks top pools idle_times waits horizon)),
	(map { $_ => 'monitor' } qw(history horizon_samples pool_samples offenders stats
		metrics_sessions metrics_routes metrics_pools metrics_idle_times metrics_horizon metrics_slots metrics_outcomes metrics_workers)),
	rules => 'monitor writer',
	rules_id_seq => '');

my %may_change = (rules => { INSERT => 'writer', UPDATE => 'writer', DELETE => 'writer', LOCK => 'writer' });

my %may_execute = (
	(map { $_ => $everybody } qw(read_leaks read_pools read_idle_times read_waits read_horizon limits_for cancel terminate fit_text format_duration route_of
		normalize_application_name short_code read_transactions open_transactions)),
	(map { $_ => 'monitor' } qw(read_stats read_outcomes scan metric_label report choose_limits timeline)),
	(map { $_ => '' } qw(reset note_rule_change)));

# 1: a superuser may change it in a session; 0: nobody may, it is the server's; 2: it says something about the session, so
# that everybody may.
my %is_for_sessions = (
	'pgleak.tags' => 2,
	(map { ("pgleak.$_" => 1) } qw(idle_leak_after idle_cancel_after idle_terminate_after
		transaction_leak_after transaction_cancel_after transaction_terminate_after
		blocking_leak_after blocking_cancel_after blocking_terminate_after prepared_leak_after action_min_impact)),
	(map { ("pgleak.$_" => 0) } qw(database scan_interval dry_run max_actions_per_minute act_on_superusers act_on_declared log_query notify
		retention history_max_rows queue_size trail_size track_idle_times max_pools pool_busy_percent pool_busy_after)));

my $node = new_node('matrix', streaming => 1, conf => "log_line_prefix = '%m [%p] %b: '\npgleak.idle_leak_after = '1h'");

sub sql { return $node->safe_psql('postgres', $_[0]); }

# Objects ---------------------------------------------------------------------------------------------------------------

my %on_relations = (
	SELECT => 'SELECT count(*) FROM %1$s',
	INSERT => 'INSERT INTO %1$s SELECT WHERE false',
	UPDATE => 'UPDATE %1$s SET %2$s = NULL WHERE false',
	DELETE => 'DELETE FROM %1$s WHERE false',
	'become its owner' => 'ALTER TABLE %1$s OWNER TO CURRENT_USER',
	'rename it' => 'ALTER TABLE %1$s RENAME TO theirs');
my %on_tables = (
	TRUNCATE => 'TRUNCATE %1$s',
	LOCK => 'LOCK TABLE %1$s IN ACCESS EXCLUSIVE MODE',
	'make a rule' => 'CREATE RULE mine AS ON INSERT TO %1$s DO INSTEAD NOTHING',
	'make a trigger' => 'CREATE TRIGGER mine BEFORE INSERT ON %1$s EXECUTE FUNCTION suppress_redundant_updates_trigger()',
	'make an index' => 'CREATE INDEX ON %1$s ((%2$s IS NULL))',
	'make a default' => 'ALTER TABLE %1$s ALTER %2$s SET DEFAULT random()',
	'make a check' => 'ALTER TABLE %1$s ADD CHECK (true)',
	'switch its triggers off' => 'ALTER TABLE %1$s DISABLE TRIGGER USER',
	'hide its rows' => 'ALTER TABLE %1$s ENABLE ROW LEVEL SECURITY',
	'make a row policy' => 'CREATE POLICY mine ON %1$s',
	'inherit from it' => 'CREATE TEMP TABLE theirs () INHERITS (%1$s)',
	'publish it' => 'CREATE PUBLICATION theirs FOR TABLE %1$s');
my %on_sequences = (
	SELECT => 'SELECT last_value FROM %1$s',
	'next value' => 'SELECT nextval($$%1$s$$)',
	'set value' => 'SELECT setval($$%1$s$$, 1)');

sub test_relations
{
	my $kinds = q(FROM pg_class WHERE relnamespace = 'pgleak'::regnamespace AND relkind NOT IN ('i', 'c', 't'));
	all_expected($node, 'every table, view and sequence has an expectation', "SELECT relname $kinds", \%may_select);
	my %kind = map { split /\|/ } split /\n/, sql("SELECT relname, relkind $kinds");
	for my $relation (sort keys %kind)
	{
		my $kind = $kind{$relation};
		my %attempts = $kind eq 'S' ? %on_sequences : $kind eq 'r' ? (%on_relations, %on_tables) : %on_relations;
		my $column = $kind eq 'S' ? '' : sql(qq(SELECT quote_ident(attname) FROM pg_attribute
			WHERE attrelid = 'pgleak.$relation'::regclass AND attnum = 2));
		for my $what (sort keys %attempts)
		{
			my $expected = $what eq 'SELECT' ? $may_select{$relation} // '' : $may_change{$relation}{$what} // '';
			# Nobody writes into a view.
			my $is_futile = $kind eq 'v' && $what =~ /INSERT|UPDATE|DELETE/;
			for my $role (sort keys %roles)
			{
				my $statement = sprintf $attempts{$what}, "pgleak.$relation", $column;
				if ($is_futile) { check($role, "$what $relation", try($role, $statement) eq '', '') if $role ne 'boss' }
				else { check($role, "$what $relation", is_let($role, $statement, $what =~ /publish/ ? '55000' : ()), $expected) }
			}
		}
	}
	all_as_expected('tables, views and sequences are open to whom they should be');
}

sub test_functions
{
	my $functions = q(FROM pg_proc WHERE pronamespace = 'pgleak'::regnamespace);
	all_expected($node, 'every function has an expectation', "SELECT DISTINCT proname $functions", \%may_execute);
	for (split /\n/, sql("SELECT proname, oid::regprocedure,
			(SELECT string_agg('NULL::' || format_type(t, NULL) || ' AS a' || n, ', ') FROM unnest(proargtypes) WITH ORDINALITY u(t, n))
			$functions"))
	{
		my ($name, $signature, $arguments) = split /\|/, $_, 3;
		my $names = join ', ', $arguments =~ /AS (a\d+)/g;
		# Of constants a call that returns NULL anyway would be left out, and nobody asked for permission.
		my $call = "SELECT pgleak.$name($names) FROM (SELECT $arguments OFFSET 0) a";
		for my $role (sort keys %roles)
		{
			# 39P01: a trigger function that is called as it should not be; 22023: a report of no length.
			check($role, "call $signature", is_let($role, $call, '39P01', '22023'), $may_execute{$name} // '');
			check($role, "$_ $signature", is_let($role, "ALTER FUNCTION $signature $_"), '')
			  for 'OWNER TO CURRENT_USER', 'SECURITY DEFINER', 'RENAME TO theirs', 'SET search_path = public';
		}
	}
	is(sql("SELECT string_agg(proname, ' ') $functions AND prosecdef"), '', 'no function is SECURITY DEFINER');
	all_as_expected('functions are open to whom they should be');
}

sub test_extension
{
	my @attempts = (
		'CREATE TABLE pgleak.theirs ()',
		'CREATE VIEW pgleak.theirs AS SELECT 1',
		'CREATE FUNCTION pgleak.theirs() RETURNS int LANGUAGE sql RETURN 1',
		"CREATE FUNCTION pg_temp.theirs() RETURNS bigint AS '\$libdir/pgleak', 'pgleak_request_scan' LANGUAGE c",
		'ALTER SCHEMA pgleak RENAME TO theirs',
		'ALTER SCHEMA pgleak OWNER TO CURRENT_USER',
		'DROP SCHEMA pgleak CASCADE',
		'DROP EXTENSION pgleak',
		"COMMENT ON EXTENSION pgleak IS 'theirs'",
		'ALTER EXTENSION pgleak UPDATE',
		'ALTER EXTENSION pgleak DROP TABLE pgleak.history',
		'ALTER TABLE pgleak.rules DROP CONSTRAINT rules_pkey',
		"UPDATE pg_catalog.pg_extension SET extversion = '0'");
	for my $role (grep { $_ ne 'boss' } sort keys %roles)
	{
		# 2BP01: what belongs to an extension is not dropped alone.
		check($role, $_, try($role, $_) !~ /^(42501|2BP01)$/, '') for @attempts;
		# They may grant what they hold, to nobody.
		try($role, "GRANT ALL ON ALL $_ IN SCHEMA pgleak TO PUBLIC") for 'TABLES', 'FUNCTIONS', 'SEQUENCES';
	}
	all_as_expected('the extension and its schema belong to superusers');
}

# Settings --------------------------------------------------------------------------------------------------------------

my %ways = (
	'SET' => 'SET %1$s = %2$s',
	'SET LOCAL' => 'SET LOCAL %1$s = %2$s',
	'RESET' => 'RESET %1$s',
	'set_config()' => 'SELECT set_config(%3$s, %2$s, false)',
	'pg_settings' => 'UPDATE pg_settings SET setting = %2$s WHERE name = %3$s',
	'a function' => 'CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql SET %1$s = %2$s AS $$SELECT 1$$; SELECT pg_temp.f()',
	'ALTER ROLE of his own' => 'ALTER ROLE CURRENT_USER SET %1$s = %2$s',
	'ALTER ROLE of his own, here' => 'ALTER ROLE CURRENT_USER IN DATABASE postgres SET %1$s = %2$s',
	'ALTER ROLE of another' => 'ALTER ROLE victim SET %1$s = %2$s',
	'ALTER ROLE ALL' => 'ALTER ROLE ALL SET %1$s = %2$s',
	'ALTER DATABASE' => 'ALTER DATABASE postgres SET %1$s = %2$s');

# What one may set for himself is his to grant to his role, too; others and databases need more.
my $for_oneself = qr/^(SET|RESET|set_config|pg_settings|a function|ALTER ROLE of his own)/;

# 55P02: it is no setting for sessions.
sub test_settings
{
	all_expected($node, 'every setting has an expectation', q(SELECT name FROM pg_settings WHERE name LIKE 'pgleak.%'),
		\%is_for_sessions);
	for my $setting (sort keys %is_for_sessions)
	{
		my $value = sql("SHOW $setting");
		for my $role (sort keys %roles)
		{
			my $may = $is_for_sessions{$setting} == 2 ? $everybody : $setting eq $granted_setting ? 'setter' : '';
			my $check = sub {
				my ($way, $is_allowed) = @_;
				if ($is_for_sessions{$setting}) { check($role, "$way $setting", $is_allowed, $way =~ $for_oneself ? $may : '') }
				else { never($role, "$way $setting", $is_allowed) }
			};
			# Whom one may give what everybody has is the server's business.
			my @ways = grep { $is_for_sessions{$setting} < 2 || $_ =~ $for_oneself } sort keys %ways;
			$check->($_, try($role, sprintf $ways{$_}, $setting, "'$value'", "'$setting'") eq '') for @ways;
			$check->('SET when connecting by ' . $_->[0], connects($role, @$_[ 1, 2 ]))
			  for [ 'PGOPTIONS', options => "-c $setting=$value" ], [ 'name', $setting => $value ];
			session_of($role)->ask("ALTER SYSTEM RESET $setting");
			check($role, "ALTER SYSTEM $setting", session_of($role)->{sqlstate} eq '', '');
		}
	}
	all_as_expected('settings are changed by whom they should be');
}

sub connects
{
	my ($role, $parameter, $value) = @_;
	my $session = eval { wire($node, user => $role, parameters => { $parameter => $value }) } or return 0;
	$session->close;
	return 1;
}

# A rule that names a role is not for everybody who takes the name of its application.
sub test_exemption
{
	sql(q(INSERT INTO pgleak.rules (role, application_name, idle_leak_after) VALUES ('monitor', 'exempt', '0')));
	my $decider = q(SELECT source FROM pgleak.limits_for(pg_backend_pid()) WHERE setting = 'pgleak.idle_leak_after');
	session_of($_)->do(q(SET application_name = 'exempt')) for keys %roles;
	eventually(sub { session_of('monitor')->ask($decider) =~ /^rule/ }, 'a rule exempts a role');
	check($_, 'exempt oneself by application_name', session_of($_)->ask($decider) =~ /^rule/, 'monitor')
	  for grep { $_ ne 'boss' } keys %roles;
	session_of($_)->do('RESET application_name') for keys %roles;
	sql('DELETE FROM pgleak.rules');
	all_as_expected('nobody is exempt because of the name he gives himself');
}

# Processes -------------------------------------------------------------------------------------------------------------

# The targets are in no transaction, so there is nothing to cancel for a role that is let through. A target that was
# terminated gets a successor.
sub test_targets
{
	my %may = (ordinary => 'ordinary signaller', boss => '', writer => 'writer signaller', monitor => 'monitor signaller');
	my %target = map { $_ => wire($node, user => $_) } keys %may;
	my %pid = map { $_ => $target{$_}{pid} } keys %may;
	my $renew = sub {
		my ($who) = @_;
		return if sql("SELECT count(*) FROM pg_stat_activity WHERE pid = $pid{$who}");
		$target{$who} = wire($node, user => $who);
		$pid{$who} = $target{$who}{pid};
	};
	my $walsender = session($node, replication => 'true');
	$walsender->ask('IDENTIFY_SYSTEM');
	my %background = map { split /=/ } split /\n/, sql(q(SELECT backend_type || '=' || pid FROM pg_stat_activity
		WHERE backend_type <> 'client backend' AND backend_type !~ '^autovacuum worker|^parallel'));
	is(join(' ', grep { exists $background{$_} } 'pgleak scanner', 'pgleak recorder', 'walsender', 'checkpointer'),
		'pgleak scanner pgleak recorder walsender checkpointer', 'there are processes that nobody may act on');
	for my $role (sort keys %roles)
	{
		for my $action ('cancel', 'terminate')
		{
			for my $who (sort keys %may)
			{
				$renew->($who);
				check($role, "$action session of $who", is_let($role, "SELECT pgleak.$action($pid{$who})"), $may{$who});
			}
			for my $type (sort keys %background)
			{
				never($role, "$action $type", session_of($role)->ask("SELECT pgleak.$action($background{$type})") eq 't');
			}
		}
		# The server's own functions spare pgleak's workers, but for superusers.
		next if $role eq 'boss';
		check($role, "$_->[1] $_->[0]", is_let($role, "SELECT $_->[1]($background{$_->[0]})"), '')
		  for map { my $type = $_; map { [ $type, $_ ] } 'pg_cancel_backend', 'pg_terminate_backend' } 'pgleak scanner', 'pgleak recorder';
	}
	$renew->($_) for keys %may;
	is(sql('SELECT count(*) FROM pg_stat_activity WHERE pid IN (' . join(',', values %pid, values %background) . ')'),
		keys(%pid) + keys(%background), 'all are still there');
	$_->close for $walsender, values %target;
	all_as_expected('sessions are acted on by whom they should be, other processes by nobody');
}

# What others run -------------------------------------------------------------------------------------------------------

my $secret = 'hunter2';

# Where statements, tags and trails show up, and who sees an ordinary role's and a superuser's.
my %shown = (
	'SELECT l FROM pgleak.leaks l' => 'victim monitor statistics',
	'SELECT t FROM pgleak.top t' => 'victim monitor statistics',
	'SELECT l FROM pgleak.read_leaks() l' => 'victim monitor statistics',
	'SELECT h FROM pgleak.history h' => 'monitor',
	'SELECT o FROM pgleak.offenders o' => 'monitor',
	'SELECT m FROM pgleak.metrics_routes m' => 'monitor',
	'SELECT pgleak.report()' => 'monitor');
# The advice on a pool names the route that leaks, once there is advice.
my @perhaps = map { "SELECT x FROM $_ x" } 'pgleak.pools', 'pgleak.read_pools()';
# Where they never do.
my @never = map { "SELECT x FROM $_ x" } 'pgleak.stats', 'pgleak.rules', 'pgleak.metrics_sessions', 'pgleak.metrics_pools',
  'pgleak.metrics_outcomes', 'pgleak.metrics_workers', 'pgleak.horizon', 'pgleak.metrics_horizon', 'pgleak.metrics_slots';

# The columns that everybody sees of others' leaks, as in pg_stat_activity.
my $masked = 'application_name database kind leak_id pid query role';

sub test_secrets
{
	my %leak = map { $_ => leaking_wire($node, user => $_, query => "/*route='$secret'*/ SELECT '$secret'") } 'victim', 'boss';
	sql(q(INSERT INTO pgleak.rules (idle_leak_after) VALUES ('1ms')));
	eventually_recorded($node, $leak{$_}, 'open', "the session of $_ leaks") for sort keys %leak;
	for my $role (sort keys %roles)
	{
		my $session = session_of($role);
		for my $query (sort keys %shown)
		{
			for my $whose (sort keys %leak)
			{
				my $expected = $whose eq 'victim' ? $shown{$query} : $shown{$query} =~ s/^victim //r;
				my $restricted = $query =~ /leaks/ ? "$query WHERE pid = $leak{$whose}{pid}" : $query;
				next if $restricted eq $query && $whose eq 'boss' && $role eq 'victim';    # both in one
				check($role, "read $whose by $restricted", $session->ask($restricted) =~ /$secret/, $expected);
			}
		}
		never($role, "read by $_", $session->ask($_) =~ /$secret/)
		  for @never, $role =~ /^(victim|monitor|statistics|boss)$/ ? () : @perhaps;
		for my $whose (sort keys %leak)
		{
			my $is_privileged = $role =~ /^(monitor|statistics|boss|$whose)$/;
			my $columns = $session->ask(qq(SELECT string_agg(key COLLATE "C", ' ' ORDER BY key COLLATE "C")
				FROM pgleak.leaks l, jsonb_each_text(to_jsonb(l)) WHERE value IS NOT NULL AND pid = $leak{$whose}{pid}));
			check($role, "see more than the mask of $whose", $columns ne $masked, $is_privileged ? $role : '');
			check($role, "see the limits of $whose", is_let($role, "SELECT pgleak.limits_for($leak{$whose}{pid})"),
				$is_privileged ? $role : '');
		}
	}
	sql('DELETE FROM pgleak.rules');
	$_->close for values %leak;
	all_as_expected('what others run is seen by whom it should be');
}

# What can be forged ----------------------------------------------------------------------------------------------------

# NOTIFY is open to everybody in PostgreSQL. What cannot be forged is who sent it, and no statement is in it.
sub test_notifications
{
	my $listener = session_of('ordinary');
	my $recorder = worker_pid($node, 'recorder');
	$listener->do('LISTEN pgleak');
	my $session = leaking_wire($node, user => 'victim', query => "/*route='$secret'*/ SELECT '$secret'");
	sql(q(INSERT INTO pgleak.rules (role, idle_leak_after) VALUES ('victim', '1ms')));
	my (@payloads, @senders);
	my $collect = sub {
		$listener->ask('SELECT 1');
		push @payloads, @{ $listener->{payloads} };
		push @senders, @{ $listener->{senders} };
	};
	eventually(sub { $collect->(); grep { /"pid": $session->{pid},/ } @payloads }, 'anybody may listen');
	is(join(' ', grep { $_ != $recorder } @senders), '', 'what pgleak notifies comes from the recorder');
	never('ordinary', 'hear statements', scalar grep { /$secret/ } @payloads);
	session_of($_)->do(q(NOTIFY pgleak, '{"event": "forged"}')) for grep { $_ ne 'ordinary' } sort keys %roles;
	eventually(sub { $collect->(); 9 == grep { /forged/ } @payloads }, 'anybody may notify');
	never('ordinary', 'forge the sender', scalar grep { $payloads[$_] =~ /forged/ && $senders[$_] == $recorder } 0 .. $#senders);
	$listener->do('UNLISTEN pgleak');
	$session->close;
	sql('DELETE FROM pgleak.rules');
	all_as_expected('a notification cannot pretend to come from the recorder');
}

# RAISE LOG is open to everybody too; a line of it cannot pretend to come from the scanner, nor one message be two.
sub test_log
{
	my $mark = log_mark($node);
	my $message = "pgleak: session leak: pid=1 database=forged\n2026-01-01 00:00:00.000 UTC [1] pgleak scanner: LOG:  pgleak: session leak: pid=1";
	for my $role (sort keys %roles)
	{
		session_of($role)->do("SET client_min_messages = error", "DO \$\$BEGIN RAISE LOG E'$message'; END\$\$");
		check($role, 'forge a line of the log', log_count($node, qr/^\S+ \S+ \S+ \[\d+\] pgleak scanner: LOG:  pgleak: session leak: pid=1\b/m, $mark), '')
		  if $role ne 'boss';
	}
	is(log_count($node, qr/client backend: LOG:  pgleak: session leak: pid=1 database=forged/, $mark), scalar keys %roles,
		'what anybody may write into the log bears the mark of a client');
	all_as_expected('a line of the log cannot pretend to come from the scanner');
}

# Nothing that a session brings along is markup in the report.
sub test_report
{
	my $evil = q(<script>alert('x')</script>"><img src=x onerror=alert(1)>&);
	(my $encoded = $evil) =~ s/(\W)/sprintf '%%%02X', ord $1/ge;
	(my $quoted = substr $evil, 0, 63) =~ s/"/""/g;
	sql(qq(CREATE ROLE "$quoted" LOGIN; CREATE DATABASE "$quoted"));
	my @leaks = map { leaking_wire($node, user => substr($evil, 0, 63), dbname => $_, parameters => { application_name => substr $evil, 0, 63 },
		query => "/*route='$encoded'*/ SELECT \$\$$evil\$\$") } 'postgres', substr $evil, 0, 63;
	sql(q(INSERT INTO pgleak.rules (idle_leak_after, idle_cancel_after) VALUES ('1ms', '10ms')));
	eventually_recorded($node, $_, 'cancelled', 'a session of hostile names leaks and is cancelled') for @leaks;
	my $report = session_of('monitor')->ask('SELECT pgleak.report()');
	my %expected = map { $_ => 1 } qw(!doctype html head meta link title style body h1 h2 p div b span svg g rect line table thead
		tbody tr th td br code path h3 details summary);
	my @tags = map { lc } $report =~ m{<\s*/?\s*([^\s>/]+)}g;
	never('ordinary', "bring the tag $_ into the report", !$expected{$_}) for @tags;
	never('ordinary', "bring the attribute $_ into the report", 1) for $report =~ /<[^>]*\b(on\w+|src)\s*=/g;
	cmp_ok(scalar(() = $report =~ /&lt;script&gt;alert\(&#39;x&#39;\)&lt;\/script&gt;/g), '>', 5, 'the report has the names, as text');
	sql('DELETE FROM pgleak.rules');
	$_->close for @leaks;
	all_as_expected('nothing in the report is markup that a session has brought along');
}

create_roles($node);
sql('ALTER DATABASE postgres OWNER TO owner; GRANT SELECT, INSERT, UPDATE, DELETE ON pgleak.rules TO writer');
sql("GRANT SET ON PARAMETER $granted_setting TO setter");

my $acls = q(SELECT string_agg(o::text, ' ' ORDER BY o::text) FROM (
	SELECT relname, relowner, relacl FROM pg_class WHERE relnamespace = 'pgleak'::regnamespace UNION ALL
	SELECT proname, proowner, proacl FROM pg_proc WHERE pronamespace = 'pgleak'::regnamespace) o);
my $before = sql($acls);
test_relations();
test_functions();
test_extension();
test_settings();
test_exemption();
test_targets();
test_secrets();
test_notifications();
test_log();
test_report();
is(sql($acls), $before, 'owners and privileges are what they were');
is(sql('SELECT recorder_errors, last_error FROM pgleak.stats'), '0|', 'nothing of all this was an error of pgleak');
note(sprintf 'privilege matrix: %d checks, %d allowed that should not be', totals());

$node->stop;
done_testing();
