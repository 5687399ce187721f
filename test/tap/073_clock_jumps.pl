# The wall clock is set while sessions are idle: forward or back by an hour makes no leak, hides none, and moves no action.
# The servers get a clock of their own: a library that this test compiles and preloads adds to the time of day what a
# mapped file says. The monotonic clock goes on as it is, as the kernel's does when somebody sets the time.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;
use PgleakActions;

use PostgreSQL::Test::Utils;
use Test::More;

my $hour = 3600;

# The clock -------------------------------------------------------------------------------------------------------------

my $clock_page = "$PostgreSQL::Test::Utils::tmp_check/clock_page";
my $library = "$PostgreSQL::Test::Utils::tmp_check/set_clock.so";

my $source = <<'END';
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *seconds_ahead;

__attribute__((constructor)) static void map_page(void)
{
	const char *path = getenv("CLOCK_PAGE");
	int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *page = file >= 0 ? mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0) : MAP_FAILED;
	if (page != MAP_FAILED) seconds_ahead = page;
	if (file >= 0) close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	int result = (int) syscall(SYS_clock_gettime, clock, now);
	if (seconds_ahead && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += *seconds_ahead;
	return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec exact;
	int result = clock_gettime(CLOCK_REALTIME, &exact);
	now->tv_sec = exact.tv_sec;
	now->tv_usec = exact.tv_nsec / 1000;
	return result;
}

time_t time(time_t *where)
{
	struct timespec exact;
	clock_gettime(CLOCK_REALTIME, &exact);
	if (where) *where = exact.tv_sec;
	return exact.tv_sec;
}
END

sub compile_library
{
	open my $cc, '|-', $ENV{CC} // 'cc', qw(-shared -fPIC -O1 -x c -o), $library, '-' or die "cc: $!";
	print $cc $source;
	close $cc or die 'the library cannot be compiled';
}

# The time of day of all servers is so much ahead of the real one from now on.
sub set_clock
{
	my ($seconds) = @_;
	# In place and in one piece: it is mapped.
	open my $file, -e $clock_page ? '+<' : '>', $clock_page or die "$clock_page: $!";
	syswrite($file, pack 'q', $seconds) == 8 or die "$clock_page: $!";
}

mkdir $PostgreSQL::Test::Utils::tmp_check;
compile_library();
set_clock(0);
$ENV{CLOCK_PAGE} = $clock_page;
# The sanitizers' library has to stay the first.
$ENV{LD_PRELOAD} = join ' ', grep { defined && length } $ENV{LD_PRELOAD}, $library;

# Sessions --------------------------------------------------------------------------------------------------------------

# Half an hour: what the clock jumps over, and this test never waits for.
my $node = new_node('clock', conf => <<'END');
pgleak.scan_interval = '50ms'
pgleak.idle_leak_after = '30min'
pgleak.idle_cancel_after = '30min'
pgleak.idle_terminate_after = '40min'
pgleak.transaction_leak_after = '45min'
pgleak.transaction_terminate_after = '45min'
pgleak.pool_busy_after = '10min'
END

delete $ENV{LD_PRELOAD};

sub ask { return $node->safe_psql('postgres', $_[0]); }

ask(q{
	CREATE TABLE t (i int);
	CREATE ROLE app LOGIN;
	GRANT ALL ON t TO app;
	CREATE ROLE hasty LOGIN IN ROLE app;
	ALTER ROLE hasty SET pgleak.idle_leak_after = '300ms';
	ALTER ROLE hasty SET pgleak.idle_cancel_after = 0;
	ALTER ROLE hasty SET pgleak.idle_terminate_after = 0;
	CREATE ROLE stopped LOGIN IN ROLE app;
	ALTER ROLE stopped SET pgleak.idle_leak_after = '300ms';
	ALTER ROLE stopped SET pgleak.idle_cancel_after = '2s';
	ALTER ROLE stopped SET pgleak.idle_terminate_after = 0});

# Three looks that begin from now on.
sub look { ask('SELECT pgleak.scan()') for 1 .. 3; }

# The leaks that the log has told of since $mark, as process ids.
sub logged_leaks { my ($mark) = @_; return log_after($node, $mark) =~ /pgleak: session leak: pid=(\d+) /g; }

# Sets the clock and makes sure that the server goes by it.
sub jump
{
	my ($from, $to, $name) = @_;
	my $before = ask('SELECT extract(epoch FROM clock_timestamp())');
	set_clock($to);
	my $step = ask("SELECT extract(epoch FROM clock_timestamp()) - $before");
	cmp_ok(abs($step - ($to - $from)), '<', 600, "$name: the server goes by the new time");
}

# One that sits idle, one that has failed, one that works: each within its limits.
sub innocents
{
	my %session = map { $_ => leaking_wire($node, user => 'app', query => 'INSERT INTO t VALUES (1)') } qw(idle aborted active);
	$session{aborted}->ask('SELECT 1/0');
	$session{active}->start('SELECT pg_sleep(600)');
	eventually_is($node, "SELECT state FROM pg_stat_activity WHERE pid = $session{active}{pid}", 'active', 'one session works');
	return \%session;
}

# Test: nothing has happened to any of them.
sub are_untouched
{
	my ($session, $mark, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my @leaks = logged_leaks($mark);
	is("@leaks", '', "$name: no session has become a leak");
	is(log_count($node, qr/pgleak: (will|would) /, $mark), 0, "$name: and no action is taken");
	like(activity($node, $session->{idle}), qr/^idle in transaction\|\d/, "$name: the idle session has its transaction");
	like(activity($node, $session->{active}), qr/^active\|\d/, "$name: the active session works on");
	is(ask("SELECT sum(suspects), bool_or(verdict <> 'ok') FROM pgleak.pools"), '0|f', "$name: and no pool is suspected");
}

sub close_all { $_->close for @_; }

# Tests -----------------------------------------------------------------------------------------------------------------

# From one offset to the next; sessions of before and of after.
sub test_jump
{
	my ($from, $to, $name) = @_;
	my $mark = log_mark($node);
	my $before = innocents();
	look();
	jump($from, $to, $name);
	look();
	are_untouched($before, $mark, $name);
	my $after = innocents();
	look();
	are_untouched($after, $mark, "$name, sessions that begin then");

	kill 'TERM', my $scanner = worker_pid($node, 'scanner');
	eventually(sub { worker_pid($node, 'scanner') !~ /^($scanner|)$/ }, "$name: there is a new scanner");
	look();
	are_untouched($before, $mark, "$name, a new scanner");
	# Who waits for a working session's end would wait long.
	ask("SELECT pg_terminate_backend($_->{active}{pid})") for $before, $after;
	close_all(values %$_) for $before, $after;
}

# A session has just become idle and is seen, or has not been seen yet, when the clock is set; and one comes later.
sub test_leaks
{
	my ($from, $to, $name) = @_;
	my $mark = log_mark($node);
	my $scanner = worker_pid($node, 'scanner');
	my $seen = leaking_wire($node, user => 'hasty', query => 'INSERT INTO t VALUES (1)');
	look();
	stop_process($scanner);
	my $unseen = leaking_wire($node, user => 'hasty', query => 'INSERT INTO t VALUES (1)');
	jump($from, $to, $name);
	continue_process($scanner);
	my $later = leaking_wire($node, user => 'hasty', query => 'INSERT INTO t VALUES (1)');

	for ([ $seen, 'seen before' ], [ $unseen, 'not seen before' ], [ $later, 'begun later' ])
	{
		my ($session, $which) = @$_;
		eventually_recorded($node, $session, 'open', "$name: a leak $which is found");
		my ($lasted) = log_after($node, $mark) =~ /pgleak: session leak: pid=$session->{pid} .* for=([0-9.]+)s /;
		ok($lasted >= 0.3 && $lasted < 600, "$name: $which, after its limit and by no other clock") or diag("for=$lasted s");
	}
	is(ask('SELECT count(*), bool_and(idle_for BETWEEN \'300ms\' AND \'10min\'), bool_and(transaction_age BETWEEN \'300ms\' AND \'10min\')'
		. ' FROM pgleak.leaks'), '3|t|t', "$name: the live view shows how long they have really been idle");
	jump($to, $from, "$name and back");
	look();
	my @leaks = logged_leaks($mark);
	is(scalar @leaks, 3, "$name: each is one episode, also when the clock is set right again");
	$_->do('COMMIT') for $seen, $unseen, $later;
	eventually_recorded($node, $_, 'committed', "$name: and ends as it does") for $seen, $unseen, $later;
	is(ask("SELECT count(*) FROM pgleak.history WHERE duration NOT BETWEEN '0' AND '10min' OR idle_for NOT BETWEEN '300ms' AND '10min'"
		. " OR transaction_age NOT BETWEEN '300ms' AND '10min'"), 0, "$name: and no time in its row is off by the jump");
	close_all($seen, $unseen, $later);
}

# An action is due two seconds after the statement, whatever the time of day is.
sub test_action
{
	my ($from, $to, $name) = @_;
	my $mark = log_mark($node);
	my $session = leaking_wire($node, user => 'stopped', query => 'INSERT INTO t VALUES (1)');
	eventually_recorded($node, $session, 'open', "$name: a leak is open");
	jump($from, $to, $name);
	eventually_recorded($node, $session, 'cancelled', "$name: it is cancelled");
	my ($lasted) = log_after($node, $mark) =~ /pgleak: will cancel: pid=$session->{pid} .* for=([0-9.]+)s /;
	ok($lasted >= 2 && $lasted < 600, "$name: when its limit is met") or diag("for=$lasted s");
	$session->close;
}

# The server is started anew on another day than the one that its history tells of.
sub test_restart
{
	my ($from, $to, $name) = @_;
	my $session = leaking_wire($node, user => 'hasty');
	eventually_recorded($node, $session, 'open', "$name: a leak is open");
	my $largest = ask('SELECT max(leak_id) FROM pgleak.history');
	$node->stop('immediate');
	set_clock($to);
	{
		local $ENV{LD_PRELOAD} = $library;
		$node->start;
	}
	eventually_recorded($node, $session, 'server stopped', "$name: its row is completed");
	is(ask("SELECT bool_and(ended_at >= detected_at AND duration >= '0') FROM pgleak.history WHERE outcome = 'server stopped'"), 't',
		"$name: and does not end before it begins");
	my $next = leaking_wire($node, user => 'hasty');
	eventually_recorded($node, $next, 'open', "$name: the next leak is recorded");
	cmp_ok(recorded($node, $next, 'leak_id'), '>', $largest, "$name: under a new number");
	close_all($session, $next);
}

test_jump(0, $hour, 'an hour forward');
test_jump($hour, 0, 'an hour back');
test_leaks(0, $hour, 'leaks, an hour forward');
test_leaks(0, -$hour, 'leaks, an hour back');
test_action(0, $hour, 'an action, an hour forward');
test_action($hour, -$hour, 'an action, two hours back');
test_restart(-$hour, -2 * $hour, 'a start in the past');
test_restart(-2 * $hour, $hour, 'a start in the future');

is(ask('SELECT recorder_errors FROM pgleak.stats'), 0, 'nothing was an error');
like(ask(q(SELECT pgleak.report('1 day'))), qr/<svg/, 'the report can show all that');
$node->stop;
done_testing();
