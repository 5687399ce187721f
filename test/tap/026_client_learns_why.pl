# After a cancel, the client learns the reason with the answer to its next statement, in both protocols. Until then it
# gets nothing: a pool that looks for unexpected bytes on an idle connection finds none.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;
use PgleakActions;

use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('learns', conf => <<'END');
pgleak.idle_leak_after = '1h'
pgleak.max_actions_per_minute = 1000
END
$node->safe_psql('postgres', 'CREATE TABLE account (id int); INSERT INTO account VALUES (1)');

my $idle_reason = qr/^transaction was rolled back by pgleak: it was idle for [0-9.]+s, at the request of role "/;
my $open_reason = qr/^transaction was rolled back by pgleak: it was open for [0-9.]+s, at the request of role "/;

# Test: the last answer came with exactly one notice, of this form.
sub told
{
	my ($session, $reason, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(scalar @{ $session->{notices} }, 1, "$name: one notice");
	return like($session->{notices}[0] // '', $reason, "$name: with the reason");
}

sub told_nothing
{
	my ($session, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is("@{ $session->{notices} }", '', "$name: no notice");
}

# Test: a transaction that is idle is cancelled, and nothing of that reaches the client.
sub cancelled_silently
{
	my ($session, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$session->do('BEGIN', 'UPDATE account SET id = id');
	is(cancel($node, $session), 't', "$name: the transaction is cancelled");
	return ok(!$session->receive(0) && $session->{is_open}, "$name: the client gets nothing unasked");
}

for my $protocol ('simple', 'extended')
{
	my $session = wire($node, extended => $protocol eq 'extended');
	cancelled_silently($session, $protocol);
	answers($session, 'SELECT 1', '25P02 E', "$protocol: the first statement fails");
	told($session, $idle_reason, "$protocol, first statement");
	answers($session, 'SELECT 1', '25P02 E', "$protocol: the second one fails too");
	told_nothing($session, "$protocol, second statement");
	answers($session, 'ROLLBACK', 'ROLLBACK I', "$protocol: ROLLBACK works");
	told_nothing($session, "$protocol, ROLLBACK");
	$session->do('SELECT 1');
	told_nothing($session, "$protocol, next transaction");

	cancelled_silently($session, "$protocol, COMMIT");
	answers($session, 'COMMIT', '40000 I', "$protocol: COMMIT fails");
	told($session, $idle_reason, "$protocol, COMMIT");

	$session->do('SET client_min_messages = warning');
	cancelled_silently($session, "$protocol, warnings only");
	answers($session, 'SELECT 1', '25P02 E', "$protocol, warnings only: the first statement fails");
	told_nothing($session, "$protocol, warnings only");
	$session->close;
}

# Test: the session gets to its pg_sleep().
sub sleeps
{
	my ($session, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return eventually(sub {
			$node->safe_psql('postgres', "SELECT wait_event FROM pg_stat_activity WHERE pid = $session->{pid}") eq 'PgSleep'
		}, "$name: the query runs");
}

# Test: a query that runs is cancelled, and its error comes with the reason.
sub query_told
{
	my ($name, $status, @before) = @_;
	my $session = wire($node);
	$session->do(@before) if @before;
	$session->start('SELECT pg_sleep(600)');
	sleeps($session, $name);
	is(cancel($node, $session), 't', "$name: it is cancelled");
	$session->read_answer;
	is("$session->{sqlstate} $session->{status}", "57014 $status", "$name: it fails");
	told($session, $open_reason, $name);
	$session->do('ROLLBACK') if @before;
	$session->do('SELECT 1');
	told_nothing($session, "$name, afterwards");
	$session->close;
}
query_told('query in a block', 'E', 'BEGIN');
query_told('query alone', 'I');

# The name of a role that not every client can show.
$node->safe_psql('postgres', qq{CREATE ROLE "b\x{c3}\x{b6}rg" SUPERUSER LOGIN});
{
	my $asker = wire($node, user => "b\x{c3}\x{b6}rg");
	my $latin = wire($node, parameters => { client_encoding => 'LATIN1' });
	$latin->do('BEGIN');
	is($asker->ask("SELECT pgleak.cancel($latin->{pid})"), 't', 'a foreign name: the transaction is cancelled');
	answers($latin, 'SELECT 1', '25P02 E', 'a foreign name: the first statement fails');
	told($latin, qr/at the request of role "b\?\?rg"$/, 'a foreign name');
	$_->close for $asker, $latin;
}

# Others cancel as ever.
my $session = wire($node);
$session->start('SELECT pg_sleep(600)');
sleeps($session, 'pg_cancel_backend()');
$node->safe_psql('postgres', "SELECT pg_cancel_backend($session->{pid})");
$session->read_answer;
is($session->{sqlstate}, '57014', 'pg_cancel_backend(): the query fails');
told_nothing($session, 'pg_cancel_backend()');
$session->close;

no_damage($node);
done_testing();
