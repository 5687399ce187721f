# Any role can fill the queue of notifications, and keep it full by listening in an open transaction. Recording goes on without
# notifications then, and with them once there is room again. (Before 17 the queue has room for 8 GB.)

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;
use PgleakActions;

use PostgreSQL::Test::Utils;
use Test::More;

my $node = empty_node('notify_queue');
plan skip_all => 'this server cannot limit the queue of notifications' if $node->pg_version < 17;

$node = new_node('notify_queue', conf => 'max_notify_queue_pages = 64');

sub sql { return $node->safe_psql('postgres', $_[0]); }

sql('CREATE ROLE mallory LOGIN; ALTER ROLE mallory SET pgleak.idle_leak_after = 0');
my $keeper = wire($node, user => 'mallory');
$keeper->do('LISTEN flood', 'BEGIN', 'SELECT 1');
my $flooder = wire($node, user => 'mallory');
for (1 .. 1000)
{
	$flooder->ask(q(SELECT pg_notify('flood', repeat('x', 7000) || i) FROM generate_series(1, 5) i));
	last if $flooder->{sqlstate} ne '';
}
is($flooder->{sqlstate}, '54000', 'an ordinary role fills the queue of notifications');

my $session = leak($node);
eventually_recorded($node, $session, 'open', 'a leak is recorded all the same');
$session->do('COMMIT');
eventually_recorded($node, $session, 'committed', 'and so is its end');
like(sql('SELECT last_error FROM pgleak.stats'), qr/too many notifications in the NOTIFY queue/, 'pgleak.stats says what is wrong');
$session->close;

# The server looks for room when it is asked how much there is.
$keeper->close;
eventually_is($node, 'SELECT pg_notification_queue_usage() < 0.5', 't', 'without the one who kept it there is room again');
my $listener = wire($node);
$listener->do('LISTEN pgleak');
eventually(sub {
		my $leak = leak($node);
		PgleakTest::poll(sub { sql("SELECT count(*) FROM pgleak.history WHERE pid = $leak->{pid}") eq '1' }, $PgleakTest::patience);
		$leak->close;
		$listener->ask('SELECT 1');
		return scalar grep { /opened/ } @{ $listener->{payloads} };
	}, 'then leaks are notified');
is(sql(q(SELECT count(*) FROM pgleak.history WHERE outcome IS NULL AND ended_at IS NOT NULL)), 0, 'and all are recorded');

$_->close for $flooder, $listener;
$node->stop;
done_testing();
