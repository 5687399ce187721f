# Nobody innocent is hurt: a dry run touches nothing, actions have a limit, superusers are spared, sessions can be exempted,
# not everybody may act by hand, and a session that has moved on since it was judged is left alone.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;
use PgleakActions;

use JSON::PP ();
use List::Util qw(min);
use PostgreSQL::Test::Utils;
use POSIX ();
use Test::More;
use Time::HiRes qw(time usleep);

my $node = new_node('restraint', streaming => 1, conf => <<'END');
pgleak.scan_interval = '50ms'
pgleak.idle_leak_after = '1h'
pgleak.max_actions_per_minute = 1000000
END

$node->safe_psql('postgres', q{
	CREATE TABLE t (i int);
	CREATE ROLE app LOGIN;
	GRANT ALL ON t TO app;
	CREATE TABLE done (client int, number int);
	GRANT ALL ON done TO app});

my $roles = 0;

# A role with these limits (idle_cancel_after => '1s', ...).
sub limited_role
{
	my (%limits) = @_;
	my $role = 'role_' . ++$roles;
	$node->safe_psql('postgres', join ';', "CREATE ROLE $role LOGIN IN ROLE app",
		map { "ALTER ROLE $role SET pgleak.$_ = '$limits{$_}'" } sort keys %limits);
	return $role;
}

sub is_cancelled { my ($session) = @_; return activity($node, $session) eq 'idle in transaction (aborted)|-|-'; }

sub is_untouched { my ($session) = @_; return activity($node, $session) =~ /^idle in transaction\|\d+\|/; }

sub count_of { my ($columns) = @_; return $node->safe_psql('postgres', "SELECT $columns FROM pgleak.stats"); }

# Takes back the limits of the whole server.
sub without_limits { configure($node, map { ("pgleak.idle_$_" => undef) } qw(leak_after cancel_after terminate_after)); }

# Dry run --------------------------------------------------------------------------------------------------------------

sub test_dry_run
{
	my ($cancels, $terminates) = split /\|/, count_of('cancels, terminates');
	my $listener = wire($node);
	$listener->do('LISTEN pgleak');
	configure($node, 'pgleak.dry_run' => 'on');
	my $mark = log_mark($node);
	my $role = limited_role(idle_leak_after => '100ms', idle_cancel_after => '200ms', idle_terminate_after => '3s');
	my $session = leaking_wire($node, user => $role, query => 'INSERT INTO t VALUES (1)');

	eventually_is($node, "SELECT last_action, last_action_result FROM pgleak.leaks WHERE pid = $session->{pid}",
		'cancel|dry run',
		'dry run: the live view has what would be done');
	eventually_is($node,
		"SELECT last_action, last_action_result, outcome IS NULL FROM pgleak.history WHERE pid = $session->{pid}",
		'cancel|dry run|t',
		'dry run: so has the history');
	eventually_is($node, "SELECT last_action, last_action_result FROM pgleak.history WHERE pid = $session->{pid}",
		'terminate|dry run',
		'dry run: and then what comes after');
	ok(is_untouched($session), 'dry run: the session is untouched');
	is(log_count($node, qr/pgleak: would $_: pid=$session->{pid} database=postgres role=$role /, $mark), 1,
		"dry run: the log says once that it would $_")
	  for 'cancel', 'terminate';
	is(log_count($node, qr/pgleak: will/, $mark), 0, 'dry run: and never that it will');
	is($session->unasked, '', 'dry run: its client hears nothing');
	answers($session, 'COMMIT', 'COMMIT I', 'dry run: its COMMIT succeeds');
	eventually_recorded($node, $session, 'committed', 'dry run: the episode ends as committed');
	is(recorded($node, $session, 'last_action, last_action_result'), 'terminate|dry run',
		'dry run: the history keeps what would have been done');
	is(count_of('cancels, terminates'), "$cancels|$terminates", 'dry run: nothing is counted');

	$listener->ask('SELECT 1');
	my @acted = grep { $_->{event} eq 'acted' && $_->{pid} == $session->{pid} } map { JSON::PP->new->decode($_) } @{ $listener->{payloads} };
	is(join(', ', map { "$_->{action}: $_->{result}" } @acted), 'cancel: dry run, terminate: dry run',
		'dry run: it is notified');
	$_->close for $session, $listener;
}

# By hand somebody has made up their mind.
sub test_dry_run_by_hand
{
	my $session = leaking_wire($node, query => 'INSERT INTO t VALUES (1)');
	is(cancel($node, $session), 't', 'dry run: pgleak.cancel() acts all the same');
	ok(is_cancelled($session), 'dry run: the session is cancelled by hand');
	$session->close;
}

# What would have been done is done when it is meant.
sub test_end_of_dry_run
{
	my $role = limited_role(idle_leak_after => '100ms', idle_cancel_after => '200ms');
	my $session = leaking_wire($node, user => $role, query => 'INSERT INTO t VALUES (1)');
	eventually_is($node, "SELECT last_action_result FROM pgleak.leaks WHERE pid = $session->{pid}", 'dry run',
		'end of the dry run: a session would be cancelled');
	configure($node, 'pgleak.dry_run' => undef);
	eventually(sub { is_cancelled($session) }, 'end of the dry run: a session that would have been cancelled is', 10);
	$session->close;
}

# The number of actions ------------------------------------------------------------------------------------------------

my $warning = qr/WARNING:  pgleak: more than 3 actions within one minute, suspending actions for one minute/;

# On a server of its own, as it takes more than a minute; finish_rate_limit() has the end.
sub start_rate_limit
{
	my $limited = new_node('limited', conf => <<'END');
pgleak.idle_leak_after = '100ms'
pgleak.idle_cancel_after = '300ms'
pgleak.act_on_superusers = on
pgleak.max_actions_per_minute = 3
END
	my $mark = log_mark($limited);
	my @sessions = map { leaking_wire($limited, query => "SELECT pg_advisory_xact_lock($_)") } 1 .. 6;
	eventually(sub { log_count($limited, $warning, $mark) }, 'rate limit: there is a WARNING');
	my $start = time;
	eventually_is($limited, q(SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction (aborted)'), 3,
		'rate limit: as many as allowed are cancelled');
	eventually_is($limited, 'SELECT count(*) FROM pgleak.history', 6,
		'rate limit: leaks are detected and recorded all the same');
	eventually_is($limited, q(SELECT paused_until > now() FROM pgleak.stats), 't',
		'rate limit: pgleak.stats says that actions are stopped');
	eventually_is($limited, q(SELECT count(*) > 0 FROM pgleak.leaks WHERE action_held_by ~ '^rate limit until \d\d:\d\d:\d\d$'), 't',
		'rate limit: so does pgleak.leaks');
	my $later = leaking_wire($limited);
	eventually_is($limited, 'SELECT count(*) FROM pgleak.history', 7, 'rate limit: also later ones');
	my ($spared) = grep { activity($limited, $_) !~ /aborted/ } @sessions;
	is(cancel($limited, $spared), 't', 'rate limit: whoever acts by hand is not limited');
	my $aborted = q(SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction (aborted)');
	holds(sub { $limited->safe_psql('postgres', $aborted) eq '4' },
		'rate limit: nobody else is', 2);
	is(log_count($limited, $warning, $mark), 1, 'rate limit: the WARNING comes once');
	return ($limited, $mark, $start, @sessions, $later);
}

sub finish_rate_limit
{
	my ($limited, $mark, $start, @sessions) = @_;
	eventually_is($limited, q(SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction (aborted)'), 7,
		'rate limit: after the pause actions go on by themselves', 120);
	cmp_ok(time - $start, '>', 55, 'rate limit: the pause is a minute');
	is(log_count($limited, $warning, $mark), 1, 'rate limit: there was one WARNING in all');
	$_->close for @sessions;
	$limited->stop;
}

# Who is exempt --------------------------------------------------------------------------------------------------------

sub test_superusers
{
	configure($node, 'pgleak.idle_leak_after' => '100ms', 'pgleak.idle_cancel_after' => '300ms');
	my $session = leaking_wire($node, query => 'INSERT INTO t VALUES (1)');
	my $ordinary = leaking_wire($node, user => 'app', query => 'INSERT INTO t VALUES (1)');
	eventually(sub { is_cancelled($ordinary) }, 'superusers: a session of an ordinary role is cancelled');
	eventually_recorded($node, $session, 'open', 'superusers: the session of one is recorded as a leak');
	is($node->safe_psql('postgres',
		"SELECT next_action IS NULL, last_action IS NULL FROM pgleak.leaks WHERE pid = $session->{pid}"), 't|t',
		'superusers: nothing is planned for it');
	holds(sub { is_untouched($session) }, 'superusers: and nothing done to it', 1);
	configure($node, 'pgleak.act_on_superusers' => 'on');
	eventually(sub { is_cancelled($session) }, 'superusers: it is cancelled once pgleak.act_on_superusers is on');
	configure($node, 'pgleak.act_on_superusers' => undef);
	without_limits();
	$_->close for $session, $ordinary;
}

# What counts is who has logged in, not who the session pretends to be.
sub test_pretenders
{
	configure($node, 'pgleak.idle_leak_after' => '100ms', 'pgleak.idle_cancel_after' => '300ms');
	my $session = wire($node);
	$session->do('SET ROLE app', 'BEGIN', 'INSERT INTO t VALUES (1)');
	eventually_recorded($node, $session, 'open', 'pretenders: a superuser who has become another role is a leak');
	holds(sub { is_untouched($session) }, 'pretenders: and spared', 1);
	without_limits();
	$session->close;
}

sub test_own_limits
{
	configure($node, 'pgleak.idle_leak_after' => '100ms', 'pgleak.idle_cancel_after' => '300ms');
	my $never = leaking_wire($node, user => limited_role(idle_cancel_after => '0'), query => 'INSERT INTO t VALUES (1)');
	my $later = leaking_wire($node, user => limited_role(idle_cancel_after => '1h'), query => 'INSERT INTO t VALUES (1)');
	my $no_leak = leaking_wire($node, user => limited_role(idle_leak_after => '0'), query => 'INSERT INTO t VALUES (1)');
	my $plain = leaking_wire($node, user => 'app', query => 'INSERT INTO t VALUES (1)');
	eventually(sub { is_cancelled($plain) }, 'own limits: a session without any is cancelled at the limit of the server');
	holds(sub { is_untouched($never) && is_untouched($later) && is_untouched($no_leak) },
		'own limits: sessions of roles with 0 or a longer one are not', 1);
	is($node->safe_psql('postgres',
		"SELECT next_action, next_action_at > now() + '50min' FROM pgleak.leaks WHERE pid = $later->{pid}"), 'cancel|t',
		'own limits: the live view shows what comes next, and when');
	is($node->safe_psql('postgres', "SELECT next_action IS NULL FROM pgleak.leaks WHERE pid = $never->{pid}"), 't',
		'own limits: or that nothing does');
	is($node->safe_psql('postgres', "SELECT count(*) FROM pgleak.leaks WHERE pid = $no_leak->{pid}"), 0,
		'own limits: what is no leak is not acted on');
	$_->close for $never, $later, $no_leak, $plain;
	without_limits();
}

sub test_database_limits
{
	$node->safe_psql('postgres', 'CREATE DATABASE other');
	$node->safe_psql('postgres', q(ALTER DATABASE other SET pgleak.idle_leak_after = '100ms'));
	$node->safe_psql('postgres', q(ALTER DATABASE other SET pgleak.idle_cancel_after = '200ms'));
	my $session = leaking_wire($node, user => 'app', dbname => 'other');
	my $elsewhere = leaking_wire($node, user => 'app', query => 'INSERT INTO t VALUES (1)');
	eventually(sub { is_cancelled($session) }, 'limits of a database: its sessions are cancelled');
	ok(is_untouched($elsewhere), 'limits of a database: others are not');
	$_->close for $session, $elsewhere;
}

sub test_set_local
{
	configure($node, 'pgleak.idle_leak_after' => '100ms', 'pgleak.idle_cancel_after' => '300ms',
		'pgleak.act_on_superusers' => 'on');
	my $session = wire($node);
	$session->do('BEGIN', 'SET LOCAL pgleak.idle_cancel_after = 0', 'INSERT INTO t VALUES (1)');
	eventually_recorded($node, $session, 'open', 'SET LOCAL: an exempt transaction is a leak');
	holds(sub { is_untouched($session) }, 'SET LOCAL ... = 0 exempts a transaction', 1);
	answers($session, 'COMMIT', 'COMMIT I', 'SET LOCAL: it commits');
	$session->do('BEGIN', 'INSERT INTO t VALUES (1)');
	eventually(sub { is_cancelled($session) }, 'SET LOCAL: the next one is not exempt');
	$session->do('ROLLBACK');

	$session->do('BEGIN', 'SAVEPOINT s', 'SET LOCAL pgleak.idle_cancel_after = 0', 'ROLLBACK TO s',
		'INSERT INTO t VALUES (1)');
	eventually(sub { is_cancelled($session) }, 'SET LOCAL: rolled back to a savepoint it holds no more');
	$session->do('ROLLBACK');
	configure($node, 'pgleak.act_on_superusers' => undef);
	without_limits();
	$session->close;
}

sub test_who_may_set
{
	my $session = wire($node, user => 'app');
	answers($session, 'SET pgleak.idle_cancel_after = 0', '42501 I', 'an ordinary role cannot exempt itself');
	answers($session, 'ALTER ROLE app SET pgleak.idle_cancel_after = 0', '42501 I', 'nor by its own role');
	$node->safe_psql('postgres', 'GRANT SET ON PARAMETER pgleak.idle_cancel_after TO app');
	answers($session, 'SET pgleak.idle_cancel_after = 0', 'SET I', 'unless somebody has granted that');
	$node->safe_psql('postgres', 'REVOKE SET ON PARAMETER pgleak.idle_cancel_after FROM app');
	$session->close;
}

# The least impact that an action needs -----------------------------------------------------------------------------------

# Sessions that hurt ever more, and one that waits for the last of them.
sub hurting_sessions
{
	my ($role) = @_;
	my %sessions = (
		'1 none' => leaking_wire($node, user => $role),
		'2 locks' => leaking_wire($node, user => $role, query => 'LOCK TABLE t IN ACCESS SHARE MODE'),
		'3 horizon' => leaking_wire($node, user => $role, query => 'INSERT INTO t VALUES (1)'),
		'4 blocking' => leaking_wire($node, user => $role, query => 'SELECT pg_advisory_xact_lock(1)'));
	my $waiter = wire($node);
	$waiter->start('SELECT pg_advisory_xact_lock(1)');
	return ($waiter, %sessions);
}

sub state_of { my ($session) = @_; return (split /\|/, activity($node, $session))[0]; }

sub test_act_when
{
	my @levels = qw(any locks horizon blocking);
	for my $least (0 .. $#levels)
	{
		my $name = "action_min_impact = $levels[$least]";
		configure($node, 'pgleak.action_min_impact' => $levels[$least]);
		my ($waiter, %sessions) = hurting_sessions(limited_role(idle_leak_after => '100ms', idle_cancel_after => '200ms'));
		my @kinds = sort keys %sessions;
		my $expected = join ', ', map { $_ < $least ? 'idle in transaction' : 'idle in transaction (aborted)' } 0 .. 3;
		my $are_as_expected = sub { join(', ', map { state_of($sessions{$_}) } @kinds) eq $expected };
		eventually($are_as_expected, "$name: who hurts that much is cancelled, the others are not");
		eventually_recorded($node, $sessions{$_}, $_ lt $kinds[$least] ? 'open' : 'cancelled', "$name: $_ is recorded as it should be")
		  for @kinds;
		holds($are_as_expected, "$name: and so it stays", 1);
		eventually(sub { $waiter->has_answer }, "$name: who waited goes on");
		$_->close for $waiter, values %sessions;
	}
	configure($node, 'pgleak.action_min_impact' => undef);
}

# A session's own value counts more than the server's, and only those may set it who may set its limits.
sub test_own_action_min_impact
{
	configure($node, 'pgleak.action_min_impact' => 'blocking');
	my %limits = (idle_leak_after => '100ms', idle_cancel_after => '200ms');
	my ($eager, $patient) = map { limited_role(%limits, action_min_impact => $_) } 'any', 'blocking';
	my $session = leaking_wire($node, user => $eager);
	eventually(sub { is_cancelled($session) }, 'own action_min_impact: any, where the server wants more');
	answers($session, 'ROLLBACK; SET pgleak.action_min_impact = blocking', '42501 I', 'own action_min_impact: not for the session itself to choose');
	$session->close;

	configure($node, 'pgleak.action_min_impact' => undef);
	$session = leaking_wire($node, user => $patient, query => 'SELECT pg_advisory_xact_lock(2)');
	holds(sub { state_of($session) eq 'idle in transaction' }, 'own action_min_impact: blocking, where the server wants less', 1);
	is($node->safe_psql('postgres', "SELECT next_action, action_held_by FROM pgleak.leaks WHERE pid = $session->{pid}"),
		'|impact below blocking', 'own action_min_impact: no action is announced, and the view says why');
	my $waiter = wire($node);
	$waiter->start('SELECT pg_advisory_xact_lock(2)');
	eventually(sub { is_cancelled($session) }, 'own action_min_impact: it is taken as soon as somebody waits');
	$waiter->read_answer;
	is($waiter->{sqlstate}, '', 'own action_min_impact: who goes on then');
	answers($session, 'COMMIT', '40000 I', 'own action_min_impact: and the COMMIT fails');
	$_->close for $waiter, $session;
}

# Nonsense -------------------------------------------------------------------------------------------------------------

sub test_contradictions
{
	my $session = wire($node);
	$session->do("SET pgleak.idle_leak_after = '60s'");
	for my $action ('idle_cancel_after', 'idle_terminate_after')
	{
		answers($session, "SET pgleak.$action = '59s'", '22023 I',
			"contradiction: $action below its leak limit is refused");
		is($session->{detail}, qq("pgleak.$action" must not be shorter than "pgleak.idle_leak_after".),
			"contradiction: $action, with the reason");
		like($session->{hint}, qr/Zero means never/, "contradiction: $action, and a hint");
		answers($session, "SET pgleak.$action = '60s'", 'SET I', "contradiction: $action as long as its leak limit is not");
		answers($session, "SET pgleak.idle_leak_after = '61s'", '22023 I',
			"contradiction: nor may the leak limit be raised above $action");
		answers($session, "SET pgleak.$action = 0", 'SET I', "contradiction: $action never");
	}
	answers($session, q(SET pgleak.idle_cancel_after = '10 bananas'), '22023 I', 'a wrong unit is refused');
	answers($session, q(SET pgleak.idle_cancel_after = -1), '22023 I', 'a negative duration is refused');
	answers($session, q(SET pgleak.act_hastily = on), '42602 I', 'an unknown setting is refused');
	answers($session, 'SET pgleak.dry_run = on', '55P02 I', 'what is for all sessions cannot be set in one');
	$session->close;
}

# The values of a file come in no order, so there the action waits for the leak.
sub test_contradictory_file
{
	my $mark = log_mark($node);
	configure($node, 'pgleak.idle_leak_after' => '800ms', 'pgleak.idle_cancel_after' => '100ms');
	my $warning = qr/WARNING:  pgleak: "pgleak.idle_cancel_after" is shorter than "pgleak.idle_leak_after"/;
	eventually(sub { log_count($node, $warning, $mark) },
		'contradiction in the file: there is a WARNING');
	my $session = leaking_wire($node, user => 'app', query => 'INSERT INTO t VALUES (1)');
	eventually(sub { is_cancelled($session) }, 'contradiction in the file: the session is cancelled');
	my ($lasted) = log_after($node, $mark) =~ /pgleak: will cancel: pid=$session->{pid} .* for=([0-9.]+)s/;
	cmp_ok($lasted, '>=', 0.8, 'contradiction in the file: when it is a leak, not earlier');
	without_limits();
	$session->close;
}

# By hand --------------------------------------------------------------------------------------------------------------

# Who may act on whom is what the server itself says, asked about a session that it leaves alone.
sub test_permissions
{
	$node->safe_psql('postgres', q(
		CREATE ROLE owner LOGIN;
		CREATE ROLE member LOGIN IN ROLE owner;
		CREATE ROLE stranger LOGIN;
		CREATE ROLE signaller LOGIN IN ROLE pg_signal_backend;
		CREATE ROLE monitor LOGIN IN ROLE pg_monitor;
		CREATE ROLE boss LOGIN SUPERUSER;
		CREATE ROLE noheir LOGIN NOINHERIT IN ROLE boss));
	my %allowed;
	for my $caller (qw(owner member stranger signaller monitor boss noheir))
	{
		for my $target (qw(owner boss))
		{
			my $session = leaking_wire($node, user => $target);
			my $core = wire($node, user => $caller);
			$core->ask("SELECT pg_cancel_backend($session->{pid})");
			my $may = $core->{sqlstate} eq '' ? 1 : 0;
			$allowed{"$caller on $target"} = $may;
			for my $action ('cancel', 'terminate')
			{
				my ($answer, $said) = act($node, $action, $session->{pid}, user => $caller);
				my $word = $may ? 'may' : 'may not';
				is($answer, $may ? 't' : '',
					"permissions: $caller $word $action a session of $target, as in the server itself");
				like($said, qr/ERROR:  42501: permission denied to $action session/,
					"permissions: and is told so") unless $may;
				$session->ask('ROLLBACK; BEGIN; SELECT 1') if $may;
			}
			$_->close for $session, $core;
		}
	}
	is(join(', ', grep { $allowed{$_} } sort keys %allowed),
		'boss on boss, boss on owner, member on owner, owner on owner, signaller on owner', 'permissions: which are these');
}

sub test_no_transaction
{
	my $session = wire($node, user => 'app');
	my ($answer, $said) = act($node, 'cancel', $session->{pid});
	is($answer, 'f', 'no transaction: pgleak.cancel() returns false');
	like($said, qr/WARNING:  25P01: session with PID $session->{pid} is not in a transaction/,
		'no transaction: pgleak.cancel() says why');
	like($said, qr/HINT:  Use pgleak.terminate\($session->{pid}\)/, 'no transaction: and what ends the session');
	answers($session, 'SELECT 1', 'SELECT 1 I', 'no transaction: the session is untouched');
	is((act($node, 'terminate', $session->{pid}))[0], 't', 'no transaction: pgleak.terminate() ends it');
	$session->read_answer;
	like($session->{message}, qr/^terminating connection due to pgleak: /, 'no transaction: its client learns why');
	$session->close;
}

sub test_no_client
{
	my $walsender = session($node, replication => 'true');
	$walsender->ask('IDENTIFY_SYSTEM');
	my %pids = map { split /=/ } split /\n/, $node->safe_psql('postgres', q(
		SELECT backend_type || '=' || pid FROM pg_stat_activity
		WHERE backend_type IN ('checkpointer', 'walwriter', 'walsender', 'pgleak scanner', 'pgleak recorder')));
	is(scalar keys %pids, 5, 'no client: there are such processes');
	%pids = (%pids, 'number 0' => 0, 'number -1' => -1, 'the test' => $$);
	for my $who (sort keys %pids)
	{
		for my $action ('cancel', 'terminate')
		{
			my ($answer, $said) = act($node, $action, $pids{$who});
			is($answer, 'f', "no client: pgleak.$action() returns false for $who");
			like($said, qr/WARNING:  22023: PID $pids{$who} is not a client backend/, "no client: and says so for $who");
		}
	}
	is(log_count($node, qr/terminated by signal/), 0, 'no client: nothing has happened to them');
	$walsender->kill;
}

sub test_oneself
{
	my $session = wire($node);
	answers($session, 'SELECT pgleak.cancel(pg_backend_pid())', '57014 I',
		'oneself: pgleak.cancel() cancels the query that calls it');
	is($session->ask('SELECT pgleak.cancel(NULL)'), '', 'nobody: NULL is NULL');
	$session->close;
}

# A session that has moved on ------------------------------------------------------------------------------------------

# Has somebody ask for an action while the scanner cannot see it; then $meanwhile->() happens. Returns the one who asked.
sub ask_behind_scanner
{
	my ($session, $meanwhile, $statement) = @_;
	my $scanner = worker_pid($node, 'scanner');
	my $actor = wire($node);
	stop_process($scanner);
	$actor->start($statement // "SELECT pgleak.cancel($session->{pid})");
	eventually_is($node, "SELECT wait_event_type FROM pg_stat_activity WHERE pid = $actor->{pid}", 'Extension',
		'somebody asks for an action');
	$meanwhile->($actor);
	continue_process($scanner);
	return $actor;
}

sub was_refused
{
	my ($actor, $name) = @_;
	my $start = time;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($actor->read_answer, 'f', "$name: the answer is false");
	like("@{ $actor->{notices} } $actor->{message}", qr/has moved on, no action was taken/,
		"$name: with the reason");
	cmp_ok(time - $start, '<', 5, "$name: and soon");
	$actor->close;
}

# Between judgement and action the session has begun another transaction.
sub test_next_transaction
{
	my $session = leaking_wire($node, query => 'INSERT INTO t VALUES (1)');
	my $actor = ask_behind_scanner($session, sub { $session->do('COMMIT', 'BEGIN', 'INSERT INTO t VALUES (2)') });
	was_refused($actor, 'next transaction');
	ok(is_untouched($session), 'next transaction: it is untouched');
	is($node->safe_psql('postgres', "SELECT count(*) FROM pgleak.leaks WHERE pid = $session->{pid}"), 0,
		'next transaction: and no leak');
	answers($session, 'COMMIT', 'COMMIT I', 'next transaction: it commits');
	is(recorded($node, $session, 'count(*)'), 0, 'next transaction: there is no history about it');
	$session->close;
}

sub test_gone_session
{
	my $session = leaking_wire($node, query => 'INSERT INTO t VALUES (1)');
	my $actor = ask_behind_scanner($session, sub {
			$session->close;
			eventually(sub { !is_running($session->{pid}) }, 'gone session: it is gone');
		});
	was_refused($actor, 'gone session');
}

# Another session has taken its place.
sub test_replaced_session
{
	my @others;
	my $session = leaking_wire($node, query => 'INSERT INTO t VALUES (1)');
	my $actor = ask_behind_scanner($session, sub {
			$session->close;
			eventually(sub { !is_running($session->{pid}) }, 'replaced session: it is gone');
			@others = map { leaking_wire($node, query => 'INSERT INTO t VALUES (2)') } 1 .. 5;
		});
	was_refused($actor, 'replaced session');
	is(scalar(grep { is_untouched($_) } @others), 5, 'replaced session: others are untouched');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM pgleak.leaks'), 0, 'replaced session: and no leaks');
	$_->close for @others;
}

# Whoever has given up waiting has not asked for anything any more.
sub test_withdrawn_request
{
	my $session = leaking_wire($node, query => 'INSERT INTO t VALUES (1)');
	my $actor = ask_behind_scanner($session, sub {
			my ($actor) = @_;
			$node->safe_psql('postgres', "SELECT pg_cancel_backend($actor->{pid})");
			$actor->read_answer;
			is($actor->{sqlstate}, '57014', 'withdrawn request: who has asked gives up');
		});
	$node->safe_psql('postgres', 'SELECT pgleak.scan(), pgleak.scan()');
	ok(is_untouched($session), 'withdrawn request: the session is untouched');
	is(cancel($node, $session), 't', 'withdrawn request: a later one is served');
	$_->close for $session, $actor;
}

# A request can be withdrawn at any moment. Whether the scanner has served it by then or not, the log tells of the action that
# is taken in the end.
sub test_request_withdrawn_at_any_moment
{
	my ($withdrawn, @silent) = (0);
	my $administrator = session($node);
	for my $wait (1 .. 20)
	{
		my $session = leaking_wire($node, query => 'INSERT INTO t VALUES (1)');
		my $mark = log_mark($node);
		my $actor = wire($node);
		$actor->do("SET statement_timeout = '${wait}ms'");
		$actor->ask("SELECT pgleak.cancel($session->{pid})");
		$withdrawn++ if $actor->{sqlstate} eq '57014';
		$administrator->do('SELECT pgleak.scan()') for 1 .. 2;
		cancel($node, $session);
		push @silent, $wait unless log_count($node, qr/pgleak: will cancel: pid=$session->{pid} /, $mark);
		$_->close for $session, $actor;
	}
	note("withdrawn request: $withdrawn of 20 were withdrawn");
	is("@silent", '', 'withdrawn request: the log tells of the action that is taken later');
	$administrator->close;
}

# The client comes back to life after the judgement: its session is stopped while the request is under way, and the client's
# next statement is there when it goes on.
sub test_sign_of_life
{
	my %count = (t => 0, f => 0);
	my @wrong;
	my $skipped = count_of('skipped');
	my $administrator = session($node);
	for (1 .. 20)
	{
		my $session = leaking_wire($node, query => 'INSERT INTO t VALUES (1)');
		my $mark = log_mark($node);
		stop_process($session->{pid});
		my $actor = start_act($node, 'cancel', $session);
		usleep(1000) until log_count($node, qr/will cancel: pid=$session->{pid} /, $mark);
		$administrator->do('SELECT pgleak.scan()');
		$session->start('INSERT INTO t VALUES (2)');
		continue_process($session->{pid});
		$session->read_answer;
		my $reply = $session->{sqlstate} || $session->{tag};
		my $answer = $actor->read_answer;
		$count{$answer}++;
		$session->ask('COMMIT');
		my $end = $session->{sqlstate} || $session->{tag};
		# Either the statement found the transaction cancelled, or the transaction goes on with it.
		push @wrong, "$answer: $reply, $end" unless "$answer: $reply, $end" =~ /^(t: 25P02, 40000|f: INSERT 0 1, COMMIT)$/;
		$_->close for $session, $actor;
	}
	note("sign of life: $count{t} cancelled before the statement, $count{f} skipped");
	is(join('; ', @wrong), '', 'sign of life: a session that goes on after the judgement is left alone');
	is(count_of('skipped') - $skipped, $count{f}, 'sign of life: and is counted as skipped');
	$administrator->close;
}

# One transaction of the race. Idle times are around the limit, statements last as long. Returns what COMMIT was answered,
# what the statement before it was, and the longest time that the session can have been idle.
sub race_transaction
{
	my ($session, $client, $number, $limit) = @_;
	my ($longest, $since);
	# A session cannot have become idle before its statement was sent, or said what time it was, nor stay so after the next
	# answer. That pg_sleep() lasts for as long as it was told is not for us to rely on.
	my $ask = sub {
		my ($statement) = @_;
		my $sent = time;
		my $clock = $session->ask($statement);
		my $idle = defined $since ? time - $since : 0;
		$longest = $idle if !defined $longest || $idle > $longest;
		$since = $clock =~ /^\|([\d.]+)$/ ? $1 : $sent;
		return $session->{sqlstate} eq '';
	};
	my $works = $ask->('BEGIN');
	for my $step (1 .. 1 + int rand 4)
	{
		my $busy = rand() < 0.5 ? 0 : rand(1.5) * $limit;
		$works &&= $ask->("SELECT pg_sleep($busy), extract(epoch FROM clock_timestamp())") && $ask->("INSERT INTO done VALUES ($client, $number)");
		usleep(1e6 * $limit * (rand() < 0.6 ? 0 : 0.8 + rand 0.4)) if $works;
		$works &&= $ask->('SELECT 1');
	}
	my $before = $session->{sqlstate};
	$ask->('COMMIT');
	return ($session->{sqlstate} || $session->{tag}, $before, $longest);
}

# One client of the race. Returns its counts; innocent are transactions cancelled that cannot have been idle for the limit.
# With them is the shortest time, in us, that one that was cancelled had been idle for at most.
sub race
{
	my ($client, $limit, $seconds) = @_;
	my %count = (committed => 0, cancelled => 0, innocent => 0, strange => 0, shortest => 1e6);
	my $session = wire($node, user => 'racer', extended => $client % 2);
	my $deadline = time + $seconds;
	srand($client);
	for (my $number = 1; time < $deadline; $number++)
	{
		my ($end, $before, $longest) = race_transaction($session, $client, $number, $limit);
		$count{committed}++ if $end eq 'COMMIT';
		$count{cancelled}++ if $end eq '40000';
		$count{innocent}++ if $end eq '40000' && $longest < $limit;
		$count{shortest} = 1e6 * $longest if $end eq '40000' && 1e6 * $longest < $count{shortest};
		$count{strange}++ if "$before $end" !~ /^( COMMIT|(25P02)? 40000)$/ || $session->{status} ne 'I';
	}
	$session->close;
	return \%count;
}

sub add_counts
{
	my ($sum, $count) = @_;
	$sum->{shortest} = min($sum->{shortest}, delete $count->{shortest});
	$sum->{$_} += $count->{$_} for keys %$count;
}

# Runs all clients at the same time, each in a process of its own; returns the sums of their counts.
sub run_race
{
	my ($clients, $limit, $seconds) = @_;
	my @pipes;
	for my $client (1 .. $clients)
	{
		my $child = open(my $pipe, '-|') // die "fork: $!";
		push @pipes, $pipe;
		next if $child;
		my $count = eval { race($client, $limit, $seconds) } // { strange => 1, shortest => 1e6 };
		syswrite STDOUT, JSON::PP->new->encode($count) . "\n";
		POSIX::_exit(0);
	}
	my %sum = (shortest => 1e6);
	for my $pipe (@pipes)
	{
		my $count = JSON::PP->new->decode(scalar readline $pipe);
		add_counts(\%sum, $count);
		close $pipe;
	}
	return \%sum;
}

sub test_race
{
	my $limit = 0.02;
	$node->safe_psql('postgres', qq(
		CREATE ROLE racer LOGIN IN ROLE app;
		ALTER ROLE racer SET pgleak.idle_leak_after = '20ms';
		ALTER ROLE racer SET pgleak.idle_cancel_after = '20ms';
		TRUNCATE done;
		SELECT pgleak.reset()));
	configure($node, 'pgleak.scan_interval' => '10ms');
	my %sum = (shortest => 1e6);
	for my $round (1 .. 10)
	{
		add_counts(\%sum, run_race(10, $limit, 4));
		last if count_of('skipped') > 0;
	}
	my ($cancels, $failed, $skipped) = split /\|/, count_of('cancels, cancels_failed, skipped');
	note("race: $sum{committed} committed, $sum{cancelled} cancelled, after $sum{shortest} us at least; counted are $cancels cancels, $failed failed, $skipped skipped");
	cmp_ok($sum{committed}, '>', 0, 'race: transactions commit');
	cmp_ok($sum{cancelled}, '>', 0, 'race: and are cancelled');
	is($sum{innocent}, 0, 'race: none was cancelled that had not been idle for the limit');
	is($sum{strange}, 0, 'race: every client got what it may get');
	is($node->safe_psql('postgres', 'SELECT count(DISTINCT (client, number)) FROM done'), $sum{committed},
		'race: what was committed is there, and nothing else');
	is($cancels, $sum{cancelled}, 'race: the clients have seen as many cancellations as are counted');
	cmp_ok($skipped, '>', 0, 'race: sessions that moved on in time are counted as skipped');
	configure($node, 'pgleak.scan_interval' => undef);
}

my @rate_limit = start_rate_limit();
test_dry_run();
test_dry_run_by_hand();
test_end_of_dry_run();
configure($node, 'pgleak.dry_run' => undef);
test_superusers();
test_pretenders();
test_own_limits();
test_database_limits();
test_set_local();
test_who_may_set();
test_act_when();
test_own_action_min_impact();
test_contradictions();
test_contradictory_file();
test_permissions();
test_no_transaction();
test_no_client();
test_oneself();
test_next_transaction();
test_gone_session();
test_replaced_session();
test_withdrawn_request();
test_request_withdrawn_at_any_moment();
test_sign_of_life();
test_race();
finish_rate_limit(@rate_limit);

no_damage($node, 'no process has complained or crashed', except => qr/"pgleak.idle_cancel_after" is shorter/);

$node->stop;
done_testing();
