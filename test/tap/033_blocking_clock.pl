# Tests: the blocking clock: whoever keeps others waiting is a leak, in whatever state it is, and nobody else is; waiters that
# come and go are one wait; that its limits act, on the root only, and say what they could not free.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;
use PgleakActions;

use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = new_node('blocking', streaming => 1, conf => <<'END');
pgleak.idle_leak_after = 0
pgleak.blocking_leak_after = '1s'
pgleak.max_actions_per_minute = 1000
autovacuum = off
END
$node->safe_psql('postgres', q{
	CREATE TABLE account (id integer PRIMARY KEY, amount integer);
	INSERT INTO account SELECT i, 100 FROM generate_series(1, 20) AS i;
	CREATE TABLE indexed (id integer);
	CREATE TABLE altered (id integer);
	GRANT ALL ON account, altered TO PUBLIC});

my $roles = 0;
my $keys = 100;

sub ask { return $node->safe_psql('postgres', $_[0]); }

# A role of its own with these limits (blocking_cancel_after => '1s', ...).
sub limited_role
{
	my (%limits) = @_;
	my $role = 'role_' . ++$roles;
	ask(join ';', "CREATE ROLE $role LOGIN", map { "ALTER ROLE $role SET pgleak.$_ = '$limits{$_}'" } sort keys %limits);
	return $role;
}

# A session of such a role; its application_name is $name.
sub limited_session
{
	my ($name, %limits) = @_;
	return wire($node, user => limited_role(%limits), parameters => { application_name => $name });
}

sub change { my ($id) = @_; return "UPDATE account SET amount = amount + 1 WHERE id = $id"; }

# A key for advisory locks that no other test uses.
sub new_key { return ++$keys; }

# A session that has sent a statement and waits for a lock.
sub waiting
{
	my ($statement, %options) = @_;
	my $server = delete $options{node} // $node;
	my $session = wire($server, %options);
	$session->start($statement);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	eventually_is($server, "SELECT wait_event_type FROM pg_stat_activity WHERE pid = $session->{pid}", 'Lock', "waits: $statement");
	return $session;
}

# Test: these columns of a session's leak come to be as expected.
sub eventually_leaks
{
	my ($session, $columns, $expected, $name, $server) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return eventually_is($server // $node, "SELECT $columns FROM pgleak.leaks WHERE pid = $session->{pid}", $expected, $name);
}

sub eventually_in_history
{
	my ($session, $columns, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return eventually_is($node, "SELECT $columns FROM pgleak.history WHERE pid = $session->{pid}", $expected, $name);
}

# Test: none of the sessions was ever a leak.
sub never_leaked
{
	my ($name, @sessions) = @_;
	my $pids = join ', ', map { $_->{pid} } @sessions;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	unlike(log_after($node), qr/session leak: pid=$_->{pid} /, $name) for @sessions;
	return is(ask("SELECT count(*) FROM pgleak.history WHERE pid IN ($pids)"), 0, "$name: nor in the history");
}

# Waits for $count scans, which is how long a test looks for what must not happen.
sub wait_for_scans
{
	my ($count) = @_;
	my $first = ask('SELECT scans FROM pgleak.stats');
	usleep(100_000) until ask('SELECT scans FROM pgleak.stats') >= $first + $count;
}

# Test: a session that has waited gets its answer, without an error.
sub goes_on
{
	my ($name, @sessions) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	for my $session (@sessions)
	{
		$session->read_answer;
		is($session->{sqlstate}, '', $name);
	}
}

sub finish { $_->close for @_; }

# Roots in every state --------------------------------------------------------------------------------------------------------

sub test_active
{
	my $root = limited_session('active');
	$root->do('BEGIN', change(1));
	$root->start('SELECT pg_sleep(600)');
	my $waiter = waiting(change(1));
	eventually_leaks($root, 'clock, state, impact, blocked, limit_source', 'blocking|active|blocking|1|server',
		'active: a session that keeps another waiting is a leak');
	eventually_is($node, q(SELECT active, leaked FROM pgleak.pools WHERE application_name = 'active' AND scope = 'pool'), '1|0',
		'active: but not lost to its pool');
	wait_for_scans(20);
	is(ask(q(SELECT leaked FROM pgleak.pools WHERE application_name = 'active' AND scope = 'pool')), 0, 'active: not later either');
	like(log_after($node), qr/session leak: pid=$root->{pid} .*clock=blocking for=\S+ limit=1s source=server state=active /,
		'active: the log says what it is');
	is(cancel($node, $root), 't', 'active: pgleak.cancel() works');
	$root->read_answer;
	is($root->{sqlstate}, '57014', 'active: its statement fails');
	goes_on('active: the other goes on', $waiter);
	$root->do('ROLLBACK');
	eventually_recorded($node, $root, 'cancelled', 'active: the outcome');
	never_leaked('active: the victim was no leak', $waiter);
	finish($root, $waiter);
}

sub test_active_limit
{
	my $root = limited_session('active_limit', blocking_leak_after => '500ms', blocking_cancel_after => '1s');
	$root->do('BEGIN', change(1));
	$root->start('SELECT pg_sleep(600)');
	my $waiter = waiting(change(1));
	goes_on('active, with a limit: the limit frees who waits', $waiter);
	$root->read_answer;
	is($root->{sqlstate}, '57014', 'active, with a limit: its statement is cancelled');
	answers($root, 'COMMIT', '40000 I', 'active, with a limit: its COMMIT fails');
	like($root->{message}, qr/kept others waiting for/, 'active, with a limit: and says why');
	like($root->{hint}, qr/pgleak\.blocking_cancel_after/, 'active, with a limit: and names the setting');
	eventually_in_history($root, 'outcome, clock, last_action, last_action_result, blocked, limit_source',
		'cancelled|blocking|cancel|done|1|session', 'active, with a limit: the history');
	finish($root, $waiter);
}

sub test_idle_in_transaction
{
	my $root = limited_session('idle', blocking_leak_after => '500ms', blocking_cancel_after => '2s');
	$root->do('BEGIN', change(1));
	wait_for_scans(10);
	never_leaked('idle in transaction: without a waiter it is no leak while the idle clock is off', $root);
	my $waiter = waiting(change(1));
	eventually_leaks($root, 'clock, state, impact, blocked, next_action', 'blocking|idle in transaction|blocking|1|cancel',
		'idle in transaction: it is one as soon as another has waited');
	goes_on('idle in transaction: the limit frees who waits', $waiter);
	answers($root, 'COMMIT', '40000 I', 'idle in transaction: the block is aborted');
	eventually_in_history($root, 'outcome, clock, last_action, last_action_result', 'cancelled|blocking|cancel|done',
		'idle in transaction: the history');
	finish($root, $waiter);
}

# Statements that keep a connection alive reset the idle clock, not this one. The limit of the idle clock is far shorter.
sub test_keepalive
{
	my $root = limited_session('keepalive', idle_leak_after => '1500ms', blocking_leak_after => '4s');
	$root->do('BEGIN', change(1));
	my $waiter = waiting(change(1));
	my $clock = '';
	eventually(sub {
		$root->do('SAVEPOINT alive', 'RELEASE alive', 'SELECT 1');
		usleep(150_000);
		return ($clock = ask("SELECT clock FROM pgleak.leaks WHERE pid = $root->{pid}")) ne '';
	}, 'keepalive: the transaction becomes a leak');
	is($clock, 'blocking', 'keepalive: by the blocking clock');
	$root->do('COMMIT');
	goes_on('keepalive: the other goes on', $waiter);
	eventually_recorded($node, $root, 'committed', 'keepalive: the outcome');
	finish($root, $waiter);
}

# What a session holds outside of a transaction --------------------------------------------------------------------------------

sub test_advisory
{
	my ($holder, $key) = (limited_session('advisory'), new_key());
	$holder->do("SELECT pg_advisory_lock($key)");
	my $waiter = waiting("SELECT pg_advisory_lock($key)");
	my $state = '';
	eventually(sub {
		$holder->do('SELECT 1');
		usleep(150_000);
		return ($state = ask("SELECT clock, state, impact, blocked FROM pgleak.leaks WHERE pid = $holder->{pid}")) ne '';
	}, 'advisory: a session in no transaction becomes a leak, although statements keep it alive');
	is($state, 'blocking|idle|blocking|1', 'advisory: by the blocking clock');
	$holder->do('BEGIN', 'SELECT 1', 'COMMIT');
	wait_for_scans(10);
	eventually_in_history($holder, 'count(*), count(outcome), min(state)', '1|0|idle',
		'advisory: the ends of its transactions do not end the leak');

	my ($answer, $said) = act($node, 'cancel', $holder->{pid});
	is($answer, 'f', 'advisory: pgleak.cancel() is false');
	like($said, qr/WARNING: .*is not in a transaction.*HINT: .*pgleak\.terminate\($holder->{pid}\)/s,
		'advisory: and names what would help');
	is(terminate($node, $holder), 't', 'advisory: pgleak.terminate() works');
	$holder->read_answer;
	like("$holder->{severity}: $holder->{message}", qr/^FATAL: terminating connection due to pgleak: /, 'advisory: the client hears it');
	goes_on('advisory: the other goes on', $waiter);
	eventually_in_history($holder, 'outcome, last_action, last_action_result', 'terminated|terminate|done', 'advisory: the history');
	never_leaked('advisory: the victim was no leak', $waiter);
	finish($holder, $waiter);
}

# Other keys, and modes that conflict with some only.
sub test_advisory_modes
{
	my ($two_keys, $key) = (limited_session('two keys'), new_key());
	$two_keys->do("SELECT pg_advisory_lock(1, $key)");
	my $reader = waiting("SELECT pg_advisory_lock_shared(1, $key)");
	my $shared = limited_session('shared');
	$shared->do("SELECT pg_advisory_lock_shared($key)");
	my $writer = waiting("SELECT pg_advisory_lock($key)");
	my $behind = waiting("SELECT pg_advisory_xact_lock_shared($key)");
	eventually_leaks($two_keys, 'clock, blocked', 'blocking|1', 'two keys: an exclusive lock, and who wants to share it');
	eventually_leaks($shared, 'clock, blocked', 'blocking|2', 'shared: who wants it alone, and who is in the queue behind');
	$_->do('SELECT pg_advisory_unlock_all()') for $two_keys, $shared;
	goes_on('two keys and shared: the others go on', $reader, $writer);
	$writer->do('SELECT pg_advisory_unlock_all()');
	goes_on('shared: and who was behind', $behind);
	never_leaked('two keys and shared: no victim was a leak', $reader, $writer, $behind);
	finish($two_keys, $reader, $shared, $writer, $behind);
}

# Three sessions of which none is idle in a transaction: one has an advisory lock, one waits for it with a snapshot, and one
# waits for that snapshot. The clocks are short, and every one of them would cancel whom it calls a leak.
sub test_knot
{
	my %limits = (blocking_leak_after => '500ms', blocking_cancel_after => '500ms',
		transaction_leak_after => '500ms', transaction_cancel_after => '500ms');
	my $key = new_key();
	my $holder = limited_session('holder', blocking_leak_after => '500ms');
	$holder->do("SELECT pg_advisory_lock($key)");
	my $middle = waiting("SELECT pg_advisory_lock($key)", user => limited_role(%limits));
	my $owner = limited_role(%limits);
	ask("ALTER TABLE indexed OWNER TO $owner; GRANT CREATE ON SCHEMA public TO $owner");
	my $last = waiting('CREATE INDEX CONCURRENTLY ON indexed (id)', user => $owner);
	eventually_leaks($holder, 'clock, state, blocked', 'blocking|idle|2', 'knot: the holder at its root is the leak, with all who wait');
	for my $victim ($middle, $last)
	{
		eventually_leaks($victim, q(clock, blocked, impact <> 'blocking', last_action), 'transaction|0|t|',
			'knot: a victim is an old transaction at most, and blocks nobody by itself');
	}
	wait_for_scans(20);
	is(ask("SELECT count(*) FROM pgleak.history WHERE pid IN ($middle->{pid}, $last->{pid}) AND clock = 'blocking'"), 0,
		'knot: no victim is a leak by the blocking clock');
	ok(!$_->has_answer, 'knot: and none is acted on') for $middle, $last;
	$holder->do('SELECT pg_advisory_unlock_all()');
	goes_on('knot: all go on when the root lets go', $middle, $last);
	finish($holder, $middle, $last);
}

# A session-level lock outlives the transaction that the limits roll back.
sub test_locks_left
{
	my ($holder, $key) = (limited_session('left', blocking_leak_after => '500ms', blocking_cancel_after => '1s',
		blocking_terminate_after => '6s'), new_key());
	$holder->do('BEGIN', change(1), "SELECT pg_advisory_lock($key)");
	my $mark = log_mark($node);
	my @waiters = (waiting(change(1)), waiting("SELECT pg_advisory_lock($key)"));
	goes_on('locks left: the cancel frees who waits for a row', $waiters[0]);
	eventually_leaks($holder, q(last_action, last_action_result, blocked, state, next_action),
		'cancel|done, still blocks 1|1|idle in transaction (aborted)|terminate', 'locks left: and tells whom it has not freed');
	eventually(sub { log_count($node, qr/still blocks others after the cancel: pid=$holder->{pid} .* blocked=1 /, $mark) },
		'locks left: so does the log');
	goes_on('locks left: the limit of terminate frees the other', $waiters[1]);
	eventually_in_history($holder, 'outcome, last_action, last_action_result', 'terminated|terminate|done', 'locks left: the history');
	is(log_count($node, qr/still blocks others after the cancel: pid=$holder->{pid} /, $mark), 1, 'locks left: the log says it once');
	finish($holder, @waiters);
}

sub test_terminate_limit
{
	my ($holder, $key) = (limited_session('terminated', blocking_leak_after => '500ms', blocking_cancel_after => '500ms',
		blocking_terminate_after => '1s'), new_key());
	$holder->do("SELECT pg_advisory_lock($key)");
	my $mark = log_mark($node);
	my $waiter = waiting("SELECT pg_advisory_lock($key)");
	goes_on('terminate by limit: who waits goes on', $waiter);
	$holder->read_answer;
	like("$holder->{severity}: $holder->{message}",
		qr/^FATAL: terminating connection due to pgleak: it kept others waiting for \S+s, the limit is 1s/,
		'terminate by limit: the client hears why');
	eventually_in_history($holder, 'outcome, clock, state, last_action, last_action_result, blocked, action_source',
		'terminated|blocking|idle|terminate|done|1|session', 'terminate by limit: the history');
	is(log_count($node, qr/will cancel: pid=$holder->{pid} /, $mark), 0, 'terminate by limit: no cancel is tried where none can help');
	finish($holder, $waiter);
}

# What is no leak, and how a leak ends -----------------------------------------------------------------------------------------

# These take as long as the clock allows gaps, so they begin first and are looked at in the end.
my ($leader, $left_alone, $unlocked, $gave_up, @released);

sub begin_released
{
	$leader = limited_session('leader', blocking_leak_after => '1ms');
	$leader->do('SELECT pg_advisory_lock(1)');
	my %limits = (blocking_leak_after => '200ms');
	($left_alone, $unlocked, $gave_up) = map { limited_session($_, %limits) } 'left alone', 'unlocked', 'gave up';
	$left_alone->do('SELECT pg_advisory_lock(2)');
	$unlocked->do('SELECT pg_advisory_lock(3)');
	$gave_up->do('BEGIN', change(20));
	@released = (waiting('SELECT pg_advisory_lock(2)'), waiting('SELECT pg_advisory_lock(3)'), waiting(change(20)));
	eventually_leaks($_, 'blocked', '1', 'released: a leak') for $left_alone, $unlocked, $gave_up;
	ask("SELECT pg_cancel_backend($_->{pid})") for @released[ 0, 2 ];
	$_->read_answer for @released[ 0, 2 ];
	is($_->{sqlstate}, '57014', 'released: the waiter gives up') for @released[ 0, 2 ];
	$unlocked->do('SELECT pg_advisory_unlock(3)');
	goes_on('released: the waiter gets the lock', $released[1]);
	is(ask("SELECT string_agg(coalesce(outcome, 'open'), ' ') FROM pgleak.history WHERE pid IN ($left_alone->{pid}, $unlocked->{pid})"),
		'open open', 'released: not before others have had time to come back');
}

sub end_released
{
	eventually_recorded($node, $left_alone, 'released', 'released: nobody waits any more');
	eventually_recorded($node, $unlocked, 'released', 'released: the lock is given back');
	is(ask("SELECT impact, blocked, ended_at IS NOT NULL FROM pgleak.history WHERE pid = $left_alone->{pid}"), 'blocking|1|t',
		'released: the history keeps its worst moment');
	like(log_after($node), qr/session leak ended: pid=$_->{pid} .*clock=blocking outcome=released /, 'released: the log says so')
	  for $left_alone, $unlocked;
	is(ask("SELECT count(*) FROM pgleak.leaks WHERE pid IN ($left_alone->{pid}, $unlocked->{pid})"), 0, 'released: not shown any more');
	eventually_leaks($gave_up, 'state, blocked', 'idle in transaction|0', 'released: a transaction stays one leak until it ends');
	$gave_up->do('COMMIT');
	eventually_recorded($node, $gave_up, 'committed', 'released: and ends as it does');
	$left_alone->do('SELECT 1');
	my $again = waiting('SELECT pg_advisory_lock(2)');
	eventually_leaks($left_alone, 'count(*)', '1', 'released: who keeps others waiting again is a new leak');
	eventually_in_history($left_alone, 'count(*), count(outcome)', '2|1', 'released: with a row of its own');
	$left_alone->do('SELECT pg_advisory_unlock(2)');
	goes_on('released: that waiter goes on', $again);
	never_leaked('leader: a lock that nobody waits for is no leak', $leader);
	finish($leader, $left_alone, $unlocked, $gave_up, $again, @released);
}

# Each transaction is short, and somebody always waits for the next one.
sub test_hot_row
{
	my $script = PostgreSQL::Test::Utils::tempdir() . '/hot.sql';
	append_to_file($script, "BEGIN;\n" . change(19) . ";\n\\sleep 30 ms\nCOMMIT;\n");
	my $output = '';
	my $bench = IPC::Run::start([ 'pgbench', '-n', '-c', 4, '-T', 8, '-f', $script,
		$node->connstr('postgres') . ' application_name=hot_row' ], '>', \$output, '2>&1');
	eventually(sub { ask("SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = 'hot_row' AND wait_event_type = 'Lock'") eq 't' },
		'hot row: somebody waits');
	$bench->finish;
	like($output, qr/number of transactions actually processed: [1-9]\d/, 'hot row: transactions run');
	is(ask(q(SELECT count(*) FROM pgleak.history WHERE application_name = 'hot_row')), 0,
		'hot row: no leak, though somebody waits all the time');
	unlike(log_after($node), qr/session leak: .*application=hot_row /, 'hot row: nor in the log');
}

# Waits for a twentieth of the time.
sub test_retries
{
	my ($id) = ask(q(INSERT INTO pgleak.rules (application_name, min_impact, blocking_leak_after, blocking_cancel_after)
		VALUES ('retried', 'blocking', '500ms', '3s') RETURNING id));
	my $root = wire($node, user => limited_role(), parameters => { application_name => 'retried' });
	eventually_is($node, "SELECT count(*) FROM pgleak.limits_for($root->{pid}) WHERE source = 'rule $id'", 0,
		'retries: the rule is not for a session that keeps nobody waiting');
	$root->do('BEGIN', 'SELECT * FROM altered');
	my $deploy = wire($node);
	$deploy->do(q(SET lock_timeout = '50ms'));
	my ($failures, $between) = (0, 0);
	eventually(sub {
		$deploy->ask('ALTER TABLE altered ADD COLUMN IF NOT EXISTS added integer');
		return 1 unless $deploy->{sqlstate};
		$failures++;
		usleep(900_000);
		$between++ if ask("SELECT blocked, impact FROM pgleak.leaks WHERE pid = $root->{pid}") eq '0|blocking';
		return 0;
	}, 'retries: who tries again and again gets through in the end');
	cmp_ok($failures, '>=', 3, 'retries: not before the limit');
	isnt($between, 0, 'retries: between two of them it is known that the session blocks');
	eventually_in_history($root, 'clock, last_action, last_action_result, impact, blocked, limit_source, action_source',
		"blocking|cancel|done|blocking|1|rule $id|rule $id", 'retries: the rule for those who block acts');
	$root->do('ROLLBACK');
	ask('DELETE FROM pgleak.rules');
	finish($root, $deploy);
}

# Whose limits -----------------------------------------------------------------------------------------------------------------

sub limit { my ($session, $kind) = @_; return "SELECT value, source FROM pgleak.limits_for($session->{pid}) WHERE setting = 'pgleak.blocking_${kind}_after'"; }

sub test_limits
{
	my $never = limited_session('never', blocking_leak_after => 0);
	my $ruled = wire($node, user => limited_role(), parameters => { application_name => 'ruled' });
	my $server = wire($node);
	ask(q(INSERT INTO pgleak.rules (application_name, blocking_leak_after, blocking_cancel_after, blocking_terminate_after)
		VALUES ('ruled', '300ms', '1h', '2h'), ('never', '1ms', '0', '0')));
	eventually_is($node, limit($ruled, 'terminate'), '02:00:00|rule ' . ask('SELECT min(id) FROM pgleak.rules'), 'limits: of a rule');
	is(ask(limit($server, 'leak')), '00:00:01|server', 'limits: of the server');
	is(ask(limit($server, 'terminate')), '00:00:00|server', 'limits: which are off where they act');
	like(ask(limit($never, 'leak')), qr/^(00:00:00\|session|00:00:00.001\|rule \d+)$/, 'limits: of the role or the rule');
	ask(q(DELETE FROM pgleak.rules WHERE application_name = 'never'));
	eventually_is($node, limit($never, 'leak'), '00:00:00|session', 'limits: of the role');

	$never->do('BEGIN', change(2));
	$ruled->do('BEGIN', change(3));
	my @waiters = (waiting(change(2)), waiting(change(3)));
	eventually_leaks($ruled, 'clock, leak_after, next_action', 'blocking|00:00:00.3|cancel', 'limits: those of the rule are in force');
	wait_for_scans(30);
	never_leaked('limits: so is a role without one', $never);
	$_->do('COMMIT') for $never, $ruled;
	goes_on('limits: all go on', @waiters);
	ask('DELETE FROM pgleak.rules');
	finish($never, $ruled, $server, @waiters);

	my ($status, $out, $error) = $node->psql('postgres',
		q(INSERT INTO pgleak.rules (blocking_leak_after, blocking_cancel_after) VALUES ('2s', '1s')));
	like($error, qr/blocking_cancel_after must not come before the leak/, 'limits: a rule that cannot be meant is refused');
}

sub test_dry_run
{
	configure($node, 'pgleak.dry_run' => 'on');
	my $root = limited_session('dry', blocking_leak_after => '300ms', blocking_cancel_after => '500ms');
	my ($holder, $key) = (limited_session('dry holder', blocking_leak_after => '300ms', blocking_terminate_after => '500ms'), new_key());
	$root->do('BEGIN', change(4));
	$holder->do("SELECT pg_advisory_lock($key)");
	my @waiters = (waiting(change(4)), waiting("SELECT pg_advisory_lock($key)"));
	eventually_leaks($root, 'last_action, last_action_result', 'cancel|dry run', 'dry run: a cancel that is not done');
	eventually_leaks($holder, 'last_action, last_action_result', 'terminate|dry run', 'dry run: a terminate that is not done');
	wait_for_scans(10);
	ok(!$_->has_answer, 'dry run: the others wait') for @waiters;
	like(activity($node, $root), qr/^idle in transaction\|/, 'dry run: the transaction is there');
	configure($node, 'pgleak.dry_run' => undef);
	goes_on('dry run: when it ends they go on', @waiters);
	finish($root, $holder, @waiters);
}

# By hand ------------------------------------------------------------------------------------------------------------------------

sub test_idle_by_hand
{
	my $idle = limited_session('by hand');
	my ($answer, $said) = act($node, 'cancel', $idle->{pid});
	is($answer, 'f', 'by hand: cancelling an idle session is false');
	like($said, qr/WARNING: .*is not in a transaction.*HINT: .*pgleak\.terminate\($idle->{pid}\)/s, 'by hand: and names what would do something');
	is($idle->ask('SELECT 1'), 1, 'by hand: nothing has happened to it');
	is(terminate($node, $idle), 't', 'by hand: terminating an idle session works');
	$idle->read_answer;
	like("$idle->{severity}: $idle->{message}", qr/^FATAL: terminating connection due to pgleak: /, 'by hand: its client hears it');
	is(ask("SELECT count(*) FROM pg_stat_activity WHERE pid = $idle->{pid}"), 0, 'by hand: when it is said to be done it has gone');
	eventually_in_history($idle, 'outcome, last_action, last_action_result, state', 'terminated|terminate|done|idle',
		'by hand: the history has it');
	($answer, $said) = act($node, 'terminate', $idle->{pid});
	like("$answer $said", qr/^f .*WARNING: .*is not a client backend/s, 'by hand: one that has gone is a warning');
	$idle->close;
}

# Standby ------------------------------------------------------------------------------------------------------------------------

sub test_standby
{
	my %limits = (blocking_leak_after => '300ms');
	my %role = (cancelled => limited_role(%limits, blocking_cancel_after => '2s'),
		terminated => limited_role(%limits, blocking_terminate_after => '2s'));
	$node->backup('base');
	my $standby = empty_node('standby');
	$standby->init_from_backup($node, 'base', has_streaming => 1);
	$standby->start;
	$node->wait_for_catchup($standby);
	my %root = map { $_ => wire($standby, user => $role{$_}) } keys %role;
	$root{cancelled}->do('BEGIN', 'SELECT pg_advisory_xact_lock(1)');
	$root{terminated}->do('SELECT pg_advisory_lock(2)');
	my @waiters = map { waiting("SELECT pg_advisory_lock($_)", node => $standby) } 1, 2;
	eventually_leaks($root{cancelled}, 'clock, state, impact, blocked', 'blocking|idle in transaction|blocking|1',
		'standby: a session idle in a transaction that another waits for', $standby);
	eventually_leaks($root{terminated}, 'clock, state, impact, blocked', 'blocking|idle|blocking|1',
		'standby: and one in no transaction', $standby);
	goes_on('standby: the limits free who waits', @waiters);
	answers($root{cancelled}, 'COMMIT', '40000 I', 'standby: the block is aborted');
	$root{terminated}->read_answer;
	like($root{terminated}{message}, qr/it kept others waiting for/, 'standby: the client hears why');
	eventually(sub { log_count($standby, qr/session leak ended: pid=$root{cancelled}{pid} .*outcome=cancelled/) }, 'standby: cancelled');
	eventually(sub { log_count($standby, qr/session leak ended: pid=$root{terminated}{pid} .*outcome=terminated/) }, 'standby: terminated');
	no_damage($standby, 'standby: no process has complained or crashed');
	finish(values %root, @waiters);
	$standby->stop;
}

begin_released();
test_active();
test_active_limit();
test_idle_in_transaction();
test_keepalive();
test_advisory();
test_advisory_modes();
test_knot();
test_locks_left();
test_terminate_limit();
end_released();
test_hot_row();
test_retries();
test_limits();
test_dry_run();
test_idle_by_hand();
test_standby();

no_damage($node, 'no process has complained or crashed', except => qr/is not a client backend/);
$node->stop;
done_testing();
