# Code of others is never run as somebody else: not by objects made in advance or in the search_path of whoever creates the
# extension or uses its functions and views, nor by what the owner of the history and the rules attaches to these tables,
# which the recorder, a superuser, writes and reads.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";
use PgleakTest;
use PgleakActions;

use PostgreSQL::Test::Utils;
use Test::More;

# Everybody who is not an attacker here, or a victim, has a path of his own.
$ENV{PGOPTIONS} = '-c search_path=pg_catalog';

my $node = new_node('path', extension => 0);

sub sql { return $node->safe_psql('postgres', $_[0]); }

# Objects in the path ---------------------------------------------------------------------------------------------------

# What mallory makes in the schema public, which comes before pg_catalog in the path of his victims: each function and operator
# of pg_catalog with the same types, operators for pairs of types that pg_catalog has none for, and relations and types of
# common names. Whoever calls one of them is told so.
my $traps = q{
	DO $do$
	DECLARE
		f record;
		types text[] := '{int2,int4,int8,numeric,float8,text,name,interval,timestamptz,inet,jsonb,xid,bool}';
	BEGIN
		CREATE FUNCTION public.spring() RETURNS int LANGUAGE plpgsql AS
			$f$ BEGIN RAISE EXCEPTION 'caught %', current_user USING ERRCODE = 'PGTRP'; END $f$;
		FOR f IN
			SELECT proname, pg_get_function_identity_arguments(oid) AS arguments, pg_get_function_result(oid) AS result
			FROM pg_proc
			WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind IN ('f', 'w', 'a') AND NOT proretset
				AND provariadic = 0 AND proallargtypes IS NULL
				AND NOT EXISTS (SELECT FROM pg_aggregate WHERE aggfnoid = pg_proc.oid AND aggkind <> 'n')
				AND NOT EXISTS (SELECT FROM pg_type t WHERE t.typtype = 'p' AND t.oid = ANY (proargtypes::oid[] || prorettype))
		LOOP
			EXECUTE format('CREATE FUNCTION public.%I(%s) RETURNS %s LANGUAGE plpgsql AS '
				'$f$ BEGIN PERFORM public.spring(); RETURN NULL; END $f$', f.proname, f.arguments, f.result);
		END LOOP;
		FOR f IN
			SELECT oprname, format_type(oprleft, NULL) AS a, format_type(oprright, NULL) AS b, format_type(oprresult, NULL) AS result
			FROM pg_operator
			WHERE oprnamespace = 'pg_catalog'::regnamespace AND oprleft <> 0 AND oprname <> '=>'
				AND NOT EXISTS (SELECT FROM pg_type t WHERE t.typtype = 'p' AND t.oid IN (oprleft, oprright, oprresult))
			UNION
			SELECT o, a, b, CASE WHEN o IN ('<', '<=', '>', '>=', '=', '<>', '~', '~~') THEN 'boolean' ELSE a END
			FROM unnest(types) a, unnest(types) b, unnest('{+,-,*,/,%,||,<,<=,>,>=,=,<>,->,->>,~,~~}'::text[]) o
		LOOP
			EXECUTE format('CREATE FUNCTION public.trap_%s(%s, %s) RETURNS %s LANGUAGE plpgsql AS '
				'$f$ BEGIN PERFORM public.spring(); RETURN NULL; END $f$',
				md5(f::text), f.a, f.b, f.result);
			BEGIN
				EXECUTE format('CREATE OPERATOR public.%s (FUNCTION = public.trap_%s, LEFTARG = %s, RIGHTARG = %s)',
					f.oprname, md5(f::text), f.a, f.b);
			EXCEPTION WHEN duplicate_function THEN NULL;
			END;
		END LOOP;
		FOR f IN SELECT unnest('{pg_extension,pg_depend,pg_class,pg_namespace,pg_auth_members,pg_settings,history,rules,leaks,pools,
				stats,top,waits}'::text[]) AS name
		LOOP
			EXECUTE format('CREATE VIEW public.%I AS SELECT public.spring()', f.name);
		END LOOP;
		FOR f IN SELECT unnest('{text,inet,jsonb,xid,name,record,trigger,oid}'::text[]) AS name
		LOOP
			EXECUTE format('CREATE DOMAIN public.%I AS pg_catalog.int4 CHECK (public.spring() IS NULL)', f.name);
		END LOOP;
	END
	$do$};

# A superuser's session with mallory's objects in front of pg_catalog.
sub victim
{
	my $session = wire($node, parameters => { options => '-c search_path=public,pg_catalog' });
	$session->ask('SELECT 1 + 1');
	is($session->{sqlstate}, 'PGTRP', 'the traps work');
	return $session;
}

# What the extension consists of and what its parts call: nothing outside of pg_catalog and itself.
my $foreign = q{
	WITH RECURSIVE part AS (
		SELECT classid, objid FROM pg_depend
		WHERE deptype = 'e' AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pgleak')
		UNION
		SELECT d.classid, d.objid FROM pg_depend d JOIN part p ON (d.refclassid, d.refobjid) = (p.classid, p.objid)
	)
	SELECT DISTINCT pg_describe_object(d.refclassid, d.refobjid, 0)
	FROM part p
	JOIN pg_depend d USING (classid, objid)
	CROSS JOIN pg_identify_object(d.refclassid, d.refobjid, 0) i
	WHERE i.schema NOT IN ('pg_catalog', 'pgleak') AND i.schema !~ '^pg_toast'};

sub test_schema_in_advance
{
	my $mallory = wire($node, user => 'mallory');
	for my $object ('', 'CREATE TABLE pgleak.history (leak_id bigint)', 'CREATE VIEW pgleak.leaks AS SELECT 1',
		'CREATE FUNCTION pgleak.scan() RETURNS bigint LANGUAGE sql RETURN 1')
	{
		$mallory->do('CREATE SCHEMA pgleak', $object || 'SELECT 1');
		my $admin = wire($node);
		$admin->ask('CREATE EXTENSION pgleak');
		is($admin->{sqlstate}, '42P06', 'a schema made in advance is refused' . ($object && ", with this: $object"));
		$admin->ask('CREATE EXTENSION pgleak SCHEMA pgleak');
		isnt($admin->{sqlstate}, '', 'also when it is asked for');
		is(sql(q(SELECT count(*) FROM pg_extension WHERE extname = 'pgleak')), 0, 'there is no extension then');
		$admin->close;
		$mallory->do('DROP SCHEMA pgleak CASCADE');
	}
	$mallory->close;
}

sub test_creation
{
	my $mallory = wire($node, user => 'mallory');
	$mallory->do($traps);
	$mallory->close;
	my $victim = victim();
	$victim->do('CREATE EXTENSION pgleak');
	is(sql($foreign), '', 'nothing in the extension depends on what was in the path when it was made');
	is(sql(q(SELECT count(*) FROM pg_class WHERE relowner <> 10 AND relnamespace = 'pgleak'::regnamespace)), 0,
		'all of it belongs to the superuser');
	return $victim;
}

# Each function of the extension with arguments that make it work, and each view and table.
sub test_use
{
	my ($victim) = @_;
	my %arguments = (
		fit_text => q('a text' , 3), format_duration => q('90 s'), route_of => q('{"controller": "a", "action": "b"}'),
		short_code => q('app/orders.py:42 f'), timeline => 1, metric_label => q('pod-12345'), normalize_application_name => q('pod-12345'), report => q('1 day'),
		limits_for => $victim->{pid}, cancel => $victim->{pid}, terminate => 0);
	# Temporary objects come before all others, unless a path says where.
	$victim->do('SET search_path = pg_temp, public, pg_catalog',
		map({ "CREATE TEMP VIEW $_ AS SELECT public.spring()" } qw(pg_class pg_extension pg_settings history rules leaks pools stats top waits period)),
		map({ "CREATE DOMAIN pg_temp.$_ AS pg_catalog.int4 CHECK (public.spring() IS NULL)" } qw(text inet jsonb xid name)));
	# Whoever tries is a leak himself, has history, and has been acted on.
	sql(q(INSERT INTO pgleak.rules (idle_leak_after, note) VALUES ('1ms', 'all')));
	my $leak = leaking_wire($node, query => '/*controller:a,action:b*/ SELECT 1');
	eventually_recorded($node, $leak, 'open', 'there is a leak');
	cancel($node, $leak);

	for (split /\n/, sql(q(SELECT proname, pronargs - pronargdefaults FROM pg_proc WHERE pronamespace = 'pgleak'::regnamespace)))
	{
		my ($name, $count) = split /\|/;
		if (!exists $arguments{$name} && $count > 0) { fail("there are arguments for $name()"); next }
		$victim->ask("SELECT pgleak.$name(" . ($arguments{$name} // '') . ')');
		isnt($victim->{sqlstate}, 'PGTRP', "pgleak.$name() does not call what is in the path");
		is($victim->{sqlstate}, '', "pgleak.$name() works") unless $name =~ /^(cancel|terminate|note_rule_change)$/;
	}
	for my $relation (split /\n/, sql(q(SELECT relname FROM pg_class WHERE relnamespace = 'pgleak'::regnamespace AND relkind <> 'i')))
	{
		$victim->ask("SELECT * FROM pgleak.$relation");
		is($victim->{sqlstate}, '', "pgleak.$relation can be read, whatever is in the path") or diag($victim->{message});
	}
	$victim->ask(q(INSERT INTO pgleak.rules (database, role, application_name, min_impact, idle_leak_after, idle_cancel_after,
		transaction_leak_after, transaction_terminate_after) VALUES ('a', 'b', 'c\\\\', 'locks', '1s', '2s', '3s', '4s')));
	is($victim->{sqlstate}, '', "the checks of a rule do not call what is in the path") or diag($victim->{message});
	$leak->close;
	$victim->close;
	sql('DELETE FROM pgleak.rules');
}

# The recorder is a superuser's session like any other as far as settings of its database go.
sub test_recorder_path
{
	sql('ALTER DATABASE postgres SET search_path = public, pg_catalog');
	restart_recorder($node);
	sql(q(INSERT INTO pgleak.rules (role, idle_leak_after) VALUES ('mallory', '1ms')));
	my $leak = leaking_wire($node, user => 'mallory', parameters => { options => '-c search_path=pg_catalog' });
	eventually_recorded($node, $leak, 'open', 'the recorder does not look for objects in the path of its database');
	eventually_is($node, "SELECT limit_source LIKE 'rule %' FROM pgleak.history WHERE pid = $leak->{pid}", 't', 'nor for its rules');
	$leak->do('COMMIT');
	eventually_recorded($node, $leak, 'committed', 'nor at the end');
	is(sql('SELECT recorder_errors, last_error FROM pgleak.stats'), '0|', 'and that is no error');
	$leak->close;
	sql('ALTER DATABASE postgres RESET search_path; DELETE FROM pgleak.rules');
}

$node->safe_psql('postgres', 'CREATE ROLE mallory LOGIN; GRANT CREATE ON DATABASE postgres TO mallory; GRANT CREATE ON SCHEMA public TO mallory');
test_schema_in_advance();
test_use(test_creation());
test_recorder_path();

$node->stop;
done_testing();
