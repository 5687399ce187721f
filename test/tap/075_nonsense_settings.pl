# Nonsense as the value of each setting, everywhere a setting can be given: it is refused with an error that names the
# setting, or the server runs with it. The server never fails to start because of a value that ALTER SYSTEM or SET took,
# never crashes, and the workers live on.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakActions;
use PgleakTest;

use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('nonsense', conf => "max_connections = 20\nlog_min_messages = warning\n");

sub ask { return $node->safe_psql('postgres', $_[0]); }

my %setting = map { my ($name, $type, $context, $default) = split /\|/; $name => { type => $type, context => $context, default => $default } }
  split /\n/, ask(q(SELECT name, vartype, context, boot_val FROM pg_settings WHERE name LIKE 'pgleak.%'));
cmp_ok(scalar(keys %setting), '>=', 20, 'the settings are known');

# What somebody could write by mistake, or on purpose: beyond every type, at its ends, in units that do not go with it.
my @values = (
	'', ' ', 'NaN', '-NaN', 'Infinity', '-inf', 'NULL', 'default', 'nonsense', '0x10', '010', '1e3', '1e400', '-1e400', '1.5', '0.0001',
	'-0', '-1', '-1ms', '-1s', '1', '2147483647', '2147483648', '-2147483648', '-2147483649', '9223372036854775807',
	'99999999999999999999', '2147483647ms', '2147483647s', '2147483647d', '24d', '25d', '100000d', '1y', '1us', '1 s', '1 fortnight',
	'1kB', '1GB', '1S', '1MIN', '10s10s', '1s;', '60 000', '1,000', '50%', '100', '101', 'on', 'off', 'yes', 'maybe', 'true,false',
	'any', 'blocking, locks', 'none', 'ANY', "it's", 'quote"', 'back\\slash', "new\nline", "tab\t", '${x}', '%s%n', '*', '/etc/passwd',
	"caf\xC3\xA9", 'x' x 63, 'x' x 64, 'x' x 10_000);

sub quoted { return "'" . ($_[0] =~ s/'/''/gr) . "'"; }

# The answer to a query that must not fail.
sub ask_in
{
	my ($session, $query) = @_;
	my $answer = $session->ask($query);
	die "$query: $session->{message}" if $session->{sqlstate};
	return $answer;
}

# By who reads their values when.
my @at_start = grep { $setting{$_}{context} eq 'postmaster' } sort keys %setting;
my @on_reload = grep { $setting{$_}{context} eq 'sighup' } sort keys %setting;
my @in_session = grep { $setting{$_}{context} eq 'superuser' } sort keys %setting;

my $started_at = ask('SELECT started_at FROM pgleak.stats');

# Test: the server and both workers run as before.
sub lives
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(ask('SELECT started_at FROM pgleak.stats'), $started_at, "$name: the server has not restarted");
	eventually(sub { worker_pid($node, 'scanner') ne '' && worker_pid($node, 'recorder') ne '' }, "$name: both workers live");
}

# Test: an error is about the setting, and of the kind that a wrong value is.
my $clear = join '|', map { qr/$_/ }
  'invalid value for parameter "pgleak\.\w+"',
  'is outside the valid range for parameter "pgleak\.\w+"',
  'parameter "pgleak\.\w+" requires a (?:Boolean|numeric) value',
  'parameter value for ALTER SYSTEM must not contain a newline';

# In a session, in a transaction of one, for a role and for a database.
sub test_session
{
	my $session = wire($node);
	my %count = (refused => 0, accepted => 0);
	my (@unclear, @unusable);
	for my $name (@in_session)
	{
		for my $value (@values)
		{
			for my $statement ("SET $name = " . quoted($value), "SET LOCAL $name = " . quoted($value),
				"ALTER ROLE CURRENT_USER SET $name = " . quoted($value), "ALTER DATABASE postgres SET $name = " . quoted($value),
				"SELECT set_config('$name', " . quoted($value) . ", false)")
			{
				$session->do('BEGIN');
				$session->ask($statement);
				my $is_refused = $session->{sqlstate} ne '';
				$count{ $is_refused ? 'refused' : 'accepted' }++;
				push @unclear, "$statement: $session->{message}"
				  if $is_refused && ($session->{sqlstate} ne '22023' || $session->{message} !~ /$clear/ || $session->{message} !~ /$name/);
				if (!$is_refused)
				{
					$session->ask("SHOW $name");
					push @unusable, "$statement: $session->{message}" if $session->{sqlstate};
					$session->ask('SELECT pgleak.limits_for(pg_backend_pid())');
					push @unusable, "$statement: $session->{message}" if $session->{sqlstate};
				}
				$session->do('ROLLBACK');
			}
		}
	}
	cmp_ok($count{refused}, '>', 500, "in a session: $count{refused} times nonsense is refused");
	cmp_ok($count{accepted}, '>', 100, "in a session: $count{accepted} times a value is taken");
	is(join("\n", @unclear[ 0 .. ($#unclear > 5 ? 5 : $#unclear) ]), '', 'in a session: each error names the setting');
	is(join("\n", @unusable), '', 'in a session: with whatever is taken, limits can be told');
	$session->close;
	lives('in a session');
}

# With ALTER SYSTEM, which takes only what is valid, and a reload of it. Returns what it took, by setting.
sub test_alter_system
{
	my $session = wire($node);
	my (@unclear, %taken);
	for my $name (sort keys %setting)
	{
		for my $value (@values)
		{
			$session->ask("ALTER SYSTEM SET $name = " . quoted($value));
			my $is_refused = $session->{sqlstate} ne '';
			push @unclear, "$name = $value: $session->{message}" if $is_refused && $session->{message} !~ /$clear/;
			push @{ $taken{$name} }, $value if !$is_refused;
			$session->ask('SELECT pg_reload_conf()') if !$is_refused && $setting{$name}{context} ne 'postmaster';
		}
		$session->ask("ALTER SYSTEM RESET $name");
	}
	$session->do('SELECT pg_reload_conf()');
	is(join("\n", @unclear[ 0 .. ($#unclear > 5 ? 5 : $#unclear) ]), '', 'ALTER SYSTEM: each error names the setting');
	$session->close;
	lives('ALTER SYSTEM and reload');
	return %taken;
}

# In the file itself, where nobody checks before the reload.
sub test_file
{
	my $file = $node->data_dir . '/postgresql.conf';
	my $kept = slurp_file($file);
	my $session = wire($node);
	my (@changed, @silent);
	for my $value (grep { !/\n/ } @values)
	{
		my $mark = log_mark($node);
		my %before = map { $_ => ask_in($session, "SHOW $_") } @on_reload, @in_session;
		append_to_file($file, join '', map { "$_ = " . quoted($value) . "\n" } @on_reload, @in_session);
		my $loaded = ask_in($session, 'SELECT pg_conf_load_time()');
		$session->do('SELECT pg_reload_conf()');
		PgleakTest::poll(sub { ask_in($session, 'SELECT pg_conf_load_time()') ne $loaded }, 60) or die 'no reload';
		# Either the whole file is refused, and then nothing of it holds, or all of it is.
		my $errors = log_count($node, qr/pgleak\.\w+/, $mark);
		my @moved = grep { ask_in($session, "SHOW $_") ne $before{$_} } keys %before;
		my $has_failed = log_count($node, qr/contains errors/, $mark);
		push @changed, "$value: @moved" if $has_failed && log_count($node, qr/no changes were applied/, $mark) && @moved;
		push @silent, $value if $has_failed && !$errors;
		unlink $file;
		append_to_file($file, $kept);
	}
	is(join("\n", @changed), '', 'the file: what is refused as a whole changes nothing');
	is(join("\n", @silent), '', 'the file: the log names the setting');
	$session->do('SELECT pg_reload_conf()');
	$session->close;
	lives('the file');
}

# At the start: whatever ALTER SYSTEM took for one of them must not keep the server down. Their ends are what costs memory.
sub test_start
{
	my (%taken) = @_;
	for my $round (0 .. 2)
	{
		my @chosen;
		for my $name (@at_start)
		{
			my @those = @{ $taken{$name} // [] };
			next unless @those;
			# The first, the last and one between; of a number the smallest and the largest among them.
			@those = sort { $a <=> $b } grep { /^\d+$/ } @those if $setting{$name}{type} eq 'integer';
			my $value = $those[ ( 0, $#those, int(@those / 2) )[$round] ] // next;
			ask("ALTER SYSTEM SET $name = " . quoted($value));
			push @chosen, "$name = " . substr $value, 0, 20;
		}
		$node->restart;
		is(ask('SELECT 1'), 1, 'the server starts with ' . join ', ', @chosen);
	}
	ask("ALTER SYSTEM RESET $_") for @at_start;
	$node->restart;
	eventually_recording($node, 'and records when they are gone');
}

test_session();
my %taken = test_alter_system();
test_file();
test_start(%taken);
my $session = leak($node);
eventually_recorded($node, $session, 'open', 'after all that a leak is recorded');
$session->close;
# Of a pgleak.database that there is not the recorder's first attempt to connect says so.
is(join("\n", grep { /PANIC|TRAP|terminated by signal|FATAL:  (?!database ".*" does not exist)/ } split /\n/, log_after($node)),
	'', 'no process has crashed');

$node->stop;
done_testing();
