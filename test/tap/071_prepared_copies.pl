# An open prepared transaction in a copy of the server: after recovery to a point in time its episode goes on, once; pg_upgrade
# refuses to copy it, as without pgleak, and works when it has ended. Its row is completed even if it ends at once after a start,
# or is no leak any more by then.
#
# PGLEAK_OLD_BINDIR names the programs of an older server from which pg_upgrade starts (test/versions/upgrade).

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $settings = <<'END';
max_prepared_transactions = 8
pgleak.idle_leak_after = 0
pgleak.prepared_leak_after = '1s'
END

sub prepare
{
	my ($node, $gid) = @_;
	return $node->safe_psql('postgres', "BEGIN; SELECT pg_current_xact_id(); PREPARE TRANSACTION '$gid'");
}

sub finish { my ($node, $how, $gid) = @_; return $node->safe_psql('postgres', "$how PREPARED '$gid'"); }

# What the history has about it: the outcome of each episode.
sub outcomes
{
	my ($gid) = @_;
	return "SELECT coalesce(string_agg(coalesce(outcome, 'open'), ' '), 'none') FROM pgleak.history WHERE gid = '$gid'";
}

sub eventually_has
{
	my ($node, $gid, $outcomes, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return eventually_is($node, outcomes($gid), $outcomes, $name);
}

# What stays the same as long as it is the same episode.
sub identity { my ($gid) = @_; return "SELECT leak_id, prepared_at, detected_at FROM pgleak.leaks WHERE gid = '$gid'"; }

# Recovery to a point in time -------------------------------------------------------------------------------------------

sub test_point_in_time
{
	my $node = new_node('origin', streaming => 1, conf => $settings);
	$node->enable_archiving;
	$node->restart;
	eventually_recording($node, 'origin: it records');
	$node->backup('base');

	prepare($node, $_) for 'recorded', 'ended', 'ended later';
	eventually_has($node, $_, 'open', "origin: '$_' is a leak") for 'recorded', 'ended', 'ended later';
	finish($node, 'COMMIT', 'ended');
	eventually_has($node, 'ended', 'committed', 'origin: one ends before the point');
	my $identity = $node->safe_psql('postgres', identity('recorded'));
	configure($node, 'pgleak.prepared_leak_after' => '1h');
	prepare($node, 'not yet');
	$node->safe_psql('postgres', q(SELECT pg_create_restore_point('the point')));
	finish($node, 'ROLLBACK', 'ended later');
	eventually_has($node, 'ended later', 'rolled back', 'origin: another one after it');
	prepare($node, 'too late');
	$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
	$node->stop;

	my $restored = recover_to('restored', $node, 'the point');
	is($restored->safe_psql('postgres', 'SELECT count(*) FROM pgleak.leaks'), 0, 'recovery: nothing has a process yet, so nothing is a leak');
	is($restored->safe_psql('postgres', outcomes('ended later')), 'open', 'recovery: the history is that of the point');
	$restored->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
	eventually_recording($restored, 'recovered: it records');
	eventually_is($restored, identity('recorded'), $identity, 'recovered: the same episode goes on');
	eventually_has($restored, 'recorded', 'open', 'recovered: in the same row');
	eventually_has($restored, 'ended', 'committed', 'recovered: what had ended is as it was');
	eventually_has($restored, 'ended later', 'open', 'recovered: what ended later goes on');
	eventually_has($restored, 'not yet', 'open', 'recovered: what was not a leak yet becomes one');
	eventually_has($restored, 'too late', 'none', 'recovered: what was prepared later never was');
	finish($restored, 'ROLLBACK', 'recorded');
	finish($restored, 'COMMIT', $_) for 'ended later', 'not yet';
	eventually_has($restored, 'recorded', 'rolled back', 'recovered: it ends, once');
	eventually_has($restored, $_, 'committed', "recovered: '$_' ends, once") for 'ended later', 'not yet';
	is($restored->safe_psql('postgres', 'SELECT count(*), count(DISTINCT leak_id) FROM pgleak.history'), '4|4', 'recovered: no number is used twice');
	$restored->stop;
}

# Restarts --------------------------------------------------------------------------------------------------------------

# The scanner does not follow what is no leak by its limits.
sub test_limit_raised
{
	my $node = new_node('restarted', conf => $settings);
	prepare($node, $_) for 'while it runs', 'before the stop';
	eventually_has($node, $_, 'open', "limit raised: '$_' is a leak") for 'while it runs', 'before the stop';
	configure($node, 'pgleak.prepared_leak_after' => '1h');
	$node->restart;
	eventually_recording($node, 'limit raised: it records');
	finish($node, 'COMMIT', 'while it runs');
	eventually_has($node, 'while it runs', 'committed', 'limit raised: the end is recorded all the same');
	is($node->safe_psql('postgres', q(SELECT count(*) FROM pgleak.leaks)), 0, 'limit raised: it was no leak any more');
	is($node->safe_psql('postgres', 'SELECT recorder_errors FROM pgleak.stats'), 0, 'limit raised: without an error');
	# Nobody completes the row of a copy later: pg_upgrade gives it another identifier. So read it from the files.
	finish($node, 'ROLLBACK', 'before the stop');
	$node->stop;
	$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
	$node->start;
	is($node->safe_psql('postgres', outcomes('before the stop')), 'rolled back', 'limit raised: also just before the server stops');
	$node->stop;
}

# pg_upgrade ------------------------------------------------------------------------------------------------------------

my $new_bindir = do { chomp(my $answer = `"\${PG_CONFIG:-pg_config}" --bindir`); $answer };
my $old_bindir = $ENV{PGLEAK_OLD_BINDIR} // $new_bindir;

# The servers of both are PostgreSQL::Test::Cluster's; only the older one may be of another version.
sub old_node
{
	my $install = $old_bindir =~ s{/bin$}{}r;
	my $node = PostgreSQL::Test::Cluster->new('old', $old_bindir eq $new_bindir ? () : (install_path => $install));
	$node->init(extra => [ '--encoding=UTF8', '--no-locale', $ENV{PGLEAK_OLD_BINDIR} ? '--data-checksums' : () ]);
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pgleak'\npgleak.scan_interval = '100ms'\n$settings");
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION pgleak');
	return $node;
}

# Returns the exit status and what it printed.
sub upgrade
{
	my ($old, $new) = @_;
	my $directory = $PostgreSQL::Test::Utils::tmp_check;
	my $status = system("cd '$directory' && '$new_bindir/pg_upgrade' --no-sync -b '$old_bindir' -B '$new_bindir' -d '" . $old->data_dir
		. "' -D '" . $new->data_dir . "' -s '$directory' -p " . $old->port . ' -P ' . $new->port . ' > upgrade.log 2>&1');
	return ($status, slurp_file("$directory/upgrade.log"));
}

sub test_upgrade
{
	my $old = old_node();
	prepare($old, $_) for 'open', 'ended last';
	eventually_has($old, $_, 'open', "pg_upgrade: '$_' is a leak") for 'open', 'ended last';
	my $new = empty_node('new');
	$new->init(extra => [ '--encoding=UTF8', '--no-locale', $ENV{PGLEAK_OLD_BINDIR} ? '--data-checksums' : () ]);
	$new->append_conf('postgresql.conf', "shared_preload_libraries = 'pgleak'\npgleak.scan_interval = '100ms'\n$settings");
	$old->stop;
	my ($status, $said) = upgrade($old, $new);
	isnt($status, 0, 'pg_upgrade: it refuses');
	like($said, qr/The source cluster contains prepared transactions/, 'pg_upgrade: and says why');
	$old->start;
	finish($old, 'ROLLBACK', 'open');
	eventually_has($old, 'open', 'rolled back', 'pg_upgrade: it ends at once after the start of the old server');
	finish($old, 'COMMIT', 'ended last');
	$old->stop;
	($status, $said) = upgrade($old, $new);
	is($status, 0, 'pg_upgrade: then it works') or diag($said);
	$new->start;
	eventually_recording($new, 'pg_upgrade: the new server records');
	eventually_has($new, 'open', 'rolled back', 'pg_upgrade: the history has come along');
	eventually_has($new, 'ended last', 'committed', 'pg_upgrade: also of one that ended just before the server stopped');
	prepare($new, 'of the new one');
	eventually_has($new, 'of the new one', 'open', 'pg_upgrade: a leak of the new server')
	  or diag($new->safe_psql('postgres', q(SELECT format('leaks: %s; history: %s; stats: %s', (SELECT jsonb_agg(l) FROM pgleak.leaks l),
		(SELECT jsonb_agg(h) FROM pgleak.history h), (SELECT to_jsonb(s) FROM pgleak.stats s)))), slurp_file($new->logfile));
	finish($new, 'COMMIT', 'of the new one');
	eventually_has($new, 'of the new one', 'committed', 'pg_upgrade: it ends');
	$new->stop;
}

test_point_in_time();
test_limit_raised();
test_upgrade();
done_testing();
