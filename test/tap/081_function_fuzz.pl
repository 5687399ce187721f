# Arguments that nobody should give: every function of pgleak with NULLs, extremes, texts that are no value of the type, and a
# megabyte; its views under odd conditions; and rules with such values. Each call returns something or an error that says what
# is wrong: no internal error, no lost session, no crash. A rule is refused, or can be read by the recorder.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;
use PgleakActions;

use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('fuzz', conf => "statement_timeout = '60s'");

sub sql { return $node->safe_psql('postgres', $_[0]); }

# Values as SQL, by type. What no value of the type is, comes as a literal of unknown type.
my $long = q(repeat('x', 1000000));
my @any = ('NULL', "''", "'x'", "'\\'", "'-1'", "'1e400'", "'{}'", "'[]'", "'NaN'", "'infinity'", "'%s%n'", "E'\\x01\\x7f'");
my %values = (
	integer => [ '0', '-1', '1', '2147483647', '-2147483648', '2147483648', "'9223372036854775808'", "'0x10'" ],
	interval => [ "'0'", "'-1 s'", "'178000000 years'", "'-178000000 years'", "'1 month -30 days'", "'0.0000001 s'",
		"'9223372036854775807 us'", "make_interval(days => -2147483648)", "'1 year ago'", "'infinity'", "'-infinity'",
		"'1 day'", "'10 years'", "'11 years'" ],
	'timestamp with time zone' => [ "'infinity'", "'-infinity'", "'epoch'", 'now()', "'4713-01-01 BC'", "'294276-12-31 23:59:59'",
		"'2026-02-30'", "now() + '1 us'", "now() - '1 day'" ],
	bigint => [qw(-9223372036854775808 -1 0 1 9223372036854775807)],
	text => [ $long, "'<b>&\"'''", "E'\\n\\r\\t\\b\\x1b[2J'", "U&'\\+01F4A7\\FFFD\\202E'", "'%'", "repeat('%_', 1000)", "'a' || $long" ],
	'text[]' => [ "'{}'", "'{NULL}'", "ARRAY[$long]", "'{{a,b},{c,d}}'", "array_fill(''::text, ARRAY[10000])" ],
	jsonb => [ "'null'", "'[]'", "'\"route\"'", "'{\"route\": null}'", "'{\"route\": {\"a\": [1]}}'", "'{\"controller\": 1e300}'",
		"'{\"a\": \"\\u0000\"}'", "jsonb_build_object('route', $long)", "(repeat('[', 3000) || repeat(']', 3000))::jsonb" ]);

# Calls of a function: each argument takes each of its values while the others stay ordinary, then all of them together take
# a value each, then there are too few and too many.
my %ordinary = (integer => '1', bigint => '1', interval => "'1 hour'", 'timestamp with time zone' => "'2026-01-01'", text => "'a'",
	'text[]' => "'{a}'", jsonb => "'{\"route\": \"a\"}'");

sub calls
{
	my ($name, @types) = @_;
	my @lists = ([], [ map { 'NULL' } @types ], [ map { $ordinary{$_} } @types ], [ ('NULL') x (@types + 1) ]);
	my $most = 0;
	for my $i (0 .. $#types)
	{
		my @candidates = (@{ $values{ $types[$i] } }, @any);
		$most = @candidates if @candidates > $most;
		for my $value (@candidates)
		{
			my @arguments = map { $ordinary{$_} } @types;
			$arguments[$i] = $value;
			push @lists, [@arguments];
		}
	}
	for my $n (0 .. $most - 1)
	{
		push @lists, [ map { my @v = (@{ $values{$_} }, @any); $v[ $n % @v ] } @types ] if @types > 1;
	}
	return map { "SELECT length(f::text) FROM (SELECT pgleak.$name(" . join(', ', @$_) . ') f OFFSET 0) x' } @lists;
}

my %count = (calls => 0, values => 0, errors => 0, bad => 0);
my @bad;
my $session = wire($node);

# Runs a statement; what is neither a value nor an error that belongs to the one who made it is bad.
sub fuzz
{
	my ($statement) = @_;
	my $mark = substr $statement, 0, 200;
	$count{calls}++;
	$session->ask($statement);
	$count{ $session->{sqlstate} eq '' ? 'values' : 'errors' }++;
	my $is_bad = !$session->{is_open} || $session->{sqlstate} =~ /^(XX|57P0|58|53)/ || $session->{severity} eq 'FATAL'
	  || ($session->{sqlstate} ne '' && $session->{message} eq '');
	push @bad, "$mark: $session->{sqlstate} $session->{message}" if $is_bad;
	$session = wire($node) unless $session->{is_open};
	return $session->{sqlstate};
}

sub none_bad
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$count{bad} += @bad;
	is(scalar @bad, 0, $name) or diag(join "\n", splice @bad);
}

sub test_functions
{
	my @functions = split /\n/, sql(q(SELECT proname, array_to_string(ARRAY(SELECT format_type(t, NULL) FROM unnest(proargtypes) t), '|')
		FROM pg_proc WHERE pronamespace = 'pgleak'::regnamespace ORDER BY oid));
	for (@functions)
	{
		my ($name, @types) = split /\|/;
		my @unknown = grep { !$values{$_} } @types;
		is("@unknown", '', "there are values for the arguments of $name()");
		fuzz($_) for @unknown ? () : calls($name, @types);
		# As what it is not.
		fuzz($_) for "BEGIN; CREATE TRIGGER t BEFORE INSERT ON pgleak.rules FOR EACH ROW EXECUTE FUNCTION pgleak.$name()",
		  'INSERT INTO pgleak.rules DEFAULT VALUES', 'ROLLBACK', "CALL pgleak.$name()",
		  "SELECT pgleak.$name(VARIADIC ARRAY[1])", "SELECT pgleak.$name(DISTINCT 1)", "SELECT 1 ORDER BY pgleak.$name()",
		  "SELECT * FROM pgleak.$name(1) AS (a int)", "SELECT pgleak.$name(1) OVER ()", "EXPLAIN (COSTS off) SELECT pgleak.$name(NULL)";
	}
	none_bad('no function ends with an internal error, or takes the session along');
}

# A trigger function of the extension's on other tables, in other events, is as good as none.
sub test_trigger_elsewhere
{
	my $function = 'EXECUTE FUNCTION pgleak.note_rule_change()';
	fuzz($_) for 'CREATE TABLE elsewhere (i int)', 'CREATE VIEW seen AS SELECT * FROM elsewhere';
	for my $when ('BEFORE INSERT', 'AFTER INSERT', 'BEFORE UPDATE', 'AFTER DELETE', 'BEFORE TRUNCATE', 'AFTER TRUNCATE')
	{
		for my $each ('ROW', 'STATEMENT')
		{
			fuzz("CREATE TRIGGER mine $when ON elsewhere FOR EACH $each $function");
			fuzz($_) for 'INSERT INTO elsewhere VALUES (1), (2)', 'UPDATE elsewhere SET i = i + 1', 'DELETE FROM elsewhere',
			  'TRUNCATE elsewhere', 'DROP TRIGGER IF EXISTS mine ON elsewhere';
		}
	}
	fuzz("CREATE TRIGGER mine INSTEAD OF INSERT ON seen FOR EACH ROW $function");
	fuzz('INSERT INTO seen VALUES (1)');
	fuzz("CREATE EVENT TRIGGER mine ON ddl_command_start $function");
	none_bad('nor does the trigger function where it does not belong');
}

sub test_views
{
	for my $view (split /\n/, sql(q(SELECT relname FROM pg_class WHERE relnamespace = 'pgleak'::regnamespace AND relkind = 'v')))
	{
		my @columns = split /\n/, sql("SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = 'pgleak.$view'::regclass AND attnum > 0");
		fuzz("SELECT count(*) FROM pgleak.$view WHERE $_ IS NULL OR $_ = $_ OR ${_}::text LIKE '%\\' OR length(${_}::text) / 0 > 1") for @columns;
		fuzz("SELECT $_, count(*) FROM pgleak.$view GROUP BY 1 HAVING count(*) < 0 ORDER BY 1 DESC NULLS FIRST") for @columns;
		fuzz("SELECT (SELECT max(v.${_}::text) FROM pgleak.$view v WHERE v.$_ > o.$_) FROM pgleak.$view o LIMIT 0") for @columns;
		fuzz($_) for "SELECT * FROM pgleak.$view a, pgleak.$view b, LATERAL (SELECT a.*) c LIMIT 1", "TABLE pgleak.$view FOR UPDATE",
		  "SELECT * FROM pgleak.$view TABLESAMPLE system (1)", "INSERT INTO pgleak.$view DEFAULT VALUES", "COPY pgleak.$view TO STDOUT",
		  "SELECT ctid, xmin FROM pgleak.$view", "SELECT row_to_json(v) FROM pgleak.$view v OFFSET 9223372036854775807",
		  "DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT * FROM pgleak.$view", 'FETCH BACKWARD ALL FROM c', 'CLOSE c',
		  "WITH RECURSIVE r AS (SELECT * FROM pgleak.$view UNION ALL SELECT * FROM r WHERE false) SELECT count(*) FROM r";
	}
	none_bad('nor does a view');
}

# Rules ----------------------------------------------------------------------------------------------------------------

my $never_or_some = [ "'0'", "'1 us'", "'24 days'", "'24 days 1 us'", "'-1 us'", "'1 month'", "'1 month -30 days'", "'-1 month 31 days'",
	"'178000000 years'", "'-178000000 years'", "'infinity'", "'-infinity'", "'NaN'", "'576 hours'", "make_interval(days => 2147483647)",
	"'9223372036854775807 us'", "'1 day -86400 s'" ];
my %rule_values = (
	id => [ '0', '-1', '2147483647', '-2147483648', '2147483648' ],
	priority => [ '0', '2147483647', '-2147483648', '2147483648', 'NULL' ],
	(map { $_ => [ "''", "' '", "'x'", "repeat('x', 63)", "repeat('x', 64)", "repeat(U&'\\20AC', 21)", "repeat(U&'\\20AC', 22)", $long,
		"E'\\n\\t\\x01'", "'pg\\_monitor'", "'public'", "'%'" ] } qw(database role)),
	application_name => [ "''", "'%'", "'_'", "'\\'", "'\\\\'", "'\\\\\\'", "'a\\'", "'\\%'", "'\\a'", "'%\\'", "repeat('%_', 63)", "repeat('%', 127)",
		"repeat('%a', 63)", "repeat('x', 128)", $long, "E'\\n\\x7f'", "U&'\\20AC%'", "repeat('\\', 127)", "repeat('\\', 126)" ],
	client_addr => [ "'0.0.0.0/0'", "'::/0'", "'::ffff:10.0.0.1'", "'::ffff:10.0.0.0/96'", "'10.1.2.3/8'", "'255.255.255.255/32'", "'fe80::1/10'",
		"'10.0.0.0/33'", "'::/129'", "'10.0.0.0/-1'", "'10.0.0'", "'::1%lo'", "''", "'127.0.0.1'::cidr" ],
	min_impact => [ "''", "'none'", "'NONE'", "'blocking '", "'blocking'", $long ],
	(map { $_ => $never_or_some } qw(idle_leak_after idle_cancel_after idle_terminate_after
		transaction_leak_after transaction_cancel_after transaction_terminate_after
		blocking_leak_after blocking_cancel_after blocking_terminate_after)),
	valid_until => [ "'infinity'", "'-infinity'", "'4713-01-01 BC'", "'294276-12-31'", "'epoch'", 'now()', "now() + '1 us'" ],
	enabled => [ 'true', 'false', 'NULL', "'maybe'" ],
	note => [ $long, "''", "E'\\n\\x01'", "U&'\\+01F4A7'" ]);

sub test_rules
{
	all_columns();
	my ($accepted, $refused) = (0, 0);
	for my $column (sort keys %rule_values)
	{
		for my $value (@{ $rule_values{$column} }, 'NULL', "'\\'", "'-1'")
		{
			# It matches the fuzzer himself as far as the value lets it, so that all of it is looked at.
			my $sqlstate = fuzz("INSERT INTO pgleak.rules ($column) VALUES ($value)");
			$sqlstate eq '' ? $accepted++ : $refused++;
			push @bad, "$column = $value: $sqlstate is no error about a value" if $sqlstate !~ /^(|22...|23...|428C9)$/;
			next if $sqlstate ne '';
			$session->ask('SELECT count(*) FROM pgleak.limits_for(pg_backend_pid())');
			push @bad, "$column = $value: $session->{message}" if $session->{sqlstate} ne '';
		}
		# What was accepted can be read: the rules come into force, all of them.
		my $mark = log_mark($node);
		sql(q(INSERT INTO pgleak.rules (id, priority, idle_leak_after) VALUES (-2147483647, -2147483648, '1234s')));
		eventually_is($node, qq(SELECT count(*) > 0 FROM pgleak.limits_for($session->{pid})
			WHERE setting = 'pgleak.idle_leak_after' AND value = '1234 s' AND source LIKE 'rule %'), 't', "rules with each value of $column that is accepted can be read")
		  or diag(log_after($node, $mark));
		sql('DELETE FROM pgleak.rules');
	}
	none_bad('what a rule cannot be is refused with an error about the value');
	note("rules: $accepted accepted, $refused refused");
	cmp_ok($accepted, '>', 50, 'many are accepted');
	cmp_ok($refused, '>', 50, 'and many refused');
}

sub all_columns
{
	is(join(' ', sort keys %rule_values), sql(q(SELECT string_agg(attname, ' ' ORDER BY attname COLLATE "C") FROM pg_attribute
		WHERE attrelid = 'pgleak.rules'::regclass AND attnum > 0 AND NOT attisdropped)), 'there are values for each column of a rule');
}

# There is something to look at: two leaks, one of them aborted, and their history.
sql('CREATE ROLE app LOGIN');
my @leaks = map { leaking_wire($node, user => 'app', query => $_) } "/*route='/a'*/ SELECT 1", 'SELECT 1/1';
$leaks[1]->ask('SELECT 1/0');
eventually_recorded($node, $_, 'open', 'there is a leak') for @leaks;
my $workers = q(SELECT string_agg(pid::text, ' ' ORDER BY backend_type) FROM pg_stat_activity WHERE backend_type LIKE 'pgleak %');
my $before = sql("$workers") . ' ' . sql('SELECT pg_postmaster_start_time(), started_at FROM pgleak.stats');

test_functions();
test_trigger_elsewhere();
test_views();
test_rules();

is(sql($workers) . ' ' . sql('SELECT pg_postmaster_start_time(), started_at FROM pgleak.stats'), $before, 'server and workers are what they were');
is(sql('SELECT recorder_errors, last_error FROM pgleak.stats'), '0|', 'nothing was an error of the recorder');
is(log_count($node, qr/terminated by signal|TRAP|PANIC|was terminated|exited with exit code/), 0, 'nothing has crashed');
note("function fuzz: $count{calls} calls, $count{values} values, $count{errors} errors, $count{bad} bad");

$_->close for @leaks, $session;
$node->stop;
done_testing();
