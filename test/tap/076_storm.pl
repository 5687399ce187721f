# Many sessions: leaks in the middle of a storm of new connections are all found, once, and soon after their limit; so are
# hundreds at the same moment, and a look asked for by then knows of them all. What comes and goes is none.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakActions;
use PgleakTest;

use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

my $limit = 0.5;      # of those that leak, in seconds
my $far = 10;          # of those that do not: sessions take each other's places for longer, and no machine stands still as long
my $interval = 0.1;
my $many = 300;

my $node = new_node('storm', conf => <<"END");
max_connections = 400
pgleak.scan_interval = '${interval}s'
pgleak.idle_leak_after = '1h'
pgleak.queue_size = 4096
pgleak.notify = off
log_statement = none
END

sub ask { return $node->safe_psql('postgres', $_[0]); }

ask(qq{
	CREATE ROLE leaking LOGIN;
	ALTER ROLE leaking SET pgleak.idle_leak_after = '${limit}s';
	CREATE ROLE passing LOGIN;
	ALTER ROLE passing SET pgleak.idle_leak_after = '${far}s';
	CREATE TABLE t (i int);
	GRANT ALL ON t TO leaking, passing});

# Test: each of the sessions is one leak, found at its limit. How late is told; a machine that does not keep up has 2 s more.
sub are_found
{
	my ($crowd, $mark, $name) = @_;
	my @pids = @{ $crowd->{pids} };
	my $pids = join ',', @pids;
	eventually_is($node, "SELECT count(*) FROM pgleak.history WHERE pid IN ($pids)", scalar @pids, "$name: every leak is found");
	my %found;
	my $log = log_after($node, $mark);
	push @{ $found{$1} }, $2 while $log =~ /pgleak: session leak: pid=(\d+) .* for=([0-9.]+)s /g;
	is(scalar(grep { @{ $found{$_} // [] } != 1 } @pids), 0, "$name: once");
	my @late = sort { $a <=> $b } map { $_->[0] - $limit } values %found;
	note("$name: found $late[ $#late / 2 ] s after the limit in the middle, $late[-1] s at most");
	cmp_ok($late[0], '>=', 0, "$name: none before its limit");
	cmp_ok($late[ $#late / 2 ], '<=', $interval + 2, "$name: and most soon after it");
	return $pids;
}

# Test: all have ended, each once.
sub have_ended
{
	my ($pids, $count, $outcome, $name) = @_;
	eventually_is($node, "SELECT count(*), count(DISTINCT pid) FROM pgleak.history WHERE pid IN ($pids) AND outcome = '$outcome'",
		"$count|$count", "$name: every end is recorded, once, as $outcome");
}

sub test_storm
{
	my $mark = log_mark($node);
	my $scans = ask('SELECT scans FROM pgleak.stats');
	my $script = "$PostgreSQL::Test::Utils::tmp_check/passing.sql";
	unlink $script;
	append_to_file($script, "BEGIN;\nINSERT INTO t VALUES (1);\nSELECT 1;\nCOMMIT;\n");
	my $crowd = crowd($node, 40, user => 'leaking');
	my $storm = IPC::Run::start([ 'pgbench', '-n', '-C', '-c', 20, '-j', 20, '-T', 15, '-f', $script, '-d', $node->connstr('postgres') . ' user=passing' ],
		'>', \my $out, '2>', \my $err);
	$crowd->run([ 'BEGIN', 'INSERT INTO t VALUES (2)' ], spread => 5);
	my $pids = are_found($crowd, $mark, 'storm');
	$storm->finish;
	my ($transactions) = $out =~ /transactions actually processed: (\d+)/;
	note("storm: $transactions connections");
	cmp_ok($transactions, '>', 100, 'storm: connections have come and gone');
	is(ask(q(SELECT count(*) FROM pgleak.history WHERE role = 'passing')), 0, 'storm: none of them is a leak');
	is(ask('SELECT count(*) FROM pgleak.leaks'), 40, 'storm: the live view has those that are');
	$crowd->run(['COMMIT']);
	have_ended($pids, 40, 'committed', 'storm');
	$crowd->close;
}

sub test_many
{
	my $mark = log_mark($node);
	my $crowd = crowd($node, $many, user => 'leaking');
	is($crowd->run([ 'BEGIN', 'SELECT 1' ]), $many, "many: $many sessions sit in a transaction");
	my $pids = are_found($crowd, $mark, 'many');
	is(ask('SELECT count(*) FROM pgleak.leaks'), $many, 'many: the live view has them all');
	eventually_is($node, q(SELECT sum(leaked) FROM pgleak.pools WHERE role = 'leaking'), $many, 'many: so has their pool');
	note('many: a look takes ' . ask('SELECT last_scan_us FROM pgleak.stats') . ' us');
	$crowd->close_sessions;
	have_ended($pids, $many, 'disconnected', 'many');
	$crowd->close;
}

# Does $change while the scanner is stopped, and has pgleak.scan() wait for it then: the answer is of the first looks after
# that.
sub scan_after
{
	my ($change) = @_;
	my $scanner = worker_pid($node, 'scanner');
	my $asker = wire($node);
	stop_process($scanner);
	$change->($scanner);
	$asker->start('SELECT pgleak.scan()');
	eventually_is($node, q(SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pgleak.scan()' AND wait_event_type = 'Extension'),
		1, 'at once: a look is asked for');
	continue_process($scanner);
	my ($count) = $asker->read_answer;
	is($asker->{message}, '', 'at once: it is answered');
	return $count;
}

# The looks that find and end them are more than one, and nothing but themselves makes the next one come.
sub test_at_once
{
	my $mark = log_mark($node);
	configure($node, 'pgleak.scan_interval' => '1h');
	my $crowd = crowd($node, $many);
	is($crowd->run([ 'BEGIN', 'SELECT 1' ]), $many, "at once: $many sessions sit in a transaction, long before their limit");
	my $pids = join ',', @{ $crowd->{pids} };
	my $looks = ask('SELECT scans FROM pgleak.stats');
	my $found = scan_after(sub {
		my ($scanner) = @_;
		configure($node, 'pgleak.idle_leak_after' => '10ms');
		eventually(sub { has_pending($scanner, 1) }, 'at once: the limit is lowered');
	});
	is($found, $many, 'at once: pgleak.scan() finds them all');
	is(ask(qq(SELECT count(*) FROM pgleak.leaks WHERE pid IN ($pids))), $many, 'at once: the live view has them all');
	note('at once: that took ' . (ask('SELECT scans FROM pgleak.stats') - $looks) . ' looks');
	my %times;
	$times{$_}++ for log_after($node, $mark) =~ /pgleak: session leak: pid=(\d+) /g;
	is(scalar(grep { $times{$_} != 1 } @{ $crowd->{pids} }), 0, 'at once: each is logged once');

	is(scan_after(sub { $crowd->run(['COMMIT']) }), 0, 'at once: pgleak.scan() knows that all have ended');
	have_ended($pids, $many, 'committed', 'at once');
	configure($node, 'pgleak.scan_interval' => undef, 'pgleak.idle_leak_after' => undef);
	$crowd->close;
}

test_storm();
test_many();
test_at_once();
is(ask('SELECT recorder_errors, events_dropped, events_queued - events_written FROM pgleak.stats'), '0|0|0', 'nothing was an error or is left over');

$node->stop;
done_testing();
