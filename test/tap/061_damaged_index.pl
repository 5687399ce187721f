# An index of the history is damaged: the server starts, leaks are detected and logged, the recorder says what is wrong, and
# after REINDEX everything that waited is recorded.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;

use Test::More;

my $node = new_node('damaged');

# Overwrites what there is of a file of the stopped server.
sub damage
{
	my ($file) = @_;
	my $size = -s $file or die "$file is empty\n";
	open my $out, '+<', $file or die "$file: $!\n";
	print $out "\xAA" x $size;
	close $out or die "$file: $!\n";
}

sub test_damaged_index
{
	my ($index) = @_;
	my $session = leak($node);
	eventually_recorded($node, $session, 'open', "$index: a leak is recorded");
	my $file = $node->data_dir . '/' . $node->safe_psql('postgres', "SELECT pg_relation_filepath('pgleak.$index')");
	$node->stop;
	$session->close;
	damage($file);
	my $mark = log_mark($node);
	$node->start;

	my $later = leak($node);
	eventually_is($node, "SELECT recorder_errors > 0 AND last_error LIKE 'invalid page in block % of relation %' FROM pgleak.stats",
		't', "$index: the damage is an error of the recorder, which pgleak.stats shows");
	eventually(sub { log_count($node, qr/LOG:  pgleak: session leak: pid=$later->{pid} /, $mark) },
		"$index: leaks are logged all the same");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM pgleak.leaks'), 1, "$index: and shown");
	my $recorder = worker_pid($node, 'recorder');

	$node->safe_psql('postgres', "REINDEX INDEX pgleak.$index");
	eventually_recorded($node, $later, 'open', "$index: after REINDEX the leak that waited is recorded");
	eventually_recorded($node, $session, 'server stopped', "$index: and what was open then is completed");
	is(worker_pid($node, 'recorder'), $recorder, "$index: by the same recorder");
	$later->close;
	eventually_recorded($node, $later, 'disconnected', "$index: its end as well");
}

test_damaged_index('history_pkey');

$node->stop;
done_testing();
