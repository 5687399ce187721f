# A server with leaks and rules is copied: by pg_upgrade, pg_basebackup, and a publication of all tables between two servers
# that both run pgleak. Rows and rules come along, each server records its own leaks, and nothing stops the copying.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $rows = q(SELECT string_agg(format('%s %s', pid, coalesce(outcome, 'open')), ', ' ORDER BY leak_id) FROM pgleak.history);
my $rules = q(SELECT string_agg(format('%s %s %s', id, role, idle_leak_after), ', ' ORDER BY id) FROM pgleak.rules);
my $bindir = run_pg_config('--bindir');

sub run_pg_config
{
	my ($what) = @_;
	chomp(my $answer = `"\${PG_CONFIG:-pg_config}" $what`);
	return $answer;
}

# A server with a leak that has ended, a rule, and a leak that is open; the latter's session.
sub server_with_leaks
{
	my ($name, %options) = @_;
	my $node = new_node($name, %options);
	$node->safe_psql('postgres', "INSERT INTO pgleak.rules (role, idle_leak_after) VALUES ('nobody', '1 hour')");
	my $ended = leak($node);
	eventually_recorded($node, $ended, 'open', "$name: a leak is recorded");
	$ended->do('COMMIT');
	eventually_recorded($node, $ended, 'committed', "$name: and its end");
	$ended->close;
	my $open = leak($node);
	eventually_recorded($node, $open, 'open', "$name: another leak is open");
	return ($node, $ended, $open);
}

sub records_leaks
{
	my ($node, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $session = leak($node);
	eventually_recorded($node, $session, 'open', "$name records a leak of its own");
	$session->close;
	eventually_recorded($node, $session, 'disconnected', "$name records its end");
}

sub test_upgrade
{
	my ($old, $ended, $open) = server_with_leaks('old');
	my $new = empty_node('new');
	$new->init(extra => [ '--encoding=UTF8', '--no-locale' ]);
	$new->append_conf('postgresql.conf', "shared_preload_libraries = 'pgleak'\npgleak.idle_leak_after = '200ms'\n"
		. "pgleak.scan_interval = '100ms'");
	$old->stop;
	$open->close;

	# It starts both servers in a mode in which nobody but itself may be connected to a database.
	my $directory = $PostgreSQL::Test::Utils::tmp_check;
	my $status = system("cd '$directory' && '$bindir/pg_upgrade' --no-sync -b '$bindir' -B '$bindir' -d '" . $old->data_dir
		. "' -D '" . $new->data_dir . "' -s '$directory' -p " . $old->port . ' -P ' . $new->port . " > upgrade.log 2>&1");
	ok($status == 0, 'pg_upgrade works while the library is preloaded on both sides')
	  or diag(slurp_file("$directory/upgrade.log"));
	$new->start;
	eventually_recording($new, 'the recorder works after pg_upgrade');
	is($new->safe_psql('postgres', $rows), "$ended->{pid} committed, $open->{pid} server stopped", 'pg_upgrade keeps the history');
	is($new->safe_psql('postgres', $rules), '1 nobody 01:00:00', 'pg_upgrade keeps the rules');
	records_leaks($new, 'the upgraded server');
	$new->stop;
}

sub test_base_backup
{
	my ($node, $ended, $open) = server_with_leaks('original', streaming => 1);
	$node->backup('copy');
	my $copy = empty_node('copy');
	$copy->init_from_backup($node, 'copy');
	$copy->start;
	eventually_is($copy, $rows, "$ended->{pid} committed, $open->{pid} server stopped",
		'in a copy by pg_basebackup a leak that was open is completed');
	is($copy->safe_psql('postgres', $rules), '1 nobody 01:00:00', 'the copy has the rules');
	records_leaks($copy, 'the copy');
	is($node->safe_psql('postgres', "SELECT count(*) FROM pgleak.history WHERE outcome IS NULL"), 1,
		'and in the original it is open still');
	$open->close;
	eventually_recorded($node, $open, 'disconnected', 'until it ends there');
	$_->stop for $copy, $node;
}

sub test_publication_of_all_tables
{
	my ($publisher, $ended, $open) = server_with_leaks('publisher', streaming => 'logical');
	my $subscriber = new_node('subscriber', streaming => 'logical');
	my $own = leak($subscriber);
	eventually_recorded($subscriber, $own, 'open', 'the subscriber has a leak of its own');
	$publisher->safe_psql('postgres', 'CREATE PUBLICATION everything FOR ALL TABLES');
	my $connection = $publisher->connstr('postgres') =~ s/'/''/gr;
	$subscriber->safe_psql('postgres', "CREATE SUBSCRIPTION everything CONNECTION '$connection' PUBLICATION everything");
	$subscriber->wait_for_subscription_sync($publisher, 'everything');
	my $by_server = q(SELECT string_agg(n::text, ' ' ORDER BY n)
		FROM (SELECT count(*) AS n FROM pgleak.history GROUP BY system_identifier) AS servers);
	eventually_is($subscriber, $by_server, '1 2', 'the history of both servers is in one table');

	# The subscriber has had a leak already with the number that the publisher's next one gets.
	my $next = 1 + $publisher->safe_psql('postgres', 'SELECT max(leak_id) FROM pgleak.history');
	$subscriber->safe_psql('postgres', qq(INSERT INTO pgleak.history SELECT (jsonb_populate_record(h, jsonb_build_object(
		'leak_id', $next, 'ended_at', now(), 'outcome', 'committed'))).* FROM pgleak.history h WHERE pid = $own->{pid}));

	# Leaks on both sides, opened and ended, go on arriving: a duplicate key would have stopped them.
	records_leaks($_->[0], $_->[1])
	  for [ $publisher, 'the publisher' ], [ $subscriber, 'the subscriber' ], [ $publisher, 'the publisher, once more,' ];
	$open->close;
	$own->close;
	eventually_is($subscriber, $by_server, '3 4', 'no key of the two servers collides');
	eventually_is($subscriber, 'SELECT count(*) FROM pgleak.history WHERE outcome IS NULL', 0, 'ends are replicated as well');
	is(log_count($subscriber, qr/duplicate key/), 0, 'the subscription has met no conflict');
	is($subscriber->safe_psql('postgres', $rules), '1 nobody 01:00:00', 'a rule of the publisher is a row at the subscriber');
	$_->stop for $subscriber, $publisher;
}

test_upgrade();
test_base_backup();
test_publication_of_all_tables();
done_testing();
