# On a streaming standby leaks are detected, logged and shown, and nothing tries to write; after the promotion the standby
# records by itself, from the leaks that were open before it.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;

use PostgreSQL::Test::Utils;
use Test::More;

my $primary = new_node('primary', streaming => 1);

sub start_standby
{
	$primary->backup('base');
	my $standby = empty_node('standby');
	$standby->init_from_backup($primary, 'base', has_streaming => 1);
	$standby->start;
	$primary->wait_for_catchup($standby);
	return $standby;
}

my $standby = start_standby();

sub test_standby
{
	my $session = leak($standby, query => "SELECT 'on the standby'");
	eventually_is($standby, "SELECT string_agg(query, '') FROM pgleak.leaks", "SELECT 'on the standby';",
		'the live view on the standby shows a leak');
	is($standby->safe_psql('postgres', 'SELECT pgleak.scan()'), 1, 'pgleak.scan() works on the standby');
	is(log_count($standby, qr/LOG:  pgleak: session leak: pid=$session->{pid} /), 1, 'the leak is logged there');
	is($standby->safe_psql('postgres', 'SELECT is_recording, events_queued, events_written, recorder_errors FROM pgleak.stats'),
		'f|1|0|0', 'it waits in the queue, and pgleak.stats says that nothing is recorded');

	my $ended = leak($standby);
	eventually_is($standby, 'SELECT count(*) FROM pgleak.leaks', 2, 'another leak is seen');
	$ended->do('COMMIT');
	eventually_is($standby, 'SELECT count(*) FROM pgleak.leaks', 1, 'and its end');
	unlike(log_after($standby), qr/pgleak recorder: |ERROR|FATAL|PANIC|WARNING/, 'nothing tries to write on the standby');
	is($primary->safe_psql('postgres', 'SELECT count(*) FROM pgleak.leaks'), 0, 'the primary sees its own sessions only');
	return ($session, $ended);
}

sub test_promotion
{
	my ($session, $ended) = @_;
	my $on_primary = leak($primary);
	eventually_recorded($primary, $on_primary, 'open', 'a leak is open on the primary');
	$primary->wait_for_catchup($standby);
	$primary->stop('immediate');

	$standby->promote;
	eventually_recording($standby, 'after its promotion the standby records by itself');
	eventually_recorded($standby, $session, 'open', 'it records the leak that was open before');
	eventually_recorded($standby, $ended, 'committed', 'and the one that had ended before');
	eventually_recorded($standby, $on_primary, 'server stopped', 'and completes what the old primary left open');
	$session->close;
	eventually_recorded($standby, $session, 'disconnected', 'the open leak ends as ever');
	is($standby->safe_psql('postgres', 'SELECT recorder_errors FROM pgleak.stats'), 0, 'and nothing was an error');
}

test_promotion(test_standby());

$standby->stop;
done_testing();
