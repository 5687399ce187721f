# Some 500 hostile texts, each as application_name, role, tag and statement of one session, some as the name of its database:
# every event is one record of the log in each format and nothing in it is forged; csv and json parse; history, live views,
# notifications and the report have each text as it was.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakActions;
use PgleakLogs;
use PgleakTest;

use Encode qw(decode encode);
use JSON::PP ();
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('hostile', conf => logging_in_all_formats() . <<'END');
track_activity_query_size = 4096
pgleak.queue_size = 4096
END

sub ask { return $node->safe_psql('postgres', $_[0]); }

# The texts -------------------------------------------------------------------------------------------------------------

# What a forger would like to see as a record of its own, and as a key, in each format; what obeys in a terminal, in HTML, in
# SQL, in COPY; names that mean something.
my @forgeries = (
	"\n2026-01-01 00:00:00.000 UTC [1] LOG:  pgleak: session leak: pid=1 database=forged",
	"\r\n2026-01-01 00:00:00 UTC [1] LOG:  pgleak: session leak ended: pid=1",
	qq(,,,"\n2026-01-01 00:00:00.000 UTC,"forged","forged",1,,1,1,,2026,,0,LOG,00000,"pgleak: session leak: pid=1 "),
	qq(""\n2026-01-01,""),
	qq("}\n{"message":"pgleak: session leak: pid=1 database=forged"}),
	q(\u000a{"message":"pgleak: session leak: pid=1 "}),
	q(" pid=1 database="forged" role="x), 'x pid=1 database=forged', '\\" pid=1 \\', '\\n', '\\x0A', '\\\\"', '""', "''",
	"\nDETAIL:  Last statement: forged", "\n\tforged", "\nSTATEMENT:  forged", "\nHINT:  forged", "\nFATAL:  forged",
	'%s%n%d', '%m', '%%', '$1', '${HOME}', '$(id)', '`id`', '{{7*7}}', '{}', '[]', '","', '\\t', '\\N', '\\.', "\\.\n",
	"\r\e[2K\e[1A", "\e[2J\e]0;forged\x07", "\e]52;c;Zm9yZ2Vk\x07", "\e[8m", encode('UTF-8', "\x{9B}2J"),
	'<script>alert(1)</script>', '</style><script>alert(1)', '"><img src=x onerror=alert(1)>', '&lt;&amp;', '<!--', ']]>',
	"' OR 1=1 --", "'; DROP TABLE pgleak.history; --", '$$', '$x$; SELECT 1; $x$', "E'\\''", '--', '/*', '*/', '%', '_', '\\_',
	encode('UTF-8', "\x{202E}desrever"), encode('UTF-8', "\x{200B}\x{FEFF}"), encode('UTF-8', "\x{2028}\x{2029}\x{85}"),
	encode('UTF-8', "e\x{301}" x 20), encode('UTF-8', "\x{FFFD}\x{FFFC}\x{FFFF}"), encode('UTF-8', "\x{20AC}") x 21,
	encode('UTF-8', "x\x{1F4A7}") x 12,
	qw(null NULL true 0 -1 NaN all template1 default current_user), 'pgleak recorder', 'x' x 63, 'x' x 64,
	map { $_ x 63 } "\n", '"', "'", '\\', ' ', "\e", "\t", '%');

# Each ASCII sign that is no letter: alone, and at each place of a text.
my @signs = grep { !/[A-Za-z0-9]/ } map { chr } 1 .. 127;
my %has_seen;
my @texts = grep { !$has_seen{$_}++ } @forgeries, map { ("${_}end", "mid${_}dle", "begin$_", $_, "twice$_$_ ", "${_}both$_") } @signs;

# Beyond what the server keeps of anything.
my @long = (
	'x' x 1_000_000, "\n" x 1_000_000, "'\"\\\e" x 250_000, encode('UTF-8', "\x{20AC}") x 300_000, "$forgeries[0] " x 10_000);

# The first bytes of a text, cut between characters as the server does it.
sub cut
{
	my ($text, $size) = @_;
	my $rest = substr $text, 0, $size;
	return encode('UTF-8', decode('UTF-8', $rest, Encode::FB_QUIET));
}

sub name_of { my ($text) = @_; return cut($text, 63); }

sub quoted { my ($text, $quote) = @_; return $quote . ($text =~ s/$quote/$quote$quote/gr) . $quote; }

# Runs many statements with one psql, whichever of them fail.
sub run_script
{
	my @statements = @_;
	my $script = "$PostgreSQL::Test::Utils::tmp_check/script.sql";
	unlink $script;
	append_to_file($script, join '', map { "$_;\n" } @statements);
	run_command([ 'psql', '-Xq', '-d', $node->connstr('postgres'), '-f', $script ]);
	unlink $script;
}

# The sessions ----------------------------------------------------------------------------------------------------------

my %tried;    # by process id: what is expected
my $listener = wire($node);
my @payloads;

# A session that leaks, with this text wherever it may be. What the server refuses as a name is not tried there.
sub hostile_session
{
	my ($text, %options) = @_;
	my $session = eval { wire($node, user => name_of($text), %options) } // wire($node, user => 'plain', %options);
	my $route = cut($text, 100);
	my $encoded = $route =~ s/([^A-Za-z0-9])/sprintf '%%%02X', ord $1/ger;
	$session->do(
		'SET standard_conforming_strings = on',
		'SET application_name = ' . quoted($text, q(')),
		'BEGIN',
		"/*route='$encoded'*/ SELECT " . quoted($text, q(')) . ' FROM pg_sleep(0)');
	$tried{ $session->{pid} } = { text => substr($text, 0, 100), route => $route };
	return $session;
}

my $same = q(SELECT count(*), count(*) FILTER (WHERE (h.role, h.database, h.application_name, h.query) =
		(a.usename, a.datname, a.application_name, a.query)),
	count(*) FILTER (WHERE (l.role, l.database, l.application_name, l.query, l.tags, l.trail) IS NOT DISTINCT FROM
		(h.role, h.database, h.application_name, h.query, h.tags, h.trail)), (SELECT count(*) FROM pgleak.top)
	FROM pgleak.history h JOIN pg_stat_activity a USING (pid, backend_start) LEFT JOIN pgleak.leaks l USING (leak_id));

# All texts, some sessions at a time. What is right is said once for all of them.
sub leak_all
{
	my ($name, $begin, @all) = @_;
	my @wrong;
	my $sum = 0;
	while (my @some = splice @all, 0, 70)
	{
		my @sessions = map { $begin->($_) } @some;
		my $count = @sessions;
		$sum += $count;
		my $seen = '';
		PgleakTest::poll(sub { ($seen = ask($same)) =~ /^$count\|/ }, 60);
		push @wrong, "$seen of $count" unless $seen eq "$count|$count|$count|$count";
		$_->close for @sessions;
		PgleakTest::poll(sub { ask('SELECT count(*) FROM pgleak.history WHERE ended_at IS NULL') eq '0' }, 60)
		  or push @wrong, 'an end is missing';
		$listener->ask('SELECT 1');
		push @payloads, @{ $listener->{payloads} };
	}
	is(join(', ', @wrong), '', "$name: the history and the live views have $sum texts as the server has them");
}

# The log ---------------------------------------------------------------------------------------------------------------

# How the log tells of each session: the pairs of the line about its leak and of that about its end.
sub check_log
{
	my ($format) = @_;
	my @records = eval { log_records($node, $format) };
	is($@, '', "$format: the log parses, with as many fields in every record");

	my (%opened, %ended, @unpaired, @controls);
	for my $record (@records)
	{
		my ($event, $rest) = $record->[0] =~ /^pgleak: (session leak|session leak ended): (.*)$/s or next;
		my @pairs = pairs($rest);
		my %pair = @pairs;
		push @unpaired, $rest if @pairs != 2 * keys %pair || !defined $pair{leak_id};
		push @controls, $rest if grep { defined && /[\x00-\x1F\x7F]|\xC2[\x80-\x9F]/ } @$record;
		push @{ ($event eq 'session leak' ? \%opened : \%ended)->{ $pair{pid} // '?' } }, \%pair;
	}
	is_deeply([ sort keys %opened ], [ sort keys %tried ], "$format: it tells of the leaks that there were and of no other");
	is_deeply([ sort keys %ended ], [ sort keys %tried ], "$format: and of their ends");
	is(scalar(grep { @$_ != 1 } values %opened, values %ended), 0, "$format: each in one record");
	is(join("\n", @unpaired), '', "$format: which is keys and values to its end, no key twice");
	is(scalar @controls, 0, "$format: without a control character");
	my @forged = grep { ($opened{$_}[0]{route} // '') ne $tried{$_}{route} } keys %tried;
	is(join(', ', map { $tried{$_}{text} } @forged), '', "$format: each route is told as it was");
	my $names = ask(q(SELECT jsonb_object_agg(pid, jsonb_build_object('role', role, 'database', database,
		'application', application_name)) FROM pgleak.history));
	my $recorded = JSON::PP->new->decode(decode('UTF-8', $names));
	my @others = grep {
		my ($pair, $row) = ($opened{$_}[0], $recorded->{$_});
		grep { encode('UTF-8', $row->{$_}) ne $pair->{$_} } keys %$row
	} keys %tried;
	is(join(', ', map { $tried{$_}{text} } @others), '', "$format: each name is told as it is recorded");
}

sub check_payloads
{
	my (%events, @broken);
	for my $payload (@payloads)
	{
		my $event = eval { JSON::PP->new->utf8->decode($payload) };
		if (!$event) { push @broken, $payload; next; }
		$events{ $event->{pid} } .= "$event->{event} " if defined $event->{pid};
	}
	is(join("\n", @broken), '', 'every notification is valid JSON');
	my @wrong = grep { ($events{$_} // '') ne 'opened ended ' } keys %tried;
	is(scalar @wrong, 0, 'two notifications for each leak');
	is(scalar(keys %events), scalar(keys %tried), 'and none for others');
}

sub check_tags
{
	my $recorded = JSON::PP->new->decode(decode('UTF-8', ask(q(SELECT jsonb_object_agg(pid, tags ->> 'route') FROM pgleak.history))));
	my @wrong = grep { encode('UTF-8', $recorded->{$_} // '') ne $tried{$_}{route} } keys %tried;
	is(join(', ', map { $tried{$_}{text} } @wrong), '', 'every tag is recorded as it was');
}

# What HTML would obey, in the report that shows it alone: of many episodes it shows the worst.
sub check_report
{
	ask(q(DELETE FROM pgleak.history WHERE query !~ '[<>&]'));
	my $page = ask(q(SELECT pgleak.report('1 day')));
	my @obeyed = $page =~ /<script>alert|<img|<!--|\]\]>|<\/style><script/g;
	is("@obeyed", '', 'the report: no text becomes a part of the page');
	cmp_ok(scalar(() = $page =~ /&lt;script&gt;alert/g), '>', 0, 'the report: it is shown instead');
}

$listener->do('LISTEN pgleak');
run_script('CREATE ROLE plain LOGIN', map { 'CREATE ROLE ' . quoted(name_of($_), '"') . ' LOGIN' } @texts);
my @databases = map { name_of($_) } @forgeries[ 0, 2, 4, 6, 7, 30, 40 ];
run_script(map { 'CREATE DATABASE ' . quoted($_, '"') } @databases);
cmp_ok(ask('SELECT count(*) FROM pg_roles WHERE rolcanlogin'), '>', 400, 'most texts are the name of a role');
my %is_database = map { $_ => 1 } split /\0/, ask(q(SELECT string_agg(datname, E'\x01') FROM pg_database)) =~ s/\x01/\0/gr;
@databases = grep { $is_database{$_} } @databases;
cmp_ok(scalar @databases, '>', 0, 'and some of a database');

leak_all('texts', \&hostile_session, @texts);
leak_all('databases', sub { hostile_session($_[0], dbname => $_[0]) }, @databases);
leak_all('a megabyte each', \&hostile_session, @long);
check_log($_) for qw(csvlog jsonlog stderr);
check_tags();
check_payloads();
check_report();
is(ask('SELECT recorder_errors, events_dropped FROM pgleak.stats'), '0|0', 'nothing was an error, nothing dropped');

$node->stop;
done_testing();
