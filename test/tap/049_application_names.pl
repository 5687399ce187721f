# Names that differ in each process, connection or window are one application to pgleak.pools, pgleak.offenders, the metrics and
# the report; the name that PgBouncer gives says where the client of a leak is, for display alone; pgleak.max_pools. Which names
# stand for one application is tested in test/unit.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;
use PgleakActions;

use Test::More;

my $node = new_node('names', conf => "pgleak.max_pools = 20\npgleak.idle_leak_after = '500ms'\nlisten_addresses = '127.0.0.1'\n");

sub ask { return $node->safe_psql('postgres', $_[0]); }

# $count sessions that name themselves by an expression, in which i is the number of the session.
sub named
{
	my ($count, $name, %options) = @_;
	return map {
		my $i = $_;
		local $ENV{PGAPPNAME} = $name->($i);
		session($node, %options);
	} 1 .. $count;
}

sub eventually_pool
{
	my ($application, $columns, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return eventually_is($node, "SELECT $columns FROM pgleak.pools WHERE scope = 'pool' AND application_name = '$application'", $expected, $name);
}

# Tests -----------------------------------------------------------------------------------------------------------------

my %kinds = (
	'PgBouncer with application_name_add_host' => [ api => sub { "api - 10.0.1.$_[0]:" . (40000 + $_[0]) } ],
	'process IDs of Sidekiq' => [ sidekiq => sub { 'sidekiq-' . (12340 + $_[0]) } ],
	'processes of pgcopydb' => [ 'pgcopydb[*] copy' => sub { "pgcopydb[$_[0]] copy" } ],
	'pods' => [ 'shop-api' => sub { "shop-api-7d9f8b6c5d-x2x4" . qw(b c d f g)[ $_[0] ] } ],
	'hosts' => [ celery => sub { "celery\@web-$_[0]" } ],
	'tabs of DBeaver' => [ 'DBeaver 23.1' => sub { ('', 'DBeaver 23.1 - Main <shop>', map { "DBeaver 23.1 - SQLEditor <Script-$_.sql>" } 1 .. 4)[ $_[0] ] } ]);

sub test_one_application
{
	for my $kind (sort keys %kinds)
	{
		my ($application, $name) = @{ $kinds{$kind} };
		my @sessions = named(4, $name);
		eventually_pool($application, 'connections', 4, "$kind: one pool");
		$_->do('BEGIN', "/*route='/pay'*/ SELECT $_->{pid}") for @sessions;
		eventually_pool($application, 'leaked, verdict', '4|leaking', "$kind: it is leaking");
		is(ask("SELECT sessions FROM pgleak.metrics_sessions WHERE application = '" . $application . "'"), 4,
			"$kind: one label of the metrics");
		is(ask(q(SELECT count(DISTINCT application_name) FROM pgleak.leaks)), 4, "$kind: leaks keep the whole name");
		$_->do('ROLLBACK') for @sessions;
		eventually_is($node, "SELECT episodes, outcomes FROM pgleak.offenders WHERE application_name = '$application'",
			'4|{"rolled back": 4}', "$kind: one offender");
		my $pids = join ', ', map { $_->{pid} } @sessions;
		is(ask("SELECT count(DISTINCT application_name) FROM pgleak.history WHERE pid IN ($pids)"), 4, "$kind: the history keeps the whole name");
		like(ask(q(SELECT pgleak.report('1 hour'))), qr/<[^>]+>\Q$application\E</, "$kind: one lane of the report");
		$_->close for @sessions;
	}
}

# A name that several sessions share is not made up for each: as long as no other one comes, it is that of the pool.
sub test_shared_name
{
	my @sessions = named(1, sub { 'batch-12345' });
	eventually_pool('batch', 'connections', 1, 'shared name: of one session, it is unknown what differs');
	push @sessions, named(2, sub { 'batch-12345' });
	eventually_pool('batch-12345', 'connections', 3, 'shared name: several sessions have it, and so has the pool');
	push @sessions, named(1, sub { 'batch-12346' });
	eventually_pool('batch', 'connections', 4, 'shared name: another process has come');
	(pop @sessions)->close;
	eventually_pool('batch', 'connections', 3, 'shared name: it is known then what differs');
	$_->close for @sessions;
}

# What people mean to be different is.
sub test_different_applications
{
	my @names = qw(app1 app2 orders-v1 orders-v2 shop-eu-west-1 shop-eu-west-2 web.1 web.2);
	my @sessions = named(scalar @names, sub { $names[ $_[0] - 1 ] });
	eventually_is($node, q(SELECT string_agg(application_name, ' ' ORDER BY application_name COLLATE "C") FROM pgleak.pools
		WHERE application_name ~ '^(app|orders|shop-eu|web)'), "@names", 'different applications are different pools');
	$_->close for @sessions;
}

# A session is in the pool of its current name.
sub test_reset
{
	my ($session) = named(1, sub { 'from-the-string' });
	eventually_pool('from-the-string', 'connections', 1, 'the name of the connection string');
	for my $reset ('RESET ALL', 'DISCARD ALL', 'RESET application_name')
	{
		$session->do(q(SET application_name = 'changed - 10.0.0.1:4711'));
		eventually_pool('changed', 'connections', 1, "before $reset: the pool is that of the new name");
		is(ask(q(SELECT coalesce(sum(connections), 0) FROM pgleak.pools WHERE application_name = 'from-the-string')), 0, 'and not the old one');
		$session->do($reset);
		eventually_pool('from-the-string', 'connections', 1, "$reset: the pool is that of the connection string");
		is(ask(q(SELECT coalesce(sum(connections), 0) FROM pgleak.pools WHERE application_name = 'changed')), 0, 'and not that of the name before');
	}
	$session->close;
}

# Where PgBouncer says that the client is, in what is shown; and nowhere else.
sub test_client
{
	my $mark = log_mark($node);
	ask(q(INSERT INTO pgleak.rules (client_addr, idle_leak_after, note) VALUES ('10.9.9.0/24', '0', 'never'), ('127.0.0.1', '1s', 'this machine')));
	my $session = wire($node, tcp => 1, parameters => { application_name => 'spoof - 10.9.9.9:4711' });
	$session->do('BEGIN', 'SELECT 1');
	my $of_session = "WHERE pid = $session->{pid}";
	eventually_is($node, "SELECT client_addr, client_port, leak_after, application_name FROM pgleak.leaks $of_session",
		'10.9.9.9|4711|00:00:01|spoof - 10.9.9.9:4711', 'a leak has the address that its name says, and the limits of its own');
	eventually_is($node, "SELECT client_addr, client_port FROM pgleak.history $of_session", '10.9.9.9|4711', 'so has the history');
	my ($address, $port) = split /\|/, ask("SELECT client_addr, client_port FROM pg_stat_activity $of_session");
	like(log_after($node), qr/application="spoof - 10\.9\.9\.9:4711" .*client=\Q$address\E:$port\b/, 'the log has that of the connection');
	eventually_pool('spoof', 'client_addr', '127.0.0.1', 'a pool has the address that its connections come from');
	$session->close;

	for (['local - unix(17):6432', '|-1'], ['ipv6 - [2001:db8::1]:4711', '2001:db8::1|4711'], ['a' x 46 . ' - 10.0.0.12:4031', '10.0.0.12|'])
	{
		my ($name, $client) = @$_;
		my ($leak) = named(1, sub { $name });
		$leak->do('BEGIN', 'SELECT 1');
		eventually_is($node, "SELECT client_addr, client_port FROM pgleak.history WHERE pid = $leak->{pid}", $client, "the client of \"$name\"");
		$leak->close;
	}
	ask('DELETE FROM pgleak.rules');
}

# Pods have an address each. On Linux, all of 127.0.0.0/8 is this machine.
sub pods
{
	my ($from, $to) = @_;
	return map {
		wire($node, tcp => 1, from => "127.0.0.$_", parameters => { application_name => "pods-7d9f8b6c5d-x2x4" . qw(b c d f g h j k)[ $_ - 2 ] });
	} $from .. $to;
}

sub test_addresses
{
	my $sum = q(FROM pgleak.pools WHERE scope = 'application' AND application_name = 'pods');
	$node->append_conf('pg_hba.conf', "host all all 127.0.0.0/8 trust\n");
	$node->reload;
	my @pods = pods(2, 2);
	eventually_pool('pods', 'connections, client_addr', '1|127.0.0.2', 'addresses: a pod is a pool');
	is(ask("SELECT count(*) $sum"), 0, 'addresses: which needs no sum');
	push @pods, pods(3, 7);
	eventually_is($node, "SELECT connections, idle, capacity, verdict, advice, client_addr, role = current_user $sum", '6|6|6|ok|||t',
		'addresses: several pods are one application');
	my $mark = log_mark($node);
	$_->do('BEGIN', "/*route='/pay'*/ SELECT 1") for @pods[ 0 .. 3 ];
	eventually_is($node, "SELECT connections, leaked, verdict $sum", '6|4|leaking', 'addresses: the application leaks');
	like(ask("SELECT advice $sum"), qr{^4 of 6 connections are idle in transaction since .*fix the route /pay before raising the pool size$},
		'addresses: with the advice for it');
	is(ask(q(SELECT string_agg(DISTINCT verdict, ' ' ORDER BY verdict) FROM pgleak.pools WHERE scope = 'pool' AND application_name = 'pods')), 'leak ok',
		'addresses: its pools do not');
	eventually(sub { log_after($node) =~ /pool verdict: scope=application database=postgres role=\S+ application=pods verdict=leaking was=ok/ },
		'addresses: that is logged');
	is(ask(q(SELECT connections, verdict FROM pgleak.metrics_pools WHERE application = 'pods')), '6|leaking', 'addresses: so is the metric');
	my $old = worker_pid($node, 'scanner');
	ask("SELECT pg_terminate_backend($old)");
	eventually(sub { my $new = worker_pid($node, 'scanner'); $new ne '' && $new ne $old }, 'addresses: the scanner is restarted');
	$_->close for @pods[ 0 .. 2 ];
	eventually_is($node, "SELECT connections, leaked, peak $sum", '3|1|6', 'addresses: it goes on with what was known');
	my @later = pods(8, 9);
	eventually_is($node, "SELECT connections, leaked, peak $sum", '5|1|6', 'addresses: new pods are part of it');
	$_->close for @pods[ 3 .. 5 ], @later;
	eventually_is($node, "SELECT count(*) $sum", 0, 'addresses: without sessions it is not shown');
}

# More pools than there is room for share a row.
sub test_max_pools
{
	my @sessions = named(30, sub { 'service ' . chr(96 + $_[0] / 10) . chr(97 + $_[0] % 10) });
	my $rows = q(SELECT count(*) FILTER (WHERE scope = 'pool'), sum(connections) FILTER (WHERE scope = 'other') >= 10 FROM pgleak.pools);
	eventually_is($node, $rows, '20|t', 'pgleak.max_pools have a row, the others share one');
	$_->close for @sessions[ 0 .. 19 ];
	eventually_is($node, q(SELECT sum(connections) FROM pgleak.pools WHERE application_name LIKE 'service%'), 10, 'where there is room the others get rows of their own');
	my $old = worker_pid($node, 'scanner');
	ask("SELECT pg_terminate_backend($old)");
	eventually(sub { my $new = worker_pid($node, 'scanner'); $new ne '' && $new ne $old }, 'the scanner is restarted');
	eventually_is($node, q(SELECT sum(connections) FROM pgleak.pools WHERE application_name LIKE 'service%'), 10, 'and finds them again');
	$_->close for @sessions[ 20 .. 29 ];
}

test_one_application();
test_shared_name();
test_different_applications();
test_reset();
test_client();
test_addresses();
test_max_pools();
$node->stop;

done_testing();
