# The request to cancel reaches a session together with messages that make it rebuild what it knows of a relation. Rolling
# back in the middle of that would leave a broken backend (an assertion fails where the server has them). So the session is
# stopped, such messages and the request are queued for it, and it goes on: it ends up cancelled or untouched, never broken.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;
use PgleakActions;

use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = new_node('hazard', conf => <<'END');
pgleak.scan_interval = '10ms'
pgleak.idle_leak_after = '1h'
pgleak.max_actions_per_minute = 100000
autovacuum = off
END

$node->safe_psql('postgres', q{
	CREATE TABLE t (id int PRIMARY KEY, note text);
	CREATE TABLE other (id int PRIMARY KEY);
	INSERT INTO t SELECT i, 'note ' || i FROM generate_series(1, 1000) i;
	CREATE ROLE app LOGIN;
	GRANT ALL ON t, other TO app});

my $administrator = session($node);
my $turn = 0;

# What others do meanwhile. None of it waits for the session's cursor, all of it makes the session rebuild something.
my %disturbance = (
	'ALTER TABLE SET' => sub { ('ALTER TABLE t SET (fillfactor = ' . (50 + $turn % 50) . ')') },
	'ALTER TABLE SET, many times' => sub { map { "ALTER TABLE t SET (fillfactor = $_)" } 50 .. 69 },
	'ANALYZE' => sub { ('ANALYZE t') },
	'ALTER INDEX SET' => sub { ('ALTER INDEX t_pkey SET (fillfactor = ' . (50 + $turn % 50) . ')') },
	'REINDEX of catalogs' => sub { ('REINDEX TABLE pg_class', 'REINDEX TABLE pg_index',
		'ALTER TABLE t SET (fillfactor = 70)') },
	'VACUUM FULL of catalogs' => sub { ('VACUUM FULL pg_class', 'VACUUM FULL pg_attribute',
		'ALTER TABLE t SET (fillfactor = 71)') },
	# More messages than the queue holds: the session has to forget all it knows.
	'an overflow' => sub {
		my $columns = join ', ', map { "c$_ int" } 1 .. 1500;
		((map { ("CREATE TEMP TABLE flood ($columns)", 'DROP TABLE flood') } 1 .. 2),
			'ALTER TABLE t SET (fillfactor = 72)');
	});

# A session with much to rebuild.
sub busy_session
{
	my (%options) = @_;
	my $session = wire($node, %options);
	$session->do('PREPARE kept AS SELECT note FROM t WHERE id = $1', 'EXECUTE kept(1)',
		'BEGIN', 'DECLARE c CURSOR FOR SELECT * FROM t', 'FETCH 10 FROM c', 'SAVEPOINT s',
			'INSERT INTO other VALUES (pg_backend_pid())');
	return $session;
}

sub states
{
	my ($session) = @_;
	return split /\|/, $node->safe_psql('postgres', qq(
		SELECT state,
			(SELECT count(*) FROM pg_locks l WHERE l.pid = a.pid) FROM pg_stat_activity a WHERE pid = $session->{pid}));
}

# Test: the session works like any other after a rollback.
sub is_sound
{
	my ($session, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$session->ask('ROLLBACK');
	my @answers = map { $session->ask($_) } 'EXECUTE kept(7)', 'SELECT count(*) FROM t', 'SELECT count(*) FROM other',
	  q(SELECT count(*) FROM pg_class WHERE relname = 't');
	return is("@answers $session->{status}", 'note 7 1000 0 1 I', $name);
}

# Stops the session, disturbs it, queues the request by what $request does, and lets the session go on. True if the
# request was queued before it went on.
sub meet
{
	my ($session, $disturbance, $request, $mark) = @_;
	$turn++;
	stop_process($session->{pid});
	$administrator->do($disturbance{$disturbance}->());
	my $actor = $request->();
	my $is_queued = 0;
	for (1 .. 5000)
	{
		last if $is_queued = log_count($node, qr/pgleak: will cancel: pid=$session->{pid} /, $mark);
		usleep(1000);
	}
	# The scanner sends the request in the scan that has logged it.
	$administrator->do('SELECT pgleak.scan()');
	# Another round of disturbance behind the request.
	$administrator->do('ALTER TABLE t SET (fillfactor = 49)') if $turn % 2;
	continue_process($session->{pid});
	return ($is_queued, $actor);
}

# By hand there is one attempt: it succeeds, or says that it was not possible, and then nothing has happened.
sub test_by_hand
{
	my ($disturbance) = @_;
	my $mark = log_mark($node);
	my %count = (t => 0, f => 0);
	my @wrong;
	for (1 .. 10)
	{
		my $session = busy_session();
		my ($is_queued, $actor) = meet($session, $disturbance, sub { start_act($node, 'cancel', $session) }, $mark);
		my $answer = $actor->read_answer;
		my ($state, $locks) = states($session);
		$count{$answer}++;
		push @wrong, "not queued" unless $is_queued;
		my $is_consistent =
		  $answer eq 't' ? $state eq 'idle in transaction (aborted)' && $locks == 0 : $state eq 'idle in transaction' && $locks > 0;
		push @wrong, "$answer: $state, $locks locks" unless $is_consistent;
		push @wrong, "$answer: @{ $actor->{notices} }" if $answer eq 'f' && "@{ $actor->{notices} }" !~ /no action was taken/;
		is_sound($session, "by hand, $disturbance: the session is sound") if $_ == 10 || @wrong;
		$_->close for $session, $actor;
	}
	note("by hand, $disturbance: $count{t} cancelled, $count{f} not possible");
	is("@wrong", '', "by hand, $disturbance: cancelled, or not and untouched");
}

# By a limit it is tried again until it succeeds.
sub test_by_limit
{
	my ($disturbance) = @_;
	my $mark = log_mark($node);
	$node->safe_psql('postgres', q(
		ALTER ROLE app SET pgleak.idle_leak_after = '300ms';
		ALTER ROLE app SET pgleak.idle_cancel_after = '300ms'));
	for (1 .. 3)
	{
		my $session = busy_session(user => 'app');
		meet($session, $disturbance, sub { }, $mark);
		eventually(sub { join(', ', states($session)) eq 'idle in transaction (aborted), 0' },
			"by limit, $disturbance: the session ends up cancelled");
		is($session->unasked, '', "by limit, $disturbance: its client hears nothing unasked");
		answers($session, 'COMMIT', '40000 I', "by limit, $disturbance: COMMIT fails, and the block is over");
		is_sound($session, "by limit, $disturbance: the session is sound");
		$session->close;
	}
}

# Several sessions at once: each sees the requests to the others as well.
sub test_together
{
	my ($disturbance) = @_;
	my $mark = log_mark($node);
	my @sessions = map { busy_session() } 1 .. 5;
	stop_process($_->{pid}) for @sessions;
	$administrator->do($disturbance{$disturbance}->());
	my @actors = map { start_act($node, 'cancel', $_) } @sessions;
	eventually(sub { log_count($node, qr/pgleak: will cancel: /, $mark) == @sessions },
		"together, $disturbance: all are to be cancelled");
	$administrator->do('SELECT pgleak.scan()');
	continue_process($_->{pid}) for @sessions;
	my @answers = map { $_->read_answer } @actors;
	my @states = map { (states($_))[0] } @sessions;
	my @expected = map { $_ eq 't' ? 'idle in transaction (aborted)' : 'idle in transaction' } @answers;
	is(join(', ', @states), join(', ', @expected),
		"together, $disturbance: each is cancelled, or not and untouched (@answers)");
	is_sound($_, "together, $disturbance: the session is sound") for @sessions;
	$_->close for @sessions, @actors;
}

# Waits until the scanner has sent what the actor asks for; $waits_for is what the actor does meanwhile.
sub wait_until_sent
{
	my ($actor, $waits_for) = @_;
	$waits_for //= 'Extension';
	my $asks = "SELECT wait_event_type FROM pg_stat_activity WHERE pid = $actor->{pid}";
	for (1 .. 5000)
	{
		last if $administrator->ask($asks) eq $waits_for;
		usleep(1000);
	}
	$administrator->do('SELECT pgleak.scan()');
}

# What a session has learned from a request that it escaped proves nothing for the next one. In between it changes
# languages, whose messages to itself look like requests: a gate that counts them takes the rebuild around the next
# request for one of them if there are as many. How many that is depends on the server, so all numbers are tried.
sub test_stale_probe
{
	my ($languages) = @_;
	my $name = "after an escape and $languages languages";
	my $session = busy_session();
	stop_process($session->{pid});
	my $actor = start_act($node, 'cancel', $session);
	wait_until_sent($actor);
	$session->start('SELECT 1');
	continue_process($session->{pid});
	$session->read_answer;
	is($actor->read_answer, 'f', "$name: the session has escaped");
	$actor->close;

	$session->do("CREATE LANGUAGE l_$_ HANDLER plpgsql_call_handler") for 1 .. $languages;
	stop_process($session->{pid});
	$administrator->do('ALTER TABLE t SET (fillfactor = ' . (50 + $languages) . ')');
	$actor = start_act($node, 'cancel', $session);
	wait_until_sent($actor);
	continue_process($session->{pid});
	like($actor->read_answer, qr/^[tf]$/, "$name: whoever asks again gets an answer");
	is_sound($session, "$name: the session is sound");
	$_->close for $session, $actor;
}

# A session that got stuck in the middle of a rebuild has learned of a request there, and is still there when the next one
# comes, though all that it shows of itself is as it was. What it has learned is worth nothing as long as it has not slept.
sub test_stuck_probe
{
	my $name = 'stuck in a rebuild';
	my $session = busy_session();
	my ($first, $second, $owner) = map { wire($node) } 1 .. 3;
	$administrator->do('ALTER TABLE t SET (fillfactor = 47)');
	# Whoever is needed below must not have to look up anything by then.
	$_->ask("SELECT pgleak.cancel($_->{pid})") for $first, $second;
	wait_until_sent($owner, 'Client');

	stop_process($session->{pid});
	$administrator->do('ALTER TABLE t SET (fillfactor = 48)');
	$owner->do('BEGIN', 'LOCK TABLE pg_attribute IN ACCESS EXCLUSIVE MODE');
	$first->start("SELECT pgleak.cancel($session->{pid})");
	wait_until_sent($first);
	continue_process($session->{pid});
	is($first->read_answer, 'f', "$name: the session cannot be cancelled there");
	like("@{ $first->{notices} }", qr/could not be interrupted safely, no action was taken/, "$name: for this reason");
	$second->start("SELECT pgleak.cancel($session->{pid})");
	wait_until_sent($second);
	$owner->do('COMMIT');
	like($second->read_answer, qr/^[tf]$/, "$name: whoever asks again gets an answer");
	is_sound($session, "$name: the session is sound");
	$_->close for $session, $first, $second, $owner;
}

# All the time, while several sessions are disturbed without being stopped.
sub test_noise
{
	my ($cancelled, @wrong) = (0);
	my $noise = wire($node);
	$noise->start(q(DO $$BEGIN FOR i IN 1 .. 2000 LOOP
		EXECUTE format('ALTER TABLE t SET (fillfactor = %s)', 50 + i % 50); ANALYZE t; COMMIT; END LOOP; END$$));
	while (!$noise->has_answer && $cancelled < 300)
	{
		my $session = busy_session();
		$cancelled++ if cancel($node, $session) eq 't';
		$session->ask('ROLLBACK');
		my $answer = $session->ask('EXECUTE kept(7)');
		push @wrong, "$answer $session->{status}" if "$answer $session->{status}" ne 'note 7 I';
		$session->close;
	}
	$node->safe_psql('postgres', "SELECT pg_cancel_backend($noise->{pid})");
	$noise->close;
	cmp_ok($cancelled, '>', 0, "in constant noise sessions are cancelled ($cancelled)");
	is("@wrong", '', 'in constant noise none is broken');
}

for my $disturbance (sort keys %disturbance)
{
	test_by_hand($disturbance);
	test_by_limit($disturbance);
	test_together($disturbance);
}
test_stale_probe($_) for 0 .. 12;
test_stuck_probe();
test_noise();

is($node->safe_psql('postgres', 'SELECT count(*) FROM other'), 0, 'nothing was committed');
no_damage($node, 'no assertion has failed, no process has crashed');
is(log_count($node, qr/FATAL/), 0, 'no session was lost');

$administrator->close;
$node->stop;
done_testing();
