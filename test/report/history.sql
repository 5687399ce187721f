-- Fills pgleak.history with %(episodes)s episodes of the last day, as five applications would leave them: what no test can wait for.
INSERT INTO pgleak.history (system_identifier, leak_id, pid, database, role, application_name, backend_start,
    xact_start, state, idle_since, idle_for, transaction_age, clock, detected_at, leak_after, limit_source, query,
    query_id, tags, code, trail, blocked, blocked_for, impact, ended_at, duration, outcome, last_action, last_action_at,
    last_action_result)
SELECT 1, i, 20000 + i, 'shop', 'shop', application, began - interval '1 hour', began, 'idle in transaction', began,
    lasted, lasted, 'idle', began + interval '60 s', interval '60 s', 'server',
    format('/*route=''%%s''*/ SELECT id, product, quantity FROM orders WHERE customer = %%s', route, i), hashtext(route),
    jsonb_build_object('route', route), CASE WHEN i %% 2 = 0 THEN format('shop/views%%s.py:%%s get_orders', route, 40 + i %% 7) END,
    jsonb_build_array(
        jsonb_build_object('at', began - interval '3 s', 'query_id', 1, 'query', 'BEGIN', 'idle_before', 0),
        jsonb_build_object('at', began - interval '2.9 s', 'query_id', 2, 'idle_before', 0.1,
            'query', format('SELECT id, product, quantity FROM orders WHERE customer = %%s FOR UPDATE', i)),
        jsonb_build_object('at', began + interval '20 s', 'query_id', 3, 'query', 'SELECT NULL', 'idle_before', 20, 'count', 3,
            'last_at', began + interval '40 s', 'idle_within', 20, 'omitted', 5)) ||
    CASE WHEN ended_at IS NULL THEN '[]' ELSE jsonb_build_array(jsonb_build_object('at', ended_at, 'query_id', 4, 'query', 'COMMIT',
        'idle_before', extract(epoch FROM ended_at - began) - 40.0)) END,
    CASE WHEN blocks THEN i %% 7 + 1 ELSE 0 END,
    CASE WHEN blocks THEN lasted / 3 END, CASE WHEN blocks THEN 'blocking' ELSE 'horizon' END, ended_at,
    ended_at - began - interval '60 s', outcome,
    CASE outcome WHEN 'cancelled' THEN 'cancel' WHEN 'terminated' THEN 'terminate' END,
    CASE WHEN outcome IN ('cancelled', 'terminated') THEN ended_at END,
    CASE WHEN outcome IN ('cancelled', 'terminated') THEN 'done' END
FROM (
    SELECT *, CASE WHEN i %% 97 <> 0 THEN began + lasted END AS ended_at, i %% 11 = 0 AS blocks,
        CASE WHEN i %% 97 <> 0
            THEN (ARRAY['committed', 'rolled back', 'disconnected', 'cancelled', 'terminated', 'released'])[1 + i / 5 %% 6]
        END AS outcome,
        (ARRAY['shop-api', 'billing-worker', 'reporting', '', 'mobile-backend-with-quite-a-long-name-and-version-12.4'])[1 + i %% 5] AS application,
        (ARRAY['/orders', '/checkout', '/health', '/admin/report'])[1 + i / 3 %% 4] AS route
    FROM (
        SELECT i, now() - interval '23 hours' * ((i * 7919 %% 1000) / 1000.0) - interval '30 min' AS began,
            interval '61 s' + interval '1 min' * (i * 31 %% 29) AS lasted
        FROM generate_series(1, %(episodes)s) AS i
    ) AS drawn
) AS told
