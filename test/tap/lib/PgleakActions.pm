# What the tests of actions have in common beyond PgleakTest: sessions that speak the protocol themselves, acting by
# hand, and looking at what a session holds.
package PgleakActions;

use strict;
use warnings FATAL => 'all';

use PgleakTest;
use PgleakActions::Wire;

use Test::More;
use Time::HiRes qw(usleep);

use Exporter 'import';
our @EXPORT = qw(
  wire leaking_wire
  cancel terminate act start_act
  activity lock_count held recorded
  answers
  is_running stop_process continue_process has_pending
  no_damage
);

# An open session; %options as PgleakActions::Wire->new takes them.
sub wire { return PgleakActions::Wire->new(@_); }

# A session that is idle in a transaction after a statement (query => ...).
sub leaking_wire
{
	my ($node, %options) = @_;
	my $query = delete $options{query} // 'SELECT 1';
	my $session = wire($node, %options);
	$session->do('BEGIN', $query);
	return $session;
}

# Acting by hand --------------------------------------------------------------------------------------------------------

# pgleak.cancel() or pgleak.terminate() on a process id. Returns what the function returned (empty if it failed) and what
# psql has said about it. %options: user.
sub act
{
	my ($node, $action, $pid, %options) = @_;
	my $connection = $node->connstr('postgres') . (defined $options{user} ? " user=$options{user}" : '');
	my ($status, $out, $said) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT pgleak.$action($pid)",
		connstr => $connection);
	return ($out // '', $said // '');
}

# On a session: what the function returned.
sub cancel { my ($node, $session) = @_; return (act($node, 'cancel', $session->{pid}))[0]; }

sub terminate { my ($node, $session) = @_; return (act($node, 'terminate', $session->{pid}))[0]; }

# Does not wait for the answer: the session returned has it. %options: as wire().
sub start_act
{
	my ($node, $action, $session, %options) = @_;
	my $actor = wire($node, %options);
	$actor->start("SELECT pgleak.$action($session->{pid})");
	return $actor;
}

# What a session holds --------------------------------------------------------------------------------------------------

# State, transaction id and snapshot of a session as 'state|xid|xmin', the latter two '-' if there is none.
sub activity
{
	my ($node, $session) = @_;
	return $node->safe_psql('postgres', qq(
		SELECT state, coalesce(backend_xid::text, '-'), coalesce(backend_xmin::text, '-')
		FROM pg_stat_activity WHERE pid = $session->{pid}));
}

sub lock_count
{
	my ($node, $session) = @_;
	return $node->safe_psql('postgres', "SELECT count(*) FROM pg_locks WHERE pid = $session->{pid}");
}

# All of it: 'state|xid|xmin, N locks'.
sub held
{
	my ($node, $session) = @_;
	return activity($node, $session) . ', ' . lock_count($node, $session) . ' locks';
}

# Columns of the history about a session.
sub recorded
{
	my ($node, $session, $columns) = @_;
	return $node->safe_psql('postgres', "SELECT $columns FROM pgleak.history WHERE pid = $session->{pid}");
}

# Test: the statement is answered by this command tag or error, and leaves the transaction in this status, written as
# 'ROLLBACK I' or '25P02 E'.
sub answers
{
	my ($session, $statement, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$session->ask($statement);
	return is(($session->{sqlstate} || $session->{tag}) . ' ' . ($session->{is_open} ? $session->{status} : 'closed'),
		$expected, $name);
}

# Processes -------------------------------------------------------------------------------------------------------------

sub process_status
{
	my ($pid) = @_;
	open my $file, '<', "/proc/$pid/status" or return '';
	local $/;
	return <$file> // '';
}

# True while the process is there and has not exited.
sub is_running { my ($pid) = @_; return process_status($pid) =~ /^State:\t[^ZX]/m; }

# Stops a process and waits until it has stopped.
sub stop_process
{
	my ($pid) = @_;
	kill 'STOP', $pid;
	for (1 .. 2000)
	{
		return if process_status($pid) =~ /^State:\tT/m;
		usleep(1000);
	}
	die "process $pid does not stop";
}

sub continue_process { my ($pid) = @_; kill 'CONT', $pid; }

# True if a signal waits for a process that is stopped.
sub has_pending
{
	my ($pid, $signal) = @_;
	my ($mask) = process_status($pid) =~ /^ShdPnd:\t([0-9a-f]+)$/m or return 0;
	return hex($mask) >> ($signal - 1) & 1;
}

# Warnings that belong to the tests: answers to pgleak.cancel() and pgleak.terminate(), and a COMMIT outside of a block.
my $expected_warning = qr/no action was taken|is already aborted|is not in a transaction|is not a client backend|had declared that it is idle on purpose|there is no transaction in progress/;

# Test: no process has crashed, no assertion has failed, no session has complained about the state it was left in.
sub no_damage
{
	my ($node, $name, %options) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my @damage = grep { /TRAP|PANIC|terminated by signal|protocol synchronization|could not roll back the transaction|WARNING/ }
	  grep { !/WARNING.*$expected_warning/ } split /\n/, log_after($node, $options{mark});
	@damage = grep { !/$options{except}/ } @damage if $options{except};
	return is(join("\n", @damage), '', $name);
}

1;
