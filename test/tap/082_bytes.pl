# Names and statements with every byte there is, in databases of every kind of encoding, many of them: recorded without an
# error, as valid text of the database that records, which can be dumped and restored. 006_encodings looks closely at a few;
# here it is the number. PGLEAK_STRINGS says how many for each encoding, rounded up to a multiple of 80.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;
use PgleakActions;

use Encode qw(encode);
use POSIX qw(ceil);
use PostgreSQL::Test::Utils;
use Test::More;

my $strings = $ENV{PGLEAK_STRINGS} || 80;    # for each encoding of a database that sessions are in
my $sessions = 20;                           # in each of these databases

my $node = new_node('bytes', conf => <<'END');
pgleak.idle_leak_after = '20ms'
pgleak.scan_interval = '10ms'
track_activity_query_size = 300
log_min_messages = warning
END

my @encodings = qw(UTF8 LATIN1 EUC_JP SQL_ASCII);

# Strings ---------------------------------------------------------------------------------------------------------------

# The characters of an encoding, as bytes: all of those with one byte, and of those with more some from everywhere.
my %characters = (
	SQL_ASCII => [ map { chr } 1 .. 255 ],
	LATIN1 => [ map { chr } 1 .. 255 ],
	UTF8 => [ (map { chr } 1 .. 127),
		map { encode('UTF-8', chr) } (map { $_ * 7 + 0x80 } 0 .. 270), (map { $_ * 251 + 0x800 } 0 .. 211), 0xD7FF, 0xE000, 0xFDD0,
		0xFEFF, 0xFFFD .. 0xFFFF, (map { $_ * 8111 + 0x10000 } 0 .. 128), 0x10FFFE, 0x10FFFF ],
	EUC_JP => [ (map { chr } 1 .. 127), (map { "\x8E" . chr } 0xA1 .. 0xDF),
		map { my $lead = $_; map { (chr($lead) . chr, "\x8F" . chr($lead) . chr) } map { 0xA1 + ($_ * 17 + $lead * 5) % 94 } 0 .. 2 } 0xA1 .. 0xFE ]);

# The string of that number: neighbours in the list of characters, of which the next string has the next ones.
sub string
{
	my ($encoding, $number) = @_;
	my $characters = $characters{$encoding};
	my $length = 10 + $number % 60;
	my $step = $number % 3 == 0 ? 1 : 1 + $number % 11;
	return join '', map { $characters->[ ($number * 47 + $_ * $step) % @$characters ] } 0 .. $length - 1;
}

sub literal { my ($text) = @_; return "'" . ($text =~ s/'/''/gr) . "'"; }

# All bytes in names of 60 bytes, but for the line ends that newer servers refuse there.
my @names = map { my $first = $_; join '', grep { !/[\r\n]/ } map { chr(1 + ($first * 60 + $_) % 255) } 0 .. 59 } 0 .. 4;

# Sessions --------------------------------------------------------------------------------------------------------------

my %database;    # by its encoding; their names are of bytes, too

sub quoted { my ($name) = @_; return '"' . ($name =~ s/"/""/gr) . '"'; }

sub create_all
{
	$node->safe_psql('postgres', "CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'");
	my $ascii = wire($node, dbname => 'ascii', parameters => { client_encoding => 'SQL_ASCII' });    # where names may be any bytes
	$ascii->do('CREATE ROLE ' . quoted($_) . ' LOGIN') for @names;
	for my $n (0 .. $#encodings)
	{
		my $encoding = $encodings[$n];
		$database{$encoding} = $names[$n];
		$ascii->do('CREATE DATABASE ' . quoted($names[$n]) . " TEMPLATE template0 ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C'",
			"CREATE DATABASE record_\L$encoding\E TEMPLATE template0 ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C'",
			"CREATE DATABASE restored_\L$encoding\E TEMPLATE template0 ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C'");
		$node->safe_psql("record_\L$encoding", 'CREATE EXTENSION pgleak');
	}
	$ascii->close;
}

sub open_sessions
{
	my %open;
	for my $encoding (@encodings)
	{
		$open{$encoding} = [ map { wire($node, dbname => $database{$encoding}, user => $names[ $_ % @names ],
				parameters => { client_encoding => $encoding }) } 1 .. $sessions ];
	}
	return \%open;
}

# Each session leaks with the next string as application_name, tag and statement, until that is seen.
sub leak_once
{
	my ($open, $number, $asker, $expected) = @_;
	for my $encoding (@encodings)
	{
		for my $n (0 .. $sessions - 1)
		{
			my $text = string($encoding, $number + $n);
			my $tag = $text =~ s/[*'\\]//gr;
			$open->{$encoding}[$n]->start("BEGIN; SET application_name = " . literal($text) . "; /*route='$tag'*/ SELECT " . literal($text));
		}
	}
	my @refused = grep { $_->read_answer; $_->{sqlstate} ne '' } map { @$_ } values %$open;
	die "refused: $refused[0]{sqlstate} $refused[0]{message}" if @refused;
	eventually_quietly(sub { $asker->ask('SELECT leaks FROM pgleak.stats') >= $expected }) or die 'not all leaks are seen';
	$_->start('COMMIT') for map { @$_ } values %$open;
	$_->read_answer for map { @$_ } values %$open;
}

# As eventually(), without being a test.
sub eventually_quietly
{
	my ($condition) = @_;
	return PgleakTest::poll($condition, $PgleakTest::patience);
}

# Checks ----------------------------------------------------------------------------------------------------------------

my ($errors, $invalid, $mismatches, $rows) = (0, 0, 0, 0);

my $is_valid = q{CREATE FUNCTION is_valid(value text) RETURNS boolean LANGUAGE plpgsql AS $f$
	BEGIN
		RETURN value IS NULL OR convert_from(textsend(value), getdatabaseencoding()::name) = value
			AND length(upper(value)) >= 0 AND substr(value, 1, length(value)) = value;
	EXCEPTION WHEN character_not_in_repertoire OR untranslatable_character THEN RETURN false;
	END $f$};

# Rows as leak_id => digest.
sub digests
{
	my ($database) = @_;
	return { map { split /\|/ } split /\n/, $node->safe_psql($database, 'SELECT leak_id, md5(k::text) FROM kept k') };
}

sub check_history
{
	my ($encoding, $asker, $expected) = @_;
	my ($record, $restored) = ("record_\L$encoding", "restored_\L$encoding");
	eventually_quietly(sub { $asker->ask('SELECT count(*) FROM pgleak.history WHERE outcome IS NOT NULL') >= $expected });
	is($asker->ask(q(SELECT count(*) FROM pgleak.history WHERE outcome = 'committed')), $expected, "into $encoding: every leak has its row");
	my ($failed, $dropped, $message) = split /\|/, $asker->ask('SELECT recorder_errors, events_dropped, last_error FROM pgleak.stats'), -1;
	is("$failed $dropped $message", '0 0 ', "into $encoding: nothing was an error");
	$errors += $failed + $dropped;
	$rows += $expected;

	$node->safe_psql($record, $is_valid);
	my $bad = $node->safe_psql($record, q(SELECT count(*) FROM pgleak.history WHERE NOT (is_valid(database) AND is_valid(role)
		AND is_valid(application_name) AND is_valid(query) AND is_valid(tags::text) AND is_valid(trail::text)
		AND query IS NOT NULL AND trail IS NOT NULL)));
	is($bad, 0, "into $encoding: every text is valid");
	$invalid += $bad;

	my $dump = "$PostgreSQL::Test::Utils::tmp_check/$record.sql";
	$node->safe_psql($record, 'CREATE TABLE kept AS SELECT * FROM pgleak.history');
	$node->command_ok([ 'pg_dump', '-t', 'kept', '-f', $dump, $record ], "into $encoding: it can be dumped");
	$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $restored ], "into $encoding: and restored");
	unlink $dump;
	my ($kept, $again) = (digests($record), eval { digests($restored) } // {});
	my $different = grep { ($again->{$_} // '') ne $kept->{$_} } keys %$kept;
	is($different, 0, "into $encoding: and is the same then");
	$mismatches += $different;
}

create_all();
my $number = 0;
for my $encoding (@encodings)
{
	$node->append_conf('postgresql.conf', "pgleak.database = 'record_\L$encoding'");
	$node->restart;
	my $asker = wire($node, dbname => "record_\L$encoding", parameters => { client_encoding => 'SQL_ASCII' });
	eventually(sub { $asker->ask('SELECT is_recording FROM pgleak.stats') eq 't' }, "into $encoding: the recorder is there");
	my $open = open_sessions();
	my $expected = 0;
	for (1 .. ceil($strings / @encodings / $sessions))
	{
		leak_once($open, $number, $asker, $expected += $sessions * @encodings);
		$number += $sessions;
	}
	check_history($encoding, $asker, $expected);
	$_->close for $asker, map { @$_ } values %$open;
}
cmp_ok($number, '>=', $strings, 'that many strings were tried in each encoding');
cmp_ok($rows, '>=', $strings * @encodings, 'and recorded');
note("bytes: $number strings x 4 encodings: $errors errors, $invalid invalid rows, $mismatches dump mismatches");

$node->stop;
done_testing();
