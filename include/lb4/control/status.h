/* Everything at a glance as one JSON object: what the live page and scripts take at /status.json.
 *
 * {"version":"0.1.0","pid":123,"now_ms":1790000000000,"uptime_s":12,"state":"running","ready":true,
 *  "generation":3,"connections_limit":9870,"connections":12,"udp_sessions":3,"descriptors":60,
 *  "descriptors_limit":20000,"relay":{"splice_bytes":0,"copy_bytes":0},
 *  "pipes":{"idle":1,"lent":0},"reloads":{"ok":2,"failed":1},"log_dropped":0,
 *  "workers":[{"worker":0,"active":5,"total":100,"handed_over":3}],
 *  "services":[{"name":"db","listeners":["tcp/:5432"],"balance":"leastconn","servers_total":3,
 *    "servers_usable":2,"active":12,"total":345,"bytes_in":1,"bytes_out":2,"redispatches":0,
 *    "closed":{"client_fin":1,...},"udp":{"active":0,"sessions":0,"datagrams_in":0,
 *    "datagrams_out":0,"bytes_in":0,"bytes_out":0,"rebinds":0,"dropped":{"limit":0,...}},
 *    "servers":[{"name":"db1","address":"10.0.0.11:5432","state":"up","since_s":17,"why":"...",
 *      "weight":2,"backup":false,"active":4,"total":100,"connect_failures":0,
 *      "checks":{"ok":9,"failed":0,"unknown":0}}]}],
 *  "history":[{"at_ms":1790000000000,"service":"db","server":"db1","state":"down","why":"...",
 *    "lasted_s":120}]}
 *
 * generation: one more with each reload that did not fail. state of a server:
 * snapshot_state(). history: the last changes of state of servers, the oldest first; lasted_s: the
 * state before. active is total without the sum of closed in every document. Thread: control. */
#ifndef LB4_CONTROL_STATUS_H
#define LB4_CONTROL_STATUS_H

#include "lb4/control/reply.h"
#include "lb4/control/snapshot.h"

void status_write(const struct snapshot_from *from, struct reply *reply);

#endif
