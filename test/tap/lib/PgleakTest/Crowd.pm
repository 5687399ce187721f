# Many open sessions, kept by one process (hold_sessions.py), since a psql for each would be slow.
package PgleakTest::Crowd;

use strict;
use warnings FATAL => 'all';

use File::Basename qw(dirname);
use IPC::Run ();
use JSON::PP ();

my $program = dirname(dirname(__FILE__)) . '/hold_sessions.py';

# Opens $count sessions. %options: dbname, user.
sub new
{
	my ($class, $node, $count, %options) = @_;
	my $connection = $node->connstr($options{dbname} // 'postgres');
	$connection .= " user=$options{user}" if defined $options{user};

	my $self = bless { in => '', out => '', err => '' }, $class;
	$self->{timer} = IPC::Run::timeout(120);
	$self->{process} = IPC::Run::start([ $ENV{PYTHON} || '/usr/bin/python3', $program, $connection, $count ],
		'<', \$self->{in}, '>', \$self->{out}, '2>', \$self->{err}, $self->{timer});
	$self->{pids} = $self->wait_for_answer->{pids};
	return $self;
}

# Runs the statements in all sessions, or in those numbered $options{from} .. $options{to} - 1, one session after the
# other, spread evenly over $options{spread} seconds. Returns the number of sessions in which all went well.
sub run
{
	my ($self, $statements, %options) = @_;
	return $self->command({ %options, run => $statements })->{succeeded};
}

# Ends sessions, chosen as for run(), without ending their transactions first.
sub close_sessions
{
	my ($self, %options) = @_;
	$self->command({ %options, close => JSON::PP::true });
}

# Starts what run() does and does not wait for it; finish() does.
sub start
{
	my ($self, $statements, %options) = @_;
	$self->send({ %options, run => $statements });
}

sub finish { return $_[0]->wait_for_answer->{succeeded}; }

sub command
{
	my ($self, $command) = @_;
	$self->send($command);
	return $self->wait_for_answer;
}

sub send
{
	my ($self, $command) = @_;
	$self->{in} .= JSON::PP->new->ascii->encode($command) . "\n";
	$self->{process}->pump_nb while length $self->{in};
}

sub wait_for_answer
{
	my ($self) = @_;
	$self->{timer}->start;
	$self->{process}->pump until $self->{out} =~ /\n/;
	$self->{timer}->reset;
	$self->{out} =~ s/^(.*)\n//;
	return JSON::PP->new->decode($1);
}

# Ends all sessions and the process.
sub close
{
	my ($self) = @_;
	my $process = delete $self->{process} or return;
	eval { $process->finish };
}

sub DESTROY { local ($@, $?); $_[0]{process}->kill_kill(grace => 0) if $_[0]{process}; }

1;
