# What the owner of the history and the rules attaches to these tables runs as himself. The recorder, a superuser, writes and
# reads them; triggers, rules, defaults, checks, generated columns, index expressions, casts, domains and row policies are code
# of the owner's that it comes by there. None of it runs as the recorder, sees a path of its own choice, or leaves anything behind
# that runs later.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;
use PgleakActions;

use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('escalation', conf => "pgleak.idle_leak_after = '1h'");

my $file = $node->basedir . '/escalation';    # what the server would write for a superuser

sub sql { return $node->safe_psql('postgres', $_[0]); }

# mallory owns the tables, and may be owner of the database too. Each piece of his code calls spy(), which tries to become more
# than mallory in every way there is, then tells who it is; it never fails.
my $spy = q{
	CREATE TABLE mallory.caught (what text, who name, path text, escaped text, number serial, xact xid8 DEFAULT pg_current_xact_id());
	CREATE FUNCTION mallory.spy(what text) RETURNS text LANGUAGE plpgsql AS $f$
	DECLARE
		attempt text;
		escaped text := '';
		path text := current_setting('search_path');
	BEGIN
		FOREACH attempt IN ARRAY ARRAY[
			'ALTER ROLE mallory SUPERUSER',
			'SET SESSION AUTHORIZATION DEFAULT',
			'RESET SESSION AUTHORIZATION',
			'SET ROLE NONE',
			'RESET ROLE',
			'SET LOCAL ROLE ' || quote_ident(session_user),
			'SELECT set_config(''role'', ''none'', false)',
			'SELECT set_config(''session_authorization'', session_user, false)',
			'CREATE TEMP TABLE trap (i int)',
			'COPY mallory.caught TO PROGRAM ''true''',
			'COPY mallory.caught TO ''FILE''',
			'SELECT pg_read_file(''postgresql.conf'')',
			'SELECT rolpassword FROM pg_authid',
			'ALTER SYSTEM SET pgleak.dry_run = on',
			'SET pgleak.idle_leak_after = 0',
			'SET session_replication_role = replica',
			'LISTEN pgleak',
			'DECLARE hold CURSOR WITH HOLD FOR SELECT mallory.spy(''held cursor'')'] LOOP
			BEGIN
				EXECUTE attempt;
				escaped := escaped || attempt || '; ';
			EXCEPTION WHEN OTHERS THEN NULL;
			END;
		END LOOP;
		INSERT INTO mallory.caught VALUES (what, current_user, path, escaped);
		-- This is allowed, and must not outlast the owner's identity: statements of the recorder's own come next.
		SET search_path = mallory, pg_catalog;
		SET default_transaction_read_only = on;
		RETURN what;
	END $f$;
	CREATE FUNCTION mallory.spy_trigger() RETURNS trigger LANGUAGE plpgsql AS $f$
	BEGIN
		PERFORM mallory.spy(format('%s %s %s trigger of %s', TG_WHEN, TG_OP, TG_LEVEL, TG_TABLE_NAME));
		RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
	END $f$;
	-- What has to be immutable says that it is.
	CREATE FUNCTION mallory.spy_immutably(what text, value bigint) RETURNS bigint IMMUTABLE LANGUAGE plpgsql AS
		$f$ BEGIN PERFORM mallory.spy(what); RETURN value; END $f$;
	CREATE TYPE mallory.mood AS (word text);
	CREATE FUNCTION mallory.to_mood(text) RETURNS mallory.mood LANGUAGE plpgsql AS
		$f$ BEGIN PERFORM mallory.spy('cast into history'); RETURN row($1)::mallory.mood; END $f$;
	CREATE FUNCTION mallory.from_mood(mallory.mood) RETURNS text LANGUAGE plpgsql AS
		$f$ BEGIN PERFORM mallory.spy('cast from rules'); RETURN $1.word; END $f$;
	CREATE CAST (text AS mallory.mood) WITH FUNCTION mallory.to_mood(text) AS ASSIGNMENT;
	CREATE CAST (mallory.mood AS text) WITH FUNCTION mallory.from_mood(mallory.mood) AS ASSIGNMENT;
	CREATE FUNCTION mallory.spy_equal(oid, oid) RETURNS boolean LANGUAGE plpgsql AS
		$f$ BEGIN PERFORM mallory.spy('operator'); RETURN $1 OPERATOR(pg_catalog.=) $2; END $f$;
	CREATE OPERATOR mallory.= (FUNCTION = mallory.spy_equal, LEFTARG = oid, RIGHTARG = oid);
	CREATE DOMAIN mallory.word AS text CHECK (mallory.spy('domain of history') IS NOT NULL)};

# What fires, and when: the traps on both tables.
my @traps = (
	'CREATE TRIGGER before_row BEFORE INSERT OR UPDATE OR DELETE ON pgleak.history FOR EACH ROW EXECUTE FUNCTION mallory.spy_trigger()',
	'CREATE TRIGGER after_row AFTER INSERT OR UPDATE OR DELETE ON pgleak.history FOR EACH ROW EXECUTE FUNCTION mallory.spy_trigger()',
	'CREATE TRIGGER statement AFTER INSERT OR UPDATE OR DELETE ON pgleak.history FOR EACH STATEMENT EXECUTE FUNCTION mallory.spy_trigger()',
	q(ALTER TABLE pgleak.history ADD mine text DEFAULT mallory.spy('default of history')),
	q(ALTER TABLE pgleak.history ADD made bigint GENERATED ALWAYS AS (mallory.spy_immutably('generated column of history', leak_id)) STORED),
	q(ALTER TABLE pgleak.history ADD CHECK (mallory.spy('check of history') IS NOT NULL)),
	q(CREATE INDEX ON pgleak.history (mallory.spy_immutably('index of history', leak_id))),
	q(CREATE INDEX ON pgleak.history (leak_id) WHERE mallory.spy_immutably('partial index of history', leak_id) > 0),
	q(CREATE RULE mine AS ON DELETE TO pgleak.history DO ALSO SELECT mallory.spy('rule of history')),
	'ALTER TABLE pgleak.history ALTER clock TYPE mallory.mood USING NULL, ALTER clock DROP NOT NULL',
	'ALTER TABLE pgleak.history ALTER state TYPE mallory.word',
	'ALTER TABLE pgleak.rules DROP CONSTRAINT "min_impact must be none, locks, horizon or blocking", '
	  . 'ALTER min_impact TYPE mallory.mood USING row(min_impact)::mallory.mood');

my @expected = (
	(map { my $op = $_; map { "$_->[0] $op $_->[1] trigger of history" } [ BEFORE => 'ROW' ], [ AFTER => 'ROW' ], [ AFTER => 'STATEMENT' ] }
		  'INSERT', 'UPDATE', 'DELETE'),
	(map { "$_ of history" } 'default', 'generated column', 'check', 'index', 'partial index', 'rule', 'domain'),
	'cast into history', 'cast from rules');

sub own_everything
{
	sql(q(CREATE ROLE mallory LOGIN; CREATE SCHEMA mallory AUTHORIZATION mallory;
		GRANT USAGE ON SCHEMA mallory TO PUBLIC;
		GRANT USAGE, CREATE ON SCHEMA pgleak TO mallory;
		ALTER TABLE pgleak.history OWNER TO mallory; ALTER TABLE pgleak.rules OWNER TO mallory));
	my $mallory = wire($node, user => 'mallory');
	$mallory->do($_) for $spy =~ s/FILE/$file/r, @traps;
	return $mallory;
}

# Has the recorder write a row, complete it, delete it, and read the rules.
sub have_recorder_work
{
	my ($mallory) = @_;
	# His own INSERT must not fire what he has set for the recorder.
	$mallory->do(q(INSERT INTO pgleak.rules (role, idle_leak_after, min_impact) VALUES ('victim', '1ms', row('none')::mallory.mood)));
	$mallory->do('TRUNCATE mallory.caught');
	configure($node, 'pgleak.retention' => '1s');
	restart_recorder($node);
	my $leak = leaking_wire($node, user => 'victim');
	eventually_is($node, 'SELECT count(*) > 0 FROM pgleak.leaks', 't', 'the rule of the table that is not his makes a leak');
	$leak->do('COMMIT');
	eventually_is($node, q(SELECT count(*) > 0 FROM mallory.caught WHERE what = 'AFTER DELETE ROW trigger of history'), 't',
		'its row has come and gone');
	$leak->close;
	configure($node, 'pgleak.retention' => undef);
}

# Who his code was, and with what path when it was called for the first time in a transaction.
sub identity
{
	return sql(q(SELECT string_agg(DISTINCT who, ' ') || '|' || string_agg(DISTINCT path, ' and ') FILTER (WHERE number = first)
		FROM (SELECT *, min(number) OVER (PARTITION BY xact) AS first FROM mallory.caught) c));
}

sub check_identity
{
	is(sql('SELECT string_agg(DISTINCT what, $$, $$ ORDER BY what) FROM mallory.caught'), join(', ', sort @expected),
		'all that he has attached runs');
	is(identity(), 'mallory|pg_catalog, pg_temp', 'as the owner, in each transaction at first with a path that is not his');
	is(sql(q(SELECT DISTINCT escaped FROM mallory.caught)), '', 'and cannot become more than that');
	nothing_gained();
	is(sql('SELECT recorder_errors, last_error FROM pgleak.stats'), '0|', 'the recorder is not disturbed by it');
}

sub nothing_gained
{
	is(sql(q(SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory')), 'f', 'mallory is no superuser');
	is(sql(q(SELECT count(*) FROM pg_class WHERE relname = 'trap')), 0, 'no temporary object is left behind');
	ok(!-e $file, 'no file is written');
	is(sql('SELECT count(*) FROM pg_settings WHERE name = $$pgleak.dry_run$$ AND setting = $$on$$'), 0, 'no setting is changed');
}

# What would run after the owner's identity is laid down, or cannot be told apart from the recorder's own statement, is refused,
# and recording goes on as soon as it is gone.
sub test_refused
{
	my ($mallory, $name, $trap, $remedy, $message) = @_;
	eventually_is($node, 'SELECT count(*) FROM pgleak.history WHERE ended_at IS NULL', 0, "$name: no earlier leak is left to be written");
	$mallory->do('TRUNCATE mallory.caught', $trap);
	my $errors = sql('SELECT recorder_errors FROM pgleak.stats');
	my $leak = leaking_wire($node, user => 'victim');
	eventually_is($node, "SELECT recorder_errors > $errors FROM pgleak.stats", 't', "$name: is an error of the recorder");
	like(sql('SELECT last_error FROM pgleak.stats'), $message, "$name: which says what it is");
	is(sql(q(SELECT count(*) FROM mallory.caught WHERE what ~ 'history|\mrule\M|row')), 0, "$name: nothing of it stays");
	nothing_gained();
	$mallory->do(ref $remedy ? @$remedy : $remedy);
	eventually_recorded($node, $leak, 'open', "$name: once it is gone the leak is recorded");
	$leak->do('COMMIT');
	eventually_recorded($node, $leak, 'committed', "$name: and its end");
	$leak->close;
}

# The database may be his as well: then he has a say in the settings of whoever connects.
sub test_settings_of_database
{
	my ($mallory) = @_;
	sql('ALTER DATABASE postgres OWNER TO mallory');
	my @settings = ("role = 'mallory'", "search_path = 'mallory'", 'default_transaction_read_only = on');
	for my $setting (@settings)
	{
		$mallory->do('ALTER DATABASE postgres RESET ALL', "ALTER DATABASE postgres SET $setting", 'TRUNCATE mallory.caught');
		local $ENV{PGOPTIONS} = '-c role=none -c search_path=pg_catalog';
		restart_recorder($node);
		my $leak = leaking_wire($node, user => 'victim', parameters => { options => '-c role=none' });
		eventually_recorded($node, $leak, 'open', "with $setting for the database recording goes on");
		is(identity(), 'mallory|pg_catalog, pg_temp', 'and what he has attached is what it was');
		$leak->close;
	}
	$mallory->do('ALTER DATABASE postgres RESET ALL');
}

sql('CREATE ROLE victim LOGIN');
my $mallory = own_everything();
have_recorder_work($mallory);
check_identity();
test_settings_of_database($mallory);
test_refused($mallory, 'a deferred trigger',
	'CREATE CONSTRAINT TRIGGER late AFTER INSERT ON pgleak.history DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION mallory.spy_trigger()',
	'DROP TRIGGER late ON pgleak.history', qr/cannot fire deferred trigger/);
test_refused($mallory, 'a rule on INSERT',
	q(CREATE RULE theirs AS ON INSERT TO pgleak.history DO ALSO SELECT mallory.spy('rule')),
	'DROP RULE theirs ON pgleak.history', qr/INSERT with ON CONFLICT/);
test_refused($mallory, 'row security that holds for its owner',
	q(CREATE POLICY mine ON pgleak.history USING (mallory.spy('row policy') IS NOT NULL); ALTER TABLE pgleak.history ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY),
	'ALTER TABLE pgleak.history DISABLE ROW LEVEL SECURITY', qr/row-level security/);

$mallory->close;
$node->stop;
done_testing();
