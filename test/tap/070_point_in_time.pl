# Recovery to a point in time: while it is under way pgleak watches and writes nothing; afterwards the history is what it was
# at that point, with what was open then completed, and goes on.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;

use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('origin', streaming => 1);
$node->enable_archiving;
$node->restart;
eventually_recording($node, 'the origin records');
$node->backup('base');

# What the history of a server has about a session now.
sub outcome_at
{
	my ($server, $session) = @_;
	return $server->safe_psql('postgres',
		"SELECT coalesce(string_agg(coalesce(outcome, 'open'), ' '), 'none') FROM pgleak.history WHERE pid = $session->{pid}");
}

my $ended = leak($node);
eventually_recorded($node, $ended, 'open', 'a leak before the point');
$ended->do('COMMIT');
eventually_recorded($node, $ended, 'committed', 'which ends before it');
my $open = leak($node);
eventually_recorded($node, $open, 'open', 'a leak that is open at the point');
$node->safe_psql('postgres', q(INSERT INTO pgleak.rules (application_name, idle_leak_after, note) VALUES ('kept', '1h', 'before')));
$node->safe_psql('postgres', q(SELECT pg_create_restore_point('the point')));
$open->do('COMMIT');
eventually_recorded($node, $open, 'committed', 'and ends after it');
my $after = leak($node);
eventually_recorded($node, $after, 'open', 'a leak after the point');
$node->safe_psql('postgres', q(UPDATE pgleak.rules SET note = 'after'));
$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
$node->stop;

my $restored = recover_to('restored', $node, 'the point');

my $meanwhile = leak($restored);
eventually_is($restored, 'SELECT count(*) FROM pgleak.leaks', 1, 'meanwhile: the live view shows a leak');
is($restored->safe_psql('postgres', 'SELECT is_recording, recorder_errors FROM pgleak.stats'), 'f|0', 'meanwhile: nothing is written');
is(outcome_at($restored, $open), 'open', 'meanwhile: the history is as it was at the point');

$restored->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
eventually_recording($restored, 'afterwards: it is recorded');
eventually_recorded($restored, $ended, 'committed', 'afterwards: what had ended is as it was');
eventually_recorded($restored, $open, 'server stopped', 'afterwards: what was open is completed');
is(outcome_at($restored, $after), 'none', 'afterwards: what came later never was');
eventually_recorded($restored, $meanwhile, 'open', 'afterwards: a leak of the recovery is recorded');
is($restored->safe_psql('postgres', 'SELECT note FROM pgleak.rules'), 'before', 'afterwards: the rules are those of the point');
$meanwhile->close;
eventually_recorded($restored, $meanwhile, 'disconnected', 'afterwards: and ends');
is($restored->safe_psql('postgres', 'SELECT count(*) - count(DISTINCT leak_id) FROM pgleak.history'), 0, 'afterwards: no number is used twice');
is(log_count($restored, qr/ERROR|WARNING|PANIC/), 0, 'and nothing has tried to write before');

$restored->stop;
done_testing();
