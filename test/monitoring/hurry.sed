# Makes a copy of monitoring/'s configuration that a test has the patience for: sed -E -f hurry.sed. Nothing else differs
# from what is shipped.
# Each minute becomes a second, in "for: 5m", "[5m]" and "offset 5m" ...
s/\b([0-9]+)m\b/\1s/g
# ... and so do the intervals of scraping and of evaluating the rules.
s/\b15s$/1s/
# A holder is old after a second and 5 transactions, and a slot keeps too much after a byte.
s/> 1e6/> 5/
s/> 3600$/> 1/
s/> 10 \* 1024\^3/> 1/
# A scanner counts as stale after 1 s and 3 intervals, instead of 60 s and 3 intervals.
s/> 60 \+ 3/> 1 + 3/
