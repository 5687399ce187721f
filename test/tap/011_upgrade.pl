# Whoever installed any version that was released comes, by ALTER EXTENSION UPDATE, to exactly what a new installation has.
# The versions are those with a date in CHANGELOG.md; test/released/ keeps the script of each (`make bump` puts it there).
# An invented 0.1 takes the same way, also by scripts that miss something, which shows that it would be seen.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;

use PostgreSQL::Test::Utils;
use Test::More;

my $project = "$FindBin::RealBin/../..";
my $sharedir = `"\${PG_CONFIG:-pg_config}" --sharedir` =~ s/\n//r;
my $extension_dir = "$sharedir/extension";
our ($default) = slurp_file("$project/pgleak.control") =~ /^default_version = '(.*)'/m;
my $full_script = slurp_file("$extension_dir/pgleak--$default.sql");
my @put;    # scripts that this test has put beside those of the server

END { unlink @put; }

my $node = new_node('upgrade', extension => 0);

# Puts a script where the server looks for those of extensions; versions are '0.1' or '0.1--1.0'.
sub put_script
{
	my ($versions, $text) = @_;
	my $file = "$extension_dir/pgleak--$versions.sql";
	die "$file is there already\n" if -e $file && !grep { $_ eq $file } @put;
	push @put, $file;
	open my $out, '>', $file or die "$file: $! (the server has to be a private one)\n";
	print $out $text;
	close $out or die "$file: $!\n";
}

# What is in the catalogs of a database, by the server's own account: all members of the extension with definition, owner,
# privileges, comments and order of columns, the rows of its tables, and what it lets be dumped. Sorted, without what
# differs from one installation to the next.
sub catalog
{
	my ($database) = @_;
	my ($dump, $said) = run_command([ 'pg_dump', '--binary-upgrade', '-d', $node->connstr($database) ]);
	die "pg_dump: $said\n" if $said ne '';
	# Numbers of objects, files, transactions and places in the WAL; servers know more and more of them.
	$dump =~ s/^\\(un)?restrict .*\n//mg;
	$dump =~ s/^SELECT pg_catalog\.binary_upgrade_set_next_.*\n//mg;
	$dump =~ s/^UPDATE pg_catalog\.pg_class\nSET relfrozenxid = [^;]*;\n//mg;
	$dump =~ s/^SELECT pg_catalog\.binary_upgrade_create_empty_extension\(.*\n//mg;
	my $members = $node->safe_psql($database, q{
		SELECT i.type, i.identity FROM pg_depend d JOIN pg_extension e ON d.refobjid = e.oid,
			pg_identify_object(d.classid, d.objid, d.objsubid) i
		WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'pgleak'
		UNION ALL
		SELECT 'dumped', format('%s %s', c.id::regclass, c.condition)
		FROM pg_extension, unnest(extconfig, extcondition) c(id, condition) WHERE extname = 'pgleak'
		UNION ALL SELECT 'version', extversion FROM pg_extension WHERE extname = 'pgleak'});
	return join "\n", sort(split /\n(?=--\n-- Name: )/, $dump), sort(split /\n/, $members);
}

# A database that has come from a version to the default one, whose catalog is returned; '' if there is no way.
sub upgraded
{
	my ($from) = @_;
	my $database = "from_$from";
	$node->safe_psql('postgres', qq(DROP DATABASE IF EXISTS "$database"));
	$node->safe_psql('postgres', qq(CREATE DATABASE "$database" TEMPLATE template0));
	$node->safe_psql($database, "CREATE EXTENSION pgleak VERSION '$from'");
	return '' if $node->psql($database, "ALTER EXTENSION pgleak UPDATE TO '$default'") != 0;
	return catalog($database);
}

$node->safe_psql('postgres', 'CREATE DATABASE fresh TEMPLATE template0');
$node->safe_psql('fresh', 'CREATE EXTENSION pgleak');
our $fresh = catalog('fresh');

# The first line that differs, for whoever has to find it.
sub is_fresh
{
	my ($catalog, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return if ok($catalog eq $fresh, $name);
	my %has = map { $_ => 1 } split /\n/, $catalog;
	my %wants = map { $_ => 1 } split /\n/, $fresh;
	diag("missing: $_") for grep { !$has{$_} } split /\n/, $fresh;
	diag("too much: $_") for grep { !$wants{$_} } split /\n/, $catalog;
}

# An older version: the default one without some of its objects, which $upgrade, an array of statements, brings.
my @upgrade = (
	'ALTER TABLE pgleak.history ADD COLUMN invented integer',
	"COMMENT ON COLUMN pgleak.history.invented IS 'only for this test'",
	'CREATE FUNCTION pgleak.invented() RETURNS integer LANGUAGE sql RETURN 1',
	'REVOKE ALL ON FUNCTION pgleak.invented() FROM PUBLIC',
	'GRANT EXECUTE ON FUNCTION pgleak.invented() TO pg_monitor',
	'CREATE TABLE pgleak.invented_rows (id integer PRIMARY KEY)',
	'INSERT INTO pgleak.invented_rows VALUES (1)',
	q{SELECT pg_catalog.pg_extension_config_dump('pgleak.invented_rows', 'WHERE id > 0')});

sub test_that_a_difference_is_seen
{
	# A default version of this test's own, made of the real one and all of the statements.
	local $default = '99.0';
	my $script = sub { join ";\n", @_, '' };
	put_script('99.0', $full_script . $script->(@upgrade));
	put_script('0.1', $full_script);
	$node->safe_psql('postgres', 'CREATE DATABASE whole TEMPLATE template0');
	$node->safe_psql('whole', "CREATE EXTENSION pgleak VERSION '99.0'");
	local $fresh = catalog('whole');

	is(upgraded('0.1'), '', 'a version without an upgrade script is seen');
	put_script('0.1--99.0', $script->(@upgrade));
	is_fresh(upgraded('0.1'), 'an invented older version comes to the same catalog as a fresh one');

	# Those that nothing after them needs; each alone is a fault that has to be seen.
	for my $left_out (1, 3, 4, 6, 7)
	{
		put_script('0.1--99.0', $script->(map { $upgrade[$_] } grep { $_ != $left_out } 0 .. $#upgrade));
		isnt(upgraded('0.1'), $fresh, "an upgrade without this is seen: $upgrade[$left_out]");
	}
	my %other = (
		0 => 'ALTER TABLE pgleak.history ADD COLUMN invented bigint',
		2 => 'CREATE FUNCTION pgleak.invented() RETURNS integer LANGUAGE sql RETURN 2',
		7 => q{SELECT pg_catalog.pg_extension_config_dump('pgleak.invented_rows', 'WHERE id > 2')});
	for my $place (sort keys %other)
	{
		put_script('0.1--99.0', $script->(map { $_ == $place ? $other{$_} : $upgrade[$_] } 0 .. $#upgrade));
		isnt(upgraded('0.1'), $fresh, "an upgrade with this is seen: $other{$place}");
	}
}

sub test_released_versions
{
	my @released = slurp_file("$project/CHANGELOG.md") =~ /^## ([0-9.]+) \(20/mg;
	my %script = map { m{pgleak--([0-9.]+)\.sql$} => $_ } glob "$project/test/released/pgleak--*.sql";
	is(join(' ', sort keys %script), join(' ', sort grep { $_ ne $default } @released),
		'test/released has the script of each version that was released before this one, and no other');
	for my $version (sort keys %script)
	{
		put_script($version, slurp_file($script{$version}));
		is_fresh(upgraded($version), "$version comes to the same catalog as a fresh $default");
	}

	# Each upgrade script is on the way from some released version.
	my %used;
	for my $version (keys %script)
	{
		my $path = $node->safe_psql('postgres',
			"SELECT path FROM pg_extension_update_paths('pgleak') WHERE source = '$version' AND target = '$default'");
		my @steps = split /--/, $path;
		$used{"$steps[ $_ - 1 ]--$steps[$_]"} = 1 for 1 .. $#steps;
	}
	my @scripts = map { m{pgleak--([0-9.]+--[0-9.]+)\.sql$} ? $1 : () } glob "$project/sql/pgleak--*--*.sql";
	is(join(' ', grep { !$used{$_} } @scripts), '', 'each upgrade script leads from a released version here');
}

# The library of the new version meets the objects of the old one until somebody updates the extension.
sub test_recording_across_an_update
{
	put_script('0.1--' . $default, '');
	$node->safe_psql('postgres', "CREATE EXTENSION pgleak VERSION '0.1'");
	eventually(sub { log_count($node, qr/is not version \Q$default\E, nothing is recorded/) }, 'the recorder says that the extension is too old');
	my $session = leak($node);
	eventually(sub { log_count($node, qr/session leak: pid=$session->{pid} /) }, 'a leak is detected meanwhile');
	$node->safe_psql('postgres', 'ALTER EXTENSION pgleak UPDATE');
	eventually_recording($node, 'recording starts after ALTER EXTENSION pgleak UPDATE');
	eventually_recorded($node, $session, 'open', 'and the leak that was open then is recorded');
	$session->close;
}

test_released_versions();
test_that_a_difference_is_seen();
test_recording_across_an_update();

$node->stop;
done_testing();
