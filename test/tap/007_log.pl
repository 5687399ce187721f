# What pgleak tells the outside: one record in the log for each event, in every format, with fixed keys and nothing that a
# name or a statement could forge; and one notification with valid JSON.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakLogs;
use PgleakTest;

use JSON::PP ();
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('log', conf => logging_in_all_formats() . "track_activity_query_size = 2048\n");

my @formats = qw(csvlog jsonlog stderr);

# What a forger would like to see as a line of its own.
my $forgery = '2026-01-01 00:00:00.000 UTC [1] LOG:  pgleak: session leak: pid=1 database=forged';

# The records about the session's event, in one format.
sub records_of
{
	my ($format, $event, $session) = @_;
	return grep { $_->[0] =~ /^pgleak: $event: pid=$session->{pid} / } log_records($node, $format);
}

# Tests -----------------------------------------------------------------------------------------------------------------

sub test_keys
{
	my $session = leak($node, query => "SELECT 'plain'");
	eventually(sub { records_of('jsonlog', 'session leak', $session) }, 'a leak is logged');
	$session->do('COMMIT');
	eventually(sub { records_of('jsonlog', 'session leak ended', $session) }, 'its end is logged');
	my $leak_id = $node->safe_psql('postgres', "SELECT leak_id FROM pgleak.history WHERE pid = $session->{pid}");
	my $role = $node->safe_psql('postgres', 'SELECT current_user');
	my $who = "pid=$session->{pid} database=postgres role=$role application=007_log.pl client=local clock=idle";

	my ($opened) = records_of('jsonlog', 'session leak', $session);
	like($opened->[0], qr/^pgleak: session leak: $who for=[0-9.]+s limit=0\.2s source=server state="idle in transaction" impact=none leak_id=$leak_id$/,
		'the line about a leak has its fixed keys');
	is($opened->[1], "Last statement: SELECT 'plain';", 'its DETAIL is the statement');
	my ($ended) = records_of('jsonlog', 'session leak ended', $session);
	like($ended->[0], qr/^pgleak: session leak ended: $who outcome=committed lasted=[0-9.]+s impact=none leak_id=$leak_id$/,
		'the line about its end has its fixed keys');
	is($ended->[1], undef, 'and no DETAIL');
	$session->close;
}

# One event is one record, in every format, and says what it must.
sub check_records
{
	my ($name, $session, %expected) = @_;
	eventually_recorded($node, $session, 'open', "$name: the leak is recorded");
	$session->close;
	eventually_recorded($node, $session, 'disconnected', "$name: its end is recorded");

	for my $format (@formats)
	{
		my @opened = records_of($format, 'session leak', $session);
		is(scalar @opened, 1, "$name: the leak is one record in $format");
		is(scalar(records_of($format, 'session leak ended', $session)), 1, "$name: its end is one record in $format");
		my %pair = pairs($opened[0][0] =~ s/^pgleak: session leak: //r);
		is($pair{$_}, $expected{$_}, "$name: $_ is told as it is in $format") for sort keys %expected;
		unlike(join('', @{ $opened[0] }), qr/[\x00-\x1F]/, "$name: no control character is in $format");
		is(scalar(grep { $_->[0] =~ /^pgleak: session leak: pid=1 / } log_records($node, $format)), 0, "$name: no record is forged in $format");
	}
}

# The route is told in the line, and cannot forge another key of it.
sub test_route
{
	for my $route ('/orders', "a\" pid=1 role=\"x\n$forgery", 'x' x 300)
	{
		my $encoded = $route =~ s/([^A-Za-z0-9])/sprintf '%%%02X', ord $1/ger;
		my $session = leak($node, query => "/*route='$encoded'*/ SELECT 1");
		check_records("the route " . substr($route =~ s/[^ -~]/?/gr, 0, 20), $session,
			route => substr($route, 0, 128), pid => $session->{pid}, database => 'postgres');
	}
	my $session = leak($node, query => "/*controller:orders,action:show*/ SELECT 1");
	check_records('a route of marginalia', $session, route => 'orders#show');
	$session = leak($node, query => "/* no route */ SELECT '/*route:x*/'");
	check_records('no route', $session, route => undef);
}

sub create_database
{
	my ($name) = @_;
	return 0 == $node->psql('postgres', qq(CREATE DATABASE "$name"));
}

sub create_role
{
	my ($name) = @_;
	return 0 == $node->psql('postgres', 'CREATE ROLE "' . ($name =~ s/"/""/gr) . '" LOGIN');
}

sub test_hostile_application
{
	my $session = session($node);
	$session->do('SET application_name = E\'a\n' . substr($forgery, 0, 40) . q(" role=\"x\" \x1b[2J'), 'BEGIN', 'SELECT 1');
	my $shown = $session->ask('SHOW application_name');    # the server replaces what is not printable ASCII
	check_records('a hostile application_name', $session, application => $shown, clock => 'idle');
}

sub test_hostile_statement
{
	my $session = leak($node, query => "/* \t\x7F */ SELECT '\n$forgery\r\n\e[2J\x07'");
	check_records('a hostile statement', $session, database => 'postgres');
}

sub test_hostile_names
{
	for my $text (qq(quote " equals = backslash \\ space), qq(escape \e[31m bell \x07 tab \t), qq(a\n$forgery))
	{
		my $name = substr $text, 0, 63;
		my $label = $name =~ s/[^ -~]/?/gr;
	  SKIP:
		{
			skip "this server refuses the name: $label", 1 unless create_role($name);
			my $session = leak($node, user => $name);
			check_records("a hostile role $label", $session, role => $name);
		}
	}
	my $name = qq(quote ' equals = newline \n pid=1 x);
  SKIP:
	{
		skip 'this server refuses a database of that name', 1 unless create_database($name);
		my $session = leak($node, dbname => $name);
		check_records('a hostile database', $session, database => $name);
	}
}

sub test_without_query
{
	configure($node, 'pgleak.log_query' => 'off');
	# Once this leak is logged the scanner has read the configuration.
	my $first = leak($node, query => "SELECT 'first secret'");
	eventually_recorded($node, $first, 'open', 'a leak after pgleak.log_query = off');
	my $session = leak($node, query => "/*route='/second secret'*/ SELECT 'second secret'");
	eventually_recorded($node, $session, 'open', 'another leak after pgleak.log_query = off');
	for my $format (@formats)
	{
		my ($record) = records_of($format, 'session leak', $session);
		ok(!$record->[1], "pgleak.log_query = off leaves out the DETAIL in $format");
		unlike(log_text($node, $format), qr/second secret/,
			"and the statement is nowhere in $format");
	}
	is($node->safe_psql('postgres', "SELECT query FROM pgleak.history WHERE pid = $session->{pid}"),
		"/*route='/second secret'*/ SELECT 'second secret';", 'the history has it all the same');
	$_->close for $first, $session;
	configure($node, 'pgleak.log_query' => undef);
}

# The payloads about episodes that have arrived at a listening session since the last call.
sub payloads
{
	my ($listener) = @_;
	return grep { !/"event": "verdict"/ } $listener->ask('SELECT 1 WHERE false') =~
	  /Asynchronous notification "pgleak" with payload "(.*)" received from server process/g;
}

sub test_notify
{
	my $listener = session($node);
	$listener->do('LISTEN pgleak');
	my $role = qq(listened "to" \\ \t);
	create_role($role);
	my $session = leak($node, user => $role);
	my @payloads;
	eventually(sub { push @payloads, payloads($listener); @payloads >= 1 }, 'a leak is notified');
	$session->do('ROLLBACK');
	eventually(sub { push @payloads, payloads($listener); @payloads >= 2 }, 'its end is notified');

	my ($opened, $ended) = map { eval { JSON::PP->new->utf8->decode($_) } // { invalid => $_ } } @payloads;
	my $leak_id = $node->safe_psql('postgres', "SELECT leak_id FROM pgleak.history WHERE pid = $session->{pid}");
	my %who = (leak_id => $leak_id, kind => 'session', pid => $session->{pid}, database => 'postgres', role => $role,
		application_name => '007_log.pl', clock => 'idle', leak_after => 0.2, impact => 'none', blocked => 0);
	is_deeply($opened, { event => 'opened', %who }, 'the notification of a leak is valid JSON and says who');
	my $duration = delete $ended->{duration};
	is_deeply($ended, { event => 'ended', outcome => 'rolled back', %who }, 'so is that of its end, which says how');
	cmp_ok($duration, '>=', 0, 'and how long it lasted');
	$session->close;

	configure($node, 'pgleak.notify' => 'off');
	my $silent = leak($node);
	eventually_recorded($node, $silent, 'open', 'a leak after pgleak.notify = off');
	# The recorder may have read the configuration only now.
	payloads($listener);
	$silent->do('COMMIT');
	eventually_recorded($node, $silent, 'committed', 'and its end');
	$node->safe_psql('postgres', q(NOTIFY pgleak, 'the last'));
	my @last;
	eventually(sub { push @last, payloads($listener); @last && $last[-1] eq 'the last' }, 'a later notification arrives');
	is_deeply(\@last, ['the last'], 'pgleak.notify = off sends none');
	$_->close for $silent, $listener;
}

test_keys();
test_hostile_application();
test_hostile_statement();
test_hostile_names();
test_route();
test_without_query();
test_notify();

$node->stop;
done_testing();
