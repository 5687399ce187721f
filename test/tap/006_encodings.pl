# Statements and names of any bytes are recorded: from databases of every encoding into a pgleak.database of every other,
# cut in the middle of a character, invalid, long. The history is always valid text, and nothing is an error.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;

use Encode qw(decode encode);
use PostgreSQL::Test::Utils;
use Test::More;

my $small = 100;      # the smallest track_activity_query_size
my $large = 16384;

my $node = new_node('bytes', conf => "track_activity_query_size = $small");

# Characters of each length in each encoding.
my %characters = (
	utf8 => [ "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x92\xA7" ],
	euc_jp => [ "\xA4\xA2", "\x8F\xB0\xA1" ],
	latin1 => ["\xDF"],
	sql_ascii => ["\xF0\x9F\x92\xA7"]);

# Bytes that are no UTF-8: alone, unfinished, overlong, a surrogate, too large.
my @invalid = ("\xE9", "\xE2\x82", "\xC0\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xFF\xFE", "\x80\xBF");
my $replacement = "\xEF\xBF\xBD";

sub create_databases
{
	for my $encoding (keys %characters)
	{
		$node->safe_psql('postgres',
			"CREATE DATABASE $encoding TEMPLATE template0 ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C'");
		$node->safe_psql($encoding, 'CREATE EXTENSION pgleak');
	}
}

# Statements so long that they are cut at $size - 1 bytes, at every offset within each character.
sub long_statements
{
	my ($encoding, $size) = @_;
	my @statements;
	for my $character (@{ $characters{$encoding} })
	{
		my $text = $character x ($size / length($character) + 1);
		push @statements, map { "SELECT '" . ('x' x $_) . $text . "'" } 0 .. length($character) - 1;
	}
	return @statements;
}

# What is recorded of a statement, in UTF-8. The unfinished character at its end is left out where it can be told from
# an invalid one.
sub expected_text
{
	my ($encoding, $statement, $size) = @_;
	my $rest = substr("$statement;", 0, $size - 1);
	my %name = (utf8 => 'UTF-8', sql_ascii => 'UTF-8', euc_jp => 'euc-jp', latin1 => 'iso-8859-1');
	my $text = encode('UTF-8', decode($name{$encoding}, $rest, Encode::FB_QUIET));
	return $encoding eq 'sql_ascii' ? $text . $replacement x length $rest : $text;
}

# Sessions in all databases with statements cut at $size; [session, expected text] each.
sub leak_everywhere
{
	my ($size) = @_;
	my @leaks;
	for my $encoding (sort keys %characters)
	{
		push @leaks, map { [ leak($node, dbname => $encoding, query => $_), expected_text($encoding, $_, $size) ] }
		  long_statements($encoding, $size);
	}
	for my $bytes (@invalid)
	{
		my $expected = "SELECT '" . ($replacement x length $bytes) . "';";
		push @leaks, [ leak($node, dbname => 'sql_ascii', query => "SELECT '$bytes'"), $expected ];
	}
	return @leaks;
}

# The answer, or the error: a text that is not valid is one.
sub ask
{
	my ($database, $query) = @_;
	my ($status, $answer, $error) = $node->psql($database, $query);
	return $status == 0 ? $answer : $error;
}

# All are recorded in $database, valid in its $encoding, and the live view shows them alike.
sub check_validity
{
	my ($database, $encoding, $name, @leaks) = @_;
	my $pids = join ',', map { $_->[0]{pid} } @leaks;
	eventually(sub { ask($database, "SELECT count(*) FROM pgleak.history WHERE pid IN ($pids)") eq @leaks },
		"$name: all are recorded");
	is(ask($database, "SELECT count(convert_from(textsend(query), '$encoding')) FROM pgleak.history WHERE pid IN ($pids)"),
		@leaks, "$name: all are valid $encoding");
	is(ask($database, "SELECT count(upper(query)) FROM pgleak.history WHERE pid IN ($pids)"),
		@leaks, "$name: functions can work on them");
	is(ask($database, q(SELECT count(*) FROM pgleak.leaks l JOIN pgleak.history h USING (leak_id)
			WHERE (h.query, h.database, h.role) = (l.query, l.database, l.role))),
		@leaks, "$name: the live view shows the same text");
	is(ask($database, 'SELECT count(*) FROM pgleak.top'), @leaks, "$name: pgleak.top shows all");
	is(ask($database, 'SELECT recorder_errors, last_error IS NULL FROM pgleak.stats'), '0|t', "$name: nothing was an error");
}

sub check_texts
{
	my ($database, $name, @leaks) = @_;
	my %recorded = map { split /\|/ }
	  split /\n/, ask($database, q(SELECT pid, encode(convert_to(query, 'UTF8'), 'hex') FROM pgleak.history));
	my @wrong = grep { $recorded{ $_->[0]{pid} } ne unpack 'H*', $_->[1] } @leaks;
	is(scalar @wrong, 0, "$name: what is valid is recorded as it was, the rest replaced");
	diag(substr($recorded{ $_->[0]{pid} }, -40) . ' for ' . substr(unpack('H*', $_->[1]), -40)) for @wrong;
}

sub close_all { $_->[0]->close for @_; }

# Restarts the server with another pgleak.database and length of statements.
sub record_into
{
	my ($database, $size) = @_;
	$node->append_conf('postgresql.conf', "pgleak.database = '$database'\ntrack_activity_query_size = $size");
	$node->restart;
	eventually(sub { ask($database, 'SELECT is_recording FROM pgleak.stats') eq 't' }, "recording into database $database");
}

sub test_statements
{
	my ($database, $encoding, $size) = @_;
	my $name = "statements of $size bytes into $encoding";
	record_into($database, $size);
	my @leaks = leak_everywhere($size);
	check_validity($database, $encoding, $name, @leaks);
	check_texts($database, $name, @leaks) if $encoding eq 'UTF8';
	close_all(@leaks);
}

sub test_untranslatable
{
	record_into('latin1', $small);
	my $session = leak($node, dbname => 'utf8', query => "SELECT 'caf\xC3\xA9 \xE2\x82\xAC 1'");
	eventually(sub {
			ask('latin1', "SELECT encode(textsend(query), 'escape') FROM pgleak.history WHERE pid = $session->{pid}") eq
			  q(SELECT 'caf\351 ? 1';);
		}, 'a character that LATIN1 lacks becomes a question mark, the others are translated');
	$session->close;
}

# Tags of any bytes, as they are and percent-encoded, from every encoding into that of $database. What is encoded is UTF-8
# if it can be.
sub test_tags
{
	my ($database, $encoding, %expected) = @_;
	record_into($database, $small);
	my @sessions;
	my $cut = 0;
	for my $source (sort keys %characters)
	{
		my $raw = $characters{$source}[0];
		# The last ones are longer than a value may be, so they are cut, at every offset within the character.
		push @sessions,
		  map { leak($node, dbname => $source, query => $_) }
		  "/*raw='$raw',utf8='%C3%A9%E2%82%AC'*/ SELECT '$source'",
		  "/*a='%E9',b='%FF%FEx',c='%C0%AFx',%E9%ED%A0%80='%00%01%22%5C'*/ SELECT '$source'",
		  map { "SELECT 1 /*cut='" . ('x' x $_) . ($raw x (600 / length $raw)) . "'*/" } 0 .. length($raw) - 1;
		$cut += length $raw;
	}
	push @sessions, leak($node, dbname => 'sql_ascii', query => "/*bytes='$_'*/ SELECT 1") for @invalid;

	my $name = "tags into $encoding";
	my $pids = join ',', map { $_->{pid} } @sessions;
	eventually(sub { ask($database, "SELECT count(tags) FROM pgleak.history WHERE pid IN ($pids)") eq @sessions },
		"$name: all are recorded");
	is(ask($database, "SELECT count(convert_from(textsend(upper(tags::text)), '$encoding')) FROM pgleak.history WHERE pid IN ($pids)"),
		@sessions, "$name: all are valid $encoding");
	is(ask($database, 'SELECT count(*) FROM pgleak.leaks l JOIN pgleak.history h USING (leak_id) WHERE h.tags = l.tags'),
		@sessions, "$name: the live view shows the same");
	is(ask($database, "SELECT count(*) FROM pgleak.history WHERE pid IN ($pids) AND tags ->> 'cut' <> '' AND tags @> '{\"truncated\": true}'"),
		$cut, "$name: what is cut says so");
	is(ask($database, 'SELECT recorder_errors, last_error IS NULL FROM pgleak.stats'), '0|t', "$name: nothing was an error");
	is(ask($database, "SELECT string_agg(DISTINCT encode(textsend(tags ->> 'utf8'), 'hex'), ' ') FROM pgleak.history"
			. " WHERE pid IN ($pids)"), unpack('H*', $expected{utf8}), "$name: what is percent-encoded is UTF-8");
	is(ask($database, "SELECT encode(textsend(tags ->> 'raw'), 'hex') FROM pgleak.history"
			. " WHERE pid IN ($pids) AND database = 'latin1' AND tags ? 'raw'"),
		unpack('H*', $expected{latin1}), "$name: what is not is in the encoding of its database");
	$_->close for @sessions;
}

# A role's name has no encoding: it is the bytes of whoever created it.
sub test_names
{
	my $role = "r\xE9mi";
	ask('sql_ascii', qq(CREATE ROLE "$role" LOGIN));
	record_into('utf8', $small);
	my $session = leak($node, dbname => 'utf8', user => $role);
	eventually(sub {
			ask('utf8', "SELECT encode(convert_to(role, 'UTF8'), 'hex') FROM pgleak.history WHERE pid = $session->{pid}") eq
			  unpack 'H*', "r${replacement}mi";
		}, 'a role whose name is no valid text is recorded');
	is(ask('utf8', "SELECT recorder_errors FROM pgleak.stats"), 0, 'and it was no error');
	$session->close;
}

# pgleak.history itself is part of the extension and so not dumped; its rows are.
sub test_dump
{
	my $dump = $PostgreSQL::Test::Utils::tmp_check . '/bytes.sql';
	my $digest = q(SELECT count(*) || ' ' || md5(string_agg(k::text, ',' ORDER BY leak_id)) FROM kept k);
	ask('utf8', 'CREATE TABLE kept AS SELECT * FROM pgleak.history');
	ask('postgres', 'CREATE DATABASE restored TEMPLATE template0');
	$node->command_ok([ 'pg_dump', '-t', 'kept', '-f', $dump, 'utf8' ], 'the recorded text can be dumped');
	$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, 'restored' ], 'and restored');
	is(ask('restored', $digest), ask('utf8', $digest), 'and is the same then');
	unlink $dump;
}

create_databases();
test_statements('utf8', 'UTF8', $small);
test_statements('utf8', 'UTF8', $large);
test_statements('latin1', 'LATIN1', $small);
test_statements('euc_jp', 'EUC_JP', $small);
test_statements('sql_ascii', 'SQL_ASCII', $large);
test_tags('utf8', 'UTF8', utf8 => "\xC3\xA9\xE2\x82\xAC", latin1 => "\xC3\x9F");
test_tags('latin1', 'LATIN1', utf8 => "\xE9?", latin1 => "\xDF");
test_tags('sql_ascii', 'SQL_ASCII', utf8 => "\xC3\xA9\xE2\x82\xAC", latin1 => "\xDF");
test_tags('euc_jp', 'EUC_JP', utf8 => "\x8F\xAB\xB1?", latin1 => "?");    # PostgreSQL converts no LATIN1 to EUC_JP
test_untranslatable();
test_names();
test_dump();

$node->stop;
done_testing();
