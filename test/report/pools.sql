-- Fills pgleak.pool_samples with the last day of ten pools, as an incident would leave it: a migration waits for somebody's open
-- transaction, a pool waits behind it, another one leaks until it is full, and one is too small all day. For two hours nobody looked.
DELETE FROM pgleak.pool_samples;
INSERT INTO pgleak.pool_samples (taken_at, place, scope, database, role, application_name, client_addr, connections, in_use,
    leaked, waiting, capacity, verdict)
SELECT now() - (1440 - minute) * interval '1 minute', row_number() OVER (PARTITION BY minute ORDER BY n) - 1,
    CASE n WHEN 0 THEN 'server' WHEN 3 THEN 'application' ELSE 'pool' END, database, role, name,
    CASE n WHEN 1 THEN '10.0.0.5'::inet END, connections, LEAST(in_use, connections), leaked, waiting,
    CASE n WHEN 0 THEN 97 ELSE 20 END, verdict
FROM (
    SELECT minute, 0 AS n, NULL AS database, NULL AS role, NULL AS name, 40 + minute %% 9 AS connections, 40 + minute %% 9 AS in_use,
        CASE WHEN minute BETWEEN 500 AND 900 THEN LEAST((minute - 500) / 20, 14) ELSE 0 END AS leaked, 0 AS waiting,
        CASE WHEN minute BETWEEN 500 AND 900 THEN 'leak' ELSE 'ok' END AS verdict
    FROM generate_series(0, 1439) AS minute
    UNION ALL
    SELECT minute, 1, 'shop', 'shop', 'shop-api', 15, 3 + minute * 7 %% 5 + LEAST((minute - 500) / 20, 14),
        LEAST((minute - 500) / 20 + 1, 14), 0,
        CASE WHEN minute < 700 THEN 'leak' ELSE 'leaking' END
    FROM generate_series(500, 900) AS minute
    UNION ALL
    SELECT 901, 1, 'shop', 'shop', 'shop-api', 15, 4, 0, 0, 'ok'
    UNION ALL
    SELECT minute, 2, 'shop', 'jobs', 'shop-jobs', 15, CASE WHEN minute < 1120 THEN 14 ELSE 4 END, 0,
        CASE WHEN minute < 1120 THEN 13 + minute %% 2 ELSE 0 END, CASE WHEN minute < 1120 THEN 'blocked' ELSE 'ok' END
    FROM generate_series(1050, 1120) AS minute
    UNION ALL
    SELECT minute, 3, 'shop', 'shop', 'mobile-backend-with-quite-a-long-name-and-version-12.4', 20, 16 + minute * 11 %% 5, minute %% 3, 0,
        CASE WHEN minute / 30 %% 2 = 1 THEN 'undersized' ELSE 'ok' END
    FROM generate_series(0, 1439) AS minute
    UNION ALL
    SELECT minute, 3 + i, 'shop', 'shop', CASE i WHEN 1 THEN $$<script>document.title='caught'</script>$$ ELSE 'batch' || i END, 4, 3, 3, 0, 'leak'
    FROM generate_series(1, 6) AS i, generate_series(i * 100, i * 100 + 20) AS minute
) AS told
WHERE minute NOT BETWEEN 1200 AND 1320
