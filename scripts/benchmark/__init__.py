"""The benchmark behind scripts/bench.

What is measured: `scenarios` (the table), `peers` (who takes part, and how each is configured),
`bars` (what lb4 is to reach). How: `space` a network namespace, `processes` programs in it, `cpu`
what they cost, `backends` the servers, `drivers` the clients, `memory` and `syscalls` what else a
proxy takes, `runner` rounds of all that. What is made of it: `figures` names and units, `rounds`
medians, noise and ties, `results` the JSON, `terminal`, `plot` and `page` what people see. Beside
it: `validate` (is the load generator right?) and `access` (what long lists of networks cost).
"""
