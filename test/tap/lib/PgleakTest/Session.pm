# One open session, kept by a psql process of its own.
package PgleakTest::Session;

use strict;
use warnings FATAL => 'all';

use IPC::Run ();

# %options: dbname, user, replication (as in a connection string), env => { PGOPTIONS => ... }.
sub new
{
	my ($class, $node, %options) = @_;
	my $connection = $node->connstr($options{dbname} // 'postgres');
	$connection .= ' user=' . quoted($options{user}) if defined $options{user};
	$connection .= " replication=$options{replication}" if defined $options{replication};

	local %ENV = (%ENV, %{ $options{env} // {} });
	my $self = bless { in => '', out => '', err => '', error => '', count => 0 }, $class;
	$self->{timer} = IPC::Run::timer(120);
	$self->{psql} = IPC::Run::start([ 'psql', '-XAtq', '-d', $connection, '-f', '-' ],
		'<', \$self->{in}, '>', \$self->{out}, '2>', \$self->{err}, $self->{timer});
	$self->{pid} = $self->ask('SELECT pg_backend_pid()') unless defined $options{replication};
	die "no session: $self->{error}" unless defined $options{replication} || $self->{pid};
	return $self;
}

# A value of a connection string.
sub quoted
{
	my ($value) = @_;
	$value =~ s/([\\'])/\\$1/g;
	return "'$value'";
}

# Runs a statement and returns its output. What went wrong is left in $session->{error}, empty if nothing did;
# also when the session is lost.
sub ask
{
	my ($self, $statement) = @_;
	my $mark = '-- end of statement ' . ++$self->{count};
	$self->{in} .= "$statement;\n\\echo '$mark'\n\\warn '$mark'\n";
	return $self->wait_for($mark);
}

# Runs statements one by one; dies if one of them fails.
sub do
{
	my ($self, @statements) = @_;
	for my $statement (@statements)
	{
		$self->ask($statement);
		die "$statement: $self->{error}" if $self->{error} ne '';
	}
}

# Sends psql a line and does not wait.
sub send_line
{
	my ($self, $line) = @_;
	$self->{in} .= "$line\n";
	$self->{psql}->pump_nb while length $self->{in} && $self->{psql}->pumpable;
}

sub wait_for
{
	my ($self, $mark) = @_;
	$self->{timer}->start;
	my $is_alive = eval {
		until ($self->{out} =~ /\Q$mark\E\n/ && $self->{err} =~ /\Q$mark\E\n/)
		{
			$self->{psql}->pump;
			die "no answer\n" if $self->{timer}->is_expired;
		}
		1;
	};
	$self->{timer}->reset;
	my ($out, $err) = ($self->{out}, $self->{err});
	$self->{out} = $self->{err} = '';
	$out =~ s/\n?\Q$mark\E\n//;
	$err =~ s/\Q$mark\E\n//;
	$self->{error} = $is_alive ? $err : $err || $@;
	return $out;
}

# Ends the session in an orderly way, if it still is there.
sub close
{
	my ($self) = @_;
	my $psql = delete $self->{psql} or return;
	$self->{in} .= "\\q\n" if $psql->pumpable;
	eval { $psql->finish };
}

# Ends the session the way a client's crash does.
sub kill
{
	my ($self) = @_;
	my $psql = delete $self->{psql} or return;
	$psql->kill_kill(grace => 0);
}

sub DESTROY { local ($@, $?); $_[0]->kill; }

1;
