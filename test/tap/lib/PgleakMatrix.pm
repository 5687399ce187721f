# The matrix of who may do what: kinds of roles with a session each, attempts in their name, and counting what is allowed
# that should not be. Used by tests of permissions.
package PgleakMatrix;

use strict;
use warnings FATAL => 'all';

use PgleakActions;

use Test::More;

use Exporter 'import';
our @EXPORT = qw(create_roles session_of check never totals all_as_expected all_expected try is_let);

# Each logs in.
our %roles = (
	ordinary => '',
	victim => '',
	monitor => 'IN ROLE pg_monitor',
	statistics => 'IN ROLE pg_read_all_stats',
	signaller => 'IN ROLE pg_signal_backend',
	creator => 'CREATEROLE CREATEDB',
	owner => '',     # of the database
	writer => '',
	setter => '',
	boss => 'SUPERUSER');

my %session;
my $checks = 0;
my (@open, @wrong);    # what is allowed and should not be; what else is not as expected
my $told = 0;          # how many of them all_as_expected() has told, and which
my %is_told;

sub create_roles
{
	my ($node) = @_;
	$node->safe_psql('postgres', join ';', map { "CREATE ROLE $_ LOGIN $roles{$_}" } sort keys %roles);
	%session = map { $_ => wire($node, user => $_) } keys %roles;
}

# The session in which a role tries.
sub session_of { my ($role) = @_; return $session{$role}; }

# One attempt, the roles that it is meant for, and whether it succeeded. (The prototype makes a match a single value.)
sub check($$$$)
{
	my ($role, $what, $is_allowed, $expected) = @_;
	my $should_be = $role eq 'boss' || grep { $_ eq $role } split / /, $expected;
	$checks++;
	push @open, "$role: $what" if $is_allowed && !$should_be;
	push @wrong, "$role: $what is refused" if !$is_allowed && $should_be;
}

# As check(), for what nobody may.
sub never($$$)
{
	my ($role, $what, $is_allowed) = @_;
	$checks++;
	push @open, "$role: $what" if $is_allowed;
}

# How many checks there were, and how many of them found something allowed that should not be.
sub totals { return ($checks, scalar @open); }

# Test: all checks of a kind went as expected.
sub all_as_expected
{
	my ($name) = @_;
	my @bad = ((map { "$_ is allowed" } @open), @wrong);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(scalar @bad, $told, $name);
	diag($_) for grep { !$is_told{$_}++ } @bad;
	$told = @bad;
}

# Test: there is an expectation for everything that $query finds, and nothing else is expected.
sub all_expected
{
	my ($node, $name, $query, $expected) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(join(' ', sort split /\n/, $node->safe_psql('postgres', $query)), join(' ', sort keys %$expected), $name);
}

# Attempts -------------------------------------------------------------------------------------------------------------

# The error that a statement ends with, if any; nothing of it stays.
sub try
{
	my ($role, $statement) = @_;
	my $session = $session{$role};
	$session->do('BEGIN');
	$session->ask($statement);
	my $sqlstate = $session->{sqlstate};
	$session->ask('ROLLBACK');
	return $sqlstate;
}

# True if the role is let through to this. An error that has nothing to do with permissions, and is not one of those that
# @harmless names, means that the attempt was none.
sub is_let
{
	my ($role, $statement, @harmless) = @_;
	my $sqlstate = try($role, $statement);
	push @wrong, "$role: $statement ends with $sqlstate" unless grep { $_ eq $sqlstate } '', '42501', @harmless;
	return $sqlstate ne '42501';
}

1;
