# Reading the server's log in each of its formats, record by record as whoever parses it does, and the keys and values
# of our messages.
package PgleakLogs;

use strict;
use warnings FATAL => 'all';

use PgleakTest;

use Encode qw(encode);
use JSON::PP ();
use PostgreSQL::Test::Utils qw(slurp_file);

use Exporter 'import';
our @EXPORT = qw(logging_in_all_formats log_text log_records pairs);

# For postgresql.conf.
sub logging_in_all_formats
{
	return <<'END';
logging_collector = on
log_destination = 'stderr,csvlog,jsonlog'
log_filename = 'server.log'
END
}

my %extension = (stderr => 'log', csvlog => 'csv', jsonlog => 'json');

sub log_text { my ($node, $format) = @_; return slurp_file($node->data_dir . "/log/server.$extension{$format}"); }

my %reader = (stderr => \&stderr_records, csvlog => \&csv_records, jsonlog => \&json_records);

# The messages of the log in one format, as [message, detail], in bytes. Dies if it does not parse.
sub log_records { my ($node, $format) = @_; return $reader{$format}->(log_text($node, $format)); }

sub json_records
{
	my ($text) = @_;
	return map {
		my $record = JSON::PP->new->utf8->decode($_);
		[ map { defined ? encode('UTF-8', $_) : undef } $record->{message} // '', $record->{detail} ]
	} split /\n/, $text;
}

# A record ends at a newline outside of quotes. All have as many fields.
sub csv_records
{
	my ($text) = @_;
	my (@records, @fields);
	my $count;
	while ($text =~ /\G(?:"((?:[^"]|"")*+)"|([^,\n"]*+))([,\n])/gc)
	{
		my ($quoted, $plain, $separator) = ($1, $2, $3);
		push @fields, defined $quoted ? $quoted =~ s/""/"/gr : $plain;
		next if $separator eq ',';
		$count //= @fields;
		die "a record of " . @fields . " fields, not $count: @fields\n" if @fields != $count;
		push @records, [ @fields[ 13, 14 ] ];
		@fields = ();
	}
	die "no csv: " . substr($text, pos($text) // 0, 200) . "\n" if @fields || (pos($text) // 0) < length $text;
	return @records;
}

# A record begins with a time stamp; its lines after the first begin with a tab or are its DETAIL.
sub stderr_records
{
	my ($text) = @_;
	my (@records, $last);
	for my $line (split /\n/, $text)
	{
		if ($line =~ /^\S+ \S+ \S+ \[\d+\] (?:\S+ )?LOG:  (.*)/) { push @records, $last = [ $1, undef ]; }
		elsif ($last && $line =~ /^\S+ \S+ \S+ \[\d+\] (?:\S+ )?DETAIL:  (.*)/) { $last->[1] = $1; }
		elsif ($last && $line =~ /^\t/) { $last->[ defined $last->[1] ? 1 : 0 ] .= $line; }
		else { $last = undef; }
	}
	return @records;
}

# The keys and values of a message in logfmt, up to where it is none.
sub pairs
{
	my ($message) = @_;
	my @pairs;
	while ($message =~ /\G(\w+)=(?:"((?:[^"\\]|\\.)*+)"|([^\s"]*+))(?: |$)/gc)
	{
		my ($key, $value) = ($1, $2 // $3);
		$value =~ s{\\(?:x([0-9A-F]{2})|(.))}{defined $1 ? chr hex $1 : { n => "\n", r => "\r", t => "\t" }->{$2} // $2}ge;
		push @pairs, $key, $value;
	}
	return @pairs;
}

1;
