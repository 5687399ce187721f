# Tests: sessions that wait for their client in the middle of something (COPY, a pipeline, a portal, a result or notifications
# that nobody reads): a client that is silent is a leak by the idle clock, one that is slow is not; what a cancel and a
# terminate do there.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;
use PgleakActions;
use PgleakActions::Wire qw(message parse bind_to execute sync);

use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = new_node('stalled', streaming => 'logical', conf => <<'END');
listen_addresses = '127.0.0.1'
pgleak.idle_leak_after = '2s'
pgleak.max_actions_per_minute = 12
autovacuum = off
END

# Enough data to fill the send buffers of TCP several times.
$node->safe_psql('postgres', q{
	CREATE ROLE app LOGIN;
	CREATE ROLE other LOGIN;
	CREATE TABLE account (id integer PRIMARY KEY, amount integer);
	INSERT INTO account SELECT i, 100 FROM generate_series(1, 9) AS i;
	CREATE TABLE copied (value text);
	CREATE TABLE copied_by_psql (value text);
	CREATE TABLE fetched AS SELECT generate_series(1, 1000) AS value;
	CREATE TABLE unread AS SELECT repeat('x', 1000) AS value FROM generate_series(1, 15000);
	CREATE TABLE dumped AS TABLE unread;
	GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC});

sub ask { return $node->safe_psql('postgres', $_[0]); }

# A session of an ordinary role.
sub client
{
	my ($name, %options) = @_;
	return wire($node, user => 'app', parameters => { application_name => $name }, %options);
}

sub row_of_copy { return message('d', "1\n"); }

# The messages that run a statement in the extended protocol, up to $rows rows of its result (0: all).
sub extended { my ($statement, $rows) = @_; return parse('', $statement) . bind_to('', '') . execute('', $rows); }

sub flush_request { return message('H'); }

# Test: these columns of a session's leak come to be as expected.
sub eventually_leaks
{
	my ($session, $columns, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return eventually_is($node, "SELECT $columns FROM pgleak.leaks WHERE pid = $session->{pid}", $expected, $name);
}

sub waits_for { my ($session) = @_; return ask("SELECT state, wait_event FROM pg_stat_activity WHERE pid = $session->{pid}"); }

# Clients that are silent --------------------------------------------------------------------------------------------------------

my %stalled;      # name => session

# What each waits for, and which statement another session has to wait with because of it; '' if there is none.
my %expected = (
	'COPY FROM' => [ 'active|ClientRead', 'LOCK TABLE copied' ],
	'COPY FROM by psql' => [ 'active|ClientRead', 'LOCK TABLE copied_by_psql' ],
	'pipeline' => [ 'active|ClientRead', 'UPDATE account SET amount = 0 WHERE id = 1' ],
	'portal' => [ 'active|ClientRead', 'LOCK TABLE fetched' ],
	'result' => [ 'active|ClientWrite', 'LOCK TABLE unread' ],
	'result over TCP' => [ 'active|ClientWrite', 'LOCK TABLE unread' ],
	'COPY TO' => [ 'active|ClientWrite', 'LOCK TABLE unread' ],
	'listener' => [ 'idle|ClientWrite', '' ],
	'listener over TCP' => [ 'idle|ClientWrite', '' ]);
my @names = sort keys %expected;

sub start_stalled
{
	# TCP may have room for more when a signal wakes the server, which then reacts to a cancel.
	$stalled{$_} = client($_, tcp => /TCP/ ? 1 : 0, user => /result over TCP/ ? 'other' : 'app')
	  for grep { !/psql/ } @names;
	$stalled{'COPY FROM'}->do('BEGIN');
	$stalled{'COPY FROM'}->start('COPY copied FROM STDIN');
	$stalled{'COPY FROM'}->send_raw(row_of_copy());

	# It reads its input to the end of the COPY, which does not come.
	$stalled{'COPY FROM by psql'} = session($node, user => 'app');
	$stalled{'COPY FROM by psql'}->do('BEGIN', 'SELECT count(*) FROM copied_by_psql');
	$stalled{'COPY FROM by psql'}->send_line("COPY copied_by_psql FROM STDIN;\n1");

	$stalled{'pipeline'}->send_raw(extended('UPDATE account SET amount = 1 WHERE id = 1', 0));
	$stalled{'portal'}->send_raw(extended('SELECT value FROM fetched', 10) . flush_request());
	$stalled{$_}->start('SELECT value FROM unread') for 'result', 'result over TCP';
	$stalled{'COPY TO'}->start('COPY unread TO STDOUT');
	$stalled{$_}->do('LISTEN unheard') for 'listener', 'listener over TCP';
	$stalled{'listener over TCP'}->do('LISTEN more');
	ask(q(SELECT count(pg_notify('unheard', repeat('x', 7900) || i)) FROM generate_series(1, 900) AS i));
	eventually(sub { waits_for($stalled{$_}) eq $expected{$_}[0] }, "$_: $expected{$_}[0]") for @names;
}

# Clients that are slow ----------------------------------------------------------------------------------------------------------

my (%slow, %pipe, %waited);
my @processes;

sub start_slow
{
	$slow{$_} = client("slow $_", tcp => /TCP/ ? 1 : 0)
	  for 'COPY FROM', 'pipeline', 'portal', 'cursor', 'listener', 'result', 'result over TCP';
	$slow{'COPY FROM'}->do('CREATE TEMPORARY TABLE slowly (value integer)');
	$slow{'COPY FROM'}->start('COPY slowly FROM STDIN');
	$slow{'pipeline'}->send_raw(extended('UPDATE account SET amount = 1 WHERE id = 2', 0));
	$slow{'portal'}->send_raw(extended('SELECT value FROM fetched', 1) . flush_request());
	$slow{'cursor'}->do('BEGIN', 'DECLARE cursor CURSOR FOR SELECT value FROM fetched');
	$slow{'listener'}->do('LISTEN heard');
	ask(q(SELECT count(pg_notify('heard', repeat('x', 7900) || i)) FROM generate_series(1, 900) AS i));
	$slow{$_}->start('SELECT value FROM dumped') for 'result', 'result over TCP';
	for my $host ($node->host, '127.0.0.1')
	{
		my $connection = 'host=' . $host . ' port=' . $node->port . " dbname=postgres application_name=dump@{[ scalar keys %pipe ]}";
		open $pipe{$host}, '-|', 'pg_dump', '-t', 'dumped', '-d', $connection or die "no pg_dump: $!";
	}
}

# Once in a while, but more often than the limit of the idle clock. Each notification wakes who listens.
sub send_a_little
{
	ask('NOTIFY more');
	$slow{'COPY FROM'}->send_raw(row_of_copy());
	$slow{'pipeline'}->send_raw(extended('SELECT 1', 0));
	$slow{'portal'}->send_raw(execute('', 1) . flush_request());
	$slow{'cursor'}->do('FETCH cursor');
	$waited{$_}++ for split /\n/, ask(q(SELECT application_name FROM pg_stat_activity WHERE wait_event = 'ClientWrite'));
}

# Reads at about 50 kB a second.
sub read_a_little
{
	for my $handle ((map { $slow{$_}{socket} } 'listener', 'result', 'result over TCP'), values %pipe)
	{
		my $bytes;
		sysread $handle, $bytes, 5000 or die "nothing to read: $!";
	}
	$slow{$_}->receive(0) for 'pipeline', 'portal';
}

# Those that no clock is for: they serve a client that is not one.
sub start_walsenders
{
	my $directory = PostgreSQL::Test::Utils::tempdir();
	my $connection = $node->connstr('postgres') . ' application_name';
	ask(q(CREATE PUBLICATION all_changes FOR ALL TABLES; SELECT pg_create_logical_replication_slot('changes', 'pgoutput')));
	push @processes, map { IPC::Run::start($_, '<', \undef, '>', "$directory/output", '2>', "$directory/error") }
	  [ 'pg_receivewal', '-D', $directory, '-d', "$connection=receivewal" ],
	  [ 'pg_basebackup', '-D', "$directory/backup", '-X', 'none', '-c', 'fast', '--max-rate=32k', '-d', "$connection=basebackup" ],
	  [ 'pg_recvlogical', '-S', 'changes', '--start', '-f', '-', '-o', 'proto_version=1', '-o', 'publication_names=all_changes',
		'-d', "$connection=recvlogical" ];
	eventually_is($node, q(SELECT count(*) FROM pg_stat_replication WHERE application_name IN ('receivewal', 'basebackup', 'recvlogical')),
		3, 'walsenders: three serve their clients');
	my $session = wire($node, parameters => { replication => 'database', application_name => 'walsender' });
	$session->start('SELECT value FROM unread');
	eventually(sub { waits_for($session) eq 'active|ClientWrite' }, 'walsenders: another one has a client that does not read');
	push @processes, $session;
}

sub end_processes
{
	while (my $process = shift @processes)
	{
		if ($process->isa('IPC::Run')) { $process->kill_kill(grace => 5); }
		else { $process->close; }
	}
}

# They would look for the server for ever if a test dies.
END { local ($?, $@); end_processes(); }

# Silent and slow clients side by side.
sub test_slow
{
	start_walsenders();	# a slot waits for all transactions to end
	start_stalled();
	start_slow();
	for my $round (0 .. 199)
	{
		send_a_little() if $round % 8 == 0;
		read_a_little();
		usleep(100_000);
	}
	is(ask("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'slow %'"), 7, 'slow clients: all are there');
	isnt($waited{$_} // 0, 0, "slow clients: the server has waited for $_")
	  for 'slow listener', 'slow result', 'slow result over TCP', 'dump0', 'dump1';
	is(ask("SELECT clock FROM pgleak.leaks WHERE pid = $stalled{'listener over TCP'}{pid}"), 'idle',
		'listener over TCP: a leak although notifications go on to wake it');
	my $stalled = join ', ', map { $_->{pid} } values %stalled;
	is(ask("SELECT string_agg(application_name, ' ') FROM pgleak.history WHERE pid NOT IN ($stalled)"), '',
		'slow clients: none is a leak, nor is a walsender');
	unlike(log_after($node), qr/session leak: .*application="?(slow|dump|walsender|receivewal|basebackup|recvlogical)/,
		'slow clients: the log says nothing of them either');
	$slow{'COPY FROM'}->send_raw(message('c'));
	$slow{'COPY FROM'}->read_answer;
	like($slow{'COPY FROM'}{tag}, qr/^COPY \d\d$/, 'slow clients: a COPY comes to its end');
	$slow{$_}->close for keys %slow;
	for my $host (keys %pipe)
	{
		local ($?, $!);
		close $pipe{$host};
	}
	end_processes();
}

sub test_stalled
{
	for my $name (@names)
	{
		my ($state) = $expected{$name}[0] =~ /(.*)\|/;
		eventually_leaks($stalled{$name}, 'clock, state, impact, blocked, limit_source', "idle|$state|horizon|0|server",
			"$name: a client that is silent is a leak");
	}
}

# What acts on them --------------------------------------------------------------------------------------------------------------

my @waiters;

sub start_waiters
{
	my %seen;
	for my $statement (grep { $_ ne '' && !$seen{$_}++ } map { $expected{$_}[1] } @names)
	{
		my $waiter = wire($node);
		$waiter->start("BEGIN; $statement; COMMIT");
		push @waiters, $waiter;
	}
	eventually_leaks($stalled{$_}, 'clock, impact, blocked', 'idle|blocking|1', "$_: another waits behind it")
	  for grep { $expected{$_}[1] ne '' } @names;
}

sub test_cancel_by_hand
{
	for my $name (grep { $_ ne 'result over TCP' } @names)
	{
		my ($answer, $said) = act($node, 'cancel', $stalled{$name}{pid});
		my $why = $name =~ /listener/ ? qr/is not in a transaction/ : qr/did not react to the cancel.*waits for its client/s;
		is($answer, 'f', "$name: pgleak.cancel() is false");
		like($said, qr/WARNING: .*$why.*HINT: .*pgleak\.terminate\($stalled{$name}{pid}\)/s, "$name: and names what would help");
	}
}

# Each takes one of the actions that are allowed in a minute, however often it is tried. A leak that a cancel helps needs one more.
sub test_cancel_limit
{
	my $mark = log_mark($node);
	my $failed = ask('SELECT cancels_failed FROM pgleak.stats');
	my @cancelled = grep { !/listener|result over TCP/ } @names;
	# A reload would wake all of them.
	ask(q(INSERT INTO pgleak.rules (role, idle_cancel_after) VALUES ('app', '2s')));
	eventually_leaks($stalled{$_}, 'last_action, last_action_result', 'cancel|no effect: waits for its client',
		"$_: the limit does not help either") for @cancelled;
	eventually(sub { ask('SELECT cancels_failed FROM pgleak.stats') >= $failed + 2 * @cancelled }, 'cancel by limit: it is tried again');
	for my $name (@names)
	{
		my $count = $name =~ /listener|result over TCP/ ? 0 : 1;
		cmp_ok(log_count($node, qr/will cancel: pid=$stalled{$name}{pid} /, $mark), '<=', $count, "$name: logged once at most");
		is(ask("SELECT count(*), count(outcome) FROM pgleak.history WHERE pid = $stalled{$name}{pid}"), '1|0', "$name: still one open leak");
	}
	my $other = client('other');
	$other->do('BEGIN', 'UPDATE account SET amount = 1 WHERE id = 3');
	eventually_leaks($other, 'last_action_result', 'done', 'cancel by limit: another leak is cancelled, the actions are not used up');
	ask('DELETE FROM pgleak.rules');
	$other->close;
}

# Our own signals are no sign of life of the client. Over a Unix-domain socket those that announce a notification may be.
sub test_clock_goes_on
{
	for my $name (grep { $_ ne 'listener' } @names)
	{
		my ($clock, $is_long, $idle_for) = split /\|/,
		  ask("SELECT clock, idle_for > '15s', idle_for FROM pgleak.leaks WHERE pid = $stalled{$name}{pid}");
		is("$clock|$is_long", 'idle|t', "$name: the clock has gone on all the time") or diag "$name: idle for $idle_for";
	}
}

sub test_terminate
{
	my @by_hand = ('COPY FROM', 'listener', 'result over TCP');
	is(terminate($node, $stalled{$_}), 't', "$_: pgleak.terminate() ends it") for @by_hand;
	is(ask("SELECT count(*) FROM pg_stat_activity WHERE pid = $stalled{$_}{pid}"), 0, "$_: it has gone by then") for @by_hand;
	ask(q(INSERT INTO pgleak.rules (idle_terminate_after) VALUES ('3s')));
	for my $name (@names)
	{
		eventually_is($node, "SELECT outcome, last_action, last_action_result FROM pgleak.history WHERE pid = $stalled{$name}{pid}",
			'terminated|terminate|done', "$name: the history has it");
	}
	for my $waiter (@waiters)
	{
		$waiter->read_answer;
		is($waiter->{sqlstate}, '', 'terminate: who waited goes on');
	}
	$_->isa('PgleakTest::Session') ? $_->kill : $_->close for values %stalled, @waiters;
}

test_slow();
test_stalled();
start_waiters();
test_cancel_by_hand();
test_cancel_limit();
test_clock_goes_on();
test_terminate();

no_damage($node, 'no process has complained or crashed', except => qr/did not react to the cancel|aborting backup due to backend exiting/);
$node->stop;
done_testing();
