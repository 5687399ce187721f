# A session that is idle in a transaction is cancelled in place: what it holds is free at once, the connection lives, a
# COMMIT fails loudly and ends the block. In both protocols, over TLS, in the middle of a message, and whatever the
# transaction has done before.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;
use PgleakActions;
use PgleakActions::Wire qw(message parse bind_to execute sync);

use PostgreSQL::Test::Utils;
use Test::More;

# Nothing is cancelled here but what the tests ask for.
my $node = new_node('in_place', conf => <<'END');
pgleak.idle_leak_after = '1h'
pgleak.max_actions_per_minute = 1000
max_prepared_transactions = 5
listen_addresses = '127.0.0.1'
END

$node->safe_psql('postgres', q{
	CREATE TABLE account (id int PRIMARY KEY, balance int);
	INSERT INTO account SELECT i, 100 FROM generate_series(1, 1000) i;
	CREATE ROLE app LOGIN;
	GRANT ALL ON account TO app;
	GRANT CREATE ON SCHEMA public TO app});

my $spend = 'UPDATE account SET balance = balance - 1 WHERE id = 1';
my $unharmed = "SELECT count(*), sum(balance) FROM account";

# Test: cancelling the session works and leaves it with nothing but its connection. %options: keeps => the number of
# locks that stay.
sub cancelled_in_place
{
	my ($session, $name, %options) = @_;
	my $keeps = $options{keeps} // 0;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(cancel($node, $session), 't', "$name: pgleak.cancel() succeeds");
	is(held($node, $session), "idle in transaction (aborted)|-|-, $keeps locks", "$name: all it held is free at once");
	is($session->unasked, '', "$name: the client hears nothing unasked") if $session->can('unasked');
}

# Test: the client finds its transaction aborted, leaves it as after any error, and goes on.
sub recovers
{
	my ($session, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	answers($session, 'SELECT 1', '25P02 E', "$name: its next statement gets 25P02");
	answers($session, 'ROLLBACK', 'ROLLBACK I', "$name: ROLLBACK succeeds");
	is("@{ $session->{notices} }", '', "$name: and quietly");
	answers($session, 'SELECT 1', 'SELECT 1 I', "$name: the connection goes on");
}

# What transactions may have done -----------------------------------------------------------------------------------------

# Runs a scenario of the sub's own in both protocols.
sub in_both_protocols
{
	my ($name, $scenario) = @_;
	for my $protocol ('simple', 'extended')
	{
		my $session = wire($node, extended => $protocol eq 'extended');
		$scenario->($session, "$name, $protocol protocol");
		$session->close;
	}
	is($node->safe_psql('postgres', $unharmed), '1000|100000', "$name: nothing was committed");
}

sub test_isolation_levels
{
	for my $level ('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE')
	{
		in_both_protocols($level, sub {
				my ($session, $name) = @_;
				$session->do("BEGIN ISOLATION LEVEL $level", 'SELECT count(*) FROM account', $spend);
				like(activity($node, $session), qr/^idle in transaction\|\d+\|/, "$name: it has a transaction id");
				cmp_ok(lock_count($node, $session), '>=', $level eq 'SERIALIZABLE' ? 4 : 3, "$name: and locks");
				cancelled_in_place($session, $name);
				recovers($session, $name);
			});
	}
}

# A statement with parameters keeps its snapshot pinned although the isolation level would not ask for it.
sub test_snapshot
{
	for my $begin ('BEGIN', 'BEGIN ISOLATION LEVEL REPEATABLE READ', 'BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY')
	{
		my $session = wire($node);
		$session->do($begin);
		$session->ask('SELECT balance FROM account WHERE id = $1', 7);
		like(activity($node, $session), qr/^idle in transaction\|-\|\d+$/, "$begin and a parameter: a snapshot is held");
		cancelled_in_place($session, "$begin and a parameter");
		recovers($session, "$begin and a parameter");
		$session->close;
	}
}

sub test_savepoints
{
	my @nested = ('BEGIN', $spend, 'SAVEPOINT a', $spend, 'SAVEPOINT b', 'SAVEPOINT c', $spend);
	my @some_released = (@nested, 'RELEASE c', 'ROLLBACK TO a', 'SAVEPOINT d', $spend);
	in_both_protocols('savepoints', sub {
			my ($session, $name) = @_;
			$session->do(@nested);
			cancelled_in_place($session, $name);
			answers($session, 'ROLLBACK TO SAVEPOINT a', '3B001 E', "$name: there is no way back to one of them");
			answers($session, 'RELEASE a', '25P02 E', "$name: nor can one be released");
			recovers($session, $name);
			$session->do(@some_released);
			cancelled_in_place($session, "$name, some released");
			recovers($session, "$name, some released");
		});
}

# An error after a savepoint leaves the outer transaction and its locks alive, though the state says "aborted".
sub test_aborted_savepoint
{
	in_both_protocols('aborted savepoint', sub {
			my ($session, $name) = @_;
			$session->do('BEGIN', $spend, 'SAVEPOINT a', 'SAVEPOINT b', $spend);
			answers($session, 'SELECT 1/0', '22012 E', "$name: an error");
			like(held($node, $session), qr/^idle in transaction \(aborted\)\|\d+\|-, [3-9] locks$/,
				"$name: it holds as much as before");
			cancelled_in_place($session, $name);
			answers($session, 'ROLLBACK TO a', '3B001 E', "$name: there is no way back to the savepoint");
			recovers($session, $name);
		});
}

sub test_cursors
{
	in_both_protocols('cursors', sub {
			my ($session, $name) = @_;
			$session->do('BEGIN', 'DECLARE earlier CURSOR WITH HOLD FOR SELECT id FROM account ORDER BY id', 'COMMIT');
			$session->do('BEGIN', 'DECLARE plain CURSOR FOR SELECT id FROM account FOR UPDATE', 'FETCH 10 FROM plain',
				'DECLARE later CURSOR WITH HOLD FOR SELECT id FROM account', 'FETCH 10 FROM later',
				'DECLARE catalog CURSOR FOR SELECT pg_sleep(0), relname FROM pg_class', 'FETCH 1 FROM catalog');
			is($session->ask('FETCH 1 FROM earlier'), 1, "$name: one of an earlier transaction is read from");
			cancelled_in_place($session, $name);
			recovers($session, $name);
			is($session->ask('FETCH 1 FROM earlier'), 2, "$name: it survives and goes on where it was");
			is($session->ask('SELECT string_agg(name, $$ $$) FROM pg_cursors'), 'earlier',
				"$name: those of the transaction are gone")
			  unless $session->{is_extended};
			answers($session, 'FETCH 1 FROM later', '34000 I', "$name: also one WITH HOLD");
			$session->do('CLOSE earlier');
		});
}

# A portal of the protocol that has given out a part of its rows.
sub test_portal
{
	my $session = wire($node, extended => 1);
	$session->do('BEGIN');
	$session->send_raw(parse('', 'SELECT id FROM account WHERE id > $1 ORDER BY id')
		  . bind_to('rest', '', 5) . execute('rest', 2) . sync());
	is($session->read_answer, "6\n7", 'a named portal has given out two rows');
	like(activity($node, $session), qr/\|\d+$/, 'a named portal holds a snapshot');
	cancelled_in_place($session, 'a named portal');
	$session->send_raw(execute('rest', 2) . sync());
	$session->read_answer;
	is("$session->{sqlstate} $session->{status}", '25P02 E', 'a named portal gives out no more');
	recovers($session, 'a named portal');
	$session->send_raw(execute('rest', 2) . sync());
	$session->read_answer;
	is("$session->{sqlstate} $session->{status}", '34000 I', 'a named portal is gone');
	$session->close;
}

sub test_temporary_tables
{
	in_both_protocols('temporary tables', sub {
			my ($session, $name) = @_;
			$session->do('CREATE TEMP TABLE kept (i int)', 'INSERT INTO kept VALUES (1)');
			$session->do('BEGIN', 'INSERT INTO kept VALUES (2)', 'CREATE TEMP TABLE mine (i int) ON COMMIT DROP',
				'INSERT INTO mine SELECT generate_series(1, 1000)', 'ALTER TABLE kept ADD COLUMN j int');
			cancelled_in_place($session, $name);
			recovers($session, $name);
			is($session->ask('SELECT * FROM kept'), 1, "$name: one made before is as it was");
			answers($session, 'SELECT * FROM mine', '42P01 I', "$name: one made inside is gone");
			$session->do('DROP TABLE kept');
		});
}

# The transaction holds locks on system catalogs.
sub test_ddl
{
	in_both_protocols('DDL', sub {
			my ($session, $name) = @_;
			$session->do('BEGIN', 'CREATE TABLE fresh (i int PRIMARY KEY)', 'INSERT INTO fresh VALUES (1)',
				'ALTER TABLE account ADD COLUMN note text', 'CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$SELECT 1$$',
				'SELECT count(*) FROM pg_class, pg_proc WHERE pg_class.oid = pg_proc.oid', 'TRUNCATE account',
				'LOCK TABLE pg_description IN SHARE MODE');
			cancelled_in_place($session, $name);
			recovers($session, $name);
			is($session->ask(q(SELECT to_regclass('fresh') IS NULL AND to_regproc('f') IS NULL)), 't',
				"$name: nothing is left of it");
		});
}

# The rollback itself takes its time: many files go.
sub test_long_rollback
{
	my $session = wire($node);
	$session->do('BEGIN',
		q(DO $$BEGIN FOR i IN 1 .. 500 LOOP EXECUTE format('CREATE TABLE many_%s AS SELECT 1 AS i', i); END LOOP; END$$));
	cancelled_in_place($session, 'a long rollback');
	answers($session, 'COMMIT', '40000 I', 'a long rollback: COMMIT fails, and the block is over');
	eventually_recorded($node, $session, 'cancelled', 'a long rollback: the episode ends as cancelled');
	$session->close;
}

sub test_listen
{
	in_both_protocols('LISTEN', sub {
			my ($session, $name) = @_;
			$session->do('LISTEN before');
			$session->do('BEGIN', 'LISTEN inside', q(NOTIFY before, 'lost'), 'UNLISTEN before');
			cancelled_in_place($session, $name);
			recovers($session, $name);
			is($session->ask('SELECT string_agg(c, $$ $$) FROM pg_listening_channels() c'), 'before',
				"$name: channels are as before");
			$node->safe_psql('postgres', q(NOTIFY before, 'arrives'));
			$session->ask('SELECT 1');
			is("@{ $session->{notifications} }", 'before', "$name: notifications arrive, the cancelled one does not");
		});
}

sub test_advisory_locks
{
	in_both_protocols('advisory locks', sub {
			my ($session, $name) = @_;
			$session->do('SELECT pg_advisory_lock(1)', 'BEGIN', 'SELECT pg_advisory_lock(2)',
				'SELECT pg_advisory_xact_lock(3)',
				'SELECT pg_advisory_xact_lock_shared(4)');
			cancelled_in_place($session, $name, keeps => 2);
			is($node->safe_psql('postgres',
				"SELECT string_agg(objid::text, ' ' ORDER BY objid) FROM pg_locks WHERE pid = $session->{pid}"),
				'1 2', "$name: those of the session stay, those of the transaction are gone");
			recovers($session, $name);
			is($session->ask('SELECT pg_advisory_unlock(1) AND pg_advisory_unlock(2)'), 't',
				"$name: and can be given back");
		});
}

sub test_large_objects
{
	in_both_protocols('large objects', sub {
			my ($session, $name) = @_;
			$session->do('BEGIN', q(SELECT lo_from_bytea(4711, 'old')), 'COMMIT');
			$session->do('BEGIN', q(SELECT lo_put(4711, 0, 'new')), 'SELECT lo_open(4711, 393216)',
				q(SELECT lowrite(0, 'newer')),
				'SELECT lo_create(4712)');
			cancelled_in_place($session, $name);
			recovers($session, $name);
			is($session->ask(q(SELECT encode(lo_get(4711), 'escape'), (SELECT count(*) FROM pg_largeobject_metadata WHERE oid = 4712))),
				'old|0', "$name: they are as before");
			$session->do('SELECT lo_unlink(4711)');
		});
}

sub test_prepared_statements
{
	in_both_protocols('prepared statements', sub {
			my ($session, $name) = @_;
			$session->send_raw(parse('before', 'SELECT $1::int + 1') . sync());
			$session->read_answer;
			$session->do('PREPARE sql_before AS SELECT balance FROM account WHERE id = $1', 'BEGIN',
				'EXECUTE sql_before(1)',
				'PREPARE sql_inside AS SELECT 2', 'EXECUTE sql_inside');
			$session->send_raw(parse('inside', 'SELECT $1::int + 2') . bind_to('', 'before', 1) . execute('', 0) . sync());
			is($session->read_answer, 2, "$name: one is used");
			cancelled_in_place($session, $name);
			recovers($session, $name);
			is($session->ask('EXECUTE sql_before(1)') . $session->ask('EXECUTE sql_inside'), '1002',
				"$name: all of them live");
			$session->send_raw(join('', map { bind_to('', $_, 1) . execute('', 0) } 'before', 'inside') . sync());
			is($session->read_answer, "2\n3", "$name: also those of the protocol");
		});
}

sub test_settings
{
	in_both_protocols('settings', sub {
			my ($session, $name) = @_;
			$session->do(q(SET application_name = 'before'), 'BEGIN', q(SET application_name = 'inside'),
				q(SET LOCAL work_mem = '1GB'));
			is(cancel($node, $session), 't', "$name: pgleak.cancel() succeeds");
			recovers($session, $name);
			is($session->ask('SHOW application_name'), 'before', "$name: they are back to what they were");
			is($node->safe_psql('postgres', "SELECT application_name FROM pg_stat_activity WHERE pid = $session->{pid}"),
				'before',
				"$name: for others as well");
		});
}

# Somebody waits for what the session holds.
sub test_waiting_session
{
	my $session = wire($node);
	$session->do('BEGIN', $spend);
	my $waiting = wire($node);
	$waiting->start('UPDATE account SET balance = balance WHERE id = 1');
	eventually_is($node, "SELECT wait_event_type FROM pg_stat_activity WHERE pid = $waiting->{pid}", 'Lock',
		'a session waits for the row');
	cancelled_in_place($session, 'waited for');
	$waiting->read_answer;
	is($waiting->{tag}, 'UPDATE 1', 'it proceeds when the other is cancelled');
	recovers($session, 'waited for');
	$_->close for $session, $waiting;
}

# Whoever asked is slow to read the answer, and somebody else has the next transaction of the session cancelled meanwhile.
sub test_slow_asker
{
	my $session = wire($node);
	$session->do('BEGIN', $spend);
	my $scanner = worker_pid($node, 'scanner');
	stop_process($scanner);
	my $slow = start_act($node, 'cancel', $session);
	eventually_is($node, "SELECT wait_event_type FROM pg_stat_activity WHERE pid = $slow->{pid}", 'Extension',
		'slow asker: one has asked');
	stop_process($slow->{pid});
	continue_process($scanner);
	eventually_is($node, "SELECT state FROM pg_stat_activity WHERE pid = $session->{pid}",
		'idle in transaction (aborted)', 'slow asker: the session is cancelled');
	$session->do('ROLLBACK', 'BEGIN', $spend);
	is(cancel($node, $session), 't', 'slow asker: another one has its next transaction cancelled');
	continue_process($slow->{pid});
	is($slow->read_answer, 't', 'slow asker: the first one gets his answer');
	$_->close for $session, $slow;
}

# Again and again in one session.
sub test_repeated
{
	my $session = wire($node);
	my @wrong;
	for my $turn (1 .. 20)
	{
		$session->do('BEGIN', $spend, 'SAVEPOINT s', $spend);
		my $answer = cancel($node, $session);
		$session->ask('SELECT 1');
		my $refused = $session->{sqlstate};
		$session->ask($turn % 2 ? 'COMMIT' : 'ROLLBACK');
		my $end = $session->{sqlstate} || $session->{tag};
		my $next = $session->ask('SELECT 1');
		my $expected = 't 25P02 ' . ($turn % 2 ? '40000' : 'ROLLBACK') . ' 1';
		push @wrong, "$answer $refused $end $next" if "$answer $refused $end $next" ne $expected;
	}
	is("@wrong", '', 'cancelled 20 times, one session answers each time in the same way');
	$session->do('BEGIN', 'SELECT 1');
	answers($session, 'COMMIT', 'COMMIT I', 'a transaction that nobody cancelled commits');
	$session->close;
	is($node->safe_psql('postgres', $unharmed), '1000|100000', 'and nothing of the cancelled ones');
}

# How the connection looks --------------------------------------------------------------------------------------------

sub test_half_message
{
	for my $length (1, 3, 5, 20, 200)
	{
		my $session = wire($node);
		$session->do('BEGIN', $spend);
		my $message = message('Q', "SELECT 'some long statement " . 'x' x 300 . "'\0");
		$session->send_raw(substr $message, 0, $length);
		cancelled_in_place($session, "after $length bytes of a message");
		$session->send_raw(substr $message, $length);
		$session->read_answer;
		is("$session->{sqlstate} $session->{status}", '25P02 E',
			"after $length bytes of a message: the rest of it is understood, and gets 25P02");
		recovers($session, "after $length bytes of a message");
		$session->close;
	}
}

# The first half of a message in a pipeline without Sync: the session waits for its client, but in the middle of its work.
sub test_pipeline
{
	my $session = wire($node);
	$session->do('BEGIN', $spend);
	$session->send_raw(parse('', 'SELECT 1') . bind_to('', '') . execute('', 0));
	eventually_is($node, "SELECT state, wait_event FROM pg_stat_activity WHERE pid = $session->{pid}", 'active|ClientRead',
		'a pipeline without Sync is active');
	my ($answer, $said) = act($node, 'cancel', $session->{pid});
	is($answer, 'f', 'a pipeline without Sync does not react to a cancel while it waits for its client');
	like($said, qr/WARNING: .*did not react to the cancel.*waits for its client/s, 'a pipeline without Sync: pgleak.cancel() says so');
	$session->send_raw(sync());
	$session->read_answer;
	like($session->{status}, qr/^[TE]$/, 'a pipeline without Sync goes on as after pg_cancel_backend()');
	$session->ask('ROLLBACK');
	answers($session, 'SELECT 1', 'SELECT 1 I', 'a pipeline without Sync: the connection goes on');
	$session->close;
}

# A stand-in for a server whose sessions connect over TCP and TLS.
{
	package OverTls;
	sub connstr { my ($self, $database) = @_; return "host=127.0.0.1 port=$$self dbname=$database sslmode=require"; }
}

sub make_certificate
{
	my $directory = $node->data_dir;
	return 0 == system_log('openssl', 'req', '-new', '-x509', '-days', '2', '-nodes', '-newkey', 'rsa:2048', '-subj',
		'/CN=localhost',
		'-keyout', "$directory/server.key", '-out', "$directory/server.crt") && chmod 0600, "$directory/server.key";
}

sub test_tls
{
  SKIP:
	{
		skip 'this server has no TLS', 1 if $node->safe_psql('postgres', 'SHOW ssl_library') ne 'OpenSSL';
		skip 'there is no openssl to make a certificate', 1 unless make_certificate();
		configure($node, ssl => 'on');
		my $port = $node->port;
		my $session = session(bless \$port, 'OverTls');
		$session->do('BEGIN', $spend, 'SAVEPOINT s', 'DECLARE c CURSOR FOR SELECT id FROM account', 'FETCH 1 FROM c');
		is($session->ask("SELECT ssl FROM pg_stat_ssl WHERE pid = $session->{pid}"), 't', 'TLS: the session is encrypted');
		cancelled_in_place($session, 'TLS');
		$session->ask('SELECT 1');
		like($session->{error}, qr/current transaction is aborted/, 'TLS: its next statement is refused');
		$session->ask('COMMIT');
		like($session->{error}, qr/transaction was rolled back by pgleak: it was idle for /, 'TLS: so is its COMMIT');
		is($session->ask('SELECT 1'), 1, 'TLS: the connection goes on');
		$session->close;
		configure($node, ssl => undef);
	}
}

# psql, with its own idea of when a transaction is aborted.
sub test_psql
{
	my $session = session($node);
	$session->do('BEGIN', $spend);
	cancelled_in_place($session, 'psql');
	$session->ask('SELECT 1');
	like($session->{error}, qr/ERROR:  current transaction is aborted, commands ignored until end of transaction block/,
		'psql: its next statement is refused');
	$session->do('ROLLBACK');
	is($session->ask('SELECT 1'), 1, 'psql: the connection goes on');

	$session->send_line('\set ON_ERROR_ROLLBACK on');
	$session->do('BEGIN', $spend);
	cancelled_in_place($session, 'psql with ON_ERROR_ROLLBACK');
	$session->ask('SELECT 1');
	like($session->{error}, qr/ERROR:  current transaction is aborted/,
		'psql with ON_ERROR_ROLLBACK: its next statement is refused');
	$session->do('ROLLBACK');
	$session->close;
}

# The end of the block ------------------------------------------------------------------------------------------------

sub test_commit
{
	for my $commit ('COMMIT', 'END', 'COMMIT AND CHAIN', q(PREPARE TRANSACTION 'p'))
	{
		in_both_protocols($commit, sub {
				my ($session, $name) = @_;
				my $before = $node->safe_psql('postgres', 'SELECT clock_timestamp()');
				$session->do('BEGIN', $spend, 'SAVEPOINT s', $spend);
				is(cancel($node, $session), 't', "$name: the transaction is cancelled");
				answers($session, $commit, '40000 I', "$name: it fails, and the block is over");
				is($session->{severity}, 'ERROR', "$name: with an ERROR");
				like($session->{message}, qr/^transaction was rolled back by pgleak: it was idle for [0-9.]+ ?s/,
					"$name: that says what and why");
				like($session->{detail}, qr/^The transaction was rolled back at \d{4}-/, "$name: and when");
				is($node->safe_psql('postgres', "SELECT '" . ($session->{detail} =~ s/^The transaction was rolled back at (.*?);.*/$1/r)
						. "'::timestamptz BETWEEN '$before' AND clock_timestamp()"), 't', "$name: namely then");
				like($session->{hint}, qr/\w/, "$name: there is a hint");
				answers($session, 'SELECT 1', 'SELECT 1 I', "$name: a following statement works");
				is("@{ $session->{notices} }", '', "$name: without a word");
				answers($session, 'COMMIT', 'COMMIT I', "$name: a COMMIT outside of a block is core's");
			});
	}
	is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts'), 0, 'nothing was prepared');
}

# After 25P02 the promise is the same.
sub test_late_commit
{
	in_both_protocols('COMMIT after 25P02', sub {
			my ($session, $name) = @_;
			$session->do('BEGIN', $spend);
			is(cancel($node, $session), 't', "$name: the transaction is cancelled");
			answers($session, 'SELECT 1', '25P02 E', "$name: a statement");
			answers($session, 'COMMIT', '40000 I', "$name: it fails, and the block is over");
		});
}

# In one message with others.
sub test_commit_among_others
{
	my $session = wire($node);
	$session->do('BEGIN', $spend);
	is(cancel($node, $session), 't', 'COMMIT among others: the transaction is cancelled');
	answers($session, "COMMIT; SELECT 1", '40000 I', 'COMMIT among others: it fails, and the block is over');
	$session->do('BEGIN', $spend);
	is(cancel($node, $session), 't', 'COMMIT behind others: the transaction is cancelled');
	answers($session, "SELECT 1; COMMIT", '25P02 E', 'COMMIT behind others: the first statement fails');
	answers($session, 'COMMIT', '40000 I', 'COMMIT behind others: and then the COMMIT');
	$session->close;
}

sub test_rollback
{
	in_both_protocols('ROLLBACK', sub {
			my ($session, $name) = @_;
			for my $rollback ('ROLLBACK', 'ABORT')
			{
				$session->do('BEGIN', $spend);
				is(cancel($node, $session), 't', "$name: the transaction is cancelled");
				answers($session, $rollback, 'ROLLBACK I', "$name: $rollback succeeds");
				like("@{ $session->{notices} }", qr/^transaction was rolled back by pgleak: [^:]*$/,
					"$name: and says why once");
			}
			$session->do('BEGIN', $spend);
			is(cancel($node, $session), 't', "$name: the transaction is cancelled");
			answers($session, 'ROLLBACK AND CHAIN', 'ROLLBACK T', "$name AND CHAIN begins the next transaction");
			answers($session, 'COMMIT', 'COMMIT I', "$name AND CHAIN: which commits");
		});
}

# An aborted block that pgleak did not cancel is none of its business.
sub test_other_errors
{
	in_both_protocols('another error', sub {
			my ($session, $name) = @_;
			$session->do('BEGIN', $spend);
			answers($session, 'SELECT 1/0', '22012 E', "$name: it aborts the transaction");
			my ($answer, $said) = act($node, 'cancel', $session->{pid});
			is($answer, 'f', "$name: there is nothing to cancel");
			like($said, qr/WARNING:  25P02: transaction of session with PID $session->{pid} is already aborted/,
				"$name: and a WARNING says so");
			answers($session, 'COMMIT', 'ROLLBACK I', "$name: COMMIT is answered as core does");
		});
	in_both_protocols('another error after a cancellation', sub {
			my ($session, $name) = @_;
			$session->do('BEGIN', $spend);
			is(cancel($node, $session), 't', "$name: the first transaction is cancelled");
			$session->do('ROLLBACK', 'BEGIN', $spend);
			answers($session, 'SELECT 1/0', '22012 E', "$name: the second one fails");
			answers($session, 'COMMIT', 'ROLLBACK I', "$name: its COMMIT is answered as core does");
		});
}

sub test_twice
{
	my $session = leaking_wire($node, query => $spend);
	cancelled_in_place($session, 'cancelled once');
	my ($answer, $said) = act($node, 'cancel', $session->{pid});
	is($answer, 'f', 'a second cancel has nothing to do');
	like($said, qr/WARNING:  25P02: .*already aborted/, 'and says so');
	answers($session, 'COMMIT', '40000 I', 'the COMMIT fails as after one');
	$session->close;
}

# Limits --------------------------------------------------------------------------------------------------------------

# By a limit, in a session that has come by its own means to hold everything at once.
sub test_limit
{
	$node->safe_psql('postgres', q(
		ALTER ROLE app SET pgleak.idle_leak_after = '200ms';
		ALTER ROLE app SET pgleak.idle_cancel_after = '400ms'));
	for my $protocol ('simple', 'extended')
	{
		my $session = wire($node, user => 'app', extended => $protocol eq 'extended');
		$session->do('BEGIN ISOLATION LEVEL SERIALIZABLE', $spend, 'SAVEPOINT s', 'CREATE TEMP TABLE t (i int)',
			'DECLARE c CURSOR FOR SELECT * FROM account', 'FETCH 1 FROM c');
		my $locks = lock_count($node, $session);
		cmp_ok($locks, '>', 3, "by limit, $protocol protocol: it holds locks ($locks)");
		eventually(sub { held($node, $session) eq 'idle in transaction (aborted)|-|-, 0 locks' },
			"by limit, $protocol protocol: it is cancelled");
		is($session->unasked, '', "by limit, $protocol protocol: the client hears nothing unasked");
		answers($session, 'COMMIT', '40000 I', "by limit, $protocol protocol: COMMIT fails, and the block is over");
		like($session->{message},
			qr/^transaction was rolled back by pgleak: it was idle for 0\.[4-9]\d* ?s, the limit is 0\.4/,
			"by limit, $protocol protocol: naming the limit");
		like($session->{hint}, qr/"pgleak.idle_cancel_after"/, "by limit, $protocol protocol: and its setting");
		eventually_recorded($node, $session, 'cancelled', "by limit, $protocol protocol: the episode ends as cancelled");
		is(recorded($node, $session, 'last_action, last_action_result'), 'cancel|done',
			"by limit, $protocol protocol: and says by what");
		$session->close;
	}
}

# A whole pool at the same moment: the requests to the one must not get into the way of those to the others.
sub test_many_at_once
{
	$node->safe_psql('postgres', 'ALTER ROLE app RESET ALL; SELECT pgleak.reset()');
	my @sessions = map { leaking_wire($node, user => 'app', query => 'SELECT * FROM account') } 1 .. 30;
	configure($node, 'pgleak.idle_leak_after' => '100ms', 'pgleak.idle_cancel_after' => '100ms');
	eventually_is($node, q(SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction (aborted)'), 30,
		'30 at once: all of them are cancelled within seconds', 5);
	is($node->safe_psql('postgres', 'SELECT cancels, cancels_failed, skipped FROM pgleak.stats'), '30|0|0',
		'30 at once: each at the first attempt');
	configure($node, 'pgleak.idle_leak_after' => undef, 'pgleak.idle_cancel_after' => undef);
	$_->close for @sessions;
}

# Work inside of procedures and DO blocks is never idle.
sub test_procedures
{
	$node->safe_psql('postgres', q{
		CREATE TABLE progress (i int);
		GRANT ALL ON progress TO app;
		CREATE PROCEDURE work(turns int) LANGUAGE plpgsql AS $$
		BEGIN
			FOR i IN 1 .. turns LOOP
				INSERT INTO progress VALUES (i);
				PERFORM pg_sleep(0.02);
				BEGIN PERFORM 1/0; EXCEPTION WHEN division_by_zero THEN NULL; END;
				IF i % 3 = 0 THEN ROLLBACK; ELSE COMMIT; END IF;
			END LOOP;
		END$$;
		ALTER ROLE app SET pgleak.idle_leak_after = '20ms';
		ALTER ROLE app SET pgleak.idle_cancel_after = '20ms'});
	configure($node, 'pgleak.scan_interval' => '10ms');
	my $session = wire($node, user => 'app');
	answers($session, 'CALL work(30)', 'CALL I', 'a procedure that commits outlasts the limit');
	answers($session, 'DO $$BEGIN CALL work(30); END$$', 'DO I', 'so does a DO block');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM progress'), 40, 'all their work is done');

	$session->do('BEGIN; INSERT INTO progress VALUES (0)');
	eventually(sub { activity($node, $session) eq 'idle in transaction (aborted)|-|-' },
		'the session is cancelled when it really is idle');
	answers($session, 'CALL work(3)', '25P02 E', 'no procedure runs then');
	$session->do('ROLLBACK');
	answers($session, 'CALL work(3)', 'CALL I', 'after the ROLLBACK procedures commit as ever');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM progress'), 42, 'and their work is done');
	$session->close;
	configure($node, 'pgleak.scan_interval' => undef);
}

test_isolation_levels();
test_snapshot();
test_savepoints();
test_aborted_savepoint();
test_cursors();
test_portal();
test_temporary_tables();
test_ddl();
test_long_rollback();
test_listen();
test_advisory_locks();
test_large_objects();
test_prepared_statements();
test_settings();
test_waiting_session();
test_slow_asker();
test_repeated();
test_half_message();
test_pipeline();
test_tls();
test_psql();
test_commit();
test_late_commit();
test_commit_among_others();
test_rollback();
test_other_errors();
test_twice();
test_limit();
test_many_at_once();
test_procedures();

is($node->safe_psql('postgres', 'SELECT cancels_failed, skipped FROM pgleak.stats'), '0|0', 'no attempt has failed');
no_damage($node, 'no process has complained or crashed', except => qr/did not react to the cancel/);

$node->stop;
done_testing();
