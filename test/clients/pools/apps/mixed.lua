-- The requests that wrk sends in the scenario fastapi_load: mostly the good route, each twelfth one leaks.
-- Called by: wrk.
-- Must never: depend on chance.
local count = 0

function request()
  count = count + 1
  return wrk.format("GET", count % 12 == 0 and "/forgotten" or "/good")
end
