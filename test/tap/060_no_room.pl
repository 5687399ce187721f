# The disk is full, or there is no memory for the recorder: the workers stay, the events wait in the queue, and are written,
# each once, when there is room again. The server gets a disk of its own: a library that this test compiles and preloads
# refuses to let files of tables grow as long as a certain file exists. The memory is limited for the process alone.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;

use PostgreSQL::Test::Utils;
use Test::More;

my $full = "$PostgreSQL::Test::Utils::tmp_check/disk_is_full";
my $library = "$PostgreSQL::Test::Utils::tmp_check/full_disk.so";

# WAL is left alone: without it the server itself cannot go on, whoever writes.
my $source = <<'END';
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static int would_grow_table(int file, off64_t end)
{
	char link[64], path[4096];
	struct stat64 status;
	const char *flag = getenv("FULL_DISK");
	if (!flag || access(flag, F_OK) != 0) return 0;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", file);
	ssize_t length = readlink(link, path, sizeof(path) - 1);
	if (length < 0) return 0;
	path[length] = 0;
	return strstr(path, "/base/") && fstat64(file, &status) == 0 && end > status.st_size;
}

ssize_t pwrite64(int file, const void *from, size_t size, off64_t at)
{
	static ssize_t (*next)(int, const void *, size_t, off64_t);
	if (!next) next = (ssize_t (*)(int, const void *, size_t, off64_t)) dlsym(RTLD_NEXT, "pwrite64");
	if (would_grow_table(file, at + (off64_t) size)) { errno = ENOSPC; return -1; }
	return next(file, from, size, at);
}

ssize_t pwritev64(int file, const struct iovec *from, int count, off64_t at)
{
	static ssize_t (*next)(int, const struct iovec *, int, off64_t);
	if (!next) next = (ssize_t (*)(int, const struct iovec *, int, off64_t)) dlsym(RTLD_NEXT, "pwritev64");
	if (would_grow_table(file, at + 1)) { errno = ENOSPC; return -1; }
	return next(file, from, count, at);
}

/* Where off_t has 64 bits the server may use either name. */
ssize_t pwrite(int, const void *, size_t, off64_t) __attribute__((alias("pwrite64")));
ssize_t pwritev(int, const struct iovec *, int, off64_t) __attribute__((alias("pwritev64")));

int posix_fallocate64(int file, off64_t at, off64_t size)
{
	static int (*next)(int, off64_t, off64_t);
	if (!next) next = (int (*)(int, off64_t, off64_t)) dlsym(RTLD_NEXT, "posix_fallocate64");
	return would_grow_table(file, at + size) ? ENOSPC : next(file, at, size);
}

int posix_fallocate(int, off64_t, off64_t) __attribute__((alias("posix_fallocate64")));
END

sub compile_library
{
	open my $cc, '|-', $ENV{CC} // 'cc', qw(-shared -fPIC -O1 -x c -o), $library, '-' or die "cc: $!";
	print $cc $source;
	close $cc or die 'the library cannot be compiled';
}

compile_library();
unlink $full;
# Beside what is preloaded already, as a sanitizer may be.
$ENV{LD_PRELOAD} = join ' ', grep { defined && length } $ENV{LD_PRELOAD}, $library;
$ENV{FULL_DISK} = $full;
my $node = new_node('no_room', conf => 'track_activity_query_size = 1MB');

my $workers = q(SELECT string_agg(pid::text, ' ' ORDER BY backend_type) FROM pg_stat_activity WHERE backend_type LIKE 'pgleak%');

# Runs what makes the recorder fail with an error that the log and pgleak.stats name like $error, then what ends that.
# Leaks that come to be and end meanwhile are recorded afterwards.
sub check_shortage
{
	my ($name, $error, $begin, $end) = @_;
	$node->safe_psql('postgres', 'TRUNCATE pgleak.history; SELECT pgleak.reset()');
	my $pids = $node->safe_psql('postgres', $workers);
	my $mark = log_mark($node);

	$begin->();
	my @sessions = map { leak($node, query => sprintf "SELECT 1 /* %s */", 'x' x 1_000_000) } 1 .. 3;
	eventually_is($node, "SELECT recorder_errors >= 2 AND last_error ~ '$error' FROM pgleak.stats", 't',
		"$name: the recorder fails, and tries again");
	is($node->safe_psql('postgres', 'SELECT is_recording FROM pgleak.stats'), 'f', "$name: pgleak.stats says so");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM pgleak.leaks'), 3, "$name: leaks are detected all the same");
	$sessions[0]->do('COMMIT');
	$sessions[1]->close;
	eventually(sub { log_count($node, qr/LOG:  pgleak: session leak ended: /, $mark) == 2 }, "$name: the log has their ends");
	# A sample of the minute that fails just then has a line of its own.
	is(log_count($node, qr/(ERROR|WARNING|LOG):  (?!.*_samples).*$error/, $mark), 1, "$name: the error is one line in the log");

	$end->();
	eventually_recorded($node, $sessions[0], 'committed', "$name: what ended meanwhile is recorded, once", 90);
	eventually_recorded($node, $sessions[1], 'disconnected', "$name: each with its outcome");
	eventually_recorded($node, $sessions[2], 'open', "$name: what did not end is open");
	is($node->safe_psql('postgres', $workers), $pids, "$name: both workers are the same as before");
	is($node->safe_psql('postgres', 'SELECT events_dropped FROM pgleak.stats'), 0, "$name: no event was dropped");
	$_->close for @sessions[ 0, 2 ];
	eventually_recorded($node, $sessions[2], 'disconnected', "$name: and the last one is completed");
}

sub test_full_disk
{
	check_shortage('the disk is full', 'No space left on device',
		sub { append_to_file($full, '') },
		sub { unlink $full or die "$full: $!" });
}

# Its address space may not grow any more: malloc() fails for whatever it has no room for yet.
sub test_out_of_memory
{
	my $pid = worker_pid($node, 'recorder');
	my ($kb) = slurp_file("/proc/$pid/status") =~ /^VmSize:\s+(\d+) kB/m;
	check_shortage('the recorder is out of memory', 'out of memory',
		sub { system_or_bail('prlimit', "--pid=$pid", sprintf '--as=%d:', 1024 * $kb) },
		sub { system_or_bail('prlimit', "--pid=$pid", '--as=unlimited:') });
}

test_full_disk();
SKIP:
{
	skip 'the address sanitizer ends a process that it has no memory for', 11 if $ENV{ASAN_OPTIONS};
	test_out_of_memory();
}

$node->stop;
done_testing();
