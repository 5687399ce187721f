# One session whose client is the test itself: it speaks the protocol message by message. So it can use the simple
# and the extended protocol alike, send half a message, see what the server sends unasked, and tell the transaction
# status that the server reports.
package PgleakActions::Wire;

use strict;
use warnings FATAL => 'all';

use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use Socket qw(SOCK_STREAM);
use Time::HiRes qw(time);

use Exporter 'import';
our @EXPORT_OK = qw(message parse bind_to execute sync);

# How long the server may take to answer.
our $patience = 60;

# %options: dbname, user, extended => 1 for the extended protocol, tcp => 1 for a connection over 127.0.0.1, from => address for one
# that comes from there, parameters => { options => '-c ...' } for the startup
# packet.
sub new
{
	my ($class, $node, %options) = @_;
	my $path = $node->host . '/.s.PGSQL.' . $node->port;
	my $socket = $options{tcp}
	  ? IO::Socket::INET->new(Type => SOCK_STREAM, PeerHost => '127.0.0.1', PeerPort => $node->port,
			defined $options{from} ? (LocalHost => $options{from}) : ())
	  : IO::Socket::UNIX->new(Type => SOCK_STREAM, Peer => $path);
	die "no connection to $path: $!" unless $socket;
	my $self = bless { socket => $socket, buffer => '', is_extended => $options{extended} // 0, is_open => 1 }, $class;

	my %parameters = (
		user => $options{user} // scalar getpwuid($<),
		database => $options{dbname} // 'postgres',
		application_name => 'wire',
		client_encoding => 'UTF8',
		%{ $options{parameters} // {} });
	my $startup = pack('N', 196608) . join('', map { "$_\0$parameters{$_}\0" } sort keys %parameters) . "\0";
	$self->send_raw(pack('N', 4 + length $startup) . $startup);
	$self->read_answer;
	die "no session: $self->{message}" unless $self->{pid};
	return $self;
}

# Statements ------------------------------------------------------------------------------------------------------------

# Runs a statement, with parameters in the extended protocol. Returns the rows as psql -At prints them; see
# read_answer() for what else is known then.
sub ask
{
	my ($self, $statement, @parameters) = @_;
	if ($self->{is_extended} || @parameters)
	{
		$self->send_raw(parse('', $statement) . bind_to('', '', @parameters) . execute('', 0) . message('S'));
	}
	else
	{
		$self->send_raw(message('Q', "$statement\0"));
	}
	return $self->read_answer;
}

# Runs statements one by one; dies if one of them fails.
sub do
{
	my ($self, @statements) = @_;
	for my $statement (@statements)
	{
		$self->ask($statement);
		die "$statement: $self->{sqlstate} $self->{message}" if $self->{sqlstate};
	}
}

# Sends a statement and does not wait for its answer.
sub start { my ($self, $statement) = @_; $self->send_raw(message('Q', "$statement\0")); }

# Messages of the extended protocol, for those who put them together themselves. Parameters are text.
sub parse { my ($name, $statement) = @_; return message('P', "$name\0$statement\0" . pack('n', 0)); }

sub bind_to
{
	my ($portal, $name, @parameters) = @_;
	return message('B', "$portal\0$name\0" . pack('n n', 0, scalar @parameters)
		  . join('', map { pack('N', length) . $_ } @parameters) . pack('n', 0));
}

sub execute { my ($portal, $rows) = @_; return message('E', "$portal\0" . pack('N', $rows)); }

sub sync { return message('S'); }

# Messages --------------------------------------------------------------------------------------------------------------

sub message
{
	my ($type, $body) = @_;
	$body //= '';
	return $type . pack('N', 4 + length $body) . $body;
}

sub send_raw
{
	my ($self, $bytes) = @_;
	local $SIG{PIPE} = 'IGNORE';
	$self->{socket}->print($bytes);
	$self->{socket}->flush;
}

# Adds what the server has sent to the buffer; false if it sent nothing for $seconds, or has closed the connection.
sub receive
{
	my ($self, $seconds) = @_;
	return 0 unless $self->{is_open} && IO::Select->new($self->{socket})->can_read($seconds);
	my $count = sysread $self->{socket}, $self->{buffer}, 65536, length $self->{buffer};
	$self->{is_open} = 0 unless $count;
	return $self->{is_open};
}

# The next message of the buffer as (type, body), if it is there as a whole.
sub next_message
{
	my ($self) = @_;
	return if length $self->{buffer} < 5;
	my ($type, $length) = unpack 'a N', $self->{buffer};
	return if length $self->{buffer} < 1 + $length;
	my $body = substr $self->{buffer}, 5, $length - 4;
	substr($self->{buffer}, 0, 1 + $length) = '';
	return ($type, $body);
}

# Reads until the server is ready for the next statement or has closed the connection. Afterwards $wire->{...} is:
#   status    of the transaction as the server says: I (none), T (in a block), E (in an aborted one)
#   tag       of the command; empty if it failed
#   sqlstate, severity, message, detail, hint    of the error; empty if there was none
#   notices, notifications, payloads, senders    lists of what came along: messages, channels, what was sent to them, and
#             by which process
#   is_open   whether the connection is
# Returns the rows.
sub read_answer
{
	my ($self) = @_;
	my @rows;
	my $deadline = time + $patience;
	@$self{qw(tag sqlstate severity message detail hint)} = ('') x 6;
	@$self{qw(notices notifications payloads senders)} = ([], [], [], []);
	while (1)
	{
		my ($type, $body) = $self->next_message;
		if (!defined $type)
		{
			return join "\n", @rows if !$self->receive($deadline - time) && !$self->{is_open};
			die 'the server does not answer' if time > $deadline;
			next;
		}
		push @rows, row($body) if $type eq 'D';
		$self->{tag} = $body =~ s/\0$//r if $type eq 'C';
		$self->note_error($body) if $type eq 'E';
		push @{ $self->{notices} }, { fields($body) }->{M} if $type eq 'N';
		$self->note_notification($body) if $type eq 'A';
		$self->{pid} = unpack 'N', $body if $type eq 'K';
		if ($type eq 'Z')
		{
			$self->{status} = $body;
			return join "\n", @rows;
		}
	}
}

sub row
{
	my ($body) = @_;
	my $count = unpack 'n', $body;
	my $offset = 2;
	my @values;
	for (1 .. $count)
	{
		my $length = unpack 'l>', substr $body, $offset, 4;
		$offset += 4;
		push @values, $length < 0 ? '' : substr $body, $offset, $length;
		$offset += $length if $length > 0;
	}
	return join '|', @values;
}

# The fields of an error or a notice by their letters.
sub fields { my ($body) = @_; return map { substr($_, 0, 1) => substr($_, 1) } split /\0/, $body; }

sub note_error
{
	my ($self, $body) = @_;
	my %field = fields($body);
	@$self{qw(severity sqlstate message detail hint)} = map { $_ // '' } @field{qw(V C M D H)};
	$self->{tag} = '';
}

sub note_notification
{
	my ($self, $body) = @_;
	my ($channel, $payload) = split /\0/, substr $body, 4;
	push @{ $self->{notifications} }, $channel;
	push @{ $self->{payloads} }, $payload;
	push @{ $self->{senders} }, unpack 'N', $body;
}

# What the server has sent although it was not asked, as the types of the messages; 'closed' at the end if it has closed
# the connection.
sub unasked
{
	my ($self) = @_;
	1 while $self->receive(0);
	my @types;
	while (my ($type) = $self->next_message) { push @types, $type; }
	push @types, 'closed' unless $self->{is_open};
	return "@types";
}

# True while the session has an answer to read, or its connection is closed.
sub has_answer { my ($self) = @_; return !$self->{is_open} || IO::Select->new($self->{socket})->can_read(0) ? 1 : 0; }

# Ends the session in an orderly way, if it still is there.
sub close
{
	my ($self) = @_;
	my $socket = delete $self->{socket} or return;
	if ($self->{is_open}) { local $SIG{PIPE} = 'IGNORE'; $socket->print(message('X')); $socket->flush; }
	$self->{is_open} = 0;
	$socket->close;
}

1;
